"""Vrings as lines: a table of all, a dense grid when there are many, and a card of one. Knows no screen.

What the last message changed is marked by a star. A dash is "not set yet", a question mark "unknown".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from vusniff.families.vhost_user.protocol import F_ACCESS_PLATFORM
from vusniff.families.vhost_user.state import DeviceState, RingState, Seen, Vring, packed_base, translate
from vusniff.printable import escape
from vusniff.record import Descriptor
from vusniff.views.state import base_words, enabled_words, life_words, unknown
from vusniff.views.tui.line import Part, Reference, TextLine, cut, fit, line, wrapped
from vusniff.views.tui.live import Live

DENSE = 40
"""More vrings than this are shown as a grid of marks."""

MARKS = {
    RingState.NOT_SET_UP.value: "·",
    RingState.KICK_SET.value: "a",
    RingState.STARTED.value: "S",
    RingState.STOPPED.value: "s",
}
SIGNS = ("· not set up ", "a armed ", "S started ", "s stopped ", "+ enabled ", "- disabled ", "* changed")
FIELDS = ("num", "base", "addresses", "kick", "call", "err", "enabled", "life")


def descriptor_word(seen: Seen[Descriptor | None] | None, state: DeviceState) -> str:
    """A ring's descriptor by identity."""
    if seen is None:
        return unknown(state)
    if seen.value is None:
        return "none"
    return escape(seen.value.identity or "passed")


def base_long(ring: Vring, state: DeviceState) -> str:
    """The next index; of a packed ring both, with their wrap counters."""
    if ring.base is None or not state.packed:
        return base_words(state, ring)
    available, available_wrap, used, used_wrap = packed_base(ring.base.value)
    return f"available {available} wrap {available_wrap:d}, used {used} wrap {used_wrap:d}"


def regions_word(ring: Vring, state: DeviceState) -> str:
    """The memory regions that hold the ring: ``r0``, or ``r0 r1 r1``; ``no region`` where an address is in none."""
    if ring.addresses is None:
        return unknown(state)
    found = [translate(state, address) for _, address in addresses(ring)]
    if state.regions is None or (state.regions_part and None in found):
        return "?"
    if any(place is None for place in found):
        return "no IOTLB" if translated(state) else "no region"
    numbers = [f"r{place.region}" for place in found if place is not None]
    return numbers[0] if len(set(numbers)) == 1 else " ".join(numbers)


def translated(state: DeviceState) -> bool:
    """Ring addresses are I/O addresses that go through the IOTLB."""
    return state.features is not None and bool(state.features.value & F_ACCESS_PLATFORM)


def addresses(ring: Vring) -> Sequence[tuple[str, int]]:
    """The three parts of a ring and where they are."""
    if ring.addresses is None:
        return ()
    value = ring.addresses.value
    return (("descriptor", value.descriptor), ("available", value.available), ("used", value.used))


def changed(before: Vring | None, after: Vring) -> frozenset[str]:
    """The fields that differ."""
    if before is None:
        return frozenset(name for name in FIELDS if (seen := getattr(after, name)) is not None and seen.by)
    return frozenset(name for name in FIELDS if getattr(before, name) != getattr(after, name))


class Column(NamedTuple):
    """A column of the table."""

    head: str
    short: str
    field: str
    """The field of `Vring` that it shows."""


COLUMNS = (
    Column("#", "#", "index"),
    Column("state", "state", "life"),
    Column("size", "size", "num"),
    Column("base", "base", "base"),
    Column("memory", "mem", "addresses"),
    Column("enabled", "enabled", "enabled"),
    Column("kick", "kick", "kick"),
    Column("call", "call", "call"),
    Column("err", "err", "err"),
)
"""Most useful first: where there is no room for all, the last ones are cut."""


LIVE = Column("now", "now", "live")
"""What a ring does and how much is in flight: there where samples tell of it."""


