"""Opens the screens over the room, and does what was picked in them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vusniff.analysis.timeline import Timeline
from vusniff.families.vhost_user.state import DeviceState
from vusniff.message import Message
from vusniff.printable import escape
from vusniff.views.tui import compare, features, memory, sessions
from vusniff.views.tui.judging import MARKS, explained
from vusniff.views.tui.line import Line, Part, cut, line, wrapped
from vusniff.views.tui.screens import LinesScreen, help_lines
from vusniff.views.tui.state import said_by

if TYPE_CHECKING:
    from vusniff.views.tui.app import Room

FINDINGS = 1000
"""Findings that are listed."""
PATIENCE = 0.5
"""Seconds that a key may take for another session's state."""


def keys(room: Room) -> None:
    """All keys and signs."""
    room.push_screen(LinesScreen("Keys", help_lines))


def explain(room: Room) -> None:
    """The selected request and the rules it breaks in words; of a finding's line in the details its rule."""
    row = room.view.row
    if row is None:
        return
    chosen = room.selected.details.current if room.selected.details.has_focus else None
    rules = list(dict.fromkeys(finding.rule for finding in room.timeline.findings_at(row)))
    if chosen is not None and chosen.key and chosen.key.startswith("rule "):
        rule = chosen.key.split()[1]
        room.push_screen(LinesScreen(f"Rule {rule}", lambda width: page_lines([rule], width)))
        return
    message = room.timeline.message(row)
    screen = LinesScreen(f"#{row + 1} {message.name}", lambda width: page_lines([*rules, message], width))
    room.push_screen(screen)


def page_lines(what: Sequence[Message | str], width: int) -> list[Line]:
    """Explanations one below the other, wrapped to a width."""
    lines: list[Line] = []
    for one in what:
        lines += [line()] if lines else []
        for number, said in enumerate(explained(one, width).rstrip("\n").split("\n")):
            head = not number or not said.startswith(" ")
            lines.append(line((said, "heading" if head else "")))
    return lines


def pick_finding(room: Room) -> None:
    """All findings; the picked one is gone to."""
    if not room.timeline.findings:
        room.tell("Nothing was found" + (" yet" if room.judging.words else ""))
        return
    row = room.view.row or 0
    at = bisect_left(room.judging.numbers, row + 1)
    near = room.judging.numbers[min(at, len(room.judging.numbers) - 1)] if room.judging.numbers else 0
    screen = LinesScreen(
        f"Findings: {room.judging.counts(False)}",
        lambda width: finding_lines(room.timeline, width),
        "go to the message",
        f"finding {near}",
    )
    room.push_screen(screen, lambda picked: _leap(room, picked))


def finding_lines(timeline: Timeline, width: int) -> list[Line]:
    """All findings by message, each in two lines and more."""
    found = sorted(timeline.findings, key=lambda finding: (finding.number, finding.severity.rank))
    lines: list[Line] = []
    for finding in found[:FINDINGS]:
        letter, style = MARKS[finding.severity]
        sentence = escape(finding.sentence).split()
        for number, parts in enumerate(wrapped(sentence, width, f"{letter} #{finding.number:<7} ", " " * 11)):
            first = (Part(parts[0].text, style), *parts[1:]) if not number else parts
            lines.append(Line(first, jump=finding.number, key=f"finding {finding.number}" if not number else None))
        where = f"session {finding.session}, " if len(timeline.sessions) > 1 else ""
        said = f"{' ' * 11}{where}{finding.rule} ({finding.section})"
        lines.append(line((cut(said, width), "dim"), jump=finding.number))
    if len(found) > FINDINGS:
        lines.append(line((f"{len(found) - FINDINGS:,} more: vusniff check prints all", "dim")))
    return lines


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
        lambda width: features.matrix(room.timeline, row, both[1], width, said),
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
        sessions.counted(room.timeline),
        lambda width: sessions.session_lines(room.timeline, shown, width),
        "show it alone",
        f"session {now if shown is None else shown}",
    )
    room.push_screen(screen, picked)
