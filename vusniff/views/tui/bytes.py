"""The bytes of a message: those of the selected field are marked, and a cursor on a byte selects its field."""

from __future__ import annotations

from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.strip import Strip

from vusniff.views.tui.panes import Lined

WIDE = 72
"""Width in cells from which a line has sixteen bytes instead of eight."""
OFFSET = 5
"""Cells before the first byte."""

UNDERLINED = Style(underline=True)
"""The byte under the cursor can be seen without colour too."""


class BytesView(Lined):
    """Lines of an offset, bytes in hex, and the same bytes as far as they can be printed."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("l,right", "aside(1)", "next byte", show=False),
        Binding("h,left", "aside(-1)", "byte before", show=False),
    ]

    class Moved(Message):
        """The cursor is on another byte."""

        def __init__(self, at: int) -> None:
            super().__init__()
            self.at = at

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.data = b""
        self.lit: tuple[int, int] | None = None
        """The bytes of the selected field."""
        self.at = 0
        """The byte under the cursor."""
        self.head = 0
        """Bytes of the header."""

    @property
    def per(self) -> int:
        """Bytes in a line."""
        return 16 if self.scrollable_content_region.width >= WIDE else 8

    @property
    def count(self) -> int:
        return -(-len(self.data) // self.per)

    def show(self, data: bytes, lit: tuple[int, int] | None, head: int) -> None:
        """Show the bytes of a message, of which ``head`` are its header; ``lit`` are those of the selected field, first
        and behind the last."""
        if (data, lit, head) == (self.data, self.lit, self.head):
            return
        self.head = head
        if data != self.data:
            self.at = 0
        elif lit is not None and not self.has_focus:
            self.at = min(lit[0], max(0, len(data) - 1))
        self.data, self.lit = data, lit
        self.cursor = self.at // self.per
        self.extend(Size(self.size.width, self.count))
        self.reveal()
        self.refresh()

    def on_resize(self) -> None:
        """A line may have room for more bytes, or for fewer."""
        self.cursor = self.at // self.per
        self.extend(Size(self.size.width, self.count))
        self.refresh()

    def move_to(self, position: int, centre: bool = False) -> None:
        self.put(position * self.per + self.at % self.per)

    def put(self, at: int) -> None:
        """Put the cursor on a byte."""
        at = max(0, min(len(self.data) - 1, at))
        if at != self.at:
            self.at, self.cursor = at, at // self.per
            self.reveal()
            self.refresh()
            self.post_message(self.Moved(at))

    def action_aside(self, by: int) -> None:
        """To the next byte, or the one before."""
        self.put(self.at + by)

    def action_top(self) -> None:
        self.put(0)

    def action_bottom(self) -> None:
        self.put(len(self.data) - 1)

    def on_click(self, event: events.Click) -> None:
        event.prevent_default()
        column = (event.x - OFFSET - 1) // 3
        if 0 <= column < self.per:
            self.put((event.y + self.scroll_offset.y) * self.per + column)

    def render_line(self, y: int) -> Strip:
        start = (self.scroll_offset.y + y) * self.per
        base = self.rich_style
        if start >= len(self.data):
            return Strip.blank(self.size.width, base)
        stop = min(start + self.per, len(self.data))
        dim, lit_style = base + self.style_of("dim"), base + self.style_of("lit")
        segments = [Segment(f"{start:04x} ", dim)]
        for at in range(start, start + self.per):
            segments.append(Segment(self._edge(at, stop), base))
            if at >= stop:
                segments.append(Segment("  ", base))
                continue
            style: Style = lit_style if self._lit(at) else dim if at < self.head else base
            if at == self.at and self.has_focus:
                style += self.cursor_style() + UNDERLINED
            segments.append(Segment(f"{self.data[at]:02x}", style))
        closed = stop == start + self.per and self._lit(stop - 1)
        printed = "".join(chr(byte) if 32 <= byte < 127 else "·" for byte in self.data[start:stop])
        segments += [Segment("]" if closed else " ", base), Segment(f" {printed}", dim)]
        return Strip(segments).crop_extend(0, self.size.width, base)

    def _lit(self, at: int) -> bool:
        return self.lit is not None and self.lit[0] <= at < self.lit[1]

    def _edge(self, at: int, stop: int) -> str:
        """What stands before a byte: a bracket where the marked bytes begin or end, so that no colour is needed."""
        first = at % self.per == 0
        if at < stop and self._lit(at) and (first or not self._lit(at - 1)):
            return "["
        if not first and at <= stop and self._lit(at - 1) and not (at < stop and self._lit(at)):
            return "]"
        return " "
