"""What proxy and capture have in common: a source that records in a process of its own, and a view on its file.

What a view shows comes from the file, so a view can neither hold up the source nor know where messages come from. The
source is this program again with ``--record-only``; it says through a pipe when it has begun.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import IO, TYPE_CHECKING

from vusniff import terminal
from vusniff.capture.bound import Bound, size_of
from vusniff.capture.compressed import ENDINGS
from vusniff.capture.output import DescriptorOutput
from vusniff.child import command
from vusniff.commands.read import add_view_arguments, check_view_arguments
from vusniff.errors import CaptureError, SourceError
from vusniff.files import descriptor_of

if TYPE_CHECKING:
    from vusniff.commands.holding import HoldClient


def add_recording_arguments(parser: argparse.ArgumentParser, file_help: str) -> None:
    """Where a source records to, and how that is shown."""
    parser.add_argument("-w", "--write", metavar="FILE", help=file_help)
    parser.add_argument(
        "--max-size",
        type=some_size,
        metavar="SIZE",
        help="stop recording at this size, such as 500M; without it, or where that much is not free, recording stops "
        "when the file system has less than 1 GiB or 5 %% free, whichever is smaller. Exit status is 1 then",
    )
    parser.add_argument("--tui", action="store_true", help="show the terminal view")
    add_view_arguments(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="only record, and print nothing but errors")
    parser.add_argument("--record-only", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--ready-fd", type=int, help=argparse.SUPPRESS)


def check_recording_arguments(args: argparse.Namespace) -> None:
    """Refuse before a source is started what it could not be shown with. Raises VusniffError."""
    check_view_arguments(args)
    if args.quiet and args.write is None and getattr(args, "per_session", None) is None:
        raise SourceError("--quiet does not say where the capture is: add -w FILE, or leave out --quiet")
    if args.tui and not (sys.stdin.isatty() and sys.stderr.isatty()):  # the view paints on standard error
        raise SourceError("--tui needs a terminal: leave it out for text, or record with -q and view the file later")


def some_size(words: str) -> int:
    """Bytes of 500M and the like. Raises `argparse.ArgumentTypeError`."""
    try:
        return size_of(words)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def max_size_words(args: argparse.Namespace) -> list[str]:
    """For the source's command line."""
    return [] if args.max_size is None else [f"--max-size={args.max_size}"]


def bound_of(output: DescriptorOutput, args: argparse.Namespace) -> Bound:
    """How large the capture may become."""
    return Bound(output.fileno(), output.name, args.max_size)


def note_of(args: argparse.Namespace) -> Callable[[str], None]:
    """What takes sentences that are no errors: with ``--quiet`` nobody reads them."""
    return (lambda _: None) if args.quiet else terminal.say


def quiet_words(args: argparse.Namespace) -> list[str]:
    """For the source's command line."""
    return ["--quiet"] if args.quiet else []


def capture_file(wanted: str | None) -> str:
    """The capture's path; where nobody named one, that of a new file for temporary files, which is told."""
    if wanted is not None:
        return wanted
    path = os.path.join(tempfile.gettempdir(), f"vusniff-{secrets.token_hex(4)}.pcapng")
    terminal.say(f"recording to {path}")
    return path


def can_be_followed(file: str) -> bool:
    """Whether a view can read the file while it is written: not standard output, a FIFO, a device, or compressed."""
    if file == "-" or file.endswith(ENDINGS) or descriptor_of(file) is not None:
        return False
    try:
        return stat.S_ISREG(os.stat(file).st_mode)
    except OSError:
        return True


def check_descriptors(*numbers: int | None) -> None:
    """Refuse descriptors that are not open before anything begins. Raises SourceError."""
    for number in numbers:
        if number is not None:
            try:
                os.fstat(number)
            except (OSError, OverflowError):
                raise SourceError(f"descriptor {number} is not open") from None


