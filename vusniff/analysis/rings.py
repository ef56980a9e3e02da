"""What rings do, by samples of where they stood: in one word, over time, and what has changed. Pure.

Samples say what was read; this says what it means. Whether a ring with something in flight is not served depends on
what it is for: room that the driver gives for what may come is no work that waits.
"""

from __future__ import annotations

import enum
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from vusniff.families.vhost_user.queues import Purpose, purpose
from vusniff.record import Position, Sample
from vusniff.values import dataclass, field, replace

if TYPE_CHECKING:  # rules import this module, and explain imports rules
    from vusniff.analysis.session import Tracker
    from vusniff.capture.events import Events

MOVES_NS = 1_000_000_000
"""How long after something was used a ring is said to move."""
RATES = 64
"""Rates that are kept for a picture of them."""


class Doing(str, enum.Enum):
    """What a ring does."""

    MOVING = "moving"
    IDLE = "idle"
    """Nothing is to be done."""
    NOT_SERVED = "not served"
    """The driver waits for the device."""
    WAITING = "waiting"
    """Something is in flight, and whether the device is to work on it is not known."""
    NO_BUFFERS = "no buffers"
    """The driver gives no room for what may come."""

    __str__ = str.__str__


class RingKey(NamedTuple):
    """Which ring of a capture."""

    session: int
    ring: int


@dataclass(frozen=True, slots=True)
class RingStanding:
    """Where a ring stood, by the last sample that tells of it."""

    position: Position
    time_ns: int
    number: int
    """The message that the sample stands before."""
    purpose: Purpose = Purpose.UNKNOWN

    @property
    def doing(self) -> Doing:
        """What it did then."""
        return doing(self.position, self.purpose)


def doing(position: Position, what_for: Purpose) -> Doing:
    """What a ring does, by where it stands."""
    if position.moved_ns is not None and position.moved_ns < MOVES_NS:
        return Doing.MOVING
    if not position.in_flight:
        return Doing.NO_BUFFERS if what_for is Purpose.FILLED else Doing.IDLE
    if position.waiting_ns is None or what_for is Purpose.FILLED:
        return Doing.IDLE
    if what_for is Purpose.REQUESTS or kick_waits(position):
        return Doing.NOT_SERVED
    return Doing.WAITING


def kick_waits(position: Position) -> bool:
    """The back-end has not read a kick that it wants: one that polls leaves kicks alone."""
    return bool(position.unread_kicks) and not position.no_notify


def used_between(before: Position, after: Position) -> int:
    """How many entries the device used between two positions of a ring, at least: whole rounds of the ring are not
    seen."""
    if before.packed:
        laps = 2 * before.size
        return (_packed_used(after) - _packed_used(before)) % laps
    return (after.used - before.used) & 0xFFFF


class SignalRates(NamedTuple):
    """Kicks and calls a second; None where they were not counted."""

    kicks: float | None
    calls: float | None


def signals_between(before: Position, after: Position, time_ns: int) -> SignalRates:
    """How often a ring was kicked and called a second between two samples. A count that has become less began anew."""

    def rate(old: int | None, new: int | None) -> float | None:
        if old is None or new is None or time_ns <= 0:
            return None
        return (new - old if new >= old else new) * 1e9 / time_ns

    return SignalRates(rate(before.kicks, after.kicks), rate(before.calls, after.calls))


def _packed_used(position: Position) -> int:
    return position.used + (0 if position.used_wrap else position.size)


@dataclass(slots=True)
class _RingSamples:
    """The samples of one ring that are kept, in order, and what all of them tell."""

    numbers: list[int] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    positions: list[Position] = field(default_factory=list)
    count: int = 0
    """How many have come."""
    most_ns: int = 0
    """The longest that something was in flight and nothing was used. A wait lasts until the next sample."""
    busiest: float = 0.0
    """The most that was used a second from one sample to the next."""

    def append(self, number: int, time_ns: int, position: Position) -> None:
        """Keep one more sample of the ring."""
        self.numbers.append(number)
        self.times.append(time_ns)
        self.positions.append(position)

    def account(self, time_ns: int, position: Position) -> None:
        """Count one more sample of the ring, before it is kept."""
        self.count += 1
        self.most_ns = max(self.most_ns, position.waiting_ns or 0)
        if self.positions:
            old, took = self.positions[-1], time_ns - self.times[-1]
            if old.waiting_ns is not None:
                self.most_ns = max(self.most_ns, old.waiting_ns + took)
            if took > 0:
                self.busiest = max(self.busiest, used_between(old, position) * 1e9 / took)


class Account(NamedTuple):
    """What all samples of a ring tell together."""

    last: RingStanding
    samples: int
    most_ns: int
    """The longest that something was in flight and nothing was used."""
    busiest: float
    """The most that was used a second from one sample to the next, at least."""


class RingSpan(NamedTuple):
    """What a ring did between two messages."""

    last: RingStanding
    """Where it stood last."""
    waited_ns: int
    """The longest that something was in flight and nothing was used, of what is work for the device."""

    @property
    def stalled(self) -> bool:
        """It was not served for a second or more."""
        return self.waited_ns > 0


