"""Commands of vfio-user, for the main socket and for the twin that carries the server's commands.

Source: QEMU's docs/interop/vfio-user.rst, by the section that a row names; functions are those of QEMU (hw/vfio-user/)
and of libvfio-user (lib/libvfio-user.c). A reply that says that its command failed has no payload.

libvfio-user's text of April and May 2021 (docs/vfio-user.rst, commit 944da36 to the parent of 29d9168) numbers three
commands otherwise: 13 is VM_INTERRUPT, 14 DEVICE_RESET, 15 DIRTY_PAGES. Until September 2023 DIRTY_PAGES was 14. Their
sizes differ, so a payload of theirs is decoded by its size, under the name that the number has today. DMA_MAP was a
table of `vfio_user_dma_region` then; two entries and more are decoded by size, one has the size of today's DMA_MAP.
"""

from __future__ import annotations

from typing import Any

from vusniff.message import Alternatives, Context, Dissector, Layout, MessageSpec
from vusniff_dissectors import vfio_layouts as k


def _or_none(one: Layout) -> Alternatives:
    """A reply's layout: a reply that says that its command failed is empty."""
    return Alternatives((one,), lambda context, size: one if size else None)


def _by_size(small: Layout, most: int, large: Layout, *, reply: bool = False) -> Alternatives:
    """``small`` up to so many bytes, else ``large``."""
    return Alternatives(
        (small, large), lambda context, size: None if reply and not size else small if size <= most else large
    )


def _dma_map(context: Context, size: int) -> Layout:
    return k.DMA_REGIONS.get(size, k.DMA_MAP)


def _io_fds_reply(context: Context, size: int) -> Layout | None:
    if size <= 16:
        return k.REGION_IO_FDS if size else None
    return k.REGION_IO_FDS_SHADOW.get(size, k.REGION_IO_FDS_REPLY)


def _reset(context: Context, size: int) -> Layout | None:
    return k.VM_INTERRUPT if size else None


def _dirty_pages(context: Context, size: int) -> Layout | None:
    return None if not size else k.DIRTY_PAGES if size <= 8 else k.DIRTY_PAGES_RANGE


def _write_multi(context: Context, size: int) -> Layout:
    return {8: k.DIRTY_PAGES, 40: k.DIRTY_PAGES_RANGE}.get(size, k.WRITE_MULTI)


