"""Rules about memory regions, the IOTLB, shared objects, and what the front-end shares."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise

from vusniff.amounts import counted, duration, listed
from vusniff.amounts import descriptor as descriptor_words
from vusniff.amounts import size as size_words
from vusniff.channel import Sender
from vusniff.checks.finding import FINE, Said, Sayings, Severity
from vusniff.checks.peers import Implementation, Peer
from vusniff.checks.recall import listening
from vusniff.checks.step import SessionEnd, Step
from vusniff.families.vhost_user.protocol import FrontendRequest, ProtocolFeature
from vusniff.families.vhost_user.state import DeviceState, Region, running
from vusniff.record import Descriptor, DescriptorKind
from vusniff.values import replace

F = FrontendRequest

_GPA_ADDRESSES = ProtocolFeature.GPA_ADDRESSES
"""Looked up once, as every IOTLB update asks for it."""
MAX_TABLE = 8
U64 = 1 << 64

IOTLB_MISS, IOTLB_UPDATE, IOTLB_INVALIDATE, IOTLB_FAIL = 1, 2, 3, 4
READ_WRITE = 3
"""The largest permissions of an IOTLB message."""


def span(start: int, size: int) -> str:
    """An address range: ``0x40000000+1G``."""
    return f"{start:#x}+{size_words(size)}"


def region_count(step: Step) -> Sayings:
    """A memory table has at most 8 regions"""
    count = step.values.get("num_regions", 0)
    if count <= MAX_TABLE:
        return FINE
    return (Said(f"SET_MEM_TABLE has {count} regions; 8 are the most"),)


NOT_KNOWN = Descriptor()
"""A descriptor of which a source knows only that it was there."""


def table_descriptors(step: Step) -> Sayings:
    """SET_MEM_TABLE has as many descriptors as regions

    In postcopy the front-end sends it once more without regions or descriptors, as its acknowledgement.
    """
    count, there = step.values.get("num_regions", 0), len(step.message.descriptors)
    if count == there or (listening(step.before) and not there):
        return FINE
    if any(descriptor == NOT_KNOWN for descriptor in step.message.descriptors):
        return FINE  # a log that does not tell what they are may not tell how many there are
    return (Said(f"SET_MEM_TABLE has {counted(count, 'region')} and {counted(there, 'descriptor')}"),)


def _overlap(starts: Sequence[tuple[int, int]]) -> tuple[int, int] | None:
    """The positions of two ranges (start, size) that overlap."""
    ordered = sorted((start, start + size, position) for position, (start, size) in enumerate(starts))
    for (_, end, one), (start, _, other) in pairwise(ordered):
        if start < end:
            return one, other
    return None


def guest_overlap(step: Step) -> Sayings:
    """Active regions do not overlap in guest addresses"""
    regions = step.after.regions or ()
    pair = _overlap([(region.guest_address, region.size) for region in regions])
    if pair is None:
        return FINE
    one, other = regions[pair[0]], regions[pair[1]]
    return (
        Said(
            f"SET_MEM_TABLE has overlapping guest addresses: {span(one.guest_address, one.size)} and "
            f"{span(other.guest_address, other.size)}"
        ),
    )


def user_overlap(step: Step) -> Sayings:
    """Active regions do not overlap in user addresses"""
    if step.before.has(ProtocolFeature.GPA_ADDRESSES) is not False:
        return FINE
    regions = step.after.regions or ()
    pair = _overlap([(region.user_address, region.size) for region in regions])
    if pair is None:
        return FINE
    one, other = regions[pair[0]], regions[pair[1]]
    return (
        Said(
            f"SET_MEM_TABLE has overlapping user addresses: {span(one.user_address, one.size)} (guest "
            f"{one.guest_address:#x}) and {span(other.user_address, other.size)} (guest {other.guest_address:#x})"
        ),
    )


def add_descriptor(step: Step) -> Sayings:
    """ADD_MEM_REG has exactly one descriptor

    In postcopy QEMU ends a series of them by one without a descriptor, its acknowledgement of the addresses.
    """
    there = len(step.message.descriptors)
    if there == 1 or (listening(step.before) and not there):
        return FINE
    return (Said(f"ADD_MEM_REG has {there or 'no'} descriptors instead of one"),)


def rem_descriptor(step: Step) -> Sayings:
    """REM_MEM_REG has no descriptor; one is tolerated"""
    there = len(step.message.descriptors)
    if there <= 1:
        return FINE
    return (Said(f"REM_MEM_REG has {there} descriptors; none belongs there, one is tolerated"),)


def rem_known(step: Step) -> Sayings:
    """REM_MEM_REG names an active region by guest address, user address and size"""
    values, regions = step.values, step.before.regions
    if regions is None:
        return FINE
    wanted = (values["guest_address"], values["user_address"], values["size"])
    if any((r.guest_address, r.user_address, r.size) == wanted for r in regions):
        return FINE
    near = [r for r in regions if r.guest_address == wanted[0]]
    words = f"REM_MEM_REG names {span(wanted[0], wanted[2])} user {wanted[1]:#x}, which is not an active region"
    if near:
        one = near[0]
        words += f"; the one there is {span(one.guest_address, one.size)} user {one.user_address:#x}"
    return (Said(words, (near[0].by,) if near else ()),)


def slots(step: Step) -> Sayings:
    """Active regions do not outnumber the answer of GET_MAX_MEM_SLOTS, or 8 without it"""
    told, count = step.before.max_mem_slots, len(step.after.regions or ())
    most = told.value if told else MAX_TABLE
    if count <= most:
        return FINE
    reason = "the back-end has told" if told else "are usual, as GET_MAX_MEM_SLOTS was not asked"
    return (Said(f"ADD_MEM_REG makes {count} regions; {most} {reason}", (told.by,) if told else ()),)


def _clashes(region: Region, others: Sequence[Region], guest_only: bool) -> Region | None:
    for other in others:
        if region.guest_address < other.guest_address + other.size and other.guest_address < (
            region.guest_address + region.size
        ):
            return other
        if (
            not guest_only
            and region.user_address < other.user_address + other.size
            and other.user_address < region.user_address + region.size
        ):
            return other
    return None


def add_over(step: Step) -> Sayings:
    """A region is added only after those it overlaps are removed"""
    before = step.before.regions
    if before is None or not step.after.regions or listening(step.before):
        return FINE
    region = step.after.regions[-1]
    other = _clashes(region, before, bool(step.before.has(ProtocolFeature.GPA_ADDRESSES)))
    if other is None:
        return FINE
    return (
        Said(
            f"ADD_MEM_REG {span(region.guest_address, region.size)} user {region.user_address:#x} overlaps "
            f"{span(other.guest_address, other.size)} user {other.user_address:#x} (#{other.by}), still active",
            (other.by,),
        ),
    )


def _added(step: Step) -> Sequence[Region]:
    """The regions that a message brings."""
    regions = step.after.regions or ()
    return regions if step.message.request == F.SET_MEM_TABLE else regions[-1:]


def gpa_repeats(step: Step) -> Sayings:
    """With GPA_ADDRESSES the user address of a region repeats its guest address"""
    if not step.before.has(ProtocolFeature.GPA_ADDRESSES):
        return FINE
    return tuple(
        Said(
            f"region {span(region.guest_address, region.size)} has user address {region.user_address:#x}, "
            "and GPA_ADDRESSES is negotiated",
            (step.before.protocol_features.by,) if step.before.protocol_features else (),
        )
        for region in _added(step)[:1]
        if region.user_address != region.guest_address
    )


def region_sane(step: Step) -> Sayings:
    """A region has a size other than 0, and its ends do not wrap"""
    said = []
    for region in _added(step):
        if not region.size:
            said.append(Said(f"region at {region.guest_address:#x} has size 0; rust-vmm and crosvm refuse it"))
            continue
        for name in ("guest_address", "user_address", "mmap_offset"):
            start = getattr(region, name)
            if start + region.size > U64:
                words = f"region at guest {region.guest_address:#x}: {name} {start:#x} and size {region.size:#x} wrap"
                said.append(Said(words))
    return tuple(said[:1])


UNMAPPABLE = frozenset({DescriptorKind.EVENTFD, DescriptorKind.SOCKET, DescriptorKind.PIPE, DescriptorKind.USERFAULTFD})


def not_shared(step: Step) -> Sayings:
    """Each memory region has a descriptor that can be mapped"""
    said = []
    for region in _added(step):
        descriptor = region.descriptor
        if descriptor is None:
            continue  # R32 and R35 say it
        if descriptor.kind in UNMAPPABLE:
            place = f"region {span(region.guest_address, region.size)}"
            words = f"{place} comes with {descriptor_words(descriptor)}, which cannot be mapped: memory is not shared"
            said.append(Said(words))
    return tuple(said)


def file_too_short(step: Step) -> Sayings:
    """Each memory region ends within its file

    What lies beyond the end of a file can be mapped and not be used: the kernel sends SIGBUS.
    """
    said = []
    for region in _added(step):
        descriptor = region.descriptor
        if descriptor is None or descriptor.kind not in (DescriptorKind.MEMFD, DescriptorKind.FILE):
            continue
        end = region.mmap_offset + region.size
        if descriptor.size and end > descriptor.size:
            place = f"region {span(region.guest_address, region.size)}"
            offset = f" at offset {size_words(region.mmap_offset)}" if region.mmap_offset else ""
            file = descriptor_words(replace(descriptor, size=None))
            has = size_words(descriptor.size)
            said.append(Said(f"{place}{offset} needs {size_words(end)} of its file, and {file} has only {has}"))
    return tuple(said)


SHARED = "is the guest's memory shared (share=on)?"
SHARED_BY = {
    Implementation.CLOUD_HYPERVISOR: "is the guest's memory shared (--memory shared=on)?",
    Implementation.DPDK: "has virtio-user memory to share (hugepages, not --no-huge)?",
}
"""What to ask of a front-end that has no memory to share: virtio-user sends the EAL's memory, and has no guest (DPDK
26.07, update_memory_region in virtio_user/vhost_user.c)."""


def _is_shared(frontend: Peer) -> str:
    return SHARED_BY.get(frontend.program, SHARED)


MAPS_AT_ONCE = (Implementation.LIBVHOST_USER, Implementation.RUST_VMM, Implementation.UNKNOWN)
"""Back-ends that look for a ring's addresses in memory when they get them: others wait until the ring is kicked."""
MEMORY_FOLLOWS = (Implementation.QEMU, Implementation.CLOUD_HYPERVISOR)
"""Front-ends that share memory right after SET_FEATURES."""
STALLED_NS = 1_000_000_000
"""How long a front-end must have said nothing more for memory to count as missing."""


