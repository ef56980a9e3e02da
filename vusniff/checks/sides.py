"""A session in which a proxy did things by rules, judged twice: as the front-end saw it, and as the back-end saw it.

The capture holds what came in at the proxy, and what it sent instead (`vusniff.record.Fault`). Each side is judged by
the conversation that it had: all that it said, and what it was given. So what the proxy did is nobody's fault, and what
a side makes of it still is judged. Each conversation has a tracker and a checker of its own; their findings come back
with the numbers of the capture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from vusniff.analysis.driver import Steps
from vusniff.analysis.session import Place, Placed, Rows, Tracker
from vusniff.channel import Sender
from vusniff.checks.finding import Finding, Side
from vusniff.checks.ranking import EXPLAINED, explanations
from vusniff.families.registry import family_named
from vusniff.message import Message
from vusniff.meta import pack_meta
from vusniff.record import (
    CAPTURE_ENDED,
    NO_FACTS,
    Closed,
    Connection,
    Facts,
    Fault,
    FaultAct,
    Frame,
    FrameKind,
    fields_of,
)
from vusniff.values import dataclass, field, replace

if TYPE_CHECKING:
    from vusniff.capture.batch import Event
    from vusniff.checks.checker import Checker
    from vusniff.checks.standing import Standing

MAX_HELD = 1024
"""Messages remembered until the capture says what was sent in their place."""
MAX_DONE = 64
"""Faults remembered of a session."""
MAX_COPIES = 16
"""Copies of one message that a side is judged by."""
BY_RULE = " of the proxy"
"""How the reason of an end by a rule ends."""
_KINDS = {kind.name: kind for kind in FrameKind}
_ROLES = {Side.FRONTEND: Sender.FRONTEND, Side.BACKEND: Sender.BACKEND}


@dataclass(slots=True)
class _Taken:
    """A message that was not passed on as it came."""

    frame: Frame
    number: int


@dataclass(slots=True)
class DoneTo:
    """What a proxy did to one session."""

    faults: list[Fault] = field(default_factory=list)
    """The first of them, those that took a message."""
    numbers: list[int] = field(default_factory=list)
    """The messages that they took; 0 where that is not known yet."""


class _OwnConversation:
    """What one side said and was given."""

    def __init__(self, checker: Checker) -> None:
        self.checker = checker
        self.tracker = checker.tracker
        self._steps = Steps(self.tracker)
        self.told = 0
        """Findings that were handed on."""

    def hear(self, connection: Connection, order: str, frame: Frame, number: int) -> None:
        """The next message of this conversation."""
        if self.tracker.is_new(connection.id):
            self.tracker.opened(connection, order)
        header = family_named(connection.family).main.header
        request, column, kind = 0, 0, frame.kind
        if kind is FrameKind.MESSAGE and len(frame.data) >= header.size:
            request, flags, _ = header.read[order](frame.data, 0)
            column = header.column(flags)
        elif kind is FrameKind.MESSAGE:
            kind = FrameKind.RAW
            frame = replace(frame, kind=kind)
        placed = Placed([], [], bytearray())
        meta = pack_meta(connection.id, kind, frame.end, 0, column)
        self.tracker.track(number, Rows((meta,), (request,), (frame.time_ns,)), lambda _: frame, placed)
        for step in self._steps.of(number, (fields_of(frame),), placed):
            self.checker.feed(*step)

    def explains(self, finding: Finding, role: Sender) -> bool:
        """Whether a finding follows from something that the other side, and so the proxy, did in this conversation."""
        if finding.rule not in EXPLAINED:
            return False
        cause = explanations(self.checker.found.get(finding.session, ())).get(finding.rule)
        return cause is not None and _ROLES.get(cause.side, role) is not role

    def news(self) -> Sequence[Finding]:
        """What was found since this was asked last."""
        found = self.checker.findings[self.told :]
        self.told += len(found)
        return found


class Sides:
    """All sessions of a capture in which a proxy had rules."""

    def __init__(self, make: Callable[[Tracker], Checker], tracker: Tracker) -> None:
        """``make`` gives a checker for a tracker; ``tracker`` is that of the capture."""
        self._tracker = tracker
        self._conversations = {sender: _OwnConversation(make(Tracker(tracker.device))) for sender in Sender}
        self._ruled: set[int] = set()
        self._takes: dict[tuple[int, int], int] = {}
        """Connection and end -> the fault that takes its next message."""
        self._taken: dict[int, _Taken] = {}
        self._cut: dict[int, Closed] = {}
        """Connection -> how the proxy ended it."""
        self._done: dict[int, DoneTo] = {}
        """Connection -> what was done to it."""

    def has(self, connection: int) -> bool:
        """The proxy had rules for a connection."""
        return connection in self._ruled

    def done(self, session: int) -> DoneTo | None:
        """What the proxy did to a session; None for nothing."""
        found = [self._done[one] for one in self._tracker.sessions[session - 1].connections if one in self._done]
        return found[0] if found else None

    def feed(self, message: Message, place: Place) -> None:
        """The next message of the capture, on a connection with rules."""
        connection = self._connection(message.session, place.connection)
        order, sender = place.context.order, message.sender
        end = 0 if place.requester is None else place.requester
        if sender is not None and sender is not place.channel.requester:
            end = 1 - end
        kind = _KINDS.get(message.name, FrameKind.RAW) if message.request is None else FrameKind.MESSAGE
        frame = Frame(place.connection, end, message.time_ns, message.data, message.facts, kind, message.missing)
        fault = self._takes.pop((place.connection, end), 0)
        if fault:
            if len(self._taken) >= MAX_HELD:
                del self._taken[next(iter(self._taken))]
            self._taken[fault] = _Taken(frame, message.number)
            done = self._done.get(place.connection)
            if done is not None and len(done.numbers) < len(done.faults):
                done.numbers.append(message.number)
        for role, conversation in self._conversations.items():
            if not fault or role is sender or sender is None:
                conversation.hear(connection, order, frame, message.number)

    def _connection(self, session: int, number: int) -> Connection:
        known = self._tracker.connections(self._tracker.sessions[session - 1])
        return next(one for one in known if one.id == number)

    def faulted(self, fault: Fault) -> None:
        """Something was done, or rules are there."""
        connection, end = fault.ends[0]
        if fault.act is FaultAct.RULES:
            self._ruled.add(connection)
        elif fault.act is FaultAct.TAKES:
            self._takes[connection, end] = fault.id
            done = self._done.setdefault(connection, DoneTo())
            if fault.text and len(done.faults) < MAX_DONE:
                done.faults.append(fault)
        elif fault.act is FaultAct.GIVES and fault.to is not None:
            self._given(fault, connection, end, fault.to)

    def _given(self, fault: Fault, number: int, end: int, to: int) -> None:
        taken, role = self._taken.get(fault.id), self._tracker.sender(number, to)
        session = self._tracker.session_of(number)
        if taken is None or role is None or session is None:
            return
        came = taken.frame
        data = fault.sent(b"" if fault.made else came.data)
        descriptors = came.descriptors if fault.descriptors is None else fault.descriptors
        frame = replace(
            came,
            end=1 - to,
            time_ns=max(fault.time_ns, came.time_ns),
            data=data,
            facts=NO_FACTS if fault.made else Facts(descriptors),
            missing=0,
        )
        connection = self._connection(session, number)
        order = self._tracker.sessions[session - 1].reading.order
        for _ in range(min(fault.times, MAX_COPIES)):
            self._conversations[role].hear(connection, order, frame, taken.number)

    def tell(self, event: Event) -> None:
        """What stands between messages."""
        if isinstance(event, Closed) and event.reason.endswith(BY_RULE):
            self._cut[event.connection] = event
            event = replace(event, reason=CAPTURE_ENDED, by=None)  # nobody has closed it
        for conversation in self._conversations.values():
            if isinstance(event, Closed) and not conversation.tracker.is_new(event.connection):
                conversation.tracker.closed(event)
            conversation.checker.tell(event)

    def conclude(self, time_ns: int) -> None:
        """The capture ends here."""
        for conversation in self._conversations.values():
            conversation.checker.conclude(time_ns)

    def news(self) -> Iterator[Finding]:
        """What was found since this was asked last: of each side what is its fault by its own conversation."""
        for role, conversation in self._conversations.items():
            for finding in conversation.news():
                if _ROLES.get(finding.side, role) is role and not conversation.explains(finding, role):
                    session = self._outer(conversation, finding.session)
                    if session:
                        yield replace(finding, session=session)

    def _outer(self, conversation: _OwnConversation, inner: int) -> int:
        """The session of the capture that a session of a conversation is."""
        main = next(iter(conversation.tracker.sessions[inner - 1].connections))
        return self._tracker.session_of(main) or 0

    def checker(self, session: int) -> tuple[Checker, int] | None:
        """The checker of the front-end's conversation, and the number of a session there."""
        conversation = self._conversations[Sender.FRONTEND]
        for connection in self._tracker.sessions[session - 1].connections:
            inner = conversation.tracker.session_of(connection)
            if connection in self._ruled and inner is not None:
                return conversation.checker, inner
        return None

    def standing(self, session: int, now_ns: int) -> Standing | None:
        """Where a session stands, as its front-end saw it."""
        found = self.checker(session)
        standing = None if found is None else found[0].standing(found[1], now_ns)
        if standing is None:
            return None
        cut = next((one for number, one in self._cut.items() if self._tracker.session_of(number) == session), None)
        return replace(standing, session=session, closed=standing.closed or cut)
