"""Numbers of vhost in the kernel: every ioctl, the header that a call has in a capture, the channels.

Source: linux/vhost.h, vhost_types.h and vduse.h of Linux 6.18 (include/uapi/linux). ioctl numbers are those of the
generic layout (asm-generic/ioctl.h), which x86 and arm64 have.

A call in a capture is a header of 32 bytes and the bytes of its argument, in the byte order of the host::

    0  u32 request    the ioctl's number; `Control` for what was written to a device or read from it
    4  u32 flags      bit 0 it returned, bit 1 it failed, bit 2 the bytes are what came back, not what was given
    8  u32 size       bytes that follow
    12 u32 error      errno of a call that failed
    16 i32 result     what it returned, -1 of one that failed
    20 u32 fd         the descriptor of the device in the process that called
    24 u64 duration   nanoseconds
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable, Mapping

from vusniff.channel import Channel, Header, Sender
from vusniff.families.vhost_user.protocol import FrontendRequest

HEADER_SIZE = 32
RETURNED = 1
FAILED = 2
CAME_BACK = 4
FLAGS = RETURNED | FAILED | CAME_BACK

_HEAD = {"little": struct.Struct("<III"), "big": struct.Struct(">III")}
_WHOLE = {"little": struct.Struct("<IIIIiIQ"), "big": struct.Struct(">IIIIiIQ")}


def _reader(order: str) -> Callable[[bytes | bytearray | memoryview, int], tuple[int, int, int]]:
    return _HEAD[order].unpack_from


HEADER = Header(
    HEADER_SIZE,
    {order: _reader(order) for order in _HEAD},
    reply=(0, 1),  # none is: a call is asked and answered in one
    need_reply=(0, 1),
    more={"error": (12, 4), "result": (16, 4), "fd": (20, 4), "duration_ns": (24, 8)},
    signed=frozenset({"result"}),
    failed=(FAILED, FAILED),
    assigned=FLAGS,
    marks={RETURNED: "returned", FAILED: "failed", CAME_BACK: "bytes came back"},
    small="flags",
)


def head(
    order: str, request: int, flags: int, size: int, error: int = 0, result: int = 0, fd: int = 0, duration_ns: int = 0
) -> bytes:
    """The header of a call."""
    return _WHOLE[order].pack(request, flags, size, error, result, fd, duration_ns)


KERNEL_NAME, VDPA_NAME, VDUSE_NAME = "vhost-kernel", "vhost-vdpa", "vduse"
"""The families' names in a capture file."""


CONTROL = "/dev/vduse/control"
"""The node by which devices of VDUSE are made: that of no device."""


class KernelChannels:
    """What the calls on a device say."""

    KERNEL = Channel("kernel", KERNEL_NAME, HEADER, Sender.FRONTEND)
    """/dev/vhost-net, /dev/vhost-vsock, /dev/vhost-scsi."""
    VDPA = Channel("vdpa", VDPA_NAME, HEADER, Sender.FRONTEND)
    """/dev/vhost-vdpa-N."""
    VDUSE = Channel("vduse", VDUSE_NAME, HEADER, Sender.BACKEND)
    """/dev/vduse/NAME: the process that opened it is the back-end."""
    KERNEL_UNKNOWN = Channel("kernel-unknown", KERNEL_NAME, HEADER)
    VDPA_UNKNOWN = Channel("vdpa-unknown", VDPA_NAME, HEADER)
    VDUSE_UNKNOWN = Channel("vduse-unknown", VDUSE_NAME, HEADER)


VHOST, VDUSE = 0xAF, 0x81
"""Types of the ioctls (VHOST_VIRTIO, VDUSE_BASE)."""


def _io(kind: int, number: int, direction: int = 0, size: int = 0) -> int:
    return direction << 30 | size << 16 | kind << 8 | number


def _get(number: int, size: int, kind: int = VHOST) -> int:
    return _io(kind, number, 2, size)


def _set(number: int, size: int, kind: int = VHOST) -> int:
    return _io(kind, number, 1, size)


def _both(number: int, size: int, kind: int = VHOST) -> int:
    return _io(kind, number, 3, size)


