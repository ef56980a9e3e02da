"""Layouts of what the calls of vhost in the kernel carry. Nothing here knows which call has which (`kernel`).

Source: linux/vhost.h, linux/vhost_types.h and linux/vduse.h of Linux 6.18. Fields that vhost-user has too are called as
there.
"""

from __future__ import annotations

import enum
from typing import Any

from construct import Array, Bytes, Computed, GreedyBytes, Struct, this

from vusniff.message import Alternatives, Layout
from vusniff_dissectors.features import DeviceStatus
from vusniff_dissectors.fields import Integers, padded_text
from vusniff_dissectors.layouts import layout
from vusniff_dissectors.values import IotlbPermission, IotlbType


class BackendFeatures(enum.IntFlag):
    """Bits of GET_BACKEND_FEATURES (VHOST_BACKEND_F_*)."""

    IOTLB_MSG_V2 = 1 << 1
    IOTLB_BATCH = 1 << 2
    IOTLB_ASID = 1 << 3
    SUSPEND = 1 << 4
    RESUME = 1 << 5
    ENABLE_AFTER_DRIVER_OK = 1 << 6
    DESC_ASID = 1 << 7
    IOTLB_PERSIST = 1 << 8


class VduseAccess(enum.IntEnum):
    """Access that an IOTLB entry of VDUSE allows (VDUSE_ACCESS_*)."""

    READ = 1
    WRITE = 2
    READ_WRITE = 3


class VduseResult(enum.IntEnum):
    """What a back-end answers (VDUSE_REQ_RESULT_*)."""

    OK = 0
    FAILED = 1


class IovaCapability(enum.IntFlag):
    """VDUSE_IOVA_CAP_*."""

    UMEM = 1


def or_none(one: Layout) -> Alternatives:
    """The layout of a call that may bring back nothing, because it failed."""
    return Alternatives((one,), lambda context, size: one if size else None)


MEMORY_TABLE = layout(
    "memory_table",
    lambda n: Struct(
        "num_regions" / n.u32,
        "padding" / n.u32,
        "regions"
        / Array(
            this.num_regions,
            Struct("guest_address" / n.u64, "size" / n.u64, "user_address" / n.u64, "flags_padding" / n.u64),
        ),
    ),
)
"""struct vhost_memory: 8 bytes and 32 for each region."""
VRING_FILE = layout("vring_file", lambda n: Struct("index" / n.u32, "fd" / n.i32))
"""struct vhost_vring_file; -1 is no descriptor."""
VRING_WORKER = layout("vring_worker", lambda n: Struct("index" / n.u32, "worker_id" / n.u32))
U32 = layout("u32", lambda n: Struct("u32" / n.u32))
I32 = layout("i32", lambda n: Struct("i32" / n.i32))
"""A descriptor."""
U16 = layout("u32", lambda n: Struct("u32" / n.u16))
U8 = layout("u32", lambda n: Struct("u32" / n.u8))
BACKEND_FEATURES = layout("u64", lambda n: Struct("u64" / n.u64), {"u64": BackendFeatures})
STATUS = layout("u64", lambda n: Struct("u64" / n.u8), {"u64": DeviceStatus})
"""One byte."""
FEATURES_ARRAY = layout("features_array", lambda n: Struct("count" / n.u64, "features" / GreedyBytes))
SCSI_TARGET = layout(
    "scsi_target",
    lambda n: Struct("abi_version" / n.i32, "wwpn" / padded_text(224), "tpgt" / n.u16, "reserved" / n.u16),
)
VDPA_CONFIG = layout("vdpa_config", lambda n: Struct("offset" / n.u32, "size" / n.u32, "payload" / GreedyBytes))
IOVA_RANGE = layout("iova_range", lambda n: Struct("first" / n.u64, "last" / n.u64))


def _iotlb(n: Integers, second: str) -> Any:
    return Struct(
        "msg_type" / n.u32,
        second / n.u32,
        "iova" / n.u64,
        "size" / n.u64,
        "user_address" / n.u64,
        "permissions" / n.u8,
        "type" / n.u8,
        "tail_padding" / Bytes(38),
    )


