"""What a device looks like after a message: features, memory, vrings.

`DeviceState` is immutable and shared between steps; `vusniff.families.vhost_user.advance` makes the next one.
Neither knows sockets, files or screens. The rules of both:

* What was not witnessed is None. In a session that was followed from its first byte (``fresh``), None means "not set
  yet"; in one that was joined late it means "unknown".
* Every value carries the number of the message that set it (`Seen`); number 0 is the start of the connection.
* A request counts when it is sent. A negative acknowledgement does not undo it (implementations differ in what they
  keep) but is recorded in ``refused``.
* Hostile input is bounded: at most `MAX_VRINGS` vrings, `MAX_ENTRIES` entries in a table; what exceeds it is not kept.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

from vusniff.families.vhost_user.iotlb import Iotlb
from vusniff.families.vhost_user.protocol import F_ACCESS_PLATFORM, F_RING_PACKED, ProtocolFeature
from vusniff.record import Descriptor
from vusniff.values import dataclass, field

T = TypeVar("T")

MAX_VRINGS = 1024
MAX_ENTRIES = 1024
MAX_CONFIG = 4096
MAX_REFUSED = 16

_new, _set = object.__new__, object.__setattr__


@dataclass(frozen=True, slots=True, init=False)
class Seen(Generic[T]):
    """A value and the number of the message that set it."""

    value: T
    by: int

    def __init__(self, value: T, by: int) -> None:
        # As the generated one, in half the time: nearly every message makes one.
        _set_value(self, value)
        _set_by(self, by)


_set_value, _set_by = Seen.__dict__["value"].__set__, Seen.__dict__["by"].__set__


class RingState(str, enum.Enum):
    """Whether a ring runs, as far as the socket tells (specification, "Ring states")."""

    NOT_SET_UP = "not set up"
    """Never armed. Only `ring_state` says it: a state holds `STOPPED`, which the specification calls both."""
    STOPPED = "stopped"
    KICK_SET = "armed"
    """SET_VRING_KICK was sent. The ring starts with it, or with the first kick by editions before 11."""
    STARTED = "started"
    """Proved on the socket: VRING_KICK in-band, or SET_VRING_KICK without a descriptor (the back-end polls)."""

    __str__ = str.__str__


@dataclass(frozen=True, slots=True)
class Addresses:
    """SET_VRING_ADDR: what they are addresses of depends on the session, see `translate`."""

    flags: int
    descriptor: int
    used: int
    available: int
    log: int


@dataclass(frozen=True)
class Vring:
    """One ring."""

    index: int
    num: Seen[int] | None = None
    """Queue size."""
    base: Seen[int] | None = None
    """As sent by SET_VRING_BASE or answered to GET_VRING_BASE: 16 bits, or the packed form (see `packed_base`)."""
    addresses: Seen[Addresses] | None = None
    kick: Seen[Descriptor | None] | None = None
    """``Seen(None)`` after a message that says there is no descriptor, or GET_VRING_BASE, which drops it."""
    call: Seen[Descriptor | None] | None = None
    err: Seen[Descriptor | None] | None = None
    enabled: Seen[bool] | None = None
    life: Seen[RingState] | None = None
    endian: Seen[int] | None = None
    """0 little, 1 big (SET_VRING_ENDIAN)."""
    notifier: Seen[Descriptor | None] | None = None
    """Host notifier area set by the back-end."""


def ring_state(ring: Vring) -> RingState | None:
    """The state of a ring as it is shown to people; None where it is unknown."""
    if ring.life is None:
        return None
    if ring.life.value is RingState.STOPPED and (not ring.life.by or ring.kick is None):
        return RingState.NOT_SET_UP
    return ring.life.value


def running(ring: Vring) -> bool:
    """It was kicked, or given a kick descriptor, and not stopped since."""
    return ring.life is not None and ring.life.value is not RingState.STOPPED


class Vrings(Mapping[int, Vring]):
    """Rings by index: immutable, and as cheap to change with a thousand rings as with two.

    Rings stand in buckets, of which one is copied when a ring changes; by index as far as indexes are usual. What holds
    for all rings at once (`enabled`) is kept once and put into a ring when it is looked at. What rules ask of all rings
    is counted on the way.
    """

    __slots__ = ("_buckets", "_counts", "_enabled", "_length")

    def __init__(
        self,
        buckets: dict[int, _Bucket] | None = None,
        length: int = 0,
        counts: tuple[int, ...] = (0, 0, 0, 0),
        enabled: Seen[bool] | None = None,
    ) -> None:
        """For `with_ring` and `all_enabled`; others begin with no ring."""
        self._buckets: dict[int, _Bucket] = {} if buckets is None else buckets
        self._length = length
        self._counts = counts
        """Rings by `_Mark`."""
        self._enabled = enabled

    def with_ring(self, ring: Vring) -> Vrings:
        """The same with one ring set to another value, or added."""
        index = ring.index
        key = index >> 5 if index < MAX_VRINGS else _bucket(index)
        rings, running = self._buckets.get(key) or _NO_BUCKET
        old = rings.get(index)
        length, counts = self._length, self._counts
        if old is None or old.life is not ring.life or old.base is not ring.base:
            mark = _mark(ring)
            changed = list(counts)
            changed[mark] += 1
            running += mark == RUNNING
            if old is None:
                length += 1
            else:
                was = _mark(old)
                changed[was] -= 1
                running -= was == RUNNING
            counts = tuple(changed)
        # As Vrings(...), in half the time: nearly every message about a ring makes one.
        new = _new(Vrings)
        new._buckets = {**self._buckets, key: ({**rings, index: ring}, running)}
        new._length, new._counts, new._enabled = length, counts, self._enabled
        return new

    def all_enabled(self, enabled: Seen[bool]) -> Vrings:
        """The same with every ring enabled or disabled by one message."""
        return Vrings(self._buckets, self._length, self._counts, enabled)

    def changed_from(self, before: Vrings) -> Iterator[Vring]:
        """The rings that may differ from those before: a few neighbours of the one that a message changed, or all."""
        anywhere = self._enabled is not before._enabled
        for key, bucket in self._buckets.items():
            if anywhere or before._buckets.get(key) is not bucket:
                for index in sorted(bucket[0]):
                    yield self[index]

    @property
    def running(self) -> Vring | None:
        """A ring that runs, the first where their indexes are usual; None where none does."""
        if not self._counts[RUNNING]:
            return None
        rings, _ = self._buckets[min(key for key, (_, running) in self._buckets.items() if running)]
        return self[min(index for index, ring in rings.items() if _mark(ring) == RUNNING)]

    @property
    def suspended(self) -> bool:
        """Rings ran, and all are stopped now, with the back-end's answers to prove it."""
        _, running, unproved, stopped = self._counts
        return bool(stopped) and not running and not unproved

    def get(self, index: int, default: Any = None) -> Any:
        bucket = self._buckets.get(index >> 5 if index < MAX_VRINGS else _bucket(index))
        ring = bucket[0].get(index) if bucket else None
        if ring is None:
            return default
        enabled, own = self._enabled, ring.enabled
        if enabled is None or (own is not None and own.by >= enabled.by):
            return ring
        return evolved(ring, {"enabled": enabled})

    def __getitem__(self, index: int) -> Vring:
        ring: Vring | None = self.get(index)
        if ring is None:
            raise KeyError(index)
        return ring

    def __contains__(self, index: object) -> bool:
        return self.get(index) is not None if isinstance(index, int) else False

    def __iter__(self) -> Iterator[int]:
        """Ascending."""
        return iter(sorted(index for rings, _ in self._buckets.values() for index in rings))

    def __len__(self) -> int:
        return self._length

    def __repr__(self) -> str:
        return f"Vrings({dict(self)})"


