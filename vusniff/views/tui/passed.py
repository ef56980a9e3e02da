"""Which messages of a session passed a descriptor, by its identity; found in slices. Knows no screen."""

from __future__ import annotations

import time
from array import array

from vusniff.analysis.timeline import Timeline
from vusniff.meta import has_options

KEPT = 64
"""Messages that are kept for one descriptor."""


class Passed:
    """The messages of one session that passed descriptors."""

    def __init__(self, timeline: Timeline, session: int) -> None:
        self._timeline = timeline
        self._rows = timeline.rows_of(session)
        self._numbers: dict[str, array[int]] = {}
        self._seen = 0

    def run(self, seconds: float) -> bool:
        """Look for about so many seconds; True when all messages have been looked at."""
        deadline = time.monotonic() + seconds
        meta, rows = self._timeline.index.meta, self._rows
        while self._seen < len(rows):
            row = rows[self._seen]
            self._seen += 1
            if has_options(meta[row]):
                for descriptor in self._timeline.frame(row).descriptors:
                    if descriptor.identity is not None:
                        known = self._numbers.setdefault(descriptor.identity, array("I"))
                        if len(known) < KEPT and row + 1 not in known[-1:]:
                            known.append(row + 1)
            if not self._seen & 63 and time.monotonic() > deadline:
                break
        return self._seen >= len(rows)

    def numbers(self, identity: str | None) -> array[int]:
        """The messages that passed a descriptor, ascending, at most `KEPT`."""
        return self._numbers.get(identity or "", array("I"))
