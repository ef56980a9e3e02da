"""Checks the capture in slices between keys, and finds the way from finding to finding."""

from __future__ import annotations

import time
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable

from vusniff.checks.finding import Severity
from vusniff.checks.verdict import Verdict
from vusniff.views import verdict
from vusniff.views.tui.application import Application
from vusniff.views.tui.marks import MARKS
from vusniff.views.tui.pace import NEXT_SECONDS, POLL_SECONDS, next_size

FEWEST, MOST = 16, 4096
"""Messages in a slice."""
STRETCH_SECONDS = 0.006
"""Work at a stretch: less than reading takes, because reading is over sooner."""
PAINT_SECONDS = 0.25
"""Between two repaints of what was found."""
QUIET_SECONDS = 0.2
"""Without a slice after a key: the next key probably follows."""


class Judging:
    """How far the capture has been checked, and what was found."""

    def __init__(self, app: Application, found: Callable[[set[int]], None]) -> None:
        """``found`` is called with the rows at which new findings stand."""
        self.app = app
        self.numbers = array("I")
        """Numbers of the messages at which findings stand, ascending."""
        self.severities: Counter[Severity] = Counter()
        """How many findings there are of each."""
        self._found = found
        self._shown = 0
        """Findings that have been shown."""
        self._slice = FEWEST
        self._concluded = False
        self._told = -1
        """Rows that the verdicts rest on."""
        self._pointed = False
        """The view has been led to the message that the verdict points to."""
        self.verdicts: list[Verdict] = []
        """The verdict over each device, worst first; empty while not everything has been judged."""
        self._quiet_until = 0.0
        self._painted = 0.0

    def wait(self) -> None:
        """Do nothing for a moment: a key came, and others may follow."""
        self._quiet_until = time.monotonic() + QUIET_SECONDS

    def go_on(self) -> None:
        """Work for one slice; then come again, sooner while there is more to do."""
        app, timeline = self.app, self.app.timeline
        now = time.monotonic()
        if not timeline.complete or now < self._quiet_until:
            app.later(POLL_SECONDS, self.go_on)
            return
        if timeline.analyse(self._slice) == self._slice:
            self._slice = next_size(self._slice, now, STRETCH_SECONDS, FEWEST, MOST)
        done = timeline.analysed >= len(timeline)
        if done and not app.live:
            self._conclude()
        if done or now - self._painted >= PAINT_SECONDS:
            self._painted = now
            if done:
                self._judge()
                self._point()
            self._show()
        if not done:
            app.later(NEXT_SECONDS, self.go_on)
        elif app.live:
            app.later(POLL_SECONDS, self.go_on)

    def finish(self) -> None:
        """Check all of the capture at once, however long that takes: for pictures."""
        while self.app.timeline.analyse():
            pass
        self._conclude()
        self._judge()
        self._show()

    def _judge(self) -> None:
        """Work out the verdicts anew where something came."""
        timeline = self.app.timeline
        if self._told != len(timeline):
            self._told = len(timeline)
            self.verdicts = verdict.of(timeline)

    def _point(self) -> None:
        """Select the message that the verdict points to, once, where nobody has gone anywhere yet."""
        app, first = self.app, not self._pointed
        self._pointed = True
        if first and not app.live and self.trouble and self.verdicts[0].number and app.view.row == 0:
            app.view.go_to(self.verdicts[0].number - 1)

    @property
    def sentence(self) -> str:
        """The verdict over the capture in one line, or that there is none yet."""
        if not self.verdicts:
            return "No verdict yet" + (": there is no message" if not len(self.app.timeline) else "")
        return verdict.first_line(self.verdicts)

    @property
    def trouble(self) -> bool:
        """The verdict says that something is wrong."""
        return bool(self.verdicts) and self.verdicts[0].trouble

    def _conclude(self) -> None:
        if not self._concluded:
            self._concluded = True
            self.app.timeline.conclude()

    def _show(self) -> None:
        """Mark the findings that have not been shown."""
        findings = self.app.timeline.findings
        new, self._shown = findings[self._shown :], len(findings)
        for finding in new:
            self.severities[finding.severity] += 1
            at = bisect_left(self.numbers, finding.number)
            if at == len(self.numbers) or self.numbers[at] != finding.number:
                self.numbers.insert(at, finding.number)
        if new:
            self._found({finding.number - 1 for finding in new})
        self.app.refresh_top()

    @property
    def words(self) -> str:
        """How far it is; empty when everything has been checked, and in a live capture."""
        timeline = self.app.timeline
        if self.app.live or not timeline.complete or timeline.analysed >= len(timeline):
            return ""
        return f"judging {100 * timeline.analysed // max(1, len(timeline))} %"

    def counts(self, short: bool) -> str:
        """How many findings there are: ``1 error, 2 notes``, short ``1E 2N``."""
        counts = [(count, severity) for severity in Severity if (count := self.severities[severity])]
        if short:
            return " ".join(f"{count:,}{MARKS[severity][0]}" for count, severity in counts)
        return ", ".join(f"{count:,} {severity}{'' if count == 1 else 's'}" for count, severity in counts)

    def next(self, step: int) -> None:
        """Go to the next message with a finding (``step`` 1) or the one before (-1), among those that are shown."""
        app, numbers = self.app, self.numbers
        row = app.view.row
        if row is None:
            return
        begin = bisect_right(numbers, row + 1) if step > 0 else bisect_left(numbers, row + 1) - 1
        for turn in range(len(numbers)):
            at = begin + turn * step
            found = numbers[at % len(numbers)] - 1
            if app.view.shows(found):
                if not 0 <= at < len(numbers):
                    app.announce("Went on from the other end")
                app.jump_to(found)
                return
        hidden = " among the messages shown: Esc shows all" if numbers else ""
        app.announce(f"Nothing was found{hidden}{'' if hidden or not self.words else ' yet'}")
