"""From evidence to steps: a message, where it belongs, how it is paired, and the device before and after it.

The one place that does so. Whoever reads a capture, finished, growing or through a pipe, hands its evidence piece by
piece to a `Driver`, and asks `Steps` where the device's state is wanted, or `steps_of` for one session by itself. It
must not know files, rules or views.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from vusniff.analysis.compose import Other, compose_fields
from vusniff.analysis.session import Columns, Place, Placed, Rows, Session, Tracker
from vusniff.families.family import Family, State
from vusniff.message import Message
from vusniff.record import Closed, Connection, Frame, FrameFields, Lost

if TYPE_CHECKING:
    from vusniff.capture.batch import Batch, Event

MAX_ENDED = 64
"""Ended sessions whose state is kept, for messages that come after their end."""

Advanced = tuple[Message, Place, int, State, State]
"""A message, its place, its `Pairing`, and the state of its session before and after it: None when that is let go."""


class Driver:
    """Follows the connections of one capture. Its evidence is given once, in order."""

    def __init__(self, device: str | None = None) -> None:
        """``device`` overrides the deduced device type. Raises VusniffError for a type that there is not."""
        self.tracker = Tracker(device)
        self.count = 0
        """Messages placed so far."""

    def place(
        self,
        columns: Columns,
        events: Sequence[tuple[int, Event]],
        frame: Callable[[int], Frame],
        order: Callable[[int], str],
    ) -> Placed:
        """Place the next messages.

        ``events`` stand before rows of ``columns``, ``frame(row)`` reads one of these, ``order`` tells the byte order
        of a connection.
        """
        tracker, placed = self.tracker, Placed([], [], bytearray())
        lost: list[tuple[int, Lost]] = []
        for row, event in events:
            if isinstance(event, Connection):
                tracker.opened(event, order(event.id))
            elif isinstance(event, Lost):
                lost.append((row, event))
        if not lost:
            tracker.track(self.count + 1, columns, frame, placed)
        else:
            self._between(columns, frame, lost, placed)
        self.count += len(placed.places)
        for _, event in events:
            if isinstance(event, Closed):
                tracker.closed(event)
        return placed

    def _between(
        self, columns: Columns, frame: Callable[[int], Frame], lost: list[tuple[int, Lost]], placed: Placed
    ) -> None:
        """Place the messages between losses."""
        start = 0
        for stop, loss in [*lost, (len(columns.meta), None)]:
            rows = Rows(columns.meta[start:stop], columns.request[start:stop], columns.time_ns[start:stop])
            self.tracker.track(self.count + start + 1, rows, lambda row, start=start: frame(start + row), placed)  # type: ignore[misc]
            if loss is not None:
                self.tracker.lost(loss)
            start = stop

    def place_batch(self, batch: Batch, order: Callable[[int], str]) -> Placed:
        """Place the messages of a batch that was read with data."""
        return self.place(batch, batch.events, batch.frame, order)


def steps_of(family: Family, state: State, messages: Iterable[Message]) -> Iterator[tuple[Message, State, State]]:
    """Consecutive messages of one session of a family, each with the state before and after it; ``state`` is that
    before the first."""
    advance = family.advance
    for message in messages:
        before = state
        state = advance(before, message)
        yield message, before, state


class _FollowedState:
    """A session whose state is known."""

    __slots__ = ("advance", "state")

    def __init__(self, session: Session) -> None:
        self.state = session.initial()
        self.advance = session.family.advance


def _ignore(event: Event) -> None:
    pass


class Steps:
    """Makes steps of the messages that a driver has placed, and keeps the states of the sessions that go on."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._followed: dict[int, _FollowedState] = {}
        self._ended: deque[int] = deque()
        """Sessions that have ended and whose states are kept."""

    def of(
        self,
        first: int,
        frames: Iterable[FrameFields],
        placed: tuple[Iterable[Place], Iterable[Other], Iterable[int]],
        events: Sequence[tuple[int, Event]] = (),
        tell: Callable[[Event], None] = _ignore,
    ) -> Iterator[Advanced]:
        """The steps of consecutive messages, the first of which has number ``first``.

        ``placed`` tells of each its place, its request or reply, and its pairing. ``events`` have the number of the
        message that they stand before; ``tell`` gets each when it is its turn, the last ones after the last message.
        """
        followed = self._followed
        at, due, last = 0, events[0][0] if events else 0, None
        for number, (frame, place, other, pairing) in enumerate(zip(frames, *placed, strict=True), first):
            while due and number >= due:
                self._hand_on(events[at][1], tell)
                at += 1
                due = events[at][0] if at < len(events) else 0
            if place is not last:
                session, last = followed.get(place.session) or self._follow(place.session), place
            message = compose_fields(number, frame, place, other)
            before = session.state
            session.state = after = session.advance(before, message)
            yield message, place, pairing, before, after
        for _, event in events[at:]:
            self._hand_on(event, tell)

    def step(self, message: Message) -> tuple[State, State]:
        """The states before and after the next message of its session."""
        session = self._followed.get(message.session) or self._follow(message.session)
        before = session.state
        session.state = session.advance(before, message)
        return before, session.state

    def skip(self, session: int, state: State) -> None:
        """The state that a session has reached with messages that were not handed over."""
        (self._followed.get(session) or self._follow(session)).state = state

    def _follow(self, number: int) -> _FollowedState:
        session = self._followed[number] = _FollowedState(self._tracker.sessions[number - 1])
        return session

    def _hand_on(self, event: Event, tell: Callable[[Event], None]) -> None:
        tell(event)
        session = self._tracker.session_of_main(event.connection) if isinstance(event, Closed) else None
        if session is None or session.number not in self._followed:
            return
        self._ended.append(session.number)
        if len(self._ended) > MAX_ENDED:
            gone = self._followed[self._ended.popleft()]
            gone.state, gone.advance = None, _unknown


def _unknown(state: State, message: Message) -> State:
    """The state of a session that was let go."""
    return None
