"""Applies a filter to a capture. It must not know how a filter is written.

A row is asked like a message, but each of its attributes is worked out when a test asks for it, and only rows that may
pass by their request, or have descriptors where these are asked for (`_Needs`).
"""

from __future__ import annotations

import functools
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from vusniff.analysis.compose import fields, header_of
from vusniff.capture.batch import NOTHING_SAID, OptionFacts, said
from vusniff.channel import Channel, Sender
from vusniff.filter.field import Origin, Surroundings
from vusniff.filter.match import Matches, asking, matcher
from vusniff.filter.tree import All, Named, Node, Operator, Test
from vusniff.filter.tree import Any as Either
from vusniff.layouts import dissect
from vusniff.meta import FLAGS, NEED_REPLY, OPTIONS, REPLY, VERSION, end_of, flags_of, has_options, kind_of
from vusniff.record import Descriptor, FrameKind, LogLine, Process, Stack

if TYPE_CHECKING:
    from vusniff.analysis.rings import RingSpan
    from vusniff.analysis.session import Place
    from vusniff.analysis.timeline import Timeline
    from vusniff.checks.finding import Finding
    from vusniff.families.family import State
    from vusniff.message import Context


_FLAGS_OF_COLUMN = (VERSION, (REPLY, REPLY), (NEED_REPLY, NEED_REPLY))
"""Version, reply and need_reply of a header whose lowest flags are those of the column."""
_NO_MORE: dict[str, int] = {}
_AHEAD = 1024
"""Messages that are followed one by one; a state further on is cheaper to find anew."""


class Around:
    """A capture as the surroundings of its messages."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._events_seen = 0
        self._logs: dict[int, list[LogLine]] = {}
        self._rings_of: tuple[int, tuple[RingSpan, ...]] = (0, ())
        self._states: dict[tuple[int, bool], tuple[int, State]] = {}
        """Session, and whether the state behind a message was asked for -> how many of its messages were followed, and
        its state then."""
        self._device_of: tuple[int, tuple[State, Context] | None] = (0, None)
        self._phases: dict[int, tuple[int, list[int], list[str]]] = {}
        """Session -> how many messages it had, where each phase that has messages begins, and what it is called."""

    @property
    def first_ns(self) -> int:
        """When its first message was sent."""
        times = self._timeline.index.time_ns
        return times[0] if len(times) else 0

    def path(self, connection: int) -> str | None:
        """Where a connection's listening end is bound."""
        connections = self._timeline.index.connections
        return connections[connection - 1].path if 0 < connection <= len(connections) else None

    def findings(self, number: int) -> tuple[Finding, ...]:
        """What was found so far at a message."""
        return self._timeline.findings_at(number - 1)

    def logs(self, number: int) -> Sequence[LogLine]:
        """The lines of logs behind a message."""
        events = self._timeline.index.events
        for row, event in events.since(self._events_seen):
            if isinstance(event, LogLine):
                self._logs.setdefault(max(row, 1), []).append(event)
        self._events_seen = events.total
        return self._logs.get(number, ())

    def rings(self, number: int) -> tuple[RingSpan, ...]:
        """Where the rings of a message's session stood until the session's next message."""
        if self._rings_of[0] != number:
            self._rings_of = number, self._spans(number)
        return self._rings_of[1]

    def _spans(self, number: int) -> tuple[RingSpan, ...]:
        timeline, session = self._timeline, self._timeline.place(number - 1).session
        history, find = timeline.ring_history, timeline.sessions[session - 1].family.places
        if find is None or session not in history.sessions:
            return ()
        rows = timeline.rows_of(session)
        at = bisect_left(rows, number - 1)
        until = rows[at + 1] + 1 if at + 1 < len(rows) else len(timeline) + 1
        if not history.between(session, number, until):
            return ()
        found = (
            history.span(session, place.index, max(number, place.since), until)
            for place in find(self._state(session, rows, at + 1, True)).rings
        )
        return tuple(one for one in found if one is not None)

    def device(self, number: int) -> tuple[State, Context]:
        """The device of a message's session before the message."""
        if self._device_of[0] != number:
            place = self._timeline.place(number - 1)
            rows = self._timeline.rows_of(place.session)
            state = self._state(place.session, rows, bisect_left(rows, number - 1), False)
            self._device_of = number, (state, place.context)
        return self._device_of[1]  # type: ignore[return-value]

    def phase(self, number: int) -> str | None:
        """The phase of its session that a message belongs to."""
        session = self._timeline.place(number - 1).session
        count = len(self._timeline.rows_of(session))
        known = self._phases.get(session)
        if known is None or known[0] != count:
            there = [one for one in self._timeline.phases(session) if one.count]
            known = self._phases[session] = count, [one.first for one in there], [str(one.kind) for one in there]
        at = bisect_right(known[1], number) - 1
        return known[2][at] if at >= 0 else None

    def _state(self, session: int, rows: array[int], count: int, behind: bool) -> State:
        """The state after so many messages of a session: one after the other, as messages are asked in order."""
        done, state = self._states.get((session, behind), (0, None))
        timeline = self._timeline
        if not count:
            state = timeline.sessions[session - 1].initial()
        elif state is None or not done <= count <= done + _AHEAD:
            state = timeline.session_state(session, rows[count - 1])
        else:
            advance = timeline.sessions[session - 1].family.advance
            for row in rows[done:count]:
                state = advance(state, timeline.message(row))
        self._states[session, behind] = count, state
        return state


