"""``vusniff proxy``: stands in a vhost-user socket's way, passes everything on, records it and shows the record.
With fault rules it does not pass on all of it as it came: docs/faults.md.

The proxy runs in a process of its own, so that no view can hold up the traffic; views follow the file it writes. With
``--quiet`` or ``--record-only`` there is no view, and this process is the proxy.
"""

from __future__ import annotations

import argparse
import signal
from typing import TYPE_CHECKING

from vusniff.commands.faults import add_fault_arguments, fault_words, faults_of
from vusniff.commands.recording import (
    add_recording_arguments,
    begun,
    bound_of,
    can_be_followed,
    capture_file,
    check_descriptors,
    check_recording_arguments,
    max_size_words,
    note_of,
    quiet_words,
    record_and_show,
)
from vusniff.commands.sampling import add_ring_arguments, check_ring_arguments, ring_words, sampling_of
from vusniff.errors import SourceError
from vusniff.terminal import say

if TYPE_CHECKING:
    from vusniff.sources.host.endpoints import ProxySide
    from vusniff.sources.proxy.host import FaultHost


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``vusniff proxy``."""
    parser.usage = (
        "%(prog)s (--listen PATH | --connect PATH) (--listen PATH | --connect PATH) "
        "[--rule RULE] [--rules FILE] [-w FILE] [--max-size SIZE] [--rings[=HZ]] "
        "[--tui | --json | -v | -x | -q] [-- COMMAND ...]"
    )
    sides = parser.add_argument_group("sides", "Exactly two; @NAME is an abstract socket.")
    sides.add_argument(
        "--listen", action="append", default=[], metavar="PATH", help="listen here; a peer that connects is passed on"
    )
    sides.add_argument(
        "--connect", action="append", default=[], metavar="PATH", help="connect to the peer that listens here"
    )
    add_fault_arguments(parser)
    add_recording_arguments(parser, "the capture (default: a new file for temporary files)")
    add_ring_arguments(parser)
    parser.add_argument(
        "peer_command",
        metavar="COMMAND",
        nargs="*",
        help="start a peer once the sockets are there; the proxy ends after it, with its exit status",
    )


def run(args: argparse.Namespace) -> int:
    """Pass on and record until interrupted (0) or until COMMAND ends (its exit status)."""
    from vusniff.sources.host.endpoints import ProxySide

    sides = [ProxySide(True, path) for path in args.listen] + [ProxySide(False, path) for path in args.connect]
    if len(sides) != 2:
        raise SourceError("a proxy stands between two sides: give --listen PATH and --connect PATH, two in all")
    if args.quiet and (args.tui or args.json):
        raise SourceError("--quiet shows nothing: leave it out, or leave out --tui and --json")
    check_recording_arguments(args)
    check_ring_arguments(args)
    faults = faults_of(args, say, note_of(args))
    file = capture_file(args.write)
    if args.quiet or args.record_only or not can_be_followed(file):
        return _pass_on(sides, file, args, faults)
    words = ["proxy", "-w", file, *quiet_words(args), *fault_words(args), *max_size_words(args), *ring_words(args)]
    for path in args.listen:
        words += ["--listen", path]
    for path in args.connect:
        words += ["--connect", path]
    words += ["--", *args.peer_command] if args.peer_command else []
    if not args.tui or faults is None or faults.asker is None:
        return record_and_show(words, file, args)
    from vusniff.commands.holding import HoldClient

    client = HoldClient()
    words[1:1] = ["--hold-fd", str(client.theirs)]
    return record_and_show(words, file, args, holder=client)


def _pass_on(sides: list[ProxySide], file: str, args: argparse.Namespace, faults: FaultHost | None) -> int:
    """Be the proxy."""
    from vusniff.capture.output import open_path
    from vusniff.capture.writer import CaptureWriter
    from vusniff.sources.proxy.proxy import run_proxy

    check_descriptors(args.ready_fd, args.hold_fd)
    output = open_path(file)
    writer = CaptureWriter(output, source="proxy", bound=bound_of(output, args))
    sampling = sampling_of(args, output, say)
    status = run_proxy(
        sides, writer, args.peer_command, say, file, lambda: begun(args, output), sampling, faults, note_of(args)
    )
    if args.ready_fd is not None:
        # A view passes on the interrupt that this process may have had already from the terminal.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return status or int(writer.stopped is not None)
