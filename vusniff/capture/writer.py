"""Writes a capture file: connections become interfaces, frames become packets, losses become counters.

Owns how records become blocks and what happens when they cannot be written. It must not know sources, sessions or
decoded messages; of vhost-user it knows the header and the names, for the text that Wireshark shows without a plugin.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import BinaryIO

from vusniff.capture import facts, pcapng
from vusniff.capture.bound import Bound
from vusniff.capture.output import Descriptor, open_output
from vusniff.capture.packet import DISSECTOR, DISSECTOR_DATA, FRAME_LIMIT, LEAD_SIZE, lead
from vusniff.channel import Channel
from vusniff.families.vhost_user.protocol import (
    CHANNEL_PASSED_BY,
    FLAG_NEED_REPLY,
    FLAG_REPLY,
    HEADERS,
    Channels,
    request_name,
)
from vusniff.record import Closed, Connection, End, Frame, FrameKind, Lost, Process

_CACHE_LIMIT = 4096
_STATISTICS = 512
"""Bytes that the statistics of a connection take at most, for its end to fit into a bound."""
_CACHED_BYTES = 2048
"""Largest of the options that are kept: 250 descriptors take 250 times as much as one."""
_COUNT_LIMIT = (1 << 64) - 1
"""Most that a count in the file can say."""
_DIRECTIONS = (pcapng.FLAG_OUTBOUND, pcapng.FLAG_INBOUND)
_CHANNELS = {int(request): channel for request, channel in CHANNEL_PASSED_BY.items()}
_PADS = (b"", bytes(3), bytes(2), bytes(1))


def _text(words: str) -> bytes:
    return words.encode("utf-8", "backslashreplace")


def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version("vusniff")
    except metadata.PackageNotFoundError:
        return "unknown"


class _Interface:
    """What the writer knows of one connection."""

    __slots__ = (
        "channel",
        "closed",
        "connection",
        "dropped",
        "leads",
        "lost",
        "lost_ns",
        "process",
        "process_texts",
        "written",
    )

    def __init__(self, connection: Connection, channel: Channel) -> None:
        self.connection = connection
        self.channel = channel
        self.leads: tuple[dict[bytes, bytes], dict[bytes, bytes]] = ({}, {})
        """By end: request, flags and, if there are any, number of descriptors -> the tags of such a message."""
        self.process: list[Process | None] = [end.process for end in connection.ends]
        """Who spoke last for each end, and the option that says so: nothing when it is who opened it."""
        self.process_texts = [b"", b""]
        self.lost = 0
        """Messages lost since the last packet; ``dropped``: of all."""
        self.dropped = 0
        self.lost_ns = 0
        self.written = 0
        self.closed = False


class CaptureWriter:
    """Writes one capture. Only construction raises (`CaptureError`); afterwards a failing file is said in `failure`.

    ``target`` is a path, ``-`` for standard output, a binary file, or an output that is open; `open_output` says what
    becomes of a file that is there already (``replaces``). ``order`` is the byte order of the messages, and of the
    file. ``edited`` says what was done to the messages since they were captured. At its ``bound`` the file is finished.
    """

    def __init__(
        self,
        target: str | Path | BinaryIO | Descriptor,
        *,
        source: str,
        replaces: bytes | None = pcapng.MAGIC,
        snaplen: int = 0,
        order: str = sys.byteorder,
        host: facts.Host | None = None,
        application: str | None = None,
        edited: tuple[str, ...] = (),
        bound: Bound | None = None,
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
        self._interfaces: list[_Interface] = []
        self._passed: dict[int, Channel] = {}
        self._lost_anywhere: Lost | None = None
        self.number = 0
        """Messages written so far: the number of the last."""
        self._extras: dict[object, bytes] = {}
        self._rest = b""
        """What is left of a block that went out in part and cannot be taken back."""
        self._last_ns = 0
        self._header = pcapng.structs(order, "IIIIIII").pack
        self._tail = pcapng.structs(order, "HHIHHQII").pack
        self._flags = pcapng.structs(order, "HHIHHQ").pack
        self._end = pcapng.structs(order, "II").pack
        section = facts.Section(source, order, snaplen, host or facts.Host.here(), edited=edited)
        application = application or f"vusniff {_version()}"
        self._blocks = [
            pcapng.section_header(
                order,
                [
                    (pcapng.OPT_COMMENT, facts.section_facts(section)),
                    (pcapng.SHB_HARDWARE, _text(section.host.hardware)),
                    (pcapng.SHB_OS, _text(section.host.os)),
                    (pcapng.SHB_USERAPPL, _text(application)),
                ],
            )
        ]
        self.flush()

    def open(
        self,
        path: str,
        ends: tuple[End, End] = (End(), End()),
        opened_ns: int | None = None,
        joined_late: bool = False,
    ) -> Connection:
        """A connection begins: gives it its id."""
        connection = Connection(len(self._interfaces) + 1, path, ends, opened_ns, joined_late)
        channels = [self._passed[end.inode] for end in ends if end.inode in self._passed]
        self._interfaces.append(_Interface(connection, channels[0] if channels else Channels.MAIN))
        self._blocks.append(
            pcapng.interface_description(
                self.order,
                pcapng.LINKTYPE_UPPER_PDU,
                self.snaplen and self.snaplen + LEAD_SIZE,
                [
                    (pcapng.IF_NAME, _text(path)),
                    (pcapng.IF_DESCRIPTION, _text(facts.describe_ends(ends))),
                    (pcapng.IF_TSRESOL, bytes([pcapng.NANOSECONDS])),
                    self._custom(facts.connection_facts(connection, self.order)),
                ],
            )
        )
        return connection

    def frame(self, frame: Frame, comment: bytes = b"") -> int:
        """One frame, written by the next `flush`; returns its number. One longer than a packet takes several.

        ``comment`` is UTF-8 for people and for Wireshark; vusniff does not read it back.
        """
        data = frame.data
        size = len(data)
        missing = frame.missing
        if size > FRAME_LIMIT or self.snaplen:
            if self.snaplen and size > self.snaplen:
                data, missing, size = data[: self.snaplen], missing + size - self.snaplen, self.snaplen
            if size > FRAME_LIMIT:
                return self._split(frame, data, missing, comment)
        interface = self._interfaces[frame.connection - 1]
        end = frame.end
        process = frame.process
        plain = not frame.kind and not frame.descriptors
        tags = interface.leads[end].get(data[:8]) if plain else None
        if tags is None:
            tags = self._lead(interface, frame)
        if process is not None and process is not interface.process[end]:
            self._spoken(interface, end, process)
        if plain and not interface.lost and self._lost_anywhere is None:
            extra = interface.process_texts[end] if process is not None else b""
        else:
            extra = self._extra(interface, frame)
        if comment:
            extra += pcapng.option(self.order, pcapng.OPT_COMMENT, comment)
        self.number += 1
        interface.written += 1
        time_ns = self._last_ns = frame.time_ns
        captured = size + LEAD_SIZE
        pad = _PADS[size & 3]
        total = captured + len(pad) + len(extra) + 56
        header = self._header(
            pcapng.ENHANCED_PACKET,
            total,
            frame.connection - 1,
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
        if lost.connection is None:
            before = self._lost_anywhere
            count = min(before.count + lost.count, _COUNT_LIMIT) if before else lost.count
            self._lost_anywhere = Lost(None, before.time_ns if before else lost.time_ns, count)
        else:
            self._lose(self._interfaces[lost.connection - 1], lost.count, lost.time_ns)

    def close_connection(self, closed: Closed) -> None:
        """A connection ends: its statistics."""
        interface = self._interfaces[closed.connection - 1]
        interface.closed = True
        self._statistics(interface, closed, closed.time_ns)

    def flush(self) -> None:
        """Hands everything so far to the kernel, in one write where it takes it. Never raises."""
        blocks = self._blocks
        data = blocks[0] if len(blocks) == 1 else b"".join(blocks)
        if self._rest:
            data = self._rest + data
        if not data:
            return
        if self.stopped is not None:
            self._discard()
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

    def _is_full(self, pending: int) -> bool:
        """Asks the bound; at it, finishes the file with what of the blocks in hand fits."""
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
            if room >= 0 or not self._take_back(block):
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
        for interface in self._interfaces:
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
        self._out.close()

    def __enter__(self) -> CaptureWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- packets ------------------------------------------------------------------------------------------------------

    def _split(self, frame: Frame, data: bytes, missing: int, comment: bytes) -> int:
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
                ),
                b"" if at else comment,
            )
            number = number or sent
            kind = FrameKind.CONTINUATION if kind is FrameKind.MESSAGE else kind
        return number

    def _lead(self, interface: _Interface, frame: Frame) -> bytes:
        """The tags of a frame; those of messages are kept, by end, request, flags and number of descriptors."""
        data = frame.data
        if frame.kind is not FrameKind.MESSAGE or len(data) < 12:
            words = "more of the message before" if frame.kind is FrameKind.CONTINUATION else "not framed"
            return lead(frame.end, f"{len(data)} bytes, {words}", DISSECTOR_DATA if frame.kind else DISSECTOR)
        count = len(frame.descriptors)
        key = data[:8] + count.to_bytes(4, "little") if count else data[:8]
        tags = interface.leads[frame.end].get(key)
        if tags is not None:
            return tags
        request, flags, _ = HEADERS[self.order].unpack_from(data)
        info = request_name(interface.channel, request)
        if flags & FLAG_REPLY:
            info += " reply"
        elif flags & FLAG_NEED_REPLY:
            info += ", need_reply"
        if count:
            info += f", {count} fd" if count == 1 else f", {count} fds"
        tags = lead(frame.end, info)
        if count and interface.channel is Channels.MAIN and not flags & FLAG_REPLY and request in _CHANNELS:
            # Not kept: each of them passes another channel.
            self._note_passed(request, frame)
            return tags
        leads = interface.leads[frame.end]
        if len(leads) >= _CACHE_LIMIT:
            leads.clear()
        leads[key] = tags
        return tags

    def _note_passed(self, request: int, frame: Frame) -> None:
        """Remembers that a passed socket is a channel, so that its connection's requests get the right names."""
        channel = _CHANNELS[request]
        for descriptor in frame.descriptors:
            kind, _, inode = (descriptor.identity or "").partition(":")
            if kind != "socket" or not inode.isdecimal():
                continue
            if len(self._passed) >= _CACHE_LIMIT:
                self._passed.clear()
            self._passed[int(inode)] = channel
            for interface in self._interfaces:
                if any(end.inode == int(inode) for end in interface.connection.ends):
                    interface.channel = channel
                    interface.leads = ({}, {})

    def _spoken(self, interface: _Interface, end: int, process: Process) -> None:
        """Somebody else speaks for an end than before: keeps the option that says who, so that it is built once."""
        interface.process[end] = process
        same = process == interface.connection.ends[end].process
        text = facts.frame_facts(Frame(0, 0, 0, b""), None if same else process, None, None)
        interface.process_texts[end] = b"".join(pcapng.option(self.order, *self._custom(one)) for one in text)

    def _extra(self, interface: _Interface, frame: Frame) -> bytes:
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
        key = (frame.descriptors, process, frame.kind)
        extra = self._extras.get(key)
        if extra is None:
            extra = self._said(facts.frame_facts(frame, process, None, None), frame)
            if len(extra) <= _CACHED_BYTES:
                if len(self._extras) >= _CACHE_LIMIT:
                    self._extras.clear()
                self._extras[key] = extra
        return extra

    def _said(self, texts: list[bytes], frame: Frame) -> bytes:
        """Options for us, and the descriptors once more for Wireshark."""
        items = [self._custom(one) for one in texts]
        if frame.descriptors:
            items.append((pcapng.OPT_COMMENT, facts.descriptor_comment(frame.descriptors)))
        return b"".join(pcapng.option(self.order, *item) for item in items)

    def _statistics(self, interface: _Interface, closed: Closed | None, time_ns: int) -> None:
        """Why a connection ended; without that, only what was lost after its end was written."""
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
        self._blocks.append(pcapng.interface_statistics(self.order, connection.id - 1, time_ns, items))

    def _custom(self, text: bytes) -> tuple[int, bytes]:
        return pcapng.custom_option(self.order, facts.ENTERPRISE, text)

    # -- when it cannot be written ------------------------------------------------------------------------------------

    def _lose(self, interface: _Interface, count: int, time_ns: int) -> None:
        if not interface.lost:
            interface.lost_ns = time_ns
        interface.lost = min(interface.lost + count, _COUNT_LIMIT)
        interface.dropped = min(interface.dropped + count, _COUNT_LIMIT)

    def _fail(self, why: OSError, written: int) -> None:
        """Leaves whole blocks in the file, counts unwritten packets as lost, keeps what later packets refer to."""
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
        interface = self._interfaces[number]
        time_ns = high << 32 | low
        items = pcapng.parse_options(self.order, block[28 + (captured + 3 & ~3) : -4])
        before = 0
        lost_ns = time_ns
        for code, value in items:
            if code == pcapng.EPB_DROPCOUNT:
                before = pcapng.structs(self.order, "Q").unpack(value)[0]
            elif code == pcapng.OPT_CUSTOM and b'"lost' in value:
                said = facts.load(value[4:])
                lost_ns = said.get("lost_ns", time_ns)
                if lost := facts.parse_lost(said.get("lost"), None):
                    self.lost(lost)
        if before:
            interface.dropped -= before
            self._lose(interface, before, lost_ns)
        self._lose(interface, 1, time_ns)
        interface.written -= 1
        self.number -= 1
        self.lost_frames += 1
        return True
