"""Fields of payloads, made from the tables of messages: every field of every layout gets a name, a vendor's too.

Owns how a layout's field is called in filters. It walks the trees of the layouts; values come from what `dissect`
decoded. A layout that only a bare function can choose cannot be found, so its fields have no names.
"""

from __future__ import annotations

import enum
import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from vusniff.channel import Channel
from vusniff.families.registry import families
from vusniff.families.vhost_user.device import DEVICES
from vusniff.families.vhost_user.protocol import Channels, FrontendRequest, GpuRequest
from vusniff.filter.field import Field, MessageLike, Origin, PayloadKey, Read, Surroundings, ValueKind
from vusniff.layouts import dissect
from vusniff.layouts.parts import Node, NodeKind, layouts_of, tree
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

EVERY = "*"
"""In a path: every element of an array."""
_SAMPLE = 4096
"""Bytes that a computed field is tried with, to see which values it has."""
_VARIANTS = (0, 1, 3, 0x12)
"""First bytes of such a sample: what a union holds may depend on it."""
_COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")

_NO_WORD = re.compile(r"\W")
PathOf = tuple[str, ...]


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


# -- walking a layout --------------------------------------------------------------------------------------------------


def leaves(layout: Layout) -> Iterator[tuple[PathOf, ValueKind]]:
    """The plain fields of a layout: where they are in a payload, and their kinds."""
    try:
        root = tree(layout, "little")
    except Exception:  # a vendor's declaration may fail in any way: its payloads stay raw
        return
    bits = {name for name, names in layout.names.items() if issubclass(enum_of(names, Context()), enum.IntFlag)}
    for path, kind in _walk(root, (), {}) if root.kind is NodeKind.STRUCTURE else ():
        yield path, ValueKind.BITS if path[-1] in bits and kind is ValueKind.NUMBER else kind


def _walk(node: Node, path: PathOf, before: dict[str, Any]) -> Iterator[tuple[PathOf, ValueKind]]:
    match node.kind:
        case NodeKind.STRUCTURE:
            values: dict[str, Any] = {}
            for part in node.parts:
                if part.name:
                    yield from _walk(part, (*path, part.name), values)
        case NodeKind.ARRAY:
            yield from _walk(node.parts[0], (*path, EVERY), {})
        case NodeKind.CONDITIONAL:
            yield from _walk(node.parts[0], path, before)
        case NodeKind.NUMBER:
            before[path[-1]] = 0
            yield path, ValueKind.NUMBER
        case NodeKind.BYTES:
            before[path[-1]] = bytes(_SAMPLE)
            yield path, ValueKind.BYTES
        case NodeKind.ADAPTED:
            yield path, ValueKind.TEXT
        case NodeKind.COMPUTED if node.formula is not None:
            compares = any(f" {sign} " in node.formula.text for sign in _COMPARISONS)
            yield path, ValueKind.BOOLEAN if compares else ValueKind.NUMBER
        case NodeKind.COMPUTED if node.value is not None:
            yield from _computed(node.value, path, before)


def _computed(
    function: Callable[[Mapping[str, Any]], Any], path: PathOf, before: dict[str, Any]
) -> Iterator[tuple[PathOf, ValueKind]]:
    """What a function of Python gives, found by trying."""
    seen: dict[PathOf, ValueKind] = {}
    for first in _VARIANTS:
        sample = bytes([first, 0]) + b"\x20" * (_SAMPLE - 2)
        values = {name: sample if isinstance(value, bytes) else value for name, value in before.items()}
        try:
            seen.update(_plain(function(values), path))
        except Exception:  # it may need other values than these: it has no name then
            continue
    yield from seen.items()


