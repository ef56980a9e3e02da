"""The proxy as a process of its own between real peers: how it starts, waits, joins, reconnects and ends."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from silent import SilentFile

from vusniff.analysis.timeline import Timeline, read_all
from vusniff.capture.index import Index
from vusniff.capture.reader import CaptureReader
from vusniff.capture.writer import CaptureWriter
from vusniff.errors import SourceError
from vusniff.families.vhost_user.protocol import MAX_FDS
from vusniff.record import Closed, Connection, Frame, FrameKind
from vusniff.sources.host.endpoints import ProxySide
from vusniff.sources.proxy.proxy import FILES_LIMIT, WAITING_LIMIT, run_proxy

PATIENCE = 30.0
PAYLOAD = bytes(8)


def message(request: int, payload: bytes = PAYLOAD, flags: int = 1) -> bytes:
    return struct.pack("=III", request, flags, len(payload)) + payload


REQUEST, REPLY = message(12), message(12, flags=5)


def until(fact: Callable[[], object]) -> None:
    """Waits for a fact that nothing announces."""
    deadline = time.monotonic() + PATIENCE
    while not fact():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.005)


def listening(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen()
    sock.settimeout(PATIENCE)
    return sock


def connected(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(PATIENCE)

    def through() -> bool:
        try:
            sock.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        return True

    until(through)
    return sock


def accepted(listener: socket.socket) -> socket.socket:
    sock = listener.accept()[0]
    sock.settimeout(PATIENCE)
    return sock


def read(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := sock.recv(size - len(data))):
        data += more
    return data


def talk(frontend: socket.socket, backend: socket.socket, times: int = 1) -> None:
    """Requests and replies, with a descriptor each way to and fro."""
    for _ in range(times):
        frontend.send(REQUEST)
        assert read(backend, len(REQUEST)) == REQUEST
        backend.send(REPLY)
        assert read(frontend, len(REPLY)) == REPLY


def records(file: Path) -> list[object]:
    with CaptureReader(file) as reader:
        return list(reader.records())


def frames(file: Path) -> list[Frame]:
    return [record for record in records(file) if isinstance(record, Frame)]


def are_closed(file: Path, connections: int) -> bool:
    return len([record for record in records(file) if isinstance(record, Closed)]) == connections


class Program:
    """``vusniff proxy`` and what it says."""

    def __init__(
        self, directory: Path, *words: str | Path, command: Sequence[str] = (), limits: bool = False, files: int = 0
    ) -> None:
        self.directory = directory
        self.file = directory / "capture.pcapng"
        self.log = directory / "log"
        words = ("-w", self.file, "--record-only", *words)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "vusniff", "proxy", *map(str, words), *(["--", *command] if command else [])],
                stdout=log,
                stderr=log,
                cwd=directory,
                preexec_fn=_limit_file_size if limits else functools.partial(_limit_files, files) if files else None,
            )

    @property
    def said(self) -> str:
        return self.log.read_text()

    def fds(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def _limit_files(number: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, number))


FILE_SIZE = 16 << 10


def _limit_file_size() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_SIZE, resource.RLIM_INFINITY))


@pytest.fixture
def front(tmp_path: Path) -> Path:
    return tmp_path / "front.sock"


@pytest.fixture
def back(tmp_path: Path) -> Path:
    return tmp_path / "back.sock"


@pytest.fixture
def pair(tmp_path: Path, front: Path, back: Path) -> Iterator[tuple[Program, socket.socket, socket.socket]]:
    """A proxy that listens at front and connects to back, and two peers that talk through it."""
    with (
        listening(back) as listener,
        Program(tmp_path, "--listen", front, "--connect", back) as program,
        connected(front) as frontend,
        accepted(listener) as backend,
    ):
        yield program, frontend, backend


def test_nobody_is_let_in_while_many_files_cannot_be_closed(tmp_path: Path, front: Path, back: Path) -> None:
    """Each connection takes those of one message at most; who is connected already is served."""
    folder = tmp_path / "silent"
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(listening(back))
        program = stack.enter_context(Program(tmp_path, "--listen", front, "--connect", back))
        silent = stack.enter_context(SilentFile(folder))
        pairs = []
        for _ in range(FILES_LIMIT // MAX_FDS + 2):
            frontend = stack.enter_context(connected(front))
            pairs.append((frontend, stack.enter_context(listener.accept()[0])))
        for frontend, backend in pairs[1:]:
            socket.send_fds(frontend, [REQUEST], [silent.fd] * MAX_FDS)
            assert backend.recv(len(REQUEST)) == REQUEST
        one_more = stack.enter_context(connected(front))
        assert one_more.recv(1) == b""
        until(lambda: "is refused: 1024 files that were passed wait" in program.said)
        memory = os.memfd_create("ram")
        socket.send_fds(pairs[0][0], [REQUEST], [memory])
        os.close(memory)
        data, fds, _, _ = socket.recv_fds(pairs[0][1], len(REQUEST), 8)
        assert (data, len(fds)) == (REQUEST, 1)
        os.close(fds[0])
        assert not silent.waited


@pytest.mark.parametrize("sides", ["listen connect", "connect listen", "listen listen", "connect connect"])
def test_every_combination_of_sides_joins_and_reconnects(tmp_path: Path, front: Path, back: Path, sides: str) -> None:
    first, second = sides.split()
    with contextlib.ExitStack() as stack:
        a = stack.enter_context(listening(front)) if first == "connect" else None
        b = stack.enter_context(listening(back)) if second == "connect" else None
        program = stack.enter_context(Program(tmp_path, f"--{first}", front, f"--{second}", back))
        for _ in range(4):
            if b is None:
                with connected(back) as backend, accepted(a) if a else connected(front) as frontend:
                    talk(frontend, backend, 3)
            else:
                with accepted(a) if a else connected(front) as frontend, accepted(b) as backend:
                    talk(frontend, backend, 3)
        assert program.end() == 0
    assert "24 messages on 4 connections, 0 lost" in program.said
    assert str(program.file) in program.said
    everything = records(program.file)
    closed = [record for record in everything if isinstance(record, Closed)]
    assert [(one.connection, one.received) for one in closed] == [(1, 6), (2, 6), (3, 6), (4, 6)]
    connections = [record for record in everything if isinstance(record, Connection)]
    assert all(end.process and end.process.pid == os.getpid() for one in connections for end in one.ends)
    assert {one.path for one in connections} == {str(back if sides == "listen connect" else front)}


def test_who_connects_is_end_0_and_who_accepts_is_end_1(pair: tuple[Program, socket.socket, socket.socket]) -> None:
    program, frontend, backend = pair
    talk(frontend, backend)
    assert program.end() == 0
    assert [(frame.end, frame.data) for frame in frames(program.file)] == [(0, REQUEST), (1, REPLY)]
    connection = next(record for record in records(program.file) if isinstance(record, Connection))
    assert connection.ends[0].inode == os.fstat(frontend.fileno()).st_ino
    # A socket gets its inode by being accepted, which may come after the proxy has connected.
    assert connection.ends[1].inode in (None, os.fstat(backend.fileno()).st_ino)


QEMU = """
import socket, sys, time
near = socket.socket(socket.AF_UNIX)
while near.connect_ex(sys.argv[-1]):
    time.sleep(0.01)
