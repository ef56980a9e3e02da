"""``vusniff capture`` as its users run it: views, pipes, interrupts, privileges."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
from probing import connected, message, needs_probe, recording

from vusniff.capture.reader import CaptureReader
from vusniff.record import Frame

pytestmark = needs_probe

CAPTURE = [sys.executable, "-m", "vusniff", "capture"]


def start(*words: str, **options: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen([*CAPTURE, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)  # type: ignore[call-overload,no-any-return]


def until(stream: IO[bytes], words: bytes) -> bytes:
    """Reads lines up to one that holds these words."""
    said = []
    for line in stream:
        if words in line:
            return line
        said.append(line)
    raise AssertionError(f"no line with {words!r} in {said}")


def talk(path: Path, count: int = 1) -> None:
    near, far = connected(str(path))
    path.unlink()
    with near, far:
        for _ in range(count):
            near.send(message(1))
            far.send(message(1, bytes(8), 5))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--path="], "--path is empty and matches nothing"),
        (["--comm", ""], "--comm is empty and matches nothing"),
        (["--vm", "one", "--vm", ""], "--vm is empty and matches nothing"),
        (["--inode=-3"], "--inode -3 is not the inode of a socket"),
        (["--inode", "0"], "--inode 0 is not the inode of a socket"),
        (["--inode", str(1 << 64)], "is not the inode of a socket"),
        (["--pid=-1"], "--pid -1: there is no such process"),
        (["--pid", "0"], "--pid 0: there is no such process"),
        (["--pid", str(1 << 70)], "there is no such process"),
    ],
)
def test_what_can_match_nothing_is_refused(tmp_path: Path, words: list[str], sentence: str) -> None:
    file = tmp_path / "c.pcapng"
    with start("-q", "-w", str(file), *words) as process:
        out, said = process.communicate()
    assert process.returncode == 2
    assert out == b""
    assert sentence in said.decode()
    assert said.count(b"\n") == 1
    assert not file.exists()


def test_a_process_that_is_gone_is_refused(tmp_path: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    with start("-q", "-w", str(tmp_path / "c.pcapng"), "--pid", str(gone.pid)) as process:
        _, said = process.communicate()
    assert process.returncode == 2
    assert f"--pid {gone.pid}: there is no such process" in said.decode()


def test_a_command_name_of_more_than_15_characters(tmp_path: Path) -> None:
    program = tmp_path / "a-back-end-with-a-long-name"
    program.symlink_to(sys.executable)
    body = (
        "import sys; sys.path.insert(0, sys.argv[2]); from probing import connected, message\n"
        "near, far = connected(sys.argv[1]); near.send(message(1)); sys.stdin.read()"
    )
    with recording(tmp_path / "c.pcapng", "--comm", program.name) as probe:
        words = [str(program), "-c", body, str(tmp_path / "s"), str(Path(__file__).parent)]
        paths = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        with subprocess.Popen(words, stdin=subprocess.PIPE, env=paths) as process:
            while not probe.path.exists() or message(1) not in probe.path.read_bytes():
                assert process.poll() is None
        talk(tmp_path / "other")
        probe.finish()
    assert probe.data() == [message(1)]


def test_lines_appear_while_it_runs(tmp_path: Path) -> None:
    socket, file = tmp_path / "s", tmp_path / "c.pcapng"
    with start("--path", str(socket), "-w", str(file)) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        # The capture has its section header once the probe is attached.
        while not file.exists() or not file.stat().st_size:
            assert process.poll() is None
        talk(socket)
        assert b"GET_FEATURES" in until(process.stdout, b"1 front -> back")
        until(process.stdout, b"1 front <- back")
        process.send_signal(signal.SIGINT)
        rest, said = process.communicate()
    assert process.returncode == 0
    assert rest == b""
    assert b"2 messages on 1 connection, 0 lost" in said
    assert file.stat().st_mode & 0o777 == 0o600


def test_it_ends_after_so_many_messages(tmp_path: Path) -> None:
    path = tmp_path / "c.pcapng"
    with recording(path, "--path", str(tmp_path / "s"), "--count", "3") as probe:
        near, far = connected(str(tmp_path / "s"))
        with near, far:
            for _ in range(5):
                near.send(message(1))
            said = probe.process.communicate(timeout=60)[1]
    assert probe.process.returncode == 0
    assert "3 messages on 1 connection, 0 lost" in said
    with CaptureReader(str(path)) as reader:
        assert sum(map(len, reader.batches())) == 3


@pytest.mark.parametrize("quiet", [False, True])
def test_it_ends_with_the_message_that_was_waited_for(tmp_path: Path, quiet: bool) -> None:
    socket, file = tmp_path / "s", tmp_path / "c.pcapng"
    words = ["--path", str(socket), "-w", str(file), "--until", "vhost.request == SET_VRING_NUM", *["-q"] * quiet]
    with start(*words) as process:
        while not file.exists() or not file.stat().st_size:
            assert process.poll() is None
        near, far = connected(str(socket))
        with near, far:
            for request in (1, 2, 8, 3):
                near.send(message(request, bytes(8) if request in (2, 8) else b""))
            out, said = process.communicate(timeout=60)
    assert process.returncode == 0
    assert (b"message 3 passes --until: recording ends" in said) is not quiet
    assert not (quiet and said)
    shown = [line.split()[6] for line in out.splitlines() if b"front" in line]
    assert shown == ([] if quiet else [b"GET_FEATURES", b"SET_FEATURES", b"SET_VRING_NUM"])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--until", "vhost.request =="], "filter:"),
        (
            ["--until", "finding.severity >= warning"],
            "fields of findings, logs and rings need a capture that is finished",
        ),
        (["--until", "vhost.request == 1", "-w", "-"], "--until reads the capture while it grows"),
    ],
)
def test_an_end_that_cannot_be_seen_is_refused(tmp_path: Path, words: list[str], sentence: str) -> None:
    with start(*words, cwd=tmp_path) as process:
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 2
    assert sentence.encode() in said


def test_one_file_a_session(tmp_path: Path) -> None:
    socket, folder = tmp_path / "s", tmp_path / "made"
    with start("--per-session", str(folder), "--path", str(socket)) as process:
        assert process.stderr is not None
        until(process.stderr, b"attached by")
        talk(socket)
        talk(socket, 2)
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 0
    assert f"6 messages on 2 connections, 0 lost, in {folder}".encode() in said
    counts = []
    for path in folder.iterdir():
        assert path.name.endswith(("-s.pcapng.zst", "-s-2.pcapng.zst"))
        with CaptureReader(path) as reader:
            counts.append(sum(map(len, reader.batches())))
    assert sorted(counts) == [2, 4]


def test_files_take_turns_and_are_counted(shared: Path) -> None:
    tmp_path = shared  # what is counted is counted by nobody
    socket, numbers = tmp_path / "s", tmp_path / "v.prom"
    with start(
        "-w", str(tmp_path / "c.pcapng"), "-G", "1ms", "-W", "2", "--path", str(socket), "--metrics", str(numbers)
    ) as process:
        assert process.stderr is not None
        until(process.stderr, b"attached by")
        near, far = connected(str(socket))
        with near, far:
            for number in range(4):
                near.send(message(3))
                # The file is full of age; the next begins when there is something new in it.
                while not (tmp_path / f"c_{number + 2:05}.pcapng").exists():
                    assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 0
    counted = numbers.read_text().splitlines()
    assert {"vusniff_messages_total 4", "vusniff_sessions_total 1", "vusniff_sessions 0"} <= set(counted)
    assert [path.name for path in sorted(tmp_path.glob("c_*"))] == ["c_00004.pcapng", "c_00005.pcapng"]
    with CaptureReader(tmp_path / "c_00005.pcapng") as reader:
        frames = [record for record in reader.records() if isinstance(record, Frame)]
    assert [frame.restated for frame in frames] == [True]


def test_it_ends_after_a_time(tmp_path: Path) -> None:
    path = tmp_path / "c.pcapng"
    with recording(path, "--path", str(tmp_path / "s"), "--for", "300ms") as probe:
        said = probe.process.communicate(timeout=60)[1]
    assert probe.process.returncode == 1  # nothing was seen
    assert "0 messages" in said


def test_json_lines(tmp_path: Path) -> None:
    socket, file = tmp_path / "s", tmp_path / "c.pcapng"
    with start("--path", str(socket), "-w", str(file), "--json") as process:
        assert process.stdout is not None
        while not file.exists() or not file.stat().st_size:
            assert process.poll() is None
        talk(socket)
        assert json.loads(process.stdout.readline())["name"] == "GET_FEATURES"
        process.send_signal(signal.SIGTERM)
        process.communicate()
    assert process.returncode == 0


def test_a_live_pipe(tmp_path: Path) -> None:
    socket = tmp_path / "s"
    with start("--path", str(socket), "-w", "-") as process:
        assert process.stderr is not None
        until(process.stderr, b"attached by")
        read = [sys.executable, "-m", "vusniff", "read", "-"]
        with subprocess.Popen(read, stdin=process.stdout, stdout=subprocess.PIPE) as view:
            assert view.stdout is not None
            talk(socket)
            until(view.stdout, b"1 front <- back")
            process.send_signal(signal.SIGINT)
            process.wait()
            view.communicate()
    assert process.returncode == 0


def test_the_reader_of_a_pipe_leaves(tmp_path: Path) -> None:
    socket = tmp_path / "s"
    with start("--path", str(socket), "-w", "-") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        until(process.stderr, b"attached by")
        process.stdout.close()
        talk(socket, 10)
        said = process.stderr.read()
        process.wait()
    # It ends by itself: when it cannot write, or before, when it notices that nobody reads.
    assert b"Traceback" not in said
    assert b"lost, in -" in said
    assert process.returncode in (0, 1)


def test_nothing_stays_in_the_kernel(tmp_path: Path) -> None:
    """What holds the program are descriptors of the one process."""
    with recording(tmp_path / "c.pcapng", "--path", str(tmp_path / "s")) as probe:
        programs = 0
        for held in Path(f"/proc/{probe.process.pid}/fdinfo").iterdir():
            with contextlib.suppress(FileNotFoundError):  # it opens and closes files of /proc meanwhile
                programs += b"prog_id" in held.read_bytes()
        assert programs > 0
        probe.finish()
    assert not list(_pinned())


def _pinned() -> Iterator[Path]:
    folder = Path("/sys/fs/bpf")
    if folder.is_dir():
        yield from folder.rglob("*vusniff*")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["-w", "-", "--tui"], "there is nothing to show"),
        (["-q", "--json"], "there is nothing to show"),
        (["-q"], "--quiet does not say where the capture is: add -w FILE"),
        (["-q", "-w", "/nonexistent/x.pcapng"], "/nonexistent/x.pcapng"),
        (["-q", "--attach", "rawtp", "-w", "/dev/full/x"], "/dev/full/x"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(words: list[str], sentence: str) -> None:
    done = subprocess.run([*CAPTURE, *words], capture_output=True, text=True)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_without_privileges_it_says_which_are_missing(installation: Path) -> None:
    command = ["setpriv", "--reuid=65534", "--clear-groups", "--bounding-set=-all", "/usr/bin/python3"]
    done = subprocess.run(
        [*command, "-m", "vusniff", "capture", "-q", "-w", "/dev/null"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(installation)},
        cwd="/",
    )
    assert done.returncode == 2
    assert "lacks CAP_PERFMON and CAP_BPF" in done.stderr
    assert "super-user" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("tracefs", [False, True], ids=["plain", "tracefs"])
def test_nobody_with_two_capabilities_records(shared: Path, installation: Path, tracefs: bool) -> None:
    """Also where tracefs is mounted, into which only root may look: that speaks against one way to attach only."""
    caps = "-all,+bpf,+perfmon"
    socket, file = shared / "s", shared / "c.pcapng"
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    command += [f"--inh-caps={caps}", f"--ambient-caps={caps}", f"--bounding-set={caps}", "/usr/bin/python3", "-m"]
    command += ["vusniff", "capture", "--record-only", "--path", str(socket), "-w", str(file)]
    if tracefs:
        mount = 'mount -t tracefs none /sys/kernel/tracing; exec "$@"'
        command = ["unshare", "--mount", "sh", "-ec", mount, "sh", *command]
    environment = os.environ | {"PYTHONPATH": str(installation), "HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment, cwd="/") as process:
        assert process.stderr is not None
        until(process.stderr, b"attached by")
        talk(socket)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
    assert process.returncode == 0
    assert b"2 messages on 1 connection, 0 lost" in said
