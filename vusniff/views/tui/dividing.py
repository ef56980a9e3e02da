"""Divides the capture into phases while the room is open: in slices between keys, for the headings of the timeline."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from vusniff.views.tui.reading import POLL_SECONDS, SLICE_SECONDS
from vusniff.views.tui.sections import Place, places, side_by_side

if TYPE_CHECKING:
    from vusniff.views.tui.app import Room

SLICE = 2048
"""Messages between two looks at the clock."""


class Dividing:
    """Where the dividing is."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self._generation = 0
        self._places: list[Place] = []
        self._count = -1
        """Messages when they were last divided."""

    @property
    def wanted(self) -> bool:
        """Headings belong to what is shown: all of the capture or a session, not what a filter picks."""
        return self.room.view.rows is None or self.room.session is not None

    @property
    def side_by_side(self) -> bool:
        """There are no headings because sessions run side by side."""
        return self.room.view.rows is None and side_by_side(self.room.timeline)

    def ready(self) -> bool:
        """There are headings to go to; else why not is told."""
        room = self.room
        if room.view.shown.places:
            return True
        if not self.wanted:
            room.tell("Phases are shown with all messages or a whole session: Esc shows all")
        elif self.side_by_side:
            room.tell("Sessions run side by side here: S picks one, and then its phases are shown")
        else:
            room.tell("The phases are still being worked out")
        return False

    def begin(self) -> None:
        """Other rows are shown."""
        self._generation += 1
        self._places, self._count = [], -1
        if self.wanted:
            self._go_on(self._generation)

    def _go_on(self, generation: int) -> None:
        """One slice, and another: at once while there is more, at a calm pace where the capture grows."""
        room = self.room
        if generation != self._generation or not room.screen_stack:
            return
        complete, count = room.timeline.complete, len(room.timeline)
        if (complete or room.live) and count != self._count and not self.side_by_side:
            if not self._feed():
                room.set_timer(0.001, lambda: self._go_on(generation))
                return
            self._count = count
            found = places(room.timeline, room.session)
            if found != self._places:
                self._places = found
                room.view.divide(found)
        if room.live or not complete:
            room.set_timer(POLL_SECONDS, lambda: self._go_on(generation))

    def _feed(self) -> bool:
        """Divide what came; True when all of it is."""
        timeline, session = self.room.timeline, self.room.session
        deadline = time.monotonic() + SLICE_SECONDS
        for number in range(1, len(timeline.sessions) + 1) if session is None else (session,):
            while timeline.follow_phases(number, SLICE):
                if time.monotonic() > deadline:
                    return False
        return True
