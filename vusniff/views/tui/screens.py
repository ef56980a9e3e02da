"""Screens over the room: lines to read or to pick from. What they show is worked out elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import ClassVar

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.await_complete import AwaitComplete
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen

from vusniff.views.tui.bars import Foot
from vusniff.views.tui.keys import GROUPS, KEYS, MOVING
from vusniff.views.tui.line import Line, line, wrapped
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


class LinesScreen(ModalScreen[Line | None]):
    """Lines in a frame; Enter picks one, Esc leaves."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "leave", "back", show=False),
    ]

    def __init__(
        self, title: str, make: Callable[[int], Sequence[Line]], enter: str = "", key: str | None = None
    ) -> None:
        """``make`` is asked for the lines with the width there is; ``enter`` says what Enter does; the cursor begins on
        the line with ``key``."""
        super().__init__()
        self._title, self._make, self._enter, self._key = title, make, enter, key
        self._began = False

    def compose(self) -> ComposeResult:
        view = LinesView(id="lines")
        view.border_title = self._title
        view.reading = not self._enter
        yield view
        yield Foot()

    def on_mount(self) -> None:
        """Keys that count here."""
        self._hint(False)

    def _hint(self, wide: bool) -> None:
        hints = [("↑↓", "move" if self._enter else "scroll", "")]
        hints += [("←→", "the rest of long lines", "")] if wide else []
        hints += [("Enter", self._enter, "screen.enter")] if self._enter else []
        self.query_one(Foot).show([*hints, ("Esc", "back", "screen.leave")])

    def on_resize(self) -> None:
        """Lines for this width."""
        self.call_after_refresh(self._fill)

    def _fill(self) -> None:
        view = self.query_one(LinesView)
        width = view.scrollable_content_region.width
        view.show(self._make(width))
        self._hint(any(cell_len(one.text) > width for one in view.lines))
        if not self._began:
            self._began = True
            keys = [number for number, one in enumerate(view.lines) if one.key == self._key]
            if self._key is not None and keys:
                view.move_to(keys[0], centre=True)

    def on_lines_view_followed(self, event: LinesView.Followed) -> None:
        """A line was picked."""
        if event.line.jump or (event.line.key or "").startswith("session "):
            self.dismiss(event.line)

    def dismiss(self, result: Line | None = None) -> AwaitComplete:
        """Leave. A key that arrives when this screen is gone already is ignored: keys may come several at once."""
        return super().dismiss(result) if self.is_active else AwaitComplete()

    def action_enter(self) -> None:
        """Pick the line under the cursor."""
        self.query_one(LinesView).action_follow_link()

    def action_leave(self) -> None:
        """Leave without picking."""
        self.dismiss(None)


def help_lines(width: int) -> list[Line]:
    """All keys."""
    lines = [line((GROUPS[0], "heading")), *_told(((keys, what) for keys, what in MOVING), width)]
    for group in GROUPS:
        if group != GROUPS[0]:
            lines += [line(), line((group, "heading"))]
        lines += _told(((key.shown, key.help) for key in KEYS if key.group == group), width)
    lines += [line(), line(("Signs", "heading")), *_told(SIGNS, width)]
    lines += [line(), line(("The same in plain text: vusniff read -v, vusniff state --at N", "dim"))]
    return lines


def _told(said: Iterable[tuple[str, str]], width: int) -> Iterator[Line]:
    """Keys or signs, and what each means."""
    for sign, what in said:
        for number, parts in enumerate(wrapped(what.split(), width, " " * HANG, " " * HANG)):
            yield line("  ", (f"{sign:<{HANG - 2}}", "strong"), parts[1].text) if not number else Line(parts)
