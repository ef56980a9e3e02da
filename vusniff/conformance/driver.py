"""The driver's half of the rings of a scenario: puts requests on them, kicks, and waits for what comes back.

Owns our view of guest memory. Knows no messages. Split rings; `vusniff.conformance.packed` has the other kind.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from vusniff.conformance.packed import PackedRing
from vusniff.conformance.places import BUFFERS, HIGH_REGION, LOW_REGION, RING_SIZE, USER, layout
from vusniff.conformance.things import Things
from vusniff.demo.memory import DESC_NEXT, DESC_WRITE, GuestMemory, SplitRing
from vusniff.demo.wire import readable

BUFFER = 4096
"""Bytes between two buffers."""
LOOK_S = 0.005
"""Between two looks at a ring whose call does not come."""
UNSURE_S = 1.0
"""A frame is waited for so long where nothing may answer it, in seconds."""


class RingDriver:
    """All rings of one scenario."""

    def __init__(self, things: Things, patience: float, features: int = 0) -> None:
        """``patience`` is in seconds."""
        self.features = features
        self.whole = False
        self.high = False
        """New buffers lie above 4 GiB."""
        self.packed = False
        self.echoed = False
        """A frame was received."""
        self.answers = False
        """Frames were answered before."""
        self.written: list[int] = []
        """Guest addresses of the buffers that the device may write to."""
        self.sizes: dict[int, int] = {}
        """DrivenRings that have another size than the usual."""
        self._things = things
        self._patience = patience
        self._memory: GuestMemory | None = None
        self._rings: dict[int, SplitRing] = {}
        self._packed: dict[int, PackedRing] = {}
        self._taken: dict[int, int] = {}
        """Used index up to which was looked at, by ring."""
        self._slots: dict[int, int] = {}
        self._buffers = 0
        self._calls: dict[int, int] = {}
        """How often a call was seen, by ring."""

    def close(self) -> None:
        """Let go of the memory."""
        for ring in self._rings.values():
            ring.close()
        for packed in self._packed.values():
            packed.close()
        if self._memory is not None:
            self._memory.close()

    def forget(self) -> None:
        """The guest begins anew, in other memory: all rings are empty and stand at 0, in their usual size."""
        self.close()
        self._memory = None
        self._rings.clear()
        self._packed.clear()
        self._taken.clear()
        self._slots.clear()
        self.sizes.clear()

    def ring(self, index: int) -> SplitRing:
        """Our half of a ring."""
        if self._memory is None:
            self._memory = GuestMemory()
            for region in (LOW_REGION, HIGH_REGION):
                self._memory.add(region, self._things.fd("ram"))
        if index not in self._rings:
            size = self.sizes.get(index, RING_SIZE)
            where = layout(index, size)
            parts = (USER + at for at in (where.descriptors, where.available, where.used))
            self._rings[index] = SplitRing(self._memory, size, *parts)
            self._taken.setdefault(index, 0)
        return self._rings[index]

    def begin_at(self, index: int, base: int) -> None:
        """An empty ring, both of whose indices stand at ``base``."""
        self.ring(index).begin_at(base)
        self._taken[index] = base

    def used(self, index: int) -> int:
        """The used index of a ring."""
        return self.ring(index).used()[0]

    def kick(self, index: int) -> None:
        """Signal the kick descriptor, where there is one."""
        name = f"event:kick{index}"
        if self._things.made(name):
            os.eventfd_write(self._things.fd(name), 1)

    def packed_ring(self, index: int) -> PackedRing:
        """Our half of a packed ring."""
        if index not in self._packed:
            self.ring(index)
            assert self._memory is not None
            size = self.sizes.get(index, RING_SIZE)
            self._packed[index] = PackedRing(self._memory, size, USER + layout(index, size).descriptors)
        return self._packed[index]

    def ask(self, ring: int, parts: Sequence[bytes | int]) -> list[bytes] | None:
        """See `vusniff.conformance.devices.DrivenRings`."""
        views = self.submit(ring, parts)
        if not self._wait(ring):
            return None
        return [bytes(view) for view, part in zip(views, parts, strict=True) if isinstance(part, int)]

    def submit(self, index: int, parts: Sequence[bytes | int]) -> list[memoryview]:
        """Make one request available, and kick."""
        if self.packed:
            return self._submit_packed(index, parts)
        ring = self.ring(index)
        first = self._slots.get(index, 0)
        if first + len(parts) > ring.size:
            first = 0
        self._slots[index] = first + len(parts)
        views = []
        for at, part in enumerate(parts, first):
            size = part if isinstance(part, int) else len(part)
            address, view = self._buffer(size)
            if isinstance(part, int):
                self.written.append(address)
            view[:] = bytes(size) if isinstance(part, int) else part
            views.append(view)
            more = DESC_NEXT if at < first + len(parts) - 1 else 0
            ring.describe(at, address, size, more | (DESC_WRITE if isinstance(part, int) else 0), at + 1 if more else 0)
        ring.publish(first)
        self.kick(index)
        return views

    def _submit_packed(self, index: int, parts: Sequence[bytes | int]) -> list[memoryview]:
        ring = self.packed_ring(index)
        views, chain = [], []
        for part in parts:
            size = part if isinstance(part, int) else len(part)
            address, view = self._buffer(size)
            view[:] = bytes(size) if isinstance(part, int) else part
            views.append(view)
            chain.append((address, size, isinstance(part, int)))
        ring.offer(chain)
        self.kick(index)
        return views

    def _buffer(self, size: int) -> tuple[int, memoryview]:
        region = HIGH_REGION if self.high else LOW_REGION
        offset = BUFFERS + self._buffers * BUFFER % BUFFERS
        self._buffers += 1
        assert self._memory is not None
        address = region.guest + offset
        return address, self._memory.guest(address, size)

    def post(self, ring: int, size: int) -> None:
        """See `vusniff.conformance.devices.DrivenRings`."""
        (self._posted,) = self.submit(ring, [size])

    def received(self, ring: int) -> bytes | None:
        """See `vusniff.conformance.devices.DrivenRings`."""
        if not self._wait(ring, self._patience if self.answers else min(self._patience, UNSURE_S)):
            return None
        self.echoed = True
        length = (self.packed_ring(ring).used() or 0) if self.packed else self.ring(ring).used()[2]
        return bytes(self._posted[:length])

    def _wait(self, index: int, patience: float | None = None) -> bool:
        """Until the device has used one more; False when it has not in time."""
        call = f"event:call{index}"
        fds = [self._things.fd(call)] if self._things.made(call) else []
        deadline = time.monotonic() + (self._patience if patience is None else patience)
        while not self.moved(index):
            if time.monotonic() > deadline:
                return False
            for fd in readable(fds, LOOK_S):
                os.eventfd_read(fd)
                self._calls[index] = self._calls.get(index, 0) + 1
        if not self.packed:
            self._taken[index] = self._taken[index] + 1 & 0xFFFF
        return True

    def called(self, index: int) -> bool:
        """Whether the call descriptor is signalled, in time, or was while a request was waited for."""
        call = self._things.fd(f"event:call{index}")
        return self._calls.get(index, 0) > 0 or bool(readable([call], self._patience))

    def moved(self, index: int) -> bool:
        """Whether the device has used more than was looked at."""
        if self.packed:
            return self.packed_ring(index).used() is not None
        return self.used(index) != self._taken[index]

    def was_called(self, index: int) -> bool:
        """Whether the call descriptor was signalled since it was read last; that is forgotten now."""
        self._calls.pop(index, None)
        try:
            return os.eventfd_read(self._things.fd(f"event:call{index}")) > 0
        except BlockingIOError:
            return False
