"""Layouts of vfio-user's payloads. Nothing here knows which command has which (`vfio_user`).

Source: QEMU's docs/interop/vfio-user.rst, section "Commands", and for the older forms libvfio-user's text of that name.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

from construct import Array, Bytes, Computed, GreedyBytes, If, Struct, this

from vusniff.message import Layout, Names
from vusniff.vfio import (
    DeviceFeature,
    DeviceFlag,
    DmaFlag,
    DmaUnmapFlag,
    IrqFlag,
    IrqSetFlag,
    MigrationState,
    RegionFlag,
)
from vusniff_dissectors.fields import REST_TEXT, Integers
from vusniff_dissectors.layouts import layout


class DmaRegionFlag(enum.IntFlag):
    """Flags of an entry of the older DMA_MAP."""

    MAPPABLE = 1


class Protection(enum.IntFlag):
    """Protection of an entry of the older DMA_MAP (sys/mman.h)."""

    READ = 1
    WRITE = 2
    EXEC = 4


class IoFdType(enum.IntEnum):
    """How a sub-region tells the server of an access."""

    IOEVENTFD = 0
    IOREGIONFD = 1
    IOEVENTFD_SHADOW = 2


class FeatureAction(enum.IntFlag):
    """What DEVICE_FEATURE does: the upper half of its flags."""

    GET = 1
    SET = 2
    PROBE = 4


class DirtyFlag(enum.IntFlag):
    """Flags of DIRTY_PAGES (linux/vfio.h)."""

    START = 1
    STOP = 2
    GET_BITMAP = 4


def _argsz(n: Integers) -> list[Any]:
    return ["argsz" / n.u32, "flags" / n.u32]


VERSION = layout("version", lambda n: Struct("major" / n.u16, "minor" / n.u16, "data" / REST_TEXT))
"""4 bytes, and JSON up to the end."""
DMA_MAP = layout(
    "dma_map",
    lambda n: Struct(*_argsz(n), "offset" / n.u64, "address" / n.u64, "size" / n.u64),
    {"flags": DmaFlag},
)


def _dma_regions(entries: int) -> Layout:
    return layout(
        "dma_regions",
        lambda n: Struct(
            "regions"
            / Array(
                entries,
                Struct("addr" / n.u64, "size" / n.u64, "offset" / n.u64, "prot" / n.u32, "flags" / n.u32),
            )
        ),
        {"prot": Protection, "flags": DmaRegionFlag},
    )


DMA_REGION_SIZE = 32
"""Bytes of an entry of the older DMA_MAP, and of today's DMA_MAP."""
DMA_REGIONS = {entries * DMA_REGION_SIZE: _dma_regions(entries) for entries in range(2, 9)}
"""The older DMA_MAP by its size. At most 8 descriptors came with one (libvfio-user lib/tran_sock.c, SERVER_MAX_FDS)."""


def _dma_unmap(n: Integers) -> list[Any]:
    return [*_argsz(n), "address" / n.u64, "size" / n.u64]


_UNMAP_NAMES = {"flags": DmaUnmapFlag}
DMA_UNMAP = layout("dma_unmap", lambda n: Struct(*_dma_unmap(n)), _UNMAP_NAMES)
DMA_UNMAP_BITMAP = layout(
    "dma_unmap",
    lambda n: Struct(*_dma_unmap(n), "page_size" / n.u64, "bitmap_size" / n.u64, "bitmap" / GreedyBytes),
    _UNMAP_NAMES,
)
"""With the dirty bitmap of libvfio-user's older text."""
DEVICE_INFO = layout(
    "device_info",
    lambda n: Struct(*_argsz(n), "num_regions" / n.u32, "num_irqs" / n.u32),
    {"flags": DeviceFlag},
)


def _region_info(n: Integers) -> list[Any]:
    return [*_argsz(n), "index" / n.u32, "cap_offset" / n.u32, "size" / n.u64, "offset" / n.u64]


REGION_INFO = layout("region_info", lambda n: Struct(*_region_info(n)), {"flags": RegionFlag})
REGION_INFO_CAPS = layout(
    "region_info", lambda n: Struct(*_region_info(n), "capabilities" / GreedyBytes), {"flags": RegionFlag}
)
"""With capabilities, which are a list of their own from ``cap_offset`` on."""


def _io_fds(n: Integers) -> list[Any]:
    return [*_argsz(n), "index" / n.u32, "count" / n.u32]


REGION_IO_FDS = layout("region_io_fds", lambda n: Struct(*_io_fds(n)))


def _sub_regions(n: Integers, count: Any, *fields: Any) -> Struct:
    head = ["offset" / n.u64, "size" / n.u64, "fd_index" / n.u32, "type" / n.u32, "flags" / n.u32]
    return Struct(*_io_fds(n), "sub_regions" / Array(count, Struct(*head, *fields, "datamatch" / n.u64)))


