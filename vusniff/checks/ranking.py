"""The order in which findings are told: causes before symptoms, what another explains after it, what is equal once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from vusniff.checks.cause import SYMPTOMS, cause_of, causes
from vusniff.checks.finding import Finding, Severity, Side

EXPLAINS: dict[str, frozenset[str]] = {
    "other-protocol": frozenset({"bytes-unread", "stream-lost", "peer-never-spoke", "message-unfinished"}),
    "bytes-unread": frozenset({"stream-lost"}),
    "two-front-ends": frozenset({"peer-never-spoke", "request-never-answered"}),
    "reply-to-nothing": frozenset({"goes-on-after-wrong-reply"}),
    "device-gave-up": frozenset({"memory-never-came"}),
    "nothing-shared": frozenset({"memory-never-came", "vring-never-enabled"}),
    "request-waits": frozenset({"need-reply-one-reply", "request-never-answered"}),
    "refused-then-closed": frozenset({"request-refused"}),
}
"""What findings of one rule explain beside `SYMPTOMS`, which any cause explains."""
EXPLAINED = SYMPTOMS.union(*EXPLAINS.values())
"""Rules of which a finding may be explained by another."""
LAST = 1000


class Ranked(NamedTuple):
    """A finding, and all that are equal to it."""

    finding: Finding
    """The first of them."""
    times: int
    numbers: tuple[int, ...]
    """Of the messages that the kept ones stand at, ascending."""
    explained_by: Finding | None = None
    """The finding that explains it, told before."""


def explanations(findings: Iterable[Finding]) -> dict[str, Finding]:
    """Slug of what is explained -> the finding of the same session that explains it."""
    found = list(findings)
    explained: dict[str, Finding] = {}
    first: dict[str, Finding] = {}
    for finding in found:
        first.setdefault(finding.rule, finding)
    for rule, finding in first.items():
        for other in EXPLAINS.get(rule, ()):
            if other in first:
                explained.setdefault(other, finding)
    likely = causes(found)
    if likely and likely[0].finding.severity is not Severity.NOTE:
        best = likely[0].finding
        for rule in SYMPTOMS & first.keys():
            if rule != best.rule and first[rule].number >= best.number:
                if explained.get(best.rule) is first[rule]:
                    del explained[best.rule]  # of two that explain each other the cause is told first
                explained[rule] = best
    return explained


def ranked(findings: Iterable[Finding], counts: Mapping[tuple[int, str, Side], int]) -> list[Ranked]:
    """The findings of one session in the order in which they are told; ``counts`` says how often each was found."""
    groups: dict[tuple[str, Side, Severity], list[Finding]] = {}
    found = list(findings)
    for finding in found:
        groups.setdefault((finding.rule, finding.side, finding.severity), []).append(finding)
    explained = explanations(found)
    made = []
    for (rule, side, _), group in groups.items():
        numbers = tuple(sorted(finding.number for finding in group))
        first = min(group, key=lambda finding: finding.number)
        kept = sum(len(other) for key, other in groups.items() if key[:2] == (rule, side))
        more = counts.get((first.session, rule, side), kept) - kept
        made.append(Ranked(first, len(group) + more, numbers, explained.get(rule)))
    return _ordered(made)


def _weight(one: Ranked) -> tuple[int, int, int]:
    cause = cause_of(one.finding)
    rank = LAST if cause is None else cause.rank
    severity = one.finding.severity.rank
    return (
        severity if severity == Severity.NOTE.rank else 0,
        rank + (severity if cause is None else 0),
        one.finding.number,
    )


def _ordered(made: list[Ranked]) -> list[Ranked]:
    """By weight; what is explained stands behind what explains it."""
    free = sorted((one for one in made if one.explained_by is None), key=_weight)
    bound = sorted((one for one in made if one.explained_by is not None), key=_weight)
    told: list[Ranked] = []

    def tell(one: Ranked) -> None:
        told.append(one)
        for other in bound:
            by = other.explained_by
            if by is not None and by.rule == one.finding.rule and other not in told:
                tell(other)

    for one in free:
        tell(one)
    return [*told, *(one for one in bound if one not in told)]
