"""Rows of a capture in columns: what a reader hands on, a few thousand messages at a time.

Owns the columns and how a row is packed and unpacked. It must not know files.
"""

from __future__ import annotations

import functools
from array import array
from collections.abc import Callable, Iterator
from typing import TypeVar

from vusniff.capture import facts, pcapng
from vusniff.capture.stacks import Stacks
from vusniff.meta import OPTIONS, origin_of
from vusniff.record import NO_FACTS, Closed, Connection, Evidence, Facts, Frame, FrameFields, Lost
from vusniff.values import dataclass, field, replace

OFFSET_BITS = 48
"""A row's offset is ``file number << 48 | byte offset of its block``."""

Event = Connection | Closed | Lost | Evidence


_USUAL_FLAGS = pcapng.options("little", [(pcapng.EPB_FLAGS, bytes(4))])[:4]
_USUAL_NUMBER = pcapng.options("little", [(pcapng.EPB_PACKETID, bytes(8))])[:4]
_REMEMBERED_BYTES = 512
"""Longest options that are remembered."""


OptionFacts = tuple[Facts, str | None, bool]
"""What a packet's options say: facts without the call stack, its id, and whether the packet is restated."""


def said(options: bytes) -> OptionFacts:
    """What a packet's options say, which are in little-endian order."""
    # Direction and number come first and do not matter; the rest repeats, as the same descriptors are passed again.
    if options[:4] == _USUAL_FLAGS and options[8:12] == _USUAL_NUMBER:
        options = options[20:]
    return _said_often(options)


def _said(options: bytes) -> OptionFacts:
    prefix = facts.ENTERPRISE.to_bytes(4, "little")
    texts = (
        value[4:]
        for code, value in pcapng.parse_options("little", options)
        if code == pcapng.OPT_CUSTOM and value[:4] == prefix
    )
    return facts.parse_frame(texts)


Made = TypeVar("Made")


def remembered(make: Callable[[bytes], Made]) -> Callable[[bytes], Made]:
    """A function of a packet's options that remembers what it made of the last short ones: the same descriptors are
    passed again and again. Long ones are worked out each time, so that what is kept is bounded in bytes."""
    known = functools.lru_cache(maxsize=4096)(make)
    return lambda options: known(options) if len(options) <= _REMEMBERED_BYTES else make(options)


_said_often = remembered(_said)


NOTHING_SAID: OptionFacts = (NO_FACTS, None, False)
NO_STACKS = Stacks()
"""Of a capture without any."""


def frame_fields(meta: int, time_ns: int, data: bytes, options: bytes, missing: int, stacks: Stacks) -> FrameFields:
    """The fields of the frame of a row."""
    facts, stack, restated = said(options) if meta & OPTIONS else NOTHING_SAID
    if stack is not None:
        facts = replace(facts, stack=stacks.get(stack))
    connection, end, kind = origin_of(meta)
    return connection, end, time_ns, data, facts, kind, missing, restated


@dataclass(slots=True)
class Batch:
    """Consecutive rows of a capture. Columns are parallel: row n of each is the same message."""

    offset: array[int] = field(default_factory=lambda: array("Q"))
    """Where its block is, see `OFFSET_BITS`."""
    time_ns: array[int] = field(default_factory=lambda: array("Q"))
    request: array[int] = field(default_factory=lambda: array("I"))
    """By the header; 0 for a frame without one."""
    size: array[int] = field(default_factory=lambda: array("I"))
    """Payload bytes by the header; for a frame without one its bytes."""
    meta: array[int] = field(default_factory=lambda: array("I"))
    """See `vusniff.meta`."""
    data: list[bytes] = field(default_factory=list)
    """The bytes of each frame; empty when they were not asked for."""
    options: list[bytes] = field(default_factory=list)
    """The options of each packet in little-endian order, empty where there is nothing to say beyond direction and
    number; no entries when they were not asked for."""
    missing: dict[int, int] = field(default_factory=dict)
    """Row -> bytes that were sent but not captured, where there are any; only beside ``data``."""
    pieces: dict[int, list[int]] = field(default_factory=dict)
    """Row of a message that is larger than a packet -> the offsets of the packets that hold the rest of it."""
    parts: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    """Row -> first byte, the byte behind the last, and bytes missing, where a packet holds several rows."""
    events: list[tuple[int, Event]] = field(default_factory=list)
    """(row before which it stands, event), in order; a row equal to the length stands behind the last."""
    stacks: Stacks = NO_STACKS
    """Those of the capture that have been read so far."""

    def __len__(self) -> int:
        return len(self.offset)

    def frame(self, row: int) -> Frame:
        """One row as a frame; only of a batch with data."""
        missing = self.missing.get(row, 0)
        columns = self.meta[row], self.time_ns[row], self.data[row], self.options[row]
        return Frame(*frame_fields(*columns, missing, self.stacks))

    def rows(self) -> Iterator[FrameFields]:
        """All rows, as `frame` has them; only of a batch with data."""
        missing, stacks = self.missing, self.stacks
        columns = zip(self.meta, self.time_ns, self.data, self.options, strict=True)
        for row, (meta, time_ns, data, options) in enumerate(columns):
            yield frame_fields(meta, time_ns, data, options, missing.get(row, 0) if missing else 0, stacks)

    def records(self) -> Iterator[Event | Frame]:
        """Frames and events in order; only of a batch with data."""
        events = iter(self.events)
        at, event = next(events, (-1, None))
        for row in range(len(self)):
            while event is not None and at <= row:
                yield event
                at, event = next(events, (-1, None))
            yield self.frame(row)
        while event is not None:
            yield event
            at, event = next(events, (-1, None))

    def append(self, other: Batch, first: int, last: int) -> None:
        """Takes over rows ``first`` to before ``last`` of another batch, without its events."""
        before = len(self)
        self.offset.extend(other.offset[first:last])
        self.time_ns.extend(other.time_ns[first:last])
        self.request.extend(other.request[first:last])
        self.size.extend(other.size[first:last])
        self.meta.extend(other.meta[first:last])
        self.data.extend(other.data[first:last])
        self.options.extend(other.options[first:last])
        for row, missing in other.missing.items():
            if first <= row < last:
                self.missing[before + row - first] = missing
        for row, offsets in other.pieces.items():
            if first <= row < last:
                self.pieces[before + row - first] = offsets
        for row, part in other.parts.items():
            if first <= row < last:
                self.parts[before + row - first] = part
