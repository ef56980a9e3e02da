"""Runs of the same request, or of what one function sends, as one row. Knows no screen."""

from __future__ import annotations

import time
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence

from vusniff.analysis.callers import RowCallers
from vusniff.analysis.timeline import Timeline
from vusniff.meta import NO_MESSAGE, REPLY

SLICE = 4096
"""Rows between two looks at the clock."""


class Repeats:
    """The rows that are left when every run of one request, with its replies, is shown by its first row.

    A run stays within a phase: else a request that begins the next one (SET_STATUS 0 before a stop) had no row.
    """

    def __init__(
        self,
        timeline: Timeline,
        base: Sequence[int] | None,
        begins: Iterable[int] = (),
        callers: RowCallers | None = None,
    ) -> None:
        """``base`` are the rows to fold, ascending; None: all. It may grow. A run ends where a phase begins: at the
        rows ``begins``. With ``callers`` a run is what one function sends."""
        self.callers = callers
        self.rows = array("I")
        self.counts = array("I")
        """Per row: requests in the run that it stands for; 0 where it stands only for itself."""
        self.seen = 0
        """Rows of ``base`` that were looked at."""
        self.begins = frozenset(begins)
        self._timeline = timeline
        self._base = base
        self._begin = 0
        """Position in ``base`` at which the last run begins."""
        self._key: tuple[object, int] = (-1, -1)
        self._requests = 0
        self._settled = 0
        """Rows of the runs before the last one."""

    @property
    def total(self) -> int:
        """How many rows there are to fold."""
        return len(self._timeline) if self._base is None else len(self._base)

    def run(self, seconds: float) -> bool:
        """Look for about so many seconds; True when all rows have been looked at."""
        deadline = time.monotonic() + seconds
        while self.seen < self.total:
            self.look(min(self.total, self.seen + SLICE))
            if time.monotonic() > deadline:
                break
        return self.seen >= self.total

    def look(self, stop: int) -> None:
        """Look at the rows of ``base`` up to this position."""
        index, place_of = self._timeline.index, self._timeline.place_of
        meta, request, base, begins, callers = index.meta, index.request, self._base, self.begins, self.callers
        del self.rows[self._settled :], self.counts[self._settled :]
        for position in range(self.seen, stop):
            row = position if base is None else base[position]
            key: tuple[object, int] = (-1, position)
            if callers is not None:
                caller = callers.of(row)
                key = key if caller is None else (caller, place_of[row])
            elif not meta[row] & NO_MESSAGE:
                key = request[row], place_of[row]
            if key != self._key or row in begins:
                self._put(position)
                self._begin, self._key, self._requests, self._settled = position, key, 0, len(self.rows)
            self._requests += callers is not None or not meta[row] & REPLY
        self.seen = stop
        self._put(stop)

    def _put(self, end: int) -> None:
        """Add the rows of the last run, which ends before position ``end`` as far as is known."""
        run = range(self._begin, end) if self._base is None else self._base[self._begin : end]
        if self._requests > 1:
            self.rows.append(run[0])
            self.counts.append(self._requests)
        else:
            self.rows.extend(run)
            self.counts.extend([0] * len(run))

    def last_of(self, position: int) -> int:
        """The last row of the run that a position of ``rows`` shows."""
        base = self._base
        follows = self.rows[position + 1] if position + 1 < len(self.rows) else None
        if base is None:
            return (follows if follows is not None else self.seen) - 1
        # ``base`` is ascending: what stands before the next shown row.
        return base[(bisect_left(base, follows) if follows is not None else self.seen) - 1]
