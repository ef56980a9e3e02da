"""The timeline: one row a message, painted line by line over the columns of a capture, whatever its length.

What it shows is an ascending array of rows, or all of them. A row's words exist only while it is near the screen.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from itertools import pairwise
from typing import ClassVar

from rich.segment import Segment
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from vusniff.timeline import Timeline
from vusniff.views.tui import rows as rowing
from vusniff.views.tui.judging import worst
from vusniff.views.tui.line import Part
from vusniff.views.tui.losses import Losses
from vusniff.views.tui.panes import Lined
from vusniff.views.tui.rows import Answer, Cells, Clock

CACHED = 4096
"""Worded rows kept."""


class TimelineView(Lined):
    """The messages of a capture, or some of them."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "details", show=False),
    ]

    class Moved(Message):
        """The cursor is on another row, by the user's key (or not)."""

        def __init__(self, view: TimelineView) -> None:
            super().__init__()
            self.view = view

    class Opened(Message):
        """Enter or a double click."""

    def __init__(self, timeline: Timeline, *, live: bool = False) -> None:
        super().__init__(id="timeline")
        self.timeline = timeline
        self.live = live
        self.rows: Sequence[int] | None = None
        """The rows shown, ascending; it may grow. None: all of them."""
        self.clock = Clock.START
        self.follow = False
        self.bookmarks: set[int] = set()
        self.hit = ""
        """Lower-case text to highlight."""
        self.losses = Losses(timeline.index)
        self.heading = Heading(self)
        self._cells: dict[int, Cells] = {}
        self._waiting: frozenset[int] | None = None
        self._widths: rowing.Columns | None = None

    # -- model ----------------------------------------------------------------------------------------------------

    @property
    def count(self) -> int:
        return len(self.timeline) if self.rows is None else len(self.rows)

    def row_at(self, position: int) -> int:
        """The row in a line."""
        return position if self.rows is None else self.rows[position]

    def position_of(self, row: int) -> int:
        """The line of a row, or of the nearest before it that is shown."""
        if self.rows is None:
            return max(0, min(row, self.count - 1))
        return max(0, rowing.position_of(self.rows, row))

    @property
    def row(self) -> int | None:
        """The row under the cursor; None of an empty view."""
        return self.row_at(self.cursor) if self.cursor < self.count else None

    def shows(self, row: int) -> bool:
        """It is among the rows shown."""
        return self.rows is None or (self.count > 0 and self.row_at(self.position_of(row)) == row)

    def show_rows(self, rows: Sequence[int] | None) -> None:
        """Show these rows, or all; the cursor stays on its row or goes to the nearest before it."""
        row = self.row
        self.rows = rows
        self.cursor = self.position_of(row) if row is not None else 0
        self._resize()
        self.reveal(centre=True)
        self.refresh()
        self.moved()

    def go_to(self, row: int) -> None:
        """Put the cursor on a row."""
        self.move_to(self.position_of(row), centre=True)

    def grown(self) -> None:
        """More messages came: repaint what they change of what is on the screen, and no more."""
        self._waiting = None
        before, widths = self.virtual_size.height, self.widths
        self._resize()
        top, height = self.scroll_offset.y, self.size.height
        answers = self.timeline.answers
        for row in [row for row, said in self._cells.items() if said.open and answers[row]]:
            del self._cells[row]
            self.refresh_line(self.position_of(row))
        if self.follow and self.count and before != self.count:
            self.move_to(self.count - 1)
            self.refresh()
        elif widths != self.widths:
            self.refresh()
            self.heading.refresh()
        elif before < top + height and before != self.count:
            self.refresh_lines(before, top + height - before)

    def settled(self) -> None:
        """Nothing more will come for now: what is not answered will not be."""
        self._cells.clear()
        self._waiting = None
        self.refresh()

    def _resize(self) -> None:
        self._widths = None
        self.extend(Size(self.size.width, self.count))

    def on_resize(self) -> None:
        """Columns are shared anew."""
        self._resize()
        self.heading.refresh()
        self.reveal()

    # -- painting -----------------------------------------------------------------------------------------------------

    @property
    def widths(self) -> rowing.Columns:
        """The columns as they are now."""
        if self._widths is None:
            timeline = self.timeline
            last = rowing.at(timeline, len(timeline) - 1, self.clock, 0) if len(timeline) else ""
            width = self.scrollable_content_region.width or self.size.width
            self._widths = rowing.columns(width, len(timeline), last, len(timeline.sessions))
        return self._widths

    def cells_of(self, row: int) -> Cells:
        """A row in words."""
        known = self._cells.get(row)
        if known is None:
            if len(self._cells) >= CACHED:
                self._cells.clear()
            known = self._cells[row] = rowing.cells(self.timeline, row, self._answer_of(row))
        return known

    def _answer_of(self, row: int) -> Answer:
        if self._waiting is None:
            self._waiting = frozenset(pending.number for pending in self.timeline.tracker.pending())
        if row + 1 not in self._waiting:
            return Answer.NONE
        over = self.timeline.closed(self.timeline.place(row).connection) is not None
        return Answer.NEVER if over or (not self.live and self.timeline.complete) else Answer.WAITS

    def exchange(self) -> tuple[int, int] | None:
        """The rows of the request and the reply of which the cursor is on one."""
        row = self.row
        if row is None or not (other := self.timeline.answers[row]):
            return None
        return min(row, other - 1), max(row, other - 1)

    def found(self, rows: Set[int]) -> None:
        """Findings came up at these rows."""
        top, bottom = self.scroll_offset.y, self.scroll_offset.y + self.size.height
        for position in range(top, min(bottom, self.count)):
            if self.row_at(position) in rows:
                self.refresh_line(position)

    def _gutter(self, position: int, row: int, exchange: tuple[int, int] | None) -> list[Part]:
        pair = " "
        if exchange and exchange[0] <= row <= exchange[1]:
            pair = "┌" if row == exchange[0] else "└" if row == exchange[1] else "│"
        cursor = "▸" if position == self.cursor else " "
        mark = "★" if row in self.bookmarks else "!" if self.losses.before(row) else " "
        findings = self.timeline.findings_at(row)
        letter = worst(findings) if findings else (" ", "")
        return [Part(cursor), Part(*letter), Part(f"{pair}{mark}")]

    def render_line(self, y: int) -> Strip:
        position = self.scroll_offset.y + y
        if position >= self.count:
            return Strip.blank(self.size.width, self.rich_style)
        row = self.row_at(position)
        above = self.row_at(position - 1) if position else None
        when = rowing.at(self.timeline, row, self.clock, above)
        gutter = self._gutter(position, row, self.exchange())
        made = rowing.parts(row, self.cells_of(row), when, gutter, self.widths)
        return self.strip(highlighted(made, self.hit) if self.hit else made, position == self.cursor)

    # -- moving -------------------------------------------------------------------------------------------------------

    def move_to(self, position: int, centre: bool = False) -> None:
        """Also repaints the brackets of the exchanges that the cursor left and entered."""
        before = self.exchange()
        super().move_to(position, centre)
        for pair in {before, self.exchange()} - {None}:
            assert pair is not None
            top, height = self.scroll_offset.y, self.size.height
            first = max(top, self.position_of(pair[0]))
            last = min(top + height, self.position_of(pair[1]) + 1)
            if last > first:
                self.refresh_lines(first, last - first)

    def moved(self) -> None:
        self.post_message(self.Moved(self))

    def action_move(self, by: int) -> None:
        self.follow = self.follow and by > 0 and self.cursor + by >= self.count - 1
        super().action_move(by)

    def action_page(self, pages: float) -> None:
        self.follow = self.follow and pages > 0
        super().action_page(pages)

    def action_top(self) -> None:
        self.follow = False
        super().action_top()

    def action_bottom(self) -> None:
        self.follow = self.live
        super().action_bottom()

    def action_follow_link(self) -> None:
        self.post_message(self.Opened())

    def action_open(self) -> None:
        """Enter."""
        self.post_message(self.Opened())

    def turn_clock(self) -> None:
        """The next meaning of the time column."""
        self.clock = self.clock.next
        self._widths = None
        self.refresh()
        self.heading.refresh()
        self.app.notify(f"Time column: {self.clock.value}", markup=False)

    def turn_bookmark(self) -> None:
        """Set or take away a bookmark."""
        if self.row is not None:
            self.bookmarks ^= {self.row}
            self.refresh_line(self.cursor)

    def to_bookmark(self) -> None:
        """To the next bookmark, from the last one to the first."""
        if not self.bookmarks:
            self.app.notify("No bookmarks yet: m sets one", markup=False)
            return
        ordered = sorted(self.bookmarks)
        after = [row for row in ordered if self.row is not None and row > self.row]
        self.go_to(after[0] if after else ordered[0])

    def to_answer(self) -> None:
        """From a request to its reply, and back."""
        row = self.row
        if row is None:
            return
        other = self.timeline.answers[row]
        if other:
            self.go_to(other - 1)
        else:
            said = self._answer_of(row)
            what = "no reply to it was seen" if said is not Answer.NONE else "it stands alone: it asks for no reply"
            self.app.notify(f"#{row + 1}: {what}", markup=False)


