"""Two sessions side by side as lines: where the second differs from the first. Knows no screen."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest

from vusniff.amounts import counted, ranges
from vusniff.analysis.timeline import Timeline
from vusniff.families.vhost_user.state import DeviceState, Seen
from vusniff.printable import escape
from vusniff.views import words
from vusniff.views.state import base_words, enabled_words, life_words
from vusniff.views.tui.features import names_at
from vusniff.views.tui.line import TextLine, cut, line, wrapped
from vusniff.views.tui.state import value_words
from vusniff.views.tui.vrings import regions_word

Row = tuple[str, str, str]
"""What is compared, and its value in either session."""

LABEL = 30
"""Cells for the name of what is compared."""

SINGLE = (
    ("owner", "owned"),
    ("queues", "queue_num"),
    ("memory slots", "max_mem_slots"),
    ("MTU", "mtu"),
    ("status", "status"),
    ("config", "config"),
    ("postcopy", "postcopy"),
)
"""Names on the screen and in `DeviceState`."""


def compare_lines(
    timeline: Timeline, first: tuple[int, DeviceState], second: tuple[int, DeviceState], width: int
) -> list[TextLine]:
    """Lines of ``width`` cells; either session is a row and the state after it. What differs comes first."""
    rows = list(_rows(timeline, first, second))
    name = min(LABEL, max(len(row[0]) for row in rows))
    half = max(12, (width - name - 8) // 2)
    sessions = [timeline.place(row).session for row, _ in (first, second)]
    heads = [f"session {number} after #{row + 1}" for number, (row, _) in zip(sessions, (first, second), strict=True)]
    lines = [line((f"    {'':<{name}}  {cut(heads[0], half):<{half}}  {heads[1]}", "heading"))]
    different = [row for row in rows if row[1] != row[2]]
    for label, left, right in different:
        columns = (_broken(label, name), _broken(escape(left), half), _broken(escape(right), half))
        for number, (named, one, other) in enumerate(zip_longest(*columns, fillvalue="")):
            sign = " " if number else "≠"
            text = f"{named:<{name}}  {one:<{half}}  "
            lines.append(line((f"  {sign} ", "changed"), text, (other, "changed")))
    if not different:
        lines.append(line("  nothing differs"))
    lines.append(line())
    for label, left, _ in (row for row in rows if row[1] == row[2]):
        for number, (named, one) in enumerate(
            zip_longest(_broken(label, name), _broken(escape(left), width - name - 6), fillvalue="")
        ):
            lines.append(line((f"  {' ' if number else '='} {named:<{name}}  {one}", "dim")))
    return lines


def _broken(text: str, width: int) -> list[str]:
    return [parts[1].text for parts in wrapped(_pieces(text, width), width, "", "")]


def _pieces(text: str, width: int) -> Iterator[str]:
    """What stands between commas; single words where that is wider than ``width``."""
    for piece in text.replace(", ", ",\n").split("\n"):
        yield from [piece] if len(piece) <= width else piece.split()


def _rows(timeline: Timeline, first: tuple[int, DeviceState], second: tuple[int, DeviceState]) -> Iterator[Row]:
    (row, left), (other, right) = first, second
    for label, name, protocol in (
        ("features offered", "features_offered", False),
        ("features acknowledged", "features", False),
        ("protocol features offered", "protocol_features_offered", True),
        ("protocol features acknowledged", "protocol_features", True),
    ):
        seen: list[Seen[int] | None] = [getattr(state, name) for state in (left, right)]
        yield label, *(f"{one.value:#x}" if one else "-" for one in seen)  # type: ignore[misc]
        if seen[0] and seen[1] and seen[0].value != seen[1].value:
            for value, place, text in (
                (seen[0].value & ~seen[1].value, row, ("only here", "")),
                (seen[1].value & ~seen[0].value, other, ("", "only here")),
            ):
                for bit in names_at(timeline, place, value, protocol) if value else ():
                    yield f"  {words.short_name(bit)}", *text
    for label, name in SINGLE:
        yield label, _single(left, name), _single(right, name)
    yield "regions", _count(left), _count(right)
    yield "memory", _memory(left), _memory(right)
    yield "inflight", _inflight(left), _inflight(right)
    yield "refused", _refused(left), _refused(right)
    yield from _vrings(left, right)


def _single(state: DeviceState, name: str) -> str:
    seen = getattr(state, name)
    return "-" if seen is None else value_words(name, seen.value)


def _count(state: DeviceState) -> str:
    if state.memory_unknown:
        return "unknown"
    return f"{len(state.regions or ())}{' or more' if state.regions_part else ''}"


def _memory(state: DeviceState) -> str:
    return ", ".join(f"{r.guest_address:#x}+{words.size(r.size)}" for r in state.regions or ()) or "-"


def _inflight(state: DeviceState) -> str:
    held = state.inflight
    return f"{counted(held.value.num_queues, 'queue')} of {held.value.queue_size}" if held else "-"


def _refused(state: DeviceState) -> str:
    return ", ".join(refusal.name for refusal in state.refused) or "none"


def _vrings(left: DeviceState, right: DeviceState) -> Iterator[Row]:
    """Where the vrings differ; those that differ in the same way are one row."""
    alike: dict[tuple[str, str], list[int]] = {}
    for index in sorted({*left.vrings, *right.vrings}):
        alike.setdefault(_different(_ring(left, index), _ring(right, index)), []).append(index)
    for differences, indices in alike.items():
        yield f"vring {ranges(indices)}", *differences


def _different(one: dict[str, str], other: dict[str, str]) -> tuple[str, str]:
    """The values in which two vrings differ; all values of the first where they do not."""
    names = [name for name in {**one, **other} if one.get(name) != other.get(name)] or list(one)
    left, right = (", ".join(values.get(name, f"no {name}") for name in names) for values in (one, other))
    return left if one else "-", right if other else "-"


def _ring(state: DeviceState, index: int) -> dict[str, str]:
    ring = state.vrings.get(index)
    if ring is None:
        return {}
    values = {"life": life_words(state, ring), "enabled": enabled_words(state, ring)}
    if ring.num:
        values["size"] = f"size {ring.num.value}"
    if ring.base:
        values["base"] = f"base {base_words(state, ring)}"
    if ring.addresses is not None:
        values["addresses"] = regions_word(ring, state)
    for name in ("kick", "call"):
        if (seen := getattr(ring, name)) is not None:
            values[name] = f"{name} {'none' if seen.value is None else 'set'}"
    return values
