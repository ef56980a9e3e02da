"""What a vfio-user device looks like after a message: version, regions, interrupts, DMA map.

`VfioState` is immutable and shared between steps; `advance` makes the next one. The rules are those of vhost-user's
state: what was not witnessed is None, every value carries the number of the message that set it, a command counts when
it is sent and one that failed is recorded in ``refused``, and what a hostile peer may fill is bounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vusniff.families.family import StateTable
from vusniff.families.vfio_user import shown
from vusniff.families.vhost_user.state import Seen
from vusniff.record import Descriptor
from vusniff.values import dataclass, field

MAX_ENTRIES = 1024
"""Entries of the DMA map, regions, interrupt types, and eventfds of one type that are kept."""
MAX_REFUSED = 16


@dataclass(frozen=True, slots=True)
class Version:
    """What one side said of itself in VERSION."""

    major: int
    minor: int
    capabilities: tuple[tuple[str, str], ...]
    """Name and value as JSON, in the order in which they were said."""


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """The reply to DEVICE_GET_INFO."""

    flags: int
    num_regions: int
    num_irqs: int


@dataclass(frozen=True, slots=True)
class DeviceRegion:
    """One region of the device; sizes in bytes."""

    index: int
    size: int
    flags: int
    offset: int
    """Where it begins in its descriptor."""
    descriptor: Descriptor | None
    by: int


@dataclass(frozen=True, slots=True)
class Irq:
    """One interrupt type."""

    index: int
    count: int | None = None
    flags: int | None = None
    by: int = 0
    """Who told count and flags; 0 while nobody did."""
    triggers: Mapping[int, Seen[Descriptor]] = field(default_factory=dict)
    """Interrupt -> the eventfd that signals it."""
    triggers_by: int = 0


@dataclass(frozen=True, slots=True)
class Mapped:
    """One entry of the DMA map; addresses and sizes in bytes."""

    address: int
    size: int
    flags: int
    offset: int
    """Where it begins in its descriptor."""
    descriptor: Descriptor | None
    """None: the server reads and writes it by messages."""
    by: int


@dataclass(frozen=True, slots=True)
class FailedCommand:
    """A command that failed."""

    request: int
    """Number of the command's message, 0 when it was not seen."""
    name: str
    error: int
    """As errno has it; 0 where none was given."""
    by: int


@dataclass(frozen=True, slots=True)
class VfioState:
    """One device as its socket has shown it so far."""

    fresh: bool
    """Followed from the first byte of the connection."""
    proposed: Seen[Version] | None = None
    version: Seen[Version] | None = None
    """As the server answered."""
    device: Seen[DeviceInfo] | None = None
    regions: Mapping[int, DeviceRegion] = field(default_factory=dict)
    irqs: Mapping[int, Irq] = field(default_factory=dict)
    dma: Mapping[int, Mapped] | None = None
    """By address, in the order in which they were mapped. None: not witnessed."""
    dma_by: int = 0
    twin: Seen[Descriptor] | None = None
    """The socket of the server's commands."""
    reset: int = 0
    """Number of the last DEVICE_RESET."""
    migration: Seen[int] | None = None
    """The device's migration state."""
    refused: tuple[FailedCommand, ...] = ()
    """The last few."""

    def tables(self) -> list[StateTable]:
        """The state as tables for people."""
        return shown.tables(self)

    def values(self) -> dict[str, Any]:
        """The state as plain JSON values."""
        return shown.values(self)


def initial(fresh: bool) -> VfioState:
    """The state before the first message: nothing is mapped on a new connection; of one joined late it is unknown."""
    return VfioState(fresh, dma={} if fresh else None)