class RingHistory:
    """Where the rings of a capture stood, fed with its events in order."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._lines: dict[RingKey, _RingSamples] = {}
        self._rings: dict[int, set[int]] = {}
        """By session: its rings that have samples."""
        self._numbers: dict[int, list[int]] = {}
        """By session: the messages that its samples stand before."""
        self._seen = self._thinned = 0
        self.unreadable: dict[int, dict[str, str]] = {}
        """By session: what could not be read, and why."""
        self.dirty_pages: dict[int, tuple[int, int]] = {}
        """By session: time and pages, as last read of the dirty log."""

    def update(self, events: Events) -> None:
        """Take what is new, and let go of what was left out."""
        if events.thinned != self._thinned:
            self._thinned = events.thinned
            self._keep_only(events.since(0, self._seen))
        for row, event in events.since(self._seen):
            if isinstance(event, Sample):
                self._take(row + 1, event)
        self._seen = events.total

    def _keep_only(self, kept: Iterable[tuple[int, object]]) -> None:
        self._numbers.clear()
        for line in self._lines.values():
            line.numbers, line.times, line.positions = [], [], []
        for row, event in kept:
            if isinstance(event, Sample):
                self._place(row + 1, event)
        for ring in [ring for ring, line in self._lines.items() if not line.numbers]:
            del self._lines[ring]
            self._rings[ring.session].discard(ring.ring)

    def _take(self, number: int, sample: Sample) -> None:
        session = self._place(number, sample, new=True)
        if session is not None and sample.unreadable:
            self.unreadable.setdefault(session, {}).update(sample.unreadable)
        if session is not None and sample.dirty_pages is not None:
            self.dirty_pages[session] = sample.time_ns, sample.dirty_pages

    def _place(self, number: int, sample: Sample, new: bool = False) -> int | None:
        """Keep the positions of a sample; whose it is, where that is known."""
        session = session_of(sample, self._tracker)
        if session is None:
            if not sample.ends or not sample.rings:
                return None
            session = -sample.ends[0][0]
        if sample.rings:
            self._numbers.setdefault(session, []).append(number)
        for position in sample.rings:
            ring = RingKey(session, position.ring)
            line = self._lines.get(ring)
            if line is None:
                line = self._lines[ring] = _RingSamples()
                self._rings.setdefault(session, set()).add(position.ring)
            if new:
                line.account(sample.time_ns, position)
            line.append(number, sample.time_ns, position)
        return session

    @property
    def sessions(self) -> Collection[int]:
        """The sessions that have samples of rings."""
        return self._numbers.keys()

    def between(self, session: int, since: int, until: int) -> bool:
        """Whether a session has samples behind message ``since``, and before message ``until``."""
        numbers = self._numbers.get(session, [])
        at = bisect_right(numbers, since)
        return at < len(numbers) and numbers[at] <= until

    def span(self, session: int, index: int, since: int, until: int) -> RingSpan | None:
        """What a ring did behind message ``since`` and before message ``until``; None where it has no sample there."""
        line = self._lines.get(RingKey(session, index))
        if line is None:
            return None
        start, stop = bisect_right(line.numbers, since), bisect_right(line.numbers, until)
        if start >= stop:
            return None
        what_for, last = self._purpose(session, index), stop - 1
        waits = (
            position.waiting_ns or 0
            for position in line.positions[start:stop]
            if doing(position, what_for) is Doing.NOT_SERVED
        )
        standing = RingStanding(line.positions[last], line.times[last], line.numbers[last], what_for)
        return RingSpan(standing, max(waits, default=0))

    @property
    def rings(self) -> list[RingKey]:
        """All rings that have samples, in order."""
        return sorted(self._lines)

    def rings_of(self, session: int) -> list[int]:
        """The rings of a session that have samples."""
        return sorted(self._rings.get(session, ()))

    def latest_ns(self, session: int) -> int:
        """When the last sample of a session was taken; 0 for none."""
        return max((self._lines[RingKey(session, index)].times[-1] for index in self.rings_of(session)), default=0)

    def at(self, session: int, index: int, number: int, since: int = 0) -> RingStanding | None:
        """Where a ring stood before message ``number`` + 1, by the samples behind message ``since``."""
        line = self._lines.get(RingKey(session, index))
        if line is None:
            return None
        at = bisect_right(line.numbers, number + 1) - 1
        if at < 0 or line.numbers[at] <= since:
            return None
        return RingStanding(line.positions[at], line.times[at], line.numbers[at], self._purpose(session, index))

    def rates(self, session: int, index: int, number: int, since: int = 0, keep: int = RATES) -> list[float]:
        """How much was used a second from sample to sample until then, at least; the last ``keep`` of them."""
        line = self._lines.get(RingKey(session, index))
        if line is None:
            return []
        stop = bisect_right(line.numbers, number + 1)
        start = max(bisect_left(line.numbers, since + 1), stop - keep - 1)
        made = []
        for at in range(start + 1, stop):
            seconds = (line.times[at] - line.times[at - 1]) / 1e9
            used = used_between(line.positions[at - 1], line.positions[at])
            made.append(used / seconds if seconds > 0 else 0.0)
        return made

    def signals(self, session: int, index: int, number: int, since: int = 0) -> SignalRates | None:
        """Kicks and calls a second between the last two samples until then; None where there are not two."""
        line = self._lines.get(RingKey(session, index))
        last = bisect_right(line.numbers, number + 1) - 1 if line is not None else 0
        if line is None or last < 1 or line.numbers[last - 1] <= since:
            return None
        return signals_between(line.positions[last - 1], line.positions[last], line.times[last] - line.times[last - 1])

    def accounts(self, session: int) -> list[Account]:
        """Each ring of a session by all its samples: also of one that was stopped or set up anew since."""
        made = []
        for index in self.rings_of(session):
            line = self._lines[RingKey(session, index)]
            last = RingStanding(line.positions[-1], line.times[-1], line.numbers[-1], self._purpose(session, index))
            most = 0 if last.purpose is Purpose.FILLED else line.most_ns
            made.append(Account(last, line.count, most, line.busiest))
        return made

    def standings(self, session: int) -> Iterator[RingStanding]:
        """All samples of the rings of a session, by time and ring."""
        found = [
            (time_ns, index, number, position)
            for index in self.rings_of(session)
            for time_ns, number, position in _entries(self._lines[RingKey(session, index)])
        ]
        for time_ns, index, number, position in sorted(found, key=lambda one: one[:3]):
            yield RingStanding(position, time_ns, number, self._purpose(session, index))

    def _purpose(self, session: int, index: int) -> Purpose:
        return purpose(self.device(session), index)

    def device(self, session: int) -> str | None:
        """The short name of a session's device type; of a connection without a session by the names of its ends."""
        if session > 0:
            return device_of(self._tracker, session)
        guess = self._tracker.guess(-session)
        return guess.device if guess else None

    @property
    def unspoken(self) -> list[int]:
        """Connections on which nobody has spoken, so that they have no session, and whose rings were read. The rings
        of one are asked for by its number with a minus sign in place of that of a session."""
        found = dict.fromkeys(-key.session for key in self.rings if key.session < 0)
        return [one for one in found if self._tracker.session_of(one) is None]


