"""Guest memory as both peers see it: mapped regions, split virtqueues in them, and the inflight buffer.

Sources: virtio specification, "Split Virtqueues"; vhost-user specification, "Memory region description" and
"Inflight I/O tracking". Addresses come from the other end, so every access is checked against the regions.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
from collections.abc import Iterator

from vusniff.demo.wire import PeerError
from vusniff.values import dataclass

DESC_NEXT = 1
DESC_WRITE = 2
_DESCRIPTOR = struct.Struct("<QIHH")
_USED = struct.Struct("<II")
_U16 = struct.Struct("<H")


@dataclass(frozen=True, slots=True)
class GuestRegion:
    """One memory region of the memory table."""

    guest: int
    size: int
    user: int
    offset: int
    """Where it begins in its descriptor."""


class GuestMemory:
    """Mapped regions. Keeps no descriptor: a mapping outlives it."""

    def __init__(self) -> None:
        self._mapped: list[tuple[GuestRegion, mmap.mmap]] = []

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self._mapped)

    def add(self, region: GuestRegion, fd: int) -> None:
        """Map a region from offset 0 of its descriptor on, as libvhost-user does."""
        end = region.offset + region.size
        try:
            if region.size == 0 or end > os.fstat(fd).st_size:
                raise PeerError(f"a memory region of {region.size} bytes at {region.offset} is not in its descriptor")
            self._mapped.append((region, mmap.mmap(fd, end)))
        except (OSError, ValueError, OverflowError) as error:
            raise PeerError(f"cannot map a memory region of {region.size} bytes: {error}") from None

    def guest(self, address: int, size: int) -> memoryview:
        """``size`` bytes at a guest physical address."""
        for region, data in self._mapped:
            if region.guest <= address and address + size <= region.guest + region.size:
                start = address - region.guest + region.offset
                return memoryview(data)[start : start + size]
        raise PeerError(f"guest address {address:#x} (+{size}) lies in no memory region")

    def user(self, address: int, size: int) -> memoryview:
        """``size`` bytes at a user address of the front-end."""
        for region, data in self._mapped:
            if region.user <= address and address + size <= region.user + region.size:
                start = address - region.user + region.offset
                return memoryview(data)[start : start + size]
        raise PeerError(f"user address {address:#x} (+{size}) lies in no memory region")

    def close(self) -> None:
        """Unmap everything; what a view still holds goes with the view."""
        for _, data in self._mapped:
            with contextlib.suppress(BufferError):
                data.close()
        self._mapped.clear()


@dataclass(frozen=True, slots=True)
class RingLayout:
    """Where a split ring of ``size`` descriptors lies when its three parts follow each other."""

    start: int
    size: int

    @property
    def descriptors(self) -> int:
        """Offset of the descriptor table, aligned to 16."""
        return self.start

    @property
    def available(self) -> int:
        """Offset of the available ring, aligned to 2."""
        return self.start + 16 * self.size

    @property
    def used(self) -> int:
        """Offset of the used ring, aligned to 4."""
        return (self.available + 6 + 2 * self.size + 3) & ~3


def _publish(area: memoryview, index: int) -> None:
    """Set the index of an available or used ring, in one piece.

    The other side polls it, and `struct.Struct.pack_into` writes zeros before the value.
    """
    area[2:4] = (index & 0xFFFF).to_bytes(2, "little")


class SplitRing:
    """A split virtqueue; the driver's and the device's half of the work."""

    def __init__(self, memory: GuestMemory, size: int, descriptors: int, available: int, used: int) -> None:
        """The three addresses are user addresses."""
        if not 0 < size <= 32768 or size & (size - 1):
            raise PeerError(f"a split ring cannot have {size} descriptors")
        self.memory = memory
        self.size = size
        self._table = memory.user(descriptors, 16 * size)
        self._available = memory.user(available, 6 + 2 * size)
        self._used = memory.user(used, 6 + 8 * size)

    def close(self) -> None:
        """Let go of the memory."""
        for view in (self._table, self._available, self._used):
            view.release()

    # The driver's half.

    def offer(self, address: int, length: int, writable: bool) -> None:
        """Make one buffer at a guest address available; its descriptor is the one of the available index."""
        index: int = _U16.unpack_from(self._available, 2)[0]
        slot = index % self.size
        self.describe(slot, address, length, DESC_WRITE if writable else 0, 0)
        self.publish(slot)

    def describe(self, slot: int, address: int, length: int, flags: int, following: int) -> None:
        """Write one descriptor."""
        _DESCRIPTOR.pack_into(self._table, 16 * slot, address, length, flags, following)

    def publish(self, head: int, ahead: int = 1) -> None:
        """Make the chain that begins at a descriptor available; ``ahead`` is how far the available index goes."""
        index: int = _U16.unpack_from(self._available, 2)[0]
        _U16.pack_into(self._available, 4 + 2 * (index % self.size), head)
        _publish(self._available, index + ahead)

    def begin_at(self, base: int) -> None:
        """Set both indices of an empty ring."""
        _publish(self._available, base)
        _publish(self._used, base)

    def used(self) -> tuple[int, int, int]:
        """Used index, and descriptor and length of the newest used element."""
        index: int = _U16.unpack_from(self._used, 2)[0]
        head, length = _USED.unpack_from(self._used, 4 + 8 * ((index - 1) % self.size))
        return index, head, length

    # The device's half.

    def pending(self, base: int) -> int:
        """Number of chains available since index ``base``."""
        count: int = (_U16.unpack_from(self._available, 2)[0] - base) & 0xFFFF
        if count > self.size:
            raise PeerError(f"the available index of a ring with {self.size} descriptors is {count} ahead")
        return count

    def head(self, base: int) -> int:
        """First descriptor of the chain at available index ``base``."""
        head: int = _U16.unpack_from(self._available, 4 + 2 * (base % self.size))[0]
        if head >= self.size:
            raise PeerError(f"the available ring names descriptor {head} of {self.size}")
        return head

    def chain(self, head: int) -> Iterator[tuple[memoryview, bool]]:
        """The buffers of a chain and whether the device may write to them."""
        for _ in range(self.size):
            address, length, flags, following = _DESCRIPTOR.unpack_from(self._table, 16 * head)
            yield self.memory.guest(address, length), bool(flags & DESC_WRITE)
            if not flags & DESC_NEXT:
                return
            if following >= self.size:
                break
            head = following
        raise PeerError("a descriptor chain does not end")

    def give_back(self, head: int, length: int) -> int:
        """Put a chain on the used ring with the bytes written to it; the new used index."""
        index: int = _U16.unpack_from(self._used, 2)[0]
        _USED.pack_into(self._used, 4 + 8 * (index % self.size), head, length)
        _publish(self._used, index + 1)
        return index + 1 & 0xFFFF


_INFLIGHT_HEAD = struct.Struct("<QHHHH")
"""Features, version, number of descriptors, last batch head, used index."""
_INFLIGHT_ENTRY = struct.Struct("<B5xHQ")
"""In flight, next, counter."""


def inflight_size(ring_size: int) -> int:
    """Bytes of one queue's region, rounded up to 64 as DPDK does."""
    return (_INFLIGHT_HEAD.size + _INFLIGHT_ENTRY.size * ring_size + 63) & ~63


