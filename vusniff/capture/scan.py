"""One capture file from its start to as far as it reaches: blocks in, rows and events out.

It decides which blocks of a pcapng are ours, what is skipped and counted, and where reading stops. Only whole blocks
are read, and reading can go on later, so a growing file is followed by asking again.

The common packet (our tags of `LEAD_SIZE` bytes, header in the byte order of the section, a clock in nanoseconds) takes
one unpack; that it is one is seen by its tags, and everything else goes the long way.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from vusniff.capture import evidence, facts, pcapng
from vusniff.capture.batch import OFFSET_BITS, Batch
from vusniff.capture.input import BLOCK_LIMIT, Input, block_length, check_start
from vusniff.capture.interfaces import Ids, Interfaces, refuse_newer
from vusniff.capture.options import little_options, own, parse
from vusniff.capture.other_packets import OtherPackets
from vusniff.capture.packet import INFO_SIZE, LEAD_SIZE, lead
from vusniff.capture.skipped import Skipped
from vusniff.capture.stacks import KIND as STACK
from vusniff.capture.stacks import StackSection
from vusniff.errors import CaptureError
from vusniff.families.framing import BELIEVED
from vusniff.meta import FLAGS, OPTIONS, pack_meta
from vusniff.record import FrameKind, OtherEvidence

_SECTION_LIMIT = 1000
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
_COMMON = f"8I{KNOWN_TAGS}s{INFO_SIZE}xI3I"


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
        self._skipped = Skipped()
        self._interfaces = Interfaces(self.input.name, ids, self._skipped)
        self._packets = OtherPackets(ids, self._interfaces, self._skipped)
        self._stack_section = StackSection()
        self._remark: str | None = None
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
        return self._found or self._interfaces.found

    @property
    def notes(self) -> list[str]:
        """What was skipped, cut or damaged, as sentences."""
        notes = [self.input.remark] if self.input.remark and self.input.partial >= 0 else []
        if again := self._packets.refound:
            words = "1 message was" if again == 1 else f"{again} messages were"
            notes.append(
                f"{words} found in bytes that were recorded as unreadable; Wireshark shows them after vusniff export"
            )
        return [*self.cuts, *(f"{self.input.name}: {note}" for note in (*notes, *self._skipped.notes))]

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
        unpack, ends, bases = self._fields.unpack_from, ENDS, self._interfaces.bases
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
            self._interfaces.add(body, batch)
        elif kind == pcapng.ENHANCED_PACKET:
            self._packets.read(body, self._base + self._origin + at, batch, data)
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
        self._skipped.add(f"{name}{{s}}" if name else "block{s} of an unknown kind", count)

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
        self._interfaces.begin(self._order)
        self._stack_section = StackSection()
        if len(body) < 16 or self._unpack("H", body, 4)[0] != 1:
            self._stop("unknown pcapng version", "only version 1 is known")
            return
        options = parse(self._order, body[16:], self._skipped)
        found = dict(options)
        application, system, hardware = (
            found.get(code, b"").decode("utf-8", "replace")
            for code in (pcapng.SHB_USERAPPL, pcapng.SHB_OS, pcapng.SHB_HARDWARE)
        )
        comments = (facts.load(value) for code, value in options if code == pcapng.OPT_COMMENT)
        comment = next((one for one in comments if "vusniff" in one), {})
        refuse_newer(comment, self.input.name)
        section = facts.parse_section(comment, application, system, hardware, self._order)
        self._found = self._found or section.ours
        if len(self.sections) < _SECTION_LIMIT:
            self.sections.append(section)

    def _statistics(self, body: bytes, batch: Batch) -> None:
        number, high, low = self._unpack("3I", body)
        known = self._interfaces.all
        connection = known[number].connection if number < len(known) else None
        if connection is None:
            self._skipped.add(pcapng.BLOCK_NAMES[pcapng.INTERFACE_STATISTICS] + "{s}")
            return
        interface = known[number]
        options = parse(self._order, body[12:], self._skipped)
        found = dict(options)
        end = found.get(pcapng.ISB_ENDTIME, b"")
        if len(end) == 8:
            high, low = self._unpack("2I", end)
        time_ns = pcapng.nanoseconds(high << 32 | low, interface.resolution, interface.offset)
        received, dropped = (
            self._unpack("Q", value)[0] if len(value := found.get(code, b"")) == 8 else 0
            for code in (pcapng.ISB_IFRECV, pcapng.ISB_IFDROP)
        )
        for said in own(self._order, options):
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
            self._skipped.add("piece{s} of evidence that is too large")
            return True
        said = facts.load(body[4:].rstrip(b"\0"))
        if said.get("kind") == STACK:
            if not self._ids.stacks.add(said, self._stack_section):
                self._skipped.add("call stack{s} that cannot be read, or for which there is no room")
            return True
        if "kind" in said:
            self._evidence(said, len(body), batch)
            return True
        if lost := facts.parse_lost(said.get("lost"), None):
            batch.events.append((len(batch), lost))
        return "vusniff" in said

    def _evidence(self, said: dict[str, Any], size: int, batch: Batch) -> None:
        found = evidence.parse(said, self._interfaces.nth)
        if found is None:
            self._skipped.add("piece{s} of evidence that cannot be read")
            return
        if isinstance(found, OtherEvidence) and not self._skipped.keep_unknown(found.kind, size):
            return
        batch.events.append((len(batch), found))
