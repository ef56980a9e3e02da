"""All messages of a capture, by position: what views show. Live, offline and replay use this same class.

It joins the index of a capture (bytes) with the tracker (who is who, which reply answers what) and the state machine.
Only columns are kept for each message; a message is decoded when it is asked for, and the state after a message is
worked out from the nearest checkpoint before it, so that a million messages cost memory like a small table.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, groupby, islice
from typing import TYPE_CHECKING

from vusniff.analysis.compose import Other, compose, compose_fields
from vusniff.analysis.driver import Advanced, Driver, Steps, steps_of
from vusniff.analysis.rings import RingHistory, RingStanding
from vusniff.analysis.session import Place, Placed, Rows, Session
from vusniff.capture.batch import Batch
from vusniff.capture.index import Index
from vusniff.families.family import Family, PhasesOf, State
from vusniff.message import Message
from vusniff.record import Closed, Connection, Exit, Frame, FrameFields, FrameKind
from vusniff.told import payload as told_payload

if TYPE_CHECKING:
    from vusniff.checks.checker import Checker
    from vusniff.checks.finding import Finding
    from vusniff.families.phase import Phase

CHECKPOINT = 512
"""Messages of a session between two kept states: the most that is replayed to show a state."""
JUDGED_AT_ONCE = 8192
"""Messages whose bytes are held while they are judged."""


class Timeline:
    """The messages of a capture; row ``i`` is message number ``i + 1``."""

    def __init__(self, index: Index, device: str | None = None, keep: int | None = None) -> None:
        """``device`` overrides the deduced device type; ``keep`` is for programs that follow a capture for
        long: about how many positions of rings are kept, older ones at greater distances."""
        self.index = index
        self._keep_positions = keep
        self._driver = Driver(device)
        self.tracker = self._driver.tracker
        self._steps = Steps(self.tracker)
        self.answers = array("I")
        """Per row: of a reply the number of its request, of a request the number of its reply; 0 is none."""
        self.pairings = bytearray()
        """Per row: its `Pairing`."""
        self._place_of = array("I")
        self._places: list[Place] = []
        self._place_numbers: dict[Place, int] = {}
        self._rows: dict[int, array[int]] = {}
        self._checkpoints: dict[int, tuple[list[int], list[State]]] = {}
        self._phases: dict[int, tuple[PhasesOf, int]] = {}
        self._checker: Checker | None = None
        self._analysed = 0
        self._events_seen = 0
        self._events_told = 0
        self._found: dict[int, list[Finding]] = {}
        self._found_in: dict[int, list[Finding]] = {}
        self._sorted = 0
        self._ring_history: RingHistory | None = RingHistory(self.tracker) if keep else None

    def __len__(self) -> int:
        return len(self.answers)

    @property
    def sessions(self) -> list[Session]:
        """All sessions so far; session number ``n`` stands at ``n - 1``."""
        return self.tracker.sessions

    @property
    def families(self) -> tuple[Family, ...]:
        """Those of the sessions so far."""
        return tuple(self.tracker.families)

    @property
    def complete(self) -> bool:
        """Everything that is in the file now has been read."""
        return self.index.complete

    def update(self, max_rows: int = 65536, judge: bool = False) -> int:
        """Read and place up to ``max_rows`` more messages, and judge them on the way; return how many came."""
        first = len(self)
        batches: list[Batch] = []
        self.index.update(max_rows, batches if judge else None)
        index = self.index
        last = len(index)
        columns = Rows(index.meta[first:last], index.request[first:last], index.time_ns[first:last])
        events = [(row - first, event) for row, event in index.events.since(self._events_seen)]
        self._events_seen = index.events.total
        self._keep(first, self._driver.place(columns, events, lambda row: index.frame(first + row), index.order))
        if judge and self._analysed == first:
            self._judge(last, chain.from_iterable(batch.rows() for batch in batches))
        if self._keep_positions is not None and index.events.positions > self._keep_positions:
            if self._ring_history is not None:
                self._ring_history.update(index.events)
            index.events.thin(self._keep_positions, self._events_told if self._checker else self._events_seen)
        return last - first

    def _keep(self, first: int, placed: Placed) -> None:
        row, numbers = first, self._place_numbers
        for place, run in groupby(placed.places):
            if place not in numbers:
                numbers[place] = len(self._places)
                self._places.append(place)
            count = len(list(run))
            self._place_of.extend([numbers[place]] * count)
            self._rows.setdefault(place.session, array("I")).extend(range(row, row + count))
            row += count
        self.pairings += placed.pairings
        column = self.answers
        column.extend([answer.number if answer else 0 for answer in placed.answers])
        for row, answer in enumerate(placed.answers, first):
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
        """Per row: which of `places` is its own. For callers that look at many rows; `place` is for one."""
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
        return compose(row + 1, self.index.frame(row), self.place(row), *self.others(row, row + 1))

    def messages(self, start: int = 0, stop: int | None = None) -> Iterator[Message]:
        """Decoded messages in order, reading the file in large pieces."""
        stop = len(self) if stop is None else min(stop, len(self))
        for row, frame in enumerate(self.index.rows(start, stop), start):
            yield compose_fields(row + 1, frame, self.place(row), *self.others(row, row + 1))

    def others(self, start: int, stop: int) -> list[Other]:
        """Of some rows: number and time of the request that each answers, or of the reply to it."""
        times = self.index.time_ns
        return [(number, times[number - 1]) if number else None for number in self.answers[start:stop]]

    def steps(self) -> Iterator[Advanced]:
        """All messages with the states before and after them."""
        return Steps(self.tracker).of(1, self.index.rows(0, len(self)), self._placed(0, len(self)))

    def _placed(self, start: int, stop: int) -> tuple[Iterable[Place], Iterable[Other], Iterable[int]]:
        found = map(self._places.__getitem__, self._place_of[start:stop])
        return found, self.others(start, stop), self.pairings[start:stop]

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

    def standings(self, session: int, row: int, state: State | None = None) -> dict[int, RingStanding]:
        """Where the rings of a session stood when the next message came, by their latest samples. Of rings that do not
        run, or whose place has changed since, nothing is known. ``state`` is the session's there, if it is at hand."""
        find = self.sessions[session - 1].family.places
        history = self.ring_history
        if find is None or not history.rings_of(session):
            return {}
        found = {}
        for place in find(self.session_state(session, row) if state is None else state).rings:
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
        messages = (self.message(row) for row in rows[done:end])
        for _, _, after in steps_of(self.sessions[session - 1].family, state, messages):
            state = after
            done += 1
            if not done % CHECKPOINT:
                self._checkpoint(session, done, state)
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
        """Judge the next rows; these are their frames."""
        feed = self.checker.feed
        first = self._analysed
        events = self.index.events
        last = events.total if stop == len(self) else events.number_before(stop)
        told = [(row + 1, event) for row, event in events.since(self._events_told, last)]
        self._events_told = max(last, self._events_told)
        steps = self._steps.of(first + 1, frames, self._placed(first, stop), told, self.checker.tell)
        for row, session, count in self._checkpoints_due(first, stop):
            for step in islice(steps, row + 1 - first):
                feed(*step)
            first, state = row + 1, step[4]
            if state is not None:
                self._checkpoint(session, count, state)
        for step in steps:
            feed(*step)
        self._analysed = stop

    def _checkpoints_due(self, first: int, stop: int) -> list[tuple[int, int, int]]:
        """The rows of a range after which a state is kept, ascending, with their session and how many messages of it
        there are up to there."""
        due: list[tuple[int, int, int]] = []
        for session in {self._places[which].session for which in set(self._place_of[first:stop])}:
            rows = self._rows[session]
            done = bisect_left(rows, first)
            counts = range(done + CHECKPOINT - done % CHECKPOINT, bisect_left(rows, stop) + 1, CHECKPOINT)
            due += [(rows[count - 1], session, count) for count in counts]
        return sorted(due)

    def _checkpoint(self, session: int, done: int, state: State) -> None:
        """Keep the state of a session after so many of its messages, a multiple of `CHECKPOINT`."""
        at, states = self._checkpoints.setdefault(session, ([], []))
        if not at or done > at[-1]:
            at.append(done)
            states.append(state)

    def conclude(self) -> None:
        """The capture ends here: judge what its open sessions are left with. Nothing may be analysed after it."""
        if len(self):
            self.checker.conclude(self.index.time_ns[-1])

    def phases(self, session: int) -> tuple[Phase, ...]:
        """The phases of a session so far, in order."""
        while self.follow_phases(session):
            pass
        index, known = self.index, self.sessions[session - 1]
        phases, _ = self._phases.get(session) or (self._begin_phases(session), 0)
        closed = known.closed.time_ns if known.closed else None
        return phases.phases(index.time_ns[-1] if len(self) else 0, closed)

    def follow_phases(self, session: int, max_rows: int = 65536) -> int:
        """Divide up to ``max_rows`` more messages of a session; return how many there were.

        `phases` does this with all of them. The view, which must not wait so long, calls this in between.
        """
        times, metas, requests, place_of = self.index.time_ns, self.index.meta, self.index.request, self._place_of
        phases, done = self._phases.get(session) or (self._begin_phases(session), 0)
        new = self.rows_of(session)[done : done + max_rows]
        places = self._places
        phases.follow((row + 1, times[row], requests[row], metas[row], places[place_of[row]].channel) for row in new)
        self._phases[session] = phases, done + len(new)
        return len(new)

    def _begin_phases(self, session: int) -> PhasesOf:
        def value(number: int) -> int | None:
            row = number - 1
            place = self.place(row)
            frame, order = index.frame(row), place.context.order
            if frame.kind is FrameKind.TOLD:
                payload = told_payload(frame.data, order)
            else:
                payload = frame.data[place.channel.header.size :]
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
