"""Answers a front-end with mutations of what a good back-end says, finds what kills it, and makes that short.

Each session is a good one, but for one to three of our messages and, once rings run, a few requests on the back-end
channel. All of it follows from the seed. A case that is found is cut to the departures that it takes, and captured, so
that `vusniff replay` plays it again. It must not know processes beyond how one ended.
"""

from __future__ import annotations

import random
import struct
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vusniff.conformance.conversation import TrialOver, message
from vusniff.conformance.frontend_trial import HEADER, FrontendTrial
from vusniff.conformance.manners import OFFERED, Goal, Manner
from vusniff.conformance.mutations import FuzzMessage, Mutator
from vusniff.conformance.peer import AbsentPeerError
from vusniff.conformance.recorder import TrialCapture
from vusniff.conformance.results import ScenarioResult, TestReport
from vusniff.conformance.runner import DEATH_S, BackendPeer
from vusniff.conformance.scenario import P, Result
from vusniff.conformance.served import SERVED
from vusniff.families.vhost_user.protocol import (
    FLAG_NEED_REPLY,
    HEADER_SIZE,
    MAX_FDS,
    VERSION,
    BackendRequest,
    Channels,
    request_name,
)
from vusniff.values import dataclass, replace

CASES = 20
"""Distinct cases that are kept; others of their kind are counted."""
LINGER_S = 0.05
SAYS = "if front-end receives a wrong reply it will close the connection"
ROW = Manner(
    "fuzz",
    "answers otherwise than a good back-end",
    "Communication",
    SAYS,
    Goal.ENDURES,
    protocol=OFFERED | P.SHARED_OBJECT | P.HOST_NOTIFIER,
    judged=False,
)
_UUID = bytes(range(16))
_AREA = struct.pack("=QQQ", 0, 4096, 0)
_ASKS = VERSION | FLAG_NEED_REPLY
_B = BackendRequest
OWN = (
    FuzzMessage(_B.BACKEND_CONFIG_CHANGE_MSG, _ASKS, b""),
    FuzzMessage(_B.BACKEND_CONFIG_CHANGE_MSG, VERSION, b""),
    FuzzMessage(
        _B.BACKEND_VRING_HOST_NOTIFIER_MSG, _ASKS, bytes(8) + (4096).to_bytes(8, "little") + bytes(8), ("ram",)
    ),
    FuzzMessage(_B.BACKEND_SHARED_OBJECT_ADD, _ASKS, _UUID),
    FuzzMessage(_B.BACKEND_SHARED_OBJECT_LOOKUP, _ASKS, _UUID),
    FuzzMessage(_B.BACKEND_SHARED_OBJECT_REMOVE, _ASKS, _UUID),
    FuzzMessage(_B.BACKEND_IOTLB_MSG, _ASKS, bytes(32)),
)
"""Requests of a back-end."""


@dataclass(frozen=True, slots=True)
class FuzzPlan:
    """What is otherwise in one session."""

    departures: Mapping[int, int]
    """Which of our messages, from 1, and what its mutation follows from."""
    own: int | None = None
    """What requests on the back-end channel follow from; None: there are none."""


class MutatedBackend(FrontendTrial):
    """One session."""

    def __init__(self, plan: FuzzPlan, *args: Any) -> None:
        super().__init__(*args)
        self._plan = plan
        self._at = 0
        self.changed: list[str] = []
        """What was said otherwise."""

    def _converse(self, deadline: float) -> None:
        """The time counts from the connection on: a program may take long to start, and nothing is expected of it."""
        super()._converse(time.monotonic() + self._patience)

    def _send(self, data: bytes, fds: tuple[str, ...] = (), piece: int = 0) -> None:
        self._at += 1
        seed = self._plan.departures.get(self._at)
        if seed is None:
            super()._send(data, fds, piece)
            return
        request, flags, _ = HEADER.unpack_from(data)
        self.changed.append(f"{request_name(Channels.MAIN, request)} reply")
        for one in mutated(FuzzMessage(request, flags, data[HEADER_SIZE:], fds), seed, Channels.MAIN, True):
            super()._send(message(one.request, one.payload, one.flags), one.fds[:MAX_FDS])

    def _conclude(self) -> None:
        """The rings run: time for requests of our own."""
        if self._plan.own is not None and self._channel is not None:
            dice = random.Random(self._plan.own)
            for asked in dice.choices(OWN, k=dice.choice((1, 1, 2, 4))):
                self.changed.append(request_name(Channels.BACKEND, asked.request))
                for one in mutated(asked, dice.getrandbits(32), Channels.BACKEND, False):
                    self._ask(one)
            until = time.monotonic() + self._linger
            while self._link is not None and (left := until - time.monotonic()) > 0:
                self._turn(left)
        raise TrialOver(Result.PASS, "")

    def _ask(self, one: FuzzMessage) -> None:
        channel = self._channel
        if channel is None:
            return
        data, fds = message(one.request, one.payload, one.flags), [self._things.fd(name) for name in one.fds[:MAX_FDS]]
        if self._capture is not None:
            self._capture.said(Channels.BACKEND, data, fds)
        self.outcome.said += 1
        channel.send(data, fds, time.monotonic() + self._reply_patience)


