"""Arguments of the calls of vhost in the kernel, on its three channels."""

from __future__ import annotations

from typing import Any

from payload_examples import REQUEST, Example, empty, example
from vusniff.families.vhost_kernel.protocol import Control, Ioctl, KernelChannels

I = Ioctl  # noqa: E741
CallRows = tuple[tuple[int, tuple[str, dict[str, Any], str] | None], ...]
KERNEL, VDPA, VDUSE = KernelChannels.KERNEL, KernelChannels.VDPA, KernelChannels.VDUSE
U64 = ("0300000000000000", {"u64": 3}, "u64")
FEATURES = ("0000000001000000", {"u64": 1 << 32, "u64_names": ["VIRTIO_F_VERSION_1"]}, "u64")
BACKEND = ("0600000000000000", {"u64": 6, "u64_names": ["IOTLB_MSG_V2", "IOTLB_BATCH"]}, "u64")
TABLE = (
    "01000000 00000000 0000000100000000 0010000000000000 00f0000000000000 0000000000000000",
    {
        "num_regions": 1,
        "padding": 0,
        "regions": [{"guest_address": 1 << 24, "size": 4096, "user_address": 0xF000, "flags_padding": 0}],
    },
    "memory_table",
)
STATE = ("01000000 00010000", {"index": 1, "num": 256}, "vring_state")
BASE = ("01000000 02000000", {"index": 1, "num": 2}, "vring_base")
ENDIAN = ("01000000 01000000", {"index": 1, "num": 1, "num_name": "BIG"}, "vring_state")
FILE = ("01000000 ffffffff", {"index": 1, "fd": -1}, "vring_file")
ADDRESS = (
    "01000000 01000000 0010000000000000 0020000000000000 0030000000000000 0040000000000000",
    {
        "index": 1,
        "flags": 1,
        "flags_names": ["VHOST_VRING_F_LOG"],
        "descriptor": 4096,
        "used": 8192,
        "available": 12288,
        "log": 16384,
    },
    "vring_addr",
)
WORKER = ("01000000 02000000", {"index": 1, "worker_id": 2}, "vring_worker")
U32 = ("02000000", {"u32": 2}, "u32")
U16 = ("0001", {"u32": 256}, "u32")
U8 = ("01", {"u32": 1}, "u32")
I32 = ("ffffffff", {"i32": -1}, "i32")
STATUS = ("0f", {"u64": 15, "u64_names": ["ACKNOWLEDGE", "DRIVER", "DRIVER_OK", "FEATURES_OK"]}, "u64")
MORE_FEATURES = ("0200000000000000 0100", {"count": 2, "features": "0100"}, "features_array")
TARGET = (
    "01000000 6e6161" + "00" * 221 + "0100 0000",
    {"abi_version": 1, "wwpn": "naa", "tpgt": 1, "reserved": 0},
    "scsi_target",
)
CONFIG = ("04000000 02000000 aabb", {"offset": 4, "size": 2, "payload": "aabb"}, "vdpa_config")
RANGE = ("0010000000000000 0020000000000000", {"first": 4096, "last": 8192}, "iova_range")
TAIL = "00" * 38


def iotlb(kind: int, second: int, second_name: str, what: int, name: str) -> tuple[str, dict[str, Any], str]:
    data = f"{kind:02x}000000 {second:02x}000000 0010000000000000 0020000000000000 0030000000000000 03 {what:02x}{TAIL}"
    values = {
        "msg_type": kind,
        second_name: second,
        "iova": 4096,
        "size": 8192,
        "user_address": 12288,
        "permissions": 3,
        "permissions_name": "READ_WRITE",
        "type": what,
        "type_name": name,
        "tail_padding": TAIL,
    }
    return data, values, "iotlb"


