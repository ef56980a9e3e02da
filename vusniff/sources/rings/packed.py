"""The packed ring: where driver and device stand, by the flags of its descriptors (virtio 1.2, 2.8).

A descriptor has 16 bytes: address u64, length u32, buffer id u16, flags u16, little-endian. AVAIL is bit 7 of the
flags, USED bit 15. Event suppression has 4 bytes: offset in bits 0-14 and wrap counter in bit 15 of a u16, flags u16
(0 enable, 1 disable, 2 at one descriptor).

The driver writes AVAIL as its wrap counter, slot by slot: it stands where that bit changes. Before it lie the slots
that are available and not used, of which AVAIL and USED differ. A device marks a chain used by its first slot only, and
with VIRTIO_F_IN_ORDER many buffers by the first slot of all: the rest still look available. The used descriptor names
the buffer, and so does the last slot of what it stands for, so that rest is found and not counted. A single slot that
has the id of the buffer used before it looks the same; it is taken for such a rest. Once the driver has written over
the slot that was marked last, the rest counts as in flight until the next buffer is used.
"""

from __future__ import annotations

import struct

from vusniff.families.places import RingPlace
from vusniff.record import Position

SLOT = 16
"""Bytes of a descriptor."""
EVENT = 4
"""Bytes of an event suppression structure."""
NEXT, INDIRECT = 1, 4
_TOP = bytes(byte >> 7 for byte in range(256))
"""A byte -> its highest bit."""
_FLAGS_DISABLE, _FLAGS_SLOT = 1, 2
_pair = struct.Struct("<HH").unpack_from
_tail = struct.Struct("<QIHH").unpack_from


def decode(place: RingPlace, slots: bytes, driver: bytes, device: bytes) -> Position:
    """Where it stands, by ``size`` descriptors and the two event suppression structures."""
    size = place.size
    available, used = slots[14::SLOT].translate(_TOP), slots[15::SLOT].translate(_TOP)
    first = available[0]
    at = available.find(1 - first)
    if at < 0:  # no change: the driver stands at the first slot, and is to write the other value there
        at, wrap = 0, 1 - first
    else:
        wrap = first
    differ = (int.from_bytes(available, "big") ^ int.from_bytes(used, "big")).to_bytes(size, "big")
    run = size - 1 - (differ[at:] + differ[:at]).rfind(0)
    if 0 < run < size:
        run -= _used_with_the_last(slots, size, at, run, place.in_order)
    driver_event, driver_flags = _pair(driver)
    device_event, device_flags = _pair(device)
    return Position(
        place.index,
        size,
        True,
        at,
        (at - run) % size,
        run,
        bool(wrap),
        bool(wrap) if run <= at else not wrap,
        driver_flags & 3 == _FLAGS_DISABLE,
        device_flags & 3 == _FLAGS_DISABLE,
        driver_event if place.event_index and driver_flags & 3 == _FLAGS_SLOT else None,
        device_event if place.event_index and device_flags & 3 == _FLAGS_SLOT else None,
    )


def _used_with_the_last(slots: bytes, size: int, at: int, run: int, in_order: bool) -> int:
    """How many of the ``run`` slots before ``at`` belong to the buffer, or batch, that the slot before them is used
    for."""
    begin = (at - run) % size
    address, _, buffer, _ = _tail(slots, (begin - 1) % size * SLOT)
    if not address:
        return 0  # never written
    if in_order:
        return _last_of(slots, size, begin, run, buffer)
    for count in range(run):
        _, _, name, flags = _tail(slots, (begin + count) % size * SLOT)
        if flags & INDIRECT and not count:
            return 0  # a chain does not go on with one
        if not flags & NEXT:
            return count + 1 if name == buffer else 0
    return 0


def _last_of(slots: bytes, size: int, begin: int, run: int, buffer: int) -> int:
    """How many of the ``run`` slots from ``begin`` there are up to the end of a buffer; 0 where it is not there."""
    low, high = buffer.to_bytes(2, "little")
    lows = slots[12::SLOT]
    for first, last, before in ((begin, min(begin + run, size), 0), (0, begin + run - size, size - begin)):
        found = lows.find(low, first, last) if first < last else -1
        while found >= 0:
            at = found * SLOT
            if slots[at + 13] == high and not slots[at + 14] & NEXT:
                return found - first + before + 1
            found = lows.find(low, found + 1, last)
    return 0
