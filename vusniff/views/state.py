"""The state of a device as tables or as JSON: features, memory map, vrings and the rest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from vusniff.amounts import counted
from vusniff.amounts import process as process_words
from vusniff.analysis.session import Session
from vusniff.analysis.timeline import Timeline
from vusniff.families.family import State
from vusniff.families.vhost_user.protocol import F_LOG_ALL, F_PROTOCOL_FEATURES, Channels, FrontendRequest
from vusniff.families.vhost_user.state import (
    Addresses,
    DeviceState,
    Region,
    Seen,
    Vring,
    packed_base,
    ring_state,
    translate,
)
from vusniff.layouts import dissect
from vusniff.message import Context
from vusniff.printable import cell, escape
from vusniff.record import Connection, Descriptor
from vusniff.views import words
from vusniff.views.jsonl import descriptor_dict

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table


def feature_names(context: Context, value: int, protocol: bool = False) -> list[str]:
    """Names of the bits of a feature word, as the dissector calls them for this device type."""
    request = FrontendRequest.SET_PROTOCOL_FEATURES if protocol else FrontendRequest.SET_FEATURES
    order = "little" if context.order == "little" else "big"
    decoded = dissect.payload(
        Channels.MAIN,
        request,
        False,
        value.to_bytes(8, order),  # type: ignore[arg-type]
        0,
        context,
    )
    return list((decoded.payload or {}).get("u64_names", []))


def end_words(connection: Connection, end: int) -> str:
    """Who sits at an end of a connection: ``testpmd (4321)``."""
    process = connection.ends[end].process
    if process is None:
        return "unknown"
    return escape(process_words(process))


def peers(timeline: Timeline, session: Session) -> tuple[str, str]:
    """Front-end and back-end of a session."""
    between, front = timeline.tracker.sides(session)
    return end_words(between, front), end_words(between, 1 - front)


# --- JSON -------------------------------------------------------------------------------------------------------------


def _seen(seen: Seen[Any] | None) -> Any:
    return None if seen is None else {"value": seen.value, "by": seen.by}


def _descriptor(seen: Seen[Descriptor | None] | None) -> dict[str, Any] | None:
    if seen is None:
        return None
    return {"value": descriptor_dict(seen.value) if seen.value else None, "by": seen.by}


def _features(context: Context, seen: Seen[int] | None, protocol: bool = False) -> dict[str, Any] | None:
    if seen is None:
        return None
    return {"value": seen.value, "names": feature_names(context, seen.value, protocol), "by": seen.by}


def _address(state: DeviceState, address: int) -> dict[str, Any]:
    place = translate(state, address)
    return {
        "address": address,
        "region": place.region if place else None,
        "offset": place.offset if place else None,
    }


def _addresses(state: DeviceState, seen: Seen[Addresses] | None) -> dict[str, Any] | None:
    if seen is None:
        return None
    addresses = seen.value
    return {
        "flags": addresses.flags,
        "descriptor": _address(state, addresses.descriptor),
        "available": _address(state, addresses.available),
        "used": _address(state, addresses.used),
        "log": addresses.log,
        "by": seen.by,
    }


def _vring(state: DeviceState, ring: Vring) -> dict[str, Any]:
    return {
        "index": ring.index,
        "life": _seen(ring.life),
        "enabled": _seen(ring.enabled),
        "num": _seen(ring.num),
        "base": _seen(ring.base),
        "addresses": _addresses(state, ring.addresses),
        "kick": _descriptor(ring.kick),
        "call": _descriptor(ring.call),
        "err": _descriptor(ring.err),
        "endian": _seen(ring.endian),
        "notifier": _descriptor(ring.notifier),
    }


def state_dict(state: State, context: Context) -> dict[str, Any]:
    """All of a state; unknown is null; ``by`` numbers the message that set a value, 0 is the connection's start."""
    if not isinstance(state, DeviceState):
        return dict(state.values())
    inflight, log, config = state.inflight, state.log, state.config
    return {
        "followed_from_start": state.fresh,
        "features_offered": _features(context, state.features_offered),
        "features": _features(context, state.features),
        "protocol_features_offered": _features(context, state.protocol_features_offered, True),
        "protocol_features": _features(context, state.protocol_features, True),
        "owned": _seen(state.owned),
        "queue_num": _seen(state.queue_num),
        "max_mem_slots": _seen(state.max_mem_slots),
        "regions": None
        if state.memory_unknown
        else [
            {
                "guest_address": region.guest_address,
                "size": region.size,
                "user_address": region.user_address,
                "mmap_offset": region.mmap_offset,
                "backend_address": region.backend_address,
                "fd": descriptor_dict(region.descriptor) if region.descriptor else None,
                "by": region.by,
            }
            for region in state.regions or ()
        ],
        "regions_complete": state.regions is not None and not state.regions_part,
        "vrings": [_vring(state, state.vrings[index]) for index in sorted(state.vrings)],
        "config": {"data": config.value.data.hex(), "known": config.value.known.hex(), "by": config.by}
        if config
        else None,
        "status": _seen(state.status),
        "inflight": {
            "mmap_size": inflight.value.mmap_size,
            "mmap_offset": inflight.value.mmap_offset,
            "num_queues": inflight.value.num_queues,
            "queue_size": inflight.value.queue_size,
            "fd": descriptor_dict(inflight.value.descriptor) if inflight.value.descriptor else None,
            "by": inflight.by,
        }
        if inflight
        else None,
        "log": {
            "size": log.value.size,
            "offset": log.value.offset,
            "fd": descriptor_dict(log.value.descriptor) if log.value.descriptor else None,
            "by": log.by,
        }
        if log
        else None,
        "log_fd": _descriptor(state.log_fd),
        "backend_channel": _descriptor(state.backend_channel),
        "gpu_socket": _descriptor(state.gpu_socket),
        "mtu": _seen(state.mtu),
        "postcopy": {"value": state.postcopy.value.value, "by": state.postcopy.by} if state.postcopy else None,
        "refused": [
            {"request": refusal.request, "name": refusal.name, "value": refusal.value, "by": refusal.by}
            for refusal in state.refused
        ],
    }


