"""What is said of a call in a few words, by the name of its layout. Knows no view."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vusniff.amounts import counted, size
from vusniff.printable import escape

Payload = Mapping[str, Any]


def _ring(payload: Payload) -> str:
    return f"vring {payload['index']}"


def _file(payload: Payload, request: int, reply: bool) -> str:
    return f"{_ring(payload)} {'no fd' if payload['fd'] < 0 else ''}".rstrip()


def _worker(payload: Payload, request: int, reply: bool) -> str:
    return f"{_ring(payload)} worker {payload['worker_id']}"


def _number(name: str) -> Callable[[Payload, int, bool], str]:
    def words(payload: Payload, request: int, reply: bool) -> str:
        value = payload[name]
        return str(value) if value < 0x10000 else f"{value:#x}"

    return words


def _range(payload: Payload, request: int, reply: bool) -> str:
    return f"{payload['first']:#x} to {payload['last']:#x}"


def _space(payload: Payload, request: int, reply: bool) -> str:
    return f"offset {payload['offset']} {size(payload['size'])}"


def _target(payload: Payload, request: int, reply: bool) -> str:
    return f"{escape(payload['wwpn'])} tpgt {payload['tpgt']}"


def _create(payload: Payload, request: int, reply: bool) -> str:
    return f"{escape(payload['name'])} device type {payload['device_id']}, {counted(payload['vq_num'], 'vring')}"


def _info(payload: Payload, request: int, reply: bool) -> str:
    return f"{_ring(payload)} size {payload['num']} {'ready' if payload['ready'] else 'not ready'}"


def _permitted(payload: Payload, request: int, reply: bool) -> str:
    access = payload["permissions_name"] or payload["permissions"]
    return f"{_range(payload, request, reply)} {access} from offset {payload['offset']:#x}"


def _response(payload: Payload, request: int, reply: bool) -> str:
    """The ring's position is only said in answer to one message, and 0 in all others."""
    where = f" {_ring(payload)} available {payload['available_index']}" if payload["available_index"] else ""
    return f"to request {payload['request_id']}: {payload['result_name'] or payload['result']}{where}"


def _asked(words: Callable[[Payload, int, bool], str]) -> Callable[[Payload, int, bool], str]:
    """What the kernel asks a VDUSE back-end, with the number that the answer repeats."""
    return lambda payload, request, reply: f"{words(payload, request, reply)} (request {payload['request_id']})"


WORDS: Mapping[str, Callable[[Payload, int, bool], str]] = {
    "vring_file": _file,
    "vring_worker": _worker,
    "u32": _number("u32"),
    "i32": _number("i32"),
    "iova_range": _range,
    "vdpa_config": _space,
    "vduse_config": _space,
    "scsi_target": _target,
    "vduse_device": _create,
    "vduse_name": lambda payload, request, reply: escape(payload["name"]),
    "vduse_status": _asked(lambda payload, request, reply: " ".join(payload["u64_names"]) or str(payload["u64"])),
    "vduse_asks_vring": _asked(lambda payload, request, reply: _ring(payload)),
    "vduse_updates": _asked(_range),
    "vduse_group": _asked(lambda payload, request, reply: f"group {payload['group']} asid {payload['asid']}"),
    "vduse_response": _response,
    "vduse_vring_info": _info,
    "vduse_vring": lambda payload, request, reply: f"{_ring(payload)} at most {payload['max_size']}",
    "vduse_entry": _permitted,
    "vduse_iova_info": _range,
}
