"""Messages that a rule of the proxy holds: what the first line says of them, and the screen on which the user sends
them, drops them or edits them. Where they come from is a `vusniff.views.held.MessageHolder`'s matter.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen
from textual.widgets import Input

from vusniff.views.held import MessageHolder, WaitingMessage
from vusniff.views.tui.application import Application
from vusniff.views.tui.bars import Foot
from vusniff.views.tui.line import Part, TextLine, line, wrapped
from vusniff.views.tui.panes import LinesView

DUMPED = 16
"""Bytes in a line."""
EXAMPLE = "num=0   or actions, such as: set num=0, fds none, repeat 2"


class HeldPart:
    """The part of the view that knows what is held."""

    def __init__(self, app: Application, changed: Callable[[], None]) -> None:
        """``changed`` is called when other messages wait."""
        self._app = app
        self._changed = changed
        self.holder: MessageHolder | None = None
        self._announced = 0
        self.said = ""
        """What was said of the last answer: why it cannot be."""

    @property
    def words(self) -> str:
        """For the first line."""
        count = self.holder.count if self.holder is not None else 0
        return f"{count} HELD" if count else ""

    @property
    def first(self) -> WaitingMessage | None:
        """The message that has waited longest."""
        return self.holder.waiting[0] if self.holder is not None and self.holder.waiting else None

    def news(self) -> bool:
        """There is news; False when no more will come."""
        assert self.holder is not None
        try:
            said, goes_on = self.holder.receive(), True
        except OSError:
            said, goes_on = [], False
        first = self.first
        self.said = said[-1] if said else ""
        if not said and first is not None and first.number > self._announced:
            self._announced = first.number
            self._app.announce(f"Rule {first.rule} holds a {first.name}: H shows it")
        self._changed()
        return goes_on

    def row(self, held: WaitingMessage) -> int | None:
        """Where it stands in the timeline, as far as that has been read: it is looked for at the end."""
        times = self._app.timeline.index.time_ns
        for row in range(len(times) - 1, max(len(times) - 10_000, 0) - 1, -1):
            if times[row] == held.time_ns:
                return row
        return None


def held_lines(held: WaitingMessage, row: int | None, width: int) -> Iterator[TextLine]:
    """One message in full."""
    number = f"#{row + 1} " if row is not None else ""
    size, extra = f"{held.size} byte{'' if held.size == 1 else 's'}", ""
    if held.descriptors:
        extra = f", with {len(held.descriptors)} descriptor{'' if len(held.descriptors) == 1 else 's'}"
        extra += f" ({' '.join(held.descriptors)})"
    yield line((f"{number}{held.name}", "heading"), f"  {held.way[0]} to {held.way[1]}, {size}{extra}")
    for parts in wrapped(held.text.split(), width, f"rule {held.rule}  ", " " * 8):
        yield TextLine(tuple(Part(part.text, "dim") for part in parts))
    yield line(
        (f"held since {time.strftime('%H:%M:%S', time.localtime(held.since))}; ", "dim"),
        ("what follows it in its direction waits behind it", "dim"),
    )
    yield line()
    longest = max((len(name) for name, _ in held.fields), default=0)
    for name, value in held.fields:
        for parts in wrapped(value.split() or [""], width, f"  {name:<{longest}}  ", " " * (longest + 4)):
            yield TextLine(tuple(parts))
    if held.fields:
        yield line()
    for at in range(0, len(held.data), DUMPED):
        piece = held.data[at : at + DUMPED]
        shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in piece)
        yield line((f"  {at:04x}  ", "dim"), f"{piece.hex(' '):<{3 * DUMPED}} {shown}")
    if held.size > len(held.data):
        yield line((f"  {held.size - len(held.data):,} more bytes", "dim"))


class HeldScreen(ModalScreen[None]):
    """The message that has waited longest, or another one; keys say what is done with it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s,enter", "decide('send')", "send", show=False),
        Binding("d", "decide('drop')", "drop", show=False),
        Binding("e", "edit", "edit", show=False, priority=True),  # what is typed behind it belongs into the prompt
        Binding("n", "turn(1)", "next", show=False),
        Binding("N", "turn(-1)", "previous", show=False),
        Binding("escape,q,H", "leave", "back", show=False),
    ]

    def __init__(self, part: HeldPart) -> None:
        super().__init__()
        self._part = part
        self._number = part.first.number if part.first is not None else 0

    @property
    def _held(self) -> WaitingMessage | None:
        """The one that is shown."""
        holder = self._part.holder
        waiting = holder.waiting if holder is not None else ()
        return next((one for one in waiting if one.number == self._number), waiting[0] if waiting else None)

    def compose(self) -> ComposeResult:
        view = LinesView(id="lines")
        view.reading = True
        yield view
        yield Input(id="find", compact=True, placeholder=EXAMPLE)
        yield Foot()

    def on_mount(self) -> None:
        """The keys go to the lines."""
        self.query_one(LinesView).focus()

    def on_resize(self) -> None:
        """Make the lines for this width."""
        self.call_after_refresh(self.renew)

    def renew(self) -> None:
        """Show what waits now; leave where nothing does."""
        held, holder = self._held, self._part.holder
        if held is None or holder is None:
            self.action_leave()
            return
        views = self.query(LinesView)
        if not views:  # the screen is being left
            return
        if held.number != self._number:  # the one that was edited has been sent
            self.query_one(Input).display = False
            self.query_one(Input).value = ""
            views.first().focus()
        view, self._number = views.first(), held.number
        at = [one.number for one in holder.waiting].index(held.number) + 1
        view.border_title = f"Held by rule {held.rule}: {at} of {holder.count}"
        width = view.scrollable_content_region.width
        wrong = [TextLine(tuple(parts)) for parts in wrapped(self._part.said.split(), width, "", "  ", "bad")]
        view.show([*(wrong if self._part.said else []), *held_lines(held, self._part.row(held), width)])
        more = [("n N", "next, previous", "screen.turn(1)")] if len(holder.waiting) > 1 else []
        keys = [("s", "send", "screen.decide('send')"), ("d", "drop", "screen.decide('drop')")]
        keys += [("e", "edit", "screen.edit"), *more, ("Esc", "back: it stays held", "screen.leave")]
        if self.query_one(Input).display:
            keys = [("Enter", "send it changed", ""), ("Esc", "do not edit", "screen.leave")]
        self.query_one(Foot).show(keys)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Where a text is typed, letters are text."""
        if action == "edit":
            return not self.query_one(Input).display
        return super().check_action(action, parameters)

    def action_decide(self, do: str) -> None:
        """Send it or drop it."""
        held, holder = self._held, self._part.holder
        if held is not None and holder is not None:
            holder.answer(held.number, do)

    def action_edit(self) -> None:
        """Ask for what is to be changed."""
        prompt = self.query_one(Input)
        prompt.display = True
        self.set_focus(prompt)
        self.renew()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Send it changed. What is wrong with the text is told, and the text stays to be mended."""
        event.stop()
        held, holder = self._held, self._part.holder
        if held is not None and holder is not None and event.value.strip():
            holder.answer(held.number, "edit", event.value.strip())

    def action_turn(self, step: int) -> None:
        """Another message that waits."""
        waiting = self._part.holder.waiting if self._part.holder is not None else ()
        numbers = [one.number for one in waiting]
        if self._number in numbers:
            self._number = numbers[(numbers.index(self._number) + step) % len(numbers)]
        self.renew()

    def action_leave(self) -> None:
        """Back to the timeline, where the message stays held; from the prompt, back to the message."""
        prompts = self.query(Input)
        if prompts and prompts.first().display and self._held is not None:
            prompts.first().display = False
            self.query_one(LinesView).focus()
            self.renew()
        elif self.is_active:
            self.dismiss(None)
