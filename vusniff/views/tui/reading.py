"""Reads the capture on: in slices between keys, then at a calm pace where it grows."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

from vusniff.errors import VusniffError
from vusniff.views.tui.application import Application
from vusniff.views.tui.pace import NEXT_SECONDS, POLL_SECONDS, SLICE_SECONDS, next_size

FEWEST, MOST = 256, 65536
"""Messages in a slice."""
NOTES = 3
"""Sentences about skipped stretches that are announced at the end; the sessions screen shows all."""


class CaptureReading:
    """How far the capture has been read."""

    def __init__(self, app: Application, cut: Callable[[], str | None] = lambda: None) -> None:
        self.app = app
        self._cut = cut
        self.failure = ""
        """Why reading has stopped."""
        self._slice = 2048
        self._painted = 0.0
        self._unpainted = 0
        """Messages that came after the last repaint."""
        self._events = 0
        """Events other than messages that were there at the last slice."""

    def go_on(self) -> None:
        """Read one slice; then come again, sooner while there is more to read."""
        app = self.app
        began = time.monotonic()
        try:
            came = app.timeline.update(self._slice)
        except VusniffError as error:
            self.failure = str(error)
            app.announce(self.failure, "error")
            app.refresh_top()
            return
        if came == self._slice:
            self._slice = next_size(self._slice, began, SLICE_SECONDS, FEWEST, MOST)
        done = app.timeline.complete
        self._unpainted += came
        if (self._unpainted or app.view.evidence.news()) and (done or began - self._painted >= POLL_SECONDS):
            self._painted, self._unpainted = began, 0
            empty = not app.view.count
            app.view.grown()
            if empty:
                app.view.moved()
            app.refresh_top()
        events = app.timeline.index.events.total
        if events != self._events:
            self._events = events
            if not came and app.view.row is not None:
                app.view.moved()  # where rings stand behind the selected message is known anew
        if not self.failure and (why := self._cut()):
            self.failure = why
            app.announce(f"{why}; what came before is shown", "error")
            app.refresh_top()
        if not done:
            app.later(NEXT_SECONDS, self.go_on)
        elif app.live:
            app.later(POLL_SECONDS, self.go_on)
        else:
            # What was read stays in memory: looking through it for cycles would hold up a key now and then.
            gc.freeze()
            app.view.settled()
            for note in app.timeline.index.notes[:NOTES]:
                app.announce(note, "warning")
            app.refresh_top()

    @property
    def waiting(self) -> str:
        """What is said where there is no message to show."""
        app = self.app
        if app.view.rows is not None:
            return f"No message is shown: {app.view.words}. Esc shows all"
        if not app.live:
            return "There is no message in the capture" if app.timeline.complete else "Reading the capture"
        sections = app.timeline.index.reader.sections
        source, host = (sections[-1].source, sections[-1].host.name) if sections else ("", "")
        how = "attached by " + source.removeprefix("probe ") if source.startswith("probe ") else source
        seen = " on ".join(filter(None, (how, host)))
        return f"Waiting for messages of vhost-user; {seen + ', ' if seen else ''}{app.view.losses.total:,} lost"

    @property
    def words(self) -> str:
        """How far it is; empty when a finished capture has been read."""
        if self.failure:
            return "CUT: nothing more is read" if self._cut() else "reading has stopped"
        if not self.app.timeline.complete:
            read, there = self.app.timeline.index.progress
            return f"reading {100 * read // max(1, there)} %"
        if self.app.live:
            return "following" if self.app.view.follow else "live, standing still (f follows)"
        return ""
