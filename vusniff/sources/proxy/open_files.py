"""How many more files this process may open, and how many are reserved for connections that are open already.

Owns the reserve. Numbers of descriptors are given out from the lowest, so the number of a new one tells how many are
open: a connection whose socket gets a number in the reserve is one too many. What is kept back is for the descriptors
that come with messages, which stay here only until they are sent on, and for a look at /proc.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from collections.abc import Iterable

from vusniff.families.vhost_user.protocol import MAX_FDS

RESERVE = 512
"""Descriptors kept back: those of two messages, and a few; half of all where that is fewer."""
_UNKNOWN = sys.maxsize
"""Highest number before anybody looked."""


def raise_limit() -> None:
    """Raises the limit of open files as far as allowed: 253 descriptors may come with every message."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class OpenFiles:
    """The reserve of this process."""

    def __init__(self) -> None:
        self._highest = _UNKNOWN
        """No descriptor above this number is open, but for the few that were opened since without being told here."""

    def is_reserved(self, fd: int) -> bool:
        """Whether the number of a new descriptor is one that is kept back."""
        self.came((fd,))
        return fd >= _limit() - _reserve()

    def came(self, fds: Iterable[int]) -> None:
        """These were opened, or came with a message."""
        self._highest = max(self._highest, *fds, 0)

    def has_room(self) -> bool:
        """Whether the descriptors of one more message will find room."""
        limit = _limit()
        if self._highest < limit - RESERVE:
            return True
        try:
            numbers = os.listdir("/proc/self/fd")
        except OSError:
            return False
        self._highest = max(map(int, numbers))
        return limit - len(numbers) >= min(MAX_FDS, _reserve() // 2)


def _limit() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else 1 << 30


def _reserve() -> int:
    return min(RESERVE, _limit() // 2)
