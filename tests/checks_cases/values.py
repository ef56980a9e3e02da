"""Values that no message may have: permissions, sizes, flags, lengths, padding, names of nothing."""

from __future__ import annotations

import struct

from checks_cases.channels import OBJECTS, SHMEM, maps, shmem_config
from checks_cases.script import (
    FEATURES,
    GIB,
    PROTOCOL,
    USER,
    Case,
    F,
    P,
    Part,
    Say,
    addresses,
    back,
    be,
    channel,
    fe,
    hello,
    memfd,
    region,
    single,
    table,
    u32,
    u64,
)
from vusniff.checks.finding import Side
from vusniff.families.vhost_user.protocol import BackendRequest as B

FE, BE = Side.FRONTEND, Side.BACKEND
IOMMU = hello(FEATURES | 1 << 33)
CONFIG = hello(protocol=PROTOCOL | P.CONFIG)
CRYPTO = hello(protocol=PROTOCOL | P.CRYPTO_SESSION)
INFLIGHT = hello(protocol=PROTOCOL | P.INFLIGHT_SHMFD)
MTU = hello(FEATURES | 1 << 3, PROTOCOL | P.MTU)
NIL, MOST = bytes(16), bytes([0xFF] * 16)


def iotlb(permissions: int, kind: int) -> bytes:
    return u64(0x1000, 4096, USER) + bytes([permissions, kind]) + bytes(6)


def config(request: int, offset: int, size: int) -> Say:
    return fe(request, u32(offset, size, 0) + bytes(size))


def inflight(request: int, queues: int, size: int, *fds: int) -> Say:
    return fe(request, u64(0, 0) + struct.pack("<HH", queues, size) + bytes(4), *map(memfd, fds))


def cipher(key: int, auth_key: int) -> Say:
    lengths = struct.pack("<6I4B4x2Q", 1, key, 0, 0, auth_key, 0, 1, 0, 0, 0, 0, 0)
    return fe(F.CREATE_CRYPTO_SESSION, u64(0x002) + lengths.ljust(1056, b"\0") + u64(0))


def asymmetric(key: int) -> Say:
    union = struct.pack("<3I4xQ2I", 1, 1, key, 0, 0, 0)
    return fe(F.CREATE_CRYPTO_SESSION, u64(0x404) + union.ljust(1056, b"\0") + u64(0))


def queues(value: int) -> list[Part]:
    return [fe(F.GET_QUEUE_NUM), be(F.GET_QUEUE_NUM, u64(value))]


