"""Recorded front-ends, played to back-ends that do one thing each."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import socket
import struct
from pathlib import Path
from typing import Any

import pytest
import talk
from playing import DEADLINE, NEED_REPLY, REPLY, VERSION, answer, listening, obey, receive, replay
from talk import Talk, eventfd, memfd, region, u32, u64

from vusniff.demo.wire import DemoSocket, PeerError
from vusniff.families.vhost_user.protocol import BackendRequest as B
from vusniff.families.vhost_user.protocol import FrontendRequest as F
from vusniff.families.vhost_user.protocol import GpuRequest as G
from vusniff.record import Descriptor, DescriptorKind
from vusniff.sources.host.descriptors import describe

RAM = 0x7F0000000000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "peer.sock"


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
    def dies(link: DemoSocket) -> None:
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
        (b"\xff" * 12, "the back-end sent what is not a vhost-user message: ff ff ff"),
        (b"\x01\0\0", "the back-end closed the connection inside a message"),
        (struct.pack("<III", 1, 5, 8), "the back-end closed the connection inside a message"),
        (struct.pack("<III", 1, 5, 200 << 20), "the back-end sent what is not a vhost-user message"),
    ],
)
def test_garbage_ends_the_play_with_a_sentence(
    crash: Path, path: Path, garbage: bytes, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer_with_garbage(link: DemoSocket) -> None:
        receive(link)
        link.sock.sendall(garbage)

    with listening(path, answer_with_garbage):
        assert replay(crash, "backend", path) == 1
    assert words in capsys.readouterr().out


def test_an_answer_that_nobody_asked_for_is_noted(crash: Path, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def eager(link: DemoSocket) -> None:
        answer(link, F.GET_STATUS, u64(3))
        obey(link, {F.GET_FEATURES: u64(1 << 30), F.GET_QUEUE_NUM: u64(4)})

    with listening(path, eager):
        assert replay(crash, "backend", path) == 1
    assert capsys.readouterr().out.startswith("+ GET_STATUS reply 0x3 ACKNOWLEDGE DRIVER, not in the recording\n")


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
    def look(link: DemoSocket) -> None:
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
    def look(link: DemoSocket) -> None:
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

    def look(link: DemoSocket) -> None:
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

    def talkative(link: DemoSocket) -> None:
        receive(link, F.GET_FEATURES)
        answer(link, F.GET_FEATURES, u64(1 << 30))
        channel = DemoSocket(socket.socket(fileno=receive(link, F.SET_BACKEND_REQ_FD).take()), "the player", DEADLINE)
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


def gpu_talk(path: Path) -> Path:
    """A back-end that asks for the features of the GPU protocol, and then goes on."""
    conversation = Talk(path)
    peers = conversation.connect()
    peers.ask(F.GPU_SET_SOCKET, b"", talk.socket(601))
    gpu = conversation.connect("pair:600-601", inodes=(600, 601))
    gpu.say(1, G.GPU_GET_PROTOCOL_FEATURES, flags=0)
    gpu.say(0, G.GPU_GET_PROTOCOL_FEATURES, u64(3), flags=REPLY)
    gpu.say(1, G.GPU_SCANOUT, u32(0, 640, 480), flags=0)
    peers.ask(F.GET_FEATURES)
    peers.answer(F.GET_FEATURES, u64(0))
    conversation.writer.close()
    return path


def test_the_gpu_socket_works(tmp_path: Path, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def paints(link: DemoSocket) -> None:
        with socket.socket(fileno=receive(link, F.GPU_SET_SOCKET).take()) as gpu:
            gpu.settimeout(DEADLINE)
            for _ in range(2):  # asked once more than recorded
                gpu.sendall(struct.pack("<III", G.GPU_GET_PROTOCOL_FEATURES, 0, 0))
                assert gpu.recv(20) == struct.pack("<IIIQ", G.GPU_GET_PROTOCOL_FEATURES, REPLY, 8, 3)
            gpu.sendall(struct.pack("<IIIIII", G.GPU_SCANOUT, 0, 12, 0, 800, 480))
            receive(link, F.GET_FEATURES)
            answer(link, F.GET_FEATURES, u64(0))
            assert link.receive() is None

    with listening(path, paints):
        assert replay(gpu_talk(tmp_path / "gpu.pcapng"), "backend", path) == 1
    assert capsys.readouterr().out.splitlines()[:4] == [
        "+ GPU_GET_PROTOCOL_FEATURES, not in the recording",
        "  #4 GPU_SCANOUT",
        "    - w 640",
        "    + w 800",
    ]


def test_pipes_have_the_end_that_the_request_needs(tmp_path: Path, path: Path) -> None:
    conversation = Talk(tmp_path / "pipes.pcapng")
    peers = conversation.connect()
    peers.ask(F.SET_VRING_KICK, u64(0), Descriptor(DescriptorKind.PIPE, "pipe:1"))
    peers.ask(F.SET_VRING_CALL, u64(0), Descriptor(DescriptorKind.PIPE, "pipe:2"))
    peers.ask(F.SET_VRING_ERR, u64(0), talk.socket(77))
    conversation.writer.close()

    def look(link: DemoSocket) -> None:
        kick, call, err = (receive(link).take() for _ in range(3))
        with pytest.raises(BlockingIOError):
            os.read(kick, 8)
        assert os.write(call, bytes(8)) == 8
        assert os.write(err, bytes(8)) == 8
        for fd in (kick, call, err):
            os.close(fd)
        receive(link, F.GET_FEATURES)
        answer(link, F.GET_FEATURES, u64(0))

    with listening(path, look):
        assert replay(conversation.path, "backend", path) == 0


def test_a_backend_that_never_stops_speaking_has_a_deadline(crash: Path, path: Path) -> None:
    def floods(link: DemoSocket) -> None:
        with contextlib.suppress(PeerError):
            while True:
                answer(link, F.GET_STATUS, u64(0))

    with listening(path, floods):
        assert replay(crash, "backend", path, "--timeout", "0.3") == 1


def test_a_large_message_is_played_whole(tmp_path: Path, path: Path) -> None:
    conversation = Talk(tmp_path / "large.pcapng")
    body = os.urandom(3 << 20)
    conversation.connect().ask(77, body)
    conversation.writer.close()

    def look(link: DemoSocket) -> None:
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