# --- tables -----------------------------------------------------------------------------------------------------------


def unknown(state: DeviceState) -> str:
    """What a value is that no message has set: not set in a session followed from its start, else unknown."""
    return "-" if state.fresh else "?"


def descriptor_words(state: DeviceState, seen: Seen[Descriptor | None] | None) -> str:
    """A descriptor by identity, ``none`` after a message that says so."""
    if seen is None:
        return unknown(state)
    return words.descriptor(seen.value) if seen.value else "none"


def address_words(state: DeviceState, address: int) -> str:
    """An address as region and offset; itself where no region holds it."""
    place = translate(state, address)
    return f"r{place.region}+{place.offset:#x}" if place else f"{address:#x}"


def base_words(state: DeviceState, ring: Vring) -> str:
    """A ring's base; of a packed ring both indices, each with its wrap counter."""
    if ring.base is None:
        return unknown(state)
    if not state.packed:
        return str(ring.base.value)
    available, available_wrap, used, used_wrap = packed_base(ring.base.value)
    return f"{available}/{int(available_wrap)} {used}/{int(used_wrap)}"


def enabled_words(state: DeviceState, ring: Vring) -> str:
    """Enabled, disabled, or unknown."""
    return unknown(state) if ring.enabled is None else "enabled" if ring.enabled.value else "disabled"


def life_words(state: DeviceState, ring: Vring) -> str:
    """What a ring is, as far as witnessed: ``not set up``, ``armed``, ``started`` or ``stopped``."""
    known = ring_state(ring)
    return unknown(state) if known is None else known.value


def vring_row(state: DeviceState, ring: Vring) -> tuple[str, ...]:
    """One ring in cells: index, state, enabled, size, base, three addresses, kick, call, err."""
    if ring.addresses is None:
        places = (unknown(state),) * 3
    else:
        addresses = ring.addresses.value
        places = (
            address_words(state, addresses.descriptor),
            address_words(state, addresses.available),
            address_words(state, addresses.used),
        )
    return (
        str(ring.index),
        life_words(state, ring),
        enabled_words(state, ring),
        unknown(state) if ring.num is None else str(ring.num.value),
        base_words(state, ring),
        *places,
        descriptor_words(state, ring.kick),
        descriptor_words(state, ring.call),
        descriptor_words(state, ring.err),
    )


VRING_COLUMNS = ("vring", "state", "enabled", "size", "base", "descriptor", "available", "used", "kick", "call", "err")


NEGOTIATED = "negotiated"
NOT_OFFERED = "acknowledged, but not offered by the back-end"
NOT_ACKNOWLEDGED = "not acknowledged by the front-end"


def became_of(bit: int, offered: Seen[int] | None, taken: Seen[int] | None, protocol: bool, fresh: bool) -> str:
    """What became of a feature bit that was offered or acknowledged, and who decided it; ``fresh`` as of a state."""
    given = None if offered is None else bool(offered.value >> bit & 1)
    if taken is None:
        return "not acknowledged yet" if fresh else "unknown"
    if taken.value >> bit & 1:
        return {True: NEGOTIATED, False: NOT_OFFERED, None: "acknowledged"}[given]
    if not protocol and F_LOG_ALL >> bit & 1:
        return "not acknowledged (only a migration needs it)"
    who = "VMM" if protocol or F_PROTOCOL_FEATURES >> bit & 1 else "VMM or guest"
    return f"{NOT_ACKNOWLEDGED} ({who})"


