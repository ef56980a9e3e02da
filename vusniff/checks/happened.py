"""How trouble came about, without its cause: what happened, where, whose side it was, and what to try."""

from __future__ import annotations

from typing import NamedTuple

from vusniff.amounts import duration, listed, signal_name
from vusniff.channel import Sender
from vusniff.checks import ending
from vusniff.checks.ending import Way, name_of
from vusniff.checks.finding import SIDES, Side
from vusniff.checks.hints import (
    LOOK,
    STALL_ADVICE,
    after_request,
    asked_for,
    before_waiting,
    closed_advice,
    closed_hint,
    left_hint,
    signal_advice,
)
from vusniff.checks.outcome import CRASHES, Death, Outcome, failed, told_to_end
from vusniff.checks.standing import SOON_NS, Point, Standing
from vusniff.families.vhost_user.device import Sure
from vusniff.families.vhost_user.protocol import FrontendRequest

F = FrontendRequest

WAITED = (Way.UNANSWERED, Way.GAVE_UP, Way.NEVER_SPOKE, Way.OTHER_PROTOCOL)
"""Ways in which something was wrong before anybody ended the other side."""
NOT_BACK = "Nobody has connected again."


class Happened(NamedTuple):
    """What ended a session, or keeps it from going on."""

    words: str
    """A clause with its values."""
    number: int
    """The message it happened at, 0 for none."""
    side: Side | None
    """Whose fault it is if no finding says more; None where that is not known."""
    sure: Sure
    advice: str
    kind: str
    """Equal in what is the same trouble again: the name of the cause, and what it depends on."""
    hint: str = ""
    """A sentence about the probable reason, where no finding tells it; or empty."""
    more: tuple[str, ...] = ()
    """Sentences that go with it."""


def happened(one: Standing, outcome: Outcome, way: Way, death: Death | None, successor: int | None) -> Happened:
    """What happened to a session that is in trouble."""
    if death is not None:
        return _died(one, death, successor)
    told = _BY_WAY[way](one, ending.sentence(one, way)) if way in _BY_WAY else None
    if told is None:
        told = _other(one, outcome, way)
    if told_to_end(one) and way not in WAITED:
        advice = "find out who ended it: a person, a script, or the service manager (its journal)"
        told = told._replace(side=None, hint="", advice=advice)
    more = _status(one)
    if successor is None and one.rings.began and one.closer is Sender.BACKEND:
        more.append(NOT_BACK)
    return told._replace(more=tuple(more))


def _died(one: Standing, death: Death, successor: int | None) -> Happened:
    """A process was killed: by what, and after which message."""
    side, exit = death
    who = f"{exit.comm or 'a process'} ({exit.pid})" if exit.pid is not None else exit.comm or "a process"
    words = f"{who}, {one.role(side)}, was killed by {signal_name(exit.signal or 0)}"
    words += " (core dumped)" if exit.dumped_core else ""
    at = one.waiting if side is Sender.BACKEND and one.waiting is not None else one.last
    if at is not None:
        when = exit.time_ns if one.closed is None else min(exit.time_ns, one.end_ns)
        apart = when - at.time_ns
        words += f" {one.apart(apart) if apart > 0 else 'right '}after {at}"
    if one.rings.running:
        words += f", {ending.while_words(one)}"
    more = (NOT_BACK,) if successor is None and side is Sender.BACKEND else ()
    own = exit.signal in CRASHES
    hint = after_request(one) if side is Sender.BACKEND and own and one.quiet_ns <= SOON_NS else ""
    where = "while it ran" if one.rings.running else f"after {at.name}" if at else ""
    number, kind = at.number if at else 0, f"killed-by-signal {exit.signal} {where}"
    return Happened(
        words, number, SIDES[side] if own else None, Sure.LIKELY, signal_advice(exit.signal or 0), kind, hint, more
    )


