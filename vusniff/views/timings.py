"""Reply times as a table in characters: median, 99th percentile, longest, and a histogram. Knows no screen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from vusniff.amounts import duration
from vusniff.analysis.latencies import RequestTimes
from vusniff.families.registry import family_of
from vusniff.printable import escape
from vusniff.views.drawn import DrawnLine
from vusniff.views.rings import BARS

SLOW_NS, VERY_SLOW_NS = 100_000_000, 1_000_000_000
"""From here a time is marked, and from here it is marked as bad."""
SCALE, SHORT_SCALE = "1us     100us   10ms    1s  ", "1us       10s+"
"""What stands above a histogram: it has four cells for each power of ten, or two where there is little room."""
ORDERS: Mapping[str, Callable[[RequestTimes], tuple[object, ...]]] = {
    "longest first": lambda one: (-one.most_ns, -one.waiting, one.name),
    "by median": lambda one: (-one.median_ns, one.name),
    "by 99 %": lambda one: (-one.p99_ns, one.name),
    "by replies": lambda one: (-one.replies, one.name),
    "by name": lambda one: (one.name, -one.most_ns),
}
"""How the table can be sorted."""
COLUMNS = ("request", "replies", "no reply", "median", "99 %", "longest", "", SCALE)


def histogram(buckets: Sequence[int]) -> str:
    """Replies by how long they took, from 1 us to 10 s and more; the most is a full block."""
    most = max(buckets, default=0)
    return "".join(BARS[-(-count * 8 // most)] if count else "·" for count in buckets)


def _cells(one: RequestTimes, short: bool) -> tuple[str, ...]:
    main = one.channel is family_of(one.channel).main
    times = [duration(ns) if one.replies else "-" for ns in (one.median_ns, one.p99_ns, one.most_ns)]
    return (
        escape(one.name if main else f"{one.channel}: {one.name}"),
        f"{one.replies:,}",
        f"{one.waiting:,}" if one.waiting else "",
        *times,
        f"#{one.slowest}" if one.slowest else "",
        histogram(_halved(one.buckets) if short else one.buckets) if one.replies else "",
    )


def _halved(buckets: Sequence[int]) -> list[int]:
    return [sum(buckets[at : at + 2]) for at in range(0, len(buckets), 2)]


def _tone(column: int, one: RequestTimes) -> str:
    """The style of a cell."""
    if column == COLUMNS.index("no reply"):
        return "bad"
    times = {3: one.median_ns, 4: one.p99_ns, 5: one.most_ns}
    if column in times:
        return "bad" if times[column] >= VERY_SLOW_NS else "warn" if times[column] >= SLOW_NS else ""
    return {0: "strong", 6: "link", 7: "strong"}.get(column, "")


def table(found: Sequence[RequestTimes], order: str = "longest first", width: int = 120) -> list[DrawnLine]:
    """The table in lines of ``width`` cells, or more; each line leads to the request that took longest."""
    if not found:
        return [DrawnLine([("no request asked for a reply", "dim")])]
    ordered = sorted(found, key=ORDERS[order])
    rows = [_cells(one, False) for one in ordered]
    sizes = _sizes(rows)
    shown = [place for place in range(len(COLUMNS)) if COLUMNS[place] != "no reply" or any(row[place] for row in rows)]
    gap = "  "
    if short := sum(sizes[place] + len(gap) for place in shown) > width:
        rows = [_cells(one, True) for one in ordered]
        sizes, gap = [*sizes[:-1], len(SHORT_SCALE)], " "
    heads = [*COLUMNS[:-1], SHORT_SCALE if short else SCALE]
    left = {0, 6, 7}

    def fitted(place: int, text: str) -> str:
        return text.ljust(sizes[place]) if place in left else text.rjust(sizes[place])

    lines = [DrawnLine([(gap.join(fitted(place, heads[place]) for place in shown), "heading")], key="heads")]
    for one, row in zip(ordered, rows, strict=True):
        parts: list[tuple[str, str]] = []
        for place in shown:
            parts += [(fitted(place, row[place]), _tone(place, one)), (gap, "")]
        lines.append(DrawnLine(parts[:-1], one.slowest, f"request {one.channel} {one.request}"))
    replies, waiting = sum(one.replies for one in found), sum(one.waiting for one in found)
    said = f"{replies:,} replies to {len(found)} kinds of requests" + (f", {waiting:,} without" if waiting else "")
    return [*lines, DrawnLine([]), DrawnLine([(said, "dim")])]


def _sizes(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(len(head), *(len(row[place]) for row in rows)) for place, head in enumerate(COLUMNS)]