REGION_IO_FDS_REPLY = layout(
    "region_io_fds", lambda n: _sub_regions(n, this.count, "padding" / n.u32), {"type": IoFdType}
)
"""``datamatch`` is the user data of an ioregionfd."""


def _shadow(count: int) -> Layout:
    return layout(
        "region_io_fds_shadow",
        lambda n: _sub_regions(n, count, "shadow_mem_fd_index" / n.u32, "shadow_offset" / n.u64),
        {"type": IoFdType},
    )


REGION_IO_FDS_SHADOW = {16 + 48 * count: _shadow(count) for count in range(1, 5)}
"""libvfio-user's since November 2022 (struct vfio_user_sub_region_ioeventfd), by size: a sub-region has 48 bytes there.
Five of them have the size of six others, so they are not told apart from there on."""
IRQ_INFO = layout("irq_info", lambda n: Struct(*_argsz(n), "index" / n.u32, "count" / n.u32), {"flags": IrqFlag})


def _irq_set(n: Integers) -> list[Any]:
    return [*_argsz(n), "index" / n.u32, "start" / n.u32, "count" / n.u32]


IRQ_SET = layout("irq_set", lambda n: Struct(*_irq_set(n)), {"flags": IrqSetFlag})
IRQ_SET_DATA = layout("irq_set", lambda n: Struct(*_irq_set(n), "data" / GreedyBytes), {"flags": IrqSetFlag})
"""With a byte for each interrupt that says whether it is meant (DATA_BOOL)."""


def _access(n: Integers) -> list[Any]:
    return ["offset" / n.u64, "region" / n.u32, "count" / n.u32]


REGION_ACCESS = layout("region_access", lambda n: Struct(*_access(n)))
REGION_ACCESS_DATA = layout("region_access", lambda n: Struct(*_access(n), "data" / Bytes(this.count)))


def _dma_access(n: Integers) -> list[Any]:
    return ["address" / n.u64, "count" / n.u64]


DMA_ACCESS = layout("dma_access", lambda n: Struct(*_dma_access(n)))
DMA_ACCESS_SHORT = layout("dma_access", lambda n: Struct("address" / n.u64, "count" / n.u32))
"""The reply to DMA_WRITE as the specification adds it up; programs send 16 bytes."""
DMA_ACCESS_DATA = layout("dma_access", lambda n: Struct(*_dma_access(n), "data" / Bytes(this.count)))
WRITE_MULTI = layout(
    "write_multi",
    lambda n: Struct(
        "wr_cnt" / n.u64,
        "wrs"
        / Array(
            this.wr_cnt,
            Struct("offset" / n.u64, "region" / n.u32, "count" / n.u32, "data" / Bytes(8)),
        ),
    ),
)
WRITE_MULTI_REPLY = layout("write_multi", lambda n: Struct("wr_cnt" / n.u64))


def _feature(n: Integers) -> list[Any]:
    return [*_argsz(n), "feature" / Computed(this.flags & 0xFFFF), "action" / Computed(this.flags >> 16)]


_FEATURE_NAMES: Mapping[str, Names] = {"feature": DeviceFeature, "action": FeatureAction}
FEATURE = layout("device_feature", lambda n: Struct(*_feature(n)), _FEATURE_NAMES)
FEATURE_DATA = layout(
    "device_feature",
    lambda n: Struct(
        *_feature(n),
        "device_state" / If(this.feature == int(DeviceFeature.MIG_DEVICE_STATE), n.u32),
        "data_fd" / If(this.feature == int(DeviceFeature.MIG_DEVICE_STATE), n.u32),
        "data" / GreedyBytes,
    ),
    {**_FEATURE_NAMES, "device_state": MigrationState},
)
MIGRATION_DATA = layout("migration_data", lambda n: Struct("argsz" / n.u32, "size" / n.u32, "data" / Bytes(this.size)))
MIGRATION_ASKED = layout("migration_data", lambda n: Struct("argsz" / n.u32, "size" / n.u32))
DIRTY_PAGES = layout("dirty_pages", lambda n: Struct(*_argsz(n)), {"flags": DirtyFlag})
DIRTY_PAGES_RANGE = layout(
    "dirty_pages",
    lambda n: Struct(
        *_argsz(n),
        "iova" / n.u64,
        "size" / n.u64,
        "page_size" / n.u64,
        "bitmap_size" / n.u64,
        "bitmap" / GreedyBytes,
    ),
    {"flags": DirtyFlag},
)
VM_INTERRUPT = layout("vm_interrupt", lambda n: Struct("subindex" / n.u32))
"""libvfio-user's until March 2021 (struct vfio_user_irq_info), sent by the server."""
