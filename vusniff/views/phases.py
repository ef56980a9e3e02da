"""The phases of a session as cells, lines and JSON. What they are is `vusniff.families.phase`'s."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from vusniff.analysis.callers import RowCallers
from vusniff.analysis.timeline import Timeline
from vusniff.families.phase import Phase
from vusniff.printable import escape
from vusniff.views import words

COLUMNS = ("phase", "messages", "at", "lasted")


def numbers_words(phase: Phase) -> str:
    """Its messages: ``#28 to #43``, ``none``."""
    if not phase.count:
        return "none"
    return f"#{phase.first}" if phase.first == phase.last else f"#{phase.first} to #{phase.last}"


def lasted_words(phase: Phase) -> str:
    """How long it took; of one that goes on, so far."""
    return words.duration(max(phase.duration_ns, 0)) + (" so far" if phase.open else "")


def phase_row(phase: Phase, first_ns: int) -> tuple[str, str, str, str]:
    """One phase in cells: kind, messages, when it began in seconds since ``first_ns``, how long it lasted."""
    return (
        str(phase.kind),
        numbers_words(phase),
        f"{(phase.start_ns - first_ns) / 1e9:.6f}",
        lasted_words(phase),
    )


def phase_line(session: int, phase: Phase, callers: Sequence[str] = ()) -> str:
    """What ``read --phases`` prints before its first message; ``callers`` are functions that sent requests of it."""
    numbers = numbers_words(phase) if phase.count else "no messages"
    called = f", called by {', '.join(map(escape, callers))}" if callers else ""
    return f"# session {session}: {phase.kind}, {numbers}, {lasted_words(phase)}{called}"


def phase_lines(timeline: Timeline, session: int | None = None) -> Iterator[tuple[int, str]]:
    """All phases, each as the number of the message before which it stands and its line, in that order."""
    chosen = [known.number for known in timeline.sessions if session in (None, known.number)]
    found = [(phase.first, number, phase) for number in chosen for phase in timeline.phases(number)]
    # A phase without messages comes before the one it stands before.
    found.sort(key=lambda one: (one[0], one[1], one[2].start_ns, one[2].count > 0))
    callers = RowCallers(timeline)
    for first, number, phase in found:
        yield first, phase_line(number, phase, callers.among(number, phase.first, phase.last) if phase.count else ())


def phase_dict(phase: Phase) -> dict[str, Any]:
    """One phase: kind, first, last (null where it has no message), messages, start_ns, end_ns, open."""
    return {
        "kind": phase.kind.value,
        "first": phase.first if phase.count else None,
        "last": phase.last if phase.count else None,
        "messages": phase.count,
        "start_ns": phase.start_ns,
        "end_ns": phase.end_ns,
        "open": phase.open,
    }
