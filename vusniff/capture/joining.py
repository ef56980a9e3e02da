"""One row for each message, also for one that is larger than a packet and was written as several.

The columns and the length of the first packet decide which packets belong together. So all readers of a file count the
same messages, whether they read the bytes or not. A continuation belongs to the last message of its direction, if that
message filled its packet and is not complete by the size in its header. Any other continuation stays a row of its own:
one that follows a hole, or a message that did not fill its packet.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

from vusniff.capture.batch import Batch
from vusniff.capture.packet import FRAME_LIMIT
from vusniff.meta import OPTIONS, connection_of, end_of, kind_of
from vusniff.record import UNDIVIDED, FrameKind
from vusniff.values import dataclass

JOINED_LIMIT = 64 << 20
"""Bytes of a message that are joined. Bytes beyond that count as not captured."""
DISTANCE = 4096
"""Rows behind a message in which its continuations are looked for."""
_MESSAGE, _CONTINUATION = FrameKind.MESSAGE, FrameKind.CONTINUATION
_FDS = b'"fds"'
_USUAL = 20
"""Bytes of the options for direction and number, which begin them."""


@dataclass(slots=True)
class _UnfinishedMessage:
    """A message whose continuations may follow."""

    row: int
    left: int
    """Bytes that are to come."""


def may_join(batch: Batch) -> bool:
    """Whether there is a message that is larger than a packet, by its header."""
    return len(batch) > 0 and max(batch.size) > UNDIVIDED


def parts(
    batch: Batch, header_of: Callable[[int], int], is_full: Callable[[Batch, int], bool]
) -> tuple[dict[int, list[int]], bool]:
    """Row of a message -> rows of its continuations; and whether the last rows may lack some that follow.

    ``header_of(connection)`` is the size of its headers in bytes, ``is_full(batch, row)`` says whether a message has
    filled its packet, with no byte missing.
    """
    found: dict[int, list[int]] = {}
    going: dict[tuple[int, int], _UnfinishedMessage] = {}
    for row, (meta, size) in enumerate(zip(batch.meta, batch.size, strict=True)):
        kind = kind_of(meta)
        if kind is _MESSAGE and size <= UNDIVIDED and not going:
            continue
        stream = connection_of(meta), end_of(meta)
        if kind is _CONTINUATION:
            open_ = going.get(stream)
            if open_ is not None and row - open_.row <= DISTANCE:
                found.setdefault(open_.row, []).append(row)
                open_.left -= size
                if open_.left <= 0:
                    del going[stream]
            continue
        going.pop(stream, None)
        if kind is not _MESSAGE:
            continue
        left = size + header_of(connection_of(meta)) - FRAME_LIMIT
        if left > 0 and is_full(batch, row):
            going[stream] = _UnfinishedMessage(row, left)
    return found, any(len(batch) - one.row <= DISTANCE for one in going.values())


def joined(batch: Batch, found: dict[int, list[int]]) -> Batch:
    """The batch with one row a message: ``found`` is what `parts` says of it."""
    gone = sorted(row for rows in found.values() for row in rows)
    out, first = Batch(stacks=batch.stacks), 0
    for row in (*gone, len(batch)):
        out.append(batch, first, row)
        first = row + 1
    out.events = [(row - bisect_left(gone, row), event) for row, event in batch.events]
    for row, rows in found.items():
        at = row - bisect_left(gone, row)
        if batch.data:
            _put_together(out, at, batch, row, rows)
        out.pieces[at] = [batch.offset[one] for one in rows]
    return out


def _put_together(out: Batch, at: int, batch: Batch, row: int, rows: list[int]) -> None:
    missing, pieces = batch.missing.get(row, 0), [batch.data[row]]
    length, options = len(pieces[0]), batch.options[row]
    for one in rows:
        data, lacking = batch.data[one], batch.missing.get(one, 0)
        length, missing = gather(pieces, length, data, missing, lacking)
        options = with_descriptors(options, batch.options[one])
    out.data[at], out.options[at] = b"".join(pieces), options
    if options:
        out.meta[at] |= OPTIONS
    if missing:
        out.missing[at] = missing


def gather(pieces: list[bytes], length: int, data: bytes, missing: int, lacking: int) -> tuple[int, int]:
    """Add a piece to a message, unless bytes are missing before it or the message gets too large. Returns
    how many bytes the message has, and how many are missing."""
    if missing or length + len(data) > JOINED_LIMIT:
        return length, missing + len(data) + lacking
    pieces.append(data)
    return length + len(data), lacking


def with_descriptors(options: bytes, more: bytes) -> bytes:
    """Options of a packet with the descriptors of a continuation."""
    if _FDS not in more:
        return options
    return options.removesuffix(bytes(4)) + more[_USUAL:] if options else more