_Bucket = tuple[dict[int, Vring], int]
"""Rings by index, and how many of them run."""
_NO_BUCKET: _Bucket = ({}, 0)
NEVER, RUNNING, UNPROVED, STOPPED = range(4)
"""A ring that was never started; one that runs; one that is not known, or not proved, to be stopped; one that is."""


def _bucket(index: int) -> int:
    """Number of the bucket that holds a ring: 0 to 31 for usual indexes, so that neighbours share one; 32 to 63 for any
    other index."""
    return index >> 5 if index < MAX_VRINGS else 32 + ((index * 0x9E3779B1 & 0xFFFFFFFF) >> 27)


def _mark(ring: Vring) -> int:
    life = ring.life
    if life is None:
        return UNPROVED
    if life.value is not RingState.STOPPED:
        return RUNNING
    if not life.by:
        return NEVER
    return STOPPED if ring.base is not None and ring.base.by > life.by else UNPROVED


@dataclass(frozen=True, slots=True)
class Region:
    """One memory region; addresses and sizes in bytes."""

    guest_address: int
    size: int
    user_address: int
    mmap_offset: int
    descriptor: Descriptor | None
    by: int
    backend_address: int | None = None
    """Where the back-end has mapped it, told during postcopy only."""


@dataclass(frozen=True, slots=True)
class Inflight:
    """GET_INFLIGHT_FD's reply or SET_INFLIGHT_FD."""

    mmap_size: int
    mmap_offset: int
    num_queues: int
    queue_size: int
    descriptor: Descriptor | None


