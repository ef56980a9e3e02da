"""Runs scenarios against one peer, and says what came of each: who died is found out, and of what.

A peer that dies is started again where we started it, and the scenario is made as short as still kills it. A scenario
in which the peer says nothing at all is played once more: if it is served then, the one before is to blame.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from vusniff.conformance.conversation import TrialResult
from vusniff.conformance.devices import TestedDevice
from vusniff.conformance.facts import BackendFacts, ask_facts, why_not
from vusniff.conformance.peer import AbsentPeerError, PeerEnd
from vusniff.conformance.recorder import TrialCapture
from vusniff.conformance.results import ScenarioResult, TestReport
from vusniff.conformance.scenario import Result, Scenario
from vusniff.conformance.trial import Trial
from vusniff.record import Process
from vusniff.sources.host.endpoints import ProxySide


class BackendPeer(Protocol):
    """What is asked of the peer: `vusniff.conformance.peer.TestedPeer`, or another in its place."""

    side: ProxySide
    process: Process | None
    starts: int
    """How often it was started by us."""
    before: PeerEnd | None
    """How the one before ended, where that was not by us and it was started again."""

    @property
    def ours(self) -> bool:
        """Whether we start it."""

    def meet(self, again: float | None = None) -> tuple[socket.socket, bool]:
        """A socket connected to it, and whether we connected; ``again``: it is not started for it."""

    def ended(self, wait: float = 0.0) -> PeerEnd | None:
        """How it ended."""

    def stop(self) -> None:
        """End it."""


DEATH_S = 0.05
"""How long is waited for a program whose connection ended to end, too."""


class BackendRunner:
    """All scenarios against one back-end."""

    def __init__(self, peer: BackendPeer, device: TestedDevice, patience: float, keep: Path | None) -> None:
        """``keep`` is where captures are left, None for none."""
        self._peer = peer
        self._device = device
        self._patience = patience
        self._keep = keep
        self._echoes = False
        self._before: tuple[Scenario, int] | None = None
        """The scenario that was played last, and the messages that were said."""

    def run(self, scenarios: Sequence[Scenario], tell: Callable[[ScenarioResult], None]) -> TestReport:
        """Plays them in their order; ``tell`` is called with each. An interrupt ends it, with what there is.

        Raises AbsentPeerError when nobody is there at first, SourceError when it does not say what it offers.
        """
        report = TestReport("backend", {}, "" if self._keep is None else str(self._keep))
        facts = ask_facts(self._peer.meet, self._patience)
        report.about = facts.as_dict()
        try:
            for scenario in scenarios:
                result = self._one(scenario, facts, report)
                report.results.append(result)
                tell(result)
        except AbsentPeerError as error:
            report.stopped = f"the back-end is gone: {error}"
        except KeyboardInterrupt:
            report.stopped = "interrupted"
        return report

    def _one(self, scenario: Scenario, facts: BackendFacts, report: TestReport) -> ScenarioResult:
        why = why_not(scenario, facts, self._device)
        if why is not None:
            return _result(scenario, TrialResult(Result.NOT_APPLICABLE, why), None)
        if (late := self._peer.ended()) is not None and late.signal is not None:
            self._blame_before(report, f"{late.words} afterwards", True)
        starts = self._peer.starts
        came, end, capture = self._play(scenario)
        if (late := self._peer.before) is not None and self._peer.starts != starts and late.signal is not None:
            self._blame_before(report, f"{late.words} afterwards", True)
        if came.result is Result.FAIL and not came.heard:
            if self._peer.ours:
                self._peer.stop()
            why = f"{end.words} afterwards" if end is not None else f"the next connection was not served: {came.why}"
            killed = end is not None and end.signal is not None
            came, end, capture = self._play(scenario)
            if came.heard:
                self._blame_before(report, why, killed)
        self._before = scenario, came.said
        result = _result(scenario, came, capture)
        if end is not None and end.signal is not None:
            result.result = Result.FAIL
            result.why = f"{end.words}" + (f": {came.why}" if came.why else "")
            result.shortest = self._shortest(scenario, came.said)
        elif end is not None and end.failed and not came.left and came.result is Result.PASS:
            result.notes.append(f"{end.words} after the connection was closed")
        elif end is not None and end.failed:
            result.notes.append(end.words)
        return result

    def _blame_before(self, report: TestReport, why: str, killed: bool) -> None:
        """The scenario before this one did something to the back-end that only shows now."""
        if self._before is None:
            return
        scenario, said = self._before
        before = report.results[-1]
        if before.result is Result.FAIL:
            before.notes.append(why)
        else:
            before.result, before.why = Result.FAIL, why
        if killed:
            before.shortest = self._shortest(scenario, said)

    def _play(self, scenario: Scenario, limit: int | None = None) -> tuple[TrialResult, PeerEnd | None, str | None]:
        """One play, and how the program ended, if it did."""
        name = f"{scenario.id}.pcapng" if self._keep is not None and limit is None else None
        capture = None
        if self._keep is not None and name is not None:
            capture = TrialCapture(self._keep / name, self._peer.side.path, self._peer.process)
        try:
            trial = Trial(scenario, self._device, self._peer.meet, self._patience, capture, limit, self._echoes)
            came = trial.play()
            self._echoes = self._echoes or came.echoed
            end = self._end(came)
            if capture is not None and end is not None and self._peer.process is not None:
                process = self._peer.process
                capture.exited(process.pid, process.comm, end.status, end.signal)
        finally:
            if capture is not None:
                capture.close()
        return came, end, name

    def _end(self, came: TrialResult) -> PeerEnd | None:
        """How the program ended: at once, or soon after it closed its connection."""
        suspicious = came.left or came.result is Result.FAIL
        return self._peer.ended(DEATH_S if suspicious else 0.0)

    def _shortest(self, scenario: Scenario, said: int) -> int:
        """The fewest messages of the scenario after which the back-end dies: each try starts it again."""
        alive, dead = 0, said
        while dead - alive > 1:
            middle = (alive + dead) // 2
            came, end, _ = self._play(scenario, middle)
            end = end or self._peer.ended(4 * DEATH_S)
            if end is not None and end.signal is not None:
                dead = min(middle, came.said)
            else:
                alive = middle
        self._peer.stop()
        return dead


def _result(scenario: Scenario, came: TrialResult, capture: str | None) -> ScenarioResult:
    about = scenario.id, scenario.about, scenario.section, scenario.says
    return ScenarioResult(*about, came.result, came.why, came.notes, capture, seconds=came.seconds)
