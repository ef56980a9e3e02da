"""``vusniff summary``: the one page a bug report needs."""

from __future__ import annotations

import argparse

from vusniff import terminal
from vusniff.commands.forms import add_color, add_format


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``vusniff summary``."""
    parser.add_argument("files", metavar="FILE", nargs="+", help="capture files, merged by time")
    parser.add_argument("--session", type=int, metavar="N", help="which session to tell in full (default: the last)")
    add_format(parser, ("text", "markdown", "json"), "how (text)")
    add_color(parser, "page")
    parser.add_argument("--device", metavar="TYPE", help="device type (net, blk, fs, ...) instead of the deduced one")


def run(args: argparse.Namespace) -> int:
    """Print the page; 1 when the capture holds no connection."""
    from vusniff.analysis.timeline import Timeline, read_all
    from vusniff.capture.index import Index
    from vusniff.errors import VusniffError
    from vusniff.progress import reading
    from vusniff.views import page, summary

    timeline = Timeline(Index(args.files), args.device)
    with reading(args.files[0]) as progress:
        read_all(timeline, progress, judge=True)
    if not timeline.index.connections:
        terminal.tell("no messages and no connections: there is nothing to sum up")
        return 1
    count = len(timeline.sessions)
    chosen = count if args.session is None else args.session
    if args.session is not None and not 1 <= chosen <= count:
        there = f"are sessions 1 to {count}" if count else "is no session"
        raise VusniffError(f"--session {chosen}: there {there}")
    timeline.conclude()
    if args.format == "json":
        from vusniff.views import account, jsonl

        terminal.put_json(jsonl.encode(account.summary_dict(timeline, args.files, chosen)) + b"\n")
        return 0
    made = summary.summary_page(timeline, args.files, chosen)
    terminal.put(page.markdown(made) if args.format == "markdown" else page.text(made, terminal.width()))
    return 0
