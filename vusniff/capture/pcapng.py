"""pcapng blocks and options, and the tags of exported PDUs, built and parsed in either byte order.

Owns the container's bytes and knows nothing of vhost-user. Sources: draft-ietf-opsawg-pcapng (section 3 "General File
Structure", section 4 "Block Definition") and, for the tags, Wireshark's ``epan/exported_pdu.h``.

Every block is ``type u32 | total length u32 | body, padded to 4 | total length u32``; every option is
``code u16 | length u16 | value, padded to 4`` and a list of them ends with code 0. A byte order is ``little`` or
``big``.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterable, Iterator

SECTION_HEADER = 0x0A0D0D0A
INTERFACE_DESCRIPTION = 1
OBSOLETE_PACKET = 2
SIMPLE_PACKET = 3
NAME_RESOLUTION = 4
INTERFACE_STATISTICS = 5
ENHANCED_PACKET = 6
JOURNAL = 9
DECRYPTION_SECRETS = 10
CUSTOM = 0xBAD
CUSTOM_NO_COPY = 0x40000BAD

BLOCK_NAMES = {
    OBSOLETE_PACKET: "obsolete packet block",
    SIMPLE_PACKET: "simple packet block",
    NAME_RESOLUTION: "name resolution block",
    INTERFACE_STATISTICS: "interface statistics block",
    JOURNAL: "systemd journal block",
    DECRYPTION_SECRETS: "decryption secrets block",
    CUSTOM: "custom block",
    CUSTOM_NO_COPY: "custom block",
}

MAGIC = b"\x0a\x0d\x0d\x0a"
"""First bytes of a section header, the same in both byte orders."""
BYTE_ORDER_MAGIC = 0x1A2B3C4D

LINKTYPE_UPPER_PDU = 252
"""LINKTYPE_WIRESHARK_UPPER_PDU: tags that name a dissector, then its bytes."""

OPT_END = 0
OPT_COMMENT = 1
OPT_CUSTOM = 2988
"""Custom option with UTF-8 text, to be kept by tools that copy: value is ``enterprise number u32 | text``."""
SHB_HARDWARE = 2
SHB_OS = 3
SHB_USERAPPL = 4
IF_NAME = 2
IF_DESCRIPTION = 3
IF_TSRESOL = 9
IF_TSOFFSET = 14
EPB_FLAGS = 2
EPB_DROPCOUNT = 4
EPB_PACKETID = 5
ISB_STARTTIME = 2
ISB_ENDTIME = 3
ISB_IFRECV = 4
ISB_IFDROP = 5

FLAG_INBOUND = 1
FLAG_OUTBOUND = 2

TAG_END = 0
TAG_DISSECTOR = 12
TAG_PROTOCOL = 33
TAG_DIRECTION = 35
TAG_INFO = 36

OPTION_LIMIT = 0xFFFF
"""Bytes one option's value can have."""
PACKET_LIMIT = 262144
"""Captured bytes of one packet beyond which Wireshark refuses the file (WTAP_MAX_PACKET_SIZE_STANDARD)."""
OPTIONS_LIMIT = 1024
"""Options of one block that are read; a writer has about ten."""
NANOSECONDS = 9
"""``if_tsresol`` of a clock that counts 10**-9 s."""

Options = Iterable[tuple[int, bytes]]

_SIGNS = {"little": "<", "big": ">"}
_TAG = struct.Struct(">HH")


@functools.cache
def structs(order: str, fields: str) -> struct.Struct:
    """The struct of some fields in a byte order."""
    return struct.Struct(_SIGNS[order] + fields)


def padded(data: bytes) -> bytes:
    """``data`` with NULs up to a multiple of 4."""
    return data + bytes(-len(data) % 4)


def block(order: str, kind: int, body: bytes) -> bytes:
    """One block around a body."""
    body = padded(body)
    total = len(body) + 12
    return structs(order, "II").pack(kind, total) + body + structs(order, "I").pack(total)


def option(order: str, code: int, value: bytes) -> bytes:
    """One option; a value longer than `OPTION_LIMIT` is cut, because an option cannot hold it."""
    value = value[:OPTION_LIMIT]
    return structs(order, "HH").pack(code, len(value)) + padded(value)


def options(order: str, items: Options) -> bytes:
    """A list of options with its end, or nothing when there are none."""
    built = b"".join(option(order, code, value) for code, value in items)
    return built + bytes(4) if built else b""


