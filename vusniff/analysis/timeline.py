"""All messages of a capture, by position: what views show. Live, offline and replay use this same class.

It joins the index of a capture (bytes) with the tracker (who is who, which reply answers what) and the state machine.
Only columns are kept for each message; a message is decoded when it is asked for, and the state after a message is
worked out from the nearest checkpoint before it, so that a million messages cost memory like a small table.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from vusniff.analysis.compose import compose
from vusniff.analysis.rings import RingHistory, Standing
from vusniff.analysis.session import Pending, Place, Rows, Session, Tracker
from vusniff.capture.batch import Batch
from vusniff.capture.index import Index
from vusniff.families.family import PhasesOf, State
from vusniff.message import Message
from vusniff.meta import NO_MESSAGE
from vusniff.record import Closed, Connection, Exit, Frame, FrameFields, Lost

if TYPE_CHECKING:
    from vusniff.checks.checker import Checker
    from vusniff.checks.finding import Finding
    from vusniff.families.vhost_user.phases import Phase

CHECKPOINT = 512
"""Messages of a session between two kept states: the most that is replayed to show a state."""
JUDGED_AT_ONCE = 8192
"""Messages whose bytes are held while they are judged."""


class Timeline:
    """The messages of a capture; row ``i`` is message number ``i + 1``."""

    def __init__(self, index: Index, device: str | None = None) -> None:
        """``device`` overrides the deduced device type."""
        self.index = index
        self.tracker = Tracker(device)
        self.answers = array("I")
        """Per row: of a reply the number of its request, of a request the number of its reply; 0 is none."""
        self._place_of = array("I")
        self._places: list[Place] = []
        self._place_numbers: dict[int, int] = {}
        self._rows: dict[int, array[int]] = {}
        self._checkpoints: dict[int, tuple[list[int], list[State]]] = {}
        self._phases: dict[int, tuple[PhasesOf, int]] = {}
        self._opened = 0
        self._closed: set[int] = set()
        self._checker: Checker | None = None
        self._analysed = 0
        self._events_seen = 0
        self._events_told = 0
        self._done: dict[int, int] = {}
        self._found: dict[int, list[Finding]] = {}
        self._found_in: dict[int, list[Finding]] = {}
        self._sorted = 0
        self._ring_history: RingHistory | None = None

    def __len__(self) -> int:
        return len(self.answers)

    @property
    def sessions(self) -> list[Session]:
        """All sessions so far; session number ``n`` stands at ``n - 1``."""
        return self.tracker.sessions

    @property
    def complete(self) -> bool:
        """Everything that is in the file now has been read."""
        return self.index.complete

    def update(self, max_rows: int = 65536, judge: bool = False) -> int:
        """Read and place up to ``max_rows`` more messages, and judge them on the way; return how many came."""
        first = len(self)
        batches: list[Batch] = []
        self.index.update(max_rows, batches if judge else None)
        for connection in self.index.connections[self._opened :]:
            self.tracker.opened(connection, self.index.order(connection.id))
        self._opened = len(self.index.connections)
        index = self.index
        last = len(index)
        if last > first:
            batch = Rows(index.meta[first:last], index.request[first:last], index.time_ns[first:last])
            places: list[Place] = []
            answers: list[Pending | None] = []
            self.tracker.track(first + 1, batch, lambda i: index.frame(first + i), places, answers)
            self._keep(first, places, answers)
        for _, event in index.events[self._events_seen :]:
            if isinstance(event, Closed) and event.connection not in self._closed:
                self._closed.add(event.connection)
                self.tracker.closed(event)
        self._events_seen = len(index.events)
        if judge and self._analysed == first:
            self._judge(last, chain.from_iterable(batch.rows() for batch in batches))
        return last - first

    def _keep(self, first: int, places: list[Place], answers: list[Pending | None]) -> None:
        # Places repeat for thousands of rows, and live as long as this does: their ids stand for them.
        ids = list(map(id, places))
        numbers = self._place_numbers
        appends = {}
        for key, place in dict(zip(ids, places, strict=True)).items():
            if key not in numbers:
                numbers[key] = len(self._places)
                self._places.append(place)
            appends[key] = self._rows.setdefault(place.session, array("I")).append
        self._place_of.extend([numbers[key] for key in ids])
        for row, key in enumerate(ids, first):
            appends[key](row)
        column = self.answers
        column.extend([answer.number if answer else 0 for answer in answers])
        for row, answer in enumerate(answers, first):
            if answer:
                column[answer.number - 1] = row + 1

    def place(self, row: int) -> Place:
        """Session, connection, channel and reading context of a row."""
        return self._places[self._place_of[row]]

    @property
    def places(self) -> Sequence[Place]:
        """Every place met so far; it only grows."""
        return self._places

    @property
    def place_of(self) -> array[int]:
        """Per row: which of `places` is its own. For who looks at many rows; `place` is for one."""
        return self._place_of

    def rows_of(self, session: int) -> array[int]:
        """The rows of a session, ascending."""
        return self._rows.get(session, array("I"))

    def time_ns(self, row: int) -> int:
        """When it was sent, nanoseconds since the epoch."""
        return self.index.time_ns[row]

    def frame(self, row: int) -> Frame:
        """Its bytes and descriptors."""
        return self.index.frame(row)

    def message(self, row: int) -> Message:
        """It, decoded. Raises IndexError for a row that is not there."""
        return self._compose(row, self.index.frame(row))

    def messages(self, start: int = 0, stop: int | None = None) -> Iterator[Message]:
        """Decoded messages in order, reading the file in large pieces."""
        stop = len(self) if stop is None else min(stop, len(self))
        for row, frame in enumerate(self.index.rows(start, stop), start):
            yield self._compose(row, frame)

    def _compose(self, row: int, frame: Frame | FrameFields) -> Message:
        other = self.answers[row]
        other_time = self.index.time_ns[other - 1] if other else 0
        return compose(row + 1, frame, self.place(row), other, other_time)

    def connection(self, number: int) -> Connection:
        """A connection by its number."""
        return self.index.connections[number - 1]

    def closed(self, number: int) -> Closed | None:
        """How a connection ended, if it did."""
        return self.index.closed.get(number)

    @property
    def ring_history(self) -> RingHistory:
        """Where rings stood, by all samples read so far; made when it is first asked for."""
        if self._ring_history is None:
            self._ring_history = RingHistory(self.tracker)
        self._ring_history.update(self.index.events)
        return self._ring_history

    def standings(self, session: int, row: int) -> dict[int, Standing]:
        """Where the rings of a session stood when the next message came, by their latest samples. Of rings that do not
        run, or whose place has changed since, nothing is known."""
        find = self.sessions[session - 1].family.places
        history = self.ring_history
        if find is None or not history.rings_of(session):
            return {}
        found = {}
        for place in find(self.session_state(session, row)).rings:
            standing = history.at(session, place.index, row + 1, place.since)
            if standing is not None:
                found[place.index] = standing
        return found

    def exits(self, number: int) -> tuple[Exit, ...]:
        """The ends of the processes that held an end of a connection, in order; one that held both once."""
        return tuple(dict.fromkeys(sorted(self.index.exits.get(number, {}).values(), key=lambda exit: exit.time_ns)))

    def state(self, row: int) -> State:
        """The state of the row's session after this message."""
        place = self.place(row)
        return self.session_state(place.session, row)

    def session_state(self, session: int, row: int) -> State:
        """The state of a session after the last of its messages up to a row."""
        rows = self.rows_of(session)
        end = bisect_right(rows, row)
        at, states = self._checkpoints.setdefault(session, ([], []))
        nearest = bisect_right(at, end) - 1
        done = at[nearest] if nearest >= 0 else 0
        state = states[nearest] if nearest >= 0 else self.sessions[session - 1].initial()
        advance = self.sessions[session - 1].family.advance
        while done < end:
            state = advance(state, self.message(rows[done]))
            done += 1
            if done % CHECKPOINT == 0 and (not at or done > at[-1]):
                at.append(done)
                states.append(state)
        return state

    def before(self, row: int) -> State:
        """The state of the row's session before this message."""
        place = self.place(row)
        rows = self.rows_of(place.session)
        position = bisect_right(rows, row) - 1
        if position == 0:
            return self.sessions[place.session - 1].initial()
        return self.session_state(place.session, rows[position - 1])

    @property
    def checker(self) -> Checker:
        """What judges this capture; made when it is first asked for, so that a view without findings costs nothing."""
        if self._checker is None:
            from vusniff.checks.checker import Checker

            self._checker = Checker(self.tracker)
        return self._checker

    @property
    def analysed(self) -> int:
        """Rows that have been judged."""
        return self._analysed

    @property
    def findings(self) -> list[Finding]:
        """What was found so far, in the order it was found; complete for the rows that are `analysed`."""
        return self._checker.findings if self._checker else []

    def findings_at(self, row: int) -> tuple[Finding, ...]:
        """The findings that stand at a row."""
        self._sort()
        return tuple(self._found.get(row + 1, ()))

    def findings_of(self, session: int) -> tuple[Finding, ...]:
        """The findings of a session, in the order they were found."""
        self._sort()
        return tuple(self._found_in.get(session, ()))

    def _sort(self) -> None:
        findings = self.findings
        for finding in findings[self._sorted :]:
            self._found.setdefault(finding.number, []).append(finding)
            self._found_in.setdefault(finding.session, []).append(finding)
        self._sorted = len(findings)

    def analyse(self, max_rows: int = 65536) -> int:
        """Judge up to ``max_rows`` more rows and keep states on the way; return how many there were."""
        first = self._analysed
        stop = min(len(self), first + max_rows)
        self._judge(stop, self.index.rows(first, stop))
        return stop - first

    def _judge(self, stop: int, frames: Iterable[FrameFields]) -> None:
        """Judge the next rows, of which these are the frames."""
        feed, places, times, counts = self.checker.feed, self._places, self.index.time_ns, self._done
        first = self._analysed
        due = self._tell_events(first)
        columns = zip(frames, self._place_of[first:stop], self.answers[first:stop], strict=True)
        at, session, done = -1, 0, 0
        for row, (frame, which, other) in enumerate(columns, first):
            if row >= due:
                due = self._tell_events(row)
            place = places[which]
            if which != at:
                counts[session] = done
                at, session = which, place.session
                done = counts.get(session, 0)
            state = feed(compose(row + 1, frame, place, other, times[other - 1] if other else 0), place)
            done += 1
            if not done % CHECKPOINT and state is not None:
                kept, states = self._checkpoints.setdefault(session, ([], []))
                if not kept or done > kept[-1]:
                    kept.append(done)
                    states.append(state)
        counts[session] = done
        self._analysed = stop
        if stop == len(self):
            self._tell_events(stop)

    def conclude(self) -> None:
        """The capture ends here: judge what its open sessions are left with. Nothing may be analysed after it."""
        if len(self):
            self.checker.conclude(self.index.time_ns[-1])

    def _tell_events(self, row: int) -> int:
        """Tell the checker what stands before a row; return the row that the next event stands before."""
        events = self.index.events
        while self._events_told < len(events):
            before, event = events[self._events_told]
            if before > row:
                return before
            self._events_told += 1
            if isinstance(event, Closed):
                self.checker.closed(event)
            elif isinstance(event, Lost):
                self.checker.lost(event)
            elif isinstance(event, Exit):
                self.checker.exited(event)
        return len(self) + 1

    def phases(self, session: int) -> tuple[Phase, ...]:
        """The phases of a session so far, in order."""
        while self.follow_phases(session):
            pass
        index, known = self.index, self.sessions[session - 1]
        phases, _ = self._phases.get(session) or (self._begin_phases(session), 0)
        closed = known.closed.time_ns if known.closed else None
        return phases.phases(index.time_ns[-1] if len(self) else 0, closed)

    def follow_phases(self, session: int, max_rows: int = 65536) -> int:
        """Divide up to ``max_rows`` more messages of a session; return how many there were. What `phases` does with
        all of them, for who cannot wait so long."""
        times, metas, requests, place_of = self.index.time_ns, self.index.meta, self.index.request, self._place_of
        phases, done = self._phases.get(session) or (self._begin_phases(session), 0)
        new = self.rows_of(session)[done : done + max_rows]
        places = self._places
        phases.follow(
            zip(
                [row + 1 for row in new],
                [times[row] for row in new],
                [0 if metas[row] & NO_MESSAGE else requests[row] for row in new],
                [metas[row] for row in new],
                [places[place_of[row]].channel for row in new],
                strict=True,
            )
        )
        self._phases[session] = phases, done + len(new)
        return len(new)

    def _begin_phases(self, session: int) -> PhasesOf:
        def value(number: int) -> int | None:
            row = number - 1
            place = self.place(row)
            payload = index.frame(row).data[place.channel.header.size :]
            return known.family.value_of(index.request[row], payload, place.context.order)

        index, known = self.index, self.sessions[session - 1]
        before = self.sessions[known.previous - 1].closed if known.previous else None
        ended_ns = before.time_ns if before else None
        return known.family.phases(value, known.opened_ns, previous_end_ns=ended_ns, joined_late=known.joined_late)


def read_all(timeline: Timeline, progress: Callable[[int, int], None] | None = None, *, judge: bool = False) -> None:
    """Read what is in the file now, and judge it; ``progress(bytes read, bytes there)`` is called in between."""
    while timeline.update(JUDGED_AT_ONCE if judge else 65536, judge):
        if progress:
            progress(*timeline.index.progress)
