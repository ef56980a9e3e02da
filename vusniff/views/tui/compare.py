"""Two sessions side by side as lines: what the second connection did otherwise than the first. Knows no screen."""

from __future__ import annotations

from collections.abc import Iterator

from vusniff.state import DeviceState, Seen
from vusniff.timeline import Timeline
from vusniff.views import words
from vusniff.views.state import base_words
from vusniff.views.tui.features import names_at
from vusniff.views.tui.line import Line, clean, cut, line
from vusniff.views.tui.state import value_words
from vusniff.views.tui.vrings import enabled_word, regions_word

Row = tuple[str, str, str]

SINGLE = (
    ("owner", "owned"),
    ("queues", "queue_num"),
    ("memory slots", "max_mem_slots"),
    ("MTU", "mtu"),
    ("status", "status"),
    ("config", "config"),
    ("postcopy", "postcopy"),
)


def compare_lines(
    timeline: Timeline, first: tuple[int, DeviceState], second: tuple[int, DeviceState], width: int
) -> list[Line]:
    """Each is a row and the state after it; what differs comes first."""
    rows = list(_rows(timeline, first, second))
    name = max(len(row[0]) for row in rows)
    half = max(12, (width - name - 8) // 2)
    sessions = [timeline.place(row).session for row, _ in (first, second)]
    heads = [f"session {number} after #{row + 1}" for number, (row, _) in zip(sessions, (first, second), strict=True)]
    lines = [line((f"    {'':<{name}}  {cut(heads[0], half):<{half}}  {heads[1]}", "heading"))]
    different = [row for row in rows if row[1] != row[2]]
    same = [row for row in rows if row[1] == row[2]]
    for label, left, right in different:
        lines.append(
            line(("  ≠ ", "changed"), f"{label:<{name}}  ", f"{cut(clean(left), half):<{half}}  ", (right, "changed"))
        )
    if not different:
        lines.append(line("  nothing differs"))
    lines.append(line())
    lines += [line((f"  = {label:<{name}}  {cut(clean(left), width - name - 6)}", "dim")) for label, left, _ in same]
    return lines


def _rows(timeline: Timeline, first: tuple[int, DeviceState], second: tuple[int, DeviceState]) -> Iterator[Row]:
    (row, left), (other, right) = first, second
    for label, name, protocol in (
        ("features offered", "features_offered", False),
        ("features", "features", False),
        ("protocol offered", "protocol_features_offered", True),
        ("protocol", "protocol_features", True),
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
    yield "regions", str(len(left.regions or ())), str(len(right.regions or ()))
    yield "memory", _memory(left), _memory(right)
    yield "inflight", _inflight(left), _inflight(right)
    yield "refused", _refused(left), _refused(right)
    for index in sorted({*left.vrings, *right.vrings}):
        yield f"vring {index}", _ring(left, index), _ring(right, index)


def _single(state: DeviceState, name: str) -> str:
    seen = getattr(state, name)
    return "-" if seen is None else value_words(name, seen.value)


def _memory(state: DeviceState) -> str:
    return ", ".join(f"{r.guest_address:#x}+{words.size(r.size)}" for r in state.regions or ()) or "-"


def _inflight(state: DeviceState) -> str:
    held = state.inflight
    return f"{held.value.num_queues} queues of {held.value.queue_size}" if held else "-"


def _refused(state: DeviceState) -> str:
    return ", ".join(refusal.name for refusal in state.refused) or "none"


def _ring(state: DeviceState, index: int) -> str:
    ring = state.vrings.get(index)
    if ring is None:
        return "-"
    said = [str(ring.life.value) if ring.life else "?", enabled_word(ring, state)]
    said += [f"size {ring.num.value}"] if ring.num else []
    said += [f"base {base_words(state, ring)}"] if ring.base else []
    said += [regions_word(ring, state)] if ring.addresses else []
    said += [f"{name} none" for name in ("kick", "call") if (seen := getattr(ring, name)) and seen.value is None]
    return ", ".join(said)