class Ioctl(enum.IntEnum):
    """VHOST_* (without that) and VDUSE_* ioctls."""

    GET_FEATURES = _get(0x00, 8)
    SET_FEATURES = _set(0x00, 8)
    SET_OWNER = _io(VHOST, 0x01)
    RESET_OWNER = _io(VHOST, 0x02)
    SET_MEM_TABLE = _set(0x03, 8)
    SET_LOG_BASE = _set(0x04, 8)
    SET_LOG_FD = _set(0x07, 4)
    NEW_WORKER = _get(0x08, 4)
    FREE_WORKER = _set(0x09, 4)
    SET_VRING_NUM = _set(0x10, 8)
    SET_VRING_ADDR = _set(0x11, 40)
    SET_VRING_BASE = _set(0x12, 8)
    GET_VRING_BASE = _both(0x12, 8)
    SET_VRING_ENDIAN = _set(0x13, 8)
    GET_VRING_ENDIAN = _set(0x14, 8)
    ATTACH_VRING_WORKER = _set(0x15, 8)
    GET_VRING_WORKER = _both(0x16, 8)
    SET_VRING_KICK = _set(0x20, 8)
    SET_VRING_CALL = _set(0x21, 8)
    SET_VRING_ERR = _set(0x22, 8)
    SET_VRING_BUSYLOOP_TIMEOUT = _set(0x23, 8)
    GET_VRING_BUSYLOOP_TIMEOUT = _set(0x24, 8)
    SET_BACKEND_FEATURES = _set(0x25, 8)
    GET_BACKEND_FEATURES = _get(0x26, 8)
    NET_SET_BACKEND = _set(0x30, 8)
    SCSI_SET_ENDPOINT = _set(0x40, 232)
    SCSI_CLEAR_ENDPOINT = _set(0x41, 232)
    SCSI_GET_ABI_VERSION = _set(0x42, 4)
    SCSI_SET_EVENTS_MISSED = _set(0x43, 4)
    SCSI_GET_EVENTS_MISSED = _set(0x44, 4)
    VSOCK_SET_GUEST_CID = _set(0x60, 8)
    VSOCK_SET_RUNNING = _set(0x61, 4)
    VDPA_GET_DEVICE_ID = _get(0x70, 4)
    VDPA_GET_STATUS = _get(0x71, 1)
    VDPA_SET_STATUS = _set(0x72, 1)
    VDPA_GET_CONFIG = _get(0x73, 8)
    VDPA_SET_CONFIG = _set(0x74, 8)
    VDPA_SET_VRING_ENABLE = _set(0x75, 8)
    VDPA_GET_VRING_NUM = _get(0x76, 2)
    VDPA_SET_CONFIG_CALL = _set(0x77, 4)
    VDPA_GET_IOVA_RANGE = _get(0x78, 16)
    VDPA_GET_CONFIG_SIZE = _get(0x79, 4)
    VDPA_GET_AS_NUM = _get(0x7A, 4)
    VDPA_GET_VRING_GROUP = _both(0x7B, 8)
    VDPA_SET_GROUP_ASID = _set(0x7C, 8)
    VDPA_SUSPEND = _io(VHOST, 0x7D)
    VDPA_RESUME = _io(VHOST, 0x7E)
    VDPA_GET_VRING_DESC_GROUP = _both(0x7F, 8)
    VDPA_GET_VQS_COUNT = _get(0x80, 4)
    VDPA_GET_GROUP_NUM = _get(0x81, 4)
    VDPA_GET_VRING_SIZE = _both(0x82, 8)
    GET_FEATURES_ARRAY = _get(0x83, 8)
    SET_FEATURES_ARRAY = _set(0x83, 8)
    SET_FORK_FROM_OWNER = _set(0x84, 1)
    GET_FORK_FROM_OWNER = _get(0x85, 1)
    VDUSE_GET_API_VERSION = _get(0x00, 8, VDUSE)
    VDUSE_SET_API_VERSION = _set(0x01, 8, VDUSE)
    VDUSE_CREATE_DEV = _set(0x02, 336, VDUSE)
    VDUSE_DESTROY_DEV = _set(0x03, 256, VDUSE)
    VDUSE_IOTLB_GET_FD = _both(0x10, 32, VDUSE)
    VDUSE_DEV_GET_FEATURES = _get(0x11, 8, VDUSE)
    VDUSE_DEV_SET_CONFIG = _set(0x12, 8, VDUSE)
    VDUSE_DEV_INJECT_CONFIG_IRQ = _io(VDUSE, 0x13)
    VDUSE_VQ_SETUP = _set(0x14, 32, VDUSE)
    VDUSE_VQ_GET_INFO = _both(0x15, 48, VDUSE)
    VDUSE_VQ_SETUP_KICKFD = _set(0x16, 8, VDUSE)
    VDUSE_VQ_INJECT_IRQ = _set(0x17, 4, VDUSE)
    VDUSE_IOTLB_REG_UMEM = _set(0x18, 48, VDUSE)
    VDUSE_IOTLB_DEREG_UMEM = _set(0x19, 48, VDUSE)
    VDUSE_IOTLB_GET_INFO = _both(0x1A, 48, VDUSE)
    VDUSE_IOTLB_GET_FD2 = _both(0x1B, 88, VDUSE)


