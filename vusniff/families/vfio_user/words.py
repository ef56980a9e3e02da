"""What is said of a vfio-user message in a few words, by the name of its layout. Knows no view."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vusniff.amounts import size
from vusniff.families.vfio_user.advance import capabilities
from vusniff.families.vfio_user.shown import IRQ_NAMES, REGION_NAMES
from vusniff.printable import escape

Payload = Mapping[str, Any]
_DATA = 32
"""Hex digits of data that are shown."""
_SHOWN = 4
"""Writes of REGION_WRITE_MULTI, and regions of an older DMA_MAP, that are shown."""


def _named(names: Sequence[str], index: int) -> str:
    return names[index] if index < len(names) else str(index)


def _flags(payload: Payload, name: str = "flags") -> str:
    return "".join(f" {word}" for word in payload[f"{name}_names"])


def _data(payload: Payload, name: str = "data") -> str:
    data = payload.get(name)
    if not data:
        return ""
    return f": {data[:_DATA]}{'...' if len(data) > _DATA else ''}"


def _version(payload: Payload, request: int, reply: bool) -> str:
    said = ", ".join(f"{name} {value}" for name, value in capabilities(payload["data"]))
    return escape(f"{payload['major']}.{payload['minor']}{': ' if said else ''}{said}")


def _range(payload: Payload) -> str:
    return f"{payload['address']:#x}+{size(payload['size'])}"


def _dma_map(payload: Payload, request: int, reply: bool) -> str:
    offset = f" at {payload['offset']:#x}" if payload["offset"] else ""
    return f"{_range(payload)}{_flags(payload)}{offset}"


def _dma_regions(payload: Payload, request: int, reply: bool) -> str:
    regions = payload["regions"]
    shown = ", ".join(f"{one['addr']:#x}+{size(one['size'])}" for one in regions[:_SHOWN])
    return f"{len(regions)} regions: {shown}{', ...' if len(regions) > _SHOWN else ''}"


def _dma_unmap(payload: Payload, request: int, reply: bool) -> str:
    return f"{_range(payload)}{_flags(payload)}"


def _device_info(payload: Payload, request: int, reply: bool) -> str:
    if not reply:
        return ""
    return f"{payload['num_regions']} regions, {payload['num_irqs']} interrupt types{_flags(payload)}"


def _region_info(payload: Payload, request: int, reply: bool) -> str:
    region = f"region {_named(REGION_NAMES, payload['index'])}"
    return f"{region} size {size(payload['size'])}{_flags(payload)}" if reply else region


def _region_io_fds(payload: Payload, request: int, reply: bool) -> str:
    parts = f" {payload['count']} parts" if reply else ""
    return f"region {_named(REGION_NAMES, payload['index'])}{parts}"


def _irq_info(payload: Payload, request: int, reply: bool) -> str:
    kind = _named(IRQ_NAMES, payload["index"])
    return f"{kind} count {payload['count']}{_flags(payload)}" if reply else kind


def _irq_set(payload: Payload, request: int, reply: bool) -> str:
    first, count = payload["start"], payload["count"]
    which = f" {first}" if count == 1 else f" {first} to {first + count - 1}" if count else " all"
    return f"{_named(IRQ_NAMES, payload['index'])}{which}{_flags(payload)}{_data(payload)}"


def _place(payload: Payload) -> str:
    return f"{_named(REGION_NAMES, payload['region'])} {payload['offset']:#x}+{payload['count']}"


def _region_access(payload: Payload, request: int, reply: bool) -> str:
    return f"{_place(payload)}{_data(payload)}"


def _dma_access(payload: Payload, request: int, reply: bool) -> str:
    return f"{payload['address']:#x}+{payload['count']}{_data(payload)}"


def _write_multi(payload: Payload, request: int, reply: bool) -> str:
    writes = payload.get("wrs") or []
    shown = ", ".join(f"{_place(one)}{_data(one)}" for one in writes[:_SHOWN])
    many = f"{payload['wr_cnt']} write{'s' if payload['wr_cnt'] != 1 else ''}"
    return f"{many}: {shown}{', ...' if len(writes) > _SHOWN else ''}" if shown else many


def _device_feature(payload: Payload, request: int, reply: bool) -> str:
    feature = payload.get("feature_name") or payload["feature"]
    state = payload.get("device_state_name") or payload.get("device_state")
    said = f": {state}" if state is not None else _data(payload)
    return f"{feature}{_flags(payload, 'action')}{said}"


def _migration_data(payload: Payload, request: int, reply: bool) -> str:
    return f"{payload['size']} bytes{_data(payload)}"


WORDS: Mapping[str, Callable[[Payload, int, bool], str]] = {
    "version": _version,
    "dma_map": _dma_map,
    "dma_regions": _dma_regions,
    "dma_unmap": _dma_unmap,
    "device_info": _device_info,
    "region_info": _region_info,
    "region_io_fds": _region_io_fds,
    "region_io_fds_shadow": _region_io_fds,
    "irq_info": _irq_info,
    "irq_set": _irq_set,
    "region_access": _region_access,
    "dma_access": _dma_access,
    "write_multi": _write_multi,
    "device_feature": _device_feature,
    "migration_data": _migration_data,
    "vm_interrupt": lambda payload, request, reply: f"VM_INTERRUPT {payload['subindex']} (older libvfio-user)",
}
