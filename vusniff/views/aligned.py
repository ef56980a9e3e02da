"""The messages of two sessions side by side: requests that belong together in one line. Knows no screen.

Phases are paired as `vusniff.analysis.compare` pairs them, requests in a pair by name and by what they are about.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size

from vusniff.analysis.compare import Pair, pairs
from vusniff.analysis.exchanges import Exchange, Stage, Values, stages
from vusniff.analysis.timeline import Timeline
from vusniff.printable import escape
from vusniff.views.drawn import DrawnLine
from vusniff.views.words import short_name

MESSAGES = 4000
"""Messages of a session that are looked at."""


class Aligned(NamedTuple):
    """A line: what either session said."""

    left: Exchange | None
    right: Exchange | None
    phase: str = ""
    """Not empty: a phase begins here, and there is nothing else in the line."""

    @property
    def same(self) -> bool:
        """Both said the same."""
        left, right = self.left, self.right
        if left is None or right is None:
            return False
        return (left.values, left.answer, left.fds) == (right.values, right.answer, right.fds)


def aligned(timeline: Timeline, first: int, second: int) -> list[Aligned]:
    """The lines of two sessions."""
    return [line for pair in pairs(_stages(timeline, first), _stages(timeline, second)) for line in _pair(pair)]


def left_out(timeline: Timeline, session: int) -> int:
    """Messages of a session that are not looked at."""
    return max(0, len(timeline.rows_of(session)) - MESSAGES)


def _stages(timeline: Timeline, session: int) -> list[Stage]:
    known = timeline.sessions[session - 1]
    rows = timeline.rows_of(session)[:MESSAGES]
    return stages(map(timeline.message, rows), timeline.phases(session), known.initial(), known.family)


def _pair(pair: Pair) -> Iterator[Aligned]:
    left, right = pair
    stage = left or right
    assert stage is not None
    mine = left.exchanges if left is not None else []
    theirs = right.exchanges if right is not None else []
    if not mine and not theirs:
        return
    yield Aligned(None, None, str(stage.kind))
    keys = [[exchange.key for exchange in side] for side in (mine, theirs)]
    for tag, a, b, c, d in SequenceMatcher(None, keys[0], keys[1], autojunk=False).get_opcodes():
        if tag == "equal":
            yield from (Aligned(one, other) for one, other in zip(mine[a:b], theirs[c:d], strict=True))
        else:
            yield from (Aligned(one, None) for one in mine[a:b])
            yield from (Aligned(None, other) for other in theirs[c:d])


def lines(found: Sequence[Aligned], width: int) -> Iterator[DrawnLine]:
    """The lines in ``width`` cells; what differs is marked with ≠, what only one said with < or >."""
    half = max(16, (width - 6) // 2)
    for one in found:
        if one.phase:
            yield DrawnLine([(f"  {one.phase}", "heading")], key=f"phase {one.phase}")
            continue
        sign = "=" if one.same else "≠" if one.left and one.right else "<" if one.left else ">"
        style = "dim" if one.same else "changed"
        left, right = (_words(exchange, half) for exchange in (one.left, one.right))
        exchange = one.right or one.left
        number = exchange.number if exchange is not None else 0
        parts = [(f"  {_fit(left, half)}", "dim" if one.same else ""), (f" {sign} ", style), (right, style)]
        yield DrawnLine(parts, number, f"said {number}")


def _words(exchange: Exchange | None, room: int) -> str:
    if exchange is None:
        return ""
    about = f" {exchange.target}" if exchange.target else ""
    said = " ".join(filter(None, (exchange.name + about, _values(exchange.values, exchange.name))))
    succeeded = exchange.need_reply and exchange.answer == {"u64": "0"}
    answer = f" -> {'success' if succeeded else _values(exchange.answer)}" if exchange.answer else ""
    text = escape(f"#{exchange.number} {said}{answer}")
    return text if cell_len(text) <= room else set_cell_size(text, room - 1) + "…"


def _values(values: Values, request: str = "") -> str:
    """Values in the words that the timeline has for them."""
    if request == "SET_VRING_ENABLE" and values.get("num") in ("0", "1"):
        return "enabled" if values["num"] == "1" else "disabled"
    labels = {"u64": "", "regions": "", "num": "size" if request == "SET_VRING_NUM" else ""}
    shown = (
        (labels.get(name, name), value if isinstance(value, str) else " ".join(map(short_name, value)))
        for name, value in values.items()
    )
    return " ".join(f"{label} {value}".lstrip() for label, value in shown if value)


def _fit(text: str, room: int) -> str:
    return text + " " * max(0, room - cell_len(text))
