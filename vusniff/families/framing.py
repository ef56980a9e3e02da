"""From chunks to frames: the only place that knows where one message ends and the next begins.

A send is not a message: libvhost-user writes header and payload of a reply one after the other, several messages may
wait in one receive. A `Framer` takes what was sent in one direction of one connection, cut in any way, and gives the
same frames for every cut. It knows where a message ends and nothing of what is in it: not who is the front-end, not
which channel this is.

A stream's family is that of its first header (`registry.recognised`) and stays the same. Bytes that are no header of it
are raw, and the next header that surely is one is looked for in them and in what follows (`Family.find`). A size which
no message of its kind has (`Family.largest`) is implausible: the message is read on, and ends where such a header is
found in what should be its payload. Raw bytes, and messages of an implausible size, are framed as they come, the former
in pieces of at most 64 KiB; only their concatenation does not depend on the cut.

Memory: one frame of at most FRAME_LIMIT bytes and DESCRIPTOR_LIMIT descriptors is held. Time: linear in bytes.
"""

from __future__ import annotations

import sys

from vusniff.channel import Channel
from vusniff.families.family import HEAD, Bytes, Family
from vusniff.families.registry import families, recognised
from vusniff.record import NO_FACTS, Chunk, Descriptor, Facts, Frame, FrameKind
from vusniff.values import replace

FRAME_LIMIT = 1 << 20
"""Bytes one frame holds at most; the rest of a larger message follows in CONTINUATION frames."""
RAW_LIMIT = 64 << 10
"""Bytes one raw frame holds at most."""
DESCRIPTOR_LIMIT = 1024
"""Descriptors one frame gathers; more of them, sent along with the middle of a message, start a CONTINUATION."""
BELIEVED = 1 << 10
"""Bytes of a message that are believed whatever it is."""


