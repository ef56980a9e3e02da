"""Fields of payloads, made from the tables of messages: every field of every layout gets a name, a vendor's too.

Owns how a layout's field is called in filters. It walks the trees of the layouts; values come from what `dissect`
decoded. A layout that only a bare function can choose cannot be found, so its fields have no names.
"""

from __future__ import annotations

import enum
import functools
import re
from collections.abc import Iterator, Sequence

from vusniff.channel import Channel
from vusniff.families.registry import families
from vusniff.families.vhost_user.device import DEVICES
from vusniff.families.vhost_user.protocol import Channels, FrontendRequest, GpuRequest
from vusniff.filter.field import Field, Origin, PayloadKey, ValueKind
from vusniff.filter.leaves import EVERY, PathOf, leaves
from vusniff.filter.values import TYPES, from_hex, reader
from vusniff.layouts import dissect
from vusniff.layouts.parts import layouts_of
from vusniff.message import Alternatives, Context, Layout, enum_of
from vusniff.values import dataclass, field

PREFIXES = {
    "u64": "vhost",
    "ack": "vhost",
    "vring_state": "vring",
    "vring_base": "vring",
    "vring_fd": "vring",
    "vring_addr": "vring.addr",
    "vring_area": "vring.area",
    "memory_table": "vhost.mem",
    "memory_region_single": "vhost.mem",
    "log": "vhost.log",
    "iotlb": "vhost.iotlb",
    "config": "vhost.config",
    "vdpa_config": "vhost.config",
    "vduse_config": "vhost.config",
    "vring_file": "vring",
    "vring_worker": "vring.worker",
    "u32": "vhost",
    "i32": "vhost",
    "features_array": "vhost.features_array",
    "scsi_target": "vhost.scsi",
    "iova_range": "vhost.iova",
    "vduse_device": "vduse.device",
    "vduse_name": "vduse.device",
    "vduse_entry": "vduse.iotlb",
    "vduse_vring": "vduse.ring",
    "vduse_vring_info": "vduse.ring",
    "vduse_umem": "vduse.umem",
    "vduse_iova_info": "vduse.iova",
    "vduse_asks_vring": "vduse",
    "vduse_status": "vduse",
    "vduse_updates": "vduse.iova",
    "vduse_group": "vduse",
    "vduse_response": "vduse",
    "inflight": "vhost.inflight",
    "rarp_mac": "vhost.rarp",
    "shared_object": "vhost.shared_object",
    "device_state_transfer": "vhost.device_state",
    "device_state_reply": "vhost.device_state",
    "crypto_session": "vhost.crypto",
    "shmem_mmap": "vhost.shmem",
    "fs_mapping": "vhost.fs",
    "cursor_pos": "vhost.gpu",
    "cursor_update": "vhost.gpu",
    "scanout": "vhost.gpu",
    "update": "vhost.gpu",
    "dmabuf_scanout": "vhost.gpu",
    "dmabuf_scanout2": "vhost.gpu",
    "edid_request": "vhost.gpu",
    "virtio_gpu_resp_display_info": "vhost.gpu",
    "virtio_gpu_resp_edid": "vhost.gpu",
}
"""Layout -> what stands before its fields; of others it is `Family.fields` and its name: ``vhost.<layout>``."""

NAMED = {
    ("vring_base", "num"): "vring.base",
    ("vring_addr", "index"): "vring.index",
    ("vring_area", "index"): "vring.index",
    ("vring_area", "no_fd"): "vring.no_fd",
    **{
        (layout, "index"): "vring.index"
        for layout in ("vring_worker", "vduse_vring", "vduse_vring_info", "vduse_asks_vring", "vduse_response")
    },
    ("vduse_status", "u64"): "vhost.u64",
    ("vduse_vring_info", "num"): "vduse.ring.size",
    ("log", "log_size"): "vhost.log.size",
    ("log", "log_offset"): "vhost.log.offset",
}
"""(Layout, field) -> a name that the prefix does not give. The whole word of a u64 is ``vhost.u64`` everywhere."""

NAMELESS = frozenset({"vhost.u64", "vring.num"})
"""Fields whose values are called differently by each request: `MEANINGS` has names for those."""

INNER = {"regions": "", "config": "space."}
"""Field that holds others -> what stands for it in their names; else its own name."""

