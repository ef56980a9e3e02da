"""Drawings over the timeline: rings over time, the session as a sequence diagram, reply times. Knows no screen.

Each function works in slices (`drawing.Steps`); what it draws with is also what `vusniff draw` prints.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from functools import partial

from vusniff.analysis.latencies import ReplyTimes
from vusniff.analysis.lives import RingLives
from vusniff.views import timings
from vusniff.views.export.chosen import PHASED, Chosen
from vusniff.views.export.sequence import sequence
from vusniff.views.gantt import Axis, chart
from vusniff.views.ladder import ladder
from vusniff.views.tui.application import Application
from vusniff.views.tui.drawing import Steps
from vusniff.views.tui.line import TextLine, text_lines
from vusniff.views.tui.overlays import GO, Overlay, jump_of
from vusniff.views.tui.pace import SLICE_SECONDS

STEPS = 2000
"""Steps of a sequence diagram."""
BEFORE = 400
"""Messages before the selected one from which on a long session is drawn."""


def _session(app: Application) -> int | None:
    """The session of the selected message."""
    row = app.view.row
    return None if row is None else app.timeline.place(row).session


def rings(app: Application) -> Steps:
    """Phases and rings of the selected message's session over time."""
    session, row = _session(app), app.view.row
    if session is None:
        app.announce("There is no message yet")
        return None
    timeline, lives = app.timeline, RingLives(app.timeline, session)
    while not lives.run(SLICE_SECONDS):
        yield 100 * lives.seen // max(1, lives.count)
    while timeline.follow_phases(session, PHASED):
        yield 99
    phases = timeline.phases(session)

    def drawn(axis: Axis, width: int) -> list[TextLine]:
        return text_lines(chart(timeline, lives, phases, width, axis, row))

    orders = [(axis.value, partial(drawn, axis)) for axis in Axis]
    return Overlay("Rings over time", orders[0][1], GO, picked=jump_of(app), orders=orders, order="axis")


def ladder_of(app: Application) -> Steps:
    """The selected message's session as a sequence diagram; of a long one from somewhat before that message on."""
    session, row = _session(app), app.view.row
    if session is None or row is None:
        app.announce("There is no message yet")
        return None
    rows = app.timeline.rows_of(session)
    first = max(0, bisect_right(rows, row) - BEFORE) if len(rows) > STEPS else 0
    chosen = Chosen(app.timeline, rows[first:], [], STEPS)
    steps, deadline = sequence(chosen), time.monotonic() + SLICE_SECONDS
    while True:
        try:
            next(steps)
        except StopIteration as end:
            drawn = end.value
            break
        if time.monotonic() > deadline:
            yield 100 * chosen.progress.seen // max(1, chosen.progress.of)
            deadline = time.monotonic() + SLICE_SECONDS
    here = next((step for step in reversed(drawn.steps) if step.first <= row + 1), None)
    key = f"step {here.first}" if here is not None else None
    return Overlay(
        f"Sequence of session {session}", lambda width: text_lines(ladder(drawn, width)), GO, key, jump_of(app)
    )


def reply_times(app: Application) -> Steps:
    """How long replies took: of the session that is shown alone, or of the whole capture."""
    session = app.view.session
    found = ReplyTimes(app.timeline, session)
    while not found.run(SLICE_SECONDS):
        yield 100 * found.seen // max(1, found.count)
    table = found.table()
    where = f"session {session}" if session is not None else "the whole capture"

    def timed(order: str, width: int) -> list[TextLine]:
        return text_lines(timings.table(table, order, width))

    orders = [(order, partial(timed, order)) for order in timings.ORDERS]
    return Overlay(f"Reply times, {where}", orders[0][1], GO, picked=jump_of(app), orders=orders)
