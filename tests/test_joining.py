"""A message that is larger than a packet is one message to every reader, however its packets lie among others."""

from __future__ import annotations

import json
import struct
from itertools import starmap
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from talk import START_NS, Talk, socket, u32

from vusniff.analysis.timeline import Timeline, read_all
from vusniff.capture import joining
from vusniff.capture.index import Index
from vusniff.capture.packet import FRAME_LIMIT
from vusniff.capture.reader import CaptureReader
from vusniff.checks.finding import Side
from vusniff.cli import main
from vusniff.families.framing import FRAME_LIMIT as FRAMED
from vusniff.families.framing import Framer
from vusniff.families.vhost_user.protocol import FrontendRequest as F
from vusniff.families.vhost_user.protocol import GpuRequest as G
from vusniff.record import Chunk, Closed, Descriptor, DescriptorKind, Facts, Frame, FrameKind

WIDTH, HEIGHT = 640, 480
PIXELS = bytes(range(256)) * (WIDTH * HEIGHT * 4 // 256)
UPDATE = u32(G.GPU_UPDATE, 0, 20 + len(PIXELS)) + u32(0, 0, 0, WIDTH, HEIGHT) + PIXELS
"""1.2 MB: the whole of a display."""


def _said(talk: Talk, connection: int, end: int, data: bytes, *, late: bool = False) -> None:
    """What a source writes of one send."""
    framer = Framer("little", late)
    for frame in framer.feed(Chunk(connection, end, talk.now, data)):
        talk.writer.frame(frame)


def display(path: Path, between: bool = True) -> Talk:
    """A GPU with updates of its whole display, and a front-end that speaks in between."""
    talk = Talk(path)
    main_ = talk.connect()
    main_.ask(F.GET_FEATURES)
    main_.ask(F.GPU_SET_SOCKET, b"", socket(6))
    gpu = talk.connect("pair:5-6", inodes=(5, 6))
    for number in range(3):
        talk.now += 1000
        _said(talk, gpu.connection.id, 1, UPDATE)
        if between:
            main_.ask(F.GET_STATUS)
        _said(talk, gpu.connection.id, 1, u32(G.GPU_CURSOR_POS_HIDE, 0, 12) + u32(number, 0, 0))
    talk.writer.close()
    return talk


def test_every_view_has_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    talk = display(tmp_path / "gpu.pcapng")
    path = str(talk.path)
    assert main(["read", path]) == 0
    text = capsys.readouterr().out
    assert text.count("\n") == 2 + 3 * 3
    assert text.count("GPU_UPDATE") == 3
    assert "MALFORMED" not in text
    assert "no header" not in text
    assert main(["read", "--json", path]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["number"] for line in lines] == list(range(1, 12))
    updates = [line for line in lines if line["name"] == "GPU_UPDATE"]
    assert [line["size"] for line in updates] == [20 + len(PIXELS)] * 3
    assert all(line.get("malformed") is None for line in updates)
    assert main(["check", path]) in (0, 1)
    assert "GPU_UPDATE" not in capsys.readouterr().out
    with Index(path) as index:
        timeline = Timeline(index)
        read_all(timeline, judge=True)
        assert len(timeline) == 11
        assert timeline.message(2).data == UPDATE
        assert [message.data for message in timeline.messages()].count(UPDATE) == 3


@pytest.mark.parametrize("rows", [1, 3, 8192])
def test_readers_agree_however_much_they_read_at_once(tmp_path: Path, rows: int) -> None:
    """With bytes and without, in any portions: the same messages have the same numbers."""
    talk = display(tmp_path / "gpu.pcapng")
    with CaptureReader(talk.path) as reader:
        whole = [(frame.kind, frame.data) for frame in reader.records() if isinstance(frame, Frame)]
    with Index(talk.path) as index:
        while index.update(rows):
            pass
        assert [(frame.kind, frame.data) for frame in index.frames()] == whole
        assert [(frame.kind, frame.data) for frame in starmap(Frame, index.rows(0, len(index)))] == whole
        assert [index.packet(row)[0] for row in range(len(index))] == [data for _, data in whole]
        assert [index.frame(row).data for row in reversed(range(len(index)))] == [data for _, data in reversed(whole)]
    assert {kind for kind, _ in whole} == {FrameKind.MESSAGE}


def test_events_stand_where_they_stood(tmp_path: Path) -> None:
    talk = Talk(tmp_path / "gpu.pcapng")
    gpu = talk.connect("pair:5-6", inodes=(5, 6))
    _said(talk, gpu.connection.id, 1, UPDATE)
    talk.writer.close_connection(Closed(gpu.connection.id, talk.now, "eof", 1))
    talk.connect().ask(F.GET_FEATURES)
    talk.writer.close()
    with Index(talk.path) as index:
        index.update()
        assert len(index) == 2
        assert [row for row, event in index.events if isinstance(event, Closed) and event.reason == "eof"] == [1]


def test_descriptors_of_all_packets_are_those_of_the_message(tmp_path: Path) -> None:
    fds = tuple(Descriptor(DescriptorKind.EVENTFD, f"eventfd:{number}") for number in (7, 8))
    talk = Talk(tmp_path / "gpu.pcapng")
    gpu = talk.connect("pair:5-6", inodes=(5, 6))
    pieces = [UPDATE[at : at + FRAME_LIMIT] for at in range(0, len(UPDATE), FRAME_LIMIT)]
    for number, piece in enumerate(pieces):
        kind = FrameKind.CONTINUATION if number else FrameKind.MESSAGE
        passed = (fds[0],) if number == 0 else (fds[1],) if number == 2 else ()
        talk.writer.frame(Frame(gpu.connection.id, 1, START_NS + number, piece, Facts(passed), kind=kind))
    talk.writer.close()
    with Index(talk.path) as index:
        index.update()
        assert (index.frame(0).data, index.frame(0).descriptors) == (UPDATE, fds)
    with CaptureReader(talk.path) as reader:
        (frame,) = [one for one in reader.records() if isinstance(one, Frame)]
        assert (frame.data, frame.descriptors) == (UPDATE, fds)


def test_what_is_too_much_to_hold_counts_as_not_captured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "JOINED_LIMIT", FRAME_LIMIT * 2)
    talk = display(tmp_path / "gpu.pcapng", between=False)
    with Index(talk.path) as index:
        index.update()
        frame = index.frame(2)
        assert len(frame.data) == FRAME_LIMIT * 2
        assert len(frame.data) + frame.missing == len(UPDATE)