class Row:
    """One row of a capture as a message: each attribute is worked out when it is asked for.

    What the columns of the index hold is read from there, so that a filter on headers and connections reads no byte of
    the file. `at` chooses the row.
    """

    def __init__(self, timeline: Timeline) -> None:
        index = timeline.index
        self._timeline = timeline
        self._index = index
        self._requests, self._sizes, self._metas, self._times = index.request, index.size, index.meta, index.time_ns
        self._places, self._place_of, self._answers = timeline.places, timeline.place_of, timeline.answers
        self.at = 0
        """The row."""
        self._read_at = -1
        self._packet: tuple[bytes, bytes, int] = (b"", b"", 0)
        self._decoded_at = -1
        self._decoded: dict[str, Any] = {}

    # -- from the columns ---------------------------------------------------------------------------------------------

    @property
    def number(self) -> int:
        return self.at + 1

    @property
    def time_ns(self) -> int:
        return self._times[self.at]

    @property
    def place(self) -> Place:
        return self._places[self._place_of[self.at]]

    @property
    def session(self) -> int:
        return self._places[self._place_of[self.at]].session

    @property
    def connection(self) -> int:
        return self._places[self._place_of[self.at]].connection

    @property
    def channel(self) -> Channel:
        return self._places[self._place_of[self.at]].channel

    @property
    def sender(self) -> Sender | None:
        return self._places[self._place_of[self.at]].sender(end_of(self._metas[self.at]))

    @property
    def request(self) -> int | None:
        request = self._requests[self.at]
        return request if request or self._has_header() else None

    def _has_header(self) -> bool:
        """Its bytes begin with a header. The columns have zeros for a row without one."""
        meta = self._metas[self.at]
        if kind_of(meta) is not FrameKind.MESSAGE:
            return kind_of(meta) is FrameKind.TOLD
        # Bytes that were cut before the end of the header look like a request of 0 with flags of 0.
        return bool(self._requests[self.at] or flags_of(meta)) or self._header() is not None

    @property
    def name(self) -> str:
        request = self.request
        return kind_of(self._metas[self.at]).name if request is None else _name(self.channel, request)

    @property
    def low_flags(self) -> int | None:
        """The flags, at least those of `FLAGS`; None without a header, or where it has no version (`fields`)."""
        header = self.channel.header
        if self.request is None or not header.version:
            return None
        if (header.version, header.reply, header.need_reply) == _FLAGS_OF_COLUMN:
            return flags_of(self._metas[self.at])
        return self.flags

    @property
    def version(self) -> int:
        return self._metas[self.at] & VERSION

    @property
    def reply(self) -> bool:
        if not self._metas[self.at] & REPLY:
            return False
        channel = self.channel
        return not (channel.header.by_sender and self.sender is channel.requester)

    @property
    def need_reply(self) -> bool:
        return bool(self._metas[self.at] & NEED_REPLY) and not self.channel.header.by_sender

    @property
    def size(self) -> int:
        return self._sizes[self.at]

    @property
    def answers(self) -> int | None:
        other = self._answers[self.at]
        return other if other and self.reply else None

    @property
    def answered_by(self) -> int | None:
        other = self._answers[self.at]
        return other if other and not self.reply else None

    @property
    def latency_ns(self) -> int | None:
        other = self._answers[self.at]
        return abs(self._times[self.at] - self._times[other - 1]) if other else None

    # -- from the file ------------------------------------------------------------------------------------------------

    @property
    def data(self) -> bytes:
        return b"" if kind_of(self._metas[self.at]) is FrameKind.TOLD else self._bytes()[0]

    @property
    def descriptors(self) -> tuple[Descriptor, ...]:
        return self._said()[0].descriptors

    @property
    def process(self) -> Process | None:
        return self._said()[0].process or self.place.ends[end_of(self._metas[self.at])].process

    @property
    def flags(self) -> int:
        header = self._header()
        return header[1] if header else 0

    @property
    def more(self) -> Mapping[str, int]:
        header = self.channel.header
        found = header.more and self._header() is not None
        return header.others(self.data, self.place.context.order) if found else _NO_MORE

    @property
    def payload(self) -> dict[str, Any] | None:
        if self._decoded_at != self.at:
            self._decode()
        return self._decoded["payload"]  # type: ignore[no-any-return]

    @property
    def layout(self) -> str | None:
        if self._decoded_at != self.at:
            self._decode()
        return self._decoded["layout"]  # type: ignore[no-any-return]

    @property
    def malformed(self) -> str | None:
        if self._decoded_at != self.at:
            self._decode()
        return self._decoded["malformed"]  # type: ignore[no-any-return]

    @property
    def trailing(self) -> bytes:
        if self._decoded_at != self.at:
            self._decode()
        return self._decoded["trailing"]  # type: ignore[no-any-return]

    def _bytes(self) -> tuple[bytes, bytes, int]:
        """Bytes, options, and how many bytes are missing."""
        if self._read_at != self.at:
            self._packet, self._read_at = self._index.packet(self.at), self.at
        return self._packet

    @property
    def stack(self) -> Stack | None:
        return self._index.stacks.get(self._said()[1])

    @property
    def restated(self) -> bool:
        return self._said()[2]

    def _said(self) -> OptionFacts:
        return said(self._bytes()[1]) if has_options(self._metas[self.at]) else NOTHING_SAID

    def _header(self) -> tuple[int, int, int] | None:
        """Request, flags and size by the bytes."""
        return header_of(self._bytes()[0], kind_of(self._metas[self.at]), self.place.channel, self.place.context)

    def _decode(self) -> None:
        """Work out what the bytes say."""
        at = self.at
        data, _, missing = self._bytes()
        meta, place = self._metas[at], self._places[self._place_of[at]]
        self._decoded, self._decoded_at = fields(data, missing, kind_of(meta), end_of(meta), place), at


