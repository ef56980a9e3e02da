"""Steps that many scenarios share: negotiation, memory, rings. Pure data from pure functions."""

from __future__ import annotations

from collections.abc import Sequence

from vusniff.conformance.places import HIGH_REGION, LOW_REGION, USER, layout
from vusniff.conformance.scenario import Body, Demand, Expect, Say, Start, Step
from vusniff.demo.memory import GuestRegion
from vusniff.families.vhost_user.protocol import VRING_NOFD, FrontendRequest

F = FrontendRequest
N, R, D, ANY, REFUSED = Expect.NOTHING, Expect.REPLY, Expect.DONE, Expect.ANY, Expect.REFUSED

ASK_FEATURES = Say(F.GET_FEATURES, expect=R, check="a number", keep="offered")
ASK_PROTOCOL = Say(F.GET_PROTOCOL_FEATURES, expect=R, check="a number", keep="protocol offered")
SET_PROTOCOL = Say(F.SET_PROTOCOL_FEATURES, ("Q", "protocol"), expect=N)
OWNER = Say(F.SET_OWNER, expect=N)
SET_FEATURES = Say(F.SET_FEATURES, ("Q", "features"))
PACKED_BASE = 0x8000_8000
"""Where a packed ring begins: both indices at 0, both wrap counters at 1."""
HELLO: tuple[Step, ...] = (ASK_FEATURES, ASK_PROTOCOL, SET_PROTOCOL, OWNER)
"""All that comes before the features are set."""
UP: tuple[Step, ...] = (*HELLO, SET_FEATURES)
"""A connection on which everything is negotiated."""


def table(regions: Sequence[GuestRegion], count: int | None = None) -> Body:
    """A memory table; ``count`` is the number of regions that it says it has."""
    form = "II" + "QQQQ" * len(regions)
    values = [value for one in regions for value in (one.guest, one.size, one.user, one.offset)]
    return (form, len(regions) if count is None else count, 0, *values)


def share(*regions: GuestRegion, expect: Expect = D, fds: tuple[str, ...] | None = None) -> Say:
    """The memory table of some regions of the memory."""
    return Say(F.SET_MEM_TABLE, table(regions), ("ram",) * len(regions) if fds is None else fds, expect)


def single(region: GuestRegion) -> Body:
    """A single memory region."""
    return ("QQQQQ", 0, region.guest, region.size, region.user, region.offset)


MEMORY = share(LOW_REGION, HIGH_REGION)


def ring_step(step: Start, ring: int, word: str) -> Say:
    """One message of those that set up a ring."""
    where = layout(ring, step.size)
    expect = step.expect
    match word:
        case "num":
            return Say(F.SET_VRING_NUM, ("II", ring, step.size), expect=expect)
        case "base":
            first = PACKED_BASE if step.packed else step.base
            base = f"base{ring}" if step.base == "as stopped" else first
            return Say(F.SET_VRING_BASE, ("II", ring, base), expect=expect)
        case "addr":
            parts = (USER + where.descriptors, USER + where.used, USER + where.available)
            return Say(F.SET_VRING_ADDR, ("IIQQQQ", ring, int(step.log), *parts, where.used), expect=expect)
        case "kick":
            if step.polled:
                return Say(F.SET_VRING_KICK, ("Q", ring | VRING_NOFD), demand=Demand.SHOULD)
            return Say(F.SET_VRING_KICK, ("Q", ring), (f"event:kick{ring}",), expect)
        case "call":
            if step.silent:
                return Say(F.SET_VRING_CALL, ("Q", ring | VRING_NOFD), expect=expect)
            return Say(F.SET_VRING_CALL, ("Q", ring), (f"event:call{ring}",), expect)
        case "err":
            return Say(F.SET_VRING_ERR, ("Q", ring), (f"event:err{ring}",), expect)
        case _:
            return Say(F.SET_VRING_ENABLE, ("II", ring, 1), expect=expect)


def ring_steps(step: Start, ring: int) -> tuple[Say, ...]:
    """The messages that set up one ring."""
    return tuple(ring_step(step, ring, word) for word in step.order)


def stop_step(ring: int, packed: bool, demand: Demand) -> Say:
    """The message that stops one ring, which stands where it was used up to."""
    if packed:
        return Say(F.GET_VRING_BASE, ("II", ring, 0), expect=R, check="indices", demand=demand)
    stands = ("II", ring, f"used{ring}")
    return Say(F.GET_VRING_BASE, ("II", ring, 0), expect=R, check="base", equals=stands, demand=demand)


RUN: tuple[Step, ...] = (*UP, MEMORY, Start())
"""A device that runs."""
