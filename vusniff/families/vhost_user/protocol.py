"""Numbers of the vhost-user protocol that the spine itself needs: header, channels, request codes, feature bits.

Source of all values: the vhost-user and vhost-user-gpu documents in QEMU's interop manual, sections
"Message Specification", "Front-end message types", "Back-end message types", "Protocol features". Layouts of payloads
are not here: they arrive with the dissectors.
"""

from __future__ import annotations

import enum
import struct

from vusniff.channel import Channel, Header, Sender
from vusniff.values import replace

HEADER_SIZE = 12
"""Bytes of a message header: request u32, flags u32, size u32 (payload bytes that follow), in the host's byte order."""

HEADERS = {"little": struct.Struct("<III"), "big": struct.Struct(">III")}

FLAG_VERSION = 0x3
FLAG_REPLY = 0x4
FLAG_NEED_REPLY = 0x8
VERSION = 1

VRING_INDEX_MASK = 0xFF
VRING_NOFD = 0x100
MAX_FDS = 253
"""SCM_MAX_FD of Linux (include/net/scm.h): descriptors one send may carry."""


NAME = "vhost-user"
"""The family's name in a capture file."""

HEADER = Header(
    HEADER_SIZE,
    {order: header.unpack_from for order, header in HEADERS.items()},
    (FLAG_REPLY, FLAG_REPLY),
    (FLAG_NEED_REPLY, FLAG_NEED_REPLY),
    FLAG_VERSION,
)
GPU_HEADER = replace(HEADER, by_sender=True)
"""contrib/vhost-user-gpu does not set the flags of GPU_UPDATE: they are what was in memory, and QEMU does not look at
them. Nobody asks for an acknowledgement on this socket."""


class Channels:
    """What a connection carries; the specification's three message directions."""

    MAIN = Channel("main", NAME, HEADER, Sender.FRONTEND)
    BACKEND = Channel("backend", NAME, HEADER, Sender.BACKEND)
    """The back-end channel, passed by SET_BACKEND_REQ_FD: the back-end asks, the front-end answers."""
    GPU = Channel("gpu", NAME, GPU_HEADER, Sender.BACKEND)
    """The vhost-user-gpu socket, passed by GPU_SET_SOCKET: the back-end asks, the front-end answers."""
    UNKNOWN = Channel("unknown", NAME, HEADER)
    """A stream that is none of the above, such as a device state channel: kept raw."""


CHANNELS = (Channels.MAIN, Channels.BACKEND, Channels.GPU, Channels.UNKNOWN)


def channel_named(name: str) -> Channel:
    """The channel of a name; ValueError for one that the family does not have."""
    return CHANNELS[CHANNELS.index(name)]


class FrontendRequest(enum.IntEnum):
    """VHOST_USER_* codes on the main channel."""

    GET_FEATURES = 1
    SET_FEATURES = 2
    SET_OWNER = 3
    RESET_OWNER = 4
    SET_MEM_TABLE = 5
    SET_LOG_BASE = 6
    SET_LOG_FD = 7
    SET_VRING_NUM = 8
    SET_VRING_ADDR = 9
    SET_VRING_BASE = 10
    GET_VRING_BASE = 11
    SET_VRING_KICK = 12
    SET_VRING_CALL = 13
    SET_VRING_ERR = 14
    GET_PROTOCOL_FEATURES = 15
    SET_PROTOCOL_FEATURES = 16
    GET_QUEUE_NUM = 17
    SET_VRING_ENABLE = 18
    SEND_RARP = 19
    NET_SET_MTU = 20
    SET_BACKEND_REQ_FD = 21
    IOTLB_MSG = 22
    SET_VRING_ENDIAN = 23
    GET_CONFIG = 24
    SET_CONFIG = 25
    CREATE_CRYPTO_SESSION = 26
    CLOSE_CRYPTO_SESSION = 27
    POSTCOPY_ADVISE = 28
    POSTCOPY_LISTEN = 29
    POSTCOPY_END = 30
    GET_INFLIGHT_FD = 31
    SET_INFLIGHT_FD = 32
    GPU_SET_SOCKET = 33
    RESET_DEVICE = 34
    VRING_KICK = 35
    GET_MAX_MEM_SLOTS = 36
    ADD_MEM_REG = 37
    REM_MEM_REG = 38
    SET_STATUS = 39
    GET_STATUS = 40
    GET_SHARED_OBJECT = 41
    SET_DEVICE_STATE_FD = 42
    CHECK_DEVICE_STATE = 43
    GET_SHMEM_CONFIG = 44
    GET_VRING_BASE_SKIP_DRAIN = 45


