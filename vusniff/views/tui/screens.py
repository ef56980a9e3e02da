"""The screen that shows an overlay, and the overlay with all keys."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.await_complete import AwaitComplete
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen
from textual.widgets import Input

from vusniff.printable import escape
from vusniff.views.tui.bars import Foot
from vusniff.views.tui.keys import GROUPS, KEYS, MOVING, Shortcut
from vusniff.views.tui.line import Part, TextLine, highlighted, line, wrapped
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
    ("~", "a rule of the proxy did something else with it than pass it on"),
    ("#", "something other than a message follows: a process ended, a ring moves, a line of a log"),
    ("E W N", "the worst finding there: an error, a warning, a note"),
    ("*", "changed by the selected message"),
    ("- ?", "not set yet; set before the capture began, so unknown"),
    ("F → B", "front-end (a VMM, or virtio-user) to back-end"),
    ("no reply", "a reply was asked for and never came"),
    ("…", "there is more to the right: the arrow keys lead there"),
)
COLOURS = (
    ("front", "front-end", "what the front-end sends; also places that Enter leads to"),
    ("back", "back-end", "what the back-end sends"),
    ("good", "good", "it runs, or was answered with success: armed, started, enabled, negotiated, moving"),
    ("warn", "waits", "a warning; it waits, or stands in the way: disabled, not acknowledged, no buffers"),
    ("bad", "bad", "an error: malformed, FAILED, no reply, not served"),
    ("changed", "changed*", "the selected message changed it; the star says the same"),
    ("dim", "dim", "a reply, or what matters less"),
)
"""Style, sample, and what it says. Whatever a colour says, a word or a sign says too."""


class LinesScreen(ModalScreen[TextLine | None]):
    """Lines in a frame; Enter picks one, Esc leaves."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "leave", "back", show=False),
        Binding("slash", "find", "find", show=False),
        Binding("n", "again(1)", "next hit", show=False),
        Binding("N", "again(-1)", "previous hit", show=False),
        Binding("s", "sort", "sort", show=False),
    ]

    def __init__(self, overlay: Overlay) -> None:
        super().__init__()
        self.overlay = overlay
        self._began = False
        self._order = 0
        self._hit = ""
        """Lower-case text that is looked for."""

    def compose(self) -> ComposeResult:
        view = LinesView(id="lines")
        view.border_title = self.overlay.title
        view.reading = not self.overlay.enter
        yield view
        yield Input(id="find", compact=True, placeholder="text to find here")
        yield Foot()

    def on_mount(self) -> None:
        """Show the keys that count here."""
        self._hint(False)
        self.query_one(LinesView).focus()

    def _hint(self, wide: bool) -> None:
        enter, orders = self.overlay.enter, self.overlay.orders
        hints = [("↑↓", "move" if enter else "scroll", "")]
        hints += [("Enter", enter, "screen.enter")] if enter else []
        hints += [("s", f"{self.overlay.order}: {orders[self._order][0]}", "screen.sort")] if orders else []
        hints += [("n N", "next hit, previous hit", "screen.again(1)")] if self._hit else []
        aside = [("←→", "the rest of long lines", "")] if wide else []
        self.query_one(Foot).show([*hints, *aside, ("/", "find", "screen.find"), ("Esc", "back", "screen.leave")])

    def on_resize(self) -> None:
        """Make the lines for this width."""
        self.call_after_refresh(self._fill)

    def _fill(self) -> None:
        views = self.query(LinesView)
        if not views:  # the screen is being left
            return
        view = views.first()
        width = view.scrollable_content_region.width
        orders = self.overlay.orders
        lines = (orders[self._order][1] if orders else self.overlay.make)(width)
        view.show([self._marked(one) for one in lines] if self._hit else lines)
        self._hint(any(cell_len(one.text) > width for one in view.lines))
        if not self._began:
            self._began = True
            wanted = self.overlay.key
            keys = [number for number, one in enumerate(view.lines) if one.key == wanted]
            if wanted is not None and keys:
                view.move_to(keys[0], centre=True)

    def _marked(self, one: TextLine) -> TextLine:
        return TextLine(tuple(Part(*part) for part in highlighted(one.parts, self._hit)), one.jump, one.span, one.key)

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
        """Leave without picking; from the line where a text is typed, back to the lines."""
        prompt = self.query_one(Input)
        if prompt.display:
            prompt.display = False
            self.query_one(LinesView).focus()
        else:
            self.dismiss(None)

    def action_sort(self) -> None:
        """The next order."""
        if self.overlay.orders:
            self._order = (self._order + 1) % len(self.overlay.orders)
            self._fill()

    def action_find(self) -> None:
        """Ask for a text."""
        prompt = self.query_one(Input)
        prompt.display = True
        prompt.value = ""
        prompt.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Go to the first line with the text."""
        event.stop()
        prompt = self.query_one(Input)
        prompt.display = False
        self._hit = prompt.value.strip().lower()
        self.query_one(LinesView).focus()
        self._fill()
        self.action_again(1, here=True)

    def action_again(self, step: int, here: bool = False) -> None:
        """To the next line with the text, or to the one before; around the end."""
        if not self._hit:
            return
        view = self.query_one(LinesView)
        found = [number for number, one in enumerate(view.lines) if self._hit in one.text.lower()]
        if not found:
            self.app.notify(escape(f"There is no {self._hit!r} here"), markup=False)
            return
        at = view.at
        after = [number for number in found if number > at or (here and number == at)]
        before = [number for number in found if number < at]
        view.bring(after[0] if step > 0 and after else found[0] if step > 0 else before[-1] if before else found[-1])


def all_keys(shortcuts: Sequence[Shortcut] = KEYS) -> Overlay:
    """Every key, every sign and every colour."""
    return Overlay("Keys", lambda width: help_lines(width, shortcuts))


def help_lines(width: int, shortcuts: Sequence[Shortcut] = KEYS) -> list[TextLine]:
    """All keys, signs and colours, wrapped to a width in cells."""
    lines = [line((GROUPS[0], "heading")), *_meanings(((keys, what) for keys, what in MOVING), width)]
    for group in GROUPS:
        if group != GROUPS[0]:
            lines += [line(), line((group, "heading"))]
        lines += _meanings(((key.shown, key.help) for key in shortcuts if key.group == group), width)
    lines += [line(), line(("Signs", "heading")), *_meanings(SIGNS, width)]
    lines += [line(), line(("Colours", "heading"))]
    for style, sample, what in COLOURS:
        lines += _meanings([(sample, what)], width, style)
    lines += [line(), line(("The same in plain text: vusniff read -v, state --at N, draw", "dim"))]
    return lines


def _meanings(signs: Iterable[tuple[str, str]], width: int, style: str = "strong") -> Iterator[TextLine]:
    """Keys or signs, and what each means."""
    for sign, what in signs:
        for number, parts in enumerate(wrapped(what.split(), width, " " * HANG, " " * HANG)):
            yield line("  ", (f"{sign:<{HANG - 2}}", style), parts[1].text) if not number else TextLine(parts)