def begun(args: argparse.Namespace, output: DescriptorOutput) -> None:
    """Tell the process that waits for it, if one does, that the source has begun, and hand it the capture to read.

    So the view never looks for the file by its name, which may lead elsewhere by then.
    """
    if args.ready_fd is None:
        return
    if not stat.S_ISSOCK(os.fstat(args.ready_fd).st_mode):
        os.write(args.ready_fd, b"\n")
        os.close(args.ready_fd)
        return
    with socket.socket(fileno=args.ready_fd) as waiting:
        readable = f"/proc/self/fd/{output.fileno()}"
        fds = [os.open(readable, os.O_RDONLY | os.O_CLOEXEC)] if output.made else []
        socket.send_fds(waiting, [b"\n"], fds)
        for fd in fds:
            os.close(fd)


class RecordingProcess:
    """The process that records."""

    def __init__(self, words: Sequence[str], log: IO[bytes] | None, by_pipe: bool, *given: int) -> None:
        """Start ``vusniff WORDS`` and wait until it has begun or ended.

        ``log`` takes what it says; ``given`` are descriptors for it, which are closed here. ``by_pipe``: it ends when a
        pipe does (``--until-fd``), because we may not be allowed to signal it any more; else by SIGTERM.
        """
        ours, theirs = socket.socketpair()
        passed, self._until = [theirs.detach(), *given], None
        options = ["--record-only", "--ready-fd", str(passed[0])]
        if by_pipe:
            held, until = os.pipe()
            passed.append(held)
            options += ["--until-fd", str(held)]
            self._until = open(until, "wb", buffering=0)  # noqa: SIM115
        try:
            self.process = subprocess.Popen(
                command(*words[:1], *options, *words[1:]),
                pass_fds=passed,
                # Standard output is the view's.
                stdin=subprocess.DEVNULL if log or by_pipe else None,
                stdout=log or sys.stderr.fileno(),
                stderr=log,
            )
        finally:
            for fd in passed:
                os.close(fd)
        with ours:
            said, fds, _, _ = socket.recv_fds(ours, 1, 1, socket.MSG_CMSG_CLOEXEC)
        self.has_begun = bool(said)
        self.capture = fds[0] if fds else None
        """A descriptor to read the capture by; None where it turned out to be no file that can be read."""

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
    holder: HoldClient | None = None,
) -> int:
    """Record with ``vusniff WORDS`` and show the capture as it grows; return the source's exit status.

    Text goes on until the source ends; who leaves the terminal view ends the source. ``holder`` is what the terminal
    view is told through of messages that a rule holds.
    """
    with tempfile.TemporaryFile() if args.tui else contextlib.nullcontext() as log:
        source = RecordingProcess(words, log, by_pipe, *([] if holder is None else [holder.theirs]))
        with _interrupts_end(source):
            if source.has_begun and source.capture is not None:
                before_view()
                _show(source, file, args, holder)
            if by_pipe:
                source.end()
            status = source.process.wait()
        if log is not None:
            log.seek(0)
            terminal.tell_lines(log.read().decode(errors="replace"))
    return status if status >= 0 else 128 - status


def _show(source: RecordingProcess, file: str, args: argparse.Namespace, holder: HoldClient | None) -> None:
    path = f"/proc/self/fd/{source.capture}"
    try:
        if args.tui:
            from vusniff.views.tui import run_tui

            try:
                run_tui(path, follow=True, device=args.device, title=os.path.basename(file), holder=holder)
            finally:
                source.end()
            return
        from vusniff.commands.read import follow_file

        follow_file(path, args, lambda: source.has_ended)
    except CaptureError as error:
        raise CaptureError(str(error).replace(path, file)) from error


@contextlib.contextmanager
def _interrupts_end(source: RecordingProcess) -> Iterator[None]:
    """SIGINT and SIGTERM end the source; what it has recorded is still shown."""

    def end(_number: int, _frame: FrameType | None) -> None:
        source.end()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, action in before.items():
            signal.signal(number, action)
