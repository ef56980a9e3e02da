"""One capture file from its start to as far as it reaches: blocks in, rows and events out.

It decides which blocks of a pcapng are ours, what is skipped and counted, and where reading stops. Only whole blocks
are read, and reading can go on later, so a growing file is followed by asking again.

The common packet (our tags of `LEAD_SIZE` bytes, header in the byte order of the section, a clock in nanoseconds) takes
one unpack; that it is one is seen by its tags, and everything else goes the long way.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from vusniff.capture import evidence, facts, pcapng
from vusniff.capture.batch import OFFSET_BITS, Batch
from vusniff.capture.input import BLOCK_LIMIT, Input, block_length, check_start
from vusniff.capture.packet import DISSECTOR, DISSECTOR_DATA, INFO_SIZE, INTERFACE_LIMIT, LEAD_SIZE, dissector_of, lead
from vusniff.capture.refound import PacketPart, Refound
from vusniff.capture.stacks import KIND as STACK
from vusniff.capture.stacks import Stacks, StackSection
from vusniff.errors import CaptureError
from vusniff.families.framing import BELIEVED
from vusniff.families.registry import FIRST, families
from vusniff.meta import FLAGS, OPTIONS, REPLY, pack_meta
from vusniff.record import Connection, FrameKind, Lost, OtherEvidence
from vusniff.told import parse as parse_told
from vusniff.values import dataclass

CONNECTION_LIMIT = 1 << 20
"""Connections of a capture: about 1 KiB is kept of each. Packets of further ones are skipped and counted."""
_SECTION_LIMIT = 1000
_UNKNOWN_LIMIT = 64 << 20
"""Bytes of evidence of unknown kinds that are kept of a file; further pieces are skipped and counted."""
_HELD_LIMIT = 1 << 17
"""Descriptors that were held before a source joined, of all connections: few have any, a few hundred bytes each."""
_MORE_HELD = f"list{{s}} of descriptors that a process held before: there are more than {_HELD_LIMIT} in all"
_NAMED_KINDS = 8
"""Unknown kinds that are counted by name."""
_KINDS = frozenset(
    {
        pcapng.SECTION_HEADER,
        pcapng.INTERFACE_DESCRIPTION,
        pcapng.ENHANCED_PACKET,
        pcapng.INTERFACE_STATISTICS,
        pcapng.CUSTOM,
    }
)
"""Blocks that may be ours."""

_USUAL = LEAD_SIZE + BELIEVED
"""Largest packet, in bytes, whose message is believed about its size."""
KNOWN_TAGS = LEAD_SIZE - INFO_SIZE - 4
ENDS = {lead(end, "")[:KNOWN_TAGS]: pack_meta(0, FrameKind.MESSAGE, end, 0, 0) for end in (0, 1)}
"""How our packets of messages begin -> what that says in the ``meta`` column."""
_PLAIN_OPTIONS = 24
_COMMON = f"8I{KNOWN_TAGS}s{INFO_SIZE}xI3I"
_PLAIN_CODES = frozenset((pcapng.EPB_FLAGS, pcapng.EPB_PACKETID))


_SAID: dict[str, Any] = {"vusniff": facts.FORMAT_VERSION}
"""Replaces what an interface of ours said, once it has become a connection."""


@dataclass(slots=True)
class _Interface:
    linktype: int
    path: str
    resolution: int
    offset: int
    facts: dict[str, Any]
    """Our option; empty for an interface of somebody else."""
    connection: int | None = None
    """None until it is known to be ours."""


class Ids:
    """The connections of all files of a capture, numbered in the order they are met."""

    def __init__(self) -> None:
        self.connections: list[Connection] = []
        self.orders: list[str] = []
        """Byte order of the messages of each."""
        self.stacks = Stacks()
        self.room_for_held = _HELD_LIMIT
        """Held descriptors that are still kept."""

    def order(self, connection: int) -> str:
        """Byte order of a connection's messages."""
        return self.orders[connection - 1]

    def add(self, stated: dict[str, Any], path: str, order: str) -> Connection | None:
        """The connection an interface stands for; None when there are too many."""
        if len(self.connections) >= CONNECTION_LIMIT:
            return None
        connection = facts.parse_connection(stated, len(self.connections) + 1, path, self.room_for_held)
        self.room_for_held -= sum(len(end.held) for end in connection.ends)
        self.connections.append(connection)
        own = stated.get("order")
        self.orders.append(str(own) if own in ("little", "big") else order)
        return connection


