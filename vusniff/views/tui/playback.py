"""Plays a capture as it happened: which row comes next, and when."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from vusniff.analysis.timeline import Timeline
from vusniff.views.tui.application import Application

SPEEDS: tuple[float, ...] = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 0)
"""Times the real speed; 0 leaves gaps out."""
STEADY_NS = 100_000_000
"""Between two messages when gaps are left out: ten a second."""
FRAME_SECONDS = 0.05
"""Between two moves of the cursor."""


class PlaybackClock:
    """A position in time that moves from row to row. Knows no screen and no clock."""

    def __init__(self) -> None:
        self.speed = SPEEDS.index(1)
        """Which of `SPEEDS`."""
        self._from_ns = 0
        """The capture's time at ``_at``."""
        self._at = 0.0

    @property
    def words(self) -> str:
        """The speed."""
        speed = SPEEDS[self.speed]
        return f"{speed:g}x" if speed else "no gaps"

    def change(self, by: int, row: int, timeline: Timeline, now: float) -> None:
        """Play faster by so many of `SPEEDS`, from a row on."""
        self.speed = max(0, min(len(SPEEDS) - 1, self.speed + by))
        self.begin(row, timeline, now)

    def begin(self, row: int, timeline: Timeline, now: float) -> None:
        """Play from a row; ``now`` in seconds of any steady clock."""
        self._from_ns, self._at = timeline.time_ns(row), now

    def due(self, position: int, rows: Sequence[int], timeline: Timeline, now: float) -> int:
        """The position in ``rows`` to show at ``now``, at or behind ``position``."""
        speed = SPEEDS[self.speed]
        if not speed:
            steps = int((now - self._at) * 1e9 / STEADY_NS)
            if steps:
                self._at += steps * STEADY_NS / 1e9
            return min(len(rows) - 1, position + steps)
        until = self._from_ns + (now - self._at) * 1e9 * speed
        while position + 1 < len(rows) and timeline.time_ns(rows[position + 1]) <= until:
            position += 1
        return position


class Playback:
    """Moves the timeline's cursor as time goes by."""

    def __init__(self, app: Application, now: Callable[[], float] = time.monotonic) -> None:
        """``now`` is a steady clock in seconds."""
        self.app = app
        self._now = now
        self.clock = PlaybackClock()
        self.playing = False
        self._generation = 0
        """Counts the calls of `toggle`: a frame of an earlier one stops."""
        self._row: int | None = None
        """The row it has come to; the cursor may be on the line that the row is folded into."""
        self._line = -1

    @property
    def words(self) -> str:
        """The speed while it plays, else empty."""
        return f"playing {self.clock.words}" if self.playing else ""

    def toggle(self) -> bool:
        """Play from the selected message, or stop; stop following a live capture first. True when it began to play."""
        view, began = self.app.view, False
        if view.follow:
            view.follow = False
        elif self.playing:
            self.playing = False
        elif view.row is not None:
            self.clock.begin(view.row, self.app.timeline, self._now())
            self.playing = began = True
            self._generation += 1
            self._wait(self._generation)
        self.app.refresh_top()
        return began

    def change(self, by: int) -> None:
        """Play faster, or slower where ``by`` is negative."""
        if self.app.view.row is not None:
            self.clock.change(by, self.app.view.row, self.app.timeline, self._now())
        self.app.refresh_top()
        if not self.playing:
            self.app.announce(f"Space plays at {self.clock.words}")

    def seek(self, row: int) -> None:
        """Select a row, and play on from there."""
        self.app.view.follow = False
        self.app.view.go_to(row)
        self._row = None
        self.clock.begin(row, self.app.timeline, self._now())

    def _wait(self, generation: int) -> None:
        self.app.later(FRAME_SECONDS, lambda: self._frame(generation))

    def _frame(self, generation: int) -> None:
        """Move to the row that is due."""
        if not self.playing or generation != self._generation:
            return
        view = self.app.view
        rows = range(len(self.app.timeline)) if view.rows is None else view.rows
        moved = view.cursor != self._line or self._row is None
        begin = view.position if moved or self._row is None else view.shown.position_of(self._row)
        position = self.clock.due(begin, rows, self.app.timeline, self._now())
        if len(rows) and (moved or position != begin):
            self._row = rows[position]
            self._line = view.shown.line_of(self._row)
            view.move_to(self._line)
        if position >= len(rows) - 1:
            self.playing = False
            view.follow = view.live
            self.app.refresh_top()
        else:
            self._wait(generation)
