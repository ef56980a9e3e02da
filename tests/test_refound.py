"""Captures of a vusniff that lost a direction behind one odd header: reading them finds the messages again."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
from probing import message
from talk import u32, u64

from vusniff.capture.index import Index
from vusniff.capture.reader import CaptureReader
from vusniff.capture.writer import CaptureWriter
from vusniff.cli import main
from vusniff.families.vhost_user.protocol import FrontendRequest as F
from vusniff.record import Descriptor, DescriptorKind, Facts, Frame, FrameKind

ONES = b"\xff" * 12
KICK = Descriptor(DescriptorKind.EVENTFD, "eventfd:1")
OWNER, FEATURES = message(F.SET_OWNER), message(F.SET_FEATURES, u64(1 << 30))
NUM, BASE = message(F.SET_VRING_NUM, u32(0, 256)), message(F.SET_VRING_BASE, u32(0, 0))
TABLE = message(F.SET_MEM_TABLE, u32(1, 0) + u64(0, 1 << 30, 1 << 40, 0))
MESSAGE, RAW, CONTINUATION = FrameKind.MESSAGE, FrameKind.RAW, FrameKind.CONTINUATION
LIE = message(F.SET_FEATURES)[:8] + u32(1 << 28) + bytes(8)

CASES: dict[str, tuple[list[Frame], list[tuple[FrameKind, bytes, int]]]] = {
    "one send a packet": (
        [Frame(1, 0, 1, one, kind=RAW) for one in (ONES, OWNER, FEATURES)],
        [(RAW, ONES, 0), (MESSAGE, OWNER, 0), (MESSAGE, FEATURES, 0)],
    ),
    "several in a packet": (
        [Frame(1, 0, 1, ONES + OWNER + FEATURES, kind=RAW), Frame(1, 0, 2, NUM + BASE, Facts((KICK,)), kind=RAW)],
        [(RAW, ONES, 0), (MESSAGE, OWNER, 0), (MESSAGE, FEATURES, 0), (MESSAGE, NUM, 0), (MESSAGE, BASE, 0)],
    ),
    "the payload in another packet": (
        [Frame(1, 0, 1, one, kind=RAW) for one in (ONES, FEATURES[:12], FEATURES[12:], OWNER)],
        [(RAW, ONES, 0), (MESSAGE, FEATURES[:12], 8), (CONTINUATION, FEATURES[12:], 0), (MESSAGE, OWNER, 0)],
    ),
    "within a payload of 256 MiB": (
        [Frame(1, 0, 1, LIE + NUM + TABLE * 40, missing=1 << 28)],
        [(MESSAGE, LIE, 0), (MESSAGE, NUM, 0), *[(MESSAGE, TABLE, 0)] * 39, (MESSAGE, TABLE, 0)],
    ),
    "nothing but noise": (
        [Frame(1, 0, 1, bytes(range(200)), kind=RAW)],
        [(RAW, bytes(range(200)), 0)],
    ),
}


def _written(file: Path, frames: list[Frame]) -> Path:
    with CaptureWriter(file, source="proxy") as writer:
        writer.open("/run/vm1.sock", opened_ns=1)
        writer.frame(Frame(1, 0, 1, message(F.GET_FEATURES)))
        for frame in frames:
            writer.frame(frame)
    return file


@pytest.mark.parametrize("name", CASES)
def test_messages_are_found_again(tmp_path: Path, name: str) -> None:
    frames, expected = CASES[name]
    file = _written(tmp_path / "old.pcapng", frames)
    with CaptureReader(file) as reader:
        read = [record for record in reader.records() if isinstance(record, Frame)][1:]
    assert [(frame.kind, frame.data, frame.missing) for frame in read] == expected
    with Index(file) as index:
        while index.update(1):
            pass
        assert [index.frame(row) for row in range(1, len(index))] == read
        assert list(index.frames(1)) == read
        assert [Frame(*fields).data for fields in index.rows(1, len(index))] == [frame.data for frame in read]
        assert [index.packet(row)[0] for row in range(1, len(index))] == [frame.data for frame in read]
        assert len([note for note in index.notes if "recorded as unreadable" in note]) == (name != "nothing but noise")


def test_descriptors_stay_with_the_first_message_of_a_packet(tmp_path: Path) -> None:
    file = _written(tmp_path / "old.pcapng", CASES["several in a packet"][0])
    with Index(file) as index:
        index.update()
        assert [len(frame.descriptors) for frame in index.frames()] == [0, 0, 0, 0, 1, 0]


def test_every_reader_shows_what_was_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = _written(tmp_path / "old.pcapng", CASES["several in a packet"][0])
    names = ["SET_OWNER", "SET_FEATURES", "SET_VRING_NUM", "SET_VRING_BASE"]
    main(["read", str(file)])
    out = capsys.readouterr().out
    assert [name for name in names if name in out] == names
    main(["read", str(file), "--filter", "vring.num == 256"])
    assert capsys.readouterr().out.count("SET_VRING_NUM") == 1
    assert main(["check", str(file)]) == 1
    assert "front-end sends 12 bytes that do not begin a message" in " ".join(capsys.readouterr().out.split())


@pytest.mark.slow
@pytest.mark.slow
def test_a_file_full_of_them_is_bounded(tmp_path: Path) -> None:
    """A packet gives as many rows as it has headers, and a row costs no more than a few numbers."""
    packets, messages = 20, 5000
    file = _written(tmp_path / "many.pcapng", [Frame(1, 0, 1, OWNER * messages, kind=RAW)] * packets)
    with Index(file) as index:
        tracemalloc.start()
        index.update()
        kept = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert len(index) == 1 + packets * messages
        assert kept < 80 * len(index)
        assert sum(Frame(*fields).data == OWNER for fields in index.rows(0, len(index))) == packets * messages
