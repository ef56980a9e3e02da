"""``vusniff draw``: what the terminal view draws, as plain text: rings over time, a sequence, reply times, memory."""

from __future__ import annotations

import argparse
import shutil
from typing import TYPE_CHECKING

from vusniff import terminal
from vusniff.printable import escape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from vusniff.analysis.timeline import Timeline

WIDTH = 120
"""Columns where nothing tells how wide the output is."""
_ABOUT = {
    "rings": "phases and rings of a session over time, as a Gantt chart",
    "sequence": "a session as a sequence diagram",
    "replies": "how long replies took, by request: median, 99th percentile, longest, histogram",
    "memory": "the memory table to scale, with what lies in it, as of a message",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``vusniff draw``."""
    parser.epilog = (
        "; ".join(f"{name}: {words}" for name, words in _ABOUT.items()) + ". The same stands in vusniff view."
    )
    parser.add_argument("what", metavar="WHAT", choices=tuple(_ABOUT), help=", ".join(_ABOUT))
    parser.add_argument("files", metavar="FILE", nargs="+", help="capture files, merged by time")
    parser.add_argument("--session", type=int, metavar="N", help="session N (default: the last; of replies all)")
    parser.add_argument("--at", type=int, metavar="N", help="memory as of message N (default: the session's last)")
    parser.add_argument("--by-message", action="store_true", help="rings: one step for each message, not true to time")
    parser.add_argument("--width", type=int, metavar="COLUMNS", help="columns (default: those of the terminal)")
    parser.add_argument("--device", metavar="TYPE", help="device type (net, blk, fs, ...) instead of the deduced one")


def run(args: argparse.Namespace) -> int:
    """Print the drawing; 1 when there is no message."""
    from vusniff.errors import VusniffError
    from vusniff.views.whole import whole_timeline

    timeline = whole_timeline(args.files, args.device)
    count = len(timeline.sessions)
    if args.session is not None and not 1 <= args.session <= count:
        raise VusniffError(f"--session {args.session}: there are sessions 1 to {count}")
    if args.at is not None and not 1 <= args.at <= len(timeline):
        raise VusniffError(f"--at {args.at}: there are messages 1 to {len(timeline)}")
    if not len(timeline):
        terminal.tell("no messages: there is nothing to draw")
        return 1
    width = args.width or shutil.get_terminal_size((WIDTH, 24)).columns
    for text in _MAKERS[args.what](timeline, args, max(width, 40)):
        terminal.put(escape(text.rstrip()) + "\n")
    return 0


def _session(timeline: Timeline, args: argparse.Namespace) -> int:
    if args.session is not None:
        return int(args.session)
    if args.at is not None:
        return timeline.place(args.at - 1).session
    return max(session.number for session in timeline.sessions if session.count)


def _rings(timeline: Timeline, args: argparse.Namespace, width: int) -> Iterable[str]:
    from vusniff.analysis.lives import RingLives
    from vusniff.views.gantt import Axis, chart

    lives = RingLives(timeline, _session(timeline, args))
    lives.run(float("inf"))
    axis = Axis.MESSAGES if args.by_message else Axis.TIME
    return (line.text for line in chart(timeline, lives, timeline.phases(lives.session), width, axis))


def _sequence(timeline: Timeline, args: argparse.Namespace, width: int) -> Iterable[str]:
    from vusniff.views.export.chosen import Chosen, result
    from vusniff.views.export.sequence import MESSAGES, sequence
    from vusniff.views.ladder import ladder

    while timeline.analyse():
        pass
    timeline.conclude()
    chosen = Chosen(timeline, timeline.rows_of(_session(timeline, args)), args.files, MESSAGES)
    return (line.text for line in ladder(result(sequence(chosen)), width))


def _replies(timeline: Timeline, args: argparse.Namespace, width: int) -> Iterable[str]:
    from vusniff.analysis.latencies import ReplyTimes
    from vusniff.views.timings import table

    found = ReplyTimes(timeline, args.session)
    found.run(float("inf"))
    return (line.text for line in table(found.table(), width=width))


def _memory(timeline: Timeline, args: argparse.Namespace, width: int) -> Iterable[str]:
    from vusniff.errors import VusniffError
    from vusniff.families.vhost_user.state import DeviceState
    from vusniff.views.tui.memory import memory_lines

    session = _session(timeline, args)
    row = args.at - 1 if args.at is not None else timeline.rows_of(session)[-1]
    state = timeline.session_state(session, row)
    if not isinstance(state, DeviceState):
        raise VusniffError(f"session {session} has no memory table: vusniff state shows what it has")
    return (line.text for line in memory_lines(state, width))


_MAKERS: dict[str, Callable[[Timeline, argparse.Namespace, int], Iterable[str]]] = {
    "rings": _rings,
    "sequence": _sequence,
    "replies": _replies,
    "memory": _memory,
}
