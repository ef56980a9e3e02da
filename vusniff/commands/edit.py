"""``vusniff edit``: a changed copy of a capture, to replay bad input from."""

from __future__ import annotations

import argparse

from vusniff import terminal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``vusniff edit``."""
    parser.epilog = (
        "N counts messages of FILE, whatever is dropped or repeated. FIELD is a field of the payload as read -v shows "
        "it (num, regions[0].size), a field of the header (request, flags, size), payload (all of it, in hex) or fds "
        "(none). Where header and payload have the same field, say header.FIELD or payload.FIELD. Nothing else is made "
        "to fit, but for the size in the header when the payload gets another length."
    )
    parser.add_argument("file", metavar="FILE", help="the capture")
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="the changed copy; - is standard output")
    parser.add_argument("--force", action="store_true", help="replace OUT if it is there already")
    parser.add_argument("--session", type=int, metavar="N", help="keep only session N")
    changes = parser.add_argument_group("changes", "Each may be given more than once.")
    for option, metavar, words in (
        ("drop", "N", "leave message N out, and the reply to it"),
        ("set", "N.FIELD=VALUE", "another value, such as 12.num=1024, 12.flags=0x11, 12.payload=00ff, 12.fds=none"),
        ("delay", "N=TIME", "message N and all after it come later, by 2s or 500ms (replay with --speed 1)"),
        ("repeat", "N[=COUNT]", "send message N once more, or COUNT times"),
    ):
        changes.add_argument(f"--{option}", action="append", default=[], metavar=metavar, help=words)


def run(args: argparse.Namespace) -> int:
    """Write the copy, and say on standard error what came of it."""
    from vusniff.analysis.timeline import Timeline, read_all
    from vusniff.capture.index import Index
    from vusniff.progress import reading, tell
    from vusniff.replay.edit import Edits, edit

    edits = Edits(args.session)
    for words, take in (
        (args.drop, edits.drop),
        (args.set, edits.change),
        (args.delay, edits.delay),
        (args.repeat, edits.repeat),
    ):
        for word in words:
            take(word)
    with Index(args.file) as index:
        timeline = Timeline(index)
        with reading(args.file) as progress:
            read_all(timeline, progress)
        tell(index.notes)
        done = edit(timeline, args.file, args.output, edits, b"" if args.force else None)
    terminal.say(f"{done.read} messages read, {done.written} written to {args.output}")
    return 0
