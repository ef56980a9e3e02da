"""How much of a disk a recording takes, with real small file systems."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from probing import connected, message, needs_probe, recording
from test_proxy import Program, accepted, frames, listening, records, talk, until
from test_proxy import connected as connected_to
from test_tui_tmux import CAPTURES, Terminal
from test_writer import walk

from vusniff.capture.bound import LOOK, RESERVE, SHARE, Bound, size_of
from vusniff.capture.output import open_path
from vusniff.capture.writer import CaptureWriter
from vusniff.record import Closed, Connection, Frame

PATIENCE = 30.0


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small tmpfs")
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def free(folder: Path) -> int:
    there = os.statvfs(folder)
    return there.f_bavail * there.f_frsize


def bounded(path: Path, max_size: int | None = None) -> CaptureWriter:
    output = open_path(path)
    return CaptureWriter(output, source="test", order="little", bound=Bound(output.fileno(), str(path), max_size))


def is_whole(path: Path, connections: int = 1) -> bool:
    """Every block is complete, and every connection has its end."""
    list(walk(path.read_bytes()))
    found = records(path)
    opened = [record for record in found if isinstance(record, Connection)]
    closed = [record for record in found if isinstance(record, Closed)]
    return len(opened) == len(closed) == connections and all(one.reason == "capture ended" for one in closed)


# -- the rule ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "size"),
    [("65536", 65536), ("64K", 1 << 16), ("500M", 500 << 20), ("2GiB", 2 << 30), ("1tb", 1 << 40), (" 3 g", 3 << 30)],
)
def test_sizes(words: str, size: int) -> None:
    assert size_of(words) == size


@pytest.mark.parametrize("words", ["", "0", "-1", "1.5G", "10", "63K", "10P", "9" * 400, "M", "1 2"])
def test_what_is_no_size_is_refused(words: str) -> None:
    with pytest.raises(ValueError, match=r"size|small"):
        size_of(words)


def test_the_smaller_of_a_share_and_a_gibibyte_stays_free(small: Path) -> None:
    reserve = (4 << 20) // SHARE
    with (small / "x").open("wb") as file:
        bound = Bound(file.fileno(), "x")
        assert bound.step == reserve // 4
        assert bound.room(0)[0] == free(small) - reserve
        ballast = small / "ballast"
        ballast.write_bytes(bytes(free(small) - reserve - 8192))
        assert 0 < bound.room(1)[0] <= 8192
        with ballast.open("ab") as more:
            more.write(bytes(16384))
        room, why = bound.room(2)
        assert room < 0
        assert "less than 205 KiB would stay free on the file system of x" in why
        # A size that fits counts alone; one that does not fit changes nothing about that.
        assert Bound(file.fileno(), "x", 1 << 16).room(1)[0] == (1 << 16) - 1
        room, why = Bound(file.fileno(), "x", 1 << 16).room(1 << 17)
        assert room < 0
        assert "--max-size (64 KiB)" in why
        assert Bound(file.fileno(), "x", 1 << 30).room(1)[0] < 0


def test_a_large_file_system_is_asked_once_a_mebibyte(tmp_path: Path) -> None:
    with (tmp_path / "x").open("wb") as file:
        there = os.fstatvfs(file.fileno())
        size = there.f_blocks * there.f_frsize
        assert Bound(file.fileno(), "x").step == min(LOOK, min(RESERVE, size // SHARE) // 4)


def test_a_pipe_has_no_disk() -> None:
    reader, end = os.pipe()
    with open(reader, "rb"), open(end, "wb", buffering=0) as pipe:
        assert Bound(pipe.fileno(), "x").room(1 << 50)[0] == Bound(pipe.fileno(), "x").step == sys.maxsize
        assert Bound(pipe.fileno(), "x", 1 << 20).room(1 << 19)[0] == 1 << 19


# -- the file ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 50, 5000])
def test_a_file_ends_whole_at_its_size(tmp_path: Path, batch: int) -> None:
    path, size = tmp_path / "c.pcapng", 1 << 17
    writer = bounded(path, size)
    for number in range(20):
        writer.open(f"/run/{number}")
    sent = 0
    while writer.stopped is None:
        for _ in range(batch):
            writer.frame(Frame(1 + sent % 20, 0, sent, message(2, bytes(8))))
            sent += 1
        writer.flush()
    assert "recording has stopped" in writer.stopped
    assert f"{path} has reached --max-size (128 KiB)" in writer.stopped
    for _ in range(10):  # what comes later is counted, nothing else
        writer.frame(Frame(1, 0, sent, message(2, bytes(8))))
        sent += 1
        writer.flush()
    writer.open("/run/later")
    writer.close()
    assert size * 0.8 < path.stat().st_size <= size
    assert is_whole(path, 20)
    assert len(frames(path)) + writer.lost_frames == sent


def test_the_check_costs_no_call_for_each_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    real = os.fstatvfs
    monkeypatch.setattr(os, "fstatvfs", lambda fd: asked.append(fd) or real(fd))  # type: ignore[func-returns-value]
    writer = bounded(tmp_path / "c.pcapng")
    writer.open("/run/x")
    for number in range(20_000):
        writer.frame(Frame(1, 0, number, message(2, bytes(8))))
        writer.flush()
    writer.close()
    assert 1 <= len(asked) <= 2 + (tmp_path / "c.pcapng").stat().st_size // LOOK * 2


def test_a_limit_of_the_system_before_the_bound_is_told_as_ever(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_001, hard))
    try:
        writer = bounded(tmp_path / "c.pcapng", 1 << 20)
        writer.open("/run/x")
        for number in range(2000):
            writer.frame(Frame(1, 0, number, message(2, bytes(8))))
            writer.flush()
        assert writer.stopped is None
        assert writer.failure is not None
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    writer.flush()
    writer.close()
    list(walk((tmp_path / "c.pcapng").read_bytes()))
    assert len(frames(tmp_path / "c.pcapng")) + writer.lost_frames == 2000


# -- the proxy --------------------------------------------------------------------------------------------------------


def flood(tmp_path: Path, program: Program, front: Path, listener: socket.socket) -> None:
    """Traffic until recording stops, and after it; another connection then."""
    with connected_to(front) as frontend, accepted(listener) as backend:
        while "recording has stopped" not in program.said:
            talk(frontend, backend, 200)
        size = program.file.stat().st_size
        talk(frontend, backend, 1000)
        with connected_to(front) as again, accepted(listener) as behind:
            talk(again, behind, 100)
    assert program.file.stat().st_size == size
    assert program.said.count("recording has stopped") == 1
    assert "traffic goes on, messages are only counted" in program.said
    assert is_whole(program.file)


def test_a_proxy_stops_recording_at_its_size_and_forwards_on(tmp_path: Path) -> None:
    front, back = tmp_path / "front", tmp_path / "back"
    words = ("--listen", front, "--connect", back, "--max-size", "100K")
    with listening(back) as listener, Program(tmp_path, *words) as program:
        flood(tmp_path, program, front, listener)
        assert program.end() == 1
    assert 60_000 < program.file.stat().st_size <= 100 << 10
    assert "2 connections" in program.said


def test_a_proxy_leaves_room_on_the_disk(tmp_path: Path, small: Path) -> None:
    front, back = tmp_path / "front", tmp_path / "back"
    (small / "ballast").write_bytes(bytes(3 << 20))
    with listening(back) as listener, Program(small, "--listen", front, "--connect", back) as program:
        flood(tmp_path, program, front, listener)
        assert program.end() == 1
    assert free(small) > (4 << 20) // SHARE // 2
    assert "would stay free on the file system of" in program.said


def test_a_proxy_on_a_full_disk_forwards(tmp_path: Path, small: Path) -> None:
    front, back = tmp_path / "front", tmp_path / "back"
    (small / "ballast").write_bytes(bytes(free(small) - 65536))
    with listening(back) as listener, Program(small, "--listen", front, "--connect", back) as program:
        with connected_to(front) as frontend, accepted(listener) as backend:
            talk(frontend, backend, 10)
        until(lambda: "recording has stopped" in program.said)
        assert program.end() == 1


def test_the_status_of_a_command_goes_first(tmp_path: Path, small: Path) -> None:
    (small / "ballast").write_bytes(bytes(free(small) - 65536))
    for command, status in ((["false"], 1), (["sh", "-c", "exit 7"], 7), (["true"], 1)):
        with Program(small, "--listen", tmp_path / "front", "--connect", tmp_path / "back", command=command) as program:
            assert program.process.wait(PATIENCE) == status


@pytest.mark.parametrize("words", [["--max-size", "1"], ["--max-size=x"]])
def test_a_size_that_is_none_is_refused(tmp_path: Path, words: list[str]) -> None:
    with Program(tmp_path, "--listen", tmp_path / "front", "--connect", tmp_path / "back", *words) as program:
        assert program.process.wait(PATIENCE) == 2
    assert "--max-size" in program.said
    assert not program.file.exists()


# -- the probe --------------------------------------------------------------------------------------------------------


@needs_probe
def test_the_probe_ends_at_its_size(tmp_path: Path) -> None:
    path = tmp_path / "c.pcapng"
    with recording(path, "--path", str(tmp_path / "s"), "--max-size", "64K") as probe:
        near, far = connected(str(tmp_path / "s"))
        with near, far, contextlib.suppress(BlockingIOError):
            for _ in range(2000):
                near.send(message(1))
                far.recv(100)
            said = probe.process.communicate(timeout=60)[1]
    assert probe.process.returncode == 1
    assert said.count("recording has stopped") == 1
    assert "has reached --max-size (64 KiB)" in said
    counts = re.search(r"(\d+) messages on 1 connection, (\d+) lost", said)
    assert counts is not None
    assert int(counts[1]) <= 2000 <= int(counts[1]) + int(counts[2])  # some may find the kernel's buffer full
    assert 30_000 < path.stat().st_size <= 64 << 10
    assert is_whole(path)


@needs_probe
def test_the_probe_leaves_room_on_the_disk(tmp_path: Path, small: Path) -> None:
    """And a view goes to the end of what was recorded, with the status of the probe."""
    (small / "ballast").write_bytes(bytes(3 << 20))
    command = [sys.executable, "-m", "vusniff", "capture", "--path", str(tmp_path / "s"), "-w", str(small / "c.pcapng")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as view:
        assert view.stderr is not None
        until(lambda: (small / "c.pcapng").exists() and (small / "c.pcapng").stat().st_size)
        near, far = connected(str(tmp_path / "s"))
        with near, far:
            for _ in range(10_000):
                near.send(message(1))
                far.recv(100)
            said = view.communicate(timeout=60)[1]
        if view.poll() is None:
            view.send_signal(signal.SIGINT)
    assert view.returncode == 1
    assert said.count("recording has stopped") == 1
    assert "would stay free on the file system of" in said
    assert free(small) > (4 << 20) // SHARE // 2
    assert is_whole(small / "c.pcapng")


@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
def test_a_view_of_standard_input_leaves_room_on_the_disk(tmp_path: Path, small: Path) -> None:
    """It keeps what comes in a file, and what comes is chosen elsewhere."""
    with contextlib.closing(Terminal((120, 40), tmp_path)) as terminal:
        flood = f"{{ cat {CAPTURES / 'qemu-blk.pcapng'}; head -c 16M /dev/zero; }}"
        terminal.start(f"{flood} | TMPDIR={small} {sys.executable} -m vusniff view -")
        terminal.until("50 messages", "standard input was not read to its end", "CUT: nothing more is read")
        until(lambda: free(small) < 2 << 20)
        assert free(small) >= (4 << 20) // SHARE
        terminal.keys("q")
        screen = terminal.until("returned 2").replace("\n", "")
        assert "standard input was not read to its end: less than" in screen
