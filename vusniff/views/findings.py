"""What the rules found, as text for people and JSON lines for programs, while a capture is read or after it.

Owns the words around findings, and nothing of what they say. Every line is bounded; names of peers are cleaned.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from vusniff.analysis.driver import Driver, Steps
from vusniff.analysis.session import Placed, Session
from vusniff.capture.batch import Batch
from vusniff.checks.checker import Checker
from vusniff.checks.finding import Finding, Rule, Severity, Side
from vusniff.checks.ranking import EXPLAINED, Ranked, explanations, ranked
from vusniff.checks.story import verdicts
from vusniff.checks.verdict import Verdict
from vusniff.printable import escape, escape_json
from vusniff.views import verdict

SIDES = {Side.FRONTEND: "front-end", Side.BACKEND: "back-end", Side.EITHER: "either side"}
EVIDENCE_SHOWN = 8
CAPTURE_CUT = "capture-cut"
"""In place of a rule, where a capture was not judged to its end."""
NOT_JUDGED = "; what follows is not judged"


class Judged:
    """A capture that is read message by message and judged on the way, in bounded memory."""

    def __init__(self, rules: Sequence[Rule], device: str | None = None, **options: int) -> None:
        """``rules`` are those to ask; ``device`` overrides the deduced device type; ``options`` are `Checker`'s."""
        self._driver = Driver(device)
        self.tracker = self._driver.tracker
        self._steps = Steps(self.tracker)
        self.checker = Checker(self.tracker, rules, **options)
        self.rules = rules
        self.notes: Sequence[str] = ()
        """What the reader skipped or found damaged, once everything is read."""
        self.cuts: Sequence[str] = ()
        """Those that say that messages at the end are not there."""
        self.times = array("Q")
        """Of every message, nanoseconds since the epoch."""

    def take(self, batch: Batch, order: Callable[[int], str]) -> Placed:
        """Judge the next messages; ``order`` gives the byte order of a connection. Returns where they belong."""
        first, feed = len(self.times) + 1, self.checker.feed
        placed = self._driver.place_batch(batch, order)
        events = [(first + row, event) for row, event in batch.events]
        for step in self._steps.of(first, batch.rows(), placed, events, self.checker.tell):
            feed(*step)
        self.times.extend(batch.time_ns)
        return placed

    def conclude(self) -> None:
        """There is nothing more to come."""
        if self.times:
            self.checker.conclude(self.times[-1])

    def time_ns(self, finding: Finding) -> int:
        """When the message was sent that a finding stands at."""
        return self.times[finding.number - 1]

    def session(self, finding: Finding) -> Session:
        """The session of a finding."""
        return self.tracker.sessions[finding.session - 1]

    def verdicts(self) -> list[Verdict]:
        """The verdict over each story of the capture, worst first."""
        return verdicts(self.checker, self.times[-1] if self.times else 0)

    def explained(self, finding: Finding) -> Finding | None:
        """The finding that explains this one, as far as the session has been judged."""
        found = self.checker.found.get(finding.session, ())
        return explanations(found).get(finding.rule) if finding.rule in EXPLAINED else None

    def repeated(self) -> dict[tuple[int, str, Side], int]:
        """(session, slug, side) -> how often it was found beyond what is kept."""
        kept = Counter((finding.session, finding.rule, finding.side) for finding in self.checker.findings)
        return {key: count - kept[key] for key, count in self.checker.counts.items() if count > kept[key]}


def rule_lines(rules: Sequence[Rule]) -> Iterator[str]:
    """The rules, one a line: id, slug, severity, side, what it demands, where that is said."""
    for rule in rules:
        yield f"{rule.id}  {rule.slug:<34} {rule.severity:<8} {SIDES[rule.side]:<11} {rule.words} [{rule.section}]"


def title(judged: Judged, session: Session) -> str:
    """Who talked: ``session 1  /run/vm1.sock  net  qemu-system-x86 -> dpdk-testpmd``."""
    guess = session.guess
    frontend, backend = judged.checker.peers.get(session.number, (None, None))
    who = f"{escape(str(frontend or 'unknown'))} -> {escape(str(backend or 'unknown'))}"
    return f"session {session.number}  {escape(session.path)}  {guess.device if guess else 'unknown device'}  {who}"


def ranked_lines(judged: Judged, one: Ranked) -> Iterator[str]:
    """A finding and its equals in two lines: what happened, by which rule and messages, how often, and what explains
    it."""
    first, second = finding_lines(judged, one.finding)
    yield first
    if one.times > 1:
        others = [f"#{number}" for number in one.numbers if number != one.finding.number]
        shown = ", ".join(others[:EVIDENCE_SHOWN]) + (", ..." if len(others) > EVIDENCE_SHOWN else "")
        second += f"; {one.times} times{f', also at {shown}' if shown else ''}"
    if one.explained_by is not None:
        second += f"; explained by {one.explained_by.rule} at #{one.explained_by.number}"
    yield second