COMMON: CallRows = (
    (I.GET_FEATURES, FEATURES),
    (I.SET_FEATURES, FEATURES),
    (I.SET_OWNER, None),
    (I.RESET_OWNER, None),
    (I.SET_MEM_TABLE, TABLE),
    (I.SET_LOG_BASE, U64),
    (I.SET_LOG_FD, I32),
    (I.NEW_WORKER, U32),
    (I.FREE_WORKER, U32),
    (I.SET_VRING_NUM, STATE),
    (I.SET_VRING_ADDR, ADDRESS),
    (I.SET_VRING_BASE, BASE),
    (I.GET_VRING_BASE, BASE),
    (I.SET_VRING_ENDIAN, ENDIAN),
    (I.GET_VRING_ENDIAN, STATE),
    (I.ATTACH_VRING_WORKER, WORKER),
    (I.GET_VRING_WORKER, WORKER),
    (I.SET_VRING_KICK, FILE),
    (I.SET_VRING_CALL, FILE),
    (I.SET_VRING_ERR, FILE),
    (I.SET_VRING_BUSYLOOP_TIMEOUT, STATE),
    (I.GET_VRING_BUSYLOOP_TIMEOUT, STATE),
    (I.SET_BACKEND_FEATURES, BACKEND),
    (I.GET_BACKEND_FEATURES, BACKEND),
    (I.GET_FEATURES_ARRAY, MORE_FEATURES),
    (I.SET_FEATURES_ARRAY, MORE_FEATURES),
    (I.SET_FORK_FROM_OWNER, U8),
    (I.GET_FORK_FROM_OWNER, U8),
    (Control.IOTLB_MSG, iotlb(1, 0, "padding", 2, "UPDATE")),
    (Control.IOTLB_MSG_V2, iotlb(2, 1, "asid", 3, "INVALIDATE")),
    (Control.IOTLB_MISS, iotlb(1, 0, "padding", 1, "MISS")),
    (Control.IOTLB_MISS_V2, iotlb(2, 1, "asid", 1, "MISS")),
)
OF_KERNEL: CallRows = (
    (I.NET_SET_BACKEND, FILE),
    (I.SCSI_SET_ENDPOINT, TARGET),
    (I.SCSI_CLEAR_ENDPOINT, TARGET),
    (I.SCSI_GET_ABI_VERSION, I32),
    (I.SCSI_SET_EVENTS_MISSED, U32),
    (I.SCSI_GET_EVENTS_MISSED, U32),
    (I.VSOCK_SET_GUEST_CID, U64),
    (I.VSOCK_SET_RUNNING, U32),
)
OF_VDPA: CallRows = (
    (I.VDPA_GET_DEVICE_ID, U32),
    (I.VDPA_GET_STATUS, STATUS),
    (I.VDPA_SET_STATUS, STATUS),
    (I.VDPA_GET_CONFIG, CONFIG),
    (I.VDPA_SET_CONFIG, CONFIG),
    (I.VDPA_SET_VRING_ENABLE, STATE),
    (I.VDPA_GET_VRING_NUM, U16),
    (I.VDPA_SET_CONFIG_CALL, I32),
    (I.VDPA_GET_IOVA_RANGE, RANGE),
    (I.VDPA_GET_CONFIG_SIZE, U32),
    (I.VDPA_GET_AS_NUM, U32),
    (I.VDPA_GET_VRING_GROUP, STATE),
    (I.VDPA_SET_GROUP_ASID, STATE),
    (I.VDPA_SUSPEND, None),
    (I.VDPA_RESUME, None),
    (I.VDPA_GET_VRING_DESC_GROUP, STATE),
    (I.VDPA_GET_VQS_COUNT, U32),
    (I.VDPA_GET_GROUP_NUM, U32),
    (I.VDPA_GET_VRING_SIZE, STATE),
)


def asked(kind: int, rest: str, values: dict[str, Any], layout: str) -> tuple[str, dict[str, Any], str]:
    data = f"{kind:02x}000000 07000000 {'00' * 16} {rest}"
    return data, {"type": kind, "request_id": 7, "reserved": "00" * 16, **values, "rest": ""}, layout