def _other_protocol(one: Standing, words: str) -> Happened:
    found = ending.foreign(one)
    assert found is not None
    who = found[0].side
    side = None if who is None else SIDES[who]
    sure = Sure.CERTAIN if found[1] else Sure.LIKELY
    advice = "find out which program serves this path: it is the socket of another service"
    if side is None:
        advice = f"find out which programs meet on this path: {found[0].comm or 'one'} does not speak {one.family}"
    return Happened(words, found[0].number, side, sure, advice, "other-protocol")


def _never_spoke(one: Standing, words: str) -> Happened:
    number = one.waiting.number if one.waiting else 0
    advice = "find out which program serves this path, whether it is stuck, and whether it is serving another client"
    hint = f"It is probably not a {one.family} {one.roles[1]}, or it is stuck."
    return Happened(words, number, Side.BACKEND, Sure.LIKELY, advice, "peer-never-spoke", hint)


def _before_first_answer(one: Standing, words: str) -> Happened:
    advice = (
        "check the back-end's own log; usual reasons: it exited by itself, its sandbox (seccomp), permissions, or "
        "it serves another client"
    )
    number = one.last.number if one.last else 0
    return Happened(words, number, Side.BACKEND, Sure.LIKELY, advice, "closed-before-first-answer")


def _refused(one: Standing, words: str) -> Happened:
    assert one.refusal is not None
    advice = "check the back-end's log: it says why it refused"
    kind = f"request-refused {one.refusal.name}"
    asked = one.last_request if one.last_request and one.last_request.number == one.refusal.request else None
    hint = asked_for(one, asked) if asked is not None and one.judged else ""
    return Happened(words, one.refusal.by, Side.BACKEND, Sure.LIKELY, advice, kind, hint)


def _left(one: Standing, words: str) -> Happened:
    last = one.last
    assert last is not None
    hint, advice = left_hint(one, last)
    advice = advice or "check the front-end's log: it says why it left"
    # Which side should give way is not to be known: the one wants more than the other has.
    said = last.value if last.request in (F.GET_QUEUE_NUM, F.GET_MAX_MEM_SLOTS) else ""
    return Happened(words, last.number, None, Sure.PERHAPS, advice, f"left-after-reply {last.name} {said}", hint)


def _closed_after(one: Standing, at: Point | None, words: str, kind: str) -> Happened:
    assert at is not None
    asked = "" if one.unread or not one.judged else asked_for(one, at)
    advice, hint = closed_advice(one, at), " ".join(filter(None, (asked, after_request(one))))
    return Happened(words, at.number, Side.BACKEND, Sure.PERHAPS, advice, f"{kind} {at.name}", hint)


def _without_answer(one: Standing, words: str) -> Happened:
    return _closed_after(one, one.waiting, words, "refused-by-closing")


def _after_request(one: Standing, words: str) -> Happened:
    return _closed_after(one, one.last, words, "closed-after-request")


def _unanswered(one: Standing, words: str) -> Happened:
    waiting = one.waiting
    assert waiting is not None
    advice = (
        f"find out what the back-end is doing at {waiting.name}: check its log and its stack (gdb, /proc/PID/stack)"
    )
    kind = f"request-never-answered {waiting.name}"
    if not one.timed:
        return Happened(words, waiting.number, Side.BACKEND, Sure.PERHAPS, advice, kind)
    if one.closed is not None and one.closer is None:
        advice = f"check the logs of both sides: which of them ended the session at {waiting.name}, and why"
        return Happened(words, waiting.number, None, Sure.PERHAPS, advice, kind)
    if one.closed is not None and one.end_ns - waiting.time_ns < SOON_NS:
        advice = f"check the front-end's log for why it did not wait for the answer to {waiting.name}"
        return Happened(words, waiting.number, None, Sure.PERHAPS, advice, kind)
    asked = one.waiting_backend
    if asked is not None and one.end_ns - asked.time_ns >= SOON_NS:
        hint = f"{asked} of the back-end has no answer either: each side may be waiting for the other."
        advice = f"find out where both stand: the back-end at {waiting.name}, the front-end at {asked.name} (logs, gdb)"
        return Happened(words, waiting.number, None, Sure.PERHAPS, advice, kind, hint)
    return Happened(words, waiting.number, Side.BACKEND, Sure.LIKELY, advice, kind, before_waiting(one, waiting))


