"""Rules about where rings stand: asked with each ring of each sample, and when a ring is stopped.

What is read from memory is read while others write it. So a rule says only what no race explains.
"""

from __future__ import annotations

from collections.abc import Iterable

from vusniff.amounts import duration
from vusniff.analysis.rings import MOVES_NS, Doing, doing, kick_waits
from vusniff.checks.finding import FINE, Said, Sayings, Side
from vusniff.checks.recall import VRING_F_LOG
from vusniff.checks.step import DriverSeen, LogSeen, SessionHistory, Step
from vusniff.families.vhost_user.protocol import F_LOG_ALL
from vusniff.families.vhost_user.queues import Purpose, purpose
from vusniff.families.vhost_user.state import DeviceState, Vring, running, vring
from vusniff.record import Position, Sample
from vusniff.values import dataclass

NOT_SERVED_NS = 5_000_000_000
"""How long the driver waits until that is worth saying: disks may take seconds."""
MAX_RINGS = 1024


@dataclass(slots=True)
class Look:
    """A ring of a sample, and what is known of its device then."""

    state: DeviceState
    memory: SessionHistory
    position: Position
    time_ns: int = 0
    """When it stood there."""
    before: Position | None = None
    """Where it stood by the sample before, if it has not been set up anew since."""

    @property
    def purpose(self) -> Purpose:
        """What the ring is for."""
        return purpose(self.memory.device, self.position.ring)

    @property
    def ring(self) -> Vring:
        """The ring as messages have set it up."""
        return vring(self.state, self.position.ring)

    @property
    def runs(self) -> bool:
        """It was started, and not stopped since."""
        return running(self.ring)

    @property
    def disabled(self) -> bool:
        """It is surely disabled."""
        return self.ring.enabled is not None and not self.ring.enabled.value


def touched(ring: Vring) -> int:
    """The last message that set a ring up; 0 for none."""
    told = (ring.life, ring.num, ring.base, ring.addresses, ring.enabled)
    return max((seen.by for seen in told if seen is not None), default=0)


def remember(memory: SessionHistory, number: int, time_ns: int, position: Position, state: DeviceState) -> Look:
    """Keep where a ring stood after a message, and return what the rules need of it."""
    index, since = position.ring, touched(vring(state, position.ring))
    old = memory.positions.get(index)
    known = old is not None and old[0] >= since
    if old is not None or len(memory.positions) < MAX_RINGS:
        memory.positions[index] = number, time_ns, position
        _remember_driver(memory, time_ns, position, known)
    return Look(state, memory, position, time_ns, old[2] if old is not None and known else None)


def _remember_driver(memory: SessionHistory, time_ns: int, position: Position, known: bool) -> None:
    """Keep when the driver was last seen to do something, of one that has wanted interrupts."""
    old = memory.drivers.get(position.ring) if known else None
    if old is None and position.no_interrupt:
        memory.drivers.pop(position.ring, None)
    elif old is None or (old.masked, old.available) != (position.no_interrupt, position.available):
        memory.drivers[position.ring] = DriverSeen(time_ns, position.no_interrupt, position.available, position.used)


def remember_log(memory: SessionHistory, sample: Sample, state: DeviceState) -> None:
    """Keep the most pages that were set in the dirty log of a migration."""
    log, features = state.log, state.features
    if sample.dirty_pages is not None:
        memory.dirty_pages = sample.dirty_pages
    if log is None or features is None or not features.value & F_LOG_ALL:
        memory.log_seen = None
        return
    by, old = max(log.by, features.by), memory.log_seen
    if old is None or old.by != by:
        memory.log_seen = old = LogSeen(by, sample.time_ns, memory.dirty_pages)
    if sample.dirty_pages is not None and (old.most is None or sample.dirty_pages > old.most):
        memory.log_seen = old._replace(most=sample.dirty_pages)


