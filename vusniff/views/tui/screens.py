"""The screen that shows an overlay, and the overlay with all keys."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.await_complete import AwaitComplete
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen

from vusniff.views.tui.bars import Foot
from vusniff.views.tui.keys import GROUPS, KEYS, MOVING
from vusniff.views.tui.line import TextLine, line, wrapped
from vusniff.views.tui.overlays import Overlay
from vusniff.views.tui.panes import LinesView

HANG = 17
"""Column at which it says what a key does."""
SIGNS = (
    ("▸", "the selected row; the state pane shows the device after it"),
    ("┌ │ └", "the selected request and its reply"),
    ("↳", "a reply"),
    ("★", "a bookmark"),
    ("!", "messages were lost before this one"),
    ("E W N", "the worst finding there: an error, a warning, a note"),
    ("*", "changed by the selected message"),
    ("- ?", "not set yet; set before the capture began, so unknown"),
    ("F → B", "front-end (a VMM, or virtio-user) to back-end"),
    ("no reply", "a reply was asked for and never came"),
    ("…", "there is more to the right: the arrow keys lead there in a pane"),
)


class LinesScreen(ModalScreen[TextLine | None]):
    """Lines in a frame; Enter picks one, Esc leaves."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q", "leave", "back", show=False)]

    def __init__(self, overlay: Overlay) -> None:
        super().__init__()
        self.overlay = overlay
        self._began = False

    def compose(self) -> ComposeResult:
        view = LinesView(id="lines")
        view.border_title = self.overlay.title
        view.reading = not self.overlay.enter
        yield view
        yield Foot()

    def on_mount(self) -> None:
        """Show the keys that count here."""
        self._hint(False)

    def _hint(self, wide: bool) -> None:
        enter = self.overlay.enter
        hints = [("↑↓", "move" if enter else "scroll", "")]
        hints += [("←→", "the rest of long lines", "")] if wide else []
        hints += [("Enter", enter, "screen.enter")] if enter else []
        self.query_one(Foot).show([*hints, ("Esc", "back", "screen.leave")])

    def on_resize(self) -> None:
        """Make the lines for this width."""
        self.call_after_refresh(self._fill)

    def _fill(self) -> None:
        views = self.query(LinesView)
        if not views:  # the screen is being left
            return
        view = views.first()
        width = view.scrollable_content_region.width
        view.show(self.overlay.make(width))
        self._hint(any(cell_len(one.text) > width for one in view.lines))
        if not self._began:
            self._began = True
            wanted = self.overlay.key
            keys = [number for number, one in enumerate(view.lines) if one.key == wanted]
            if wanted is not None and keys:
                view.move_to(keys[0], centre=True)

    def on_lines_view_followed(self, event: LinesView.Followed) -> None:
        """A line was picked."""
        if event.line.jump or (event.line.key or "").startswith("session "):
            self.dismiss(event.line)

    def dismiss(self, result: TextLine | None = None) -> AwaitComplete:
        """Leave. Nothing is done when the screen is gone already: several keys may come at once."""
        return super().dismiss(result) if self.is_active else AwaitComplete()

    def action_enter(self) -> None:
        """Pick the line under the cursor."""
        self.query_one(LinesView).action_follow_link()

    def action_leave(self) -> None:
        """Leave without picking."""
        self.dismiss(None)


def all_keys() -> Overlay:
    """Every key and every sign."""
    return Overlay("Keys", help_lines)


def help_lines(width: int) -> list[TextLine]:
    """All keys and signs, wrapped to a width in cells."""
    lines = [line((GROUPS[0], "heading")), *_meanings(((keys, what) for keys, what in MOVING), width)]
    for group in GROUPS:
        if group != GROUPS[0]:
            lines += [line(), line((group, "heading"))]
        lines += _meanings(((key.shown, key.help) for key in KEYS if key.group == group), width)
    lines += [line(), line(("Signs", "heading")), *_meanings(SIGNS, width)]
    lines += [line(), line(("The same in plain text: vusniff read -v, vusniff state --at N", "dim"))]
    return lines


def _meanings(signs: Iterable[tuple[str, str]], width: int) -> Iterator[TextLine]:
    """Keys or signs, and what each means."""
    for sign, what in signs:
        for number, parts in enumerate(wrapped(what.split(), width, " " * HANG, " " * HANG)):
            yield line("  ", (f"{sign:<{HANG - 2}}", "strong"), parts[1].text) if not number else TextLine(parts)
