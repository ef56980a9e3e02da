"""The messages that make up the present state of a connection, for a file that begins in the middle of it.

Owns which messages are kept, in bounded memory. Which of them set the same is the family's (`families.setting`).
Replies are kept with their requests.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TypeVar

from vusniff.channel import Channel
from vusniff.families.family import Family
from vusniff.families.setting import Setting
from vusniff.record import Frame, FrameKind
from vusniff.values import dataclass, field, replace

MAX_BYTES = 8192
"""Of a message that is kept: tables and configuration space fit."""
MAX_ITEMS = 1024
"""Items of one setting; of more the oldest is forgotten."""
MAX_SETTINGS = 256
MAX_WAITING = 64
"""Requests of one code whose replies are waited for."""


_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


def _bounded(known: dict[_Key, _Value], key: _Key, value: _Value) -> None:
    """Remembers a value; of too many the oldest is forgotten."""
    known.pop(key, None)
    if len(known) >= MAX_SETTINGS:
        del known[next(iter(known))]
    known[key] = value


@dataclass(slots=True)
class _Kept:
    """A request, and its reply when that has come."""

    frames: list[tuple[int, Frame]] = field(default_factory=list)
    """With the number that says in which order they were sent."""


class Restated:
    """Follows the frames of one connection."""

    __slots__ = ("_asked", "_count", "_settings", "_waiting")

    def __init__(self) -> None:
        self._settings: dict[object, dict[object, _Kept]] = {}
        self._waiting: dict[tuple[int, int], deque[_Kept]] = {}
        """By code, and id where the family has one: requests that want a reply, the oldest first."""
        self._asked: dict[tuple[int, int], _Kept] = {}
        """The last request of each, which may have a reply though it does not say so."""
        self._count = 0

    def add(self, frame: Frame, family: Family, channel: Channel, order: str) -> None:
        """The next frame of the connection."""
        header = channel.header
        if frame.kind is not FrameKind.MESSAGE or not header.size <= len(frame.data) <= MAX_BYTES or frame.missing:
            return
        request, flags, _ = header.read[order](frame.data, 0)
        self._count += 1
        one = self._count, replace(frame, facts=frame.facts.without_stack(), restated=True)
        which = request, family.identify(frame.data, order) if family.identify is not None else 0
        if header.is_reply(flags) and not header.by_sender:
            waiting = self._waiting.get(which)
            asked = waiting.popleft() if waiting else self._asked.get(which)
            if asked is not None and len(asked.frames) < 2:
                asked.frames.append(one)
            return
        kept = self._keep(family.setting(channel, request, frame.data, order), one)
        _bounded(self._asked, which, kept)
        if header.is_need_reply(flags):
            waiting = self._waiting.get(which)
            if waiting is None:
                waiting = deque(maxlen=MAX_WAITING)
                _bounded(self._waiting, which, waiting)
            waiting.append(kept)

    def _keep(self, setting: Setting, one: tuple[int, Frame]) -> _Kept:
        kept = _Kept([one])
        items = self._settings.pop(setting.name, {})
        _bounded(self._settings, setting.name, items)
        if setting.whole:
            items.clear()
        before = items.pop(setting.item, None)
        item = setting.item
        if setting.ends:
            if before is not None and None not in items:
                return kept
            item = ("gone", item)  # a later message that brings the item back takes nothing from this one
            items.pop(item, None)
        if len(items) >= MAX_ITEMS:
            del items[next(iter(items))]
        items[item] = kept
        return kept

    def frames(self) -> Iterator[Frame]:
        """Those that are kept, in the order in which they were sent, marked as restated."""
        found = [one for items in self._settings.values() for kept in items.values() for one in kept.frames]
        yield from (frame for _, frame in sorted(found, key=lambda one: one[0]))
