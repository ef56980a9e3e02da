"""vhost in the kernel as rows of the table of families: /dev/vhost-*, /dev/vhost-vdpa-* and /dev/vduse/*.

They differ in who is the front-end and in what is on the other side, and share everything else. No stream is ever
recognised as one of them: a source that sees calls says so itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from vusniff.channel import Channel
from vusniff.families.family import Bytes, Family, Sign
from vusniff.families.pairing import Pairing
from vusniff.families.places import Places
from vusniff.families.vhost_kernel.advance import advance, as_user, ring_of
from vusniff.families.vhost_kernel.phases import KernelPhases, value_of
from vusniff.families.vhost_kernel.places import places, vdpa_places, vduse_places
from vusniff.families.vhost_kernel.protocol import (
    CONTROL,
    HEADER,
    HEADER_SIZE,
    KERNEL_ASKS,
    KERNEL_NAME,
    NAMES,
    VDPA_NAME,
    VDUSE_NAME,
    Ioctl,
    KernelChannels,
    request_name,
)
from vusniff.families.vhost_kernel.setting import setting
from vusniff.families.vhost_kernel.state import initial
from vusniff.families.vhost_kernel.words import WORDS
from vusniff.families.vhost_user.device import DEVICE_IDS, DEVICES, Guess, Sure
from vusniff.families.vhost_user.state import DeviceState
from vusniff.message import Context
from vusniff.values import dataclass

SIZE_LIMIT = 1 << 20
"""Bytes of the largest argument that is believed."""
_RING_PACKED = 1 << 34
NODES = {"/dev/vhost-net": "net", "/dev/vhost-vsock": "vsock", "/dev/vhost-scsi": "scsi"}
IDS = {number: name for name, number in DEVICE_IDS.items()}
DEVICE_ID_IN = {Ioctl.VDPA_GET_DEVICE_ID: slice(0, 4), Ioctl.VDUSE_CREATE_DEV: slice(260, 264)}
"""Where calls tell the type of the device; of the second in struct vduse_dev_config."""


def device_of(path: str) -> str | None:
    """The type of a device by its node; None where the node serves any."""
    return NODES.get(path.partition(" ")[0])


_BACK, _FRONT, _MADE = "/dev/vduse/", "/dev/vhost-vdpa-", ", vduse)"


def vduse_device(path: str) -> str:
    """The device of VDUSE that a node is of, of its back-end (``/dev/vduse/NAME``) or of its driver
    (``/dev/vhost-vdpa-N (NAME, vduse)``); empty for any other."""
    if path.startswith(_BACK) and path != CONTROL:
        return path.removeprefix(_BACK)
    node, _, detail = path.partition(" (")
    return detail.removesuffix(_MADE) if node.startswith(_FRONT) and detail.endswith(_MADE) else ""


def message_size(header: Bytes, order: str, offset: int = 0) -> int | None:
    """Bytes of the whole call, header included."""
    _, _, size = HEADER.read[order](header, offset)
    return HEADER_SIZE + size if size <= SIZE_LIMIT else None


def _never(header: Bytes, order: str, offset: int = 0) -> int | None:
    """No stream begins with a call."""
    return None


@dataclass(frozen=True, slots=True)
class KernelReading:
    """How the bytes of a session are read."""

    order: str = "little"
    device: str | None = None
    """Given by the user or by the node; else what was said."""
    packed: bool | None = None
    why: str = ""

    @property
    def context(self) -> Context:
        """What the dissectors are given."""
        return Context(order=self.order, packed=self.packed, device=self.device)

    @property
    def guess(self) -> Guess | None:
        """The device type."""
        if self.device is None:
            return None
        return Guess(self.device, Sure.CERTAIN, (self.why or "the node of the device",))

    def after(self, request: int, is_reply: bool, payload: bytes) -> KernelReading:
        """What is known after a call that tells."""
        byte_order = "little" if self.order == "little" else "big"
        if request == Ioctl.SET_FEATURES:
            bits = int.from_bytes(payload[:8], byte_order)  # type: ignore[arg-type]
            return KernelReading(self.order, self.device, bool(bits & _RING_PACKED), self.why)
        piece = payload[DEVICE_ID_IN[request]] if request in DEVICE_ID_IN else b""  # type: ignore[index]
        if len(piece) < 4 or self.device is not None:
            return self
        named = IDS.get(int.from_bytes(piece, byte_order))  # type: ignore[arg-type]
        return self if named is None else KernelReading(self.order, named, self.packed, NAMES[request])


def _reading(order: str, device: str | None, programs: tuple[str, ...]) -> KernelReading:
    return KernelReading(order, device)


_READS = frozenset((int(request), False) for request in (Ioctl.SET_FEATURES, *DEVICE_ID_IN))
_NEVER_ANSWERED = MappingProxyType({request << 1: Pairing.UNASKED for request in NAMES})


def _due(channel: Channel, reading: KernelReading, fresh: bool) -> Mapping[int, Pairing]:
    return _NEVER_ANSWERED


def _family(name: str, main: Channel, unknown: Channel, find: Callable[[DeviceState], Places]) -> Family:
    return Family(
        name=name,
        main=main,
        unknown=unknown,
        channels=(main, unknown),
        devices=DEVICES,
        openings={},
        request_name=request_name,
        message_size=message_size,
        first=_never,
        sign=Sign(0, (), 0),
        begins=_never,
        likely_channel=lambda frame, request, flags: main,
        reading=_reading,
        reads=_READS,
        other_way=KERNEL_ASKS,
        identify=None,
        initial=initial,
        advance=advance,
        as_user=as_user,
        ring_of=ring_of,
        phases=KernelPhases,
        value_of=value_of,
        places=find,
        prefix="VHOST_",
        words=WORDS,
        setting=setting,
        due=_due,
        device_of=device_of,
        joins=vduse_device,
        own="call",
        transport=str(main),
    )


KERNEL = _family(KERNEL_NAME, KernelChannels.KERNEL, KernelChannels.KERNEL_UNKNOWN, places)
VDPA = _family(VDPA_NAME, KernelChannels.VDPA, KernelChannels.VDPA_UNKNOWN, vdpa_places)
VDUSE = _family(VDUSE_NAME, KernelChannels.VDUSE, KernelChannels.VDUSE_UNKNOWN, vduse_places)
