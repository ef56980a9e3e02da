"""Payloads of vfio-user, on the main and on the twin socket, and older ones of libvfio-user."""

from __future__ import annotations

from payload_examples import REPLY, REQUEST, empty, example
from vusniff.families.vfio_user.protocol import VfioChannels

VFIO, TWIN = VfioChannels.MAIN, VfioChannels.TWIN
VERSION = ("0000 0100 7b7d00", {"major": 0, "minor": 1, "data": "{}"}, "version")
UNMAP_HEX = "18000000 02000000 0010000000000000 0020000000000000"
UNMAP = {"argsz": 24, "flags": 2, "flags_names": ["ALL"], "address": 4096, "size": 8192}
BITMAP_HEX = "18000000 01000000 0010000000000000 0020000000000000 0010000000000000 0800000000000000 0300000000000000"
BITMAP = {
    "argsz": 24,
    "flags": 1,
    "flags_names": ["GET_DIRTY_BITMAP"],
    "address": 4096,
    "size": 8192,
    "page_size": 4096,
    "bitmap_size": 8,
    "bitmap": "0300000000000000",
}
INFO = (
    "10000000 03000000 09000000 05000000",
    {"argsz": 16, "flags": 3, "flags_names": ["RESET", "PCI"], "num_regions": 9, "num_irqs": 5},
    "device_info",
)
REGION_HEX = "20000000 07000000 02000000 00000000 0010000000000000 0020000000000000"
REGION = {
    "argsz": 32,
    "flags": 7,
    "flags_names": ["READ", "WRITE", "MMAP"],
    "index": 2,
    "cap_offset": 0,
    "size": 4096,
    "offset": 8192,
}
FDS_HEX, FDS = "38000000 00000000 00000000 01000000", {"argsz": 56, "flags": 0, "index": 0, "count": 1}
SUB_HEX = "0800000000000000 0400000000000000 00000000"
SUB = {"offset": 8, "size": 4, "fd_index": 0}
IRQ = (
    "10000000 09000000 02000000 04000000",
    {"argsz": 16, "flags": 9, "flags_names": ["EVENTFD", "NORESIZE"], "index": 2, "count": 4},
    "irq_info",
)
ACCESS_HEX, ACCESS = "1000000000000000 00000000 02000000", {"offset": 16, "region": 0, "count": 2}
DMA_HEX, DMA = "0010000000000000 0200000000000000", {"address": 4096, "count": 2}
STATE_HEX = "10000000 02000200 03000000 ffffffff"
STATE = {
    "argsz": 16,
    "flags": 0x20002,
    "feature": 2,
    "feature_name": "MIG_DEVICE_STATE",
    "action": 2,
    "action_names": ["SET"],
    "device_state": 3,
    "device_state_name": "STOP_COPY",
    "data_fd": 0xFFFFFFFF,
    "data": "",
}
DIRTY = ("08000000 01000000", {"argsz": 8, "flags": 1, "flags_names": ["START"]}, "dirty_pages")
RANGE_HEX = "28000000 04000000 0010000000000000 0020000000000000 0010000000000000 0800000000000000"
RANGE = {
    "argsz": 40,
    "flags": 4,
    "flags_names": ["GET_BITMAP"],
    "iova": 4096,
    "size": 8192,
    "page_size": 4096,
    "bitmap_size": 8,
}
ASKED = ("0a000000 02000000", {"argsz": 10, "size": 2}, "migration_data")
MIGRATED = ("0a000000 02000000 abcd", {"argsz": 10, "size": 2, "data": "abcd"}, "migration_data")

