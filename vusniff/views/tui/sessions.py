"""All sessions of a capture as lines: one each, to pick from. Knows no screen."""

from __future__ import annotations

from vusniff.timeline import Timeline
from vusniff.views import words
from vusniff.views.state import peers
from vusniff.views.summary import ending
from vusniff.views.tui.line import ELLIPSIS, Line, Part, clean, line
from vusniff.views.tui.rows import since

HEADS = ("#", "device", "messages", "no reply", "start s", "lasted", "ended", "socket", "between", "")
WIDE = 110
"""Cells from which times are shown too."""


def tail(path: str, width: int) -> str:
    """The end of a path, which tells sockets apart."""
    return path if len(path) <= width else ELLIPSIS + path[-width + 1 :]


def session_lines(timeline: Timeline, shown: int | None, width: int) -> list[Line]:
    """A heading and one line for each session; ``shown`` is the one the timeline is limited to."""
    waiting: dict[int, int] = {}
    for pending in timeline.tracker.pending():
        number = timeline.place(pending.number - 1).session
        waiting[number] = waiting.get(number, 0) + 1
    first = timeline.time_ns(0) if len(timeline) else 0
    rows = []
    for session in timeline.sessions:
        opened = timeline.time_ns(session.first - 1) - first if session.first else 0
        took = timeline.time_ns(session.last - 1) - first - opened if session.last else 0
        guess = session.guess
        again = f"again after {session.previous}" if session.previous else ""
        late = "joined late" if session.joined_late else ""
        asked = waiting.get(session.number, 0)
        rows.append(
            (
                str(session.number),
                guess.device if guess else "?",
                str(session.count),
                str(asked) if asked else "",
                since(opened),
                words.duration(took),
                ending(timeline, session.closed),
                tail(clean(session.path), max(16, width // 4)),
                " - ".join(peers(timeline, session)),
                ", ".join(filter(None, (again, late))),
            )
        )
    right = {0, 2, 3, 4, 5}
    shown_columns = [n for n in range(len(HEADS)) if width >= WIDE or n not in (4, 5)]
    sizes = [max(len(head), *(len(row[n]) for row in rows)) if rows else len(head) for n, head in enumerate(HEADS)]

    def cells(row: tuple[str, ...]) -> list[str]:
        return [
            f"{cell:>{size}}" if n in right else f"{cell:<{size}}"
            for n, (cell, size) in enumerate(zip(row, sizes, strict=True))
            if n in shown_columns
        ]

    lines = [line(("  " + "  ".join(cells(HEADS)).rstrip(), "heading"), key="head")]
    lines.append(line(("  " if shown else "▸ "), "all sessions", key="session 0"))
    for session, row in zip(timeline.sessions, rows, strict=True):
        mark = "▸ " if session.number == shown else "  "
        tone = "bad" if row[3] or (session.closed and session.closed.reason in ("reset", "killed")) else ""
        lines.append(
            Line((Part(mark), Part(clean("  ".join(cells(row)).rstrip()), tone)), key=f"session {session.number}")
        )
    if timeline.index.notes:
        lines += [line(), line(("Notes on the capture", "heading"))]
        lines += [line(f"  {note}") for note in timeline.index.notes]
    return lines
