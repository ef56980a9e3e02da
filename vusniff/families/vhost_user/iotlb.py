"""What the IOTLB messages of a session have mapped: an immutable table that is cheap to change.

A guest with an IOMMU sends an update or invalidation with every second message, and each makes a new state. So a table
is an older one and the few messages since; it is worked out when it is looked at, and every `STEPS` messages.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import ItemsView, Iterator, Mapping
from operator import itemgetter
from typing import Any

MAX_ENTRIES = 1024
"""Entries kept; the oldest goes first."""
STEPS = 512
_SIZE = itemgetter(0)
_new = object.__new__

Entry = tuple[int, int, int]
"""Size, user address, permissions."""
_Step = tuple[int, Entry | int]
"""I/O address, and its entry or the size of the range that is invalidated there."""
_Steps = tuple[_Step, Any]
"""The last step and those before it, or None."""


class Iotlb(Mapping[int, Entry]):
    """I/O address -> size, user address, permissions."""

    __slots__ = ("_base", "_count", "_known", "_steps")

    def __init__(self, base: dict[int, Entry] | None = None, steps: _Steps | None = None, count: int = 0) -> None:
        """``base`` is taken over and must not be changed; ``steps`` are the ``count`` steps since."""
        self._base: dict[int, Entry] = {} if base is None else base
        self._steps = steps
        self._count = count
        self._known: dict[int, Entry] | None = None if steps else self._base

    def updated(self, start: int, entry: Entry) -> Iotlb:
        """The table after an update."""
        return self._after((start, entry))

    def invalidated(self, start: int, size: int) -> Iotlb:
        """The table without the entries that overlap a range."""
        if not self._base and self._steps is None:
            return self
        return self._after((start, size))

    def _after(self, step: _Step) -> Iotlb:
        if self._count < STEPS:
            # As Iotlb(...), in half the time: such messages come in masses.
            new = _new(Iotlb)
            new._base, new._steps, new._count, new._known = self._base, (step, self._steps), self._count + 1, None
            return new
        return Iotlb(_worked_out(self._base, (step, self._steps)))

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

    def items(self) -> ItemsView[int, Entry]:
        """The entries as a dict has them, and as fast: for every address of every ring that is shown all of them are
        searched."""
        return self._entries().items()

    def __repr__(self) -> str:
        return f"Iotlb({self._entries()})"


def _worked_out(base: dict[int, Entry], steps: _Steps | None) -> dict[int, Entry]:
    since: list[_Step] = []
    while steps is not None:
        step, steps = steps
        since.append(step)
    entries = dict(base)
    starts = sorted(entries)
    widest = max(map(_SIZE, entries.values()), default=0)
    for start, what in reversed(since):
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