@functools.lru_cache(maxsize=4096)
def _name(channel: Channel, request: int) -> str:
    spec = dissect.spec_of(channel, request)
    return spec.name if spec else f"REQUEST_{request}"


class Sieve:
    """A filter at work on one capture."""

    def __init__(self, node: Node, timeline: Timeline, needs_findings: bool) -> None:
        self.needs_findings = needs_findings
        """Messages have to be judged before they are asked."""
        self._timeline = timeline
        self._around = Around(timeline)
        self._row = Row(timeline)
        self._matches = matcher(node, _asking)
        self._needs = _needs(node)

    def rows(self, start: int, stop: int) -> array[int]:
        """The rows of a slice that pass, ascending."""
        found = array("I")
        row, around, matches = self._row, self._around, self._matches
        for row.at in self._worth_asking(max(0, start), min(stop, len(self._timeline))):
            if matches(row, around):
                found.append(row.at)
        return found

    def _worth_asking(self, start: int, stop: int) -> Iterable[int]:
        """The rows of a slice that have what the filter needs, as far as columns tell."""
        index, requests = self._timeline.index, self._needs.requests
        if requests is not None:
            return [row for row, code in enumerate(index.request[start:stop], start) if code in requests]
        if self._needs.descriptors:
            return [row for row, meta in enumerate(index.meta[start:stop], start) if meta & OPTIONS]
        return range(start, stop)