class InflightBuffer:
    """The shared record of what the back-end is working on; one region for each queue."""

    def __init__(self, fd: int, size: int, offset: int, queues: int, ring_size: int) -> None:
        self.each = inflight_size(ring_size)
        self.queues, self.ring_size = queues, ring_size
        self._counter = 0
        try:
            if size < queues * self.each or offset + size > os.fstat(fd).st_size:
                raise PeerError(f"an inflight buffer of {size} bytes does not hold {queues} rings of {ring_size}")
            self._data = mmap.mmap(fd, offset + size)
        except (OSError, ValueError, OverflowError) as error:
            raise PeerError(f"cannot map an inflight buffer of {size} bytes: {error}") from None
        self._offset = offset
        for queue in range(queues):
            start = offset + queue * self.each
            if _INFLIGHT_HEAD.unpack_from(self._data, start)[1] == 0:
                _INFLIGHT_HEAD.pack_into(self._data, start, 0, 1, ring_size, 0, 0)

    def close(self) -> None:
        """Unmap it."""
        self._data.close()

    def begin(self, queue: int, head: int) -> None:
        """A chain has been taken from the available ring."""
        self._counter += 1
        self._mark(queue, head, 1, self._counter)

    def finish(self, queue: int, head: int, used: int) -> None:
        """A chain has been put on the used ring, whose index is ``used`` now."""
        self._mark(queue, head, 0, 0)
        if queue < self.queues:
            _U16.pack_into(self._data, self._offset + queue * self.each + 14, used)

    def _mark(self, queue: int, head: int, busy: int, counter: int) -> None:
        if queue < self.queues and head < self.ring_size:
            at = self._offset + queue * self.each + _INFLIGHT_HEAD.size + _INFLIGHT_ENTRY.size * head
            _INFLIGHT_ENTRY.pack_into(self._data, at, busy, 0, counter)
