"""Opens the screens over the room, and does what was picked in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vusniff.state import DeviceState
from vusniff.views.tui import compare, features, memory, sessions
from vusniff.views.tui.line import Line
from vusniff.views.tui.screens import LinesScreen, explain_lines, help_lines
from vusniff.views.tui.state import said_by

if TYPE_CHECKING:
    from vusniff.views.tui.app import Room

PATIENCE = 0.5
"""Seconds that a key may take for another session's state."""


def keys(room: Room) -> None:
    """All keys and signs."""
    room.push_screen(LinesScreen("Keys", help_lines))


def explain(room: Room) -> None:
    """The selected request in words."""
    row = room.view.row
    if row is not None:
        message = room.timeline.message(row)
        room.push_screen(LinesScreen(f"#{row + 1} {message.name}", lambda width: explain_lines(message, width)))


def _leap(room: Room, picked: Line | None) -> None:
    if picked is not None and picked.jump:
        room.leap(picked.jump - 1)


def feature_matrix(room: Room) -> None:
    """Every feature bit as of the selected message."""
    row, both = _state(room)
    if row is None or both is None:
        return
    said = said_by(room.timeline)
    screen = LinesScreen(
        f"Features after #{row + 1}",
        lambda width: features.matrix(room.timeline, row, both[1], said),
        "go to the message",
    )
    room.push_screen(screen, lambda picked: _leap(room, picked))


def compare_sessions(room: Room) -> None:
    """The session before on the same socket, at its end, beside this one as of the selected message."""
    row, both = _state(room)
    if row is None or both is None:
        return
    timeline = room.timeline
    previous = timeline.sessions[timeline.place(row).session - 1].previous
    if previous is None:
        room.tell("There was no session before this one on its socket: S shows all")
        return
    last = timeline.rows_of(previous)[-1]
    ended = room.states.get(last)
    if ended is None:
        room.states.step(last, PATIENCE)
        ended = room.states.get(last)
    if ended is None:
        room.tell(f"Session {previous} is still being worked out: press C again")
        return
    screen = LinesScreen(
        f"Session {previous}, then {timeline.place(row).session}",
        lambda width: compare.compare_lines(timeline, (last, ended[1]), (row, both[1]), width),
    )
    room.push_screen(screen)


def memory_map(room: Room) -> None:
    """The memory table as of the selected message."""
    row, both = _state(room)
    if row is None or both is None:
        return
    screen = LinesScreen(
        f"Memory after #{row + 1}", lambda width: memory.memory_lines(both[1], width), "go to the message"
    )
    room.push_screen(screen, lambda picked: _leap(room, picked))


def _state(room: Room) -> tuple[int | None, tuple[DeviceState, DeviceState] | None]:
    row = room.view.row
    both = room.states.get(row) if row is not None else None
    if row is not None and both is None:
        room.tell("The state is still being worked out")
    return row, both


def pick_session(room: Room) -> None:
    """All sessions; the picked one is shown alone."""

    def picked(line: Line | None) -> None:
        if line is None or line.key is None:
            return
        number = int(line.key.removeprefix("session "))
        if number == 0:
            room.limit(None, "")
        else:
            room.limit(room.timeline.rows_of(number), f"session {number}", number)

    row = room.view.row
    now = room.timeline.place(row).session if row is not None else 0
    shown = room.session
    screen = LinesScreen(
        "Sessions",
        lambda width: sessions.session_lines(room.timeline, shown, width),
        "show it alone",
        f"session {now if shown is None else shown}",
    )
    room.push_screen(screen, picked)
