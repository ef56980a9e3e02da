"""Evidence other than messages, by the row that it stands behind. Knows no screen."""

from __future__ import annotations

from bisect import bisect_left

from vusniff.analysis.session import Tracker
from vusniff.capture.index import Index
from vusniff.record import Evidence
from vusniff.views import evidence

SHOWN = 4
"""Pieces worded between two messages; further ones are counted."""


class EvidenceRows:
    """What a capture holds between its messages, read as the capture grows."""

    def __init__(self, index: Index, tracker: Tracker) -> None:
        self._index = index
        self._narrator = evidence.Narrator(tracker)
        self._seen = 0
        self._rows: list[int] = []
        self._found: list[str] = []
        """In sentences."""
        self._told = 0

    def _read(self) -> None:
        events = self._index.events
        for row, event in events[self._seen :]:
            if isinstance(event, Evidence) and (said := self._narrator.sentence(event)):
                self._rows.append(max(row - 1, 0))
                self._found.append(said)
        self._seen = len(events)

    def news(self) -> list[int]:
        """The rows behind which something stands that was not told yet."""
        self._read()
        return self._rows[self._told :]

    def tell(self) -> list[int]:
        """The same, which are told with this."""
        rows = self.news()
        self._told = len(self._rows)
        return rows

    def behind(self, first: int, last: int) -> list[str]:
        """What stands behind rows from ``first`` to ``last``, in sentences."""
        if self._seen < len(self._index.events):
            self._read()
        if not self._rows:
            return []
        found = self._found[bisect_left(self._rows, first) : bisect_left(self._rows, last + 1)]
        more = [f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
        return [*found[:SHOWN], *more]
