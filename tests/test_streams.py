"""One odd header, from the socket to what `vusniff check` says: the rest of the direction is read, and who sent it is
told."""

from __future__ import annotations

import os
import socket
import struct
import sys
from pathlib import Path

import pytest
from probing import connected, message, recording, why_no_probe
from talk import u32, u64
from test_relay import Stage

from vusniff.analysis.timeline import Timeline, read_all
from vusniff.capture.index import Index
from vusniff.capture.writer import CaptureWriter
from vusniff.cli import main
from vusniff.families.framing import Framer
from vusniff.families.vhost_user.protocol import FrontendRequest as F
from vusniff.record import Chunk, Closed, FrameKind

FEATURES = u64(1 << 32 | 1 << 30)
BEFORE = [(0, message(F.GET_FEATURES)), (1, message(F.GET_FEATURES, FEATURES, 5)), (0, message(F.SET_OWNER))]
AFTER = [
    (0, message(F.SET_FEATURES, FEATURES)),
    (0, message(F.GET_FEATURES)),
    (1, message(F.GET_FEATURES, FEATURES, 5)),
    (0, message(F.GET_VRING_BASE, u32(0, 0))),
    (1, message(F.GET_VRING_BASE, u32(0, 0), 5)),
]
ODD = {
    "no request": message(0, bytes(8)),
    "no version": message(F.SET_LOG_FD, flags=0),
    "4 GiB": struct.pack("=III", F.SET_VRING_NUM, 1, 0xFFFFFFFF) + u32(0, 256),
    "256 MiB": struct.pack("=III", F.SET_VRING_NUM, 1, 256 << 20) + u32(0, 256),
    "all ones": b"\xff" * 12,
    "larger than its layout": message(F.SET_VRING_NUM, u32(0, 256) + bytes(32)),
}
SAID = {
    "no request": "request 0 on the main channel is not in the specification",
    "no version": "SET_LOG_FD has version 0",
    "4 GiB": "SET_VRING_NUM says that 4294967295 bytes of payload follow; 8 bytes came before #",
    "256 MiB": "SET_VRING_NUM says that 268435456 bytes of payload follow; 8 bytes came before #",
    "all ones": "sends 12 bytes that do not begin a message: ff ff ff ff ff ff ff ff ff ff ff ff",
    "larger than its layout": "SET_VRING_NUM has 40 bytes, 32 more than the 8 that vring_state has",
}


def _capture(file: Path, sends: list[tuple[int, bytes]], by: int | None = 0) -> Path:
    """What a source writes of these sends."""
    framers = Framer(), Framer()
    with CaptureWriter(file, source="test") as writer:
        connection = writer.open("/run/vm1.sock", opened_ns=0).id
        for now, (end, data) in enumerate(sends, 1):
            for frame in framers[end].feed(Chunk(connection, end, now * 1000, data)):
                writer.frame(frame)
        if by is not None:
            for framer in framers:
                for frame in framer.end(10**6, closed=True):
                    writer.frame(frame)
            writer.close_connection(Closed(connection, 10**6, "eof", by))
    return file


def _check(capsys: pytest.CaptureFixture[str], file: Path) -> tuple[int, str]:
    status = main(["check", str(file)])
    return status, " ".join(capsys.readouterr().out.split())


@pytest.mark.skipif(sys.byteorder != "little", reason="the captures of this test are written for little-endian hosts")
@pytest.mark.parametrize("end", [0, 1], ids=["front-end", "back-end"])
@pytest.mark.parametrize("name", ODD)
def test_what_comes_after_an_odd_header_is_read_and_nobody_else_is_blamed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str, end: int
) -> None:
    odd = ODD[name] if end == 0 or name == "all ones" else ODD[name][:4] + b"\5" + ODD[name][5:]
    file = _capture(tmp_path / "odd.pcapng", [*BEFORE, (end, odd), *AFTER])
    with Index(file) as index:
        index.update()
        frames = list(index.frames())
    for side in (0, 1):
        sent = [data for sender, data in [*BEFORE, (end, odd), *AFTER] if sender == side]
        assert [frame.data for frame in frames if frame.end == side] == sent
    assert sum(frame.kind is not FrameKind.MESSAGE for frame in frames) == (name == "all ones")
    timeline = Timeline(Index(file))
    read_all(timeline, judge=True)
    timeline.conclude()
    # A reply to nothing is the back-end's fault; that the front-end goes on all the same has a rule of its own.
    blamed = {one.side.value for one in timeline.findings if one.rule != "goes-on-after-wrong-reply"}
    assert blamed == {("frontend", "backend")[end]}, timeline.findings
    status, out = _check(capsys, file)
    assert status == (0 if end == 0 and name in ("larger than its layout", "no request") else 1), out
    assert SAID[name] in out or (end == 1 and name in ("no version", "larger than its layout"))


