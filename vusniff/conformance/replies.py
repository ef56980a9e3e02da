"""What a reply has to be, by name: one small function each, that gives the rest of a sentence or None. Pure."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Mapping

from vusniff.families.vhost_user.protocol import F_PROTOCOL_FEATURES
from vusniff.values import dataclass


@dataclass(frozen=True, slots=True)
class TestedReply:
    """One reply, and what it answers."""

    payload: bytes
    fds: int
    """Descriptors that came with it."""
    asked: bytes
    """The payload of the request."""
    known: Mapping[str, int]


def _u64(reply: TestedReply) -> int | None:
    return struct.unpack("=Q", reply.payload)[0] if len(reply.payload) == 8 else None


def _number(reply: TestedReply) -> str | None:
    return None if _u64(reply) is not None else f"has {len(reply.payload)} bytes, not 8"


def _some(reply: TestedReply) -> str | None:
    return _number(reply) or (None if _u64(reply) else "is 0")


def _zero(reply: TestedReply) -> str | None:
    return _number(reply) or (None if not _u64(reply) else f"is {_u64(reply):#x}, not 0")


def _same(word: str) -> Callable[[TestedReply], str | None]:
    def same(reply: TestedReply) -> str | None:
        before = reply.known.get(word, 0)
        return _number(reply) or (None if _u64(reply) == before else f"is {_u64(reply):#x}, and was {before:#x}")

    return same


def _offers_30(reply: TestedReply) -> str | None:
    return _number(reply) or (None if (_u64(reply) or 0) & F_PROTOCOL_FEATURES else "is without bit 30")


def _config(reply: TestedReply) -> str | None:
    if len(reply.payload) != len(reply.asked):
        return f"has {len(reply.payload)} bytes, and the request {len(reply.asked)}"
    return None if reply.payload[:8] == reply.asked[:8] else "is of another offset or size than was asked for"


def _config_as_before(reply: TestedReply) -> str | None:
    held = int.from_bytes(reply.payload[12:20], sys.byteorder)
    before = reply.known.get("config", 0)
    return _config(reply) or (None if held == before else f"holds {held:#x} where {before:#x} was before")


def _base(reply: TestedReply) -> str | None:
    if len(reply.payload) != 8:
        return f"has {len(reply.payload)} bytes, not 8"
    ring, base = struct.unpack("=II", reply.payload)
    if ring != struct.unpack_from("=I", reply.asked)[0]:
        return f"is of ring {ring}"
    return None if base <= 0xFFFF else f"has bits above 15: {base:#x}"


def _indices(reply: TestedReply) -> str | None:
    if len(reply.payload) != 8:
        return f"has {len(reply.payload)} bytes, not 8"
    return None if reply.payload[:4] == reply.asked[:4] else "is of another ring"


def _inflight(reply: TestedReply) -> str | None:
    if len(reply.payload) not in (20, 24):
        return f"has {len(reply.payload)} bytes, not 24"
    size = struct.unpack_from("=Q", reply.payload)[0]
    if bool(size) != bool(reply.fds):
        return f"says {size} bytes and has {reply.fds} descriptors"
    return None if size else "says 0 bytes"


def _userfault(reply: TestedReply) -> str | None:
    if reply.payload:
        return f"has {len(reply.payload)} bytes, not 0"
    return None if reply.fds == 1 else f"has {reply.fds} descriptors, not 1"


def _no_descriptor(reply: TestedReply) -> str | None:
    return f"has {reply.fds} descriptors" if reply.fds else None


def _device_state(reply: TestedReply) -> str | None:
    value = _u64(reply)
    if value is None:
        return _number(reply)
    if value & 0xFF and reply.fds:
        return "holds both an error and a descriptor"
    return None if bool(value & 0x100) is not bool(reply.fds) else f"says {value:#x} and has {reply.fds} descriptors"


def _shmem(reply: TestedReply) -> str | None:
    if len(reply.payload) != 2056:
        return f"has {len(reply.payload)} bytes, not 2056"
    count, _, *sizes = struct.unpack("=II256Q", reply.payload)
    odd = [size for size in sizes if size % 4096]
    if odd:
        return f"has a size that is not a multiple of the page size: {odd[0]}"
    used = sum(1 for size in sizes if size)
    return None if count == used else f"says {count} regions, and {used} have a size"


def _session(reply: TestedReply) -> str | None:
    return None if len(reply.payload) == len(reply.asked) else f"has {len(reply.payload)} bytes, not {len(reply.asked)}"


CHECKS: Mapping[str, Callable[[TestedReply], str | None]] = {
    "a number": _number,
    "not 0": _some,
    "0": _zero,
    "as offered": _same("offered"),
    "as offered before": _same("protocol offered"),
    "with bit 30": _offers_30,
    "config": _config,
    "config as before": _config_as_before,
    "base": _base,
    "indices": _indices,
    "inflight": _inflight,
    "userfaultfd": _userfault,
    "no descriptor": _no_descriptor,
    "device state": _device_state,
    "shmem": _shmem,
    "session": _session,
}
