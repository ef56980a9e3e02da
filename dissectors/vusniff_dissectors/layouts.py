"""Layouts of every payload, one declaration per kind, in either byte order. Nothing here knows which request has which.

Source of offsets and sizes: the vhost-user document of QEMU, section "Message Specification" and below; where the
document and the programs differ, the structures of QEMU's hw/virtio/vhost-user.c and DPDK's lib/vhost/vhost_user.h on
64-bit hosts. Field names are the document's words. A kind that exists in two sizes has one layout for each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from construct import Array, Bytes, Computed, If, Struct, this

from vusniff.message import Alternatives, Context, Layout, Names, Window
from vusniff_dissectors import config_space, features
from vusniff_dissectors.fields import INTEGERS, MAC, UUID, Integers
from vusniff_dissectors.values import (
    ConfigWrite,
    CryptoOpCode,
    IotlbPermission,
    IotlbType,
    MigrationPhase,
    ShmemFlag,
    TransferDirection,
    VringAddrFlag,
    VringEndian,
    XenMmapFlag,
)


def layout(name: str, declare: Callable[[Integers], Any], names: Mapping[str, Names] | None = None) -> Layout:
    """A layout whose declaration is written once for both byte orders."""
    return Layout(name, lambda order: declare(INTEGERS[order]), names or {})


def _u64(n: Integers) -> Any:
    return Struct("u64" / n.u64)


def _result(n: Integers) -> Any:
    return Struct("u64" / n.u64, "success" / Computed(this.u64 == 0))


U64 = layout("u64", _u64)
ACK = layout("ack", _result)
"""Acknowledgement: 0 is success."""
RESULT = layout("u64", _result)
"""A reply of its own that says the same as an acknowledgement."""
FEATURES = layout("u64", _u64, {"u64": lambda context: features.features(context.device)})
PROTOCOL_FEATURES = layout("u64", _u64, {"u64": features.ProtocolFeatures})
DEVICE_STATUS = layout("u64", _u64, {"u64": features.DeviceStatus})
GPU_PROTOCOL_FEATURES = layout("u64", _u64, {"u64": features.GpuProtocolFeatures})


def _vring_state(n: Integers) -> Any:
    return Struct("index" / n.u32, "num" / n.u32)


VRING_STATE = layout("vring_state", _vring_state)
VRING_ENDIAN = layout("vring_state", _vring_state, {"num": VringEndian})

VRING_BASE = layout("vring_base", _vring_state)
"""Ring format unknown: what num holds is not guessed."""
VRING_BASE_SPLIT = layout(
    "vring_base",
    lambda n: Struct("index" / n.u32, "num" / n.u32, "available_index" / Computed(this.num & 0xFFFF)),
)
"""Split ring: bits 0-15 next available index, bits 16-31 zero."""
VRING_BASE_PACKED = layout(
    "vring_base",
    lambda n: Struct(
        "index" / n.u32,
        "num" / n.u32,
        "available_index" / Computed(this.num & 0x7FFF),
        "available_wrap" / Computed((this.num >> 15) & 1),
        "used_index" / Computed((this.num >> 16) & 0x7FFF),
        "used_wrap" / Computed((this.num >> 31) & 1),
    ),
)
"""Packed ring: bits 0-14 next available index, 15 its wrap counter, 16-30 next used index, 31 its wrap counter."""

VRING_FD = layout(
    "vring_fd",
    lambda n: Struct(
        "u64" / n.u64, "index" / Computed(this.u64 & 0xFF), "no_fd" / Computed(((this.u64 >> 8) & 1) == 1)
    ),
)
"""Bits 0-7 vring index, bit 8 no descriptor attached."""

VRING_ADDR = layout(
    "vring_addr",
    lambda n: Struct(
        "index" / n.u32,
        "flags" / n.u32,
        "descriptor" / n.u64,
        "used" / n.u64,
        "available" / n.u64,
        "log" / n.u64,
    ),
    {"flags": VringAddrFlag},
)
"""40 bytes; used stands before available."""


def _region(n: Integers) -> list[Any]:
    return ["guest_address" / n.u64, "size" / n.u64, "user_address" / n.u64, "mmap_offset" / n.u64]


def _region_xen(n: Integers) -> list[Any]:
    return [*_region(n), "xen_mmap_flags" / n.u32, "domid" / n.u32]


def _table(n: Integers, region: list[Any]) -> Any:
    return Struct("num_regions" / n.u32, "padding" / n.u32, "regions" / Array(this.num_regions, Struct(*region)))


_XEN_NAMES: Mapping[str, Names] = {"xen_mmap_flags": XenMmapFlag}

MEMORY_TABLE = layout("memory_table", lambda n: _table(n, _region(n)))
"""8 bytes and 32 for each region."""
MEMORY_TABLE_XEN = layout("memory_table", lambda n: _table(n, _region_xen(n)), _XEN_NAMES)
"""8 bytes and 40 for each region (XEN_MMAP negotiated)."""
MEMORY_REGION = layout("memory_region_single", lambda n: Struct("padding" / n.u64, *_region(n)))
MEMORY_REGION_XEN = layout("memory_region_single", lambda n: Struct("padding" / n.u64, *_region_xen(n)), _XEN_NAMES)

LOG = layout("log", lambda n: Struct("log_size" / n.u64, "log_offset" / n.u64))


def _iotlb(n: Integers, tail: int) -> Any:
    fields = ["iova" / n.u64, "size" / n.u64, "user_address" / n.u64, "permissions" / n.u8, "type" / n.u8]
    return Struct(*fields, "tail_padding" / Bytes(tail)) if tail else Struct(*fields)


_IOTLB_NAMES: Mapping[str, Names] = {"permissions": IotlbPermission, "type": IotlbType}
IOTLB = layout("iotlb", lambda n: _iotlb(n, 6), _IOTLB_NAMES)
"""32 bytes, as every 64-bit implementation sends it: the tail padding is whatever was in memory."""
IOTLB_UNPADDED = layout("iotlb", lambda n: _iotlb(n, 0), _IOTLB_NAMES)
"""26 bytes, as the fields add up."""


def _inflight(n: Integers, tail: int) -> Any:
    fields = ["mmap_size" / n.u64, "mmap_offset" / n.u64, "num_queues" / n.u16, "queue_size" / n.u16]
    return Struct(*fields, "tail_padding" / Bytes(tail)) if tail else Struct(*fields)


INFLIGHT = layout("inflight", lambda n: _inflight(n, 4))
"""24 bytes, as everyone sends it."""
INFLIGHT_UNPADDED = layout("inflight", lambda n: _inflight(n, 0))
"""20 bytes, as the fields add up."""

VRING_AREA = layout(
    "vring_area",
    lambda n: Struct(
        "u64" / n.u64,
        "index" / Computed(this.u64 & 0xFF),
        "no_fd" / Computed(((this.u64 >> 8) & 1) == 1),
        "size" / n.u64,
        "offset" / n.u64,
    ),
)

RARP_MAC = layout("rarp_mac", lambda n: Struct("mac" / MAC, "unused" / Bytes(2)))
SHARED_OBJECT = layout("shared_object", lambda n: Struct("uuid" / UUID))

DEVICE_STATE_TRANSFER = layout(
    "device_state_transfer",
    lambda n: Struct("transfer_direction" / n.u32, "migration_phase" / n.u32),
    {"transfer_direction": TransferDirection, "migration_phase": MigrationPhase},
)
DEVICE_STATE_REPLY = layout(
    "device_state_reply",
    lambda n: Struct(
        "u64" / n.u64, "error" / Computed(this.u64 & 0xFF), "no_fd" / Computed(((this.u64 >> 8) & 1) == 1)
    ),
)
"""Bits 0-7 error, 0 is success; bit 8 no descriptor attached: success without one is 0x100."""


def _config(n: Integers) -> list[Any]:
    return ["offset" / n.u32, "size" / n.u32, "flags" / n.u32, "payload" / Bytes(this.size)]


def _config_of(device: str, names: Mapping[str, Names]) -> Layout:
    def decode(values: Mapping[str, Any]) -> dict[str, Any]:
        return config_space.decode(device, values["offset"], values["payload"])

    window = Window(decode, "payload", "offset", config_space.DEVICES[device], config_space.NAMES.get(device, {}))
    return layout("config", lambda n: Struct(*_config(n), "config" / Computed(window)), names)


_WRITE_NAMES: Mapping[str, Names] = {"flags": ConfigWrite}
CONFIG = layout("config", lambda n: Struct(*_config(n)))
"""12 bytes and ``size`` bytes of config space from ``offset``."""
CONFIG_WRITE = layout("config", lambda n: Struct(*_config(n)), _WRITE_NAMES)
_CONFIG_BY_DEVICE = {device: _config_of(device, {}) for device in config_space.DEVICES}
_CONFIG_WRITE_BY_DEVICE = {device: _config_of(device, _WRITE_NAMES) for device in config_space.DEVICES}


def _crypto_session(n: Integers) -> Any:
    symmetric = Struct(
        "cipher_alg" / n.u32,
        "key_len" / n.u32,
        "hash_alg" / n.u32,
        "hash_result_len" / n.u32,
        "auth_key_len" / n.u32,
        "add_len" / n.u32,
        "op_type" / n.u8,
        "direction" / n.u8,
        "hash_mode" / n.u8,
        "alg_chain_order" / n.u8,
        "padding" / Bytes(4),
        "cipher_key_pointer" / n.u64,
        "auth_key_pointer" / n.u64,
        "key" / Bytes(64),
        "auth_key" / Bytes(512),
        "unused" / Bytes(432),
    )
    asymmetric = Struct(
        "algo" / n.u32,
        "keytype" / n.u32,
        "keylen" / n.u32,
        "padding" / Bytes(4),
        "key_pointer" / n.u64,
        "rsa_padding_algo" / n.u32,
        "rsa_hash_algo" / n.u32,
        "key" / Bytes(1024),
    )
    return Struct(
        "op_code" / n.u64,
        "sym" / If(this.op_code != CryptoOpCode.AKCIPHER_CREATE_SESSION.value, symmetric),
        "asym" / If(this.op_code == CryptoOpCode.AKCIPHER_CREATE_SESSION.value, asymmetric),
        "session_id" / n.i64,
    )


CRYPTO_SESSION = layout("crypto_session", _crypto_session, {"op_code": CryptoOpCode})
"""1072 bytes, the structures of 64-bit hosts with their pointers (which mean nothing to the receiver): the operation
code, a union of 1056 bytes (``sym`` or ``asym``, the other one is null) and the session id."""


def _crypto_session_old(n: Integers) -> Any:
    lengths = [
        "key_len" / n.u32,
        "hash_alg" / n.u32,
        "hash_result_len" / n.u32,
        "auth_key_len" / n.u32,
        "add_len" / n.u32,
    ]
    kinds = ["op_type" / n.u8, "direction" / n.u8, "hash_mode" / n.u8, "alg_chain_order" / n.u8]
    return Struct(
        "session_id" / n.i64,
        "op_code" / n.u32,
        "sym" / If(this.op_code & 0xF == 2, Struct("cipher_alg" / n.u32, *lengths, *kinds)),
        "sym_of_cipher" / If(this.op_code & 0xF != 2, Struct(*lengths, *kinds, "padding" / Bytes(4))),
        "cipher_key_pointer" / n.u64,
        "auth_key_pointer" / n.u64,
        "key" / Bytes(64),
        "auth_key" / Bytes(512),
    )


CRYPTO_SESSION_OLD = layout("crypto_session_old", _crypto_session_old, {"op_code": CryptoOpCode})
"""632 bytes, VhostUserCryptoSession of QEMU before 8.1 (hw/virtio/vhost-user.c) with CryptoDevBackendSymSessionInfo
(include/sysemu/cryptodev.h), VhostUserCryptoSessionParam of DPDK (lib/vhost/vhost_user.h). QEMU 2.12 to 7.1 and DPDK
begin the latter with the operation code, whose last hexadecimal digit is 2 (``sym``). QEMU 7.2 and 8.0 have none, and
the number in its place is the cipher's algorithm (``sym_of_cipher``); of these AES in ECB mode, number 2, reads wrong.
"""
CRYPTO_SESSION_ANY = Alternatives(
    (CRYPTO_SESSION, CRYPTO_SESSION_OLD), lambda context, size: CRYPTO_SESSION_OLD if size == 632 else CRYPTO_SESSION
)

SHMEM_MMAP = layout(
    "shmem_mmap",
    lambda n: Struct(
        "shmid" / n.u8,
        "padding" / Bytes(7),
        "fd_offset" / n.u64,
        "shm_offset" / n.u64,
        "len" / n.u64,
        "flags" / n.u64,
    ),
    {"flags": ShmemFlag},
)


def _shmem_config(n: Integers, count: int) -> Any:
    return Struct("num_regions" / n.u32, "padding" / n.u32, "mem_size" / Array(count, n.u64))


SHMEM_CONFIG = layout("shmem_config", lambda n: _shmem_config(n, 256))
"""2056 bytes: the array index is the shmid, num_regions counts the sizes that are not zero."""
SHMEM_CONFIG_DRAFT = layout("shmem_config", lambda n: _shmem_config(n, 8))
"""72 bytes: the form of early drafts, with eight sizes."""

FS_MAPPING = layout(
    "fs_mapping",
    lambda n: Struct(
        "fd_offset" / Array(8, n.u64), "c_offset" / Array(8, n.u64), "len" / Array(8, n.u64), "flags" / Array(8, n.u64)
    ),
)
"""256 bytes: up to eight mappings of the retired virtio-fs requests, unused ones have length 0."""
GPU_MAP = layout(
    "gpu_map",
    lambda n: Struct(
        "shmid" / n.u8,
        "padding" / Bytes(7),
        "shm_offset" / n.u64,
        "len" / n.u64,
        "memory_index" / n.u32,
        "handle_type" / n.u32,
        "device_uuid" / UUID,
        "driver_uuid" / UUID,
    ),
)
EXTERNAL_MAP = layout(
    "external_map",
    lambda n: Struct("shmid" / n.u8, "padding" / Bytes(7), "shm_offset" / n.u64, "len" / n.u64, "pointer" / n.u64),
)


def _by_xen(plain: Layout, xen: Layout) -> Callable[[Context, int], Layout | None]:
    return lambda context, size: xen if context.xen_mmap else plain


def _pick_table(context: Context, size: int) -> Layout | None:
    # In postcopy the front-end acknowledges the returned table by a message of the same request: u64 0 of QEMU
    # (vhost_user_set_mem_table_postcopy), nothing by the specification.
    if size == 0:
        return None
    if size == 8 and context.postcopy:
        return ACK
    return MEMORY_TABLE_XEN if context.xen_mmap else MEMORY_TABLE


def _pick_table_reply(context: Context, size: int) -> Layout | None:
    return ACK if size <= 8 else _pick_table(context, size)


def _pick_region(context: Context, size: int) -> Layout | None:
    # As for tables: QEMU's vhost_user_add_remove_regions acknowledges the address of a region by a u64.
    if size == 8 and context.postcopy:
        return ACK
    return MEMORY_REGION_XEN if context.xen_mmap else MEMORY_REGION


def _pick_region_reply(context: Context, size: int) -> Layout | None:
    if size <= 8:
        return ACK
    return MEMORY_REGION_XEN if context.xen_mmap else MEMORY_REGION


def _pick_base(context: Context, size: int) -> Layout | None:
    if context.packed is None:
        return VRING_BASE
    return VRING_BASE_PACKED if context.packed else VRING_BASE_SPLIT


def _pick_log_base(context: Context, size: int) -> Layout | None:
    # QEMU sends the 16-byte form also without LOG_SHMFD, so the size decides where it can.
    return U64 if size == 8 or (size < 8 and not context.log_shmfd) else LOG


def _pick_log_base_reply(context: Context, size: int) -> Layout | None:
    if not context.log_shmfd and size == 8:
        return ACK
    if size == 0:
        return None
    return U64 if size <= 8 else LOG


def _pick_config(plain: Layout, known: Mapping[str, Layout]) -> Callable[[Context, int], Layout | None]:
    return lambda context, size: known.get(context.device or "", plain)


def _pick_config_reply(context: Context, size: int) -> Layout | None:
    return None if size == 0 else _CONFIG_BY_DEVICE.get(context.device or "", CONFIG)


MEMORY_TABLE_REQUEST = Alternatives((MEMORY_TABLE, MEMORY_TABLE_XEN, ACK), _pick_table)
MEMORY_TABLE_REPLY = Alternatives((MEMORY_TABLE, MEMORY_TABLE_XEN, ACK), _pick_table_reply)
MEMORY_REGION_REQUEST = Alternatives((MEMORY_REGION, MEMORY_REGION_XEN, ACK), _pick_region)
MEMORY_REGION_REMOVED = Alternatives((MEMORY_REGION, MEMORY_REGION_XEN), _by_xen(MEMORY_REGION, MEMORY_REGION_XEN))
MEMORY_REGION_REPLY = Alternatives((MEMORY_REGION, MEMORY_REGION_XEN, ACK), _pick_region_reply)
VRING_BASE_ANY = Alternatives((VRING_BASE, VRING_BASE_SPLIT, VRING_BASE_PACKED), _pick_base)
LOG_BASE_REQUEST = Alternatives((LOG, U64), _pick_log_base)
LOG_BASE_REPLY = Alternatives((LOG, U64, ACK), _pick_log_base_reply)
IOTLB_ANY = Alternatives((IOTLB, IOTLB_UNPADDED), lambda context, size: IOTLB if size > 26 else IOTLB_UNPADDED)
INFLIGHT_ANY = Alternatives(
    (INFLIGHT, INFLIGHT_UNPADDED), lambda context, size: INFLIGHT if size > 20 else INFLIGHT_UNPADDED
)
CONFIG_REPLY = Alternatives((CONFIG, *_CONFIG_BY_DEVICE.values()), _pick_config_reply)
"""An empty reply is an error."""
CONFIG_SET = Alternatives(
    (CONFIG_WRITE, *_CONFIG_WRITE_BY_DEVICE.values()), _pick_config(CONFIG_WRITE, _CONFIG_WRITE_BY_DEVICE)
)
SHARED_OBJECT_REPLY = Alternatives((SHARED_OBJECT,), lambda context, size: SHARED_OBJECT if size else None)
"""The answer is the descriptor; libvhost-user echoes the payload."""
SHMEM_CONFIG_ANY = Alternatives(
    (SHMEM_CONFIG, SHMEM_CONFIG_DRAFT), lambda context, size: SHMEM_CONFIG_DRAFT if size == 72 else SHMEM_CONFIG
)
