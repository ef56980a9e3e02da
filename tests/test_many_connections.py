"""Any number of connections: none is skipped by a reader, none that has ended is kept by a writer."""

from __future__ import annotations

import gc
import resource
import struct
from pathlib import Path

import pytest
from talk import START_NS
from tshark import dissector, fields, needs_tshark

from vusniff.capture.index import Index
from vusniff.capture.packet import INTERFACE_LIMIT
from vusniff.capture.reader import CaptureReader
from vusniff.capture.writer import CaptureWriter
from vusniff.library import open_capture
from vusniff.record import Closed, Connection, Descriptor, DescriptorKind, End, Facts, Frame, FrameKind, Lost, Process
from vusniff.replay.edit import Edits, edit
from vusniff.views.export.redact import redact

MANY = 100_000
PER_SECTION = 3


def message(request: int, payload: bytes = b"", flags: int = 1) -> bytes:
    return struct.pack("<III", request, flags, len(payload)) + payload


def ends(number: int) -> tuple[End, End]:
    return End(2 * number, Process(11, "front")), End(2 * number + 1, Process(12, "back"))


def held() -> int:
    """Bytes of memory that this process has."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_a_hundred_thousand_connections_are_written_and_read_in_the_same_memory(tmp_path: Path) -> None:
    """One connection lives all the time; the others speak and end, and every tenth says nothing."""
    path = tmp_path / "many.pcapng"
    kept: list[int] = []
    with CaptureWriter(path, source="test", order="little") as writer:
        long = writer.open("/run/long", ends(0), START_NS)
        writer.frame(Frame(long.id, 0, START_NS, message(1)))
        for number in range(1, MANY + 1):
            for silent in (False, True)[: 2 - bool(number % 10)]:
                one = writer.open("/run/short", ends(2 * number + silent), START_NS)
                if not silent:
                    writer.frame(Frame(one.id, 0, START_NS + number, message(15)))
                writer.close_connection(Closed(one.id, START_NS + number, "eof", 0, 1))
            writer.flush()
            if number % (MANY // 4) == 0:
                writer.frame(Frame(long.id, 1, START_NS + number, message(1, bytes(8), 5)))
                kept.append(held())
    assert max(kept) - kept[0] < 4 << 20
    sections = path.read_bytes().count(b"\x0a\x0d\x0d\x0a")
    assert sections == MANY // INTERFACE_LIMIT + 1
    before = held()
    with CaptureReader(path) as reader:
        ended = messages = of_long = 0
        for batch in reader.batches():
            messages += len(batch)
            of_long += sum(meta >> 8 == 1 for meta in batch.meta)
            ended += sum(isinstance(event, Closed) for _, event in batch.events)
        assert held() - before < MANY * 1024
        assert reader.notes == []
        assert (len(reader.connections), ended, messages) == (MANY + 1, MANY + 1, MANY + 5)
        assert of_long == 5
        assert reader.connections[0].path == "/run/long"


@pytest.fixture
def sections(tmp_path: Path) -> Path:
    """Ten reconnects with one device that stays, three interfaces a section."""
    path = tmp_path / "sections.pcapng"
    with CaptureWriter(path, source="test", order="little", interfaces=PER_SECTION) as writer:
        write_sections(writer)
    return path


def write_sections(writer: CaptureWriter) -> None:
    stays = writer.open("/run/stays", ends(0), START_NS)
    for number in range(1, 11):
        now = START_NS + number * 1000
        comes = writer.open("/run/comes", ends(number), now)
        writer.frame(Frame(stays.id, 0, now + 1, message(15)))
        writer.frame(Frame(comes.id, 0, now + 2, message(1)))
        writer.frame(Frame(stays.id, 1, now + 3, message(15, bytes(8), 5)))
        if number == 5:
            writer.lost(Lost(stays.id, now + 4, 7))
        writer.close_connection(Closed(comes.id, now + 5, "eof", 0, 1))
        writer.flush()


def test_a_connection_that_goes_on_in_later_sections_is_one_connection_and_one_session(sections: Path) -> None:
    assert sections.read_bytes().count(b"\x0a\x0d\x0d\x0a") > 3
    timeline = open_capture(sections)
    assert [session.count for session in timeline.sessions] == [20, *[1] * 10]
    connections = timeline.index.connections
    assert [one.path for one in connections] == ["/run/stays", *["/run/comes"] * 10]
    assert len({end.inode for one in connections for end in one.ends}) == 22
    assert [timeline.index.closed[one.id].received for one in connections] == [20, *[1] * 10]
    assert timeline.index.closed[1].lost == 7
    answered = [timeline.answers[row] for row in range(len(timeline)) if timeline.place(row).connection == 1]
    assert all(answered)
    assert len(timeline.index.reader.sections) == sections.read_bytes().count(b"\x0a\x0d\x0d\x0a")


def test_a_capture_of_several_sections_is_followed_edited_and_redacted(sections: Path, tmp_path: Path) -> None:
    live = tmp_path / "live.pcapng"
    seen: list[Frame] = []
    with CaptureWriter(live, source="test", order="little", interfaces=PER_SECTION) as writer, Index(live) as index:
        write_sections(writer)
        while index.update(4):
            seen = list(index.frames())
        assert index.complete
    whole = open_capture(sections)
    assert seen == list(whole.index.frames())
    edited, redacted = tmp_path / "edited.pcapng", tmp_path / "redacted.pcapng"
    edit(whole, sections, edited, Edits())
    redact([str(sections)], str(redacted))
    for copy in (edited, redacted):
        timeline = open_capture(copy)
        assert [session.count for session in timeline.sessions] == [20, *[1] * 10]
        assert [frame.data for frame in timeline.index.frames()] == [frame.data for frame in whole.index.frames()]


def test_who_says_nothing_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "silent.pcapng"
    with CaptureWriter(path, source="test") as writer:
        before = path.stat().st_size
        for number in range(1, 100):
            one = writer.open("/run/x", ends(number), START_NS)
            if number % 2:
                writer.close_connection(Closed(one.id, START_NS, "eof"))
        writer.flush()
        assert path.stat().st_size == before
        lossy = writer.open("/run/lossy", ends(100), START_NS)
        writer.lost(Lost(lossy.id, START_NS, 2))
        writer.close_connection(Closed(lossy.id, START_NS + 1, "eof", 0, 0, 2))
    with CaptureReader(path) as reader:
        connection, lost, closed = reader.records()
    assert isinstance(connection, Connection)
    assert connection.path == "/run/lossy"
    assert lost == Lost(1, START_NS, 2)
    assert isinstance(closed, Closed)


def test_an_interface_that_continues_what_is_not_there_is_a_connection_joined_late(sections: Path) -> None:
    """Such as when the sections before were cut off."""
    data = sections.read_bytes()
    last = data.rindex(b"\x0a\x0d\x0d\x0a")
    cut = sections.with_name("cut.pcapng")
    cut.write_bytes(data[last:])
    with CaptureReader(cut) as reader:
        found = [record for record in reader.records() if isinstance(record, Connection)]
        assert reader.notes == []
    assert {(one.path, one.joined_late) for one in found} >= {("/run/stays", True)}


def test_a_full_disk_and_many_connections_take_no_memory_and_the_loss_is_counted(tmp_path: Path) -> None:
    with open("/dev/full", "wb", buffering=0) as full, CaptureWriter(full, source="test") as writer:
        kept: list[int] = []
        for number in range(1, 4001):
            one = writer.open("/run/x", ends(number), START_NS)
            writer.frame(Frame(one.id, 0, START_NS, message(1)))
            writer.flush()
            writer.close_connection(Closed(one.id, START_NS, "eof"))
            writer.flush()
            if number % 1000 == 0:
                kept.append(held())
        assert max(kept) - kept[0] < 1 << 20
        assert writer.lost_frames == 4000


@pytest.mark.parametrize("kind", [FrameKind.MESSAGE, FrameKind.RAW])
def test_a_message_in_many_packets_counts_once(tmp_path: Path, kind: FrameKind) -> None:
    path = tmp_path / "large.pcapng"
    with CaptureWriter(path, source="test", order="little") as writer:
        one = writer.open("/run/x")
        writer.frame(Frame(one.id, 0, 1, message(8, bytes(20))))
        writer.frame(Frame(one.id, 0, 2, message(6, bytes(3 << 20)), kind=FrameKind.MESSAGE))
        if kind is FrameKind.RAW:
            writer.frame(Frame(one.id, 0, 3, b"raw", kind=kind))
        assert writer.number > 10  # packets
        writer.close_connection(Closed(one.id, 4, "eof"))
    with Index(path) as index:
        index.update()
        assert len(index) == index.closed[1].received
        assert index.closed[1].received == (3 if kind is FrameKind.RAW else 2)


def test_frames_behind_the_end_of_their_connection_are_written_by_who_copies(tmp_path: Path) -> None:
    """Only a damaged or forged file has them."""
    path = tmp_path / "odd.pcapng"
    passed = Descriptor(DescriptorKind.SOCKET, "socket:9")
    with CaptureWriter(path, source="test", order="little", keeps_ended=True) as writer:
        one = writer.open("/run/x", ends(1))
        writer.frame(Frame(one.id, 0, 1, message(1)))
        writer.close_connection(Closed(one.id, 2, "eof"))
        writer.frame(Frame(one.id, 0, 3, message(21), Facts((passed,))))
    redact([str(path)], str(tmp_path / "redacted.pcapng"))
    timeline = open_capture(path)
    edit(timeline, path, tmp_path / "edited.pcapng", Edits())
    for copy in ("redacted", "edited"):
        assert len(open_capture(tmp_path / f"{copy}.pcapng")) == 2


@needs_tshark
def test_wireshark_follows_a_connection_over_sections(sections: Path, tmp_path: Path) -> None:
    names = ["sock.connection", "vhost.session", "vhost.request", "frame.section_number", "frame.interface_description"]
    rows = list(fields(sections, names, dissector(tmp_path)))
    timeline = open_capture(sections)
    assert [int(row["vhost.request"][0]) for row in rows] == list(timeline.index.request)
    assert int(rows[-1]["frame.section_number"][0]) > 3
    # Wireshark 4.0 gives an interface of a later section the words of the first section's interface of that number.
    tells = any("continues" in row["frame.interface_description"][0] for row in rows)
    first = [row for row in rows if tells or row["frame.section_number"] == ["1"]]
    assert len(first) >= 7
    places = [timeline.place(row) for row in range(len(first))]
    found = [(int(row["sock.connection"][0]), int(row["vhost.session"][0])) for row in first]
    assert found == [(place.connection, place.session) for place in places]
