"""All sessions of a capture as lines: one each, to pick from. Knows no screen."""

from __future__ import annotations

from vusniff.analysis.session import Session
from vusniff.analysis.timeline import Timeline
from vusniff.printable import escape
from vusniff.views import words
from vusniff.views.account import ending
from vusniff.views.state import peers
from vusniff.views.tui.line import ELLIPSIS, Part, TextLine, line, wrapped
from vusniff.views.tui.rows import since

HEADS = ("#", "device", "messages", "no reply", "start s", "lasted", "ended", "socket", "between", "")
PATH = HEADS.index("socket")
LEAST = 20
"""Cells of a path that are enough to tell sockets apart."""
MARK = 2
"""Cells at the right for the sign that a line goes on."""
MANY = 20
"""More sessions than this do not fit on a screen: those with unanswered requests come first."""
WIDE = 140
"""Width in cells from which times are shown too."""


def counted(timeline: Timeline) -> str:
    """The title: how many sessions there are, and how many of them have unanswered requests."""
    count = len(timeline.sessions)
    waiting = len({timeline.place(pending.number - 1).session for pending in timeline.tracker.pending()})
    text = f"Sessions: {count:,}"
    if not waiting:
        return text
    return f"{text}, {'first the ' if count > MANY else ''}{waiting:,} with requests that were not answered"


def tail(path: str, width: int) -> str:
    """The end of a path in ``width`` cells: it tells sockets apart better than the beginning."""
    return path if len(path) <= width else ELLIPSIS + path[-width + 1 :]


def ended(timeline: Timeline, session: Session, width: int) -> str:
    """How a session ended, in few words where there is little room."""
    said = ending(timeline, session.closed, session)
    return said if width >= WIDE else said.replace(" by the ", " by ")


def session_lines(
    timeline: Timeline, shown: int | None, width: int, every: bool = True, without: int = 0
) -> list[TextLine]:
    """A heading and one line for each session; ``shown`` is the one the timeline is limited to. ``every``: all of them
    can be picked too. Session ``without`` is left out."""
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
                guess.device if guess else "unknown",
                str(session.count),
                str(asked) if asked else "",
                since(opened),
                words.duration(took),
                ended(timeline, session, width),
                escape(session.path),
                " - ".join(peers(timeline, session)),
                ", ".join(filter(None, (again, late))),
            )
        )
    right = {0, 2, 3, 4, 5}
    hidden = set() if width >= WIDE else {4, 5}
    hidden |= {n for n in (3, 9) if not any(row[n] for row in rows)}
    sizes = [max(len(head), *(len(row[n]) for row in rows)) if rows else len(head) for n, head in enumerate(HEADS)]
    # The processes stand last. Where they have no room, the path gets what is left.
    left = width - 2 - MARK - sum(sizes[n] + 2 for n in range(PATH) if n not in hidden)
    who = sizes[PATH + 1] + 2
    sizes[PATH] = max(len(HEADS[PATH]), min(sizes[PATH], left - who if left - who >= LEAST else left))

    def cells(row: tuple[str, ...]) -> list[str]:
        shown = tail(row[PATH], sizes[PATH])
        return [
            f"{cell:>{size}}" if n in right else f"{cell:<{size}}"
            for n, (cell, size) in enumerate(zip((*row[:PATH], shown, *row[PATH + 1 :]), sizes, strict=True))
            if n not in hidden
        ]

    lines = [line(("  " + "  ".join(cells(HEADS)).rstrip(), "heading"), key="head")]
    if every:
        lines.append(line(("  " if shown else "▸ "), "all sessions", key="session 0"))
    pairs = [pair for pair in zip(timeline.sessions, rows, strict=True) if pair[0].number != without]
    if len(pairs) > MANY:
        pairs.sort(key=lambda pair: not pair[1][3])
    for session, row in pairs:
        mark = "▸ " if session.number == shown else "  "
        tone = "bad" if row[3] or (session.closed and session.closed.reason in ("reset", "killed")) else ""
        lines.append(
            TextLine((Part(mark), Part(escape("  ".join(cells(row)).rstrip()), tone)), key=f"session {session.number}")
        )
    if timeline.index.notes:
        lines += [line(), line(("Notes on the capture", "heading"))]
        for note in timeline.index.notes:
            lines += [TextLine(parts) for parts in wrapped(escape(note).split(), width, "  ", "    ")]
    return lines
