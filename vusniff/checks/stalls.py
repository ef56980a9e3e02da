"""Rings that stand still where a session stands, by the last sample of each: what the rules about samples say, now.

A sample is written when something changes, so a ring that waits goes on waiting until there is another sample of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from vusniff.checks import rings
from vusniff.checks.finding import Said, Side
from vusniff.checks.rings import NOT_SERVED_NS, Look
from vusniff.checks.step import SessionHistory
from vusniff.families.vhost_user.state import DeviceState, RingState
from vusniff.values import replace

MAX_STALLS = 16
"""Rings of a session that are told."""


class Stall(NamedTuple):
    """One ring in which nothing moves."""

    ring: int
    rule: str
    """Slug of the rule that minds it."""
    said: Said
    number: int
    """The request behind which it was last sampled."""
    side: Side | None
    """Whose turn it is; None where that is the guest's driver."""

    @property
    def words(self) -> str:
        """A clause with its values."""
        return self.said.sentence


_KINDS = (
    ("vring-used-ahead", rings.used_ahead, Side.BACKEND),
    ("vring-index-jump", rings.index_jumps, Side.FRONTEND),
    ("vring-base-ahead", rings.base_ahead, Side.FRONTEND),
    ("vring-used-while-disabled", rings.used_while_disabled, Side.FRONTEND),
    ("vring-inflight-left", rings.inflight_left, Side.BACKEND),
    ("vring-not-served", rings.not_served, Side.BACKEND),
    ("vring-interrupts-masked", rings.interrupts_masked, None),
    ("vring-without-buffers", rings.no_buffers, None),
)
"""Rule, the function that judges, and whose turn it is."""
RULES = frozenset(rule for rule, _, _ in _KINDS)


def stalls(memory: SessionHistory, state: DeviceState, now_ns: int) -> tuple[Stall, ...]:
    """The rings of a session that stand still at a time."""
    return tuple(found for found, _ in zip(_stalls(memory, state, now_ns), range(MAX_STALLS), strict=False))


def _stalls(memory: SessionHistory, state: DeviceState, now_ns: int) -> Iterator[Stall]:
    for index in sorted(memory.positions):
        number, time_ns, position = memory.positions[index]
        since, ring = max(now_ns - time_ns, 0), state.vrings.get(index)
        if ring is None or ring.life is None or ring.life.value is RingState.STOPPED or rings.touched(ring) > number:
            continue
        waits, moved = position.waiting_ns, position.moved_ns
        now = replace(
            position,
            waiting_ns=None if waits is None else waits + since,
            moved_ns=None if moved is None else moved + since,
        )
        still = max(now.waiting_ns or 0, now.moved_ns or 0, since)
        if still < NOT_SERVED_NS:
            continue
        for rule, judge, side in _KINDS:
            said = judge(Look(state, memory, now, now_ns))
            if said:
                yield Stall(index, rule, said[0], number, said[0].side or side)
                break