def _texts(ring: Vring, state: DeviceState, live: Live) -> list[str]:
    """A vring's cells."""
    return [
        str(ring.index),
        life_words(state, ring),
        *([live.cell(ring.index)[0]] if live else ()),
        str(ring.num.value) if ring.num else unknown(state),
        base_words(state, ring),
        regions_word(ring, state),
        enabled_words(state, ring),
        descriptor_word(ring.kick, state),
        descriptor_word(ring.call, state),
        descriptor_word(ring.err, state),
    ]


def table(before: DeviceState, state: DeviceState, chosen: int | None, width: int, live: Live) -> Iterator[TextLine]:
    """One line a vring; where it stands follows the first columns, if that is known of any."""
    columns = (*COLUMNS[:2], LIVE, *COLUMNS[2:]) if live else COLUMNS
    made: list[tuple[Vring, list[str], frozenset[str]]] = []
    for index in sorted(state.vrings):
        ring = state.vrings[index]
        old = before.vrings.get(index)
        new = frozenset() if old is ring else changed(old, ring)
        cells = zip(_texts(ring, state, live), columns, strict=True)
        made.append((ring, [text + "*" if column.field in new else text for text, column in cells], new))
    heads = [column.head for column in columns]
    gap = 2
    widths = _widths(heads, made)
    if sum(widths) + gap * len(widths) > width:
        heads, gap = [column.short for column in columns], 1
        made = [(ring, [text.replace("eventfd:", "evfd:") for text in texts], new) for ring, texts, new in made]
        widths = _widths(heads, made)
    head = "  " + (" " * gap).join(fit(name, size) for name, size in zip(heads, widths, strict=True))
    yield line((cut(head.rstrip(), width), "dim"), key="heads")
    for ring, texts, new in made:
        parts = [Part("▸ " if ring.index == chosen else "  ")]
        for text, column, size in zip(texts, columns, widths, strict=True):
            tone = live.cell(ring.index)[1] if column is LIVE else _tone(ring, column.field, text)
            parts.append(Part(fit(text, size), "changed" if column.field in new else tone))
            parts.append(Part(" " * gap))
        yield TextLine(tuple(parts[:-1]), key=f"vring {ring.index}")


def _widths(heads: Sequence[str], made: Sequence[tuple[Vring, list[str], frozenset[str]]]) -> list[int]:
    return [max(len(head), *(len(texts[n]) for _, texts, _ in made)) for n, head in enumerate(heads)]


def _tone(ring: Vring, field: str, text: str) -> str:
    if text in ("-", "none"):
        return "dim"
    if text in ("no region", "no IOTLB"):
        return "bad"
    if field == "enabled" and ring.enabled is not None:
        return "good" if ring.enabled.value else ""
    if field == "life" and ring.life is not None and ring.life.value is not RingState.STOPPED:
        return "good"
    return ""


