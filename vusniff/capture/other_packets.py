"""Packets of any make: those that take no common way (`scan`), because they are not ours, rare, or say more.

Owns what of such a packet is a message, and what it says besides.
"""

from __future__ import annotations

from vusniff.capture import facts, pcapng
from vusniff.capture.batch import Batch
from vusniff.capture.interfaces import CONNECTION_LIMIT, Ids, Interface, Interfaces
from vusniff.capture.options import Options, little_options, own, parse
from vusniff.capture.packet import DISSECTOR, DISSECTOR_DATA, dissector_of
from vusniff.capture.refound import PacketPart, Refound
from vusniff.capture.skipped import Skipped
from vusniff.families.registry import FIRST, families
from vusniff.meta import REPLY, pack_meta
from vusniff.record import FrameKind, Lost
from vusniff.told import parse as parse_told

_PLAIN_CODES = frozenset((pcapng.EPB_FLAGS, pcapng.EPB_PACKETID))


class OtherPackets:
    """Those of one file."""

    def __init__(self, ids: Ids, interfaces: Interfaces, skipped: Skipped) -> None:
        self._ids = ids
        self._interfaces = interfaces
        self._skipped = skipped
        self._refound = Refound()

    @property
    def refound(self) -> int:
        """Messages that were found in bytes that were written as unreadable."""
        return self._refound.messages

    def read(self, body: bytes, offset: int, batch: Batch, data: bool) -> None:
        """One packet, by the body of its block, which stands at an offset (`OFFSET_BITS`): rows and losses."""
        order = self._interfaces.order
        if len(body) < 20:
            self._skipped.add("damaged packet{s}")
            return
        number, high, low, captured, original = pcapng.structs(order, "5I").unpack_from(body)
        if captured > len(body) - 20 or number >= len(self._interfaces.all):
            self._skipped.add("damaged packet{s}" if captured > len(body) - 20 else "packet{s} without an interface")
            return
        interface = self._interfaces.all[number]
        if interface.linktype != pcapng.LINKTYPE_UPPER_PDU:
            self._skipped.add("packet{s} of another link type")
            return
        payload = body[20 : 20 + captured]
        extra = body[20 + (captured + 3 & ~3) :]
        options = parse(order, extra, self._skipped)
        tags, size = pcapng.parse_tags(payload) or ({}, 0)
        kind = self._kind(tags, interface, options)
        connection = None if kind is None else self._interfaces.adopt(number, batch)
        if kind is None or connection is None:
            beyond = f"packet{{s}} of connections beyond the {CONNECTION_LIMIT}th"
            self._skipped.add("packet{s} for another dissector" if kind is None else beyond)
            return
        frame = payload[size:]
        missing = max(original - captured, 0)
        time_ns = pcapng.nanoseconds(high << 32 | low, interface.resolution, interface.offset)
        known, spoken = self._ids.connections[connection - 1], self._ids.order(connection)
        family = families().get(known.family)
        told = parse_told(frame) if family is not None and kind is FrameKind.TOLD else None
        head = family.main.header.size if family is not None and kind is FrameKind.MESSAGE and not missing else 0
        if family is None or (kind is FrameKind.TOLD and told is None) or len(frame) < head:
            kind = FrameKind.RAW
        found = dict(options)
        self._losses(found, options, connection, time_ns, batch)
        more = not _PLAIN_CODES.issuperset(found)
        end = self._end(tags, found)
        pieces = self._refound.pieces(family, spoken, known, end, kind, frame) if family is not None else None
        if pieces and kind is FrameKind.MESSAGE:
            missing = 0  # of a size that was not true
        for piece in pieces or [PacketPart(kind, 0, len(frame), 0)]:
            request, flags, size = 0, 0, piece.stop - piece.start
            lacking = piece.missing + (missing if piece.stop == len(frame) else 0)
            if told is not None:
                request, size = told.request, told.size or 0
                flags = told.flags if told.flags is not None else REPLY * told.reply
            elif family is not None and piece.kind is FrameKind.MESSAGE and size >= family.main.header.size:
                request, flags, size = family.main.header.read[spoken](frame, piece.start)
                flags = family.main.header.column(flags)
            row = len(batch)
            said_here = more and not piece.start
            batch.offset.append(offset)
            batch.time_ns.append(time_ns)
            batch.request.append(request)
            batch.size.append(size)
            batch.meta.append(pack_meta(connection, piece.kind, end, said_here, flags))
            if pieces is not None:
                batch.parts[row] = piece.start, piece.stop, lacking
            if data:
                batch.data.append(frame[piece.start : piece.stop])
                batch.options.append(little_options(order, extra) if said_here else b"")
                if lacking:
                    batch.missing[row] = lacking

    def _kind(self, tags: dict[int, bytes], interface: Interface, options: Options) -> FrameKind | None:
        dissector = tags.get(pcapng.TAG_DISSECTOR, b"").rstrip(b"\0")
        number = interface.connection
        family = FIRST if number is None else self._ids.connections[number - 1].family
        whole = dissector_of(family)
        if dissector in (DISSECTOR, whole, whole[: len(DISSECTOR)]):  # longer names were once cut
            return FrameKind.MESSAGE
        if dissector == DISSECTOR_DATA and interface.facts:
            return next((kind for kind in map(facts.frame_kind, own(self._interfaces.order, options)) if kind), None)
        return None

    def _end(self, tags: dict[int, bytes], options: dict[int, bytes]) -> int:
        """Which end sent a packet: by its direction tag, else by its flags."""
        if pcapng.TAG_DIRECTION in tags:
            return int(int.from_bytes(tags[pcapng.TAG_DIRECTION], "big") == 1)
        flags = options.get(pcapng.EPB_FLAGS, b"")
        return int(
            len(flags) == 4 and pcapng.structs(self._interfaces.order, "I").unpack(flags)[0] & 3 == pcapng.FLAG_INBOUND
        )

    def _losses(
        self,
        found: dict[int, bytes],
        options: Options,
        connection: int,
        time_ns: int,
        batch: Batch,
    ) -> None:
        """The losses a packet tells of stand before it."""
        when: int | None = None
        for one in own(self._interfaces.order, options):
            if lost := facts.parse_lost(one.get("lost"), None):
                batch.events.append((len(batch), lost))
            when = facts.integer(one.get("lost_ns")) if when is None else when
        count = found.get(pcapng.EPB_DROPCOUNT, b"")
        if len(count) == 8 and any(count):
            when = time_ns if when is None else when
            batch.events.append(
                (len(batch), Lost(connection, when, pcapng.structs(self._interfaces.order, "Q").unpack(count)[0]))
            )
