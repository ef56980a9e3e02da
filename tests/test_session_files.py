"""A recording with one file a session: what belongs together is in one file, and nothing grows without bound."""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

import pytest
from test_rotation import Playing, timeline_of

from captures import synthetic
from vusniff.capture import finishing, sessions
from vusniff.capture.output import DescriptorOutput
from vusniff.capture.reader import CaptureReader
from vusniff.capture.sessions import SessionFiles, name_of
from vusniff.capture.writer import CaptureWriter
from vusniff.cli import main
from vusniff.errors import CaptureError
from vusniff.record import Closed, Descriptor, DescriptorKind, End, Exit, Facts, Frame, Lost, Process

OWNER = struct.pack("<III", 3, 1, 0)
BACKEND_FD = struct.pack("<III", 21, 1, 0)


def begin(output: DescriptorOutput) -> CaptureWriter:
    return CaptureWriter(output, source="test")


def session_files(folder: Path, said: list[str], keep: int | None = None, linger: float = 0) -> SessionFiles:
    return SessionFiles(str(folder), begin, sys.byteorder, said.append, keep, linger)


def ends(label: str = "", inode: int = 7) -> tuple[End, End]:
    return End(inode, Process(10, "qemu-system-x86", label=label)), End(inode + 1, Process(11, "dpdk-testpmd"))


def test_channels_losses_and_exits_stand_with_their_session(tmp_path: Path) -> None:
    said: list[str] = []
    writing = session_files(tmp_path / "made", said)
    one = writing.open("/run/one.sock", ends("vm1 net0"))
    other = writing.open("/run/other.sock", ends("vm2 net0", 17))
    silent = writing.open("/run/silent.sock", ends("", 27))
    socket = Descriptor(DescriptorKind.SOCKET, "socket:99", 5)
    for connection in (one, other):
        writing.frame(Frame(connection.id, 0, 10**18, OWNER))
    writing.frame(Frame(one.id, 0, 10**18 + 1, BACKEND_FD, Facts((socket,))))
    assert str(writing.passed(99)) == "backend"
    channel = writing.open("pair:99-98", (End(98), End(99)))
    writing.frame(Frame(channel.id, 0, 10**18 + 2, struct.pack("<III", 2, 1, 0)))
    writing.lost(Lost(channel.id, 10**18 + 3, 4))
    writing.lost(Lost(None, 10**18 + 3, 1))
    for connection in (silent, channel, one):
        writing.close_connection(Closed(connection.id, 10**18 + 4, "eof", 0, 1))
    writing.evidence(Exit(10**18 + 5, 10, "qemu-system-x86", signal=9, ends=((one.id, 0), (other.id, 0))))
    writing.flush()
    writing.flush()
    writing.close()
    assert not said
    first, second = sorted((tmp_path / "made").iterdir())
    assert (first.name, second.name) == (
        "20010909T014640Z-vm1_net0.pcapng.zst",
        "20010909T014640Z-vm2_net0.pcapng.zst",
    )
    assert first.stat().st_mode & 0o777 == 0o600
    timeline = timeline_of(first)
    assert len(timeline) == 3
    assert [len(session.connections) for session in timeline.sessions] == [2]
    with CaptureReader(first) as reader:
        records = list(reader.records())
    assert sum(record.count for record in records if isinstance(record, Lost)) == 5
    assert [record.signal for record in records if isinstance(record, Exit)] == [9]
    assert len(timeline_of(second)) == 1


@pytest.mark.parametrize("name", ["virtio-user-packed-reconnect", "every"])
def test_the_files_hold_every_message_once(name: str, tmp_path: Path) -> None:
    path = Path(__file__).parent.parent / "captures" / f"{name}.pcapng"
    if name == "every":
        synthetic.every(path := tmp_path / "every.pcapng")
    whole = timeline_of(path)
    writing = session_files(tmp_path / "made", [])
    playing = Playing(writing)
    with CaptureReader(path) as reader:
        for record in reader.records():
            playing.give(record)
            writing.flush()
    writing.close()
    made = [timeline_of(one) for one in sorted((tmp_path / "made").iterdir())]
    assert sorted(len(one) for one in made) == sorted(session.count for session in whole.sessions if session.count)
    assert {len(one.sessions) for one in made} == {1}


@pytest.mark.parametrize("remembered", [1000, 3])
def test_the_oldest_files_make_room_and_nothing_else_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, remembered: int
) -> None:
    """Also where only a few of their names are remembered."""
    monkeypatch.setattr(finishing, "OLDEST", remembered)
    kept = [tmp_path / "20000101T000000Z-notes.txt", tmp_path / "mine.pcapng.zst"]
    for one in kept:
        one.write_bytes(bytes(9999))
    writing = session_files(tmp_path, [], keep=3000)
    for number in range(20):
        opened = writing.open(f"/run/{number:02}.sock", ends())
        writing.frame(Frame(opened.id, 0, 10**18 + number * 10**9, OWNER))
        writing.close_connection(Closed(opened.id, 10**18, "eof", 0, 1))
        writing.flush()
    writing.close()
    left = sorted(set(tmp_path.iterdir()) - set(kept))
    assert all(one.exists() for one in kept)
    assert 1 < len(left) < 20
    assert left[-1].name.endswith("Z-19.pcapng.zst")
    assert [int(one.name.split("-")[1].split(".")[0]) for one in left] == list(range(20 - len(left), 20))
    assert sum(one.stat().st_size for one in left) <= 3000


