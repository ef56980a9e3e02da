"""The bar below the timeline while it is played: phases, findings and the selected message, so many messages a cell.

The bar counts messages, not time. By time, all that happens in milliseconds between minutes of silence would be in one
cell.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import ClassVar

from rich.segment import Segment
from textual import events
from textual.strip import Strip
from textual.widget import Widget

from vusniff.analysis.timeline import Timeline
from vusniff.checks.finding import Severity
from vusniff.views.tui.line import cut, fit
from vusniff.views.tui.marks import MARKS
from vusniff.views.tui.shown import Shown
from vusniff.views.tui.timeline import TimelineView

HERE = "█"
"""The cell of the selected message."""
LEAST = 6
"""Cells of a longer name that are worth showing."""


def cell_of(shown: Shown, position: int, width: int) -> int:
    """The cell of a position in a bar of ``width`` cells."""
    return position * width // max(1, shown.length)


def row_at(shown: Shown, cell: int, width: int) -> int | None:
    """The row that a cell stands for; None where no rows are shown."""
    if not shown.length:
        return None
    return shown.row_at(max(0, min(shown.length - 1, cell * shown.length // max(1, width))))


def drawn(shown: Shown, timeline: Timeline, width: int) -> tuple[str, list[tuple[str, str]]]:
    """The names of the phases, and the bar's cells as (text, style)."""

    def cell_of_number(number: int) -> int:
        return cell_of(shown, shown.first_from(number - 1), width)

    bar = [("─", "dim")] * width
    names = " " * width
    starts = [(cell_of_number(phase.first), phase.kind.value) for _, phase in shown.phases if phase.count]
    for (cell, name), (end, _) in pairwise([*starts, (width, "")]):
        bar[min(cell, width - 1)] = ("┬", "dim")
        if end - cell > min(LEAST, len(name)):
            names = names[:cell] + fit(cut(name, end - cell - 1), end - cell) + names[end:]
    worst: dict[int, Severity] = {}
    for finding in timeline.findings:
        if shown.has(finding.number - 1):
            cell = min(width - 1, cell_of_number(finding.number))
            if cell not in worst or finding.severity.rank < worst[cell].rank:
                worst[cell] = finding.severity
    for cell, severity in worst.items():
        bar[cell] = MARKS[severity]
    return names, bar


class Scrub(Widget):
    """Two lines: names of phases, and the bar."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"vs--dim", "vs--bad", "vs--warn", "vs--strong"}

    def __init__(self, view: TimelineView, seek: Callable[[int], None]) -> None:
        """``seek`` is called with the row under the mouse while a button is held."""
        super().__init__(id="scrub")
        self._view = view
        self._seek_row = seek
        self._cell = -1
        """Where the selected message was painted."""
        self._known: tuple[object, ...] = ()
        """What the lines were drawn from."""
        self._names = ""
        self._bar: list[tuple[str, str]] = []
        self.display = False

    def moved(self) -> None:
        """Another message is selected: repaint where that shows."""
        if self.display and self._cell_here() != self._cell:
            self.refresh()

    def _cell_here(self) -> int:
        return cell_of(self._view.shown, self._view.position, self.size.width)

    def _draw(self) -> None:
        """Draw the lines anew when something but the position has changed."""
        shown, timeline, width = self._view.shown, self._view.timeline, self.size.width
        known = (width, shown.length, shown.rows, shown.phases, len(timeline.findings))
        if known != self._known:
            self._known = known
            self._names, self._bar = drawn(shown, timeline, width)

    def render_line(self, y: int) -> Strip:
        base, width = self.rich_style, self.size.width
        self._draw()
        if y == 0:
            return Strip([Segment(self._names, base)]).crop_extend(0, width, base)
        self._cell = self._cell_here()
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
        row = row_at(self._view.shown, x, self.size.width)
        if row is not None:
            self._seek_row(row)
