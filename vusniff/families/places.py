"""Where the rings of a device are in shared memory, as a family works it out from its state."""

from __future__ import annotations

from vusniff.record import Descriptor
from vusniff.values import dataclass

SIZE_LIMIT = 32768
"""Largest size of a ring (virtio 1.2, 2.7 and 2.8.10.1)."""


@dataclass(frozen=True, slots=True)
class MemoryRegion:
    """One memory region."""

    descriptor: Descriptor
    file_offset: int
    """Where it begins in its file, in bytes."""
    size: int
    """Bytes."""
    user_address: int
    """Where it begins in the front-end's address space."""
    guest_address: int | None = None
    """Where it begins for the addresses in descriptors; None where that is not known."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in memory."""

    region: int
    """Position in `Places.regions`."""
    offset: int
    """Bytes from the region's start."""


@dataclass(frozen=True, slots=True)
class RingPlace:
    """One ring. A split ring has descriptor table, available and used ring; a packed one has descriptor ring, driver
    and device event suppression structure at the same three places."""

    index: int
    size: int
    packed: bool
    descriptors: Spot
    available: Spot
    used: Spot
    event_index: bool = False
    """VIRTIO_RING_F_EVENT_IDX is negotiated."""
    in_order: bool = False
    """VIRTIO_F_IN_ORDER is negotiated."""
    order: str = "little"
    """Byte order of what is in memory."""
    since: int = 0
    """Number of the message that made it so. What was read before is no longer valid."""
    kick: Descriptor | None = None
    call: Descriptor | None = None


@dataclass(frozen=True, slots=True)
class Buffer:
    """A piece of a file."""

    descriptor: Descriptor
    offset: int
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class Tracking:
    """The in-flight buffer (SET_INFLIGHT_FD): one region for each queue."""

    buffer: Buffer
    queues: int
    queue_size: int


@dataclass(frozen=True, slots=True)
class Places:
    """All that can be read of one device."""

    regions: tuple[MemoryRegion, ...] = ()
    rings: tuple[RingPlace, ...] = ()
    unreadable: tuple[tuple[int, str], ...] = ()
    """Ring, and why it cannot be read."""
    why: str | None = None
    """Why none of its rings can be read."""
    tracking: Tracking | None = None
    dirty_log: Buffer | None = None
