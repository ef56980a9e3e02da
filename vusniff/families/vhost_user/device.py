"""Which virtio device a session is about: not on the wire, so deduced from evidence, with how sure that is and why.

Pure. The evidence is what `vusniff.analysis.session` has seen so far, so that a message is
named the same live and offline.
"""

from __future__ import annotations

import enum
import functools
import re

from vusniff.families.vhost_user.protocol import FrontendRequest
from vusniff.printable import escape
from vusniff.values import dataclass


class Sure(str, enum.Enum):
    """How much a guess is worth."""

    GIVEN = "given"
    CERTAIN = "certain"
    LIKELY = "likely"
    PERHAPS = "perhaps"

    __str__ = str.__str__


@dataclass(frozen=True, slots=True)
class Guess:
    """A device type and the reasons for it."""

    device: str
    sure: Sure
    reasons: tuple[str, ...]


DEVICE_IDS: dict[str, int] = {
    "net": 1,
    "blk": 2,
    "console": 3,
    "rng": 4,
    "balloon": 5,
    "scsi": 8,
    "9p": 9,
    "gpu": 16,
    "rtc": 17,
    "input": 18,
    "vsock": 19,
    "crypto": 20,
    "iommu": 23,
    "mem": 24,
    "sound": 25,
    "fs": 26,
    "pmem": 27,
    "rpmb": 28,
    "scmi": 32,
    "i2c": 34,
    "can": 36,
    "bluetooth": 40,
    "gpio": 41,
    "spi": 45,
    "media": 48,
}
"""Short name of a device type -> its number (virtio specification, "Device Types")."""
DEVICES: tuple[str, ...] = tuple(DEVICE_IDS)
"""Short names of device types, as ``--device`` takes them."""


def _mask(*bits: int | range) -> int:
    return sum(1 << bit for part in bits for bit in (part if isinstance(part, range) else (part,)))


DEVICE_BITS = _mask(range(24), range(50, 64))
"""Feature bits that belong to device types (virtio specification, "Feature Bits")."""

KNOWN_BITS = {
    "net": _mask(range(4), range(5, 24), range(50, 58), range(59, 64)),
    "blk": _mask(0, 1, 2, 4, 5, 6, 7, 9, range(10, 18)),
    "scsi": _mask(range(4)),
    "gpu": _mask(range(6)),
    "crypto": _mask(range(6)),
    "vsock": _mask(range(3)),
    "console": _mask(range(3)),
    "fs": _mask(0),
    "sound": _mask(0),
    "gpio": _mask(0),
    "i2c": _mask(0),
}

TELLING_BITS = {
    "net": _mask(3, 15, 16, 17, 21, 22),
    "blk": _mask(6, 9, 12),
}
"""Bits that working devices of a type offer and others hardly do."""

CONFIG_SIZES = {
    36: "scsi",
    40: "fs",
    44: "fs",
    56: "crypto",
    60: "blk",
    64: "blk",
    96: "blk",
    16: "gpu",
    20: "gpu",
    12: "sound",
}
"""Bytes of configuration space that front-ends read, where they tell (virtio specification, device configuration)."""

TELLING_REQUESTS = {
    FrontendRequest.SEND_RARP: "net",
    FrontendRequest.NET_SET_MTU: "net",
    FrontendRequest.CREATE_CRYPTO_SESSION: "crypto",
    FrontendRequest.GPU_SET_SOCKET: "gpu",
}

PROGRAMS = (
    ("virtiofsd", "fs"),
    ("vhost-user-fs", "fs"),
    ("ovs-vswitchd", "net"),
    ("testpmd", "net"),
    ("vpp", "net"),
    ("passt", "net"),
    ("vhost-user-bri", "net"),
    ("qemu-storage-d", "blk"),
    ("vhost-user-blk", "blk"),
    ("vhost-user-scsi", "scsi"),
    ("vhost-user-gpu", "gpu"),
    ("vhost-user-inp", "input"),
    ("vhost-device-can", "can"),
    ("vhost-device-con", "console"),
    ("vhost-device-i2c", "i2c"),
    ("vhost-device-i2", "i2c"),
    ("vhost-device-rng", "rng"),
    ("vhost-device-rn", "rng"),
    ("vhost-device-sc", "scsi"),
    ("vhost-device-so", "sound"),
    ("vhost-device-sp", "spi"),
    ("vhost-device-vs", "vsock"),
    ("vhost-device-in", "input"),
    ("vhost-device-gpio", "gpio"),
    ("vhost-device-me", "media"),
    ("vhost-user-medi", "media"),
    ("vhost-device-gpu", "gpu"),
    ("vusniff-demo", "net"),
)
"""Beginnings of program names (the kernel keeps 15 characters) that serve one type of device."""

CERTAIN, LIKELY = 6, 3
_TYPE = re.compile(r" \(([a-z0-9]+)\)$")
"""What sources put behind the name of a peer whose command line tells the type of its device."""


@functools.lru_cache(maxsize=4096)
def deduce(
    offered: int | None,
    config_size: int | None,
    requests: frozenset[int],
    programs: tuple[str, ...],
) -> Guess | None:
    """The best guess from the features offered, the config bytes read, telling requests and the programs' names."""
    votes: dict[str, list[tuple[int, str]]] = {}
    for request, device in TELLING_REQUESTS.items():
        if request in requests:
            votes.setdefault(device, []).append((CERTAIN, f"{request.name} is for {device} only"))
    for program in dict.fromkeys(programs):  # both ends may be one program: one vote
        told = _TYPE.search(program)
        if told is not None and told[1] in DEVICES:
            votes.setdefault(told[1], []).append((CERTAIN, f"the command line of {escape(program)} says so"))
            continue
        for beginning, device in PROGRAMS:
            if beginning in program:
                votes.setdefault(device, []).append((LIKELY, f"{escape(program)} serves {device}"))
                break
    if offered is not None and offered & DEVICE_BITS:
        bits = offered & DEVICE_BITS
        fitting = [device for device, known in KNOWN_BITS.items() if not bits & ~known]
        for device, telling in TELLING_BITS.items():
            found = (bits & telling).bit_count()
            if device in fitting and found > 1:
                votes.setdefault(device, []).append(
                    (1 + found, f"{found} offered feature bits are typical of {device}")
                )
        if len(fitting) == 1:
            votes.setdefault(fitting[0], []).append((LIKELY, f"the offered feature bits exist for {fitting[0]} only"))
    if config_size in CONFIG_SIZES:
        device = CONFIG_SIZES[config_size]
        votes.setdefault(device, []).append((LIKELY, f"a config space of {config_size} bytes is that of {device}"))
    if not votes:
        return None
    weights = {device: sum(weight for weight, _ in reasons) for device, reasons in votes.items()}
    best = max(weights, key=lambda device: weights[device])
    lead = weights[best] - max((weight for device, weight in weights.items() if device != best), default=0)
    if lead <= 0:
        return None
    sure = Sure.CERTAIN if lead >= CERTAIN else Sure.LIKELY if lead >= LIKELY else Sure.PERHAPS
    return Guess(best, sure, tuple(reason for _, reason in votes[best]))