def _entries(line: _RingSamples) -> Iterator[tuple[int, int, Position]]:
    return zip(line.times, line.numbers, line.positions, strict=True)


def session_of(sample: Sample, tracker: Tracker) -> int | None:
    """The session of the device that a sample is of."""
    return next((found for one, _ in sample.ends if (found := tracker.session_of(one)) is not None), None)


def device_of(tracker: Tracker, session: int) -> str | None:
    """The short name of a session's device type."""
    guess = tracker.sessions[session - 1].guess
    return guess.device if guess else None


class RingChange(NamedTuple):
    """Something that rings of a device have come to do."""

    doing: Doing
    before: Doing | None
    positions: tuple[Position, ...]
    """Where they stand. For a ring that is served again, ``waiting_ns`` is how long it was not served."""


class RingChanges:
    """What matters in samples, fed with them in order: rings that begin to move, stall, go on, or have no buffers."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._last: dict[RingKey, Doing] = {}
        self._moved: set[RingKey] = set()
        self._stalled: dict[RingKey, int] = {}
        """Since when a ring that is not served waits."""

    def take(self, sample: Sample) -> list[RingChange]:
        """What a sample says that those before it did not."""
        session = session_of(sample, self._tracker) or 0
        device = device_of(self._tracker, session) if session else None
        found: dict[tuple[Doing, Doing | None], list[Position]] = {}
        for position in sample.rings:
            ring = RingKey(session, position.ring)
            now = doing(position, purpose(device, position.ring))
            before = self._last.get(ring)
            self._last[ring] = now
            if position.moved_ns is None:
                self._moved.discard(ring)  # its place has changed
            if now is Doing.MOVING:
                new, first = before is not now, ring not in self._moved
                self._moved.add(ring)
                stalled = self._stalled.pop(ring, None)
                if stalled is not None:
                    waited = replace(position, waiting_ns=sample.time_ns - stalled)
                    found.setdefault((now, Doing.NOT_SERVED), []).append(waited)
                elif new and first:
                    found.setdefault((now, None), []).append(position)
            elif now is not before and now in (Doing.NOT_SERVED, Doing.NO_BUFFERS):
                if now is Doing.NOT_SERVED:
                    self._stalled[ring] = sample.time_ns - (position.waiting_ns or 0)
                found.setdefault((now, before), []).append(position)
        return [RingChange(now, before, tuple(positions)) for (now, before), positions in found.items()]


def numbers(indexes: Iterable[int]) -> str:
    """Rings in words: ``ring 0``, ``rings 0 to 3``, ``rings 1, 3``."""
    found = sorted(indexes)
    if len(found) == 1:
        return f"ring {found[0]}"
    if found == list(range(found[0], found[-1] + 1)) and len(found) > 2:
        return f"rings {found[0]} to {found[-1]}"
    return "rings " + ", ".join(map(str, found))
