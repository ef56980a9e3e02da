"""Where the rings of a vhost-user device are in memory, by its state. Pure."""

from __future__ import annotations

from vusniff.families.places import Buffer, MemoryRegion, Places, RingPlace, Spot, Tracking
from vusniff.families.vhost_user.protocol import F_ACCESS_PLATFORM
from vusniff.families.vhost_user.state import Addresses, DeviceState, Vring, running, translate
from vusniff.record import Descriptor

F_EVENT_IDX = 1 << 29
F_IN_ORDER = 1 << 35
LATE_WORDS = "it was set up before the capture began, so where its rings are was not seen"
IOMMU_WORDS = "its addresses go through an IOMMU"


def places(state: DeviceState) -> Places:
    """What can be read of a device now: the rings that run, of those whose place was witnessed."""
    translated = state.features is not None and bool(state.features.value & F_ACCESS_PLATFORM)
    regions = tuple(
        MemoryRegion(
            region.descriptor or Descriptor(),
            region.mmap_offset,
            region.size,
            region.user_address,
            None if translated else region.guest_address,
        )
        for region in state.regions or ()
    )
    found: list[RingPlace] = []
    unreadable: list[tuple[int, str]] = []
    for ring in state.vrings.values():
        if not running(ring):
            continue
        place = _ring(state, ring)
        if isinstance(place, RingPlace):
            found.append(place)
        else:
            unreadable.append((ring.index, place))
    tracking, log = state.inflight and state.inflight.value, state.log and state.log.value
    return Places(
        regions,
        tuple(found),
        tuple(unreadable),
        None if state.fresh or found or unreadable else LATE_WORDS,
        Tracking(
            Buffer(tracking.descriptor, tracking.mmap_offset, tracking.mmap_size),
            tracking.num_queues,
            tracking.queue_size,
        )
        if tracking and tracking.descriptor
        else None,
        Buffer(log.descriptor, log.offset, log.size) if log and log.descriptor and log.size else None,
    )


def why_unknown(state: DeviceState, ring: Vring) -> str | None:
    """Why nothing can be said of the place of a ring; None where its size and addresses are known."""
    if ring.num is None:
        return "its size was not seen"
    if ring.addresses is None:
        return "its addresses were not seen"
    if state.features is None:
        return "SET_FEATURES was not seen, so whether it is split or packed is unknown"
    return None


def _ring(state: DeviceState, ring: Vring) -> RingPlace | str:
    """Where a ring is, or why it cannot be read."""
    why = why_unknown(state, ring)
    if why is not None:
        return why
    if not state.regions:
        return "no memory table was seen"
    assert ring.num is not None
    assert ring.addresses is not None
    spots = [_spot(state, *area) for area in areas(ring.addresses.value, ring.num.value, bool(state.packed))]
    descriptors, available, used = spots
    if descriptors is None or available is None or used is None:
        if state.features is not None and state.features.value & F_ACCESS_PLATFORM:
            return IOMMU_WORDS
        return "an address of it lies in no memory region"
    return place(state, ring, descriptors, available, used)


def place(state: DeviceState, ring: Vring, descriptors: Spot, available: Spot, used: Spot) -> RingPlace:
    """A ring whose parts are there; its size and the features are known."""
    features = state.features.value if state.features is not None else 0
    told = (ring.num, ring.addresses, ring.base, ring.life, state.features)
    packed = bool(state.packed)
    return RingPlace(
        ring.index,
        ring.num.value if ring.num is not None else 0,
        packed,
        descriptors,
        available,
        used,
        bool(features & F_EVENT_IDX),
        bool(features & F_IN_ORDER),
        "big" if ring.endian is not None and ring.endian.value == 1 and not packed else "little",
        max(state.regions_by, *(seen.by for seen in told if seen is not None)),
        ring.kick.value if ring.kick else None,
        ring.call.value if ring.call else None,
    )


def areas(addresses: Addresses, size: int, packed: bool) -> tuple[tuple[int, int], ...]:
    """Address and bytes of the three parts of a ring, as `RingPlace` has them (virtio 1.2, 2.7 and 2.8)."""
    available, used = (4, 4) if packed else (6 + 2 * size, 6 + 8 * size)
    return (addresses.descriptor, 16 * size), (addresses.available, available), (addresses.used, used)


def _spot(state: DeviceState, address: int, length: int) -> Spot | None:
    """Where a piece of memory is; None where that is not known, or not in one piece."""
    place = translate(state, address, length)
    if place is None:
        return None
    if state.features is not None and state.features.value & F_ACCESS_PLATFORM and length > 1:
        # The I/O address of the last byte may have another entry, which leads elsewhere.
        last = translate(state, address + length - 1)
        if last is None or (last.region, last.offset) != (place.region, place.offset + length - 1):
            return None
    return Spot(place.region, place.offset)
