"""Whole captures with hostile fields: valid pcapng, most of them, in which everything else may be wrong.

A capture is taken apart into parts (sections, interfaces, packets, statistics), some of the mutations of the table
`MUTATIONS` change them, and it is built again with right lengths. All chance comes from one `random.Random`, so a seed
gives the same capture. Knows the file format and the layouts of payloads, and no command.
"""

from __future__ import annotations

import copy
import functools
import json
import random
import struct
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from payload_examples import Example, every

from captures import synthetic
from vusniff.capture import facts, pcapng
from vusniff.capture.packet import DISSECTOR, DISSECTOR_DATA, lead
from vusniff.channel import Channel
from vusniff.families.vfio_user.protocol import NAME as VFIO_NAME
from vusniff.families.vhost_user.protocol import HEADER_SIZE, HEADERS, NAME, Channels
from vusniff.layouts import dissect
from vusniff.layouts.spans import walk
from vusniff.message import Context
from vusniff.record import DescriptorKind

CAPTURES = Path(__file__).parent.parent.parent / "captures"
PARTS = 24
"""Parts of a capture that are mutated: commands are tried by the thousand, and errors need few messages."""
ORDERS = ("little", "big")

NUMBERS = (
    *(0, 1, 2, 3, 7, 8, 63, 64, 127, 128, 253, 255, 256, 1023, 1024, 4095, 4096, 32767, 32768, 65535, 65536),
    *((1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 4096, (1 << 64) - 1),
    *(1 << 26, 1 << 30, 1 << 34, 0x7F00_0000_0000, 0x100, 0xDEAD_BEEF),
)
TEXTS = (
    *("", " ", "x", "a" * 4096, "/run/vm1.sock", "@abstract", "pair:1-2", "qemu-system-x86", "dpdk-testpmd"),
    *("\x1b]0;title\x07", "\x1b[31mred\x1b[0m", "\r\nvusniff: forged", "a\nb\tc", "\0", "\x7f\x80\x9b31m", "\b\b\b"),
    *(
        "\u202eabc\u202c",
        "\u2066abc\u2069",
        "\u2028",
        "a\u200bb",
        "\U000e0041",
        "\ufeff",
        "\ud800",
        "\udfff\ud800",
        "é" * 200,
    ),
    *("[red]markup[/red]", "[/]", "<script>alert(1)</script>", "![x](http://a/b)", "#17 @me", "|a|b|", "`code`", "*b*"),
    *("=cmd()", '"quoted", "cells"', "%s{0}$(x)`y`", "eventfd:1", "memfd:99999999999999999999", "socket:-1", "socket:"),
    *("file:8:1:99", "device:", ":", "../../etc/passwd", "-", "--json", "-->", "]]>", "&amp;", "\\x1b", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢", "ﷺ"),
)
EXAMPLES = tuple(one for one in every.EXAMPLES if len(one.hex) < 4096 and one.channel.family == NAME)
"""A request or reply of each kind, byte for byte."""
VFIO_EXAMPLES = tuple(one for one in every.EXAMPLES if len(one.hex) < 4096 and one.channel.family == VFIO_NAME)


@dataclass(slots=True)
class Part:
    """One block. What is said in JSON is kept as values, everything else as it stands in the file."""

    kind: int
    number: int = 0
    """Interface of a packet and of statistics; link type of an interface."""
    ticks: int = 0
    tags: bytes = b""
    frame: bytes = b""
    missing: int = 0
    items: list[tuple[int, bytes]] = field(default_factory=list)
    said: list[Any] = field(default_factory=list)
    """Values of our own options; of a section of its comment."""
    body: bytes = b""
    """Of all other blocks."""
    order: str = "little"
    """Of a section."""


# -- taking apart and building ----------------------------------------------------------------------------------------


def parts_of(data: bytes) -> list[Part]:
    """The parts of a capture that is whole and ours."""
    parts: list[Part] = []
    at, order = 0, "little"
    while at + 12 <= len(data):
        order = pcapng.order_of(data[at : at + 12]) or order
        kind, total = pcapng.structs(order, "II").unpack_from(data, at)
        parts.append(_part(order, kind, data[at + 8 : at + total - 4]))
        at += total
    return parts


def _part(order: str, kind: int, body: bytes) -> Part:
    if kind == pcapng.SECTION_HEADER:
        part = Part(kind, order=order)
        for code, value in pcapng.parse_options(order, body[16:]):
            if code == pcapng.OPT_COMMENT:
                part.said.append(facts.load(value))
            else:
                part.items.append((code, value))
        return part
    if kind == pcapng.INTERFACE_DESCRIPTION:
        part = Part(kind, pcapng.structs(order, "H").unpack_from(body)[0])
        return _with_options(part, order, body[8:])
    if kind == pcapng.INTERFACE_STATISTICS:
        number, high, low = pcapng.structs(order, "III").unpack_from(body)
        return _with_options(Part(kind, number, high << 32 | low), order, body[12:])
    if kind == pcapng.ENHANCED_PACKET:
        number, high, low, captured, original = pcapng.structs(order, "IIIII").unpack_from(body)
        data = body[20 : 20 + captured]
        tagged = pcapng.parse_tags(data)
        size = tagged[1] if tagged else 0
        part = Part(kind, number, high << 32 | low, data[:size], data[size:], original - captured)
        return _with_options(part, order, body[20 + (captured + 3 & ~3) :])
    return Part(kind, body=body)


def _with_options(part: Part, order: str, options: bytes) -> Part:
    prefix = pcapng.structs(order, "I").pack(facts.ENTERPRISE)
    for code, value in pcapng.parse_options(order, options):
        if code == pcapng.OPT_CUSTOM and value[:4] == prefix:
            part.said.append(facts.load(value[4:]))
        else:
            part.items.append((code, value))
    return part


def built(parts: Sequence[Part]) -> bytes:
    """The file."""
    order, blocks = "little", []
    for part in parts:
        if part.kind == pcapng.SECTION_HEADER:
            order = part.order
            comments = [(pcapng.OPT_COMMENT, _json(one)) for one in part.said]
            blocks.append(pcapng.section_header(order, [*comments, *part.items]))
            continue
        items = [*part.items, *(pcapng.custom_option(order, facts.ENTERPRISE, _json(one)) for one in part.said)]
        if part.kind == pcapng.INTERFACE_DESCRIPTION:
            blocks.append(pcapng.interface_description(order, part.number & 0xFFFF, 0, items))
        elif part.kind == pcapng.INTERFACE_STATISTICS:
            blocks.append(pcapng.interface_statistics(order, part.number & 0xFFFFFFFF, part.ticks, items))
        elif part.kind == pcapng.ENHANCED_PACKET:
            data = part.tags + part.frame
            original = len(data) + part.missing & 0xFFFFFFFF
            blocks.append(pcapng.enhanced_packet(order, part.number & 0xFFFFFFFF, part.ticks, data, original, items))
        else:
            blocks.append(pcapng.block(order, part.kind, part.body))
    return b"".join(blocks)


def _json(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")


# -- what is mutated --------------------------------------------------------------------------------------------------


@functools.cache
def _bases() -> tuple[tuple[Part, ...], ...]:
    """Captures to begin with: real ones, and one with every request."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "every.pcapng"
        synthetic.every(path)
        files = [path.read_bytes(), *(one.read_bytes() for one in sorted(CAPTURES.glob("*.pcapng")))]
    return tuple(tuple(parts_of(data)) for data in files)


def _copied(part: Part) -> Part:
    return replace(part, items=list(part.items), said=copy.deepcopy(part.said))


def base(dice: random.Random) -> list[Part]:
    """A few messages of a capture that is right: its beginning, or a stretch of it that was joined late."""
    whole = dice.choice(_bases())
    declared = [part for part in whole if part.kind in (pcapng.SECTION_HEADER, pcapng.INTERFACE_DESCRIPTION)]
    rest = [part for part in whole if part.kind not in (pcapng.SECTION_HEADER, pcapng.INTERFACE_DESCRIPTION)]
    start = 0 if dice.random() < 0.6 else dice.randrange(len(rest))
    count = dice.choice((1, 4, PARTS // 2, PARTS, PARTS))
    parts = [*declared[:5], *rest[start : start + count]]
    if dice.random() < 0.3:
        parts += rest[-2:]
    return [_copied(part) for part in parts if len(part.frame) < 4096]


def packets(parts: Sequence[Part]) -> list[Part]:
    """The packets among some parts."""
    return [part for part in parts if part.kind == pcapng.ENHANCED_PACKET]


def of_kind(dice: random.Random, parts: Sequence[Part], *kinds: int) -> Part | None:
    """Some part of these kinds."""
    found = [part for part in parts if part.kind in kinds]
    return dice.choice(found) if found else None


def packet(dice: random.Random, parts: Sequence[Part]) -> Part:
    """Some packet; one that is not in the capture when there is none."""
    return of_kind(dice, parts, pcapng.ENHANCED_PACKET) or Part(pcapng.ENHANCED_PACKET)


@functools.lru_cache(maxsize=4096)
def _leaves(
    channel: Channel, request: int, reply: bool, payload: bytes, context: Context
) -> tuple[tuple[int, int], ...]:
    layout = dissect.layout_of(channel, request, reply, len(payload), context)
    if layout is None:
        return ()
    spans = {(span.start, span.stop) for span in walk(layout, payload, context.order)}
    return tuple(sorted(span for span in spans if span[1] - span[0] in (1, 2, 4, 8)))


def with_border(dice: random.Random, payload: bytes, leaves: Sequence[tuple[int, int]], order: str) -> bytes:
    """A payload with one of its fields at a border of what it can hold."""
    if not leaves:
        return payload
    start, stop = dice.choice(leaves)
    value = dice.choice(NUMBERS) & (1 << 8 * (stop - start)) - 1
    return payload[:start] + value.to_bytes(stop - start, "little" if order == "little" else "big") + payload[stop:]


def message(dice: random.Random, one: Example, order: str = "little", borders: int = 0) -> bytes:
    """An example of a request or reply as a message, with some fields at their borders."""
    payload, context = bytes.fromhex(one.hex), replace(one.context, order=order)
    for _ in range(borders):
        leaves = _leaves(one.channel, one.request, one.reply, payload, context)
        payload = with_border(dice, payload, leaves, order)
    flags = (0 if one.channel is Channels.GPU else 1) | (4 if one.reply else dice.choice((0, 0, 8)))
    return HEADERS[order].pack(one.request, flags, len(payload)) + payload


def descriptors(dice: random.Random, count: int) -> list[dict[str, Any]]:
    """What a packet says of descriptors."""
    kinds = [*(kind.value for kind in DescriptorKind), "new", "eventfd", "memfd", "socket"]
    found: list[dict[str, Any]] = []
    for _ in range(count):
        kind = dice.choice(kinds)
        one: dict[str, Any] = {"kind": kind}
        if dice.random() < 0.8:
            one["id"] = f"{kind}:{dice.choice((1, 2, 3, 901, 911))}" if dice.random() < 0.8 else dice.choice(TEXTS)
        if dice.random() < 0.5:
            one["n"] = dice.choice((0, 3, 7, 1 << 30, -1))
        if dice.random() < 0.4:
            one["name"] = dice.choice(TEXTS)
        if dice.random() < 0.4:
            one["size"] = dice.choice(NUMBERS)
        found.append(one)
    return found


def value(dice: random.Random, depth: int = 0) -> Any:
    """A JSON value that nobody expects."""
    kind = dice.randrange(12 if depth < 3 else 9)
    if kind < 3:
        return dice.choice(TEXTS)
    if kind < 6:
        return dice.choice((*NUMBERS, -1, -(1 << 63), 1 << 64, 10**30))
    if kind < 9:
        return dice.choice((None, True, False, 1.5, -0.0, 1e300, float("nan"), float("inf")))
    if kind < 11:
        return [value(dice, depth + 1) for _ in range(dice.randrange(4))]
    return {dice.choice(KEYS): value(dice, depth + 1) for _ in range(dice.randrange(4))}


KEYS = (
    *("vusniff", "source", "order", "snaplen", "boot_id", "host", "edited", "opened_ns", "joined_late", "ends"),
    *("inode", "pid", "tid", "comm", "label", "held", "process", "fds", "kind", "id", "n", "name", "size"),
    *("lost_ns", "lost", "closed", "by", "unknown"),
)

# -- mutations --------------------------------------------------------------------------------------------------------

Mutation = Callable[[random.Random, list[Part]], None]


def order_of(parts: Sequence[Part]) -> str:
    """Byte order of the first section."""
    return parts[0].order if parts and parts[0].kind == pcapng.SECTION_HEADER else "little"


def payload_field(dice: random.Random, parts: list[Part]) -> None:
    """A field of a payload at its border."""
    one, order = packet(dice, parts), order_of(parts)
    if len(one.frame) < HEADER_SIZE:
        return
    request, flags, _ = HEADERS[order].unpack_from(one.frame)
    channel = dice.choice((Channels.MAIN, Channels.MAIN, Channels.BACKEND, Channels.GPU))
    payload = one.frame[HEADER_SIZE:]
    leaves = _leaves(channel, request, bool(flags & 4), payload, Context(order))
    one.frame = one.frame[:HEADER_SIZE] + with_border(dice, payload, leaves, order)


def header(dice: random.Random, parts: list[Part]) -> None:
    """A field of a message's header."""
    one, order = packet(dice, parts), order_of(parts)
    if len(one.frame) < HEADER_SIZE:
        return
    fields = list(HEADERS[order].unpack_from(one.frame))
    which = dice.randrange(3)
    fields[which] = dice.choice(((*range(50), *NUMBERS), (0, 1, 4, 5, 9, 12, 13, 0x11, 0xFFFFFFFF), NUMBERS)[which])
    one.frame = HEADERS[order].pack(*(number & 0xFFFFFFFF for number in fields)) + one.frame[HEADER_SIZE:]


def length(dice: random.Random, parts: list[Part]) -> None:
    """A message is shorter or longer, and its header does or does not say so."""
    one, order = packet(dice, parts), order_of(parts)
    if dice.random() < 0.5:
        one.frame = one.frame[: dice.randrange(len(one.frame) + 1)]
    else:
        one.frame += bytes(dice.choice((1, 4, 8, 32, 300)))
    if len(one.frame) >= HEADER_SIZE and dice.random() < 0.7:
        request, flags, _ = HEADERS[order].unpack_from(one.frame)
        one.frame = HEADERS[order].pack(request, flags, len(one.frame) - HEADER_SIZE) + one.frame[HEADER_SIZE:]


def vfio(dice: random.Random, parts: list[Part]) -> None:
    """Messages of vfio-user: ids that are used twice, sizes at their borders, regions of no byte and of 4 GiB."""
    near, order, where = packet(dice, parts), order_of(parts), dice.randrange(len(parts) + 1)
    for _ in range(dice.choice((1, 3, 8))):
        one = dice.choice(VFIO_EXAMPLES)
        payload, context = bytes.fromhex(one.hex), replace(one.context, order=order)
        for _ in range(dice.choice((0, 1, 2))):
            payload = with_border(dice, payload, _leaves(one.channel, one.request, one.reply, payload, context), order)
        size = 16 + len(payload) if dice.random() < 0.8 else dice.choice(NUMBERS)
        flags = int(one.reply) | dice.choice((0, 0, 0x10, 0x20, 0xFFFFFFF0))
        fields = (
            dice.choice((0, 1, 1, 2, 65535)),
            one.request,
            size & 0xFFFFFFFF,
            flags,
            dice.choice((0, 0, 22, NUMBERS[-1] & 0xFFFFFFFF)),
        )
        frame = pcapng.structs(order, "HHIII").pack(*fields) + payload
        made = Part(pcapng.ENHANCED_PACKET, near.number, near.ticks, lead(dice.randrange(2), ""), frame)
        made.said.append({"fds": descriptors(dice, dice.choice((0, 0, 1, 8)))})
        parts.insert(where, made)
        where += 1
    if (known := of_kind(dice, parts, pcapng.INTERFACE_DESCRIPTION)) and dice.random() < 0.5:
        known.said = [{**one, "family": "vfio-user"} for one in known.said if isinstance(one, dict)]


def refuse(dice: random.Random, parts: list[Part]) -> None:
    """A request that may be short is refused, or the peer leaves upon it."""
    one, order = packet(dice, parts), order_of(parts)
    if len(one.frame) < HEADER_SIZE:
        return
    request, flags, _ = HEADERS[order].unpack_from(one.frame)
    payload = one.frame[HEADER_SIZE : dice.choice((None, HEADER_SIZE + 4, HEADER_SIZE + 8, HEADER_SIZE))]
    one.frame = HEADERS[order].pack(request, flags & 3 | 8, len(payload)) + payload
    at = parts.index(one) + 1 if one in parts else len(parts)
    if dice.random() < 0.5:
        frame = HEADERS[order].pack(request, flags & 3 | 4, 8) + (1).to_bytes(
            8, "little" if order == "little" else "big"
        )
        parts.insert(
            at, Part(pcapng.ENHANCED_PACKET, one.number, one.ticks + 1000, lead(dice.choice((0, 1, 1)), ""), frame)
        )
    else:
        end = {"closed": "eof", "by": dice.choice((0, 1, 1))}
        parts.insert(at, Part(pcapng.INTERFACE_STATISTICS, one.number, one.ticks + 1000, said=[end]))


def missing(dice: random.Random, parts: list[Part]) -> None:
    """Bytes of a message were not captured."""
    packet(dice, parts).missing = dice.choice((1, 8, 4096, 1 << 20, (1 << 32) - 200, -1))


def say(dice: random.Random, parts: list[Part]) -> None:
    """Messages that nobody sent there: a request in any state, an answer to nothing."""
    order, where = order_of(parts), dice.randrange(len(parts) + 1)
    near = packet(dice, parts)
    for _ in range(dice.choice((1, 1, 3, 8))):
        one = dice.choice(EXAMPLES)
        end = dice.randrange(2)
        frame = message(dice, one, order, dice.choice((0, 1, 2)))
        made = Part(pcapng.ENHANCED_PACKET, near.number, near.ticks + dice.choice((0, 1, 10**9)), lead(end, ""), frame)
        if dice.random() < 0.6:
            made.said.append({"fds": descriptors(dice, dice.choice((1, 1, 2, 8)))})
        parts.insert(where, made)
        where = min(where + 1, len(parts))


def repeat(dice: random.Random, parts: list[Part]) -> None:
    """A packet, or any other part, stands there more than once."""
    one = dice.choice(parts)
    for _ in range(dice.choice((1, 2, 5))):
        parts.insert(dice.randrange(len(parts) + 1), _copied(one))


def drop(dice: random.Random, parts: list[Part]) -> None:
    """A part is not there, be it the section or an interface."""
    at = dice.randrange(len(parts))
    if at or dice.random() < 0.2:  # without its first section nothing is read
        del parts[at]


def swap(dice: random.Random, parts: list[Part]) -> None:
    """Two parts change places."""
    left, right = dice.randrange(len(parts)), dice.randrange(len(parts))
    parts[left], parts[right] = parts[right], parts[left]


def times(dice: random.Random, parts: list[Part]) -> None:
    """A clock goes back, stands still, or is at its border."""
    one = dice.choice(parts)
    one.ticks = dice.choice((one.ticks - 10**9, one.ticks + 10**12, *NUMBERS)) & (1 << 64) - 1


def clock(dice: random.Random, parts: list[Part]) -> None:
    """An interface counts time otherwise."""
    if one := of_kind(dice, parts, pcapng.INTERFACE_DESCRIPTION):
        one.items.insert(0, (pcapng.IF_TSRESOL, bytes([dice.choice((0, 3, 6, 9, 18, 127, 128, 138, 255))])))
        if dice.random() < 0.4:
            one.items.append((pcapng.IF_TSOFFSET, struct.pack("<Q", dice.choice(NUMBERS))))


def interface_number(dice: random.Random, parts: list[Part]) -> None:
    """A packet, or statistics, of another interface, or of none; another link type."""
    dice.choice(parts).number = dice.choice((0, 1, 2, 3, 252, 147, 65535, 0xFFFFFFFF))


def option(dice: random.Random, parts: list[Part]) -> None:
    """An option with a value that nobody expects, or one that is not there."""
    one = dice.choice(parts)
    if one.items and dice.random() < 0.3:
        del one.items[dice.randrange(len(one.items))]
        return
    code = dice.choice((0, 1, 2, 3, 4, 5, 9, 14, 2988, 2989, 19372, 65535))
    text = dice.choice(TEXTS).encode("utf-8", "surrogatepass")
    one.items.append((code, dice.choice((text, dice.randbytes(dice.randrange(16)), bytes(8), b"\xff" * 8))))


def name(dice: random.Random, parts: list[Part]) -> None:
    """A path that steers a terminal, a table or a page."""
    if one := of_kind(dice, parts, pcapng.INTERFACE_DESCRIPTION):
        one.items = [item for item in one.items if item[0] != pcapng.IF_NAME]
        one.items.append((pcapng.IF_NAME, dice.choice(TEXTS).encode("utf-8", "surrogatepass")))


def loss(dice: random.Random, parts: list[Part]) -> None:
    """Messages were lost."""
    one = packet(dice, parts)
    one.items.append((pcapng.EPB_DROPCOUNT, struct.pack("<Q", dice.choice(NUMBERS))))
    one.said.append({"lost_ns": dice.choice(NUMBERS), "lost": [dice.choice(NUMBERS), dice.choice(NUMBERS)]})


def said(dice: random.Random, parts: list[Part]) -> None:
    """Our own text says another value somewhere, or something broken."""
    one = dice.choice(parts)
    if not one.said or dice.random() < 0.2:
        one.said.append(dice.choice((value(dice), b'{"broken":', b"[" * 9000)))
        return
    place: Any = one.said
    for _ in range(dice.randrange(1, 6)):
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = dice.choice(keys) if keys and dice.random() < 0.8 else dice.choice(KEYS)
        if isinstance(place, list):
            if not isinstance(key, int):
                return
        elif key not in place:
            place[key] = value(dice)
            return
        inner = place[key]
        if not isinstance(inner, dict | list) or dice.random() < 0.2:
            place[key] = value(dice)
            return
        place = inner


def passed(dice: random.Random, parts: list[Part]) -> None:
    """Descriptors that do not belong to the request, or too many of them."""
    one = packet(dice, parts)
    one.said = [{"fds": descriptors(dice, dice.choice((0, 1, 2, 3, 8, 64, 253)))}]


def people(dice: random.Random, parts: list[Part]) -> None:
    """Processes with names from outside."""
    ends = [
        {
            "inode": dice.choice((1, 2, 901, 911, *NUMBERS)),
            "pid": dice.choice((1, 1000, *NUMBERS)),
            "comm": dice.choice(TEXTS),
            "label": dice.choice(TEXTS),
            "held": descriptors(dice, dice.randrange(4)),
        }
        for _ in range(dice.choice((1, 2, 2, 3)))
    ]
    if dice.random() < 0.4:
        packet(dice, parts).said.append({"process": ends[0]})
    elif one := of_kind(dice, parts, pcapng.INTERFACE_DESCRIPTION):
        late = dice.random() < 0.5
        one.said = [
            {"vusniff": 1, "order": dice.choice(("little", "big", "middle")), "ends": ends, "joined_late": late}
        ]


def section(dice: random.Random, parts: list[Part]) -> None:
    """Another section begins, in any byte order; interfaces may follow it or not."""
    made = Part(pcapng.SECTION_HEADER, order=dice.choice(ORDERS), items=[(pcapng.SHB_USERAPPL, b"vusniff")])
    made.said.append(
        {"vusniff": dice.choice((1, 1, 1, "x")), "source": dice.choice(TEXTS), "edited": [dice.choice(TEXTS)]}
    )
    added = [made]
    if dice.random() < 0.7:
        added += [_copied(one) for one in parts if one.kind == pcapng.INTERFACE_DESCRIPTION][:2]
    at = dice.randrange(len(parts) + 1)
    parts[at:at] = added


def foreign(dice: random.Random, parts: list[Part]) -> None:
    """Blocks of others among ours."""
    kind = dice.choice((*pcapng.BLOCK_NAMES, pcapng.CUSTOM, pcapng.ENHANCED_PACKET, 0, 0x77, 0x80000001))
    body = dice.choice((b"", bytes(4), dice.randbytes(24), struct.pack("<I", facts.ENTERPRISE) + b'{"lost":[5,1]}'))
    raw = Part(kind, body=body)
    if kind in (pcapng.ENHANCED_PACKET, pcapng.INTERFACE_STATISTICS):
        raw.frame = body
    parts.insert(dice.randrange(len(parts) + 1), raw)


def evidence(dice: random.Random, parts: list[Part]) -> None:
    """Evidence other than messages, of known and unknown kinds, about connections that may not be there."""
    ends = [[dice.choice((0, 1, 1, 2, 3, 99)), dice.choice((0, 1, 1, 2))] for _ in range(dice.randrange(4))]
    said: dict[str, Any] = {
        "vusniff": 1,
        "kind": dice.choice(("exit", "exit", "log", "log", "sample", "dump", "fault", "fault", *TEXTS)),
        "time_ns": 1,
        "ends": ends,
    }
    if dice.random() < 0.8:
        said["time_ns"] = packet(dice, parts).ticks
    keys = ("pid", "comm", "status", "signal", "core", "log", "line", "text", "level", "program", "ends", "time_ns")
    for key in dice.sample(keys, dice.randrange(8)):
        said[key] = value(dice)
    if said["kind"] == "sample":
        rings: list[dict[str, Any]] = [
            {"n": number, "size": 256, "a": 5, "u": 3, "f": 2, "m": 0} for number in range(dice.randrange(5))
        ]
        for ring in rings:
            for key in dice.sample(
                ("n", "size", "a", "u", "f", "p", "aw", "ue", "m", "w", "k", "t"), dice.randrange(4)
            ):
                ring[key] = value(dice)
        said |= {"rings": rings, "unreadable": [[dice.choice(TEXTS), dice.choice(TEXTS)]], "dirty": value(dice)}
    if said["kind"] == "dump":
        chain = [3, [[4096, 16, 0], [1 << 40, 512, 1]], 0, "00" * 16, ""]
        for at in dice.sample(range(len(chain)), dice.randrange(3)):
            chain[at] = value(dice)
        said |= {"ring": dice.choice((0, 1, value(dice))), "waiting": 1, "chains": [chain], "device": "blk"}
    if said["kind"] == "fault":
        said |= {"act": dice.choice(("rules", "takes", "takes", "gives", "gives", "does")), "id": dice.randrange(1, 4)}
        said |= {"rule": 1, "to": dice.randrange(2), "text": dice.choice(TEXTS), "changes": [[12, "ff00"]]}
        said["ends"] = [[dice.choice((1, 1, 2)), dice.randrange(2)]]
        own = ("act", "id", "rule", "to", "size", "times", "changes", "made", "fds", "actions", "words")
        for key in dice.sample(own, dice.randrange(4)):
            said[key] = value(dice)
    body = pcapng.structs(order_of(parts), "I").pack(facts.ENTERPRISE) + _json(said)
    parts.insert(dice.randrange(len(parts) + 1), Part(pcapng.CUSTOM, body=body))


def told(dice: random.Random, parts: list[Part]) -> None:
    """A message of which a log tells, with values of any kind."""
    one = packet(dice, parts)
    said: dict[str, Any] = {"request": dice.choice((1, 2, 5, 9, 12, 18, 11, 15, 99)), "values": {}, "where": "log:1"}
    for key in dice.sample(("request", "reply", "flags", "size", "where", "line", "values"), dice.randrange(4)):
        said[key] = value(dice)
    for key in dice.sample(("u64", "index", "num", "regions", "num_regions", "padding", "log_size"), dice.randrange(4)):
        if isinstance(said["values"], dict):
            said["values"][key] = dice.choice((0, 1, 0x100, 1 << 63, 1 << 64, -1, [], [{}], [{"size": 1}], value(dice)))
    one.tags = lead(dice.randrange(2), "told", DISSECTOR_DATA)
    one.frame = _json(said)
    one.said = [{"kind": "told"}]


def tags(dice: random.Random, parts: list[Part]) -> None:
    """A packet for another dissector, of another end, with no or broken tags."""
    one = packet(dice, parts)
    dissector = dice.choice((DISSECTOR, DISSECTOR_DATA, b"http", b"\xff" * 40))
    one.tags = dice.choice(
        (
            lead(dice.randrange(2), dice.choice(TEXTS), dissector),
            b"",
            pcapng.tag(pcapng.TAG_DISSECTOR, dissector) + pcapng.tag(pcapng.TAG_END, b""),
            pcapng.tag(pcapng.TAG_DIRECTION, b"\0\0\0\x09") + pcapng.tag(pcapng.TAG_DISSECTOR, DISSECTOR) + bytes(4),
            one.tags[: dice.randrange(len(one.tags) + 1)],
        )
    )


def unframed(dice: random.Random, parts: list[Part]) -> None:
    """Bytes without a header, or the rest of a message that may not be there."""
    one = packet(dice, parts)
    one.tags = lead(dice.randrange(2), "", DISSECTOR_DATA)
    one.said = [{"kind": dice.choice(("raw", "continuation", "message", "new"))}]


def closing(dice: random.Random, parts: list[Part]) -> None:
    """A connection ends, perhaps before its last message, or twice."""
    end: dict[str, Any] = {"closed": dice.choice(("eof", "reset", "killed", "capture ended", *TEXTS))}
    if dice.random() < 0.7:
        end["by"] = dice.choice((0, 1, 1, 2))
    if dice.random() < 0.3:
        end["lost"] = [dice.choice(NUMBERS), dice.choice(NUMBERS)]
    made = Part(pcapng.INTERFACE_STATISTICS, dice.randrange(3), packet(dice, parts).ticks, said=[end])
    parts.insert(dice.choice((len(parts), dice.randrange(len(parts) + 1))), made)


MUTATIONS: tuple[Mutation, ...] = (
    *(
        payload_field,
        payload_field,
        payload_field,
        header,
        header,
        length,
        refuse,
        missing,
        say,
        say,
        say,
        repeat,
        drop,
        swap,
    ),
    *(times, clock, interface_number, option, name, loss, said, said, said, passed, passed, people, section, foreign),
    *(tags, told, unframed, vfio, vfio, closing, closing, evidence, evidence),
)
"""What is done to a capture; what stands there more than once is done more often."""


def hostile(dice: random.Random) -> bytes:
    """A capture: a few messages and up to a dozen mutations; some files are cut or damaged besides."""
    parts = base(dice)
    for _ in range(dice.choice((0, 1, 1, 2, 3, 5, 8, 12))):
        if parts:
            dice.choice(MUTATIONS)(dice, parts)
    data = built(parts)
    chance = dice.random()
    if chance < 0.06:
        return data[: dice.randrange(len(data) + 1)]
    if chance < 0.1 and data:
        at = dice.randrange(len(data))
        return data[:at] + dice.randbytes(dice.choice((1, 4))) + data[at + 1 :]
    return data
