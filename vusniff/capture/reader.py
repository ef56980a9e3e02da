"""A capture as a stream of batches: one file or several merged by time, finished or still growing.

Owns the merge and the waiting for more; what is in a file is `scan`'s. Memory is bounded by the batch and the files'
read buffers, whatever the size of the capture.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from vusniff.capture import pcapng
from vusniff.capture.batch import OFFSET_BITS, Batch, Event
from vusniff.capture.facts import Section
from vusniff.capture.interfaces import Ids
from vusniff.capture.joining import DISTANCE, joined, may_join, parts
from vusniff.capture.packet import LEAD_SIZE
from vusniff.capture.scan import Scan
from vusniff.errors import CaptureError
from vusniff.families.registry import family_named
from vusniff.record import UNDIVIDED, Connection, Frame

_HEAD, _BIG_HEAD = (pcapng.structs(order, "7I") for order in ("little", "big"))
"""How the block of a packet begins."""
_PACKET = pcapng.structs("little", "I").pack(pcapng.ENHANCED_PACKET)

if TYPE_CHECKING:
    from pathlib import Path

POLL_SECONDS = 0.03
FILE_LIMIT = 1 << 15


class _NextRows:
    """The next rows of one of several files."""

    __slots__ = ("batch", "event", "row", "scan")

    def __init__(self, scan: Scan) -> None:
        self.scan = scan
        self.batch = Batch()
        self.row = 0
        self.event = 0

    def fill(self, max_rows: int, data: bool) -> bool:
        """Reads on when all is used; False when there is nothing."""
        if self.row >= len(self.batch) and self.event >= len(self.batch.events):
            self.batch, self.row, self.event = self.scan.read(max_rows, data), 0, 0
        return self.row < len(self.batch) or self.event < len(self.batch.events)

    @property
    def time_ns(self) -> int:
        """Time of the next row, or of the next event after the last row."""
        if self.row < len(self.batch):
            return self.batch.time_ns[self.row]
        event = self.batch.events[self.event][1]
        return 0 if isinstance(event, Connection) else event.time_ns

    def run(self, until: int, room: int) -> int:
        """The first row that is later than ``until``, at most ``room`` rows from here."""
        times, last = self.batch.time_ns, min(len(self.batch), self.row + room)
        row = self.row
        while row < last and times[row] <= until:
            row += 1
        return row

    def move(self, out: Batch, stop: int, until: int) -> None:
        """Moves rows up to ``stop``, and the events before them, to another batch. Events after the last row are moved
        if they are not later than ``until``."""
        shift = len(out) - self.row
        out.append(self.batch, self.row, stop)
        events = self.batch.events
        done = stop >= len(self.batch)
        while self.event < len(events) and (events[self.event][0] < stop or done):
            row, event = events[self.event]
            if row >= len(self.batch) and not isinstance(event, Connection) and event.time_ns > until:
                break
            out.events.append((row + shift, event))
            self.event += 1
        self.row = stop


class CaptureReader:
    """Reads one capture from one or more files (``-``: standard input).

    Several files are merged by time; rows of one file keep their order, and of equal times the file named first comes
    first. Connections are numbered anew over all files. Raises `CaptureError`: here for what is no capture by its first
    bytes, later for a file that turns out to hold nothing of ours, or that cannot be read on.
    """

    def __init__(self, paths: str | Path | Sequence[str | Path]) -> None:
        names = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
        if not 0 < len(names) <= FILE_LIMIT:
            raise CaptureError("name a capture file to read" if not names else f"more than {FILE_LIMIT} capture files")
        self._ids = Ids()
        self.scans: list[Scan] = []
        try:
            for number, name in enumerate(names):
                self.scans.append(Scan(str(name), number, self._ids))
        except BaseException:
            self.close()
            raise
        self._heads = [_NextRows(scan) for scan in self.scans]
        self.stacks = self._ids.stacks
        """The call stacks met so far, by id."""

    def close(self) -> None:
        """Closes the files."""
        for scan in self.scans:
            scan.input.close()

    def __enter__(self) -> CaptureReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def connections(self) -> list[Connection]:
        """The connections met so far; the one with id n is at n - 1."""
        return self._ids.connections

    def order(self, connection: int) -> str:
        """Byte order of a connection's messages: ``little`` or ``big``."""
        return self._ids.order(connection)

    @property
    def sections(self) -> list[Section]:
        """What the section headers met so far say of source and host."""
        return [section for scan in self.scans for section in scan.sections]

    @property
    def notes(self) -> list[str]:
        """What was skipped, cut or damaged so far, as sentences that start with the file's name."""
        return [note for scan in self.scans for note in scan.notes]

    @property
    def cuts(self) -> list[str]:
        """The notes which say that messages are missing at the end."""
        return [cut for scan in self.scans for cut in scan.cuts]

    @property
    def at_end(self) -> bool:
        """Everything that is there now has been read."""
        return all(scan.at_end for scan in self.scans)

    @property
    def ended(self) -> bool:
        """Nothing more can come, even to files that may grow."""
        return all(scan.ended for scan in self.scans)

    @property
    def progress(self) -> tuple[int, int]:
        """Bytes read, bytes there."""
        return sum(scan.input.position for scan in self.scans), sum(scan.input.size for scan in self.scans)

    def refuse(self) -> None:
        """Raises `CaptureError` for a file that, read to its end, holds nothing of ours."""
        for scan in self.scans:
            scan.refuse()

    def read(self, max_rows: int = 65536, *, data: bool = True) -> Batch:
        """At most so many of the next rows; an empty batch when there are none now. A message that is larger than a
        packet is one row; to complete one, a batch may have more rows."""
        batch = self._read(max_rows, data)
        if not may_join(batch):
            return batch
        found, goes_on = parts(batch, self._header_size, self._is_full)
        while goes_on and len(more := self._read(DISTANCE, data)) + len(more.events):
            behind = len(batch)
            batch.append(more, 0, len(more))
            batch.events += [(behind + row, event) for row, event in more.events]
            found, goes_on = parts(batch, self._header_size, self._is_full)
        return joined(batch, found) if found else batch

    def _header_size(self, connection: int) -> int:
        return family_named(self.connections[connection - 1].family).main.header.size

    def _is_full(self, batch: Batch, row: int) -> bool:
        if row in batch.parts:  # its packet holds other messages behind it
            return False
        if batch.data:
            return len(batch.data[row]) >= UNDIVIDED and row not in batch.missing
        place = batch.offset[row]
        head = self.scans[place >> OFFSET_BITS].input.at(place & (1 << OFFSET_BITS) - 1, _HEAD.size)
        if len(head) < _HEAD.size:
            return False
        captured, original = (_HEAD if head[:4] == _PACKET else _BIG_HEAD).unpack(head)[5:]
        return bool(original <= captured and captured - LEAD_SIZE >= UNDIVIDED)

    def _read(self, max_rows: int, data: bool) -> Batch:
        if len(self.scans) == 1:
            return self.scans[0].read(max_rows, data)
        out = Batch(stacks=self.stacks)
        while len(out) < max_rows:
            filled = [head.fill(max_rows, data) for head in self._heads]
            if not any(filled) or any(
                not there and not head.scan.at_end for there, head in zip(filled, self._heads, strict=True)
            ):
                break
            ready = [(head.time_ns, number) for number, head in enumerate(self._heads) if filled[number]]
            ready.sort()
            first = ready[0][1]
            head = self._heads[first]
            until = (1 << 64) - 1
            if len(ready) > 1:
                bound, other = ready[1]
                until = bound if first < other else bound - 1
            head.move(out, head.run(until, max_rows - len(out)), until)
        return out

    def batches(
        self,
        *,
        data: bool = True,
        follow: bool = False,
        max_rows: int = 65536,
        stop: Callable[[], bool] = lambda: False,
    ) -> Iterator[Batch]:
        """Batch after batch, none empty. With ``follow`` it waits for more at the end, until ``stop`` says so.

        What was written before ``stop`` said so is still read.
        """
        while True:
            stopping = stop()
            batch = self.read(max_rows, data=data)
            if len(batch) or batch.events:
                yield batch
            elif self.at_end or self.ended:
                if not follow or self.ended or stopping:
                    self.refuse()
                    return
                time.sleep(POLL_SECONDS)

    def records(self) -> Iterator[Event | Frame]:
        """All records in order."""
        for batch in self.batches():
            yield from batch.records()
