"""The demo's peers against each other, against garbage, and through the proxy."""

from __future__ import annotations

import array
import contextlib
import json
import os
import pty
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vusniff.demo import backend, frontend, wire
from vusniff.demo.memory import GuestMemory, GuestRegion, RingLayout, SplitRing
from vusniff.demo.wire import DemoSocket, PeerError
from vusniff.errors import SourceError

DEADLINE = 20.0
VERSION, REPLY, NEED_REPLY = 1, 4, 8
SET_MEM_TABLE, SET_VRING_NUM, SET_VRING_ADDR, SET_VRING_KICK, SET_VRING_CALL = 5, 8, 9, 12, 13
SET_PROTOCOL_FEATURES, SET_VRING_ENABLE, SET_BACKEND_REQ_FD = 16, 18, 21
GET_CONFIG, GET_INFLIGHT_FD, SET_INFLIGHT_FD = 24, 31, 32


class Said:
    """Runs a peer in a thread, and keeps its sentences and its exit code."""

    def __init__(self, peer: Callable[[Callable[[str], None]], int]) -> None:
        self.sentences: list[str] = []
        self.code: int | None = None
        self._peer = peer
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        self.code = self._peer(self.sentences.append)

    def wait(self) -> int | None:
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive(), "the peer hangs"
        return self.code


def start_backend(path: Path, count: int = 1, connect: bool = False, timeout: float = DEADLINE) -> Said:
    return Said(lambda say: backend.serve(str(path), connect=connect, count=count, timeout=timeout, say=say))


def start_frontend(path: Path, count: int = 1, listen: bool = False, timeout: float = DEADLINE) -> Said:
    return Said(lambda say: frontend.run(str(path), listen=listen, count=count, timeout=timeout, say=say))


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("frontend_listens", [False, True])
def test_peers_do_all_they_should_and_leave_nothing_behind(tmp_path: Path, frontend_listens: bool) -> None:
    before = open_descriptors()
    path = tmp_path / "vhost.sock"
    back = start_backend(path, count=3, connect=frontend_listens)
    front = start_frontend(path, count=3, listen=frontend_listens)
    assert (front.wait(), back.wait()) == (0, 0)
    assert front.sentences == [
        "front-end: session 1: 61 requests, 2 frames came back",
        "front-end: session 2: 60 requests, 2 frames came back",
        "front-end: session 3: 60 requests, 2 frames came back",
    ]
    assert [line.split(": ", 1)[1] for line in back.sentences] == [
        "session 1: 61 requests, 2 frames sent back",
        "session 2: 60 requests, 2 frames sent back",
        "session 3: 60 requests, 2 frames sent back",
    ]
    assert not path.exists()
    assert open_descriptors() == before


def test_peers_are_programs(tmp_path: Path) -> None:
    path = str(tmp_path / "vhost.sock")
    command = [sys.executable, "-m", "vusniff", "demo", "--timeout", str(DEADLINE)]
    back = subprocess.Popen([*command, "--backend", path], stderr=subprocess.PIPE, text=True)
    front = subprocess.run([*command, "--frontend", path], stderr=subprocess.PIPE, text=True, timeout=60)
    _, words = back.communicate(timeout=60)
    assert (front.returncode, back.returncode) == (0, 0)
    assert "session 2: 60 requests" in front.stderr
    assert "session 2: 60 requests" in words


def run_demo(tmp_path: Path, *options: str) -> tuple[subprocess.CompletedProcess[str], Path]:
    capture = tmp_path / "demo.pcapng"
    command = [sys.executable, "-m", "vusniff", "demo", "-w", str(capture), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=120), capture


def test_the_demo_shows_every_message_and_leaves_the_capture(tmp_path: Path) -> None:
    done, capture = run_demo(tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if not line.startswith("# ")]  # without ends of processes
    assert len(lines) == 210
    assert "GET_FEATURES" in lines[0]
    assert f"the capture is {capture}" in done.stderr
    assert "front-end: session 2: 60 requests, 2 frames came back" in done.stderr


def test_the_demo_is_the_same_in_every_run(tmp_path: Path) -> None:
    keys = ("session", "channel", "sender", "name", "flags", "size", "payload")
    runs = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        done, _ = run_demo(tmp_path / name, "--json", "--count", "3")
        assert done.returncode == 0, done.stderr
        messages = [one for one in map(json.loads, done.stdout.splitlines()) if "kind" not in one]
        assert not [message for message in messages if message["malformed"]]
        runs.append([[message[key] for key in keys] + [len(message["fds"])] for message in messages])
    assert runs[0] == runs[1]
    channels = [(message[0], message[1]) for message in runs[0]]
    counts = {key: channels.count(key) for key in channels}
    assert counts == {
        (1, "main"): 101,
        (1, "backend"): 5,
        (2, "main"): 99,
        (2, "backend"): 5,
        (3, "main"): 99,
        (3, "backend"): 5,
    }
    asked = [name for session, _, _, name, *_ in runs[0] if session == 2 and "INFLIGHT" in name]
    assert asked == ["SET_INFLIGHT_FD"]