def nothing_shared(step: Step) -> Sayings:
    """Memory is shared before ring addresses are set and before the first ring is kicked

    A guest whose memory is private (no ``share=on``, no memory-backend-memfd) has no region to send. libvhost-user
    ends with "Invalid vring_addr message" then, rust-vmm refuses the addresses, DPDK waits for memory.
    """
    message = step.message
    if step.before.regions or step.before.vrings.running is not None:
        return FINE
    if message.request == F.SET_MEM_TABLE:
        if step.after.regions or listening(step.before):
            return FINE
        return (Said(f"the first memory table is empty; {_is_shared(step.memory.frontend)}"),)
    if message.request == F.SET_VRING_ADDR:
        if step.memory.backend.program not in MAPS_AT_ONCE:
            return FINE
        words = f"vring {step.values['index']} gets addresses and no memory region was sent"
        return (Said(f"{words}: libvhost-user and rust-vmm refuse them; {_is_shared(step.memory.frontend)}"),)
    words = f"vring {step.values['index']} is kicked and no memory region was sent"
    return (Said(f"{words}; {_is_shared(step.memory.frontend)}"),)


def nothing_shared_at_end(end: SessionEnd) -> Sayings:
    """The same of back-ends that look for memory late, where one closed before any came"""
    state, backend = end.state, end.memory.backend
    if end.closer is not Sender.BACKEND or state.regions or state.regions_by or state.postcopy is not None:
        return FINE
    ring = next((ring for ring in state.vrings.values() if ring.addresses is not None), None)
    if ring is None or ring.addresses is None or backend.program in MAPS_AT_ONCE or running(ring):
        return FINE
    words = f"vring {ring.index} got addresses and no memory region was sent before the back-end closed"
    return (Said(f"{words}; {_is_shared(end.memory.frontend)}", number=ring.addresses.by),)


