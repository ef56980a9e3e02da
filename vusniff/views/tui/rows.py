"""A row of the timeline in words: cells of a message, and how wide columns are. Knows no screen.

The front-end always stands on the left of the arrow. An answered request says what became of it, and a reply which
request it belongs to.
"""

from __future__ import annotations

import enum
import time
from bisect import bisect_right
from collections.abc import Iterable, Sequence
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
from vusniff.views.tui.line import Part, cut, fit


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
        escape(words.summary(message)),
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


@dataclass(frozen=True, slots=True)
class ColumnWidths:
    """Widths of the columns, by the width of the view and what the capture holds."""

    number: int
    time: int
    session: int
    arrow: int
    name: int
    values: int
    descriptors: int
    answer: int


GUTTER = 4
ROLES = {Sender.FRONTEND: "front", Sender.BACKEND: "back"}
"""Styles of the two ends."""
ARROW_WIDE, ARROW_NARROW = 13, 5
WIDE = 100
"""Cells from which directions are words."""


def arrow_width(families: Iterable[Family]) -> int:
    """Cells of the widest direction in words that these families need."""
    return max((len(text.arrow(family.main, Sender.FRONTEND)) for family in families), default=ARROW_WIDE)


def columns(width: int, count: int, last: str, sessions: int, widest: int = ARROW_WIDE) -> ColumnWidths:
    """Share ``width`` cells between the columns; the values get what is left.

    ``count`` messages and ``sessions`` have to fit; ``last`` is the longest text of the time column, ``widest`` is
    `arrow_width`.
    """
    number = max(3, len(str(count)))
    clock = max(8, len(last))
    session = len(str(sessions)) + 1 if sessions > 1 else 0
    wide = width >= WIDE
    arrow = widest if wide else ARROW_NARROW
    name = 32 if width >= 160 else 26 if wide else 23
    answer = 15 if wide else 10
    descriptors = max(0, min(60, (width - 120) // 2)) if width >= 140 else 0
    taken = GUTTER + number + 1 + clock + 1 + session + arrow + 1 + name + 1 + answer + 1
    taken += descriptors + 1 if descriptors else 0
    return ColumnWidths(number, clock, session, arrow, name, max(8, width - taken), descriptors, answer)


def heading(widths: ColumnWidths, clock: Clock) -> tuple[Part, ...]:
    """The names of the columns."""
    named = {
        Clock.START: "seconds",
        Clock.DAY: "time of day",
        Clock.SHOWN: "since above",
        Clock.SESSION: "since prev.",
        Clock.BOOKMARK: "since mark",
    }[clock]
    cells_ = [" " * GUTTER + "#".rjust(widths.number), cut(named, widths.time).rjust(widths.time)]
    if widths.session:
        cells_.append(fit("s", widths.session - 1))
    cells_.append(fit("direction" if widths.arrow != ARROW_NARROW else "who", widths.arrow))
    cells_.append(fit("request", widths.name))
    cells_.append(fit("values", widths.values))
    if widths.descriptors:
        cells_.append(fit("descriptors", widths.descriptors))
    cells_.append("answer".rjust(widths.answer))
    return (Part(" ".join(cells_), "heading"),)


def parts(row: int, texts: Cells, when: str, gutter: Sequence[Part], widths: ColumnWidths) -> list[Part]:
    """A row in its columns, behind ``gutter``, which has ``GUTTER`` cells; ``when`` is its time column."""
    role = ROLES[texts.sender] if texts.sender else "dim"
    number = Part(f"{row + 1:>{widths.number}} {when:>{widths.time}} ", "dim" if texts.reply else "")
    made = [*gutter, number]
    if widths.session:
        made.append(Part(fit(texts.session, widths.session - 1) + " ", "dim"))
    made.append(Part(fit(_arrow(texts, widths.arrow != ARROW_NARROW), widths.arrow) + " ", role))
    name = f"↳ {texts.name}" if texts.reply else texts.name
    made.append(Part(fit(name, widths.name) + " ", "bad" if texts.odd else "dim" if texts.reply else "strong"))
    values = texts.values
    if texts.descriptors and not widths.descriptors:
        values += f" {texts.descriptors}" if values else texts.descriptors
    answer = texts.answer
    if len(answer) > widths.answer:
        answer = answer.partition(" ")[0]
    tone = "bad" if texts.odd else ""
    if widths.descriptors:
        made.append(Part(fit(values, widths.values) + " ", tone))
        made.append(Part(fit(texts.descriptors, widths.descriptors + widths.answer + 1 - len(answer) - 1) + " "))
    else:  # values go on where there is no answer
        made.append(Part(fit(values, widths.values + widths.answer - len(answer)) + " ", tone))
    made.append(Part(answer, texts.answer_style))
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
