"""The prompt: the line on which everything is typed, and what the typing is for."""

from __future__ import annotations

import enum
from typing import ClassVar, Protocol

from textual.binding import Binding, BindingType
from textual.widget import Widget
from textual.widgets import Input

from vusniff.views.tui.history import History


class PromptQuestion(enum.Enum):
    """What the prompt asks for; the value is shown while nothing is typed."""

    TEXT = "text in requests, values, descriptors; ↑ what was searched for before"
    TARGET = "1234 number, 2.5s since start, 12:30:01 time of day, v3 vring"
    FILTER = "vhost.request == SET_MEM_TABLE && vring.index == 3"
    FILE = "file to write what is shown to: .pcapng .txt .jsonl .csv .html .md .mmd or .svg"
    COLUMNS = "columns from left to right, such as: number time request values answer"
    REPLACE = "there is such a file already: y and Enter replace it, anything else leaves it"


class Helper(Protocol):
    """Helps with what is typed: completes it, and says what is wrong with it."""

    def complete(self, step: int) -> None:
        """Put the next completion into the prompt, or the one before."""

    def typed(self) -> None:
        """The text has changed."""

    def left(self) -> None:
        """The prompt was left."""


class Prompt(Input):
    """One line of input."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "complete(1)", show=False, priority=True),
        Binding("shift+tab", "complete(-1)", show=False, priority=True),
        Binding("up,ctrl+p", "history(1)", show=False),
        Binding("down,ctrl+n", "history(-1)", show=False),
    ]

    def __init__(self, back: Widget) -> None:
        """``back`` gets the focus when the prompt is closed."""
        super().__init__(id="prompt", compact=True, select_on_focus=False)
        self.cursor_blink = False
        self.question: PromptQuestion | None = None
        """None while the prompt is closed."""
        self.helper: Helper | None = None
        self._back = back
        self.histories = {question: History() for question in PromptQuestion}

    def ask(self, question: PromptQuestion) -> None:
        """Open the prompt."""
        self.question = question
        self.histories[question].begin()
        self.value = ""
        self.placeholder = question.value
        self.display = True
        self.screen.set_focus(self)  # at once: what is typed behind the key belongs here

    def close(self) -> bool:
        """Close the prompt; False when it is closed already."""
        if self.question is None:
            return False
        self.question = None
        self.display = False
        self.screen.set_focus(self._back)
        return True

    def used(self, text: str) -> None:
        """A text was accepted as the answer to the question: it can be had again."""
        if self.question is not None:
            self.histories[self.question].add(text)

    def action_history(self, step: int) -> None:
        """What was typed before for the same question, or after that."""
        text = self.histories[self.question].step(step, self.value) if self.question is not None else None
        if text is not None:
            self.value = text
            self.cursor_position = len(text)

    def action_complete(self, step: int) -> None:
        """The next completion of a filter; for anything else the key goes to the next pane."""
        if self.question is PromptQuestion.FILTER and self.helper is not None:
            self.helper.complete(step)
        else:
            self.screen.focus_next()

    def on_input_changed(self) -> None:
        """Another text is in the prompt."""
        if self.helper is not None:
            self.helper.typed()

    def on_blur(self) -> None:
        """The keys go elsewhere."""
        if self.helper is not None:
            self.helper.left()
