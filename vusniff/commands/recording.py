"""What proxy and capture have in common: a source that records in a process of its own, and a view on its file.

What a view shows comes from the file, so a view can neither hold up the source nor know where messages come from. The
source is this program again with ``--quiet``; it says through a pipe when it has begun.
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
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import IO

from vusniff import terminal
from vusniff.commands.read import add_view_arguments, check_view_arguments
from vusniff.errors import SourceError


def add_recording_arguments(parser: argparse.ArgumentParser, file_help: str) -> None:
    """Where a source records to, and how that is shown."""
    parser.add_argument("-w", "--write", metavar="FILE", help=file_help)
    parser.add_argument("--tui", action="store_true", help="show the terminal view")
    add_view_arguments(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="show nothing, only record")
    parser.add_argument("--ready-fd", type=int, help=argparse.SUPPRESS)


def check_recording_arguments(args: argparse.Namespace) -> None:
    """Refuse before a source is started what it could not be shown with. Raises VusniffError."""
    check_view_arguments(args)
    if args.tui and not (sys.stdin.isatty() and sys.stderr.isatty()):  # the view paints on standard error
        raise SourceError("--tui needs a terminal: leave it out for text, or record with -q and view the file later")


@contextlib.contextmanager
def capture_file(wanted: str | None) -> Iterator[str]:
    """The capture's path; one that nobody named is made, told, and removed again when nothing came of it."""
    if wanted is not None:
        yield wanted
        return
    fd, path = tempfile.mkstemp(prefix="vusniff-", suffix=".pcapng")
    os.close(fd)
    terminal.say(f"recording to {path}")
    try:
        yield path
    finally:
        if not os.path.getsize(path):
            os.unlink(path)


def can_be_followed(file: str) -> bool:
    """Whether a view can read the file while it is written: not standard output, a FIFO or a device."""
    if file == "-":
        return False
    try:
        return stat.S_ISREG(os.stat(file).st_mode)
    except OSError:
        return True


def begun(args: argparse.Namespace) -> None:
    """Tell the process that waits for it, if one does, that the source has begun."""
    if args.ready_fd is not None:
        os.write(args.ready_fd, b"\n")
        os.close(args.ready_fd)


class Source:
    """The process that records."""

    def __init__(self, words: Sequence[str], log: IO[bytes] | None, by_pipe: bool) -> None:
        """Start ``vusniff WORDS`` and wait until it has begun or ended.

        ``log`` takes what it says. ``by_pipe``: it ends when a pipe does (``--until-fd``), because we may not be
        allowed to signal it any more; else by SIGTERM.
        """
        readable, writable = os.pipe()
        passed, self._until = [writable], None
        command = [sys.executable, "-m", "vusniff", *words[:1], "--quiet", "--ready-fd", str(writable)]
        if by_pipe:
            held, until = os.pipe()
            passed.append(held)
            command += ["--until-fd", str(held)]
            self._until = open(until, "wb", buffering=0)  # noqa: SIM115
        try:
            self.process = subprocess.Popen(
                [*command, *words[1:]],
                pass_fds=passed,
                # Standard output is the view's.
                stdin=subprocess.DEVNULL if log or by_pipe else None,
                stdout=log or sys.stderr.fileno(),
                stderr=log,
            )
        finally:
            for fd in passed:
                os.close(fd)
        with open(readable, "rb") as pipe:
            self.has_begun = bool(pipe.read(1))

    @property
    def has_ended(self) -> bool:
        """It writes no more."""
        return self.process.poll() is not None

    def end(self) -> None:
        """Ask it to end cleanly."""
        if self._until is not None:
            self._until.close()
        elif not self.has_ended:
            self.process.terminate()


def record_and_show(
    words: Sequence[str],
    file: str,
    args: argparse.Namespace,
    by_pipe: bool = False,
    before_view: Callable[[], None] = lambda: None,
) -> int:
    """Record with ``vusniff WORDS`` and show the capture as it grows; return the source's exit status.

    Text goes on until the source ends; who leaves the terminal view ends the source.
    """
    with tempfile.TemporaryFile() if args.tui else contextlib.nullcontext() as log:
        source = Source(words, log, by_pipe)
        with _interrupts_end(source):
            if source.has_begun:
                before_view()
                _show(source, file, args)
            if by_pipe:
                source.end()
            status = source.process.wait()
        if log is not None:
            log.seek(0)
            terminal.tell_lines(log.read().decode(errors="replace"))
    return status if status >= 0 else 128 - status


def _show(source: Source, file: str, args: argparse.Namespace) -> None:
    if args.tui:
        from vusniff.views.tui import run_tui

        try:
            run_tui(file, follow=True, device=args.device)
        finally:
            source.end()
        return
    from vusniff.commands.read import follow_file

    follow_file(file, args, lambda: source.has_ended)


@contextlib.contextmanager
def _interrupts_end(source: Source) -> Iterator[None]:
    """SIGINT and SIGTERM end the source; what it has recorded is still shown."""

    def end(_number: int, _frame: FrameType | None) -> None:
        source.end()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, action in before.items():
            signal.signal(number, action)
