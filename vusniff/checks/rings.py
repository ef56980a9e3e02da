"""Rules about where rings stand: asked with each ring of each sample, and when a ring is stopped.

What is read from memory is read while others write it. So a rule says only what no race explains.
"""

from __future__ import annotations

from collections.abc import Iterable

from vusniff.amounts import duration
from vusniff.analysis.rings import Doing, doing, kick_waits
from vusniff.checks.finding import FINE, Said, Sayings
from vusniff.checks.step import SessionHistory, Step
from vusniff.families.vhost_user.queues import Purpose, purpose
from vusniff.families.vhost_user.state import DeviceState, Vring, vring
from vusniff.record import Position
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

    @property
    def purpose(self) -> Purpose:
        """What the ring is for."""
        return purpose(self.memory.device, self.position.ring)

    @property
    def ring(self) -> Vring:
        """What was negotiated of it."""
        return vring(self.state, self.position.ring)

    @property
    def disabled(self) -> bool:
        """It is surely disabled."""
        return self.ring.enabled is not None and not self.ring.enabled.value


def remember(memory: SessionHistory, number: int, time_ns: int, position: Position) -> None:
    """Keep where a ring stood behind a message."""
    if position.ring in memory.positions or len(memory.positions) < MAX_RINGS:
        memory.positions[position.ring] = number, time_ns, position


def forget(memory: SessionHistory, unreadable: Iterable[str]) -> None:
    """What is not readable any more is not known to stand where it stood."""
    for what in unreadable:
        kind, _, ring = what.partition(" ")
        if kind == "ring" and ring.isdecimal():
            memory.positions.pop(int(ring), None)


def not_served(look: Look) -> Sayings:
    """What the driver makes available on a ring that runs is used within seconds

    It is not said of rings that the device fills, nor of one that is disabled. A back-end that has not read a kick does
    not run, or looks at another descriptor; one that has read it works on the request, or has lost it.
    """
    position = look.position
    if look.disabled or doing(position, look.purpose) is not Doing.NOT_SERVED:
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
