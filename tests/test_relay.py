"""One connection passed through: real socket pairs on both sides, the relay's loop turned by the test itself."""

from __future__ import annotations

import array
import bisect
import contextlib
import functools
import gc
import itertools
import os
import select
import socket
import struct
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peers.processes import wait_until
from silent import SilentFile

from vusniff.capture.index import Index
from vusniff.capture.reader import CaptureReader
from vusniff.capture.writer import CaptureWriter
from vusniff.channel import Channel
from vusniff.record import Closed, End, Frame, FrameKind, Process
from vusniff.sources.host.descriptors import describe
from vusniff.sources.host.mounts import files_waiting, give_back
from vusniff.sources.proxy.loop import Loop
from vusniff.sources.proxy.open_files import OpenFiles
from vusniff.sources.proxy.receiving import CHUNK
from vusniff.sources.proxy.recorder import Recorder
from vusniff.sources.proxy.relay import CLOSING_LIMIT, NOT_CLOSED_WORDS, Relay

PATIENCE = 20.0
ROOM = socket.CMSG_SPACE(253 * 4)


def message(request: int, payload: bytes = b"", flags: int = 1) -> bytes:
    return struct.pack("=III", request, flags, len(payload)) + payload


class Stage:
    """Two peers, a relay between them, and its capture."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.said: list[str] = []
        self.loop = Loop()
        self._writer = CaptureWriter(file, source="proxy")
        self._recorder = Recorder(self._writer, self.loop, self.said.append)
        self._files = OpenFiles()
        self.relays: list[Relay] = []
        self.left, a = socket.socketpair()
        self.right, b = socket.socketpair()
        for peer in (self.left, self.right):
            peer.setblocking(False)
        self.spawn(a, b, "/run/vm.sock", (End(1, Process(11, "left")), End(2, Process(22, "right"))))

    def spawn(
        self,
        first: socket.socket,
        second: socket.socket,
        path: str,
        ends: tuple[End, End],
        channel: Channel | None = None,
    ) -> None:
        connection = self._recorder.open(path, ends)
        sockets, closed = (first, second), self.relays.remove
        relay = Relay(
            self.loop, self._recorder, sockets, connection, channel, self.spawn, self._files, self._tell, closed
        )
        self.relays.append(relay)

    def _tell(self, _: str, sentence: str) -> None:
        self.said.append(sentence)

    def until(self, fact: Callable[[], object]) -> None:
        """Turns the loop until something is true."""
        deadline = time.monotonic() + PATIENCE
        while not fact():
            assert time.monotonic() < deadline, "it never came true"
            self.loop.after(0.002, lambda: None)
            self.loop.turn()

    def settle(self) -> None:
        """Turns the loop until nothing but a timer happens; a loop that never rests fails."""
        for _ in range(2_000):
            rested: list[int] = []
            busy = False
            self.loop.after(0.005, functools.partial(rested.append, 1))
            while not rested:
                busy = self.loop.turn() or busy
            if not busy:
                return
        pytest.fail("the loop never rests")

    def receive(self, peer: socket.socket, size: int) -> tuple[bytes, list[int]]:
        """One recvmsg, as soon as there is something."""
        poll = select.poll()
        poll.register(peer, select.POLLIN)
        self.until(lambda: poll.poll(0))
        return receive(peer, size)

    def frames(self) -> list[Frame]:
        """What the capture holds now."""
        with Index(self.file) as index:
            index.update()
            return list(index.frames())

    def closed(self) -> list[Closed]:
        with CaptureReader(self.file) as reader:
            return [event for event in reader.records() if isinstance(event, Closed)]

    def close(self) -> None:
        for one in list(self.relays):
            one.finish("capture ended")
        self.left.close()
        self.right.close()
        self._writer.close()
        self.loop.close()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    before = set(os.listdir("/proc/self/fd"))
    stage = Stage(tmp_path / "capture.pcapng")
    yield stage
    stage.close()
    # What a peer's file system may hold up is closed beside the relay.
    wait_until(lambda: set(os.listdir("/proc/self/fd")) <= before, "descriptors that are closed")


def receive(peer: socket.socket, size: int) -> tuple[bytes, list[int]]:
    data, ancillary, flags, _ = peer.recvmsg(size, ROOM, socket.MSG_CMSG_CLOEXEC)
    assert not flags & socket.MSG_CTRUNC
    return data, [fd for _, _, passed in ancillary for fd in array.array("i", passed)]


def identities(fds: list[int], close: bool = True) -> list[str | None]:
    found = [describe(fd).identity for fd in fds]
    for fd in fds if close else ():
        os.close(fd)
    return found


@pytest.fixture
def memory() -> Iterator[list[int]]:
    """Descriptors of different objects."""
    fds = [os.memfd_create(f"region-{number}") for number in range(8)]
    yield fds
    for fd in fds:
        os.close(fd)


def test_what_has_ended_is_freed_at_once(stage: Stage) -> None:
    """It waited for a collection of garbage: megabytes of a thousand connections."""
    gc.disable()
    try:
        relay = weakref.ref(stage.relays[0])
        stage.left.send(message(1))
        assert stage.receive(stage.right, 12) == (message(1), [])
        stage.left.close()
        stage.right.close()
        stage.until(lambda: not stage.relays)
        stage.settle()
        assert relay() is None
    finally:
        gc.enable()


def test_messages_with_and_without_descriptors_back_to_back(stage: Stage, memory: list[int]) -> None:
    """All wait in the socket before the relay looks; the receiver reads header and payload as libvhost-user does."""
    sent = [
        (message(8, bytes(8)), []),
        (message(5, bytes(40)), memory[:2]),
        (message(13, bytes(8)), memory[2:3]),
        (message(1), []),
        (message(15), []),
        (message(12, bytes(8)), memory[3:7]),
        (message(18, bytes(8)), []),
    ]
    for data, fds in sent:
        socket.send_fds(stage.left, [data], fds)
    for data, fds in sent:
        header, passed = stage.receive(stage.right, 12)
        assert header == data[:12]
        assert identities(passed) == identities(fds, close=False)
        if len(data) > 12:
            assert stage.receive(stage.right, len(data) - 12) == (data[12:], [])
    frames = stage.frames()
    assert [frame.data for frame in frames] == [data for data, _ in sent]
    assert [[d.identity for d in frame.descriptors] for frame in frames] == [identities(f, False) for _, f in sent]


def test_descriptors_sent_with_a_payload_stay_with_the_payload(stage: Stage, memory: list[int]) -> None:
    """A receiver that looks for them with the header finds none, as it would without a proxy."""
    whole = message(5, bytes(40))
    stage.left.send(message(1))
    stage.left.send(whole[:12])
    socket.send_fds(stage.left, [whole[12:]], memory[:2])
    assert stage.receive(stage.right, 12) == (message(1), [])
    assert stage.receive(stage.right, 12) == (whole[:12], [])
    data, passed = stage.receive(stage.right, 40)
    assert (data, identities(passed)) == (whole[12:], identities(memory[:2], close=False))
    assert [[fd.late for fd in frame.descriptors] for frame in stage.frames()] == [[], [True, True]]


@pytest.mark.parametrize("first", [1, 11, 12, 30])
@pytest.mark.parametrize("waits", [False, True])
def test_descriptors_behind_the_first_byte_are_recorded_as_late(
    stage: Stage, memory: list[int], first: int, waits: bool
) -> None:
    whole = message(5, bytes(40))
    stage.left.send(whole[:first])
    if waits:
        stage.settle()
    socket.send_fds(stage.left, [whole[first:]], memory[:2])
    stage.until(lambda: len(stage.frames()) == 1)
    (frame,) = stage.frames()
    assert (frame.data, [fd.late for fd in frame.descriptors]) == (whole, [True, True])
    socket.send_fds(stage.left, [message(21)[:5]], memory[:1])
    stage.left.send(message(21)[5:])
    stage.until(lambda: len(stage.frames()) == 2)
    assert [fd.late for fd in stage.frames()[1].descriptors] == [False]


def test_a_large_message_before_descriptors_is_not_read_in_small_pieces(stage: Stage, memory: list[int]) -> None:
    whole = message(6, bytes(16404), flags=0)
    stage.left.send(whole)
    socket.send_fds(stage.left, [message(9, bytes(40), flags=0)], memory[:1])
    calls = 0

    def count(frame: object, event: str, called: object) -> None:
        nonlocal calls
        calls += event == "c_call" and getattr(called, "__name__", "") in ("recv", "recvmsg")

    sys.setprofile(count)
    try:
        data, passed = stage.receive(stage.right, len(whole))
    finally:
        sys.setprofile(None)
    assert (data, passed) == (whole, [])
    data, passed = stage.receive(stage.right, 52)
    assert (len(data), identities(passed)) == (52, identities(memory[:1], close=False))
    assert calls < 20


def test_as_many_descriptors_as_one_send_takes(stage: Stage, memory: list[int]) -> None:
    fds = [memory[number % len(memory)] for number in range(253)]
    socket.send_fds(stage.left, [message(5, bytes(8))], fds)
    _, passed = stage.receive(stage.right, 12)
    assert identities(passed) == identities(fds, close=False)
    assert stage.receive(stage.right, 100) == (bytes(8), [])
    assert len(stage.frames()[0].descriptors) == 253


def test_a_header_and_its_payload_in_two_sends(stage: Stage, memory: list[int]) -> None:
    whole = message(31, bytes(24), flags=5)
    socket.send_fds(stage.right, [whole[:12]], memory[:1])
    header, passed = stage.receive(stage.left, 100)
    assert (header, identities(passed)) == (whole[:12], identities(memory[:1], close=False))
    assert stage.frames() == []
    stage.right.send(whole[12:])
    assert stage.receive(stage.left, 100) == (whole[12:], [])
    (frame,) = stage.frames()
    assert (frame.data, frame.end, len(frame.descriptors)) == (whole, 1, 1)


def test_a_message_is_in_the_capture_before_it_arrives(stage: Stage) -> None:
    stage.left.send(message(1))
    poll = select.poll()
    poll.register(stage.right, select.POLLIN)
    while not poll.poll(0):
        stage.loop.turn()
    assert [frame.data for frame in stage.frames()] == [message(1)]


def by_message(passed: dict[int, list[str | None]], ends: list[int]) -> dict[int, list[str | None]]:
    """Descriptors by the message that the byte they came with is part of, in order."""
    found: dict[int, list[str | None]] = {}
    for at in sorted(passed):
        found.setdefault(bisect.bisect_right(ends, at), []).extend(passed[at])
    return found


sends = st.lists(st.tuples(st.binary(min_size=1, max_size=30), st.integers(0, 3)), min_size=1, max_size=12)


@pytest.mark.slow
@given(sends, st.booleans(), st.booleans())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bytes_and_descriptors_stay_together_whatever_they_mean(
    tmp_path_factory: pytest.TempPathFactory,
    memory: list[int],
    sends: list[tuple[bytes, int]],
    framed: bool,
    step_by_step: bool,
) -> None:
    """Sends of any content, cut anywhere: every descriptor arrives with the byte it was sent with.

    Of messages that wait in the socket while others are sent, the kernel does not tell where in a message descriptors
    came: then it is the message that they stay with.
    """
    ends: list[int] = []
    if framed:
        ends = list(itertools.accumulate(12 + len(data) for data, _ in sends))
        # One stream of messages, cut where the sends were cut.
        stream = b"".join(message(1 + len(data) % 40, data) for data, _ in sends)
        sizes = [len(data) + 1 for data, _ in sends]
        starts = [sum(sizes[:i]) for i in range(len(sizes))]
        sends = [(stream[a : a + n], fds) for a, n, (_, fds) in zip(starts, sizes, sends, strict=True)]
        sends.append((stream[sum(sizes) :], 0))
    with contextlib.closing(Stage(tmp_path_factory.mktemp("relay") / "capture.pcapng")) as stage:
        expected: dict[int, list[str | None]] = {}
        at = 0
        for data, count in sends:
            if count and data:
                expected[at] = identities(memory[at % 4 : at % 4 + count], close=False)
            socket.send_fds(stage.left, [data], memory[at % 4 : at % 4 + count])
            at += len(data)
            if step_by_step:
                stage.settle()
        stage.left.shutdown(socket.SHUT_WR)
        arrived, passed = b"", {}
        while True:
            byte, fds = stage.receive(stage.right, 1)
            if fds:
                passed[len(arrived)] = identities(fds)
            if not byte:
                break
            arrived += byte
        assert arrived == b"".join(data for data, _ in sends)
        if framed and not step_by_step:
            assert by_message(passed, ends) == by_message(expected, ends)
        else:
            assert passed == expected
        frames = stage.frames()
        assert b"".join(frame.data for frame in frames) == arrived
        recorded = [d.identity for frame in frames for d in frame.descriptors]
        assert recorded == [identity for place in sorted(expected) for identity in expected[place]]


def test_an_answer_with_an_absurd_size_stands_before_what_is_asked_next(stage: Stage) -> None:
    asked, lie = (
        message(11, bytes(8)),
        message(11, bytes(8), flags=5)[:8] + (256 << 20).to_bytes(4, "little") + bytes(8),
    )
    for sender, receiver, data in ((stage.left, stage.right, asked), (stage.right, stage.left, lie)) * 2:
        sender.send(data)
        assert stage.receive(receiver, 100)[0] == data
    stage.left.send(message(1))
    stage.receive(stage.right, 100)
    assert [(frame.end, frame.data) for frame in stage.frames()] == [(0, asked), (1, lie)] * 2 + [(0, message(1))]


def test_large_messages_pass_in_pieces(stage: Stage) -> None:
    whole = message(8, os.urandom(3 << 20), flags=0) + message(7, bytes(12), flags=0)
    arrived = bytearray()
    rest = memoryview(whole)

    def exchange() -> bool:
        nonlocal rest
        with contextlib.suppress(BlockingIOError):
            rest = rest[stage.left.send(rest) :]
        with contextlib.suppress(BlockingIOError):
            arrived.extend(stage.right.recv(1 << 20))
        return len(arrived) == len(whole)

    stage.until(exchange)
    assert arrived == whole
    frames = stage.frames()
    assert [(frame.kind, frame.data) for frame in frames] == [
        (FrameKind.MESSAGE, whole[:-24]),
        (FrameKind.MESSAGE, whole[-24:]),
    ]


@pytest.mark.parametrize("descriptors", [0, 1])
def test_back_pressure_is_passed_on_and_nothing_piles_up(stage: Stage, memory: list[int], descriptors: int) -> None:
    whole = message(6, bytes(1000))
    sent = 0

    def stuck() -> bool:
        nonlocal sent
        try:
            while True:
                socket.send_fds(stage.left, [whole], memory[:descriptors])
                sent += 1
        except BlockingIOError:
            stage.settle()
        try:
            socket.send_fds(stage.left, [whole], memory[:descriptors])
        except BlockingIOError:
            return True
        sent += 1
        return False

    held = len(os.listdir("/proc/self/fd"))
    stage.until(stuck)
    assert len(os.listdir("/proc/self/fd")) <= held + 2
    room = stage.left.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) * 3
    assert sent * len(whole) <= room + CHUNK
    for _ in range(sent):
        data, fds = stage.receive(stage.right, len(whole))
        assert data == whole
        assert len(identities(fds)) == descriptors
    assert len(stage.frames()) == sent


def test_back_pressure_of_one_side_does_not_stop_the_other(stage: Stage) -> None:
    def stuck() -> bool:
        with contextlib.suppress(BlockingIOError):
            while True:
                stage.left.send(message(6, bytes(1000)))
        stage.settle()
        return not select.select([], [stage.left], [], 0)[1]

    stage.until(stuck)
    stage.right.send(message(1, bytes(8), flags=5))
    assert stage.receive(stage.left, 100) == (message(1, bytes(8), flags=5), [])


@pytest.mark.parametrize("first", ["left", "right"])
def test_a_half_close_is_passed_on_and_the_other_direction_lives(stage: Stage, first: str) -> None:
    peers = {"left": stage.left, "right": stage.right}
    ends, speaks = peers.pop(first), next(iter(peers.values()))
    ends.send(message(1))
    ends.shutdown(socket.SHUT_WR)
    assert stage.receive(speaks, 100) == (message(1), [])
    assert stage.receive(speaks, 100) == (b"", [])
    stage.settle()
    speaks.send(message(2))
    assert stage.receive(ends, 100) == (message(2), [])
    speaks.shutdown(socket.SHUT_WR)
    assert stage.receive(ends, 100) == (b"", [])
    stage.until(lambda: not stage.relays)
    (closed,) = stage.closed()
    assert (closed.reason, closed.by, closed.received) == ("eof", 0 if first == "left" else 1, 2)


def test_a_half_close_followed_by_a_close(stage: Stage) -> None:
    stage.left.shutdown(socket.SHUT_WR)
    assert stage.receive(stage.right, 1) == (b"", [])
    stage.left.close()
    stage.until(lambda: not stage.relays)
    with pytest.raises(BrokenPipeError):
        stage.right.send(b"x")


def test_who_no_longer_reads_is_told_to_the_other_side(stage: Stage) -> None:
    stage.left.shutdown(socket.SHUT_RD)

    def told() -> bool:
        try:
            stage.right.send(message(1))
        except BrokenPipeError:
            return True
        return False

    stage.until(told)
    stage.left.send(message(2))
    assert stage.receive(stage.right, 100) == (message(2), [])


def test_a_peer_that_closes_with_unread_bytes_resets(stage: Stage) -> None:
    stage.right.send(message(1, bytes(8), flags=5))
    poll = select.poll()
    poll.register(stage.left, select.POLLIN)
    stage.until(lambda: poll.poll(0))
    stage.left.close()
    stage.right.send(message(2, bytes(8), flags=5))
    stage.until(lambda: not stage.relays)
    (closed,) = stage.closed()
    assert (closed.reason, closed.by) == ("reset", 0)
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        stage.right.send(b"x")


def test_what_was_sent_before_a_close_still_arrives(stage: Stage) -> None:
    """The receiver is slow: its socket is full when the sender has gone."""
    sent = 0

    def stuck() -> bool:
        nonlocal sent
        with contextlib.suppress(BlockingIOError):
            while True:
                stage.left.send(message(6, bytes(1000)))
                sent += 1
        stage.settle()
        return not select.select([], [stage.left], [], 0)[1]

    stage.until(stuck)
    stage.left.close()
    stage.settle()
    arrived = bytearray()
    while data := stage.receive(stage.right, 1 << 16)[0]:
        arrived += data
    assert arrived == message(6, bytes(1000)) * sent
    stage.until(lambda: not stage.relays)
    assert len(stage.frames()) == sent


def test_a_message_cut_off_by_a_close_is_passed_on_and_recorded(stage: Stage) -> None:
    whole = message(5, bytes(40))
    stage.left.send(whole[:30])
    stage.left.close()
    assert stage.receive(stage.right, 100) == (whole[:30], [])
    assert stage.receive(stage.right, 100) == (b"", [])
    (frame,) = stage.frames()
    assert (frame.data, frame.missing) == (whole[:30], 0)  # nothing was lost: the rest was never sent


def test_what_was_sent_before_the_other_end_closed_is_recorded(stage: Stage) -> None:
    stage.left.send(message(5, bytes(40)))
    stage.right.close()
    file = os.memfd_create("m")
    for number in (6, 7):
        socket.send_fds(stage.left, [message(number, bytes(8))], [file])
    os.close(file)
    stage.until(lambda: not stage.relays)
    assert [frame.data for frame in stage.frames()] == [
        message(5, bytes(40)),
        message(6, bytes(8)),
        message(7, bytes(8)),
    ]
    assert [len(frame.descriptors) for frame in stage.frames()] == [0, 1, 1]
    (closed,) = stage.closed()
    assert (closed.reason, closed.by, closed.lost) == ("reset", 1, 0)


def test_a_socket_that_opens_a_channel_is_interposed(stage: Stage) -> None:
    ours, theirs = socket.socketpair()
    inode = os.fstat(theirs.fileno()).st_ino
    mine = os.fstat(ours.fileno()).st_ino
    socket.send_fds(stage.left, [message(21, bytes(8))], [theirs.fileno()])
    theirs.close()
    _, (fd,) = stage.receive(stage.right, 12)
    assert os.fstat(fd).st_ino != inode
    with ours, socket.socket(fileno=fd) as channel:
        channel.send(message(2, flags=9))
        assert stage.receive(ours, 100) == (message(2, flags=9), [])
        ours.send(message(2, bytes(8), flags=5))
        assert stage.receive(channel, 100) == (message(2, bytes(8), flags=5), [])
        stage.settle()
    stage.until(lambda: len(stage.relays) == 1)
    with Index(stage.file) as index:
        index.update()
        main, channel_connection = index.connections
        frames = list(index.frames())
    assert channel_connection.ends[1].inode == inode
    assert channel_connection.path == f"pair:{mine}-{inode}"
    assert [end.process and end.process.comm for end in channel_connection.ends] == ["left", "right"]
    assert [(f.connection, f.end) for f in frames] == [(1, 0), (2, 1), (2, 0)]
    assert frames[0].descriptors[0].identity == f"socket:{inode}"
    assert main.id == 1


SPLIT = (message(21, bytes(8))[:12], message(21, bytes(8))[12:])
STRANGE = struct.pack("=III", 0, 1, 0)


@pytest.mark.parametrize(
    ("sends", "interposed"),
    [
        pytest.param([message(21)], True, id="back-end channel"),
        pytest.param([message(33)], True, id="GPU socket"),
        pytest.param([message(42, bytes(8))], True, id="device state"),
        pytest.param([message(42, bytes(8), flags=5)], True, id="device state, the back-end's choice"),
        pytest.param([SPLIT[0], SPLIT[1]], True, id="payload in a send of its own"),
        pytest.param([message(13, bytes(8))], False, id="call"),
        pytest.param([message(12, bytes(8))], False, id="kick"),
        pytest.param([message(21, flags=5)], False, id="reply to what opens a channel"),
        pytest.param([message(4000)], False, id="unknown request"),
        pytest.param([SPLIT[0][:5], SPLIT[0][5:8]], False, id="less than a header"),
        pytest.param([STRANGE], False, id="no header"),
        pytest.param([message(21, bytes(2 << 20))[: (1 << 20) + 12], bytes(8)], False, id="middle of a large message"),
    ],
)
def test_only_what_opens_a_channel_is_interposed(stage: Stage, sends: list[bytes], interposed: bool) -> None:
    """The last send carries the socket. User-mode Linux passes one as call descriptor: nothing may stand in it."""
    ours, theirs = socket.socketpair()
    inode = os.fstat(theirs.fileno()).st_ino
    got, passed = b"", []
    for number, data in enumerate(sends, 1):
        for at in range(0, len(data), 1 << 16):
            part = data[at : at + (1 << 16)]
            last = number == len(sends) and at + len(part) == len(data)
            assert socket.send_fds(stage.left, [part], [theirs.fileno()] if last else []) == len(part)
            due = len(got) + len(part)
            while len(got) < due:
                more, some = stage.receive(stage.right, 1 << 16)
                got += more
                passed += some
    assert got == b"".join(sends)
    (fd,) = passed
    with ours, theirs, socket.socket(fileno=fd) as end:
        assert (os.fstat(fd).st_ino != inode) is interposed
        assert len(stage.relays) == 1 + interposed
        end.setblocking(False)
        for _ in range(3):
            end.send(struct.pack("=Q", 1))
        if not interposed:
            assert [ours.recv(8), ours.recv(8), ours.recv(8)] == [struct.pack("=Q", 1)] * 3
    assert stage.said == []


def test_a_channel_opens_none_itself(stage: Stage) -> None:
    """On the back-end channel 21 is no request that passes a socket."""
    ours, theirs = socket.socketpair()
    socket.send_fds(stage.left, [message(21)], [theirs.fileno()])
    theirs.close()
    _, (fd,) = stage.receive(stage.right, 12)
    inner, passed = socket.socketpair()
    with ours, inner, passed, socket.socket(fileno=fd) as channel:
        socket.send_fds(channel, [message(21)], [passed.fileno()])
        _, (nested,) = stage.receive(ours, 100)
        assert os.fstat(nested).st_ino == os.fstat(passed.fileno()).st_ino
        os.close(nested)


def test_messages_are_counted_and_not_the_packets_they_take(stage: Stage) -> None:
    whole = message(6, bytes(3 << 20))
    sent = got = 0
    while got < len(whole):
        with contextlib.suppress(BlockingIOError):
            sent += stage.left.send(whole[sent:])
        got += len(stage.receive(stage.right, 1 << 20)[0])
    stage.left.send(message(1))
    stage.receive(stage.right, 100)
    stage.left.close()
    stage.until(lambda: not stage.relays)
    assert [closed.received for closed in stage.closed()] == [2]
    assert len(stage.frames()) == 2


def test_what_waits_in_a_passed_socket_is_not_lost_and_a_close_reaches_the_other_end(stage: Stage) -> None:
    ours, theirs = socket.socketpair()
    ours.send(message(1, bytes(8), flags=5))
    theirs.setblocking(False)
    socket.send_fds(stage.left, [message(21)], [theirs.fileno()])
    theirs.close()
    _, (fd,) = stage.receive(stage.right, 12)
    with ours, socket.socket(fileno=fd) as channel:
        assert not os.get_blocking(fd)
        assert stage.receive(channel, 100) == (message(1, bytes(8), flags=5), [])
        channel.close()
        assert stage.receive(ours, 1) == (b"", [])


def test_other_sockets_are_passed_on_as_they_are(stage: Stage) -> None:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind("")
    listening.listen()
    unconnected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    inet = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    others = [listening, unconnected, *pair, inet]
    fds = [other.fileno() for other in others]
    socket.send_fds(stage.left, [message(21)], fds)
    _, passed = stage.receive(stage.right, 12)
    assert identities(passed) == identities(fds, close=False)
    assert len(stage.relays) == 1
    for other in others:
        other.close()


def test_a_descriptor_whose_server_does_not_answer_holds_up_nobody(stage: Stage, tmp_path: Path) -> None:
    """A peer may pass a file of a file system of its own: fstat and close of it wait for as long as it likes."""
    folder = tmp_path / "silent"
    folder.mkdir()
    with SilentFile(folder) as silent:
        socket.send_fds(stage.left, [message(14)], [silent.fd])
        data, fds = stage.receive(stage.right, 12)
        for fd in fds:
            give_back(fd)
        stage.left.send(message(3))
        assert (data, stage.receive(stage.right, 12)[0]) == (message(14), message(3))
        assert not silent.waited


def test_who_passes_many_such_files_waits_and_nobody_else(stage: Stage, tmp_path: Path, memory: list[int]) -> None:
    folder = tmp_path / "silent"
    folder.mkdir()
    other, a = socket.socketpair()
    b, beyond = socket.socketpair()
    stage.spawn(a, b, "/run/other.sock", (End(3), End(4)))
    with SilentFile(folder) as silent:
        socket.send_fds(stage.left, [message(14)], [silent.fd] * CLOSING_LIMIT)
        for fd in stage.receive(stage.right, 12)[1]:
            give_back(fd)
        open_before = len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            socket.send_fds(stage.left, [message(5, bytes(8))], [silent.fd] * 100)
        stage.until(lambda: stage.said)
        stage.settle()
        assert stage.said == [f"descriptors passed on /run/vm.sock wait: {NOT_CLOSED_WORDS}"]
        assert len(os.listdir("/proc/self/fd")) <= open_before
        beyond.setblocking(False)
        socket.send_fds(other, [message(5, bytes(8))], memory)
        data, fds = stage.receive(beyond, 20)
        assert (data, len(fds)) == (message(5, bytes(8)), len(memory))
        for fd in fds:
            os.close(fd)
        assert not silent.waited
    data, fds = stage.receive(stage.right, 20)  # as soon as they could be closed
    assert (data, len(fds)) == (message(5, bytes(8)), 100)
    for fd in fds:
        give_back(fd)
    stage.left.close()
    other.close()
    stage.until(lambda: not stage.relays)
    beyond.close()


def test_who_leaves_while_files_wait_is_not_waited_for(stage: Stage, tmp_path: Path) -> None:
    folder = tmp_path / "silent"
    folder.mkdir()
    with SilentFile(folder) as silent:
        for _ in range(2):
            socket.send_fds(stage.left, [message(14)], [silent.fd] * CLOSING_LIMIT)
        stage.until(lambda: stage.said)
        stage.left.close()
        stage.until(lambda: not stage.relays)
        assert files_waiting() >= CLOSING_LIMIT
        assert not silent.waited
        stage.right.close()


def numbers(least: int = 20) -> list[int]:
    """Descriptors in every number that is free below them, and so many at least."""
    gc.collect()  # what waits to be collected must not make room later
    last, taken = max(int(name) for name in os.listdir("/proc/self/fd")), list[int]()
    while len(taken) < least or taken[-1] < last:
        taken.append(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
    return taken


@pytest.mark.slow
@pytest.mark.slow
def test_descriptors_that_find_no_room_are_told_and_counted(stage: Stage, memory: list[int]) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    socket.send_fds(stage.left, [message(5, bytes(8))], memory)
    taken = numbers()
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(taken) + 3, hard))
    poll = select.poll()
    poll.register(stage.right, select.POLLIN)
    try:
        while not poll.poll(0):
            stage.loop.turn()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in taken:
            os.close(fd)
    data, passed = receive(stage.right, 100)
    assert data == message(5, bytes(8))
    assert len(identities(passed)) == 2
    waited, lost = stage.said
    assert ("wait" in waited, "were lost" in lost) == (True, True)
    stage.left.close()
    stage.until(lambda: not stage.relays)
    assert stage.closed()[0].lost == 1


@pytest.mark.slow
@pytest.mark.slow
@pytest.mark.parametrize("least", [20, 700])
def test_descriptors_wait_in_the_queue_until_there_is_room(stage: Stage, memory: list[int], least: int) -> None:
    """Also those of the first message, of a process that had many files open before."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    socket.send_fds(stage.left, [message(5, bytes(8))], memory)
    taken = numbers(least)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(taken) + 1, hard))
    poll = select.poll()
    poll.register(stage.right, select.POLLIN)
    try:
        stage.until(lambda: stage.said)
        assert not poll.poll(0)
        stage.settle()
        while taken:
            os.close(taken.pop())
        stage.until(lambda: poll.poll(0))
        data, passed = receive(stage.right, 100)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in taken:
            os.close(fd)
    assert data == message(5, bytes(8))
    assert identities(passed) == identities(memory, close=False)
    assert len(stage.said) == 1