def test_few_files_wait_for_what_is_said_of_ended_sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "LINGERING", 3)
    closed = []

    class Counted(CaptureWriter):
        def close(self) -> None:
            closed.append(self.number)
            super().close()

    def begin_counted(output: DescriptorOutput) -> CaptureWriter:
        return Counted(output, source="test")

    writing = SessionFiles(str(tmp_path), begin_counted, sys.byteorder, print, linger=3600)
    for number in range(20):
        opened = writing.open(f"/run/{number:02}.sock", ends())
        writing.frame(Frame(opened.id, 0, 10**18 + number * 10**9, OWNER))
        writing.close_connection(Closed(opened.id, 10**18, "eof", 0, 1))
        writing.flush()
    assert len(closed) == 20 - 3
    writing.close()
    assert len(closed) == len(list(tmp_path.iterdir())) == 20


def test_a_directory_that_cannot_be_written_loses_messages_and_says_so(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="cannot write to the directory"):
        session_files(tmp_path / "missing" / "made", [])
    writing = session_files(tmp_path / "made", [])
    opened = writing.open("/run/x.sock", ends())
    os.rmdir(tmp_path / "made")
    writing.frame(Frame(opened.id, 0, 10**18, OWNER))
    assert "No such file or directory" in (writing.failure or "")
    os.mkdir(tmp_path / "made")
    writing.frame(Frame(opened.id, 0, 10**18 + 1, OWNER))  # too soon to be tried again
    writing.frame(Frame(opened.id, 0, 10**18 + 2 * 10**9, OWNER))
    assert writing.failure is None
    writing.close()
    assert (writing.number, writing.lost_frames) == (3, 2)


def test_names_hold_nothing_odd() -> None:
    when = 10**18
    assert name_of((End(), End()), "pair:7-8", when).endswith("Z-unknown")
    assert name_of(ends("../../etc\x1b[31m"), "x", when).endswith("Z-etc_31m")
    assert name_of((End(), End()), "/run/vhost user.sock", when).endswith("Z-vhost_user")
    assert len(name_of(ends("x" * 5000), "x", when)) < 100


def test_an_hour_of_a_host_keeps_memory_flat(tmp_path: Path) -> None:
    """A week of 10,000,000 messages on 50,000 connections has 300 connections with 200 messages an hour."""
    writing = session_files(tmp_path, [], keep=1 << 20)
    used = []
    for number in range(300):
        opened = writing.open(f"/run/{number}.sock", ends(f"vm{number} net0", 10 * number))
        for count in range(200):
            writing.frame(Frame(opened.id, 0, 10**18 + number * 10**9 + count, OWNER))
            writing.flush() if count % 20 == 0 else None
        writing.close_connection(Closed(opened.id, 10**18, "eof", 0, 200))
        writing.flush()
        used.append(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
    writing.close()
    assert writing.number == 60_000
    assert used[299] < used[99] + (4 << 20)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("-W", "3"), "-W says how many files of -C or -G stay: add one of these"),
        (("-C", "1M"), "-C needs a name for the files: add -w FILE.pcapng"),
        (("-G", "1h", "-w", "-"), "-G needs a name for the files"),
        (("-C", "1M", "-W", "0", "-w", "x.pcapng"), "-W 0: from 1 to 1000 files"),
        (("--keep", "1G"), "--keep is about the files of --per-session"),
        (("--per-session", "x", "-w", "x.pcapng"), "--per-session names its files itself: leave out -w"),
        (("--per-session", "x", "-C", "1M"), "--per-session names its files itself: leave out -C and -G"),
        (("--per-session", "x", "--json"), "--json does not go with --per-session, which only records"),
        (("-C", "1M", "-w", "x.pcapng", "--max-size", "1G"), "--max-size does not go with -C"),
        (("-C", "1M", "-w", "x.pcapng.gz", "--rings"), "x.pcapng.gz is compressed: name plain files"),
        (("--metrics", "nowhere/v.prom"), "--metrics nowhere/v.prom: there is no directory"),
        (("--metrics", "v.prom", "--json"), "--metrics shows nothing: leave out --tui, --json and --until"),
        (("--metrics", "v.prom", "--per-session", "x"), "--metrics reads one file after the other"),
        (("-C", "1", "-w", "x.pcapng"), "too small for a capture: at least 64K"),
    ],
)
def test_what_does_not_go_together_is_refused(
    words: tuple[str, ...],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        status = main(["capture", *words])
    except SystemExit as error:
        status = int(error.code or 0)
    assert status == 2
    assert sentence in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.iterdir())
