"""Which reply answers which request: the one place that pairs them, for every family, from headers alone.

Replies come in the order of their requests and have their code, or they name the request by an id (`Family.identify`).

In order:

* A request that must be answered waits for its reply. One that only may be waits too, and is given up when a later one
  is answered. Which is which says `Family.due`.
* A reply answers the oldest request of its code that waits; else, against the protocol, the last one of its code.
* Behind a loss a reply may answer a request that nobody saw: what was asked before the loss is answered by nothing.

Memory: at most `MAX_WAITING` requests and `MAX_CODES` codes of a connection.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from itertools import islice
from typing import NamedTuple

MAX_WAITING = 4096
"""Requests of one connection that may wait for their replies; the oldest is given up beyond that."""
MAX_CODES = 256
"""Codes of requests that a connection is known to have sent."""


class Pairing(enum.IntEnum):
    """How a message and its answer fit together. It is kept in one byte of each message."""

    NONE = 0
    """No pairing: it has no header, or its side does not send such messages."""
    UNASKED = 1
    """A request that has no reply and does not ask for one."""
    OPTIONAL = 2
    """A request that may have a reply: whether it has one is not known, or up to the other side."""
    DUE = 3
    """A request that must be answered."""
    DUE_WITH_DESCRIPTORS = 4
    """`DUE` when descriptors come with it, else `UNASKED`. Only in `Family.due`, of no message."""
    FITS = 5
    """A reply to the request whose turn it is."""
    OUT_OF_ORDER = 6
    """A reply to a request while an older one waits that must be answered."""
    NOT_ASKED = 7
    """A reply to a request that has none and did not ask for one."""
    AGAIN = 8
    """A reply to a request that was answered already."""
    WRONG = 9
    """A reply to nothing: no request of its code was seen."""


class Pending(NamedTuple):
    """A request that may be answered."""

    number: int
    time_ns: int
    request: int
    connection: int
    due: Pairing = Pairing.DUE


Due = Mapping[int, Pairing]
"""Request code times 2, plus 1 where its header asks for a reply -> whether it is answered. Others may be."""
NOTHING_DUE: Due = {}

_UNASKED, _DUE, _FITS = Pairing.UNASKED, Pairing.DUE, Pairing.FITS


class Pairs:
    """The requests of one connection that wait for a reply."""

    __slots__ = ("_identified", "_last", "_waiting")

    def __init__(self) -> None:
        self._waiting: list[Pending] = []  # nearly always short, and much smaller than a deque
        self._last: dict[int, Pending | None] = {}
        """Last request of each code; None when it, or the one before it, was answered last."""
        self._identified: dict[tuple[int, int], Pending] = {}
        """End and id of a request -> it, in the order in which they were sent."""

    def ask(self, pending: Pending) -> None:
        """A request, where replies come in order."""
        if pending.due > _UNASKED:
            self._waiting.append(pending)
            if len(self._waiting) > MAX_WAITING:
                del self._waiting[0]
        last, code = self._last, pending.request
        if code in last or len(last) < MAX_CODES:
            last[code] = pending

    def answer(self, code: int) -> tuple[Pending | None, Pairing]:
        """What a reply with this code answers, and how it fits. A second reply answers nothing."""
        waiting = self._waiting
        if waiting and waiting[0].request == code:
            self._last[code] = None
            return waiting.pop(0), _FITS
        for position, pending in enumerate(waiting):
            if pending.request == code:
                self._last[code] = None
                if any(older.due is _DUE for older in islice(waiting, position)):
                    del waiting[position]
                    return pending, Pairing.OUT_OF_ORDER
                del waiting[: position + 1]
                return pending, _FITS
        if code not in self._last:
            return None, Pairing.WRONG
        last, self._last[code] = self._last[code], None
        return (None, Pairing.AGAIN) if last is None else (last, Pairing.NOT_ASKED)

    def ask_by_id(self, end: int, which: int, pending: Pending) -> None:
        """A request of an end that its reply will name."""
        self._identified.pop((end, which), None)
        self._identified[end, which] = pending
        if len(self._identified) > MAX_WAITING:
            del self._identified[next(iter(self._identified))]

    def answer_by_id(self, asker: int, which: int) -> tuple[Pending | None, Pairing]:
        """What a reply answers that names a request of an end."""
        pending = self._identified.pop((asker, which), None)
        return pending, Pairing.WRONG if pending is None else _FITS

    def forget(self) -> None:
        """Messages were lost here."""
        self._waiting.clear()
        self._last.clear()
        self._identified.clear()

    @property
    def unanswered(self) -> list[Pending]:
        """Requests that wait for a reply that they must get, oldest first."""
        return [pending for pending in (*self._waiting, *self._identified.values()) if pending.due is _DUE]
