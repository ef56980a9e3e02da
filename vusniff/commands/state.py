"""``vusniff state``: what a device looked like after a message."""

from __future__ import annotations

import argparse
import sys

from vusniff import terminal
from vusniff.commands.forms import add_json
from vusniff.printable import escape


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``vusniff state``."""
    parser.add_argument("files", metavar="FILE", nargs="+", help="capture files, merged by time")
    parser.add_argument("--at", type=int, metavar="N", help="after message N (default: the last)")
    parser.add_argument("--session", type=int, metavar="N", help="of session N (default: that of the message)")
    add_json(parser, "print one JSON object")
    parser.add_argument("--device", metavar="TYPE", help="device type (net, blk, fs, ...) instead of the deduced one")


def run(args: argparse.Namespace) -> int:
    """Print one state; 1 when the capture holds no message."""
    from vusniff.errors import VusniffError
    from vusniff.views import jsonl, phases, rings, state
    from vusniff.views.whole import whole_timeline

    timeline = whole_timeline(args.files, args.device)
    if not len(timeline):
        terminal.tell("no messages: there is no state to show")
        return 1
    number = len(timeline) if args.at is None else args.at
    if not 1 <= number <= len(timeline):
        raise VusniffError(f"--at {number}: there are messages 1 to {len(timeline)}")
    count = len(timeline.sessions)
    chosen = timeline.place(number - 1).session if args.session is None else args.session
    if not 1 <= chosen <= count:
        raise VusniffError(f"--session {chosen}: there are sessions 1 to {count}")
    session = timeline.sessions[chosen - 1]
    if session.first > number:
        raise VusniffError(f"--session {chosen} begins with message {session.first}, after --at {number}")
    row = max(row for row in timeline.rows_of(chosen) if row < number)
    device_state, place = timeline.state(row), timeline.place(row)
    frontend, backend = state.peers(timeline, session)
    guess = session.guess
    standings = timeline.standings(chosen, row)
    gone_through = [phase for phase in timeline.phases(chosen) if phase.first <= row + 1]
    if args.json:
        device = {"type": guess.device, "sure": guess.sure.value, "reasons": guess.reasons} if guess else None
        result = {
            "session": chosen,
            "number": row + 1,
            "path": session.path,
            "frontend": frontend,
            "backend": backend,
            "device": device,
            **state.state_dict(device_state, place.context),
            "rings": [rings.standing_dict(one) for one in standings.values()],
            "phases": [phases.phase_dict(phase) for phase in gone_through],
        }
        terminal.put_json(jsonl.encode(result) + b"\n")
        return 0
    from rich.console import Console

    console = Console(
        highlight=False, emoji=False, width=None if sys.stdout.isatty() else 240, soft_wrap=not sys.stdout.isatty()
    )
    late = "" if device_state.fresh else ", joined late: what came before is unknown"
    # Written here and not by rich, which ends the program its own way when nobody reads.
    with console.capture() as screen:
        console.print(f"Session {chosen} of {count}, after message {row + 1}{late}", markup=False)
        left, right = session.family.roles
        console.print(f"{escape(session.path)}: {left} {frontend}, {right} {backend}", markup=False)
        if guess:
            console.print(f"Device: {guess.device} ({guess.sure}: {'; '.join(guess.reasons)})", markup=False)
        console.print()
        for renderable in state.tables(device_state, place.context):
            console.print(renderable)
        if standings:
            history = timeline.ring_history
            now_ns = timeline.time_ns(row + 1) if row + 1 < len(timeline) else history.latest_ns(chosen)
            cells = (rings.row(history, chosen, one, row + 1, now_ns) for one in standings.values())
            console.print(state.table("Rings, as last seen", rings.COLUMNS, cells))
        first_ns = timeline.time_ns(0)
        rows = (phases.phase_row(phase, first_ns) for phase in gone_through)
        console.print(state.table("Phases", phases.COLUMNS, rows))
    terminal.put_styled(screen.get())
    return 0
