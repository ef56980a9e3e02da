"""Replays against the demo's front-end and back-end, what is refused, and the command."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from playing import DEADLINE, NEED_REPLY, REPLY, VERSION, Background, listening, obey, replay
from talk import Talk, u32, u64

from vusniff.capture.writer import CaptureWriter
from vusniff.cli import main
from vusniff.demo import backend, frontend
from vusniff.families.vhost_user.protocol import BackendRequest as B
from vusniff.families.vhost_user.protocol import FrontendRequest as F
from vusniff.record import Descriptor, DescriptorKind, Frame, Lost


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
    assert lines[:5] == [
        "  #2, #12, #22, #27 GET_FEATURES reply",
        "    - u64 0x140438028",
        "    + u64 0x140438088",
        "      without MAC",
        "      with GUEST_TSO4",
    ]
    at = next(number for number, line in enumerate(lines) if "GET_CONFIG reply" in line)
    assert lines[at + 1 : at + 3] == ["    - config.mtu 1500", "    + config.mtu 9000"]
    assert lines[-1].endswith("differences")
    assert found["same"] is False
    assert found["ended"] is None
    changes = [(one["name"], change["field"]) for one in found["differences"] for change in one["changes"]]
    assert set(changes) == {("GET_FEATURES", "u64"), ("GET_CONFIG", "config.mtu")}
    assert found["differences"][0]["changes"][0]["removed"] == ["VIRTIO_NET_F_MAC"]
    assert found["differences"][0]["recorded"]["number"] == 2


def test_until_plays_a_part_and_its_answers(demo: Path, path: Path) -> None:
    said: list[str] = []
    with Background(lambda: backend.serve(str(path), connect=False, count=1, timeout=DEADLINE, say=said.append)):
        assert replay(demo, "backend", path, "--until", "1", "--speed", "1000") == 0
    assert said == ["back-end: session 1: 1 requests, 0 frames sent back"]


@pytest.mark.slow
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


def first(path: Path) -> Path:
    conversation = Talk(path)
    conversation.connect().ask(F.POSTCOPY_LISTEN)
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
        (nothing, (), "no messages: there is nothing to play"),
        (
            lambda path: one_message(path, F.POSTCOPY_ADVISE),
            (),
            "message #2 POSTCOPY_ADVISE is about post-copy migration: its pages are not in the capture; "
            "play what is before it with --until 1\n",
        ),
        (first, (), "message #1 POSTCOPY_LISTEN is about post-copy migration: its pages are not in the capture\n"),
        (
            lambda path: one_message(path, F.SET_DEVICE_STATE_FD, STATE),
            (),
            "message #2 SET_DEVICE_STATE_FD is about device state, which is not in the capture; "
            "play what is before it with --until 1\n",
        ),
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


def test_a_channel_without_its_session_cannot_be_played(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    conversation = Talk(tmp_path / "channel.pcapng")
    channel = conversation.connect("pair:500-501", inodes=(500, 501))
    channel.say(1, B.BACKEND_CONFIG_CHANGE_MSG, flags=VERSION | NEED_REPLY)
    channel.say(0, B.BACKEND_CONFIG_CHANGE_MSG, u64(1), flags=VERSION | REPLY)
    conversation.writer.close()
    for to in ("backend", "frontend"):
        assert replay(conversation.path, to, tmp_path / "nobody.sock") == 2
        assert "session 1 holds no request of the front-end: there is nothing to play" in capsys.readouterr().err


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
    assert re.search(r"is not a |too short a time", capsys.readouterr().err)
