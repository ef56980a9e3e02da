"""The probe with real sockets: what was sent is what is recorded, and what was not recorded is counted."""

from __future__ import annotations

import array
import contextlib
import ctypes
import fcntl
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from probing import Recording, connected, message, needs_probe, recording

from vusniff.capture.reader import CaptureReader
from vusniff.record import DescriptorKind, FrameKind, Sample
from vusniff.sources.host.descriptors import describe

pytestmark = needs_probe

RIGHTS = (socket.SOL_SOCKET, socket.SCM_RIGHTS)


def rights(*fds: int) -> list[tuple[int, int, array.array[int]]]:
    return [(*RIGHTS, array.array("i", fds))]


def until(fact: Callable[[], bool]) -> None:
    """Waits for a fact that nothing announces."""
    deadline = time.monotonic() + 60
    while not fact():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


def drain(sock: socket.socket, size: int) -> None:
    while size > 0:
        size -= len(sock.recv(min(size, 1 << 16)))


def test_every_way_to_send(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with recording(tmp_path / "c.pcapng", "--path", path) as probe:
        near, far = connected(path)
        with near, far:
            near.send(message(1))
            near.sendall(message(2, b"12345678"))
            os.write(near.fileno(), message(3))
            os.writev(near.fileno(), [message(8, b"abcdefgh")[:5], message(8, b"abcdefgh")[5:12], b"abcdefgh"])
            near.sendmsg([message(9, bytes(40))[:12], bytes(20), b"", bytes(20)])
            far.sendmsg([message(1, b"featured", 5)[:12]])
            os.write(far.fileno(), b"featured")
        probe.finish()
    assert [(frame.end, frame.data) for frame in probe.frames] == [
        (0, message(1)),
        (0, message(2, b"12345678")),
        (0, message(3)),
        (0, message(8, b"abcdefgh")),
        (0, message(9, bytes(40))),
        (1, message(1, b"featured", 5)),
    ]
    times = [frame.time_ns for frame in probe.frames]
    assert times == sorted(times)
    assert {frame.kind for frame in probe.frames} == {FrameKind.MESSAGE}


def test_who_speaks(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with recording(tmp_path / "c.pcapng", "--path", path) as probe:
        near, far = connected(path)
        inodes = os.fstat(near.fileno()).st_ino, os.fstat(far.fileno()).st_ino
        with near, far:
            near.send(message(1))
            far.send(message(1, bytes(8), 5))
        probe.finish()
    (connection,) = probe.connections
    assert connection.path == path
    assert not connection.joined_late
    assert tuple(end.inode for end in connection.ends) == inodes
    assert all(end.process is not None and end.process.pid == os.getpid() for end in connection.ends)
    assert probe.frames[1].process is not None
    assert probe.frames[1].process.tid == os.getpid()
    comm = Path("/proc/self/comm").read_text().strip()
    assert {frame.process.comm for frame in probe.frames if frame.process} == {comm}
    assert connection.opened_ns == probe.frames[0].time_ns
    (closed,) = probe.closed
    assert (closed.received, closed.lost) == (2, 0)


def test_descriptors_have_the_identities_that_proc_tells(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    (tmp_path / "file").write_bytes(bytes(12345))
    memory = os.memfd_create("guest-ram")
    os.ftruncate(memory, 1 << 20)
    pipe = os.pipe()
    os.mkfifo(tmp_path / "fifo")
    pair = socket.socketpair()
    fds = [
        os.eventfd(0),
        os.eventfd(0),
        memory,
        os.memfd_create("n" * 200),
        os.memfd_create(""),
        os.open(tmp_path / "file", os.O_RDONLY),
        os.open("/dev/null", os.O_RDWR),
        os.open(tmp_path / "fifo", os.O_RDWR),
        *pipe,
        os.open(tmp_path, os.O_RDONLY),
        os.epoll_create() if hasattr(os, "epoll_create") else os.eventfd(0),
        pair[0].fileno(),
    ]
    expected = [describe(fd, fd) for fd in fds]
    with recording(tmp_path / "c.pcapng", "--path", path) as probe:
        near, far = connected(path)
        with near, far:
            near.sendmsg([message(5, bytes(8))], rights(*fds))
            # By now the numbers could mean other files: identities come from the kernel, at the send.
            probe.finish()
    (frame,) = probe.frames
    assert list(frame.descriptors) == expected
    assert [one.kind for one in expected[:3]] == [DescriptorKind.EVENTFD, DescriptorKind.EVENTFD, DescriptorKind.MEMFD]
    for fd in fds[:-1]:
        os.close(fd)
    pair[0].close()
    pair[1].close()


def test_as_many_descriptors_as_a_send_may_carry(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    one = os.eventfd(0)
    with recording(tmp_path / "c.pcapng", "--path", path) as probe:
        near, far = connected(path)
        with near, far:
            near.sendmsg([message(5, bytes(8))], rights(*[one] * 253))
            near.sendmsg([message(6)], [(socket.SOL_SOCKET, 2, struct.pack("=iii", os.getpid(), 0, 0)), *rights(one)])
        probe.finish()
    assert [len(frame.descriptors) for frame in probe.frames] == [253, 1]
    assert {item.identity for frame in probe.frames for item in frame.descriptors} == {describe(one).identity}
    os.close(one)


def test_a_number_that_is_used_again_at_once(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    expected = []
    with recording(tmp_path / "c.pcapng", "--path", path) as probe:
        near, far = connected(path)
        with near, far:
            for i in range(50):
                fd = os.eventfd(0) if i % 2 else os.memfd_create("x")
                expected.append(describe(fd).identity)
                near.sendmsg([message(12, bytes(8))], rights(fd))
                os.close(fd)
        probe.finish()
    assert [frame.descriptors[0].identity for frame in probe.frames] == expected
    assert len({frame.descriptors[0].number for frame in probe.frames}) == 1


def test_a_send_larger_than_what_is_captured_says_what_is_missing(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    whole = message(12, bytes(range(256)) * 256)  # 65536 bytes behind the header
    with recording(tmp_path / "c.pcapng", "--path", path) as probe:
        near, far = connected(path)
        with near, far:
            near.sendall(whole)
            drain(far, len(whole))
            far.sendall(message(1, bytes(65524), 5))
            drain(near, 65536)
            near.send(message(3))
        probe.finish()
    first, second, third = probe.frames
    assert (first.data, first.missing) == (whole[:65536], 12)
    assert (len(second.data), second.missing) == (65536, 0)
    assert third.data == message(3)


def test_a_send_of_many_segments(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    whole = message(12, bytes(i % 251 for i in range(244)))
    with recording(tmp_path / "c.pcapng", "--path", path) as probe:
        near, far = connected(path)
        with near, far:
            near.sendmsg([whole[i : i + 1] for i in range(256)])
            near.sendmsg([bytes([value]) for value in whole] + [b"x"] * 100)
        probe.finish()
    assert probe.frames[0].data == whole
    assert b"".join(probe.data()[1:]) == whole
    assert sum(frame.missing for frame in probe.frames) == 100


@pytest.mark.parametrize("count", [10007, 500009])
def test_a_prime_number_of_messages(tmp_path: Path, count: int) -> None:
    path = str(tmp_path / "s")
    with recording(tmp_path / "c.pcapng", "--path", path) as probe:
        near, far = connected(path)
        with near, far:
            for i in range(count):
                near.send(message(8, struct.pack("=II", i, 0)))
                far.recv(64)
        probe.finish()
    assert [struct.unpack_from("=I", data, 12)[0] for data in probe.data()] == list(range(count))
    assert [closed.lost for closed in probe.closed] == [0]
    assert f"{count} messages on 1 connection, 0 lost" in probe.said


def test_what_is_lost_is_counted_exactly(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    count = 400_009
    with recording(tmp_path / "c.pcapng", "--path", path) as probe:
        near, far = connected(path)
        with near, far:
            near.send(message(1))
            probe.process.send_signal(signal.SIGSTOP)
            for i in range(count):
                near.send(message(8, struct.pack("=II", i, 0)))
                far.recv(64)
        probe.finish()
    seen = [struct.unpack_from("=I", data, 12)[0] for data in probe.data()[1:]]
    assert seen == list(range(len(seen)))
    assert 50_000 <= len(seen) < count
    assert [closed.lost for closed in probe.closed] == [count - len(seen)]
    assert f"{count - len(seen)} lost" in probe.said


def test_a_loss_in_the_middle_is_where_it_was(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with recording(tmp_path / "c.pcapng", "--path", path) as probe:
        near, far = connected(path)
        with near, far:
            near.send(message(1))
            probe.process.send_signal(signal.SIGSTOP)
            for _ in range(300_000):
                near.send(message(8, bytes(8)))
                far.recv(64)
            probe.process.send_signal(signal.SIGCONT)
            sent = 300_001
            while not probe.path.exists() or probe.path.stat().st_size < 20_000_000:
                near.send(message(9, bytes(8)))
                far.recv(64)
                sent += 1
            far.send(message(1, bytes(8), 5))
            sent += 1
        probe.finish()
    (closed,) = probe.closed
    assert closed.lost == sent - len(probe.frames)
    assert closed.lost > 0
    assert probe.data()[-1] == message(1, bytes(8), 5)


def test_what_failed_is_not_shown_and_what_went_in_part_is_shown_in_part(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with recording(tmp_path / "c.pcapng", "--path", path) as probe:
        near, far = connected(path)
        with near, far:
            near.send(message(1))
            near.setblocking(False)
            sent = 0
            body = message(5, bytes(60000))
            while True:
                try:
                    sent += near.send(body)
                except BlockingIOError:
                    break
            drain(far, 12)
            far.close()
            with pytest.raises(BrokenPipeError):
                near.send(message(3))
        probe.finish()
    captured = sum(len(frame.data) + frame.missing for frame in probe.frames if frame.kind is not FrameKind.MESSAGE)
    whole = [frame for frame in probe.frames if frame.kind is FrameKind.MESSAGE]
    assert sum(len(frame.data) for frame in whole) + captured == sent + 12
    assert "sends failed" in probe.said
    assert not any(frame.data == message(3) for frame in probe.frames)


def test_a_send_to_a_peer_that_does_not_read_is_shown_in_its_place(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with recording(tmp_path / "c.pcapng", "--path", path) as probe:
        near, far = connected(path)
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        child = os.fork()
        if child == 0:
            near.sendall(message(5, bytes(60000)))
            os._exit(0)
        with near, far:
            assert far.recv(12, socket.MSG_WAITALL) == message(5, bytes(60000))[:12]
            far.send(message(5, bytes(8), 5))
            drain(far, 60000)
            os.waitpid(child, 0)
        probe.finish()
    assert [(frame.end, len(frame.data)) for frame in probe.frames] == [(0, 60012), (1, 20)]


def test_a_send_that_fails_after_it_was_shown_is_not_lost_as_well(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    body = message(5, bytes(60000))
    with recording(tmp_path / "c.pcapng", "--path", path) as probe:
        near, far = connected(path)
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        child = os.fork()
        if child == 0:
            far.close()
            os._exit(near.send(body) == len(body))
        near.close()
        while not probe.path.exists() or probe.path.stat().st_size < len(body):
            assert probe.process.poll() is None
        far.close()
        assert os.waitpid(child, 0)[1] == 0
        probe.finish()
    assert probe.data() == [body]
    assert [(closed.received, closed.lost) for closed in probe.closed] == [(1, 0)]
    assert "1 message on 1 connection, 0 lost" in probe.said
    assert "1 sends are in the capture as sent, but failed or were cut short later" in probe.said


@pytest.mark.parametrize("unread", [True, False])
def test_who_closes_without_reading_all_resets_the_connection(tmp_path: Path, unread: bool) -> None:
    path = str(tmp_path / "s")
    with recording(tmp_path / "c.pcapng", "--path", path) as probe:
        near, far = connected(path)
        with near:
            near.send(message(1))
            drain(far, 6 if unread else 12)
            far.close()
            if unread:
                with pytest.raises(ConnectionResetError):
                    near.recv(12)
            else:
                assert near.recv(12) == b""
            while not probe.path.exists() or b"closed" not in probe.path.read_bytes():
                assert probe.process.poll() is None
        probe.finish()
    (closed,) = probe.closed
    assert (closed.by, closed.reason) == (1, "reset" if unread else "eof")


def test_fork_and_exec(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    program = "import os,sys; os.write(int(sys.argv[1]), bytes.fromhex(sys.argv[2]))"
    with recording(tmp_path / "c.pcapng", "--path", path) as probe:
        near, far = connected(path)
        with near, far:
            near.send(message(1))
            os.set_inheritable(near.fileno(), True)
            words = [sys.executable, "-c", program, str(near.fileno()), message(3).hex()]
            child = subprocess.Popen(words, pass_fds=(near.fileno(),))
            child.wait()
            near.send(message(2, bytes(8)))
        probe.finish()
    assert probe.data() == [message(1), message(3), message(2, bytes(8))]
    (connection,) = probe.connections
    speakers = [frame.process or connection.ends[frame.end].process for frame in probe.frames]
    assert [speaker.pid for speaker in speakers if speaker] == [os.getpid(), child.pid, os.getpid()]


def test_an_abstract_socket_and_a_pair(tmp_path: Path) -> None:
    name = f"\0vusniff-test-{os.getpid()}"
    with recording(tmp_path / "c.pcapng", "--pid", str(os.getpid())) as probe:
        near, far = connected(name)
        one, two = socket.socketpair()
        inodes = [os.fstat(end.fileno()).st_ino for end in (one, two)]
        with near, far, one, two:
            near.send(message(1))
            one.send(message(3))
            two.send(message(1, bytes(8), 5))
        probe.finish()
    assert [connection.path for connection in probe.connections] == ["@" + name[1:], f"pair:{inodes[0]}-{inodes[1]}"]
    assert [(frame.connection, frame.end) for frame in probe.frames] == [(1, 0), (2, 0), (2, 1)]


def test_a_peer_speaks_before_it_is_accepted(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with recording(tmp_path / "c.pcapng", "--path", path) as probe:
        with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as near:
            listener.bind(path)
            listener.listen()
            near.connect(path)
            near.send(message(1))
            far, _ = listener.accept()
            with far:
                far.send(message(1, bytes(8), 5))
        probe.finish()
    assert [(frame.connection, frame.end) for frame in probe.frames] == [(1, 0), (1, 1)]


def test_back_end_channels_are_followed(tmp_path: Path) -> None:
    """Their first bytes look like nothing: it is the descriptor that tells."""
    with recording(tmp_path / "c.pcapng", "--pid", str(os.getpid())) as probe:
        near, far = socket.socketpair()
        channel, passed = socket.socketpair()
        gpu, passed_gpu = socket.socketpair()
        inode, peer = os.fstat(passed.fileno()).st_ino, os.fstat(channel.fileno()).st_ino
        with near, far, channel, passed, gpu, passed_gpu:
            near.sendmsg([message(21)], rights(passed.fileno()))
            near.sendmsg([message(33)], rights(passed_gpu.fileno()))
            passed.send(b"not a header at all")
            gpu.send(message(3, bytes(408), 4))
            passed_gpu.send(message(3, b"", 0))
        probe.finish()
    assert [frame.connection for frame in probe.frames] == [1, 1, 2, 3, 3]
    assert probe.frames[2].data == b"not a header at all"
    assert [end.inode for end in probe.connections[1].ends] == [peer, inode]


HOLD = """
import os, sys
try:
    held = [os.eventfd(0) for _ in range(int(sys.argv[1]))]
except OSError:
    pass
print(flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def holding_eventfds(count: int) -> Iterator[None]:
    """So many are open, in processes of their own: the kernel gives the lowest id that is free."""
    each = min(resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 64, max(count, 1))
    with contextlib.ExitStack() as stack:
        for _ in range(-(-count // each)):
            argv = [sys.executable, "-c", HOLD, str(each)]
            holder = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            stack.enter_context(holder)
            assert holder.stdout is not None
            holder.stdout.readline()
        yield


def test_kicks_and_calls_are_counted_from_when_they_were_passed(tmp_path: Path) -> None:
    """Of an event descriptor with any id: a busy host has more than 65536 of them."""
    memory, kick = os.memfd_create("ram"), os.eventfd(0)
    with holding_eventfds(1 << 16):
        call = os.eventfd(0)
    assert int(str(describe(call).identity).partition(":")[2]) >= 1 << 16
    os.ftruncate(memory, 1 << 16)
    with recording(tmp_path / "c.pcapng", "--rings=100") as watched:
        near, far = connected(str(tmp_path / "s"))
        os.eventfd_write(kick, 5)
        near.send(message(2, struct.pack("=Q", 1 << 32)))
        near.sendmsg([message(5, struct.pack("=II4Q", 1, 0, 0, 1 << 16, 1 << 30, 0))], rights(memory))
        near.send(message(8, struct.pack("=II", 0, 64)))
        near.send(message(9, struct.pack("=II4Q", 0, 0, 1 << 30, (1 << 30) + 8192, (1 << 30) + 4096, 0)))
        near.send(message(10, struct.pack("=II", 0, 0)))
        near.sendmsg([message(13, struct.pack("=Q", 0))], rights(call))
        near.sendmsg([message(12, struct.pack("=Q", 0))], rights(kick))
        for _ in range(7):
            os.eventfd_write(kick, 1)
        assert os.eventfd_read(kick) == 12
        os.eventfd_write(call, 1)
        until(lambda: counted(watched.path) == [(7, 1)])
        drain(far, 20)
        watched.finish()
    for fd in (memory, kick, call):
        os.close(fd)
    near.close()
    far.close()


def counted(path: Path) -> list[tuple[int | None, int | None]]:
    """Kicks and calls of ring 0 by the last sample."""
    with CaptureReader(path) as reader:
        found = [record.rings[0] for record in reader.records() if isinstance(record, Sample) and record.rings]
    return [(one.kicks, one.calls) for one in found[-1:]]


def test_other_traffic_is_ignored(tmp_path: Path) -> None:
    with recording(tmp_path / "c.pcapng", "--pid", str(os.getpid())) as probe:
        near, far = socket.socketpair()
        with near, far:
            for words in (
                b'{"execute": "qmp_capabilities"}',
                b"GET / HTTP/1.1\r\n",
                bytes(64),
                b"\x01\x00\x00\x00",
            ) * 5:
                near.send(words)
                far.send(words)
        near, far = socket.socketpair()
        with near, far:
            near.send(message(1))
        probe.finish()
    assert probe.data() == [message(1)]
    assert len(probe.connections) == 1


def test_joined_in_mid_session(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    near, far = connected(path)
    event, memory = os.eventfd(0), os.memfd_create("guest-ram")
    os.ftruncate(memory, 1 << 21)
    known = {describe(event, event), describe(memory, memory)}
    with near, far:
        near.send(message(1))
        far.send(message(1, bytes(8), 5)[:12])
        with recording(tmp_path / "c.pcapng", "--path", path) as probe:
            far.send(bytes(8))
            near.send(message(3))
            probe.finish()
    (connection,) = probe.connections
    assert connection.joined_late
    assert connection.opened_ns is None
    assert all(known <= set(end.held) for end in connection.ends)
    os.close(event)
    os.close(memory)
    assert [(frame.end, frame.kind, frame.data) for frame in probe.frames] == [
        (1, FrameKind.RAW, bytes(8)),
        (0, FrameKind.MESSAGE, message(3)),
    ]


def test_a_peer_is_killed(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with recording(tmp_path / "c.pcapng", "--path", path) as probe:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()
            child = os.fork()
            if child == 0:
                near = socket.socket(socket.AF_UNIX)
                near.connect(path)
                near.send(message(1))
                signal.pause()
            far, _ = listener.accept()
        with far:
            assert far.recv(12) == message(1)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            assert far.recv(12) == b""
            size = 0
            while size == 0 or b"closed" not in probe.path.read_bytes():
                size = probe.path.stat().st_size
            probe.finish()
    (closed,) = probe.closed
    assert (closed.by, closed.reason) == (0, "killed")
    (exit,) = probe.exits
    assert (exit.pid, exit.status, exit.signal, exit.dumped_core, exit.ends) == (child, None, 9, False, ((1, 0),))
    assert probe.frames[-1].time_ns < exit.time_ns <= closed.time_ns


PEER = """
import os, signal, socket, sys, threading
near = socket.socket(socket.AF_UNIX)
near.connect(sys.argv[1])
near.send(bytes.fromhex(sys.argv[2]))
near.recv(1)
"""


def _ended_by(
    tmp_path: Path, then: str, *, survivor_closes: bool = True, attach: str = "auto"
) -> tuple[Recording, int]:
    """A peer in a process of its own speaks, is told to go on, and does something; the other end closes at once."""
    path, how = str(tmp_path / "s"), () if attach == "auto" else ("--attach", attach)
    with recording(tmp_path / "c.pcapng", "--path", path, *how) as probe, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        command = [sys.executable, "-c", PEER + then, path, message(1).hex()]
        with subprocess.Popen(command) as peer:
            far, _ = listener.accept()
            with far:
                assert far.recv(12) == message(1)
                far.send(b"x")
                assert far.recv(12) == b""
            if survivor_closes:
                peer.wait(60)
                until(lambda: b'"closed"' in probe.path.read_bytes() and b'"exit"' in probe.path.read_bytes())
            probe.finish()
            peer.kill()
    return probe, peer.pid


@pytest.mark.parametrize("attach", ["auto", "rawtp"])
@pytest.mark.parametrize(
    ("then", "status", "number", "reason"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", None, signal.SIGKILL, ("killed",)),
        ("os.kill(os.getpid(), signal.SIGSYS)", None, signal.SIGSYS, ("killed",)),
        ("os._exit(3)", 3, None, ("eof", "process ended")),
        ("threading.Thread(target=lambda: os._exit(4)).start(); signal.pause()", 4, None, ("eof", "process ended")),
        ("near.close(); os._exit(0)", 0, None, ("eof",)),
    ],
)
def test_how_a_peer_ended_and_that_it_was_first(
    tmp_path: Path, then: str, status: int | None, number: int | None, reason: tuple[str, ...], attach: str
) -> None:
    """Raw tracepoints see no close by an exit: the survivor's is the first they see, and the exit came before it."""
    probe, pid = _ended_by(tmp_path, then, attach=attach)
    (exit,) = probe.exits
    assert (exit.pid, exit.status, exit.signal, exit.ends) == (pid, status, number, ((1, 0),))
    assert exit.comm.startswith("python")
    (closed,) = probe.closed
    assert closed.by == 0
    assert closed.reason in reason


def test_a_process_that_goes_on_has_not_ended(tmp_path: Path) -> None:
    probe, _ = _ended_by(tmp_path, "near.close(); signal.pause()", survivor_closes=False)
    assert probe.exits == []


def test_whose_child_goes_on_with_the_socket_has_not_ended(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with recording(tmp_path / "c.pcapng", "--path", path) as probe, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        then = "child = os.fork()\nif child: os._exit(0)\nnear.send(b'again'); near.recv(1)"
        with subprocess.Popen([sys.executable, "-c", PEER + then, path, message(1).hex()]) as peer:
            far, _ = listener.accept()
            with far:
                far.send(b"x")
                assert far.recv(12) == message(1)
                assert far.recv(5) == b"again"
                peer.wait(60)
                probe.finish()
    assert probe.exits == []


@pytest.mark.parametrize("flags", [["--mount"], ["--mount", "--net"]])
def test_two_containers_with_the_same_path(tmp_path: Path, flags: list[str]) -> None:
    """In their own mount (and network) namespaces both bind the same name."""
    path = f"/mnt/vhost{len(flags)}.sock"  # of its own: another worker may run the other case at the same time
    program = (
        f"import socket,struct,sys; l=socket.socket(1); l.bind('{path}'); l.listen(); a=socket.socket(1);"
        f"a.connect('{path}'); b,_=l.accept(); a.send(struct.pack('=III',int(sys.argv[1]),1,0));"
        "b.send(struct.pack('=IIIQ',int(sys.argv[1]),5,8,0))"
    )
    run = "mount -t tmpfs tmpfs /mnt && exec " + sys.executable + ' -c "$0" "$1"'
    with recording(tmp_path / "c.pcapng", "--path", path) as probe:
        for request in (1, 3):
            subprocess.run(["unshare", *flags, "sh", "-ec", run, program, str(request)], check=True)
        probe.finish()
    assert [connection.path for connection in probe.connections] == [path] * 2
    assert len({end.inode for connection in probe.connections for end in connection.ends}) == 4
    assert [(frame.connection, frame.end, frame.data[0]) for frame in probe.frames] == [
        (1, 0, 1),
        (1, 1, 1),
        (2, 0, 3),
        (2, 1, 3),
    ]


IN_ANOTHER_NAMESPACE = """
import ctypes, os, socket, struct, sys
open("/proc/self/comm", "w").write(sys.argv[1])
libc, home = ctypes.CDLL(None), os.open("/proc/self/ns/net", os.O_RDONLY)
libc.unshare(0x40000000)
near, far = socket.socketpair()
child = os.fork()
if child == 0:
    near.send(struct.pack("=III", 1, 1, 0))
    os._exit(0)
os.waitpid(child, 0)
if sys.argv[2] == "left":
    libc.setns(home, 0)
far.send(struct.pack("=IIIQ", 1, 5, 8, 0))
print("said", flush=True)
input()
os._exit(0)
"""


@pytest.mark.parametrize("holder", ["lives there", "left"])
def test_the_end_of_a_connection_in_another_namespace(tmp_path: Path, holder: str) -> None:
    """Who spoke first is gone when its network namespace is asked for, or no process lives there at all. Raw
    tracepoints do not see that a process closes its sockets by its end."""
    path, name = tmp_path / "c.pcapng", f"gone{os.getpid()}"
    words = [sys.executable, "-c", IN_ANOTHER_NAMESPACE, name, holder]
    with recording(path, "--comm", name, "--attach", "rawtp") as probe:
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            until(lambda: message(1, bytes(8), 5) in path.read_bytes())
            process.communicate(b"\n")
        until(lambda: b'"closed"' in path.read_bytes())
        probe.finish()
    assert [closed.reason for closed in probe.closed] == ["process ended"]


def test_bytes_are_those_of_the_beginning_of_a_send(tmp_path: Path) -> None:
    """Who changes what it sends while the kernel copies it shows the probe other bytes than the receiver gets."""
    path = str(tmp_path / "s")
    with recording(tmp_path / "c.pcapng", "--path", path) as probe:
        near, far = connected(path)
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        sent = bytearray(message(25, bytes(40000)))
        before = bytes(sent)
        with near, far:
            near.send(message(1))
            drain(far, 12)
            sender = threading.Thread(target=near.sendall, args=(sent,))
            sender.start()
            # More than the socket takes: the send waits for its reader, who comes when the probe has seen it.
            until(lambda: before in probe.path.read_bytes())
            sent[-1] = 0xEE
            received = b""
            while len(received) < len(sent):
                received += far.recv(1 << 16)
            sender.join()
        probe.finish()
    assert received == bytes(sent) != before
    assert probe.data() == [message(1), before]


def test_nothing_matches_says_what_exists(tmp_path: Path) -> None:
    with recording(tmp_path / "c.pcapng", "--path", "/nonexistent/vhost.sock") as probe:
        probe.finish()
    assert "unix stream connections match" in probe.said
    assert probe.process.returncode == 1


def test_sendmmsg(tmp_path: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)

    class Segment(ctypes.Structure):
        _fields_ = (("base", ctypes.c_char_p), ("length", ctypes.c_size_t))

    class Header(ctypes.Structure):
        _fields_ = (
            ("name", ctypes.c_void_p),
            ("name_length", ctypes.c_uint32),
            ("segments", ctypes.POINTER(Segment)),
            ("segment_count", ctypes.c_size_t),
            ("control", ctypes.c_void_p),
            ("control_length", ctypes.c_size_t),
            ("flags", ctypes.c_int),
        )

    class Message(ctypes.Structure):
        _fields_ = (("header", Header), ("sent", ctypes.c_uint32))

    bodies = [message(8, struct.pack("=II", i, 7)) for i in range(5)]
    segments = [Segment(body, len(body)) for body in bodies]
    headers = (Message * 5)(*(Message(Header(None, 0, ctypes.pointer(one), 1, None, 0, 0), 0) for one in segments))
    path = str(tmp_path / "s")
    with recording(tmp_path / "c.pcapng", "--path", path) as probe:
        near, far = connected(path)
        with near, far:
            assert libc.sendmmsg(near.fileno(), headers, 5, 0) == 5
            assert libc.sendmmsg(near.fileno(), headers, 2, 0) == 2
            far.close()
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGPIPE])
            assert libc.sendmmsg(near.fileno(), headers, 5, 0x4000) == -1
        probe.finish()
    assert probe.data() == bodies + bodies[:2]


def test_a_non_blocking_descriptor_flag_does_not_matter(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with recording(tmp_path / "c.pcapng", "--path", path) as probe:
        near, far = connected(path)
        with near, far:
            fcntl.fcntl(near, fcntl.F_SETFL, os.O_NONBLOCK)
            near.sendmsg([message(1)], [], socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        probe.finish()
    assert probe.data() == [message(1)]