def _plain(value: Any, path: PathOf) -> Iterator[tuple[PathOf, ValueKind]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if not (name.endswith("_names") and name.removesuffix("_names") in value):
                yield from _plain(inner, (*path, name))
    elif isinstance(value, bool):
        yield path, ValueKind.BOOLEAN
    elif isinstance(value, int):
        yield path, ValueKind.NUMBER
    elif isinstance(value, str):
        # Bytes are hex in a decoded payload, whoever made them.
        yield path, ValueKind.TEXT


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


# -- reading ----------------------------------------------------------------------------------------------------------


def _field(name: str, found: _Found, requests: frozenset[tuple[str, int | None]] | None) -> Field:
    numbers, bits = _names(found.tables)
    several = any(EVERY in path for path in found.paths.values())
    where = list(found.requests)
    about = ", ".join(where[:4]) + (f", and {len(where) - 4} more" if len(where) > 4 else "")
    named = {layout: (*path[:-1], f"{path[-1]}_names") for layout, path in found.paths.items()}
    read = reader(found.paths, _TYPES[found.kind], several, requests)
    return Field(
        name,
        found.kind,
        Origin.PAYLOAD,
        f"{_words(name)}: {about}",
        _from_hex(read, several) if found.kind is ValueKind.BYTES else read,
        several,
        names=numbers,
        bits=bits if found.kind is ValueKind.BITS else {},
        bit_names=reader(named, (list,), several, requests) if found.kind is ValueKind.BITS else None,
        keys=frozenset(found.keys),
        paths=found.paths,
    )


def _words(name: str) -> str:
    return name.rpartition(".")[2].replace("_", " ")


_TYPES: dict[ValueKind, tuple[type, ...]] = {
    ValueKind.NUMBER: (int, bool),
    ValueKind.BITS: (int,),
    ValueKind.BOOLEAN: (bool, int),
    ValueKind.TEXT: (str,),
    ValueKind.BYTES: (str,),
}


def reader(
    paths: Mapping[str, PathOf],
    types: tuple[type, ...],
    several: bool,
    requests: frozenset[tuple[str, int | None]] | None = None,
) -> Read:
    """A function that takes a field's values out of a decoded payload: those of the right type, whatever is in it."""
    if several:
        return _all_of(paths, types)
    simple = {layout: path[0] for layout, path in paths.items()}
    if any(len(path) > 1 for path in paths.values()):
        return _deep(paths, types)

    def read(message: MessageLike, _: Surroundings) -> Any:
        name = simple.get(message.layout)  # type: ignore[arg-type]
        payload = message.payload
        if name is None or not payload:
            return None
        value = payload.get(name)
        return value if type(value) in types else None

    if requests is None:
        return read

    def meant(message: MessageLike, surroundings: Surroundings) -> Any:
        if (message.channel, message.request) not in requests:
            return None
        return read(message, surroundings)

    return meant


def _steps(values: list[Any], path: PathOf) -> list[Any]:
    for step in path:
        if step == EVERY:
            values = [inner for value in values if isinstance(value, list) for inner in value]
        else:
            values = [value[step] for value in values if isinstance(value, dict) and step in value]
    return values


def _all_of(paths: Mapping[str, PathOf], types: tuple[type, ...]) -> Read:
    def read(message: MessageLike, _: Surroundings) -> list[Any]:
        path = paths.get(message.layout)  # type: ignore[arg-type]
        if path is None or not message.payload:
            return []
        return [value for value in _steps([message.payload], path) if type(value) in types]

    return read


def _deep(paths: Mapping[str, PathOf], types: tuple[type, ...]) -> Read:
    every = _all_of(paths, types)

    def read(message: MessageLike, surroundings: Surroundings) -> Any:
        values = every(message, surroundings)
        return values[0] if values else None

    return read


def _from_hex(read: Read, several: bool) -> Read:
    """Bytes are hex strings in a decoded payload."""

    def read_bytes(message: MessageLike, around: Surroundings) -> Any:
        value = read(message, around)
        try:
            if several:
                return [bytes.fromhex(one) for one in value]
            return None if value is None else bytes.fromhex(value)
        except ValueError:  # a vendor's layout with text under a name of bytes
            return [] if several else None

    return read_bytes
