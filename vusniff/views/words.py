"""What is said of a message in a few words: the values that matter for its request, descriptors, sizes, times.

One table from the name of a layout to the function that words it, and what the families add to it (`Family.words`); a
layout that is in neither is worded as its fields. Nothing here knows a screen or a file.
"""

from __future__ import annotations

import errno
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from vusniff.amounts import counted
from vusniff.amounts import descriptor as descriptor
from vusniff.amounts import duration as duration
from vusniff.amounts import size as size
from vusniff.channel import Sender
from vusniff.families.registry import families, family_of
from vusniff.families.vhost_user.protocol import FrontendRequest
from vusniff.message import NOT_CAPTURED, Message
from vusniff.printable import escape
from vusniff.record import Descriptor
from vusniff.told import REST_UNKNOWN, Told

PREFIXES = (
    "VHOST_USER_PROTOCOL_F_",
    "VHOST_USER_GPU_PROTOCOL_F_",
    "VHOST_USER_F_",
    "VHOST_F_",
    "VIRTIO_RING_F_",
    "VIRTIO_F_",
)


def short_name(name: str) -> str:
    """A feature's name without the prefix that its place on the screen says already: ``MRG_RXBUF``, ``VERSION_1``."""
    for prefix in PREFIXES:
        if name.startswith(prefix):
            return name[len(prefix) :]
    if name.startswith("VIRTIO_"):
        return name.partition("_F_")[2] or name
    return name


def names(values: Sequence[str]) -> str:
    """Feature names in a row."""
    return " ".join(map(short_name, values)) or "none"


def descriptors(values: Sequence[Descriptor]) -> str:
    """All descriptors of a message; more than four are counted."""
    shown = ", ".join(map(descriptor, values[:4]))
    return f"[{shown}{f', and {len(values) - 4} more' if len(values) > 4 else ''}]"


def _value(name: str, value: Any) -> str:
    if isinstance(value, list):
        return f"{len(value)} {name}"
    if isinstance(value, dict):
        return f"{name} ({_fields(value)})"
    if isinstance(value, str):
        return f"{name} {escape(value if len(value) <= 32 else value[:32] + '...')}"
    if isinstance(value, int) and not isinstance(value, bool) and value > 0xFFFF:
        return f"{name} {value:#x}"
    return f"{name} {value}"


def _fields(payload: Mapping[str, Any]) -> str:
    return " ".join(
        f"{name} {names(payload[f'{name}_names'])}" if f"{name}_names" in payload else _value(name, value)
        for name, value in payload.items()
        if "padding" not in name and not name.endswith(("_names", "_name")) and value is not None
    )


Payload = dict[str, Any]


class WithPayload(Protocol):
    """What a dissector said of a payload: `Message` and `vusniff.layouts.dissect.Decoded` both have it."""

    @property
    def payload(self) -> Payload | None: ...
    @property
    def layout(self) -> str | None: ...
    @property
    def malformed(self) -> str | None: ...
    @property
    def trailing(self) -> bytes: ...


def _u64(payload: Payload, request: int, reply: bool) -> str:
    value = payload["u64"]
    if "success" in payload:
        return _ack(payload, request, reply)
    if "u64_names" in payload:
        return f"{value:#x} {names(payload['u64_names'])}"
    return str(value) if value < 0x10000 else f"{value:#x}"


def _ack(payload: Payload, request: int, reply: bool) -> str:
    if not reply:  # in postcopy the front-end answers the back-end's answer
        return "takes the back-end's addresses" if payload["u64"] == 0 else f"FAILED ({payload['u64']:#x})"
    return "success" if payload["u64"] == 0 else f"FAILED ({payload['u64']:#x})"


def _vring_state(payload: Payload, request: int, reply: bool) -> str:
    index, num = payload["index"], payload["num"]
    match request:
        case FrontendRequest.SET_VRING_NUM:
            return f"vring {index} size {num}"
        case FrontendRequest.SET_VRING_ENABLE:
            return f"vring {index} {('disabled', 'enabled')[num] if num < 2 else num}"
        case FrontendRequest.SET_VRING_ENDIAN:
            return f"vring {index} {('little', 'big')[num] if num < 2 else num}"
    return f"vring {index}" + (f" num {num}" if num else "")


