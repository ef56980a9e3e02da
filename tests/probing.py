"""Starts the probe as its user does, and reads what it recorded."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vusniff.capture.reader import CaptureReader
from vusniff.errors import SourceError
from vusniff.record import Closed, Connection, Exit, Frame, Lost


def why_no_probe() -> str | None:
    """What is missing for the probe, by name."""
    from vusniff.bpf.find import find_bcc
    from vusniff.bpf.kernel import missing_capabilities

    if os.geteuid() != 0:
        return "the probe's tests need root"
    if missing := missing_capabilities():
        return f"the probe needs {' and '.join(missing)}"
    if not Path("/sys/kernel/btf/vmlinux").exists():
        return "the probe needs /sys/kernel/btf/vmlinux"
    try:
        find_bcc()
    except SourceError as error:
        return str(error)
    return None


needs_probe = pytest.mark.skipif(
    why_no_probe() is not None and os.environ.get("CI") != "true", reason=str(why_no_probe())
)

MODE = os.environ.get("VUSNIFF_TEST_ATTACH")
"""How the tests attach; the first that works when nothing is said."""


class Recording:
    """A running capture. After `finish` it has been read."""

    def __init__(self, process: subprocess.Popen[str], path: Path) -> None:
        self.process = process
        self.path = path
        self.said = ""
        self.connections: list[Connection] = []
        self.frames: list[Frame] = []
        self.closed: list[Closed] = []
        self.lost: list[Lost] = []
        self.exits: list[Exit] = []

    def finish(self) -> None:
        """Interrupts it and reads its capture."""
        self.process.send_signal(signal.SIGCONT)
        self.process.send_signal(signal.SIGINT)
        self.said = self.process.communicate(timeout=120)[1]
        assert self.process.returncode in (0, 1), self.said
        assert "Traceback" not in self.said
        with CaptureReader(self.path) as reader:
            for record in reader.records():
                if isinstance(record, Connection):
                    self.connections.append(record)
                elif isinstance(record, Frame):
                    self.frames.append(record)
                elif isinstance(record, Closed):
                    self.closed.append(record)
                elif isinstance(record, Exit):
                    self.exits.append(record)
                elif isinstance(record, Lost):
                    self.lost.append(record)

    def wait_for_messages(self, path: str, count: int) -> None:
        """Until so many of the first end of a connection are in the file."""
        deadline = time.monotonic() + 60
        found = 0
        while found < count:
            assert time.monotonic() < deadline, f"{found} of {count} messages were written"
            time.sleep(0.02)
            with CaptureReader(self.path) as reader:
                frames = [record for record in reader.records() if isinstance(record, Frame) and record.end == 0]
                known = [one.id for one in reader.connections if one.path == path]
            found = sum(frame.connection in known for frame in frames)

    def data(self, end: int | None = None) -> list[bytes]:
        """The frames' bytes."""
        return [frame.data for frame in self.frames if end in (None, frame.end)]


@contextlib.contextmanager
def recording(path: Path, *words: str) -> Iterator[Recording]:
    """A capture to ``path`` that is attached."""
    readable, writable = os.pipe()
    command = [sys.executable, "-m", "vusniff", "capture", "--record-only", "-w", str(path), f"--ready-fd={writable}"]
    if MODE:
        command += ["--attach", MODE]
    process = subprocess.Popen([*command, *words], pass_fds=(writable,), stderr=subprocess.PIPE, text=True)
    os.close(writable)
    with open(readable, "rb") as pipe:
        attached = pipe.read(1)
    made = Recording(process, path)
    if not attached:
        raise AssertionError(process.communicate()[1])
    try:
        yield made
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def message(request: int, payload: bytes = b"", flags: int = 1) -> bytes:
    """A vhost-user message."""
    return struct.pack("=III", request, flags, len(payload)) + payload


def connected(path: str) -> tuple[socket.socket, socket.socket]:
    """A connection over a bound socket: the end that connected, the end that accepted."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        near = socket.socket(socket.AF_UNIX)
        near.connect(path)
        far, _ = listener.accept()
    return near, far
