"""The capture writer: what Wireshark and a plain walk find in its files, and what failing writes leave."""

import io
import os
import resource
import select
import shutil
import signal
import stat
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from captures import synthetic
from vusniff.capture.facts import Host
from vusniff.capture.packet import LEAD_SIZE
from vusniff.capture.reader import CaptureReader
from vusniff.capture.writer import CaptureWriter
from vusniff.errors import CaptureError
from vusniff.record import (
    Closed,
    Connection,
    Descriptor,
    DescriptorKind,
    End,
    Facts,
    Frame,
    FrameKind,
    Lost,
    Process,
)

QEMU = Process(12, "qemu")
KICK = Descriptor(DescriptorKind.EVENTFD, "eventfd:5", 33)
need_tshark = pytest.mark.skipif(not shutil.which("tshark"), reason="needs tshark (Debian package tshark)")


def message(request: int, payload: bytes = b"", flags: int = 1) -> bytes:
    return struct.pack("<III", request, flags, len(payload)) + payload


def records(path: Path) -> list[object]:
    with CaptureReader(path) as reader:
        return list(reader.records())


def frames(path: Path) -> list[Frame]:
    return [record for record in records(path) if isinstance(record, Frame)]


def walk(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Every block by both of its lengths, which must agree."""
    at = 0
    while at < len(data):
        kind, total = struct.unpack_from("<II", data, at)
        assert struct.unpack_from("<I", data, at + total - 4)[0] == total
        assert total % 4 == 0
        yield kind, data[at : at + total]
        at += total
    assert at == len(data)


def tshark(path: Path, *arguments: str) -> list[str]:
    done = subprocess.run(["tshark", "-r", str(path), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_blocks_and_lengths_of_a_file_agree(tmp_path: Path) -> None:
    path = tmp_path / "every.pcapng"
    count = synthetic.every(path)
    kinds = [kind for kind, _ in walk(path.read_bytes())]
    assert kinds.count(6) == count
    assert kinds.count(1) == kinds.count(5) == 5
    assert kinds[0] == 0x0A0D0D0A
    for kind, block in walk(path.read_bytes()):
        if kind == 6:
            captured, original = struct.unpack_from("<II", block, 20)
            assert captured == original
            assert struct.unpack_from("<I", block, 28 + LEAD_SIZE + 8)[0] == captured - LEAD_SIZE - 12


def test_a_packet_is_the_tags_the_message_and_its_number(tmp_path: Path) -> None:
    path = tmp_path / "one.pcapng"
    with CaptureWriter(path, source="test", order="little", host=Host()) as writer:
        connection = writer.open("/run/x")
        assert writer.frame(Frame(connection.id, 1, 0x1_0000_0002, message(1, b"\x01" * 8, flags=5))) == 1
    (block,) = (block for kind, block in walk(path.read_bytes()) if kind == 6)
    assert block[8:28] == struct.pack("<IIIII", 0, 1, 2, 132, 132)
    assert block[28:140] == (
        b"\x00\x0c\x00\x0cvhost_user\0\0"
        b"\x00\x23\x00\x04\x00\x00\x00\x01"
        b"\x00\x21\x00\x0cvhost-user\0\0"
        b"\x00\x24\x00\x40" + b"GET_FEATURES reply".ljust(64, b"\0") + b"\0\0\0\0"
    )
    assert block[140:160] == message(1, b"\x01" * 8, flags=5)
    assert block[160:-4] == struct.pack("<HHIHHQI", 2, 4, 1, 5, 8, 1, 0)


@need_tshark
def test_wireshark_counts_and_names_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "every.pcapng"
    count = synthetic.every(path)
    fields = tshark(path, "-T", "fields", "-e", "frame.interface_name", "-e", "frame.len", "-e", "_ws.col.Protocol")
    assert len(fields) == count
    interfaces, sizes, protocols = zip(*(line.split("\t") for line in fields), strict=True)
    assert set(interfaces) == {"/run/vm1/net0.sock", "pair:900-901", "/run/vm1/gpu0.sock", "pair:910-911", "@crypto0"}
    assert [int(size) - LEAD_SIZE for size in sizes] == [len(frame.data) for frame in frames(path)]
    assert set(protocols) <= {"Exported PDU", "vhost-user"}
    times = tshark(path, "-T", "fields", "-e", "frame.time_epoch")
    assert times[0] == "1700000000.000001000"


@need_tshark
def test_wireshark_shows_bytes_for_what_is_no_message(tmp_path: Path) -> None:
    path = tmp_path / "raw.pcapng"
    with CaptureWriter(path, source="test") as writer:
        connection = writer.open("/run/x")
        writer.frame(Frame(connection.id, 0, 1, b"\xff\xfe\xfd", kind=FrameKind.RAW))
    assert tshark(path, "-T", "fields", "-e", "data.data") == ["fffefd"]


@need_tshark
def test_wireshark_opens_messages_longer_than_its_packets(tmp_path: Path) -> None:
    path = tmp_path / "long.pcapng"
    data = message(8, bytes(700_000))
    with CaptureWriter(path, source="test", order="little") as writer:
        connection = writer.open("/run/x")
        assert writer.frame(Frame(connection.id, 0, 1, data, Facts((KICK,)), missing=5)) == 1
        assert writer.frame(Frame(connection.id, 0, 2, message(1))) == 4
    assert len(tshark(path)) == 4
    first, last = frames(path)
    assert (first.data, first.descriptors, first.missing) == (data, (KICK,), 5)
    assert [frame.kind for frame in (first, last)] == [FrameKind.MESSAGE] * 2


def test_what_is_said_of_each_end_and_message_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "facts.pcapng"
    other = Process(13, "worker", 99, "vm1 hostnet1")
    ends = (End(7, QEMU), End(8, Process(20, "dpdk", None, "sw")))
    given = [
        Frame(1, 0, 10, message(1)),
        Frame(1, 1, 11, message(1, bytes(8), 5), Facts(process=other)),
        Frame(1, 1, 12, message(1, bytes(8), 5), Facts(process=other)),
        Frame(
            1,
            0,
            13,
            message(12, bytes(8)),
            Facts((KICK, Descriptor(DescriptorKind.MEMFD, "memfd:9", 4, "ram", 1 << 30))),
        ),
        Frame(1, 0, 14, b"?", Facts(process=other), kind=FrameKind.RAW),
        Frame(1, 0, 15, message(5, bytes(20)), Facts((Descriptor(),)), missing=44),
    ]
    closed = Closed(1, 20, "reset", 1, 6, 2)
    with CaptureWriter(path, source="test", order="little") as writer:
        connection = writer.open("/run/\u00e9.sock", ends, 5, joined_late=True, timed=False)
        assert [writer.frame(frame) for frame in given] == [1, 2, 3, 4, 5, 6]
        writer.close_connection(closed)
    assert connection == Connection(1, "/run/\u00e9.sock", ends, 5, True, timed=False)
    assert records(path) == [connection, *given, closed]


def test_a_process_is_not_repeated_with_each_message(tmp_path: Path) -> None:
    path = tmp_path / "same.pcapng"
    with CaptureWriter(path, source="test") as writer:
        connection = writer.open("/run/x", (End(None, QEMU), End()))
        writer.frame(Frame(connection.id, 0, 1, message(1), Facts(process=Process(12, "qemu"))))
    assert frames(path) == [Frame(1, 0, 1, message(1))]


def test_losses_stand_before_the_next_message_or_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "lost.pcapng"
    with CaptureWriter(path, source="test") as writer:
        connection = writer.open("/run/x")
        writer.lost(Lost(1, 3, 2))
        writer.lost(Lost(1, 4, 1))
        writer.lost(Lost(None, 5, 7))
        writer.frame(Frame(1, 0, 6, message(1)))
        writer.lost(Lost(1, 7, 9))
        writer.lost(Lost(None, 8, 1))
        closed = Closed(1, 9, "eof", None, 1, 12)
        writer.close_connection(closed)
    assert records(path) == [
        connection,
        Lost(None, 5, 7),
        Lost(1, 3, 3),
        Frame(1, 0, 6, message(1)),
        Lost(1, 7, 9),
        closed,
        Lost(None, 8, 1),
    ]


def test_losses_beyond_what_a_file_can_count_are_the_most_it_can(tmp_path: Path) -> None:
    path, most = tmp_path / "lost.pcapng", (1 << 64) - 1
    with CaptureWriter(path, source="test") as writer:
        writer.open("/run/x")
        for connection in (1, None):
            writer.lost(Lost(connection, 3, most))
            writer.lost(Lost(connection, 4, 2))
        writer.frame(Frame(1, 0, 6, message(1)))
        writer.lost(Lost(1, 7, 1))
    lost = [record for record in records(path) if isinstance(record, Lost)]
    assert lost == [Lost(None, 3, most), Lost(1, 3, most), Lost(1, 7, 1)]


def test_two_hundred_descriptors_with_long_names_fit(tmp_path: Path) -> None:
    path = tmp_path / "fds.pcapng"
    fds = tuple(Descriptor(DescriptorKind.FILE, f"file:8:1:{i}", i, "/" + "n" * 4000, i) for i in range(253))
    with CaptureWriter(path, source="test") as writer:
        writer.open("/run/x")
        writer.frame(Frame(1, 0, 1, message(5), Facts(fds)))
    (frame,) = frames(path)
    assert frame.descriptors == fds


def info(path: Path) -> list[str]:
    return [block[72:136].rstrip(b"\0").decode() for kind, block in walk(path.read_bytes()) if kind == 6]


def test_info_names_requests_by_the_channel_of_their_connection(tmp_path: Path) -> None:
    path = tmp_path / "names.pcapng"
    with CaptureWriter(path, source="test", order="little") as writer:
        writer.open("/run/main", (End(1), End(2)))
        early = writer.open("pair:3-4", (End(3), End(4)))
        writer.frame(Frame(early.id, 1, 1, message(1)))
        writer.frame(Frame(1, 0, 2, message(33, b"", 9), Facts((Descriptor(DescriptorKind.SOCKET, "socket:4", 9),))))
        writer.frame(Frame(early.id, 1, 3, message(1, b"", 0)))
        writer.frame(Frame(1, 0, 4, message(21), Facts((Descriptor(DescriptorKind.SOCKET, "socket:6", 9),))))
        later = writer.open("pair:5-6", (End(5), End(6)))
        writer.frame(Frame(later.id, 1, 5, message(4)))
        writer.frame(Frame(1, 0, 6, message(12345)))
        writer.frame(Frame(1, 0, 7, message(13, bytes(8), 9), Facts((KICK, KICK))))
    assert info(path) == [
        "GET_FEATURES",
        "GPU_SET_SOCKET, need_reply, 1 fd",
        "GPU_GET_PROTOCOL_FEATURES",
        "SET_BACKEND_REQ_FD, 1 fd",
        "BACKEND_VRING_CALL",
        "REQUEST_12345",
        "SET_VRING_CALL, need_reply, 2 fds",
    ]


def test_snaplen_cuts_messages_and_says_how_much(tmp_path: Path) -> None:
    path = tmp_path / "snap.pcapng"
    with CaptureWriter(path, source="test", snaplen=16) as writer:
        writer.open("/run/x")
        writer.frame(Frame(1, 0, 1, message(1, b"abcdefgh"), missing=1))
    assert frames(path) == [Frame(1, 0, 1, message(1, b"abcdefgh")[:16], missing=5)]


# -- where it goes ----------------------------------------------------------------------------------------------------


def test_a_capture_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "new.pcapng"
    CaptureWriter(path, source="test").close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    CaptureWriter(path, source="test").close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_only_captures_are_overwritten(tmp_path: Path) -> None:
    precious = tmp_path / "disk.img"
    precious.write_bytes(b"precious")
    with pytest.raises(CaptureError, match=r"disk\.img exists and is not a capture"):
        CaptureWriter(precious, source="test")
    assert precious.read_bytes() == b"precious"
    empty = tmp_path / "empty"
    empty.touch()
    synthetic.every(empty)
    longer = empty.stat().st_size
    CaptureWriter(empty, source="test").close()
    assert 0 < empty.stat().st_size < longer


def test_what_cannot_be_written_to_is_refused_in_one_sentence(tmp_path: Path) -> None:
    for target, why in (
        (tmp_path, "is a directory"),
        (
            Path("/dev/loop0" if os.path.exists("/dev/loop0") else "/dev/log"),
            "neither a regular file nor a FIFO|No such",
        ),
        (tmp_path / "none" / "x", "No such file or directory"),
        (Path("a\0b"), "null"),
    ):
        with pytest.raises(CaptureError, match=why) as raised:
            CaptureWriter(target, source="test")
        assert "\n" not in str(raised.value)


def test_standard_output_gets_every_flush() -> None:
    script = (
        "import sys; from captures import synthetic as s; from vusniff.record import Frame\n"
        "w = s.writer_of('-'); w.open('/run/x'); w.frame(Frame(1, 0, 1, b'1' * 12)); w.flush()\n"
        "sys.stdin.read(1); w.close()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parent.parent
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        got = b""
        while not got.endswith(struct.pack("<HHQII", 5, 8, 1, 0, 180)):
            assert select.select([process.stdout], [], [], 30)[0]
            got += os.read(process.stdout.fileno(), 65536)
        process.stdin.write(b"x")
        process.stdin.close()
        got += process.stdout.read()
    assert [kind for kind, _ in walk(got)] == [0x0A0D0D0A, 1, 6, 5]


def test_a_fifo_is_written_to_and_its_reader_may_leave(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    writer = CaptureWriter(fifo, source="test")
    writer.open("/run/x")
    writer.flush()
    assert os.read(reader, 65536).startswith(b"\x0a\x0d\x0d\x0a")
    os.close(reader)
    writer.frame(Frame(1, 0, 1, message(1)))
    writer.flush()
    assert writer.failure == (
        f"cannot write the capture to {fifo}: Broken pipe; traffic goes on, "
        "messages are only counted until it can be written again (1 so far)"
    )
    writer.close()


def test_a_file_is_whole_up_to_the_last_flush_when_its_writer_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "killed.pcapng"
    script = (
        "import sys; from vusniff.capture.writer import CaptureWriter; from vusniff.record import Frame\n"
        "w = CaptureWriter(sys.argv[1], source='test'); w.open('/run/x')\n"
        "for i in range(100): w.frame(Frame(1, 0, i, b'1' * 20)); w.flush()\n"
        "w.frame(Frame(1, 0, 100, b'1' * 20)); print('ready', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGKILL)
    with CaptureReader(path) as reader:
        assert sum(isinstance(record, Frame) for record in reader.records()) == 100
        assert reader.notes == []


# -- when it cannot be written ----------------------------------------------------------------------------------------


class Slow(io.RawIOBase):
    """A raw stream that takes seven bytes at a time, as the contract of write() allows."""

    def __init__(self) -> None:
        self.taken = b""

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        piece = bytes(memoryview(data)[:7])  # type: ignore[arg-type]
        self.taken += piece
        return len(piece)


def test_short_writes_are_continued(tmp_path: Path) -> None:
    slow = Slow()
    with CaptureWriter(slow, source="test") as writer:  # type: ignore[arg-type]
        writer.open("/run/x")
        writer.frame(Frame(1, 0, 1, message(1)))
        writer.flush()
        assert writer.failure is None
    assert [kind for kind, _ in walk(slow.taken)] == [0x0A0D0D0A, 1, 6, 5]


def fill_and_recover(path: Path, make_room: object) -> None:
    """Writes until the file cannot grow, goes on, makes room, and goes on: the file must say all of it."""
    assert callable(make_room)
    writer = CaptureWriter(path, source="test", order="little")
    writer.open("/run/x")
    written = 0
    while writer.failure is None:
        for _ in range(50):
            writer.frame(Frame(1, 0, written, message(2, bytes(8))))
            written += 1
        writer.flush()
    assert f"cannot write the capture to {path}" in writer.failure
    assert "Traceback" not in writer.failure
    list(walk(path.read_bytes()))
    lost = writer.lost_frames
    assert 0 < lost <= 50
    late = writer.open("/run/late")
    for _ in range(3):
        writer.frame(Frame(1, 0, written, message(2, bytes(8))))
        writer.flush()
        assert writer.failure is not None
    assert writer.lost_frames == lost + 3
    before = len(frames(path))
    assert before == written - lost
    make_room()
    number = writer.frame(Frame(1, 0, written, message(3)))
    writer.frame(Frame(late.id, 0, written, message(4)))
    writer.flush()
    assert writer.failure is None
    assert number == before + 1
    writer.close()
    found = records(path)
    assert Lost(1, written - lost, lost + 3) in found
    assert late in found
    assert frames(path)[-2:] == [Frame(1, 0, written, message(3)), Frame(late.id, 0, written, message(4))]
    list(walk(path.read_bytes()))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small tmpfs")
def test_a_full_disk_loses_messages_and_not_the_file(tmp_path: Path) -> None:
    mounted = tmp_path / "small"
    mounted.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(mounted)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        ballast = mounted / "ballast"
        ballast.write_bytes(bytes(100_000))
        fill_and_recover(mounted / "capture.pcapng", ballast.unlink)
    finally:
        subprocess.run(["umount", "-l", str(mounted)], check=True)


def test_a_file_size_limit_loses_messages_and_not_the_file(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_001, hard))
    try:
        fill_and_recover(tmp_path / "capture.pcapng", lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_pipe_that_is_full_gets_the_rest_of_a_block_first() -> None:
    reader, end = os.pipe()
    os.set_blocking(end, False)
    with open(end, "wb", buffering=0) as target:
        writer = CaptureWriter(target, source="test", order="little")
        writer.open("/run/x")
        sent = 0
        while writer.failure is None:
            writer.frame(Frame(1, 0, sent, message(2, bytes(1000))))
            writer.flush()
            sent += 1
        assert "Resource temporarily unavailable" in writer.failure
        os.set_blocking(reader, False)
        got = os.read(reader, 1 << 20)
        writer.frame(Frame(1, 0, sent, message(2, bytes(1000))))
        writer.flush()
        assert writer.failure is None
        writer.close()
    got += os.read(reader, 1 << 20)
    os.close(reader)
    assert sum(kind == 6 for kind, _ in walk(got)) == sent + 1 - writer.lost_frames


def test_what_is_lost_together_with_the_end_of_its_connection_is_still_counted(tmp_path: Path) -> None:
    path = tmp_path / "capture.pcapng"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with CaptureWriter(path, source="test") as writer:
        writer.open("/run/x")
        writer.flush()
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, hard))
        try:
            writer.frame(Frame(1, 0, 3, message(1)))
            writer.close_connection(Closed(1, 4, "eof", 0, 1))
            writer.flush()
            assert writer.failure is not None
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert records(path)[1:] == [Closed(1, 4, "eof", 0, 1), Lost(1, 3, 1)]


def test_a_writer_that_is_closed_twice_closes_nothing_else(tmp_path: Path) -> None:
    writer = CaptureWriter(tmp_path / "capture.pcapng", source="test")
    writer.close()
    with open(tmp_path / "other", "wb") as other:
        writer.close()
        os.fstat(other.fileno())


def test_a_device_that_is_always_full_never_raises() -> None:
    with open("/dev/full", "wb", buffering=0) as full, CaptureWriter(full, source="test") as writer:
        writer.open("/run/x")
        for _ in range(10):
            writer.frame(Frame(1, 0, 1, message(1)))
            writer.flush()
        assert writer.failure is not None
        assert "No space left on device" in writer.failure
        assert writer.lost_frames == 10
        assert writer.number == 0
