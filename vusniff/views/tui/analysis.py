"""States before and after messages, worked out in slices: no key waits for a million messages. Knows no screen."""

from __future__ import annotations

import time
from bisect import bisect_right

from vusniff.analysis.timeline import CHECKPOINT, Timeline
from vusniff.families.family import State

WINDOWS = 16
"""Sessions of which the states between two checkpoints are kept."""


class States:
    """States before and after a message, once its session has been worked out that far.

    The states between two checkpoints are kept while the selection stays between them, so that moving costs nothing.
    """

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self._done: dict[int, int] = {}
        """Session -> messages of it that have been worked out."""
        self._windows: dict[int, tuple[int, list[State]]] = {}
        """Session -> (n, the states after its first n, n + 1, ... messages); the one that was used last stands last."""

    def get(self, row: int) -> tuple[State, State] | None:
        """The states before and after a row; None when `step` has to be called first."""
        if self.missing(row) > CHECKPOINT:
            return None
        session = self.timeline.place(row).session
        rows = self.timeline.rows_of(session)
        position = bisect_right(rows, row)
        first = (position - 1) // CHECKPOINT * CHECKPOINT
        at, window = self._windows.pop(session, (-1, []))
        if at != first:
            begin = self.timeline.session_state(session, rows[first - 1]) if first else self._initial(session)
            window = [begin]
        self._windows[session] = first, window
        if len(self._windows) > WINDOWS:
            del self._windows[next(iter(self._windows))]
        advance = self.timeline.sessions[session - 1].family.advance
        while first + len(window) <= position:
            message = self.timeline.message(rows[first + len(window) - 1])
            window.append(advance(window[-1], message))
        return window[position - first - 1], window[position - first]

    def _initial(self, session: int) -> State:
        return self.timeline.sessions[session - 1].initial()

    def missing(self, row: int) -> int:
        """Messages of the row's session that have to be worked out before its state is at hand."""
        session = self.timeline.place(row).session
        return bisect_right(self.timeline.rows_of(session), row) - self._done.get(session, 0)

    def step(self, row: int, seconds: float) -> bool:
        """Work for about so many seconds towards a row; True when its state is at hand."""
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
