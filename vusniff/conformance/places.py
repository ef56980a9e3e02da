"""Where things lie in guest memory: the same in every scenario, so that payloads are plain numbers.

One memfd. Its lower half is guest memory from 0 on, its upper half from 4 GiB on. Rings lie in the first megabyte,
buffers from the second on.
"""

from __future__ import annotations

from vusniff.demo.memory import GuestRegion, RingLayout

HALF = 2 << 20
RAM_SIZE = 2 * HALF
HIGH = 1 << 32
USER = 0x7F00_0000_0000
"""User address of guest address 0: any number, which only has to be the same in all messages."""
LOW_REGION = GuestRegion(0, HALF, USER, 0)
HIGH_REGION = GuestRegion(HIGH, HALF, USER + HIGH, HALF)
RING_STEP = 1 << 16
RING_SIZE = 256
BUFFERS = 1 << 20
"""Offset of the buffers in a region."""


def layout(ring: int, size: int = RING_SIZE) -> RingLayout:
    """Where a ring lies: offsets in memory, which are its guest addresses, too."""
    return RingLayout(RING_STEP * (ring + 1), size)


def parts(count: int) -> tuple[GuestRegion, ...]:
    """The lower half of memory, divided into ``count`` regions."""
    size = HALF // count & ~0xFFF
    return tuple(
        GuestRegion(n * size, HALF - n * size if n == count - 1 else size, USER + n * size, n * size)
        for n in range(count)
    )
