"""Screens over the room: lines to read or to pick from. What they show is worked out elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen

from vusniff.message import Message, MessageSpec
from vusniff.protocol import Channel
from vusniff.views.tui.bars import Foot
from vusniff.views.tui.keys import GROUPS, KEYS, MOVING
from vusniff.views.tui.line import Line, line, wrapped
from vusniff.views.tui.panes import LinesView


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
        hints = [("↑↓", "move" if self._enter else "scroll", "")]
        hints += [("Enter", self._enter, "screen.enter")] if self._enter else []
        self.query_one(Foot).show([*hints, ("Esc", "back", "screen.leave")])

    def on_resize(self) -> None:
        """Lines for this width."""
        self.call_after_refresh(self._fill)

    def _fill(self) -> None:
        view = self.query_one(LinesView)
        view.show(self._make(view.scrollable_content_region.width))
        if not self._began:
            self._began = True
            keys = [number for number, one in enumerate(view.lines) if one.key == self._key]
            if self._key is not None and keys:
                view.move_to(keys[0], centre=True)

    def on_lines_view_followed(self, event: LinesView.Followed) -> None:
        """A line was picked."""
        if event.line.jump or (event.line.key or "").startswith("session "):
            self.dismiss(event.line)

    def action_enter(self) -> None:
        """Pick the line under the cursor."""
        self.query_one(LinesView).action_follow_link()

    def action_leave(self) -> None:
        """Leave without picking."""
        self.dismiss(None)


def help_lines(width: int) -> list[Line]:
    """All keys."""
    lines = [line((GROUPS[0], "heading"))]
    lines += [line(f"  {keys:<15}", (what, "")) for keys, what in MOVING]
    for group in GROUPS:
        if group != GROUPS[0]:
            lines.append(line())
            lines.append(line((group, "heading")))
        for key in KEYS:
            if key.group == group:
                lines.append(line("  ", (f"{key.shown:<15}", "strong"), key.help))
    lines.append(line())
    lines.append(line(("Signs", "heading")))
    signs = (
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
    )
    lines += [line("  ", (f"{sign:<15}", "strong"), what) for sign, what in signs]
    lines.append(line())
    lines.append(line(("The same in plain text: vusniff read -v, vusniff state --at N", "dim")))
    return lines


def explain_lines(message: Message, width: int) -> list[Line]:
    """The table row of a request, in words."""
    spec = message.spec
    if spec is None:
        return [line(f"{message.name} is in no dissector; its bytes are shown as they are.")]
    lines = [line((f"VHOST_USER_{spec.name}", "heading"), f"   request {spec.code}, {message.channel} channel")]
    for label, text in (
        ("", spec.about),
        ("sent by", spec.sent_by),
        ("handled by", spec.handled_by),
        ("answer", _answer(spec, message)),
        ("descriptors", _descriptors(spec)),
        ("needs", f"VHOST_USER_PROTOCOL_F_{spec.requires.name}" if spec.requires else spec.requires_feature or ""),
        ("also called", ", ".join(spec.aliases)),
        ("specification", spec.section),
    ):
        if text:
            lines.append(line())
            first = f"{label:<14}" if label else ""
            lines += [Line(parts) for parts in wrapped(text.split(), width, first, " " * len(first))]
    return lines


def _answer(spec: MessageSpec, message: Message) -> str:
    if spec.answered:
        return "has a reply of its own"
    if spec.may_answer:
        return "has a reply of its own in some sessions; else acknowledged only when need_reply is set"
    if message.channel is Channel.GPU:
        return "none"
    return "acknowledged only when need_reply is set (REPLY_ACK): 0 is success"


def _descriptors(spec: MessageSpec) -> str:
    least, most = spec.fds
    reply_most = spec.reply_fds[1]
    said = []
    if most:
        count = str(most) if least == most else f"{least} to {most}"
        said.append(f"{count} with the request{f': {spec.fds_meaning}' if spec.fds_meaning else ''}")
    if reply_most:
        said.append(f"{reply_most} with the reply{f': {spec.reply_fds_meaning}' if spec.reply_fds_meaning else ''}")
    return "; ".join(said)