class _Needs(NamedTuple):
    """What a message has that passes a filter. Without it two of three filters on payloads take half as long again
    (bench_filter.py)."""

    requests: frozenset[int] | None = None
    """One of these codes; None: any."""
    descriptors: bool = False


def _needs(node: Node) -> _Needs:
    match node:
        case All(of):
            parts = [_needs(part) for part in of]
            known = [part.requests for part in parts if part.requests is not None]
            requests = functools.reduce(frozenset.intersection, known) if known else None
            return _Needs(requests, any(part.descriptors for part in parts))
        case Either(of):
            parts = [_needs(part) for part in of]
            codes = [part.requests for part in parts]
            every = None if None in codes else frozenset(code for of_one in codes for code in of_one or ())
            return _Needs(every, all(part.descriptors for part in parts))
        case Test(field, operator, values):
            if field.origin is Origin.PAYLOAD and field.keys:
                keys = [key.request for key in field.keys]  # None: any request may be acknowledged
                return _Needs(None if None in keys else frozenset(key for key in keys if key is not None))
            named = [one for one in values if isinstance(one, Named)]
            if operator in (Operator.EQ, Operator.IN) and named and len(named) == len(values):
                return _Needs(frozenset(code for one in named for _, code in one.keys))
            return _Needs(descriptors=field.origin is Origin.STACK or (field.several and field.name.startswith("fd.")))
    return _Needs()


def _asking(test: Test) -> Matches:
    """What asks a test of a `Row`, and reads the file only where the columns do not answer it."""
    field = test.field
    if field.name == "vhost.flags":
        return _asking_flags(test)
    asked = asking(test)
    if field.origin is not Origin.PAYLOAD or not field.keys:
        return asked
    requests = frozenset(key.request for key in field.keys if not key.reply)
    replies = frozenset(key.request for key in field.keys if key.reply)
    acknowledgements = None in replies  # of any request

    def has_payload(row: Any, around: Surroundings) -> bool:
        """Only messages whose payload may have the field are decoded."""
        if row.reply:
            return (acknowledgements or row.request in replies) and asked(row, around)
        return row.request in requests and asked(row, around)

    return has_payload


def _asking_flags(test: Test) -> Matches:
    """The columns have the lowest flags, and a message whose lowest flags are others need not be read."""
    low = test.operator is Operator.PRESENT if test.mask is None else 0 <= test.mask <= FLAGS
    if low:
        return asking(test, lambda row, _: row.low_flags)  # type: ignore[attr-defined]
    asked = asking(test)
    if test.operator is not Operator.EQ or test.mask is not None:
        return asked
    wanted = test.values[0]
    assert isinstance(wanted, int)
    lowest = wanted & FLAGS

    def may_fit(row: Any, around: Surroundings) -> bool:
        flags = row.low_flags
        return flags is not None and flags & FLAGS == lowest and asked(row, around)

    return may_fit
