"""How long replies took, by request, over a capture or a session: from the columns of a timeline, in slices. Pure.

Nothing is read of the messages themselves, so a million of them take a fraction of a second.
"""

from __future__ import annotations

import time
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from vusniff.analysis.timeline import Timeline
from vusniff.channel import Channel
from vusniff.families.registry import family_of
from vusniff.meta import REPLY
from vusniff.values import dataclass, field

SLICE = 8192
"""Rows between two looks at the clock."""
LEAST_NS = 1_000
"""Where the histogram begins: what is faster is in its first bucket."""
BUCKETS = 28
"""Of a histogram: four for each power of ten, from 1 us to 10 s, and what is slower in the last."""
EDGES_NS = tuple(round(LEAST_NS * 10 ** (bucket / 4)) for bucket in range(1, BUCKETS))
"""Where one bucket ends and the next begins, nanoseconds."""


class RequestTimes(NamedTuple):
    """The replies to one request."""

    channel: Channel
    request: int
    name: str
    replies: int
    waiting: int
    """Requests that have no reply where one is due."""
    median_ns: int
    p99_ns: int
    """99 of 100 replies took no longer."""
    most_ns: int
    slowest: int
    """Number of the request that took longest; 0 where none was answered."""
    buckets: tuple[int, ...]
    """Replies by `EDGES_NS`."""


@dataclass(slots=True)
class _Times:
    times: array[int] = field(default_factory=lambda: array("q"))
    most_ns: int = -1
    slowest: int = 0


Key = tuple[Channel, int]


class ReplyTimes:
    """The times of all replies, found one slice at a time."""

    def __init__(self, timeline: Timeline, session: int | None = None) -> None:
        self._timeline = timeline
        self._rows: Sequence[int] = range(len(timeline)) if session is None else timeline.rows_of(session)
        self._session = session
        self._found: dict[Key, _Times] = {}
        self.seen = 0
        """Rows that were looked at."""

    @property
    def count(self) -> int:
        """Rows there are."""
        return len(self._rows)

    def run(self, seconds: float) -> bool:
        """Look for about so many seconds; True when all rows have been looked at."""
        deadline = time.monotonic() + seconds
        while self.seen < self.count:
            self._look(min(self.count, self.seen + SLICE))
            if time.monotonic() > deadline:
                break
        return self.seen >= self.count

    def _look(self, stop: int) -> None:
        timeline = self._timeline
        index, answers, places, place_of = timeline.index, timeline.answers, timeline.places, timeline.place_of
        meta, request, time_ns = index.meta, index.request, index.time_ns
        for row in self._rows[self.seen : stop]:
            asked = answers[row]
            if not asked or not meta[row] & REPLY:
                continue
            key = places[place_of[row]].channel, request[asked - 1]
            known = self._found.get(key)
            if known is None:
                known = self._found[key] = _Times()
            took = time_ns[row] - time_ns[asked - 1]
            known.times.append(took)
            if took > known.most_ns:
                known.most_ns, known.slowest = took, asked
        self.seen = stop

    def table(self) -> list[RequestTimes]:
        """All requests that were answered, or should have been; the slowest first."""
        waiting: Counter[Key] = Counter()
        for pending in self._timeline.tracker.pending():
            place = self._timeline.place(pending.number - 1)
            if self._session in (None, place.session):
                waiting[place.channel, self._timeline.index.request[pending.number - 1]] += 1
        keys = dict.fromkeys((*self._found, *waiting))
        made = [_request_times(key, self._found.get(key) or _Times(), waiting[key]) for key in keys]
        return sorted(made, key=lambda one: (-one.most_ns, -one.waiting, one.name))


def _request_times(key: Key, found: _Times, waiting: int) -> RequestTimes:
    channel, request = key
    name = family_of(channel).request_name(channel, request)
    times = sorted(found.times)
    if not times:
        return RequestTimes(channel, request, name, 0, waiting, 0, 0, 0, 0, (0,) * BUCKETS)
    buckets = [0] * BUCKETS
    for took in times:
        buckets[bucket_of(took)] += 1
    count = len(times)
    p99 = times[min(count - 1, -(-count * 99 // 100) - 1)]
    return RequestTimes(
        channel, request, name, count, waiting, times[(count - 1) // 2], p99, times[-1], found.slowest, tuple(buckets)
    )


def bucket_of(took_ns: int) -> int:
    """The bucket of a time."""
    return bisect_right(EDGES_NS, took_ns)
