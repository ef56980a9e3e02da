"""All devices of a host as they are now: those of a capture that grows, and those of which only the sockets are known.

A device of a capture has a session, whose state says which rings there are, and samples that say where they stand. Of
any other only who sits at its ends is known, and why no more. Pure: who lists the sockets calls `DeviceTable.list`.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from vusniff.analysis.rings import Doing, RingStanding, SignalRates, device_of, session_of
from vusniff.analysis.session import Session
from vusniff.analysis.timeline import Timeline
from vusniff.families.vhost_user.state import DeviceState, RingState, Vring
from vusniff.record import CAPTURE_ENDED, Connection, Process, Sample
from vusniff.values import dataclass, field

RATES = 16
"""Rates that are kept of a ring."""
LATE = (
    "it was set up before the recording began: restart it, or give its QEMU a monitor "
    "(-qmp unix:PATH,server=on,wait=off)"
)
LATE_HERE = "it was set up before the recording began: where its rings are is known once it is restarted"
"""Of a front-end that is no QEMU."""
TRANSPORT = "user"
"""Of devices that a monitor is asked about: those of vhost-user."""
SILENT = "nothing was said on its socket since the recording began: there is no session to open"


class DeviceCondition(enum.IntEnum):
    """What a ring or a device does, the most urgent first."""

    NOT_SERVED = 0
    NO_BUFFERS = 1
    WAITING = 2
    MOVING = 3
    IDLE = 4
    DISABLED = 5
    STOPPED = 6
    NOT_SET_UP = 7
    UNKNOWN = 8


_DOINGS = {
    Doing.NOT_SERVED: DeviceCondition.NOT_SERVED,
    Doing.NO_BUFFERS: DeviceCondition.NO_BUFFERS,
    Doing.WAITING: DeviceCondition.WAITING,
    Doing.MOVING: DeviceCondition.MOVING,
    Doing.IDLE: DeviceCondition.IDLE,
}


class ListedDevice(NamedTuple):
    """A device by its socket, or of the kernel."""

    path: str
    inodes: tuple[int, ...]
    frontend: str
    backend: str
    by_qemu: bool = False
    """Its front-end is QEMU, which may have a monitor."""
    pid: int = 0
    """The process that has it open, if it is one of the kernel; it has no socket then."""


class RingNow(NamedTuple):
    """A ring."""

    number: int
    condition: DeviceCondition
    size: int | None = None
    standing: RingStanding | None = None
    """Where it stands; None where that is not known."""
    rate: float = 0.0
    """Used a second, from one sample to the next, at least."""
    rates: tuple[float, ...] = ()
    signals: SignalRates | None = None
    why: str = ""
    """Why its place is not known."""


@dataclass(slots=True)
class DeviceNow:
    """A device."""

    path: str
    frontend: str
    backend: str
    device: str = ""
    """Its type; empty where that is not known."""
    session: int = 0
    """0: nothing was said on its socket since the recording began."""
    rings: tuple[RingNow, ...] = ()
    why: str = ""
    """Why nothing is known of its rings."""
    joined_late: bool = False

    @property
    def urgent(self) -> RingNow | None:
        """The ring with the most urgent condition; None where no ring is known."""
        return min(self.rings, key=lambda ring: ring.condition, default=None)

    @property
    def condition(self) -> DeviceCondition:
        """What the device does: what its most urgent ring does."""
        ring = self.urgent
        if ring is not None:
            return ring.condition
        return DeviceCondition.UNKNOWN if self.joined_late or not self.session else DeviceCondition.NOT_SET_UP


@dataclass(slots=True)
class _Known:
    """What was worked out of a session."""

    count: int = -1
    """Messages it had then."""
    rings: dict[int, tuple[Vring, int | None]] = field(default_factory=dict)
    """Ring, and since which message its place is what it is; None where that is not known."""
    late: bool = False


class DeviceTable:
    """The devices, kept up to date with a timeline that grows."""

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self._listed: list[ListedDevice] = []
        self._known: dict[int, _Known] = {}
        self._made: dict[int, DeviceNow] = {}
        self._events = 0

    def list(self, listed: Iterable[ListedDevice]) -> None:
        """Devices whose sockets exist now."""
        self._listed = list(listed)

    def devices(self) -> Iterator[DeviceNow]:
        """All that are there: first those of open sessions, then those that were only listed."""
        timeline = self.timeline
        sampled = self._sampled()
        inodes: set[int] = set()
        opened: set[tuple[str, int]] = set()
        for session in timeline.sessions:
            main = timeline.tracker.connections(session)[0]
            inodes.update(end.inode for end in main.ends if end.inode is not None)
            opened.update((main.path, end.process.pid) for end in main.ends if end.process is not None)
            if session.closed is not None and session.closed.reason != CAPTURE_ENDED:
                self._known.pop(session.number, None)
                self._made.pop(session.number, None)
                continue
            known = self._known.setdefault(session.number, _Known())
            if session.number in sampled or known.count != session.count or session.number not in self._made:
                self._made[session.number] = self._device(session, known)
            yield self._made[session.number]
        for number in timeline.ring_history.unspoken:
            connection, closed = timeline.connection(number), timeline.closed(number)
            inodes.update(end.inode for end in connection.ends if end.inode is not None)
            if closed is None or closed.reason == CAPTURE_ENDED:
                yield self._unspoken(connection)
        for one in self._listed:
            if not inodes & set(one.inodes) and (one.path, one.pid) not in opened:
                yield DeviceNow(one.path, one.frontend, one.backend, why=_late(one.by_qemu), joined_late=True)

    def _sampled(self) -> set[int]:
        """Sessions of which there is something new."""
        events = self.timeline.index.events
        found = set()
        for _, event in events.since(self._events):
            session = session_of(event, self.timeline.tracker) if isinstance(event, Sample) else None
            if session is not None:
                found.add(session)
        self._events = events.total
        return found

    def _device(self, session: Session, known: _Known) -> DeviceNow:
        timeline = self.timeline
        if known.count != session.count:
            self._learn(session, known)
        main, front = timeline.tracker.sides(session)
        unreadable = timeline.ring_history.unreadable.get(session.number, {})
        rings = tuple(self._ring(session, index, known, unreadable) for index in sorted(known.rings))
        asked = session.family.transport == TRANSPORT and "qemu" in self._comm(main, front)
        late = _late(asked) if known.late else ""
        why = "" if rings else unreadable.get("device", late)
        if known.late and not any(ring.standing for ring in rings):
            why = late
        return DeviceNow(
            session.path,
            name_of(main.ends[front].process),
            name_of(main.ends[1 - front].process),
            device_of(timeline.tracker, session.number) or "",
            session.number,
            rings,
            why,
            session.joined_late,
        )

    def _unspoken(self, connection: Connection) -> DeviceNow:
        """A device that has said nothing since the recording began."""
        key = -connection.id
        front = next((end for end in (0, 1) if "qemu" in self._comm(connection, end)), 0)
        names = [name_of(end.process) for end in connection.ends]
        device = self.timeline.ring_history.device(key) or ""
        rings = tuple(self._told(key))
        return DeviceNow(connection.path, names[front], names[1 - front], device, 0, rings, SILENT, True)

    @staticmethod
    def _comm(connection: Connection, end: int) -> str:
        process = connection.ends[end].process
        return process.comm if process is not None else ""

    def _told(self, session: int) -> Iterator[RingNow]:
        """Rings whose place QEMU's monitor told, as no message was seen that does."""
        history, last = self.timeline.ring_history, len(self.timeline)
        for index in history.rings_of(session):
            standing = history.at(session, index, last)
            if standing is not None and standing.position.told_by:
                yield self._standing(session, index, standing, 0, None, standing.position.size)

    def _learn(self, session: Session, known: _Known) -> None:
        """Which rings there are, by the session's state."""
        known.count = session.count
        state = self.timeline.session_state(session.number, len(self.timeline) - 1)
        if not isinstance(state, DeviceState):
            return
        find = session.family.places
        since = {} if find is None else {place.index: place.since for place in find(state).rings}
        known.late = not state.fresh
        known.rings = {index: (ring, since.get(index)) for index, ring in state.vrings.items()}

    def _ring(self, session: Session, index: int, known: _Known, unreadable: dict[str, str]) -> RingNow:
        ring, since = known.rings[index]
        history, last = self.timeline.ring_history, len(self.timeline)
        size = ring.num.value if ring.num else None
        standing = None if since is None else history.at(session.number, index, last, since)
        life = _life(ring)
        if standing is None:
            why = unreadable.get(f"ring {index}", "")
            return RingNow(index, DeviceCondition.UNKNOWN if life is None else life, size, why=why)
        return self._standing(session.number, index, standing, since or 0, life, size)

    def _standing(
        self,
        session: int,
        index: int,
        standing: RingStanding,
        since: int,
        life: DeviceCondition | None,
        size: int | None,
    ) -> RingNow:
        history, last = self.timeline.ring_history, len(self.timeline)
        condition = _DOINGS[standing.doing]
        if life is not None and condition is not DeviceCondition.MOVING:
            condition = life
        rates = tuple(history.rates(session, index, last, since, RATES))
        rate = rates[-1] if rates and condition is DeviceCondition.MOVING else 0.0
        signals = history.signals(session, index, last, since)
        return RingNow(index, condition, size, standing, rate, rates, signals)


def _life(ring: Vring) -> DeviceCondition | None:
    """The condition of a ring that the back-end does not serve; None of one that it may serve."""
    if ring.life is not None and ring.life.value is RingState.STOPPED:
        return DeviceCondition.STOPPED if ring.life.by and ring.kick is not None else DeviceCondition.NOT_SET_UP
    if ring.enabled is not None and not ring.enabled.value:
        return DeviceCondition.DISABLED
    return None


def _late(by_qemu: bool) -> str:
    return LATE if by_qemu else LATE_HERE


def name_of(process: Process | None) -> str:
    """What a user calls a process."""
    if process is None:
        return "?"
    return process.label or f"{process.comm or 'pid'} {process.pid}"
