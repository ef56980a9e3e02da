"""What came of a session, in one word, and which process ended it."""

from __future__ import annotations

import enum
import signal
from collections.abc import Sequence
from typing import NamedTuple

from vusniff.channel import Sender
from vusniff.checks.cause import Likely
from vusniff.checks.ending import WAIT_NS, Way
from vusniff.checks.standing import SOON_NS, Standing
from vusniff.families.vhost_user.protocol import FrontendRequest
from vusniff.record import CAPTURE_ENDED, Exit

ASKED_TO_END = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
"""Signals by which people and service managers end a program."""

CRASHES = frozenset(
    {
        signal.SIGSEGV,
        signal.SIGBUS,
        signal.SIGABRT,
        signal.SIGILL,
        signal.SIGFPE,
        signal.SIGTRAP,
        signal.SIGSYS,
        signal.SIGPIPE,
        signal.SIGXCPU,
        signal.SIGXFSZ,
    }
)
"""Signals that a process brings on itself; whoever gets another one has done nothing wrong that is known."""


class Outcome(str, enum.Enum):
    """What came of a session."""

    RUNNING = "running"
    STOPPED = "stopped cleanly"
    ENDED = "ended"
    """It was closed while rings ran, and nothing says that something was wrong."""
    IDLE = "idle"
    """It is open, and no ring runs: not yet, or not any more."""
    NEVER_STARTED = "never started"
    REFUSED = "refused"
    DIED = "peer died"
    HUNG_UP = "hung up"
    """A process that was not killed closed the connection while the device was used."""
    WAITING = "waiting for an answer"
    STALLED = "stalled"
    """Nothing moves in a ring: only samples of the rings can tell."""
    UNKNOWN = "unknown"

    __str__ = str.__str__


FINE = frozenset({Outcome.RUNNING, Outcome.STOPPED, Outcome.ENDED, Outcome.IDLE, Outcome.UNKNOWN})
"""Outcomes that are no trouble by themselves."""
WORST = (
    Outcome.DIED,
    Outcome.REFUSED,
    Outcome.STALLED,
    Outcome.NEVER_STARTED,
    Outcome.WAITING,
    Outcome.HUNG_UP,
    Outcome.RUNNING,
    Outcome.IDLE,
    Outcome.UNKNOWN,
    Outcome.ENDED,
    Outcome.STOPPED,
)
"""Which of several sessions is told first."""


class Death(NamedTuple):
    """A process that was killed."""

    side: Sender
    exit: Exit


def death_of(one: Standing) -> Death | None:
    """The process of a side that was killed, where that ended the session."""
    for side, exit in one.exits:
        if side is None or exit.signal is None or exit.signal in ASKED_TO_END or _was_stuck(one, side, exit):
            continue
        if one.closed is None or exit.time_ns <= one.end_ns:
            return Death(side, exit)
        if exit.time_ns - one.end_ns <= SOON_NS and one.closer in (None, side):
            return Death(side, exit)
    return None


def _was_stuck(one: Standing, side: Sender, exit: Exit) -> bool:
    """Somebody killed a front-end that had waited for an answer: that it waited is the trouble, not how it ended."""
    return side is Sender.FRONTEND and exit.signal not in CRASHES and _waited(one)


def _waited(one: Standing) -> bool:
    """A request of the front-end had waited for an answer before the session ended, for longer than answers take."""
    return one.waiting is not None and one.end_ns - one.waiting.time_ns >= SOON_NS


def told_to_end(one: Standing) -> bool:
    """A signal by which people and service managers end a program ended the process that closed the connection."""
    return any(
        side is not None and side is one.closer and exit.signal in ASKED_TO_END
        for side, exit in one.exits
        if abs(exit.time_ns - one.end_ns) <= SOON_NS
    )


def outside(one: Standing, death: Death | None) -> bool:
    """A signal from outside ended the session, so that nothing that was said is the reason. Not asked of a front-end
    that was killed while it waited for an answer (`_was_stuck`)."""
    if death is not None:
        return death.exit.signal not in CRASHES
    return told_to_end(one) and not (one.closer is Sender.FRONTEND and _waited(one))


def failed(one: Standing) -> Exit | None:
    """The end of the process that closed the connection, where that was no success."""
    for side, exit in one.exits:
        if side is not None and side is one.closer and exit.status and abs(exit.time_ns - one.end_ns) <= SOON_NS:
            return exit
    return None


def backend_waits(one: Standing) -> bool:
    """A request of the back-end has waited for too long."""
    waiting = one.waiting_backend
    return waiting is not None and one.end_ns - waiting.time_ns >= WAIT_NS


