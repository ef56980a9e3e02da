"""Reads the capture on while the room is open: in slices between keys, then at a calm pace where it grows."""

from __future__ import annotations

import gc
import time
from typing import TYPE_CHECKING

from vusniff.errors import VusniffError

if TYPE_CHECKING:
    from vusniff.views.tui.app import Room

SLICE_SECONDS = 0.012
"""Work at a stretch while keys may wait."""
FEWEST, MOST = 256, 65536
"""Messages in a slice."""
POLL_SECONDS = 0.1
"""Between two looks at a growing file, and between two repaints of what grows."""
NOTES = 3
"""Sentences about what was skipped that are told at the end; the sessions screen has all."""


class Reading:
    """Where the reading is."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.failure = ""
        """Why it has stopped."""
        self._slice = 2048
        self._painted = 0.0
        self._unseen = 0

    def go_on(self) -> None:
        """Read a slice and come again: at once while there is more."""
        room = self.room
        began = time.monotonic()
        try:
            came = room.timeline.update(self._slice)
        except VusniffError as error:
            self.failure = str(error)
            room.tell(self.failure, "error")
            room.say()
            return
        if came == self._slice:
            took = max(time.monotonic() - began, 1e-6)
            self._slice = max(FEWEST, min(MOST, int(self._slice * SLICE_SECONDS / took)))
        done = room.timeline.complete
        self._unseen += came
        if self._unseen and (done or began - self._painted >= POLL_SECONDS):
            self._painted, self._unseen = began, 0
            empty = room.view.virtual_size.height == 0
            room.view.grown()
            if empty:
                room.view.moved()
            room.say()
        if not done:
            room.set_timer(0.001, self.go_on)
        elif room.live:
            room.set_timer(POLL_SECONDS, self.go_on)
        else:
            # What was read stays: looking through it for cycles would hold up a key now and then.
            gc.freeze()
            room.view.settled()
            for note in room.timeline.index.notes[:NOTES]:
                room.tell(note, "warning")
            room.say()

    @property
    def words(self) -> str:
        """How far it is."""
        if self.failure:
            return "reading has stopped"
        if not self.room.timeline.complete:
            read, there = self.room.timeline.index.progress
            return f"reading {100 * read // max(1, there)} %"
        if self.room.live:
            return "following" if self.room.view.follow else "live, standing still (f follows)"
        return ""
