"""One epoll, its watched descriptors and its timers: what the proxy waits with.

It knows nothing of what it waits for. Everything is level-triggered; a descriptor that is watched for nothing (mask 0)
still tells hang-up and errors, which is why one that must stay quiet is ignored instead.
"""

from __future__ import annotations

import heapq
import itertools
import select
import time
from collections.abc import Callable


class Loop:
    """Waits for descriptors and times, and calls what was asked to be called."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watched: dict[int, tuple[int, Callable[[int], None]]] = {}
        self._gone: set[int] = set()
        """Ignored while the events of one wait are being told: their numbers may mean something else already."""
        self._timers: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()

    def watch(self, fd: int, mask: int, ready: Callable[[int], None]) -> None:
        """Calls ``ready(events)`` whenever one of ``mask`` (EPOLLIN, ...), hang-up or an error is there."""
        known = self._watched.get(fd)
        if known is None:
            self._epoll.register(fd, mask)
        elif known[0] != mask:
            self._epoll.modify(fd, mask)
        self._watched[fd] = mask, ready

    def ignore(self, fd: int) -> None:
        """Forgets a descriptor; to be called before it is closed."""
        if self._watched.pop(fd, None) is not None:
            self._epoll.unregister(fd)
            self._gone.add(fd)

    def after(self, seconds: float, call: Callable[[], object]) -> None:
        """Calls once, not before that many seconds."""
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), call))

    def turn(self) -> bool:
        """Waits for the next events or the next timer, and calls; False when only a timer was due."""
        timeout = max(self._timers[0][0] - time.monotonic(), 0) if self._timers else None
        events = self._epoll.poll(timeout)
        gone = self._gone
        gone.clear()
        for fd, mask in events:
            if fd not in gone:
                self._watched[fd][1](mask)
        if self._timers:
            now = time.monotonic()
            while self._timers and self._timers[0][0] <= now:
                heapq.heappop(self._timers)[2]()
        return bool(events)

    def close(self) -> None:
        """Frees the epoll; what was watched is not closed."""
        self._epoll.close()
