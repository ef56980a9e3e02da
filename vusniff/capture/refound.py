"""Messages in packets that were written as bytes without a header, or behind a header that lied about its size.

A source of an older vusniff did not look for the next message behind a header that it could not read: all that followed
in that direction is in its captures, in packets that hold any number of messages. Owns how these are told apart. It
looks at one packet at a time, and costs time in proportion to its bytes.
"""

from __future__ import annotations

from typing import NamedTuple

from vusniff.channel import Channel
from vusniff.families.family import Family
from vusniff.record import Connection, FrameKind, is_named


class PacketPart(NamedTuple):
    """A part of a packet's bytes, which is a row of its own."""

    kind: FrameKind
    start: int
    stop: int
    missing: int
    """Bytes of the message that are in the packet behind it, or nowhere."""


class Refound:
    """Follows the directions of all connections of one file."""

    def __init__(self) -> None:
        self._due: dict[tuple[int, int], int] = {}
        """Connection and end -> bytes still to come of the message whose header ended the last such packet."""
        self.messages = 0
        """Found so far."""

    def pieces(
        self, family: Family, order: str, connection: Connection, end: int, kind: FrameKind, data: bytes
    ) -> list[PacketPart] | None:
        """The parts of a packet that is not what it was written as; None for one that is."""
        key = connection.id, end
        due = self._due.pop(key, 0)
        if family.find is None:
            return None
        channel = family.main if is_named(connection.path) else family.unknown
        if kind is FrameKind.MESSAGE:
            return self._implausible(family, order, channel, key, data)
        if kind is not FrameKind.RAW:
            return None
        found: list[PacketPart] = []
        at = min(due, len(data))
        if at:
            found.append(PacketPart(FrameKind.CONTINUATION, 0, at, 0))
            if due > at:
                self._due[key] = due - at
        self._split(family, order, channel, key, data, at, found)
        return None if all(piece.kind is FrameKind.RAW for piece in found) else found

    def _implausible(
        self, family: Family, order: str, channel: Channel, key: tuple[int, int], data: bytes
    ) -> list[PacketPart] | None:
        """A message of a size that is not believed ends where another surely begins."""
        size = family.main.header.size
        if family.find is None or family.largest is None or len(data) < size:
            return None
        request, _, told = family.main.header.read[order](data, 0)
        if told <= family.largest(channel, request):
            return None
        at = family.find(data, order, size, channel)
        if at is None:
            return None
        found = [PacketPart(FrameKind.MESSAGE, 0, at, 0)]
        self._split(family, order, channel, key, data, at, found)
        return found

    def _split(
        self,
        family: Family,
        order: str,
        channel: Channel,
        key: tuple[int, int],
        data: bytes,
        at: int,
        found: list[PacketPart],
    ) -> None:
        assert family.find is not None
        while at < len(data):
            begin = family.find(data, order, at, channel)
            if begin != at:
                found.append(PacketPart(FrameKind.RAW, at, len(data) if begin is None else begin, 0))
            if begin is None:
                return
            size = family.message_size(data, order, begin) or len(data) - begin
            at = min(begin + size, len(data))
            missing = begin + size - at
            found.append(PacketPart(FrameKind.MESSAGE, begin, at, missing))
            self.messages += 1
            if missing:
                self._due[key] = missing
