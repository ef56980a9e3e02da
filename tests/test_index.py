"""The index: the same messages as a stream, by number, of files that stay, grow, shrink or are replaced."""

import os
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from captures import synthetic
from vusniff.capture.index import Index
from vusniff.capture.reader import CaptureReader
from vusniff.capture.writer import CaptureWriter
from vusniff.errors import CaptureError
from vusniff.record import Closed, Connection, Descriptor, DescriptorKind, Facts, Frame, FrameKind, Lost, Process


def message(request: int, payload: bytes = b"", order: str = "little") -> bytes:
    return struct.pack("<III" if order == "little" else ">III", request, 1, len(payload)) + payload


def stream(*paths: Path) -> list[Frame]:
    with CaptureReader(paths) as reader:
        return [record for record in reader.records() if isinstance(record, Frame)]


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("captures") / "every.pcapng"
    synthetic.every(path)
    return path


def test_rows_are_the_messages_of_the_stream(every: Path) -> None:
    with Index(every) as index:
        count = index.update()
        expected = stream(every)
        assert count == len(index) == len(expected)
        assert index.complete
        assert index.progress == (every.stat().st_size, every.stat().st_size)
        assert list(index.frames()) == expected
        assert [index.frame(row) for row in range(count)] == expected
        assert list(index.frames(5, 9)) == expected[5:9]
        assert list(index.frames(count - 2, count + 9)) == expected[-2:]
        assert list(index.time_ns) == [frame.time_ns for frame in expected]
        assert [connection.id for connection in index.connections] == [1, 2, 3, 4, 5]
        assert {number: closed.reason for number, closed in index.closed.items()} == dict.fromkeys(range(1, 6), "eof")
        assert index.order(1) == "little"
        assert index.notes == []
        with pytest.raises(IndexError):
            index.frame(count)


def test_columns_take_28_bytes_a_message(every: Path) -> None:
    with Index(every) as index:
        index.update()
        columns = (index.offset, index.time_ns, index.request, index.size, index.meta)
        assert sum(column.itemsize for column in columns) == 28


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_an_index_is_built_a_screenful_at_a_time(every: Path, rows: int) -> None:
    with Index(every) as whole, Index(every) as index:
        whole.update()
        read = 0
        while step := index.update(rows):
            assert step <= rows
            read += step
            assert len(index) == read
        assert index.complete
        assert list(index.events) == list(whole.events)
        assert (index.offset, index.meta, index.request) == (whole.offset, whole.meta, whole.request)


def test_the_first_rows_need_not_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "long.pcapng"
    synthetic.million(path, 60_000)
    with Index(path) as index:
        assert index.update(100) == 100
        read, there = index.progress
        assert read < 100_000 < there
        assert not index.complete
        assert index.update() == 59_900
        assert index.complete


def test_events_stand_before_their_row(tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    with CaptureWriter(path, source="test", order="little") as writer:
        first = writer.open("/run/a")
        writer.frame(Frame(1, 0, 1, message(1)))
        writer.lost(Lost(1, 2, 3))
        writer.frame(Frame(1, 0, 4, message(1)))
        second = writer.open("/run/b")
        closed = Closed(1, 5, "reset", 0, 2, 3)
        writer.close_connection(closed)
        writer.frame(Frame(2, 0, 6, message(1)))
        writer.close_connection(Closed(2, 7, "eof", None, 1))
    with Index(path) as index:
        index.update()
        assert list(index.events) == [
            (0, first),
            (1, Lost(1, 2, 3)),
            (2, closed),
            (2, second),
            (3, Closed(2, 7, "eof", None, 1)),
        ]
        assert index.closed[1] == closed


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 300)), max_size=20), st.integers(1, 9))
def test_a_file_that_grows_is_followed(tmp_path: Path, given_frames: list[tuple[int, int]], rows: int) -> None:
    path = tmp_path / "live.pcapng"
    frames = [Frame(1, 0, time_ns, message(1, bytes(size))) for time_ns, size in given_frames]
    with CaptureWriter(path, source="test", order="little") as writer, Index(path) as index:
        assert index.update() == 0
        assert index.complete
        writer.open("/run/x")
        for number, frame in enumerate(frames, 1):
            writer.frame(frame)
            writer.flush()
            while len(index) < number:
                assert index.update(rows)
            assert index.frame(number - 1) == frame
            assert index.update() == 0
            assert index.complete
        writer.close()
        index.update()
        assert [closed.reason for closed in index.closed.values()] == ["capture ended"][: len(frames)]
        assert list(index.frames()) == frames


