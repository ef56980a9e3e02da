"""A capture opened for random access: 28 bytes of columns per message, the rest stays in the file.

Owns finding a row's bytes again. What the columns mean is `batch`'s, how the file is read is `reader`'s. A capture that
grows is followed by calling `Index.update` again.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from vusniff.capture import pcapng
from vusniff.capture.batch import OFFSET_BITS, Batch, frame_fields
from vusniff.capture.events import Events
from vusniff.capture.input import BLOCK_LIMIT
from vusniff.capture.joining import gather, with_descriptors
from vusniff.capture.options import little_options
from vusniff.capture.packet import INFO_SIZE, LEAD_SIZE
from vusniff.capture.reader import CaptureReader
from vusniff.capture.scan import ENDS, KNOWN_TAGS
from vusniff.errors import CaptureError
from vusniff.meta import OPTIONS
from vusniff.record import Closed, Connection, Exit, Frame, FrameFields

if TYPE_CHECKING:
    from pathlib import Path

_NEAR = 4096
"""Bytes read for one message: nearly all fit."""
_WINDOW = 1 << 20
"""Bytes read at once for many."""
_OFFSET_MASK = (1 << OFFSET_BITS) - 1
_PACKETS = {pcapng.structs(order, "I").pack(pcapng.ENHANCED_PACKET): order for order in ("little", "big")}
_HEADERS = {order: pcapng.structs(order, "7I").unpack_from for order in ("little", "big")}
_COMMON = pcapng.structs("little", f"2I12x2I{KNOWN_TAGS}s{INFO_SIZE}xI")
"""Block header and tags of nearly all packets; others go the long way."""


class Index:
    """The columns of a capture (see `Batch`), and its frames by row. Row n is message n + 1.

    Raises `CaptureError` as `CaptureReader` does, and when a message that was there cannot be read again.
    """

    def __init__(self, paths: str | Path | Sequence[str | Path]) -> None:
        self._reader = CaptureReader(paths)
        self.stacks = self._reader.stacks
        """The call stacks read so far, by id."""
        for scan in self._reader.scans:
            if not scan.input.seekable:
                self._reader.close()
                raise CaptureError(
                    f"{scan.input.name} is not a regular file, so one cannot go back in it: save it first"
                )
        none = Batch()
        self.offset: array[int] = none.offset
        self.time_ns: array[int] = none.time_ns
        self.request: array[int] = none.request
        self.size: array[int] = none.size
        self.meta: array[int] = none.meta
        self.events = Events()
        """(row before which it stands, event) in order: connections, their ends, losses, other evidence."""
        self.closed: dict[int, Closed] = {}
        """Connection id -> how it ended."""
        self.exits: dict[int, dict[int, Exit]] = {}
        """Connection id -> end -> the end of the process that held it."""
        self._pieces: dict[int, list[int]] = {}
        """Row -> where the rest of a message is that is larger than a packet."""
        self._parts = PacketParts()
        self._windows = [_FilePart(self._reader, number) for number in range(len(self._reader.scans))]

    def __len__(self) -> int:
        return len(self.offset)

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the files; the columns stay."""
        self._reader.close()

    @property
    def complete(self) -> bool:
        """All that was in the file at the last `update` has been read."""
        return self._reader.at_end

    @property
    def progress(self) -> tuple[int, int]:
        """Bytes read, bytes there."""
        return self._reader.progress

    @property
    def connections(self) -> list[Connection]:
        """The connections met so far; the one with id n is at n - 1."""
        return self._reader.connections

    @property
    def notes(self) -> list[str]:
        """What was skipped, cut or damaged so far, as sentences."""
        return self._reader.notes

    @property
    def reader(self) -> CaptureReader:
        """The reader underneath: sections, byte orders."""
        return self._reader

    def order(self, connection: int) -> str:
        """Byte order of a connection's messages: ``little`` or ``big``."""
        return self._reader.order(connection)

    def update(self, max_rows: int = 1 << 62, batches: list[Batch] | None = None) -> int:
        """Reads what is new, at most so many rows; returns how many. After it, `complete` says whether that was all.

        With ``batches`` it reads as much as is read at once, and appends that with its bytes.
        """
        before = len(self)
        while (room := max_rows - (len(self) - before)) > 0 and not batches:
            batch = self._reader.read(min(room, 65536), data=batches is not None)
            if not len(batch) and not batch.events:
                if self._reader.at_end:
                    self._reader.refuse()
                break
            first = len(self)
            if batches is not None and len(batch):
                batches.append(batch)
            self.offset.extend(batch.offset)
            self.time_ns.extend(batch.time_ns)
            self.request.extend(batch.request)
            self.size.extend(batch.size)
            self.meta.extend(batch.meta)
            for row, offsets in batch.pieces.items():
                self._pieces[first + row] = offsets
            for row, part in batch.parts.items():
                self._parts.append(first + row, *part)
            for row, event in batch.events:
                self.events.append(first + row, event)
                if isinstance(event, Closed):
                    self.closed[event.connection] = event
                elif isinstance(event, Exit):
                    for connection, end in event.ends:
                        self.exits.setdefault(connection, {}).setdefault(end, event)
        return len(self) - before

    def frame(self, row: int) -> Frame:
        """One message, read from the file. Raises IndexError for a row that is not there."""
        return self._frame(row, _NEAR)

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """Messages in order, from large reads."""
        for row in range(start, len(self) if stop is None else min(stop, len(self))):
            yield self._frame(row, _WINDOW)

    def rows(self, start: int, stop: int) -> Iterator[FrameFields]:
        """Messages in order, as `frames` has them, for callers that only make messages of them."""
        windows = self._windows
        columns = zip(self.offset[start:stop], self.time_ns[start:stop], self.meta[start:stop], strict=True)
        pieces, divided, stacks = self._pieces, self._parts.any_in(start, stop), self.stacks
        for row, (place, time_ns, meta) in enumerate(columns, start):
            data, options, missing = windows[place >> OFFSET_BITS].packet(place & _OFFSET_MASK, _WINDOW)
            if pieces and row in pieces:
                meta, data, options, missing = self._whole(row, data, options, missing)
            elif divided:
                data, missing = self._parts.of(row, data, missing)
            yield frame_fields(meta, time_ns, data, options, missing, stacks)

    def packet(self, row: int) -> tuple[bytes, bytes, int]:
        """The bytes of a row, its options in little-endian order, and how many bytes are missing; from large reads,
        for callers that look at many rows in ascending order and need few facts of each."""
        if self._pieces or self._parts:
            return self._row(row, _WINDOW)[1:]
        place = self.offset[row]
        return self._windows[place >> OFFSET_BITS].packet(place & _OFFSET_MASK, _WINDOW)

    def _packet(self, place: int, ahead: int) -> tuple[bytes, bytes, int]:
        return self._windows[place >> OFFSET_BITS].packet(place & _OFFSET_MASK, ahead)

    def _whole(self, row: int, data: bytes, options: bytes, missing: int) -> tuple[int, bytes, bytes, int]:
        """The ``meta`` column, bytes, options and missing bytes of a message that is larger than a packet, which is
        the first of its packets."""
        pieces, length = [data], len(data)
        for place in self._pieces[row]:
            more, said, lacking = self._packet(place, _NEAR)
            length, missing = gather(pieces, length, more, missing, lacking)
            options = with_descriptors(options, said)
        return self.meta[row] | (OPTIONS if options else 0), b"".join(pieces), options, missing

    def _row(self, row: int, ahead: int) -> tuple[int, bytes, bytes, int]:
        """The ``meta`` column, bytes, options and missing bytes of a row."""
        data, options, missing = self._packet(self.offset[row], ahead)
        if row in self._pieces:
            return self._whole(row, data, options, missing)
        if self._parts:
            data, missing = self._parts.of(row, data, missing)
        return self.meta[row], data, options, missing

    def _frame(self, row: int, ahead: int) -> Frame:
        meta, data, options, missing = self._row(row, ahead)
        return Frame(*frame_fields(meta, self.time_ns[row], data, options, missing, self.stacks))