@pytest.mark.parametrize("end", [0, 1], ids=["front-end", "back-end"])
def test_a_stream_that_is_lost_for_good_does_not_pass(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, end: int
) -> None:
    file = _capture(tmp_path / "lost.pcapng", [*BEFORE, (end, b"\xff" * 12), (end, bytes(40)), (end, b"more")], None)
    status, out = _check(capsys, file)
    who = ("front-end", "back-end")[end]
    assert status == 1
    assert f"nothing that the {who} sent from #4 on could be read as a message" in out
    assert {"front-end": "back-end SET_", "back-end": "front-end SET_"}[who] not in out


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (
            message(F.SET_VRING_NUM, u32(0, 256))[:19],
            "the front-end closed after 7 of 8 bytes of SET_VRING_NUM's payload",
        ),
        (message(F.SET_VRING_NUM, u32(0, 256))[:12], "the front-end closed after the header of SET_VRING_NUM"),
        (message(F.SET_VRING_NUM)[:7], "the front-end closed after 7 of 12 bytes of a header"),
    ],
)
def test_a_peer_that_ends_within_a_message(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, part: bytes, words: str
) -> None:
    status, out = _check(capsys, _capture(tmp_path / "cut.pcapng", [*BEFORE, (0, part)]))
    assert status == 1
    assert words in out


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path / "capture.pcapng")


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("joined", [False, True], ids=["send by send", "joined"])
def test_through_the_proxy_a_channel_is_followed_behind_an_odd_header(stage: Stage, name: str, joined: bool) -> None:
    ours, theirs = socket.socketpair()
    opening = message(F.SET_BACKEND_REQ_FD)
    try:
        with ours, theirs:
            if joined:
                stage.left.send(message(F.SET_OWNER) + ODD[name])
            else:
                stage.left.send(message(F.SET_OWNER))
                stage.left.send(ODD[name])
            socket.send_fds(stage.left, [opening], [theirs.fileno()])
            got = b""
            passed: list[int] = []
            while len(got) < 12 + len(ODD[name]) + 12:
                data, fds = stage.receive(stage.right, 4096)
                got, passed = got + data, passed + fds
            assert got == message(F.SET_OWNER) + ODD[name] + opening
            with socket.socket(fileno=passed[0]) as channel:
                channel.send(message(2, flags=9))
                assert stage.receive(ours, 100)[0] == message(2, flags=9)
        frames = stage.frames()
    finally:
        stage.close()
    assert [frame.data for frame in frames] == [message(F.SET_OWNER), ODD[name], opening, message(2, flags=9)]
    assert [frame.connection for frame in frames] == [1, 1, 1, 2]
    assert [len(frame.descriptors) for frame in frames] == [0, 0, 1, 0]


@pytest.mark.slow
@pytest.mark.skipif(bool(why_no_probe()), reason=f"the probe needs {why_no_probe()}")
@pytest.mark.parametrize("name", ODD)
def test_the_probe_sees_the_same_messages(tmp_path: Path, name: str) -> None:
    path, file = str(tmp_path / "vm.sock"), tmp_path / "probe.pcapng"
    sends = [message(F.SET_OWNER), ODD[name], message(F.SET_FEATURES, FEATURES), message(F.SET_OWNER)]
    with recording(file, "--pid", str(os.getpid())) as seen:  # other programs of the host talk, too
        left, right = connected(path)
        with left, right:
            for data in sends:
                left.send(data)
                assert right.recv(4096) == data
        seen.finish()
        assert seen.data(0) == sends