@pytest.mark.parametrize("cut", range(1, 6))
def test_a_file_that_ends_within_a_message(tmp_path: Path, cut: int) -> None:
    """Its packets that are there are one message, and it is not its sender's fault that the rest is not."""
    talk = display(tmp_path / "gpu.pcapng", between=False)
    data = talk.path.read_bytes()
    start = data.index(PIXELS[:4096])
    short = tmp_path / "short.pcapng"
    short.write_bytes(data[: start + FRAME_LIMIT * cut])
    with Index(short) as index:
        timeline = Timeline(index)
        read_all(timeline, judge=True)
        timeline.conclude()
        assert all(frame.kind is FrameKind.MESSAGE for frame in index.frames())
        assert len(index) <= 3 + (cut == 5)
        words = {message.malformed for message in timeline.messages() if message.malformed}
        assert all(one.startswith("payload not captured in full") for one in words)
        assert not [finding for finding in timeline.findings if finding.side is Side.BACKEND]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(1, 3),
            st.integers(0, 1),
            st.sampled_from(FrameKind),
            st.sampled_from([0, 4, FRAMED, FRAME_LIMIT, 3 * FRAME_LIMIT, 0xFFFFFFFF]),
        ),
        max_size=30,
    )
)
def test_whatever_a_file_holds_all_readers_count_the_same(said: list[tuple[int, int, FrameKind, int]]) -> None:
    """Sizes that are lies, continuations of nothing, kinds in any order."""
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        talk = Talk(Path(name) / "any.pcapng")
        connections = [talk.connect(f"/run/{number}.sock").connection.id for number in range(3)]
        for number, end, kind, size in said:
            data = struct.pack("<III", 5, 1, size).ljust(200, b"x")
            talk.writer.frame(Frame(connections[number - 1], end, talk.now, data, kind=kind))
        talk.writer.close()
        with CaptureReader(talk.path) as reader:
            frames = [frame.data for frame in reader.records() if isinstance(frame, Frame)]
        with Index(talk.path) as index:
            while index.update(2):
                pass
            assert [frame.data for frame in index.frames()] == frames
        assert sum(map(len, frames)) == 200 * len(said)