def _vring_base(payload: Payload, request: int, reply: bool) -> str:
    if "available_wrap" in payload:
        return (
            f"vring {payload['index']} available {payload['available_index']} wrap {int(payload['available_wrap'])}"
            f" used {payload['used_index']} wrap {int(payload['used_wrap'])}"
        )
    return f"vring {payload['index']} base {payload['num']}"


def _vring_fd(payload: Payload, request: int, reply: bool) -> str:
    return f"vring {payload['index']}" + (" no descriptor" if payload["no_fd"] else "")


def _vring_addr(payload: Payload, request: int, reply: bool) -> str:
    log = f" log {payload['log']:#x}" if payload["flags"] else ""
    return (
        f"vring {payload['index']} descriptor {payload['descriptor']:#x}"
        f" available {payload['available']:#x} used {payload['used']:#x}{log}"
    )


def _region(region: Mapping[str, Any]) -> str:
    return f"{region['guest_address']:#x}+{size(region['size'])}"


def _memory_table(payload: Payload, request: int, reply: bool) -> str:
    regions = payload.get("regions") or []
    if not regions:
        return "no regions"
    shown = ", ".join(map(_region, regions[:4])) + (", ..." if len(regions) > 4 else "")
    return f"{len(regions)} region{'s' if len(regions) > 1 else ''}: {shown}"


def _memory_region(payload: Payload, request: int, reply: bool) -> str:
    return f"{_region(payload)} user {payload['user_address']:#x}"


def _log(payload: Payload, request: int, reply: bool) -> str:
    return f"size {size(payload['log_size'])} offset {payload['log_offset']:#x}"


def _iotlb(payload: Payload, request: int, reply: bool) -> str:
    kind = payload.get("type_name") or payload["type"]
    access = payload.get("permissions_name") or payload["permissions"]
    return f"{kind} {payload['iova']:#x}+{size(payload['size'])} user {payload['user_address']:#x} {access}"


def _config(payload: Payload, request: int, reply: bool) -> str:
    words = f"offset {payload['offset']} size {payload['size']}"
    values = payload.get("config")
    if reply and values:
        words += f": {_fields(values)}"
    return words


def _inflight(payload: Payload, request: int, reply: bool) -> str:
    return (
        f"{counted(payload['num_queues'], 'queue')} of {payload['queue_size']}"
        f", {size(payload['mmap_size'])} at offset {payload['mmap_offset']:#x}"
    )


def _rarp(payload: Payload, request: int, reply: bool) -> str:
    return str(payload["mac"])


def _uuid(payload: Payload, request: int, reply: bool) -> str:
    return str(payload["uuid"])


def _vring_area(payload: Payload, request: int, reply: bool) -> str:
    none = " no descriptor" if payload["no_fd"] else ""
    return f"vring {payload['index']}{none} size {size(payload['size'])} offset {payload['offset']:#x}"


def _device_state(payload: Payload, request: int, reply: bool) -> str:
    direction = payload.get("transfer_direction_name") or payload["transfer_direction"]
    phase = payload.get("migration_phase_name") or payload["migration_phase"]
    return f"{direction}, {phase}"


def _shmem(payload: Payload, request: int, reply: bool) -> str:
    access = " ".join(payload.get("flags_names") or ()) or f"flags {payload['flags']:#x}"
    return (
        f"region {payload['shmid']} offset {payload['shm_offset']:#x} length {size(payload['len'])}"
        f" from {payload['fd_offset']:#x} {access}"
    )


def _shmem_config(payload: Payload, request: int, reply: bool) -> str:
    used = [f"{number}: {size(length)}" for number, length in enumerate(payload.get("mem_size") or []) if length]
    return counted(payload["num_regions"], "region") + (f": {', '.join(used[:8])}" if used else "")


WORDS: dict[str, Callable[[Payload, int, bool], str]] = {
    "empty": lambda payload, request, reply: "",
    "u64": _u64,
    "ack": _ack,
    "vring_state": _vring_state,
    "vring_base": _vring_base,
    "vring_fd": _vring_fd,
    "vring_addr": _vring_addr,
    "memory_table": _memory_table,
    "memory_region_single": _memory_region,
    "log": _log,
    "iotlb": _iotlb,
    "config": _config,
    "inflight": _inflight,
    "rarp_mac": _rarp,
    "shared_object": _uuid,
    "vring_area": _vring_area,
    "device_state_transfer": _device_state,
    "shmem_mmap": _shmem,
    "shmem_config": _shmem_config,
}


