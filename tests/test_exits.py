"""How the peers of a proxy end: real processes, killed and not, and what the capture says of them."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vusniff.capture.reader import CaptureReader
from vusniff.record import Closed, Connection, End, Exit, Frame
from vusniff.sources.host.endpoints import peer_process
from vusniff.sources.proxy import exits
from vusniff.sources.proxy.loop import Loop
from vusniff.sources.proxy.open_files import OpenFiles

PATIENCE = 30.0
REQUEST = struct.pack("=III", 1, 1, 0)
ANSWER = struct.pack("=IIIQ", 1, 5, 8, 0)
HEAD = "import os,signal,socket,sys,time;s=socket.socket(socket.AF_UNIX)\n"
FRONT = HEAD + (
    "while True:\n"
    "    try: s.connect(sys.argv[1]); break\n"
    "    except OSError: time.sleep(0.01)\n"
    f"s.send({REQUEST!r}); s.recv(20)\n"
)
BACK = HEAD + (
    f"s.bind(sys.argv[1]); s.listen(); print('there', flush=True); c=s.accept()[0]; c.recv(12); c.send({ANSWER!r})\n"
)
TELLS = tuple(map(int, os.uname().release.split(".")[:2])) >= (6, 15)
"""The kernel says of any process how it ended."""


def until(fact: Callable[[], object]) -> None:
    """Waits for a fact that nothing announces."""
    deadline = time.monotonic() + PATIENCE
    while not fact():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.005)


@contextmanager
def program(text: str, *words: object) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", text, *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def backend(path: Path, then: str) -> Iterator[subprocess.Popen[str]]:
    """A back-end that listens, answers one request, and does something."""
    with program(BACK + then, path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"
        yield process


@contextmanager
def proxy(tmp_path: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    words = ["proxy", "-q", "--listen", str(tmp_path / "front"), "--connect", str(tmp_path / "back")]
    more = ["--", *command] if command else []
    process = subprocess.Popen([sys.executable, "-m", "vusniff", *words, "-w", str(tmp_path / "c.pcapng"), *more])
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.wait(PATIENCE)


def records(tmp_path: Path) -> list[object]:
    with CaptureReader(tmp_path / "c.pcapng") as reader:
        return list(reader.records())


def told(tmp_path: Path) -> list[Exit]:
    return [one for one in records(tmp_path) if isinstance(one, Exit)]


@pytest.mark.parametrize(
    ("then", "status", "number"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", None, signal.SIGKILL),
        ("os.kill(os.getpid(), signal.SIGSYS)", None, signal.SIGSYS),
        ("os._exit(3)", 3, None),
        ("s.close(); os._exit(0)", 0, None),
    ],
)
def test_our_own_child_ends(tmp_path: Path, then: str, status: int | None, number: int | None) -> None:
    command = sys.executable, "-c", FRONT + then, str(tmp_path / "front")
    with backend(tmp_path / "back", "c.recv(1)"), proxy(tmp_path, *command) as process:
        process.wait(PATIENCE)
    (front,) = [one for one in told(tmp_path) if one.ends == ((1, 0),)]
    assert (front.status, front.signal) == (status, number)
    assert front.comm.startswith("python")
    seen = [type(one) for one in records(tmp_path)]
    assert seen.index(Exit) > len(seen) - 1 - seen[::-1].index(Frame), "what it had said stands before its end"
    (closed,) = [one for one in records(tmp_path) if isinstance(one, Closed)]
    assert closed.by == 0


def test_how_a_process_of_others_ended(tmp_path: Path) -> None:
    with (
        proxy(tmp_path),
        backend(tmp_path / "back", "c.recv(1)") as killed,
        program(FRONT + "s.recv(1)", tmp_path / "front"),
    ):
        until(lambda: len([one for one in records_or_none(tmp_path) if isinstance(one, Frame)]) == 2)
        killed.send_signal(signal.SIGKILL)
        killed.wait(PATIENCE)
        until(lambda: any(isinstance(one, Exit) and one.ends == ((1, 1),) for one in records_or_none(tmp_path)))
    (back,) = [one for one in told(tmp_path) if one.ends == ((1, 1),)]
    assert back.pid == killed.pid
    assert (back.status, back.signal, back.dumped_core) == ((None, 9, False) if TELLS else (None, None, None))


def records_or_none(tmp_path: Path) -> list[object]:
    return records(tmp_path) if (tmp_path / "c.pcapng").exists() and (tmp_path / "c.pcapng").stat().st_size else []


def test_a_living_process_that_hangs_up_has_not_ended(tmp_path: Path) -> None:
    front = program(FRONT + "s.recv(1); time.sleep(60)", tmp_path / "front")
    with proxy(tmp_path), backend(tmp_path / "back", "c.close(); time.sleep(60)") as back, front:
        until(lambda: any(isinstance(one, Closed) for one in records_or_none(tmp_path)))
        assert back.poll() is None
        assert told(tmp_path) == []


def test_whose_child_holds_the_connection_has_not_ended_it(tmp_path: Path) -> None:
    front = program(FRONT + "s.recv(1); time.sleep(60)", tmp_path / "front")
    with proxy(tmp_path) as process, backend(tmp_path / "back", "os.fork() and os._exit(0)\nc.recv(1)") as back, front:
        until(lambda: back.poll() is not None)
        until(lambda: len([one for one in records_or_none(tmp_path) if isinstance(one, Frame)]) == 2)
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE)
    assert [type(one) for one in records(tmp_path) if not isinstance(one, Frame)] == [Connection, Closed]


def test_the_end_of_a_process_is_told_once(tmp_path: Path) -> None:
    path, loop = tmp_path / "s", Loop()
    told: list[Exit] = []
    watched = exits.Exits(loop, OpenFiles(), told.append)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with program(FRONT, path) as process, listener.accept()[0] as sock:
            watched.hold(Connection(1, str(path), (End(None, peer_process(sock)), End())), (sock, sock), True)
            process.kill()
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            watched.release(1)
            watched.end()
            watched.end()
    loop.close()
    assert [(one.pid, one.signal, one.ends) for one in told] == [(process.pid, 9, ((1, 0),))]


@pytest.mark.parametrize(
    ("status", "how"),
    [(0, (0, None, None)), (0x0300, (3, None, None)), (9, (None, 9, False)), (0x8B, (None, 11, True))],
)
def test_a_wait_status_in_words(status: int, how: exits.How) -> None:
    assert exits.decoded(status) == how


def test_a_pid_without_a_pidfd_of_the_kernel_is_believed_while_its_socket_is_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exits, "SO_PEERPIDFD", 0x7FFF)  # as before Linux 6.5
    near, far = socket.socketpair()
    with near, far:
        pidfd = exits.pidfd_of(near, os.getpid())
        assert pidfd is not None
        os.close(pidfd)
        far.close()
        assert exits.pidfd_of(near, os.getpid()) is None
