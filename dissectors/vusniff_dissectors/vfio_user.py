"""Commands of vfio-user and their layouts, for the main socket and for the twin that carries the server's commands.

Source: QEMU's docs/interop/vfio-user.rst, by the section that a row names; functions are those of QEMU (hw/vfio-user/)
and of libvfio-user (lib/libvfio-user.c). A reply that says that its command failed has no payload.

libvfio-user's text of April and May 2021 (docs/vfio-user.rst, commit 944da36 to the parent of 29d9168) numbers three
commands otherwise: 13 is VM_INTERRUPT, 14 DEVICE_RESET, 15 DIRTY_PAGES. Until September 2023 DIRTY_PAGES was 14. Their
sizes differ, so a payload of theirs is decoded by its size, under the name that the number has today. DMA_MAP was a
table of `vfio_user_dma_region` then; two entries and more are decoded by size, one has the size of today's DMA_MAP.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

from construct import Array, Bytes, Computed, GreedyBytes, If, Struct, this

from vusniff.message import Alternatives, Context, Dissector, Layout, MessageSpec, Names
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


def _or_none(one: Layout) -> Alternatives:
    """A reply's layout: a reply that says that its command failed is empty."""
    return Alternatives((one,), lambda context, size: one if size else None)


def _by_size(small: Layout, most: int, large: Layout, *, reply: bool = False) -> Alternatives:
    """``small`` up to so many bytes, else ``large``."""
    return Alternatives(
        (small, large), lambda context, size: None if reply and not size else small if size <= most else large
    )


def _dma_map(context: Context, size: int) -> Layout:
    return DMA_REGIONS.get(size, DMA_MAP)


def _io_fds_reply(context: Context, size: int) -> Layout | None:
    if size <= 16:
        return REGION_IO_FDS if size else None
    return REGION_IO_FDS_SHADOW.get(size, REGION_IO_FDS_REPLY)


def _reset(context: Context, size: int) -> Layout | None:
    return VM_INTERRUPT if size else None


def _dirty_pages(context: Context, size: int) -> Layout | None:
    return None if not size else DIRTY_PAGES if size <= 8 else DIRTY_PAGES_RANGE


def _write_multi(context: Context, size: int) -> Layout:
    return {8: DIRTY_PAGES, 40: DIRTY_PAGES_RANGE}.get(size, WRITE_MULTI)


def _write_multi_reply(context: Context, size: int) -> Layout | None:
    return None if not size else WRITE_MULTI_REPLY if size <= 8 else DIRTY_PAGES_RANGE


def _spec(code: int, name: str, about: str, sent_by: str, handled_by: str, section: str, **facts: Any) -> MessageSpec:
    return MessageSpec(
        code, name, about=about, sent_by=sent_by, handled_by=handled_by, section=section, answered=True, **facts
    )


_ACCESS = "Read and Write Operations"
_DMA_MEANING = "memory of the range, which the server may map; none where the server reads and writes it by messages"
_SERVER = "a server whose client has not shared the memory; on the twin socket where there is one"
_IN_QEMU = "QEMU vfio_user_dma_read and vfio_user_dma_write, by the guest's memory"