def dense(before: DeviceState, state: DeviceState, chosen: int | None, width: int) -> Iterator[TextLine]:
    """A mark for every vring: life and whether it is enabled."""
    size = len(str(max(state.vrings, default=0)))
    per = max(1, (width - 2) // (size + 4))
    for signs in wrapped(SIGNS, width, "  ", "  ", "dim"):
        yield TextLine(signs)
    indices = sorted(state.vrings)
    for start in range(0, len(indices), per):
        parts = [Part("  ")]
        group = indices[start : start + per]
        for index in group:
            ring = state.vrings[index]
            new = before.vrings.get(index) is not ring and bool(changed(before.vrings.get(index), ring))
            life = MARKS.get(life_words(state, ring), "?")
            enabled = "?" if ring.enabled is None else "+" if ring.enabled.value else "-"
            around = "[" if index == chosen else " "
            tone = (
                "changed" if new else "good" if enabled == "+" and life in "aS" else "warn" if life in "aS" else "dim"
            )
            parts.append(Part(f"{around}{index:>{size}}{life}{enabled}{'*' if new else ''}", tone))
            parts.append(Part("" if new else "]" if index == chosen else " "))
        yield TextLine(tuple(parts), key=f"vrings {start}")


def card(
    before: DeviceState, state: DeviceState, index: int, width: int, refer: Reference, live: Live
) -> Iterator[TextLine]:
    """One vring: where it stands, and each value with the message that set it."""
    ring = state.vrings.get(index)
    if ring is None:
        yield line((f"Vring {index}", "heading"), "  no message has named it yet")
        return
    old = before.vrings.get(index)
    new = frozenset() if old is ring else changed(old, ring)
    life = life_words(state, ring) if ring.life else "state unknown"
    on = {None: "unknown whether enabled", True: "enabled", False: "disabled"}[
        ring.enabled.value if ring.enabled else None
    ]
    yield line((f"Vring {index}", "heading"), ("  " + life, "strong"), ", ", (on, "strong"), key=f"card {index}")
    for number, why in enumerate(reasons(ring, state, refer)):
        for parts in wrapped(why.split(), width, "  ", "    ", "warn"):
            yield TextLine(parts, key=f"why {number}")
    yield from live.lines(index, width)
    rows: list[tuple[str, str, str, Seen[Any] | None]] = [
        ("size", "num", str(ring.num.value) if ring.num else unknown(state), ring.num),
        ("base", "base", base_long(ring, state), ring.base),
    ]
    if ring.addresses is None:
        rows.append(("addresses", "addresses", unknown(state), None))
    for name, address in addresses(ring):
        place = translate(state, address)
        where = (
            f"r{place.region} + {place.offset:#x}"
            if place
            else "not in the IOTLB"
            if translated(state)
            else "in no region"
        )
        rows.append((name, "addresses", f"{address:#x}  {where}", ring.addresses))
    if ring.addresses is not None and ring.addresses.value.flags:
        rows.append(("log", "addresses", f"{ring.addresses.value.log:#x}", ring.addresses))
    rows += [
        (name, name, descriptor_word(getattr(ring, name), state), getattr(ring, name))
        for name in ("kick", "call", "err")
    ]
    rows.append(("enabled", "enabled", enabled_words(state, ring), ring.enabled))
    rows.append(("state", "life", life, ring.life))
    if ring.endian is not None:
        rows.append(("endian", "endian", ("little", "big")[ring.endian.value & 1], ring.endian))
    if ring.notifier is not None:
        rows.append(("notifier", "notifier", descriptor_word(ring.notifier, state), ring.notifier))
    size = min(width - 32, max(len(value) for _, _, value, _ in rows)) if width >= 60 else width - 22
    for name, field, value, seen in rows:
        star = "*" if field in new else " "
        by = f"  {refer(seen.by)}" if seen is not None and seen.by else "  at the start" if seen is not None else ""
        tone = "changed" if field in new else _tone(ring, field, value)
        yield line(
            (star, "changed"),
            (f" {name:<11}", "dim"),
            (fit(value, size), tone),
            (cut(by, max(8, width - 13 - size)), "link" if seen is not None and seen.by else "dim"),
            jump=seen.by if seen is not None else 0,
            key=f"card {index} {name}",
        )


def reasons(ring: Vring, state: DeviceState, refer: Reference) -> Iterator[str]:
    """What keeps a ring from running, as far as the messages show."""
    if ring.enabled is not None and not ring.enabled.value:
        if ring.enabled.by:
            yield f"Disabled by {refer(ring.enabled.by)}."
        else:
            yield "Disabled since the start: no SET_VRING_ENABLE 1 was sent for it."
    if ring.life is not None and ring.life.value is RingState.STOPPED:
        if ring.life.by:
            yield f"Stopped by {refer(ring.life.by)}."
        missing = [
            request
            for request, seen in (
                ("SET_VRING_NUM", ring.num),
                ("SET_VRING_ADDR", ring.addresses),
                ("SET_VRING_KICK", ring.kick if ring.kick and ring.kick.value else None),
            )
            if seen is None
        ]
        if missing and state.fresh:
            again = " again" if ring.life.by else ""
            yield f"To start it needs {', '.join(missing)}{again}."
    if ring.addresses is not None and state.regions is not None and not state.regions_part:
        lost = [name for name, address in addresses(ring) if translate(state, address) is None]
        if lost:
            none = "No IOTLB entry seen translates" if translated(state) else "No memory region holds"
            yield f"{none} its {', '.join(lost)} address{'es' if len(lost) > 1 else ''}."
