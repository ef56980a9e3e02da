"""A verdict in words and as JSON: the first thing that every output says. Knows no screen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vusniff.analysis.timeline import Timeline
from vusniff.checks.checker import Checker
from vusniff.checks.finding import Side
from vusniff.checks.story import FAULT, verdicts
from vusniff.checks.verdict import Verdict
from vusniff.families.vhost_user.device import Sure
from vusniff.printable import escape
from vusniff.views.page import Items, NamedValues, PageSection, facts

SIDES = {Side.FRONTEND: "the front-end", Side.BACKEND: "the back-end", Side.EITHER: "either side"}
SURE = {Sure.GIVEN: "", Sure.CERTAIN: ", certainly", Sure.LIKELY: ", probably", Sure.PERHAPS: ", perhaps"}
NOTHING = "Unknown: there is no message."
OTHERS = 8
"""Other stories that are told below the first."""
SESSIONS = 8
"""Sessions of a story that are named."""


def of(timeline: Timeline) -> list[Verdict]:
    """The verdict over each story of a capture that has been judged, worst first."""
    return told(timeline.checker, timeline.index.time_ns[-1] if len(timeline) else 0)


def told(checker: Checker, now_ns: int) -> list[Verdict]:
    """The same of a checker; ``now_ns`` is how late the capture tells of."""
    return verdicts(checker, now_ns)


def first_line(found: list[Verdict]) -> str:
    """The verdict over the capture, in one line."""
    if not found:
        return NOTHING
    others = len(found) - 1
    bad = sum(one.trouble for one in found[1:])
    if not others:
        return found[0].sentence
    other = "the other device" if others == 1 else f"the {others} other devices"
    if not bad:
        rest = f"nothing is wrong with {other}"
    elif others == 1:
        rest = f"{other} is in trouble, too"
    else:
        rest = f"of {other} {bad} {'is' if bad == 1 else 'are'} in trouble"
    told = f"This is about {found[0].path}; {rest}" if found[0].path else f"{rest[0].upper()}{rest[1:]}"
    return f"{found[0].sentence} {told}."


def why(verdict: Verdict) -> NamedValues:
    """What a verdict rests on, and what to try."""
    numbers = verdict.sessions
    named = ", ".join(map(str, numbers[:SESSIONS])) + (
        f" and {len(numbers) - SESSIONS} more" if len(numbers) > SESSIONS else ""
    )
    return facts(
        ("step", verdict.step),
        ("fault", fault(verdict)),
        ("evidence", ", ".join(f"#{number}" for number in verdict.evidence)),
        ("try", verdict.advice),
        *(("but", caveat) for caveat in verdict.caveats),
        ("sessions" if len(numbers) > 1 else "session", f"{named} on {verdict.path}")
        if numbers
        else ("path", verdict.path),
    )


def why_dict(verdict: Verdict) -> dict[str, str]:
    """The same by name; what has one name stands together."""
    found: dict[str, str] = {}
    for name, value in why(verdict).rows:
        found[name] = f"{found[name]}; {value}" if name in found else value
    return found


def fault(verdict: Verdict) -> str:
    """Whose fault it is, and how sure that is; empty where nobody is blamed."""
    if not verdict.trouble:
        return ""
    if verdict.cause == FAULT:
        return "nobody's: a proxy was asked to do it"
    if verdict.side is None:
        return "not known"
    who = SIDES[verdict.side]
    for usual, own in zip(("front-end", "back-end"), verdict.roles, strict=True):
        who = who.replace(usual, own)
    return who + (SURE[verdict.sure] if verdict.sure else "")


def lead(found: list[Verdict]) -> PageSection:
    """The verdicts as what stands above a page."""
    others = [f"{_which(other)}: {other.sentence}" for other in found[1 : OTHERS + 1]]
    if len(found) > OTHERS + 1:
        others.append(f"... and {len(found) - OTHERS - 1} more devices")
    return PageSection(first_line(found), [*([why(found[0])] if found else []), *([Items(others)] if others else [])])


def _which(verdict: Verdict) -> str:
    """What a verdict is about, in short."""
    return f"session {verdict.sessions[-1]}" if verdict.sessions else verdict.path


def lines(found: list[Verdict]) -> Iterator[str]:
    """The verdicts in text, one line a sentence: the first in full, the others in a line each."""
    told = lead(found)
    yield escape(told.title)
    for part in told.parts:
        if isinstance(part, NamedValues):
            label = max(len(name) for name, _ in part.rows)
            yield from (f"  {name:<{label}}  {escape(value)}" for name, value in part.rows)
        elif isinstance(part, Items):
            yield from (f"  {escape(line)}" for line in part.lines)


def verdict_dict(verdict: Verdict) -> dict[str, Any]:
    """One verdict for programs."""
    return {
        "kind": "verdict",
        "outcome": verdict.outcome.value,
        "trouble": verdict.trouble,
        "sentence": verdict.sentence,
        "step": verdict.step or None,
        "cause": verdict.cause or None,
        "side": verdict.side.value if verdict.side else None,
        "sure": verdict.sure.value if verdict.sure else None,
        "message": verdict.number or None,
        "evidence": list(verdict.evidence),
        "advice": verdict.advice or None,
        "caveats": list(verdict.caveats),
        "times": verdict.times,
        "sessions": list(verdict.sessions),
        "path": verdict.path,
    }