def finding_lines(judged: Judged, finding: Finding) -> Iterator[str]:
    """One finding in two lines: what happened, and by which rule and messages."""
    seconds = (judged.time_ns(finding) - judged.times[0]) / 1e9
    place = f"#{finding.number}"
    yield (f"  {finding.severity:<8}{place:<8}{seconds:>12.6f}  {SIDES[finding.side]:<11} {escape(finding.sentence)}")
    others = [f"#{number}" for number in finding.evidence if number != finding.number]
    shown = ", ".join(others[:EVIDENCE_SHOWN]) + (", ..." if len(others) > EVIDENCE_SHOWN else "")
    yield f"{'':<10}{finding.rule} ({finding.section}){f'; see also {shown}' if shown else ''}"


def finding_dict(judged: Judged, finding: Finding) -> dict[str, Any]:
    """One finding for programs."""
    by = judged.explained(finding)
    return {
        "rule": finding.rule,
        "severity": finding.severity.value,
        "side": finding.side.value,
        "section": finding.section,
        "sentence": finding.sentence,
        "message": finding.number,
        "time_ns": judged.time_ns(finding),
        "evidence": list(finding.evidence),
        "session": finding.session,
        "path": judged.session(finding).path,
        "explained_by": {"rule": by.rule, "message": by.number} if by else None,
    }


def cut_dict(note: str) -> dict[str, Any]:
    """That a capture was not judged to its end, in the form of a finding that stands at no message."""
    return {
        "rule": CAPTURE_CUT,
        "severity": Severity.ERROR.value,
        "side": Side.EITHER.value,
        "section": "",
        "sentence": note + NOT_JUDGED,
        **dict.fromkeys(("message", "time_ns")),
        "evidence": [],
        **dict.fromkeys(("session", "path", "explained_by")),
    }


def closing_lines(judged: Judged) -> Iterator[str]:
    """What could not be judged, and the counts."""
    for number, why in sorted(judged.checker.partial.items()):
        if number <= len(judged.tracker.sessions):
            yield f"session {number}: {why}, so rules that rest on all of it were not asked from there on"
    for note in judged.notes:
        yield f"note on the file: {escape(note)}{NOT_JUDGED if note in judged.cuts else ''}"
    if not judged.times:
        return
    severities = Counter(finding.severity for finding in judged.checker.findings)
    more = sum(judged.repeated().values())
    counted = ", ".join(_many(severities[severity], severity.value) for severity in Severity)
    again = f" (and {_many(more, 'repetition')} not shown)" if more else ""
    sessions = _many(len(judged.tracker.sessions), "session")
    yield f"{counted}{again} in {_many(len(judged.times), 'message')} of {sessions}"


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


class Writer:
    """Text or JSON lines of what was found since it was last asked; nothing for other formats."""

    def __init__(self, judged: Judged, form: str) -> None:
        self._judged = judged
        self._form = form
        self._told = 0
        self._session = 0

    def news(self) -> str:
        """What was not told yet, by session and message."""
        if self._form not in ("text", "json"):
            return ""
        findings = self._judged.checker.findings
        new, self._told = findings[self._told :], len(findings)
        new.sort(key=lambda finding: (finding.session, finding.number, finding.severity.rank))
        return self._written(new)

    def whole(self) -> str:
        """All of it at once, once everything is judged: the verdict first, then findings by session, causes first."""
        found = self._judged.verdicts()
        if self._form == "json":
            return self._verdicts(found) + self.news() + self._cuts()
        if self._form != "text":
            return ""
        lines = list(verdict.lines(found)) if found else []
        checker = self._judged.checker
        kept: dict[int, list[Finding]] = {}
        for finding in checker.findings:
            kept.setdefault(finding.session, []).append(finding)
        for number in sorted(kept):
            lines.append(title(self._judged, self._judged.tracker.sessions[number - 1]))
            for one in ranked(kept[number], checker.counts):
                lines.extend(ranked_lines(self._judged, one))
        return "".join(f"{line}\n" for line in (*lines, *closing_lines(self._judged)))

    def rest(self) -> str:
        """The last of what came while it was judged, the verdict, and the closing lines."""
        text, found = self.news(), self._judged.verdicts()
        if self._form == "json":
            return text + self._verdicts(found) + self._cuts()
        if self._form != "text":
            return text
        repeated = "".join(
            f"session {session}: {slug} {count} more times by the {SIDES[side]}\n"
            for (session, slug, side), count in sorted(self._judged.repeated().items())
        )
        lines = [*verdict.lines(found), *closing_lines(self._judged)] if found else closing_lines(self._judged)
        return text + repeated + "".join(f"{line}\n" for line in lines)

    def _verdicts(self, found: Sequence[Verdict]) -> str:
        return "".join(f"{escape_json(json.dumps(verdict.verdict_dict(one)))}\n" for one in found)

    def _cuts(self) -> str:
        return "".join(f"{json.dumps(cut_dict(note))}\n" for note in self._judged.cuts)

    def _written(self, findings: Sequence[Finding]) -> str:
        lines: list[str] = []
        for finding in findings:
            if self._form == "json":
                lines.append(escape_json(json.dumps(finding_dict(self._judged, finding))))
                continue
            if finding.session != self._session:
                self._session = finding.session
                lines.append(title(self._judged, self._judged.session(finding)))
            lines.extend(finding_lines(self._judged, finding))
        return "".join(f"{line}\n" for line in lines)
