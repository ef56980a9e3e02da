"""Phases and rings of a session over time, as a Gantt chart in characters. Knows no screen.

The axis is true to time, or has one step for each message: by time all that happens in milliseconds between minutes of
silence is one cell. A cell shows what the ring was at its end; that a ring ran for less than a cell is shown too.
"""

from __future__ import annotations

import enum
from bisect import bisect_left
from collections.abc import Iterator, Sequence

from vusniff.amounts import duration
from vusniff.analysis.lives import RingLife, RingLives
from vusniff.analysis.rings import Doing, RingStanding
from vusniff.analysis.timeline import Timeline
from vusniff.families.phase import Phase, PhaseKind
from vusniff.families.vhost_user.state import RingState
from vusniff.views.drawn import DrawnLine, joined
from vusniff.views.rings import BARS

LABEL = 12
"""Cells for what a line is about."""
NAMED = 5
"""Cells of a phase from which its name, or the beginning of it, is written."""
LEAST = 24
"""Cells of a chart, at least."""
LEGEND = ("· not set up", "░ disabled", "▓ armed, enabled", "█ started, enabled", "─ stopped", "? unknown")
PHASES = {
    PhaseKind.RUNNING: "good",
    PhaseKind.NEGOTIATION: "",
    PhaseKind.INITIALISATION: "",
    PhaseKind.START: "strong",
    PhaseKind.STOP: "warn",
    PhaseKind.RESET: "warn",
    PhaseKind.MIGRATION: "changed",
    PhaseKind.POSTCOPY: "changed",
    PhaseKind.RECONNECT: "bad",
}
"""Style of a phase; dim where there is none."""


class Axis(str, enum.Enum):
    """What a cell of the chart is."""

    TIME = "true to time"
    MESSAGES = "by message"

    __str__ = str.__str__


