"""Where the rings of a session stood over time, as numbers that a page draws. Bounded; knows no page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vusniff.analysis.rings import Doing, RingHistory, RingStanding, used_between
from vusniff.views import rings

RINGS = 32
"""Rings of a session that are drawn."""
POINTS = 200
"""Points of a ring: of more samples the longest wait and the most in flight of each stretch are drawn."""


def of_session(history: RingHistory, session: int, first_ns: int) -> list[dict[str, Any]]:
    """The rings of a session; each point is [message it stands before, seconds, in flight,
    used a second, state in words, whether it is not served]."""
    found: dict[int, list[RingStanding]] = {}
    for index in history.rings_of(session)[:RINGS]:
        found[index] = []
    for standing in history.standings(session):
        if standing.position.ring in found:
            found[standing.position.ring].append(standing)
    return [
        {
            "ring": index,
            "size": standings[-1].position.size,
            "samples": len(standings),
            "points": points_of(standings, first_ns),
        }
        for index, standings in found.items()
    ]


def points_of(standings: Sequence[RingStanding], first_ns: int) -> list[list[Any]]:
    """The points of a ring, at most `POINTS`; see `of_session`."""
    kept = sorted(_kept(standings))
    made: list[list[Any]] = []
    before: RingStanding | None = None
    for one in map(standings.__getitem__, kept):
        seconds = (one.time_ns - before.time_ns) / 1e9 if before else 0.0
        rate = used_between(before.position, one.position) / seconds if before and seconds > 0 else 0.0
        moves = one.doing is Doing.MOVING
        made.append(
            [
                one.number,
                round((one.time_ns - first_ns) / 1e9, 3),
                one.position.in_flight,
                round(rate) if moves else 0,
                rings.state_words(one),
                one.doing is Doing.NOT_SERVED,
            ]
        )
        before = one
    return made


def _kept(standings: Sequence[RingStanding]) -> set[int]:
    """Which samples are drawn: the first and the last, and of each stretch the worst."""
    count = len(standings)
    if count <= POINTS:
        return set(range(count))
    found = {0, count - 1}
    for stretch in range(POINTS - 2):
        start, stop = count * stretch // (POINTS - 2), count * (stretch + 1) // (POINTS - 2)
        found.add(max(range(start, stop), key=lambda at: _badness(standings[at])))
    return found


def _badness(one: RingStanding) -> tuple[int, int]:
    waits = one.position.waiting_ns or 0 if one.doing is Doing.NOT_SERVED else 0
    return waits, one.position.in_flight
