"""The first and the last line of the screen: what is open and how far it is read; the keys that count here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from textual import events
from textual.strip import Strip
from textual.widget import Widget

from vusniff.printable import escape
from vusniff.views.tui.line import cut

if TYPE_CHECKING:
    from vusniff.views.tui.app import Room

SMALLEST = (80, 24)
"""Columns and rows the view is made for."""
FULL_WORDS = 110
"""Columns from which findings are counted in words."""


def top_words(room: Room) -> tuple[str, str]:
    """What the first line says: what is selected, and how much there is."""
    timeline, row = room.timeline, room.view.row
    left = room.named
    if row is not None:
        place = timeline.place(row)
        session = timeline.sessions[place.session - 1]
        device = f"{session.guess.device} ({session.guess.sure})" if session.guess else "device unknown"
        left += f"  {device}  session {place.session} of {len(timeline.sessions)}  {session.path}"
    width, height = room.size
    if width < SMALLEST[0] or height < SMALLEST[1]:
        return left, f"{width}x{height} is small: give it {SMALLEST[0]}x{SMALLEST[1]}"
    right = [f"{room.filter_words}: {room.view.length:,} of"] if room.filter_words else []
    right.append(f"{len(timeline):,} message{'' if len(timeline) == 1 else 's'}")
    if lost := room.view.losses.total:
        right.append(f"· {lost:,} LOST")
    if found := room.judging.counts(width < FULL_WORDS):
        right.append(f"· {found}")
    search, story = room.finder.search, room.selected.story
    if search is not None:
        right.append(f"· searching {100 * search.seen // max(1, search.count)} %, Esc stops")
    elif story is not None:
        right.append(f"· looking {100 * story.seen // max(1, story.count)} %, Esc stops")
    elif words := room.exporting.words or room.filtering.words or room.reading.words or room.judging.words:
        right.append(f"· {words}")
    if room.player.playing:
        right.append(f"· playing {room.player.clockwork.words}")
    return left, " ".join(right)


class Top(Widget):
    """Name and place on the left, progress and mode on the right. Repaints only when a word changes."""

    def __init__(self) -> None:
        super().__init__(id="top")
        self._said = ("", "")

    def say(self, left: str, right: str) -> None:
        """Show these words; the right ones are kept whole."""
        said = (escape(left), escape(right))
        if said != self._said:
            self._said = said
            self.refresh()

    def render_line(self, y: int) -> Strip:
        left, right = self._said
        width = self.size.width
        room = width - cell_len(right) - 3
        shown = cut(left, max(0, room))
        gap = " " * max(1, width - 2 - cell_len(shown) - cell_len(right))
        return Strip([Segment(f" {shown}{gap}{right} ", self.rich_style)]).crop_extend(0, width, self.rich_style)


class Foot(Widget):
    """Keys and words, as many as there is room for; a click on one does it."""

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