def mutated(one: FuzzMessage, seed: int, channel: Any, reply: bool) -> list[FuzzMessage]:
    """What is said in the place of a message: nothing, it with other values, or several."""
    if not seed % 16:
        return []
    return Mutator([(one,)], seed, channel, reply).session()


class FrontendFuzzer:
    """One run against one front-end."""

    def __init__(self, peer: BackendPeer, device: str, patience: float, keep: Path, seed: int) -> None:
        """``keep`` is where captures are left, ``patience`` in seconds."""
        self._peer = peer
        self._device = SERVED[device]
        self._patience = patience
        self._keep = keep
        self._seed = seed
        self.said = 0
        """Messages that went out."""

    def run(self, count: int, tell: Callable[[ScenarioResult], None]) -> TestReport:
        """Until so many messages went out; ``tell`` is called with each case that is found, and at the end.

        An interrupt ends it, with what there is. Raises AbsentPeerError when nobody is there at first.
        """
        report = TestReport("frontend", {}, str(self._keep))
        dice = random.Random(self._seed)
        began, played = time.monotonic(), 1
        found: dict[tuple[str, str], ScenarioResult] = {}
        try:
            why, trial = self._play(FuzzPlan({}))
            if why is not None:
                self._found(FuzzPlan({}), why, found, report, tell)
            usual = max(trial.outcome.said, 1)
            while self.said < count and why is None:
                departures = {dice.randint(1, usual): dice.getrandbits(32) for _ in range(dice.choice((0, 1, 1, 2, 3)))}
                plan = FuzzPlan(departures, dice.getrandbits(32) if not departures or dice.random() < 0.3 else None)
                killed, _ = self._play(plan)
                played += 1
                if killed is not None:
                    self._found(plan, killed, found, report, tell)
        except AbsentPeerError as error:
            if played == 1:
                raise
            report.stopped = f"the front-end cannot be met any more: {error}"
        except KeyboardInterrupt:
            report.stopped = "interrupted"
        spent = time.monotonic() - began
        about = f"{self.said} messages in {played} sessions, {self.said / spent if spent else 0:.0f} a second"
        why = f"{len(found)} kinds of session killed the front-end" if found else ""
        last = _result(f"fuzz-{self._seed}", about, Result.FAIL if found else Result.PASS, why, spent)
        last.notes.append(about)
        report.results.append(last)
        tell(last)
        return report

    def _play(self, plan: FuzzPlan, capture: TrialCapture | None = None) -> tuple[str | None, MutatedBackend]:
        """One session: how the front-end died of it, None where it lives."""
        peer, patience = self._peer, self._patience
        times = patience, patience, capture, LINGER_S
        trial = MutatedBackend(plan, ROW, self._device, peer.meet, self._again, *times)
        try:
            came = trial.play()
            self.said += came.said
            end = peer.ended(DEATH_S if came.left else 0.0)
            if capture is not None and end is not None and peer.process is not None:
                capture.exited(peer.process.pid, peer.process.comm, end.status, end.signal)
        finally:
            if peer.ours:
                peer.stop()
        return end.words if end is not None and end.signal is not None else None, trial

    def _again(self) -> Any:
        return self._peer.meet(self._patience)

    def _found(
        self,
        plan: FuzzPlan,
        why: str,
        found: dict[tuple[str, str], ScenarioResult],
        report: TestReport,
        tell: Callable[[ScenarioResult], None],
    ) -> None:
        """A case: make it short, capture it, and report it where it is the first of its kind."""
        if len(found) >= CASES:
            return
        said = self.said
        for shorter in (*_without(plan), FuzzPlan({})):
            if shorter != plan and self._play(shorter)[0] == why:
                plan = shorter
                break
        id = f"fuzz-{self._seed}-{len(found) + 1}"
        path = self._keep / f"{id}.pcapng"
        capture = TrialCapture(path, self._peer.side.path, self._peer.process)
        try:
            _, trial = self._play(plan, capture)
        finally:
            capture.close()
        self.said = said
        names = " ".join(trial.changed)
        if (why, names) in found:
            path.unlink()
            return
        result = _result(id, f"said otherwise: {names or 'nothing'}", Result.FAIL, why, 0.0)
        result.capture, result.shortest = path.name, len(trial.changed)
        result.notes.append(result.about)
        found[why, names] = result
        report.results.append(result)
        tell(result)


def _without(plan: FuzzPlan) -> list[FuzzPlan]:
    """Shorter ones, the shortest first: one departure alone, and the requests alone."""
    alone = [FuzzPlan({at: seed}) for at, seed in plan.departures.items()]
    own = [FuzzPlan({}, plan.own)] if plan.own is not None and plan.departures else []
    return [*alone, *own, replace(plan, own=None)]


def _result(id: str, about: str, result: Result, why: str, seconds: float) -> ScenarioResult:
    return ScenarioResult(id, about, "Communication", SAYS, result, why, seconds=seconds)
