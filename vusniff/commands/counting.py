"""``vusniff capture --metrics``: counts what the probe records, and writes the numbers for Prometheus.

The probe is a process of its own and hands over a descriptor of each file that it makes. This process has given up its
privileges by then: it reads what others have said.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from vusniff import files
from vusniff.child import command
from vusniff.commands.viewer import choose, step_down
from vusniff.errors import OutputError, SourceError

WRITE_SECONDS = 10.0
"""Between two writes of the numbers."""
LOOK_SECONDS = 0.5
ROWS = 4096


def check_metrics(path: str) -> None:
    """Refuses a file that could not be written by the end. Raises `OutputError`."""
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise OutputError(f"--metrics {path}: there is no directory {folder}")


def record_and_count(words: Sequence[str], metrics: str) -> int:
    """Record with ``vusniff WORDS`` until interrupted or until it ends; return its exit status."""
    user = choose(False)
    ours, theirs = socket.socketpair()
    held, writable = os.pipe()
    until = open(writable, "wb", buffering=0)  # noqa: SIM115
    passed = [theirs.detach(), held]
    try:
        options = ["--record-only", "--files-fd", str(passed[0]), "--until-fd", str(held)]
        source = subprocess.Popen(command(*words[:1], *options, *words[1:]), pass_fds=passed, stdin=subprocess.DEVNULL)
    finally:
        for fd in passed:
            os.close(fd)

    def end(_number: int, _frame: FrameType | None) -> None:
        until.close()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    try:
        step_down(user)
        _count(ours, Path(metrics))
    finally:
        end(0, None)
        status = source.wait()
    return status if status >= 0 else 128 - status


def _count(source: socket.socket, metrics: Path) -> None:
    """Read each file that the source hands over, to its end."""
    from vusniff.capture.reader import CaptureReader
    from vusniff.checks.registry import rules
    from vusniff.views.metrics import MARK, Counts

    counts = Counts(rules())
    due = 0.0

    def write(at_end: bool = False) -> None:
        nonlocal due
        if not at_end and time.monotonic() < due:
            return
        due = time.monotonic() + WRITE_SECONDS
        try:
            files.install(metrics, counts.text(), 0o644, MARK)
        except OutputError as error:
            raise SourceError(f"--metrics: {error}") from None

    fd = _next(source)
    while fd is not None:
        following: int | None = None
        ended = False
        with CaptureReader(f"/proc/self/fd/{fd}") as reader:
            while True:
                batch = reader.read(ROWS)
                if len(batch) or batch.events:
                    counts.take(batch, reader.order)
                elif ended:
                    break
                elif select.select([source], [], [], LOOK_SECONDS)[0]:
                    following, ended = _next(source), True  # the rest of this file was written before
                write()
        os.close(fd)
        fd = following
        if fd is not None:
            counts.next_file()
    write(at_end=True)


def _next(source: socket.socket) -> int | None:
    """The next file, waited for; None when the source has ended."""
    said, fds, _, _ = socket.recv_fds(source, 1, 1, socket.MSG_CMSG_CLOEXEC)
    return fds[0] if said and fds else None


def hand_over(socket_fd: int, file: int) -> None:
    """For the source: gives a descriptor to read a file by to the process that counts. Never raises."""
    with contextlib.suppress(OSError):
        readable = os.open(f"/proc/self/fd/{file}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            with socket.socket(fileno=os.dup(socket_fd)) as counting:
                socket.send_fds(counting, [b"\n"], [readable])
        finally:
            os.close(readable)
