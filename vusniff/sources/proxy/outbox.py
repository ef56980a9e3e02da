"""What waits to be sent in one direction of a connection with fault rules, and how it is told.

Knows messages and descriptors, and no loop: when something is sent is `faulty`'s.
"""

from __future__ import annotations

import array
import os
import socket
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from vusniff.amounts import counted, duration
from vusniff.channel import Channel
from vusniff.record import Frame
from vusniff.sources.host.mounts import Closer
from vusniff.sources.proxy.plan import FaultPlan, Order
from vusniff.sources.proxy.relay import Direction

OUTBOX_MESSAGES, OUTBOX_BYTES, OUTBOX_DESCRIPTORS = 64, 1 << 20, 64
"""While so many wait, nothing more is read."""
_DONTWAIT = int(socket.MSG_DONTWAIT)
_PEEK = int(socket.MSG_PEEK | socket.MSG_DONTWAIT)


class Unit:
    """A message that is to go out."""

    __slots__ = (
        "at",
        "copies",
        "data",
        "descriptors",
        "due",
        "fault",
        "frame",
        "has_next",
        "holding",
        "order",
        "plan",
        "since",
    )

    def __init__(
        self, frame: Frame, descriptors: array.array[int], plan: FaultPlan | None, fault: int, now: float
    ) -> None:
        self.frame = frame
        self.descriptors = descriptors
        """Ours until they are sent."""
        self.plan = plan
        self.fault = fault
        """`Fault.id`; 0 for a message that is passed on as it is and waits for nothing of ours."""
        self.since = now
        self.holding = False
        self.has_next = False
        """Another one went out before it, as was asked."""
        self.take(plan)

    def take(self, plan: FaultPlan | None) -> None:
        """What is to be done with it now."""
        self.plan = plan
        self.data = self.frame.data if plan is None else plan.data
        if plan is not None and plan.most is not None:
            self.data = self.data[: plan.most]
        self.due = self.since + (plan.delay if plan is not None else 0.0)
        self.copies = 1 if plan is None else plan.times
        self.order = Order.IN_TURN if plan is None else plan.order
        self.at = 0


class FaultDirection(Direction):
    """What one end sends to the other, and what waits to be sent."""

    __slots__ = (
        *("arrived", "current", "fds", "fresh", "last", "outbox"),
        *("passes", "rule", "silent", "spares", "stall_until", "wake_at"),
    )

    def __init__(self, end: int, source: socket.socket, target: socket.socket, channel: Channel | None) -> None:
        super().__init__(end, source, target, channel)
        self.arrived: list[tuple[Frame, FaultPlan | None, int]] = []
        """Frames that were just received: what is to be done with each, and its `Fault.id`."""
        self.fds = array.array("i")
        """Descriptors of frames that are not whole yet; ours."""
        self.fresh = False
        """``data`` is what was just received, and is not to be sent as it is."""
        self.passes = False
        """``data`` is what was just received, and is sent as it is."""
        self.spares = isinstance(source, SparingSocket)
        self.outbox: deque[Unit] = deque()
        self.current: Unit | None = None
        """What is being sent."""
        self.last: FaultPlan | None = None
        """What was decided last."""
        self.silent = False
        """Nothing more is sent."""
        self.rule = 0
        """The rule that made something wait last."""
        self.stall_until = 0.0
        self.wake_at = 0.0
        """When a timer wakes this direction; 0: none does."""

    def rest(self, frame: Frame) -> FaultPlan | None:
        """What to do with the rest of a message that is too large for one frame."""
        last = self.last
        if last is None or (last.times and last.most is None):
            return None
        return FaultPlan(last.rule, last.text, last.actions, frame.data, times=0)

    @property
    def waits(self) -> bool:
        """A message that comes now is not sent at once, because of what is done to those before it."""
        if not (self.arrived or self.outbox or self.current or self.silent):
            return False
        units = (*self.outbox, *((self.current,) if self.current else ()))
        return self.silent or any(unit.fault for unit in units) or any(fault for _, _, fault in self.arrived)

    @property
    def is_empty(self) -> bool:
        return not (self.data or self.outbox or self.current)

    @property
    def is_full(self) -> bool:
        """More waits than is to be kept."""
        if len(self.outbox) >= OUTBOX_MESSAGES:
            return True
        if not self.outbox:
            return False
        size = sum(len(one.data) for one in self.outbox)
        return size >= OUTBOX_BYTES or sum(len(one.descriptors) for one in self.outbox) >= OUTBOX_DESCRIPTORS

    def drop(self, closer: Closer) -> None:
        super().drop(closer)
        for unit in (*self.outbox, *((self.current,) if self.current else ())):
            close_all(unit.descriptors, closer)
            unit.descriptors = array.array("i")
        self.outbox.clear()
        self.current = None
        close_all(self.fds, closer)
        self.fds = array.array("i")


def close_all(fds: array.array[int], closer: Closer) -> None:
    for fd in fds:
        closer.give_back(fd)


class SparingSocket:
    """A socket of which the last byte of what is received stays there until `settle`."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.owed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def settle(self) -> None:
        """Takes the byte that is still there."""
        if self.owed:
            self.owed = False
            self._sock.recv(1, _DONTWAIT)

    def recv(self, size: int, flags: int) -> bytes:
        self.settle()
        if size < 2:
            return self._sock.recv(size, flags)
        data = self._sock.recv(size - 1, flags)
        if len(data) == size - 1:
            data += self._sock.recv(1, _PEEK)
            self.owed = len(data) == size
        return data


def duplicates(fds: array.array[int]) -> array.array[int]:
    made = array.array("i")
    for fd in fds:
        try:
            made.append(os.dup(fd))
        except OSError:  # no room: the copies go without
            break
    return made


def difference(came: bytes, sent: bytes) -> tuple[tuple[int, bytes], ...]:
    """Where the bytes that are sent differ from those that came: one stretch."""
    if sent == came[: len(sent)]:
        return ()
    start, least = 0, min(len(came), len(sent))
    while start < least and came[start] == sent[start]:
        start += 1
    stop = len(sent)
    if len(came) == len(sent):
        while stop > start and came[stop - 1] == sent[stop - 1]:
            stop -= 1
    return ((start, sent[start:stop]),)


def sent_words(plan: FaultPlan, unit: Unit, extra: Sequence[int], follows: bool) -> str:
    """What is sent, in words behind ``the proxy``."""
    said = [f"sends it {duration(int((time.monotonic() - unit.since) * 1e9))} later" if plan.delay else "sends it"]
    if plan.changed:
        said.append(f"changed: {plan.changed}")
    if plan.times > 1:
        said.append(f"{plan.times} times")
    if plan.piece:
        said.append(f"in pieces of {counted(plan.piece, 'byte')}")
    if plan.most is not None:
        said.append(f"only its first {counted(len(unit.data), 'byte')}")
    if plan.kept is not None:
        count = len(unit.frame.descriptors)
        order = list(plan.kept) == sorted(plan.kept)
        said.append(f"with {len(plan.kept)} of {counted(count, 'descriptor')}" + ("" if order else " in another order"))
    if extra:
        said.append(f"with {counted(len(extra), 'descriptor')} more")
    if plan.order is Order.BEHIND:
        said.append("behind the next one" if unit.has_next else "alone, as no other came")
    if plan.order is Order.JOINED:
        said.append("in one piece with the next one" if follows else "alone, as no other came")
    return ", ".join(said)