VFIO_USER_EXAMPLES = [
    example(VFIO, 1, REQUEST, *VERSION),
    example(VFIO, 1, REPLY, *VERSION),
    example(
        VFIO,
        2,
        REQUEST,
        "20000000 03000000 0010000000000000 0000000001000000 0000001000000000",
        {
            "argsz": 32,
            "flags": 3,
            "flags_names": ["READ", "WRITE"],
            "offset": 4096,
            "address": 1 << 32,
            "size": 256 << 20,
        },
        "dma_map",
    ),
    example(
        VFIO,
        2,
        REQUEST,
        "0000000000000000 00000a0000000000 0010000000000000 03000000 01000000"
        "0000000001000000 0010000000000000 0000000000000000 01000000 00000000",
        {
            "regions": [
                {
                    "addr": 0,
                    "size": 0xA0000,
                    "offset": 4096,
                    "prot": 3,
                    "prot_names": ["READ", "WRITE"],
                    "flags": 1,
                    "flags_names": ["MAPPABLE"],
                },
                {
                    "addr": 1 << 32,
                    "size": 4096,
                    "offset": 0,
                    "prot": 1,
                    "prot_names": ["READ"],
                    "flags": 0,
                    "flags_names": [],
                },
            ]
        },
        "dma_regions",
    ),
    empty(VFIO, 2, REPLY),
    example(VFIO, 3, REQUEST, UNMAP_HEX, UNMAP, "dma_unmap"),
    example(VFIO, 3, REPLY, UNMAP_HEX, UNMAP, "dma_unmap"),
    example(VFIO, 3, REPLY, BITMAP_HEX, BITMAP, "dma_unmap"),
    example(VFIO, 4, REQUEST, *INFO),
    example(VFIO, 4, REPLY, *INFO),
    example(VFIO, 5, REQUEST, REGION_HEX, REGION, "region_info"),
    example(VFIO, 5, REPLY, REGION_HEX, REGION, "region_info"),
    example(
        VFIO,
        5,
        REPLY,
        REGION_HEX + "01000100 00000000",
        {**REGION, "capabilities": "0100010000000000"},
        "region_info",
    ),
    example(VFIO, 6, REQUEST, FDS_HEX, FDS, "region_io_fds"),
    example(
        VFIO,
        6,
        REPLY,
        FDS_HEX + SUB_HEX + "01000000 00000000 00000000 0500000000000000",
        {
            **FDS,
            "sub_regions": [{**SUB, "type": 1, "type_name": "IOREGIONFD", "flags": 0, "padding": 0, "datamatch": 5}],
        },
        "region_io_fds",
    ),
    example(
        VFIO,
        6,
        REPLY,
        FDS_HEX + SUB_HEX + "02000000 00000000 01000000 4000000000000000 0500000000000000",
        {
            **FDS,
            "sub_regions": [
                {
                    **SUB,
                    "type": 2,
                    "type_name": "IOEVENTFD_SHADOW",
                    "flags": 0,
                    "shadow_mem_fd_index": 1,
                    "shadow_offset": 64,
                    "datamatch": 5,
                }
            ],
        },
        "region_io_fds_shadow",
    ),
    example(VFIO, 7, REQUEST, *IRQ),
    example(VFIO, 7, REPLY, *IRQ),
    example(
        VFIO,
        8,
        REQUEST,
        "14000000 24000000 02000000 01000000 01000000",
        {
            "argsz": 20,
            "flags": 0x24,
            "flags_names": ["DATA_EVENTFD", "ACTION_TRIGGER"],
            "index": 2,
            "start": 1,
            "count": 1,
        },
        "irq_set",
    ),
    example(
        VFIO,
        8,
        REQUEST,
        "16000000 0a000000 02000000 00000000 02000000 0100",
        {
            "argsz": 22,
            "flags": 0xA,
            "flags_names": ["DATA_BOOL", "ACTION_MASK"],
            "index": 2,
            "start": 0,
            "count": 2,
            "data": "0100",
        },
        "irq_set",
    ),
    empty(VFIO, 8, REPLY),
    example(VFIO, 9, REQUEST, ACCESS_HEX, ACCESS, "region_access"),
    example(VFIO, 9, REPLY, ACCESS_HEX + "abcd", {**ACCESS, "data": "abcd"}, "region_access"),
    example(VFIO, 10, REQUEST, ACCESS_HEX + "abcd", {**ACCESS, "data": "abcd"}, "region_access"),
    example(VFIO, 10, REPLY, ACCESS_HEX, ACCESS, "region_access"),
    *(
        one
        for channel in (VFIO, TWIN)
        for one in (
            example(channel, 11, REQUEST, DMA_HEX, DMA, "dma_access"),
            example(channel, 11, REPLY, DMA_HEX + "abcd", {**DMA, "data": "abcd"}, "dma_access"),
            example(channel, 12, REQUEST, DMA_HEX + "abcd", {**DMA, "data": "abcd"}, "dma_access"),
            example(channel, 12, REPLY, DMA_HEX, DMA, "dma_access"),
            example(channel, 12, REPLY, "0010000000000000 04000000", {"address": 4096, "count": 4}, "dma_access"),
        )
    ),
    empty(VFIO, 13),
    example(VFIO, 13, REQUEST, "03000000", {"subindex": 3}, "vm_interrupt"),
    empty(VFIO, 13, REPLY),
    empty(VFIO, 14),
    example(VFIO, 14, REQUEST, *DIRTY),
    example(VFIO, 14, REQUEST, RANGE_HEX, {**RANGE, "bitmap": ""}, "dirty_pages"),
    example(VFIO, 14, REPLY, RANGE_HEX + "03", {**RANGE, "bitmap": "03"}, "dirty_pages"),
    example(
        VFIO,
        15,
        REQUEST,
        "0100000000000000 0800000000000000 00000000 04000000 0102030400000000",
        {"wr_cnt": 1, "wrs": [{"offset": 8, "region": 0, "count": 4, "data": "0102030400000000"}]},
        "write_multi",
    ),
    example(VFIO, 15, REQUEST, *DIRTY),
    example(VFIO, 15, REQUEST, RANGE_HEX, {**RANGE, "bitmap": ""}, "dirty_pages"),
    example(VFIO, 15, REPLY, "0100000000000000", {"wr_cnt": 1}, "write_multi"),
    example(VFIO, 15, REPLY, RANGE_HEX + "03", {**RANGE, "bitmap": "03"}, "dirty_pages"),
    example(
        VFIO,
        16,
        REQUEST,
        "08000000 01000400",
        {
            "argsz": 8,
            "flags": 0x40001,
            "feature": 1,
            "feature_name": "MIGRATION",
            "action": 4,
            "action_names": ["PROBE"],
        },
        "device_feature",
    ),
    example(VFIO, 16, REQUEST, STATE_HEX, STATE, "device_feature"),
    example(VFIO, 16, REPLY, STATE_HEX, STATE, "device_feature"),
    example(VFIO, 17, REQUEST, *ASKED),
    example(VFIO, 17, REPLY, *MIGRATED),
    example(VFIO, 18, REQUEST, *MIGRATED),
    empty(VFIO, 18, REPLY),
]
