"""`vusniff import`: logs that somebody attached to a bug report become a capture."""

from __future__ import annotations

import argparse
from pathlib import Path

from vusniff import terminal
from vusniff.amounts import counted
from vusniff.printable import escape

FORMATS = ("dpdk", "qemu-trace", "libvhost-user", "rust-vmm")
"""As `vusniff.sources.logs.reading.FORMATS`, which is not imported for a list of words."""


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
    _output(strace)
    log = formats.add_parser(
        "log",
        help="logs of DPDK, Open vSwitch, SPDK, QEMU's tracing, libvhost-user, rust-vmm, virtiofsd",
        description=(
            "Turn what peers wrote into their logs into a capture: messages as far as the log tells of them, and lines "
            "beside them. What a log does not tell is unknown."
        ),
        epilog="The format is recognised by content, whatever syslog, journald (also journalctl -o export), "
        "Open vSwitch or SPDK put in front of lines.",
    )
    log.add_argument("files", nargs="+", metavar="FILE", help="logs, merged by time; - is standard input")
    log.add_argument("--format", dest="words", choices=FORMATS, help="the format, where it is not recognised")
    log.add_argument(
        "--shift", metavar="SECONDS", default="0", help="add so much to the times of the logs, such as -3600"
    )
    log.add_argument(
        "--lines-only", action="store_true", help="leave out messages: to be read beside a capture that has them"
    )
    _output(log)


def _output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o", "--output", required=True, metavar="OUT", help="the capture to write; - is standard output"
    )
    parser.add_argument("--force", action="store_true", help="replace OUT if it is there already")


def run(args: argparse.Namespace) -> int:
    """Import, and say on standard error what came of it."""
    from vusniff.files import check_output

    replaces = b"" if args.force else None
    if args.output != "-":
        check_output(args.output, replaces)
    return _strace(args, replaces) if args.format == "strace" else _log(args, replaces)


def _strace(args: argparse.Namespace, replaces: bytes | None) -> int:
    from vusniff.sources.strace.strace import import_strace

    done = import_strace(args.files, args.output, replaces)
    left_out = f"; {done.left_out} other unix sockets left out" if done.left_out else ""
    terminal.say(
        f"{counted(done.messages, 'message')} on {counted(done.connections, 'connection')}{left_out}", *done.notes
    )
    return 0


def _log(args: argparse.Namespace, replaces: bytes | None) -> int:
    from vusniff.progress import reading
    from vusniff.sources.logs.importing import import_log

    shift_ns = shift(args.shift)
    with reading(args.files[0]) as progress:
        done = import_log(
            args.files,
            args.output,
            replaces,
            wanted=args.words,
            shift_ns=shift_ns,
            with_messages=not args.lines_only,
            progress=progress,
        )
    left_out = " left out" if args.lines_only else f" on {counted(done.connections, 'connection')}"
    lines = counted(done.lines, "other line")
    terminal.say(f"{counted(done.messages, 'message')}{left_out}, {lines}", *done.notes)
    return 0


def lines_beside(captures: list[str], logs: list[str], words: str | None, folder: str) -> list[str]:
    """Captures of the lines of logs, made in a folder, to be read beside captures that have the messages.

    Without ``words`` each log is put on the captures' clock by messages found in both, and what was found is said.
    """
    from vusniff.errors import SourceError
    from vusniff.sources.logs.clock import estimate, window
    from vusniff.sources.logs.importing import import_log

    if pipe := next((one for one in (*captures, *logs) if one == "-" or Path(one).is_fifo()), None):
        shown = "- (standard input)" if pipe == "-" else escape(pipe)
        raise SourceError(f"--log: give the capture and the logs as files; {shown} cannot be read twice")
    made = []
    for number, log in enumerate(logs, 1):
        if words is not None:
            shift_ns = shift(words)
        elif found := estimate(captures, log):
            shift_ns = found.ns
            in_both = counted(found.messages, "message")
            terminal.say(f"{escape(log)}: {shift_ns / 1e9:+.6f} s, by {in_both} found in both; --shift says otherwise")
        else:
            shift_ns = 0
            terminal.say(f"{escape(log)}: no messages found in both, so its times are taken as they are; see --shift")
        made.append(f"{folder}/log{number}.pcapng")
        import_log([log], made[-1], shift_ns=shift_ns, with_messages=False, window=window(captures))
    return made


def shift(words: str) -> int:
    """Nanoseconds of ``--shift SECONDS``. Raises SourceError for what is none."""
    import re

    from vusniff.errors import SourceError

    if not re.fullmatch(r"[+-]?\d{1,10}(\.\d{1,9})?", words):
        raise SourceError(f"--shift {escape(words)[:40]}: give seconds, such as 3600 or -0.25")
    whole, _, part = words.lstrip("+-").partition(".")
    value = int(whole) * 1_000_000_000 + int(part.ljust(9, "0") or 0)
    return -value if words.startswith("-") else value