def memory_never_came(end: SessionEnd) -> Sayings:
    """Memory is shared after SET_FEATURES

    QEMU sets the features and then finds out that it has no memory to share: "Failed initializing vhost-user memory
    map, consider using -object memory-backend-file share=on" stands in its own log only.
    """
    state, memory = end.state, end.memory
    if state.features is None or state.regions_by or state.regions or memory.frontend.program not in MEMORY_FOLLOWS:
        return FINE
    one = end.standing
    if state.postcopy is not None or (one is not None and (one.waiting is not None or one.refusal is not None)):
        return FINE  # it waits for an answer, or goes by the one that it got
    gone = end.closed is not None and end.closer is not Sender.BACKEND
    if not gone and end.silent_ns < STALLED_NS:
        return FINE
    how = "the session ended" if gone else f"the front-end says nothing more for {duration(end.silent_ns)}"
    words = f"SET_FEATURES came (#{state.features.by}), then no memory, and {how}; {_is_shared(memory.frontend)}"
    return (Said(words, (state.features.by,)),)


SPDK_PAGE = 2 << 20


def spdk_alignment(step: Step) -> Sayings:
    """SPDK gets memory regions that begin and end on 2 MiB

    It registers memory in pieces of 2 MiB and rounds what is not: a piece that two regions share is registered once.
    """
    if step.memory.backend.program is not Implementation.SPDK:
        return FINE
    for region in _added(step):
        if (region.mmap_offset | region.size) % SPDK_PAGE:
            place = f"region {span(region.guest_address, region.size)} at offset {region.mmap_offset:#x}"
            return (Said(f"{place} does not begin and end on 2 MiB, the pieces in which SPDK registers memory"),)
    return FINE


