"""The devices of a host as a table, JSON and words: what ``vusniff top`` shows. Knows no screen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from rich.cells import cell_len, set_cell_size

from vusniff.amounts import counted, duration
from vusniff.analysis.devices import DeviceCondition, DeviceNow, RingNow
from vusniff.analysis.rings import kick_waits
from vusniff.printable import NAME, cell
from vusniff.views import rings as ring_views

WORDS = {
    DeviceCondition.NOT_SERVED: "not served by the back-end",
    DeviceCondition.NO_BUFFERS: "no buffers posted by the driver",
    DeviceCondition.WAITING: "something waits",
    DeviceCondition.MOVING: "moving",
    DeviceCondition.IDLE: "idle",
    DeviceCondition.DISABLED: "disabled",
    DeviceCondition.STOPPED: "stopped",
    DeviceCondition.NOT_SET_UP: "not set up",
    DeviceCondition.UNKNOWN: "unknown",
}
TONES = {
    DeviceCondition.NOT_SERVED: "bad",
    DeviceCondition.NO_BUFFERS: "warn",
    DeviceCondition.WAITING: "warn",
    DeviceCondition.MOVING: "good",
    DeviceCondition.UNKNOWN: "dim",
    DeviceCondition.NOT_SET_UP: "dim",
}
SENTENCE = 400
"""Characters of a state and why, which are ours but for what a capture says."""
SPARK = 8
"""Rates in a picture."""


class TopRow(NamedTuple):
    """A device, or one ring of it."""

    device: DeviceNow
    ring: RingNow | None = None

    @property
    def rings(self) -> tuple[RingNow, ...]:
        """What it sums up."""
        return self.device.rings if self.ring is None else (self.ring,)

    @property
    def condition(self) -> DeviceCondition:
        """What it does."""
        return self.device.condition if self.ring is None else self.ring.condition


def rows_of(devices: Iterable[DeviceNow], each: bool) -> list[TopRow]:
    """One row a device, or with ``each`` one a ring; a device without rings has one all the same."""
    if not each:
        return [TopRow(device) for device in devices]
    return [TopRow(device, ring) for device in devices for ring in (device.rings or (None,))]


def state_of(row: TopRow, now_ns: int) -> str:
    """What it does, in words: ``ring 1 not served by the back-end for 4.20 s (kick unread)``."""
    ring = row.device.urgent if row.ring is None else row.ring
    if ring is None:
        return ": ".join(filter(None, (WORDS[row.condition], row.device.why)))
    said = WORDS[ring.condition]
    standing = ring.standing
    if standing is not None and ring.condition in (DeviceCondition.NOT_SERVED, DeviceCondition.WAITING):
        waits = (standing.position.waiting_ns or 0) + max(now_ns - standing.time_ns, 0)
        said += f" for {duration(waits)}"
        if kick_waits(standing.position):
            said += " (kick unread)"
    if standing is not None and standing.position.told_by:
        said += f" (from {standing.position.told_by})"
    if ring.condition is DeviceCondition.UNKNOWN:
        return ": ".join(filter(None, (said, ring.why or row.device.why)))
    if row.ring is None and len(row.device.rings) > 1 and ring.condition < DeviceCondition.MOVING:
        said = f"ring {ring.number} {said}"
    return said


def _total(row: TopRow, of: Callable[[RingNow], float | None]) -> float | None:
    found = [value for ring in row.rings if (value := of(ring)) is not None]
    return sum(found) if found else None


def _rate(ring: RingNow) -> float | None:
    return None if ring.standing is None else ring.rate


def _kicks(ring: RingNow) -> float | None:
    return None if ring.signals is None else ring.signals.kicks


def _calls(ring: RingNow) -> float | None:
    return None if ring.signals is None else ring.signals.calls


def _flight(ring: RingNow) -> float | None:
    return None if ring.standing is None else ring.standing.position.in_flight


def _size(ring: RingNow) -> float | None:
    return ring.size


def _falling(of: Callable[[RingNow], float | None]) -> Callable[[TopRow], float]:
    """The key that sorts the largest sum first."""
    return lambda row: -(_total(row, of) or 0)


def _ring_key(row: TopRow) -> int:
    return row.ring.number if row.ring else len(row.rings)


def _index(row: TopRow, name: str) -> str:
    """Where one side stands: of one ring only, because a sum says nothing."""
    standing = row.rings[0].standing if len(row.rings) == 1 else None
    return "-" if standing is None else str(getattr(standing.position, name))


def _suppressed(row: TopRow) -> str:
    """Which signals the sides suppress."""
    found = [ring.standing.position for ring in row.rings if ring.standing is not None]
    said = []
    for word, name in (("kicks", "no_notify"), ("calls", "no_interrupt")):
        count = sum(getattr(position, name) for position in found)
        if count:
            said.append(word if count == len(found) else f"{word} ({count} of {len(found)})")
    return ", ".join(said) or "-"


def _spark(row: TopRow) -> str:
    """The rates of all its rings together, as far back as each of them goes."""
    lines = [ring.rates for ring in row.rings if ring.standing is not None]
    longest = max(map(len, lines), default=0)
    sums = [sum(line[len(line) - back] for line in lines if back <= len(line)) for back in range(longest, 0, -1)]
    return ring_views.sparkline(sums, SPARK)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def _pace(value: float | None) -> str:
    return "-" if value is None else ring_views.rate_words(value)


def _condition(row: TopRow) -> DeviceCondition:
    return row.condition


class TopColumn(NamedTuple):
    """A column."""

    name: str
    text: Callable[[TopRow, int], str]
    key: Callable[[TopRow], Any]
    """What it is sorted by."""
    right: bool = False


COLUMNS = (
    TopColumn("VM", lambda row, now: row.device.frontend, lambda row: row.device.frontend),
    TopColumn("DEVICE", lambda row, now: row.device.device or "?", lambda row: row.device.device),
    TopColumn(
        "RING", lambda row, now: _ring_word(row), lambda row: row.ring.number if row.ring else len(row.rings), True
    ),
    TopColumn("SIZE", lambda row, now: _number(_total(row, _size)), _falling(_size), True),
    TopColumn("AVAIL", lambda row, now: _index(row, "available"), lambda row: _index(row, "available"), True),
    TopColumn("USED", lambda row, now: _index(row, "used"), lambda row: _index(row, "used"), True),
    TopColumn(
        "IN FLIGHT", lambda row, now: _number(_total(row, _flight)), lambda row: -(_total(row, _flight) or 0), True
    ),
    TopColumn("RATE", lambda row, now: _pace(_total(row, _rate)), _falling(_rate), True),
    TopColumn("", lambda row, now: _spark(row), _falling(_rate)),
    TopColumn("KICKS", lambda row, now: _pace(_total(row, _kicks)), _falling(_kicks), True),
    TopColumn("CALLS", lambda row, now: _pace(_total(row, _calls)), _falling(_calls), True),
    TopColumn("SUPPRESSED", lambda row, now: _suppressed(row), _suppressed),
    TopColumn("STATE", state_of, _condition),
    TopColumn("BACK-END", lambda row, now: row.device.backend, lambda row: row.device.backend),
    TopColumn("PATH", lambda row, now: row.device.path, lambda row: row.device.path),
)
SORTABLE = tuple(column.name.lower() for column in COLUMNS if column.name)

LEAST_STATE = 44
"""Cells that are enough for a state."""
DROPPED = (
    "SUPPRESSED",
    "AVAIL",
    "USED",
    "SIZE",
    "CALLS",
    "KICKS",
    "PATH",
    "DEVICE",
    "BACK-END",
    "",
    "RING",
    "IN FLIGHT",
)
"""Columns that are left out where there is no room, the first first."""
LEAST_NAME = 12
"""Cells that a name may take at any width; a quarter of the line where that is more. Others have chosen it, and it must
not take the room of what is beside it."""
_NAMES = [number for number, column in enumerate(COLUMNS) if column.name in ("VM", "DEVICE", "BACK-END", "PATH")]
_PATH = next(number for number, column in enumerate(COLUMNS) if column.name == "PATH")
STATE = next(number for number, column in enumerate(COLUMNS) if column.name == "STATE")


def _ring_word(row: TopRow) -> str:
    if row.ring is not None:
        return str(row.ring.number)
    return counted(len(row.rings), "ring") if row.rings else "-"


def arranged(rows: Iterable[TopRow], sort: str, words: str, now_ns: int, reverse: bool = False) -> list[TopRow]:
    """The rows that hold all these words somewhere, sorted by a column; equal ones by path."""
    wanted = words.lower().split()
    column = next(one for one in COLUMNS if one.name.lower() == sort)
    found = [row for row in rows if not wanted or _holds(row, wanted, now_ns)]
    found.sort(key=lambda row: (row.device.path, row.ring.number if row.ring else 0))
    return sorted(found, key=column.key, reverse=reverse)


def _holds(row: TopRow, wanted: Sequence[str], now_ns: int) -> bool:
    device = row.device
    said = " ".join((device.frontend, device.backend, device.device, device.path, state_of(row, now_ns))).lower()
    return all(word in said for word in wanted)


def cells(row: TopRow, now_ns: int) -> list[str]:
    """A row in the cells of `COLUMNS`, as they can be printed."""
    return [cell(column.text(row, now_ns), SENTENCE if column.key is _condition else NAME) for column in COLUMNS]


def fitted(table: Sequence[Sequence[str]], width: int, sort: str) -> tuple[list[int], list[int]]:
    """Which columns a table of `cells` has where there are ``width`` cells, and how wide each column is. The column by
    which it is sorted stays."""
    names = [column.name for column in COLUMNS]
    sizes = [max(len(name), *(cell_len(row[number]) for row in table), 0) for number, name in enumerate(names)]
    for number in _NAMES:
        sizes[number] = min(sizes[number], max(width // 4, LEAST_NAME))
    shown = list(range(len(COLUMNS)))
    dropped = [name for name in DROPPED if name.lower() != sort]
    while True:
        others = sum(sizes[number] + 2 for number in shown if number != STATE)
        if width - others >= min(sizes[STATE], LEAST_STATE) + 2 or not dropped:
            sizes[STATE] = max(min(sizes[STATE], width - others - 2), len(names[STATE]))
            return shown, sizes
        shown.remove(names.index(dropped.pop(0)))


def filled(text: str, number: int, size: int) -> str:
    """A text in the cells of its column."""
    if cell_len(text) > size:
        if number == _PATH:
            text = "…" + set_cell_size(text[::-1], size - 1)[::-1]  # what tells paths apart is at their end
        else:
            text = set_cell_size(text, size - 1) + "…"
    gap = " " * (size - cell_len(text))
    return gap + text if COLUMNS[number].right else text + gap


def row_dict(row: TopRow, now_ns: int) -> dict[str, Any]:
    """A device as JSON, with all its rings."""
    device = row.device
    return {
        "vm": device.frontend,
        "backend": device.backend,
        "device": device.device or None,
        "path": device.path,
        "session": device.session or None,
        "joined_late": device.joined_late,
        "state": WORDS[row.condition],
        "words": state_of(row, now_ns),
        "why": device.why or None,
        "rings": [_ring_dict(device, ring, now_ns) for ring in row.rings],
    }


def _ring_dict(device: DeviceNow, ring: RingNow, now_ns: int) -> dict[str, Any]:
    values = {} if ring.standing is None else ring_views.standing_dict(ring.standing)
    return {
        **values,
        "ring": ring.number,
        "size": ring.size,
        "state": WORDS[ring.condition],
        "words": state_of(TopRow(device, ring), now_ns),
        "per_second": None if ring.standing is None else round(ring.rate, 1),
        "kicks_per_second": _kicks(ring),
        "calls_per_second": _calls(ring),
        "why": ring.why or None,
    }


def summary(devices: Sequence[DeviceNow]) -> str:
    """The first line: how many there are, and what they do."""
    counts: dict[DeviceCondition, int] = {}
    for device in devices:
        counts[device.condition] = counts.get(device.condition, 0) + 1
    said = [f"{count} {WORDS[condition]}" for condition, count in sorted(counts.items())]
    return f"{len(devices)} device{'' if len(devices) == 1 else 's'}" + (f": {', '.join(said)}" if said else "")
