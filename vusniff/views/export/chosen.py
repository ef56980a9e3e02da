"""What is exported: a capture that has been read and judged, and the rows of it that were asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vusniff.checks.finding import Finding
from vusniff.message import Message
from vusniff.timeline import Timeline


@dataclass(frozen=True, slots=True)
class Chosen:
    """Rows of a capture, ascending."""

    timeline: Timeline
    rows: Sequence[int]
    names: Sequence[str]
    """What the files are called in documents."""
    limit: int | None = None
    """Most messages in a document; None is its own default."""

    def messages(self, most: int | None = None) -> Iterator[Message]:
        """The messages of the rows, at most so many."""
        rows = self.rows if most is None else self.rows[:most]
        if len(rows) == len(self.timeline):
            yield from self.timeline.messages()
            return
        for row in rows:
            yield self.timeline.message(row)

    def findings(self, number: int) -> tuple[Finding, ...]:
        """The findings that stand at a message."""
        return self.timeline.findings_at(number - 1)

    @property
    def sessions(self) -> list[int]:
        """Numbers of the sessions that have a row among the chosen ones."""
        return sorted({self.timeline.place(row).session for row in self.rows})

    @property
    def first_ns(self) -> int:
        """When the first message of the capture was sent: times count from it."""
        return self.timeline.time_ns(0) if len(self.timeline) else 0
