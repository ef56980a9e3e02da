"""How far a log's clock is from a capture's: found by messages that are in both."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from vusniff.capture.index import Index
from vusniff.meta import NO_MESSAGE, REPLY
from vusniff.sources.logs.facts import LoggedMessage
from vusniff.sources.logs.reading import facts

LOOK = 400
"""Messages of the log, and of the capture those of the same requests, that are looked at."""
FACTS = 100_000
"""Facts of a log among which they are looked for."""
STEP_NS = 10_000_000
"""Differences of the clocks that count as one."""
ROUNDS = 4
"""How often the nearest messages are looked for again, each time by what was found."""
FEWEST = 3
"""Messages that must agree."""


AROUND_NS = 10_000_000_000
"""Lines of a log so long before and behind a capture stand beside it."""


class Shift(NamedTuple):
    """What to add to the times of a log."""

    ns: int
    messages: int
    """Messages found in both that it rests on."""


def estimate(capture: Sequence[str | Path], log: str, wanted: str | None = None) -> Shift | None:
    """The difference of the clocks by which most messages of the log fall on such of the capture; None for none.

    Raises what reading them raises: SourceError and CaptureError.
    """
    told = [
        (fact.request, fact.reply, time_ns)
        for time_ns, one, fact in islice(facts(log, wanted, 0), FACTS)
        if isinstance(fact, LoggedMessage) and one.has_clock
    ][:LOOK]
    seen: dict[tuple[int, bool], list[int]] = {}
    with Index(capture) as index:
        index.update()
        for request, meta, time_ns in zip(index.request, index.meta, index.time_ns, strict=True):
            if not meta & NO_MESSAGE:
                times = seen.setdefault((request, bool(meta & REPLY)), [])
                if len(times) < LOOK:
                    times.append(time_ns)
    return best(told, seen)


def best(told: Sequence[tuple[int, bool, int]], seen: dict[tuple[int, bool], list[int]]) -> Shift | None:
    """The shift that most messages agree on; ``seen`` are times by request and whether it is a reply, ascending."""
    votes: Counter[int] = Counter()
    for request, reply, time_ns in told:
        votes.update({(other - time_ns) // STEP_NS for other in seen.get((request, reply), ())})
    if not votes:
        return None
    step = max(votes, key=lambda one: (votes[one] + votes[one + 1], -abs(one)))
    guess = (step + 1) * STEP_NS
    for _ in range(ROUNDS):
        found = []
        for request, reply, time_ns in told:
            times = seen.get((request, reply), [])
            at = bisect_left(times, time_ns + guess)
            near = min(times[max(0, at - 1) : at + 1], key=lambda other: abs(other - time_ns - guess), default=None)
            if near is not None and abs(near - time_ns - guess) <= STEP_NS:
                found.append(near - time_ns)
        if not found:
            return None
        guess = sorted(found)[len(found) // 2]
    if len(found) < min(FEWEST, len(told)):
        return None
    return Shift(guess, len(found))


def window(capture: Sequence[str | Path]) -> tuple[int, int]:
    """First and last time of the lines that are to stand beside a capture."""
    with Index(capture) as index:
        index.update()
        times = index.time_ns
        first, last = (min(times), max(times)) if len(times) else (0, (1 << 64) - 1)
    return max(0, first - AROUND_NS), last + AROUND_NS
