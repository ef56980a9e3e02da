"""Starts programs for one test and ends every one of them, whatever happens.

Owns directories, processes, their output and their input. Knows no vhost-user and no program by name. Nothing here
sleeps for a time: each wait is for a fact, with a deadline that only a failure reaches.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

PATIENCE = 90.0
"""Seconds until a wait fails: far more than a slow machine with other work needs."""
LONGEST = 10 * PATIENCE
"""Seconds of a whole test, in which several things are waited for."""

CALLS = (
    "socketpair,bind,listen,accept,accept4,connect,close,shutdown,"
    "sendmsg,recvmsg,sendto,recvfrom,read,write,readv,writev"
)
STRACE = (
    *("strace", "-D", "-f", "--seccomp-bpf", "-ttt", "-yy", "-x", "-s", "65536"),
    *("-e", "signal=none", "-e", f"trace={CALLS}"),
)


class PeerError(AssertionError):
    """A fact that was waited for did not come; the message holds the end of the program's output."""


def wait_until(fact: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    """Ask again and again until the fact is true. For facts that nothing announces: a socket file, a counter."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not fact():
        if time.monotonic() > deadline:
            raise PeerError(f"not seen within {seconds:.0f} s: {what}")
        pause.wait(0.02)


LISTENING = "00010000"
"""The flags of a listening socket in /proc/net/unix: `__SO_ACCEPTCON` (kernel: net/unix/af_unix.c, unix_seq_show)."""


def listens(path: Path) -> bool:
    """Whether a unix socket at this path listens. Its file is there a moment earlier, and refuses."""
    for line in Path("/proc/net/unix").read_text(errors="surrogateescape").splitlines():
        fields = line.split(None, 7)
        if fields[3:4] == [LISTENING] and fields[7:] == [str(path)]:  # a name may hold a line end
            return True
    return False


def wait_for_socket(path: Path, process: Process) -> None:
    """Until the process listens at this path. Connecting to find out would be a connection too many."""
    wait_until(lambda: listens(path) or not process.running, f"a listening socket at {path}")
    if not listens(path):
        raise PeerError(f"{process.name} ended without a listening socket at {path}\n{process.tail()}")


class Process:
    """One running program, its output line by line."""

    def __init__(self, name: str, argv: Sequence[str], trace: Path | None, directory: Path) -> None:
        # The kernel ends it when this process dies, so that nothing outlives an interrupted test run.
        command = ["setpriv", "--pdeathsig", "KILL"]
        if trace is not None:
            command += [*STRACE, "-o", str(trace)]
        self.name = name
        self.trace = trace
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        self._log = directory / f"{name}.log"
        self._child = subprocess.Popen(
            [*command, *argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=directory,
        )
        self._reader = threading.Thread(target=self._read, name=f"output of {name}", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Its process number; under strace that of the traced program, not of the tracer."""
        return self._child.pid

    @property
    def running(self) -> bool:
        return self._child.poll() is None

    def _read(self) -> None:
        assert self._child.stdout is not None
        with self._log.open("wb") as log:
            for raw in self._child.stdout:
                log.write(raw)
                log.flush()
                with self._changed:
                    self.lines.append(raw.decode(errors="replace").rstrip("\r\n"))
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def count(self, pattern: str) -> int:
        """Lines of output so far that match."""
        return sum(1 for line in list(self.lines) if re.search(pattern, line))

    def wait_line(self, pattern: str, count: int = 1, seconds: float = PATIENCE) -> str:
        """The count-th line that matches, waited for."""

        def found() -> list[str]:
            return [line for line in self.lines if re.search(pattern, line)]

        with self._changed:
            self._changed.wait_for(lambda: len(found()) >= count or self._ended, seconds)
            lines = found()
        if len(lines) < count:
            raise PeerError(f"{self.name}: not seen ({count} times): {pattern}\n{self.tail()}")
        return lines[count - 1]

    def tail(self, lines: int = 25) -> str:
        """The end of its output, for a failure's message."""
        return "\n".join(f"{self.name}| {line}" for line in self.lines[-lines:])

    def tell(self, line: str) -> None:
        """Type one line into it."""
        assert self._child.stdin is not None
        self._child.stdin.write(line.encode() + b"\n")
        self._child.stdin.flush()

    def wait_exit(self, seconds: float = PATIENCE) -> int:
        """Its exit status, after all of its output (and its tracer's log) is written."""
        try:
            status = self._child.wait(seconds)
        except subprocess.TimeoutExpired:
            raise PeerError(f"{self.name} does not end\n{self.tail()}") from None
        self._reader.join(seconds)
        return status

    def send_signal(self, number: signal.Signals) -> None:
        self._child.send_signal(number)

    def end(self, seconds: float = 10) -> None:
        """Ask it to end, then make it."""
        if self.running:
            self._child.terminate()
            try:
                self._child.wait(seconds)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
        self._reader.join(seconds)
        for stream in (self._child.stdin, self._child.stdout):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    continue


class Stage:
    """A directory and the processes of one test; leaving it ends them in reverse order and removes the directory."""

    def __init__(self, directory: Path | None = None) -> None:
        # Not pytest's directory: a socket's path may have 107 bytes.
        self.directory = Path(tempfile.mkdtemp(prefix="vusniff-")) if directory is None else directory
        self.directory.mkdir(exist_ok=True)
        self._processes: list[Process] = []
        self._undo: list[Callable[[], None]] = []

    def __enter__(self) -> Stage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.end()
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)

    def end(self) -> None:
        """Ends the processes; the directory stays."""
        try:
            while self._undo:
                self._undo.pop()()
        finally:
            while self._processes:
                self._processes.pop().end()

    def path(self, name: str) -> Path:
        return self.directory / name

    def at_end(self, undo: Callable[[], None]) -> None:
        """Call this before the processes are ended."""
        self._undo.append(undo)

    def start(self, name: str, argv: Sequence[str], trace: Path | None = None) -> Process:
        """Start a program in the stage's directory; with a trace it runs under strace, which logs to that file."""
        process = Process(name, argv, trace, self.directory)
        self._processes.append(process)
        return process
