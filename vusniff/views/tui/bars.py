"""The first line of the screen says what is open and what is being worked on; the last one which keys count."""

from __future__ import annotations

import textwrap
from bisect import bisect_right
from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from textual import events
from textual.strip import Strip
from textual.widget import Widget

from vusniff.analysis.timeline import Timeline
from vusniff.printable import escape
from vusniff.views.rings import sparkline
from vusniff.views.state import peers
from vusniff.views.tui.judging import Judging
from vusniff.views.tui.line import cut
from vusniff.views.tui.timeline import TimelineView

SMALLEST = (80, 24)
"""Columns and rows the view is made for."""
WHO = 130
"""Columns from which the first line names both peers."""
FULL_WORDS = 110
"""Columns from which findings are counted in words."""


def top_words(
    title: str, view: TimelineView, judging: Judging, size: tuple[int, int], work: Sequence[str]
) -> tuple[str, str]:
    """What the first line says on the left, what is selected, and on the right: how much there is, and the ``work``
    under way. ``size`` of the screen in columns and rows."""
    timeline, row, left = view.timeline, view.row, title
    if row is not None:
        number = timeline.place(row).session
        session = timeline.sessions[number - 1]
        device = f"{session.guess.device} ({session.guess.sure})" if session.guess else "unknown device"
        left += f"  {device}  session {number} of {len(timeline.sessions)}  {session.path}"
        if size[0] >= WHO:
            left += f"  {' - '.join(peers(timeline, session))}"
    width, height = size
    if width < SMALLEST[0] or height < SMALLEST[1]:
        return left, f"{width}x{height} is small: give it {SMALLEST[0]}x{SMALLEST[1]}"
    right = [f"{view.words}: {view.length:,} of"] if view.words else []
    right.append(f"{len(timeline):,} message{'' if len(timeline) == 1 else 's'}")
    if lost := view.losses.total:
        right.append(f"· {lost:,} LOST")
    right += [f"· {words}" for words in (judging.counts(width < FULL_WORDS), *work) if words]
    return left, " ".join(right)


def pace_words(timeline: Timeline, seconds: int = 12) -> str:
    """Messages in each of the last seconds as a picture of one line, and how many there were in the last of them; up to
    the newest message."""
    times, stop, found = timeline.index.time_ns, len(timeline), []
    for back in range(1, seconds + 1):
        start = bisect_right(times, times[-1] - back * 1_000_000_000, 0, stop) if stop else 0
        found.append(float(stop - start))
        stop = start
    return f"{sparkline(found[::-1], seconds)} {found[0]:.0f}/s"


class Top(Widget):
    """The first line. It repaints only when a word changes."""

    def __init__(self) -> None:
        super().__init__(id="top")
        self._words = ("", "")

    @property
    def words(self) -> tuple[str, str]:
        """What stands on the left and on the right."""
        return self._words

    def show(self, left: str, right: str) -> None:
        """Show these words; where there is no room for all, the left ones are cut."""
        words = (escape(left), escape(right))
        if words != self._words:
            self._words = words
            self.refresh()

    def render_line(self, y: int) -> Strip:
        left, right = self._words
        width = self.size.width
        shown = cut(left, max(0, width - cell_len(right) - 3))
        gap = " " * max(1, width - 2 - cell_len(shown) - cell_len(right))
        return Strip([Segment(f" {shown}{gap}{right} ", self.rich_style)]).crop_extend(0, width, self.rich_style)


VERDICT_LINES = 3
"""Lines of a verdict that says what is wrong, at most: the cause often stands in the second sentence."""


class VerdictLine(Widget):
    """The very first line: what is wrong with the capture, in up to three, or that nothing is. A click says why."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"vs--trouble"}

    def __init__(self) -> None:
        super().__init__(id="verdict")
        self._words = ""
        self._trouble = False
        self._lines = [""]

    def show(self, words: str, trouble: bool) -> None:
        """Show sentences; where there is no room for all, their end is cut."""
        if (words, trouble) != (self._words, self._trouble):
            self._words, self._trouble = words, trouble
            self._break()

    def on_resize(self) -> None:
        """Break the sentences anew."""
        self._break()

    def _break(self) -> None:
        width, most = max(1, self.size.width - 2), VERDICT_LINES if self._trouble else 1
        lines = textwrap.wrap(escape(self._words), width, break_on_hyphens=False) or [""]
        self._lines = [*lines[: most - 1], cut(" ".join(lines[most - 1 :]), width)][: min(most, len(lines))]
        self.styles.height = len(self._lines)
        self.refresh()

    def render_line(self, y: int) -> Strip:
        style = self.rich_style
        if self._trouble:
            style += self.get_component_rich_style("vs--trouble", partial=True)
        width = self.size.width
        line = self._lines[y] if y < len(self._lines) else ""
        return Strip([Segment(f" {line}", style)]).crop_extend(0, width, style)

    async def on_click(self, event: events.Click) -> None:
        """Say why."""
        await self.app.run_action("why")


class Foot(Widget):
    """The last line: keys and words, as many as there is room for. A click on one does what it says."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"vs--key"}

    def __init__(self) -> None:
        super().__init__(id="foot")
        self._hints: Sequence[tuple[str, str, str]] = ()
        self._places: list[tuple[int, int, str]] = []

    def show(self, hints: Sequence[tuple[str, str, str]]) -> None:
        """(key, word, action) in the order of their worth."""
        if hints != self._hints:
            self._hints = hints
            self.refresh()

    def render_line(self, y: int) -> Strip:
        base = self.rich_style
        strong = base + self.get_component_rich_style("vs--key", partial=True)
        width, at = self.size.width, 1
        segments = [Segment(" ", base)]
        places = []
        shown = [hint for hint in self._hints if hint[2] not in ("help", "quit")]
        last = [hint for hint in self._hints if hint[2] in ("help", "quit")]
        tail = sum(cell_len(key) + cell_len(word) + 3 for key, word, _ in last)
        for key, word, action in [*shown, *last]:
            size = cell_len(key) + 1 + cell_len(word)
            if at + size + (tail if (key, word, action) not in last else 0) > width:
                continue
            segments += [Segment(key, strong), Segment(f" {word}  ", base)]
            places.append((at, at + size, action))
            at += size + 2
        self._places = places
        return Strip(segments).crop_extend(0, width, base)

    async def on_click(self, event: events.Click) -> None:
        """Do what the word under the mouse says."""
        for first, last, action in self._places:
            if action and first <= event.x < last:
                await self.app.run_action(action)
