"""A row of the timeline in words: cells of a message, and how wide columns are. Knows no screen.

The front-end always stands on the left of the arrow. An answered request says what became of it, and a reply which
request it belongs to.
"""

from __future__ import annotations

import enum
import time
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from vusniff.analysis.timeline import Timeline
from vusniff.channel import Channel, Sender
from vusniff.families.family import Family
from vusniff.families.registry import family_of
from vusniff.message import Message
from vusniff.meta import end_of
from vusniff.printable import escape
from vusniff.values import dataclass
from vusniff.views import text, words
from vusniff.views.tui.line import ELLIPSIS, Part, cut, fit


class Clock(enum.Enum):
    """What the time column says."""

    START = "since start"
    DAY = "time of day"
    SHOWN = "since the row above"
    SESSION = "since the session's previous message"
    BOOKMARK = "since the bookmark"

    @property
    def next(self) -> Clock:
        """The one that the key changes it to."""
        all_of_them = list(Clock)
        return all_of_them[(all_of_them.index(self) + 1) % len(all_of_them)]


class Answer(enum.Enum):
    """What became of a request that asks for a reply."""

    NONE = enum.auto()
    WAITS = enum.auto()
    NEVER = enum.auto()


class Cells(NamedTuple):
    """The texts of a row, before they are fitted into columns."""

    session: str
    channel: Channel
    sender: Sender | None
    end: int
    reply: bool
    name: str
    values: str
    descriptors: str
    answer: str
    answer_style: str
    odd: bool
    """Malformed, unknown, or a refusal."""
    open: bool
    """A request to which no reply had been seen by then."""


def cells(timeline: Timeline, row: int, answer: Answer) -> Cells:
    """Read one message, and put it into words."""
    message = timeline.message(row)
    failed = message.failed or (message.layout == "ack" and (message.payload or {}).get("u64", 0) != 0)
    answered, style = _answer(timeline, message, answer)
    return Cells(
        str(message.session),
        message.channel,
        message.sender,
        end_of(timeline.index.meta[row]),
        message.reply,
        message.name if message.request is not None else "(no header)",
        " ".join(filter(None, (text.RESTATED if message.restated else "", escape(words.summary(message))))),
        escape(words.descriptors(message.descriptors)) if message.descriptors else "",
        answered,
        style,
        failed or (message.malformed is not None and message.told is None) or message.spec is None,
        not message.reply and not message.answered_by,
    )


def _answer(timeline: Timeline, message: Message, answer: Answer) -> tuple[str, str]:
    if message.answers:
        return f"to #{message.answers}", "dim"
    if message.answered_by:
        took = words.duration(message.latency_ns or 0)
        reply = timeline.message(message.answered_by - 1)
        if reply.layout == "ack" and reply.payload:
            return (f"ok {took}", "good") if reply.payload["u64"] == 0 else (f"FAILED {took}", "bad")
        return took, ""
    if answer is Answer.WAITS:
        return "waits", "warn"
    if answer is Answer.NEVER:
        return "no reply", "bad"
    return "", ""


def since(nanoseconds: int) -> str:
    """Nanoseconds as seconds with six decimals."""
    return text.since(nanoseconds)


def at(timeline: Timeline, row: int, clock: Clock, above: int | None) -> str:
    """The time column of a row; ``above`` is the row shown above it, or the bookmark from which times count."""
    time_ns = timeline.time_ns(row)
    if clock is Clock.START:
        return since(time_ns - timeline.time_ns(0))
    if clock is Clock.DAY:
        return text.clock(time_ns)
    if clock is Clock.SESSION:
        rows = timeline.rows_of(timeline.place(row).session)
        place = position_of(rows, row)
        above = rows[place - 1] if place > 0 else None
    if above is None:
        return ""
    passed = time_ns - timeline.time_ns(above)
    return f"{'-' if passed < 0 else '+'}{since(abs(passed))}"


def position_of(rows: Sequence[int], row: int) -> int:
    """The position of a row in ascending rows, or of the nearest before it; -1 where all are behind it."""
    return bisect_right(rows, row) - 1


