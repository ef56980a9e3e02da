"""``vusniff proxy``: stands in a vhost-user socket's way, passes everything on, records it and shows the record.

The proxy runs in a process of its own, so that no view can hold up the traffic; views follow the file it writes. With
``--quiet`` there is no view, and this process is the proxy.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from types import FrameType
from typing import IO, TYPE_CHECKING

from vusniff.commands.read import add_view_arguments
from vusniff.errors import SourceError

if TYPE_CHECKING:
    from vusniff.capture.endpoints import Side


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``vusniff proxy``."""
    parser.usage = (
        "%(prog)s (--listen PATH | --connect PATH) (--listen PATH | --connect PATH) "
        "[-w FILE] [--tui | --json | -v | -x | -q] [-- COMMAND ...]"
    )
    sides = parser.add_argument_group("sides", "Exactly two; @NAME is an abstract socket.")
    sides.add_argument(
        "--listen", action="append", default=[], metavar="PATH", help="listen here; a peer that connects is passed on"
    )
    sides.add_argument(
        "--connect", action="append", default=[], metavar="PATH", help="connect to the peer that listens here"
    )
    parser.add_argument("-w", "--write", metavar="FILE", help="the capture (default: a new file for temporary files)")
    parser.add_argument("--tui", action="store_true", help="show the terminal view")
    add_view_arguments(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="show nothing, only record")
    parser.add_argument("--ready-fd", type=int, help=argparse.SUPPRESS)
    parser.add_argument(
        "peer_command",
        metavar="COMMAND",
        nargs="*",
        help="start a peer once the sockets are there; the proxy ends after it, with its exit status",
    )


def run(args: argparse.Namespace) -> int:
    """Pass on and record until interrupted (0) or until COMMAND ends (its exit status)."""
    from vusniff.capture.endpoints import Side

    sides = [Side(True, path) for path in args.listen] + [Side(False, path) for path in args.connect]
    if len(sides) != 2:
        raise SourceError("a proxy stands between two sides: give --listen PATH and --connect PATH, two in all")
    if args.quiet and (args.tui or args.json):
        raise SourceError("--quiet shows nothing: leave it out, or leave out --tui and --json")
    with _capture_file(args.write) as file:
        if args.quiet or not _can_be_followed(file):
            return _pass_on(sides, file, args)
        return _pass_on_and_show(file, args)


def _pass_on(sides: list[Side], file: str, args: argparse.Namespace) -> int:
    """Be the proxy."""
    from vusniff.capture.proxy import run_proxy
    from vusniff.capture.writer import CaptureWriter

    def ready() -> None:
        if args.ready_fd is not None:
            os.write(args.ready_fd, b"\n")
            os.close(args.ready_fd)

    status = run_proxy(sides, CaptureWriter(file, source="proxy"), args.peer_command, _say, file, ready)
    if args.ready_fd is not None:
        # A view passes on the interrupt that this process may have had already from the terminal.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return status


def _pass_on_and_show(file: str, args: argparse.Namespace) -> int:
    """Start the proxy in a process of its own, and show what it records."""
    with tempfile.TemporaryFile() if args.tui else contextlib.nullcontext() as log:
        child, is_ready = _start_proxy(file, args, log)
        with _interrupts_to(child):
            if is_ready:
                show(file, args, child)
            status = child.wait()
        if log is not None:
            log.seek(0)
            sys.stderr.write(log.read().decode(errors="replace"))
    return status if status >= 0 else 128 - status


def show(file: str, args: argparse.Namespace, child: subprocess.Popen[bytes]) -> None:
    """Show the capture as it grows. Text goes on until the proxy ends; who leaves the terminal view ends the proxy."""
    if args.tui:
        from vusniff.views.tui import run_tui

        try:
            run_tui([file], follow=True, device=args.device)
        finally:
            if child.poll() is None:
                child.terminate()
        return
    from vusniff.commands.read import follow_file

    follow_file(file, args, lambda: child.poll() is not None)


def _start_proxy(file: str, args: argparse.Namespace, log: IO[bytes] | None) -> tuple[subprocess.Popen[bytes], bool]:
    """The proxy's process, and whether it got as far as listening; ``log`` takes its words and its command's."""
    readable, writable = os.pipe()
    words = [sys.executable, "-m", "vusniff", "proxy", "--quiet", "-w", file, "--ready-fd", str(writable)]
    for path in args.listen:
        words += ["--listen", path]
    for path in args.connect:
        words += ["--connect", path]
    if args.peer_command:
        words += ["--", *args.peer_command]
    try:
        child = subprocess.Popen(
            words,
            pass_fds=(writable,),
            # Standard output is the view's.
            stdin=subprocess.DEVNULL if log else None,
            stdout=log or sys.stderr.fileno(),
            stderr=log,
        )
    finally:
        os.close(writable)
    with open(readable, "rb") as pipe:
        return child, bool(pipe.read(1))


@contextlib.contextmanager
def _interrupts_to(child: subprocess.Popen[bytes]) -> Iterator[None]:
    """SIGINT and SIGTERM end the proxy; what it has recorded is still shown."""

    def end(_number: int, _frame: FrameType | None) -> None:
        if child.poll() is None:
            child.terminate()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, action in before.items():
            signal.signal(number, action)


@contextlib.contextmanager
def _capture_file(wanted: str | None) -> Iterator[str]:
    """The capture's path; one that nobody named is made, told, and removed again when nothing came of it."""
    if wanted is not None:
        yield wanted
        return
    fd, path = tempfile.mkstemp(prefix="vusniff-", suffix=".pcapng")
    os.close(fd)
    _say(f"recording to {path}")
    try:
        yield path
    finally:
        if not os.path.getsize(path):
            os.unlink(path)


def _can_be_followed(file: str) -> bool:
    """Whether a view can read the file while it is written: not standard output, a FIFO or a device."""
    if file == "-":
        return False
    try:
        return stat.S_ISREG(os.stat(file).st_mode)
    except OSError:
        return True


def _say(sentence: str) -> None:
    print(f"vusniff: {sentence}", file=sys.stderr, flush=True)
