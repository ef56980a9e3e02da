"""The state machine of vfio-user: ``advance(state, message)`` over two tables of handlers, pure and total.

The rules it follows stand at the head of `state`. A handler is only called with a payload that was decoded in full.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vusniff.families.vfio_user.protocol import (
    FEATURE_GET,
    FEATURE_INDEX,
    FEATURE_PROBE,
    FEATURE_SET,
    Command,
)
from vusniff.families.vfio_user.state import (
    MAX_ENTRIES,
    MAX_REFUSED,
    DeviceInfo,
    DeviceRegion,
    FailedCommand,
    Irq,
    Mapped,
    Version,
    VfioState,
)
from vusniff.families.vhost_user.state import Seen
from vusniff.message import Message
from vusniff.record import Descriptor
from vusniff.values import replace
from vusniff.vfio import DeviceFeature, DmaFlag, DmaUnmapFlag, IrqSetFlag, MigrationState

Handler = Callable[[VfioState, Message, Mapping[str, Any]], VfioState]

_CAPABILITIES = 64
"""Capabilities that are kept."""
_VALUE = 256
"""Characters of one that are kept."""


def _first(message: Message) -> Descriptor | None:
    return message.descriptors[0] if message.descriptors else None


def capabilities(text: str) -> tuple[tuple[str, str], ...]:
    """The capabilities of VERSION's JSON, values as JSON; none where it is not what it ought to be."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return ()
    said = found.get("capabilities") if isinstance(found, dict) else None
    if not isinstance(said, dict):
        return ()
    return tuple((str(name), json.dumps(value)[:_VALUE]) for name, value in list(said.items())[:_CAPABILITIES])


def _version(message: Message, payload: Mapping[str, Any]) -> Seen[Version]:
    said = capabilities(payload["data"])
    return Seen(Version(payload["major"], payload["minor"], said), message.number)


def _propose(state: VfioState, message: Message, payload: Mapping[str, Any]) -> VfioState:
    return replace(state, proposed=_version(message, payload))


def _agree(state: VfioState, message: Message, payload: Mapping[str, Any]) -> VfioState:
    version = _version(message, payload)
    socket = _first(message)
    has_twin = socket is not None and any(name == "twin_socket" for name, _ in version.value.capabilities)
    return replace(state, version=version, twin=Seen(socket, message.number) if has_twin and socket else state.twin)


def _dma_map(state: VfioState, message: Message, payload: Mapping[str, Any]) -> VfioState:
    if "regions" in payload:
        return _dma_regions(state, message, payload["regions"])
    mapped = (payload["address"], payload["size"], payload["flags"], payload["offset"], _first(message))
    return _with_mapped(state, Mapped(*mapped, message.number))


def _dma_regions(state: VfioState, message: Message, regions: Sequence[Mapping[str, int]]) -> VfioState:
    """The older DMA_MAP: each region that is mappable has the next of the descriptors."""
    descriptors = iter(message.descriptors)
    for one in regions:
        flags = one["prot"] & (DmaFlag.READ | DmaFlag.WRITE) | (DmaFlag.MMAP if one["flags"] & 1 else 0)
        passed = next(descriptors, None) if flags & DmaFlag.MMAP else None
        state = _with_mapped(state, Mapped(one["addr"], one["size"], flags, one["offset"], passed, message.number))
    return state


def _with_mapped(state: VfioState, mapped: Mapped) -> VfioState:
    known = state.dma or {}
    if mapped.address not in known and len(known) >= MAX_ENTRIES:
        return state
    return replace(state, dma={**known, mapped.address: mapped}, dma_by=mapped.by)


def _dma_unmap(state: VfioState, message: Message, payload: Mapping[str, Any]) -> VfioState:
    known = state.dma
    if payload["flags"] & DmaUnmapFlag.ALL:
        return replace(state, dma={}, dma_by=message.number)
    entry = known.get(payload["address"]) if known else None
    if known is None or entry is None or entry.size != payload["size"]:
        return state
    left = {address: one for address, one in known.items() if one is not entry}
    return replace(state, dma=left, dma_by=message.number)


def _device_info(state: VfioState, message: Message, payload: Mapping[str, Any]) -> VfioState:
    info = DeviceInfo(payload["flags"], payload["num_regions"], payload["num_irqs"])
    return replace(state, device=Seen(info, message.number))


