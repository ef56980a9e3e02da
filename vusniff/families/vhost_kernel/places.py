"""Where the rings of a device that the kernel serves are in memory, by its state. Pure.

The kernel is given addresses of the process that opened the device and no descriptor, so that is where they are read.
With VIRTIO_F_ACCESS_PLATFORM, and always of vDPA, a ring has I/O addresses, and the IOTLB messages say which addresses
of the process they are (drivers/vhost/vhost.c, vhost_vq_meta_fetch; drivers/vhost/vdpa.c, vhost_vdpa_va_map).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from vusniff.families.places import MemoryRegion, Places, RingPlace, Spot
from vusniff.families.vhost_kernel.state import KernelState
from vusniff.families.vhost_user.places import IOMMU_WORDS, LATE_WORDS, areas, why_unknown
from vusniff.families.vhost_user.places import place as ring_place
from vusniff.families.vhost_user.protocol import F_ACCESS_PLATFORM
from vusniff.families.vhost_user.state import DeviceState, Vring, running
from vusniff.record import Descriptor

_NOWHERE = Descriptor()
VDUSE_WORDS = "its memory belongs to the driver: it is read where the driver's own device is seen"


class _MappedMemory(NamedTuple):
    """A piece of the process's memory."""

    start: int
    """Its first address, as rings have it."""
    size: int
    user: int
    guest: int | None
    """Its first address, as descriptors have it."""


def places(state: DeviceState) -> Places:
    """Of /dev/vhost-net and its like."""
    translated = state.features is not None and bool(state.features.value & F_ACCESS_PLATFORM)
    return vdpa_places(state) if translated else _places(state, _table(state), False)


def vdpa_places(state: DeviceState) -> Places:
    """Of /dev/vhost-vdpa-N: every address goes through the IOTLB."""
    return _places(state, _mapped(state), True)


def vduse_places(state: DeviceState) -> Places:
    """Of /dev/vduse/NAME: the back-end's process maps what the driver has mapped, a piece at a time. Where the driver's
    own device is of the same session, the rings are in its memory."""
    if state.owned is not None:
        return vdpa_places(state)
    return Places(why=VDUSE_WORDS if isinstance(state, KernelState) and state.vrings else None)


def _table(state: DeviceState) -> list[_MappedMemory]:
    """The memory table. The kernel looks a ring up without it (vhost_vring_set_addr), only buffers by it."""
    return [
        _MappedMemory(one.user_address, one.size, one.user_address, one.guest_address) for one in state.regions or ()
    ]


def _mapped(state: DeviceState) -> list[_MappedMemory]:
    """What the IOTLB maps, those pieces joined that follow each other in both address spaces."""
    found: list[_MappedMemory] = []
    for start, (size, user, _) in sorted(state.iotlb.items()):
        last = found[-1] if found else None
        if last is not None and (last.start + last.size, last.user + last.size) == (start, user):
            found[-1] = last._replace(size=last.size + size)
        else:
            found.append(_MappedMemory(start, size, user, start))
    return found


def _places(state: DeviceState, mappings: list[_MappedMemory], translated: bool) -> Places:
    used: dict[_MappedMemory, int] = {} if translated else {one: at for at, one in enumerate(mappings)}
    found: list[RingPlace] = []
    unreadable: list[tuple[int, str]] = []
    for ring in state.vrings.values():
        if not running(ring):
            continue
        place = _ring(state, ring, mappings, used, translated)
        if isinstance(place, RingPlace):
            found.append(place)
        else:
            unreadable.append((ring.index, place))
    regions = tuple(MemoryRegion(_NOWHERE, 0, one.size, one.user, one.guest) for one in used)
    return Places(regions, tuple(found), tuple(unreadable), None if state.fresh or found or unreadable else LATE_WORDS)


def _ring(
    state: DeviceState, ring: Vring, mappings: list[_MappedMemory], used: dict[_MappedMemory, int], translated: bool
) -> RingPlace | str:
    why = why_unknown(state, ring)
    if why is not None:
        return why
    assert ring.num is not None
    assert ring.addresses is not None
    spots = []
    for address, size in areas(ring.addresses.value, ring.num.value, bool(state.packed)):
        mapping = _holding(mappings, address, size)
        if mapping is None and translated:
            return IOMMU_WORDS
        if mapping is None:
            mapping = _MappedMemory(address, size, address, None)
        spots.append(Spot(used.setdefault(mapping, len(used)), address - mapping.start))
    return ring_place(state, ring, *spots)


def _holding(mappings: Iterable[_MappedMemory], address: int, size: int) -> _MappedMemory | None:
    return next((one for one in mappings if one.start <= address and address + size <= one.start + one.size), None)
