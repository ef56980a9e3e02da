"""Reads the rings of all devices of a capture again and again, and writes a `Sample` when there is something to say.

A sample is written when something has changed. What matters is written at once: a ring begins to move, waits for a
second, goes on, or becomes quiet; a dirty log is there. While rings just move, a sample is written at most once a
second, and less often where it would take more than `ROOM` bytes a second and ring. What cannot be read is told once.

What a ring has done is forgotten when its place changes (SET_VRING_BASE, SET_MEM_TABLE, ...): see `RingPlace.since`.
It knows neither messages nor files: who follows the capture calls `follow`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Protocol

from vusniff.families.places import Places
from vusniff.record import Ends, Position, Sample
from vusniff.sources.rings.access import Access
from vusniff.sources.rings.reader import RingReader, SignalCount
from vusniff.values import dataclass, field, replace

SECOND = 1_000_000_000
WAITS_NS = SECOND
"""How long nothing is used until a ring is said to move no more, or to wait."""
STUCK_NS = 5 * SECOND
EVERY_NS = SECOND
"""Time between two samples of a device that only moves, at least."""
ROOM = 45
"""Bytes a second and ring that samples of a device that only moves take: 2.7 KB a minute."""
URGENT = 3
"""Samples that matter and may follow each other at once; after them one a second."""


class Condition(enum.Enum):
    """What a ring does."""

    QUIET = "quiet"
    """Nothing was used for a second, and nothing has been in flight for so long."""
    MOVING = "moving"
    """Something was used within the last second."""
    WAITING = "waiting"
    """Something has been in flight for a second, and nothing was used."""
    STUCK = "stuck"
    """The same for `STUCK_NS`: told once more, so that it is known not to have been a short pause."""


WAITS = (Condition.WAITING, Condition.STUCK)


Counts = tuple[int | None, int | None]
"""Kicks and calls."""
NOT_COUNTED: Counts = (None, None)


@dataclass(slots=True)
class _Ring:
    """What is remembered of a ring."""

    since: int
    position: Position
    moved: int | None = None
    """When the device was last seen to use something."""
    waits: int | None = None
    """Since when something is in flight and nothing was used."""
    signals: Counts = NOT_COUNTED

    def take(self, now: int, position: Position) -> None:
        """Where it stands now."""
        old = self.position
        if (position.used, position.used_wrap) != (old.used, old.used_wrap):
            self.moved = now
            self.waits = now if position.in_flight else None
        elif not position.in_flight:
            self.waits = None
        elif self.waits is None:
            self.waits = now
        self.position = position

    def condition(self, now: int) -> Condition:
        if self.moved is not None and now - self.moved < WAITS_NS:
            return Condition.MOVING
        if self.waits is None or now - self.waits < WAITS_NS:
            return Condition.QUIET
        return Condition.STUCK if now - self.waits >= STUCK_NS else Condition.WAITING


@dataclass(slots=True)
class _Device:
    """One device."""

    ends: Ends
    reader: RingReader
    rings: dict[int, _Ring] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)
    """What was said not to be readable."""
    written: dict[int, tuple[Position, Condition, Counts]] = field(default_factory=dict)
    """By ring, as it was last written."""
    dirty: int | None = None
    """Pages in the dirty log, as last read."""
    dirty_at: int = 0
    dirty_written: int | None = None
    due: int = 0
    """When it may be written though it only moves."""
    urgent: float = URGENT
    """How often it may still be written at once."""
    at: int = 0
    told_by: str = ""


class Sampler:
    """All devices. ``write`` takes a sample and returns how many bytes it took."""

    def __init__(self, access: Access, write: Callable[[Sample], int], every_change: bool = False) -> None:
        """``every_change`` writes each change that is seen, however often."""
        self.access = access
        self.signals: SignalCount = lambda number: None
        """Counts kicks and calls, where somebody does; to be set before the first `follow`."""
        self._write = write
        self._every = every_change
        self._devices: dict[int, _Device] = {}

    def follow(self, device: int, ends: Ends, pids: Sequence[int], places: Places | None, told_by: str = "") -> None:
        """The rings of a device are there from now on; None: it has gone. ``pids``: its peers, the front-end first;
        ``told_by``: who said so, where it was not witnessed."""
        old = self._devices.pop(device, None)
        if places is None:
            return
        new = _Device(ends, RingReader(places, self.access, pids, self.signals), told_by=told_by)
        if old is not None:
            since = {place.index: place.since for place in places.rings}
            new.rings = {index: ring for index, ring in old.rings.items() if since.get(index) == ring.since}
            new.written = {index: one for index, one in old.written.items() if index in new.rings}
            new.told, new.due, new.urgent, new.at = old.told, old.due, old.urgent, old.at
            new.dirty, new.dirty_at, new.dirty_written = old.dirty, old.dirty_at, old.dirty_written
        self._devices[device] = new

    def settle(self) -> None:
        """Lets go of what no device needs; to be called when all that was passed is known to `follow`."""
        wanted: set[str] = set()
        for device in self._devices.values():
            places = device.reader.places
            found = [region.descriptor for region in places.regions]
            found += [ring.kick for ring in places.rings if ring.kick is not None]
            found += [one.descriptor for one in (places.dirty_log, places.tracking and places.tracking.buffer) if one]
            wanted.update(one.identity for one in found if one.identity is not None)
        self.access.retain(wanted)

    def sample(self, now: int) -> bool:
        """Reads all; ``now`` is in nanoseconds since the epoch. Whether a ring moves, or waits for less than a
        second."""
        busy = False
        for device in self._devices.values():
            busy = self._look(device, now) or busy
        return busy

    def close(self) -> None:
        """Lets go of everything."""
        self._devices.clear()
        self.access.close()

    def _look(self, device: _Device, now: int) -> bool:
        since = {place.index: place.since for place in device.reader.rings}
        conditions: dict[int, Condition] = {}
        busy = False
        signals = device.reader.signals()
        for position in device.reader.positions():
            ring = device.rings.get(position.ring)
            if ring is None or ring.since != since[position.ring]:
                ring = _Ring(since[position.ring], position, None, now if position.in_flight else None)
                device.rings[position.ring] = ring
                device.written.pop(position.ring, None)
            else:
                ring.take(now, position)
            ring.signals = signals.get(position.ring, NOT_COUNTED)
            condition = conditions[position.ring] = ring.condition(now)
            busy = busy or condition is Condition.MOVING or (ring.waits is not None and condition is Condition.QUIET)
        self._tell(device, now, conditions)
        return busy

    def _tell(self, device: _Device, now: int, conditions: dict[int, Condition]) -> None:
        """Writes a sample if there is something to say, and it may be said now."""
        device.urgent = min(URGENT, device.urgent + (now - device.at) / SECOND)
        device.at = now
        changed = [
            index
            for index, condition in conditions.items()
            if device.written.get(index) != (device.rings[index].position, condition, device.rings[index].signals)
        ]
        matters = any(
            index not in device.written or device.written[index][1] is not conditions[index] for index in changed
        )
        reasons = {_what(what): why for what, why in device.reader.reasons.items() if _what(what) not in device.told}
        dirty = self._dirty(device, now)
        matters = matters or (dirty is not None and device.dirty_written is None)
        if not (changed or reasons or dirty is not None):
            return
        if not self._every and now < device.due:
            if not (reasons or matters) or device.urgent < 1:
                return
            device.urgent -= 1
        tracked = device.reader.tracked()
        waiting = any(condition in WAITS for condition in conditions.values())
        kicks = device.reader.unread_kicks() if waiting else {}
        rings = tuple(
            self._as_sampled(
                device.rings[index], now, conditions[index], tracked.get(index), kicks.get(index), device.told_by
            )
            for index in changed
        )
        size = self._write(Sample(now, rings, tuple(reasons.items()), dirty, device.ends))
        device.due = now + max(EVERY_NS, size * SECOND // (ROOM * len(rings)) if rings else 0)
        device.told.update(reasons)
        for index in changed:
            device.written[index] = device.rings[index].position, conditions[index], device.rings[index].signals
        if dirty is not None:
            device.dirty_written = dirty

    @staticmethod
    def _as_sampled(
        ring: _Ring, now: int, condition: Condition, tracked: int | None, unread_kicks: int | None, told_by: str
    ) -> Position:
        waits = condition in WAITS and ring.waits is not None
        return replace(
            ring.position,
            moved_ns=None if ring.moved is None else now - ring.moved,
            waiting_ns=now - ring.waits if waits and ring.waits is not None else None,
            unread_kicks=unread_kicks if waits else None,
            tracked=tracked,
            kicks=ring.signals[0],
            calls=ring.signals[1],
            told_by=told_by,
        )

    def _dirty(self, device: _Device, now: int) -> int | None:
        """Pages in the dirty log, where there are others than were written. They are read once a second at most."""
        if now - device.dirty_at >= EVERY_NS:
            device.dirty_at = now
            device.dirty = device.reader.dirty()
        return None if device.dirty == device.dirty_written else device.dirty


Introduce = Callable[[int], tuple[int, int] | None]
"""Records the connection of a socket that was there before, by its inode; its number, and which end it is."""


class Sampling(Protocol):
    """What a source that samples rings is given: a sampler, and what follows the source's capture for it."""

    access: Access

    def count_by(self, signals: SignalCount) -> None:
        """Kicks and calls are counted by this."""

    def join(self, introduce: Introduce) -> None:
        """Look for devices that were set up before; ``introduce`` records the connection of one."""

    def turn(self, write: Callable[[Sample], None]) -> float | None:
        """Follow the capture and read the rings once, and give what is to be written to ``write``; the seconds until
        the next turn, None where there is none. Samples name connections as the file does. Never raises."""

    def close(self) -> None:
        """Let go of everything."""


def _what(what: int | str) -> str:
    return what if isinstance(what, str) else f"ring {what}"
