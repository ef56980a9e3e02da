"""Where rings stood, in words, cells and JSON. Knows no screen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from vusniff.amounts import duration
from vusniff.analysis.rings import (
    Account,
    Doing,
    RingHistory,
    RingStanding,
    SignalRates,
    kick_waits,
    signals_between,
    used_between,
)
from vusniff.record import Position
from vusniff.views.evidence import ring_values

COLUMNS = (
    "vring",
    "state",
    "available",
    "used",
    "in flight",
    "rate",
    "wants",
    "last used",
    "tracked",
    "kicks",
    "calls",
)
"""As `row` has them."""
LINE_COLUMNS = ("time", "session", "ring", "state", "available", "used", "in flight", "rate", "wants", "kicks", "calls")
"""As `lines` has them."""
LEFT_OUT = ("calls", "kicks", "wants", "rate", "used", "available", "session")
"""Columns that are left out where the screen is narrow, the first first; those that say nothing go before others."""
ACCOUNT_COLUMNS = ("vring", "last seen", "in flight", "used", "most a second", "longest wait", "wants", "samples")
"""As `account_row` has them."""
BARS = " ▁▂▃▄▅▆▇█"
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def table_lines(rows: Sequence[tuple[str, ...]], room: int | None) -> Iterator[str]:
    """Lines of a table, of which the first row names the columns; with ``room``, so many columns of it as fit there."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    shown = list(range(len(widths)))
    order = [rows[0].index(name) for name in LEFT_OUT]
    order.sort(key=lambda place: len({row[place] for row in rows[1:]}) > 1)
    while room is not None and order and sum(widths[place] + 2 for place in shown) - 2 > room:
        shown.remove(order.pop(0))
    for row in rows:
        yield "  ".join(f"{row[place]:<{widths[place]}}" for place in shown).rstrip()


def state_words(standing: RingStanding, later_ns: int = 0) -> str:
    """What a ring does: ``moving``, ``not served for 4.20 s (kick not read)``; ``later_ns`` after its sample."""
    position, what = standing.position, standing.doing
    told = f" (place told by {position.told_by})" if position.told_by else ""
    if what in (Doing.NOT_SERVED, Doing.WAITING) and position.waiting_ns is not None:
        kick = " (kick not read)" if kick_waits(position) else ""
        return f"{what} for {duration(position.waiting_ns + max(later_ns, 0))}{kick}{told}"
    return f"{what}{told}"


def index_words(value: int, wrap: bool | None) -> str:
    """An index; of a packed ring with its wrap counter."""
    return str(value) if wrap is None else f"{value}/{wrap:d}"


def wants_words(position: Position) -> str:
    """Which signals the sides want: ``no kicks, call at 5``."""
    wrap = 0x7FFF if position.packed else 0xFFFF
    kicks = "kicks" if position.available_event is None else f"kick at {position.available_event & wrap}"
    calls = "calls" if position.used_event is None else f"call at {position.used_event & wrap}"
    return f"{'no kicks' if position.no_notify else kicks}, {'no calls' if position.no_interrupt else calls}"


def rate_words(rate: float) -> str:
    """How much is used a second: ``31.2k/s``."""
    for unit in ("", "k", "M"):
        if rate < 1000 or unit == "M":
            break
        rate /= 1000
    return f"{rate:.0f}{unit}/s" if rate >= 100 or not unit else f"{rate:.1f}{unit}/s"


def signal_words(signals: SignalRates | None) -> tuple[str, str]:
    """Kicks and calls a second."""
    kicks, calls = signals or (None, None)
    return "-" if kicks is None else rate_words(kicks), "-" if calls is None else rate_words(calls)


def moved_words(position: Position, later_ns: int = 0) -> str:
    """How long ago something was used."""
    if position.moved_ns is None:
        return "not seen"
    ago = position.moved_ns + max(later_ns, 0)
    return "now" if ago < 10_000_000 else f"{duration(ago)} ago"


def row(history: RingHistory, session: int, standing: RingStanding, number: int, now_ns: int) -> tuple[str, ...]:
    """One ring in the cells of `COLUMNS`, as of message ``number`` at ``now_ns``."""
    position, later = standing.position, now_ns - standing.time_ns
    rates = history.rates(session, position.ring, number)
    return (
        str(position.ring),
        state_words(standing, later),
        index_words(position.available, position.available_wrap),
        index_words(position.used, position.used_wrap),
        f"{position.in_flight} of {position.size}",
        rate_words(rates[-1]) if rates and standing.doing is Doing.MOVING else "-",
        wants_words(position),
        moved_words(position, later),
        "-" if position.tracked is None else str(position.tracked),
        "-" if position.kicks is None else str(position.kicks),
        "-" if position.calls is None else str(position.calls),
    )


def account_row(account: Account) -> tuple[str, ...]:
    """A ring by all its samples, in the cells of `ACCOUNT_COLUMNS`."""
    position = account.last.position
    return (
        str(position.ring),
        state_words(account.last),
        f"{position.in_flight} of {position.size}",
        index_words(position.used, position.used_wrap),
        rate_words(account.busiest),
        duration(account.most_ns) if account.most_ns else "-",
        wants_words(position),
        str(account.samples),
    )


def account_dict(account: Account) -> dict[str, Any]:
    """The same as JSON."""
    return {
        **standing_dict(account.last),
        "samples": account.samples,
        "longest_wait_ns": account.most_ns,
        "most_per_second": round(account.busiest, 1),
    }


def standing_dict(standing: RingStanding) -> dict[str, Any]:
    """Where a ring stood, as JSON."""
    return {
        "time_ns": standing.time_ns,
        "before": standing.number,
        "state": standing.doing.value,
        **ring_values(standing.position),
    }


def bar(position: Position, width: int) -> str:
    """How much of a ring is in flight: eighths of characters."""
    eighths = min(position.in_flight, position.size) * width * 8 // position.size
    if position.in_flight and not eighths:
        eighths = 1
    full, rest = divmod(eighths, 8)
    return ("█" * full + (_EIGHTHS[rest] if rest else "")).ljust(width)


def sparkline(rates: Sequence[float], width: int) -> str:
    """The last rates as a picture of one line; the highest is a full block."""
    shown = rates[-width:]
    most = max(shown, default=0.0)
    if not most:
        return "".join("▁" for _ in shown)
    return "".join(BARS[max(1, round(rate / most * 8))] for rate in shown)


def lines(
    history: RingHistory, sessions: Sequence[int], first_ns: int, ring: int | None = None
) -> Iterator[tuple[str, ...]]:
    """Every sample of every ring in the cells of `LINE_COLUMNS`."""
    for session in sessions:
        before: dict[int, RingStanding] = {}
        for one in history.standings(session):
            position = one.position
            if ring is not None and position.ring != ring:
                continue
            old = before.get(position.ring)
            seconds = (one.time_ns - old.time_ns) / 1e9 if old else 0.0
            rate = used_between(old.position, position) / seconds if old and seconds > 0 else None
            before[position.ring] = one
            yield (
                f"{(one.time_ns - first_ns) / 1e9:.3f}",
                str(session) if session > 0 else "-",
                str(position.ring),
                state_words(one),
                index_words(position.available, position.available_wrap),
                index_words(position.used, position.used_wrap),
                f"{position.in_flight} of {position.size}",
                "-" if rate is None else rate_words(rate),
                wants_words(position),
                *signal_words(signals_between(old.position, position, one.time_ns - old.time_ns) if old else None),
            )
