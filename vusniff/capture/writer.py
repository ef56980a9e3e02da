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

from vusniff.capture import evidence, facts, pcapng
from vusniff.capture.bound import Bound
from vusniff.capture.output import DescriptorOutput, open_output
from vusniff.capture.packet import DISSECTOR_DATA, FRAME_LIMIT, INTERFACE_LIMIT, LEAD_SIZE, dissector_of, lead
from vusniff.capture.stacks import Written
from vusniff.channel import Channel
from vusniff.distributions import version
from vusniff.families.family import HEAD, Family
from vusniff.families.registry import FIRST, family_named, recognised
from vusniff.passed_sockets import PassedSockets
from vusniff.record import Closed, Connection, End, Evidence, Frame, FrameKind, Lost, Process
from vusniff.told import parse as parse_told
from vusniff.values import replace

_CACHE_LIMIT = 4096
_RESTATED = b"restated: sent before this file begins"
_STATISTICS = 512
"""Bytes that the statistics of a connection take at most, for its end to fit into a bound."""
_CACHED_BYTES = 2048
"""Largest of the options that are kept: 250 descriptors take 250 times as much as one."""
_COUNT_LIMIT = (1 << 64) - 1
"""Most that a count in the file can say."""
_WAITING_BLOCKS = 64
"""Blocks other than packets that wait for a capture that cannot be written; beyond it connections are only counted."""
_ENDED = 1024
"""Connections that have ended and can still be named by evidence."""
_DIRECTIONS = (pcapng.FLAG_OUTBOUND, pcapng.FLAG_INBOUND)
_PADS = (b"", bytes(3), bytes(2), bytes(1))


def _text(words: str) -> bytes:
    return words.encode("utf-8", "backslashreplace")


def _is_evidence(order: str, block: bytes) -> bool:
    return bool(pcapng.structs(order, "I").unpack_from(block)[0] == pcapng.CUSTOM)


