"""Lines of text with the names of their styles: what every pane is made of. Knows no screen and no capture.

A pane's content is worked out by a plain function that returns lines; `panes.LinesView` shows them. A style is a name
out of `STYLES`; its colour is the theme's, and nothing is said by colour alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size

from vusniff.printable import escape
from vusniff.values import dataclass
from vusniff.views.drawn import DrawnLine

STYLES = ("dim", "heading", "strong", "front", "back", "good", "bad", "warn", "changed", "link", "hit", "lit")
"""Names of styles; ``""`` is plain text."""

ELLIPSIS = "…"

Reference = Callable[[int], str]
"""Number of a message -> how lines refer to it: ``#35 SET_VRING_KICK``."""


class Part(NamedTuple):
    """A piece of a line."""

    text: str
    style: str = ""


@dataclass(frozen=True, slots=True)
class TextLine:
    """One line of a pane."""

    parts: tuple[Part, ...] = ()
    jump: int = 0
    """Number of the message it leads to; 0 for none."""
    span: tuple[int, int] | None = None
    """Which of the message's bytes it shows: the first, and the one behind the last."""
    key: str | None = None
    """What it is about: decides what Enter does, and the cursor stays on the same key when lines change."""

    @property
    def text(self) -> str:
        """Its plain text."""
        return "".join(part.text for part in self.parts)


def line(*parts: str | tuple[str, str], jump: int = 0, span: tuple[int, int] | None = None, key: str = "") -> TextLine:
    """Build a line from texts and (text, style) pairs."""
    made = tuple(Part(escape(part)) if isinstance(part, str) else Part(escape(part[0]), part[1]) for part in parts)
    return TextLine(made, jump, span, key or None)


def text_lines(drawn: Iterable[DrawnLine]) -> list[TextLine]:
    """What was drawn, as lines of a pane."""
    return [TextLine(tuple(Part(*part) for part in one.parts), one.jump, None, one.key or None) for one in drawn]


def fit(text: str, width: int) -> str:
    """Exactly ``width`` cells: padded, or cut with an ellipsis."""
    size = len(text) if text.isascii() else cell_len(text)
    if size <= width:
        return text + " " * (width - size)
    return set_cell_size(text, width - 1) + ELLIPSIS if width > 0 else ""


def cut(text: str, width: int) -> str:
    """At most ``width`` cells."""
    size = len(text) if text.isascii() else cell_len(text)
    return text if size <= width else set_cell_size(text, max(0, width - 1)) + ELLIPSIS


def wrapped(words: Iterable[str], width: int, first: str, indent: str, style: str = "") -> list[tuple[Part, ...]]:
    """Words in lines of at most ``width`` cells, the first line behind ``first``, the others behind ``indent``."""
    lines: list[list[str]] = [[]]
    left = width - cell_len(first)
    for word in words:
        size = cell_len(word) + 1
        if lines[-1] and size > left:
            lines.append([])
            left = width - cell_len(indent)
        lines[-1].append(word)
        left -= size
    return [
        (Part(indent if number else first, "" if number else "dim"), Part(" ".join(group), style))
        for number, group in enumerate(lines)
    ]


def highlighted(parts: Sequence[Part], hit: str) -> list[Part]:
    """Parts with every occurrence of a lower-case text marked, also of one that goes across parts."""
    text = "".join(part.text for part in parts).lower()
    marks: list[int] = []
    at = text.find(hit)
    while at >= 0:
        marks.append(at)
        at = text.find(hit, at + len(hit))
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
