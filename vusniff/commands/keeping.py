"""What a recording that goes on for weeks is written to: files that take turns, or one a session."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from vusniff.capture.bound import Bound
from vusniff.capture.compressed import ENDINGS
from vusniff.commands.recording import can_be_followed, some_size
from vusniff.commands.times import some_seconds
from vusniff.errors import SourceError

if TYPE_CHECKING:
    from vusniff.capture.output import DescriptorOutput
    from vusniff.capture.recording import Recording
    from vusniff.capture.writer import CaptureWriter
    from vusniff.commands.sampling_files import FilesSampling


def add_keeping_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of a recording in several files."""
    group = parser.add_argument_group("for long recordings, which are not shown")
    group.add_argument("-C", dest="turn_size", type=some_size, metavar="SIZE", help="begin the next file at this size")
    group.add_argument("-G", dest="turn_seconds", type=some_seconds, metavar="TIME", help="and after so long: 60, 1h")
    group.add_argument(
        "-W",
        dest="turn_files",
        type=int,
        metavar="N",
        help="with -C or -G: keep the newest N files. The files of -w FILE are numbered, or named by time where FILE "
        "has %%Y%%m%%d and so on (strftime); each begins with the messages that make up the present state",
    )
    group.add_argument(
        "--metrics",
        metavar="FILE",
        help="write numbers for Prometheus there: messages, sessions, reconnects, slow and missing answers, losses, "
        "findings by rule (for the textfile collector of node_exporter)",
    )
    group.add_argument("--files-fd", type=int, help=argparse.SUPPRESS)
    group.add_argument(
        "--per-session", metavar="DIR", help="one file a session in this directory, compressed at its end"
    )
    group.add_argument(
        "--keep", type=some_size, metavar="SIZE", help="with --per-session: remove the oldest files beyond it"
    )


def is_long(args: argparse.Namespace) -> bool:
    """Whether it is a recording in several files."""
    return args.per_session is not None or args.turn_size is not None or args.turn_seconds is not None


def check_keeping_arguments(args: argparse.Namespace) -> None:
    """Refuses what does not go together. Raises SourceError."""
    turns = args.turn_size is not None or args.turn_seconds is not None
    if args.turn_files is not None:
        from vusniff.capture.rotation import MOST_FILES

        if not turns:
            raise SourceError("-W says how many files of -C or -G stay: add one of these, or leave it out")
        if not 1 <= args.turn_files <= MOST_FILES:
            raise SourceError(f"-W {args.turn_files}: from 1 to {MOST_FILES} files")
    if args.keep is not None and args.per_session is None:
        raise SourceError("--keep is about the files of --per-session: add that, or leave it out")
    if args.metrics is not None:
        _check_metrics(args)
    if not is_long(args):
        return
    which = "--per-session" if args.per_session is not None else "-C" if args.turn_size is not None else "-G"
    for option, given in (
        ("--tui", args.tui),
        ("--json", args.json),
        ("--filter", args.filter is not None),
        ("--until", args.until is not None),
        ("--max-size", args.max_size is not None),
    ):
        if given:
            raise SourceError(f"{option} does not go with {which}, which only records: leave out one of the two")
    if args.per_session is not None:
        if args.write is not None or turns:
            what = "-w" if args.write is not None else "-C and -G"
            raise SourceError(f"--per-session names its files itself: leave out {what}")
    elif args.write is None or args.write == "-":
        raise SourceError(f"{which} needs a name for the files: add -w FILE.pcapng")
    elif args.rings is not None and args.write.endswith(ENDINGS):
        raise SourceError(f"--rings reads each file while it grows, and {args.write} is compressed: name plain files")


def _check_metrics(args: argparse.Namespace) -> None:
    from vusniff.commands.counting import check_metrics

    check_metrics(args.metrics)
    if args.per_session is not None:
        raise SourceError("--metrics reads one file after the other: use -w with -C or -G in place of --per-session")
    if args.tui or args.json or args.until is not None:
        raise SourceError("--metrics shows nothing: leave out --tui, --json and --until")
    if args.write is not None and not can_be_followed(args.write):
        raise SourceError(f"--metrics reads the capture while it grows, and {args.write} cannot be read: name a file")


def keeping_words(args: argparse.Namespace) -> list[str]:
    """For the source's command line."""
    words = []
    if args.turn_size is not None:
        words.append(f"-C{args.turn_size}")
    if args.turn_seconds is not None:
        words.append(f"-G{args.turn_seconds}")
    if args.turn_files is not None:
        words.append(f"-W{args.turn_files}")
    return words


def recording_of(
    args: argparse.Namespace, source: str, say: Callable[[str], None], sampling: FilesSampling | None
) -> Recording:
    """The files that are written to, and followed by what samples rings. Raises VusniffError."""
    from vusniff.capture.output import open_path
    from vusniff.capture.writer import CaptureWriter
    from vusniff.commands.counting import hand_over

    def begin(output: DescriptorOutput) -> CaptureWriter:
        if args.files_fd is not None:
            hand_over(args.files_fd, output.fileno())
        writer = CaptureWriter(output, source=source, bound=Bound(output.fileno(), output.name))
        if sampling is not None:
            sampling.begin(output, writer)
        return writer

    if args.per_session is not None:
        import sys

        from vusniff.capture.sessions import SessionFiles

        return SessionFiles(args.per_session, begin, sys.byteorder, say, args.keep)
    from vusniff.capture.rotation import FileNames, Rotation, Turn

    turn = Turn(args.turn_size, args.turn_seconds, args.turn_files)
    return Rotation(FileNames(args.write), turn, lambda path: begin(open_path(path)), say)
