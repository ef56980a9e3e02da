"""The capture reader: everything written comes back, from any order, any cut, any merge, and nothing else raises."""

import contextlib
import cProfile
import gzip
import itertools
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from captures import synthetic
from vusniff.capture import facts, pcapng
from vusniff.capture.batch import Event
from vusniff.capture.packet import lead
from vusniff.capture.reader import CaptureReader
from vusniff.capture.writer import CaptureWriter
from vusniff.errors import CaptureError
from vusniff.meta import connection_of, end_of, flags_of, has_options, kind_of
from vusniff.record import Closed, Connection, Descriptor, DescriptorKind, End, Facts, Frame, FrameKind, Lost, Process

ORDERS = ("little", "big")
NEEDS_EDITCAP = pytest.mark.skipif(not shutil.which("editcap"), reason="needs editcap (Debian package tshark)")


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """In memory where there is such a folder: a file that is written anew each time waits for the disk each time."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="vusniff-test-", dir=memory) as made:
        yield Path(made)


def message(request: int, payload: bytes = b"", flags: int = 1, order: str = "little") -> bytes:
    return struct.pack("<III" if order == "little" else ">III", request, flags, len(payload)) + payload


def read(*paths: Path, max_rows: int = 65536) -> tuple[list[Event | Frame], list[str]]:
    """All records and notes; the columns of every batch must say the same as its frames."""
    records: list[Event | Frame] = []
    with CaptureReader(paths) as reader:
        for batch in reader.batches(max_rows=max_rows):
            assert 0 < len(batch) <= max_rows or batch.events
            for row in range(len(batch)):
                frame = batch.frame(row)
                meta = batch.meta[row]
                assert (connection_of(meta), kind_of(meta), end_of(meta), batch.time_ns[row]) == (
                    frame.connection,
                    frame.kind,
                    frame.end,
                    frame.time_ns,
                )
                assert has_options(meta) or not (frame.descriptors or frame.process)
                if frame.kind is FrameKind.MESSAGE and len(frame.data) >= 12:
                    unpack = struct.Struct("<III" if reader.order(frame.connection) == "little" else ">III").unpack_from
                    request, flags, size = unpack(frame.data)
                    assert (batch.request[row], flags_of(meta), batch.size[row]) == (request, flags & 15, size)
            records += batch.records()
        return records, reader.notes


def frames(*paths: Path) -> list[Frame]:
    return [record for record in read(*paths)[0] if isinstance(record, Frame)]


# -- what is written comes back ---------------------------------------------------------------------------------------

WORDS = st.text(max_size=20)
U64 = st.integers(0, (1 << 64) - 1)
PROCESSES = st.builds(Process, st.integers(0, 1 << 22), WORDS, st.none() | st.integers(0, 1 << 22), st.none() | WORDS)
DESCRIPTORS = st.builds(
    Descriptor,
    st.sampled_from(DescriptorKind),
    st.none() | WORDS,
    st.none() | st.integers(0, 1 << 20),
    st.none() | WORDS,
    st.none() | U64,
)
TIMES = st.integers(0, (1 << 63) - 1)
FRAMES = st.builds(
    Frame,
    connection=st.integers(1, 2),
    end=st.integers(0, 1),
    time_ns=TIMES,
    data=st.binary(min_size=12, max_size=60),
    facts=st.builds(Facts, st.lists(DESCRIPTORS, max_size=3).map(tuple), st.none() | PROCESSES),
    kind=st.sampled_from([kind for kind in FrameKind if kind is not FrameKind.TOLD]),  # what a log tells is no bytes
    missing=st.integers(0, 1000),
)
LOSSES = st.builds(Lost, st.sampled_from((None, 1, 2)), TIMES, st.integers(1, 1 << 40))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    order=st.sampled_from(ORDERS),
    ends=st.tuples(*[st.builds(End, st.none() | U64, st.none() | PROCESSES)] * 2),
    given_records=st.lists(FRAMES | LOSSES, max_size=12),
    opened=st.none() | TIMES,
    late=st.booleans(),
    rows=st.integers(1, 20),
)
def test_everything_written_comes_back(
    tmp_path: Path,
    order: str,
    ends: tuple[End, End],
    given_records: list[Frame | Lost],
    opened: int | None,
    late: bool,
    rows: int,
) -> None:
    path = tmp_path / "x.pcapng"
    with CaptureWriter(path, source="test", order=order) as writer:
        connections = [writer.open(name, ends, opened, late) for name in ("/run/a", "@b")]
        given_records = [*(Frame(one.id, 0, 1, message(1)) for one in connections), *given_records]
        for record in given_records:
            if isinstance(record, Lost):
                writer.lost(record)
            else:
                writer.frame(record)
    found, notes = read(path, max_rows=rows)
    assert notes == []
    assert [record for record in found if isinstance(record, Connection)] == connections
    expected = [record for record in given_records if isinstance(record, Frame)]
    same = [
        Frame(*(getattr(f, name) for name in f.__slots__))
        if f.process != ends[f.end].process
        else Frame(f.connection, f.end, f.time_ns, f.data, Facts(f.descriptors), kind=f.kind, missing=f.missing)
        for f in expected
    ]
    assert [record for record in found if isinstance(record, Frame)] == same
    for number in (None, 1, 2):
        assert sum(r.count for r in found if isinstance(r, Lost) and r.connection == number) == sum(
            r.count for r in given_records if isinstance(r, Lost) and r.connection == number
        )
    closed = [record for record in found if isinstance(record, Closed)]
    assert [(one.connection, one.reason) for one in closed] == [(1, "capture ended"), (2, "capture ended")]


def test_a_big_endian_file_reads_like_its_little_endian_twin(tmp_path: Path) -> None:
    found = {}
    fd = Descriptor(DescriptorKind.EVENTFD, "eventfd:1", 3)
    for order in ORDERS:
        path = tmp_path / order
        with CaptureWriter(path, source="test", order=order) as writer:
            writer.open("/run/x", (End(1, Process(2, "a")), End()), 3)
            writer.frame(Frame(1, 0, 1, message(1, order=order)))
            writer.frame(Frame(1, 0, 2, message(12, bytes(8), 9, order), Facts((fd,), Process(9, "b"))))
            writer.lost(Lost(1, 3, 4))
            writer.frame(Frame(1, 1, 5, message(12, bytes(8), 5, order), missing=3))
        with CaptureReader(path) as reader:
            batches = list(reader.batches())
            assert reader.order(1) == order
            found[order] = [list(column) for b in batches for column in (b.time_ns, b.request, b.size, b.meta)]
            records = [record for batch in batches for record in batch.records()]
            found[order] += [
                record if not isinstance(record, Frame) else (record.descriptors, record.process, record.missing)  # type: ignore[misc]
                for record in records
            ]
    assert found["little"] == found["big"]


def test_a_foreign_order_of_messages_is_kept(tmp_path: Path) -> None:
    """editcap on another machine rewrites blocks in its own order; the messages in them stay as they were sent."""
    facts_big = facts.connection_facts(Connection(1, "/run/x"), "big")
    path = build(
        tmp_path,
        "little",
        interface("little", facts_big),
        packet("little", lead(0, "") + message(5, b"ab", 9, "big")),
    )
    with CaptureReader(path) as reader:
        (batch,) = reader.batches()
        assert reader.order(1) == "big"
        assert (batch.request[0], batch.size[0], flags_of(batch.meta[0])) == (5, 2, 9)


# -- files of other makes ---------------------------------------------------------------------------------------------


def interface(order: str, said: bytes = b'{"vusniff":1}', linktype: int = 252, *more: tuple[int, bytes]) -> bytes:
    items = [(pcapng.IF_NAME, b"/run/x"), *more]
    if said:
        items.append(pcapng.custom_option(order, facts.ENTERPRISE, said))
    return pcapng.interface_description(order, linktype, 0, items)


def packet(order: str, data: bytes, *items: tuple[int, bytes], number: int = 0, ticks: int = 7) -> bytes:
    return pcapng.enhanced_packet(order, number, ticks, data, None, items)


def build(tmp_path: Path, order: str, *blocks: bytes, name: str = "built.pcapng") -> Path:
    path = tmp_path / name
    path.write_bytes(pcapng.section_header(order, [(pcapng.SHB_USERAPPL, b"vusniff test")]) + b"".join(blocks))
    return path


@pytest.mark.parametrize("order", ORDERS)
def test_foreign_blocks_and_packets_are_skipped_and_counted(tmp_path: Path, order: str) -> None:
    ours = packet(order, lead(0, "") + message(1, order=order))
    path = build(
        tmp_path,
        order,
        interface(order, b"", 1),
        interface(order),
        pcapng.block(order, pcapng.NAME_RESOLUTION, bytes(4)),
        packet(order, b"ethernet", number=0),
        packet(order, lead(0, "") + message(1, order=order), number=1),
        pcapng.custom_block(order, 7, b"theirs"),
        pcapng.block(order, pcapng.JOURNAL, b"MESSAGE=hello\n"),
        packet(order, pcapng.tag(12, b"http") + pcapng.tag(0, b"") + b"GET", number=1),
        packet(order, lead(0, "", b"data") + b"GET", number=1),
        packet(order, b"no tags at all", number=1),
        pcapng.block(order, pcapng.SIMPLE_PACKET, bytes(8)),
        pcapng.interface_statistics(order, 0, 0, []),
        pcapng.interface_statistics(order, 1, 0, []),
        pcapng.block(order, 0x77, b""),
        packet(order, b"", number=9),
        packet(order, lead(1, "") + message(2, order=order), number=1),
        ours,
    )
    records, notes = read(path)
    assert [(f.end, f.data) for f in records if isinstance(f, Frame)] == [
        (0, message(1, order=order)),
        (1, message(2, order=order)),
    ]
    assert [note.removeprefix(f"{path}: ") for note in notes] == [
        "skipped 1 name resolution block",
        "skipped 2 packets of another link type",
        "skipped 1 custom block",
        "skipped 1 systemd journal block",
        "skipped 3 packets for another dissector",
        "skipped 1 simple packet block",
        "skipped 1 interface statistics block",
        "skipped 1 block of an unknown kind",
        "skipped 1 packet without an interface",
    ]


def test_tags_of_any_length_and_order_are_read(tmp_path: Path) -> None:
    tags = pcapng.tag(35, b"\0\0\0\1") + pcapng.tag(12, b"vhost_user") + pcapng.tag(0, b"")
    path = build(tmp_path, "little", interface("little"), packet("little", tags + message(3)))
    assert frames(path) == [Frame(1, 1, 7000, message(3))]


def test_an_interface_without_our_option_is_a_connection_once_it_speaks(tmp_path: Path) -> None:
    flags = struct.pack("<I", pcapng.FLAG_INBOUND)
    tags = pcapng.tag(12, b"vhost_user") + pcapng.tag(0, b"")
    path = build(
        tmp_path,
        "little",
        interface("little", b""),
        interface("little", b""),
        packet("little", tags + message(3), (pcapng.EPB_FLAGS, flags), number=1),
    )
    assert read(path)[0] == [Connection(1, "/run/x"), Frame(1, 1, 7000, message(3))]


@pytest.mark.parametrize(("resolution", "ticks", "expected"), [(6, 5, 5000), (0x80 | 10, 1024, 10**9), (9, 5, 5)])
def test_clocks_of_other_resolutions(tmp_path: Path, resolution: int, ticks: int, expected: int) -> None:
    option = (pcapng.IF_TSRESOL, bytes([resolution]))
    packets = packet("little", lead(0, "") + message(1), ticks=ticks)
    path = build(tmp_path, "little", interface("little", b'{"vusniff":1}', 252, option), packets)
    assert [frame.time_ns for frame in frames(path)] == [expected]


def test_sections_of_both_orders_follow_each_other(tmp_path: Path) -> None:
    path = tmp_path / "both.pcapng"
    parts = []
    for order in ORDERS:
        part = tmp_path / order
        with CaptureWriter(part, source="test", order=order) as writer:
            writer.open(f"/run/{order}")
            writer.frame(Frame(1, 0, 1, message(1, order=order)))
        parts.append(part.read_bytes())
    path.write_bytes(b"".join(parts))
    records, notes = read(path)
    assert notes == []
    assert [(r.id, r.path) for r in records if isinstance(r, Connection)] == [(1, "/run/little"), (2, "/run/big")]
    assert [r.connection for r in records if isinstance(r, Frame)] == [1, 2]
    with CaptureReader(path) as reader:
        assert sum(len(batch) for batch in reader.batches(data=False)) == 2
        assert [reader.order(1), reader.order(2)] == list(ORDERS)
        assert [section.order for section in reader.sections] == list(ORDERS)


@NEEDS_EDITCAP
def test_what_editcap_copies_reads_the_same(tmp_path: Path) -> None:
    path, copy = tmp_path / "a.pcapng", tmp_path / "b.pcapng"
    synthetic.every(path)
    subprocess.run(["editcap", str(path), str(copy)], check=True, capture_output=True)
    kept = (Connection, Frame, Lost)
    assert [r for r in read(copy)[0] if isinstance(r, kept)] == [r for r in read(path)[0] if isinstance(r, kept)]
    with CaptureReader(copy) as reader:
        list(reader.batches(data=False))
        assert reader.sections[0].source == "synthetic"
        assert reader.notes == []


@NEEDS_EDITCAP
def test_what_mergecap_merges_reads_as_our_own_merge(tmp_path: Path) -> None:
    first, second, merged = (tmp_path / name for name in ("a.pcapng", "b.pcapng", "c.pcapng"))
    synthetic.every(first)
    with CaptureWriter(second, source="test", order="little") as writer:
        writer.open("/run/other")
        for i in range(20):
            writer.frame(Frame(1, i & 1, synthetic.START_NS + 5501 * i, message(i + 1)))
    subprocess.run(["mergecap", "-w", str(merged), str(first), str(second)], check=True, capture_output=True)
    ours = frames(first, second)
    assert [(f.time_ns, f.data, f.descriptors) for f in frames(merged)] == [
        (f.time_ns, f.data, f.descriptors) for f in ours
    ]


# -- merge ------------------------------------------------------------------------------------------------------------


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.lists(st.integers(0, 50), max_size=30), min_size=2, max_size=4), st.integers(1, 10))
def test_files_are_merged_by_time_and_keep_their_own_order(tmp_path: Path, times: list[list[int]], rows: int) -> None:
    paths = []
    for number, own in enumerate(times):
        path = tmp_path / str(number)
        with CaptureWriter(path, source="test", order="little") as writer:
            writer.open(f"/run/{number}")
            for place, time_ns in enumerate(sorted(own)):
                writer.frame(Frame(1, 0, time_ns, message(number, struct.pack("<I", place))))
        paths.append(path)
    records, _ = read(*paths, max_rows=rows)
    expected = sorted(
        (time_ns, number, place) for number, own in enumerate(times) for place, time_ns in enumerate(sorted(own))
    )
    found = [r for r in records if isinstance(r, Frame)]
    assert [(f.time_ns, *struct.unpack_from("<I8xI", f.data)) for f in found] == expected
    opened = [r for r in records if isinstance(r, Connection)]
    assert sorted(connection.id for connection in opened) == list(range(1, sum(map(bool, times)) + 1))
    names = {connection.id: connection.path for connection in opened}
    assert all(names[f.connection] == f"/run/{struct.unpack_from('<I', f.data)[0]}" for f in found)
    seen: set[int] = set()
    for record in records:
        if isinstance(record, Connection):
            seen.add(record.id)
        elif isinstance(record, Frame | Closed):
            assert record.connection in seen


# -- cut and damaged --------------------------------------------------------------------------------------------------


def test_a_file_cut_at_every_byte_gives_every_whole_packet_before_the_cut(tmp_path: Path) -> None:
    path = tmp_path / "whole.pcapng"
    with CaptureWriter(path, source="test", order="little") as writer:
        writer.open("/run/x", (End(1, Process(2, "a")), End()), 3)
        writer.frame(Frame(1, 0, 1, message(1)))
        writer.frame(
            Frame(1, 0, 2, message(12, bytes(8)), Facts((Descriptor(DescriptorKind.EVENTFD, "eventfd:1", 3),)))
        )
        writer.lost(Lost(1, 3, 4))
        writer.frame(Frame(1, 1, 4, b"???", kind=FrameKind.RAW))
        writer.frame(Frame(1, 1, 5, message(12, bytes(8), 5)))
    data = path.read_bytes()
    ends = list(itertools.accumulate(struct.unpack_from("<I", data, at + 4)[0] for at in block_starts(data)))
    every = [record for record in read(path)[0] if isinstance(record, Frame)]
    packets = [end for end, start in zip(ends, block_starts(data), strict=True) if data[start] == 6]
    cut = tmp_path / "cut.pcapng"
    for size in range(len(data)):
        cut.write_bytes(data[:size])
        if size < ends[0]:
            with pytest.raises(CaptureError, match=r"empty|cut off|start"):
                read(cut)
            continue
        records, notes = read(cut)
        assert [r for r in records if isinstance(r, Frame)] == every[: sum(end <= size for end in packets)]
        over = size - max(end for end in ends if end <= size)
        assert notes == (
            [f"{cut}: cut at byte {size - over}: it ends in the middle of a block, whose {over} bytes are not read"]
            if over
            else []
        )


def block_starts(data: bytes) -> list[int]:
    starts, at = [], 0
    while at < len(data):
        starts.append(at)
        at += struct.unpack_from("<I", data, at + 4)[0]
    return starts


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
@given(
    changes=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), min_size=1, max_size=6),
    rows=st.integers(1, 50),
)
def test_damage_anywhere_never_raises_anything_else(tmp_path: Path, changes: list[tuple[int, int]], rows: int) -> None:
    path = tmp_path / "damaged.pcapng"
    data = bytearray(small(tmp_path))
    for at, value in changes:
        data[at % len(data)] = value
    path.write_bytes(data)
    with contextlib.suppress(CaptureError), CaptureReader(path) as reader:
        for batch in reader.batches(max_rows=rows):
            assert all(repr(record) for record in batch.records())
        assert all(note.startswith(str(path)) for note in reader.notes)


def small(tmp_path: Path) -> bytes:
    path = tmp_path / "small.pcapng"
    if not path.exists():
        with CaptureWriter(path, source="test", order="little") as writer:
            writer.open("/run/x", (End(1, Process(2, "a")), End()), 3)
            for i in range(8):
                writer.frame(Frame(1, i & 1, i, message(i, bytes(8), 5)))
            writer.lost(Lost(1, 3, 4))
            writer.frame(
                Frame(1, 0, 9, message(12, bytes(8)), Facts((Descriptor(DescriptorKind.EVENTFD, "eventfd:1", 3),)))
            )
    return path.read_bytes()


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_options_that_say_nonsense_give_nothing(text: bytes) -> None:
    assert facts.parse_frame([text]) == (Facts(), None, False)
    said = facts.load(text)
    assert facts.parse_connection(said, 1, "x") == facts.parse_connection({}, 1, "x")
    assert facts.parse_closed(said, 1, 0, 0, 0) == facts.parse_closed({}, 1, 0, 0, 0)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ("fds", "kind", "id", "n", "name", "size", "process", "pid", "comm", "ends", "lost", "closed", "by")
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


FACTS = ("fds", "process", "ends", "lost", "closed", "by", "kind", "stack", "restated")


@given(said=st.dictionaries(st.sampled_from(FACTS), JSON))
def test_json_of_the_wrong_shape_gives_nothing(said: dict[str, object]) -> None:
    known, stack, restated = facts.parse_frame([json.dumps(said).encode()])
    assert all(isinstance(one, Descriptor) for one in known.descriptors)
    assert known.process is None or known.process.pid >= 0
    assert stack is None or len(stack) == 10
    assert restated is (said.get("restated") is True)
    connection = facts.parse_connection(said, 1, "x")
    assert len(connection.ends) == 2
    closed = facts.parse_closed(said, 1, 0, 0, 0)
    assert (closed is None) is not isinstance(said.get("closed"), str)
    lost = facts.parse_lost(said.get("lost"), None)
    assert lost is None or lost.count >= 1
    kind = facts.frame_kind(said)
    assert kind is None or kind.name.lower() == said.get("kind")


def test_json_nested_without_end_gives_nothing() -> None:
    assert facts.load(b'{"fds":' + b"[" * 60_000) == {}
    assert facts.load(b"[" * 60_000 + b"]" * 60_000) == {}
    assert facts.parse_frame([b'{"fds":' + b"9" * 4_000 + b"}"]) == (Facts(), None, False)


def test_descriptors_without_end_are_bounded() -> None:
    text = b'{"fds":[' + b"0," * 30_000 + b"0]}"
    known, *_ = facts.parse_frame([text] * 100)
    assert known.descriptors == (Descriptor(),) * 1024


def test_text_that_cannot_be_encoded_is_made_so() -> None:
    (descriptor,) = facts.parse_frame([rb'{"fds":[{"kind":"file","name":"\ud800x"}]}'])[0].descriptors
    assert descriptor.name == "?x"


def test_a_block_that_claims_to_be_huge_is_damage(tmp_path: Path) -> None:
    good = packet("little", lead(0, "") + message(1))
    for claimed in (0xFFFFFFFC, 65 << 20, 13, 8, 0):
        path = build(tmp_path, "little", interface("little"), good, struct.pack("<II", 6, claimed) + bytes(100))
        records, notes = read(path)
        assert sum(isinstance(record, Frame) for record in records) == 1
        at = path.stat().st_size - 108
        assert notes == [
            f"{path}: damaged at byte {at}: the block there has an impossible length; what follows is not read"
        ]


def test_lengths_that_disagree_are_damage_whichever_way_it_was_read(tmp_path: Path) -> None:
    good = packet("little", lead(0, "") + message(1), (2, b"\1\0\0\0"), (5, bytes(8)))
    bad = good[:-4] + struct.pack("<I", 44)
    path = build(tmp_path, "little", interface("little"), good, good, bad, good)
    _, notes = read(path)
    assert len(notes) == 1
    assert "damaged at byte" in notes[0]


@pytest.mark.parametrize("version", [2, 1 << 40])
@pytest.mark.parametrize("where", ["section", "interface"])
def test_a_newer_format_is_refused_with_a_sentence(tmp_path: Path, version: int, where: str) -> None:
    path = tmp_path / "newer.pcapng"
    said = json.dumps({"vusniff": version}).encode()
    section = pcapng.section_header("little", [(pcapng.OPT_COMMENT, said)] if where == "section" else [])
    path.write_bytes(section + interface("little", said if where == "interface" else b'{"vusniff":1}'))
    with pytest.raises(
        CaptureError, match=rf"is a capture of format {version} by a newer vusniff.*up to format 1: read"
    ):
        read(path)


@pytest.mark.parametrize("version", [1, 0, -3, None, "2", 2.5, True, [9]])
def test_an_older_format_or_none_is_read(tmp_path: Path, version: object) -> None:
    said = json.dumps({"vusniff": version}).encode()
    path = tmp_path / "older.pcapng"
    section = pcapng.section_header("little", [(pcapng.OPT_COMMENT, said)])
    path.write_bytes(section + interface("little", said) + packet("little", lead(0, "") + message(1)))
    assert len(frames(path)) == 1


def peak_of(path: Path) -> int:
    """Most bytes that were allocated while a capture was read."""
    tracemalloc.start()
    try:
        read(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [b"", b'{"lost":[1,1]}', json.dumps({"fds": [{}] * 3000}).encode(), b'{"a":[' + b"[]," * 15000 + b"0]}"],
    ids=["empty", "lost", "descriptors", "lists"],
)
def test_a_packet_that_is_full_of_options_costs_what_it_is_large(tmp_path: Path, text: bytes) -> None:
    count = min(2_000_000 // (len(text) + 8), 60_000)
    option = pcapng.option("little", *pcapng.custom_option("little", facts.ENTERPRISE, text))
    fixed = struct.pack("<5I", 0, 0, 7, len(lead(0, "")) + 12, len(lead(0, "")) + 12)
    body = fixed + pcapng.padded(lead(0, "") + message(1)) + option * count
    path = build(tmp_path, "little", interface("little"), pcapng.block("little", pcapng.ENHANCED_PACKET, body))
    records, notes = read(path)
    assert sum(isinstance(record, Frame) for record in records) == 1
    assert bool(notes) == (count > pcapng.OPTIONS_LIMIT)
    assert all("the first 1024 are read" in note for note in notes)
    assert len(records) < 10 + pcapng.OPTIONS_LIMIT
    assert peak_of(path) < 8 * path.stat().st_size + 4_000_000


def test_blocks_of_no_use_cost_little_each(tmp_path: Path) -> None:
    """Counted in calls, as times depend on the machine."""
    empty = pcapng.block("little", 77, b"") + pcapng.block("little", pcapng.JOURNAL, bytes(8))
    calls = []
    for count in (0, 20_000):
        path = build(tmp_path, "little", interface("little"), empty * count, packet("little", lead(0, "") + message(1)))
        profile = cProfile.Profile()
        profile.enable()
        records, notes = read(path)
        profile.disable()
        assert sum(isinstance(record, Frame) for record in records) == 1
        assert len(notes) == (2 if count else 0)
        calls.append(sum(entry.callcount for entry in profile.getstats()))
    assert calls[1] - calls[0] < 2 * 2 * 20_000


@pytest.mark.slow
@pytest.mark.slow
def test_what_interfaces_and_sections_say_costs_what_it_is_large(tmp_path: Path) -> None:
    """What is read of JSON may be many times as large: what of it is kept is bounded."""
    lists = b"[" + b"[]," * 20_000 + b"0]"
    held = b'{"held":[' + b",".join([b"{}"] * 1024) + b"]}"
    steps = b",".join([b'"ab"'] * 13_000)
    said = {
        "foreign": interface("little", b'{"vusniff":1,"x":' + lists + b"}", 1) * 20,
        "of ours": interface("little", b'{"vusniff":1,"x":' + lists + b"}") * 20,
        "held": interface("little", b'{"vusniff":1,"ends":[' + held + b"," + held + b"]}") * 300,
        "edited": pcapng.section_header("little", [(pcapng.OPT_COMMENT, b'{"vusniff":1,"edited":[' + steps + b"]}")])
        * 20,
        "path": interface("little", b'{"vusniff":1}', 252, (pcapng.IF_NAME, "\U0001f600".encode() + bytes(60_000)))
        * 20,
    }
    for what, blocks in said.items():
        path = build(tmp_path, "little", interface("little"), blocks, interface("little"), name=f"{what}.pcapng")
        tracemalloc.start()
        try:
            records, notes = read(path)
            kept = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        assert records
        assert bool(notes) == (what == "held")
        assert kept < 3_000_000 + (50 << 20) * (what == "held"), what


def test_descriptors_that_processes_held_are_bounded_in_all(tmp_path: Path) -> None:
    held = b'{"inode":%d,"held":[' + b",".join([b'{"kind":"memfd"}'] * 1000) + b"]}"
    blocks = [
        interface("little", b'{"vusniff":1,"ends":[' + held % n + b"," + held % (n + 1) + b"]}") for n in range(80)
    ]
    path = build(tmp_path, "little", *blocks, interface("little"))
    records, notes = read(path)
    connections = [record for record in records if isinstance(record, Connection)]
    assert [len(one.ends[0].held) for one in connections] == [1000] * 66 + [0] * 15
    assert sum(len(end.held) for one in connections for end in one.ends) == 1 << 17
    assert [one.ends[1].inode for one in connections[:80]] == list(range(1, 81))
    assert notes == [
        f"{path}: skipped 15 lists of descriptors that a process held before: there are more than 131072 in all"
    ]


def test_more_interfaces_than_anybody_has_are_not_kept(tmp_path: Path) -> None:
    many = interface("little", b"", 1) * 70_000
    path = build(tmp_path, "little", interface("little"), many, packet("little", lead(0, "") + message(1)))
    records, notes = read(path)
    assert sum(isinstance(record, Frame) for record in records) == 1
    assert notes == [f"{path}: skipped 4465 interfaces beyond the 65536th"]


# -- what is refused --------------------------------------------------------------------------------------------------


def test_what_is_no_capture_is_refused_in_one_sentence(tmp_path: Path) -> None:
    capture = tmp_path / "c.pcapng"
    synthetic.every(capture)
    cases: list[tuple[str, bytes | None, str]] = [
        ("empty", b"", "is empty"),
        ("xz", b"\xfd7zXZ\0" + bytes(20), "compressed with xz: decompress it first"),
        ("gz", gzip.compress(b""), "compressed data is cut or damaged at its beginning, or there is nothing in it"),
        ("zst", b"\x28\xb5\x2f\xfd0000", "compressed data is cut or damaged"),
        ("pcap", b"\xd4\xc3\xb2\xa1" + bytes(20), "classic pcap file"),
        ("nanopcap", b"\xa1\xb2\x3c\x4d" + bytes(20), "classic pcap file"),
        ("json", b'{"number":1}\n', "JSON"),
        ("noise", b"hello world, this is text", "does not start like a pcapng"),
        ("magic", pcapng.MAGIC, "cut off in its first block"),
        ("order", pcapng.MAGIC + bytes(24), "no byte order"),
        ("missing", None, "No such file"),
    ]
    for name, content, why in cases:
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(CaptureError, match=why) as raised:
            read(path)
        assert str(path) in str(raised.value)
        assert "\n" not in str(raised.value)
    with pytest.raises(CaptureError, match="is a directory"):
        read(tmp_path)
    with pytest.raises(CaptureError, match="null"):
        CaptureReader("a\0b")
    with pytest.raises(CaptureError, match="name a capture file"):
        CaptureReader([])


def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"x")
    path.chmod(0)
    script = (
        "import os, sys; from vusniff.capture.reader import CaptureReader; from vusniff.errors import CaptureError\n"
        "os.getuid() or os.setuid(65534)\n"
        "try: CaptureReader(sys.argv[1])\nexcept CaptureError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout == f"cannot read {path}: Permission denied\n"


def test_a_pcapng_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "eth.pcapng"
    header = pcapng.section_header("little", [(pcapng.SHB_USERAPPL, b"Dumpcap")])
    path.write_bytes(header + interface("little", b"", 1) + packet("little", b"frame"))
    with pytest.raises(CaptureError, match="there is no vhost-user connection in it"):
        read(path)


def test_an_empty_capture_of_ours_is_fine(tmp_path: Path) -> None:
    path = tmp_path / "nothing.pcapng"
    CaptureWriter(path, source="proxy", snaplen=99).close()
    assert read(path) == ([], [])
    with CaptureReader(path) as reader:
        assert list(reader.batches()) == []
        (section,) = reader.sections
        assert (section.source, section.snaplen, section.order, section.ours) == ("proxy", 99, sys.byteorder, True)
        assert section.host == facts.Host.here()


# -- growing files and pipes ------------------------------------------------------------------------------------------


def following(path: Path, writing: Callable[[Callable[[int], None]], None], **more: object) -> list[Frame]:
    """Follows a file while ``writing`` runs beside, which is given what waits until so many frames were read."""
    found: list[Frame] = []
    read_so_far = threading.Condition()
    finished = threading.Event()

    def wait_for(count: int) -> None:
        with read_so_far:
            assert read_so_far.wait_for(lambda: len(found) >= count, 60)

    def write() -> None:
        try:
            writing(wait_for)
        finally:
            finished.set()

    thread = threading.Thread(target=write)
    thread.start()
    with CaptureReader(path) as reader:
        for batch in reader.batches(follow=True, stop=finished.is_set, **more):  # type: ignore[arg-type]
            with read_so_far:
                found += [record for record in batch.records() if isinstance(record, Frame)]
                read_so_far.notify_all()
    thread.join()
    return found


def test_a_growing_file_is_followed_block_by_block(tmp_path: Path) -> None:
    path, whole = tmp_path / "live.pcapng", tmp_path / "whole.pcapng"
    count = synthetic.every(whole)
    data = whole.read_bytes()
    path.touch()

    def grow(wait_for: Callable[[int], None]) -> None:
        with open(path, "ab", buffering=0) as file:
            seen = 0
            starts = block_starts(data)
            for start, end in zip(starts, [*starts[1:], len(data)], strict=True):
                middle = (start + end) // 2
                file.write(data[start:middle])
                file.write(data[middle:end])
                seen += data[start] == 6
                wait_for(seen)

    assert following(path, grow) == frames(whole)
    assert count == len(frames(whole))


def test_what_a_writer_cut_back_is_read_as_it_is_after_that(tmp_path: Path) -> None:
    path = tmp_path / "live.pcapng"
    block = packet("little", lead(0, "") + message(1))
    other = packet("little", lead(0, "") + message(2, bytes(40)))
    build(tmp_path, "little", interface("little"), name="live.pcapng")

    def grow(wait_for: Callable[[int], None]) -> None:
        with open(path, "r+b", buffering=0) as file:
            file.seek(0, os.SEEK_END)
            for count in range(1, 4):
                file.write(block[:-8])
                file.truncate(file.seek(-(len(block) - 8), os.SEEK_END))
                file.write(other)
                wait_for(count)

    assert [frame.data for frame in following(path, grow)] == [message(2, bytes(40))] * 3


def test_a_file_that_is_emptied_or_replaced_while_followed_is_said_so(tmp_path: Path) -> None:
    for action, why in ((lambda p: os.truncate(p, 50), "became shorter"), (replace, "was replaced by another file")):
        path = tmp_path / "live.pcapng"
        synthetic.every(path)
        count = 0
        with CaptureReader(path) as reader:
            for batch in reader.batches(follow=True):
                count += len(batch)
                if count == 159:
                    action(path)
            assert count == 159
            assert reader.ended
            assert any(why in note for note in reader.notes)


def replace(path: Path) -> None:
    other = path.with_suffix(".new")
    synthetic.every(other)
    other.rename(path)


@pytest.mark.parametrize("piece", [1000, 1 << 20])
def test_a_pipe_reads_like_the_file(tmp_path: Path, piece: int) -> None:
    path = tmp_path / "x.pcapng"
    synthetic.every(path)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    def pour() -> None:
        with open(fifo, "wb", buffering=0) as file:
            data = path.read_bytes()
            for at in range(0, len(data), piece):
                file.write(data[at : at + piece])
            file.write(b"\x06\0\0\0cut")

    thread = threading.Thread(target=pour)
    thread.start()
    records, notes = read(fifo, max_rows=10)
    thread.join()
    assert records == read(path)[0]
    start = path.stat().st_size
    assert notes == [f"{fifo}: cut at byte {start}: it ends in the middle of a block, whose 7 bytes are not read"]


def test_standard_input_may_be_a_pipe_or_a_file(tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    count = synthetic.every(path)
    script = "from vusniff.capture.reader import CaptureReader as R\nprint(sum(len(b) for b in R('-').batches()))"
    command = [sys.executable, "-c", script]
    piped = subprocess.run(command, input=path.read_bytes(), capture_output=True, check=True)
    with open(path, "rb") as file:
        redirected = subprocess.run(command, stdin=file, capture_output=True, check=True)
    assert int(piped.stdout) == int(redirected.stdout) == count


def test_a_pipe_of_something_else_is_refused(tmp_path: Path) -> None:
    script = (
        "from vusniff.capture.reader import CaptureReader as R; from vusniff.errors import CaptureError\n"
        "try: list(R('-').batches())\nexcept CaptureError as e: print(e)"
    )
    for content, why in (
        (b"\x1f\x8b\x08rest of it", "compressed data is cut"),
        (b"", "standard input is empty"),
        (b"hi", "is not a capture"),
    ):
        done = subprocess.run([sys.executable, "-c", script], input=content, capture_output=True, check=True)
        assert why in done.stdout.decode()


def test_batches_are_bounded_whatever_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    synthetic.million(path, 60_000)
    with CaptureReader(path) as reader:
        sizes: Iterable[int] = [sum(map(len, batch.data)) for batch in reader.batches()]
    assert sum(1 for _ in sizes) > 1
    assert max(sizes) < 5 << 20
