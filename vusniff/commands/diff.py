"""``vusniff diff``: what one session did otherwise than another."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from vusniff import terminal
from vusniff.commands.forms import add_color, add_format

if TYPE_CHECKING:
    from vusniff.analysis.timeline import Timeline


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``vusniff diff``."""
    parser.add_argument("files", metavar="FILE", nargs="+", help="two captures, or one with two sessions")
    parser.add_argument("--session-a", type=int, metavar="N", help="of the first capture (default: its first)")
    parser.add_argument(
        "--session-b", type=int, metavar="N", help="of the second capture (default: its first; of one capture the last)"
    )
    add_format(parser, ("text", "markdown", "json"), "how (text)")
    add_color(parser, "comparison")
    parser.add_argument(
        "--slower",
        type=float,
        metavar="FACTOR",
        help="how many times slower an answer must be to count, 0 for never (10)",
    )
    parser.add_argument("--device", metavar="TYPE", help="device type (net, blk, fs, ...) instead of the deduced one")


def run(args: argparse.Namespace) -> int:
    """Print the differences; 0 when there is none, 1 when there are some."""
    from vusniff.analysis.compare import SLOWER
    from vusniff.errors import VusniffError
    from vusniff.views import diff, page

    if len(args.files) > 2:
        raise VusniffError(f"{len(args.files)} files: give two captures, or one that holds two sessions")
    factor = SLOWER if args.slower is None else args.slower or float("inf")
    if not factor >= 1:
        raise VusniffError(f"--slower {args.slower}: a factor of 1 or more, or 0 for never")
    timelines = [_read(path, args.device) for path in args.files]
    if len(timelines) == 1 and len(timelines[0].sessions) < 2 and args.session_b is None:
        raise VusniffError(f"{args.files[0]} holds one session: name another capture to compare it with")
    last = len(timelines[0].sessions) if len(timelines) == 1 else 1
    numbers = (args.session_a or 1, args.session_b or last)
    chosen_ones, notes = [], []
    for label, number, option in zip("AB", numbers, ("--session-a", "--session-b"), strict=True):
        place = 0 if label == "A" else len(timelines) - 1
        count = len(timelines[place].sessions)
        if not 1 <= number <= count:
            raise VusniffError(f"{option} {number}: {args.files[place]} has sessions 1 to {count}")
        chosen_ones.append((timelines[place], [args.files[place]], number, label))
        chosen = args.session_a if label == "A" else args.session_b
        if chosen is None and count > (2 if len(timelines) == 1 else 1):
            notes.append(
                f"{label} is session {number} of {count} in {args.files[place]}: {option} N compares another one"
            )
    families = [timeline.sessions[number - 1].family for timeline, _, number, _ in chosen_ones]
    across = diff.are_comparable(families[0], families[1])
    sides = [diff.side_of(*one, across) for one in chosen_ones]
    found = diff.comparison(sides[0], sides[1], factor, notes)
    if args.format == "json":
        from vusniff.views import jsonl

        terminal.put_json(jsonl.encode(diff.diff_dict(found)) + b"\n")
    else:
        made = diff.diff_page(found)
        terminal.put(page.markdown(made) if args.format == "markdown" else page.text(made, terminal.width()))
    return 0 if found.same else 1


def _read(path: str, device: str | None) -> Timeline:
    from vusniff.errors import VusniffError
    from vusniff.views.whole import whole_timeline

    timeline = whole_timeline([path], device)
    if not len(timeline):
        raise VusniffError(f"no messages in {path}: there is nothing to compare")
    return timeline
