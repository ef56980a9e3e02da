"""Divides the capture into phases, in slices between keys. The timeline shows the phases as headings."""

from __future__ import annotations

import time

from vusniff.views.tui.application import Application
from vusniff.views.tui.pace import NEXT_SECONDS, POLL_SECONDS, SLICE_SECONDS
from vusniff.views.tui.sections import SessionPhase, session_phases, side_by_side

SLICE = 2048
"""Messages between two looks at the clock."""


class Dividing:
    """How far the rows that are shown have been divided."""

    def __init__(self, app: Application) -> None:
        self.app = app
        self._generation = 0
        """Counts the calls of `begin`: a slice of an earlier one stops."""
        self._phases: list[SessionPhase] = []
        self._count = -1
        """Messages when they were last divided."""

    @property
    def wanted(self) -> bool:
        """Headings are shown for the whole capture and for one session, not for what a filter picks."""
        return self.app.view.rows is None or self.app.view.session is not None

    @property
    def side_by_side(self) -> bool:
        """There are no headings because sessions run side by side."""
        return self.app.view.rows is None and side_by_side(self.app.timeline)

    def ready(self) -> bool:
        """Whether there are headings; where there are none, the reason is announced."""
        app = self.app
        if app.view.shown.phases:
            return True
        if not self.wanted:
            app.announce("Phases are shown with all messages or a whole session: Esc shows all")
        elif self.side_by_side:
            app.announce("Sessions run side by side here: S picks one, and then its phases are shown")
        else:
            app.announce("The phases are still being worked out")
        return False

    def begin(self) -> None:
        """Divide the rows that are shown now."""
        self._generation += 1
        self._phases, self._count = [], -1
        if self.wanted:
            self._go_on(self._generation)

    def _go_on(self, generation: int) -> None:
        """Work for one slice; then come again, sooner while there is more to do."""
        app = self.app
        if generation != self._generation:
            return
        complete, count = app.timeline.complete, len(app.timeline)
        if (complete or app.live) and count != self._count and not self.side_by_side:
            if not self._feed():
                app.later(NEXT_SECONDS, lambda: self._go_on(generation))
                return
            self._count = count
            found = session_phases(app.timeline, app.view.session)
            if found != self._phases:
                self._phases = found
                app.view.divide(found)
        if app.live or not complete:
            app.later(POLL_SECONDS, lambda: self._go_on(generation))

    def _feed(self) -> bool:
        """Divide the messages that came; True when all of them are divided."""
        timeline, session = self.app.timeline, self.app.view.session
        deadline = time.monotonic() + SLICE_SECONDS
        for number in range(1, len(timeline.sessions) + 1) if session is None else (session,):
            while timeline.follow_phases(number, SLICE):
                if time.monotonic() > deadline:
                    return False
        return True