STOPS_RING = (FrontendRequest.GET_VRING_BASE, FrontendRequest.GET_VRING_BASE_SKIP_DRAIN)
"""Requests that stop a ring and return where it was ("Ring states")."""


class BackendRequest(enum.IntEnum):
    """VHOST_USER_* codes on the back-end channel."""

    BACKEND_IOTLB_MSG = 1
    BACKEND_CONFIG_CHANGE_MSG = 2
    BACKEND_VRING_HOST_NOTIFIER_MSG = 3
    BACKEND_VRING_CALL = 4
    BACKEND_VRING_ERR = 5
    BACKEND_SHARED_OBJECT_ADD = 6
    BACKEND_SHARED_OBJECT_REMOVE = 7
    BACKEND_SHARED_OBJECT_LOOKUP = 8
    BACKEND_SHMEM_MAP = 9
    BACKEND_SHMEM_UNMAP = 10


class GpuRequest(enum.IntEnum):
    """VHOST_USER_* codes on the vhost-user-gpu socket."""

    GPU_GET_PROTOCOL_FEATURES = 1
    GPU_SET_PROTOCOL_FEATURES = 2
    GPU_GET_DISPLAY_INFO = 3
    GPU_CURSOR_POS = 4
    GPU_CURSOR_POS_HIDE = 5
    GPU_CURSOR_UPDATE = 6
    GPU_SCANOUT = 7
    GPU_UPDATE = 8
    GPU_DMABUF_SCANOUT = 9
    GPU_DMABUF_UPDATE = 10
    GPU_GET_EDID = 11
    GPU_DMABUF_SCANOUT2 = 12


REQUESTS: dict[Channel, type[enum.IntEnum]] = {
    Channels.MAIN: FrontendRequest,
    Channels.BACKEND: BackendRequest,
    Channels.GPU: GpuRequest,
}

CHANNEL_PASSED_BY = {
    FrontendRequest.SET_BACKEND_REQ_FD: Channels.BACKEND,
    FrontendRequest.GPU_SET_SOCKET: Channels.GPU,
}
"""Main-channel requests whose descriptor is a socket, and the channel it opens."""


class ProtocolFeature(enum.IntFlag):
    """VHOST_USER_PROTOCOL_F_*, as masks."""

    MQ = 1 << 0
    LOG_SHMFD = 1 << 1
    RARP = 1 << 2
    REPLY_ACK = 1 << 3
    MTU = 1 << 4
    BACKEND_REQ = 1 << 5
    CROSS_ENDIAN = 1 << 6
    CRYPTO_SESSION = 1 << 7
    PAGEFAULT = 1 << 8
    CONFIG = 1 << 9
    BACKEND_SEND_FD = 1 << 10
    HOST_NOTIFIER = 1 << 11
    INFLIGHT_SHMFD = 1 << 12
    RESET_DEVICE = 1 << 13
    INBAND_NOTIFICATIONS = 1 << 14
    CONFIGURE_MEM_SLOTS = 1 << 15
    STATUS = 1 << 16
    XEN_MMAP = 1 << 17
    SHARED_OBJECT = 1 << 18
    DEVICE_STATE = 1 << 19
    GET_VRING_BASE_INFLIGHT = 1 << 20
    GPA_ADDRESSES = 1 << 21
    SHMEM = 1 << 22
    GET_VRING_BASE_SKIP_DRAIN = 1 << 23


PROTOCOL_FEATURE_ALIASES = {
    "NET_MTU": "MTU",
    "SLAVE_REQ": "BACKEND_REQ",
    "SLAVE_SEND_FD": "BACKEND_SEND_FD",
    "SHMEM_MAP": "SHMEM",
}
"""Names that protocol features have or had elsewhere -> the name here."""


def feature_name(feature: enum.IntFlag) -> str:
    """A protocol feature without the specification's prefix: ``CONFIG``."""
    return (feature.name or hex(feature)).removeprefix("VHOST_USER_PROTOCOL_F_")


F_LOG_ALL = 1 << 26
"""VHOST_F_LOG_ALL."""
F_PROTOCOL_FEATURES = 1 << 30
"""VHOST_USER_F_PROTOCOL_FEATURES."""
F_ACCESS_PLATFORM = 1 << 33
"""VIRTIO_F_ACCESS_PLATFORM."""
F_RING_PACKED = 1 << 34
"""VIRTIO_F_RING_PACKED."""


def request_name(channel: Channel, request: int) -> str:
    """The specification's name of a request code without VHOST_USER_; ``REQUEST_<code>`` for one it does not have."""
    try:
        return REQUESTS[channel](request).name
    except (KeyError, ValueError):
        return f"REQUEST_{request}"
