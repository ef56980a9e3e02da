"""The driver's half of a packed ring, one request at a time. Source: VIRTIO 1.3, "Packed Virtqueues".

Knows no messages, and no buffers but by their guest addresses.
"""

from __future__ import annotations

import struct

from vusniff.demo.memory import DESC_NEXT, DESC_WRITE, GuestMemory

AVAILABLE, USED = 1 << 7, 1 << 15
_DESCRIPTOR = struct.Struct("<QIHH")
_FLAGS = 14
"""Offset of the flags in a descriptor."""


class PackedRing:
    """The descriptors and the two wrap counters of a driver that waits for each request."""

    def __init__(self, memory: GuestMemory, size: int, descriptors: int) -> None:
        """``descriptors`` is a user address."""
        self.size = size
        self._table = memory.user(descriptors, 16 * size)
        self._next, self._wrap = 0, True
        self._head, self._head_wrap, self._length = 0, True, 0

    def close(self) -> None:
        """Let go of the memory."""
        self._table.release()

    def offer(self, parts: list[tuple[int, int, bool]]) -> None:
        """Make one chain available: guest address, length, and whether the device writes there."""
        self._head, self._head_wrap, self._length = self._next, self._wrap, len(parts)
        first = 0
        for number, (address, length, writable) in enumerate(parts):
            flags = (DESC_WRITE if writable else 0) | (DESC_NEXT if number < len(parts) - 1 else 0)
            flags |= AVAILABLE if self._wrap else USED
            where = self._next
            _DESCRIPTOR.pack_into(self._table, 16 * where, address, length, 0, 0 if number == 0 else flags)
            if number == 0:
                first = flags
            self._next += 1
            if self._next == self.size:
                self._next, self._wrap = 0, not self._wrap
        at = 16 * self._head + _FLAGS
        self._table[at : at + 2] = first.to_bytes(2, "little")

    def used(self) -> int | None:
        """Bytes that the device wrote, once it has used the chain; None before."""
        _, length, _, flags = _DESCRIPTOR.unpack_from(self._table, 16 * self._head)
        both = bool(flags & AVAILABLE), bool(flags & USED)
        return int(length) if both == (self._head_wrap, self._head_wrap) else None