def _write_multi_reply(context: Context, size: int) -> Layout | None:
    return None if not size else k.WRITE_MULTI_REPLY if size <= 8 else k.DIRTY_PAGES_RANGE


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
        payload=k.VERSION,
        reply=_or_none(k.VERSION),
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
        payload=Alternatives((k.DMA_MAP, *k.DMA_REGIONS.values()), _dma_map),
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
        payload=_by_size(k.DMA_UNMAP, 24, k.DMA_UNMAP_BITMAP),
        reply=_by_size(k.DMA_UNMAP, 24, k.DMA_UNMAP_BITMAP, reply=True),
    ),
    _spec(
        4,
        "DEVICE_GET_INFO",
        "Asks how many regions and interrupt types the device has, and whether it can be reset.",
        "QEMU vfio_user_get_device_info, when the device is realised",
        "libvfio-user handle_device_get_info",
        "VFIO_USER_DEVICE_GET_INFO",
        payload=k.DEVICE_INFO,
        reply=_or_none(k.DEVICE_INFO),
    ),
    _spec(
        5,
        "DEVICE_GET_REGION_INFO",
        "Asks for size and rights of a region; the reply may pass what it can be mapped from.",
        "QEMU vfio_user_get_region_info, for each region when the device is realised",
        "libvfio-user handle_device_get_region_info",
        "VFIO_USER_DEVICE_GET_REGION_INFO",
        payload=k.REGION_INFO,
        reply=_by_size(k.REGION_INFO, 32, k.REGION_INFO_CAPS, reply=True),
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
        payload=k.REGION_IO_FDS,
        reply=Alternatives((k.REGION_IO_FDS, k.REGION_IO_FDS_REPLY, *k.REGION_IO_FDS_SHADOW.values()), _io_fds_reply),
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
        payload=k.IRQ_INFO,
        reply=_or_none(k.IRQ_INFO),
    ),
    _spec(
        8,
        "DEVICE_SET_IRQS",
        "Sets, masks, unmasks or triggers interrupts, or takes them back.",
        "QEMU vfio_user_set_irqs, when the guest enables interrupts, with one message for each run of them",
        "libvfio-user handle_device_set_irqs",
        "VFIO_USER_DEVICE_SET_IRQS",
        payload=_by_size(k.IRQ_SET, 20, k.IRQ_SET_DATA),
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
        payload=k.REGION_ACCESS,
        reply=_or_none(k.REGION_ACCESS_DATA),
    ),
    _spec(
        10,
        "REGION_WRITE",
        "Writes to a region of the device.",
        "QEMU vfio_user_region_write, when the guest writes what is not mapped, and for the configuration space; "
        "posted ones want no reply",
        "libvfio-user handle_region_access",
        f"{_ACCESS}; VFIO_USER_REGION_WRITE",
        payload=k.REGION_ACCESS_DATA,
        reply=_or_none(k.REGION_ACCESS),
    ),
    _spec(
        11,
        "DMA_READ",
        "Reads from the client's memory.",
        _SERVER,
        _IN_QEMU,
        f"{_ACCESS}; VFIO_USER_DMA_READ",
        payload=k.DMA_ACCESS,
        reply=_or_none(k.DMA_ACCESS_DATA),
    ),
    _spec(
        12,
        "DMA_WRITE",
        "Writes to the client's memory.",
        _SERVER,
        _IN_QEMU,
        f"{_ACCESS}; VFIO_USER_DMA_WRITE",
        payload=k.DMA_ACCESS_DATA,
        reply=_by_size(k.DMA_ACCESS_SHORT, 12, k.DMA_ACCESS, reply=True),
    ),
    _spec(
        13,
        "DEVICE_RESET",
        "Resets the device; it may take as long as it likes.",
        "QEMU vfio_user_device_io reset, when the machine is reset, and when the device is realised",
        "libvfio-user handle_device_reset",
        "VFIO_USER_DEVICE_RESET",
        payload=Alternatives((k.VM_INTERRUPT,), _reset),
    ),
    _spec(
        14,
        "DIRTY_PAGES",
        "Starts and stops the log of pages that the server writes, or asks for it (libvfio-user's older text).",
        "clients of libvfio-user's older protocol; in QEMU's specification the number is free",
        "libvfio-user handle_dirty_pages",
        "none of QEMU's; libvfio-user's include/vfio-user.h",
        payload=Alternatives((k.DIRTY_PAGES, k.DIRTY_PAGES_RANGE), _dirty_pages),
        reply=Alternatives((k.DIRTY_PAGES, k.DIRTY_PAGES_RANGE), _dirty_pages),
    ),
    _spec(
        15,
        "REGION_WRITE_MULTI",
        "Writes several times to regions of the device, up to 8 bytes each.",
        "QEMU vfio_user_region_write, with write_multiple, when many messages wait to be sent",
        "QEMU's specification; libvfio-user does not",
        "VFIO_USER_REGION_WRITE_MULTI",
        payload=Alternatives((k.WRITE_MULTI, k.DIRTY_PAGES, k.DIRTY_PAGES_RANGE), _write_multi),
        reply=Alternatives((k.WRITE_MULTI_REPLY, k.DIRTY_PAGES_RANGE), _write_multi_reply),
    ),
    _spec(
        16,
        "DEVICE_FEATURE",
        "Gets, sets or probes a feature of the device: migration, its state, and the log of writes.",
        "QEMU vfio_user_device_feature, at migration, and to ask for what can be done when the device is realised",
        "libvfio-user handle_device_feature",
        "VFIO_USER_DEVICE_FEATURE",
        payload=_by_size(k.FEATURE, 8, k.FEATURE_DATA),
        reply=_by_size(k.FEATURE, 8, k.FEATURE_DATA, reply=True),
    ),
    _spec(
        17,
        "MIG_DATA_READ",
        "Reads the device's state from a server that is being migrated away.",
        "clients that migrate, until less comes back than was asked for",
        "libvfio-user handle_migration_data_read",
        "VFIO_USER_MIG_DATA_READ",
        payload=k.MIGRATION_ASKED,
        reply=_or_none(k.MIGRATION_DATA),
    ),
    _spec(
        18,
        "MIG_DATA_WRITE",
        "Gives the device's state to a server that is being migrated to.",
        "clients that migrate",
        "libvfio-user handle_migration_data_write",
        "VFIO_USER_MIG_DATA_WRITE",
        payload=k.MIGRATION_DATA,
        reply=_or_none(k.MIGRATION_ASKED),
    ),
)

_ROWS = {spec.code: spec for spec in SPECS}
DISSECTORS: tuple[Dissector, ...] = (
    Dissector("vfio", _ROWS),
    Dissector("vfio-twin", {code: _ROWS[code] for code in (11, 12)}),
)
"""Registered by the entry point ``vfio-user`` of the group ``vusniff.dissectors``."""
