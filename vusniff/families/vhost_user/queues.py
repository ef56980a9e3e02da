"""What the queues of a virtio device are for, as far as it says what a ring that does nothing means."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping


class Purpose(enum.Enum):
    """Whose turn it is when something is in flight."""

    REQUESTS = "requests"
    """The device is to work on what is made available."""
    FILLED = "filled"
    """The driver makes room available, and the device uses it when it has something to say."""
    UNKNOWN = "unknown"


_FILLED: Mapping[str, Callable[[int], bool]] = {
    "net": lambda index: index % 2 == 0,  # 5.1.2: receiveq1, transmitq1, receiveq2, ...
    "console": lambda index: index % 2 == 0,  # 5.3.2: receiveq, transmitq, control receiveq, control transmitq, ...
    "balloon": lambda index: index == 2,  # 5.5.2: inflateq, deflateq, statsq, ...
    "scsi": lambda index: index == 1,  # 5.6.2: controlq, eventq, request queues
    "input": lambda index: index == 0,  # 5.8.2: eventq, statusq
    "vsock": lambda index: index in (0, 2),  # 5.10.2: rx, tx, event
    "iommu": lambda index: index == 1,  # 5.13.2: requestq, eventq
    "sound": lambda index: index in (1, 3),  # 5.14.2: controlq, eventq, txq, rxq
    "gpio": lambda index: index == 1,  # 5.18.2: requestq, eventq
    **dict.fromkeys(("blk", "rng", "gpu", "crypto", "fs", "pmem", "rpmb", "i2c", "mem", "spi"), lambda index: False),
}
"""Device -> whether a queue is one that the device fills (virtio 1.3, sections as noted, "Virtqueues")."""


def purpose(device: str | None, index: int) -> Purpose:
    """What a queue of a device is for."""
    filled = _FILLED.get(device or "")
    if filled is None:
        return Purpose.UNKNOWN
    return Purpose.FILLED if filled(index) else Purpose.REQUESTS
