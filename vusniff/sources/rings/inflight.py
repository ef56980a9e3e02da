"""The in-flight buffer: which descriptors a back-end works on, kept so that the next one can go on with them.

vhost-user specification, "Inflight I/O tracking" (QueueRegionSplit, QueueRegionPacked); the structures are aligned as
in C, and each queue's region to 64 bytes (INFLIGHT_ALIGNMENT in DPDK's lib/vhost/vhost_user.c and in QEMU's
subprojects/libvhost-user/libvhost-user.c).

Split: features u64, version u16, descriptors u16, last batch head u16, used index u16; for each descriptor in flight
u8, 5 bytes, next u16, counter u64. Packed: features u64, version u16, descriptors u16, free head u16, old free head
u16, used index u16, old used index u16, wrap counter u8, old wrap counter u8, padding to 32; for each descriptor
in flight u8, 1 byte, next u16, last u16, number u16, counter u64, id u16, flags u16, length u32, address u64.
"""

from __future__ import annotations

import struct

ALIGNMENT = 64
_SPLIT, _PACKED = (16, 16), (32, 32)
"""Bytes of the head and of each descriptor."""
_head = struct.Struct("<QHH").unpack_from


def region_size(packed: bool, queue_size: int) -> int:
    """Bytes of one queue's region."""
    head, each = _PACKED if packed else _SPLIT
    return (head + each * queue_size + ALIGNMENT - 1) & -ALIGNMENT


def in_flight(packed: bool, region: bytes) -> int | None:
    """Descriptors in flight by the region of a queue; None where nobody has begun to write it.

    Of a chain only its first descriptor counts, in the packed form too.
    """
    head, each = _PACKED if packed else _SPLIT
    if len(region) < head:
        return None
    _, version, count = _head(region)
    if not version:
        return None
    return sum(map(bool, region[head : min(head + each * count, len(region)) : each]))