@functools.cache
def _of_families() -> dict[str, Callable[[Payload, int, bool], str]]:
    """What the families bring."""
    return {name: wording for family in families().values() for name, wording in family.words.items()}


def title(name: str, layout: str | None, reply: bool, remark: str) -> str:
    """A message's name and its part in the exchange: ``SET_MEM_TABLE need_reply``, ``SET_MEM_TABLE ack``.

    ``remark`` is `vusniff.channel.Header.remark`.
    """
    if reply:
        return f"{name} {'ack' if layout == 'ack' else 'reply'}"
    return f"{name} {remark}" if remark else name


def title_of(message: Message) -> str:
    """The same of a message."""
    return title(message.name, message.layout, message.reply, message.channel.header.remark(message.flags))


def role(message: Message) -> str:
    """What the sender is called by the message's family; ``?`` for one that is not told apart."""
    if message.sender is None:
        return "?"
    return family_of(message.channel).roles[message.sender is Sender.BACKEND]


def flags(message: Message) -> list[str]:
    """What the flags in the header of a message say."""
    header, value = message.channel.header, message.flags
    said = [f"version {message.version}"] if header.version else []
    said += ["reply"] if message.reply else []
    said += [remark] if (remark := header.remark(value)) else []
    said += ["error"] if message.failed and not header.marks else []
    said += [mark for bit, mark in header.marks.items() if value & bit]
    reserved = value & ~header.assigned
    return said + ([f"reserved bits {reserved:#x}"] if reserved else [])


def header_value(name: str, value: int | str) -> str:
    """What else a header holds: a number, and in words what is no plain one."""
    if isinstance(value, int) and name == "duration_ns":
        return f"{value} ({duration(value)})"
    if isinstance(value, int) and name == "error" and value in errno.errorcode:
        return f"{value} ({errno.errorcode[value]})"
    return str(value)


def failure(more: Mapping[str, int]) -> str:
    """What a reply says whose header tells that its request failed; ``more`` is what else the header holds."""
    error = more.get("error", 0)
    return f"FAILED ({errno.errorcode.get(error, error)})" if error else "FAILED"


def values(decoded: WithPayload, request: int, reply: bool) -> str:
    """The values that matter for a request; what is wrong with it; what is left over."""
    if decoded.malformed == REST_UNKNOWN:
        known = _fields(decoded.payload or {})
        return f"{known} (rest not told)" if known else "(not told)"
    if decoded.malformed is not None:
        if decoded.malformed.startswith(NOT_CAPTURED):  # which is the fault of the capture, not of the sender
            known = _fields(decoded.payload or {})
            return f"{known} ({decoded.malformed})" if known else f"({decoded.malformed})"
        return f"MALFORMED: {decoded.malformed}"
    words = ""
    payload = decoded.payload
    if payload:
        wording = WORDS.get(decoded.layout or "") or _of_families().get(decoded.layout or "")
        try:
            words = wording(payload, request, reply) if wording else _fields(payload)
        except (KeyError, TypeError):  # a vendor's layout under a name of ours
            words = _fields(payload)
    if decoded.trailing:
        words += f"{' ' if words else ''}+{counted(len(decoded.trailing), 'byte')} {decoded.trailing[:8].hex(' ')}"
        words += " ..." if len(decoded.trailing) > 8 else ""
    return words


def raw(data: bytes, missing: int = 0) -> str:
    """Bytes without a header."""
    return f"{len(data) + missing} bytes: {data[:16].hex(' ')}{' ...' if len(data) > 16 else ''}"


def summary(message: Message) -> str:
    """The values that matter in a message."""
    if message.request is None:
        return raw(message.data, message.size - len(message.data))
    said = values(message, message.request, message.reply)
    said = f"{failure(message.more)} {said}".rstrip() if message.failed else said
    return said if message.told is None else f"{said}{' ' if said else ''}{origin(message.told)}"


def origin(told: Told) -> str:
    """Where a log tells of a message."""
    return f"(from {escape(told.where)})"
