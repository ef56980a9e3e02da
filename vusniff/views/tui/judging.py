"""Judges the capture while the room is open: in slices between keys; finds the way from finding to finding."""

from __future__ import annotations

import time
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from typing import TYPE_CHECKING

from vusniff.checks.finding import Finding, Severity
from vusniff.errors import VusniffError
from vusniff.message import Message
from vusniff.views.tui.reading import POLL_SECONDS

if TYPE_CHECKING:
    from vusniff.views.tui.app import Room

FEWEST, MOST = 16, 4096
"""Messages in a slice."""
STRETCH_SECONDS = 0.006
"""Judging at a stretch: less than reading takes, which is soon over."""
PAINT_SECONDS = 0.25
"""Between two repaints of what was found."""
QUIET_SECONDS = 0.2
"""After a move: the next key comes before the next slice."""
MARKS = {Severity.ERROR: ("E", "bad"), Severity.WARNING: ("W", "warn"), Severity.NOTE: ("N", "dim")}
"""Letter and style of the worst finding at a message."""


class Judging:
    """Where the judging is, and what it found."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.numbers = array("I")
        """Numbers of the messages at which findings stand, ascending."""
        self.severities: Counter[Severity] = Counter()
        self._told = 0
        self._slice = FEWEST
        self._concluded = False
        self._quiet_until = 0.0
        self._painted = 0.0

    def wait(self) -> None:
        """A key came: leave the next moment to those that follow it."""
        self._quiet_until = time.monotonic() + QUIET_SECONDS

    def go_on(self) -> None:
        """Judge a slice and come again: at once while there is more, at a calm pace where the capture grows."""
        room = self.room
        if not room.screen_stack:  # the view has been left
            return
        timeline = room.timeline
        now = time.monotonic()
        if not timeline.complete or now < self._quiet_until:
            room.set_timer(POLL_SECONDS, self.go_on)
            return
        count = timeline.analyse(self._slice)
        if count == self._slice:
            took = max(time.monotonic() - now, 1e-6)
            self._slice = max(FEWEST, min(MOST, int(self._slice * STRETCH_SECONDS / took)))
        done = timeline.analysed >= len(timeline)
        if done and not room.live and not self._concluded:
            self._concluded = True
            timeline.conclude()
        if done or now - self._painted >= PAINT_SECONDS:
            self._painted = now
            self._show()
        if not done:
            room.set_timer(0.001, self.go_on)
        elif room.live:
            room.set_timer(POLL_SECONDS, self.go_on)

    def finish(self) -> None:
        """Judge all there is, at once: for pictures."""
        while self.room.timeline.analyse():
            pass
        if not self._concluded:
            self._concluded = True
            self.room.timeline.conclude()
        self._show()

    def _show(self) -> None:
        """Mark what was found since it was last shown."""
        findings = self.room.timeline.findings
        new, self._told = findings[self._told :], len(findings)
        for finding in new:
            self.severities[finding.severity] += 1
            place = bisect_left(self.numbers, finding.number)
            if place == len(self.numbers) or self.numbers[place] != finding.number:
                self.numbers.insert(place, finding.number)
        if new:
            self.room.found({finding.number - 1 for finding in new})
        self.room.say()

    @property
    def words(self) -> str:
        """How far it is."""
        timeline = self.room.timeline
        if self.room.live or not timeline.complete or timeline.analysed >= len(timeline):
            return ""
        return f"judging {100 * timeline.analysed // max(1, len(timeline))} %"

    def counts(self, short: bool) -> str:
        """How many findings there are: ``1 error, 2 notes``, short ``1E 2N``."""
        said = [(count, severity) for severity in Severity if (count := self.severities[severity])]
        if short:
            return " ".join(f"{count:,}{MARKS[severity][0]}" for count, severity in said)
        return ", ".join(f"{count:,} {severity}{'' if count == 1 else 's'}" for count, severity in said)

    def next(self, step: int) -> None:
        """To the next message with a finding, or the one before, among those that are shown."""
        room, numbers = self.room, self.numbers
        row = room.view.row
        if row is None:
            return
        place = bisect_right(numbers, row + 1) if step > 0 else bisect_left(numbers, row + 1) - 1
        for turn in range(len(numbers)):
            at = place + turn * step
            found = numbers[at % len(numbers)] - 1
            if room.view.shows(found):
                if not 0 <= at < len(numbers):
                    room.tell("Went on from the other end")
                room.leap(found)
                return
        hidden = " among the messages shown: Esc shows all" if numbers else ""
        room.tell(f"Nothing was found{hidden}{'' if hidden or not self.words else ' yet'}")


def worst(findings: tuple[Finding, ...]) -> tuple[str, str]:
    """The mark of a message with these findings."""
    return MARKS[min((finding.severity for finding in findings), key=lambda severity: severity.rank)]


def explained(what: Message | str, width: int) -> str:
    """What a message's request is for, or a rule demands, as text of a width; a sentence where nothing is known."""
    from vusniff.views.explain import explain

    try:
        return explain(what, width=width)
    except VusniffError as error:
        return str(error)
