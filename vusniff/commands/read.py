"""``vusniff read``: captures as text or JSON lines. Also prints what the proxy and the probe are writing just now."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from vusniff import terminal
from vusniff.commands.forms import add_color, add_json


def add_view_arguments(parser: argparse.ArgumentParser) -> None:
    """How messages are printed, for all commands that print them."""
    parser.add_argument("-v", "--verbose", action="store_true", help="show all fields of each message")
    parser.add_argument("-x", "--hex", action="store_true", help="show the bytes of each message")
    add_json(parser, "print JSON lines, one object a message")
    add_color(parser, "messages")
    parser.add_argument("--device", metavar="TYPE", help="device type (net, blk, fs, ...) instead of the deduced one")
    parser.add_argument(
        "--filter",
        metavar="EXPR",
        help="only messages that pass, in Wireshark's syntax: 'vhost.request == SET_MEM_TABLE && proc.pid == 1234'",
    )


def check_view_arguments(args: argparse.Namespace) -> None:
    """Refuse a device type or a filter that is wrong before a source is started. Raises VusniffError."""
    if args.device is not None:
        from vusniff.analysis.session import Tracker

        Tracker(args.device)
    if args.filter is not None:
        from vusniff.filter import compile_filter

        compile_filter(args.filter)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``vusniff read``."""
    parser.add_argument("files", metavar="FILE", nargs="+", help="capture files, merged by time; - is standard input")
    add_view_arguments(parser)
    parser.add_argument("--session", type=int, metavar="N", help="only session N")
    parser.add_argument("--phases", action="store_true", help="say in lines that begin with # which phase begins where")
    parser.add_argument("--follow", action="store_true", help="go on as the capture grows, until interrupted")


def run(args: argparse.Namespace) -> int:
    """Print captures; 0, or 1 when there is no message."""
    from vusniff.views.printing import phase_remarks, print_stream, print_timeline

    remarks = phase_remarks(args.files, args) if args.phases else ()
    if args.json and not args.follow and "-" not in args.files:
        # In a file that is there the answers are known: requests can name them.
        shown = print_timeline(args.files, args)
    else:
        shown = print_stream(args.files, args, follow=args.follow, remarks=remarks)
    if not shown:
        what = "no messages" if args.filter is None else "no message passes the filter"
        terminal.tell(f"{what}: there is nothing to show")
    return 0 if shown else 1


def follow_file(path: str, args: argparse.Namespace, until: Callable[[], bool]) -> int:
    """Print what a source writes to a capture file, until the source has ended and everything is shown."""
    from vusniff.views.printing import print_stream

    try:
        print_stream([path], args, follow=True, stop=until)
    except BrokenPipeError:
        sys.stdout = None  # nobody reads: the source may go on
    return 0
