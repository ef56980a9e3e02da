"""Evidence other than messages, by the row that it stands behind. Knows no screen.

That a rule of the proxy takes a message comes before it in the capture, and stands at it here.
"""

from __future__ import annotations

from bisect import bisect_left

from vusniff.analysis.session import Tracker
from vusniff.capture.index import Index
from vusniff.printable import escape
from vusniff.record import Evidence, Fault, FaultAct, LogLine
from vusniff.views import evidence

KEPT = 1 << 16
"""Sentences that are kept while a capture grows; then a quarter of them, the oldest, is forgotten."""
SHOWN = 4
"""Pieces worded between two messages; further ones are counted."""


class EvidenceRows:
    """What a capture holds between its messages, read as the capture grows."""

    def __init__(self, index: Index, tracker: Tracker) -> None:
        self._index = index
        self._narrator = evidence.Narrator(tracker)
        self._seen = 0
        self._rows: list[int] = []
        self._found: list[str] = []
        """In sentences."""
        self._short: list[str] = []
        """The same for a line that has little room."""
        self._is_log: list[bool] = []
        self._taken: set[int] = set()
        """Rows of messages that a rule has taken."""
        self._logs_folded = False
        self._told = 0

    def _read(self) -> None:
        events = self._index.events
        for row, event in events.since(self._seen):
            if isinstance(event, Evidence) and (said := self._narrator.sentence(event)):
                at, short = max(row - 1, 0), said
                if isinstance(event, Fault) and event.act is not FaultAct.RULES:
                    short = event.words
                    if event.act is FaultAct.TAKES:  # it comes before its message
                        at = row
                        self._taken.add(row)
                        said, short = _taken_words(event)
                self._rows.append(max(at, self._rows[-1]) if self._rows else at)
                self._found.append(said)
                self._short.append(short)
                self._is_log.append(isinstance(event, LogLine))
        self._seen = events.total
        if len(self._rows) > KEPT:
            gone = len(self._rows) - KEPT * 3 // 4
            for kept in (self._rows, self._found, self._short, self._is_log):
                del kept[:gone]
            self._taken = {row for row in self._taken if row >= self._rows[0]}
            self._told = max(self._told - gone, 0)

    def fold_logs(self) -> bool:
        """Lines of logs as a number, and back; True when they are now."""
        self._logs_folded = not self._logs_folded
        return self._logs_folded

    def news(self) -> list[int]:
        """The rows behind which something stands that was not told yet."""
        self._read()
        return self._rows[self._told :]

    def tell(self) -> list[int]:
        """The same, which are told with this."""
        rows = self.news()
        self._told = len(self._rows)
        return rows

    def is_taken(self, row: int) -> bool:
        """A rule of the proxy did something else with the message than pass it on."""
        return row in self._taken

    def behind(self, first: int, last: int, short: bool = False) -> list[str]:
        """What stands behind rows from ``first`` to ``last``, in sentences; or ``short``."""
        if self._seen < self._index.events.total:
            self._read()
        if not self._rows:
            return []
        here = slice(bisect_left(self._rows, first), bisect_left(self._rows, last + 1))
        found = (self._short if short else self._found)[here]
        if self._logs_folded and (lines := sum(self._is_log[here])):
            found = [said for said, is_log in zip(found, self._is_log[here], strict=True) if not is_log]
            found.insert(0, f"{lines} line{'s' if lines > 1 else ''} of logs")
        more = [f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
        return [*found[:SHOWN], *more]


def _taken_words(fault: Fault) -> tuple[str, str]:
    """That a rule takes a message, or what holds it up: as a sentence, and short."""
    if fault.words:
        said = f"rule {fault.rule}: it {escape(fault.words)}"
        return said, f"rule {fault.rule}: waits" if "waits" in fault.words else said
    actions = escape(", ".join(fault.actions))
    return f"rule {fault.rule} takes it: {escape(fault.text) or actions}", f"rule {fault.rule}: {actions}"
