"""Numbers of the vfio-user protocol that the family itself needs: header, channels, commands.

Numbers that it shares with the dissectors are in `vusniff.vfio`.

Source: QEMU's docs/interop/vfio-user.rst, sections "Header" and "Commands"; command 14 is of libvfio-user's older text
(include/vfio-user.h), which QEMU's does not have.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable

from vusniff.channel import Channel, Header, Sender

NAME = "vfio-user"
"""The family's name in a capture file."""
HEADER_SIZE = 16
"""Bytes of a message header: id u16, command u16, size u32 (header included), flags u32, error u32."""

FLAG_TYPE = 0xF
TYPE_COMMAND = 0
TYPE_REPLY = 1
FLAG_NO_REPLY = 0x10
FLAG_ERROR = 0x20
FLAGS = FLAG_TYPE | FLAG_NO_REPLY | FLAG_ERROR
"""Bits with a meaning."""

_FIELDS = {"little": struct.Struct("<HHII"), "big": struct.Struct(">HHII")}
"""The header up to its flags: all that tells where a message ends and what it is."""


def _reader(order: str) -> Callable[[bytes | bytearray | memoryview, int], tuple[int, int, int]]:
    unpack = _FIELDS[order].unpack_from

    def read(data: bytes | bytearray | memoryview, offset: int) -> tuple[int, int, int]:
        _, command, size, flags = unpack(data, offset)
        return command, flags, size - HEADER_SIZE if size > HEADER_SIZE else 0

    return read


def fields(data: bytes | bytearray | memoryview, order: str, offset: int = 0) -> tuple[int, int, int, int]:
    """Id, command, size with the header, and flags of the 12 bytes at an offset."""
    message_id, command, size, flags = _FIELDS[order].unpack_from(data, offset)
    return message_id, command, size, flags


HEADER = Header(
    HEADER_SIZE,
    {order: _reader(order) for order in _FIELDS},
    reply=(FLAG_TYPE, TYPE_REPLY),
    need_reply=(FLAG_TYPE | FLAG_NO_REPLY, TYPE_COMMAND),
    kind=slice(2, 12),
    spans={"request": (2, 4), "flags": (8, 12), "size": (4, 8)},
    counts=HEADER_SIZE,
    more={"id": (0, 2), "error": (12, 4)},
    failed=(FLAG_TYPE | FLAG_ERROR, TYPE_REPLY | FLAG_ERROR),
    unusual="no_reply",
    assigned=FLAGS,
    small="flags",
)


class VfioChannels:
    """What a connection carries."""

    MAIN = Channel("vfio", NAME, HEADER, Sender.FRONTEND)
    """The socket that the client connects to. Without a twin the server's commands are on it too."""
    TWIN = Channel("vfio-twin", NAME, HEADER, Sender.BACKEND, Sender.BACKEND)
    """The socket that VERSION's reply passes (``twin_socket``): the server asks, the client answers."""
    UNKNOWN = Channel("vfio-unknown", NAME, HEADER)
    """A stream that is none of the above: kept raw."""


CHANNELS = (VfioChannels.MAIN, VfioChannels.TWIN, VfioChannels.UNKNOWN)


class Command(enum.IntEnum):
    """VFIO_USER_* codes."""

    VERSION = 1
    DMA_MAP = 2
    DMA_UNMAP = 3
    DEVICE_GET_INFO = 4
    DEVICE_GET_REGION_INFO = 5
    DEVICE_GET_REGION_IO_FDS = 6
    DEVICE_GET_IRQ_INFO = 7
    DEVICE_SET_IRQS = 8
    REGION_READ = 9
    REGION_WRITE = 10
    DMA_READ = 11
    DMA_WRITE = 12
    DEVICE_RESET = 13
    DIRTY_PAGES = 14
    REGION_WRITE_MULTI = 15
    DEVICE_FEATURE = 16
    MIG_DATA_READ = 17
    MIG_DATA_WRITE = 18


OF_SERVER = frozenset({Command.DMA_READ, Command.DMA_WRITE})
"""Commands that the server sends."""

CONFIG_REGION = 7
"""Index of the configuration space among the regions of a PCI device (VFIO_PCI_CONFIG_REGION_INDEX)."""


FEATURE_INDEX = 0xFFFF
FEATURE_GET = 1 << 16
FEATURE_SET = 1 << 17
FEATURE_PROBE = 1 << 18


def request_name(channel: Channel, request: int) -> str:
    """The specification's name of a command without VFIO_USER_; ``REQUEST_<code>`` for one it does not have."""
    try:
        return Command(request).name
    except ValueError:
        return f"REQUEST_{request}"
