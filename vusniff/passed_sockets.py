"""Sockets that were passed as descriptors, remembered until their connection is met: by inode, with what they are for.

The one place that says how many are remembered. Only sockets are, because nothing else becomes a connection; when there
are too many the oldest is forgotten, because most sockets that are passed never speak; and a socket that is closed is
forgotten, because its inode may be given to another.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from vusniff.record import Descriptor

LIMIT = 1 << 16
"""Passed sockets remembered: what has not spoken when so many came after it is taken not to be going to."""
_DIGITS = 20
"""Of the longest inode number (u64)."""

Purpose = TypeVar("Purpose")


class PassedSockets(Generic[Purpose]):
    """Inode -> what the socket was passed for."""

    def __init__(self) -> None:
        self._purposes: dict[int, Purpose] = {}
        """In the order in which they were passed last."""

    def __len__(self) -> int:
        return len(self._purposes)

    def note(self, descriptor: Descriptor, purpose: Purpose) -> int | None:
        """Remembers a descriptor if it is a socket whose inode is known; returns that inode."""
        kind, _, number = (descriptor.identity or "").partition(":")
        if kind != "socket" or len(number) > _DIGITS or not (number.isascii() and number.isdecimal()):
            return None
        inode = int(number)
        self._purposes.pop(inode, None)
        self._purposes[inode] = purpose
        if len(self._purposes) > LIMIT:
            del self._purposes[next(iter(self._purposes))]
        return inode

    def get(self, inode: int | None) -> Purpose | None:
        """What a socket was passed for; None for one that was not passed."""
        return None if inode is None else self._purposes.get(inode)

    def forget(self, inode: int | None) -> None:
        """The socket has become a connection that is known, or is closed."""
        if inode is not None:
            self._purposes.pop(inode, None)
