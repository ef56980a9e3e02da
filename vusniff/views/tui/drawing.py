"""Works out what takes a while before it is shown over the timeline: in slices between keys, and Esc stops it."""

from __future__ import annotations

from collections.abc import Callable, Generator

from vusniff.views.tui.application import Application
from vusniff.views.tui.overlays import Overlay
from vusniff.views.tui.pace import NEXT_SECONDS

Steps = Generator[int, None, Overlay | None]
"""Yields after each slice how much is done, in percent, and returns what is to be shown."""


class Drawing:
    """What is being worked out, if anything is."""

    def __init__(self, app: Application, show: Callable[[Overlay | None], None]) -> None:
        """``show`` shows what was worked out."""
        self.app = app
        self._show = show
        self._steps: Steps | None = None
        self._done = 0

    @property
    def words(self) -> str:
        """How far it is; empty when nothing is being worked out."""
        return f"drawing {self._done} %, Esc stops" if self._steps is not None else ""

    def begin(self, steps: Steps) -> None:
        """Work this out, in place of what was being worked out."""
        self._steps, self._done = steps, 0
        self._go_on(steps)

    def stop(self) -> bool:
        """Stop; False when nothing is being worked out."""
        steps, self._steps = self._steps, None
        return steps is not None

    def _go_on(self, steps: Steps) -> None:
        if steps is not self._steps:
            return
        try:
            self._done = next(steps)
        except StopIteration as end:
            self._steps = None
            self.app.refresh_top()
            self._show(end.value)
            return
        self.app.refresh_top()
        self.app.later(NEXT_SECONDS, lambda: self._go_on(steps))