REMAPS_NOT = (Implementation.SPDK, Implementation.VPP)
"""Back-ends of which it is known that they kept, or keep, pointers into memory that was replaced."""


def replaced_while_running(end: SessionEnd) -> Sayings:
    """After memory was replaced while rings run their addresses are set again

    QEMU does not set them again when memory is plugged in, and libvhost-user and DPDK find the rings in the new
    memory by themselves, so it is a note but for those of which it is known that they did not.
    """
    by = end.memory.replaced
    if not by:
        return FINE
    old = [
        ring
        for ring in end.state.vrings.values()
        if ring.addresses is not None
        and ring.addresses.by < by
        and ring.life is not None
        and (running(ring) or ring.life.by > by)
    ]
    if not old:
        return FINE
    affected = end.memory.backend.program in REMAPS_NOT
    names, runs = listed("vring", [ring.index for ring in old[:8]]), "run" if len(old) > 1 else "runs"
    words = f"memory is replaced while {names} {runs}, and SET_VRING_ADDR never follows"
    if affected:
        words += f": {end.memory.backend} may keep pointers into the old memory"
    return (
        Said(
            words,
            tuple(ring.addresses.by for ring in old[:4] if ring.addresses),
            severity=Severity.WARNING if affected else Severity.NOTE,
            number=by,
        ),
    )


def _in_regions(state: DeviceState, start: int, size: int) -> bool:
    guest = bool(state.has(_GPA_ADDRESSES))
    for region in state.regions or ():
        base = region.guest_address if guest else region.user_address
        if base <= start and start + size <= base + region.size:
            return True
    return False


def iotlb_frontend_type(step: Step) -> Sayings:
    """Front-end IOTLB messages are updates and invalidations, and an update lies in the memory table"""
    values = step.values
    if values["type"] == IOTLB_INVALIDATE:
        return FINE
    if values["type"] != IOTLB_UPDATE:
        return (Said(f"the front-end sends an IOTLB message of type {values['type']}; it has 2 and 3"),)
    if not step.memory.complete or not step.before.regions:
        return FINE
    if _in_regions(step.before, values["user_address"], values["size"]):
        return FINE
    return (
        Said(
            f"IOTLB update {span(values['iova'], values['size'])} leads to {values['user_address']:#x}, "
            "which is in no memory region",
            (step.before.regions_by,),
        ),
    )


def iotlb_backend_type(step: Step) -> Sayings:
    """Back-end IOTLB messages are misses and access failures"""
    kind = step.values["type"]
    if kind in (IOTLB_MISS, IOTLB_FAIL):
        return FINE
    return (Said(f"the back-end sends an IOTLB message of type {kind}; it has 1 and 4"),)


def iotlb_permissions(step: Step) -> Sayings:
    """Permissions of an IOTLB message are 0 to 3

    Of an invalidation they mean nothing, and QEMU leaves them as they were in memory.
    """
    permissions = step.values["permissions"]
    if permissions <= READ_WRITE or step.values["type"] == IOTLB_INVALIDATE:
        return FINE
    return (Said(f"{step.message.name} has permissions {permissions:#x}; 0 to 3 are possible"),)


MISS_NS = 5_000_000_000
"""How long an IOTLB miss must wait."""


def miss_answered(end: SessionEnd) -> Sayings:
    """An IOTLB miss is answered by an update

    QEMU sends none where the guest's IOMMU has no entry for the address; what the back-end wants there it cannot reach.
    """
    waiting = [(by, iova) for iova, by in end.memory.misses.items() if end.time_ns - by.time_ns >= MISS_NS]
    if not waiting or end.state.vrings.running is None:
        return FINE
    first, iova = min(waiting)
    more = f" and {len(waiting) - 1} more" if waiting[1:] else ""
    waited = duration(end.time_ns - first.time_ns)
    words = (
        f"the back-end asks for I/O address {iova:#x} (#{first.number}){more}, and no IOTLB update has come in {waited}"
    )
    return (Said(words, number=first.number),)


def iotlb_unasked(step: Step) -> Sayings:
    """IOTLB updates answer misses

    QEMU also primes the areas of the rings when it starts the device, which is no finding.
    """
    values = step.values
    if values["type"] != IOTLB_UPDATE:
        return FINE
    start, end = values["iova"], values["iova"] + values["size"]
    if any(start <= iova < end for iova in step.memory.misses):
        return FINE
    areas = step.memory.areas
    at = bisect_left(areas, start)
    if at < len(areas) and areas[at] < end:
        return FINE
    return (Said(f"IOTLB update {span(start, values['size'])} answers no miss and holds no ring"),)