def outcome_of(
    one: Standing, way: Way, death: Death | None, likely: Sequence[Likely], successor: int | None
) -> Outcome:
    """What came of a session; ``successor`` is the one that follows it on its path."""
    if death is not None:
        return Outcome.DIED
    if one.calls:
        return _of_calls(one)
    if not one.judged:
        return _without_rules(one, way)
    over = way is Way.CLOSED or (way is Way.OPEN and one.end_ns - one.first_ns >= WAIT_NS)
    if one.last is None and one.fresh and likely and over:
        return Outcome.NEVER_STARTED
    started, stopped_by = one.started, any(cause.stops for cause, _ in likely)
    if one.refusal is not None and (way is Way.REFUSED or (not started and one.closed is not None)):
        return Outcome.REFUSED
    if way in (Way.UNANSWERED, Way.GAVE_UP, Way.CUT_OFF):
        return Outcome.WAITING
    if way in (Way.OTHER_PROTOCOL, Way.NEVER_SPOKE, Way.BEFORE_FIRST_ANSWER, Way.LEFT):
        return Outcome.NEVER_STARTED
    if way in (Way.WITHOUT_ANSWER, Way.AFTER_REQUEST):
        return Outcome.NEVER_STARTED if stopped_by or (_seen_whole(one) and not started) else Outcome.HUNG_UP
    if backend_waits(one):
        return Outcome.WAITING
    if way is Way.OPEN:
        return _open(one, stopped_by)
    if one.stalls and way is Way.CLOSED and not stopped_by:
        return Outcome.STALLED
    if not started or stopped_by:
        return Outcome.NEVER_STARTED if _seen_whole(one) or (one.fresh and stopped_by) else Outcome.UNKNOWN
    if not one.rings.running:
        return Outcome.STOPPED
    if one.never_enabled and not one.used and _seen_whole(one):
        return Outcome.NEVER_STARTED
    if (way is Way.BACKEND_CLOSED and successor is None) or failed(one) is not None:
        return Outcome.HUNG_UP
    return Outcome.ENDED


_WITHOUT_RULES = {
    Way.OTHER_PROTOCOL: Outcome.NEVER_STARTED,
    Way.NEVER_SPOKE: Outcome.NEVER_STARTED,
    Way.BEFORE_FIRST_ANSWER: Outcome.NEVER_STARTED,
    Way.REFUSED: Outcome.REFUSED,
    Way.WITHOUT_ANSWER: Outcome.HUNG_UP,
    Way.UNANSWERED: Outcome.WAITING,
    Way.GAVE_UP: Outcome.WAITING,
    Way.CUT_OFF: Outcome.WAITING,
}
"""How a session ended -> what came of it, where that is all that can be judged."""


def _without_rules(one: Standing, way: Way) -> Outcome:
    """What came of a session of a family without rules, whose state tells nothing of whether it works."""
    if way in _WITHOUT_RULES:
        return _WITHOUT_RULES[way]
    if failed(one) is not None:
        return Outcome.HUNG_UP
    if one.closed is None:
        return Outcome.UNKNOWN
    return Outcome.ENDED if one.closer is Sender.BACKEND else Outcome.STOPPED


def _of_calls(one: Standing) -> Outcome:
    """What came of a device that the kernel serves: a call that failed is an answer, and closing is no fault. The node
    by which VDUSE devices are made has no rings: it has done its work when it made one."""
    over = one.closed is not None and one.closed.reason != CAPTURE_ENDED
    works = one.started if one.made is None else bool(one.made)
    if not works and one.refusal is not None:
        return Outcome.REFUSED
    if one.made is not None:
        running = any(there.value for there in one.made.values())
        return Outcome.STOPPED if over else Outcome.RUNNING if running else Outcome.IDLE
    if not works:
        unseen = Outcome.IDLE if one.fresh else Outcome.UNKNOWN
        return unseen if not over or not one.fresh else Outcome.NEVER_STARTED
    if one.rings.running:
        return Outcome.ENDED if over else Outcome.RUNNING
    return Outcome.STOPPED if over else Outcome.IDLE


ENABLE = FrontendRequest.SET_VRING_ENABLE.name
"""Rings that run and cannot be enabled serve nothing."""


def _open(one: Standing, stopped_by: bool) -> Outcome:
    if stopped_by:
        return Outcome.NEVER_STARTED
    if one.stalls:
        return Outcome.STALLED
    if one.rings.served:
        return Outcome.RUNNING
    if one.refusal is not None and one.rings.running and one.refusal.name == ENABLE:
        return Outcome.REFUSED
    return Outcome.IDLE if _seen_whole(one) or one.rings.began else Outcome.UNKNOWN


def _seen_whole(one: Standing) -> bool:
    """No ring can have been started unseen."""
    return one.fresh and one.last is not None and not one.unseen
