"""Which panes are on the screen and where: by its size, by what was asked for, or one pane alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from textual.app import App
from textual.geometry import Size
from textual.widget import Widget

PANES = ("state", "details", "bytes")
TWO = (110, 34)
"""Columns and rows from which all panes have room below the timeline."""
THREE = (160, 30)
"""Columns and rows from which the state has a column of its own."""
WIDE = (160, 40)
"""Columns and rows from which the timeline has the whole width, and the other panes stand side by side below it."""


class Arrangement:
    """The panes on the first screen of an application."""

    def __init__(self, app: App[Any], view: Widget, fill: Callable[[], None]) -> None:
        """``view`` is the timeline, which is always there; ``fill`` brings the other panes up to date."""
        self._app = app
        self._view = view
        self._fill = fill
        self.size = Size(0, 0)
        """Of the screen, in cells."""
        self.pane = "state"
        """The pane below the timeline where there is room for one only; empty for none."""

    @property
    def narrow(self) -> bool:
        """There is room for one pane only."""
        return self._app.screen_stack[0].has_class("one")

    def resized(self, size: Size) -> None:
        """Arrange everything for another size of the screen, which Textual's application does not know yet."""
        self.size = size
        self.arrange()

    def arrange(self) -> None:
        """Arrange everything."""
        kind = "wide" if self._holds(WIDE) else "three" if self._holds(THREE) else "two" if self._holds(TWO) else "one"
        self._app.screen_stack[0].set_classes(kind)
        shown = set(PANES) if kind != "one" else {self.pane} - {""}
        for name in PANES:
            self._widget(name).set_class(name in shown, "shown")
        self._widget("body").set_class(kind == "one" and bool(shown), "split")

    def _holds(self, least: tuple[int, int]) -> bool:
        return self.size.width >= least[0] and self.size.height >= least[1]

    def _widget(self, name: str) -> Widget:
        return self._app.screen_stack[0].query_one(f"#{name}")

    def show(self, name: str) -> None:
        """Show a pane where there is room for one only; an empty name shows none."""
        self.pane = name
        self.arrange()
        if name:
            self._app.call_after_refresh(self._fill)

    def turn(self, name: str) -> None:
        """Show a pane, or go to it; once more hides it where there is room for one only."""
        pane = self._widget(name)
        if self.narrow:
            self.show("" if self.pane == name and not pane.has_focus else name)
            if not self.pane:
                self._view.focus()
        else:
            (self._view if pane.has_focus else pane).focus()

    @property
    def zoomed(self) -> bool:
        """One pane is shown alone."""
        return self._widget("body").has_class("zoomed")

    def zoom(self) -> None:
        """Show the focused pane alone, or all panes again."""
        if self.zoomed:
            self._widget("body").remove_class("zoomed")
            for one in self._app.screen_stack[0].query(".big"):
                one.remove_class("big")
        else:
            focused = self._app.focused
            big = self._widget("messages") if focused is None or focused is self._view else focused
            big.add_class("big")
            self._widget("body").add_class("zoomed")
        self._app.call_after_refresh(self._fill)
