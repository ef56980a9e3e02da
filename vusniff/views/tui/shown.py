"""What the timeline shows: which rows, under which headings, with runs folded or not. Knows no screen."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from vusniff.analysis.timeline import Timeline
from vusniff.views.tui.repeats import Repeats
from vusniff.views.tui.rows import position_of
from vusniff.views.tui.sections import Fold, PhaseSection, Sections, SessionPhase, fold_of


class Shown:
    """Rows of a capture as lines."""

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self.rows: Sequence[int] | None = None
        """The rows chosen, ascending; it may grow. None: all of them."""
        self.repeats: Repeats | None = None
        """The runs that are one line each; None where every row has its line."""
        self.phases: Sequence[SessionPhase] = ()
        """Phases whose headings are shown, in order."""
        self.folded: set[Fold] = set()
        self._sections = Sections((), None, 0, frozenset())

    @property
    def length(self) -> int:
        """Rows chosen."""
        return len(self.timeline) if self.rows is None else len(self.rows)

    @property
    def _lined(self) -> Sequence[int] | None:
        return self.repeats.rows if self.repeats else self.rows

    @property
    def count(self) -> int:
        """Lines."""
        return self._sections.count

    def lay(self) -> None:
        """Lay the lines out anew, after rows, headings or folds have changed."""
        lined = self._lined
        total = len(self.timeline) if lined is None else len(lined)
        self._sections = Sections(self.phases, lined, total, self.folded)

    def row_at(self, position: int) -> int:
        """The row at a position of those chosen."""
        return position if self.rows is None else self.rows[position]

    def position_of(self, row: int) -> int:
        """The position of a row among those chosen, or of the nearest before it."""
        if self.rows is None:
            return max(0, min(row, self.length - 1))
        return max(0, position_of(self.rows, row))

    def first_from(self, row: int) -> int:
        """The position of the first row chosen that is not before a row."""
        return row if self.rows is None else bisect_left(self.rows, row)

    def has(self, row: int) -> bool:
        """Whether a row is among those chosen."""
        return self.rows is None or (self.length > 0 and self.row_at(self.position_of(row)) == row)

    def row_on(self, line: int) -> int:
        """The row in a line; of a heading the first row under it, or the last before it where it has none."""
        position = self._sections.position(line)
        lined = self._lined
        return position if lined is None else lined[position]

    def row_above(self, line: int) -> int | None:
        """The row that stands above a line, headings left out; None for the first."""
        position = self._sections.position(line) - 1
        lined = self._lined
        return None if position < 0 else position if lined is None else lined[position]

    def line_of(self, row: int) -> int:
        """The line of a row, or of what stands for it: its run, the heading it is folded into, the row before it."""
        lined = self._lined
        if lined is None:
            return self._sections.line(max(0, min(row, len(self.timeline) - 1)))
        return self._sections.line(max(0, position_of(lined, row)))

    def heading(self, line: int) -> PhaseSection | None:
        """The section whose heading a line is."""
        return self._sections.heading(line)

    def section_at(self, line: int) -> PhaseSection | None:
        """The section that a line belongs to."""
        number = self._sections.number_at(line)
        return self._sections.section(number) if number >= 0 else None

    def next_heading(self, line: int, step: int) -> int | None:
        """The line of the next heading behind a line, or of the one before it."""
        number = self._sections.number_at(line)
        here = number >= 0 and self._sections.section(number).line == line
        number += step if step > 0 or here else 0
        return self._sections.section(number).line if 0 <= number < len(self._sections) else None

    def line_of_heading(self, fold: Fold) -> int | None:
        """Where the heading of a phase is now."""
        for number, (session, phase) in enumerate(self.phases):
            if fold_of(session, phase) == fold:
                return self._sections.section(number).line
        return None

    def run_of(self, line: int) -> tuple[int, int] | None:
        """(requests, number of the last message) of the run that a line stands for; None for a single row."""
        repeats = self.repeats
        if repeats is None:
            return None
        position = self._sections.position(line)
        count = repeats.counts[position]
        return (count, repeats.last_of(position) + 1) if count else None

    def unfold(self, row: int) -> bool:
        """Unfold what hides a row; False when it was in view already."""
        if self.row_on(self.line_of(row)) == row and self.heading(self.line_of(row)) is None:
            return False
        section = self.section_at(self.line_of(row))
        if section is not None and section.folded:
            self.folded.discard(section.fold)
            self.lay()
        if self.row_on(self.line_of(row)) != row and self.repeats is not None and self.has(row):
            self.repeats = None
            self.lay()
        return True