def feature_rows(
    context: Context, offered: Seen[int] | None, taken: Seen[int] | None, protocol: bool = False, fresh: bool = True
) -> Iterator[tuple[str, str, str, str]]:
    """One bit a row: name, offered, acknowledged, what became of it; ``?`` where that is not known."""
    union = (offered.value if offered else 0) | (taken.value if taken else 0)
    for bit in range(64):
        mask = 1 << bit
        if union & mask:
            name = feature_names(context, mask, protocol)[0]
            shown = ["?" if word is None else "yes" if word.value & mask else "no" for word in (offered, taken)]
            yield f"{bit:>2} {name}", shown[0], shown[1], became_of(bit, offered, taken, protocol, fresh)


def rest_rows(state: DeviceState) -> Iterator[tuple[str, str]]:
    """What else was set, one thing a row."""
    if state.queue_num:
        yield "queues", f"{state.queue_num.value} (#{state.queue_num.by})"
    if state.max_mem_slots:
        yield "memory slots", f"{state.max_mem_slots.value} (#{state.max_mem_slots.by})"
    if state.status:
        yield "device status", f"{state.status.value:#x} (#{state.status.by})"
    if state.config:
        known = sum(state.config.value.known)
        yield "config space", f"{known} bytes known (#{state.config.by})"
    if state.inflight:
        inflight = state.inflight.value
        yield (
            "inflight",
            f"{counted(inflight.num_queues, 'queue')} of {inflight.queue_size}, {words.size(inflight.mmap_size)} in "
            f"{words.descriptor(inflight.descriptor) if inflight.descriptor else 'no descriptor'} "
            f"(#{state.inflight.by})",
        )
    if state.log:
        log = state.log.value
        yield (
            "dirty log",
            f"{words.size(log.size) if log.size is not None else 'size unknown'} in "
            f"{words.descriptor(log.descriptor) if log.descriptor else 'no descriptor'} (#{state.log.by})",
        )
    for title, seen in (
        ("back-end channel", state.backend_channel),
        ("gpu socket", state.gpu_socket),
        ("log fd", state.log_fd),
    ):
        if seen:
            yield title, f"{descriptor_words(state, seen)} (#{seen.by})"
    if state.mtu:
        yield "MTU", f"{state.mtu.value} (#{state.mtu.by})"
    if state.postcopy:
        yield "postcopy", f"{state.postcopy.value} (#{state.postcopy.by})"
    for refusal in state.refused:
        yield "refused", f"{refusal.name} (#{refusal.request}) with {refusal.value:#x} (#{refusal.by})"


WIDTH = 64
"""Characters of a cell: many columns stand side by side."""


def table(title: str, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> Table:
    """One table with its title above it."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        made.add_column(column, no_wrap=True)
    for row in rows:
        made.add_row(*(Text(cell(text, WIDTH)) for text in row))  # a plain str may hold markup
    return made


MEMORY_COLUMNS = ("region", "guest address", "size", "user address", "offset", "descriptor")


def region_row(number: int, region: Region) -> tuple[str, ...]:
    """One memory region in cells."""
    return (
        f"r{number}",
        f"{region.guest_address:#x}",
        words.size(region.size),
        f"{region.user_address:#x}",
        f"{region.mmap_offset:#x}",
        words.descriptor(region.descriptor) if region.descriptor else "none",
    )


OTHER_REGIONS = "there may be other regions: what was there when this was joined is unknown"
"""Said of memory of which only changes were seen."""


def no_regions(state: DeviceState) -> str:
    """What a state without regions that are known says of memory."""
    return "unknown" if state.memory_unknown else "no regions"


def tables(state: State, context: Context) -> Iterator[RenderableType]:
    """The state as rich renderables, in the order people ask: vrings, memory, features, the rest."""
    if not isinstance(state, DeviceState):
        for one in state.tables():
            yield table(one.title, one.columns, one.rows) if one.rows else f"{one.title}: nothing seen\n"
        return
    if state.vrings:
        yield table("Vrings", VRING_COLUMNS, (vring_row(state, state.vrings[index]) for index in sorted(state.vrings)))
    else:
        yield "Vrings: none set up\n" if state.fresh else "Vrings: unknown\n"
    if state.regions:
        yield table("Memory", MEMORY_COLUMNS, (region_row(*region) for region in enumerate(state.regions)))
        if state.regions_part:
            yield f"{OTHER_REGIONS}\n"
    else:
        yield f"Memory: {no_regions(state)}\n"
    features = [
        *feature_rows(context, state.features_offered, state.features, fresh=state.fresh),
        *feature_rows(context, state.protocol_features_offered, state.protocol_features, True, state.fresh),
    ]
    columns = ("bit", "offered", "acknowledged", "what became of it")
    nothing = "none offered yet" if state.fresh else "unknown"
    yield table("Features", columns, features) if features else f"Features: {nothing}\n"
    rest = list(rest_rows(state))
    if rest:
        yield table("Also", ("what", "value"), rest)
