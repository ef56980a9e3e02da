"""`vusniff import strace`: logs that somebody attached to a bug report become a capture."""

from __future__ import annotations

import argparse

from vusniff import terminal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vusniff import`."""
    formats = parser.add_subparsers(dest="format", metavar="FORMAT", required=True, title="formats")
    strace = formats.add_parser(
        "strace",
        help="logs of strace, of either peer or of both",
        description="Turn logs of strace into a capture, with both directions, descriptors and threads.",
        epilog=(
            "Made best with: strace -f -yy -x -s 65536 -ttt -T -o LOG "
            "-e trace=network,read,write,readv,writev,close (-p PID, or a command)"
        ),
    )
    strace.add_argument(
        "files", nargs="+", metavar="FILE", help="logs of one run, also those of -ff; - is standard input"
    )
    strace.add_argument(
        "-o", "--output", required=True, metavar="OUT", help="the capture to write; - is standard output"
    )
    strace.add_argument("--force", action="store_true", help="replace OUT if it is there already")


def run(args: argparse.Namespace) -> int:
    """Import, and say on standard error what came of it."""
    from vusniff.files import check_output
    from vusniff.sources.strace.strace import import_strace

    replaces = b"" if args.force else None
    if args.output != "-":
        check_output(args.output, replaces)
    done = import_strace(args.files, args.output, replaces)
    left_out = f"; {done.left_out} other unix sockets left out" if done.left_out else ""
    found = f"{done.messages} messages on {done.connections} connections{left_out}"
    terminal.say(found, *done.notes)
    return 0