MEANINGS: tuple[tuple[str, Channel, tuple[int, ...], str], ...] = (
    ("vhost.features", Channels.MAIN, (FrontendRequest.GET_FEATURES, FrontendRequest.SET_FEATURES), "u64"),
    (
        "vhost.protocol_features",
        Channels.MAIN,
        (FrontendRequest.GET_PROTOCOL_FEATURES, FrontendRequest.SET_PROTOCOL_FEATURES),
        "u64",
    ),
    ("vhost.status", Channels.MAIN, (FrontendRequest.GET_STATUS, FrontendRequest.SET_STATUS), "u64"),
    ("vhost.queue_num", Channels.MAIN, (FrontendRequest.GET_QUEUE_NUM,), "u64"),
    ("vhost.max_mem_slots", Channels.MAIN, (FrontendRequest.GET_MAX_MEM_SLOTS,), "u64"),
    ("vhost.mtu", Channels.MAIN, (FrontendRequest.NET_SET_MTU,), "u64"),
    ("vring.size", Channels.MAIN, (FrontendRequest.SET_VRING_NUM,), "num"),
    ("vring.enabled", Channels.MAIN, (FrontendRequest.SET_VRING_ENABLE,), "num"),
    ("vring.endian", Channels.MAIN, (FrontendRequest.SET_VRING_ENDIAN,), "num"),
    (
        "vhost.gpu.protocol_features",
        Channels.GPU,
        (GpuRequest.GPU_GET_PROTOCOL_FEATURES, GpuRequest.GPU_SET_PROTOCOL_FEATURES),
        "u64",
    ),
)
"""Second names of fields whose meaning is their request's."""


_NO_WORD = re.compile(r"\W")


@dataclass
class _Found:
    """What is known of a name while the tables are walked."""

    kind: ValueKind
    paths: dict[str, PathOf] = field(default_factory=dict)
    """Layout -> where its values are in the payload."""
    keys: set[PayloadKey] = field(default_factory=set)
    tables: list[type[enum.Enum]] = field(default_factory=list)
    requests: dict[str, None] = field(default_factory=dict)
    """Where it occurs, for people."""


def fields() -> dict[str, Field]:
    """All fields of payloads by name. Raises DissectorError when the dissectors cannot be loaded."""
    found: dict[str, _Found] = {}
    meant: dict[str, _Found] = {}
    known: dict[Layout, list[tuple[PathOf, ValueKind]]] = {}
    for channel, request, name, is_reply, layout in _layouts():
        if layout not in known:
            known[layout] = list(leaves(layout))
        for path, kind in known[layout]:
            _note(found, name_of(layout.name, path), kind, path, channel, request, name, is_reply, layout)
            for alias, of, requests, first in MEANINGS:
                own = (channel, first) == (of, path[0]) and request in requests
                if own and not (is_reply and layout.name == "ack"):
                    _note(meant, alias, kind, path, channel, request, name, is_reply, layout)
    unlisted = _unlisted()
    for one in found.values():
        one.keys |= unlisted
    made = {name: _field(name, one, None) for name, one in found.items()}
    for alias, one in meant.items():
        made[alias] = _field(alias, one, frozenset((key.channel, key.request) for key in one.keys))
    return made


def _note(
    table: dict[str, _Found],
    name: str,
    kind: ValueKind,
    path: PathOf,
    channel: str,
    request: int | None,
    request_name: str,
    is_reply: bool,
    layout: Layout,
) -> None:
    if name in NAMELESS:
        kind = ValueKind.NUMBER
    one = table.setdefault(name, _Found(kind))
    if one.kind is not kind:  # two layouts that mean different things by one name: text says both
        one.kind = ValueKind.BITS if {one.kind, kind} == {ValueKind.BITS, ValueKind.NUMBER} else ValueKind.TEXT
    one.paths.setdefault(layout.name, path)
    one.keys.add(PayloadKey(channel, request, is_reply))
    one.requests[request_name + (" reply" if is_reply and request is not None else "")] = None
    for names in _tables(layout, path):
        if names not in one.tables and name not in NAMELESS:
            one.tables.append(names)


def _layouts() -> Iterator[tuple[str, int | None, str, bool, Layout]]:
    """Channel, request, its name, whether of the reply, layout."""
    for channel, dissector in dissect.load().items():
        for spec in dissector.specs.values():
            for layout in layouts_of(spec.payload):
                yield channel, spec.code, spec.name, False, layout
            for layout in layouts_of(spec.reply):
                yield channel, spec.code, spec.name, True, layout
        if dissector.ack is not None:
            yield channel, None, "acknowledgements", True, dissector.ack


