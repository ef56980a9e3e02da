"""What rules say, kept: asks them, and makes findings of their sentences.

A finding that repeats in a session is kept `KEPT` times and counted beyond. A rule that raises is said once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import TypeVar

from vusniff.checks.finding import SIDES, Finding, Rule, Said, Sayings, Severity, Side
from vusniff.checks.plan import Question
from vusniff.checks.step import SessionHistory, Step

KEPT = 100
"""Findings of one rule and side that are kept of a session."""
rules_may_raise = False
"""A rule that raises is a fault of vusniff, and one note for its user. True lets it raise: our own tests do."""

Asked = TypeVar("Asked")


class Rulings:
    """The findings of one capture."""

    def __init__(self, kept: int) -> None:
        """``kept``: findings of one rule and side that are kept of a session."""
        self.findings: list[Finding] = []
        """In the order they were found."""
        self.counts: Counter[tuple[int, str, Side]] = Counter()
        """(session, slug, side) -> how often it was found, kept or not."""
        self.found: dict[int, list[Finding]] = {}
        """The findings of each session that are kept."""
        self._kept = kept
        self._raised: set[str] = set()

    def add(self, finding: Finding) -> None:
        """A finding that was made elsewhere."""
        self.counts[finding.session, finding.rule, finding.side] += 1
        self.findings.append(finding)
        self.found.setdefault(finding.session, []).append(finding)

    def ask(self, questions: tuple[Question, ...], step: Step) -> None:
        """Ask rules about a step."""
        memory = step.memory
        for judge, once, rule in questions:
            if once and once in memory.said:
                continue
            try:
                said = judge(step)
            except Exception as error:
                said = self._broken(rule, error)
            if said and not step.message.restated:  # the messages between such are not there
                self._take(rule, said, memory, step.message.number, SIDES[step.message.sender])

    def ask_of(
        self, rule: Rule, judge: Callable[[Asked], Sayings], what: Asked, memory: SessionHistory, number: int
    ) -> None:
        """Ask a rule about a sample or the end of a session, of which message ``number`` stands for the rest."""
        try:
            said = judge(what)
        except Exception as error:
            said = self._broken(rule, error)
        self._take(rule, said, memory, number, rule.side)

    def _broken(self, rule: Rule, error: Exception) -> Sayings:
        """A rule has raised: say so once in a capture, and go on."""
        if rules_may_raise:
            raise error
        if rule.slug in self._raised:
            return ()
        self._raised.add(rule.slug)
        words = f"rule {rule.slug} could not be judged here ({type(error).__name__}: {error})"
        return (Said(f"{words}: that is a fault of vusniff, please report it", severity=Severity.NOTE),)

    def _take(self, rule: Rule, said: Iterable[Said], memory: SessionHistory, number: int, speaker: Side) -> None:
        for saying in said:
            side = saying.side or (rule.side if rule.side is not Side.EITHER else speaker)
            key = (memory.session, rule.slug, side)
            if rule.once:
                if rule.slug in memory.said:
                    continue
                memory.said |= {rule.slug}
            self.counts[key] += 1
            if self.counts[key] > self._kept:
                continue
            stands = saying.number or number
            evidence = tuple(sorted({stands, *saying.evidence} - {0}))
            severity = saying.severity or rule.severity
            finding = Finding(
                rule.slug, severity, side, rule.section, saying.sentence, stands, evidence, memory.session
            )
            self.findings.append(finding)
            self.found.setdefault(memory.session, []).append(finding)