def day(time_ns: int) -> str:
    """Local date and time of day, from nanoseconds since the epoch."""
    return time.strftime("%Y-%m-%d ", time.localtime(time_ns // 1_000_000_000)) + text.clock(time_ns)


class RowColumn(str, enum.Enum):
    """A column of the timeline, by the name that settings have for it."""

    NUMBER = "number"
    TIME = "time"
    SESSION = "session"
    """Shown where there are several."""
    DIRECTION = "direction"
    REQUEST = "request"
    VALUES = "values"
    """Has the room that the others leave."""
    DESCRIPTORS = "descriptors"
    """Shown where there is room; else they stand behind the values."""
    ANSWER = "answer"

    __str__ = str.__str__


ALL_COLUMNS = tuple(RowColumn)


def columns_of(words: str) -> tuple[RowColumn, ...]:
    """Columns by their names, in this order. Raises ValueError that says what is wrong."""
    names = words.replace(",", " ").split()
    known = {column.value: column for column in RowColumn}
    for name in names:
        if name not in known:
            raise ValueError(f"there is no column {name!r}; there are {', '.join(known)}")
    if not names:
        raise ValueError(f"name at least one column of {', '.join(known)}")
    return tuple(dict.fromkeys(known[name] for name in names))


@dataclass(frozen=True, slots=True)
class ColumnWidths:
    """Widths of the columns in their order, by the width of the view and what the capture holds."""

    sizes: Mapping[RowColumn, int]
    """Cells, without the blank behind them; a column that is not here is not shown."""
    wide: bool
    """Directions are words."""

    @property
    def descriptors(self) -> bool:
        """They have a column of their own."""
        return RowColumn.DESCRIPTORS in self.sizes

    @property
    def order(self) -> tuple[RowColumn, ...]:
        """From left to right."""
        return tuple(self.sizes)


GUTTER = 4
ROLES = {Sender.FRONTEND: "front", Sender.BACKEND: "back"}
"""Styles of the two ends."""
ARROW_WIDE, ARROW_NARROW = 13, 5
WIDE = 100
"""Cells from which directions are words."""
LEAST_VALUES = 8


def arrow_width(families: Iterable[Family]) -> int:
    """Cells of the widest direction in words that these families need."""
    return max((len(text.arrow(family.main, Sender.FRONTEND)) for family in families), default=ARROW_WIDE)


def columns(
    width: int,
    count: int,
    last: str,
    sessions: int,
    widest: int = ARROW_WIDE,
    order: Sequence[RowColumn] = ALL_COLUMNS,
) -> ColumnWidths:
    """Share ``width`` cells between columns; the values get what is left.

    ``count`` messages and ``sessions`` have to fit; ``last`` is the longest text of the time column, ``widest`` is
    `arrow_width`.
    """
    wide = width >= WIDE
    wanted = {
        RowColumn.NUMBER: max(3, len(str(count))),
        RowColumn.TIME: max(8, len(last)),
        RowColumn.SESSION: len(str(sessions)) if sessions > 1 else 0,
        RowColumn.DIRECTION: widest if wide else ARROW_NARROW,
        RowColumn.REQUEST: 32 if width >= 160 else 26 if wide else 23,
        RowColumn.DESCRIPTORS: max(0, min(60, (width - 120) // 2)) if width >= 140 else 0,
        RowColumn.ANSWER: 15 if wide else 10,
        RowColumn.VALUES: LEAST_VALUES,
    }
    sizes = {column: wanted[column] for column in order if wanted[column]}
    if RowColumn.VALUES in sizes:
        taken = GUTTER + sum(size + 1 for column, size in sizes.items() if column is not RowColumn.VALUES)
        sizes[RowColumn.VALUES] = max(LEAST_VALUES, width - taken)
    return ColumnWidths(sizes, wide)


_RIGHT = frozenset({RowColumn.NUMBER, RowColumn.TIME, RowColumn.ANSWER})
"""Columns whose texts stand at their right edge."""


def heading(widths: ColumnWidths, clock: Clock) -> tuple[Part, ...]:
    """The names of the columns."""
    named = {
        Clock.START: "seconds",
        Clock.DAY: "time of day",
        Clock.SHOWN: "since above",
        Clock.SESSION: "since prev.",
        Clock.BOOKMARK: "since mark",
    }[clock]
    heads = {
        RowColumn.NUMBER: "#",
        RowColumn.TIME: named,
        RowColumn.SESSION: "s",
        RowColumn.DIRECTION: "direction" if widths.wide else "who",
    }
    texts = []
    for column, size in widths.sizes.items():
        head = cut(heads.get(column, column.value), size)
        texts.append(head.rjust(size) if column in _RIGHT else fit(head, size))
    return (Part(" " * GUTTER + " ".join(texts), "heading"),)


def parts(
    row: int, texts: Cells, when: str, gutter: Sequence[Part], widths: ColumnWidths, aside: int = 0
) -> list[Part]:
    """A row in its columns, behind ``gutter``, which has ``GUTTER`` cells; ``when`` is its time column. Of the values
    the first ``aside`` cells are left out."""
    made, sizes = [*gutter], widths.sizes
    values, answer = texts.values, texts.answer
    if texts.descriptors and not widths.descriptors:
        values += f" {texts.descriptors}" if values else texts.descriptors
    if aside:
        values = ELLIPSIS + values[aside + 1 :] if len(values) > aside else ""
    if len(answer) > sizes.get(RowColumn.ANSWER, 0):
        answer = answer.partition(" ")[0]
    faint = "dim" if texts.reply else ""
    order = widths.order
    run_over = not texts.descriptors and (RowColumn.VALUES, RowColumn.DESCRIPTORS) in pairwise(order)
    for place, column in enumerate(order):
        size = sizes[column]
        following = order[place + 1 :]
        if column is RowColumn.DESCRIPTORS and run_over:
            continue
        if column is RowColumn.VALUES and run_over:  # long values go on where there are no descriptors
            size += 1 + sizes[RowColumn.DESCRIPTORS]
            following = following[1:]
        if following[:1] == (RowColumn.ANSWER,):  # and where there is no answer
            size += sizes[RowColumn.ANSWER] - len(answer)
        if column is RowColumn.NUMBER:
            made.append(Part(f"{row + 1:>{size}} ", faint))
        elif column is RowColumn.TIME:
            made.append(Part(f"{when:>{size}} ", faint))
        elif column is RowColumn.SESSION:
            made.append(Part(fit(texts.session, size) + " ", "dim"))
        elif column is RowColumn.DIRECTION:
            made.append(
                Part(fit(_arrow(texts, widths.wide), size) + " ", ROLES[texts.sender] if texts.sender else "dim")
            )
        elif column is RowColumn.REQUEST:
            name = f"↳ {texts.name}" if texts.reply else texts.name
            made.append(Part(fit(name, size) + " ", "bad" if texts.odd else "dim" if texts.reply else "strong"))
        elif column is RowColumn.VALUES:
            made.append(Part(fit(values, size) + " ", "bad" if texts.odd else ""))
        elif column is RowColumn.DESCRIPTORS:
            made.append(Part(fit(texts.descriptors, size) + " "))
        else:
            alone = "" if place else answer.rjust(size)
            made.append(Part((alone or answer) + ("" if place + 1 == len(order) else " "), texts.answer_style))
    return made


def _arrow(texts: Cells, wide: bool) -> str:
    if texts.sender is not None:
        if wide:
            return text.arrow(texts.channel, texts.sender)
        left, right = (role[0].upper() for role in family_of(texts.channel).roles)
        return f"{left} {'→' if texts.sender is Sender.FRONTEND else '←'} {right}"
    if wide:
        return ("end 0->end 1", "end 0<-end 1")[texts.end]
    return ("0 → 1", "0 ← 1")[texts.end]