class Framer:
    """Cuts one direction of a connection into frames.

    ``late`` says that the stream is joined somewhere in its middle: bytes are raw up to the first header that surely is
    one (see `_search`). A hole in the stream (``Chunk.missing``, `gap`) that hides a message boundary leads to the same
    search. A hole within a payload is no such case: the frame ends there with ``missing`` set, and what follows the
    hole of that payload is a CONTINUATION.

    ``channel`` decides which sizes are believed; None: the stream is part of what no other connection has opened.

    Descriptors belong to the frame that holds the byte they were sent with. Those of another byte than a message's
    first are told apart (`Descriptor.late`).
    """

    __slots__ = (
        "_buffer",
        "_channel",
        "_continues",
        "_facts",
        "_found",
        "_implausible",
        "_known",
        "_lost",
        "_order",
        "_rest",
        "_seen_ns",
        "_stream",
        "_time_ns",
        "_want",
        "family",
        "framed",
    )

    def __init__(self, order: str = sys.byteorder, late: bool = False, channel: Channel | None = None) -> None:
        self.family: Family | None = None
        """Known since the first header."""
        self._order = order
        self._want = HEAD
        self._channel = channel
        self._lost = late
        """Where the next message begins is not known."""
        self._stream = (0, 0)
        self._seen_ns = 0
        self._found = 0
        self.framed = False
        """What was shown to `due` last has a message's header."""
        self._expect_header()

    def feed(self, chunk: Chunk) -> list[Frame]:
        """The frames that this chunk completes."""
        data = chunk.data
        frames: list[Frame] = []
        self._stream = (chunk.connection, chunk.end)
        self._seen_ns = chunk.time_ns
        if not data and not chunk.missing:
            if chunk.descriptors:  # they belong to no byte: shown now, and not kept until one comes
                frames.append(Frame(*self._stream, chunk.time_ns, b"", chunk.facts, FrameKind.RAW))
            return frames
        if self._lost or self._implausible:
            at = self._search(data, chunk.missing)
            if at:
                self._take(replace(chunk, data=data[:at], missing=0), frames)
                chunk = replace(chunk, data=data[at:], facts=chunk.facts.without_descriptors())
            if at is not None:
                self._begin_anew(frames)
        self._take(chunk, frames)
        return frames

    def _begin_anew(self, frames: list[Frame]) -> None:
        """The next byte begins a message. A message that is not complete by now gets no more bytes."""
        if self._known:
            if self._buffer or not self._continues:
                frames.append(self._cut_short(0))
            self._expect_header()
        self._lost = False

    def _take(self, chunk: Chunk, frames: list[Frame]) -> None:
        """Frames a chunk, of which it is known whether it begins a message."""
        data = chunk.data
        if self._lost:
            self._feed_raw(chunk, data, frames)
            return

        if self._buffer and chunk.descriptors:
            self._add_descriptors(chunk.descriptors, frames)
        if not self._buffer:
            self._start(chunk, chunk.facts)
        offset, length = 0, len(data)
        while offset < length:
            if not self._known and not self._buffer and length - offset >= HEAD:
                # Whole messages in one chunk need no copy through the buffer.
                total = self._size(data, offset)
                if (
                    total is not None
                    and total <= length - offset
                    and total <= FRAME_LIMIT
                    and (total <= BELIEVED or self._believes(data, offset, total))
                ):
                    message = data[offset : offset + total]
                    frames.append(Frame(*self._stream, chunk.time_ns, message, self._facts))
                    offset += total
                    self._start(chunk, chunk.facts.without_descriptors())
                    continue
            taken = data[offset : offset + self._want - len(self._buffer)]
            self._buffer += taken
            offset += len(taken)
            if len(self._buffer) < self._want:
                break
            if not self._known:
                total = self._size(self._buffer)
                if total is None:
                    rest = bytes(self._buffer) + data[offset:]
                    at = self._find(rest, 1)
                    if at is None:
                        self._lost = True
                        self._feed_raw(chunk, rest, frames)
                        return
                    self._feed_raw(replace(chunk, missing=0), rest[:at], frames)
                    self._start(chunk, chunk.facts.without_descriptors())
                    self._buffer += rest[at:HEAD]
                    offset += max(at - HEAD, 0)
                    continue
                self._implausible = total > BELIEVED and not self._believes(self._buffer, 0, total)
                self._expect(total)
                at = self._find(data, offset) if self._implausible else None
                if at is not None:
                    facts = chunk.facts.without_descriptors()
                    self._take(replace(chunk, data=data[offset:at], facts=facts, missing=0), frames)
                    self._begin_anew(frames)
                    offset = at
                    self._start(chunk, chunk.facts.without_descriptors())
                    continue
                if len(self._buffer) < self._want:
                    continue
            frames.append(self._finish())
            self._start(chunk, chunk.facts.without_descriptors())
        if chunk.missing:
            self._skip(chunk, frames)

    def _believes(self, header: Bytes, offset: int, total: int) -> bool:
        """Whether the message whose header stands at an offset may have so many bytes."""
        family = self.family
        if family is None or family.largest is None:
            return True
        request = family.main.header.read[self._order](header, offset)[0]
        return total - family.main.header.size <= family.largest(self._channel_of(family), request)

    def _channel_of(self, family: Family) -> Channel:
        if self._channel is None:
            return family.main
        return self._channel if self._channel.family == family.name else family.unknown

    def _find(self, data: Bytes, start: int) -> int | None:
        """Where the first header stands in bytes that may be anything, ``start`` or behind; None for nowhere."""
        for family in (self.family,) if self.family else families().values():
            at = family.find(data, self._order, start, self._channel_of(family)) if family.find else None
            if at is not None:
                self.family = family
                return at
        return None

    def _search(self, data: Bytes, missing: int) -> int | None:
        """As `_find`; after a loss a header with which a send begins is believed sooner (`_begins_message`)."""
        if self._lost and self._begins_message(data, missing):
            return 0
        return self._find(data, 0)

    def _size(self, header: Bytes, offset: int = 0) -> int | None:
        """Bytes of the message whose header stands at an offset; None when that is none."""
        if self.family is None:
            self.family = recognised(header, self._order, offset)
            if self.family is None:
                return None
        return self.family.message_size(header, self._order, offset)

    def due(self, waiting: memoryview) -> int:
        """How many bytes to feed next so that they end where a message ends; ``waiting`` are the bytes that can be read
        now.

        All of them where they do not tell where the message ends; more than all of them for a message of which the rest
        has yet to come. Sets `framed`: whether the end of the message is known.
        """
        self._found = 0
        self.framed = True
        if self._lost or self._implausible:
            at = self._search(waiting, 0)
            if at == 0:
                return self._size(waiting) or len(waiting)
            self.framed = self._known
            most = len(waiting) if at is None else at
            return min(self._left(), most) if self._known and at is not None else self._left() or most
        if self._known:
            return self._left()
        lacking = HEAD - len(self._buffer)
        header = self._buffer + waiting[:lacking] if self._buffer else waiting
        total = self._size(header) if len(waiting) >= lacking else None
        if total is None:
            self.framed = False
            at = self._find(self._buffer + waiting, 1) if len(waiting) >= lacking else None
            return len(waiting) if at is None or at <= len(self._buffer) else at - len(self._buffer)
        if total > BELIEVED and not self._believes(header, 0, total):
            at = self._find(waiting, lacking)
            return total - len(self._buffer) if at is None else at
        if self._buffer:
            return total - len(self._buffer)
        if total <= FRAME_LIMIT:
            self._found = total
        return total

    @property
    def begins(self) -> bool:
        """The next byte begins a message."""
        return not self._known and not self._buffer

    def header(self, data: bytes) -> tuple[int, int] | None:
        """Request and flags of the message that ``data`` belongs to, which is to be fed next; None where no header
        tells."""
        if self._lost or self._implausible:
            if self._search(data, 0) != 0:
                return None
            head = b""
        elif self._continues:
            return None
        else:
            head = bytes(self._buffer[:HEAD])
        head += data[: HEAD - len(head)]
        if len(head) < HEAD or self._size(head) is None or self.family is None:
            return None
        request, flags, _ = self.family.main.header.read[self._order](head, 0)
        return request, flags

    def is_message(self, data: bytes) -> bool:
        """Whether ``data``, the bytes that `due` asked for last, are one frame. The caller then makes the frame itself
        and does not feed them."""
        return len(data) == self._found

    def end(self, time_ns: int, closed: bool = False) -> list[Frame]:
        """What is left of an unfinished message when the stream ends at ``time_ns``.

        ``closed``: its sender has closed it, so nothing more was sent. Else a message whose header is whole says how
        many bytes are missing. Less than a header is raw.
        """
        frames: list[Frame] = []
        if self._known or self._buffer:
            if not self._buffer:
                self._time_ns = time_ns
            left = 0 if closed or self._implausible else self._left()
            if left or self._buffer or self._facts.descriptors:
                frames.append(self._cut_short(left))
        self._expect_header()
        return frames

    def release(self) -> list[Frame]:
        """What has come of a message of an implausible size. To be asked when the other side speaks: what it says then
        comes later, and may be no answer to what the rest would be."""
        if not self._implausible or not self._buffer:
            return []
        left = self._left()
        frame = self._cut_short(0)
        self._continue(left)
        return [frame]

    def gap(self) -> list[Frame]:
        """Sends were lost here: gives what is left of an unfinished message, and looks for the next header."""
        frames = self.end(self._seen_ns)
        self._lost = True
        return frames

    def _expect_header(self) -> None:
        self._buffer = bytearray()
        self._known = False
        self._continues = False
        self._implausible = False
        self._want = HEAD
        self._rest = 0
        self._time_ns = 0
        self._facts: Facts = NO_FACTS

    def _expect(self, total: int) -> None:
        """The current frame belongs to a message of which ``total`` bytes, from the frame's first byte on, are due."""
        self._known = True
        self._want = min(total, FRAME_LIMIT)
        self._rest = total - self._want

    def _start(self, chunk: Chunk, facts: Facts) -> None:
        """The next byte, which is this chunk's, is the first of a frame."""
        self._time_ns = chunk.time_ns
        self._facts = _with_late(facts, (), facts.descriptors) if facts.descriptors and self._continues else facts

    def _add_descriptors(self, descriptors: tuple[Descriptor, ...], frames: list[Frame]) -> None:
        there = self._facts.descriptors
        if self._known and descriptors and len(there) + len(descriptors) > DESCRIPTOR_LIMIT:
            left = self._left()
            frames.append(self._cut_short(0))
            self._continue(left)
        else:
            self._facts = _with_late(self._facts, there, descriptors)

    def _left(self) -> int:
        """Bytes of the current message that are still to come."""
        return self._want - len(self._buffer) + self._rest if self._known else 0

    def _finish(self) -> Frame:
        """The current frame, which is whole; the next one is its continuation or a new message."""
        frame = self._cut_short(0)
        self._continue(self._rest)
        return frame

    def _cut_short(self, missing: int) -> Frame:
        kind = FrameKind.CONTINUATION if self._continues else FrameKind.MESSAGE
        if not self._known:
            kind = FrameKind.RAW
        return Frame(*self._stream, self._time_ns, bytes(self._buffer), self._facts, kind, missing)

    def _continue(self, left: int) -> None:
        """A frame is done and ``left`` bytes of its message are due."""
        if left:
            implausible = self._implausible
            self._expect_header()
            self._continues, self._implausible = True, implausible
            self._expect(left)
        else:
            self._expect_header()

    def _skip(self, chunk: Chunk, frames: list[Frame]) -> None:
        """Bytes behind this chunk were not captured."""
        missing = chunk.missing
        left = self._left()
        if self._known and missing <= left:
            frames.append(self._cut_short(missing))
            self._continue(left - missing)
            return
        # A boundary is somewhere in the hole.
        frames.append(self._cut_short(left if self._known else missing))
        if self._known:
            facts = chunk.facts.without_descriptors()
            frames.append(Frame(*self._stream, chunk.time_ns, b"", facts, FrameKind.RAW, missing - left))
        self._expect_header()
        self._lost = True

    def _begins_message(self, data: Bytes, missing: int) -> bool:
        """Whether a send, with nothing known of what went before, begins with a header; ``missing`` more bytes of it
        were not captured.

        Payloads hold small numbers too, so more is asked here: see `Family.begins`; and a send that holds the whole
        message, or exactly its header, as libvhost-user writes it.
        """
        if len(data) < HEAD:
            return False
        family = self.family or recognised(data, self._order, anywhere=True)
        total = None if family is None else family.begins(data, self._order, 0)
        if family is None or total is None:
            return False
        if len(data) != family.main.header.size and total > len(data) + missing:
            return False
        self.family = family
        return True

    def _feed_raw(self, chunk: Chunk, data: bytes, frames: list[Frame]) -> None:
        """Makes a frame of ``data``, which ends with this chunk."""
        time_ns, facts = (self._time_ns, self._facts) if self._buffer else (chunk.time_ns, chunk.facts)
        self._expect_header()
        for start in range(0, max(len(data), 1), RAW_LIMIT):
            piece = data[start : start + RAW_LIMIT]
            missing = chunk.missing if start + RAW_LIMIT >= len(data) else 0
            frames.append(Frame(*self._stream, time_ns, piece, facts, FrameKind.RAW, missing))
            facts = facts.without_descriptors()


def _with_late(facts: Facts, there: tuple[Descriptor, ...], late: tuple[Descriptor, ...]) -> Facts:
    """Facts with the descriptors that are there, and with those that came behind the first byte of their message."""
    return Facts((*there, *(replace(one, late=True) for one in late)), facts.process, facts.stack)