def _region_info(state: VfioState, message: Message, payload: Mapping[str, Any]) -> VfioState:
    index = payload["index"]
    if index not in state.regions and len(state.regions) >= MAX_ENTRIES:
        return state
    region = DeviceRegion(index, payload["size"], payload["flags"], payload["offset"], _first(message), message.number)
    return replace(state, regions={**state.regions, index: region})


def _with_irq(state: VfioState, irq: Irq) -> VfioState:
    if irq.index not in state.irqs and len(state.irqs) >= MAX_ENTRIES:
        return state
    return replace(state, irqs={**state.irqs, irq.index: irq})


def _irq_info(state: VfioState, message: Message, payload: Mapping[str, Any]) -> VfioState:
    irq = state.irqs.get(payload["index"]) or Irq(payload["index"])
    return _with_irq(state, replace(irq, count=payload["count"], flags=payload["flags"], by=message.number))


def _set_irqs(state: VfioState, message: Message, payload: Mapping[str, Any]) -> VfioState:
    flags, start, count = payload["flags"], payload["start"], payload["count"]
    if not flags & IrqSetFlag.ACTION_TRIGGER:
        return state
    irq = state.irqs.get(payload["index"]) or Irq(payload["index"])
    triggers = dict(irq.triggers)
    if flags & IrqSetFlag.DATA_EVENTFD:
        for number in [number for number in triggers if start <= number < start + count]:
            del triggers[number]
        for number, descriptor in enumerate(message.descriptors[:count], start):
            if len(triggers) < MAX_ENTRIES:
                triggers[number] = Seen(descriptor, message.number)
    elif flags & IrqSetFlag.DATA_NONE and not count:
        triggers = {}
    else:
        return state  # the client triggers an interrupt itself
    return _with_irq(state, replace(irq, triggers=triggers, triggers_by=message.number))


def _reset(state: VfioState, message: Message, payload: Mapping[str, Any]) -> VfioState:
    if payload:
        return state  # an older VM_INTERRUPT
    migration = state.migration and Seen(int(MigrationState.RUNNING), message.number)
    return replace(state, reset=message.number, migration=migration)


def _feature_set(state: VfioState, message: Message, payload: Mapping[str, Any]) -> VfioState:
    flags = payload["flags"]
    chosen = (
        flags & FEATURE_INDEX == DeviceFeature.MIG_DEVICE_STATE and flags & FEATURE_SET and not flags & FEATURE_PROBE
    )
    return _migration(state, message, payload) if chosen else state


def _feature_got(state: VfioState, message: Message, payload: Mapping[str, Any]) -> VfioState:
    flags = payload["flags"]
    chosen = (
        flags & FEATURE_INDEX == DeviceFeature.MIG_DEVICE_STATE and flags & FEATURE_GET and not flags & FEATURE_PROBE
    )
    return _migration(state, message, payload) if chosen else state


def _migration(state: VfioState, message: Message, payload: Mapping[str, Any]) -> VfioState:
    device_state = payload.get("device_state")
    return state if device_state is None else replace(state, migration=Seen(device_state, message.number))


COMMANDS: Mapping[int, Handler] = {
    Command.VERSION: _propose,
    Command.DMA_MAP: _dma_map,
    Command.DMA_UNMAP: _dma_unmap,
    Command.DEVICE_SET_IRQS: _set_irqs,
    Command.DEVICE_RESET: _reset,
    Command.DEVICE_FEATURE: _feature_set,
}
REPLIES: Mapping[int, Handler] = {
    Command.VERSION: _agree,
    Command.DEVICE_GET_INFO: _device_info,
    Command.DEVICE_GET_REGION_INFO: _region_info,
    Command.DEVICE_GET_IRQ_INFO: _irq_info,
    Command.DEVICE_FEATURE: _feature_got,
}


def advance(state: VfioState, message: Message) -> VfioState:
    """The state after a message; the same object when it changes nothing."""
    request = message.request
    if request is None:
        return state
    if not message.reply:
        handler = COMMANDS.get(request)
    elif message.failed:
        refusal = FailedCommand(message.answers or 0, message.name, message.more.get("error", 0), message.number)
        return replace(state, refused=(*state.refused, refusal)[-MAX_REFUSED:])
    else:
        handler = REPLIES.get(request)
    if handler is None or message.malformed is not None or message.payload is None:
        return state
    try:
        return handler(state, message, message.payload)
    except (KeyError, TypeError):  # a vendor's layout of this command, or a reply that is empty
        return state
