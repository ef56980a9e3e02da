"""Logs of strace become captures: real ones of programs whose bytes are known, and literal ones for every oddity."""

from __future__ import annotations

import json
import re
import shutil
import signal
import struct
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vusniff.analysis.timeline import Timeline, read_all
from vusniff.capture.index import Index
from vusniff.errors import SourceError
from vusniff.record import Closed, Connection, Descriptor, DescriptorKind, Exit, Frame, FrameKind
from vusniff.sources.strace.log import Fd, StraceLog, StringValue, Value, parse_fd, unescape
from vusniff.sources.strace.strace import ImportedStrace, import_strace
from vusniff.views import verdict

TRACED = "sendmsg,recvmsg,sendto,recvfrom,read,write,readv,writev,connect,accept,accept4,socketpair,close"
PYTHON = [sys.executable, "-m", "vusniff"]


class Capture(NamedTuple):
    """What an import left."""

    done: ImportedStrace
    frames: list[Frame]
    connections: list[Connection]
    closed: dict[int, Closed]
    exits: list[Exit]

    def bytes(self, connection: int, end: int) -> bytes:
        return b"".join(frame.data for frame in self.frames if (frame.connection, frame.end) == (connection, end))


def load(path: Path, done: ImportedStrace) -> Capture:
    with Index(path) as index:
        index.update()
        exits = [one for _, one in index.events if isinstance(one, Exit)]
        return Capture(done, list(index.frames()), list(index.connections), dict(index.closed), exits)


def import_logs(tmp_path: Path, *logs: Path) -> Capture:
    out = tmp_path / "out.pcapng"
    return load(out, import_strace([str(log) for log in logs], out))


def import_text(tmp_path: Path, text: str, name: str = "log") -> Capture:
    log = tmp_path / name
    log.write_text(text)
    return import_logs(tmp_path, log)


def header(request: int, size: int = 0, flags: int = 1) -> bytes:
    return struct.pack("<III", request, flags, size)


def hexed(data: bytes) -> str:
    """As strace -xx prints it."""
    return '"' + "".join(f"\\x{byte:02x}" for byte in data) + '"'


# Real logs.


