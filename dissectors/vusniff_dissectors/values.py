"""What the values and flags inside payloads are called. Feature bits are in `features`."""

from __future__ import annotations

import enum


class IotlbType(enum.IntEnum):
    """What an IOTLB message says; 5 and 6 belong to the kernel's vhost interface only."""

    MISS = 1
    UPDATE = 2
    INVALIDATE = 3
    ACCESS_FAIL = 4
    BATCH_BEGIN = 5
    BATCH_END = 6


class IotlbPermission(enum.IntEnum):
    """Access an IOTLB entry allows or a miss asks for."""

    NONE = 0
    READ = 1
    WRITE = 2
    READ_WRITE = 3


class VringEndian(enum.IntEnum):
    """Byte order of a vring, as SET_VRING_ENDIAN gives it."""

    LITTLE = 0
    BIG = 1


class ConfigWrite(enum.IntEnum):
    """Why config space is written. (rust-vmm reads the same word as bits, so that 1 means "writable" there.)"""

    WRITE = 0
    MIGRATION = 1


class TransferDirection(enum.IntEnum):
    """Which way device state goes."""

    SAVE = 0
    LOAD = 1


class MigrationPhase(enum.IntEnum):
    """When device state goes."""

    STOPPED = 0


class VringAddrFlag(enum.IntFlag):
    """Flags of SET_VRING_ADDR (linux/vhost.h)."""

    VHOST_VRING_F_LOG = 1


class XenMmapFlag(enum.IntFlag):
    """How a Xen region is mapped."""

    FOREIGN = 1 << 0
    GRANT = 1 << 1
    NO_ADVANCE_MAP = 1 << 8


class ShmemFlag(enum.IntFlag):
    """Access of a mapping in a shared memory region; without it read-only."""

    READ_WRITE = 1


class CryptoOpCode(enum.IntEnum):
    """Operation of a crypto session: service << 8 | operation (VIRTIO, "Crypto Device")."""

    CIPHER_CREATE_SESSION = 0x002
    CIPHER_DESTROY_SESSION = 0x003
    HASH_CREATE_SESSION = 0x102
    HASH_DESTROY_SESSION = 0x103
    MAC_CREATE_SESSION = 0x202
    MAC_DESTROY_SESSION = 0x203
    AEAD_CREATE_SESSION = 0x302
    AEAD_DESTROY_SESSION = 0x303
    AKCIPHER_CREATE_SESSION = 0x404
    AKCIPHER_DESTROY_SESSION = 0x405


class GpuResponse(enum.IntEnum):
    """Control header types of the two virtio-gpu responses that travel on the GPU socket."""

    OK_DISPLAY_INFO = 0x1101
    OK_EDID = 0x1104
