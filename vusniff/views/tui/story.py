"""Which messages are about one vring: its story. Knows no screen."""

from __future__ import annotations

from array import array

from vusniff.capture.batch import kind_of
from vusniff.protocol import VRING_INDEX_MASK, Channel, FrontendRequest
from vusniff.record import FrameKind
from vusniff.timeline import Timeline

F = FrontendRequest
BY_INDEX = frozenset(
    {
        F.SET_VRING_NUM,
        F.SET_VRING_ADDR,
        F.SET_VRING_BASE,
        F.GET_VRING_BASE,
        F.SET_VRING_ENABLE,
        F.SET_VRING_ENDIAN,
        F.VRING_KICK,
    }
)
"""Requests whose payload begins with the vring's index."""
BY_BITS = frozenset({F.SET_VRING_KICK, F.SET_VRING_CALL, F.SET_VRING_ERR})
"""Requests whose payload is a u64 with the index in its low byte."""


def vring_rows(timeline: Timeline, session: int, index: int) -> array[int]:
    """The rows of a session's main channel that name a vring, and the replies to them."""
    found = array("I")
    request_of, meta = timeline.index.request, timeline.index.meta
    for row in timeline.rows_of(session):
        request = request_of[row]
        if request not in BY_INDEX and request not in BY_BITS:
            continue
        if kind_of(meta[row]) is not FrameKind.MESSAGE or timeline.place(row).channel is not Channel.MAIN:
            continue
        other = timeline.answers[row]
        asked = other - 1 if other and meta[row] & 4 else row
        if named(timeline, asked) == index:
            found.append(row)
    return found


def named(timeline: Timeline, row: int) -> int | None:
    """The vring that a request's bytes name."""
    data = timeline.frame(row).data
    if len(data) < 16:
        return None
    order = timeline.place(row).context.order
    if timeline.index.request[row] in BY_INDEX:
        return int.from_bytes(data[12:16], "little" if order == "little" else "big")
    return int.from_bytes(data[12:20], "little" if order == "little" else "big") & VRING_INDEX_MASK
