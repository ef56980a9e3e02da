"""The bar below the timeline while it is played: phases, findings and where it is, a cell for so many messages.

It counts messages, not time: what happens in milliseconds between minutes of silence would else be in one cell.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

from rich.segment import Segment
from textual import events
from textual.strip import Strip
from textual.widget import Widget

from vusniff.checks.finding import Severity
from vusniff.views.tui.judging import MARKS
from vusniff.views.tui.line import cut, fit

if TYPE_CHECKING:
    from vusniff.views.tui.app import Room

HERE = "█"
LEAST = 6
"""Cells of a longer name that are worth showing."""


class Scrub(Widget):
    """Two lines: names of phases, and the bar."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"vs--dim", "vs--bad", "vs--warn", "vs--strong"}

    def __init__(self, room: Room) -> None:
        super().__init__(id="scrub")
        self._room = room
        self._cell = -1
        self._known: tuple[object, ...] = ()
        self._names = ""
        self._bar: list[tuple[str, str]] = []
        self.display = False

    def cell_of(self, position: int) -> int:
        """The cell of a position."""
        return position * self.size.width // max(1, self._room.view.length)

    def moved(self) -> None:
        """Another message is selected: repaint where that shows."""
        if self.display and self.cell_of(self._room.view.position) != self._cell:
            self.refresh()

    def _draw(self) -> None:
        """Work the lines out, when something but the position has changed."""
        room, width = self._room, self.size.width
        shown = room.view.shown
        known = (width, shown.length, shown.rows, shown.places, len(room.timeline.findings))
        if known == self._known:
            return
        self._known = known
        bar = [("─", "dim")] * width
        names = " " * width
        starts: list[tuple[int, str]] = []
        for _, phase in shown.places:
            if phase.count:
                starts.append((self.cell_of(self._position(phase.first - 1)), phase.kind.value))
        for (cell, name), (end, _) in pairwise([*starts, (width, "")]):
            bar[min(cell, width - 1)] = ("┬", "dim")
            if end - cell > min(LEAST, len(name)):
                names = names[:cell] + fit(cut(name, end - cell - 1), end - cell) + names[end:]
        ranks: dict[int, Severity] = {}
        for finding in room.timeline.findings:
            if shown.has(finding.number - 1):
                cell = min(width - 1, self.cell_of(self._position(finding.number - 1)))
                if cell not in ranks or finding.severity.rank < ranks[cell].rank:
                    ranks[cell] = finding.severity
        for cell, severity in ranks.items():
            bar[cell] = MARKS[severity]
        self._names, self._bar = names, bar

    def _position(self, row: int) -> int:
        rows = self._room.view.rows
        return row if rows is None else bisect_left(rows, row)

    def render_line(self, y: int) -> Strip:
        base, width = self.rich_style, self.size.width
        self._draw()
        if y == 0:
            return Strip([Segment(self._names, base)]).crop_extend(0, width, base)
        self._cell = self.cell_of(self._room.view.position)
        styles = {
            name: base + self.get_component_rich_style(f"vs--{name}", partial=True) for name in ("dim", "bad", "warn")
        }
        segments = [Segment(text, styles[style]) for text, style in self._bar]
        if self._cell < width:
            segments[self._cell] = Segment(HERE, base + self.get_component_rich_style("vs--strong", partial=True))
        return Strip(segments).crop_extend(0, width, base)

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """Go to what is under the mouse."""
        self.capture_mouse()
        self._seek(event.x)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Drag."""
        if self.app.mouse_captured is self:
            self._seek(event.x)

    def on_mouse_up(self) -> None:
        """Let go."""
        self.release_mouse()

    def _seek(self, x: int) -> None:
        view = self._room.view
        if view.length:
            position = max(0, min(view.length - 1, x * view.length // max(1, self.size.width)))
            self._room.player.seek(view.shown.row_at(position))