def test_what_is_beside_a_message_is_read_with_it(tmp_path: Path) -> None:
    for order in ("little", "big"):
        path = tmp_path / order
        frames = [
            Frame(1, 1, 1, message(5, bytes(70_000), order)),
            Frame(1, 0, 2, message(12, bytes(8), order), Facts((Descriptor(DescriptorKind.EVENTFD, "eventfd:3", 9),))),
            Frame(1, 0, 3, message(12, bytes(8), order), Facts(process=Process(1, "a", 2, "b")), missing=4),
            Frame(1, 1, 4, b"raw", kind=FrameKind.RAW),
        ]
        with CaptureWriter(path, source="test", order=order) as writer:
            writer.open("/run/x")
            for frame in frames:
                writer.frame(frame)
        with Index(path) as index:
            index.update()
            assert index.order(1) == order
            assert [index.frame(row) for row in (3, 0, 2, 1)] == [frames[row] for row in (3, 0, 2, 1)]
            assert list(index.frames()) == frames


def test_several_files_are_one_capture(tmp_path: Path) -> None:
    paths = []
    for number, times in enumerate(([1, 4, 5, 9], [2, 3, 5, 6, 7])):
        path = tmp_path / str(number)
        with CaptureWriter(path, source="test", order="little") as writer:
            writer.open(f"/run/{number}")
            for time_ns in times:
                writer.frame(Frame(1, 0, time_ns, message(time_ns, bytes([number]))))
        paths.append(path)
    with Index(paths) as index:
        index.update(3)
        index.update()
        assert list(index.time_ns) == [1, 2, 3, 4, 5, 5, 6, 7, 9]
        found = [index.frame(row) for row in reversed(range(9))][::-1]
        assert found == stream(*paths) == list(index.frames())
        paths_of = {connection.id: connection.path for connection in index.connections}
        assert [paths_of[frame.connection] for frame in found] == [f"/run/{frame.data[-1]}" for frame in found]


def test_a_file_that_becomes_shorter_is_said_so(tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    synthetic.every(path)
    with Index(path) as index:
        count = index.update()
        os.truncate(path, 2000)
        assert index.update() == 0
        assert [note for note in index.notes if "became shorter" in note]
        assert len(index) == count
        assert index.frame(0).data
        with pytest.raises(CaptureError, match="has become shorter"):
            index.frame(count - 1)
        with pytest.raises(CaptureError, match="has become shorter"):
            list(index.frames())


def test_a_file_written_anew_is_said_so(tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    synthetic.every(path)
    with Index(path) as index:
        count = index.update()
        path.write_bytes(bytes(path.stat().st_size))
        with pytest.raises(CaptureError, match="has changed"):
            index.frame(count - 1)


def test_a_pipe_cannot_be_indexed(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    try:
        with pytest.raises(CaptureError, match="is not a regular file"):
            Index(f"/proc/self/fd/{reader}")
    finally:
        os.close(reader)
        os.close(writer)


def test_what_is_no_capture_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    with Index(path) as index, pytest.raises(CaptureError, match="is empty"):
        index.update()
    path.write_bytes(b"text of some kind")
    with pytest.raises(CaptureError, match="is not a capture"):
        Index(path)


def test_connections_are_numbered_from_one(every: Path) -> None:
    with Index(every) as index:
        index.update()
        assert all(isinstance(one, Connection) for one in index.connections)
        assert {meta >> 8 for meta in index.meta} == {1, 2, 3, 4, 5}
