"""Which messages are about one vring: its story. Knows no screen."""

from __future__ import annotations

import time
from array import array

from vusniff.analysis.timeline import Timeline
from vusniff.families.vhost_user.protocol import STOPS_RING, VRING_INDEX_MASK, Channels, FrontendRequest
from vusniff.meta import REPLY, kind_of
from vusniff.record import FrameKind

F = FrontendRequest
BY_INDEX = frozenset(
    {
        F.SET_VRING_NUM,
        F.SET_VRING_ADDR,
        F.SET_VRING_BASE,
        *STOPS_RING,
        F.SET_VRING_ENABLE,
        F.SET_VRING_ENDIAN,
        F.VRING_KICK,
    }
)
"""Requests whose payload begins with the vring's index."""
BY_BITS = frozenset({F.SET_VRING_KICK, F.SET_VRING_CALL, F.SET_VRING_ERR})
"""Requests whose payload is a u64 with the index in its low byte."""


class Story:
    """The rows of a session's main channel that name a vring, and the replies to them; found one slice at a time."""

    def __init__(self, timeline: Timeline, session: int, vring: int) -> None:
        self.vring = vring
        self.rows = array("I")
        """What has been found, ascending."""
        self.seen = 0
        """Messages of the session that were looked at."""
        self._timeline = timeline
        self._all = timeline.rows_of(session)

    @property
    def count(self) -> int:
        """How many messages the session has."""
        return len(self._all)

    def run(self, seconds: float) -> bool:
        """Look for about so many seconds; True when all messages have been looked at."""
        deadline = time.monotonic() + seconds
        rows = self._all
        while self.seen < len(rows):
            row = rows[self.seen]
            self.seen += 1
            if self._tells(row):
                self.rows.append(row)
            if not self.seen & 255 and time.monotonic() > deadline:
                return False
        return True

    def _tells(self, row: int) -> bool:
        timeline, meta = self._timeline, self._timeline.index.meta[row]
        request = timeline.index.request[row]
        if request not in BY_INDEX and request not in BY_BITS:
            return False
        if kind_of(meta) is not FrameKind.MESSAGE or timeline.place(row).channel is not Channels.MAIN:
            return False
        other = timeline.answers[row]
        return named(timeline, other - 1 if other and meta & REPLY else row) == self.vring


def named(timeline: Timeline, row: int) -> int | None:
    """The vring that a request's bytes name."""
    data = timeline.frame(row).data
    if len(data) < 16:
        return None
    order = timeline.place(row).context.order
    if timeline.index.request[row] in BY_INDEX:
        return int.from_bytes(data[12:16], "little" if order == "little" else "big")
    return int.from_bytes(data[12:20], "little" if order == "little" else "big") & VRING_INDEX_MASK