def test_a_channel_that_there_is_no_room_for_is_passed_on_as_it_is(stage: Stage) -> None:
    import resource

    ours, theirs = socket.socketpair()
    inode = os.fstat(theirs.fileno()).st_ino
    socket.send_fds(stage.left, [message(21)], [theirs.fileno()])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = numbers()
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(taken) * 3 // 2, hard))  # room for a message, none for a channel
    try:
        _, (fd,) = stage.receive(stage.right, 12)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for number in taken:
            os.close(number)
    with ours, theirs, socket.socket(fileno=fd):
        assert os.fstat(fd).st_ino == inode
        assert len(stage.relays) == 1
    (sentence,) = stage.said
    assert "without being recorded" in sentence
    assert [frame.data for frame in stage.frames()] == [message(21)]


@pytest.mark.slow
def test_nothing_leaks_over_many_round_trips(stage: Stage, memory: list[int]) -> None:
    held = len(os.listdir("/proc/self/fd"))
    request, reply = message(12, bytes(8)), message(12, bytes(8), flags=5)
    for _ in range(2000):
        socket.send_fds(stage.left, [request], memory[:2])
        identities(stage.receive(stage.right, 100)[1])
        stage.right.send(reply)
        stage.receive(stage.left, 100)
    assert len(os.listdir("/proc/self/fd")) == held
    assert len(stage.frames()) == 4000
