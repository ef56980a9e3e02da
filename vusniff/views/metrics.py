"""What a recording has seen so far as numbers for Prometheus: text in the exposition format, version 0.0.4.

Counters go on over all files of a recording (`Counts.next_file`), gauges tell of the present one. Messages that a file
restates are not counted again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from vusniff.analysis.rings import Doing, device_of, doing
from vusniff.capture.batch import Batch, said
from vusniff.checks.finding import Rule
from vusniff.families.vhost_user.queues import purpose
from vusniff.record import Lost, Position, Sample
from vusniff.views.findings import Judged

SLOW_NS = 1_000_000_000
"""An answer that takes longer is slow."""
MAX_PATHS = 1 << 16
"""Paths remembered, for sessions that begin again."""
MAX_RINGS = 1 << 16
_NOT_SERVED_NS = 1_000_000_000


class Counts:
    """Reads the files of one recording, one after the other, and counts."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        """``rules`` are those whose findings are counted."""
        self._rules = rules
        self._messages = self._slow = self._sessions = self._reconnects = self._lost = 0
        self._findings: Counter[tuple[str, str, str]] = Counter()
        """By rule, severity and side."""
        self._paths: dict[str, None] = {}
        self.next_file()

    def next_file(self) -> None:
        """What is read next begins a file, which knows nothing of those before."""
        self._judged = Judged(self._rules, kept=1)
        self._told = 0
        """Findings of this file that are counted."""
        self._met = 0
        """Sessions of this file that were looked at."""
        self._rings: dict[tuple[int, int], Position] = {}
        """Session and index -> where the ring stood last."""

    def take(self, batch: Batch, order: Callable[[int], str]) -> None:
        """The next messages; ``order`` gives the byte order of a connection."""
        judged = self._judged
        first = len(judged.times) + 1
        placed = judged.take(batch, order)
        again = [bool(options) and said(options)[2] for options in batch.options]
        self._messages += len(batch) - sum(again)
        for time_ns, answer, restated in zip(batch.time_ns, placed.answers, again, strict=True):
            if answer is not None and not restated and time_ns - answer.time_ns > SLOW_NS:
                self._slow += 1
        self._meet(first, again)
        for _, event in batch.events:
            if isinstance(event, Lost):
                self._lost += event.count
            elif isinstance(event, Sample):
                session = next(filter(None, (judged.tracker.session_of(one) for one, _ in event.ends)), 0)
                if len(self._rings) < MAX_RINGS:
                    self._rings.update({(session, one.ring): one for one in event.rings})
        self._tell()

    def _meet(self, first: int, again: Sequence[bool]) -> None:
        """Counts the sessions that began in these messages."""
        sessions = self._judged.tracker.sessions
        while self._met < len(sessions) and sessions[self._met].count:
            session = sessions[self._met]
            self._met += 1
            known = session.path in self._paths
            if len(self._paths) < MAX_PATHS:
                self._paths[session.path] = None
            if again[session.first - first]:
                continue
            self._sessions += 1
            self._reconnects += known

    def _tell(self) -> None:
        """Counts the findings since it was last asked."""
        checker = self._judged.checker
        for finding in checker.findings[self._told :]:
            self._findings[finding.rule, finding.severity.value, finding.side.value] += 1
        self._told = len(checker.findings)

    def _gauges(self) -> tuple[int, int, int, int]:
        """Open sessions, requests that wait, rings that are not served, and what is in flight."""
        judged = self._judged
        tracker, now_ns = judged.tracker, judged.times[-1] if judged.times else 0
        going = {session.number for session in tracker.sessions if session.count and session.closed is None}
        waiting = sum(now_ns - one.time_ns > SLOW_NS for number in going for one in tracker.pending(number))
        stalled = flying = 0
        for (session, index), position in self._rings.items():
            if session not in going:
                continue
            what_for = purpose(device_of(tracker, session), index)
            if doing(position, what_for) is Doing.NOT_SERVED and (position.waiting_ns or 0) >= _NOT_SERVED_NS:
                stalled += 1
            flying += min(position.in_flight, position.size)
        return len(going), waiting, stalled, flying

    def text(self) -> str:
        """All numbers."""
        return "".join(f"{line}\n" for line in self._lines())

    def _lines(self) -> Iterator[str]:
        going, waiting, stalled, flying = self._gauges()
        for name, kind, about, value in (
            ("messages_total", "counter", "messages seen", self._messages),
            ("lost_messages_total", "counter", "messages that are known to have been lost", self._lost),
            ("sessions_total", "counter", "sessions that have begun", self._sessions),
            ("reconnects_total", "counter", "sessions on a path that had one before", self._reconnects),
            ("slow_answers_total", "counter", "requests answered after more than a second", self._slow),
            ("sessions", "gauge", "sessions that go on", going),
            ("unanswered_requests", "gauge", "requests that wait for their answer for more than a second", waiting),
            ("stalled_rings", "gauge", "rings that were not served for a second or more (with --rings)", stalled),
            ("in_flight", "gauge", "descriptors in flight in all rings (with --rings)", flying),
        ):
            yield from _head(name, kind, about)
            yield f"vusniff_{name} {value}"
        yield from _head("findings_total", "counter", "broken rules, once a session")
        for (rule, severity, side), count in sorted(self._findings.items()):
            yield f'vusniff_findings_total{{rule="{rule}",severity="{severity}",side="{side}"}} {count}'


def _head(name: str, kind: str, about: str) -> Iterator[str]:
    yield f"# HELP vusniff_{name} {about}"
    yield f"# TYPE vusniff_{name} {kind}"


MARK = b"vusniff_messages_total"
"""What stands in every such file: only one of these is replaced."""