def forget(memory: SessionHistory, unreadable: Iterable[str]) -> None:
    """Forget where rings stood that cannot be read any more."""
    for what in unreadable:
        kind, _, ring = what.partition(" ")
        if kind == "ring" and ring.isdecimal():
            memory.positions.pop(int(ring), None)
        elif what == "dirty log":
            memory.log_seen = memory.dirty_pages = None


def not_served(look: Look) -> Sayings:
    """What the driver makes available on a ring that runs is used within seconds

    It is not said of rings that the device fills, nor of one that is disabled. A back-end that has not read a kick does
    not run, or looks at another descriptor; one that has read it works on the request, or has lost it.
    """
    position = look.position
    if look.disabled or doing(position, look.purpose) is not Doing.NOT_SERVED or inflight_left(look):
        return FINE
    waits = position.waiting_ns or 0
    if waits < NOT_SERVED_NS:
        return FINE
    kick = ""
    if kick_waits(position):
        kick = "; its kick has not been read"
    elif position.unread_kicks == 0 and not position.no_notify:
        kick = "; its last kick has been read"
    words = f"vring {position.ring} is not served: {position.in_flight} in flight, nothing used for {duration(waits)}"
    return (Said(words + kick, _set_by(look)),)


def used_while_disabled(look: Look) -> Sayings:
    """A ring that the driver uses is enabled

    A back-end must not touch a ring that is disabled (vhost-user, Ring states), so what waits there waits for ever.
    """
    position = look.position
    if not look.disabled or position.waiting_ns is None or look.purpose is Purpose.FILLED:
        return FINE
    enabled = look.ring.enabled
    by = () if enabled is None or not enabled.by else (enabled.by,)
    words = f"vring {position.ring} is disabled, and {position.in_flight} in flight wait"
    return (Said(words + (", kicked" if position.unread_kicks else ""), (*by, *_set_by(look))),)


def no_buffers(look: Look) -> Sayings:
    """The driver gives a ring that the device fills room for what may come"""
    position = look.position
    if doing(position, look.purpose) is not Doing.NO_BUFFERS or look.disabled:
        return FINE
    if position.moved_ns is None and not position.used:
        return FINE  # it has never begun: no driver, or one that does not need this ring
    words = f"vring {position.ring} has no buffers: the driver has made none available since index {position.available}"
    return (Said(words, _set_by(look)),)


def used_ahead(look: Look) -> Sayings:
    """The used index of a split ring is not ahead of the available one

    Indexes further apart than the ring is large are not judged: which side has jumped is not seen.
    """
    position = look.position
    ahead = 0x10000 - position.in_flight
    if position.packed or position.in_flight <= position.size or ahead > position.size:
        return FINE
    at = f"available {position.available}, used {position.used}"
    words = f"the used index of vring {position.ring} is {ahead} ahead of the available one"
    return (Said(f"{words}: {at}, of a ring with {position.size} descriptors", _set_by(look)),)


def index_jumps(look: Look) -> Sayings:
    """The indexes of a split ring are not further apart than the ring is large

    It is said of a ring that stands still only: while one moves, its indexes are read at different times. The driver
    writes the available index, so it is to blame unless the used one was seen to go back.
    """
    position = look.position
    apart = position.in_flight
    if position.packed or position.waiting_ns is None or not position.size < apart < 0x10000 - position.size:
        return FINE
    back = look.before is not None and (position.used - look.before.used) & 0xFFFF >= 0x8000
    side = Side.BACKEND if back else Side.FRONTEND
    words = f"the indexes of vring {position.ring} are {apart} apart, of a ring with {position.size} descriptors"
    return (Said(f"{words}: available {position.available}, used {position.used}", _set_by(look), side),)


def base_ahead(look: Look) -> Sayings:
    """The base of a split ring is not ahead of what the driver has made available

    The device looks for the next request at the base. It is said of a ring of which nothing was used since it started.
    """
    position, base = look.position, look.ring.base
    if position.packed or look.state.packed is not False or base is None or position.waiting_ns is None:
        return FINE
    ahead = (base.value - position.available) & 0xFFFF
    if position.moved_ns is not None or not look.runs or position.in_flight > position.size or not 0 < ahead < 0x8000:
        return FINE
    words = f"vring {position.ring} was started at base {base.value}, and its driver is at index {position.available}"
    return (Said(f"{words}: the device waits for one {ahead} ahead", tuple({base.by, *_set_by(look)} - {0})),)


