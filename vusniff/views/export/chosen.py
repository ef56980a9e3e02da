"""What is exported: a capture that has been read and judged, and the rows of it that were asked for.

What makes a document yields its texts, and empty ones in between: the view answers keys there.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import TypeVar

from vusniff.analysis.timeline import Timeline
from vusniff.checks.finding import Finding
from vusniff.families.phase import Phase
from vusniff.message import Message
from vusniff.record import Evidence
from vusniff.values import dataclass, field

Result = TypeVar("Result")
Texts = Generator[str, None, Result]
"""Yields texts of a document, or empty ones where it takes a while, and returns what was worked out."""
ROWS = 32768
"""Rows looked at between two texts; of their messages nothing is read."""
PHASED = 2048
"""Rows divided into phases between two texts."""


def result(steps: Texts[Result]) -> Result:
    """What steps work out, without a pause."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


@dataclass(slots=True)
class Progress:
    """How far the messages of a document are."""

    seen: int = 0
    of: int = 0


@dataclass(frozen=True, slots=True)
class Chosen:
    """Rows of a capture, ascending."""

    timeline: Timeline
    rows: Sequence[int]
    names: Sequence[str]
    """What the files are called in documents."""
    limit: int | None = None
    """Most messages in a document; None is its own default."""
    picked: bool = False
    """A filter picked the rows."""
    progress: Progress = field(default_factory=Progress)

    def messages(self, most: int | None = None) -> Iterator[Message]:
        """The messages of the rows, at most so many."""
        rows = self.rows if most is None else self.rows[:most]
        whole = len(rows) == len(self.timeline)
        progress = self.progress
        progress.seen, progress.of = 0, len(rows)
        for message in self.timeline.messages() if whole else map(self.timeline.message, rows):
            yield message
            progress.seen += 1

    def findings(self, number: int) -> tuple[Finding, ...]:
        """The findings that stand at a message."""
        return self.timeline.findings_at(number - 1)

    def evidence(self) -> Iterator[tuple[int, Evidence]]:
        """Evidence other than messages, each with the number of the message that it stands before; of the sessions
        that have a row among the chosen ones, and none where messages were picked."""
        if self.picked:
            return
        timeline, rows = self.timeline, self.rows
        found = [(row + 1, one) for row, one in timeline.index.events if isinstance(one, Evidence)]
        if not found:
            return
        if len(rows) == len(timeline):
            yield from found
            return
        sessions = {timeline.places[which].session for which in {timeline.place_of[row] for row in rows}}
        for number, one in found:
            if any(timeline.tracker.session_of(connection) in sessions for connection, _ in one.ends):
                yield number, one

    def sessions(self) -> Texts[list[int]]:
        """Numbers of the sessions that have a row among the chosen ones."""
        timeline, rows = self.timeline, self.rows
        if len(rows) == len(timeline):
            return [session.number for session in timeline.sessions if session.count]
        used: set[int] = set()
        for start in range(0, len(rows), ROWS):
            used.update(map(timeline.place_of.__getitem__, rows[start : start + ROWS]))
            yield ""
        return sorted({timeline.places[which].session for which in used})

    def phases(self, session: int) -> Texts[tuple[Phase, ...]]:
        """The phases of a session."""
        while self.timeline.follow_phases(session, PHASED):
            yield ""
        return self.timeline.phases(session)

    @property
    def first_ns(self) -> int:
        """When the first message of the capture was sent: times count from it."""
        return self.timeline.time_ns(0) if len(self.timeline) else 0
