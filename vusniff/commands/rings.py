"""``vusniff rings``: where the rings stood over time, as a capture with samples tells."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from vusniff import terminal
from vusniff.commands.forms import add_json
from vusniff.printable import escape
from vusniff.record import Sample

if TYPE_CHECKING:
    from vusniff.analysis.timeline import Timeline


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``vusniff rings``."""
    parser.epilog = (
        "Samples are recorded by vusniff proxy --rings and vusniff capture --rings. A rate is what was used from one "
        "sample to the next, at least: a ring that goes round in between looks slower. Of a packed ring an index is "
        "slot/wrap counter."
    )
    parser.add_argument("files", metavar="FILE", nargs="+", help="capture files, merged by time")
    parser.add_argument("--session", type=int, metavar="N", help="of session N only")
    parser.add_argument("--ring", type=int, metavar="N", help="ring N only")
    parser.add_argument(
        "--dump",
        type=_count,
        metavar="N",
        help="print what waits in the rings of running devices now: the N oldest requests of each ring, with their "
        "descriptors and the header that the device type has; never what they carry",
    )
    parser.add_argument(
        "--store",
        metavar="OUT",
        help="with --dump: write a copy of the capture with what was found at its end; else it is stored nowhere",
    )
    add_json(parser, "print JSON lines, one object for every sample of every ring")
    parser.add_argument("--device", metavar="TYPE", help="device type (net, blk, fs, ...) instead of the deduced one")


def _count(words: str) -> int:
    from vusniff.commands.dumping import count

    return count(words)


def run(args: argparse.Namespace) -> int:
    """Print all samples; 1 when there are none."""
    from vusniff.errors import VusniffError
    from vusniff.views import jsonl, rings
    from vusniff.views.whole import whole_timeline

    if args.store is not None and args.dump is None:
        raise VusniffError("--store is about what --dump finds: add --dump N, or leave it out")
    timeline = whole_timeline(args.files, args.device)
    count = len(timeline.sessions)
    if args.session is not None and not 1 <= args.session <= count:
        raise VusniffError(f"--session {args.session}: there are sessions 1 to {count}")
    if args.dump is not None:
        from vusniff.commands.dumping import dump

        return dump(timeline, [args.session] if args.session else list(range(1, count + 1)), args)
    history = timeline.ring_history
    sessions = [args.session] if args.session else [*range(1, count + 1), *(-one for one in history.unspoken)]
    for session in sessions:
        for what, why in history.unreadable.get(session, {}).items():
            terminal.tell(escape(f"session {session}: {what} is not readable: {why}"))
    found = [one for one in history.rings if one.session in sessions and args.ring in (None, one.ring)]
    if not found:
        terminal.tell("no samples of rings: record with --rings")
        return 1
    if args.json:
        for session in sessions:
            for one in history.standings(session):
                if args.ring in (None, one.position.ring):
                    where = {"session": session} if session > 0 else {"session": None, "connection": -session}
                    values = {**where, **rings.standing_dict(one)}
                    terminal.put_json(jsonl.encode(values) + b"\n")
        return 0
    rows = [rings.LINE_COLUMNS, *rings.lines(history, sessions, _begin(timeline), args.ring)]
    for line in rings.table_lines(rows, terminal.width()):
        terminal.put(escape(line) + "\n")
    return 0


def _begin(timeline: Timeline) -> int:
    """When the capture begins: with a message, or with a sample where nobody has said anything."""
    if len(timeline):
        return timeline.time_ns(0)
    return next((event.time_ns for _, event in timeline.index.events if isinstance(event, Sample)), 0)
