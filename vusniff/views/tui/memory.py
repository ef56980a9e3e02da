"""The memory table drawn to scale as lines: gaps, overlaps, and where rings and logs lie. Knows no screen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from vusniff.amounts import counted, ranges
from vusniff.families.vhost_user.state import DeviceState, Region, translate
from vusniff.printable import escape
from vusniff.views import words
from vusniff.views.state import OTHER_REGIONS
from vusniff.views.tui.line import Part, TextLine, line
from vusniff.views.tui.vrings import translated

LEAST = 2
"""Cells of the smallest region."""
PLACED = 16
"""Lines below a map that say where vrings lie."""
PAGE = 4096
"""Bytes of guest memory that a bit of the dirty log stands for (VHOST_LOG_PAGE)."""


def memory_lines(state: DeviceState, width: int) -> list[TextLine]:
    """The map, and a list of regions with what lies in them, in lines of ``width`` cells."""
    regions = list(enumerate(state.regions or ()))
    if not regions:
        why = "unknown" if state.memory_unknown else "empty: no SET_MEM_TABLE or ADD_MEM_REG so far"
        return [line(("Memory table", "heading"), f"  {why}"), *_beside(state, width)]
    lines: list[TextLine] = []
    for title, by_guest in (("Guest addresses", True), ("User addresses of the front-end", False)):
        lines.append(line((title, "heading")))
        pieces = _pieces(regions, by_guest, width)
        lines.append(_bar(pieces))
        lines += _placed(state, pieces)
        lines += _logged(state, regions, pieces) if by_guest else ()
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
    return [*lines, *_beside(state, width)]


def _start(region: Region, by_guest: bool) -> int:
    return region.guest_address if by_guest else region.user_address


class _MapPiece(NamedTuple):
    """A piece of the map: a gap, or a region."""

    region: int
    """-1: a gap."""
    size: int
    """Bytes."""
    cell: int
    cells: int
    overlaps: bool = False
    broken: bool = False
    """A gap that is longer than it is drawn."""


def _pieces(regions: Sequence[tuple[int, Region]], by_guest: bool, width: int) -> list[_MapPiece]:
    """The map to scale; a gap longer than an eighth of all regions is cut short."""
    ordered = sorted(regions, key=lambda one: _start(one[1], by_guest))
    total = sum(region.size for _, region in ordered) or 1
    found: list[tuple[int, int, bool]] = []  # region, size, overlaps
    end = None
    for position, region in ordered:
        start = _start(region, by_guest)
        if end is not None and start > end:
            found.append((-1, start - end, False))
        found.append((position, region.size, end is not None and start < end))
        end = max(end or 0, start + region.size)
    drawn = [min(size, total // 8) if position < 0 else size for position, size, _ in found]
    scale = sum(drawn) / max(20, width - 4)
    made: list[_MapPiece] = []
    at = 0
    for (position, size, overlaps), shown in zip(found, drawn, strict=True):
        cells = max(LEAST if position < 0 else LEAST + len(str(position)), round(shown / scale))
        made.append(_MapPiece(position, size, at, cells, overlaps, size > shown))
        at += cells
    return made


def _bar(pieces: Sequence[_MapPiece]) -> TextLine:
    """The map in one line; gaps that are cut short are drawn broken."""
    parts: list[Part] = [Part("  ")]
    for piece in pieces:
        cells, position = piece.cells, piece.region
        if position < 0:
            middle = "╱╱" if piece.broken else "··"
            parts.append(Part("·" * (cells // 2 - 1) + middle + "·" * (cells - cells // 2 - 1), "dim"))
            continue
        label = f"r{position}"
        fill = "▒" if piece.overlaps else "█" if position % 2 == 0 else "▓"
        style = "bad" if piece.overlaps else "dim" if position % 2 else ""
        parts += [Part(label, "bad" if piece.overlaps else "strong"), Part(fill * max(0, cells - len(label)), style)]
    return TextLine(tuple(parts))


def _placed(state: DeviceState, pieces: Sequence[_MapPiece]) -> Iterator[TextLine]:
    """Below the map: where rings lie in it. Those in the same cells share a line."""
    by_region = {piece.region: piece for piece in pieces}
    found: dict[tuple[int, ...], list[int]] = {}
    for index in sorted(state.vrings):
        ring = state.vrings[index]
        if ring.addresses is None:
            continue
        value, cells = ring.addresses.value, set()
        for address in (value.descriptor, value.available, value.used):
            place = translate(state, address)
            piece = by_region.get(place.region) if place else None
            if place is not None and piece is not None:
                cells.add(piece.cell + min(piece.cells - 1, place.offset * piece.cells // max(1, piece.size)))
        if cells:
            found.setdefault(tuple(sorted(cells)), []).append(index)
    end = max((piece.cell + piece.cells for piece in pieces), default=0)
    for number, (cells_, indices) in enumerate(sorted(found.items())):
        if number == PLACED:
            yield line((f"  {len(found) - PLACED} more places of vrings", "dim"))
            return
        named = f"vring{'s' if len(indices) > 1 else ''} {ranges(indices)}"
        text = [" "] * end
        for cell in cells_:
            text[cell] = "▲"
        before, last = cells_[0], cells_[-1]
        if last + 2 + len(named) <= end:
            text[last + 2 : last + 2 + len(named)] = named
        elif before - 1 - len(named) >= 0:
            text[before - 1 - len(named) : before - 1] = named
        yield line(("  " + "".join(text).rstrip(), "link"), jump=_set_by(state, indices[0]), key=f"place {indices[0]}")


def _set_by(state: DeviceState, index: int) -> int:
    seen = state.vrings[index].addresses
    return seen.by if seen is not None else 0


def _logged(
    state: DeviceState, regions: Sequence[tuple[int, Region]], pieces: Sequence[_MapPiece]
) -> Iterator[TextLine]:
    """Below the map by guest addresses: which of it the dirty log has bits for."""
    if state.log is None or state.log.value.size is None:
        return
    covered = state.log.value.size * 8 * PAGE
    sizes = dict(regions)
    text, whole = "", True
    for piece in pieces:
        region = sizes.get(piece.region)
        share = 0.0
        if region is not None:
            share = max(0, min(region.size, covered - region.guest_address)) / max(1, region.size)
            whole = whole and share == 1
        cells = round(piece.cells * share)
        text += "▔" * cells + " " * (piece.cells - cells)
    said = "  the dirty log has a bit for every page" if whole else "  the dirty log has no bits for the rest"
    yield line(("  " + text.rstrip(), "" if whole else "bad"), jump=state.log.by, key="logged")
    yield line((said, "dim" if whole else "bad"), jump=state.log.by)


def _beside(state: DeviceState, width: int) -> Iterator[TextLine]:
    """Memory that is no guest memory: the dirty log, and the in-flight buffer with a part for each vring."""
    if state.log is None and state.inflight is None:
        return
    yield line()
    yield line(("Beside guest memory", "heading"))
    if state.log is not None:
        log = state.log.value
        size = words.size(log.size) if log.size is not None else "size unknown"
        held = words.descriptor(log.descriptor) if log.descriptor else "no descriptor"
        yield line(f"  dirty log  {size} at offset {log.offset:#x}, {held}", jump=state.log.by, key="log")
    if state.inflight is not None:
        inflight = state.inflight.value
        held = words.descriptor(inflight.descriptor) if inflight.descriptor else "no descriptor"
        queues = f"{counted(inflight.num_queues, 'queue')} of {inflight.queue_size}"
        place = f"{words.size(inflight.mmap_size)} at offset {inflight.mmap_offset:#x}"
        yield line(
            f"  in-flight buffer  {queues}, {place}, {held}",
            jump=state.inflight.by,
            key="inflight",
        )
        shown = min(inflight.num_queues, max(1, (width - 4) // 12))
        each = (width - 4) // max(1, shown)
        bar = "".join(f"│vring {index} ".ljust(each, "░") for index in range(shown))
        more = f" and {inflight.num_queues - shown} more" if inflight.num_queues > shown else ""
        yield line(f"  {bar}│", more)


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
