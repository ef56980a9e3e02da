"""What the parts of the terminal view ask of the application that holds them.

A part takes an `Application` and never imports `app`, so a part can be tested with a small object that has these
names. What only one part needs, such as another part, it takes as a parameter of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from vusniff.analysis.timeline import Timeline

if TYPE_CHECKING:
    from textual.notifications import SeverityLevel

    from vusniff.views.tui.timeline import TimelineView


class Application(Protocol):
    """The names that parts share."""

    @property
    def timeline(self) -> Timeline:
        """The messages of the capture."""

    @property
    def view(self) -> TimelineView:
        """The timeline on the screen: its cursor, and which rows it shows."""

    @property
    def live(self) -> bool:
        """The capture may still grow after it has been read to its end."""

    def announce(self, sentence: str, severity: SeverityLevel = "information", /) -> None:
        """Show a sentence in the corner for a moment. Its control characters are escaped here."""

    def refresh_top(self) -> None:
        """Bring the first line of the screen up to date: what is selected, and what is being worked on."""

    def later(self, seconds: float, action: Callable[[], None], /) -> None:
        """Do something after so many seconds; keys are handled in between. Nothing is done once the view is left."""

    def jump_to(self, row: int, /) -> None:
        """Select a row, and remember where the jump began. All rows are shown again where the row is hidden."""

    def limit(self, rows: Sequence[int] | None, words: str, session: int | None = None, /) -> None:
        """Show only these ascending rows, which may grow; None shows all.

        ``words`` say what the rows have in common; ``session`` is the number of the session that they are, if any.
        """