ENTRY_HEX = "0010000000000000 0020000000000000 0030000000000000 03 00000000000000"
ENTRY = {
    "offset": 4096,
    "first": 8192,
    "last": 12288,
    "permissions": 3,
    "permissions_name": "READ_WRITE",
    "padding": "00" * 7,
}
OF_VDUSE: CallRows = (
    (I.VDUSE_GET_API_VERSION, U64),
    (I.VDUSE_SET_API_VERSION, U64),
    (
        I.VDUSE_CREATE_DEV,
        (
            "626c6b30"
            + "00" * 252
            + "01000000 02000000 0000000001000000 01000000 00100000 01000000 01000000"
            + "00" * 44
            + "02000000 aabb",
            {
                "name": "blk0",
                "vendor_id": 1,
                "device_id": 2,
                "features": 1 << 32,
                "vq_num": 1,
                "vq_align": 4096,
                "ngroups": 1,
                "nas": 1,
                "reserved": "00" * 44,
                "config_size": 2,
                "payload": "aabb",
            },
            "vduse_device",
        ),
    ),
    (I.VDUSE_DESTROY_DEV, ("626c6b30" + "00" * 252, {"name": "blk0"}, "vduse_name")),
    (I.VDUSE_IOTLB_GET_FD, (ENTRY_HEX, ENTRY, "vduse_entry")),
    (I.VDUSE_DEV_GET_FEATURES, FEATURES),
    (I.VDUSE_DEV_SET_CONFIG, (*CONFIG[:2], "vduse_config")),
    (I.VDUSE_DEV_INJECT_CONFIG_IRQ, None),
    (
        I.VDUSE_VQ_SETUP,
        (
            "01000000 0001 0000 02000000" + "00" * 20,
            {"index": 1, "max_size": 256, "reserved": 0, "group": 2, "reserved2": "00" * 20},
            "vduse_vring",
        ),
    ),
    (
        I.VDUSE_VQ_GET_INFO,
        (
            "01000000 00010000 0010000000000000 0020000000000000 0030000000000000 0500000000000000 01 00000000000000",
            {
                "index": 1,
                "num": 256,
                "descriptor": 4096,
                "driver": 8192,
                "device": 12288,
                "state": "0500000000000000",
                "ready": 1,
                "padding": "00" * 7,
            },
            "vduse_vring_info",
        ),
    ),
    (I.VDUSE_VQ_SETUP_KICKFD, FILE),
    (I.VDUSE_VQ_INJECT_IRQ, U32),
    *(
        (
            request,
            (
                "0010000000000000 0020000000000000 0030000000000000 01000000" + "00" * 20,
                {"user_address": 4096, "iova": 8192, "size": 12288, "asid": 1, "reserved": "00" * 20},
                "vduse_umem",
            ),
        )
        for request in (I.VDUSE_IOTLB_REG_UMEM, I.VDUSE_IOTLB_DEREG_UMEM)
    ),
    (
        I.VDUSE_IOTLB_GET_INFO,
        (
            "0010000000000000 0020000000000000 0100000000000000 01000000" + "00" * 20,
            {
                "first": 4096,
                "last": 8192,
                "capability": 1,
                "capability_names": ["UMEM"],
                "asid": 1,
                "reserved": "00" * 20,
            },
            "vduse_iova_info",
        ),
    ),
    (
        I.VDUSE_IOTLB_GET_FD2,
        (ENTRY_HEX + "01000000" + "00" * 52, {**ENTRY, "asid": 1, "reserved": "00" * 52}, "vduse_entry"),
    ),
    (Control.VDUSE_GET_VQ_STATE, asked(0, "01000000", {"index": 1}, "vduse_asks_vring")),
    (Control.VDUSE_SET_STATUS, asked(1, "0f", {"u64": 15, "u64_names": STATUS[1]["u64_names"]}, "vduse_status")),
    (
        Control.VDUSE_UPDATE_IOTLB,
        asked(2, "0010000000000000 0020000000000000", {"first": 4096, "last": 8192}, "vduse_updates"),
    ),
    (Control.VDUSE_SET_VQ_GROUP_ASID, asked(3, "01000000 02000000", {"group": 1, "asid": 2}, "vduse_group")),
    (
        Control.VDUSE_RESPONSE,
        (
            f"07000000 00000000 {'00' * 16} 01000000 0500",
            {
                "request_id": 7,
                "result": 0,
                "result_name": "OK",
                "reserved": "00" * 16,
                "index": 1,
                "available_index": 5,
                "ok": True,
                "rest": "",
            },
            "vduse_response",
        ),
    ),
)

EXAMPLES: list[Example] = [
    empty(channel, int(request)) if said is None else example(channel, int(request), REQUEST, *said)
    for channel, rows in ((KERNEL, COMMON + OF_KERNEL), (VDPA, COMMON + OF_VDPA), (VDUSE, OF_VDUSE))
    for request, said in rows
]
