"""Playing a capture as it happened: which row comes next, and when."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual.timer import Timer

from vusniff.analysis.timeline import Timeline

if TYPE_CHECKING:
    from vusniff.views.tui.app import Room

SPEEDS: tuple[float, ...] = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 0)
"""Times the real speed; 0 is without gaps."""
STEADY_NS = 100_000_000
"""Between two messages when gaps are left out: ten a second."""


FRAME_SECONDS = 0.05


class Clockwork:
    """A position in time that moves from row to row. Knows no screen and no clock of its own."""

    def __init__(self) -> None:
        self.speed = SPEEDS.index(1)
        self._from_ns = 0
        self._at = 0.0

    @property
    def words(self) -> str:
        """The speed."""
        speed = SPEEDS[self.speed]
        return f"{speed:g}x" if speed else "no gaps"

    def change(self, by: int, row: int, timeline: Timeline, now: float) -> None:
        """Another speed, from where it is now."""
        self.speed = max(0, min(len(SPEEDS) - 1, self.speed + by))
        self.begin(row, timeline, now)

    def begin(self, row: int, timeline: Timeline, now: float) -> None:
        """Play from a row; ``now`` in seconds of any steady clock."""
        self._from_ns, self._at = timeline.time_ns(row), now

    def due(self, position: int, rows: Sequence[int], timeline: Timeline, now: float) -> int:
        """The position to show at ``now``, at or behind ``position``."""
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


class Player:
    """Moves the room's cursor as time goes by."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.clockwork = Clockwork()
        self._timer: Timer | None = None
        self._row: int | None = None
        """The row that it has come to; the cursor may stand on what it is folded into."""
        self._line = -1

    @property
    def playing(self) -> bool:
        """Whether it moves."""
        return self._timer is not None

    def toggle(self) -> None:
        """Play from the selected message, or stop. What follows a live capture stands still."""
        view = self.room.view
        if view.follow:
            view.follow = False
        elif self._timer is not None:
            self._timer.stop()
            self._timer = None
        elif view.row is not None:
            self.clockwork.begin(view.row, self.room.timeline, time.monotonic())
            self._timer = self.room.set_interval(FRAME_SECONDS, self._frame)
            self.room.scrub.display = True
        self.room.say()

    def change(self, by: int) -> None:
        """Faster or slower."""
        if self.room.view.row is not None:
            self.clockwork.change(by, self.room.view.row, self.room.timeline, time.monotonic())
        self.room.say()
        if not self.playing:
            self.room.tell(f"Space plays at {self.clockwork.words}")

    def seek(self, row: int) -> None:
        """Go to a row, and play on from there."""
        self.room.view.follow = False
        self.room.view.go_to(row)
        self._row = None
        self.clockwork.begin(row, self.room.timeline, time.monotonic())

    def _frame(self) -> None:
        view = self.room.view
        rows = range(len(self.room.timeline)) if view.rows is None else view.rows
        moved = view.cursor != self._line or self._row is None
        begin = view.position if moved or self._row is None else view.shown.position_of(self._row)
        position = self.clockwork.due(begin, rows, self.room.timeline, time.monotonic())
        if moved or position != begin:
            self._row = rows[position]
            self._line = view.shown.line_of(self._row)
            view.move_to(self._line)
        if position >= len(rows) - 1:
            if self._timer is not None:
                self._timer.stop()
                self._timer = None
            view.follow = view.live
            self.room.say()
