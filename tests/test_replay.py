"""Replays against our own front-end and back-end, and against peers that do one thing each."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import talk
from talk import Talk, eventfd, memfd, region, u32, u64

from vusniff.capture.descriptors import describe
from vusniff.capture.writer import CaptureWriter
from vusniff.cli import main
from vusniff.demo import backend, frontend
from vusniff.demo.wire import Incoming, Link, listen
from vusniff.protocol import BackendRequest as B
from vusniff.protocol import FrontendRequest as F
from vusniff.record import Descriptor, DescriptorKind, Frame, Lost

DEADLINE = 30.0
VERSION, REPLY, NEED_REPLY = 1, 4, 8
RAM = 0x7F0000000000


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sessions of the demo's peers, as the proxy recorded them."""
    capture = tmp_path_factory.mktemp("demo") / "demo.pcapng"
    words = [sys.executable, "-m", "vusniff", "demo", "--text", "-w", str(capture)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return capture


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "peer.sock"


class Background:
    """Runs a peer in a thread; leaving the block waits for its end and raises what it raised."""

    def __init__(self, peer: Callable[[], object]) -> None:
        self._peer = peer
        self._error: BaseException | None = None
        self.result: object = None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self.result = self._peer()
        except BaseException as error:
            self._error = error

    def __enter__(self) -> Background:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive(), "the peer hangs"
        if self._error is not None and kind is None:
            raise self._error


@contextlib.contextmanager
def listening(path: Path, peer: Callable[[Link], object]) -> Iterator[None]:
    """A peer that listens at a path and gets one connection."""
    listener = listen(str(path))
    listener.settimeout(DEADLINE)

    def run() -> object:
        with listener:
            link = Link(listener.accept()[0], "the player", DEADLINE)
        try:
            return peer(link)
        finally:
            link.close()

    with Background(run):
        yield


def replay(capture: Path, to: str, path: Path, *words: str, listens: bool = False) -> int:
    side = "--listen" if listens else "--connect"
    return main(["replay", str(capture), "--to", to, side, str(path), "--timeout", str(DEADLINE), *words])


def receive(link: Link, request: int | None = None) -> Incoming:
    message = link.receive()
    assert message is not None
    assert request is None or message.request == request
    return message


def answer(link: Link, request: int, payload: bytes, *fds: int, flags: int = VERSION | REPLY) -> None:
    link.send(request, flags, payload, fds)


def obey(link: Link, answers: dict[int, bytes]) -> list[int]:
    """A back-end that answers some requests and takes all others, until the front-end leaves; what it was asked."""
    asked = []
    while (message := link.receive()) is not None:
        message.close()
        asked.append(message.request)
        if message.request in answers:
            answer(link, message.request, answers[message.request])
    return asked


# --- a recorded front-end to a back-end -------------------------------------------------------------------------------


@pytest.mark.parametrize("backend_connects", [False, True])
def test_the_demos_backend_does_again_what_it_did(
    demo: Path, path: Path, backend_connects: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    before = set(os.listdir("/proc/self/fd"))
    said: list[str] = []

    def serve() -> int:
        return backend.serve(str(path), connect=backend_connects, count=1, timeout=DEADLINE, say=said.append)

    for session, messages in ((1, 64), (2, 63)):
        with Background(serve) as peer:
            assert replay(demo, "backend", path, "--session", str(session), listens=backend_connects) == 0
        assert peer.result == 0
        output = capsys.readouterr().out
        assert output.startswith(f"session {session}: {messages} messages sent")
        assert output.endswith("compared: all as recorded\n")
    # One request more than were recorded: the last one is not answered, and GET_FEATURES tells that it was survived.
    assert [line.split(": ", 1)[1] for line in said] == [
        "session 1: 62 requests, 0 frames sent back",
        "session 1: 61 requests, 0 frames sent back",
    ]
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_backend_that_answers_otherwise_is_told_by_field_and_bit(
    demo: Path, path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(backend, "FEATURES", backend.FEATURES & ~backend.F_MAC | 1 << 7)
    monkeypatch.setattr(backend, "CONFIG", backend.CONFIG[:10] + (9000).to_bytes(2, "little"))
    serve = lambda: backend.serve(str(path), connect=False, count=2, timeout=DEADLINE, say=lambda _: None)  # noqa: E731
    with Background(serve):
        assert replay(demo, "backend", path) == 1
        lines = capsys.readouterr().out.splitlines()
        assert replay(demo, "backend", path, "--json") == 1
        found = json.loads(capsys.readouterr().out)
    at = lines.index("  #2 GET_FEATURES reply")
    assert lines[at + 1].startswith("    - u64 0x14")
    assert lines[at + 2].startswith("    + u64 0x14")
    assert lines[at + 3 : at + 5] == ["      without NET_F_MAC", "      with NET_F_GUEST_TSO4"] or lines[
        at + 3 : at + 5
    ] == ["      without MAC", "      with GUEST_TSO4"]
    at = next(number for number, line in enumerate(lines) if "GET_CONFIG reply" in line)
    assert lines[at + 1 : at + 3] == ["    - config.mtu 1500", "    + config.mtu 9000"]
    assert lines[-1].endswith("differences")
    assert found["same"] is False
    assert found["ended"] is None
    changes = [(one["name"], change["field"]) for one in found["differences"] for change in one["changes"]]
    assert set(changes) == {("GET_FEATURES", "u64"), ("GET_CONFIG", "config.mtu")}
    assert found["differences"][0]["changes"][0]["removed"] == ["VIRTIO_NET_F_MAC"]
    assert found["differences"][0]["recorded"]["number"] == 2


@pytest.fixture
def crash(tmp_path: Path) -> Path:
    """A back-end that died of GET_QUEUE_NUM."""
    conversation = Talk(tmp_path / "crash.pcapng")
    peers = conversation.connect()
    peers.ask(F.GET_FEATURES)
    peers.answer(F.GET_FEATURES, u64(1 << 30))
    peers.ask(F.SET_OWNER)
    peers.ask(F.GET_QUEUE_NUM)
    peers.close(by=1)
    conversation.writer.close()
    return conversation.path


def test_a_recorded_crash_fails_until_the_backend_survives_it(
    crash: Path, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def dies(link: Link) -> None:
        receive(link, F.GET_FEATURES)
        answer(link, F.GET_FEATURES, u64(1 << 30))
        receive(link, F.SET_OWNER)
        receive(link, F.GET_QUEUE_NUM)

    with listening(path, dies):
        assert replay(crash, "backend", path) == 1
    words = "the back-end closed the connection (the last message was #4 GET_QUEUE_NUM)"
    assert words in capsys.readouterr().out
    with listening(path, lambda link: obey(link, {F.GET_FEATURES: u64(1 << 30), F.GET_QUEUE_NUM: u64(4)})):
        assert replay(crash, "backend", path) == 0


def test_a_backend_that_dies_of_the_last_message_is_found_out(
    tmp_path: Path, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    conversation = Talk(tmp_path / "kick.pcapng")
    conversation.connect().ask(F.SET_VRING_KICK, u64(0), eventfd(9))
    conversation.writer.close()
    with listening(path, lambda link: receive(link, F.SET_VRING_KICK).close()):
        assert replay(conversation.path, "backend", path) == 1
    assert " #1 SET_VRING_KICK" in capsys.readouterr().out
    with listening(path, lambda link: obey(link, {F.GET_FEATURES: u64(0)})):
        assert replay(conversation.path, "backend", path) == 0


def test_a_backend_that_never_answers_is_left_after_the_deadline(
    crash: Path, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with listening(path, lambda link: obey(link, {})):
        assert replay(crash, "backend", path, "--timeout", "0.2") == 1
    assert "the back-end did not answer #1 GET_FEATURES for 0.2 s" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("garbage", "words"),
    [
        (b"\xff" * 12, "the back-end sent what is no vhost-user message: ff ff ff"),
        (b"\x01\0\0", "the back-end closed the connection inside a message"),
        (struct.pack("<III", 1, 5, 8), "the back-end closed the connection inside a message"),
        (struct.pack("<III", 1, 5, 200 << 20), "the back-end sent what is no vhost-user message"),
    ],
)
def test_garbage_ends_the_play_with_a_sentence(
    crash: Path, path: Path, garbage: bytes, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer_with_garbage(link: Link) -> None:
        receive(link)
        link.sock.sendall(garbage)

    with listening(path, answer_with_garbage):
        assert replay(crash, "backend", path) == 1
    assert words in capsys.readouterr().out


def test_an_answer_that_nobody_asked_for_is_noted(crash: Path, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def eager(link: Link) -> None:
        answer(link, F.GET_STATUS, u64(3))
        obey(link, {F.GET_FEATURES: u64(1 << 30), F.GET_QUEUE_NUM: u64(4)})

    with listening(path, eager):
        assert replay(crash, "backend", path) == 1
    assert capsys.readouterr().out.startswith("+ GET_STATUS reply 0x3 ACKNOWLEDGE DRIVER, not in the recording\n")


def test_until_plays_a_part_and_its_answers(demo: Path, path: Path) -> None:
    said: list[str] = []
    with Background(lambda: backend.serve(str(path), connect=False, count=1, timeout=DEADLINE, say=said.append)):
        assert replay(demo, "backend", path, "--until", "1", "--speed", "1000") == 0
    assert said == ["back-end: session 1: 1 requests, 0 frames sent back"]


def rings(tmp_path: Path) -> Path:
    """Two regions of one memory, a ring that starts at 7 in the second, eventfds passed twice."""
    conversation = Talk(tmp_path / "rings.pcapng")
    peers = conversation.connect()
    peers.ask(F.SET_FEATURES, u64(1 << 32))
    table = u32(2, 0) + region(0, 1 << 20, RAM) + region(1 << 32, 1 << 20, RAM + (1 << 20), 1 << 20)
    ram = Descriptor(DescriptorKind.MEMFD, "memfd:7", None, "guest-ram", 4 << 20)
    peers.ask(F.SET_MEM_TABLE, table, ram, ram)
    peers.ask(F.SET_VRING_NUM, u32(0, 256))
    peers.ask(F.SET_VRING_BASE, u32(0, 7))
    ring = RAM + (1 << 20) + 0x1000
    peers.ask(F.SET_VRING_ADDR, u32(0, 0) + u64(ring, ring + 0x3000, ring + 0x2000, 0))
    peers.ask(F.SET_VRING_CALL, u64(0), eventfd(5))
    peers.ask(F.SET_VRING_CALL, u64(1), eventfd(5))
    peers.ask(F.SET_VRING_KICK, u64(0), eventfd(6))
    peers.ask(F.GET_VRING_BASE, u32(0, 0))
    peers.answer(F.GET_VRING_BASE, u32(0, 9))
    conversation.writer.close()
    return conversation.path


def test_objects_are_made_anew_and_equal_ones_stay_equal(tmp_path: Path, path: Path) -> None:
    def look(link: Link) -> None:
        receive(link, F.SET_FEATURES)
        memory = [describe(fd) for fd in receive(link, F.SET_MEM_TABLE).descriptors]
        assert memory[0] == memory[1]
        assert (memory[0].kind, memory[0].name, memory[0].size) == (DescriptorKind.MEMFD, "guest-ram", 4 << 20)
        for request in (F.SET_VRING_NUM, F.SET_VRING_BASE, F.SET_VRING_ADDR):
            receive(link, request)
        events = [describe(receive(link).take()) for _ in range(3)]
        assert [event.kind for event in events] == [DescriptorKind.EVENTFD] * 3
        assert events[0] == events[1] != events[2]
        receive(link, F.GET_VRING_BASE)
        answer(link, F.GET_VRING_BASE, u32(0, 0))  # another position: no data went through the ring
        assert link.receive() is None

    with listening(path, look):
        assert replay(rings(tmp_path), "backend", path) == 0


def test_rings_are_empty_where_they_start(tmp_path: Path, path: Path) -> None:
    def look(link: Link) -> None:
        receive(link, F.SET_FEATURES)
        table = receive(link, F.SET_MEM_TABLE)
        for _ in range(5):
            receive(link).close()
        receive(link, F.SET_VRING_KICK).close()
        with mmap.mmap(table.descriptors[1], 2 << 20) as memory:
            first = (1 << 20) + 0x1000
            flags_and_indices = (memory[first + 0x2000 : first + 0x2004], memory[first + 0x3000 : first + 0x3004])
            assert flags_and_indices == (b"\0\0\7\0", b"\0\0\7\0")
            assert not any(memory[: first + 0x2000])
        table.close()
        receive(link, F.GET_VRING_BASE)
        answer(link, F.GET_VRING_BASE, u32(0, 7))
        assert link.receive() is None

    with listening(path, look):
        assert replay(rings(tmp_path), "backend", path) == 0


def test_what_the_backend_made_is_given_back_as_it_made_it(tmp_path: Path, path: Path) -> None:
    conversation = Talk(tmp_path / "inflight.pcapng")
    peers = conversation.connect()
    wanted = struct.pack("<QQHH4x", 0, 0, 2, 128)
    recorded = struct.pack("<QQHH4x", 4096, 0, 2, 128)
    peers.ask(F.GET_INFLIGHT_FD, wanted)
    peers.answer(F.GET_INFLIGHT_FD, recorded, memfd(40, 4096))
    peers.ask(F.SET_INFLIGHT_FD, recorded, memfd(40, 4096))
    peers.ask(F.GET_FEATURES)
    peers.answer(F.GET_FEATURES, u64(0))
    conversation.writer.close()
    mine = struct.pack("<QQHH4x", 8192, 0, 2, 128)

    def look(link: Link) -> None:
        fd = os.memfd_create("mine")
        os.ftruncate(fd, 8192)
        assert receive(link, F.GET_INFLIGHT_FD).payload == wanted
        answer(link, F.GET_INFLIGHT_FD, mine, fd)
        back = receive(link, F.SET_INFLIGHT_FD)
        assert back.payload == mine
        assert os.path.sameopenfile(back.descriptors[0], fd)
        back.close()
        os.close(fd)
        receive(link, F.GET_FEATURES)
        answer(link, F.GET_FEATURES, u64(0))

    with listening(path, look):
        assert replay(conversation.path, "backend", path) == 0


def channel_talk(path: Path) -> Path:
    """A back-end that asks twice on its channel: once it is refused, once nobody waits for an answer."""
    conversation = Talk(path)
    peers = conversation.connect()
    peers.ask(F.GET_FEATURES)
    peers.answer(F.GET_FEATURES, u64(1 << 30))
    peers.ask(F.SET_BACKEND_REQ_FD, b"", talk.socket(501))
    channel = conversation.connect("pair:500-501", inodes=(500, 501))
    channel.say(1, B.BACKEND_CONFIG_CHANGE_MSG, flags=VERSION | NEED_REPLY)
    channel.say(0, B.BACKEND_CONFIG_CHANGE_MSG, u64(1), flags=VERSION | REPLY)
    channel.say(1, B.BACKEND_CONFIG_CHANGE_MSG)
    peers.ask(F.GET_CONFIG, u32(0, 4, 0) + bytes(4))
    peers.answer(F.GET_CONFIG, u32(0, 4, 0) + b"\1\2\3\4")
    conversation.writer.close()
    return path


def test_the_backend_channel_works(tmp_path: Path, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capture = channel_talk(tmp_path / "channel.pcapng")

    def talkative(link: Link) -> None:
        receive(link, F.GET_FEATURES)
        answer(link, F.GET_FEATURES, u64(1 << 30))
        channel = Link(socket.socket(fileno=receive(link, F.SET_BACKEND_REQ_FD).take()), "the player", DEADLINE)
        channel.send(B.BACKEND_CONFIG_CHANGE_MSG, VERSION | NEED_REPLY)
        assert receive(channel, B.BACKEND_CONFIG_CHANGE_MSG).payload == u64(1)
        channel.send(B.BACKEND_CONFIG_CHANGE_MSG, VERSION)
        # Only now does the recorded front-end go on.
        receive(link, F.GET_CONFIG)
        channel.send(B.BACKEND_VRING_CALL, VERSION | NEED_REPLY, u32(0, 0))
        assert receive(channel, B.BACKEND_VRING_CALL).payload == u64(0)
        answer(link, F.GET_CONFIG, u32(0, 4, 0) + b"\1\2\3\4")
        assert link.receive() is None
        assert channel.receive() is None
        channel.close()

    with listening(path, talkative):
        assert replay(capture, "backend", path) == 1
    assert capsys.readouterr().out == (
        "+ BACKEND_VRING_CALL need_reply vring 0, not in the recording\n"
        "session 1: 5 messages sent, 5 received, 4 compared: 1 difference\n"
    )


def test_a_request_of_the_backend_that_does_not_come_is_not_the_end(
    tmp_path: Path, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capture = channel_talk(tmp_path / "channel.pcapng")
    answers = {F.GET_FEATURES: u64(1 << 30), F.GET_CONFIG: u32(0, 4, 0) + b"\1\2\3\4"}
    with listening(path, lambda link: obey(link, {int(request): body for request, body in answers.items()})):
        # So long an answer may take; a request that may never come is given up at once where it is that short.
        assert replay(capture, "backend", path, "--timeout", "2") == 1
    assert capsys.readouterr().out.splitlines()[:2] == [
        "- #4 BACKEND_CONFIG_CHANGE_MSG need_reply, did not come",
        "- #6 BACKEND_CONFIG_CHANGE_MSG, did not come",
    ]


# --- a recorded back-end to a front-end -------------------------------------------------------------------------------


def test_the_demos_frontend_starts_on_a_recorded_backend(
    demo: Path, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []

    def run() -> int:
        return frontend.run(str(path), listen=False, count=1, timeout=3, say=said.append)

    with Background(run):
        assert replay(demo, "frontend", path, listens=True) == 1
    output = capsys.readouterr().out
    # Everything up to the frames, which nobody sends back.
    assert said == ["front-end: session 1 failed after 56 requests: the back-end did not call ring 0 for 3 s"]
    assert "the front-end closed the connection (the last message was " in output
    assert "; recorded next is " in output
    assert output.endswith("0 differences, not played to the end\n")
    stop = output.partition("recorded next is #")[2].partition(" ")[0]
    with Background(run):
        assert replay(demo, "frontend", path, "--until", str(int(stop) - 1), listens=True) == 0
    assert capsys.readouterr().out.endswith("all as recorded\n")


@pytest.fixture
def device(tmp_path: Path) -> Path:
    """A back-end with config space, an inflight buffer, and a request of its own in the middle."""
    conversation = Talk(tmp_path / "device.pcapng")
    peers = conversation.connect()
    peers.ask(F.GET_FEATURES)
    peers.answer(F.GET_FEATURES, u64(1 << 30 | 1 << 32))
    peers.ask(F.SET_PROTOCOL_FEATURES, u64(1 << 3 | 1 << 5))
    peers.ask(F.SET_BACKEND_REQ_FD, b"", talk.socket(501), need_reply=True)
    peers.answer(F.SET_BACKEND_REQ_FD, u64(0))
    channel = conversation.connect("pair:500-501", inodes=(500, 501))
    peers.ask(F.SET_FEATURES, u64(1 << 30 | 1 << 32))
    channel.say(1, B.BACKEND_CONFIG_CHANGE_MSG, flags=VERSION | NEED_REPLY)
    channel.say(0, B.BACKEND_CONFIG_CHANGE_MSG, u64(0), flags=VERSION | REPLY)
    peers.ask(F.GET_CONFIG, u32(0, 8, 0) + bytes(8))
    peers.answer(F.GET_CONFIG, u32(0, 8, 0) + bytes(range(8)))
    inflight = struct.pack("<QQHH4x", 8192, 0, 2, 128)
    peers.ask(F.GET_INFLIGHT_FD, struct.pack("<QQHH4x", 0, 0, 2, 128))
    peers.answer(F.GET_INFLIGHT_FD, inflight, memfd(40, 8192))
    peers.ask(F.SET_VRING_NUM, u32(0, 256))
    peers.ask(F.GET_VRING_BASE, u32(0, 0))
    peers.answer(F.GET_VRING_BASE, u32(0, 5))
    conversation.writer.close()
    return conversation.path


class Asking:
    """A front-end in the hands of a test."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.channel: Link | None = None

    def tell(self, request: int, payload: bytes = b"", *fds: int) -> None:
        self.link.send(request, VERSION, payload, fds)

    def ask(self, request: int, payload: bytes = b"", *fds: int, flags: int = VERSION) -> Incoming:
        self.link.send(request, flags, payload, fds)
        return receive(self.link, request)

    def start(self) -> None:
        """Everything of the recording up to SET_FEATURES."""
        assert self.ask(F.GET_FEATURES).payload == u64(1 << 30 | 1 << 32)
        self.tell(F.SET_PROTOCOL_FEATURES, u64(1 << 3 | 1 << 5))
        ours, theirs = socket.socketpair()
        self.channel = Link(ours, "the player", DEADLINE)
        with theirs:
            reply = self.ask(F.SET_BACKEND_REQ_FD, b"", theirs.fileno(), flags=VERSION | NEED_REPLY)
        assert reply.payload == u64(0)
        self.tell(F.SET_FEATURES, u64(1 << 30 | 1 << 32))

    def serve_channel(self, value: int = 0) -> None:
        assert self.channel is not None
        message = receive(self.channel, B.BACKEND_CONFIG_CHANGE_MSG)
        assert message.flags == VERSION | NEED_REPLY
        answer(self.channel, B.BACKEND_CONFIG_CHANGE_MSG, u64(value))

    def stop(self) -> None:
        inflight = self.ask(F.GET_INFLIGHT_FD, struct.pack("<QQHH4x", 0, 0, 2, 128))
        made = describe(inflight.descriptors[0])
        assert (made.kind, made.size) == (DescriptorKind.MEMFD, 8192)
        inflight.close()
        self.tell(F.SET_VRING_NUM, u32(0, 256))
        assert self.ask(F.GET_VRING_BASE, u32(0, 0)).payload == u32(0, 5)

    def close(self) -> None:
        self.link.close()
        if self.channel:
            self.channel.close()


def front(path: Path, device: Path, act: Callable[[Asking], object], *words: str) -> int:
    def run(link: Link) -> None:
        asking = Asking(link)
        try:
            act(asking)
        finally:
            asking.close()

    with listening(path, run):
        return replay(device, "frontend", path, *words)


def test_a_recorded_backend_says_again_what_it_said(
    device: Path, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = set(os.listdir("/proc/self/fd"))

    def act(asking: Asking) -> None:
        asking.start()
        asking.serve_channel()
        assert asking.ask(F.GET_CONFIG, u32(0, 8, 0) + bytes(8)).payload == u32(0, 8, 0) + bytes(range(8))
        asking.stop()

    assert front(path, device, act, "--speed", "100") == 0
    assert capsys.readouterr().out == "session 1: 6 messages sent, 9 received, 9 compared: all as recorded\n"
    assert set(os.listdir("/proc/self/fd")) == before


def test_another_order_and_asking_again_are_no_differences(device: Path, path: Path) -> None:
    def act(asking: Asking) -> None:
        asking.start()
        asking.serve_channel()
        asking.stop()
        for _ in range(3):
            assert asking.ask(F.GET_FEATURES).payload == u64(1 << 30 | 1 << 32)
            assert asking.ask(F.GET_CONFIG, u32(0, 8, 0) + bytes(8)).payload[12:] == bytes(range(8))

    assert front(path, device, act) == 0


def test_what_was_not_asked_then_is_answered_as_well_as_can_be_and_noted(
    device: Path, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def act(asking: Asking) -> None:
        asking.start()
        asking.serve_channel(value=1)
        assert asking.ask(F.GET_CONFIG, u32(4, 8, 0) + bytes(8)).payload == u32(4, 8, 0) + b"\4\5\6\7\0\0\0\0"
        asking.stop()
        assert asking.ask(F.GET_VRING_BASE, u32(1, 0)).payload == u32(1, 5)
        assert asking.ask(F.GET_QUEUE_NUM).payload == u64(0)
        assert asking.ask(F.NET_SET_MTU, u64(1500), flags=VERSION | NEED_REPLY).payload == u64(0)
        asking.tell(77, b"abc")
        asking.tell(F.SET_FEATURES, u64(1 << 32))

    assert front(path, device, act) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "  #8 BACKEND_CONFIG_CHANGE_MSG ack" in lines
    at = lines.index("  #9 GET_CONFIG")
    assert lines[at + 1 : at + 3] == ["    - offset 0", "    + offset 4"]
    at = lines.index("  #13 SET_VRING_NUM") if "  #13 SET_VRING_NUM" in lines else 0
    assert at == 0
    assert "+ GET_QUEUE_NUM, not in the recording" in lines
    assert "+ NET_SET_MTU need_reply 1500, not in the recording" in lines
    assert any(line.startswith("+ REQUEST_77") for line in lines)
    at = lines.index("  #6 SET_FEATURES")
    assert lines[at + 3] == "      without PROTOCOL_FEATURES"


def test_a_request_that_was_left_out_is_missing(device: Path, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def act(asking: Asking) -> None:
        asking.start()
        asking.serve_channel()
        asking.stop()

    assert front(path, device, act) == 1
    assert capsys.readouterr().out.splitlines()[0] == "- #9 GET_CONFIG offset 0 size 8, did not come"


@pytest.mark.parametrize("silent", [False, True])
def test_a_frontend_that_stops_early_is_told_where(
    device: Path, path: Path, silent: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    def act(asking: Asking) -> None:
        asking.start()
        asking.serve_channel()
        if silent:
            assert asking.link.receive() is None

    assert front(path, device, act, "--timeout", "0.5" if silent else "30") == 1
    output = capsys.readouterr().out
    how = "said nothing for 0.5 s" if silent else "closed the connection"
    assert f"the front-end {how} (the last message was " in output
    assert "; recorded next is #9 GET_CONFIG and 3 more\n" in output


def test_what_comes_after_the_part_that_is_played_is_answered_and_not_compared(device: Path, path: Path) -> None:
    def act(asking: Asking) -> None:
        asking.start()
        assert asking.ask(F.NET_SET_MTU, u64(1500), flags=VERSION | NEED_REPLY).payload == u64(0)
        asking.tell(F.SET_FEATURES, u64(0))

    assert front(path, device, act, "--until", "6") == 0


# --- what is refused --------------------------------------------------------------------------------------------------


def one_message(path: Path, code: int, body: bytes = b"", fds: tuple[Descriptor, ...] = ()) -> Path:
    conversation = Talk(path)
    peers = conversation.connect()
    peers.ask(F.SET_OWNER)
    peers.ask(code, body, *fds)
    conversation.writer.close()
    return path


def passing(kind: DescriptorKind, name: str | None = None) -> Callable[[Path], Path]:
    return lambda path: one_message(path, F.SET_VRING_CALL, u64(0), (Descriptor(kind, None, 5, name),))


def late(path: Path) -> Path:
    conversation = Talk(path)
    conversation.connect(late=True).ask(F.SET_OWNER)
    conversation.writer.close()
    return path


def lost(path: Path) -> Path:
    conversation = Talk(path)
    peers = conversation.connect()
    peers.ask(F.SET_OWNER)
    conversation.writer.lost(Lost(peers.connection.id, conversation.now, 3))
    peers.ask(F.SET_OWNER)
    conversation.writer.close()
    return path


def raw(path: Path) -> Path:
    conversation = Talk(path)
    peers = conversation.connect()
    peers.ask(F.SET_OWNER)
    peers.raw(0, b"what is this")
    conversation.writer.close()
    return path


def cut(path: Path) -> Path:
    with CaptureWriter(path, source="test") as writer:
        connection = writer.open("/run/vm.sock", opened_ns=1)
        writer.frame(Frame(connection.id, 0, 1, struct.pack("<III", 8, 1, 8) + bytes(3), missing=5))
    return path


def foreign(path: Path) -> Path:
    order = "big" if sys.byteorder == "little" else "little"
    with CaptureWriter(path, source="test", order=order) as writer:
        connection = writer.open("/run/vm.sock", opened_ns=1)
        writer.frame(Frame(connection.id, 0, 1, struct.pack(">III", 3, 1, 0)))
    return path


def nothing(path: Path) -> Path:
    conversation = Talk(path)
    conversation.connect()
    conversation.writer.close()
    return path


STATE = u32(1, 0)


@pytest.mark.parametrize(
    ("make", "words", "sentence"),
    [
        (passing(DescriptorKind.UNKNOWN), (), "message #2 SET_VRING_CALL passes a descriptor of an unknown kind"),
        (passing(DescriptorKind.DEVICE, "/dev/vfio"), (), 'SET_VRING_CALL passes a descriptor (device "/dev/vfio") of'),
        (
            passing(DescriptorKind.OTHER, "anon_inode:[x]"),
            (),
            'a descriptor (other "anon_inode:[x]") of which no equal',
        ),
        (late, (), "session 1 was joined late: what came before message #1 is unknown; choose another with --session"),
        (lost, (), "3 messages were lost before message #2: what they said cannot be played"),
        (raw, (), "message #2 is 12 bytes without a vhost-user header: not played"),
        (cut, (), "message #1 is truncated: 5 bytes of it were not captured; record without a snaplen"),
        (foreign, (), "message #1 is of a big-endian host: it can only be played on such a host"),
        (nothing, (), "the capture holds no session to play"),
        (lambda path: one_message(path, F.POSTCOPY_ADVISE), (), "message #2 POSTCOPY_ADVISE is about post-copy"),
        (lambda path: one_message(path, F.SET_DEVICE_STATE_FD, STATE), (), "message #2 SET_DEVICE_STATE_FD is about"),
        (lambda path: one_message(path, F.SET_OWNER), ("--session", "2"), "--session 2: there are sessions 1 to 1"),
        (lambda path: one_message(path, F.SET_OWNER), ("--until", "0"), "--until 0: session 1 begins with message 1"),
    ],
)
def test_what_cannot_be_played_is_refused_before_anybody_is_called(
    tmp_path: Path,
    make: Callable[[Path], Path],
    words: tuple[str, ...],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # There is nobody at the path: the refusal comes first.
    assert replay(make(tmp_path / "odd.pcapng"), "backend", tmp_path / "nobody.sock", *words) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


def test_the_part_before_what_cannot_be_played_is_played(tmp_path: Path, path: Path) -> None:
    for make in (lost, raw, passing(DescriptorKind.UNKNOWN)):
        with listening(path, lambda link: obey(link, {F.GET_FEATURES: u64(0)})):
            assert replay(make(tmp_path / "odd.pcapng"), "backend", path, "--until", "1") == 0


def test_a_backend_without_a_word_cannot_be_played(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capture = one_message(tmp_path / "mute.pcapng", F.SET_OWNER)
    assert replay(capture, "frontend", tmp_path / "nobody.sock") == 2
    assert "session 1 holds no message of the back-end: there is nothing to play" in capsys.readouterr().err


def test_nobody_there_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capture = one_message(tmp_path / "one.pcapng", F.SET_OWNER)
    path = tmp_path / "nobody.sock"
    before = set(os.listdir("/proc/self/fd"))
    assert replay(capture, "backend", path, "--timeout", "0.1") == 2
    assert f"nobody listens at {path}: waited 0.1 s" in capsys.readouterr().err
    assert replay(capture, "backend", path, "--timeout", "0.1", listens=True) == 2
    assert f"nobody connected to {path}: waited 0.1 s" in capsys.readouterr().err
    assert not path.exists()
    assert set(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("words", [["--speed", "-1"], ["--speed", "nan"], ["--timeout", "0"], ["--timeout", "x"]])
def test_numbers_that_mean_nothing_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["replay", "x", "--to", "backend", "--connect", "y", *words])
    assert ended.value.code == 2
    assert "is no " in capsys.readouterr().err


def test_a_large_message_is_played_whole(tmp_path: Path, path: Path) -> None:
    conversation = Talk(tmp_path / "large.pcapng")
    body = os.urandom(3 << 20)
    conversation.connect().ask(77, body)
    conversation.writer.close()

    def look(link: Link) -> None:
        link.sock.settimeout(DEADLINE)
        data = bytearray()
        while len(data) < 12 + len(body):
            part = link.sock.recv(12 + len(body) - len(data))
            assert part
            data += part
        assert bytes(data[12:]) == body
        receive(link, F.GET_FEATURES)
        answer(link, F.GET_FEATURES, u64(0))

    with listening(path, look):
        assert replay(conversation.path, "backend", path) == 0


def test_json_names_what_ended_the_play(crash: Path, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with listening(path, lambda link: receive(link, F.GET_FEATURES)):
        assert replay(crash, "backend", path, "--json") == 1
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert result["ended"].startswith("the back-end closed the connection")
    assert (result["session"], result["played"], result["sent"], result["same"]) == (1, "frontend", 1, False)