_IOTLB_NAMES = {"permissions": IotlbPermission, "type": IotlbType}
IOTLB = layout("iotlb", lambda n: _iotlb(n, "padding"), _IOTLB_NAMES)
"""struct vhost_msg, 72 bytes."""
IOTLB_V2 = layout("iotlb", lambda n: _iotlb(n, "asid"), _IOTLB_NAMES)
"""struct vhost_msg_v2, 72 bytes."""

VDUSE_DEVICE = layout(
    "vduse_device",
    lambda n: Struct(
        "name" / padded_text(256),
        "vendor_id" / n.u32,
        "device_id" / n.u32,
        "features" / n.u64,
        "vq_num" / n.u32,
        "vq_align" / n.u32,
        "ngroups" / n.u32,
        "nas" / n.u32,
        "reserved" / Bytes(44),
        "config_size" / n.u32,
        "payload" / GreedyBytes,
    ),
)
"""struct vduse_dev_config: 336 bytes and the configuration space."""
VDUSE_NAME = layout("vduse_name", lambda n: Struct("name" / padded_text(256)))


def _entry(n: Integers) -> list[Any]:
    return ["offset" / n.u64, "first" / n.u64, "last" / n.u64, "permissions" / n.u8, "padding" / Bytes(7)]


VDUSE_ENTRY = layout("vduse_entry", lambda n: Struct(*_entry(n)), {"permissions": VduseAccess})
VDUSE_ENTRY_V2 = layout(
    "vduse_entry",
    lambda n: Struct(*_entry(n), "asid" / n.u32, "reserved" / Bytes(52)),
    {"permissions": VduseAccess},
)
VDUSE_CONFIG = layout("vduse_config", lambda n: Struct("offset" / n.u32, "size" / n.u32, "payload" / GreedyBytes))
VDUSE_VRING = layout(
    "vduse_vring",
    lambda n: Struct("index" / n.u32, "max_size" / n.u16, "reserved" / n.u16, "group" / n.u32, "reserved2" / Bytes(20)),
)
VDUSE_VRING_INFO = layout(
    "vduse_vring_info",
    lambda n: Struct(
        "index" / n.u32,
        "num" / n.u32,
        "descriptor" / n.u64,
        "driver" / n.u64,
        "device" / n.u64,
        "state" / Bytes(8),
        "ready" / n.u8,
        "padding" / Bytes(7),
    ),
)
VDUSE_UMEM = layout(
    "vduse_umem",
    lambda n: Struct("user_address" / n.u64, "iova" / n.u64, "size" / n.u64, "asid" / n.u32, "reserved" / Bytes(20)),
)
VDUSE_IOVA_INFO = layout(
    "vduse_iova_info",
    lambda n: Struct("first" / n.u64, "last" / n.u64, "capability" / n.u64, "asid" / n.u32, "reserved" / Bytes(20)),
    {"capability": IovaCapability},
)


def _request(n: Integers, *fields: Any) -> Any:
    return Struct("type" / n.u32, "request_id" / n.u32, "reserved" / Bytes(16), *fields, "rest" / GreedyBytes)


VDUSE_ASKS_VRING = layout("vduse_asks_vring", lambda n: _request(n, "index" / n.u32))
VDUSE_SETS_STATUS = layout("vduse_status", lambda n: _request(n, "u64" / n.u8), {"u64": DeviceStatus})
VDUSE_UPDATES = layout("vduse_updates", lambda n: _request(n, "first" / n.u64, "last" / n.u64))
VDUSE_GROUP = layout("vduse_group", lambda n: _request(n, "group" / n.u32, "asid" / n.u32))
"""struct vduse_dev_request, 152 bytes, by its type."""
VDUSE_RESPONSE = layout(
    "vduse_response",
    lambda n: Struct(
        "request_id" / n.u32,
        "result" / n.u32,
        "reserved" / Bytes(16),
        "index" / n.u32,
        "available_index" / n.u16,
        "ok" / Computed(this.result == 0),
        "rest" / GreedyBytes,
    ),
    {"result": VduseResult},
)
"""struct vduse_dev_response, 152 bytes; index and available_index answer VDUSE_GET_VQ_STATE."""
