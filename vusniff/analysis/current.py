"""The devices of traffic that passes, or of a capture that is read once: each as it is before the next message.

Pure. A capture that can be looked at again has the same in `vusniff.analysis.timeline`.
"""

from __future__ import annotations

from collections import OrderedDict

from vusniff.analysis.driver import Steps
from vusniff.analysis.session import Place, Session, Tracker
from vusniff.families.family import PhasesOf, State
from vusniff.message import Context, Message
from vusniff.meta import REPLY
from vusniff.values import dataclass, field

KEPT_VALUES = 4096
"""Messages whose payload phases may ask for; as many as they take over into another phase."""
KEPT_BYTES = 64
"""Bytes of such a payload that are kept: what phases ask for stands at its beginning."""


@dataclass(slots=True)
class _SessionPhases:
    """The phases of one session."""

    session: Session
    phases: PhasesOf | None = None
    payloads: OrderedDict[int, tuple[int, bytes]] = field(default_factory=OrderedDict)
    """Number of a message -> its request, and the beginning of its payload."""

    def value(self, number: int) -> int | None:
        """What `Family.value_of` says of a message."""
        family = self.session.family
        request, payload = self.payloads.get(number, (0, b""))
        return family.value_of(request, payload, self.session.reading.order)


class CurrentDevices:
    """Fed with all messages in their order, by `see`; the rest is about the message that was seen last."""

    def __init__(self, phases: bool) -> None:
        """``phases``: they are to be known as well."""
        self._with_phases = phases
        self._followed: dict[int, _SessionPhases] = {}
        self._steps: Steps | None = None
        self.state: State = None
        """Of its session's device, before the message."""
        self.context = Context()
        self.phase: str | None = None
        """Of its session, as far as can be known with this message."""

    def see(self, tracker: Tracker, place: Place, message: Message) -> None:
        """The next message, where it belongs, and who has placed it."""
        if self._steps is None:
            self._steps = Steps(tracker)
        self.state, _ = self._steps.step(message)
        self.context = place.context
        if self._with_phases:
            one = self._followed.get(place.session) or self._meet(tracker, place.session)
            self.phase = self._phase(one, message)

    def _meet(self, tracker: Tracker, number: int) -> _SessionPhases:
        session = tracker.sessions[number - 1]
        closed = tracker.sessions[session.previous - 1].closed if session.previous else None
        one = self._followed[number] = _SessionPhases(session)
        one.phases = session.family.phases(
            one.value,
            session.opened_ns,
            previous_end_ns=closed.time_ns if closed else None,
            joined_late=session.joined_late,
        )
        return one

    def _phase(self, one: _SessionPhases, message: Message) -> str | None:
        request, payloads, phases = message.request or 0, one.payloads, one.phases
        assert phases is not None
        if len(payloads) >= KEPT_VALUES:
            payloads.popitem(last=False)
        head = message.channel.header.size
        payloads[message.number] = request, message.data[head : head + KEPT_BYTES]
        flags = REPLY if message.reply else 0
        phases.follow([(message.number, message.time_ns, request, flags, message.channel)])
        return phases.kind

    def forget(self) -> None:
        """No session goes on."""
        self._followed.clear()
        self._steps = None