SPECS = (
    _spec(
        1,
        "VERSION",
        "Proposes a protocol version and capabilities; the reply says what is in use.",
        "QEMU vfio_user_validate_version, first of all when it has connected",
        "libvfio-user tran_sock_negotiate",
        "VFIO_USER_VERSION",
        payload=VERSION,
        reply=_or_none(VERSION),
        reply_fds=(0, 1),
        reply_fds_meaning="with twin_socket, the socket of the server's commands (at fd_index)",
    ),
    _spec(
        2,
        "DMA_MAP",
        "Lets the server read or write a range of the client's memory.",
        "QEMU vfio_user_dma_map, for every range of guest memory; again when the memory map changes",
        "libvfio-user handle_dma_map",
        "VFIO_USER_DMA_MAP",
        payload=Alternatives((DMA_MAP, *DMA_REGIONS.values()), _dma_map),
        fds=(0, 8),
        fds_meaning=_DMA_MEANING,
    ),
    _spec(
        3,
        "DMA_UNMAP",
        "Takes a range of the client's memory back, which must be one that was mapped.",
        "QEMU vfio_user_dma_unmap, when the memory map changes",
        "libvfio-user handle_dma_unmap",
        "VFIO_USER_DMA_UNMAP",
        payload=_by_size(DMA_UNMAP, 24, DMA_UNMAP_BITMAP),
        reply=_by_size(DMA_UNMAP, 24, DMA_UNMAP_BITMAP, reply=True),
    ),
    _spec(
        4,
        "DEVICE_GET_INFO",
        "Asks how many regions and interrupt types the device has, and whether it can be reset.",
        "QEMU vfio_user_get_device_info, when the device is realised",
        "libvfio-user handle_device_get_info",
        "VFIO_USER_DEVICE_GET_INFO",
        payload=DEVICE_INFO,
        reply=_or_none(DEVICE_INFO),
    ),
    _spec(
        5,
        "DEVICE_GET_REGION_INFO",
        "Asks for size and rights of a region; the reply may pass what it can be mapped from.",
        "QEMU vfio_user_get_region_info, for each region when the device is realised",
        "libvfio-user handle_device_get_region_info",
        "VFIO_USER_DEVICE_GET_REGION_INFO",
        payload=REGION_INFO,
        reply=_by_size(REGION_INFO, 32, REGION_INFO_CAPS, reply=True),
        reply_fds=(0, 8),
        reply_fds_meaning="what the region, or its parts, can be mapped from",
    ),
    _spec(
        6,
        "DEVICE_GET_REGION_IO_FDS",
        "Asks for descriptors by which the server hears of accesses to parts of a region without a message.",
        "rarely anybody: QEMU does not",
        "libvfio-user handle_device_get_region_io_fds",
        "VFIO_USER_DEVICE_GET_REGION_IO_FDS",
        payload=REGION_IO_FDS,
        reply=Alternatives((REGION_IO_FDS, REGION_IO_FDS_REPLY, *REGION_IO_FDS_SHADOW.values()), _io_fds_reply),
        reply_fds=(0, 16),
        reply_fds_meaning="ioeventfds or ioregionfds, named by fd_index; several parts may share one",
    ),
    _spec(
        7,
        "DEVICE_GET_IRQ_INFO",
        "Asks how many interrupts of a type the device has.",
        "QEMU vfio_user_get_irq_info, when the device is realised",
        "libvfio-user handle_device_get_irq_info",
        "VFIO_USER_DEVICE_GET_IRQ_INFO",
        payload=IRQ_INFO,
        reply=_or_none(IRQ_INFO),
    ),
    _spec(
        8,
        "DEVICE_SET_IRQS",
        "Sets, masks, unmasks or triggers interrupts, or takes them back.",
        "QEMU vfio_user_set_irqs, when the guest enables interrupts, with one message for each run of them",
        "libvfio-user handle_device_set_irqs",
        "VFIO_USER_DEVICE_SET_IRQS",
        payload=_by_size(IRQ_SET, 20, IRQ_SET_DATA),
        fds=(0, 253),
        fds_meaning="with DATA_EVENTFD, an eventfd for each interrupt; none takes them back",
    ),
    _spec(
        9,
        "REGION_READ",
        "Reads from a region of the device.",
        "QEMU vfio_user_region_read, when the guest reads what is not mapped, and for the configuration space",
        "libvfio-user handle_region_access",
        f"{_ACCESS}; VFIO_USER_REGION_READ",
        payload=REGION_ACCESS,
        reply=_or_none(REGION_ACCESS_DATA),
    ),
    _spec(
        10,
        "REGION_WRITE",
        "Writes to a region of the device.",
        "QEMU vfio_user_region_write, when the guest writes what is not mapped, and for the configuration space; "
        "posted ones want no reply",
        "libvfio-user handle_region_access",
        f"{_ACCESS}; VFIO_USER_REGION_WRITE",
        payload=REGION_ACCESS_DATA,
        reply=_or_none(REGION_ACCESS),
    ),
    _spec(
        11,
        "DMA_READ",
        "Reads from the client's memory.",
        _SERVER,
        _IN_QEMU,
        f"{_ACCESS}; VFIO_USER_DMA_READ",
        payload=DMA_ACCESS,
        reply=_or_none(DMA_ACCESS_DATA),
    ),
    _spec(
        12,
        "DMA_WRITE",
        "Writes to the client's memory.",
        _SERVER,
        _IN_QEMU,
        f"{_ACCESS}; VFIO_USER_DMA_WRITE",
        payload=DMA_ACCESS_DATA,
        reply=_by_size(DMA_ACCESS_SHORT, 12, DMA_ACCESS, reply=True),
    ),
    _spec(
        13,
        "DEVICE_RESET",
        "Resets the device; it may take as long as it likes.",
        "QEMU vfio_user_device_io reset, when the machine is reset, and when the device is realised",
        "libvfio-user handle_device_reset",
        "VFIO_USER_DEVICE_RESET",
        payload=Alternatives((VM_INTERRUPT,), _reset),
    ),
    _spec(
        14,
        "DIRTY_PAGES",
        "Starts and stops the log of pages that the server writes, or asks for it (libvfio-user's older text).",
        "clients of libvfio-user's older protocol; in QEMU's specification the number is free",
        "libvfio-user handle_dirty_pages",
        "none of QEMU's; libvfio-user's include/vfio-user.h",
        payload=Alternatives((DIRTY_PAGES, DIRTY_PAGES_RANGE), _dirty_pages),
        reply=Alternatives((DIRTY_PAGES, DIRTY_PAGES_RANGE), _dirty_pages),
    ),
    _spec(
        15,
        "REGION_WRITE_MULTI",
        "Writes several times to regions of the device, up to 8 bytes each.",
        "QEMU vfio_user_region_write, with write_multiple, when many messages wait to be sent",
        "QEMU's specification; libvfio-user does not",
        "VFIO_USER_REGION_WRITE_MULTI",
        payload=Alternatives((WRITE_MULTI, DIRTY_PAGES, DIRTY_PAGES_RANGE), _write_multi),
        reply=Alternatives((WRITE_MULTI_REPLY, DIRTY_PAGES_RANGE), _write_multi_reply),
    ),
    _spec(
        16,
        "DEVICE_FEATURE",
        "Gets, sets or probes a feature of the device: migration, its state, and the log of writes.",
        "QEMU vfio_user_device_feature, at migration, and to ask for what can be done when the device is realised",
        "libvfio-user handle_device_feature",
        "VFIO_USER_DEVICE_FEATURE",
        payload=_by_size(FEATURE, 8, FEATURE_DATA),
        reply=_by_size(FEATURE, 8, FEATURE_DATA, reply=True),
    ),
    _spec(
        17,
        "MIG_DATA_READ",
        "Reads the device's state from a server that is being migrated away.",
        "clients that migrate, until less comes back than was asked for",
        "libvfio-user handle_migration_data_read",
        "VFIO_USER_MIG_DATA_READ",
        payload=MIGRATION_ASKED,
        reply=_or_none(MIGRATION_DATA),
    ),
    _spec(
        18,
        "MIG_DATA_WRITE",
        "Gives the device's state to a server that is being migrated to.",
        "clients that migrate",
        "libvfio-user handle_migration_data_write",
        "VFIO_USER_MIG_DATA_WRITE",
        payload=MIGRATION_DATA,
        reply=_or_none(MIGRATION_ASKED),
    ),
)

_ROWS = {spec.code: spec for spec in SPECS}
DISSECTORS: tuple[Dissector, ...] = (
    Dissector("vfio", _ROWS),
    Dissector("vfio-twin", {code: _ROWS[code] for code in (11, 12)}),
)
"""Registered by the entry point ``vfio-user`` of the group ``vusniff.dissectors``."""
