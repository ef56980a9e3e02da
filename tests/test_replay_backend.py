"""Recorded back-ends, played to front-ends that do one thing each."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import talk
from playing import DEADLINE, NEED_REPLY, REPLY, VERSION, answer, listening, receive, replay
from talk import Talk, memfd, u32, u64

from vusniff.demo.wire import DemoSocket, Incoming
from vusniff.families.vhost_user.protocol import BackendRequest as B
from vusniff.families.vhost_user.protocol import FrontendRequest as F
from vusniff.record import DescriptorKind
from vusniff.sources.host.descriptors import describe


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "peer.sock"


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

    def __init__(self, link: DemoSocket) -> None:
        self.link = link
        self.channel: DemoSocket | None = None

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
        self.channel = DemoSocket(ours, "the player", DEADLINE)
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
    def run(link: DemoSocket) -> None:
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
