"""The timeline: one row a message, painted line by line, however long the capture is.

It shows an ascending array of rows, or all of them. A row is put into words only when it is painted.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence, Set
from typing import ClassVar

from rich.segment import Segment
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from vusniff.amounts import duration
from vusniff.analysis.callers import RowCallers
from vusniff.analysis.timeline import Timeline
from vusniff.printable import escape
from vusniff.views.tui import rows as rowing
from vusniff.views.tui.evidence import EvidenceRows
from vusniff.views.tui.line import Part, highlighted
from vusniff.views.tui.losses import Losses
from vusniff.views.tui.marks import mark_of
from vusniff.views.tui.pace import NEXT_SECONDS, SLICE_SECONDS
from vusniff.views.tui.panes import Lined
from vusniff.views.tui.repeats import Repeats
from vusniff.views.tui.rows import GUTTER, Answer, Cells, Clock
from vusniff.views.tui.sections import PhaseSection, SessionPhase, fold_of, heading_parts
from vusniff.views.tui.shown import Shown

SHORT = 16
"""Characters of values that stand before what is said of a message."""
CACHED = 4096
"""Rows whose words are kept."""


class TimelineView(Lined):
    """The messages of a capture, or some of them."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "follow_link", "details", show=False),
        Binding("l,right", "aside(1)", "to the right", show=False),
        Binding("h,left", "aside(-1)", "to the left", show=False),
    ]

    class Moved(Message):
        """The cursor is on another row."""

        def __init__(self, view: TimelineView) -> None:
            super().__init__()
            self.view = view

    class Opened(Message):
        """Enter or a double click."""

    def __init__(self, timeline: Timeline, *, live: bool = False) -> None:
        super().__init__(id="timeline")
        self.timeline = timeline
        self.live = live
        self.shown = Shown(timeline)
        self.marked: Sequence[int] = ()
        """Numbers of the messages with findings, ascending."""
        self.clock = Clock.START
        self.columns: Sequence[rowing.RowColumn] = rowing.ALL_COLUMNS
        """From left to right."""
        self.aside = 0
        """Cells of the values that are left out: the timeline is scrolled sideways."""
        self.follow = False
        self.bookmarks: set[int] = set()
        self.mark: int | None = None
        """The row of the bookmark that was set last: times may count from it."""
        self.nothing: Callable[[], str] = lambda: ""
        """What is said where there is no row to show."""
        self.announce: Callable[[str], None] = lambda sentence: self.app.notify(sentence, markup=False)
        """Shows a sentence in the corner."""
        self.hit = ""
        """Lower-case text to highlight."""
        self.words = ""
        """What the rows shown have in common; empty when all rows are shown."""
        self.session: int | None = None
        """The session that is shown alone."""
        self.losses = Losses(timeline.index)
        self.evidence = EvidenceRows(timeline.index, timeline.tracker)
        self.callers: RowCallers | None = None
        """Who sent each message, while what one function sends is one line."""
        self.heading = Heading(self)
        self._cells: dict[int, Cells] = {}
        self._waiting: frozenset[int] | None = None
        self._widths: rowing.ColumnWidths | None = None

    # -- model ----------------------------------------------------------------------------------------------------

    @property
    def count(self) -> int:
        return self.shown.count

    @property
    def rows(self) -> Sequence[int] | None:
        """The rows shown, ascending; it may grow. None: all of them."""
        return self.shown.rows

    @property
    def length(self) -> int:
        """How many rows are shown, folded ones among them."""
        return self.shown.length

    @property
    def row(self) -> int | None:
        """The row under the cursor, or the first under the heading there; None in an empty view."""
        return self.shown.row_on(self.cursor) if self.length and self.cursor < self.count else None

    @property
    def position(self) -> int:
        """Where the row under the cursor stands among the rows shown."""
        row = self.row
        return 0 if row is None else self.shown.position_of(row)

    def shows(self, row: int) -> bool:
        """Whether a row is among those shown."""
        return self.shown.has(row)

    def show_rows(self, rows: Sequence[int] | None, words: str, session: int | None) -> None:
        """Show these rows, or all, as `Application.limit` says. The cursor stays on its row, or goes to the nearest
        row before it."""
        row = self.row
        self.words, self.session = words, session
        self.shown.rows, self.shown.phases = rows, ()
        if self.shown.repeats is not None:
            self._fold_repeats()
        self.shown.lay()
        self.cursor = self.shown.line_of(row) if row is not None else 0
        self._resize()
        self.reveal(centre=True)
        self.refresh()
        self.moved()

    def go_to(self, row: int) -> None:
        """Put the cursor on a row; what hides it is unfolded."""
        if self.shows(row) and self.shown.unfold(row):
            self._resize()
            self.refresh()
        self.move_to(self.shown.line_of(row), centre=True)

    # -- folding --------------------------------------------------------------------------------------------------

    def divide(self, phases: Sequence[SessionPhase]) -> None:
        """Headings of these phases stand between the rows."""
        at = self._at()
        self.shown.phases = phases
        if self.shown.repeats is not None and self.shown.repeats.begins != self._begins:
            self._fold_repeats()
        self._laid(at)

    def _at(self) -> tuple[PhaseSection | None, int | None]:
        """What the cursor is on, for `_laid`: the phase of a heading, and the row."""
        return self.shown.heading(self.cursor), self.row

    def _laid(self, at: tuple[PhaseSection | None, int | None]) -> None:
        """Lay the lines out anew. The cursor stays on what it was on, and that stays where it is on the screen."""
        section, row = at
        top, before = self.scroll_offset.y, self.cursor
        self.shown.lay()
        self._resize()
        line = self.shown.line_of_heading(section.fold) if section else None
        if line is None:
            line = self.shown.line_of(row) if row is not None else 0
        self.cursor = max(0, min(line, self.count - 1))
        if top:
            self.scroll_to(y=max(0, top + self.cursor - before), animate=False)
        self.reveal()
        self.refresh()

    def fold(self) -> None:
        """Fold the section under the cursor, or unfold it."""
        section = self.shown.section_at(self.cursor)
        if section is not None:
            at = self._at()
            self.shown.folded ^= {section.fold}
            self._laid(at)
            self.cursor = section.line
            self.reveal()
            self.moved()

    def fold_all(self) -> None:
        """Fold all sections, or unfold them when all are."""
        every = {fold_of(session, phase) for session, phase in self.shown.phases}
        at = self._at()
        self.shown.folded = set() if every <= self.shown.folded else every
        self._laid(at)
        self.moved()

    def turn_repeats(self) -> None:
        """Runs of the same request as one line, and back."""
        at = self._at()
        if self.shown.repeats is None or self.callers is not None:
            self.callers = None
            self._fold_repeats()
        else:
            self.shown.repeats = None
        self._laid(at)

    def turn_callers(self) -> bool:
        """What one function sends as one line, and back; False where no call stacks were recorded."""
        at = self._at()
        if self.callers is not None:
            self.callers = self.shown.repeats = None
        else:
            found = RowCallers(self.timeline)
            if not found.rows:
                return False
            self.callers = found
            self._fold_repeats()
        self._laid(at)
        self.refresh()
        return True

    @property
    def _begins(self) -> frozenset[int]:
        """The rows at which phases begin."""
        return frozenset(phase.first - 1 for _, phase in self.shown.phases)

    def _fold_repeats(self) -> None:
        self.shown.repeats = Repeats(self.timeline, self.rows, self._begins, self.callers)
        if not self.shown.repeats.run(SLICE_SECONDS):
            self.set_timer(NEXT_SECONDS, self._go_on_folding)

    def _go_on_folding(self) -> None:
        if self.shown.repeats is not None:
            at = self._at()
            done = self.shown.repeats.run(SLICE_SECONDS)
            self._laid(at)
            if not done:
                self.set_timer(NEXT_SECONDS, self._go_on_folding)

    def to_heading(self, step: int) -> None:
        """To the next phase, or to the one before."""
        line = self.shown.next_heading(self.cursor, step)
        if line is not None:
            self.move_to(line, centre=True)

    def grown(self) -> None:
        """More messages came: repaint only what they change on the screen."""
        self._waiting = None
        before, widths = self.virtual_size.height, self.widths
        if self.shown.repeats is None:
            self.shown.lay()
        else:
            at = self._at()
            self.shown.repeats.run(SLICE_SECONDS)
            self._laid(at)
        self._resize()
        top, height = self.scroll_offset.y, self.size.height
        answers = self.timeline.answers
        for row in [row for row, texts in self._cells.items() if texts.open and answers[row]]:
            del self._cells[row]
            self.refresh_line(self.shown.line_of(row))
        if self.follow and self.count and before != self.count:
            self.move_to(self.count - 1)
            self.refresh()
        elif widths != self.widths:
            self.refresh()
            self.heading.refresh()
        elif before < top + height and before != self.count:
            self.refresh_lines(before, top + height - before)
        if self.count:
            for row in set(self.evidence.tell()):
                self.refresh_line(self.shown.line_of(row))

    def settled(self) -> None:
        """All messages have come: what is not answered now never will be."""
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
    def widths(self) -> rowing.ColumnWidths:
        """The widths of the columns, for the size of the view and the messages that came so far."""
        if self._widths is None:
            timeline = self.timeline
            since = self.mark if self.clock is Clock.BOOKMARK else 0
            last = rowing.at(timeline, len(timeline) - 1, self.clock, since) if len(timeline) else ""
            width = self.scrollable_content_region.width or self.size.width
            self._widths = rowing.columns(
                width, len(timeline), last, len(timeline.sessions), rowing.arrow_width(timeline.families), self.columns
            )
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
        """The rows of a request and its reply, when the cursor is on either."""
        row = self.row
        if row is None or not (other := self.timeline.answers[row]):
            return None
        return min(row, other - 1), max(row, other - 1)

    def found(self, rows: Set[int]) -> None:
        """Findings came up at these rows."""
        top, bottom = self.scroll_offset.y, self.scroll_offset.y + self.size.height
        for position in range(top, min(bottom, self.count)):
            if self.shown.row_on(position) in rows or self.shown.heading(position):
                self.refresh_line(position)

    def _gutter(self, position: int, row: int, exchange: tuple[int, int] | None, behind: bool) -> list[Part]:
        pair = " "
        if exchange and exchange[0] <= row <= exchange[1]:
            pair = "┌" if row == exchange[0] else "└" if row == exchange[1] else "│"
        cursor = "▸" if position == self.cursor else " "
        mark = "★" if row in self.bookmarks else "!" if self.losses.before(row) else " "
        if mark == " " and behind:
            mark = "~" if self.evidence.is_taken(row) else "#"
        return [Part(cursor), Part(*mark_of(self.timeline.findings_at(row))), Part(f"{pair}{mark}")]

    def render_line(self, y: int) -> Strip:
        position = self.scroll_offset.y + y
        if position >= self.count:
            words = self.nothing() if not self.count and y == 1 else ""
            return self.strip([Part(" " * GUTTER + words, "dim")], False)
        if section := self.shown.heading(position):
            return self.strip(self._heading_parts(section, position), position == self.cursor)
        row = self.shown.row_on(position)
        above = self.mark if self.clock is Clock.BOOKMARK else self.shown.row_above(position)
        when = rowing.at(self.timeline, row, self.clock, above)
        run = self.shown.run_of(position)
        behind = self.evidence.behind(row, run[1] - 1 if run else row, short=True)
        gutter = self._gutter(position, row, self.exchange(), bool(behind))
        texts = self.cells_of(row)
        caller = self.callers.of(row) if self.callers is not None else None
        if caller:
            many = f"sends {run[0]:,} to #{run[1]}" if run else "sends"
            texts = texts._replace(values=f"{escape(caller)} {many}: {texts.values}")
        elif run:
            texts = texts._replace(values=f"x{run[0]:,} to #{run[1]}: {texts.values}")
        if behind:
            said, own = f"# {'; '.join(behind)}", texts.values
            # What is short stands first: on a narrow screen it would be cut.
            texts = texts._replace(values=f"{own}  {said}".lstrip() if len(own) <= SHORT else f"{said}; {own}")
        made = rowing.parts(row, texts, when, gutter, self.widths, self.aside)
        return self.strip(highlighted(made, self.hit) if self.hit else made, position == self.cursor)

    def _heading_parts(self, section: PhaseSection, line: int) -> list[Part]:
        phase, found = section.phase, self.marked
        within = bisect_right(found, phase.last) - bisect_left(found, phase.first) if phase.count else 0
        named = len(self.timeline.sessions) > 1 and self.rows is None
        return heading_parts(section, self.size.width, named, within, line == self.cursor)

    def on_click(self, event: events.Click) -> None:
        """A click on a heading folds it, or unfolds it."""
        line = event.y + self.scroll_offset.y
        if self.shown.heading(line):
            event.prevent_default()
            self.move_to(line)
            self.fold()

    # -- moving -------------------------------------------------------------------------------------------------------

    def move_to(self, position: int, centre: bool = False) -> None:
        """Put the cursor on a line, and repaint the brackets of the exchanges that it left and entered."""
        before = self.exchange()
        super().move_to(position, centre)
        for pair in {before, self.exchange()} - {None}:
            assert pair is not None
            top, height = self.scroll_offset.y, self.size.height
            first = max(top, self.shown.line_of(pair[0]))
            last = min(top + height, self.shown.line_of(pair[1]) + 1)
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
        if self.shown.heading(self.cursor):
            self.fold()
        else:
            self.post_message(self.Opened())

    def action_aside(self, by: int) -> None:
        """Scroll sideways: the values move, the other columns stay. Not beyond the longest that is shown."""
        room = self.widths.sizes.get(rowing.RowColumn.VALUES, 0)
        longest = 0
        for line in range(self.scroll_offset.y, min(self.count, self.scroll_offset.y + self.size.height)):
            if self.shown.heading(line) is None:
                texts = self.cells_of(self.shown.row_on(line))
                alone = 0 if self.widths.descriptors else len(texts.descriptors) + 1
                longest = max(longest, len(texts.values) + alone)
        self.aside = max(0, min(self.aside + by * max(8, room // 2), longest - room + 1))
        self.refresh()

    def on_mouse_scroll_right(self, event: events.MouseScrollRight) -> None:
        """The wheel, sideways."""
        event.stop()
        self.action_aside(1)

    def on_mouse_scroll_left(self, event: events.MouseScrollLeft) -> None:
        """The wheel, sideways."""
        event.stop()
        self.action_aside(-1)

    def show_columns(self, columns: Sequence[rowing.RowColumn]) -> None:
        """Show these columns in this order."""
        self.columns, self._widths = columns, None
        self.refresh()
        self.heading.refresh()

    def turn_clock(self) -> None:
        """The next meaning of the time column."""
        self.clock = self.clock.next
        if self.clock is Clock.BOOKMARK and self.mark is None:
            self.clock = self.clock.next
        self._widths = None
        self.refresh()
        self.heading.refresh()
        since = f" #{self.mark + 1}" if self.clock is Clock.BOOKMARK and self.mark is not None else ""
        self.announce(f"Time column: {self.clock.value}{since}")

    def turn_bookmark(self) -> None:
        """Set or take away a bookmark; say how long after the one before it that is."""
        row, before = self.row, self.mark
        if row is None:
            return
        self.bookmarks ^= {row}
        if row not in self.bookmarks:
            self.mark = max(self.bookmarks, default=None)
            self.announce(f"#{row + 1} is no bookmark any more")
        else:
            self.mark = row
            self.announce(f"#{row + 1} is a bookmark{self._between(before, row)}")
        if self.clock is Clock.BOOKMARK and self.mark is None:
            self.clock = self.clock.next
        self._widths = None
        self.refresh()
        self.heading.refresh()

    def _between(self, before: int | None, row: int) -> str:
        """The time between two bookmarks, in words."""
        if before is None or before == row:
            return ""
        passed = self.timeline.time_ns(row) - self.timeline.time_ns(before)
        return f", {duration(abs(passed))} {'after' if passed >= 0 else 'before'} #{before + 1}"

    def to_bookmark(self) -> None:
        """To the next bookmark, from the last one to the first."""
        if not self.bookmarks:
            self.announce("No bookmarks yet: m sets one")
            return
        ordered = sorted(self.bookmarks)
        after = [row for row in ordered if self.row is not None and row > self.row]
        row, here = (after[0] if after else ordered[0]), self.row
        self.go_to(row)
        self.announce(f"Bookmark #{row + 1}{self._between(here, row)}")

    def to_answer(self) -> None:
        """From a request to its reply, and back."""
        row = self.row
        if row is None:
            return
        other = self.timeline.answers[row]
        if other:
            self.go_to(other - 1)
        else:
            answer = self._answer_of(row)
            what = "no reply to it was seen" if answer is not Answer.NONE else "it stands alone: it asks for no reply"
            self.announce(f"#{row + 1}: {what}")


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
