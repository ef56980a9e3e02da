"""The blocks of our captures: sections, interfaces, the options of packets, statistics; and what one says of losses.

Owns which block and which option holds what a record says; the texts of our own options are `facts`'. Pure: it must not
know when anything is written, nor files.
"""

from __future__ import annotations

from typing import NamedTuple

from vusniff.capture import facts, pcapng
from vusniff.capture.packet import LEAD_SIZE
from vusniff.record import Closed, Connection, Frame, FrameKind, Lost

_RESTATED = b"restated: sent before this file begins"


def _text(words: str) -> bytes:
    return words.encode("utf-8", "backslashreplace")


def own(order: str, text: bytes) -> tuple[int, bytes]:
    """The custom option that holds one of our texts."""
    return pcapng.custom_option(order, facts.ENTERPRISE, text)


def own_block(order: str, text: bytes) -> bytes:
    """The custom block that holds one of our texts."""
    return pcapng.custom_block(order, facts.ENTERPRISE, text)


def is_own(order: str, block: bytes) -> bool:
    """Whether a block is a custom block of ours, which holds evidence or losses."""
    return bool(pcapng.structs(order, "I").unpack_from(block)[0] == pcapng.CUSTOM)


def section(section: facts.Section, application: str) -> bytes:
    """The block that begins a section."""
    return pcapng.section_header(
        section.order,
        [
            (pcapng.OPT_COMMENT, facts.section_facts(section)),
            (pcapng.SHB_HARDWARE, _text(section.host.hardware)),
            (pcapng.SHB_OS, _text(section.host.os)),
            (pcapng.SHB_USERAPPL, _text(application)),
        ],
    )


def interface(order: str, snaplen: int, connection: Connection, continues: int) -> bytes:
    """The block of a connection; ``continues`` is which connection of the file goes on, 0 for a new one. At most
    ``snaplen`` bytes of a frame are kept; 0: all."""
    return pcapng.interface_description(
        order,
        pcapng.LINKTYPE_UPPER_PDU,
        snaplen and snaplen + LEAD_SIZE,
        [
            (pcapng.IF_NAME, _text(connection.path)),
            (pcapng.IF_DESCRIPTION, _text(facts.describe_ends(connection.ends, continues))),
            (pcapng.IF_TSRESOL, bytes([pcapng.NANOSECONDS])),
            own(order, facts.connection_facts(connection, order, continues)),
        ],
    )


def drop_count(order: str, count: int) -> bytes:
    """The option of a packet that says how many messages of its connection were lost before it."""
    return pcapng.option(order, pcapng.EPB_DROPCOUNT, pcapng.structs(order, "Q").pack(count))


def options(order: str, texts: list[bytes], frame: Frame) -> bytes:
    """The options of a packet: our texts, and for Wireshark the descriptors once more and whether it is restated."""
    items = [own(order, one) for one in texts]
    items += [(pcapng.OPT_COMMENT, line) for line in facts.descriptor_comments(frame.descriptors)]
    if frame.restated:
        items.append((pcapng.OPT_COMMENT, _RESTATED))
    return b"".join(pcapng.option(order, *item) for item in items)


def own_options(order: str, texts: list[bytes]) -> bytes:
    """Our texts as options of a packet."""
    return b"".join(pcapng.option(order, *own(order, one)) for one in texts)


def statistics(
    order: str,
    number: int,
    connection: Connection,
    closed: Closed | None,
    counts: tuple[int, int],
    lost: Lost | None,
    time_ns: int,
) -> bytes:
    """The block that ends interface ``number``: why its connection ended, how many messages were received and how many
    dropped, and what was lost behind its last packet."""
    pack = pcapng.structs(order, "Q").pack
    items = [
        (pcapng.ISB_ENDTIME, pcapng.time(order, time_ns)),
        (pcapng.ISB_IFRECV, pack(counts[0])),
        (pcapng.ISB_IFDROP, pack(counts[1])),
        own(order, facts.closed_facts(closed, lost)),
    ]
    if connection.opened_ns is not None:
        items.insert(0, (pcapng.ISB_STARTTIME, pcapng.time(order, connection.opened_ns)))
    return pcapng.interface_statistics(order, number, time_ns, items)


def lost_anywhere(order: str, lost: Lost) -> bytes:
    """The block that says how many messages were lost of connections that are not known."""
    return own_block(order, facts.dump({"vusniff": 1, "lost": [lost.count, lost.time_ns]}))


class PacketLosses(NamedTuple):
    """What the block of a packet says of losses, and whose packet it is."""

    interface: int
    time_ns: int
    """When its message was sent."""
    before: int
    """Messages of its connection that were lost before it."""
    lost_ns: int
    """When the first of them was."""
    anywhere: tuple[Lost, ...]
    """Losses of connections that are not known."""
    continues: bool
    """It holds more of the message before it."""


def losses_of(order: str, block: bytes) -> PacketLosses | None:
    """What the block of a packet says of losses; None for another block."""
    kind, _, number, high, low, captured, _ = pcapng.structs(order, "IIIIIII").unpack_from(block.ljust(28))
    if kind != pcapng.ENHANCED_PACKET:
        return None
    time_ns = lost_ns = high << 32 | low
    count = 0
    anywhere: list[Lost] = []
    continues = False
    for code, value in pcapng.parse_options(order, block[28 + (captured + 3 & ~3) : -4]):
        if code == pcapng.EPB_DROPCOUNT:
            count = pcapng.structs(order, "Q").unpack(value)[0]
        elif code == pcapng.OPT_CUSTOM and (b'"lost' in value or b'"kind"' in value):
            said = facts.load(value[4:])
            continues = continues or facts.frame_kind(said) is FrameKind.CONTINUATION
            lost_ns = said.get("lost_ns", lost_ns)
            if lost := facts.parse_lost(said.get("lost"), None):
                anywhere.append(lost)
    return PacketLosses(number, time_ns, count, lost_ns, tuple(anywhere), continues)
