"""The first and the last line of the screen: what is open and how far it is read; the keys that count here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from textual import events
from textual.strip import Strip
from textual.widget import Widget

from vusniff.views.tui.line import clean, cut


class Top(Widget):
    """Name and place on the left, progress and mode on the right. Repaints only when a word changes."""

    def __init__(self) -> None:
        super().__init__(id="top")
        self._said = ("", "")

    def say(self, left: str, right: str) -> None:
        """Show these words; the right ones are kept whole."""
        said = (clean(left), clean(right))
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