@dataclass(frozen=True, slots=True)
class DirtyLog:
    """SET_LOG_BASE; size is None in the old form, which has an offset only."""

    size: int | None
    offset: int
    descriptor: Descriptor | None


@dataclass(frozen=True, slots=True)
class Config:
    """What is known of the device configuration space."""

    data: bytes
    known: bytes
    """One byte for each of ``data``: 1 where it was read or written."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that was acknowledged with a failure."""

    request: int
    """Number of the request message, 0 when it was not seen."""
    name: str
    value: int
    by: int
    """Number of the acknowledgement."""


class Postcopy(str, enum.Enum):
    """How far a postcopy migration got."""

    ADVISED = "advised"
    LISTENING = "listening"
    ENDED = "ended"

    __str__ = str.__str__


@dataclass(frozen=True)
class DeviceState:
    """One device as its socket has shown it so far."""

    fresh: bool
    """Followed from the first byte of the connection."""
    features_offered: Seen[int] | None = None
    features: Seen[int] | None = None
    """Acknowledged by SET_FEATURES."""
    protocol_features_offered: Seen[int] | None = None
    protocol_features: Seen[int] | None = None
    owned: Seen[bool] | None = None
    queue_num: Seen[int] | None = None
    max_mem_slots: Seen[int] | None = None
    regions: tuple[Region, ...] | None = None
    """None: no memory message seen."""
    regions_by: int = 0
    regions_part: bool = False
    """Regions were added to, or removed from, memory that was not seen: there may be others."""
    vrings: Vrings = field(default_factory=Vrings)
    all_enabled: Seen[bool] | None = None
    """What a ring is before SET_VRING_ENABLE: disabled at the start, enabled by SET_FEATURES without bit 30."""
    config: Seen[Config] | None = None
    status: Seen[int] | None = None
    inflight: Seen[Inflight] | None = None
    log: Seen[DirtyLog] | None = None
    log_fd: Seen[Descriptor | None] | None = None
    backend_channel: Seen[Descriptor | None] | None = None
    gpu_socket: Seen[Descriptor | None] | None = None
    mtu: Seen[int] | None = None
    postcopy: Seen[Postcopy] | None = None
    iotlb: Iotlb = field(default_factory=Iotlb)
    shmem: Mapping[tuple[int, int], int] = field(default_factory=dict)
    """(shmid, offset) -> length of what the back-end has mapped into shared memory regions."""
    crypto_sessions: tuple[int, ...] = ()
    device_state: Seen[int] | None = None
    """Direction of the last SET_DEVICE_STATE_FD: 0 save, 1 load."""
    refused: tuple[Refusal, ...] = ()
    """The last few."""

    @property
    def memory_unknown(self) -> bool:
        """Nothing is known of memory: no message about it was seen, or only removals from what was not seen."""
        return self.regions is None or (self.regions_part and not self.regions)

    @property
    def packed(self) -> bool | None:
        """VIRTIO_F_RING_PACKED is negotiated; None when SET_FEATURES was not seen."""
        return None if self.features is None else bool(self.features.value & F_RING_PACKED)

    def has(self, feature: enum.IntFlag) -> bool | None:
        """Whether a protocol feature is negotiated; None when that is unknown."""
        if self.protocol_features is not None:
            return bool(self.protocol_features.value & feature._value_)  # no new IntFlag for each question
        return False if self.fresh else None


