"""What a capture says was lost, by row. Knows no screen."""

from __future__ import annotations

from vusniff.capture.index import Index
from vusniff.record import Lost


class Losses:
    """Messages known to be lost, counted as the capture grows."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._seen = 0
        self._total = 0
        self._before: dict[int, int] = {}

    def _read(self) -> None:
        events = self._index.events
        for row, event in events.since(self._seen):
            if isinstance(event, Lost):
                self._total += event.count
                self._before[row] = self._before.get(row, 0) + event.count
        self._seen = events.total

    @property
    def total(self) -> int:
        """Messages known to be lost so far."""
        if self._seen < self._index.events.total:
            self._read()
        return self._total

    def before(self, row: int) -> int:
        """Messages lost between a row and the row before it."""
        return self._before.get(row, 0) if self.total else 0
