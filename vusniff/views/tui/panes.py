"""A widget that shows lines (`line.TextLine`): cursor, scrolling without animation, links. Knows nothing of captures.

Every pane and most screens are one of these with other lines. It repaints only when its lines or its cursor change.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widget import Widget

from vusniff.printable import escape
from vusniff.views.tui.line import ELLIPSIS, STYLES, TextLine

COMPONENTS = frozenset(f"vs--{name}" for name in (*STYLES, "cursor", "cursor-blurred"))
"""Component classes of every widget that shows lines; their colours stand in the app's CSS."""

MOVES: list[BindingType] = [
    Binding("j,down", "move(1)", "down", show=False),
    Binding("k,up", "move(-1)", "up", show=False),
    Binding("pagedown,ctrl+f", "page(1)", "page down", show=False),
    Binding("pageup,ctrl+b", "page(-1)", "page up", show=False),
    Binding("ctrl+d", "page(0.5)", "half a page down", show=False),
    Binding("ctrl+u", "page(-0.5)", "half a page up", show=False),
    Binding("g,home", "top", "first", show=False),
    Binding("G,end", "bottom", "last", show=False),
]
"""The keys of less and vim, without animation."""


class Lined(ScrollView, can_focus=True):
    """Cursor, scrolling and styles of a view whose content is lines."""

    BINDINGS: ClassVar[list[BindingType]] = MOVES
    COMPONENT_CLASSES: ClassVar[set[str]] = set(COMPONENTS)

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.cursor = 0
        self._styles_of: dict[str, Style] = {}

    # -- what a subclass says -------------------------------------------------------------------------------------

    @property
    def count(self) -> int:
        """Lines there are."""
        raise NotImplementedError

    def moved(self) -> None:
        """The cursor has moved."""

    # -- styles -------------------------------------------------------------------------------------------------------

    def style_of(self, name: str) -> Style:
        """The theme's style of a name out of `STYLES`."""
        style = self._styles_of.get(name)
        if style is None:
            style = self._styles_of[name] = self._themed(f"vs--{name}") if name else Style.null()
        return style

    def _themed(self, component: str) -> Style:
        """What the theme sets for a component; a colour that shines through is mixed with the background."""
        style = self.get_component_rich_style(component, partial=True)
        if style.color is not None and style.bgcolor is None:
            style += Style(color=self.get_component_rich_style(component).color)
        return style

    def notify_style_update(self) -> None:
        """Another theme, or focus came or went."""
        self._styles_of.clear()
        super().notify_style_update()

    def cursor_style(self) -> Style:
        """The style of the line under the cursor."""
        return self.style_of("cursor" if self.has_focus else "cursor-blurred")

    def strip(self, parts: Sequence[tuple[str, str]], at_cursor: bool) -> Strip:
        """One line as it is painted; what is outside the view is cut, and a mark says so."""
        base = self._styles_of.get("base") or self._styles_of.setdefault("base", self.rich_style)
        if at_cursor:
            over = self.cursor_style()
            segments = [Segment(escape(text), base + self.style_of(style) + over) for text, style in parts]
            base += over
        else:
            segments = [Segment(escape(text), base + self.style_of(style) if style else base) for text, style in parts]
        x, width = self.scroll_offset.x, self.scrollable_content_region.width
        strip = Strip(segments)
        if strip.cell_length > x + width > x and strip.crop(x + width, strip.cell_length).text.strip(" ─"):
            return Strip([*strip.crop(x, x + width - 1), Segment(ELLIPSIS, base)])
        return strip.crop_extend(x, x + width, base)

    def extend(self, size: Size) -> None:
        """Set the size of the content. Unlike an assignment to ``virtual_size`` this starts no new layout: none is
        needed, because the vertical scrollbar is always there."""
        if size != self.virtual_size:
            self.set_reactive(Widget.virtual_size, size)
            if self.is_attached:
                self.vertical_scrollbar.window_virtual_size = size.height

    # -- moving -------------------------------------------------------------------------------------------------------

    def move_to(self, position: int, centre: bool = False) -> None:
        """Put the cursor on a line and bring it into view."""
        position = max(0, min(self.count - 1, position))
        if position != self.cursor:
            before, self.cursor = self.cursor, position
            self.refresh_line(before)
            self.refresh_line(position)
            self.reveal(centre)
            self.moved()
        else:
            self.reveal(centre)

    def reveal(self, centre: bool = False) -> None:
        """Scroll, at once, until the cursor is in view."""
        top, height = self.scroll_offset.y, self.scrollable_content_region.height
        if height <= 0:
            return
        if centre and not top <= self.cursor < top + height:
            self.scroll_to(y=max(0, self.cursor - height // 2), animate=False)
        elif self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False)
        elif self.cursor >= top + height:
            self.scroll_to(y=self.cursor - height + 1, animate=False)

    def action_move(self, by: int) -> None:
        """Up or down."""
        self.move_to(self.cursor + by)

    def action_page(self, pages: float) -> None:
        """Whole or half pages: view and cursor move together."""
        step = max(1, self.scrollable_content_region.height - 1)
        by = int(pages * step)
        self.scroll_to(y=self.scroll_offset.y + by, animate=False)
        self.move_to(self.cursor + by)

    def action_top(self) -> None:
        """The first line."""
        self.move_to(0)

    def action_bottom(self) -> None:
        """The last line."""
        self.move_to(self.count - 1)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """The wheel scrolls; the cursor stays where it is."""
        event.stop()
        event.prevent_default()
        self.scroll_to(y=self.scroll_offset.y + 3, animate=False)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """The wheel scrolls; the cursor stays where it is."""
        event.stop()
        event.prevent_default()
        self.scroll_to(y=self.scroll_offset.y - 3, animate=False)

    def on_click(self, event: events.Click) -> None:
        """A click moves the cursor, a second one follows."""
        position = event.y + self.scroll_offset.y
        if 0 <= position < self.count:
            again = event.chain > 1
            self.move_to(position)
            if again:
                self.action_follow_link()

    def action_follow_link(self) -> None:
        """What Enter does."""


class LinesView(Lined):
    """Shows a list of lines."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "follow_link", "go to the message", show=False),
        Binding("l,right", "aside(8)", "to the right", show=False),
        Binding("h,left", "aside(-8)", "to the left", show=False),
    ]

    class Moved(Message):
        """The cursor is on another line, or the lines have changed."""

        def __init__(self, view: LinesView) -> None:
            super().__init__()
            self.view = view

        @property
        def control(self) -> LinesView:
            return self.view

    class Resized(Message):
        """It has another size: lines may have to be wrapped anew."""

    class Followed(Message):
        """Enter or a double click on a line."""

        def __init__(self, view: LinesView, line: TextLine) -> None:
            super().__init__()
            self.view, self.line = view, line

        @property
        def control(self) -> LinesView:
            return self.view

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.lines: Sequence[TextLine] = ()
        self.reading = False
        """There is nothing to pick: no cursor is shown, and the keys scroll."""
        self._found = 0

    @property
    def count(self) -> int:
        return len(self.lines)

    @property
    def current(self) -> TextLine | None:
        """The line under the cursor."""
        return self.lines[self.cursor] if self.cursor < len(self.lines) else None

    def show(self, lines: Sequence[TextLine]) -> None:
        """Show other lines. The cursor stays on the line with the same key, where there is one, and at the top."""
        if lines == self.lines:
            return
        was = self.current
        self.lines = lines
        self.cursor = max(0, min(self.cursor, len(lines) - 1))
        if self.cursor and was is not None and was.key is not None:
            keys = (number for number, one in enumerate(lines) if one.key == was.key)
            self.cursor = next(keys, self.cursor)
        self.extend(Size(max((cell_len(one.text) for one in lines), default=0), len(lines)))
        self.reveal()
        self.refresh()
        self.moved()

    def moved(self) -> None:
        self.post_message(self.Moved(self))

    def action_follow_link(self) -> None:
        if self.current is not None:
            self.post_message(self.Followed(self, self.current))

    @property
    def at(self) -> int:
        """The line that is looked at: the one under the cursor, or the one that was found last."""
        return self._found if self.reading else self.cursor

    def bring(self, position: int) -> None:
        """Go to a line that was found."""
        self._found = position
        if self.reading:
            self.scroll_to(y=max(0, position - self.scrollable_content_region.height // 2), animate=False)
        else:
            self.move_to(position, centre=True)

    def move_to(self, position: int, centre: bool = False) -> None:
        if not self.reading:
            super().move_to(position, centre)

    def action_move(self, by: int) -> None:
        if self.reading:
            self.scroll_to(y=self.scroll_offset.y + by, animate=False)
        else:
            super().action_move(by)

    def action_top(self) -> None:
        self.scroll_to(y=0, animate=False)
        super().action_top()

    def action_bottom(self) -> None:
        self.scroll_to(y=self.count, animate=False)
        super().action_bottom()

    def action_aside(self, by: int) -> None:
        """Long lines: to their hidden part and back."""
        self.scroll_to(x=self.scroll_offset.x + by, animate=False)

    def render_line(self, y: int) -> Strip:
        position = self.scroll_offset.y + y
        if position >= len(self.lines):
            return Strip.blank(self.size.width, self.rich_style)
        at_cursor = position == self.cursor and self.has_focus and not self.reading
        return self.strip(self.lines[position].parts, at_cursor)

    def on_resize(self) -> None:
        """Tell the maker of the lines."""
        self.post_message(self.Resized())

    def on_focus(self) -> None:
        """The cursor becomes visible."""
        self.refresh()

    def on_blur(self) -> None:
        """The cursor becomes invisible."""
        self.refresh()
