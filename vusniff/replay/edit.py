"""A changed copy of a capture: messages dropped, repeated, delayed or set to other values, as bad input for a peer.

All changes are made before the copy is begun, so that a mistake leaves no file behind. What is written says that it is
edited, from what, and how (`vusniff.capture.facts.Section.edited`). Numbers are those of the original.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from vusniff.analysis.setting import SIZES, set_field
from vusniff.analysis.timeline import Timeline
from vusniff.capture.batch import Event
from vusniff.capture.facts import Section
from vusniff.capture.writer import CaptureWriter
from vusniff.errors import CaptureError, DissectorError, VusniffError
from vusniff.meta import connection_of, end_of, kind_of
from vusniff.record import (
    Closed,
    Connection,
    Evidence,
    Exit,
    Fault,
    Frame,
    FrameKind,
    LogLine,
    Lost,
    OtherEvidence,
    RingDump,
    Sample,
)
from vusniff.values import dataclass, field, replace

REPEAT_LIMIT = 100_000
DELAY_LIMIT_S = 1_000_000.0
WRITTEN_AT_ONCE = 1 << 20
"""Bytes, more or less, that are collected before they are written."""
FRAME_BYTES, DESCRIPTOR_BYTES = 200, 500
"""What a message takes in the file beyond its bytes, and each of its descriptors."""
_UNITS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000, "": 1_000_000_000}


class EditError(VusniffError):
    """A change that cannot be made: which, and why."""


@dataclass(frozen=True, slots=True)
class FieldEdit:
    """``--set 12.regions[0].size=0``."""

    number: int
    path: str
    value: str


@dataclass(slots=True)
class Edits:
    """Everything that is to be changed, by message number."""

    session: int | None = None
    """Keep only this one."""
    drops: set[int] = field(default_factory=set)
    """Not said, and with a request its reply."""
    settings: dict[int, list[FieldEdit]] = field(default_factory=dict)
    delays: dict[int, int] = field(default_factory=dict)
    """Nanoseconds that the message and all after it come later."""
    repeats: dict[int, int] = field(default_factory=dict)
    """How many times more the message is said."""
    words: list[str] = field(default_factory=list)
    """Each of these as it was given."""

    def drop(self, word: str) -> None:
        """``12``."""
        if not re.fullmatch(r"\d{1,18}", word):
            raise EditError(f"--drop {word!r}: name a message by its number, such as 12")
        self.drops.add(int(word))
        self.words.append(f"drop {word}")

    def change(self, word: str) -> None:
        """``12.num=1024``."""
        match = re.fullmatch(r"(\d{1,18})\.([^=\s]+)=(.*)", word, re.DOTALL)
        if match is None:
            raise EditError(f"--set {word!r}: name message, field and value, such as 12.num=1024")
        setting = FieldEdit(int(match[1]), match[2], match[3].strip())
        self.settings.setdefault(setting.number, []).append(setting)
        self.words.append(f"set {word}")

    def delay(self, word: str) -> None:
        """``12=2s``, also with ms, us or ns."""
        match = re.fullmatch(r"(\d{1,18})=(\d{1,12}(?:\.\d{1,12})?)(ns|us|ms|s|)", word)
        if match is None or float(match[2]) * _UNITS[match[3]] > DELAY_LIMIT_S * 1e9:
            raise EditError(f"--delay {word!r}: name message and time, such as 12=2s or 12=500ms")
        self.delays[int(match[1])] = self.delays.get(int(match[1]), 0) + round(float(match[2]) * _UNITS[match[3]])
        self.words.append(f"delay {word}")

    def repeat(self, word: str) -> None:
        """``12``, or ``12=3`` for three times more."""
        match = re.fullmatch(r"(\d{1,18})(?:=(\d{1,6}))?", word)
        if match is None or int(match[2] or 1) > REPEAT_LIMIT:
            raise EditError(f"--repeat {word!r}: name message and how often more it is said, such as 12 or 12=3")
        self.repeats[int(match[1])] = int(match[2] or 1)
        self.words.append(f"repeat {word}")

    @property
    def numbers(self) -> set[int]:
        """All messages that are named."""
        return {*self.drops, *self.settings, *self.delays, *self.repeats}


@dataclass(frozen=True, slots=True)
class Edited:
    """What came of it."""

    read: int
    written: int


def edit(
    timeline: Timeline, source: str | Path, target: str | Path, edits: Edits, replaces: bytes | None = None
) -> Edited:
    """Writes the changed copy of a capture that was read whole from ``source``.

    ``replaces``: what becomes of a file that is there already, as in `vusniff.files.open_output`.
    Raises EditError or CaptureError; nothing is written then.
    """
    _refuse_target(source, target)
    kept = _kept_connections(timeline, edits)
    for number in sorted(edits.numbers):
        _refuse_number(timeline, number, edits)
    changed = {number: _changed(timeline, number, edits.settings[number]) for number in edits.settings}
    drops = _drops(timeline, edits.drops)
    orders = {timeline.index.order(connection) for connection in kept}
    if len(orders) > 1:
        raise EditError("the capture holds sessions of hosts of both byte orders: choose one with --session")
    sections = timeline.index.reader.sections
    section = sections[0] if sections else Section()
    session = [f"only session {edits.session}"] if edits.session is not None else []
    history = (*section.edited, f"from {os.path.basename(source)}", *session, *edits.words)
    writer = CaptureWriter(
        target,
        source=section.source,
        replaces=replaces,
        order=orders.pop() if orders else section.order,
        host=section.host,
        edited=history,
        keeps_ended=True,
    )
    with writer:
        written = _write(writer, timeline, kept, drops, changed, edits)
    if writer.failure:
        raise CaptureError(writer.failure.partition(";")[0])
    return Edited(len(timeline), written)


def _refuse_target(source: str | Path, target: str | Path) -> None:
    if str(target) == "-":
        return
    try:
        same = os.path.samefile(source, target)
    except OSError:
        return
    if same:
        raise EditError(f"{target} is the capture that is edited: name another file for the changed one")


def _kept_connections(timeline: Timeline, edits: Edits) -> set[int]:
    if edits.session is None:
        return {connection.id for connection in timeline.index.connections}
    if not 1 <= edits.session <= len(timeline.sessions):
        there = f"sessions 1 to {len(timeline.sessions)}" if timeline.sessions else "no sessions"
        raise EditError(f"--session {edits.session}: there are {there}")
    return set(timeline.sessions[edits.session - 1].connections)


def _refuse_number(timeline: Timeline, number: int, edits: Edits) -> None:
    if not 1 <= number <= len(timeline):
        raise EditError(f"there is no message #{number}: there are messages 1 to {len(timeline)}")
    if edits.session is not None and timeline.place(number - 1).session != edits.session:
        raise EditError(f"message #{number} is not of session {edits.session}, which is all that is kept")
    if (number in edits.settings or number in edits.repeats) and _tail(timeline, number):
        raise EditError(f"message #{number} is larger than one packet: it can be dropped and delayed, no more")


def _tail(timeline: Timeline, number: int) -> list[int]:
    """The numbers of the frames that hold the rest of a message."""
    first = timeline.index.meta[number - 1]
    found: list[int] = []
    for row in range(number, len(timeline)):
        meta = timeline.index.meta[row]
        if connection_of(meta) != connection_of(first) or end_of(meta) != end_of(first):
            continue
        if kind_of(meta) is not FrameKind.CONTINUATION:
            break
        found.append(row + 1)
    return found


def _drops(timeline: Timeline, numbers: set[int]) -> set[int]:
    """What goes with a dropped message: the rest of it, and of a request the reply."""
    drops: set[int] = set()
    for number in numbers:
        answer = timeline.answers[number - 1]
        for one in (number, *([answer] if answer > number else [])):
            drops |= {one, *_tail(timeline, one)}
    return drops


def _changed(timeline: Timeline, number: int, settings: Sequence[FieldEdit]) -> Frame:
    """The message with all its settings made, in the order they were given."""
    frame, place = timeline.frame(number - 1), timeline.place(number - 1)
    name = timeline.message(number - 1).name
    if frame.kind is FrameKind.TOLD:
        raise EditError(f"message #{number} is told by a log: there are no bytes of it that could be set")
    header = place.channel.header
    if frame.kind is not FrameKind.MESSAGE or len(frame.data) < header.size:
        raise EditError(
            f"message #{number} has no {place.channel.family} header: there is nothing in it that could be set"
        )
    sized = False
    for setting in settings:
        try:
            frame = set_field(frame, place, setting.path, setting.value, sized)
        except DissectorError as error:
            raise EditError(f"--set {number}.{setting.path}: #{number} {name}: {error}") from None
        sized = sized or setting.path in SIZES
    return frame


def _write(
    writer: CaptureWriter,
    timeline: Timeline,
    kept: set[int],
    drops: set[int],
    changed: Mapping[int, Frame],
    edits: Edits,
) -> int:
    ids: dict[int, int] = {}
    events = [(row, event) for row, event in timeline.index.events if _is_kept(event, kept)]
    told = written = later_ns = waiting = 0

    def tell(row: int) -> None:
        nonlocal told
        while told < len(events) and events[told][0] <= row:
            event = events[told][1]
            told += 1
            if isinstance(event, Connection):
                opened = None if event.opened_ns is None else event.opened_ns + later_ns
                late, family = event.joined_late, event.family
                ids[event.id] = writer.open(event.path, event.ends, opened, late, family, event.timed).id
            elif isinstance(event, Closed):
                writer.close_connection(
                    replace(event, connection=ids[event.connection], time_ns=event.time_ns + later_ns, received=0),
                    silent=not event.received,
                )
            elif isinstance(event, Evidence):
                ends = tuple((ids[connection], end) for connection, end in event.ends if connection in ids)
                writer.evidence(replace(event, ends=ends, time_ns=event.time_ns + later_ns))
            else:
                connection = None if event.connection is None else ids[event.connection]
                writer.lost(Lost(connection, event.time_ns + later_ns, event.count))

    for number, original in enumerate(timeline.index.frames(), 1):
        tell(number - 1)
        if original.connection not in kept or number in drops:
            continue
        later_ns += edits.delays.get(number, 0)
        frame = changed.get(number, original)
        frame = replace(frame, connection=ids[frame.connection], time_ns=frame.time_ns + later_ns)
        size = FRAME_BYTES + len(frame.data) + DESCRIPTOR_BYTES * len(frame.descriptors)
        for _ in range(1 + edits.repeats.get(number, 0)):
            writer.frame(frame)
            written += 1
            waiting += size
            if waiting > WRITTEN_AT_ONCE:
                writer.flush()
                waiting = 0
    tell(len(timeline))
    writer.flush()
    return written


def _is_kept(event: Event, kept: set[int]) -> bool:
    """Whether it is about a connection that is kept, or about none."""
    match event:
        case Connection():
            return event.id in kept
        case Closed() | Lost():
            return event.connection is None or event.connection in kept
        case Exit() | Sample() | RingDump() | LogLine() | Fault() | OtherEvidence():
            return not event.ends or any(connection in kept for connection, _ in event.ends)
