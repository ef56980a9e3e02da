"""Writes a capture file: connections become interfaces, frames become packets, losses become counters.

Owns how records become blocks and what happens when they cannot be written. It must not know sources, sessions or
decoded messages; of vhost-user it knows the header and the names, for the text that Wireshark shows without a plugin.
What the blocks of evidence say is `evidence`'s.

There may be any number of connections. A connection becomes an interface with its first frame or loss, so one on which
nothing is said takes no space in the file. What is known of it here is freed when it ends. When the interfaces of a
section are used up, a new section begins with the same header. A connection that goes on there gets another interface,
whose facts say that it continues one (see `facts`); readers know only one connection.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from vusniff.capture import blocks, evidence, facts, pcapng
from vusniff.capture.bound import Bound
from vusniff.capture.output import DescriptorOutput, open_output
from vusniff.capture.packet import FRAME_LIMIT, INTERFACE_LIMIT, LEAD_SIZE
from vusniff.capture.stacks import Written
from vusniff.capture.waiting import WaitingBlocks
from vusniff.capture.written import COUNT_LIMIT, WrittenConnection, WrittenConnections
from vusniff.channel import Channel
from vusniff.distributions import version
from vusniff.families.family import Family
from vusniff.record import Closed, Connection, End, Evidence, Facts, Frame, FrameKind, Lost, Process
from vusniff.values import replace

_CACHE_LIMIT = 4096
_STATISTICS = 512
"""Bytes that the statistics of a connection take at most, for its end to fit into a bound."""
_CACHED_BYTES = 2048
"""Largest of the options that are kept: 250 descriptors take 250 times as much as one."""
_WAITING_BLOCKS = 64
"""Blocks other than packets that wait for a capture that cannot be written; beyond it connections are only counted."""
_DIRECTIONS = (pcapng.FLAG_OUTBOUND, pcapng.FLAG_INBOUND)
_PADS = (b"", bytes(3), bytes(2), bytes(1))


class CaptureWriter:
    """Writes one capture. Only construction raises (`CaptureError`); afterwards a failing file is said in `failure`.

    ``target`` is a path, ``-`` for standard output, a binary file, or an output that is open; `open_output` says what
    becomes of a file that is there already (``replaces``). ``order`` is the byte order of the messages, and of the
    file. ``edited`` says what was done to the messages since they were captured. At its ``bound`` the file is finished.
    ``keeps_ended`` frees nothing: for callers that copy a capture, in which damage may put a message behind the end
    of its connection. ``interfaces`` is how many a section may have.
    """

    def __init__(
        self,
        target: str | Path | BinaryIO | DescriptorOutput,
        *,
        source: str,
        replaces: bytes | None = pcapng.MAGIC,
        snaplen: int = 0,
        order: str = sys.byteorder,
        host: facts.Host | None = None,
        application: str | None = None,
        edited: tuple[str, ...] = (),
        bound: Bound | None = None,
        keeps_ended: bool = False,
        interfaces: int = INTERFACE_LIMIT,
    ) -> None:
        self.order = order
        self.snaplen = snaplen
        self.failure: str | None = None
        """Why nothing can be written now, as a sentence; None while all is well."""
        self.lost_frames = 0
        """Frames that could not be written so far."""
        self.stopped: str | None = None
        """Why the file was finished at its bound, as a sentence; what comes since then is only counted."""
        self.closed = False
        """Nothing is written any more."""
        self._out = open_output(target, replaces)
        self._waiting = WaitingBlocks(self._out, bound, self._take_back)
        self._limit = interfaces
        self._connections = WrittenConnections(keeps_ended)
        self._described: dict[int, WrittenConnection] = {}
        """By interface of this section: those of which something may still be in ``_waiting``."""
        self._ended: list[WrittenConnection] = []
        """Those of them that have ended since the last flush."""
        self._begun = self._used = 0
        """Connections that have got an interface, and interfaces of this section."""
        self._lost_anywhere: Lost | None = None
        self.number = 0
        """Messages written so far: the number of the last."""
        self._stacks = Written()
        self.kept_stacks = 0
        """Messages whose callers are in the file."""
        self.lost_stacks = 0
        """Messages whose call stack could not be kept, because there were too many distinct ones."""
        self._extras: dict[object, bytes] = {}
        self._last_ns = 0
        self._header = pcapng.structs(order, "IIIIIII").pack
        self._tail = pcapng.structs(order, "HHIHHQII").pack
        self._flags = pcapng.structs(order, "HHIHHQ").pack
        self._end = pcapng.structs(order, "II").pack
        section = facts.Section(source, order, snaplen, host or facts.Host.here(), edited=edited)
        application = application or f"vusniff {version()}"
        self._section_header = blocks.section(section, application)
        self._waiting.blocks.append(self._section_header)
        self.flush()

    def open(
        self,
        path: str,
        ends: tuple[End, End] = (End(), End()),
        opened_ns: int | None = None,
        joined_late: bool = False,
        family: str | None = None,
        timed: bool = True,
        restated: int = 0,
    ) -> Connection:
        """A connection begins: gives it its id. Where its ``family`` is not known yet, the first frame tells."""
        connection = Connection(0, path, ends, opened_ns, joined_late, family or "", timed, restated)
        return self._connections.open(connection, keep=self.stopped is None)

    @property
    def written(self) -> int:
        """Bytes written so far, before they are compressed."""
        return self._waiting.written

    def carried(self, connection: int) -> tuple[Family, Channel] | None:
        """What a connection carries; None before its first frame."""
        return self._connections.carried(connection)

    def passed(self, *inodes: int) -> Channel | None:
        """What a socket carries that was passed as a descriptor in a message that says so; None for any other."""
        return self._connections.passed(*inodes)

    def frame(self, frame: Frame, comments: Sequence[bytes] = ()) -> int:
        """One frame, written by the next `flush`; returns its number. One longer than a packet takes several.

        ``comments`` are UTF-8 for people and for Wireshark, a line each; vusniff does not read them back.
        """
        if self.stopped is not None:
            self.lost_frames += frame.kind is not FrameKind.CONTINUATION
            return self.number
        data = frame.data
        size = len(data)
        missing = frame.missing
        if size > FRAME_LIMIT or self.snaplen:
            if self.snaplen and size > self.snaplen:
                data, missing, size = data[: self.snaplen], missing + size - self.snaplen, self.snaplen
            if size > FRAME_LIMIT:
                return self._split(frame, data, missing, comments)
        interface = self._connections.going[frame.connection]
        if interface.family is None:
            interface.recognise(frame.data, self.order)
        if interface.number is None and not self._describe(interface):
            return self._skip(frame)
        if frame.stack is not None:
            frame = self._with_stack(frame)
        end = frame.end
        process = frame.process
        plain = not frame.kind and not frame.descriptors
        tags = interface.leads[end].get(data[interface.kind]) if plain else None
        if tags is None:
            tags, opened = interface.tags(frame, self.order)
            if opened is not None:
                self._connections.note_passed(opened, frame.descriptors[0])
        if process is not None and process is not interface.process[end]:
            self._spoken(interface, end, process)
        if plain and frame.stack is None and not frame.restated and not interface.lost and self._lost_anywhere is None:
            extra = interface.process_texts[end] if process is not None else b""
        else:
            extra = self._extra(interface, frame)
        for comment in comments:
            extra += pcapng.option(self.order, pcapng.OPT_COMMENT, comment)
        self.number += 1
        if frame.kind is not FrameKind.CONTINUATION:
            interface.written += 1
        time_ns = self._last_ns = frame.time_ns
        captured = size + LEAD_SIZE
        pad = _PADS[size & 3]
        total = captured + len(pad) + len(extra) + 56
        header = self._header(
            pcapng.ENHANCED_PACKET,
            total,
            interface.number,
            time_ns >> 32 & 0xFFFFFFFF,
            time_ns & 0xFFFFFFFF,
            captured,
            captured + missing & 0xFFFFFFFF,
        )
        if extra:
            flags = self._flags(pcapng.EPB_FLAGS, 4, _DIRECTIONS[end], pcapng.EPB_PACKETID, 8, self.number)
            block = b"".join((header, tags, data, pad, flags, extra, self._end(0, total)))
        else:
            tail = self._tail(pcapng.EPB_FLAGS, 4, _DIRECTIONS[end], pcapng.EPB_PACKETID, 8, self.number, 0, total)
            block = b"".join((header, tags, data, pad, tail))
        self._waiting.blocks.append(block)
        return self.number

    def lost(self, lost: Lost) -> None:
        """A gap: counted at the next packet of its connection (of any, where it is not known) or at its end."""
        if self.stopped is not None:
            return
        if lost.connection is None:
            before = self._lost_anywhere
            count = min(before.count + lost.count, COUNT_LIMIT) if before else lost.count
            self._lost_anywhere = Lost(None, before.time_ns if before else lost.time_ns, count)
        else:
            self._connections.going[lost.connection].lose(lost.count, lost.time_ns)

    def evidence(self, one: Evidence, by_file: bool = False) -> None:
        """Evidence other than a message, written by the next `flush` behind what came before it.

        Connections that are not in the file are not named; evidence that is about these only is left out. ``by_file``:
        it names connections as the file does, because it was learned from the file.
        """
        named = tuple(
            (ordinal, end) for connection, end in one.ends if (ordinal := self._connections.ordinal(connection))
        )
        if by_file:
            named = one.ends
        if one.ends and not named:
            return
        if self.failure is not None and len(self._waiting.blocks) >= _WAITING_BLOCKS:
            return  # what is missing from the capture has been said
        for piece in evidence.pieces(one if named == one.ends else replace(one, ends=named)):
            self._waiting.blocks.append(blocks.own_block(self.order, evidence.build(piece)))

    def describe(self, connection: int) -> int:
        """Write that a connection is there, though nobody may have said anything on it; which one of the file it is,
        0 where it is not written."""
        interface = self._connections.going[connection]
        return interface.ordinal if interface.number is not None or self._describe(interface) else 0

    def announce(self, frame: Frame) -> None:
        """Write that the connection of a frame is there, for what is to be said of the frame before it."""
        interface = self._connections.going[frame.connection]
        if interface.family is None:
            interface.recognise(frame.data, self.order)
        if interface.number is None:
            self._describe(interface)

    def close_connection(self, closed: Closed, silent: bool = False) -> None:
        """A connection ends: its statistics, unless nothing is in the capture that they could be of.

        ``silent`` tells of it also where nobody has said anything on it: for sources that know what it was for.
        """
        if self.stopped is not None:
            return
        interface = self._connections.going[closed.connection]
        interface.closed = True
        if interface.ordinal or interface.lost or silent:
            self._statistics(interface, closed, closed.time_ns)
        if self._connections.close(interface) and interface.number is not None:
            self._ended.append(interface)

    def flush(self) -> None:
        """Hands everything so far to the kernel, in one write where it takes it. Never raises."""
        waiting = self._waiting
        data = waiting.data()
        if not data:
            return
        reserved = _STATISTICS * len(self._connections.going)
        if waiting.is_due(len(data) + reserved) and (full := waiting.ask(len(data) + reserved)) is not None:
            self._finish_at_bound(full[0] - reserved - len(data) + sum(map(len, waiting.blocks)), full[1])
            return
        if (why := waiting.write(data)) is not None:
            self._fail(why)
            return
        self.failure = None
        if self._ended:
            self._free()

    def _finish_at_bound(self, room: int, why: str) -> None:
        """Finishes the file with those of the waiting blocks that fit."""
        self._waiting.trim(room, lambda block: blocks.is_own(self.order, block))
        self.close()
        self._waiting.discard()
        self.failure = None
        self.stopped = f"recording has stopped: {why}"

    def close(self) -> None:
        """Writes the statistics of connections that are still open and what else is left, and closes the file."""
        for interface in [*self._ended, *self._connections.going.values()]:
            if interface.closed and interface.lost:
                self._statistics(interface, None, self._last_ns)
            elif not interface.closed:
                number = interface.connection.id
                self.close_connection(Closed(number, self._last_ns, "capture ended", None, interface.written))
        if self._lost_anywhere:
            self._waiting.blocks.append(blocks.lost_anywhere(self.order, self._lost_anywhere))
            self._lost_anywhere = None
        self.flush()
        self.closed = True
        if (error := self._out.finish()) is not None:
            self._waiting.fail()
            self._fail(error)
        self._out.close()

    def __enter__(self) -> CaptureWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- interfaces ---------------------------------------------------------------------------------------------------

    def _describe(self, interface: WrittenConnection) -> bool:
        """Gives a connection an interface in this section; False when too much waits to be written already."""
        if self.failure is not None and len(self._waiting.blocks) >= _WAITING_BLOCKS:
            return False
        if self._used >= self._limit:
            self._begin_section()
        continues = interface.ordinal
        if not continues:
            self._begun += 1
            interface.ordinal = self._begun
        interface.number = self._used
        self._used += 1
        self._described[interface.number] = interface
        self._waiting.blocks.append(blocks.interface(self.order, self.snaplen, interface.connection, continues))
        return True

    def _begin_section(self) -> None:
        """The interfaces of this section are used up.

        Its packets are written or taken back before the next begins, because what is taken back is found by number.
        """
        self.flush()
        for interface in self._described.values():
            interface.number = None
        self._described.clear()
        self._used = 0
        self._stacks.begin_section()
        self._waiting.blocks.append(self._section_header)

    def _free(self) -> None:
        """All blocks are written: connections that have ended are forgotten, once it is said what they lost."""
        ended, self._ended = self._ended, []
        for interface in ended:
            if interface.lost:
                self._statistics(interface, None, self._last_ns)
            if interface.number is not None:
                self._described.pop(interface.number, None)
        if self._waiting.blocks:
            self.flush()

    def _skip(self, frame: Frame) -> int:
        """Counts a frame as lost because its connection cannot be described now."""
        self.lost_frames += 1
        self.lost(Lost(None, frame.time_ns, 1))
        return self.number

    # -- packets ------------------------------------------------------------------------------------------------------

    def _split(self, frame: Frame, data: bytes, missing: int, comments: Sequence[bytes]) -> int:
        number = 0
        kind = frame.kind
        for at in range(0, len(data), FRAME_LIMIT):
            part = data[at : at + FRAME_LIMIT]
            last = at + FRAME_LIMIT >= len(data)
            piece = replace(frame, data=part, kind=kind, missing=missing if last else 0)
            if at:
                piece = replace(piece, facts=Facts(process=frame.process))
            sent = self.frame(piece, () if at else comments)
            number = number or sent
            kind = FrameKind.CONTINUATION if kind is FrameKind.MESSAGE else kind
        return number

    def _spoken(self, interface: WrittenConnection, end: int, process: Process) -> None:
        """Another process speaks for an end than before: keeps the option that names it, so that it is built once."""
        interface.process[end] = process
        same = process == interface.connection.ends[end].process
        text = facts.frame_facts(Frame(0, 0, 0, b""), None if same else process, None, None)
        interface.process_texts[end] = blocks.own_options(self.order, text)

    def _extra(self, interface: WrittenConnection, frame: Frame) -> bytes:
        """The options of a packet beyond direction and number."""
        process = frame.process
        if process == interface.connection.ends[frame.end].process:
            process = None
        if interface.lost or self._lost_anywhere:
            built = b""
            lost_ns = None
            if interface.lost:
                built = blocks.drop_count(self.order, interface.lost)
                lost_ns = interface.lost_ns
            anywhere = self._lost_anywhere
            texts = facts.frame_facts(frame, process, lost_ns, (anywhere.count, anywhere.time_ns) if anywhere else None)
            interface.lost, self._lost_anywhere = 0, None
            return built + blocks.options(self.order, texts, frame)
        key = (frame.descriptors, process, frame.kind, frame.stack and frame.stack.id, frame.restated)
        extra = self._extras.get(key)
        if extra is None:
            extra = blocks.options(self.order, facts.frame_facts(frame, process, None, None), frame)
            if len(extra) <= _CACHED_BYTES:
                if len(self._extras) >= _CACHE_LIMIT:
                    self._extras.clear()
                self._extras[key] = extra
        return extra

    def _with_stack(self, frame: Frame) -> Frame:
        """The frame, with its call stack in the file; without it when there is no room for one more."""
        assert frame.stack is not None
        said = self._stacks.add(frame.stack, frame.time_ns)
        if said is None:
            self.lost_stacks += 1
            return replace(frame, facts=frame.facts.without_stack())
        self.kept_stacks += bool(frame.stack.entries)
        if said:
            self._waiting.blocks.append(blocks.own_block(self.order, said))
        return frame

    def _statistics(self, interface: WrittenConnection, closed: Closed | None, time_ns: int) -> None:
        """Why a connection ended; without that, only what was lost after its end was written."""
        if interface.number is None and not self._describe(interface):
            if interface.lost:
                self.lost(Lost(None, interface.lost_ns, interface.lost))
                interface.lost = 0
            return
        assert interface.number is not None
        connection = interface.connection
        lost = Lost(connection.id, interface.lost_ns, interface.lost) if interface.lost else None
        interface.lost = 0
        received, dropped = (closed.received, closed.lost) if closed else (0, 0)
        counts = max(received, interface.written), max(dropped, interface.dropped)
        self._waiting.blocks.append(
            blocks.statistics(self.order, interface.number, connection, closed, counts, lost, time_ns)
        )

    # -- when it cannot be written ------------------------------------------------------------------------------------

    def _fail(self, why: OSError) -> None:
        self.failure = (
            f"cannot write the capture to {self._out.name}: {why.strerror or why}; traffic goes on, "
            f"messages are only counted until it can be written again ({self.lost_frames} so far)"
        )

    def _take_back(self, block: bytes) -> bool:
        """Counts a packet as lost; False for a block that is none."""
        told = blocks.losses_of(self.order, block)
        if told is None:
            return False
        interface = self._described[told.interface]
        for lost in told.anywhere:
            self.lost(lost)
        if told.before:
            interface.dropped -= told.before
            interface.lose(told.before, told.lost_ns)
        self.number -= 1
        if not (told.continues and interface.lost):  # the rest of a message that is counted already
            interface.lose(1, told.time_ns)
            self.lost_frames += 1
        if not told.continues:
            interface.written -= 1
        return True
