"""The first line of the screen says what is open and what is being worked on; the last one which keys count."""

from __future__ import annotations

import re
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
from vusniff.views.tui.line import ELLIPSIS, cut
from vusniff.views.tui.timeline import TimelineView

SMALLEST = (80, 24)
"""Columns and rows the view is made for."""
PATH = 32
"""Characters of a path where the first line has little room: its end tells most."""
PID = re.compile(r" \(\d+\)$")
FULL_WORDS = 110
"""Columns from which findings are counted in words."""


def top_words(
    title: str, view: TimelineView, judging: Judging, size: tuple[int, int], work: Sequence[str]
) -> tuple[str, str]:
    """What the first line says on the left, what is selected, and on the right: how much there is, and the ``work``
    under way. ``size`` of the screen in columns and rows."""
    timeline, row = view.timeline, view.row
    width, height = size
    if width < SMALLEST[0] or height < SMALLEST[1]:
        said = f"{width}x{height} is small: give it {SMALLEST[0]}x{SMALLEST[1]}"
    else:
        said = _counts(view, judging, width, work)
    if row is None:
        return title, said
    return _what(title, timeline, timeline.place(row).session, width - cell_len(said) - 3), said


def _counts(view: TimelineView, judging: Judging, width: int, work: Sequence[str]) -> str:
    right = [f"{view.words}: {view.length:,} of"] if view.words else []
    right.append(f"{len(view.timeline):,} message{'' if len(view.timeline) == 1 else 's'}")
    if lost := view.losses.total:
        right.append(f"· {lost:,} LOST")
    right += [f"· {words}" for words in (judging.counts(width < FULL_WORDS), *work) if words]
    return " ".join(right)


def _what(title: str, timeline: Timeline, number: int, room: int) -> str:
    """What is open, and whose session it is: device, path and peers, shorter and shorter until there is room."""
    session = timeline.sessions[number - 1]
    device = session.guess.device if session.guess else "unknown device"
    sure = f"{device} ({session.guess.sure})" if session.guess else device
    several = len(timeline.sessions) > 1
    of = f"session {number} of {len(timeline.sessions)}" if several else ""
    who = peers(timeline, session)
    names = " - ".join(PID.sub("", one) for one in who)
    end = session.path if len(session.path) <= PATH else ELLIPSIS + session.path[1 - PATH :]
    last = end.rpartition("/")[2]
    last = end if last == end else f"{ELLIPSIS}/{last}"
    short = f"session {number}/{len(timeline.sessions)}" if several else ""
    forms = (
        (title, sure, of, session.path, " - ".join(who)),
        (title, device, of, session.path, names),
        (title, device, of, end, names),
        (title, device, short, last, names),
        (device, short, last, names),
        (device, last, names),
    )
    made = ["  ".join(filter(None, form)) for form in forms]
    return next((one for one in made if cell_len(one) <= room), made[-1])


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
