"""What stands between the messages of a capture, in memory: connections, their ends, losses, other evidence.

A device whose rings move has a sample every few seconds, for weeks. A program that follows such a capture
keeps the newest, and of older ones every second, every fourth, ... (`Events.thin`); all else is kept. Events are
numbered as they come: readers that take them one after the other go on by number, whatever was left out.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from operator import itemgetter
from typing import TYPE_CHECKING

from vusniff.record import Ends, Sample

if TYPE_CHECKING:
    from vusniff.capture.batch import Event

KEPT = 1 << 17
"""Positions of rings in samples that who follows a capture keeps: about 60 MB."""
Entry = tuple[int, "Event"]
"""Row before which it stands, and what it is."""


class Events:
    """All events in order, but for samples that were left out."""

    def __init__(self) -> None:
        self._kept: list[Entry] = []
        self._numbers = array("Q")
        self.total = 0
        """How many have come."""
        self.positions = 0
        """Positions of rings in the samples that are kept, and one for each sample."""
        self.thinned = 0
        """How often samples were left out."""

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def last(self) -> Event | None:
        """The last one; None before the first."""
        return self._kept[-1][1] if self._kept else None

    def append(self, row: int, event: Event) -> None:
        """The next one."""
        self._kept.append((row, event))
        self._numbers.append(self.total)
        self.total += 1
        self.positions += _weight(event)

    def since(self, number: int, until: int | None = None) -> list[Entry]:
        """Those that are kept, from a number on, and before another."""
        last = len(self._kept) if until is None else bisect_left(self._numbers, until)
        return self._kept[bisect_left(self._numbers, number) : last]

    def number_before(self, row: int) -> int:
        """The number of the first that is kept and stands before ``row`` or behind it."""
        at = bisect_left(self._kept, row, key=itemgetter(0))
        return self._numbers[at] if at < len(self._kept) else self.total

    def thin(self, most: int, taken: int) -> None:
        """Leave samples out where there are more than ``most`` positions in them, of those before number ``taken``.

        The newest quarter stays, and where each ring stood last. What tells least goes first: that rings just move.
        """
        if self.positions <= most:
            return
        for spared in (True, False):
            while self.positions > most * 3 // 4:
                left = self._left_out(most // 4, taken, spared) if most else self._samples(taken)
                if not left:
                    break
                self._leave_out(left)

    def _leave_out(self, left: set[int]) -> None:
        kept = [at for at in range(len(self._kept)) if at not in left]
        self.positions -= sum(_weight(self._kept[at][1]) for at in left)
        self._kept = [self._kept[at] for at in kept]
        self._numbers = array("Q", [self._numbers[at] for at in kept])
        self.thinned += 1

    def _samples(self, taken: int) -> set[int]:
        numbered = enumerate(zip(self._numbers, self._kept, strict=True))
        return {at for at, (number, (_, event)) in numbered if number < taken and isinstance(event, Sample)}

    def _left_out(self, newest: int, taken: int, spared: bool) -> set[int]:
        """Every second sample of each device; with ``spared`` of those that only say that rings move."""
        needed = {
            (event.ends, one.ring): at
            for at, (_, event) in enumerate(self._kept)
            if isinstance(event, Sample)
            for one in event.rings
        }
        last, found, due = set(needed.values()), set[int](), set[Ends]()
        older = self.positions - newest
        for at, (_, event) in enumerate(self._kept):
            if self._numbers[at] >= taken or older <= 0:
                break
            older -= _weight(event)
            if not isinstance(event, Sample) or at in last:
                continue
            if spared and (event.unreadable or any(one.waiting_ns is not None for one in event.rings)):
                continue
            if event.ends in due:
                found.add(at)
            due ^= {event.ends}
        return found


def _weight(event: Event) -> int:
    """What an event adds to `positions`: one more than the rings of a sample, 0 for anything else."""
    return 1 + len(event.rings) if isinstance(event, Sample) else 0
