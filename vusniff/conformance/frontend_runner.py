"""Runs scenarios against one front-end, which is started anew for each where we start it.

What a front-end says in a scenario in which our back-end does nothing wrong is held to the rules of `vusniff check`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from vusniff.analysis.timeline import Timeline, read_all
from vusniff.capture.index import Index
from vusniff.checks.finding import Finding, Severity, Side
from vusniff.conformance.conversation import TrialResult
from vusniff.conformance.frontend_trial import FrontendTrial
from vusniff.conformance.good_backend import LINGER_S
from vusniff.conformance.manners import Goal, Manner
from vusniff.conformance.peer import AbsentPeerError, PeerEnd
from vusniff.conformance.recorder import TrialCapture
from vusniff.conformance.results import ScenarioResult, TestReport
from vusniff.conformance.runner import DEATH_S, BackendPeer
from vusniff.conformance.scenario import Demand, Result
from vusniff.conformance.served import SERVED
from vusniff.errors import VusniffError

LONGER = 5
"""A front-end gets so many times the time of a reply to start a ring: it may have to boot a guest."""


class FrontendRunner:
    """All scenarios against one front-end."""

    def __init__(self, peer: BackendPeer, device: str, patience: float, keep: Path, linger: float = LINGER_S) -> None:
        """``keep`` is where captures are left; ``patience`` is for a reply, in seconds."""
        self._peer = peer
        self._name = device
        self._device = SERVED[device]
        self._patience = patience
        self._keep = keep
        self._linger = linger
        self._runs = False
        """A ring was started and enabled once, so that a ring which is not means something."""

    def run(self, rows: Sequence[Manner], tell: Callable[[ScenarioResult], None]) -> TestReport:
        """Plays them in their order; ``tell`` is called with each. An interrupt ends it, with what there is.

        Raises AbsentPeerError when nobody is there at first.
        """
        report = TestReport("frontend", {}, str(self._keep))
        try:
            for row in rows:
                result = self._one(row)
                report.results.append(result)
                tell(result)
        except AbsentPeerError as error:
            if not report.results:
                raise
            report.stopped = f"the front-end is gone: {error}"
        except KeyboardInterrupt:
            report.stopped = "interrupted"
        return report

    def _one(self, row: Manner) -> ScenarioResult:
        if row.device and self._name not in row.device:
            return _result(row, TrialResult(Result.NOT_APPLICABLE, f"it is for {' or '.join(row.device)}"), None)
        path = self._keep / f"{row.id}.pcapng"
        capture = TrialCapture(path, self._peer.side.path, None)
        try:
            meet, longer = self._peer.meet, LONGER * self._patience
            trial = FrontendTrial(row, self._device, meet, self._again, longer, self._patience, capture, self._linger)
            came = trial.play()
            end = self._peer.ended(DEATH_S if came.left else 0.0)
            if end is not None and self._peer.process is not None:
                capture.exited(self._peer.process.pid, self._peer.process.comm, end.status, end.signal)
        finally:
            capture.close()
            if self._peer.ours:
                self._peer.stop()
        return self._judged(row, came, end, path)

    def _again(self) -> tuple[socket.socket, bool]:
        return self._peer.meet(LONGER * self._patience)

    def _judged(self, row: Manner, came: TrialResult, end: PeerEnd | None, path: Path) -> ScenarioResult:
        result = _result(row, came, path.name)
        if row.goal is Goal.RUNS and came.result is Result.PASS:
            self._runs = True
        elif row.goal is Goal.RUNS and self._runs and came.result is Result.INCONCLUSIVE and row.demand is Demand.MUST:
            result.result = Result.FAIL
        if end is not None and end.signal is not None:
            result.result = Result.FAIL
            result.why = end.words + (f": {came.why}" if came.why else "")
        elif end is not None and end.failed:
            result.notes.append(end.words)
        if row.judged and result.result in (Result.PASS, Result.INCONCLUSIVE):
            for finding in broken_rules(path):
                sentence = f"#{finding.number} {finding.sentence} (rule {finding.rule}, {finding.section})"
                if result.result is Result.FAIL:
                    result.notes.append(sentence)
                else:
                    result.result, result.why = Result.FAIL, sentence
        return result


def broken_rules(path: Path) -> list[Finding]:
    """What a front-end said against the specification, by `vusniff check`: one finding a rule."""
    try:
        with Index(str(path)) as index:
            timeline = Timeline(index)
            read_all(timeline, judge=True)
            timeline.conclude()
            found = list(timeline.findings)
    except VusniffError:
        return []
    first: dict[str, Finding] = {}
    for one in found:
        if one.side is Side.FRONTEND and one.severity is Severity.ERROR:
            first.setdefault(one.rule, one)
    return list(first.values())


def _result(row: Manner, came: TrialResult, capture: str | None) -> ScenarioResult:
    about = row.id, row.about, row.section, row.says
    return ScenarioResult(*about, came.result, came.why, came.notes, capture, seconds=came.seconds)