MAKES_DEVICES = frozenset(
    {Ioctl.VDUSE_GET_API_VERSION, Ioctl.VDUSE_SET_API_VERSION, Ioctl.VDUSE_CREATE_DEV, Ioctl.VDUSE_DESTROY_DEV}
)
"""What is asked of `CONTROL`; all else of VDUSE is asked of the device's own node."""


class Control(enum.IntEnum):
    """What is written to a device and read from it. The numbers are ours; ioctls have greater ones."""

    IOTLB_MSG = 0x01
    """A write of struct vhost_msg (VHOST_IOTLB_MSG)."""
    IOTLB_MSG_V2 = 0x02
    """A write of struct vhost_msg_v2."""
    IOTLB_MISS = 0x11
    """A read of struct vhost_msg: the kernel asks."""
    IOTLB_MISS_V2 = 0x12
    VDUSE_GET_VQ_STATE = 0x100
    """A read of struct vduse_dev_request, and its type: the kernel asks."""
    VDUSE_SET_STATUS = 0x101
    VDUSE_UPDATE_IOTLB = 0x102
    VDUSE_SET_VQ_GROUP_ASID = 0x103
    VDUSE_RESPONSE = 0x1FF
    """A write of struct vduse_dev_response."""


KERNEL_ASKS = frozenset(
    {
        Control.IOTLB_MISS,
        Control.IOTLB_MISS_V2,
        Control.VDUSE_GET_VQ_STATE,
        Control.VDUSE_SET_STATUS,
        Control.VDUSE_UPDATE_IOTLB,
        Control.VDUSE_SET_VQ_GROUP_ASID,
    }
)
"""What the kernel says by itself."""

NAMES: Mapping[int, str] = {int(one): one.name for one in (*Ioctl, *Control)}
IOCTLS: Mapping[str, int] = {one.name: int(one) for one in Ioctl}


def request_name(channel: Channel, request: int) -> str:
    """The kernel's name of a call without VHOST_; ``REQUEST_<number>`` for one that it does not have."""
    return NAMES.get(request) or f"REQUEST_{request}"


_I, _F = Ioctl, FrontendRequest
USER: Mapping[int, FrontendRequest] = {
    _I.GET_FEATURES: _F.GET_FEATURES,
    _I.SET_FEATURES: _F.SET_FEATURES,
    _I.SET_OWNER: _F.SET_OWNER,
    _I.RESET_OWNER: _F.RESET_OWNER,
    _I.SET_MEM_TABLE: _F.SET_MEM_TABLE,
    _I.SET_LOG_BASE: _F.SET_LOG_BASE,
    _I.SET_LOG_FD: _F.SET_LOG_FD,
    _I.SET_VRING_NUM: _F.SET_VRING_NUM,
    _I.SET_VRING_ADDR: _F.SET_VRING_ADDR,
    _I.SET_VRING_BASE: _F.SET_VRING_BASE,
    _I.GET_VRING_BASE: _F.GET_VRING_BASE,
    _I.SET_VRING_ENDIAN: _F.SET_VRING_ENDIAN,
    _I.SET_VRING_KICK: _F.SET_VRING_KICK,
    _I.SET_VRING_CALL: _F.SET_VRING_CALL,
    _I.SET_VRING_ERR: _F.SET_VRING_ERR,
    _I.VDPA_GET_STATUS: _F.GET_STATUS,
    _I.VDPA_SET_STATUS: _F.SET_STATUS,
    _I.VDPA_GET_CONFIG: _F.GET_CONFIG,
    _I.VDPA_SET_CONFIG: _F.SET_CONFIG,
    _I.VDPA_SET_VRING_ENABLE: _F.SET_VRING_ENABLE,
    _I.VDPA_GET_VQS_COUNT: _F.GET_QUEUE_NUM,
    Control.IOTLB_MSG: _F.IOTLB_MSG,
    Control.IOTLB_MSG_V2: _F.IOTLB_MSG,
}
"""The request of vhost-user that means the same."""

GIVES = frozenset({_F.GET_FEATURES, _F.GET_VRING_BASE, _F.GET_STATUS, _F.GET_CONFIG, _F.GET_QUEUE_NUM})
"""Requests of vhost-user whose reply says what the call brings back."""
RINGS_OF_A_FILE = 2
"""Rings that one /dev/vhost-net has (drivers/vhost/net.c, VHOST_NET_VQ_MAX)."""
