"""Sends that wait for their call stacks, and all that comes after them: the order of events stays.

Owns how long is waited, and how much is held meanwhile. A message is never lost for its stack.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from vusniff.capture.stacks import stack_of
from vusniff.sources.probe.sends import Event, NewSocket, Send
from vusniff.sources.stacks.unwinder import Unwinder

WAIT_NS = 5_000_000_000
"""How long a message waits: a worker starts, and reads symbols of large programs."""
HELD_EVENTS, HELD_BYTES = 20_000, 64 << 20
_SOCKETS = 65536
LOST = stack_of((), "it was lost")
PAUSE_SECONDS = 0.005
"""Between two looks at what is still being unwound, when nothing else is left to do."""


class WaitingSends:
    """Events on their way from the kernel to the file."""

    def __init__(self, unwinder: Unwinder, is_unwanted: Callable[[NewSocket], bool]) -> None:
        """``is_unwanted`` says of a socket that nothing of it is going to be recorded."""
        self._unwinder = unwinder
        self._is_unwanted = is_unwanted
        self._unwanted: dict[int, None] = {}
        """Inodes of such sockets, the last that were met."""
        self._events: deque[Event] = deque()
        self._size = 0
        self._missing = 0

    def __bool__(self) -> bool:
        return bool(self._events)

    def stacks(self, piece: bytes) -> None:
        """Stacks as the kernel's ring gives them: before the sends that they belong to."""
        self._unwinder.take(piece)

    def through(self, events: list[Event]) -> list[Event]:
        """Takes what comes, and gives what need not wait any longer."""
        for event in events:
            self._take(event)
        self._unwinder.turn()
        out: list[Event] = []
        oldest = time.monotonic_ns() - WAIT_NS
        while self._events:
            event = self._events[0]
            if type(event) is Send:
                if event.stacked and self._unwinder.is_pending(event.tid, event.time):
                    full = len(self._events) > HELD_EVENTS or self._size > HELD_BYTES
                    if event.time > oldest and not full:
                        break
                event.stack = (self._unwinder.pop(event.tid, event.time) if event.stacked else None) or LOST
                self._size -= len(event.data)
            out.append(self._events.popleft())
        return out

    def _take(self, event: Event) -> None:
        self._events.append(event)
        if type(event) is Send:
            self._size += len(event.data)
            if event.stacked and event.inode in self._unwanted:
                self._unwinder.drop(event.tid, event.time)
                event.stacked = False
            elif event.stacked:
                self._unwinder.ask(event.tid, event.time)
        elif type(event) is NewSocket and self._is_unwanted(event):
            if len(self._unwanted) >= _SOCKETS:
                del self._unwanted[next(iter(self._unwanted))]
            self._unwanted[event.inode] = None

    def summary(self, kept: int, in_kernel: int, not_kept: int) -> tuple[str, int]:
        """How many stacks there were, and how many were lost, as a sentence, and this number."""
        lost = self._unwinder.lost.copy()
        if in_kernel:
            lost["the kernel's buffer was full"] = in_kernel
        if not_kept:
            lost["there were too many distinct ones"] = not_kept
        words = "; ".join(f"{count} because {why}" for why, count in lost.items())
        return f"{kept} call stacks, {lost.total()} lost{': ' if words else ''}{words}", lost.total()

    def close(self) -> None:
        """Ends what unwinds."""
        self._unwinder.close()
