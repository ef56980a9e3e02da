"""Mutated sessions against our own back-end, and against one that dies of some: that is found, and made short."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import pytest
from test_conformance import InProcess, InProcessFrontend
from test_conformance_faults import does

from vusniff.analysis.timeline import Timeline, read_all
from vusniff.capture.index import Index
from vusniff.channel import Sender
from vusniff.conformance.devices import device_named
from vusniff.conformance.facts import BackendFacts
from vusniff.conformance.fuzz import BackendFuzzer
from vusniff.conformance.fuzz_frontends import FrontendFuzzer
from vusniff.conformance.mutations import Mutator, sessions
from vusniff.conformance.peer import PeerEnd
from vusniff.conformance.scenario import P, Result
from vusniff.demo.backend import BackendSession
from vusniff.demo.wire import DemoSocket, Incoming, PeerError
from vusniff.families.vhost_user.protocol import FrontendRequest
from vusniff.replay.objects import Objects
from vusniff.replay.script import script_of

F = FrontendRequest


class Mortal(InProcess):
    """It dies, as far as can be seen, of a SET_VRING_CALL without a descriptor."""

    ours = True

    def __init__(self) -> None:
        super().__init__(does(F.SET_VRING_CALL, self._call))
        self._end: PeerEnd | None = None

    def meet(self, again: float | None = None) -> tuple[socket.socket, bool]:
        self._end = None
        return super().meet(again)

    def _call(self, session: BackendSession, message: Incoming) -> None:
        if not message.descriptors:
            self._end = PeerEnd(None, 11)
            raise PeerError("dead")
        BackendSession.set_vring_descriptor(session, message)

    def ended(self, wait: float = 0.0) -> PeerEnd | None:
        if self._end is None:
            with contextlib.suppress(IndexError):
                self._threads[-1].join(2.0)
        return self._end

    def stop(self) -> None:
        self._end = None


def fuzz(peer: InProcess, keep: Path, count: int, seed: int = 4) -> BackendFuzzer:
    return BackendFuzzer(peer, device_named("net"), 2.0, keep, seed)


def test_our_own_back_end_survives_mutated_sessions(tmp_path: Path) -> None:
    peer = InProcess()
    try:
        came = fuzz(peer, tmp_path, 3000).run(3000, lambda one: None)
    finally:
        peer.close()
    assert [(one.result, one.why) for one in came.results] == [(Result.PASS, "")]


def test_what_kills_a_back_end_is_found_made_short_and_played_again(tmp_path: Path) -> None:
    peer = Mortal()
    try:
        came = fuzz(peer, tmp_path, 3000).run(3000, lambda one: None)
    finally:
        peer.close()
    case = came.results[0]
    assert (case.result, case.why, case.shortest) == (Result.FAIL, "it was killed by SIGSEGV", 1)
    assert case.about == "SET_VRING_CALL"
    with Index(str(tmp_path / str(case.capture))) as index:
        timeline = Timeline(index)
        read_all(timeline)
        script = script_of(timeline, Sender.FRONTEND, 1, None)
    Objects.make(script).close()
    assert [line.message.name for line in script.lines] == ["SET_VRING_CALL"]


@pytest.mark.parametrize("protocol", [P(0), P.MQ | P.REPLY_ACK, ~P(0)], ids=["none", "some", "all"])
def test_a_seed_makes_the_same_sessions(protocol: P) -> None:
    facts = BackendFacts((1 << 64) - 1, protocol, 4)
    valid = sessions(facts, device_named("blk"))
    first, second = (Mutator(valid, 9) for _ in range(2))
    made = [first.session() for _ in range(300)]
    assert made == [second.session() for _ in range(300)]
    assert all(0 < one.request < 1 << 16 for session in made for one in session)
    assert any(tuple(session) not in valid for session in made)


class MortalFrontend(InProcessFrontend):
    """It dies, as far as can be seen, of a GET_QUEUE_NUM that says 0 queues, or of fewer than 8 bytes."""

    ours = True

    def __init__(self) -> None:
        super().__init__()
        self._end: PeerEnd | None = None

    def _serve(self, sock: socket.socket) -> None:
        self._end = None
        link = DemoSocket(sock, "the back-end", 2.0)
        with contextlib.closing(link), contextlib.suppress(PeerError):
            for request in (F.GET_FEATURES, F.GET_PROTOCOL_FEATURES, F.GET_QUEUE_NUM):
                link.send(request, 1)
                reply = link.receive()
                if reply is None or len(reply.payload) < 8:
                    return
                if request == F.GET_QUEUE_NUM and not any(reply.payload):
                    self._end = PeerEnd(None, 8)

    def ended(self, wait: float = 0.0) -> PeerEnd | None:
        self._threads[-1].join(2.0)
        return self._end


def test_our_own_front_end_survives_mutated_answers(tmp_path: Path) -> None:
    peer = InProcessFrontend()
    try:
        came = FrontendFuzzer(peer, "net", 0.5, tmp_path, 2).run(400, lambda one: None)
    finally:
        peer.close()
    assert [(one.result, one.why) for one in came.results] == [(Result.PASS, "")]


def test_what_kills_a_front_end_is_found_made_short_and_played_again(tmp_path: Path) -> None:
    peer = MortalFrontend()
    try:
        came = FrontendFuzzer(peer, "net", 0.5, tmp_path, 2).run(1500, lambda one: None)
    finally:
        peer.close()
    case = came.results[0]
    assert (case.result, case.why, case.shortest) == (Result.FAIL, "it was killed by SIGFPE", 1)
    assert case.about == "said otherwise: GET_QUEUE_NUM reply"
    with Index(str(tmp_path / str(case.capture))) as index:
        timeline = Timeline(index)
        read_all(timeline)
        script = script_of(timeline, Sender.BACKEND, 1, None)
    Objects.make(script).close()
    assert script.lines[-1].message.name == "GET_QUEUE_NUM"
