"""Applies a filter in slices between keys. The rows that pass are shown as they are found.

In a capture that grows the filter goes on with the messages that come.
"""

from __future__ import annotations

import time
from array import array
from typing import TYPE_CHECKING

from vusniff.views.tui.application import Application
from vusniff.views.tui.line import cut
from vusniff.views.tui.pace import NEXT_SECONDS, POLL_SECONDS, SLICE_SECONDS, next_size

if TYPE_CHECKING:
    from vusniff.filter.sieve import Sieve

FEWEST, MOST = 1024, 16384
"""Messages in a slice."""
WORDS = 40
"""Cells that the filter has in the first line."""


class Filtering:
    """The filter that is applied, and how far."""

    def __init__(self, app: Application) -> None:
        self.app = app
        self.text = ""
        """The filter that is applied; empty for none."""
        self.rows: array[int] = array("I")
        """The rows that pass, as far as they were looked at."""
        self._sieve: Sieve | None = None
        self._seen = 0
        """Rows that were looked at."""
        self._slice = FEWEST
        self._painted = 0.0
        self._wanted: int | None = None
        """The row that was selected before: the cursor goes back to it, or near it, when all is found."""
        self._generation = 0
        """Counts filters and stops: a slice of an earlier filter does nothing."""

    @property
    def words(self) -> str:
        """How far it is; empty when all messages have been looked at."""
        sieve, count = self._sieve, len(self.app.timeline)
        if sieve is None or self._seen >= count:
            return ""
        if sieve.needs_findings and self.app.timeline.analysed < count:
            return f"judging {100 * self.app.timeline.analysed // count} %, Esc stops"
        return f"filtering {100 * self._seen // count} %, Esc stops"

    def apply(self, text: str) -> None:
        """Show the messages that pass a filter; an empty text shows all. Raises FilterError for what is no filter."""
        from vusniff.filter import compile_filter

        app = self.app
        sieve = compile_filter(text).sieve(app.timeline) if text else None
        self._generation += 1
        self.text, self._seen, self._slice, self.rows = text, 0, FEWEST, array("I")
        self._wanted = app.view.row
        self._sieve = sieve
        if sieve is None:
            app.limit(None, "")
        else:
            app.limit(self.rows, cut(text, WORDS))
            self._go_on(self._generation)

    def limited(self, rows: object) -> None:
        """Other rows are shown now: unless they are those that pass, the filter is gone."""
        if rows is not self.rows:
            self.text = ""
            self._stop()

    def stop(self) -> bool:
        """Stop looking, and keep what was found; False when all messages have been looked at."""
        if not self.words:
            return False
        self._stop()
        return True

    def _stop(self) -> None:
        self._sieve = None
        self._generation += 1

    def _go_on(self, generation: int) -> None:
        """Work for one slice; then come again, sooner while there is more to do."""
        app, sieve = self.app, self._sieve
        if sieve is None or generation != self._generation:
            return
        began, before = time.monotonic(), len(self.rows)
        while self._seen < len(app.timeline) and time.monotonic() - began < SLICE_SECONDS and self._judged(sieve):
            self._look(sieve)
        done = self._seen >= len(app.timeline)
        now = time.monotonic()
        if len(self.rows) != before and (done or not before or now - self._painted >= POLL_SECONDS):
            self._painted = now
            app.view.grown()
            if not before:
                app.view.moved()
        if done and self._wanted is not None:
            if app.view.cursor == 0 and len(self.rows):
                app.view.go_to(self._wanted)
            self._wanted = None
        app.refresh_top()
        if not done:
            app.later(NEXT_SECONDS, lambda: self._go_on(generation))
        elif app.live or not app.timeline.complete:
            app.later(POLL_SECONDS, lambda: self._go_on(generation))

    def _look(self, sieve: Sieve) -> None:
        """Look at the next slice."""
        began = time.monotonic()
        stop = min(len(self.app.timeline), self._seen + self._slice)
        self.rows.extend(sieve.rows(self._seen, stop))
        self._seen = stop
        self._slice = next_size(self._slice, began, SLICE_SECONDS, FEWEST, MOST)

    def _judged(self, sieve: Sieve) -> bool:
        """Whether the findings that the filter asks for are known; where they are not, some messages are checked."""
        timeline = self.app.timeline
        if not sieve.needs_findings:
            return True
        if timeline.analysed < len(timeline):
            timeline.analyse(FEWEST)
        if timeline.analysed < len(timeline):
            return False
        if timeline.complete and not self.app.live:
            timeline.conclude()  # what open sessions are left with; the second time it finds nothing
        return True
