"""Which line shows what: rows under the headings of phases, sections folded or not. Knows no screen.

There are three ways to count: a row is a message of the capture, a position counts the rows that are shown, a line
counts what is painted. Headings stand between positions, so only headings are kept, however long the capture is.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence, Set
from typing import NamedTuple

from vusniff.analysis.timeline import Timeline
from vusniff.families.phase import Phase
from vusniff.views.phases import lasted_words, numbers_words
from vusniff.views.tui.line import Part

SessionPhase = tuple[int, Phase]
"""Session and phase."""
Fold = tuple[int, int, str]
"""Session, first message and kind of a folded phase."""


class PhaseSection(NamedTuple):
    """A phase, and where its rows are shown."""

    session: int
    phase: Phase
    line: int
    """Of its heading."""
    first: int
    """Position of its first row."""
    length: int
    """Rows under it."""
    folded: bool

    @property
    def fold(self) -> Fold:
        """What identifies it among the folded ones."""
        return fold_of(self.session, self.phase)


def fold_of(session: int, phase: Phase) -> Fold:
    """What identifies a phase among the folded ones."""
    return session, phase.first, phase.kind.value


class Sections:
    """Headings between positions."""

    def __init__(
        self, phases: Sequence[SessionPhase], rows: Sequence[int] | None, total: int, folded: Set[Fold]
    ) -> None:
        """``phases`` in order; ``rows`` are those shown, ascending (None: all), ``total`` how many there are."""
        firsts = [phase.first - 1 for _, phase in phases]
        if rows is not None:
            firsts = [bisect_left(rows, first) for first in firsts]
        self._firsts = firsts
        self._lines: list[int] = []
        self._phases = phases
        self._folded = folded
        self._total = total
        hidden = 0
        for number, (session, phase) in enumerate(phases):
            self._lines.append(firsts[number] + number - hidden)
            if folded and fold_of(session, phase) in folded:
                hidden += self._end(number) - firsts[number]
        self.count = total + len(phases) - hidden
        """Lines."""

    def _end(self, number: int) -> int:
        return self._firsts[number + 1] if number + 1 < len(self._firsts) else self._total

    def __len__(self) -> int:
        return len(self._phases)

    def section(self, number: int) -> PhaseSection:
        """The section with a number."""
        session, phase = self._phases[number]
        first = self._firsts[number]
        folded = fold_of(session, phase) in self._folded
        return PhaseSection(session, phase, self._lines[number], first, self._end(number) - first, folded)

    def heading(self, line: int) -> PhaseSection | None:
        """The section whose heading a line is."""
        number = bisect_left(self._lines, line)
        return self.section(number) if number < len(self._lines) and self._lines[number] == line else None

    def position(self, line: int) -> int:
        """The position that a line shows; of a heading that of its first row, or of the last row before it."""
        number = bisect_right(self._lines, line) - 1
        if number < 0:
            return line
        under = max(0, line - self._lines[number] - 1)
        return max(0, min(self._firsts[number] + under, self._total - 1))

    def line(self, position: int) -> int:
        """The line that shows a position; the line of the heading where that phase is folded."""
        number = bisect_right(self._firsts, position) - 1
        if number < 0:
            return position
        section = self.section(number)
        return section.line if section.folded else section.line + 1 + position - section.first

    def number_at(self, line: int) -> int:
        """Number of the section that a line belongs to; -1 before the first."""
        return bisect_right(self._lines, line) - 1


def session_phases(timeline: Timeline, session: int | None) -> list[SessionPhase]:
    """The phases of one session, or of all where they follow one another; none where sessions run side by side."""
    if session is not None:
        return [(session, phase) for phase in timeline.phases(session)]
    if side_by_side(timeline):
        return []
    found = [(known.number, phase) for known in timeline.sessions for phase in timeline.phases(known.number)]
    # A phase without messages comes before the one it stands before.
    found.sort(key=lambda one: (one[1].first, one[0], one[1].start_ns, one[1].count > 0))
    return found


def side_by_side(timeline: Timeline) -> bool:
    """Whether messages of one session stand between those of another."""
    last = -1
    for known in timeline.sessions:
        rows = timeline.rows_of(known.number)
        if rows and rows[0] < last:
            return True
        last = max(last, rows[-1]) if rows else last
    return False


def heading_parts(section: PhaseSection, width: int, named: bool, found: int, cursor: bool) -> list[Part]:
    """A heading across the view; ``named`` says whose phase it is, ``found`` counts messages with findings in it."""
    whose = f"session {section.session}: " if named else ""
    sign = " + " if section.folded and section.length else " "
    phase = section.phase
    words = f", {numbers_words(phase)}" if phase.count else ""
    words += f", {lasted_words(phase)}"
    if section.folded and section.length:
        words += f", {section.length:,} row{'' if section.length == 1 else 's'} folded"
        words += f", {found:,} with findings" if found else ""
    begin = f"{'▸' if cursor else ' '}──{sign}"
    rest = max(0, width - len(begin) - len(whose) - len(phase.kind.value) - len(words) - 1)
    return [Part(begin, "dim"), Part(f"{whose}{phase.kind}", "heading"), Part(words, ""), Part(" " + "─" * rest, "dim")]