def custom_option(order: str, enterprise: int, text: bytes) -> tuple[int, bytes]:
    """A custom option as an item of `options`."""
    return OPT_CUSTOM, structs(order, "I").pack(enterprise) + text


def section_header(order: str, items: Options) -> bytes:
    """``byte-order magic u32 | major u16 | minor u16 | section length i64 (-1: not said) | options``."""
    return block(order, SECTION_HEADER, structs(order, "IHHq").pack(BYTE_ORDER_MAGIC, 1, 0, -1) + options(order, items))


def interface_description(order: str, linktype: int, snaplen: int, items: Options) -> bytes:
    """``link type u16 | reserved u16 | snaplen u32 (0: no limit) | options``."""
    return block(order, INTERFACE_DESCRIPTION, structs(order, "HHI").pack(linktype, 0, snaplen) + options(order, items))


def enhanced_packet(
    order: str, interface: int, ticks: int, data: bytes, original: int | None = None, items: Options = ()
) -> bytes:
    """``interface u32 | time high u32 | time low u32 | captured u32 | original u32 | data, padded | options``."""
    length = len(data)
    fixed = structs(order, "IIIII").pack(
        interface, ticks >> 32 & 0xFFFFFFFF, ticks & 0xFFFFFFFF, length, length if original is None else original
    )
    return block(order, ENHANCED_PACKET, fixed + padded(data) + options(order, items))


def interface_statistics(order: str, interface: int, ticks: int, items: Options) -> bytes:
    """``interface u32 | time high u32 | time low u32 | options``."""
    return block(
        order, INTERFACE_STATISTICS, structs(order, "I").pack(interface) + time(order, ticks) + options(order, items)
    )


def custom_block(order: str, enterprise: int, data: bytes) -> bytes:
    """``enterprise number u32 | data``; Wireshark shows it as a frame, so it is not for between packets."""
    return block(order, CUSTOM, structs(order, "I").pack(enterprise) + data)


def time(order: str, ticks: int) -> bytes:
    """A time of blocks and of statistics options: high u32, low u32."""
    return structs(order, "II").pack(ticks >> 32 & 0xFFFFFFFF, ticks & 0xFFFFFFFF)


def tag(code: int, value: bytes) -> bytes:
    """One exported-PDU tag: ``code u16 | length u16 | value, padded to 4``, big endian in any file."""
    value = padded(value)
    return _TAG.pack(code, len(value)) + value


def order_of(header: bytes) -> str | None:
    """Byte order of the section that starts with these (at least 12) bytes; None when they start none."""
    if header[:4] != MAGIC:
        return None
    for order in _SIGNS:
        if header[8:12] == structs(order, "I").pack(BYTE_ORDER_MAGIC):
            return order
    return None


def parse_options(order: str, data: bytes) -> Iterator[tuple[int, bytes]]:
    """The options of a block, up to their end, to the first that does not fit, or to one too many."""
    unpack, at = structs(order, "HH").unpack_from, 0
    for _ in range(OPTIONS_LIMIT + 1):
        if at + 4 > len(data):
            return
        code, length = unpack(data, at)
        if code == OPT_END or at + 4 + length > len(data):
            return
        yield code, data[at + 4 : at + 4 + length]
        at += 4 + (length + 3 & ~3)


def parse_tags(data: bytes) -> tuple[dict[int, bytes], int] | None:
    """The exported-PDU tags a packet starts with and the offset of the bytes behind them; None when they do not end."""
    tags: dict[int, bytes] = {}
    at = 0
    while at + 4 <= len(data):
        code, length = _TAG.unpack_from(data, at)
        at += 4
        if at + length > len(data):
            return None
        if code == TAG_END:
            return tags, at + length
        tags[code] = data[at : at + length]
        at += length + 3 & ~3
    return None


def nanoseconds(ticks: int, resolution: int, offset: int = 0) -> int:
    """A packet's time in nanoseconds since the epoch.

    ``resolution`` is the ``if_tsresol`` byte: 10**-n s, or 2**-n s with its top bit set; ``offset`` is ``if_tsoffset``
    in seconds. A time outside of 0 to 2**63 - 1 becomes the nearest one inside.
    """
    divisor = 1 << (resolution & 0x7F) if resolution & 0x80 else 10 ** (resolution & 0x7F)
    return min(max(ticks * 1_000_000_000 // divisor + offset * 1_000_000_000, 0), (1 << 63) - 1)