def inflight_left(look: Look) -> Sayings:
    """After a reconnect the back-end takes up what is in flight by the in-flight buffer"""
    position, previous = look.position, look.memory.previous
    ran = previous is not None and any(index == position.ring for index, _ in previous.running)
    waits = position.waiting_ns or 0
    if not ran or not position.tracked or waits < NOT_SERVED_NS or look.disabled or look.purpose is Purpose.FILLED:
        return FINE
    since = "since" if position.moved_ns is None else f"for {duration(waits)}"
    inflight = look.state.inflight
    words = f"vring {position.ring} has {position.tracked} in flight by the in-flight buffer after a reconnect"
    by = () if inflight is None or not inflight.by else (inflight.by,)
    return (Said(f"{words}, and nothing was used {since}", (*by, *_set_by(look))),)


def interrupts_masked(look: Look) -> Sayings:
    """A driver that uses interrupts does not mask them for long without doing anything

    It masks them while it works, so one that has wanted them, has masked them, and does nothing more while something is
    used does not come back to its work. Not said of rings for sending: a driver takes back what was sent when it likes.
    """
    position, seen = look.position, look.memory.drivers.get(look.position.ring)
    if seen is None or not seen.masked or not position.no_interrupt or seen.available != position.available:
        return FINE
    masked_ns = look.time_ns - seen.since_ns
    sends = look.memory.device in (None, "net") and look.purpose is not Purpose.FILLED
    if masked_ns < NOT_SERVED_NS or sends or position.used == seen.used:
        return FINE
    used = (position.used - seen.used) % (position.size if position.packed else 0x10000)
    words = f"the driver masks interrupts of vring {position.ring} for {duration(masked_ns)} and does nothing"
    return (Said(f"{words}, while {used} were used", _set_by(look)),)


def dirty_pages_not_set(look: Look) -> Sayings:
    """While a migration logs, a ring that moves sets pages in the dirty log

    Its used ring is written each time something is used, and the front-end clears the log only now and then.
    """
    seen, position, ring = look.memory.log_seen, look.position, look.ring
    if seen is None or seen.most != 0 or position.moved_ns is None or ring.addresses is None:
        return FINE
    logged_ns = look.time_ns - seen.first_ns
    moves = position.moved_ns < MOVES_NS and logged_ns - position.moved_ns >= NOT_SERVED_NS
    if not moves or not ring.addresses.value.flags & VRING_F_LOG:
        return FINE
    words = f"vring {position.ring} moves, and in {duration(logged_ns)} of logging no page of the dirty log was set"
    return (Said(words, tuple({seen.by, ring.addresses.by} - {0})),)


def base_behind(step: Step) -> Sayings:
    """The base that a back-end answers is not behind what it has used

    Of split rings, whose used index was seen in memory before: it only grows.
    """
    index, base = step.values["index"], step.values["num"]
    known, ring = step.memory.positions.get(index), step.before.vrings.get(index)
    if known is None or ring is None or step.before.packed is not False:
        return FINE
    number, _, position = known
    told = (ring.base, ring.addresses, ring.num)
    since = max(step.before.regions_by, *(seen.by for seen in told if seen is not None), 0)
    behind = (position.used - base) & 0xFFFF
    if position.packed or number < since or not 0 < behind < 0x8000:
        return FINE
    words = f"the base of vring {index} is answered as {base}, and its used index was {position.used} already"
    return (Said(f"{words}: {behind} would be used again", (number,)),)


def _set_by(look: Look) -> tuple[int, ...]:
    kick = look.ring.kick
    return (kick.by,) if kick is not None and kick.by else ()