class Scan:
    """Reads one file, the ``number``-th of a capture. Raises `CaptureError` when it cannot be one."""

    def __init__(self, path: str, number: int, ids: Ids) -> None:
        self.input = Input(path)
        self.sections: list[facts.Section] = []
        self.ended = False
        """Nothing can follow: it is damaged, was cut or replaced, or its pipe was closed."""
        self.at_end = False
        """Everything that is there now has been read."""
        self._base = number << OFFSET_BITS
        self._ids = ids
        self._buffer = b""
        self._at = 0
        self._origin = 0
        """Offset in the file of the buffer's first byte."""
        self._set_order("little")
        self._interfaces: list[_Interface] = []
        self._begun = array("I")
        """The connections of this file, by their order in it: what interfaces of later sections continue."""
        self._bases: dict[int, int] = {}
        """Interfaces whose packets can be the common ones -> what the connection is in the ``meta`` column."""
        self._skipped: Counter[str] = Counter()
        self._unknown: Counter[str] = Counter()
        """Kind -> pieces of evidence."""
        self._unknown_size = 0
        self._stack_section = StackSection()
        self._remark: str | None = None
        self._refound = Refound()
        self._found = False
        try:
            if head := self.input.head():
                check_start(self.input.name, head)
        except BaseException:
            self.input.close()
            raise

    @property
    def ours(self) -> bool:
        """A block that vusniff wrote was found so far."""
        return self._found

    @property
    def notes(self) -> list[str]:
        """What was skipped, cut or damaged, as sentences."""
        notes = [self.input.remark] if self.input.remark and self.input.partial >= 0 else []
        if again := self._refound.messages:
            words = "1 message was" if again == 1 else f"{again} messages were"
            notes.append(
                f"{words} found in bytes that were recorded as unreadable; Wireshark shows them after vusniff export"
            )
        notes += [f"skipped {count} {what.format(s='s' if count > 1 else '')}" for what, count in self._skipped.items()]
        if self._unknown:
            kinds = ", ".join(f"{count} of {kind}" for kind, count in self._unknown.items())
            notes.append(f"evidence of kinds that this vusniff does not know, which it shows raw and keeps: {kinds}")
        return [*self.cuts, *(f"{self.input.name}: {note}" for note in notes)]

    @property
    def cuts(self) -> list[str]:
        """Why the file holds less than was written, as sentences: it was cut, damaged, or shortened meanwhile."""
        partial, why = self.input.partial, self._remark
        if partial < 0:
            why = why or self.input.remark
        elif partial and self.at_end and not why:
            start = self.input.position
            why = f"cut at byte {start}: it ends in the middle of a block, whose {partial} bytes are not read"
        why = self.input.damage or why
        return [f"{self.input.name}: {why}"] if why else []

    def refuse(self) -> None:
        """Raises `CaptureError` when all that is there has been read and none of it is ours."""
        if self.input.position == 0:
            if self.input.damage:
                raise CaptureError(f"{self.input.name} cannot be read: {self.input.damage}")
            if not self.input.size:
                raise CaptureError(f"{self.input.name} is empty: nothing has been captured into it")
            raise CaptureError(f"{self.input.name} is cut off in its first block: nothing can be read from it")
        if not self.ours:
            raise CaptureError(f"{self.input.name} is a pcapng file, but there is no vhost-user connection in it")

    def read(self, max_rows: int, data: bool) -> Batch:
        """The next rows, at most so many, or as many as one read of the file gave; none at its (present) end."""
        batch = Batch(stacks=self._ids.stacks)
        while not len(batch) and not batch.events and not self.ended:
            if self._at >= len(self._buffer) and not self._refill():
                break
            start = self._at
            self._origin = self.input.position - start
            while len(batch) < max_rows and not self.ended:
                self._common(batch, max_rows, data)
                if len(batch) >= max_rows or self.ended or not self._block(batch, data):
                    break
            self.input.taken(self._at - start)
            if len(batch) < max_rows:
                self._buffer, self._at = b"", 0
        return batch

    def _refill(self) -> bool:
        self._buffer, self._at = self.input.more(self._order), 0
        self.at_end = not self._buffer and (self.input.seekable or self.input.closed)
        self.ended = not self._buffer and (self.input.closed or self.input.remark is not None)
        return bool(self._buffer)

    def _common(self, batch: Batch, max_rows: int, data: bool) -> None:
        """Takes common packets up to the first other block.

        The length that ends a block is compared by the unpack of the next one, so it starts 4 bytes before a block.
        """
        buffer, at = self._buffer, self._at
        if at < 4:
            return
        length = len(buffer)
        limit = length - self._fields.size
        before = self._unpack("I", buffer, at - 4)[0]
        base_offset = self._base + self._origin
        unpack, ends, bases = self._fields.unpack_from, ENDS, self._bases
        drop, little = self._drop, self._order == "little"
        add_offset, add_time, add_request = batch.offset.append, batch.time_ns.append, batch.request.append
        add_size, add_meta = batch.size.append, batch.meta.append
        try:
            for row in range(len(batch), max_rows):
                if at > limit:
                    break
                trailer, kind, total, interface, high, low, captured, original, tags, tags_end, request, flags, size = (
                    unpack(buffer, at - 4)
                )
                stop = at + total
                if trailer != before or kind != 6 or tags_end or not 124 <= captured <= _USUAL or stop > length:
                    break
                meta = bases[interface] | ends[tags] | flags & FLAGS
                options = total - (captured + 3 & ~3) - 32
                if options == 24:
                    extra = b""
                else:
                    extra = buffer[stop - 4 - options : stop - 4] if options > 0 else b""
                    if options < 0 or total & 3 or drop in extra or b'"lost":' in extra:
                        break
                    meta |= OPTIONS if options else 0
                add_offset(base_offset + at)
                add_time(high << 32 | low)
                add_request(request)
                add_size(size)
                add_meta(meta)
                if data:
                    batch.data.append(buffer[at + 140 : at + 28 + captured])
                    batch.options.append(extra if little else little_options("big", extra))
                    if original > captured:
                        batch.missing[row] = original - captured
                at = stop
                before = total
        except KeyError:
            pass  # an interface or tags that are not the common ones
        self._at = at
        if self._unpack("I", buffer, at - 4)[0] != before:
            self._stop("damaged", "the block before ends with another length than it begins with")

    def _set_order(self, order: str) -> None:
        self._order = order
        self._fields = pcapng.structs(order, _COMMON)
        self._drop = pcapng.structs(order, "HH").pack(pcapng.EPB_DROPCOUNT, 8)

    # -- the long way -------------------------------------------------------------------------------------------------

    def _block(self, batch: Batch, data: bool) -> bool:
        """Takes one block of any kind; False when there is no whole one."""
        buffer, at = self._buffer, self._at
        if len(buffer) - at < 12:
            return False
        total = block_length(buffer, at, self._order)
        if 0 < total <= BLOCK_LIMIT and at + total > len(buffer):
            return False
        if not 0 < total <= BLOCK_LIMIT or buffer[at + total - 4 : at + total] != self._length_bytes(buffer, at):
            self._stop("damaged", "the block there has an impossible length")
            return False
        kind = self._unpack("I", buffer, at)[0]
        body = buffer[at + 8 : at + total - 4]
        if kind == pcapng.SECTION_HEADER:
            self._section(buffer[at : at + 12], body)
        elif kind == pcapng.INTERFACE_DESCRIPTION and len(body) >= 8:
            self._interface(body, batch)
        elif kind == pcapng.ENHANCED_PACKET:
            self._packet(body, batch, data)
        elif kind == pcapng.INTERFACE_STATISTICS and len(body) >= 12:
            self._statistics(body, batch)
        elif kind != pcapng.CUSTOM or not self._own_block(body, batch):
            self._skip(kind, 1)
            if kind not in _KINDS:
                self._pass_over()
                return True
        self._at += total
        return True

    def _skip(self, kind: int, count: int) -> None:
        name = pcapng.BLOCK_NAMES.get(kind)
        self._skipped[f"{name}{{s}}" if name else "block{s} of an unknown kind"] += count

    def _pass_over(self) -> None:
        """Goes past a block that is none of `_KINDS`, which is counted already, and past those behind it that are none
        either: a file may be full of them."""
        buffer, at, length = self._buffer, self._at, len(self._buffer)
        unpack, names, counts = (
            pcapng.structs(self._order, "II").unpack_from,
            pcapng.BLOCK_NAMES,
            defaultdict[int, int](int),
        )
        at += unpack(buffer, at)[1]
        while at + 12 <= length:
            kind, total = unpack(buffer, at)
            stop = at + total
            if kind in _KINDS or total < 12 or total & 3 or stop > length:
                break
            if buffer[stop - 4 : stop] != buffer[at + 4 : at + 8]:
                break
            counts[kind if kind in names else 0] += 1
            at = stop
        for kind, count in counts.items():
            self._skip(kind, count)
        self._at = at

    def _length_bytes(self, buffer: bytes, at: int) -> bytes:
        return buffer[at + 4 : at + 8]

    def _unpack(self, fields: str, data: bytes, at: int = 0) -> tuple[int, ...]:
        return pcapng.structs(self._order, fields).unpack_from(data, at)

    def _stop(self, what: str, why: str) -> None:
        self.ended = self.at_end = True
        self._remark = f"{what} at byte {self._origin + self._at}: {why}; what follows is not read"

    def _section(self, start: bytes, body: bytes) -> None:
        self._set_order(pcapng.order_of(start) or "little")
        self._interfaces, self._bases, self._stack_section = [], {}, StackSection()
        if len(body) < 16 or self._unpack("H", body, 4)[0] != 1:
            self._stop("unknown pcapng version", "only version 1 is known")
            return
        options = self._options(body[16:])
        found = dict(options)
        application, system, hardware = (
            found.get(code, b"").decode("utf-8", "replace")
            for code in (pcapng.SHB_USERAPPL, pcapng.SHB_OS, pcapng.SHB_HARDWARE)
        )
        comments = (facts.load(value) for code, value in options if code == pcapng.OPT_COMMENT)
        comment = next((one for one in comments if "vusniff" in one), {})
        self._refuse_newer(comment)
        section = facts.parse_section(comment, application, system, hardware, self._order)
        self._found = self._found or section.ours
        if len(self.sections) < _SECTION_LIMIT:
            self.sections.append(section)

    def _refuse_newer(self, stated: dict[str, Any]) -> None:
        version = facts.newer(stated)
        if version is not None:
            raise CaptureError(
                f"{self.input.name} is a capture of format {version} by a newer vusniff, and this one reads up to "
                f"format {facts.FORMAT_VERSION}: read it with a newer vusniff"
            )

    def _interface(self, body: bytes, batch: Batch) -> None:
        if len(self._interfaces) >= INTERFACE_LIMIT:
            self._skipped["interface{s} beyond the 65536th"] += 1
            return
        options = self._options(body[8:])
        found = dict(options)
        interface = _Interface(
            self._unpack("H", body)[0],
            found.get(pcapng.IF_NAME, b"").decode("utf-8", "replace")[: facts.TEXT_LIMIT],
            found.get(pcapng.IF_TSRESOL, b"\x06")[:1].ljust(1, b"\x06")[0],
            int.from_bytes(found.get(pcapng.IF_TSOFFSET, b""), "little" if self._order == "little" else "big"),
            next((said for said in self._own(options) if "vusniff" in said), {}),
        )
        self._refuse_newer(interface.facts)
        self._interfaces.append(interface)
        if interface.facts and interface.linktype == pcapng.LINKTYPE_UPPER_PDU:
            self._adopt(len(self._interfaces) - 1, batch)
        # What is read of JSON may be many times as large: only what a connection keeps of it is kept.
        interface.facts = _SAID if interface.facts else {}

    def _adopt(self, number: int, batch: Batch) -> int | None:
        """An interface turns out to be one of ours: it becomes a connection, unless there are too many."""
        interface = self._interfaces[number]
        if interface.connection is None:
            identity = self._continued(interface)
            if identity is None:
                late = {"joined_late": True} if "continues" in interface.facts else {}
                connection = self._ids.add(interface.facts | late, interface.path, self._order)
                if connection is None:
                    return None
                identity = connection.id
                if not self._ids.room_for_held and facts.says_held(interface.facts):
                    self._skipped[_MORE_HELD] += 1
                if interface.facts:
                    self._begun.append(identity)
                batch.events.append((len(batch), connection))
            interface.connection = identity
            self._found = True
            same_order = self._ids.order(identity) == self._order
            usual = self._ids.connections[identity - 1].family == FIRST
            if usual and same_order and (interface.resolution, interface.offset) == (pcapng.NANOSECONDS, 0):
                self._bases[number] = pack_meta(identity, FrameKind.MESSAGE, 0, 0, 0)
        return interface.connection

    def _continued(self, interface: _Interface) -> int | None:
        """The connection that goes on in this interface of a later section; None when it is a new one."""
        which = facts.integer(interface.facts.get("continues"), 1, len(self._begun))
        if which is None:
            return None
        identity = self._begun[which - 1]
        known = self._ids.connections[identity - 1]
        return identity if known.path == interface.path else None

    def _options(self, options: bytes) -> list[tuple[int, bytes]]:
        """The options of a block, as many as are read."""
        found = list(pcapng.parse_options(self._order, options))
        if len(found) > pcapng.OPTIONS_LIMIT:
            self._skipped[f"option{{s}} and more: of a block the first {pcapng.OPTIONS_LIMIT} are read"] += 1
            del found[pcapng.OPTIONS_LIMIT :]
        return found

    def _own(self, options: list[tuple[int, bytes]]) -> Iterator[dict[str, Any]]:
        """What our options of a block say, one after the other: what is read of JSON may be many times as large."""
        prefix = pcapng.structs(self._order, "I").pack(facts.ENTERPRISE)
        return (facts.load(value[4:]) for code, value in options if code == pcapng.OPT_CUSTOM and value[:4] == prefix)

    def _packet(self, body: bytes, batch: Batch, data: bool) -> None:
        """An enhanced packet of any make."""
        if len(body) < 20:
            self._skipped["damaged packet{s}"] += 1
            return
        number, high, low, captured, original = self._unpack("5I", body)
        if captured > len(body) - 20 or number >= len(self._interfaces):
            self._skipped["damaged packet{s}" if captured > len(body) - 20 else "packet{s} without an interface"] += 1
            return
        interface = self._interfaces[number]
        if interface.linktype != pcapng.LINKTYPE_UPPER_PDU:
            self._skipped["packet{s} of another link type"] += 1
            return
        payload = body[20 : 20 + captured]
        extra = body[20 + (captured + 3 & ~3) :]
        options = self._options(extra)
        tags, size = pcapng.parse_tags(payload) or ({}, 0)
        kind = self._kind(tags, interface, options)
        connection = None if kind is None else self._adopt(number, batch)
        if kind is None or connection is None:
            beyond = f"packet{{s}} of connections beyond the {CONNECTION_LIMIT}th"
            self._skipped["packet{s} for another dissector" if kind is None else beyond] += 1
            return
        frame = payload[size:]
        missing = max(original - captured, 0)
        time_ns = pcapng.nanoseconds(high << 32 | low, interface.resolution, interface.offset)
        known, order = self._ids.connections[connection - 1], self._ids.order(connection)
        family = families().get(known.family)
        told = parse_told(frame) if family is not None and kind is FrameKind.TOLD else None
        head = family.main.header.size if family is not None and kind is FrameKind.MESSAGE and not missing else 0
        if family is None or (kind is FrameKind.TOLD and told is None) or len(frame) < head:
            kind = FrameKind.RAW
        found = dict(options)
        self._losses(found, options, connection, time_ns, batch)
        more = not _PLAIN_CODES.issuperset(found)
        end = self._end(tags, found)
        pieces = self._refound.pieces(family, order, known, end, kind, frame) if family is not None else None
        if pieces and kind is FrameKind.MESSAGE:
            missing = 0  # of a size that was not true
        for piece in pieces or [PacketPart(kind, 0, len(frame), 0)]:
            request, flags, size = 0, 0, piece.stop - piece.start
            lacking = piece.missing + (missing if piece.stop == len(frame) else 0)
            if told is not None:
                request, size = told.request, told.size or 0
                flags = told.flags if told.flags is not None else REPLY * told.reply
            elif family is not None and piece.kind is FrameKind.MESSAGE and size >= family.main.header.size:
                request, flags, size = family.main.header.read[order](frame, piece.start)
                flags = family.main.header.column(flags)
            row = len(batch)
            said_here = more and not piece.start
            batch.offset.append(self._base + self._origin + self._at)
            batch.time_ns.append(time_ns)
            batch.request.append(request)
            batch.size.append(size)
            batch.meta.append(pack_meta(connection, piece.kind, end, said_here, flags))
            if pieces is not None:
                batch.parts[row] = piece.start, piece.stop, lacking
            if data:
                batch.data.append(frame[piece.start : piece.stop])
                batch.options.append(little_options(self._order, extra) if said_here else b"")
                if lacking:
                    batch.missing[row] = lacking

    def _kind(
        self, tags: dict[int, bytes], interface: _Interface, options: list[tuple[int, bytes]]
    ) -> FrameKind | None:
        dissector = tags.get(pcapng.TAG_DISSECTOR, b"").rstrip(b"\0")
        number = interface.connection
        family = FIRST if number is None else self._ids.connections[number - 1].family
        if dissector in (DISSECTOR, dissector_of(family)):
            return FrameKind.MESSAGE
        if dissector == DISSECTOR_DATA and interface.facts:
            return next((kind for kind in map(facts.frame_kind, self._own(options)) if kind), None)
        return None

    def _end(self, tags: dict[int, bytes], options: dict[int, bytes]) -> int:
        """Which end sent a packet: by its direction tag, else by its flags."""
        if pcapng.TAG_DIRECTION in tags:
            return int(int.from_bytes(tags[pcapng.TAG_DIRECTION], "big") == 1)
        flags = options.get(pcapng.EPB_FLAGS, b"")
        return int(len(flags) == 4 and self._unpack("I", flags)[0] & 3 == pcapng.FLAG_INBOUND)

    def _losses(
        self,
        found: dict[int, bytes],
        options: list[tuple[int, bytes]],
        connection: int,
        time_ns: int,
        batch: Batch,
    ) -> None:
        """The losses a packet tells of stand before it."""
        when: int | None = None
        for one in self._own(options):
            if lost := facts.parse_lost(one.get("lost"), None):
                batch.events.append((len(batch), lost))
            when = facts.integer(one.get("lost_ns")) if when is None else when
        count = found.get(pcapng.EPB_DROPCOUNT, b"")
        if len(count) == 8 and any(count):
            when = time_ns if when is None else when
            batch.events.append((len(batch), Lost(connection, when, self._unpack("Q", count)[0])))

    def _statistics(self, body: bytes, batch: Batch) -> None:
        number, high, low = self._unpack("3I", body)
        connection = self._interfaces[number].connection if number < len(self._interfaces) else None
        if connection is None:
            self._skipped[pcapng.BLOCK_NAMES[pcapng.INTERFACE_STATISTICS] + "{s}"] += 1
            return
        interface = self._interfaces[number]
        options = self._options(body[12:])
        found = dict(options)
        end = found.get(pcapng.ISB_ENDTIME, b"")
        if len(end) == 8:
            high, low = self._unpack("2I", end)
        time_ns = pcapng.nanoseconds(high << 32 | low, interface.resolution, interface.offset)
        received, dropped = (
            self._unpack("Q", value)[0] if len(value := found.get(code, b"")) == 8 else 0
            for code in (pcapng.ISB_IFRECV, pcapng.ISB_IFDROP)
        )
        for said in self._own(options):
            for event in (
                facts.parse_lost(said.get("lost"), connection),
                facts.parse_closed(said, connection, time_ns, received, dropped),
            ):
                if event:
                    batch.events.append((len(batch), event))

    def _own_block(self, body: bytes, batch: Batch) -> bool:
        """A custom block of ours: losses that no connection is known for, or evidence."""
        if self._unpack("I", body.ljust(4, b"\0"))[0] != facts.ENTERPRISE:
            return False
        if len(body) > evidence.SIZE_LIMIT:
            self._skipped["piece{s} of evidence that is too large"] += 1
            return True
        said = facts.load(body[4:].rstrip(b"\0"))
        if said.get("kind") == STACK:
            if not self._ids.stacks.add(said, self._stack_section):
                self._skipped["call stack{s} that cannot be read, or for which there is no room"] += 1
            return True
        if "kind" in said:
            self._evidence(said, len(body), batch)
            return True
        if lost := facts.parse_lost(said.get("lost"), None):
            batch.events.append((len(batch), lost))
        return "vusniff" in said

    def _evidence(self, said: dict[str, Any], size: int, batch: Batch) -> None:
        found = evidence.parse(said, self._nth)
        if found is None:
            self._skipped["piece{s} of evidence that cannot be read"] += 1
            return
        if isinstance(found, OtherEvidence):
            if self._unknown_size + size > _UNKNOWN_LIMIT:
                self._skipped["piece{s} of evidence of an unknown kind: there is too much of it"] += 1
                return
            self._unknown_size += size
            named = found.kind in self._unknown or len(self._unknown) < _NAMED_KINDS
            self._unknown[found.kind if named else "others"] += 1
        batch.events.append((len(batch), found))

    def _nth(self, ordinal: int) -> int | None:
        """The id of the n-th connection of this file."""
        return self._begun[ordinal - 1] if 0 < ordinal <= len(self._begun) else None


def little_options(order: str, options: bytes) -> bytes:
    """Options as they would be in a little-endian file, as far as vusniff reads them: our own text."""
    if order == "little" or not options:
        return options
    prefix = pcapng.structs(order, "I").pack(facts.ENTERPRISE)
    return pcapng.options(
        "little",
        (
            pcapng.custom_option("little", facts.ENTERPRISE, value[4:])
            for code, value in pcapng.parse_options(order, options)
            if code == pcapng.OPT_CUSTOM and value[:4] == prefix
        ),
    )
