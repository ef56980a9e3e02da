"""A vfio-user device's state as plain tables for people, and as plain JSON values. Knows no view."""

from __future__ import annotations

import enum
import errno
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from vusniff.amounts import descriptor as descriptor_words
from vusniff.amounts import size as size_words
from vusniff.families.family import StateTable
from vusniff.families.vhost_user.state import Seen
from vusniff.names import bit_names
from vusniff.record import Descriptor
from vusniff.vfio import DeviceFlag, DmaFlag, IrqFlag, MigrationState, RegionFlag

if TYPE_CHECKING:
    from vusniff.families.vfio_user.state import FailedCommand, Irq, VfioState


REGION_NAMES = ("BAR0", "BAR1", "BAR2", "BAR3", "BAR4", "BAR5", "ROM", "config", "VGA")
"""What the regions of a PCI device are (linux/vfio.h, VFIO_PCI_*_REGION_INDEX)."""
IRQ_NAMES = ("INTx", "MSI", "MSI-X", "ERR", "REQ")
"""What its interrupt types are (VFIO_PCI_*_IRQ_INDEX)."""
_SHOWN = 8
"""Eventfds of one interrupt type that are named."""


def _named(names: tuple[str, ...], index: int) -> str:
    return f"{index} {names[index]}" if index < len(names) else str(index)


def _bits(kind: type[enum.IntFlag], value: int) -> str:
    return " ".join(bit_names(kind, value)) or "none"


def _descriptor(descriptor: Descriptor | None) -> str:
    return descriptor_words(descriptor) if descriptor else "-"


def error_words(error: int) -> str:
    """An error number by its name: ``EEXIST``."""
    return errno.errorcode.get(error, str(error)) if error else "no reason given"


def migration_words(value: int) -> str:
    """A migration state by its name."""
    return MigrationState(value).name if value in MigrationState.__members__.values() else str(value)


def tables(state: VfioState) -> list[StateTable]:
    """The state for people: device, regions, interrupts, DMA map, what failed."""
    device = list(_device_rows(state))
    made = [StateTable("Device", ("what", "value"), [row for row, _ in device], [by for _, by in device])]
    regions = sorted(state.regions.values(), key=lambda region: region.index)
    made.append(
        StateTable(
            "Regions",
            ("region", "size", "flags", "offset", "descriptor"),
            [
                (
                    _named(REGION_NAMES, one.index),
                    size_words(one.size),
                    _bits(RegionFlag, one.flags),
                    f"{one.offset:#x}",
                    _descriptor(one.descriptor),
                )
                for one in regions
            ],
            [one.by for one in regions],
        )
    )
    irqs = sorted(state.irqs.values(), key=lambda irq: irq.index)
    made.append(
        StateTable(
            "Interrupts",
            ("type", "count", "flags", "eventfds"),
            [_irq_row(irq) for irq in irqs],
            [irq.triggers_by or irq.by for irq in irqs],
        )
    )
    dma = sorted((state.dma or {}).values(), key=lambda one: one.address)
    made.append(
        StateTable(
            "DMA map" if state.dma is not None else "DMA map: unknown",
            ("address", "size", "flags", "offset", "descriptor"),
            [
                (
                    f"{one.address:#x}",
                    size_words(one.size),
                    _bits(DmaFlag, one.flags),
                    f"{one.offset:#x}",
                    _descriptor(one.descriptor),
                )
                for one in dma
            ],
            [one.by for one in dma],
        )
    )
    if state.refused:
        rows = [(f"#{one.request} {one.name}", error_words(one.error)) for one in state.refused]
        made.append(StateTable("Failed", ("command", "error"), rows, [one.by for one in state.refused]))
    return made