class PacketParts:
    """Rows that are only a part of their packet. Most captures have few; each costs at most 16 bytes here."""

    def __init__(self) -> None:
        self._rows, self._starts, self._stops, self._missing = array("I"), array("I"), array("I"), array("I")

    def __len__(self) -> int:
        return len(self._rows)

    def append(self, row: int, start: int, stop: int, missing: int) -> None:
        """Note a row that is bytes ``start`` to before ``stop`` of its packet; it is later than all that were noted."""
        for column, value in zip(
            (self._rows, self._starts, self._stops, self._missing), (row, start, stop, missing), strict=True
        ):
            column.append(min(value, 0xFFFFFFFF))

    def any_in(self, start: int, stop: int) -> bool:
        """Whether a row from ``start`` to before ``stop`` is only a part of its packet."""
        return bisect_left(self._rows, start) < bisect_left(self._rows, stop)

    def of(self, row: int, data: bytes, missing: int) -> tuple[bytes, int]:
        """The bytes of a row and how many are missing, given those of its packet."""
        at = bisect_left(self._rows, row)
        if at == len(self._rows) or self._rows[at] != row:
            return data, missing
        return data[self._starts[at] : self._stops[at]], self._missing[at]


class _FilePart:
    """A piece of one file."""

    def __init__(self, reader: CaptureReader, number: int) -> None:
        self._input = reader.scans[number].input
        self._start = 0
        self._data = b""

    def packet(self, offset: int, ahead: int) -> tuple[bytes, bytes, int]:
        """The frame's bytes, the options in little-endian order, and the bytes missing, of the packet at an offset."""
        data, at = self._data, offset - self._start
        if 0 <= at <= len(data) - _COMMON.size:
            kind, total, captured, original, tags, tags_end = _COMMON.unpack_from(data, at)
            stop = at + total
            fits = LEAD_SIZE <= captured <= total - 32 and stop <= len(data)
            if kind == pcapng.ENHANCED_PACKET and fits and not tags_end and tags in ENDS:
                at += 28
                options = data[at + (captured + 3 & ~3) : stop - 4]
                return data[at + LEAD_SIZE : at + captured], options, max(original - captured, 0)
        at = self._at(offset, 28, ahead)
        order = _PACKETS.get(self._data[at : at + 4])
        if order is not None:
            _, total, _, _, _, captured, original = _HEADERS[order](self._data, at)
            if 32 + captured <= total <= BLOCK_LIMIT:
                at = self._at(offset, total, ahead)
                payload = self._data[at + 28 : at + 28 + captured]
                options = little_options(order, self._data[at + 28 + (captured + 3 & ~3) : at + total - 4])
                missing = max(original - captured, 0)
                if payload[:KNOWN_TAGS] in ENDS and payload[LEAD_SIZE - 4 : LEAD_SIZE] == bytes(4):
                    return payload[LEAD_SIZE:], options, missing
                if tags := pcapng.parse_tags(payload):
                    return payload[tags[1] :], options, missing
        raise CaptureError(
            f"{self._input.name} has changed: the message that was at byte {offset} is not there any more"
        )

    def _at(self, offset: int, size: int, ahead: int) -> int:
        """Where the bytes at an offset are in the window, which is moved if they are not in it."""
        at = offset - self._start
        if at < 0 or at + size > len(self._data):
            self._data, self._start = self._input.at(offset, max(size, ahead)), offset
            at = 0
            if len(self._data) < size:
                raise CaptureError(f"{self._input.name} has become shorter: there is nothing at byte {offset} any more")
        return at