class _WrittenConnection:
    """What the writer knows of one connection."""

    __slots__ = (
        "channel",
        "closed",
        "connection",
        "dropped",
        "family",
        "kind",
        "leads",
        "lost",
        "lost_ns",
        "number",
        "ordinal",
        "process",
        "process_texts",
        "written",
    )

    def __init__(self, connection: Connection, channel: Channel | None) -> None:
        self.connection = connection
        self.channel = channel
        self.family: Family | None = None
        """Known with the first frame at the latest, and the channel with it."""
        self.kind = slice(0)
        """The bytes of a message that tell request and flags."""
        self.number: int | None = None
        """Of its interface in this section; None while it has none there."""
        self.ordinal = 0
        """How many connections of the file had an interface when it got its first; 0 for one without."""
        self.leads: tuple[dict[bytes, bytes], dict[bytes, bytes]] = ({}, {})
        """By end: request, flags and, if there are any, number of descriptors -> the tags of such a message."""
        self.process: list[Process | None] = [end.process for end in connection.ends]
        """The process that spoke last for each end, and the option that names it; empty for the one that opened it."""
        self.process_texts = [b"", b""]
        self.lost = 0
        """Messages lost since the last packet; ``dropped``: of all."""
        self.dropped = 0
        self.lost_ns = 0
        self.written = 0
        """Messages; those in several packets once."""
        self.closed = False

    def join(self, family: Family) -> None:
        """It is one of this family."""
        self.family = family
        self.channel = self.channel or family.main
        self.kind = family.main.header.kind

    @property
    def inodes(self) -> list[int]:
        """Of its ends, where they are known."""
        return [end.inode for end in self.connection.ends if end.inode is not None]


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
        self._bound = bound
        self._written = 0
        self._look_at = sys.maxsize if bound is None else 0
        """Bytes at which the bound is to be asked."""
        self._out = open_output(target, replaces)
        self._keeps_ended = keeps_ended
        self._limit = interfaces
        self._interfaces: dict[int, _WrittenConnection] = {}
        """By connection: those that have not ended."""
        self._described: dict[int, _WrittenConnection] = {}
        """By interface of this section: those of which something may still be in ``_blocks``."""
        self._ended: list[_WrittenConnection] = []
        """Those of them that have ended since the last flush."""
        self._by_inode: dict[int, _WrittenConnection] = {}
        """Those that have not ended, by the sockets of their ends."""
        self._ended_ordinals: dict[int, int] = {}
        """Connection -> ordinal, of the last that have ended: a process ends after its connections."""
        self._opened = self._begun = self._used = 0
        """Connections that were opened, those that have got an interface, and interfaces of this section."""
        self._passed: PassedSockets[Channel] = PassedSockets()
        self._lost_anywhere: Lost | None = None
        self.number = 0
        """Messages written so far: the number of the last."""
        self._stacks = Written()
        self.kept_stacks = 0
        """Messages whose callers are in the file."""
        self.lost_stacks = 0
        """Messages whose call stack could not be kept, because there were too many distinct ones."""
        self._extras: dict[object, bytes] = {}
        self._rest = b""
        """The rest of a block that was written in part and cannot be taken back."""
        self._last_ns = 0
        self._header = pcapng.structs(order, "IIIIIII").pack
        self._tail = pcapng.structs(order, "HHIHHQII").pack
        self._flags = pcapng.structs(order, "HHIHHQ").pack
        self._end = pcapng.structs(order, "II").pack
        section = facts.Section(source, order, snaplen, host or facts.Host.here(), edited=edited)
        application = application or f"vusniff {version()}"
        self._section_header = pcapng.section_header(
            order,
            [
                (pcapng.OPT_COMMENT, facts.section_facts(section)),
                (pcapng.SHB_HARDWARE, _text(section.host.hardware)),
                (pcapng.SHB_OS, _text(section.host.os)),
                (pcapng.SHB_USERAPPL, _text(application)),
            ],
        )
        self._blocks = [self._section_header]
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
        self._opened += 1
        channels = [channel for end in ends if (channel := self._passed.get(end.inode)) is not None]
        known = family or (channels[0].family if channels else None)
        connection = Connection(
            self._opened, path, ends, opened_ns, joined_late, known or FIRST, timed, restated=restated
        )
        interface = _WrittenConnection(connection, channels[0] if channels else None)
        if known is not None:
            interface.join(family_named(known))
        if self.stopped is None:
            self._interfaces[connection.id] = interface
            for inode in interface.inodes:
                self._by_inode[inode] = interface
        return connection

    @property
    def written(self) -> int:
        """Bytes written so far, before they are compressed."""
        return self._written

    def carried(self, connection: int) -> tuple[Family, Channel] | None:
        """What a connection carries; None before its first frame."""
        interface = self._interfaces.get(connection)
        if interface is None or interface.family is None or interface.channel is None:
            return None
        return interface.family, interface.channel

    def passed(self, *inodes: int) -> Channel | None:
        """What a socket carries that was passed as a descriptor in a message that says so; None for any other."""
        return next(filter(None, map(self._passed.get, inodes)), None)

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
        interface = self._interfaces[frame.connection]
        if interface.family is None:
            self._recognise(interface, frame)
        if interface.number is None and not self._describe(interface):
            return self._skip(frame)
        if frame.stack is not None:
            frame = self._with_stack(frame)
        end = frame.end
        process = frame.process
        plain = not frame.kind and not frame.descriptors
        tags = interface.leads[end].get(data[interface.kind]) if plain else None
        if tags is None:
            tags = self._lead(interface, frame)
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
        self._blocks.append(block)
        return self.number

    def lost(self, lost: Lost) -> None:
        """A gap: counted at the next packet of its connection (of any, where it is not known) or at its end."""
        if self.stopped is not None:
            return
        if lost.connection is None:
            before = self._lost_anywhere
            count = min(before.count + lost.count, _COUNT_LIMIT) if before else lost.count
            self._lost_anywhere = Lost(None, before.time_ns if before else lost.time_ns, count)
        else:
            self._lose(self._interfaces[lost.connection], lost.count, lost.time_ns)

    def evidence(self, one: Evidence, by_file: bool = False) -> None:
        """Evidence other than a message, written by the next `flush` behind what came before it.

        Connections that are not in the file are not named; evidence that is about these only is left out. ``by_file``:
        it names connections as the file does, because it was learned from the file.
        """
        named = tuple((ordinal, end) for connection, end in one.ends if (ordinal := self._ordinal(connection)))
        if by_file:
            named = one.ends
        if one.ends and not named:
            return
        if self.failure is not None and len(self._blocks) >= _WAITING_BLOCKS:
            return  # what is missing from the capture has been said
        for piece in evidence.pieces(one if named == one.ends else replace(one, ends=named)):
            self._blocks.append(pcapng.custom_block(self.order, facts.ENTERPRISE, evidence.build(piece)))

    def _ordinal(self, connection: int) -> int:
        """Which connection of the file it is, 0 for none."""
        interface = self._interfaces.get(connection)
        return interface.ordinal if interface is not None else self._ended_ordinals.get(connection, 0)

    def describe(self, connection: int) -> int:
        """Write that a connection is there, though nobody may have said anything on it; which one of the file it is,
        0 where it is not written."""
        interface = self._interfaces[connection]
        return interface.ordinal if interface.number is not None or self._describe(interface) else 0

    def announce(self, frame: Frame) -> None:
        """Write that the connection of a frame is there, for what is to be said of the frame before it."""
        interface = self._interfaces[frame.connection]
        if interface.family is None:
            self._recognise(interface, frame)
        if interface.number is None:
            self._describe(interface)

    def close_connection(self, closed: Closed, silent: bool = False) -> None:
        """A connection ends: its statistics, unless nothing is in the capture that they could be of.

        ``silent`` tells of it also where nobody has said anything on it: for sources that know what it was for.
        """
        if self.stopped is not None:
            return
        interface = self._interfaces[closed.connection]
        interface.closed = True
        if interface.ordinal or interface.lost or silent:
            self._statistics(interface, closed, closed.time_ns)
        for inode in interface.inodes:
            self._passed.forget(inode)
        if not self._keeps_ended:
            del self._interfaces[closed.connection]
            if interface.ordinal:
                if len(self._ended_ordinals) >= _ENDED:
                    del self._ended_ordinals[next(iter(self._ended_ordinals))]
                self._ended_ordinals[closed.connection] = interface.ordinal
            for inode in interface.inodes:
                if self._by_inode.get(inode) is interface:
                    del self._by_inode[inode]
            if interface.number is not None:
                self._ended.append(interface)

    def flush(self) -> None:
        """Hands everything so far to the kernel, in one write where it takes it. Never raises."""
        blocks = self._blocks
        data = blocks[0] if len(blocks) == 1 else b"".join(blocks)
        if self._rest:
            data = self._rest + data
        if not data:
            return
        if self._written + len(data) + _STATISTICS * len(self._interfaces) > self._look_at and self._is_full(len(data)):
            return
        written, why = self._out.write(data)
        self._written += written
        if why is not None:
            self._fail(why, written)
            return
        self._rest = b""
        self._blocks = []
        self.failure = None
        if self._ended:
            self._free()

    def _is_full(self, pending: int) -> bool:
        """Asks the bound; at it, finishes the file with those of the waiting blocks that fit."""
        assert self._bound is not None
        room, why = self._bound.room(self._written)
        wanted = pending + _STATISTICS * len(self._interfaces)
        if wanted <= room:
            self._look_at = self._written + wanted + min(self._bound.step, room - wanted)
            return False
        self._look_at = sys.maxsize
        room -= wanted - sum(map(len, self._blocks))
        kept = []
        for block in self._blocks:
            room -= len(block)
            if room >= 0 or not (self._take_back(block) or _is_evidence(self.order, block)):
                kept.append(block)
        self._blocks = kept
        self.close()
        self._discard()
        self.stopped = f"recording has stopped: {why}"
        return True

    def _discard(self) -> None:
        for block in self._blocks:
            self._take_back(block)
        self._blocks, self._rest, self.failure = [], b"", None

    def close(self) -> None:
        """Writes the statistics of connections that are still open and what else is left, and closes the file."""
        for interface in [*self._ended, *self._interfaces.values()]:
            if interface.closed and interface.lost:
                self._statistics(interface, None, self._last_ns)
            elif not interface.closed:
                number = interface.connection.id
                self.close_connection(Closed(number, self._last_ns, "capture ended", None, interface.written))
        if self._lost_anywhere:
            lost = self._lost_anywhere
            self._blocks.append(
                pcapng.custom_block(
                    self.order, facts.ENTERPRISE, facts.dump({"vusniff": 1, "lost": [lost.count, lost.time_ns]})
                )
            )
            self._lost_anywhere = None
        self.flush()
        if (error := self._out.finish()) is not None:
            self._fail(error, 0)
        self._out.close()

    def __enter__(self) -> CaptureWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- interfaces ---------------------------------------------------------------------------------------------------

    def _describe(self, interface: _WrittenConnection) -> bool:
        """Gives a connection an interface in this section; False when too much waits to be written already."""
        if self.failure is not None and len(self._blocks) >= _WAITING_BLOCKS:
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
        connection = interface.connection
        self._blocks.append(
            pcapng.interface_description(
                self.order,
                pcapng.LINKTYPE_UPPER_PDU,
                self.snaplen and self.snaplen + LEAD_SIZE,
                [
                    (pcapng.IF_NAME, _text(connection.path)),
                    (pcapng.IF_DESCRIPTION, _text(facts.describe_ends(connection.ends, continues))),
                    (pcapng.IF_TSRESOL, bytes([pcapng.NANOSECONDS])),
                    self._custom(facts.connection_facts(connection, self.order, continues)),
                ],
            )
        )
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
        self._blocks.append(self._section_header)

    def _free(self) -> None:
        """All blocks are written: connections that have ended are forgotten, once it is said what they lost."""
        ended, self._ended = self._ended, []
        for interface in ended:
            if interface.lost:
                self._statistics(interface, None, self._last_ns)
            if interface.number is not None:
                self._described.pop(interface.number, None)
        if self._blocks:
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
            sent = self.frame(
                Frame(
                    frame.connection,
                    frame.end,
                    frame.time_ns,
                    part,
                    () if at else frame.descriptors,
                    frame.process,
                    kind,
                    missing if last else 0,
                    None if at else frame.stack,
                    frame.restated,
                ),
                () if at else comments,
            )
            number = number or sent
            kind = FrameKind.CONTINUATION if kind is FrameKind.MESSAGE else kind
        return number

    def _lead(self, interface: _WrittenConnection, frame: Frame) -> bytes:
        """The tags of a frame; those of messages are kept, by end, request, flags and number of descriptors."""
        data, family, channel = frame.data, interface.family, interface.channel
        assert family is not None
        assert channel is not None
        header, dissector = family.main.header, dissector_of(family.name)
        if frame.kind is not FrameKind.MESSAGE or len(data) < header.size:
            words = "more of the message before" if frame.kind is FrameKind.CONTINUATION else "not framed"
            words = f"{len(data)} bytes, {words}"
            if frame.kind is FrameKind.TOLD and (told := parse_told(data)) is not None:
                words = f"{family.request_name(channel, told.request)}{' reply' if told.reply else ''}, told by a log"
            return lead(frame.end, words, DISSECTOR_DATA if frame.kind else dissector, family.name)
        count = len(frame.descriptors)
        key = data[header.kind] + count.to_bytes(4, "little") if count else data[header.kind]
        tags = interface.leads[frame.end].get(key)
        if tags is not None:
            return tags
        request, flags, _ = header.read[self.order](data, 0)
        info = family.request_name(channel, request)
        is_reply = header.is_reply(flags)
        if is_reply:
            info += " reply"
        elif header.version and header.is_need_reply(flags):
            info += ", need_reply"
        if count:
            info += f", {count} fd" if count == 1 else f", {count} fds"
        tags = lead(frame.end, info, dissector, family.name)
        opened = family.openings.get((channel, request, is_reply)) if count else None
        if opened is not None:
            # Not kept: each of them passes another channel.
            self._note_passed(opened, frame)
            return tags
        leads = interface.leads[frame.end]
        if len(leads) >= _CACHE_LIMIT:
            leads.clear()
        leads[key] = tags
        return tags

    def _recognise(self, interface: _WrittenConnection, frame: Frame) -> None:
        """Finds the family of a connection by its first frame; vhost-user where that does not tell."""
        found = recognised(frame.data, self.order) if len(frame.data) >= HEAD else None
        if found is not None:
            interface.connection = replace(interface.connection, family=found.name)
        interface.join(found or family_named(FIRST))

    def _note_passed(self, channel: Channel, frame: Frame) -> None:
        """Remembers that a passed socket is a channel, so that its connection's requests get the right names."""
        inode = self._passed.note(frame.descriptors[0], channel)
        interface = None if inode is None else self._by_inode.get(inode)
        if interface is not None:
            interface.channel = channel
            interface.leads = ({}, {})

    def _spoken(self, interface: _WrittenConnection, end: int, process: Process) -> None:
        """Another process speaks for an end than before: keeps the option that names it, so that it is built once."""
        interface.process[end] = process
        same = process == interface.connection.ends[end].process
        text = facts.frame_facts(Frame(0, 0, 0, b""), None if same else process, None, None)
        interface.process_texts[end] = b"".join(pcapng.option(self.order, *self._custom(one)) for one in text)

    def _extra(self, interface: _WrittenConnection, frame: Frame) -> bytes:
        """The options of a packet beyond direction and number."""
        process = frame.process
        if process == interface.connection.ends[frame.end].process:
            process = None
        if interface.lost or self._lost_anywhere:
            built = b""
            lost_ns = None
            if interface.lost:
                count = pcapng.structs(self.order, "Q").pack(interface.lost)
                built = pcapng.option(self.order, pcapng.EPB_DROPCOUNT, count)
                lost_ns = interface.lost_ns
            anywhere = self._lost_anywhere
            texts = facts.frame_facts(frame, process, lost_ns, (anywhere.count, anywhere.time_ns) if anywhere else None)
            interface.lost, self._lost_anywhere = 0, None
            return built + self._said(texts, frame)
        key = (frame.descriptors, process, frame.kind, frame.stack and frame.stack.id, frame.restated)
        extra = self._extras.get(key)
        if extra is None:
            extra = self._said(facts.frame_facts(frame, process, None, None), frame)
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
            return replace(frame, stack=None)
        self.kept_stacks += bool(frame.stack.entries)
        if said:
            self._blocks.append(pcapng.custom_block(self.order, facts.ENTERPRISE, said))
        return frame

    def _said(self, texts: list[bytes], frame: Frame) -> bytes:
        """Options for us, and the descriptors once more for Wireshark."""
        items = [self._custom(one) for one in texts]
        items += [(pcapng.OPT_COMMENT, line) for line in facts.descriptor_comments(frame.descriptors)]
        if frame.restated:
            items.append((pcapng.OPT_COMMENT, _RESTATED))
        return b"".join(pcapng.option(self.order, *item) for item in items)

    def _statistics(self, interface: _WrittenConnection, closed: Closed | None, time_ns: int) -> None:
        """Why a connection ended; without that, only what was lost after its end was written."""
        if interface.number is None and not self._describe(interface):
            if interface.lost:
                self.lost(Lost(None, interface.lost_ns, interface.lost))
                interface.lost = 0
            return
        assert interface.number is not None
        pack = pcapng.structs(self.order, "Q").pack
        connection = interface.connection
        lost = Lost(connection.id, interface.lost_ns, interface.lost) if interface.lost else None
        interface.lost = 0
        received, dropped = (closed.received, closed.lost) if closed else (0, 0)
        items = [
            (pcapng.ISB_ENDTIME, pcapng.time(self.order, time_ns)),
            (pcapng.ISB_IFRECV, pack(max(received, interface.written))),
            (pcapng.ISB_IFDROP, pack(max(dropped, interface.dropped))),
            self._custom(facts.closed_facts(closed, lost)),
        ]
        if connection.opened_ns is not None:
            items.insert(0, (pcapng.ISB_STARTTIME, pcapng.time(self.order, connection.opened_ns)))
        self._blocks.append(pcapng.interface_statistics(self.order, interface.number, time_ns, items))

    def _custom(self, text: bytes) -> tuple[int, bytes]:
        return pcapng.custom_option(self.order, facts.ENTERPRISE, text)

    # -- when it cannot be written ------------------------------------------------------------------------------------

    def _lose(self, interface: _WrittenConnection, count: int, time_ns: int) -> None:
        if not interface.lost:
            interface.lost_ns = time_ns
        interface.lost = min(interface.lost + count, _COUNT_LIMIT)
        interface.dropped = min(interface.dropped + count, _COUNT_LIMIT)

    def _fail(self, why: OSError, written: int) -> None:
        """Leaves only whole blocks in the file, counts unwritten packets as lost, keeps blocks that later ones need."""
        done = min(written, len(self._rest))
        self._rest = self._rest[done:]
        written -= done
        kept: list[bytes] = []
        for block in self._blocks:
            if written >= len(block):
                written -= len(block)
                continue
            if written and not self._out.cut(written):
                self._rest = block[written:]
            elif not self._take_back(block):
                kept.append(block)
            written = 0
        self._blocks = kept
        self.failure = (
            f"cannot write the capture to {self._out.name}: {why.strerror or why}; traffic goes on, "
            f"messages are only counted until it can be written again ({self.lost_frames} so far)"
        )

    def _take_back(self, block: bytes) -> bool:
        """Counts a packet as lost; False for a block that is none."""
        kind, _, number, high, low, captured, _ = pcapng.structs(self.order, "IIIIIII").unpack_from(block.ljust(28))
        if kind != pcapng.ENHANCED_PACKET:
            return False
        interface = self._described[number]
        time_ns = high << 32 | low
        items = pcapng.parse_options(self.order, block[28 + (captured + 3 & ~3) : -4])
        before = 0
        lost_ns = time_ns
        more = False
        for code, value in items:
            if code == pcapng.EPB_DROPCOUNT:
                before = pcapng.structs(self.order, "Q").unpack(value)[0]
            elif code == pcapng.OPT_CUSTOM and (b'"lost' in value or b'"kind"' in value):
                said = facts.load(value[4:])
                more = more or facts.frame_kind(said) is FrameKind.CONTINUATION
                lost_ns = said.get("lost_ns", lost_ns)
                if lost := facts.parse_lost(said.get("lost"), None):
                    self.lost(lost)
        if before:
            interface.dropped -= before
            self._lose(interface, before, lost_ns)
        self.number -= 1
        if not (more and interface.lost):  # the rest of a message that is counted already
            self._lose(interface, 1, time_ns)
            self.lost_frames += 1
        if not more:
            interface.written -= 1
        return True
