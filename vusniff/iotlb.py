"""What the IOTLB messages of a session have mapped: an immutable table that is cheap to change.

A guest with an IOMMU sends an update or invalidation with every second message, and each makes a new state. So a table
is an older one and the few messages since; it is worked out when it is looked at, and every `STEPS` messages.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Mapping

MAX_ENTRIES = 1024
"""Entries kept; the oldest goes first."""
STEPS = 64

Entry = tuple[int, int, int]
"""Size, user address, permissions."""


class Iotlb(Mapping[int, Entry]):
    """I/O address -> size, user address, permissions."""

    __slots__ = ("_base", "_known", "_steps")

    def __init__(self, base: dict[int, Entry] | None = None, steps: tuple[tuple[int, Entry | int], ...] = ()) -> None:
        """``base`` is taken over and must not be changed; a step is an entry, or the size of an invalidated range."""
        self._base: dict[int, Entry] = base if base is not None else {}
        self._steps = steps
        self._known: dict[int, Entry] | None = None if steps else self._base

    def updated(self, start: int, entry: Entry) -> Iotlb:
        """The table after an update."""
        return self._after((start, entry))

    def invalidated(self, start: int, size: int) -> Iotlb:
        """The table without the entries that overlap a range."""
        if not self._base and not self._steps:
            return self
        return self._after((start, size))

    def _after(self, step: tuple[int, Entry | int]) -> Iotlb:
        if len(self._steps) < STEPS:
            return Iotlb(self._base, (*self._steps, step))
        return Iotlb(_worked_out(self._base, (*self._steps, step)))

    def _entries(self) -> dict[int, Entry]:
        if self._known is None:
            self._known = _worked_out(self._base, self._steps)
        return self._known

    def __getitem__(self, start: int) -> Entry:
        return self._entries()[start]

    def __iter__(self) -> Iterator[int]:
        return iter(self._entries())

    def __len__(self) -> int:
        return len(self._entries())

    def __repr__(self) -> str:
        return f"Iotlb({self._entries()})"


def _worked_out(base: dict[int, Entry], steps: tuple[tuple[int, Entry | int], ...]) -> dict[int, Entry]:
    entries = dict(base)
    starts = sorted(entries)
    widest = max((entry[0] for entry in entries.values()), default=0)
    for start, what in steps:
        if isinstance(what, tuple):
            if start not in entries:
                insort(starts, start)
            entries[start] = what
            widest = max(widest, what[0])
            if len(entries) > MAX_ENTRIES:
                oldest = next(iter(entries))
                del entries[oldest]
                del starts[bisect_left(starts, oldest)]
            continue
        first, last = bisect_right(starts, start - widest), bisect_left(starts, start + what)
        kept = [at for at in starts[first:last] if at + entries[at][0] <= start]
        for at in set(starts[first:last]).difference(kept):
            del entries[at]
        starts[first:last] = kept
    return entries