class Scale:
    """Where on the chart something stands."""

    def __init__(self, timeline: Timeline, session: int, width: int, axis: Axis) -> None:
        self.timeline, self.width, self.axis = timeline, width, axis
        self.rows = timeline.rows_of(session)
        known = timeline.sessions[session - 1]
        self.first_ns = timeline.time_ns(self.rows[0]) if self.rows else 0
        ends = [self.first_ns + 1, timeline.ring_history.latest_ns(session)]
        ends += [timeline.time_ns(self.rows[-1])] if self.rows else []
        ends += [known.closed.time_ns] if known.closed else []
        self.last_ns = max(ends)

    def cell(self, time_ns: int, number: int) -> int:
        """The cell of what happened with a message, or at a time behind it."""
        if self.axis is Axis.TIME:
            share = (time_ns - self.first_ns) / (self.last_ns - self.first_ns)
        else:
            share = bisect_left(self.rows, number - 1) / max(1, len(self.rows))
        return max(0, min(self.width - 1, int(share * self.width)))

    def ticks(self) -> Iterator[tuple[int, str]]:
        """Cells with what stands there on the axis."""
        steps = max(1, self.width // 24)
        for step in range(steps):
            cell = step * self.width // steps
            if self.axis is Axis.TIME:
                passed = (self.last_ns - self.first_ns) * step // steps
                yield cell, duration(passed) if passed else "0"
            elif self.rows:
                yield cell, f"#{self.rows[min(len(self.rows) - 1, len(self.rows) * step // steps)] + 1}"


def chart(
    timeline: Timeline, lives: RingLives, phases: Sequence[Phase], width: int, axis: Axis, here: int | None = None
) -> list[DrawnLine]:
    """The chart of a session in lines of ``width`` cells, or a little more where that is very little; row ``here`` is
    marked."""
    scale = Scale(timeline, lives.session, max(LEAST, width - LABEL - 1), axis)
    path = timeline.sessions[lives.session - 1].path
    lasted = duration(scale.last_ns - scale.first_ns)
    lines = [DrawnLine([(f"Session {lives.session}", "heading"), (f" on {path}, {lasted}, {axis}", "")])]
    lines += [DrawnLine([]), *_axis(scale, here), *_ribbon(phases, scale)]
    empty = len(lines)
    stood: dict[int, list[RingStanding]] = {}
    for standing in timeline.ring_history.standings(lives.session):
        stood.setdefault(standing.position.ring, []).append(standing)
    for index in sorted({*lives.rings, *stood}):
        spans = lives.rings.get(index, [])
        where = spans[-1].number if spans else 0
        lines.append(DrawnLine([(f"{f'vring {index}':<{LABEL}}", ""), *_bar(spans, scale)], where, f"ring {index}"))
        if index in stood:
            lines.append(_occupancy(stood[index], spans, scale))
    if len(lines) == empty:
        lines.append(DrawnLine([("no message names a ring", "dim")]))
    else:
        lines += [DrawnLine([]), *(DrawnLine([(words, "dim")]) for words in _legend(bool(stood), width))]
    if lives.left_out:
        lines.append(DrawnLine([(f"{lives.left_out:,} more changes are not drawn", "warn")]))
    return lines


def _legend(sampled: bool, width: int) -> Iterator[str]:
    words = ""
    for sign in LEGEND:
        if words and len(words) + 3 + len(sign) > width:
            yield words
            words = ""
        words += f"   {sign}" if words else sign
    yield words
    if sampled:
        yield "in flight: from ▁ to █ (the whole ring); not served is marked !"


def _axis(scale: Scale, here: int | None) -> Iterator[DrawnLine]:
    if here is not None:
        cell = scale.cell(scale.timeline.time_ns(here), here + 1)
        yield DrawnLine([(f"{f'#{here + 1}':<{LABEL}}", "strong"), (" " * cell + "▼", "strong")], here + 1, "here")
    text = " " * scale.width
    for cell, words in scale.ticks():
        text = text[:cell] + f"|{words}" + text[cell + len(words) + 1 :]
    yield DrawnLine([(" " * LABEL, ""), (text[: scale.width], "dim")])


def _ribbon(phases: Sequence[Phase], scale: Scale) -> Iterator[DrawnLine]:
    """The phases: each as long as it lasted, with its name where there is room."""
    cells = [(" ", "dim")] * scale.width
    for phase in phases:
        style = PHASES.get(phase.kind, "dim")
        first = scale.cell(phase.start_ns, phase.first)
        stop = scale.width if phase.open else scale.cell(phase.end_ns, phase.last + 1 if phase.count else phase.first)
        stop = max(stop, first + 1)
        line = "━" if phase.kind is PhaseKind.RUNNING else "─"
        room = stop - first - 1
        text = f"┣{_cut(phase.kind.value, room)}" if room >= NAMED else "┣"
        for cell, sign in enumerate(f"{text:{line}<{stop - first}}", first):
            cells[cell] = (sign, style)
    if phases:
        yield DrawnLine([(f"{'phases':<{LABEL}}", ""), *joined(cells)], phases[0].first, "phases")


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else text[: room - 1] + "…"


def _look(life: RingLife | None) -> tuple[str, str]:
    """Sign and style of what a ring is."""
    if life is None:
        return " ", "dim"
    if life.state is None:
        return "?", "dim"
    if life.state is RingState.NOT_SET_UP:
        return "·", "dim"
    if life.state is RingState.STOPPED:
        return "─", "dim"
    if life.enabled is False:
        return "░", "warn"
    return ("█" if life.state is RingState.STARTED else "▓"), "good"


def _bar(spans: Sequence[RingLife], scale: Scale) -> list[tuple[str, str]]:
    cells = [_look(None)] * scale.width
    if not spans:  # a ring of which only samples tell
        return joined(cells)
    places = [scale.cell(life.since_ns, life.number) for life in spans]
    for life, first, stop in zip(spans, places, [*places[1:], scale.width], strict=True):
        cells[first : max(stop, first + 1)] = [_look(life)] * max(stop - first, 1)
    for life, first, stop in zip(spans, places, [*places[1:], scale.width], strict=True):
        if life.runs and stop <= first:
            cells[first] = _look(life)
    return joined(cells)


def _occupancy(stood: Sequence[RingStanding], spans: Sequence[RingLife], scale: Scale) -> DrawnLine:
    """How much of a ring was in flight: of several samples in a cell the most. A sample is recorded where something has
    changed: up to the next one, or until the ring stops, it stays so."""
    cells = [(" ", "dim")] * scale.width
    places = [scale.cell(one.time_ns, one.number) for one in stood]
    worst: dict[int, tuple[int, bool]] = {}
    for place, one in zip(places, stood, strict=True):
        filled = -(-one.position.in_flight * 8 // max(1, one.position.size))
        level, late = worst.get(place, (0, False))
        worst[place] = max(level, min(8, filled)), late or one.doing is Doing.NOT_SERVED
    ordered = sorted(worst.items())
    stops = [scale.cell(life.since_ns, life.number) for life in spans if not life.runs]
    for (place, (level, late)), (next_, _) in zip(ordered, [*ordered[1:], (scale.width, None)], strict=True):
        stop = min([next_, *(cell for cell in stops if cell > place)])
        sign = BARS[level] if level else "·"
        cells[place:stop] = [(sign, "bad" if late else "")] * (stop - place)
        if late:
            cells[place] = ("!", "bad")
    return DrawnLine([(f"{'  in flight':<{LABEL}}", "dim"), *joined(cells)], stood[-1].number - 1)
