"""``vusniff symbolize``: names for the call stacks of a capture, on a machine that has the debug files."""

from __future__ import annotations

import argparse
import os

from vusniff import terminal

_MISSING = 8
"""Files without a debug file that are named."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``vusniff symbolize``."""
    parser.epilog = (
        "A capture made with --stacks keeps of each call the build-id of its file and the address in it, so that names "
        "can be added anywhere. Debug files are looked for by build-id below --debug-dir and /usr/lib/debug. The copy "
        "has the same messages; comments of packets are not copied."
    )
    parser.add_argument("file", metavar="FILE", help="the capture")
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="the copy; - is standard output")
    parser.add_argument("--force", action="store_true", help="replace OUT if it is there already")
    parser.add_argument("--debug-dir", action="append", default=[], metavar="DIR", help="debug files, before others")
    parser.add_argument("--debuginfod", action="store_true", help="ask the servers of DEBUGINFOD_URLS for debug files")


def run(args: argparse.Namespace) -> int:
    """Write the copy, and say what was found."""
    from dataclasses import replace

    from vusniff.capture.reader import CaptureReader
    from vusniff.capture.writer import CaptureWriter
    from vusniff.errors import CaptureError
    from vusniff.files import check_output
    from vusniff.printable import escape
    from vusniff.progress import tell
    from vusniff.record import Frame, Stack
    from vusniff.sources.stacks.symbols import Symbols
    from vusniff.views.export.annotated import copy_record

    replaces = b"" if args.force else None
    if args.output != "-":
        if os.path.exists(args.output) and os.path.samefile(args.file, args.output):
            raise CaptureError(f"{args.output} is the capture itself: name another file for the copy")
        check_output(args.output, replaces)
    symbols = Symbols(args.debug_dir, args.debuginfod)
    named: dict[str, Stack] = {}
    with CaptureReader(args.file) as reader:
        batches = reader.batches()
        first = next(batches, None)
        section = next((one for one in reader.sections if one.ours), None) or reader.sections[0]
        writer = CaptureWriter(
            args.output,
            source=section.source,
            replaces=replaces,
            order=section.order,
            host=section.host,
            edited=section.edited,
            keeps_ended=True,
        )
        with writer:
            while first is not None:
                for record in first.records():
                    if isinstance(record, Frame) and record.stack is not None:
                        stack = named.get(record.stack.id)
                        if stack is None:
                            stack = named[record.stack.id] = symbols.named(record.stack)
                        record = replace(record, facts=replace(record.facts, stack=stack))
                    copy_record(writer, record)
                writer.flush()
                first = next(batches, None)
        if writer.failure:
            raise CaptureError(writer.failure.partition(";")[0])
        tell(reader.notes)
    entries = [entry for stack in named.values() for entry in stack.entries]
    if not entries:
        terminal.say("there are no call stacks in it: record with vusniff capture --stacks")
        return 0
    functions, sources = sum(bool(one.function) for one in entries), sum(bool(one.source) for one in entries)
    terminal.say(f"{len(named)} stacks with {len(entries)} entries: {functions} have a name, {sources} a source line")
    for build_id, name in list(symbols.missing.items())[:_MISSING]:
        terminal.say(f"no debug file for {escape(name)}, build-id {build_id}")
    return 0