@pytest.fixture(scope="module")
def strace(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = shutil.which("strace")
    if path is None:
        pytest.skip("strace is not installed (package strace)")
    log = tmp_path_factory.mktemp("strace") / "log"
    if subprocess.run([path, "-o", str(log), "true"], capture_output=True).returncode:
        pytest.skip("strace cannot trace here: ptrace is not allowed")
    return path


def names_eventfds(strace: str) -> bool:
    """strace 6.12 and later does."""
    said = subprocess.run([strace, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"version (\d+)\.(\d+)", said)
    return found is not None and (int(found[1]), int(found[2])) >= (6, 12)


SPEAKER = """
import array, json, os, random, socket, struct, sys, threading
path, a, b = sys.argv[1], random.Random(1), []
listener = socket.socket(socket.AF_UNIX); listener.bind(path); listener.listen()
front = socket.socket(socket.AF_UNIX); front.connect(path)
back, _ = listener.accept()
memory = os.memfd_create("guest-ram"); event = os.eventfd(0); reader, writer = os.pipe(); null = os.open("/dev/null", 2)
passed = [memory, event, reader, null, back.fileno()]
sent = {"front": b"", "back": b""}
def message(payload, request=7, flags=1):
    return struct.pack("=III", request, flags, len(payload)) + payload
def take(sock, size, how):
    while size:
        if how == "recvmsg":
            data, rights, _, _ = sock.recvmsg(size, 4096)
            for _, _, fds in rights:
                for fd in array.array("i", fds): os.close(fd)
        elif how == "recv": sock.recv(size, socket.MSG_PEEK); data = sock.recv(size)
        elif how == "read": data = os.read(sock.fileno(), size)
        else:
            parts = [bytearray(min(5, size)), bytearray(max(size - 5, 1))]
            count = os.readv(sock.fileno(), parts if size > 5 else parts[:1]); data = b"".join(parts)[:count]
        size -= len(data)
payloads = [bytes(range(256)), b"", b'"quoted" \\\\ back', b"\\xff" * 40]
payloads += [b"7\\x000\\n1\\r2\\t3", a.randbytes(3000), b"plain text"]
for number, payload in enumerate(payloads * 4):
    for side, us, them in (("front", front, back), ("back", back, front)):
        data = message(payload); sent[side] += data
        way = number % 4
        if way == 0: us.sendmsg([data[:12], data[12:]])
        elif way == 1: us.sendall(data)
        elif way == 2: os.write(us.fileno(), data)
        else: os.writev(us.fileno(), [data[:3], data[3:]])
        take(them, 12, ["recvmsg", "recv", "read", "readv"][number // 7])
        take(them, len(data) - 12, ["read", "readv", "recv", "recvmsg"][number // 7])
for fds in (passed, [], [event] * 200):
    data = message(b"with descriptors"); sent["front"] += data
    front.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])
    take(back, 12, "recvmsg"); take(back, 16, "read")
inodes = [os.fstat(fd).st_ino for fd in (front.fileno(), back.fileno(), reader)]
front.close(); assert back.recv(10) == b""; back.close()
from vusniff.sources.host.descriptors import describe
print(json.dumps({"front": sent["front"].hex(), "back": sent["back"].hex(), "inodes": inodes, "fds": passed,
                  "event": describe(event).identity}))
"""


@pytest.mark.parametrize("style", ["-x", "-xx", ""])
def test_every_byte_and_every_descriptor_of_a_real_program(strace: str, tmp_path: Path, style: str) -> None:
    log, path = tmp_path / "log", tmp_path / "vhost.sock"
    options = [*([style] if style else []), "-f", "-yy", "-s", "65536", "-ttt", "-T", "-e", f"trace={TRACED}"]
    program = [sys.executable, "-c", SPEAKER, str(path)]
    run = subprocess.run([strace, *options, "-o", str(log), *program], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    said = json.loads(run.stdout)

    capture = import_logs(tmp_path, log)

    assert capture.done.notes == ()
    assert capture.done.connections == 1
    assert capture.bytes(1, 0) == bytes.fromhex(said["front"])
    assert capture.bytes(1, 1) == bytes.fromhex(said["back"])
    assert {frame.kind for frame in capture.frames} == {FrameKind.MESSAGE}
    connection = capture.connections[0]
    front, back, pipe = said["inodes"]
    assert (connection.path, connection.joined_late) == (str(path), False)
    assert [end.inode for end in connection.ends] == [front, back]
    assert capture.closed[1].reason == "eof"
    assert capture.closed[1].by == 0
    with_descriptors = [frame.descriptors for frame in capture.frames if frame.descriptors]
    numbers = said["fds"]
    assert with_descriptors[0] == (
        Descriptor(DescriptorKind.MEMFD, None, numbers[0], "guest-ram"),
        Descriptor(DescriptorKind.EVENTFD, said["event"] if names_eventfds(strace) else None, numbers[1]),
        Descriptor(DescriptorKind.PIPE, f"pipe:{pipe}", numbers[2]),
        Descriptor(DescriptorKind.DEVICE, "device:1:3", numbers[3], "/dev/null"),
        Descriptor(DescriptorKind.SOCKET, f"socket:{back}", numbers[4]),
    )
    assert [len(descriptors) for descriptors in with_descriptors] == [5, 200]


@pytest.fixture(scope="module")
def traced_demo(strace: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Logs of the demo's front-end and back-end, each in a style of its own, and the proxy's capture of the same."""
    directory = tmp_path_factory.mktemp("demo")
    front, back, capture = directory / "front.log", directory / "back.log", directory / "proxy.pcapng"
    socket, behind = str(directory / "front.sock"), str(directory / "back.sock")
    options = ["-f", "-yy", "-s", "65536", "-ttt", "-T", "-e", f"trace={TRACED}", "-o"]
    backend = subprocess.Popen([strace, "-x", *options, str(back), *PYTHON, "demo", "--backend", behind])
    frontend = [strace, "-xx", *options, str(front), *PYTHON, "demo", "--frontend", socket]
    proxy = [*PYTHON, "proxy", "--quiet", "--listen", socket, "--connect", behind, "-w", str(capture)]
    between = subprocess.Popen(proxy, stderr=subprocess.DEVNULL)
    try:
        assert subprocess.run(frontend, timeout=60, stderr=subprocess.DEVNULL).returncode == 0
        assert backend.wait(60) == 0
    finally:
        between.terminate()
        between.wait(60)
        backend.kill()
        backend.wait(60)
    return front, back, capture


def streams(capture: Capture) -> list[tuple[bytes, bytes]]:
    """Both directions of each connection, as messages' bytes."""
    return [(capture.bytes(one.id, 0), capture.bytes(one.id, 1)) for one in capture.connections]


def test_strace_and_the_proxy_tell_the_same(tmp_path: Path, traced_demo: tuple[Path, Path, Path]) -> None:
    front, back, proxied = traced_demo
    proxy = load(proxied, ImportedStrace(0, 0, 0, ()))
    for log in (front, back):
        capture = import_logs(tmp_path, log)
        assert capture.done == ImportedStrace(4, 210, 0, ())
        assert streams(capture) == streams(proxy)
        assert [(frame.end, frame.data) for frame in capture.frames] == [
            (frame.end, frame.data) for frame in proxy.frames
        ]
        assert [[fd.kind for fd in frame.descriptors] for frame in capture.frames] == [
            [fd.kind for fd in frame.descriptors] for frame in proxy.frames
        ]
        assert [[fd.name for fd in frame.descriptors] for frame in capture.frames] == [
            [fd.name for fd in frame.descriptors] for frame in proxy.frames
        ]


def test_a_passed_socket_is_found_by_its_identity(tmp_path: Path, traced_demo: tuple[Path, Path, Path]) -> None:
    for log in traced_demo[:2]:
        capture = import_logs(tmp_path, log)
        passed = [fd for frame in capture.frames for fd in frame.descriptors if fd.kind is DescriptorKind.SOCKET]
        channels = [one for one in capture.connections if one.path.startswith("pair:")]
        assert [fd.identity for fd in passed] == [f"socket:{one.ends[1].inode}" for one in channels]
        assert not any(one.joined_late for one in capture.connections)


def test_logs_of_both_peers_are_one_story(strace: str, tmp_path: Path) -> None:
    path, logs = str(tmp_path / "s"), [tmp_path / "front.log", tmp_path / "back.log"]
    options = ["-f", "-yy", "-x", "-s", "65536", "-ttt", "-T", "-e", f"trace={TRACED}", "-o"]
    back = subprocess.Popen([strace, *options, str(logs[1]), *PYTHON, "demo", "--backend", path])
    front = subprocess.run([strace, *options, str(logs[0]), *PYTHON, "demo", "--frontend", path], timeout=60)
    assert (front.returncode, back.wait(60)) == (0, 0)
    capture = import_logs(tmp_path, *logs)
    alone = import_logs(tmp_path, logs[0])
    assert capture.done == ImportedStrace(4, 210, 0, ())
    assert [(one.path, [end.inode for end in one.ends]) for one in capture.connections] == [
        (one.path, [end.inode for end in one.ends]) for one in alone.connections
    ]
    assert [frame.data for frame in capture.frames] == [frame.data for frame in alone.frames]
    assert all(end.process is not None for one in capture.connections for end in one.ends)
    numbered = [fd for frame in capture.frames for fd in frame.descriptors]
    assert all(fd.number is not None for fd in numbered)
    assert [frame.time_ns for frame in capture.frames] == sorted(frame.time_ns for frame in capture.frames)


@pytest.mark.slow
@pytest.mark.parametrize("times", [[], ["-t"], ["-tt"], ["-r"], ["-ttt"]])
def test_any_clock_and_no_annotations(strace: str, tmp_path: Path, times: list[str]) -> None:
    log, path = tmp_path / "log", str(tmp_path / "s")
    options = ["-f", "-s", "65536", *times, "-e", f"trace={TRACED},socket", "-o", str(log)]
    back = subprocess.Popen([*PYTHON, "demo", "--backend", path], stderr=subprocess.DEVNULL)
    front = subprocess.run([strace, *options, *PYTHON, "demo", "--frontend", path], timeout=60, capture_output=True)
    assert (front.returncode, back.wait(60)) == (0, 0)
    capture = import_logs(tmp_path, log)
    assert capture.done.messages == 210
    assert {frame.kind for frame in capture.frames} == {FrameKind.MESSAGE}
    assert any("-yy" in note for note in capture.done.notes)
    assert [frame.time_ns for frame in capture.frames] == sorted(frame.time_ns for frame in capture.frames)
    early = capture.frames[0].time_ns < 2 * 86_400_000_000_000
    assert early == (times != ["-ttt"])


def test_separate_files(strace: str, tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    options = ["-ff", "-yy", "-x", "-s", "65536", "-ttt", "-T", "-e", f"trace={TRACED}", "-o", str(tmp_path / "log")]
    back = subprocess.Popen([*PYTHON, "demo", "--backend", path], stderr=subprocess.DEVNULL)
    front = subprocess.run([strace, *options, *PYTHON, "demo", "--frontend", path], timeout=60, capture_output=True)
    assert (front.returncode, back.wait(60)) == (0, 0)
    logs = sorted(tmp_path.glob("log.*"))
    capture = import_logs(tmp_path, *logs)
    assert capture.done.messages == 210
    process = capture.connections[0].ends[0].process
    assert process is not None
    assert f"log.{process.pid}" in {log.name for log in logs}


def test_the_command(tmp_path: Path, traced_demo: tuple[Path, Path, Path]) -> None:
    out = tmp_path / "out.pcapng"
    words = [*PYTHON, "import", "strace", str(traced_demo[0]), "-o", str(out)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "vusniff: 210 messages on 4 connections\n")
    assert out.stat().st_size > 0
    empty = tmp_path / "empty"
    empty.write_text("")
    refused = subprocess.run([*words[:5], str(empty), "-o", str(tmp_path / "no")], capture_output=True, text=True)
    assert refused.returncode == 2
    assert refused.stderr.startswith("vusniff: no unix socket carries anything in ")
    assert not (tmp_path / "no").exists()
    missing = subprocess.run([*words[:5], "/no/such/log", "-o", str(tmp_path / "no")], capture_output=True, text=True)
    assert (missing.returncode, missing.stderr) == (2, "vusniff: cannot read /no/such/log: No such file or directory\n")


def test_a_capture_that_cannot_be_written(tmp_path: Path) -> None:
    log, out = tmp_path / "log", tmp_path / "out.pcapng"
    log.write_text(f"{sendmsg(GET, 12)}\n" * 1000)
    words = [*PYTHON, "import", "strace", str(log), "-o", str(out)]
    limited = ["sh", "-c", 'ulimit -f 8; exec "$@"', "sh", *words]
    done = subprocess.run(limited, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (2, f"vusniff: cannot write the capture to {out}: File too large\n")


# Literal logs: one oddity each.

GET = hexed(header(1))
ANSWER = hexed(header(1, 8, 5) + bytes(8))
FRONT = "5<UNIX-STREAM:[70->71]>"
EMPTY_RIGHTS = "[{cmsg_len=16, cmsg_level=SOL_SOCKET, cmsg_type=SCM_RIGHTS}]"


def sendmsg(data: str, size: int, fd: str = FRONT, control: str = "", result: object = None) -> str:
    with_control = f"msg_control={control}, msg_controllen=24" if control else "msg_controllen=0"
    message = (
        f"{{msg_name=NULL, msg_namelen=0, msg_iov=[{{iov_base={data}, iov_len={size}}}], msg_iovlen=1, "
        f"{with_control}, msg_flags=0}}"
    )
    return f"sendmsg({fd}, {message}, MSG_NOSIGNAL) = {size if result is None else result}"


def requests(capture: Capture) -> list[tuple[int, int, int]]:
    """(connection, end, request) of each message."""
    return [(frame.connection, frame.end, int.from_bytes(frame.data[:4], "little")) for frame in capture.frames]


def test_an_interrupted_call_is_put_together(tmp_path: Path) -> None:
    text = (
        f"100 1700000000.000100 recvmsg({FRONT},  <unfinished ...>\n"
        f"101 1700000000.000200 {sendmsg(GET, 12)}\n"
        f"100 1700000000.000300 <... recvmsg resumed>{{msg_name=NULL, msg_namelen=0, "
        f"msg_iov=[{{iov_base={ANSWER}, iov_len=65536}}], msg_iovlen=1, msg_controllen=0, msg_flags=0}}, 0) = 20\n"
        f"101 1700000000.000400 {sendmsg(hexed(header(3)), 12)[:-6]} <unfinished ...>\n"
        f"100 1700000000.000500 recvmsg({FRONT}, {{msg_namelen=0}}, MSG_DONTWAIT) = -1 EAGAIN (Try again)\n"
        f"101 1700000000.000600 <... sendmsg resumed>) = 12\n"
        f"101 1700000000.000700 recvmsg({FRONT}, <unfinished ...>) = ?\n"
        f"101 1700000000.000800 +++ exited with 0 +++\n"
    )
    capture = import_text(tmp_path, text)
    assert requests(capture) == [(1, 0, 1), (1, 1, 1), (1, 0, 3)]
    assert [frame.time_ns - 1_700_000_000_000_000_000 for frame in capture.frames] == [200_000, 300_000, 400_000]
    assert capture.connections[0].ends[0].process is not None
    assert capture.connections[0].ends[0].process.pid == 100
    assert [frame.process.tid for frame in capture.frames if frame.process and frame.end == 0] == [101, 101]
    assert capture.connections[0].joined_late


def test_pids_in_brackets_and_names(tmp_path: Path) -> None:
    text = f"[pid 4711<qemu>] 10:00:00.5 {sendmsg(GET, 12)}\n4712<vcpu 0> 10:00:01 {sendmsg(GET, 12)}\n"
    capture = import_text(tmp_path, text)
    assert [frame.time_ns for frame in capture.frames] == [36_000_500_000_000, 36_001_000_000_000]
    assert {frame.process.tid for frame in capture.frames if frame.process} == {4712}


@pytest.mark.parametrize(
    ("words", "how"),
    [
        ("killed by SIGSYS", (None, signal.SIGSYS, False)),
        ("killed by SIGSEGV (core dumped)", (None, signal.SIGSEGV, True)),
        ("killed by SIGRT_3", (None, 35, False)),
        ("killed by SIGNONE", (None, None, False)),
        ("exited with 1", (1, None, None)),
        ("exited with 0", (0, None, None)),
    ],
)
def test_how_a_process_ended(tmp_path: Path, words: str, how: tuple[int | None, int | None, bool | None]) -> None:
    text = (
        f"100<qemu> 1700000000.1 {sendmsg(GET, 12)}\n101 1700000000.2 {sendmsg(GET, 12)}\n"
        f"101 1700000000.3 +++ {words} +++\n100 1700000000.4 +++ {words} +++\n102 1700000000.5 +++ exited with 9 +++\n"
    )
    capture = import_text(tmp_path, text)
    (exit,) = capture.exits
    assert (exit.pid, exit.comm, exit.ends) == (100, "qemu", ((1, 0),))
    assert (exit.status, exit.signal, exit.dumped_core) == how
    if exit.status is not None:
        assert exit.time_ns == 1_700_000_000_400_000_000


def test_a_thread_that_exits_is_not_its_process(tmp_path: Path) -> None:
    text = f"100 {sendmsg(GET, 12)}\n101 {sendmsg(GET, 12)}\n101 +++ exited with 0 +++\n100 {sendmsg(GET, 12)}\n"
    assert import_text(tmp_path, text).exits == []


def test_the_end_of_the_only_process(tmp_path: Path) -> None:
    (exit,) = import_text(tmp_path, f"{sendmsg(GET, 12)}\n+++ killed by SIGKILL +++\n").exits
    assert (exit.pid, exit.signal, exit.ends) == (None, 9, ((1, 0),))


def test_lines_like_an_end_are_none(tmp_path: Path) -> None:
    ends = ("+++ exited with +++", "+++ exited with 1", "+++ killed by +++", "+++ killed by SIGKILL +++ x", "+++ x +++")
    assert import_text(tmp_path, "\n".join((sendmsg(GET, 12), *ends)) + "\n").exits == []


@pytest.mark.parametrize(
    ("then", "how"),
    [("os.kill(os.getpid(), 31)", (None, signal.SIGSYS)), ("os._exit(7)", (7, None))],
)
def test_the_end_of_a_real_program(strace: str, tmp_path: Path, then: str, how: tuple[int | None, int | None]) -> None:
    program = f"import os,socket;a,b=socket.socketpair();a.send(bytes.fromhex('{header(1).hex()}'));b.recv(12);{then}"
    log = tmp_path / "log"
    command = [strace, "-f", "-yy", "-x", "-s", "65536", "-ttt", "-T", "-o", str(log), sys.executable, "-c", program]
    subprocess.run(command, timeout=60)
    (exit,) = import_logs(tmp_path, log).exits
    assert (exit.status, exit.signal) == how
    assert exit.pid is not None
    assert set(exit.ends) == {(1, 0), (1, 1)}


def test_midnight_passes(tmp_path: Path) -> None:
    text = "".join(f"{time} {sendmsg(GET, 12)}\n" for time in ("23:59:59.999999", "00:00:00.000001"))
    first, second = import_text(tmp_path, text).frames
    assert second.time_ns - first.time_ns == 2000


def test_relative_times_add_up(tmp_path: Path) -> None:
    text = "".join(f"     {time} {sendmsg(GET, 12)}\n" for time in ("0.000000", "0.000250", "1.000000"))
    assert [frame.time_ns for frame in import_text(tmp_path, text).frames] == [0, 250_000, 1_000_250_000]


def test_one_wrong_time_puts_nothing_behind_it_there(tmp_path: Path) -> None:
    times = ("1700000000.1", "99999999999.1", "1700000000.2", "1700000000.3")
    frames = import_text(tmp_path, "".join(f"{time} {sendmsg(GET, 12)}\n" for time in times)).frames
    first = frames[0].time_ns
    assert [frame.time_ns - first for frame in frames] == [0, 100_000_000, 100_000_000, 200_000_000]


@pytest.mark.parametrize("result", [4096, 1 << 31, 99999999999, 10**19 - 1])
def test_no_call_moves_more_than_there_is_room_for(tmp_path: Path, result: int) -> None:
    capture = import_text(tmp_path, f"{sendmsg(GET, 12, result=result)}\n{sendmsg(GET, 12)}\n")
    assert {(frame.kind, frame.data, frame.missing) for frame in capture.frames} == {
        (FrameKind.MESSAGE, header(1), 0),
    }


def test_strings_cut_by_strace_leave_bytes_missing(tmp_path: Path) -> None:
    data = header(9, 40) + bytes(range(20))
    text = sendmsg(hexed(data) + "...", 52) + "\n" + sendmsg(GET, 12) + "\n"
    capture = import_text(tmp_path, text)
    assert [(frame.data, frame.missing) for frame in capture.frames] == [(data, 20), (header(1), 0)]
    assert any("-s 65536" in note for note in capture.done.notes)


def test_a_hole_between_two_buffers(tmp_path: Path) -> None:
    iov = f"{{iov_base={hexed(header(9, 40) + bytes(4))}..., iov_len=32}}, {{iov_base={hexed(b'z' * 20)}, iov_len=20}}"
    capture = import_text(tmp_path, f"writev({FRONT}, [{iov}], 2) = 52\nwrite({FRONT}, {GET}, 12) = 12\n")
    assert [(frame.kind.name, len(frame.data), frame.missing) for frame in capture.frames] == [
        ("MESSAGE", 16, 16),
        ("CONTINUATION", 20, 0),
        ("MESSAGE", 12, 0),
    ]


def test_a_short_return_is_what_counts(tmp_path: Path) -> None:
    data = hexed(header(2, 8) + bytes(range(8)))
    rest = hexed(bytes(range(3, 8)))
    capture = import_text(tmp_path, f"{sendmsg(data, 20, result=15)}\nwrite({FRONT}, {rest}, 5) = 5\n")
    assert [frame.data for frame in capture.frames] == [header(2, 8) + bytes(range(8))]


def test_peeking_and_failing_move_nothing(tmp_path: Path) -> None:
    text = (
        f"{sendmsg(GET, 12)}\n"
        f"recvfrom({FRONT}, {ANSWER}, 20, MSG_PEEK|MSG_DONTWAIT, NULL, NULL) = 20\n"
        f"recvmsg({FRONT}, {{msg_namelen=0}}, 0) = -1 EAGAIN (Resource temporarily unavailable)\n"
        f"recvmsg({FRONT}, {{msg_namelen=0}}, 0) = ? ERESTARTSYS (To be restarted if SA_RESTART is set)\n"
        f"{sendmsg(GET, 12, result='-1 EAGAIN (Resource temporarily unavailable)')}\n"
        f"recvfrom({FRONT}, {ANSWER}, 20, 0, NULL, NULL) = 20\n"
    )
    assert requests(import_text(tmp_path, text)) == [(1, 0, 1), (1, 1, 1)]


def test_descriptors_of_every_kind(tmp_path: Path) -> None:
    fds = (
        "7</memfd:guest-ram (deleted)>, 8</memfd:a, [b]>(deleted), 9<anon_inode:[eventfd]>, "
        "10<{eventfd-count=0x1, eventfd-id=425, eventfd-semaphore=0}>, 11<socket:[99]>, 12<pipe:[98]>, "
        "13</dev/vhost-net<char 10:238>>, 14</dev/hugepages/x y>, 15, 16<anon_inode:[userfaultfd]>, "
        "17</dmabuf:heap>, 18<anon_inode:[io_uring]>, 19<TCPv6:[[::1]:5->[::1]:6]>, 20</tmp/f\\74\\303\\266>(deleted)"
    )
    control = f"[{{cmsg_len=72, cmsg_level=SOL_SOCKET, cmsg_type=SCM_RIGHTS, cmsg_data=[{fds}]}}]"
    (frame,) = import_text(tmp_path, sendmsg(GET, 12, control=control)).frames
    kind = DescriptorKind
    assert frame.descriptors == (
        Descriptor(kind.MEMFD, None, 7, "guest-ram"),
        Descriptor(kind.MEMFD, None, 8, "a, [b]"),
        Descriptor(kind.EVENTFD, None, 9),
        Descriptor(kind.EVENTFD, "eventfd:425", 10),
        Descriptor(kind.SOCKET, "socket:99", 11),
        Descriptor(kind.PIPE, "pipe:98", 12),
        Descriptor(kind.DEVICE, "device:10:238", 13, "/dev/vhost-net"),
        Descriptor(kind.FILE, None, 14, "/dev/hugepages/x y"),
        Descriptor(kind.UNKNOWN, None, 15),
        Descriptor(kind.USERFAULTFD, None, 16),
        Descriptor(kind.DMABUF, None, 17, "heap"),
        Descriptor(kind.OTHER, None, 18, "anon_inode:[io_uring]"),
        Descriptor(kind.SOCKET, None, 19),
        Descriptor(kind.FILE, None, 20, "/tmp/fö (deleted)".replace("/tmp/f", "/tmp/f<")),
    )


def test_descriptors_that_strace_leaves_out_are_counted(tmp_path: Path) -> None:
    control = "[{cmsg_len=28, cmsg_level=SOL_SOCKET, cmsg_type=SCM_RIGHTS, cmsg_data=[7, ...]}]"
    (frame,) = import_text(tmp_path, sendmsg(GET, 12, control=control)).frames
    assert frame.descriptors == (Descriptor(number=7), Descriptor(), Descriptor())


def test_an_empty_scm_rights_is_no_descriptor(tmp_path: Path) -> None:
    (frame,) = import_text(tmp_path, sendmsg(GET, 12, control=EMPTY_RIGHTS)).frames
    assert frame.descriptors == ()


def test_a_receivers_numbers_are_not_the_senders(tmp_path: Path) -> None:
    control = "[{cmsg_len=20, cmsg_level=SOL_SOCKET, cmsg_type=SCM_RIGHTS, cmsg_data=[30<anon_inode:[eventfd]>]}]"
    text = sendmsg(GET, 12, control=control).replace("sendmsg", "recvmsg")
    (frame,) = import_text(tmp_path, text).frames
    assert frame.descriptors == (Descriptor(DescriptorKind.EVENTFD),)


def test_other_sockets_and_files_are_left_out(tmp_path: Path) -> None:
    text = (
        'read(3</lib/libc.so>, "\\177ELF\\2\\1\\1\\3\\0\\0\\0\\0\\0\\0\\0\\0", 832) = 832\n'
        'write(9<UNIX-STREAM:[80->81,"/run/qmp.sock"]>, "{\\"QMP\\": {\\"version\\": 1}}\\r\\n", 26) = 26\n'
        "write(10<TCP:[127.0.0.1:5->127.0.0.1:6]>, " + GET + ", 12) = 12\n"
        "write(11<pipe:[5]>, " + GET + ", 12) = 12\n" + sendmsg(GET, 12) + "\n"
    )
    capture = import_text(tmp_path, text)
    assert (capture.done.connections, capture.done.messages, capture.done.left_out) == (1, 1, 1)
    assert not capture.connections[0].joined_late  # the loader's read shows that the log begins with the program


def test_nothing_but_other_sockets(tmp_path: Path) -> None:
    text = 'write(9<UNIX-STREAM:[80->81]>, "{\\"QMP\\": {\\"version\\": 1}}\\r\\n", 26) = 26\n'
    with pytest.raises(SourceError, match="1 unix socket carries something else"):
        import_text(tmp_path, text)


@pytest.mark.parametrize(
    "opening",
    [
        'connect(5<UNIX-STREAM:[70]>, {sa_family=AF_UNIX, sun_path="/run/vhost.sock"}, 110) = 0\n',
        "connect(5<UNIX-STREAM:[70]>, {sa_family=AF_UNIX, sun_path=" + hexed(b"/run/vhost.sock") + "}, 110) = 0\n",
    ],
)
def test_a_connection_that_was_seen_to_begin(tmp_path: Path, opening: str) -> None:
    (connection,) = import_text(tmp_path, opening + sendmsg(GET, 12) + "\n").connections
    assert (connection.path, connection.joined_late) == ("/run/vhost.sock", False)
    assert [end.inode for end in connection.ends] == [70, 71]


def test_an_accepted_connection_and_an_abstract_path(tmp_path: Path) -> None:
    fd = '5<UNIX-STREAM:[70->71,@"vhost"]>'
    text = f'accept4(4<UNIX-STREAM:[60,@"vhost"]>, NULL, NULL, SOCK_CLOEXEC) = {fd}\n{sendmsg(GET, 12, fd=fd)}\n'
    capture = import_text(tmp_path, text)
    assert (capture.connections[0].path, capture.connections[0].joined_late) == ("@vhost", False)
    assert [end.inode for end in capture.connections[0].ends] == [71, 70]
    assert requests(capture) == [(1, 1, 1)]


def test_without_y_numbers_tell_sockets_apart_until_they_are_closed(tmp_path: Path) -> None:
    text = (
        'read(5, "\\177ELF", 832) = 4\n'
        "close(5) = 0\n"
        "socket(AF_UNIX, SOCK_STREAM, 0) = 5\n"
        'connect(5, {sa_family=AF_UNIX, sun_path="/run/one"}, 110) = 0\n'
        f"sendto(5, {GET}, 12, MSG_NOSIGNAL, NULL, 0) = 12\n"
        f"read(5, {ANSWER}, 20) = 20\n"
        'read(5, "", 12) = 0\n'
        "close(5) = 0\n"
        f"write(5, {GET}, 12) = 12\n"
        "socket(AF_UNIX, SOCK_STREAM, 0) = 5\n"
        'connect(5, {sa_family=AF_UNIX, sun_path="/run/two"}, 110) = 0\n'
        f"write(5, {GET}, 12) = 12\n"
    )
    capture = import_text(tmp_path, text)
    assert [one.path for one in capture.connections] == ["/run/one", "/run/two"]
    assert requests(capture) == [(1, 0, 1), (1, 1, 1), (2, 0, 1)]
    assert (capture.closed[1].reason, capture.closed[1].by) == ("eof", 1)
    assert capture.closed[2].reason == "capture ended"


def test_a_reset(tmp_path: Path) -> None:
    text = f"{sendmsg(GET, 12)}\nread({FRONT}, 0x7ffc, 12) = -1 ECONNRESET (Connection reset by peer)\n"
    capture = import_text(tmp_path, text)
    assert (capture.closed[1].reason, capture.closed[1].by) == ("reset", 1)


def test_a_log_that_begins_inside_a_message(tmp_path: Path) -> None:
    rest = f"recvfrom({FRONT}, {hexed(bytes(8))}, 8, 0, NULL, NULL) = 8\n"
    text = f"{rest}{sendmsg(GET, 12)}\nread({FRONT}, {ANSWER}, 20) = 20\n"
    capture = import_text(tmp_path, text)
    assert [frame.kind.name for frame in capture.frames] == ["RAW", "MESSAGE", "MESSAGE"]
    assert capture.connections[0].joined_late


def test_several_messages_in_one_call(tmp_path: Path) -> None:
    def entry(data: str, size: int) -> str:
        return f"{{msg_hdr={{msg_iov=[{{iov_base={data}, iov_len={size}}}], msg_iovlen=1}}, msg_len={size}}}"

    both = f"[{entry(GET, 12)}, {entry(hexed(header(3)), 12)}, {entry(GET, 12)}]"
    capture = import_text(tmp_path, f"sendmmsg({FRONT}, {both}, 3, 0) = 2\n")
    assert requests(capture) == [(1, 0, 1), (1, 0, 3)]


def test_the_other_byte_order(tmp_path: Path) -> None:
    text = sendmsg(hexed(struct.pack(">III", 2, 1, 8) + bytes(8)), 20)
    out = tmp_path / "out.pcapng"
    log = tmp_path / "log"
    log.write_text(text)
    import_strace([str(log)], out)
    with Index(out) as index:
        index.update()
        assert index.order(1) == "big"
        assert index.frame(0).kind is FrameKind.MESSAGE


@pytest.mark.parametrize(
    ("printed", "data"),
    [
        (r"\1\0\0\0007\12\377", b"\x01\0\0\x007\n\xff"),
        (r"\x00\xff\x7f", b"\0\xff\x7f"),
        (r"a\n\t\r\v\f\"\\b", b'a\n\t\r\v\f"\\b'),
        ("", b""),
    ],
)
def test_escapes(printed: str, data: bytes) -> None:
    assert unescape(printed) == data


def test_values(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        'connect(3<UNIX-STREAM:[1]>, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("1.2.3.4")}, '
        "[110 => 2], 0x1 /* A */|B, ~[INT], makedev(0x1, 0x3), NULL) = 0 <0.000012>\n"
    )
    with log.open("rb") as file:
        (call,) = StraceLog(file, frozenset({"connect"}))
    expected: list[Value] = [
        "3<UNIX-STREAM:[1]>",
        {"sa_family": "AF_INET", "sin_port": "htons(80)", "sin_addr": 'inet_addr("1.2.3.4")'},
        ["2"],
        "0x1 /* A */|B",
        "~[INT]",
        "makedev(0x1, 0x3)",
        "NULL",
    ]
    assert call.args == expected
    assert parse_fd("5</a b>(deleted)") == Fd(5, "/a b", None, True)
    assert parse_fd(StringValue(b"5")) is None


LINE = f"100 1700000000.000100 {sendmsg(GET, 12, control=EMPTY_RIGHTS)} <0.000010>"
_PIECES = st.sampled_from(
    [
        *'"\\<>[]{}()=,. \x00',
        "5<UNIX-STREAM:[7",
        "->",
        "...",
        " <unfinished ...>",
        "<... recvmsg resumed>",
        LINE[:60],
        LINE,
    ]
)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(st.one_of(_PIECES, st.text(max_size=8)), max_size=30).map("".join), max_size=8), st.data())
def test_garbage_never_raises(tmp_path_factory: pytest.TempPathFactory, lines: list[str], data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(LINE)))
    mutated = LINE[:position] + data.draw(st.text(max_size=4)) + LINE[position + data.draw(st.integers(0, 6)) :]
    directory = tmp_path_factory.getbasetemp()
    log = directory / "garbage.log"
    log.write_bytes("\n".join([*lines, mutated, LINE]).encode("utf-8", "surrogatepass"))
    done = import_strace([str(log)], directory / "garbage.pcapng")
    assert done.messages >= 1


REAL = (
    LINE,
    f"100 1700000000.5 socket(AF_UNIX, SOCK_STREAM|SOCK_CLOEXEC, 0) = {FRONT}",
    f'100 10:11:12.5 connect({FRONT}, {{sa_family=AF_UNIX, sun_path="/run/vm.sock"}}, 110) = 0 <0.000021>',
    f'101 accept4(3<UNIX-STREAM:[68,"/run/vm.sock"]>, NULL, NULL, SOCK_CLOEXEC) = {FRONT}',
    "100 socketpair(AF_UNIX, SOCK_STREAM, 0, [7<UNIX-STREAM:[90->91]>, 8<UNIX-STREAM:[91->90]>]) = 0",
    sendmsg(GET, 12, control="[{cmsg_len=20, cmsg_type=SCM_RIGHTS, cmsg_data=[8<UNIX-STREAM:[91->90]>, 9</x>, ...]}]"),
    f"[pid 101<qemu>] sendmmsg({FRONT}, [{{msg_hdr={{msg_iov=[{{iov_base={GET}, iov_len=12}}]}}, msg_len=12}}], 1) = 1",
    f"101 1700000001.1 readv({FRONT}, [{{iov_base={ANSWER}, iov_len=20}}], 1) = 20 <0.1>",
    f"101 recvmsg({FRONT}, {{msg_namelen=0}}, 0) = -1 ECONNRESET (Connection reset by peer)",
    f"101 recvfrom({FRONT}, {ANSWER}..., 4096, 0, NULL, NULL) = 4096",
    f"102 read({FRONT},  <unfinished ...>",
    f"102 1.25 <... read resumed>{ANSWER}, 20) = 20",
    f"102 close({FRONT}) = 0",
    "close(3) = 04149",
    "100 +++ exited with 0 +++",
    "101 1700000001.2 +++ killed by SIGSEGV (core dumped) +++",
    "+++ killed by SIGRT_12 +++",
)
"""Lines as strace prints them, of every kind that is understood (and one that is none of its)."""
NUMBERS = (
    "04149",
    "0",
    "00",
    "-1",
    "0x",
    "0xffffffffffffffff",
    "4294967296",
    "9223372036854775808",
    "9" * 19,
    "9" * 40,
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A real line of which some things are others."""
    line = draw(st.sampled_from(REAL))
    for _ in range(draw(st.integers(0, 3))):
        match draw(st.integers(0, 3)):
            case 0:
                numbers = list(re.finditer(r"\d+", line))
                one = draw(st.sampled_from(numbers)) if numbers else None
                line = line[: one.start()] + draw(st.sampled_from(NUMBERS)) + line[one.end() :] if one else line
            case 1:
                start = draw(st.integers(0, len(line)))
                line = line[:start] + line[start + draw(st.integers(0, 12)) :]
            case 2:
                start = draw(st.integers(0, len(line)))
                line = line[:start] + draw(st.one_of(_PIECES, st.text(max_size=4))) + line[start:]
            case _:
                other = draw(st.sampled_from(REAL))
                line = line[: draw(st.integers(0, len(line)))] + other[draw(st.integers(0, len(other))) :]
    return line.encode("utf-8", "surrogatepass")


@pytest.mark.slow
@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(st.lists(st.one_of(mutated(), mutated(), mutated(), st.binary(max_size=60)), max_size=12))
@example([b"close(3) = 04149"])
def test_no_line_raises(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]) -> None:
    directory = tmp_path_factory.getbasetemp()
    log, out = directory / "lines.log", directory / "lines.pcapng"
    log.write_bytes(b"\n".join([*lines, LINE.encode()]))
    try:
        done = import_strace([str(log)], out)
    except SourceError:
        return  # it is no vhost-user any more
    assert len(load(out, done).frames) >= done.messages


@pytest.mark.parametrize("piece", ["(", "[", "{", '"', "5<A:[", "a ", " ", "<", "/*", "=>", "\\"])
def test_endless_lines_end(tmp_path: Path, piece: str) -> None:
    log = tmp_path / "log"
    log.write_text(f"recvmsg(5<UNIX-STREAM:[1->2]>, {piece * 200_000}\n{sendmsg(GET, 12)}\n")
    assert import_logs(tmp_path, log).done.messages == 1


# -- other forms -----------------------------------------------------------------------------------------------------

OLD = (
    'recvmsg(8, {msg_name(0)=NULL, msg_iov(1)=[{"\\1\\0\\0\\0\\1\\0\\0\\0\\0\\0\\0\\0", 12}], '
    "msg_controllen=0, msg_flags=0}, 0) = 12\n"
    'recvmsg(8, {msg_name(0)=NULL, msg_iov(1)=[{"\\5\\0\\0\\0\\1\\0\\0\\0H\\0\\0\\0", 12}], '
    "CONTROL, msg_flags=0}, 0) = 12\n"
    'read(8, "\\2\\0\\0\\0\\0\\0\\0\\0" "REST", 72) = 72\n'
)
"""strace before 4.14, of a table of two regions."""
CONTROL = {
    "one": ("msg_controllen=24, {cmsg_len=20, cmsg_level=SOL_SOCKET, cmsg_type=SCM_RIGHTS, {1021}}", 1),
    "two": ("msg_controllen=24, {cmsg_len=24, cmsg_level=SOL_SOCKET, cmsg_type=SCM_RIGHTS, {14, 15}}", 2),
    "with -y": (
        "msg_controllen=24, {cmsg_len=24, cmsg_level=SOL_SOCKET, cmsg_type=SCM_RIGHTS, {14</memfd:x>, 15<socket:[7]>}}",
        2,
    ),
    "beside credentials": (
        "msg_controllen=56, {cmsg_len=28, cmsg_level=SOL_SOCKET, cmsg_type=SCM_CREDENTIALS, {pid=1, uid=0, gid=0}}, "
        "{cmsg_len=20, cmsg_level=SOL_SOCKET, cmsg_type=SCM_RIGHTS, {9}}",
        1,
    ),
    "not taken apart": ("msg_control=0x7ffc1000, msg_controllen=24", 1),
    "not taken apart, more": ("msg_control=0x7ffc1000, msg_controllen=32", 3),
    "only its length": ("msg_controllen=20", 1),
    "none": ("msg_controllen=0", 0),
    "no room": ("msg_control=NULL, msg_controllen=24", 0),
}


@pytest.mark.parametrize("name", CONTROL)
def test_descriptors_in_the_forms_of_older_versions(tmp_path: Path, name: str) -> None:
    control, count = CONTROL[name]
    rest = "".join("\\0" for _ in range(64))
    capture = import_text(tmp_path, OLD.replace("CONTROL", control).replace('" "REST', rest))
    assert [len(frame.descriptors) for frame in capture.frames] == [0, count]
    assert not any(frame.missing for frame in capture.frames)


def test_nobody_is_blamed_for_descriptors_that_a_log_does_not_tell(tmp_path: Path) -> None:
    log = tmp_path / "log"
    rest = "\\0" * 16 + "\\0\\0\\0@" + "\\0" * 44
    log.write_text(OLD.replace("CONTROL", "msg_control=0x7ffc1000, msg_controllen=24").replace('" "REST', rest))
    out = tmp_path / "out.pcapng"
    import_strace([str(log)], out)
    done = subprocess.run([*PYTHON, "check", "--format", "json", str(out)], capture_output=True, text=True, check=False)
    assert "descriptor" not in done.stdout


BACKEND_LOG = (
    'recvmsg(147, {msg_name=NULL, msg_namelen=0, msg_iov=[{iov_base="HEADER", iov_len=12}], msg_iovlen=1, '
    "msg_controllen=0, msg_flags=0}, 0) = 12\n"
    'read(147, "PAYLOAD", SIZE) = SIZE\n'
)


@pytest.mark.parametrize(
    ("request_code", "size", "channel"),
    [
        (9, 256, "backend"),  # the retired FS_IO of virtiofsd
        (1, 32, "backend"),
        (3, 24, "backend"),
        (8, 16, "backend"),
        (10, 40, "backend"),
        (8, 8, "main"),
        (9, 40, "main"),
        (12, 8, "main"),
        (5, 8, "unknown"),
    ],
)
def test_a_channel_is_known_by_what_it_carries(tmp_path: Path, request_code: int, size: int, channel: str) -> None:
    """Without -yy nothing else tells what a descriptor is."""
    head = "".join(f"\\x{byte:02x}" for byte in header(request_code, size))
    text = BACKEND_LOG.replace("HEADER", head).replace("PAYLOAD", "\\x00" * size).replace("SIZE", str(size))
    import_text(tmp_path, text)
    done = subprocess.run(
        [*PYTHON, "read", "--json", str(tmp_path / "out.pcapng")], capture_output=True, text=True, check=False
    )
    assert json.loads(done.stdout.splitlines()[0])["channel"] == channel


ACCEPTED = '<UNIX-STREAM:[71->72,"/run/b.sock"]>'
SILENT = {
    "waits": f"101 1700000000.1 accept4(5, NULL, NULL, 0) = 7{ACCEPTED}\n"
    '101 1700000010.1 read(3</etc/x>, "", 10) = 0\n',
    "closes": f"101 1700000000.1 accept4(5, NULL, NULL, 0) = 7{ACCEPTED}\n101 1700000003.1 close(7{ACCEPTED}) = 0\n",
    "dies": '101 1700000000.1 connect(7, {sa_family=AF_UNIX, sun_path="/run/b.sock"}, 110) = 0\n'
    "101 1700000003.3 +++ killed by SIGSEGV +++\n",
}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("waits", "somebody connected to process 101, and neither side sent a byte in 10.0 s"),
        ("closes", "neither side sent a byte; process 101 closed the connection 3.00 s later"),
        ("dies", "process 101 was killed by SIGSEGV before either side sent a byte"),
    ],
)
def test_connections_on_which_nobody_spoke(tmp_path: Path, name: str, says: str) -> None:
    capture = import_text(tmp_path, SILENT[name])
    assert (capture.frames, [one.path for one in capture.connections]) == ([], ["/run/b.sock"])
    with Index(tmp_path / "out.pcapng") as index:
        timeline = Timeline(index)
        read_all(timeline, judge=True)
        (told,) = verdict.of(timeline)
    assert says in told.sentence


def test_silent_connections_of_other_services_are_left_out(tmp_path: Path) -> None:
    to_log = '101 1700000000.1 connect(7, {sa_family=AF_UNIX, sun_path="/dev/log"}, 110) = 0\n'
    with pytest.raises(SourceError, match="no unix socket carries anything"):
        import_text(tmp_path, to_log)


def told(tmp_path: Path) -> str:
    """The sentence and the caveats of the verdict over what was imported last."""
    with Index(tmp_path / "out.pcapng") as index:
        timeline = Timeline(index)
        read_all(timeline, judge=True)
        (one,) = verdict.of(timeline)
    return " ".join((one.sentence, *one.caveats))


def received(request: int, payload: bytes = b"") -> str:
    """What a back-end reads."""
    data = hexed(header(request, len(payload)) + payload)
    return f"recvfrom(7, {data}, 4096, 0, NULL, NULL) = {12 + len(payload)}\n"


HELLO = received(1) + f"sendto(7, {hexed(header(1, 8, 5) + bytes(8))}, 20, 0, NULL, 0) = 20\n" + received(3)


def test_with_a_process_go_its_sockets(tmp_path: Path) -> None:
    capture = import_text(tmp_path, f"{HELLO}+++ exited with 1 +++\n")
    assert [(one.reason, one.by) for one in capture.closed.values()] == [("eof", 1)]
    capture = import_text(tmp_path, f"{HELLO}close(7) = 0\n+++ exited with 1 +++\n")
    assert len(capture.closed) == 1
    capture = import_text(tmp_path, f"{HELLO}+++ killed by SIGSEGV +++\n")
    assert [one.reason for one in capture.closed.values()] == ["killed"]


def test_no_time_is_told_where_a_log_has_none(tmp_path: Path) -> None:
    import_text(tmp_path, f"{HELLO}+++ exited with 1 +++\n")
    words = told(tmp_path)
    assert "closed the connection after SET_OWNER (#3), which asks for no answer. The back-end exited" in words
    assert "with status 1." in words
    assert "nothing tells when things happened, only in which order" in words
    assert not re.search(r"\d [mun]?s\b", words)
    import_text(tmp_path, "".join(f"1700000000.{n} {line}\n" for n, line in enumerate(HELLO.splitlines())))
    assert "nothing tells when" not in told(tmp_path)
