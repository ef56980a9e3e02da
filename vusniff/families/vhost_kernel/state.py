"""What a device that the kernel serves looks like after a call: `DeviceState`, and what only the kernel has.

The rules are those of `vusniff.families.vhost_user.state`, but that a call that failed changes nothing: the kernel has
said so. One /dev/vhost-net serves two rings; of several descriptors that are one device the second has rings 2 and 3.
"""

from __future__ import annotations

from collections.abc import Mapping

from vusniff.families.vhost_user.state import DeviceState, Seen
from vusniff.record import Descriptor
from vusniff.values import dataclass, field

MAX_FILES = 512
"""Descriptors of one device that are told apart."""
MAX_MADE = 256
"""Devices that one program made with VDUSE and that are told apart."""
DRIVER_OK = 4
"""Bit of the device status: the driver has set the device up."""


@dataclass(frozen=True)
class KernelState(DeviceState):
    """One device as the calls on it have shown it so far."""

    files: tuple[int, ...] = ()
    """Numbers of the descriptors of the device, in the order in which they were first used."""
    owners: Mapping[int, Seen[bool]] = field(default_factory=dict)
    """Descriptor -> whether SET_OWNER was done on it."""
    backends: Mapping[int, Seen[Descriptor | None]] = field(default_factory=dict)
    """Ring -> what NET_SET_BACKEND bound it to; ``Seen(None)`` after it was unbound."""
    backend_features_offered: Seen[int] | None = None
    backend_features: Seen[int] | None = None
    running: Seen[bool] | None = None
    """VSOCK_SET_RUNNING, SCSI_SET_ENDPOINT."""
    guest_cid: Seen[int] | None = None
    made: Mapping[str, Seen[bool]] | None = None
    """Of /dev/vduse/control, which has no rings: name of a device -> whether it is there; None for any other node."""

    @property
    def driven(self) -> bool:
        """The driver has said DRIVER_OK, by which a vDPA device starts."""
        return self.status is not None and bool(self.status.value & DRIVER_OK)


def initial(fresh: bool) -> KernelState:
    """The state before the first call."""
    return KernelState(
        fresh=fresh,
        regions=() if fresh else None,
        all_enabled=Seen(False, 0) if fresh else None,
    )
