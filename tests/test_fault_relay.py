"""What a relay with fault rules does to messages: real socket pairs, rules as a user writes them, and its capture."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from peers.processes import wait_until
from test_relay import Stage, receive

from vusniff.analysis.timeline import Timeline, read_all
from vusniff.capture.index import Index
from vusniff.capture.reader import CaptureReader
from vusniff.channel import Channel
from vusniff.checks.story import verdicts
from vusniff.commands.holding import HoldClient, ViewAsker
from vusniff.faults.deciding import RuleDecider
from vusniff.faults.rule import rules_of
from vusniff.record import End, Fault, FaultAct, Frame
from vusniff.sources.host.descriptors import describe
from vusniff.sources.proxy.faulty import FaultRelay
from vusniff.sources.proxy.host import FaultHost, GoOn
from vusniff.sources.proxy.loop import Loop
from vusniff.sources.proxy.outbox import OUTBOX_MESSAGES
from vusniff.sources.proxy.plan import FaultPlan

NUM, KICK, BACKEND_FD = 8, 12, 21


def message(request: int, payload: bytes = b"", flags: int = 1) -> bytes:
    return struct.pack("=III", request, flags, len(payload)) + payload


def num(value: int, index: int = 0) -> bytes:
    return message(NUM, struct.pack("=II", index, value))


class FaultStage(Stage):
    """Two peers with a relay that has rules."""

    def __init__(self, file: Path) -> None:
        self.host: FaultHost | None = None
        super().__init__(file)

    def spawn(
        self,
        first: socket.socket,
        second: socket.socket,
        path: str,
        ends: tuple[End, End],
        channel: Channel | None = None,
    ) -> None:
        if self.host is None:  # the rules come later
            self._first = first, second, path, ends
            return
        connection = self._recorder.open(path, ends)
        parts = self.loop, self._recorder, (first, second), connection, channel, self.spawn, self._files, self._tell
        self.relays.append(FaultRelay(self.host, *parts, self.relays.remove))

    def play(self, *rules: str) -> None:
        self.decider = RuleDecider(rules_of(rules, ()), 1, self.said.append)
        self.host = FaultHost(self.decider)
        self.host.loop = self.loop
        self.spawn(*self._first)

    def get(self, size: int) -> bytes:
        """Bytes that come out on the right, all of them."""
        found = b""
        while len(found) < size:
            data, fds = self.receive(self.right, size - len(found))
            for fd in fds:
                os.close(fd)
            if not data:
                break
            found += data
        return found

    def nothing(self) -> bool:
        """Nothing waits on the right."""
        self.settle()
        poll = select.poll()
        poll.register(self.right, select.POLLIN)
        return not poll.poll(0)

    def finish(self) -> None:
        """Writes the rest of the capture."""
        self._writer.close()

    def faults(self) -> list[Fault]:
        with CaptureReader(self.file) as reader:
            return [one for one in reader.records() if isinstance(one, Fault) and one.act is not FaultAct.RULES]

    def told(self) -> list[str]:
        return [one.act.value for one in self.faults()]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[FaultStage]:
    before = set(os.listdir("/proc/self/fd"))
    stage = FaultStage(tmp_path / "capture.pcapng")
    yield stage
    stage.close()
    wait_until(lambda: set(os.listdir("/proc/self/fd")) <= before, "descriptors that are closed")


def events(count: int) -> list[int]:
    return [os.eventfd(0, os.EFD_CLOEXEC) for _ in range(count)]


def passed(stage: FaultStage, data: bytes, fds: list[int]) -> tuple[list[str | None], list[str | None]]:
    """Sends a message with descriptors from the left: which they are, and which come out on the right."""
    sent = [describe(fd).identity for fd in fds]
    socket.send_fds(stage.left, [data], fds)
    for fd in fds:
        os.close(fd)
    _, came = stage.receive(stage.right, len(data))
    found = [describe(fd).identity for fd in came]
    for fd in came:
        os.close(fd)
    return sent, found


def test_a_message_that_no_rule_matches_is_passed_on_with_its_descriptors(stage: FaultStage) -> None:
    stage.play("vhost.request == SET_VRING_NUM @7 : drop", "vhost.request == 99 : reset")
    sent, came = passed(stage, num(1), events(2))
    assert sent == came
    big = message(99 - 1, bytes(range(256)) * 300)  # more than one receive
    stage.left.setblocking(True)
    stage.left.sendall(big[:7])
    stage.settle()
    stage.left.sendall(big[7:])
    assert stage.get(len(big)) == big
    assert b"".join(frame.data for frame in stage.frames()) == num(1) + big
    assert stage.faults() == []


def test_a_dropped_message_is_recorded_and_its_descriptors_are_closed(stage: FaultStage) -> None:
    stage.play("vhost.request == SET_VRING_NUM @2 : drop")
    fds = events(1)
    for value in (1, 2, 3):
        socket.send_fds(stage.left, [num(value)], fds if value == 2 else [])
    os.close(fds[0])
    assert stage.get(40) == num(1) + num(3)
    assert [frame.data for frame in stage.frames()] == [num(1), num(2), num(3)]
    takes, does = stage.faults()
    assert (takes.act, takes.rule, takes.actions) == (FaultAct.TAKES, 1, ("drop",))
    assert (does.act, does.words, does.id) == (FaultAct.DOES, "does not send it", takes.id)
    with CaptureReader(stage.file) as reader:
        order = [type(one).__name__ for one in reader.records()]
    assert order[:6] == ["Connection", "Fault", "Frame", "Fault", "Frame", "Fault"]


def test_what_was_sent_instead_is_in_the_capture(stage: FaultStage) -> None:
    stage.play("vhost.request == SET_VRING_NUM : set vring.size=7, repeat 1, delay 1ms")
    stage.left.send(num(256))
    assert stage.get(40) == num(7) * 2
    gives = [one for one in stage.faults() if one.act is FaultAct.GIVES]
    assert [one.sent(num(256)) for one in gives] == [num(7)]
    assert gives[0].to == 1
    assert "changed: vring.size 256 -> 7, 2 times" in gives[0].words


@pytest.mark.parametrize(
    ("action", "keeps"), [("none", []), ("keep 1", [0]), ("keep 9", [0, 1, 2]), ("swap", [2, 1, 0])]
)
def test_descriptors_are_left_out_or_turned_round(stage: FaultStage, action: str, keeps: list[int]) -> None:
    stage.play(f"vhost.request == SET_VRING_NUM : fds {action}")
    sent, came = passed(stage, num(1), events(3))
    assert came == [sent[at] for at in keeps]
    gives = stage.faults()[1]
    assert gives.descriptors is not None
    assert [one.identity for one in gives.descriptors] == came


def test_descriptors_are_added_and_copied(stage: FaultStage) -> None:
    stage.play("vring.size == 1 : fds extra 2", "vring.size == 2 : repeat 1")
    sent, came = passed(stage, num(1), events(1))
    assert came[0] == sent[0]
    assert len(came) == 3
    sent, came = passed(stage, num(2), events(2))
    _, again = stage.receive(stage.right, 20)
    assert [describe(fd).identity for fd in again] == came == sent
    for fd in again:
        os.close(fd)


def test_a_delay_keeps_the_order_and_holds_up_nobody_else(stage: FaultStage) -> None:
    stage.play("vring.size == 1 : delay 80ms")
    begun = time.monotonic()
    stage.left.send(num(1) + num(2))
    stage.right.send(message(NUM, bytes(8), 5))
    data, _ = stage.receive(stage.left, 100)
    assert time.monotonic() - begun < 0.08  # the other direction goes on
    assert len(data) == 20
    assert stage.get(40) == num(1) + num(2)
    assert time.monotonic() - begun >= 0.08
    first, second, *_ = stage.faults()
    assert (second.act, second.rule, second.actions) == (FaultAct.TAKES, 1, ())
    assert "waits behind" in second.words
    assert first.id != second.id


def test_pieces_halves_joins_and_orders(stage: FaultStage) -> None:
    stage.play(
        "vring.size == 1 : split 8", "vring.size == 2 : join", "vring.size == 3 : reorder", "vring.size == 9 : half 5"
    )
    stage.left.send(num(1))
    sizes = [len(stage.receive(stage.right, 100)[0]) for _ in range(3)]
    assert sizes == [8, 8, 4]
    stage.left.send(num(2) + num(4))
    assert stage.receive(stage.right, 100)[0] == num(2) + num(4)
    stage.left.send(num(3) + num(5))
    assert stage.get(40) == num(5) + num(3)
    stage.left.send(num(9) + num(6))
    assert stage.get(5) == num(9)[:5]
    stage.left.send(num(7))
    assert stage.nothing()
    assert [frame.data for frame in stage.frames()] == [num(value) for value in (1, 2, 4, 3, 5, 9, 6, 7)]
    assert [one.sent(num(9)) for one in stage.faults() if "first" in one.words] == [num(9)[:5]]


def test_a_message_for_which_no_other_comes_is_sent_alone(stage: FaultStage) -> None:
    stage.play("vring.size == 3 : reorder")
    stage.left.send(num(3))
    assert stage.get(20) == num(3)
    assert "alone" in stage.faults()[1].words


def test_an_answer_comes_in_the_place_of_the_peers(stage: FaultStage) -> None:
    stage.play("vhost.request == GET_QUEUE_NUM && vhost.reply == 0 : answer 3")
    stage.left.send(message(17) + num(1))
    assert stage.receive(stage.left, 100)[0] == message(17, struct.pack("=Q", 3), 5)
    assert stage.get(20) == num(1)
    gives = stage.faults()[1]
    assert (gives.to, gives.made) == (0, True)
    assert gives.sent(message(17)) == message(17, struct.pack("=Q", 3), 5)


@pytest.mark.parametrize(
    ("actions", "left", "sent"), [("cut", b"", b""), ("pass, cut", b"", num(2)), ("reset", None, b"")]
)
def test_a_connection_ends(stage: FaultStage, actions: str, left: bytes | None, sent: bytes) -> None:
    stage.play(f"vring.size == 2 : {actions}")
    stage.left.send(num(1) + num(2))
    assert stage.get(20) == num(1)
    stage.until(lambda: not stage.relays)
    if left is None:
        with pytest.raises(ConnectionResetError):
            stage.left.recv(1)
    else:
        assert stage.left.recv(1) == left
    assert receive(stage.right, 100)[0] == sent
    assert "by rule 1 of the proxy" in stage.closed()[0].reason
    assert stage.closed()[0].by is None
    assert stage.closed()[0].lost == 0


def test_a_rule_that_may_reset_spares_a_byte_and_loses_none(stage: FaultStage) -> None:
    stage.play("vring.size == 77 : reset")
    whole = b"".join(num(value) for value in range(1, 40))
    stage.left.send(whole)
    assert stage.get(len(whole)) == whole
    sent, came = passed(stage, num(1), events(2))
    assert sent == came
    stage.left.close()
    assert receive_end(stage) == b""
    assert [frame.data for frame in stage.frames()][-1] == num(1)


def receive_end(stage: FaultStage) -> bytes:
    return stage.receive(stage.right, 100)[0]


def test_a_stalled_sender_is_not_read_from_and_its_end_is_seen(stage: FaultStage) -> None:
    stage.play("vring.size == 2 : stall 60ms", "vring.size == 5 : stall 3600")
    begun = time.monotonic()
    stage.left.send(num(2) + num(3))
    assert stage.get(40) == num(2) + num(3)
    assert time.monotonic() - begun >= 0.06
    stage.left.send(num(5) + num(6))
    assert stage.get(20) == num(5)
    assert stage.nothing()
    stage.left.close()
    assert stage.get(20) == num(6)
    assert receive_end(stage) == b""


def vfio(command: int, payload: bytes, flags: int = 0) -> bytes:
    return struct.pack("=HHIII", 5, command, 16 + len(payload), flags, 0) + payload


def test_large_messages_of_vfio_user(stage: FaultStage) -> None:
    stage.play(
        "vfio.command == REGION_WRITE : set vfio.region_access.region=7, delay 1ms",
        "vfio.command == DEVICE_RESET && vhost.reply == 0 : answer 5",
    )
    version = vfio(1, struct.pack("=HH", 0, 1) + b"{}\0")
    body = struct.pack("=QII", 0, 1, 100_000) + bytes(100_000)
    stage.left.setblocking(True)
    stage.left.sendall(version + vfio(10, body))
    assert stage.get(len(version)) == version
    assert stage.get(16 + len(body)) == vfio(10, struct.pack("=QII", 0, 7, 100_000) + bytes(100_000))
    stage.left.sendall(vfio(13, b""))
    answer = stage.receive(stage.left, 100)[0]
    assert struct.unpack("=HHIII", answer) == (5, 13, 16, 0x21, 5)


def test_what_waits_is_bounded(stage: FaultStage) -> None:
    stage.play("vring.size == 1 : delay 3600s")
    count = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            stage.left.send(num(1 + count))
            count += 1
            if count % 100 == 0:
                stage.settle()
    stage.settle()
    kept = len(stage.frames())
    assert OUTBOX_MESSAGES <= kept < count


def test_a_signal_goes_to_the_started_program(stage: FaultStage) -> None:
    stage.play("vring.size == 2 : kill TERM")
    assert stage.host is not None
    with subprocess.Popen(["sleep", "60"]) as program:
        stage.host.pidfd = os.pidfd_open(program.pid)
        stage.left.send(num(2))
        assert stage.get(20) == num(2)
        assert program.wait(20) == -signal.SIGTERM
        os.close(stage.host.pidfd)
    stage.host.pidfd = -1
    stage.left.send(num(2))
    assert stage.get(20) == num(2)
    words = [one.words for one in stage.faults() if one.act is FaultAct.DOES]
    assert words[0] == "sends SIGTERM to the program that it has started"
    assert "finds nobody" in words[1]


def test_a_channel_that_a_message_passes_has_the_rules_too(stage: FaultStage) -> None:
    stage.play("vhost.channel == backend && vhost.request == BACKEND_CONFIG_CHANGE_MSG @2 : drop")
    ours, theirs = socket.socketpair()
    stage.left.send(message(1))
    stage.right.send(message(1, bytes(8), 5))
    socket.send_fds(stage.left, [message(BACKEND_FD)], [theirs.fileno()])
    theirs.close()
    assert stage.get(12) == message(1)
    _, (fd,) = stage.receive(stage.right, 12)
    calls = [message(2), message(2), message(2, b"", 9)]
    with socket.socket(fileno=fd) as back, ours:
        back.send(b"".join(calls))
        found = b""
        while len(found) < 24:
            found += stage.receive(ours, 100)[0]
        assert found == calls[0] + calls[2]
    assert [one.rule for one in stage.faults()] == [1, 1]


def test_a_message_that_is_held_goes_on_as_the_user_says(stage: FaultStage) -> None:
    stage.play("vring.size == 2 : hold")
    asked = []
    assert stage.host is not None

    class Asks:
        def ask(self, loop: Loop, frame: Frame, plan: FaultPlan, go_on: GoOn) -> None:
            asked.append((frame, plan, go_on))

        def end(self) -> int:
            return len([go_on(plan) for _, plan, go_on in asked])

    stage.host.asker = Asks()
    stage.left.send(num(2) + num(3))
    assert stage.nothing()
    frame, plan, go_on = asked.pop()
    assert frame.data == num(2)
    from vusniff.faults.rule import edited

    held = stage.decider.held[id(frame)]
    go_on(stage.decider.edit(held, edited("set num=9, repeat 1", held.rule)))
    assert stage.get(60) == num(9) * 2 + num(3)
    stage.left.send(num(2))
    assert stage.nothing()
    stage.left.close()  # whoever has left does not wait for an answer
    assert stage.host.end() == 1
    assert stage.get(20) == num(2)
    assert not asked.pop()[2](plan), "it has gone on already"


def test_a_view_that_says_what_is_not_an_answer_changes_nothing(stage: FaultStage) -> None:
    stage.play("vring.size == 2 : hold")
    assert stage.host is not None
    client = HoldClient()
    asker = stage.host.asker = ViewAsker(stage.decider, os.dup(client.theirs))
    stage.left.send(num(2))
    assert stage.nothing()
    client.receive()
    (held,) = client.waiting
    with socket.socket(fileno=os.dup(client.fileno())) as view:
        for said in (
            b"{",
            b"[1]",
            b"7",
            b"\xff",
            b'{"number": 1}',
            b'{"number": [], "do": 1, "actions": 2}',
            b"[" * 9000,
        ):
            view.send(said)
        view.send(json.dumps({"number": held.number, "do": "shout", "actions": ""}).encode())
    assert stage.nothing()
    assert client.receive() == ["a message that is held is sent, dropped or edited"]
    client.answer(held.number, "send")
    assert stage.get(20) == num(2)
    assert asker.end() == 0
    client.close()
    os.close(client.theirs)
    assert stage.nothing()


def judged(file: Path) -> tuple[list[tuple[str, str]], str]:
    """Rule and side of each finding of a capture, and the sentence of its first verdict."""
    with Index(file) as index:
        timeline = Timeline(index)
        read_all(timeline, judge=True)
        timeline.conclude()
        found = [(one.rule, str(one.side)) for one in timeline.findings]
        told = verdicts(timeline.checker, 0)
    return found, told[0].sentence + f" [{told[0].cause} {told[0].side}]"


FEATURES = 1 << 30 | 1 << 32
OPENING = (
    (0, message(1)),
    (1, message(1, struct.pack("=Q", FEATURES), 5)),
    (0, message(3)),
    (0, message(2, struct.pack("=Q", FEATURES | 1 << 5))),
    (0, message(15)),
    (1, message(15, bytes(8), 5)),
    (0, num(256)),
)


@pytest.mark.parametrize(
    ("rule", "found"),
    [
        # The front-end acknowledges bit 5: it was told that it is offered, or it was not.
        ("vhost.features && vhost.reply == 1 : raise vhost.features 5", []),
        ("vhost.request == SET_OWNER : delay 1ms", ["features-not-offered"]),
        # What the proxy keeps back, alters or repeats is nobody's.
        ("vhost.features && vhost.reply == 1 : set vhost.features=0x160000020", []),
        ("vhost.request == SET_OWNER : drop, stall 1ms", ["features-not-offered"]),
        ("vhost.request == SET_VRING_NUM : set vring.size=3", ["features-not-offered"]),
        ("vhost.request == SET_VRING_NUM : set header.flags=9, repeat 3", ["features-not-offered"]),
        ("vhost.request == GET_PROTOCOL_FEATURES && vhost.reply == 1 : set header.size=3", ["features-not-offered"]),
        ("vhost.protocol_features && vhost.reply == 1 : drop", ["features-not-offered"]),
    ],
)
def test_nobody_is_blamed_for_what_the_proxy_did(stage: FaultStage, rule: str, found: list[str]) -> None:
    stage.play(rule)
    for end, data in OPENING:
        (stage.left, stage.right)[end].send(data)
        stage.settle()
    stage.left.close()
    stage.right.close()
    stage.until(lambda: not stage.relays)
    stage.finish()
    findings, told = judged(stage.file)
    blamed = [(rule, side) for rule, side in findings if rule not in ("stopped-at",)]
    assert blamed == [(rule, "frontend") for rule in found]
    assert "The proxy did this on request, by rule 1" in told
    assert "backend]" not in told


def test_peers_that_end_in_the_middle_lose_nothing_and_leak_nothing(stage: FaultStage) -> None:
    stage.play("vring.size == 1 : delay 50ms")
    fds = events(3)
    socket.send_fds(stage.left, [num(1)], fds)
    stage.left.send(num(2) + num(3)[:9])
    for fd in fds:
        os.close(fd)
    stage.settle()
    stage.left.shutdown(socket.SHUT_WR)
    assert stage.get(49) == num(1) + num(2) + num(3)[:9]
    assert receive_end(stage) == b""
    stage.right.close()
    stage.until(lambda: not stage.relays)
    assert [frame.missing for frame in stage.frames()] == [0, 0, 0]
    assert isinstance(stage.frames()[0], Frame)


def test_a_view_that_does_not_read_for_long_is_told_all_of_it(stage: FaultStage) -> None:
    stage.play("vhost.request == SET_VRING_NUM : hold")
    assert stage.host is not None
    client = HoldClient()
    fd = os.dup(client.theirs)
    with socket.socket(fileno=os.dup(fd)) as ours:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # the kernel's least: room for a few of them
        room = ours.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) // 100
    stage.host.asker = ViewAsker(stage.decider, fd)
    sizes = range(1, room)
    stage.left.send(b"".join(num(size) for size in sizes))
    assert stage.nothing()
    shown: set[int] = set()
    while client.receive() or client.waiting:
        shown |= {one.number for one in client.waiting}
        client.answer(client.waiting[0].number, "send")
        stage.settle()
    assert len(shown) == len(sizes)
    assert client.count == 0
    assert stage.get(len(sizes) * 20) == b"".join(num(size) for size in sizes)
    client.close()
    os.close(client.theirs)
    assert stage.nothing()
