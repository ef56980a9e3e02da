"""Where rings stand as of a message, as cells and lines beside what was negotiated. Knows no screen."""

from __future__ import annotations

from collections.abc import Iterator

from vusniff.analysis.rings import Doing, RingStanding
from vusniff.analysis.timeline import Timeline
from vusniff.views import rings
from vusniff.views.tui.line import Part, TextLine, cut, line

BAR = 8
"""Characters of a bar in a table."""
TONES = {Doing.MOVING: "good", Doing.NOT_SERVED: "bad", Doing.NO_BUFFERS: "warn", Doing.WAITING: "warn"}


class Live:
    """The rings of one session, by the samples that stand before the message after a row."""

    def __init__(self, timeline: Timeline, row: int, session: int, standings: dict[int, RingStanding]) -> None:
        self._timeline = timeline
        self._row = row
        self._session = session
        self.standings = standings
        self._width = max((len(one.doing.value) for one in standings.values()), default=0)
        """Characters of what the rings do."""

    def __bool__(self) -> bool:
        """Whether anything is known."""
        return bool(self.standings)

    def _later(self, standing: RingStanding) -> int:
        """Nanoseconds from a sample to the next message, or to the last sample where no message follows."""
        timeline, after = self._timeline, self._row + 1
        now = timeline.time_ns(after) if after < len(timeline) else timeline.ring_history.latest_ns(self._session)
        return max(now - standing.time_ns, 0)

    def cell(self, index: int, width: int = BAR) -> tuple[str, str]:
        """What a ring does and how much is in flight, for a table, and its tone."""
        standing = self.standings.get(index)
        if standing is None:
            return "-", "dim"
        position = standing.position
        filled = rings.bar(position, width).rstrip().ljust(width, "·")
        return f"{standing.doing.value:<{self._width}} {filled} {position.in_flight}", TONES.get(standing.doing, "")

    def lines(self, index: int, width: int) -> Iterator[TextLine]:
        """A ring in full, for its card."""
        standing = self.standings.get(index)
        if standing is None:
            return
        position, later = standing.position, self._later(standing)
        history = self._timeline.ring_history
        rates = history.rates(self._session, index, self._row + 1)
        state = rings.state_words(standing, later)
        rows = [
            ("now", state, TONES.get(standing.doing, "")),
            (
                "in flight",
                f"{rings.bar(position, 24).rstrip().ljust(24, '·')} {position.in_flight} of {position.size}",
                "",
            ),
            (
                "available",
                f"{rings.index_words(position.available, position.available_wrap)}, "
                f"used {rings.index_words(position.used, position.used_wrap)}",
                "",
            ),
            ("last used", rings.moved_words(position, later), ""),
            ("wants", rings.wants_words(position), ""),
        ]
        if rates:
            spark = rings.sparkline(rates, max(width - 30, 8))
            rows.insert(3, ("rate", f"{spark} {rings.rate_words(rates[-1])}", ""))
        if position.kicks is not None or position.calls is not None:
            counted = (position.kicks, position.calls)
            paces = rings.signal_words(history.signals(self._session, index, self._row + 1))
            said = [
                f"{word} {count} {'' if pace == '-' else f'({pace})'}".rstrip()
                for word, count, pace in zip(("kicks", "calls"), counted, paces, strict=True)
                if count is not None
            ]
            rows.append(("signalled", ", ".join(said), ""))
        if position.tracked is not None:
            rows.append(("in-flight buffer", f"{position.tracked}", ""))
        for number, (name, text, tone) in enumerate(rows):
            yield TextLine(
                (Part(f"  {name:<11}", "dim"), Part(cut(text, max(width - 13, 8)), tone)),
                key=f"live {index} {number}",
            )
        yield line(key=f"live {index} end")
