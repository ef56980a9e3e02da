"""The messages that make up the present state of a connection, for a file that begins in the middle of it.

Owns which messages are kept, in bounded memory. Which of them set the same is the family's (`families.setting`).
Replies are kept with their requests.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from vusniff.channel import Channel
from vusniff.families.family import Family
from vusniff.families.setting import Setting
from vusniff.record import Frame, FrameKind
from vusniff.values import dataclass, field, replace

MAX_BYTES = 8192
"""Of a message that is kept: tables and configuration space fit."""
MAX_ITEMS = 1024
"""Items of one setting; the oldest is let go beyond."""
MAX_SETTINGS = 256
MAX_WAITING = 64
"""Requests of one code whose replies are waited for."""


@dataclass(slots=True)
class _Kept:
    """A request, and its reply when that has come."""

    frames: list[tuple[int, Frame]] = field(default_factory=list)
    """With the number that says in which order they were sent."""


class Restated:
    """Follows the frames of one connection."""

    __slots__ = ("_count", "_settings", "_waiting")

    def __init__(self) -> None:
        self._settings: dict[object, dict[object, _Kept]] = {}
        self._waiting: dict[tuple[int, int], deque[_Kept]] = {}
        """By code, and id where the family has one."""
        self._count = 0

    def add(self, frame: Frame, family: Family, channel: Channel, order: str) -> None:
        """The next frame of the connection."""
        header = channel.header
        if frame.kind is not FrameKind.MESSAGE or not header.size <= len(frame.data) <= MAX_BYTES or frame.missing:
            return
        request, flags, _ = header.read[order](frame.data, 0)
        self._count += 1
        one = self._count, replace(frame, stack=None, restated=True)
        which = request, family.identify(frame.data, order) if family.identify is not None else 0
        if header.is_reply(flags) and not header.by_sender:
            waiting = self._waiting.get(which)
            if waiting:
                waiting.popleft().frames.append(one)
            return
        kept = self._keep(family.setting(channel, request, frame.data, order), one)
        if len(self._waiting) >= MAX_SETTINGS and which not in self._waiting:
            del self._waiting[next(iter(self._waiting))]
        self._waiting.setdefault(which, deque(maxlen=MAX_WAITING)).append(kept)

    def _keep(self, setting: Setting, one: tuple[int, Frame]) -> _Kept:
        kept = _Kept([one])
        items = self._settings.pop(setting.name, {})
        if len(self._settings) >= MAX_SETTINGS:
            del self._settings[next(iter(self._settings))]
        self._settings[setting.name] = items
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
