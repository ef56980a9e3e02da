"""States for the screen: worked out in slices, so that no key waits for a million messages. Knows no screen."""

from __future__ import annotations

import time
from bisect import bisect_right

from vusniff.advance import advance
from vusniff.state import DeviceState
from vusniff.timeline import CHECKPOINT, Timeline


class States:
    """States before and after a message, once its session has been worked out that far."""

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self._done: dict[int, int] = {}
        """Session -> messages of it that have been worked out."""
        self._last: tuple[int, DeviceState, DeviceState] | None = None

    def get(self, row: int) -> tuple[DeviceState, DeviceState] | None:
        """Before and after a row; None when `step` has to be called first."""
        if self._last is not None and self._last[0] == row:
            return self._last[1:]
        if self.missing(row) > CHECKPOINT:
            return None
        before = self.timeline.before(row)
        after = advance(before, self.timeline.message(row))
        self._last = (row, before, after)
        return before, after

    def missing(self, row: int) -> int:
        """Messages of the row's session that have to be worked out before its state is at hand."""
        session = self.timeline.place(row).session
        return bisect_right(self.timeline.rows_of(session), row) - self._done.get(session, 0)

    def step(self, row: int, seconds: float) -> bool:
        """Work for about so long towards a row; True when its state is at hand."""
        session = self.timeline.place(row).session
        rows = self.timeline.rows_of(session)
        deadline = time.monotonic() + seconds
        while self.missing(row) > CHECKPOINT:
            done = self._done.get(session, 0) + CHECKPOINT
            self.timeline.session_state(session, rows[done - 1])
            self._done[session] = done
            if time.monotonic() > deadline:
                break
        return self.missing(row) <= CHECKPOINT
