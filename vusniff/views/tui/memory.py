"""The memory table drawn to scale as lines: guest addresses, gaps, overlaps. Knows no screen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vusniff.families.vhost_user.state import DeviceState, Region, translate
from vusniff.printable import escape
from vusniff.views import words
from vusniff.views.state import OTHER_REGIONS
from vusniff.views.tui.line import Part, TextLine, line
from vusniff.views.tui.vrings import translated

LEAST = 2
"""Cells of the smallest region."""


def memory_lines(state: DeviceState, width: int) -> list[TextLine]:
    """The map, and a list of regions with what lies in them, in lines of ``width`` cells."""
    regions = list(enumerate(state.regions or ()))
    if not regions:
        why = "unknown" if state.memory_unknown else "empty: no SET_MEM_TABLE or ADD_MEM_REG so far"
        return [line(("Memory table", "heading"), f"  {why}")]
    lines: list[TextLine] = []
    for title, by_guest in (("Guest addresses", True), ("User addresses of the front-end", False)):
        lines.append(line((title, "heading")))
        lines += _bar(regions, by_guest, width)
        lines += _gaps(regions, by_guest)
        lines.append(line())
    lines.append(line(("Regions", "heading")))
    inside = _rings(state)
    for position, region in regions:
        held = words.descriptor(region.descriptor) if region.descriptor else "no descriptor"
        held += f" at offset {region.mmap_offset:#x}" if region.mmap_offset else ""
        lines.append(
            line(
                (f"  r{position}  ", "strong"),
                f"guest {region.guest_address:#x} - {region.guest_address + region.size:#x}",
                f"  ({words.size(region.size)})",
                jump=region.by,
                key=f"region {position}",
            )
        )
        lines.append(line(f"      user {region.user_address:#x}, {held}", (f"  #{region.by}", "link"), jump=region.by))
        if region.backend_address is not None:
            lines.append(line(f"      back-end {region.backend_address:#x} (postcopy)"))
        lines += [line(("      holds ", "dim"), text) for text in inside.get(position, ())]
    if lost := inside.get(-1):
        tone = "" if state.regions_part else "bad"
        where = "Not in the IOTLB" if translated(state) else "In no region" + " seen" * state.regions_part
        lines.append(line((f"  {where}", tone)))
        lines += [line(("      ", ""), (text, tone)) for text in lost]
    if state.regions_part:
        lines.append(line((f"  {OTHER_REGIONS}", "dim")))
    return lines


def _start(region: Region, by_guest: bool) -> int:
    return region.guest_address if by_guest else region.user_address


def _bar(regions: Sequence[tuple[int, Region]], by_guest: bool, width: int) -> Iterator[TextLine]:
    """One line drawn to scale; a gap longer than an eighth of all regions is cut short, and drawn broken."""
    ordered = sorted(regions, key=lambda one: _start(one[1], by_guest))
    total = sum(region.size for _, region in ordered) or 1
    cells_across = max(20, width - 4)
    pieces: list[tuple[str, int, int]] = []  # what, size, region
    end = None
    for position, region in ordered:
        start = _start(region, by_guest)
        if end is not None and start > end:
            pieces.append(("gap", start - end, -1))
        pieces.append(("overlap" if end is not None and start < end else "region", region.size, position))
        end = max(end or 0, start + region.size)
    shown_gap = {n: min(size, total // 8) for n, (what, size, _) in enumerate(pieces) if what == "gap"}
    scale = (total + sum(shown_gap.values())) / cells_across
    parts: list[Part] = [Part("  ")]
    for number, (what, size, position) in enumerate(pieces):
        if what == "gap":
            cells = max(LEAST, round(shown_gap[number] / scale))
            broken = size > shown_gap[number]
            parts.append(
                Part("·" * (cells // 2) + ("╱╱" if broken else "··") + "·" * max(0, cells - 2 - cells // 2), "dim")
            )
            continue
        cells = max(LEAST + len(str(position)), round(size / scale))
        label = f"r{position}"
        fill = "▒" if what == "overlap" else "█" if position % 2 == 0 else "▓"
        parts.append(Part(label, "bad" if what == "overlap" else "strong"))
        parts.append(
            Part(fill * max(0, cells - len(label)), "bad" if what == "overlap" else "front" if position % 2 else "back")
        )
    yield TextLine(tuple(parts))


def _gaps(regions: Sequence[tuple[int, Region]], by_guest: bool) -> Iterator[TextLine]:
    """Where each region begins and ends, with gaps and overlaps."""
    ordered = sorted(regions, key=lambda one: _start(one[1], by_guest))
    end: int | None = None
    last = -1
    for position, region in ordered:
        start = _start(region, by_guest)
        if end is not None and start > end:
            yield line(("  gap  ", "dim"), (f"{end:#x} - {start:#x}  ({words.size(start - end)})", "dim"))
        elif end is not None and start < end:
            yield line(
                (f"  r{position} overlaps r{last} by {words.size(min(end, start + region.size) - start)}", "bad")
            )
        yield line(
            f"  r{position:<3} {start:#x} - {start + region.size:#x}  ({words.size(region.size)})", jump=region.by
        )
        if end is None or start + region.size > end:
            end, last = start + region.size, position


def _rings(state: DeviceState) -> dict[int, list[str]]:
    """Region -> the ring parts in it; -1 those in none."""
    found: dict[int, list[str]] = {}
    for index in sorted(state.vrings):
        ring = state.vrings[index]
        if ring.addresses is None:
            continue
        value = ring.addresses.value
        places: dict[int, list[str]] = {}
        for name, address in (("desc", value.descriptor), ("avail", value.available), ("used", value.used)):
            place = translate(state, address)
            text = f"{name} +{place.offset:#x}" if place else f"{name} {address:#x}"
            places.setdefault(place.region if place else -1, []).append(text)
        for region, texts in places.items():
            found.setdefault(region, []).append(escape(f"vring {index}: {', '.join(texts)}"))
    return found
