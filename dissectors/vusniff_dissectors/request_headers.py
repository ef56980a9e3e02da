"""What stands at the beginning of a request in a ring, by device: little-endian, as with VIRTIO_F_VERSION_1.

virtio 1.2, sections 5.1.6 (net), 5.2.6 (blk), 5.6.6.1 (scsi), 5.10.6 (vsock), 5.11.6 (fs: struct fuse_in_header of
include/uapi/linux/fuse.h).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

from construct import Bytes, Struct

from vusniff.message import Layout
from vusniff_dissectors.fields import Integers
from vusniff_dissectors.layouts import layout


class BlkType(enum.IntEnum):
    """5.2.6, ``type``."""

    IN = 0
    OUT = 1
    FLUSH = 4
    GET_ID = 8
    GET_LIFETIME = 10
    DISCARD = 11
    WRITE_ZEROES = 13
    SECURE_ERASE = 14


class VsockOp(enum.IntEnum):
    """5.10.6, ``op``."""

    INVALID = 0
    REQUEST = 1
    RESPONSE = 2
    RST = 3
    SHUTDOWN = 4
    RW = 5
    CREDIT_UPDATE = 6
    CREDIT_REQUEST = 7


class VsockType(enum.IntEnum):
    """5.10.6, ``type``."""

    STREAM = 1
    SEQPACKET = 2


def _net(n: Integers) -> Any:
    return Struct(
        "flags" / n.u8,
        "gso_type" / n.u8,
        "hdr_len" / n.u16,
        "gso_size" / n.u16,
        "csum_start" / n.u16,
        "csum_offset" / n.u16,
        "num_buffers" / n.u16,
    )


def _blk(n: Integers) -> Any:
    return Struct("type" / n.u32, "reserved" / n.u32, "sector" / n.u64)


def _scsi(n: Integers) -> Any:
    return Struct("lun" / Bytes(8), "id" / n.u64, "task_attr" / n.u8, "prio" / n.u8, "crn" / n.u8, "cdb" / Bytes(32))


def _vsock(n: Integers) -> Any:
    return Struct(
        "src_cid" / n.u64,
        "dst_cid" / n.u64,
        "src_port" / n.u32,
        "dst_port" / n.u32,
        "len" / n.u32,
        "type" / n.u16,
        "op" / n.u16,
        "flags" / n.u32,
        "buf_alloc" / n.u32,
        "fwd_cnt" / n.u32,
    )


def _fs(n: Integers) -> Any:
    return Struct(
        "len" / n.u32,
        "opcode" / n.u32,
        "unique" / n.u64,
        "nodeid" / n.u64,
        "uid" / n.u32,
        "gid" / n.u32,
        "pid" / n.u32,
        "total_extlen" / n.u16,
        "padding" / n.u16,
    )


HEADERS: Mapping[str, Layout] = {
    "net": layout("virtio_net_hdr", _net),
    "blk": layout("virtio_blk_req", _blk, {"type": BlkType}),
    "scsi": layout("virtio_scsi_req_cmd", _scsi),
    "vsock": layout("virtio_vsock_hdr", _vsock, {"type": VsockType, "op": VsockOp}),
    "fs": layout("fuse_in_header", _fs),
}
"""Device -> how its requests begin."""
