"""Letters and styles of findings, the same in every pane. Knows no screen."""

from __future__ import annotations

from collections.abc import Iterable

from vusniff.checks.finding import Finding, Severity

MARKS = {Severity.ERROR: ("E", "bad"), Severity.WARNING: ("W", "warn"), Severity.NOTE: ("N", "dim")}
"""Letter and style of a finding."""


def mark_of(findings: Iterable[Finding]) -> tuple[str, str]:
    """The mark of the worst of some findings; a blank for none."""
    worst = min((finding.severity for finding in findings), key=lambda severity: severity.rank, default=None)
    return MARKS[worst] if worst else (" ", "")
