"""Connections on which nobody said a byte: they have no session, and are told by their path.

In vhost-user and vfio-user the front-end (the client) speaks first. So who should have spoken is known by the name of a
process only, and a source that came later than the connection may just have found it quiet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from vusniff.amounts import duration, signal_name
from vusniff.channel import Sender
from vusniff.checks.ending import WAIT_NS
from vusniff.checks.finding import SIDES, Side
from vusniff.checks.hints import signal_advice
from vusniff.checks.outcome import ASKED_TO_END, Outcome
from vusniff.checks.peers import Implementation, recognise
from vusniff.checks.standing import SOON_NS
from vusniff.families.vhost_user.device import Sure
from vusniff.record import CAPTURE_ENDED, Closed, Connection, Exit
from vusniff.values import dataclass, field

MAX_SILENT = 4096
"""Connections of a capture that are remembered."""
MAX_EXITS = 8
USUAL_ENDS = frozenset({"eof", "reset", "killed", CAPTURE_ENDED})
"""Reasons of an end that say nothing of why."""


@dataclass(slots=True)
class Silence:
    """A connection on which nothing was said so far."""

    connection: Connection
    closed: Closed | None = None
    exits: list[Exit] = field(default_factory=list)

    @property
    def unserved(self) -> bool:
        """The source says that there was nobody on the other side."""
        return self.closed is not None and self.closed.reason not in USUAL_ENDS

    def lasted(self, now_ns: int) -> int | None:
        """How long, in nanoseconds; None where it is not known when it began."""
        opened = self.connection.opened_ns
        return None if opened is None else max((self.closed.time_ns if self.closed else now_ns) - opened, 0)


@dataclass(frozen=True, slots=True)
class SilenceTold:
    """What is to be said of the silent connections of one path."""

    outcome: Outcome
    words: str
    more: tuple[str, ...] = ()
    side: Side | None = None
    sure: Sure | None = None
    cause: str = ""
    advice: str = ""
    caveat: str = ""
    times: int = 1


def by_path(silent: Mapping[int, Silence]) -> dict[str, list[Silence]]:
    """The silent connections of each path that has a name, in their order."""
    found: dict[str, list[Silence]] = {}
    for one in silent.values():
        if not one.connection.path.startswith("pair:"):
            found.setdefault(one.connection.path, []).append(one)
    return found


def told(group: Sequence[Silence], now_ns: int) -> SilenceTold:
    """What came of connections of one path: of the last one, and how often it was so."""
    last = group[-1]
    if last.unserved:
        return _unserved(group, now_ns)
    if last.connection.joined_late:
        words = "nothing was sent since the capture began"
        caveat = "the capture was joined late: what came before is unknown, and a running device may say nothing"
        return SilenceTold(Outcome.UNKNOWN, words, caveat=caveat)
    fresh = [one for one in group if not one.connection.joined_late and not one.unserved]
    lasted = last.lasted(now_ns)
    is_open = last.closed is None or last.closed.reason == CAPTURE_ENDED
    killed = next((one for one in last.exits if one.signal is not None and one.signal not in ASKED_TO_END), None)
    if killed is not None and killed.signal is not None:
        who = killed.comm or "a process"
        if killed.pid is not None:
            who = f"{killed.comm} ({killed.pid})" if killed.comm else f"process {killed.pid}"
        words = f"{who} was killed by {signal_name(killed.signal)} before either side sent a byte; {_who(last)}"
        advice, cause = signal_advice(killed.signal), "killed-by-signal"
        return SilenceTold(Outcome.DIED, words, cause=cause, advice=advice, times=len(fresh))
    if is_open and (lasted is None or lasted < WAIT_NS):
        return SilenceTold(Outcome.IDLE, f"{_who(last)}, and neither side has sent a byte yet")
    how = _how(last, lasted, is_open)
    side, hint, advice = _blame(last, lasted)
    more = tuple(filter(None, (hint, *_exits(last))))
    sure = Sure.PERHAPS if side is not None else None
    words = f"{_who(last)}, and neither side sent a byte{how}"
    return SilenceTold(Outcome.NEVER_STARTED, words, more, side, sure, "nobody-spoke", advice, times=len(fresh))


def _unserved(group: Sequence[Silence], now_ns: int) -> SilenceTold:
    """There was nobody on the other side of the source."""
    last = group[-1]
    assert last.closed is not None
    lasted = last.lasted(now_ns)
    waited = "" if lasted is None else f" and waited {duration(lasted)}"
    words = f"{last.closed.reason}; {_name(last, 0) or 'a peer'} connected to the proxy{waited}"
    advice = "start the program that serves this path, or check that both sides were given the same path"
    times = sum(one.unserved for one in group)
    waits = _side(last, 0)
    side = None if waits is None else SIDES[waits.other]
    sure = None if waits is None else Sure.LIKELY
    return SilenceTold(Outcome.NEVER_STARTED, words, (), side, sure, "no-peer", advice, times=times)


def after(group: Iterable[Silence], since_ns: int) -> str:
    """That there were such connections after the last session of a path; empty for none."""
    later = [one for one in group if not one.connection.joined_late and (one.connection.opened_ns or 0) > since_ns]
    if not later:
        return ""
    if later[-1].unserved and later[-1].closed is not None:
        return f"After it: {later[-1].closed.reason}."
    if len(later) == 1:
        return "After it, nothing was sent on another connection to this path."
    return f"After it, nothing was sent on {len(later)} more connections to this path."


def _name(one: Silence, end: int) -> str:
    process = one.connection.ends[end].process
    if process is None:
        return ""
    return f"{process.comm} ({process.pid})" if process.comm else f"process {process.pid}"


def _who(one: Silence) -> str:
    """Who connected to whom."""
    connected, accepted = _name(one, 0), _name(one, 1)
    if connected and accepted:
        return f"{connected} connected to {accepted}"
    if connected or accepted:
        return f"{connected} connected" if connected else f"somebody connected to {accepted}"
    return "somebody connected"


def _how(one: Silence, lasted: int | None, is_open: bool) -> str:
    """How long that was, and who ended it."""
    if is_open:
        return f" in {duration(lasted or 0)}"
    assert one.closed is not None
    when = "" if lasted is None else f" {duration(lasted)} later"
    if one.closed.by is None:
        return f"; the connection was closed{when}"
    who = _name(one, one.closed.by) or ("who connected", "who accepted")[one.closed.by]
    return f"; {who} closed the connection{when}"


def _blame(one: Silence, lasted: int | None) -> tuple[Side | None, str, str]:
    """Who should have spoken as far as names tell, a sentence about that, and what to try."""
    sides = {end: _side(one, end) for end in (0, 1)}
    front, *_ = [_comm(one, end) for end, side in sides.items() if side is Sender.FRONTEND] or [""]
    back = [_comm(one, end) for end, side in sides.items() if side is Sender.BACKEND]
    if len(back) == 2:
        hint = f"The front-end speaks first, and both are back-ends by their names ({back[0]}, {back[1]})."
        return None, hint, "give one of them a front-end: a VM's device, or DPDK's virtio_user"
    if one.exits and one.closed is not None:
        return None, "The front-end speaks first.", "check the log of the process that ended"
    if front:
        hint = f"The front-end speaks first, and {front} did not."
        advice = f"check whether {front} has a device on this socket and is not stuck: see its log and its monitor"
        return Side.FRONTEND, hint, advice
    if lasted is not None and lasted < SOON_NS:
        hint = "The front-end speaks first; who connected may only have tried whether somebody listens."
        return None, hint, "find out what connects to this path: it is not a front-end that has started"
    hint = "The front-end speaks first: probably neither of the two is a vhost-user front-end."
    return None, hint, "find out which programs were given this path: one must be the front-end, the other the back-end"


def _comm(one: Silence, end: int) -> str:
    process = one.connection.ends[end].process
    return process.comm if process is not None else ""


def _side(one: Silence, end: int) -> Sender | None:
    """What a process is by its name; None for one that is not known, or may be both."""
    comm = _comm(one, end)
    known = [side for side in Sender if recognise(side, comm).program is not Implementation.UNKNOWN]
    return known[0] if len(known) == 1 else None


def _exits(one: Silence) -> Iterable[str]:
    """Processes of it that ended about then, and not with success."""
    for exit in one.exits:
        if one.closed is not None and abs(exit.time_ns - one.closed.time_ns) > SOON_NS:
            continue
        who = f"{exit.comm or 'a process'}{'' if exit.pid is None else f' ({exit.pid})'}"
        if exit.signal is not None:
            yield f"{who} was killed by {signal_name(exit.signal)}."
        elif exit.status is not None:
            yield f"{who} exited with status {exit.status}."
