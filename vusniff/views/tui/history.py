"""What was typed into the prompt before, by question: ``up`` and ``down`` lead through it. Knows no screen."""

from __future__ import annotations

KEPT = 100
"""Texts of a question that are kept."""


class History:
    """The texts that were typed for one question, the latest last."""

    def __init__(self, texts: list[str] | None = None) -> None:
        self.texts = texts or []
        self._at = 0
        """Steps back from the line that is being typed."""
        self._typed = ""
        """What stood in the prompt before the first step."""

    def add(self, text: str) -> None:
        """A text was used."""
        if text:
            others = [one for one in self.texts if one != text]
            self.texts = [*others[-KEPT + 1 :], text]
        self._at = 0

    def begin(self) -> None:
        """The prompt is opened."""
        self._at, self._typed = 0, ""

    def step(self, by: int, now: str) -> str | None:
        """The text so many steps further back (1) or forth (-1); None where there is none. ``now`` is in the prompt."""
        if not self._at:
            self._typed = now
        skipped = bool(self.texts) and not self._at and by > 0 and self.texts[-1] == now  # it stands there already
        at = self._at + by + skipped
        if not 0 <= at <= len(self.texts):
            return None
        self._at = at
        return self.texts[-at] if at else self._typed