_BY_WAY = {
    Way.OTHER_PROTOCOL: _other_protocol,
    Way.NEVER_SPOKE: _never_spoke,
    Way.BEFORE_FIRST_ANSWER: _before_first_answer,
    Way.REFUSED: _refused,
    Way.LEFT: _left,
    Way.WITHOUT_ANSWER: _without_answer,
    Way.AFTER_REQUEST: _after_request,
    Way.UNANSWERED: _unanswered,
    Way.GAVE_UP: _unanswered,
    Way.CUT_OFF: _unanswered,
}


def _other(one: Standing, outcome: Outcome, way: Way) -> Happened:
    """Trouble that the end of the connection does not tell."""
    words, number = ending.sentence(one, way), one.last.number if one.last else 0
    asked, refusal = one.waiting_backend, one.refusal
    if outcome is Outcome.WAITING and asked is not None:
        words = f"{asked} of {name_of(one, Sender.BACKEND)} has no answer after {duration(one.end_ns - asked.time_ns)}"
        advice = "check the front-end's log: it does not answer what the back-end asks"
        return Happened(words, asked.number, Side.FRONTEND, Sure.LIKELY, advice, f"backend-request-waits {asked.name}")
    if outcome is Outcome.REFUSED and refusal is not None:
        after = "no ring is enabled" if one.rings.began else "no ring was started after it"
        return _refused(one, f"{ending.refused_words(one, refusal)}, and {after}")
    if outcome is Outcome.STALLED:
        return _stalled(one)
    exit = failed(one)
    if outcome is Outcome.HUNG_UP and exit is not None and one.closer is Sender.FRONTEND:
        words = f"{name_of(one, one.closer)} closed {one.link} {ending.while_words(one)}"
        return Happened(words, number, Side.FRONTEND, Sure.PERHAPS, LOOK[one.closer], "frontend-failed")
    if outcome is Outcome.HUNG_UP:
        advice = "start the back-end again; QEMU finds it again with reconnect= on its chardev"
        return Happened(words, number, Side.BACKEND, Sure.LIKELY, advice, "backend-closed")
    hint, advice = closed_hint(one) if way is Way.CLOSED and one.judged else ("", "")
    kind = f"closed {one.last.name}" if one.last is not None else "closed"
    words = words or "no message could be read"
    return Happened(words, number, None, Sure.PERHAPS, advice or LOOK[one.closer], kind, hint)


def _stalled(one: Standing) -> Happened:
    """Nothing moves in a ring, or in several."""
    first, others = one.stalls[0], one.stalls[1:]
    more = ""
    if others:
        names = listed("vring", [stall.ring for stall in others[:4]])
        more = f"The same is true of {names}." if {other.rule for other in others} == {first.rule} else ""
        more = more or f"Also: {others[0].words}."
    return Happened(first.words, first.number, first.side, Sure.LIKELY, STALL_ADVICE[first.rule], first.rule, hint=more)


def _status(one: Standing) -> list[str]:
    """That the process which closed ended by itself; of a front-end only where that is no good sign."""
    for side, exit in one.exits:
        if side is None or side is not one.closer or abs(exit.time_ns - one.end_ns) > SOON_NS:
            continue
        who = exit.comm or one.role(side).capitalize()
        if exit.status is not None and (exit.status or side is Sender.BACKEND):
            return [f"{who} exited with status {exit.status}{_when(one, exit.time_ns)}."]
        if exit.signal is not None:
            return [f"{who} was ended by {signal_name(exit.signal)}."]
    return []


def _when(one: Standing, time_ns: int) -> str:
    """How long before or after the close, where that was measured and is not the same moment."""
    apart = one.apart(abs(time_ns - one.end_ns)) if time_ns != one.end_ns else ""
    return f", {apart}{'later' if time_ns > one.end_ns else 'before'}" if apart else ""