def test_on_a_terminal_the_view_follows_it(tmp_path: Path) -> None:
    capture = tmp_path / "demo.pcapng"
    command = [sys.executable, "-m", "vusniff", "demo", "-w", str(capture), "--count", "1", "--pause", "0.01"]
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "LINES": "24", "COLUMNS": "100"}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    try:
        while b"GET_VRING_BASE" not in shown:  # the last requests
            assert wire.readable([ours], DEADLINE), shown[-500:]
            shown += os.read(ours, 65536)
        os.write(ours, b"q")
        with contextlib.suppress(OSError):  # the terminal is gone when its last user is
            while part := os.read(ours, 65536):
                shown += part
        assert process.wait(60) == 0
    finally:
        process.terminate()
        process.wait(60)
        os.close(ours)
    assert f"the capture is {capture}".encode() in shown


def test_the_demo_says_why_it_cannot_record(tmp_path: Path) -> None:
    done, _ = run_demo(tmp_path, "-w", str(tmp_path / "no" / "such.pcapng"))
    assert done.returncode == 2
    assert done.stderr.startswith("vusniff: the proxy does not listen: cannot")
    assert len(done.stderr.splitlines()) == 1


def test_options_that_do_not_go_together_are_named(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vusniff", "demo", "--backend", str(tmp_path / "s"), "--listen"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith("vusniff: --listen goes with --frontend")


def test_a_socket_that_is_bound_is_not_replaced(tmp_path: Path) -> None:
    """Whether it listens or not; what `test_endpoints` holds of listening holds for both peers."""
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as slow:
        slow.bind(path)
        for _ in range(2):
            there = os.lstat(path)
            with pytest.raises(SourceError, match="bound to it already"):
                backend.serve(path, connect=False, count=1, timeout=0.05)
            with pytest.raises(SourceError, match="bound to it already"):
                frontend.run(path, listen=True, count=1, timeout=0.05)
            assert os.path.samestat(os.lstat(path), there)
            slow.listen()


def test_nobody_comes(tmp_path: Path) -> None:
    with pytest.raises(PeerError, match="nobody connected"):
        backend.serve(str(tmp_path / "s"), connect=False, count=1, timeout=0.05)
    with pytest.raises(PeerError, match="cannot connect"):
        frontend.run(str(tmp_path / "s"), listen=False, count=1, timeout=0.05)


# What a back-end must survive.


class Talk:
    """A test's own front-end: sends what it likes."""

    def __init__(self) -> None:
        self.sock, theirs = socket.socketpair()
        self.session = backend.BackendSession(theirs, timeout=DEADLINE)
        self.sentence = ""
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.session.run()
        except PeerError as error:
            self.sentence = str(error)

    def send(self, data: bytes, *descriptors: int) -> None:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        self.sock.sendmsg([data], rights)

    def request(self, request: int, payload: bytes = b"", *descriptors: int, flags: int = VERSION) -> None:
        self.send(struct.pack("=III", request, flags, len(payload)) + payload, *descriptors)

    def end(self) -> str:
        """What the back-end said when it closed the session; empty when it found nothing wrong."""
        self.sock.shutdown(socket.SHUT_WR)
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive(), "the back-end hangs"
        return self.sentence


@pytest.fixture
def talk() -> Iterator[Talk]:
    before = open_descriptors()
    talk = Talk()
    yield talk
    talk.end()
    talk.sock.close()
    assert open_descriptors() == before, "the back-end leaks descriptors"


@pytest.fixture
def ram() -> Iterator[int]:
    fd = os.memfd_create("guest-ram")
    os.ftruncate(fd, 1 << 20)
    yield fd
    os.close(fd)


def table(*regions: tuple[int, int, int, int], count: int | None = None) -> bytes:
    head = struct.pack("=II", len(regions) if count is None else count, 0)
    return head + b"".join(struct.pack("=QQQQ", *region) for region in regions)


WHOLE = (0, 1 << 20, 0x10000, 0)

BAD_BYTES = {
    "text": (b"GET / HTTP/1.1\r\nHost: example\r\n\r\n", "no vhost-user header"),
    "version": (struct.pack("=III", 1, 2, 0), "no vhost-user header"),
    "size": (struct.pack("=III", 1, 1, 1 << 31), "no vhost-user header"),
    "half a header": (b"\x01\0\0\0\x01", "inside a header"),
    "half a payload": (struct.pack("=III", 2, 1, 8) + b"\0", "inside the payload"),
    "unknown request": (struct.pack("=III", 99, 1, 0), "request 99 is none"),
    "request 0": (struct.pack("=III", 0, 1, 0), "request 0 is none"),
    "short payload": (struct.pack("=III", 2, 1, 4) + bytes(4), "4 bytes of payload, 8 expected"),
    "bits not offered": (struct.pack("=IIIQ", 2, 1, 8, 1 << 63), "not offered"),
    "ring 4": (struct.pack("=IIIII", SET_VRING_NUM, 1, 8, 4, 256), "ring 4 is not one"),
    "no descriptor": (struct.pack("=IIIQ", SET_VRING_CALL, 1, 8, 0), "without the descriptor"),
    "no channel": (struct.pack("=III", SET_BACKEND_REQ_FD, 1, 0), "without the descriptor"),
    "enable 7": (struct.pack("=IIIII", SET_VRING_ENABLE, 1, 8, 0, 7), "neither 0 nor 1"),
    "kick too early": (struct.pack("=IIIQ", SET_VRING_KICK, 1, 8, 0x100), "before the size and the addresses"),
    "empty table": (struct.pack("=III", SET_MEM_TABLE, 1, 0), "0 bytes of payload"),
    "table of 2^32": (struct.pack("=III", SET_MEM_TABLE, 1, 8) + struct.pack("=II", 0xFFFFFFFF, 0), "regions in"),
    "regions without descriptors": (struct.pack("=III", SET_MEM_TABLE, 1, 40) + table(WHOLE), "0 descriptors"),
    "config beyond its end": (struct.pack("=IIIIII4x", GET_CONFIG, 1, 16, 10, 4, 0), "of a config of 12"),
    "huge inflight": (struct.pack("=IIIQQHH4x", GET_INFLIGHT_FD, 1, 24, 0, 0, 65535, 65535), "GET_INFLIGHT_FD wants"),
}


@pytest.mark.parametrize("case", BAD_BYTES)
def test_bad_bytes_end_the_session_with_a_sentence(talk: Talk, case: str) -> None:
    data, sentence = BAD_BYTES[case]
    talk.send(data)
    assert sentence in talk.end()


def test_the_next_session_is_served_after_a_bad_one(tmp_path: Path) -> None:
    path = tmp_path / "s"
    back = start_backend(path, count=2)
    with wire.connect(str(path), DEADLINE) as sock:
        sock.sendall(b"no such peer")
        sock.settimeout(DEADLINE)
        assert sock.recv(1) == b""
    front = start_frontend(path)
    assert front.wait() == 0
    assert back.wait() == 1
    assert "session 1 closed after 0 requests: the front-end sent no vhost-user header" in back.sentences[0]
    assert "session 2: 61 requests" in back.sentences[1]


def test_what_fails_is_refused_when_the_front_end_asked(talk: Talk) -> None:
    talk.request(SET_PROTOCOL_FEATURES, struct.pack("=Q", 1 << 3))
    talk.request(SET_VRING_NUM, struct.pack("=II", 9, 256), flags=VERSION | NEED_REPLY)
    reply = DemoSocket(talk.sock, "the back-end", DEADLINE).receive()
    assert reply is not None
    assert (reply.request, reply.flags, reply.payload) == (SET_VRING_NUM, VERSION | REPLY, struct.pack("=Q", 1))
    assert "ring 9 is not one" in talk.end()


def test_a_doorbell_may_be_refused(talk: Talk) -> None:
    features = 1 << 3 | 1 << 5 | 1 << 10 | 1 << 11
    talk.request(SET_PROTOCOL_FEATURES, struct.pack("=Q", features))
    ours, theirs = socket.socketpair()
    channel = DemoSocket(ours, "the back-end", DEADLINE)
    talk.request(SET_BACKEND_REQ_FD, b"", theirs.fileno())
    theirs.close()
    talk.request(SET_VRING_ENABLE, struct.pack("=II", 1, 1))
    offer = channel.receive()
    assert offer is not None
    assert (offer.request, offer.flags, len(offer.descriptors)) == (3, VERSION | NEED_REPLY, 1)
    offer.close()
    channel.send(3, VERSION | REPLY, struct.pack("=Q", 1))
    talk.request(SET_VRING_ENABLE, struct.pack("=II", 1, 0))
    assert talk.end() == ""
    assert talk.session.requests == 4
    channel.close()


def test_a_region_larger_than_its_descriptor(talk: Talk, ram: int) -> None:
    talk.request(SET_MEM_TABLE, table((0, 1 << 40, 0, 0)), ram)
    assert "is not in its descriptor" in talk.end()


def test_descriptors_nobody_asked_for(talk: Talk, ram: int) -> None:
    talk.request(1, b"", ram, ram, ram)
    assert "came with descriptors" in talk.end()


def test_a_channel_that_is_no_socket(talk: Talk, ram: int) -> None:
    talk.request(SET_BACKEND_REQ_FD, b"", ram)
    assert "is not a socket" in talk.end()


def test_an_inflight_buffer_that_is_too_small(talk: Talk, ram: int) -> None:
    talk.request(SET_INFLIGHT_FD, struct.pack("=QQHH4x", 64, 0, 4, 256), ram)
    assert "does not hold 4 rings" in talk.end()


def test_rings_outside_memory(talk: Talk, ram: int) -> None:
    talk.request(SET_MEM_TABLE, table(WHOLE), ram)
    talk.request(SET_VRING_NUM, struct.pack("=II", 1, 256))
    talk.request(SET_VRING_ADDR, struct.pack("=IIQQQQ", 1, 0, 0x10000, 0xDEAD0000, 0x11000, 0))
    assert "0xdead0000" in talk.end()


def test_a_kick_descriptor_at_its_end(talk: Talk, ram: int) -> None:
    talk.request(SET_MEM_TABLE, table(WHOLE), ram)
    talk.request(SET_VRING_NUM, struct.pack("=II", 1, 256))
    talk.request(SET_VRING_ADDR, struct.pack("=IIQQQQ", 1, 0, 0x10000, 0x12000, 0x11000, 0))
    reader, writer = os.pipe()
    os.close(writer)
    talk.request(SET_VRING_KICK, struct.pack("=Q", 1), reader)
    os.close(reader)
    assert "is at its end" in talk.end()


def make_ring(ram: int) -> tuple[GuestMemory, SplitRing, RingLayout]:
    memory = GuestMemory()
    memory.add(GuestRegion(*WHOLE), ram)
    layout = RingLayout(0, 16)
    user = WHOLE[2]
    return memory, SplitRing(memory, 16, user, user + layout.available, user + layout.used), layout


def test_a_ring_takes_and_gives_back(ram: int) -> None:
    memory, ring, layout = make_ring(ram)
    assert (layout.descriptors % 16, layout.available % 2, layout.used % 4) == (0, 0, 0)
    memory.guest(0x8000, 5)[:] = b"hello"
    ring.offer(0x8000, 5, writable=False)
    assert ring.pending(0) == 1
    assert [(bytes(part), writable) for part, writable in ring.chain(ring.head(0))] == [(b"hello", False)]
    assert ring.give_back(ring.head(0), 5) == 1
    assert ring.used() == (1, 0, 5)
    assert ring.pending(1) == 0
    ring.close()
    memory.close()


def test_a_ring_full_of_lies(ram: int) -> None:
    memory, ring, layout = make_ring(ram)
    loop = struct.pack("<QIHH", 0x8000, 1, 1, 0)
    memory.guest(layout.descriptors, 16)[:] = loop
    with pytest.raises(PeerError, match="does not end"):
        list(ring.chain(0))
    memory.guest(layout.descriptors, 16)[:] = struct.pack("<QIHH", 0xFFFF_0000, 1 << 31, 0, 0)
    with pytest.raises(PeerError, match="lies in no memory region"):
        list(ring.chain(0))
    memory.guest(layout.available, 4)[:] = struct.pack("<HH", 0, 1000)
    with pytest.raises(PeerError, match="1000 ahead"):
        ring.pending(0)
    memory.guest(layout.available + 4, 2)[:] = struct.pack("<H", 16)
    with pytest.raises(PeerError, match="descriptor 16 of 16"):
        ring.head(0)
    ring.close()
    memory.close()


# What a front-end must survive.


def listening(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    sock.listen()
    return sock


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (b"", "closed the connection"),
        (b"-ERR unknown command\r\n", "no vhost-user header"),
        (struct.pack("=IIIQ", 7, VERSION | REPLY, 8, 0), "answered GET_FEATURES with request 7"),
        (struct.pack("=IIII", 1, VERSION | REPLY, 4, 0), "4 bytes of payload, 8 expected"),
        (struct.pack("=IIIQ", 1, VERSION | REPLY, 8, 0), "VHOST_USER_F_PROTOCOL_FEATURES"),
    ],
)
def test_a_front_end_with_a_wrong_back_end(tmp_path: Path, answer: bytes, sentence: str) -> None:
    path = str(tmp_path / "s")
    with listening(path) as listener:
        front = start_frontend(Path(path))
        with wire.accept(listener, path, DEADLINE) as sock:
            assert len(sock.recv(12)) == 12
            sock.sendall(answer)
        assert front.wait() == 1
    assert sentence in front.sentences[-1]


def test_a_front_end_with_a_silent_back_end(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with listening(path) as listener:
        front = start_frontend(Path(path), timeout=0.2)
        with wire.accept(listener, path, DEADLINE):
            assert front.wait() == 1
    assert "said nothing for 0.2 s" in front.sentences[-1]