Changed = TypeVar("Changed", bound="Vring | DeviceState")


def evolve(thing: Changed, **changes: Any) -> Changed:
    """A ring or a state with other values.

    Says what `dataclasses.replace` says, many times faster: one is made for nearly every message of a capture. That is
    why these two classes have no slots.
    """
    return evolved(thing, changes)


def evolved(thing: Changed, changes: dict[str, Any]) -> Changed:
    """As `evolve`, for callers that have the changes in a dict."""
    new: Changed = _new(thing.__class__)  # type: ignore[assignment]
    _set(new, "__dict__", thing.__dict__ | changes)
    return new


@functools.cache  # the same for every session
def initial(fresh: bool) -> DeviceState:
    """The state before the first message: of a new connection everything is off, of one joined late it is unknown."""
    return DeviceState(
        fresh=fresh,
        regions=() if fresh else None,
        all_enabled=Seen(False, 0) if fresh else None,
    )


@dataclass(frozen=True, slots=True)
class RegionOffset:
    """Where an address lies."""

    region: int
    """Position in ``DeviceState.regions``."""
    offset: int
    """Bytes from the region's start."""


def translate(state: DeviceState, address: int, length: int = 1) -> RegionOffset | None:
    """Find the memory region that holds a ring address.

    With VIRTIO_F_ACCESS_PLATFORM it is an I/O address and goes through the IOTLB messages seen; with GPA_ADDRESSES a
    guest address; else a user address of the front-end (specification, "Memory access"). With XEN_MMAP it may be
    either: QEMU's front-end for Xen has no user addresses and sends guest addresses, others send user addresses.
    """
    guest = bool(state.has(ProtocolFeature.GPA_ADDRESSES))
    if state.features is not None and state.features.value & F_ACCESS_PLATFORM:
        for iova, (size, user, _) in state.iotlb.items():
            if iova <= address < iova + size:
                address += user - iova
                break
        else:
            return None
    for by_guest in (True,) if guest else (False, True) if state.has(ProtocolFeature.XEN_MMAP) else (False,):
        for position, region in enumerate(state.regions or ()):
            start = region.guest_address if by_guest else region.user_address
            if start <= address and address + length <= start + region.size:
                return RegionOffset(position, address - start)
    return None


def packed_base(base: int) -> tuple[int, bool, int, bool]:
    """Next available index, its wrap counter, next used index, its wrap counter, of a packed ring's base."""
    return base & 0x7FFF, bool(base & 0x8000), base >> 16 & 0x7FFF, bool(base & 0x80000000)


def vring(state: DeviceState, index: int) -> Vring:
    """The ring as it is, or as it is before its first message."""
    return state.vrings.get(index) or Vring(
        index, enabled=state.all_enabled, life=Seen(RingState.STOPPED, 0) if state.fresh else None
    )
