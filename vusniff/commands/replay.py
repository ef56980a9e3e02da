"""``vusniff replay``: plays one side of a recorded session against a real program, and compares what it answers."""

from __future__ import annotations

import argparse
import math

from vusniff import terminal
from vusniff.commands.forms import add_json
from vusniff.commands.times import some_seconds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``vusniff replay``."""
    parser.epilog = (
        "Memory, eventfds and channels are made anew; guest memory is zero, so rings are empty. The program may choose "
        "its own addresses, ring positions and inflight buffer; anything else it says otherwise is a difference. "
        "Exit status: 0 the same, 1 different or ended early, 2 not played."
    )
    parser.add_argument("file", metavar="FILE", help="the capture")
    parser.add_argument(
        "--to",
        required=True,
        choices=("backend", "frontend"),
        help="the real program: the recorded other side is played to it",
    )
    side = parser.add_mutually_exclusive_group(required=True)
    side.add_argument(
        "--connect", metavar="PATH", help="connect to the program, which listens at PATH; @NAME is abstract"
    )
    side.add_argument("--listen", metavar="PATH", help="listen at PATH until the program connects")
    parser.add_argument("--session", type=int, default=1, metavar="N", help="the session to play (default 1)")
    parser.add_argument("--until", type=int, metavar="N", help="play up to message N and its answer")
    parser.add_argument(
        "--speed",
        type=_speed,
        default=0.0,
        metavar="X",
        help="keep recorded pauses, divided by X: 1 is as recorded (default 0: no pause that is not for an answer)",
    )
    parser.add_argument(
        "--timeout",
        type=some_seconds,
        default=10.0,
        metavar="SECONDS",
        help="longest wait for the program, and for each thing it has to say (default 10)",
    )
    add_json(parser, "print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Play, and print what differed; 0 when nothing did."""
    from vusniff.analysis.timeline import Timeline, read_all
    from vusniff.capture.index import Index
    from vusniff.channel import Sender
    from vusniff.progress import reading, tell
    from vusniff.replay.backend import BackendPlayer
    from vusniff.replay.frontend import FrontendPlayer
    from vusniff.replay.link import meet
    from vusniff.replay.objects import Objects
    from vusniff.replay.script import script_of
    from vusniff.sources.host.endpoints import ProxySide
    from vusniff.views import jsonl
    from vusniff.views.replay import lines, outcome_dict

    role = Sender.FRONTEND if args.to == "backend" else Sender.BACKEND
    with Index(args.file) as index:
        timeline = Timeline(index)
        with reading(args.file) as progress:
            read_all(timeline, progress)
        tell(index.notes)
        script = script_of(timeline, role, args.session, args.until)
    side = ProxySide(args.listen is not None, args.listen or args.connect)
    objects = Objects.make(script)
    try:
        sock = meet(side, args.timeout)
    except BaseException:
        objects.close()
        raise
    player = (FrontendPlayer if role is Sender.FRONTEND else BackendPlayer)(
        script, sock, objects, args.speed, args.timeout
    )
    outcome = player.play()
    if args.json:
        terminal.put_json(jsonl.encode(outcome_dict(script, outcome)) + b"\n")
    else:
        for line in lines(script, outcome):
            terminal.put_line(line)
    return 0 if outcome.same else 1


def _number(word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = -1.0
    return value if math.isfinite(value) else -1.0


def _speed(word: str) -> float:
    value = _number(word)
    if value != 0 and not 1e-6 <= value <= 1e6:
        raise argparse.ArgumentTypeError(f"{word!r} is not a speed: give a number such as 1, 10 or 0.5, or 0")
    return value