class Heading(Widget):
    """The names of the timeline's columns."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"vs--heading"}

    def __init__(self, view: TimelineView) -> None:
        super().__init__(id="heading")
        self.view = view

    def render_line(self, y: int) -> Strip:
        text = rowing.heading(self.view.widths, self.view.clock)[0].text
        style = self.rich_style + self.get_component_rich_style("vs--heading", partial=True)
        return Strip([Segment(text, style)]).crop_extend(0, self.size.width, style)


def highlighted(parts: Sequence[Part], hit: str) -> list[Part]:
    """Parts in which every occurrence of a text is marked; it is found across parts."""
    whole = "".join(part.text for part in parts).lower()
    marks: list[int] = []
    at = whole.find(hit)
    while at >= 0:
        marks.append(at)
        at = whole.find(hit, at + len(hit))
    if not marks:
        return list(parts)
    made: list[Part] = []
    start = 0
    edges = sorted({edge for mark in marks for edge in (mark, mark + len(hit))})
    for part in parts:
        stop = start + len(part.text)
        cuts = [start, *(edge for edge in edges if start < edge < stop), stop]
        for first, last in pairwise(cuts):
            inside = any(mark <= first < mark + len(hit) for mark in marks)
            made.append(Part(part.text[first - start : last - start], "hit" if inside else part.style))
        start = stop
    return made
