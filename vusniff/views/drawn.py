"""What a drawing in characters is made of: lines of pieces with the names of styles. Knows no drawing and no screen.

`vusniff draw` prints the pieces, the terminal view paints them. A style is a name out of `vusniff.views.tui.line`'s;
nothing is said by colour alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import NamedTuple


class DrawnLine(NamedTuple):
    """A line, and the message that it leads to."""

    parts: Sequence[tuple[str, str]]
    """Text and style."""
    jump: int = 0
    """Number of a message; 0 for none."""
    key: str = ""
    """What it is about; empty for nothing in particular."""

    @property
    def text(self) -> str:
        """Without styles."""
        return "".join(text for text, _ in self.parts).rstrip()


DrawnLines = Callable[[int], Sequence[DrawnLine]]
"""Width in cells -> the lines."""


def joined(cells: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Single cells with styles as few pieces."""
    return [("".join(text for text, _ in run), style) for style, run in groupby(cells, key=lambda cell: cell[1])]
