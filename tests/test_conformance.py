"""The conformance test against our own back-end and front-end, in this process: they pass everything."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
import sys
import threading
import xml.etree.ElementTree as Xml
from collections.abc import Sequence
from pathlib import Path

import pytest

from vusniff.conformance import expectations, report
from vusniff.conformance import peer as peers
from vusniff.conformance.devices import device_named
from vusniff.conformance.frontend_runner import FrontendRunner
from vusniff.conformance.manners import Manner
from vusniff.conformance.peer import AbsentPeerError, PeerEnd
from vusniff.conformance.results import ScenarioResult, TestReport
from vusniff.conformance.runner import BackendRunner
from vusniff.conformance.scenario import Result, Scenario
from vusniff.conformance.served import SERVED
from vusniff.conformance.table import BACKEND, FRONTEND
from vusniff.demo.backend import BackendSession
from vusniff.demo.frontend import FrontendSession, Guest
from vusniff.demo.wire import DemoSocket, PeerError
from vusniff.families.vhost_user.protocol import FrontendRequest
from vusniff.library import open_capture
from vusniff.record import Process
from vusniff.sources.host.endpoints import ProxySide

DEADLINE = 20.0


class InProcess:
    """A back-end in threads of this process: one for each connection."""

    side = ProxySide(False, "in-process")
    ours = False
    process: Process | None = None
    starts = 0
    before: PeerEnd | None = None

    def __init__(self, kind: type[BackendSession] = BackendSession) -> None:
        self._kind = kind
        self._threads: list[threading.Thread] = []

    def meet(self, again: float | None = None) -> tuple[socket.socket, bool]:
        ours, theirs = socket.socketpair()
        thread = threading.Thread(target=self._serve, args=(theirs,))
        self._threads.append(thread)
        thread.start()
        return ours, True

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(PeerError):
            self._kind(sock, DEADLINE).run()

    def ended(self, wait: float = 0.0) -> PeerEnd | None:
        return None

    def stop(self) -> None:
        return None

    def close(self) -> None:
        for thread in self._threads:
            thread.join(DEADLINE)
            assert not thread.is_alive(), "the back-end hangs"


def run(
    kind: type[BackendSession] = BackendSession,
    only: Sequence[str] = (),
    keep: Path | None = None,
    patience: float = 2.0,
) -> TestReport:
    peer = InProcess(kind)
    rows = [one for one in BACKEND if not only or one.id in only]
    try:
        return BackendRunner(peer, device_named("net"), patience, keep).run(rows, lambda one: None)
    finally:
        peer.close()


def of(came: TestReport, *results: Result) -> dict[str, str]:
    return {one.id: one.why for one in came.results if one.result in results}


def test_our_own_back_end_passes_everything(tmp_path: Path) -> None:
    came = run(keep=tmp_path)
    assert of(came, Result.FAIL, Result.INCONCLUSIVE) == {}
    assert came.stopped == ""
    assert {one.capture for one in came.results if one.result is Result.PASS} == {
        path.name for path in tmp_path.iterdir()
    }
    timeline = open_capture(tmp_path / "data-moves.pcapng")
    assert [message.name for message in timeline.messages()][:2] == ["GET_FEATURES", "GET_FEATURES"]


class InProcessFrontend(InProcess):
    """Our own front-end, one session for each connection."""

    side = ProxySide(True, "in-process")

    def meet(self, again: float | None = None) -> tuple[socket.socket, bool]:
        if again is not None:
            raise AbsentPeerError("it has ended")
        ours, theirs = socket.socketpair()
        thread = threading.Thread(target=self._serve, args=(theirs,))
        self._threads.append(thread)
        thread.start()
        return ours, False

    def _serve(self, sock: socket.socket) -> None:
        guest = Guest()
        with contextlib.closing(guest), contextlib.suppress(PeerError):
            FrontendSession(sock, guest, lambda: None, 2.0).run()


WAITING = ("late-", "deaf-", "bytes-", "closed-")
"""Scenarios that wait for a moment, or that are about connecting again."""


def test_our_own_front_end_passes_everything(tmp_path: Path) -> None:
    peer = InProcessFrontend()
    rows = [one for one in FRONTEND if not one.id.startswith(WAITING)]
    try:
        came = FrontendRunner(peer, "net", 2.0, tmp_path, linger=0.01).run(rows, lambda one: None)
    finally:
        peer.close()
    assert of(came, Result.FAIL, Result.INCONCLUSIVE) == {}
    assert came.count(Result.PASS) > 40


def test_a_connection_of_the_program_before_is_not_taken_for_the_new_one(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    says = "import socket, sys; one = socket.socket(socket.AF_UNIX); one.connect(sys.argv[1]); one.send(b'new')"
    peer = peers.TestedPeer(ProxySide(True, path), [sys.executable, "-c", says, path], DEADLINE)
    with contextlib.closing(peer), socket.socket(socket.AF_UNIX) as old:
        old.connect(path)
        old.close()
        sock, _ = peer.meet()
        with sock:
            assert sock.recv(8) == b"new"


def test_a_front_end_that_breaks_a_rule_fails(tmp_path: Path) -> None:
    class Bold(InProcessFrontend):
        """It asks for config space, whatever was negotiated."""

        def _serve(self, sock: socket.socket) -> None:
            link = DemoSocket(sock, "the back-end", 2.0)
            with contextlib.closing(link), contextlib.suppress(PeerError):
                for request, payload in ((1, b""), (15, b""), (16, bytes(8)), (24, bytes(12))):
                    link.send(request, 1, payload)
                    if request != 16:
                        link.receive()

    peer = Bold()
    try:
        row = next(one for one in FRONTEND if one.id == "protocol-none")
        came = FrontendRunner(peer, "net", 0.2, tmp_path).run([row], lambda one: None)
    finally:
        peer.close()
    assert came.results[0].result is Result.FAIL
    assert "rule request-not-negotiated" in came.results[0].why


@pytest.mark.parametrize("rows", [BACKEND, FRONTEND], ids=["backend", "frontend"])
def test_ids_are_distinct_and_every_row_cites_a_section(rows: Sequence[Scenario | Manner]) -> None:
    assert len({one.id for one in rows}) == len(rows)
    assert [one.id for one in rows if not one.section or not one.about] == []


def outcome(id: str, result: Result, why: str = "") -> ScenarioResult:
    return ScenarioResult(id, "does it", "Header", "must <be>", result, why, capture=f"{id}.pcapng")


@pytest.fixture
def came() -> TestReport:
    results = [
        outcome("a", Result.PASS),
        outcome("b", Result.FAIL, 'it said "no" & <left>'),
        outcome("c", Result.INCONCLUSIVE, "it may"),
        outcome("d", Result.NOT_APPLICABLE, "not offered"),
    ]
    return TestReport("backend", {"queues": 1}, "kept", results)


def test_forms_say_the_same(came: TestReport) -> None:
    tap = list(report.tap_lines(came, {}))
    assert tap[:3] == ["TAP version 13", "1..4", "ok 1 - a"]
    assert "ok 4 - d # SKIP not offered" in tap
    assert "not ok 3 - c # TODO it may" in tap
    suite = Xml.fromstring("\n".join(report.junit_lines(came, {})).partition("\n")[2])
    assert (suite.get("failures"), suite.get("skipped")) == ("1", "2")
    assert "must <be>" in (suite.find("testcase/failure").text or "")  # type: ignore[union-attr]
    told = json.loads(json.dumps(report.report_dict(came, {})))
    assert [one["as_expected"] for one in told["scenarios"]] == [True, False, True, True]
    text = [line for one in came.results for line in report.text_lines(one, {"b": Result.FAIL})]
    assert "fail            b, as expected" in text
    assert list(report.summary(came, {"b": Result.FAIL}))[1] == "not as expected: none"


def test_known_deviations_make_changes_fail_only(tmp_path: Path) -> None:
    file = tmp_path / "known"
    file.write_text("a fail # since 1.2\n\n# all of it\nb not-applicable\n")
    known = expectations.read(str(file), {"a", "b"})
    assert known == {"a": Result.FAIL, "b": Result.NOT_APPLICABLE}
    assert not expectations.is_as_expected("a", Result.PASS, known)
    assert expectations.is_as_expected("a", Result.FAIL, known)
    assert not expectations.is_as_expected("c", Result.FAIL, known)
    for text, sentence in (("a nothing", "line 1: say the id"), ("z fail", "line 1: there is no scenario z")):
        file.write_text(text)
        with pytest.raises(expectations.ExpectationError, match=sentence):
            expectations.read(str(file), {"a"})


class Entropy(BackendSession):
    """A back-end of an entropy device: every buffer on ring 0 is filled."""

    filling = b"\x5a"

    def _kicked(self, index: int, fd: int) -> None:
        os.set_blocking(fd, False)
        with contextlib.suppress(BlockingIOError):
            os.read(fd, 8)
        vring = self.vrings[index]
        while vring.enabled and vring.ring is not None and vring.ring.pending(vring.base):
            head = vring.ring.head(vring.base)
            vring.base = (vring.base + 1) & 0xFFFF
            written = 0
            for part, writable in vring.ring.chain(head):
                if writable:
                    part[:] = self.filling * len(part)
                    written += len(part)
            vring.ring.give_back(head, written)
            if (call := vring.descriptors.get(FrontendRequest.SET_VRING_CALL)) is not None:
                os.write(call, (1).to_bytes(8, "little"))


class Dull(Entropy):
    """One that gives zeros."""

    filling = b"\0"


@pytest.mark.parametrize(("kind", "result"), [(Entropy, Result.PASS), (Dull, Result.FAIL)])
def test_random_bytes_come_through_the_ring_of_an_entropy_device(kind: type[Entropy], result: Result) -> None:
    peer = InProcess(kind)
    wanted = ("data-moves", "ring-stops", "ring-size-2", "memory-high")
    rows = [one for one in BACKEND if one.id in wanted]
    try:
        came = BackendRunner(peer, device_named("rng"), 2.0, None).run(rows, lambda one: None)
    finally:
        peer.close()
    assert came.results[0].result is result, came.results
    assert (came.results[0].why == "") is (result is Result.PASS)
    assert result is Result.FAIL or of(came, Result.FAIL, Result.INCONCLUSIVE) == {}


def test_our_entropy_device_gives_random_bytes_and_not_without_bound() -> None:
    buffer, read_only, large = bytearray(64), bytearray(8), bytearray(1 << 17)
    serve = SERVED["rng"].serve
    assert isinstance(serve, functools.partial)
    (one,) = serve.args
    assert one([(memoryview(read_only), False), (memoryview(buffer), True)]) == 64
    assert any(buffer)
    assert not any(read_only)
    assert 0 < one([(memoryview(large), True)]) < len(large)
