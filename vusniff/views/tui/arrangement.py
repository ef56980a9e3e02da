"""Which panes are on the screen and where: by its size, by what was asked for, or one pane alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.geometry import Size
from textual.widget import Widget

if TYPE_CHECKING:
    from vusniff.views.tui.app import Room

PANES = ("state", "details", "bytes")
TWO = (110, 34)
"""Columns and rows from which all panes have room below the timeline."""
THREE = (160, 30)
"""Columns and rows from which the state has a column of its own."""


class Arrangement:
    """The panes of the room."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.size = Size(0, 0)
        """Of the screen."""
        self.pane = "state"
        """The pane below the timeline where there is room for one only; empty for none."""

    @property
    def narrow(self) -> bool:
        """There is room for one pane only."""
        return self.room.screen_stack[0].has_class("one")

    def resized(self, size: Size) -> None:
        """Arrange everything for another size of the screen: it is new to the app only after it has been told."""
        self.size = size
        self.arrange()

    def arrange(self) -> None:
        """Arrange everything."""
        room = self.room
        kind = "three" if self._holds(THREE) else "two" if self._holds(TWO) else "one"
        room.screen_stack[0].set_classes(kind)
        shown = set(PANES) if kind != "one" else {self.pane} - {""}
        for name in PANES:
            self._widget(name).set_class(name in shown, "shown")
        self._widget("room").set_class(kind == "one" and bool(shown), "split")
        room.say()

    def _holds(self, least: tuple[int, int]) -> bool:
        return self.size.width >= least[0] and self.size.height >= least[1]

    def _widget(self, name: str) -> Widget:
        return self.room.screen_stack[0].query_one(f"#{name}")

    def show(self, name: str) -> None:
        """Show a pane where there is room for one only; no name for none."""
        self.pane = name
        self.arrange()
        if name:
            self.room.call_after_refresh(self.room.selected.show)

    def turn(self, name: str) -> None:
        """Show a pane, or go to it; once more hides it where there is room for one only."""
        room, pane = self.room, self._widget(name)
        if self.narrow:
            self.show("" if self.pane == name and not pane.has_focus else name)
            if not self.pane:
                room.view.focus()
        else:
            (room.view if pane.has_focus else pane).focus()

    @property
    def zoomed(self) -> bool:
        """One pane is shown alone."""
        return self._widget("room").has_class("zoomed")

    def zoom(self) -> None:
        """The focused pane alone, and back."""
        room = self.room
        if self.zoomed:
            self._widget("room").remove_class("zoomed")
            for one in room.screen_stack[0].query(".big"):
                one.remove_class("big")
        else:
            focused = room.focused
            big = self._widget("messages") if focused is None or focused is room.view else focused
            big.add_class("big")
            self._widget("room").add_class("zoomed")
        room.call_after_refresh(room.selected.show)