near.send(bytes.fromhex("010000000100000000000000"))
near.recv(1)
"""


def test_peers_have_the_names_of_their_command_lines(tmp_path: Path, front: Path, back: Path) -> None:
    """What the probe says of a VM and its device the proxy says too, with the path that this side knows."""
    program_file = tmp_path / "qemu-system-x86_64"
    program_file.symlink_to(os.path.realpath(sys.executable))
    words = [str(program_file), "-c", QEMU, "-name", "guest=vm1", "-chardev", f"socket,id=c,path={front}"]
    words += ["-device", "vhost-user-fs-pci,chardev=c,id=fs0", "-x", str(front)]
    with listening(back) as listener, Program(tmp_path, "--listen", front, "--connect", back) as program:
        with subprocess.Popen(words) as qemu, accepted(listener) as backend:
            assert read(backend, 12)
            qemu.kill()
        assert program.end() == 0
    connection = next(record for record in records(program.file) if isinstance(record, Connection))
    assert connection.ends[0].process is not None
    assert connection.ends[0].process.label == "vm1 fs0 (fs)"
    timeline = Timeline(Index(program.file))
    read_all(timeline)
    assert timeline.sessions[0].guess is not None
    assert timeline.sessions[0].guess.device == "fs"


def test_a_peer_is_held_until_the_other_side_is_there(tmp_path: Path, front: Path, back: Path) -> None:
    with Program(tmp_path, "--listen", front, "--connect", back) as program, connected(front) as frontend:
        frontend.send(REQUEST)
        until(lambda: "waiting for" in program.said)
        held = program.fds()
        with connected(front) as another:
            another.send(REQUEST)
            until(lambda: program.fds() == held + 1)
        until(lambda: program.fds() == held)
        with listening(back) as listener, accepted(listener) as backend:
            assert read(backend, len(REQUEST)) == REQUEST
            talk(frontend, backend)
            assert program.end() == 0
            listener.setblocking(False)
            with pytest.raises(BlockingIOError):
                listener.accept()
        assert program.said.count("waiting for") == 1


def test_a_peer_that_waited_in_vain_is_told_of(tmp_path: Path, front: Path, back: Path) -> None:
    with Program(tmp_path, "--listen", front, "--connect", back) as program:
        for number in (1, 2):
            with connected(front) as frontend:
                frontend.send(REQUEST)
                until(lambda: "waiting for" in program.said)
            until(functools.partial(are_closed, program.file, number))
        with connected(front):
            assert program.end() == 0
    found = records(program.file)
    ended = [record for record in found if isinstance(record, Closed)]
    assert [record.reason for record in ended] == [f"nobody listens at {back}"] * len(ended)
    assert len(ended) in (2, 3)  # the last may not have been accepted
    opened = [record for record in found if isinstance(record, Connection)]
    assert {record.path for record in opened} == {str(back)}
    assert not frames(program.file)


def test_many_connections_at_once_stay_apart(tmp_path: Path, front: Path, back: Path) -> None:
    with listening(back) as listener, Program(tmp_path, "--listen", front, "--connect", back) as program:
        held: list[int] = []
        for turn in (1, 2, 3):
            with contextlib.ExitStack() as stack:
                pairs = []
                for _ in range(20):
                    frontend = stack.enter_context(connected(front))
                    pairs.append((frontend, stack.enter_context(accepted(listener))))
                for number, (frontend, _) in enumerate(pairs):
                    frontend.send(message(8, struct.pack("=II", number, 256)))
                for number, (_, backend) in reversed(list(enumerate(pairs))):
                    assert read(backend, 20) == message(8, struct.pack("=II", number, 256))
            until(functools.partial(are_closed, program.file, 20 * turn))
            held.append(program.fds())
        assert program.end() == 0
    assert len(frames(program.file)) == 60
    assert len(set(held)) == 1


def test_round_trips_with_descriptors_leak_none(pair: tuple[Program, socket.socket, socket.socket]) -> None:
    program, frontend, backend = pair
    memory = [os.memfd_create("ram"), os.memfd_create("log")]
    frontend.send(REQUEST)
    assert backend.recv(100) == REQUEST  # both are joined
    before = program.fds()
    for _ in range(20_000):
        socket.send_fds(frontend, [REQUEST], memory)
        data, fds, _, _ = socket.recv_fds(backend, len(REQUEST), 8)
        for fd in fds:
            os.close(fd)
        backend.send(REPLY)
        assert (data, len(fds), frontend.recv(100)) == (REQUEST, 2, REPLY)
    assert program.fds() == before
    for fd in memory:
        os.close(fd)
    assert program.end() == 0
    assert "40001 messages" in program.said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_cleanly(
    pair: tuple[Program, socket.socket, socket.socket], front: Path, number: signal.Signals
) -> None:
    program, frontend, backend = pair
    talk(frontend, backend, 5)
    assert program.end(number) == 0
    assert not front.exists()
    assert frontend.recv(1) == backend.recv(1) == b""
    closed = [record for record in records(program.file) if isinstance(record, Closed)]
    assert [(one.reason, one.received) for one in closed] == [("capture ended", 10)]
    assert program.file.stat().st_mode & 0o777 == 0o600


def test_killed_at_any_moment_the_capture_holds_what_was_passed_on(
    pair: tuple[Program, socket.socket, socket.socket],
) -> None:
    program, frontend, backend = pair
    frontend.setblocking(False)
    sent = 0
    arrived = bytearray()
    killed = False
    while True:
        with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
            frontend.send(message(12, struct.pack("=Q", sent)))
            sent += 1
        try:
            data = backend.recv(1 << 16, 0 if killed or sent > 2000 else socket.MSG_DONTWAIT)
        except BlockingIOError:
            continue
        except ConnectionResetError:
            break
        if not data:
            break
        arrived += data
        if len(arrived) > 20_000 and not killed:
            program.process.kill()
            killed = True
    recorded = frames(program.file)
    whole = len(arrived) // 20
    assert whole >= 1000
    assert [frame.data for frame in recorded[:whole]] == [bytes(arrived[i : i + 20]) for i in range(0, whole * 20, 20)]
    assert all(frame.kind is FrameKind.MESSAGE and not frame.missing for frame in recorded)


def test_traffic_goes_on_when_the_capture_cannot_be_written(tmp_path: Path, front: Path, back: Path) -> None:
    words = ("--listen", front, "--connect", back)
    with listening(back) as listener, Program(tmp_path, *words, limits=True) as program:
        with connected(front) as frontend, accepted(listener) as backend:
            talk(frontend, backend, 200)
            assert program.said.count("cannot write the capture") == 1
            assert len(frames(program.file)) < 400
            unlimited = resource.RLIM_INFINITY
            resource.prlimit(program.process.pid, resource.RLIMIT_FSIZE, (unlimited, unlimited))
            talk(frontend, backend, 5)
            until(lambda: "is written again" in program.said)
            talk(frontend, backend, 5)
        assert program.end() == 0
    assert program.said.count("is written again") == 1
    recorded = frames(program.file)
    closed = next(record for record in records(program.file) if isinstance(record, Closed))
    assert len(recorded) >= 20
    assert [frame.data for frame in recorded[-2:]] == [REQUEST, REPLY]
    assert closed.received == 420
    assert f"{420 - len(recorded)} lost" in program.said


@pytest.mark.parametrize("sides", ["listen connect", "listen listen"])
def test_peers_that_there_is_no_room_for_are_refused_and_the_others_served(
    tmp_path: Path, front: Path, back: Path, sides: str
) -> None:
    """With 64 open files a dozen connections are served; a hundred more come, are refused, and come again later."""
    first, second = sides.split()
    memory = [os.memfd_create("ram") for _ in range(8)]
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(listening(back)) if second == "connect" else None
        program = stack.enter_context(Program(tmp_path, f"--{first}", front, f"--{second}", back, files=64))
        pairs: list[tuple[socket.socket, socket.socket]] = []

        def join() -> bool:
            """Another pair of peers; whether the proxy has joined them."""
            frontend = connected(front)
            backend = accepted(listener) if listener and _is_there(frontend, listener) else None
            backend = connected(back) if listener is None else backend
            if backend is None or not _are_joined(frontend, backend):
                frontend.close()
                if backend is not None:
                    backend.close()
                return False
            pairs.append((stack.enter_context(frontend), stack.enter_context(backend)))
            return True

        for _ in range(8):
            assert join()
        refused = sum(not join() for _ in range(100))
        assert refused >= 85
        for frontend, backend in pairs:
            socket.send_fds(frontend, [REQUEST], memory)
            data, fds, _, _ = socket.recv_fds(backend, len(REQUEST), 8)
            for fd in fds:
                os.close(fd)
            assert (data, len(fds)) == (REQUEST, 8)
            talk(frontend, backend)
        assert program.said.count("is refused: no room for more open files") == 1
        for _ in range(4):
            for one in pairs.pop():
                one.close()
        until(join)
        talk(*pairs[-1])
        assert program.end() == 0
    for fd in memory:
        os.close(fd)
    assert "peers were refused" in program.said
    assert "Traceback" not in program.said
    assert len(frames(program.file)) > 3 * 8


def _is_there(frontend: socket.socket, listener: socket.socket) -> bool:
    """Whether the proxy has connected to the other side for this peer, or has refused it."""
    ready, _, _ = select.select([frontend, listener], [], [], PATIENCE)
    assert ready
    return listener in ready


def _are_joined(frontend: socket.socket, backend: socket.socket) -> bool:
    """Whether what one says reaches the other, or the proxy has hung up on either."""
    try:
        frontend.send(REQUEST)
    except (BrokenPipeError, ConnectionResetError):
        return False
    ready, _, _ = select.select([frontend, backend], [], [], PATIENCE)
    assert ready
    try:
        return backend in ready and backend.recv(len(REQUEST)) == REQUEST
    except ConnectionResetError:
        return False


def test_connections_that_have_ended_take_no_memory(tmp_path: Path, front: Path, back: Path) -> None:
    """Two thousand that say something, and as many that say nothing."""

    def memory() -> int:
        return int(Path(f"/proc/{program.process.pid}/statm").read_text().split()[1]) * resource.getpagesize()

    held: list[int] = []
    with listening(back) as listener, Program(tmp_path, "--listen", front, "--connect", back) as program:
        for number in range(1, 4001):
            with connected(front) as frontend, accepted(listener) as backend:
                if number % 2:
                    frontend.send(REQUEST)
                    assert read(backend, len(REQUEST)) == REQUEST
            if number % 1000 == 0:
                held.append(memory())
        assert program.end() == 0
    assert max(held) - held[1] < 1 << 21
    assert "2000 messages on 4000 connections" in program.said
    with CaptureReader(program.file) as reader:
        kinds = [type(record) for record in reader.records()]
    assert [kinds.count(kind) for kind in (Connection, Frame, Closed)] == [4000, 2000, 4000]


def test_who_waits_for_the_other_side_is_bounded(tmp_path: Path, front: Path, back: Path) -> None:
    with Program(tmp_path, "--listen", front, "--listen", back) as program, contextlib.ExitStack() as stack:
        waiting = [stack.enter_context(connected(front)) for _ in range(WAITING_LIMIT)]
        for _ in range(20):
            with connected(front) as one:
                assert one.recv(1) == b""
        assert program.said.count("wait already") == 1
        for frontend in waiting:
            talk(frontend, stack.enter_context(connected(back)))
        assert program.end() == 0
        assert "20 peers were refused" in program.said


def test_too_few_files_to_start_are_one_sentence(tmp_path: Path, front: Path, back: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for room in range(4):
        with CaptureWriter(tmp_path / "capture.pcapng", source="test") as writer:
            taken = [os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC) for _ in range(30)]
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(taken) + 1 + room, hard))
            try:
                with pytest.raises(SourceError, match="Too many open files"):
                    run_proxy([ProxySide(True, str(front)), ProxySide(False, str(back))], writer, [], lambda _: None)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                for fd in taken:
                    os.close(fd)
        assert not front.exists()


@pytest.mark.parametrize("kind", ["alive", "file"])
def test_a_path_that_is_taken_is_refused_with_a_sentence(tmp_path: Path, front: Path, back: Path, kind: str) -> None:
    with listening(front) if kind == "alive" else contextlib.nullcontext(front.write_text("mine")):
        with Program(tmp_path, "--listen", front, "--connect", back) as program:
            assert program.process.wait(PATIENCE) == 2
        words = {"alive": "another program is bound to it already", "file": "is not a socket"}[kind]
        assert words in program.said
        assert program.said.startswith("vusniff: cannot listen on ")
        assert program.said.count("\n") == 1
        assert front.exists()


@pytest.mark.parametrize(
    "words",
    [
        ["--listen", "a"],
        ["--connect", "a"],
        ["--listen", "a", "--connect", "b", "--connect", "c"],
        [],
        ["--listen=a"] * 2,
    ],
)
def test_it_takes_two_different_sides(tmp_path: Path, words: list[str]) -> None:
    with Program(tmp_path, *words) as program:
        assert program.process.wait(PATIENCE) == 2
    assert "two" in program.said
    assert "Traceback" not in program.said


PEER = """
import os, socket, sys
a = socket.socket(socket.AF_UNIX)
a.connect(sys.argv[1])
a.send(bytes.fromhex(sys.argv[2]))
sys.exit(int(sys.argv[3]))
"""


@pytest.mark.parametrize("status", [0, 7])
def test_a_command_is_started_when_the_socket_is_there_and_ends_it(
    tmp_path: Path, front: Path, back: Path, status: int
) -> None:
    command = [sys.executable, "-c", PEER, str(front), REQUEST.hex(), str(status)]
    words = ("--listen", front, "--connect", back)
    with listening(back) as listener, Program(tmp_path, *words, command=command) as program:
        with accepted(listener) as backend:
            assert read(backend, 100) == REQUEST
        assert program.process.wait(PATIENCE) == status
    assert [frame.data for frame in frames(program.file)] == [REQUEST]
    assert not front.exists()


def test_a_command_that_dies_of_a_signal_and_one_that_is_not_there(tmp_path: Path, front: Path, back: Path) -> None:
    with Program(tmp_path, "--listen", front, "--connect", back, command=["sh", "-c", "kill -9 $$"]) as program:
        assert program.process.wait(PATIENCE) == 137
    with Program(tmp_path, "--listen", front, "--connect", back, command=["/no/such/program"]) as program:
        assert program.process.wait(PATIENCE) == 2
    assert "cannot start /no/such/program: No such file or directory" in program.said
    assert not front.exists()


def test_a_command_ends_with_the_proxy(tmp_path: Path, front: Path, back: Path) -> None:
    mark = tmp_path / "mark"
    command = ["sh", "-c", f"echo $$ > {mark}.new; mv {mark}.new {mark}; exec sleep 1000"]
    with Program(tmp_path, "--listen", front, "--connect", back, command=command) as program:
        until(mark.exists)
        assert program.end() == 0
    assert not os.path.exists(f"/proc/{mark.read_text().strip()}")


def view(directory: Path, *words: str | Path) -> subprocess.Popen[str]:
    """The proxy with a view."""
    return subprocess.Popen(
        [sys.executable, "-m", "vusniff", "proxy", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=directory,
        start_new_session=True,
        env={**os.environ, "TMPDIR": str(directory)},
    )


def test_text_and_json_show_what_is_recorded_until_the_end(tmp_path: Path, front: Path, back: Path) -> None:
    for words in ([], ["--json"]):
        program = view(tmp_path, "--listen", front, "--connect", back, *words)
        with listening(back) as listener, connected(front) as frontend, accepted(listener) as backend:
            talk(frontend, backend, 3)
            assert program.stdout is not None
            assert select.select([program.stdout], [], [], PATIENCE)[0]
            program.terminate()
            out, err = program.communicate(timeout=PATIENCE)
        back.unlink()
        assert program.returncode == 0
        assert len(out.splitlines()) == 6
        assert out.count("SET_VRING_KICK") == 6
        assert "6 messages on 1 connection, 0 lost" in err
        file = Path(err.split("recording to ")[1].splitlines()[0])
        assert file.parent == tmp_path
        assert file.stat().st_mode & 0o777 == 0o600
        assert len(frames(file)) == 6
        if words:
            assert [json.loads(line)["number"] for line in out.splitlines()] == [1, 2, 3, 4, 5, 6]


def test_a_quiet_proxy_prints_nothing_but_errors(tmp_path: Path, front: Path, back: Path) -> None:
    words = ("--listen", front, "--connect", back, "-q")
    file = tmp_path / "c.pcapng"
    program = view(tmp_path, *words, "-w", file)
    with connected(front) as frontend:  # nobody listens at the other side yet, and that is not an error
        with listening(back) as listener, accepted(listener) as backend:
            talk(frontend, backend)
        back.unlink()
    program.terminate()
    assert program.communicate(timeout=PATIENCE) == ("", "")
    assert len(frames(file)) == 2
    program = view(tmp_path, *words)
    assert program.communicate(timeout=PATIENCE)[1].startswith("vusniff: --quiet does not say where the capture is")
    assert program.returncode == 2


def test_a_view_says_why_the_proxy_does_not_start(tmp_path: Path, front: Path, back: Path) -> None:
    front.write_text("mine")
    program = view(tmp_path, "--listen", front, "--connect", back)
    out, err = program.communicate(timeout=PATIENCE)
    assert (program.returncode, out) == (2, "")
    assert "is not a socket" in err


def test_the_command_of_a_view_keeps_its_status_and_leaves_standard_output_alone(
    tmp_path: Path, front: Path, back: Path
) -> None:
    words = ["--json", "--", "sh", "-c", "echo words of the peer; exit 5"]
    program = view(tmp_path, "--listen", front, "--connect", back, *words)
    out, err = program.communicate(timeout=PATIENCE)
    assert (program.returncode, out) == (5, "")
    assert "words of the peer" in err
