"""A sequence diagram in characters: the ladder of `vusniff.views.export.sequence` in lines. Knows no screen."""

from __future__ import annotations

from collections.abc import Iterator

from rich.cells import cell_len, set_cell_size

from vusniff.printable import escape
from vusniff.views.drawn import DrawnLine, joined
from vusniff.views.export.sequence import Sequence, SequenceRow

LEAST = 40
"""Cells between the two lanes of a channel, at least: where there is no room, the lines are longer than the screen."""
MOST = 110
"""Cells between them, at most."""
FULL, DASHED = "─", "╌"


class _Canvas:
    """One line of the diagram: lanes, and what is drawn between them."""

    def __init__(self, width: int, lanes: list[int]) -> None:
        self.cells = [(" ", "")] * width
        for lane in lanes:
            self.cells[lane] = ("│", "dim")

    def put(self, at: int, text: str, style: str) -> int:
        """Write from a cell on; where it ends."""
        for sign in text:
            if at < len(self.cells):
                self.cells[at] = (sign, style)
            at += 1
        return at


def ladder(drawn: Sequence, width: int) -> list[DrawnLine]:
    """The diagram in lines of ``width`` cells, longer where its lanes need more."""
    return list(_Ladder(drawn, width).lines())


class _Ladder:
    def __init__(self, drawn: Sequence, width: int) -> None:
        self._drawn = drawn
        number = max((len(_number(step)) for step in drawn.steps), default=1)
        clock = max((len(self._when(step)) for step in drawn.steps), default=8)
        self._left = number + clock + 3
        pairs = max(1, len(drawn.lanes) // 2)
        between = max(LEAST, min(MOST, (width - self._left) // pairs - 3))
        self._lanes = [
            self._left + pair * (between + 3) + side * between for pair in range(pairs) for side in (False, True)
        ]
        self._width = self._lanes[-1] + 1
        self._number, self._clock = number, clock

    def _when(self, step: SequenceRow) -> str:
        return f"{(step.time_ns - self._drawn.first_ns) / 1e9:.6f}"

    def _canvas(self) -> _Canvas:
        return _Canvas(self._width, self._lanes)

    def lines(self) -> Iterator[DrawnLine]:
        """Heads, then the steps."""
        if not self._drawn.steps:
            yield DrawnLine([("no message to draw", "dim")])
            return
        yield from self._heads()
        for step in self._drawn.steps:
            yield from self._step(step)
        if self._drawn.left_out:
            yield DrawnLine([(f"{self._drawn.left_out:,} more messages are not drawn", "warn")])

    def _heads(self) -> Iterator[DrawnLine]:
        """Which channel it is, and who stands at its lanes."""
        titles, names = _Canvas(self._width, []), _Canvas(self._width, [])
        for place, lane in enumerate(self._drawn.lanes):
            at, room = self._lanes[place], self._lanes[1] - self._lanes[0]
            who = escape(lane.who)
            if lane.frontend:
                titles.put(at, _cut(escape(lane.title), room), "dim")
                names.put(at, _cut(who, room // 2 - 1), "front")
            else:
                who = _cut(who, room // 2 - 1)
                names.put(max(at - len(who) + 1, 0), who, "back")
        yield DrawnLine(joined(titles.cells), key="heads")
        yield DrawnLine(joined(names.cells), key="names")

    def _step(self, step: SequenceRow) -> Iterator[DrawnLine]:
        front, back = (self._lanes[self._drawn.lane(step, side)] for side in (True, False))
        if step.phase:
            canvas = self._canvas()
            canvas.put(front + 1, f" {step.phase} ".center(back - front - 1, "═"), "heading")
            yield DrawnLine(joined(canvas.cells), step.first, f"phase {step.first}")
        where = f"{_number(step):>{self._number}} {self._when(step):>{self._clock}}"
        if step.request:
            canvas = self._canvas()
            canvas.put(0, where, "dim")
            many = f" x{step.count}" if step.count > 1 else ""
            bad = step.failed and step.reply is None
            self._arrow(canvas, front, back, step.from_frontend, FULL, step.name + many, step.details, bad)
            yield DrawnLine(joined(canvas.cells), step.first, f"step {step.first}")
        if step.reply is not None:
            canvas = self._canvas()
            if not step.request:
                canvas.put(0, where, "dim")
            title = "" if step.request else f"{step.name} reply"
            self._arrow(canvas, front, back, not step.from_frontend, DASHED, title, step.reply, step.failed)
            yield DrawnLine(joined(canvas.cells), step.last, f"reply {step.last}")
        for found in step.findings:
            canvas = self._canvas()
            canvas.put(front + 3, _cut(f"! {escape(found)}", back - front - 4), "bad")
            yield DrawnLine(joined(canvas.cells), step.first)

    def _arrow(
        self, canvas: _Canvas, front: int, back: int, to_back: bool, line: str, name: str, details: str, bad: bool
    ) -> None:
        """An arrow with words on it: its tail and its head tell the direction, as does its colour."""
        style = "bad" if bad else "front" if to_back else "back"
        canvas.put(front + 1, line * (back - front - 1), style)
        canvas.put(back if to_back else front, "▶" if to_back else "◀", style)
        room = back - front - 6
        name, details = _cut(escape(name), room), escape(details)
        said = _cut(details, room - len(name) - 1) if details and room - len(name) > 3 else ""
        at = front + 3 if to_back else back - 3 - len(name) - len(said) - (1 if name and said else 0) - 1
        at = canvas.put(at, " ", "")
        at = canvas.put(at, name, "strong") if name else at
        at = canvas.put(at, " ", "") if name and said else at
        at = canvas.put(at, said, "bad" if bad else "") if said else at
        canvas.put(at, " ", "")


def _number(step: SequenceRow) -> str:
    return f"#{step.first}" if step.first == step.last else f"#{step.first}-{step.last}"


def _cut(text: str, room: int) -> str:
    if room <= 0:
        return ""
    return text if cell_len(text) <= room else set_cell_size(text, room - 1) + "…"