def _unlisted() -> set[PayloadKey]:
    """Messages whose layout is chosen by a bare function: they may be read by any."""
    return {
        PayloadKey(channel, spec.code, is_reply)
        for channel, dissector in dissect.load().items()
        for spec in dissector.specs.values()
        for choice, is_reply in ((spec.payload, False), (spec.reply, True))
        if choice is not None and not isinstance(choice, Layout | Alternatives)
    }


def name_of(layout: str, path: PathOf) -> str:
    """What a field of a layout is called."""
    parts = tuple(part for part in path if part != EVERY)
    special = NAMED.get((layout, parts[0])) if len(parts) == 1 else None
    if special:
        return special
    if parts in (("u64",), ("success",)):
        return f"vhost.{parts[0]}"
    prefix = PREFIXES.get(layout) or f"{_beginning().get(layout, 'vhost')}.{re.sub(_NO_WORD, '_', layout)}"
    inner = "".join(INNER.get(part, f"{part}.") for part in parts[:-1])
    return f"{prefix}.{inner}{parts[-1]}"


@functools.cache
def _beginning() -> dict[str, str]:
    """Layout -> how the names of its fields begin, by the family whose messages have it."""
    known: dict[str, str] = {channel: family.fields for family in families().values() for channel in family.channels}
    return {layout.name: known[channel] for channel, _, _, _, layout in _layouts() if channel in known}


# -- names of bits and values -----------------------------------------------------------------------------------------


def _tables(layout: Layout, path: PathOf) -> Iterator[type[enum.Enum]]:
    names = layout.names.get(path[-1])
    if names is None:
        return
    yield enum_of(names, Context())
    if not isinstance(names, type):
        for device in DEVICES:
            yield enum_of(names, Context(device=device))


_FAMILY = re.compile(r"(?:VIRTIO|VHOST)(?:_[A-Z0-9]+)*?_F_")


def forms(name: str) -> tuple[str, ...]:
    """The ways to write a name: in full, without VIRTIO_ or VHOST_USER_, and without all that stands before its own."""
    short = _FAMILY.sub("", name, count=1)
    medium = re.sub(r"^(?:VIRTIO|VHOST_USER|VHOST)_", "", name)
    return tuple(dict.fromkeys((name, medium, short)))


def _names(tables: Sequence[type[enum.Enum]]) -> tuple[dict[str, int], dict[str, frozenset[str]]]:
    """Name -> number, where it is the same in all tables; and form -> the names that a message may show for it."""
    numbers: dict[str, set[int]] = {}
    shown: dict[str, set[str]] = {}
    for table in tables:
        for name, member in table.__members__.items():
            number = int(member.value)
            for form in forms(name):
                numbers.setdefault(form, set()).add(number)
                # A device that is not known shows the bit's number.
                shown.setdefault(form, set()).update((name, f"BIT_{number.bit_length() - 1}"))
    if tables and issubclass(tables[0], enum.IntFlag):
        for bit in range(64):
            numbers.setdefault(f"BIT_{bit}", {1 << bit})
            shown.setdefault(f"BIT_{bit}", {f"BIT_{bit}"})
    return (
        {name: next(iter(values)) for name, values in numbers.items() if len(values) == 1},
        {name: frozenset(names) for name, names in shown.items()},
    )


def _field(name: str, found: _Found, requests: frozenset[tuple[str, int | None]] | None) -> Field:
    numbers, bits = _names(found.tables)
    several = any(EVERY in path for path in found.paths.values())
    where = list(found.requests)
    about = ", ".join(where[:4]) + (f", and {len(where) - 4} more" if len(where) > 4 else "")
    named = {layout: (*path[:-1], f"{path[-1]}_names") for layout, path in found.paths.items()}
    read = reader(found.paths, TYPES[found.kind], several, requests)
    return Field(
        name,
        found.kind,
        Origin.PAYLOAD,
        f"{_words(name)}: {about}",
        from_hex(read, several) if found.kind is ValueKind.BYTES else read,
        several,
        names=numbers,
        bits=bits if found.kind is ValueKind.BITS else {},
        bit_names=reader(named, (list,), several, requests) if found.kind is ValueKind.BITS else None,
        keys=frozenset(found.keys),
        paths=found.paths,
    )


def _words(name: str) -> str:
    return name.rpartition(".")[2].replace("_", " ")
