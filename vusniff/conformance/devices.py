"""The kinds of device whose requests are known: which rings they have, and a round of real requests for each.

Sources: VIRTIO 1.3, "Network Device", "Block Device", "Entropy Device", "File System Device"; FUSE: linux/fuse.h. A
round writes to sector 1 of a disk and puts back what was there. Knows no messages of vhost-user.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Protocol

from vusniff.values import dataclass


class DrivenRings(Protocol):
    """What a round asks of the rings."""

    features: int
    whole: bool
    """All is to be seen, also what nothing may come of."""

    def ask(self, ring: int, parts: Sequence[bytes | int]) -> list[bytes] | None:
        """One request: buffers that are read (bytes) and written (so many bytes); what was written, None for nothing
        in time."""

    def post(self, ring: int, size: int) -> None:
        """A buffer to receive into."""

    def received(self, ring: int) -> bytes | None:
        """What came into the buffer that was posted, None for nothing in time."""


class Unseen(Exception):
    """The device did its part as far as can be seen, and the rest could not be seen: one sentence."""


@dataclass(frozen=True, slots=True)
class TestedDevice:
    """One kind of device."""

    name: str
    rings: tuple[int, ...]
    """What is set up for its work."""
    busy: int
    """The ring that takes requests."""
    features: int
    """Features that are acknowledged where they are offered, beside VERSION_1."""
    work: Callable[[DrivenRings], str | None]
    """One round: what went wrong as the rest of a sentence ("the device ..."), None for nothing."""


def _late(what: str) -> str:
    return f"did not complete {what} in time"


SECTOR = 512
_BLK = struct.Struct("<IIQ")
_IN, _OUT, _FLUSH, _GET_ID = 0, 1, 4, 8
BLK_RO, BLK_FLUSH = 1 << 5, 1 << 9


def _blk_ask(rings: DrivenRings, kind: int, sector: int, data: bytes, size: int) -> tuple[bytes, int] | None:
    """Data and status of one request."""
    parts: list[bytes | int] = [_BLK.pack(kind, 0, sector)]
    parts += [data] if data else []
    parts += [size] if size else []
    written = rings.ask(0, [*parts, 1])
    return None if written is None else (written[0] if size else b"", written[-1][0])


def _blk(rings: DrivenRings) -> str | None:
    named = _blk_ask(rings, _GET_ID, 0, b"", 20)
    if named is None:
        return _late("GET_ID")
    if named[1] not in (0, 2):
        return f"answered GET_ID with status {named[1]}"
    before = _blk_ask(rings, _IN, 1, b"", SECTOR)
    if before is None:
        return _late("a read")
    if before[1]:
        return f"answered a read with status {before[1]}"
    if rings.features & BLK_RO:
        return None
    pattern = bytes(255 - byte for byte in before[0])
    for data in (pattern, before[0]):
        wrote = _blk_ask(rings, _OUT, 1, data, 0)
        if wrote is None or wrote[1]:
            return _late("a write") if wrote is None else f"answered a write with status {wrote[1]}"
        if rings.features & BLK_FLUSH:
            flushed = _blk_ask(rings, _FLUSH, 0, b"", 0)
            if flushed is None or flushed[1]:
                return _late("a flush") if flushed is None else f"answered a flush with status {flushed[1]}"
        after = _blk_ask(rings, _IN, 1, b"", SECTOR)
        if after is None or after[1]:
            return _late("a read") if after is None else f"answered a read with status {after[1]}"
        if after[0] != data:
            return "gave back other data than what was written"
    return None


NET_HEADER = 12
"""Bytes of virtio_net_hdr with num_buffers."""
FRAME_SIZE = 2048
FRAMES = 3
"""Are sent before none has come back: a network may lose one, as a switch does that arranges its queues."""
MAC = bytes.fromhex("525400766e66")
_ARP = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)


def _arp() -> bytes:
    """Who has 10.0.2.2? It is broadcast, so that a switch, a loop and a router all have something to do with it."""
    ask = _ARP + MAC + bytes((10, 0, 2, 15)) + bytes(6) + bytes((10, 0, 2, 2))
    return (b"\xff" * 6 + MAC + b"\x08\x06" + ask).ljust(60, b"\0")


def _net(rings: DrivenRings) -> str | None:
    rings.post(0, FRAME_SIZE)
    for _ in range(FRAMES):
        if rings.ask(1, [bytes(NET_HEADER) + _arp()]) is None:
            return _late("the sending of a frame")
        if not rings.whole:
            return None
        frame = rings.received(0)
        if frame is not None:
            break
    else:
        raise Unseen(f"{FRAMES} frames were taken, and none came back: perhaps nothing answers them here")
    return None if any(frame[NET_HEADER:]) else f"delivered a frame of {len(frame)} bytes that are all zero"


_FUSE_IN = struct.Struct("<IIQQIIII")
_FUSE_INIT = 26


def _fs(rings: DrivenRings) -> str | None:
    init = struct.pack("<IIII", 7, 36, 0, 0)
    head = _FUSE_IN.pack(_FUSE_IN.size + len(init), _FUSE_INIT, 1, 0, 0, 0, 1, 0)
    written = rings.ask(1, [head + init, 16, 64])
    if written is None:
        return _late("FUSE_INIT")
    _, error, unique = struct.unpack("<IiQ", written[0])
    major = struct.unpack_from("<I", written[1])[0] if len(written[1]) >= 4 else 0
    if unique != 1 or error or major != 7:
        return f"answered FUSE_INIT with error {error}, version {major}, request {unique}"
    return None


def _rng(rings: DrivenRings) -> str | None:
    written = rings.ask(0, [64])
    if written is None:
        return _late("a request for random bytes")
    return None if any(written[0]) else "gave no random bytes"


def _none(rings: DrivenRings) -> str | None:
    raise Unseen("no requests of this kind of device are known: name another with --device")


DEVICES = (
    TestedDevice("blk", (0,), 0, BLK_RO | BLK_FLUSH, _blk),
    TestedDevice("net", (0, 1), 1, 1 << 15, _net),  # MRG_RXBUF
    TestedDevice("fs", (0, 1), 1, 0, _fs),
    TestedDevice("rng", (0,), 0, 0, _rng),
)
OTHER = TestedDevice("other", (0,), 0, 0, _none)


def device_named(name: str | None) -> TestedDevice:
    """The kind of device of a name; `OTHER` for one whose requests are not known."""
    return next((one for one in DEVICES if one.name == name), OTHER)