def _device_rows(state: VfioState) -> Iterator[tuple[tuple[str, str], int]]:
    for side, seen in (("client", state.proposed), ("server", state.version)):
        if seen is not None:
            yield (f"version, {side}", f"{seen.value.major}.{seen.value.minor}"), seen.by
            for name, value in seen.value.capabilities:
                yield (f"{name}, {side}", value), seen.by
    if state.device is not None:
        info, by = state.device.value, state.device.by
        yield ("flags", _bits(DeviceFlag, info.flags)), by
        yield ("regions", str(info.num_regions)), by
        yield ("interrupt types", str(info.num_irqs)), by
    if state.twin is not None:
        yield ("twin socket", _descriptor(state.twin.value)), state.twin.by
    if state.reset:
        yield ("last reset", f"#{state.reset}"), state.reset
    if state.migration is not None:
        yield ("migration state", migration_words(state.migration.value)), state.migration.by


def _irq_row(irq: Irq) -> tuple[str, ...]:
    shown = [f"{number}: {descriptor_words(seen.value)}" for number, seen in sorted(irq.triggers.items())[:_SHOWN]]
    more = f", and {len(irq.triggers) - _SHOWN} more" if len(irq.triggers) > _SHOWN else ""
    return (
        _named(IRQ_NAMES, irq.index),
        "?" if irq.count is None else str(irq.count),
        "?" if irq.flags is None else _bits(IrqFlag, irq.flags),
        (", ".join(shown) or "none") + more,
    )


# -- JSON --------------------------------------------------------------------------------------------------------------


def _fd(descriptor: Descriptor | None) -> dict[str, Any] | None:
    if descriptor is None:
        return None
    return {
        "number": descriptor.number,
        "kind": descriptor.kind.value,
        "identity": descriptor.identity,
        "name": descriptor.name,
        "size": descriptor.size,
    }


def _refusal(one: FailedCommand) -> dict[str, Any]:
    return {"request": one.request, "name": one.name, "error": one.error, "by": one.by}


def values(state: VfioState) -> dict[str, Any]:
    """All of a state; unknown is null; ``by`` numbers the message that set a value."""

    def version(seen: Any) -> dict[str, Any] | None:
        if seen is None:
            return None
        said = seen.value
        return {
            "major": said.major,
            "minor": said.minor,
            "capabilities": dict(said.capabilities),
            "by": seen.by,
        }

    def plain(seen: Seen[int] | None) -> dict[str, Any] | None:
        return None if seen is None else {"value": seen.value, "by": seen.by}

    device = state.device
    return {
        "followed_from_start": state.fresh,
        "version_client": version(state.proposed),
        "version_server": version(state.version),
        "device_info": None
        if device is None
        else {
            "flags": device.value.flags,
            "num_regions": device.value.num_regions,
            "num_irqs": device.value.num_irqs,
            "by": device.by,
        },
        "device_regions": [
            {
                "index": one.index,
                "size": one.size,
                "flags": one.flags,
                "offset": one.offset,
                "fd": _fd(one.descriptor),
                "by": one.by,
            }
            for one in sorted(state.regions.values(), key=lambda region: region.index)
        ],
        "irqs": [
            {
                "index": irq.index,
                "count": irq.count,
                "flags": irq.flags,
                "by": irq.by,
                "eventfds": [
                    {"number": number, "fd": _fd(seen.value), "by": seen.by}
                    for number, seen in sorted(irq.triggers.items())
                ],
                "eventfds_by": irq.triggers_by,
            }
            for irq in sorted(state.irqs.values(), key=lambda irq: irq.index)
        ],
        "dma": None
        if state.dma is None
        else [
            {
                "address": one.address,
                "size": one.size,
                "flags": one.flags,
                "offset": one.offset,
                "fd": _fd(one.descriptor),
                "by": one.by,
            }
            for one in sorted(state.dma.values(), key=lambda one: one.address)
        ],
        "dma_by": state.dma_by,
        "twin_socket": {"fd": _fd(state.twin.value), "by": state.twin.by} if state.twin else None,
        "reset": state.reset or None,
        "migration": plain(state.migration),
        "refused": [_refusal(one) for one in state.refused],
    }
