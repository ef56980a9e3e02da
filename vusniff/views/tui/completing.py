"""Helps while a filter is typed: completes it, and marks what is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.highlighter import Highlighter
from rich.segment import Segment
from rich.text import Text
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Input

from vusniff.errors import FilterError, VusniffError
from vusniff.printable import escape
from vusniff.views.tui.line import ELLIPSIS
from vusniff.views.tui.prompt import Prompt, PromptQuestion

if TYPE_CHECKING:
    from vusniff.filter import Completion

OFFERED = 12
"""Completions that are looked at for one line."""


class Hints(Widget):
    """The line below the prompt: what is wrong with the filter, or what may be typed next."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"vs--bad", "vs--hit", "vs--dim"}

    def __init__(self) -> None:
        super().__init__(id="hints")
        self._parts: list[tuple[str, str]] = []
        self.display = False

    @property
    def text(self) -> str:
        """Its plain text."""
        return "".join(text for text, _ in self._parts)

    def show(self, parts: list[tuple[str, str]]) -> None:
        """Show texts with the names of their styles."""
        if parts != self._parts:
            self._parts = parts
            self.refresh()

    def render_line(self, y: int) -> Strip:
        width, base = self.size.width, self.rich_style
        segments = [Segment(" ", base)]
        for text, style in self._parts:
            own = self.get_component_rich_style(f"vs--{style}", partial=True) if style else None
            segments.append(Segment(escape(text), base + own if own else base))
        strip = Strip(segments)
        if strip.crop(width).text.strip():
            strip = Strip([*strip.crop(0, width - 1), Segment(ELLIPSIS, base)])
        return strip.crop_extend(0, width, base)


class Marker(Highlighter):
    """Marks in the prompt where an error is."""

    def __init__(self) -> None:
        self.error: FilterError | None = None

    def highlight(self, text: Text) -> None:
        """Underline what is wrong."""
        error = self.error
        if error is not None and text.plain == error.text:
            text.stylize("underline reverse", error.start, error.start + max(1, error.length))


class Completing:
    """The filter as it is typed."""

    def __init__(self, prompt: Prompt) -> None:
        self.hints = Hints()
        self._prompt = prompt
        self._marker = Marker()
        self._offers: list[Completion] = []
        """What may stand at the cursor."""
        self._offer = -1
        """Which of them is in the text; -1 for none."""
        self._before: tuple[str, int] = ("", 0)
        """The text and the cursor before any of them was put in."""
        self._completing = False
        prompt.helper = self

    def ask(self, text: str) -> None:
        """Open the prompt with a filter to go on from."""
        prompt = self._prompt
        prompt.ask(PromptQuestion.FILTER)
        prompt.highlighter = self._marker
        prompt.value = text
        prompt.cursor_position = len(text)
        self.hints.display = True
        self.typed()

    def left(self) -> None:
        """The prompt was left."""
        self.hints.display = False
        self._prompt.highlighter = None

    def typed(self) -> None:
        """Check the text, and offer what may stand at the cursor."""
        prompt = self._prompt
        if prompt.question is not PromptQuestion.FILTER or self._completing:
            return
        from vusniff.filter import complete

        self._marker.error = None
        self._offer = -1
        self._before = (prompt.value, prompt.cursor_position)
        try:
            self._offers = complete(prompt.value, prompt.cursor_position)
        except VusniffError:  # a dissector that cannot be loaded: said when the filter is used
            self._offers = []
        error = error_in(prompt.value) if prompt.value.strip() else None
        # An error at the end only means that the text is not finished: then what may follow is worth more.
        unfinished = error is not None and error.start + error.length >= len(prompt.value.rstrip())
        if error is None or (unfinished and self._offers):
            self.hints.show(self._offered())
        else:
            self._show_error(error)
            self._marker.error = error
        prompt.refresh()

    def _show_error(self, error: FilterError) -> None:
        self.hints.show([(f"column {error.column}: ", "bad"), (error.sentence, "")])

    def _offered(self) -> list[tuple[str, str]]:
        if not self._offers:
            return [("Enter shows what passes" if self._prompt.value.strip() else "Enter shows all", "dim")]
        first = max(0, self._offer)
        parts: list[tuple[str, str]] = []
        for number, offer in enumerate(self._offers[first : first + OFFERED], first):
            parts += [(offer.text, "hit" if number == self._offer else ""), ("  ", "")]
        about = self._offers[first].about
        return [*parts[:2], (f"({about})  ", "dim"), *parts[2:]] if about else parts

    def complete(self, step: int) -> None:
        """Put the next offer into the text, or the one before."""
        if not self._offers:
            return
        text, _ = self._before
        self._offer = (self._offer + step) % len(self._offers) if self._offer >= 0 or step > 0 else -1
        offer = self._offers[self._offer]
        prompt = self._prompt
        self._completing = True
        with prompt.prevent(Input.Changed):
            prompt.value = text[: offer.start] + offer.text + text[offer.stop :]
            prompt.cursor_position = offer.start + len(offer.text)
        self._completing = False
        self._marker.error = None
        self.hints.show(self._offered())

    def accepts(self, text: str) -> bool:
        """Whether a stripped text is a filter, or empty; where it is not, the prompt says and shows why."""
        error = error_in(text) if text else None
        if error is None:
            return True
        prompt = self._prompt
        self._show_error(error)
        marked = self._marker.error = error_in(prompt.value)  # its columns count the blanks before the text too
        prompt.cursor_position = min(len(prompt.value), marked.start if marked else 0)
        prompt.refresh()
        return False


def error_in(text: str) -> FilterError | None:
    """What is wrong with the text of a filter; None for nothing."""
    from vusniff.filter import compile_filter

    try:
        compile_filter(text)
    except FilterError as error:
        return error
    except VusniffError as error:
        return FilterError(str(error), text, 0, 0)
    return None
