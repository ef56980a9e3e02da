"""The verdicts over a whole capture: sessions on one path are one story, told by the last of them.

A reconnect loop is counted and told once, and compared with the last session on the path that worked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from vusniff.amounts import counted
from vusniff.analysis.session import Session
from vusniff.checks import silence, wrote
from vusniff.checks.checker import Checker
from vusniff.checks.ending import WAIT_NS
from vusniff.checks.negotiation import bits
from vusniff.checks.outcome import WORST, Outcome
from vusniff.checks.sides import DoneTo
from vusniff.checks.silence import Silence
from vusniff.checks.standing import Standing
from vusniff.checks.verdict import EVIDENCE, Verdict, verdict_of
from vusniff.families.vhost_kernel.protocol import CONTROL
from vusniff.families.vhost_user.protocol import ProtocolFeature
from vusniff.values import replace

WORKED = frozenset({Outcome.RUNNING, Outcome.STOPPED, Outcome.ENDED})
FAULTS_SHOWN = 3
"""Messages that a verdict names for one rule of a proxy."""
EARLIER_SHOWN = 3
"""Earlier troubles on a path that are told beside the last session."""


def session_verdict(checker: Checker, number: int, now_ns: int, successor: int | None = None) -> Verdict | None:
    """The verdict over one session; None before its first message was judged."""
    standing = checker.standing(number, now_ns)
    if standing is None:
        return None
    session = checker.tracker.sessions[number - 1]
    line = wrote.nearest(checker.lines, standing, session.connections) if checker.lines else None
    verdict = verdict_of(standing, checker.found.get(number, ()), checker.partial.get(number, ""), successor, line)
    done = checker.sides.done(number) if checker.sides is not None else None
    if done is not None:
        verdict = by_proxy(verdict, done)
    return replace(verdict, sessions=(number,), path=session.path)


FAULT = "fault-rule"
"""`Verdict.cause` where a proxy did what went wrong."""


def by_proxy(verdict: Verdict, done: DoneTo) -> Verdict:
    """The verdict over a session in which a proxy did things by rules: nobody else is to blame for what came of it."""
    said = _faults(done)
    if not verdict.trouble:
        return replace(verdict, more=(*said, *verdict.more))
    number = done.numbers[0] if done.numbers else verdict.number
    return replace(
        verdict,
        more=(*said, *verdict.more),
        cause=FAULT,
        side=None,
        sure=None,
        number=number,
        evidence=tuple(sorted({*done.numbers, *verdict.evidence} - {0}))[:EVIDENCE],
        advice=f"see what each side made of it: vusniff read, from #{number} on",
        kind=f"{FAULT} {verdict.kind}",
    )


def _faults(done: DoneTo) -> list[str]:
    """What a proxy did, a sentence for each of its rules."""
    by_rule: dict[int, list[int]] = {}
    texts = {fault.rule: fault.text for fault in done.faults}
    for fault, number in zip(done.faults, done.numbers, strict=False):
        by_rule.setdefault(fault.rule, []).append(number)
    said = []
    for rule, numbers in by_rule.items():
        shown = ", ".join(f"#{number}" for number in numbers[:FAULTS_SHOWN])
        more = f" and {len(numbers) - FAULTS_SHOWN} more" if len(numbers) > FAULTS_SHOWN else ""
        said.append(f"The proxy did this on request, by rule {rule} (at {shown}{more}): {texts[rule]}.")
    return said


def verdicts(checker: Checker, now_ns: int) -> list[Verdict]:
    """The verdict over each story of a capture, worst first; ``now_ns`` is when its last message was sent."""
    now_ns = max(now_ns, checker.heard_ns)
    silent = silence.by_path(checker.silent)
    told = [_story(checker, chain, now_ns) for chain in _chains(checker.tracker.sessions)]
    found = [_followed(checker, one, silent) for one in told if one is not None]
    paths = {one.path for one in found}
    found += [_silent(path, group, now_ns) for path, group in silent.items() if path not in paths]
    return sorted(found, key=_urgency)


def _urgency(one: Verdict) -> tuple[bool, int, bool, tuple[int, ...]]:
    """The key by which verdicts are sorted; of two that say the same, a device comes before the node by which it is
    made."""
    return not one.trouble, WORST.index(one.outcome), one.path == CONTROL, one.sessions


def _silent(path: str, group: Sequence[Silence], now_ns: int) -> Verdict:
    """The verdict over connections of one path on which nobody has said anything."""
    told = silence.told(group, now_ns)
    return Verdict(
        told.outcome,
        told.words,
        told.more,
        "connecting" if told.cause else "",
        told.cause,
        told.side,
        told.sure,
        advice=told.advice,
        caveats=(told.caveat,) if told.caveat else (),
        path=path,
        kind=told.cause,
        times=told.times,
    )


def _followed(checker: Checker, verdict: Verdict, silent: Mapping[str, Sequence[Silence]]) -> Verdict:
    """A story, and what connections came after it on which nobody said anything."""
    standing = checker.ended.get(verdict.sessions[-1])
    if verdict.path not in silent or standing is None or standing.closed is None:
        return verdict
    more = silence.after(silent[verdict.path], standing.end_ns)
    return replace(verdict, more=(*verdict.more, more)) if more else verdict


def _chains(sessions: Iterable[Session]) -> list[list[int]]:
    """The sessions of each path, in their order."""
    chains: dict[int, list[int]] = {}
    for session in sessions:
        chain = chains.pop(session.previous, []) if session.previous is not None else []
        chain.append(session.number)
        chains[session.number] = chain
    return list(chains.values())


def _story(checker: Checker, chain: list[int], now_ns: int) -> Verdict | None:
    following = dict(pairwise(chain))
    every = [session_verdict(checker, number, now_ns, following.get(number)) for number in chain]
    known = [one for one in every if one is not None]
    if not known:
        return None
    endless = _endless(checker, chain, now_ns)
    if len(known) > 1 and known[-2].trouble and (begun := _just_begun(checker, known[-1], now_ns)):
        endless = [*endless, begun]
        known.pop()
    last = known[-1]
    if not last.trouble:
        return replace(last, more=(*last.more, *_earlier(known[:-1]), *endless), sessions=tuple(chain))
    first = len(known) - 1
    while first and known[first - 1].kind == last.kind:
        first -= 1
    evidence = sorted({number for one in known[first:] for number in one.evidence})
    told = last if known[first] is last else session_verdict(checker, known[first].sessions[0], now_ns)
    assert told is not None
    return replace(
        last,
        happened=told.happened,
        more=(*told.more, *_compared(checker, last, known[:first], now_ns), *endless),
        number=known[first].number,
        evidence=tuple(evidence)[:EVIDENCE],
        sessions=tuple(chain),
        times=len(known) - first,
    )


def _just_begun(checker: Checker, last: Verdict, now_ns: int) -> str:
    """That the last session of a path has only just begun, so that the trouble before it is what is to be told; empty
    where it has not: it had the time to get further, or did."""
    one = checker.standing(last.sessions[0], now_ns)
    if one is None or one.last is None or last.trouble:
        return ""
    if one.closed is not None or not one.fresh or one.rings.began or one.end_ns - one.first_ns >= WAIT_NS:
        return ""
    return f"Session {one.session} has just begun: its last message is {one.last}."


def _endless(checker: Checker, chain: list[int], now_ns: int) -> list[str]:
    """That a session had not ended, as far as was seen, when the next began on its path."""
    told = [(number, following, checker.standing(number, now_ns)) for number, following in pairwise(chain)]
    found = [(number, following) for number, following, one in told if one is not None and one.closed is None]
    if not found:
        return []
    number, following = found[-1]
    more = f", nor that of {len(found) - 1} before it" if len(found) > 1 else ""
    return [f"The end of session {number} was not seen{more}; session {following} begins on the same path."]


def _compared(checker: Checker, last: Verdict, before: list[Verdict], now_ns: int) -> list[str]:
    """The last session before that worked, and what was different then."""
    worked = next((one for one in reversed(before) if one.outcome in WORKED), None)
    if worked is None:
        return []
    number = worked.sessions[-1]
    then, now = checker.standing(number, now_ns), checker.standing(last.sessions[-1], now_ns)
    assert then is not None
    assert now is not None
    other = "; ".join(_differences(then, now))
    return [f"Session {number} on this path worked" + (f"; different then: {other}." if other else ".")]


def _differences(then: Standing, now: Standing) -> Iterable[str]:
    """What the two sides told each other then and do not now."""
    for what, old, new in (
        ("features offered", then.features_offered, now.features_offered),
        ("features acknowledged", then.features, now.features),
    ):
        if old is not None and new is not None and old.value != new.value:
            yield f"{what} {_bits(old.value, new.value)}"
    for what, old, new in (
        ("protocol features offered", then.protocol_offered, now.protocol_offered),
        ("protocol features acknowledged", then.protocol, now.protocol),
    ):
        if old is not None and new is not None and old.value != new.value:
            yield f"{what} {_bits(old.value, new.value, ProtocolFeature)}"
    if then.queue_num and now.queue_num and then.queue_num.value != now.queue_num.value:
        yield f"{counted(then.queue_num.value, 'queue')} instead of {now.queue_num.value}"
    for side, old_peer, new_peer in (
        ("front-end", then.frontend, now.frontend),
        ("back-end", then.backend, now.backend),
    ):
        if old_peer.comm and new_peer.comm and old_peer.comm != new_peer.comm:
            yield f"the {side} was {old_peer.comm} instead of {new_peer.comm}"


def _bits(old: int, new: int, names: type[ProtocolFeature] | None = None) -> str:
    gone, more = bits(old & ~new, names), bits(new & ~old, names)
    return " and ".join(filter(None, (gone and f"had {gone}", more and f"had not {more}")))


def _earlier(before: list[Verdict]) -> list[str]:
    """What went wrong on the path before the last session, each kind once."""
    kinds: dict[str, list[Verdict]] = {}
    for one in before:
        if one.trouble:
            kinds.setdefault(one.kind, []).append(one)
    said = []
    for group in list(kinds.values())[:EARLIER_SHOWN]:
        first, others = group[0], f" and {len(group) - 1} more" if len(group) > 1 else ""
        said.append(f"Before it, session {first.sessions[0]}{others}: {first.sentence[0].lower()}{first.sentence[1:]}")
    return said
