"""The filter of the terminal view: asked for in the prompt, completed and checked while it is typed, applied in slices.

The rows that pass are shown as they are found. In a capture that grows the filter goes on with what comes.
"""

from __future__ import annotations

import time
from array import array
from typing import TYPE_CHECKING, ClassVar

from rich.highlighter import Highlighter
from rich.segment import Segment
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Input

from vusniff.errors import FilterError, VusniffError
from vusniff.printable import escape
from vusniff.views.tui.line import ELLIPSIS, cut
from vusniff.views.tui.reading import POLL_SECONDS, SLICE_SECONDS

if TYPE_CHECKING:
    from vusniff.filter import Completion
    from vusniff.filter.sieve import Sieve
    from vusniff.views.tui.app import Room

FEWEST, MOST = 1024, 16384
"""Messages in a slice."""
ASKED = "&"
"""What the prompt is for while a filter is typed."""
HINT = "vhost.request == SET_MEM_TABLE && vring.index == 3"
WORDS = 40
"""Columns that the filter has in the first line."""
OFFERED = 12
"""Completions that are looked at for one line."""


class Prompt(Input):
    """The line in which everything is typed; Tab completes a filter in it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "complete(1)", show=False, priority=True),
        Binding("shift+tab", "complete(-1)", show=False, priority=True),
    ]

    def __init__(self, room: Room) -> None:
        super().__init__(id="prompt", compact=True, select_on_focus=False)
        self.cursor_blink = False
        self._room = room

    def action_complete(self, step: int) -> None:
        """The next completion."""
        self._room.filtering.complete(step)

    def on_input_changed(self) -> None:
        """Another text: is it a filter, and what could follow?"""
        self._room.filtering.typed()

    def on_blur(self) -> None:
        """The prompt is left."""
        self._room.filtering.left()


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
        """Texts with the names of their styles."""
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
    """Marks the place of an error in the prompt."""

    def __init__(self) -> None:
        self.error: FilterError | None = None

    def highlight(self, text: Text) -> None:
        """Underline what is wrong."""
        error = self.error
        if error is not None and text.plain == error.text:
            text.stylize("underline reverse", error.start, error.start + max(1, error.length))


class Filtering:
    """The filter, as it is typed and as it is applied."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.hints = Hints()
        self.text = ""
        """The filter that is applied; empty for none."""
        self.rows: array[int] = array("I")
        """The rows that pass, as far as they were looked at."""
        self._marker = Marker()
        self._sieve: Sieve | None = None
        self._seen = 0
        self._slice = FEWEST
        self._painted = 0.0
        self._wanted: int | None = None
        """The row that was selected before: the cursor goes back to it, or near it, when all is found."""
        self._generation = 0
        self._offers: list[Completion] = []
        self._offer = -1
        self._before: tuple[str, int] = ("", 0)
        self._completing = False

    # -- typing -------------------------------------------------------------------------------------------------------

    @property
    def prompt(self) -> Prompt:
        """Where it is typed."""
        return self.room.query_one(Prompt)

    @property
    def asked(self) -> bool:
        """A filter is being typed."""
        return self.room.finder.asked == ASKED

    def ask(self) -> None:
        """Open the prompt with the filter that is applied."""
        self.room.finder.ask(ASKED)
        prompt = self.prompt
        prompt.highlighter = self._marker
        prompt.value = self.text
        prompt.cursor_position = len(self.text)
        self.hints.display = True
        self.typed()

    def left(self) -> None:
        """The prompt is closed."""
        self.hints.display = False
        self.prompt.highlighter = None

    def typed(self) -> None:
        """Check the text, and offer what may stand at the cursor."""
        if not self.asked or self._completing:
            return
        from vusniff.filter import complete

        prompt = self.prompt
        self._marker.error = None
        self._offer = -1
        self._before = (prompt.value, prompt.cursor_position)
        try:
            self._offers = complete(prompt.value, prompt.cursor_position)
        except VusniffError:  # a dissector that cannot be loaded: told when the filter is used
            self._offers = []
        self._tell(self._error(prompt.value) if prompt.value.strip() else None)

    def _error(self, text: str) -> FilterError | None:
        from vusniff.filter import compile_filter

        try:
            compile_filter(text)
        except FilterError as error:
            return error
        except VusniffError as error:
            return FilterError(str(error), text, 0, 0)
        return None

    def _tell(self, error: FilterError | None) -> None:
        """An error at the end of the text is only that it is not finished: then what may follow is worth more."""
        prompt = self.prompt
        unfinished = error is not None and error.start + error.length >= len(prompt.value.rstrip())
        if error is None or (unfinished and self._offers):
            self.hints.show(self._offered())
        else:
            self.hints.show([(f"column {error.column}: ", "bad"), (error.sentence, "")])
            self._marker.error = error
        prompt.refresh()

    def _offered(self) -> list[tuple[str, str]]:
        if not self._offers:
            return [("Enter shows what passes", "dim")] if self.prompt.value.strip() else [("Enter shows all", "dim")]
        first = max(0, self._offer)
        parts: list[tuple[str, str]] = []
        for number, offer in enumerate(self._offers[first : first + OFFERED], first):
            parts += [(offer.text, "hit" if number == self._offer else ""), ("  ", "")]
        about = self._offers[first].about
        return [*parts[:2], (f"({about})  ", "dim"), *parts[2:]] if about else parts

    def complete(self, step: int) -> None:
        """Put the next offer into the text; elsewhere Tab goes to the next pane."""
        if not self.asked:
            self.room.screen.focus_next()
        elif self._offers:
            text, _ = self._before
            self._offer = (self._offer + step) % len(self._offers) if self._offer >= 0 or step > 0 else -1
            offer = self._offers[self._offer]
            prompt = self.prompt
            self._completing = True
            with prompt.prevent(Input.Changed):
                prompt.value = text[: offer.start] + offer.text + text[offer.stop :]
                prompt.cursor_position = offer.start + len(offer.text)
            self._completing = False
            self._marker.error = None
            self.hints.show(self._offered())

    def answered(self, text: str) -> None:
        """Enter: apply the filter, or stay and say what is wrong with it."""
        text = text.strip()
        error = self._error(text) if text else None
        if error is not None:
            self.hints.show([(f"column {error.column}: ", "bad"), (error.sentence, "")])
            self._marker.error = self._error(self.prompt.value)
            self.prompt.cursor_position = min(
                len(self.prompt.value), self._marker.error.start if self._marker.error else 0
            )
            self.prompt.refresh()
            return
        self.room.finder.close()
        self.apply(text)

    # -- applying -----------------------------------------------------------------------------------------------------

    @property
    def words(self) -> str:
        """How far it is."""
        sieve, count = self._sieve, len(self.room.timeline)
        if sieve is None or self._seen >= count:
            return ""
        if sieve.filter.needs_findings and self.room.timeline.analysed < count:
            return f"judging {100 * self.room.timeline.analysed // count} %, Esc stops"
        return f"filtering {100 * self._seen // count} %, Esc stops"

    def apply(self, text: str) -> None:
        """Show the messages that pass; an empty text shows all. The text has been checked."""
        from vusniff.filter import compile_filter

        room = self.room
        self._generation += 1
        self.text, self._seen, self._slice, self.rows = text, 0, FEWEST, array("I")
        self._wanted = room.view.row
        if not text:
            self._sieve = None
            room.limit(None, "")
            return
        self._sieve = compile_filter(text).sieve(room.timeline)
        room.limit(self.rows, cut(text, WORDS))
        self._go_on(self._generation)

    def limited(self, rows: object) -> None:
        """Other rows than those that pass are shown now."""
        if rows is not self.rows:
            self._sieve, self.text = None, ""
            self._generation += 1

    def stop(self) -> bool:
        """Stop looking; False when all has been looked at."""
        if not self.words:
            return False
        self._sieve = None
        self._generation += 1
        return True

    def _go_on(self, generation: int) -> None:
        """Look at a slice and come again: at once while there is more, at a calm pace where the capture grows."""
        room, sieve = self.room, self._sieve
        if sieve is None or generation != self._generation:
            return
        began, before = time.monotonic(), len(self.rows)
        while self._seen < len(room.timeline) and time.monotonic() - began < SLICE_SECONDS and self._judged(sieve):
            self._look(sieve)
        done = self._seen >= len(room.timeline)
        now = time.monotonic()
        if len(self.rows) != before and (done or not before or now - self._painted >= POLL_SECONDS):
            self._painted = now
            room.view.grown()
            if not before:
                room.view.moved()
        if done and self._wanted is not None:
            if room.view.cursor == 0 and len(self.rows):
                room.view.go_to(self._wanted)
            self._wanted = None
        room.say()
        if not done:
            room.set_timer(0.001, lambda: self._go_on(generation))
        elif room.live or not room.timeline.complete:
            room.set_timer(POLL_SECONDS, lambda: self._go_on(generation))

    def _look(self, sieve: Sieve) -> None:
        """The next slice; how large it is follows from how long the last one took."""
        began = time.monotonic()
        stop = min(len(self.room.timeline), self._seen + self._slice)
        self.rows.extend(sieve.rows(self._seen, stop))
        self._seen = stop
        took = max(time.monotonic() - began, 1e-6)
        self._slice = max(FEWEST, min(MOST, int(self._slice * SLICE_SECONDS / took)))

    def _judged(self, sieve: Sieve) -> bool:
        """What is wrong with the messages is known, where the filter asks for it; else judge a few more of them."""
        timeline = self.room.timeline
        if not sieve.filter.needs_findings:
            return True
        if timeline.analysed < len(timeline):
            timeline.analyse(FEWEST)
        if timeline.analysed < len(timeline):
            return False
        if timeline.complete and not self.room.live:
            timeline.conclude()  # what open sessions are left with; a second time it finds nothing
        return True