FIRES = [
    Case("iotlb-permissions", [*IOMMU, fe(F.IOTLB_MSG, iotlb(4, 2))], FE, says="permissions 0x4"),
    Case("iotlb-permissions", [*IOMMU, channel(), back(B.BACKEND_IOTLB_MSG, iotlb(0xFF, 1))], BE),
    Case("mtu-range", [*MTU, fe(F.NET_SET_MTU, u64(67))], says="sets 67"),
    Case("mtu-range", [*MTU, fe(F.NET_SET_MTU, u64(65536))]),
    Case("queue-num-zero", [*hello(), *queues(0)]),
    Case("inflight-queues", [*INFLIGHT, inflight(F.GET_INFLIGHT_FD, 0, 256)], says="num_queues 0"),
    Case("inflight-queues", [*INFLIGHT, inflight(F.SET_INFLIGHT_FD, 2, 0, 9)], says="queue_size 0"),
    Case("config-outside-space", [*CONFIG, config(F.SET_CONFIG, 0xFFFFFFFF, 8)], says="wraps"),
    Case("config-outside-space", [*CONFIG, config(F.SET_CONFIG, 4090, 8)], says="goes beyond the 4096"),
    Case("config-outside-space", [*CONFIG, fe(F.SET_CONFIG, u32(16, 0xFFFFFFFF, 0) + bytes(8))], says="wraps"),
    Case("config-outside-space", [*CONFIG, config(F.GET_CONFIG, 1 << 31, 8)]),
    Case("vring-address-flags", [*hello(), fe(F.SET_VRING_ADDR, addresses(flags=3))], says="flags 0x2"),
    Case(
        "padding-not-zero",
        [*hello(), fe(F.SET_MEM_TABLE, u32(1, 0xDEAD) + region(), memfd())],
        FE,
        says="SET_MEM_TABLE has 0xdead",
    ),
    Case(
        "padding-not-zero",
        [*hello(protocol=PROTOCOL | P.CONFIGURE_MEM_SLOTS), fe(F.ADD_MEM_REG, u64(1) + region(), memfd())],
        FE,
    ),
    Case(
        "padding-not-zero", [*hello(protocol=PROTOCOL | P.RARP), fe(F.SEND_RARP, bytes(6) + b"\1\0")], FE, says="0100"
    ),
    Case(
        "padding-not-zero",
        [*hello(protocol=SHMEM), channel(), back(B.BACKEND_SHMEM_MAP, b"\0" + b"\1" * 7 + u64(0, 0, 4096, 1), memfd())],
        BE,
    ),
    Case("shared-object-nil", [*hello(protocol=OBJECTS), channel(), back(B.BACKEND_SHARED_OBJECT_ADD, NIL)], BE),
    Case("shared-object-nil", [*hello(protocol=OBJECTS), channel(), back(B.BACKEND_SHARED_OBJECT_LOOKUP, MOST)], BE),
    Case("shared-object-nil", [*hello(protocol=OBJECTS), fe(F.GET_SHARED_OBJECT, NIL)], FE),
    Case("crypto-key-length", [*CRYPTO, cipher(65, 0)], says="key_len 65; its field has 64"),
    Case("crypto-key-length", [*CRYPTO, cipher(16, 513)], says="auth_key_len 513; its field has 512"),
    Case("crypto-key-length", [*CRYPTO, asymmetric(1025)], says="keylen 1025; its field has 1024"),
    Case("shmem-map", [*hello(protocol=SHMEM), channel(), maps(0, 0)], says="length 0"),
    Case(
        "shmem-map",
        [*hello(protocol=SHMEM), channel(), back(B.BACKEND_SHMEM_MAP, bytes(8) + u64(0, 0, 4096, 6), memfd(9))],
        says="flags 0x6",
    ),
    Case(
        "shmem-config-changes",
        [*hello(protocol=SHMEM), fe(F.GET_SHMEM_CONFIG), be(F.GET_SHMEM_CONFIG, u32(257, 0) + bytes(2048))],
        says="257 regions; 256 are the most",
    ),
    Case(
        "shmem-config-changes",
        [*hello(protocol=SHMEM), fe(F.GET_SHMEM_CONFIG), be(F.GET_SHMEM_CONFIG, u32(2, 0) + u64(4096, *[0] * 255))],
        says="num_regions 2, and 1 sizes",
    ),
    Case("memory-table-count", [*hello(), fe(F.SET_MEM_TABLE, u32(0xFFFFFFFF, 0))], says="8 are the most"),
]

QUIET = [
    Case("iotlb-permissions", [*IOMMU, fe(F.IOTLB_MSG, iotlb(3, 2)), fe(F.IOTLB_MSG, iotlb(0x99, 3))]),
    Case("iotlb-permissions", [*IOMMU, channel(), back(B.BACKEND_IOTLB_MSG, iotlb(3, 1))]),
    Case("mtu-range", [*MTU, fe(F.NET_SET_MTU, u64(68)), fe(F.NET_SET_MTU, u64(65535))]),
    Case("queue-num-zero", [*hello(), *queues(1)]),
    Case("inflight-queues", [*INFLIGHT, inflight(F.GET_INFLIGHT_FD, 1, 1)]),
    Case("inflight-queues", [*INFLIGHT, be(F.GET_INFLIGHT_FD, u64(0, 0) + bytes(8))]),
    Case("config-outside-space", [*CONFIG, config(F.SET_CONFIG, 4088, 8)]),
    Case("vring-address-flags", [*hello(), fe(F.SET_VRING_ADDR, addresses(flags=1))]),
    Case("padding-not-zero", [*hello(), fe(F.SET_MEM_TABLE, table(region()), memfd())]),
    Case(
        "padding-not-zero",
        [*hello(protocol=PROTOCOL | P.RARP), fe(F.SEND_RARP, b"\x52\x54\0\x12\x34\x56\0\0")],
    ),
    Case(
        "padding-not-zero",
        [*hello(protocol=PROTOCOL | P.CONFIGURE_MEM_SLOTS), fe(F.ADD_MEM_REG, single(region()), memfd())],
    ),
    Case(
        "shared-object-nil", [*hello(protocol=OBJECTS), channel(), back(B.BACKEND_SHARED_OBJECT_ADD, bytes(15) + b"\1")]
    ),
    Case("crypto-key-length", [*CRYPTO, cipher(64, 512), asymmetric(1024)]),
    Case("shmem-map", [*hello(protocol=SHMEM), channel(), maps(0, GIB)]),
    Case("shmem-config-changes", [*hello(protocol=SHMEM), *shmem_config(4096)]),
]
