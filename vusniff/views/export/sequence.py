"""An exchange as a ladder: lanes, and arrows between them, with what repeats folded. No form of drawing is known here.

A lane is one side of one channel of a session. A request and the reply that follows it at once are one step; steps of
the same request without anything remarkable become one that is counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from vusniff.channel import Sender
from vusniff.families.vhost_user.protocol import Channels
from vusniff.message import Message
from vusniff.printable import escape
from vusniff.values import dataclass, replace
from vusniff.views import state, words
from vusniff.views.export.chosen import Chosen, Texts

STEPS = 400
"""Steps of a diagram; what is beyond them is counted."""
MESSAGES = 20_000
"""Messages looked at for them."""
BREATH = 32
"""Messages between two empty texts."""
_FOLDED = 3
"""Steps from which on they are folded."""
_CHANNELS: dict[str, str] = {Channels.BACKEND: "back-end channel", Channels.GPU: "GPU socket"}


Key = tuple[str, str]
"""Path of the main connection, and channel: sessions that follow one another on a path share their lanes."""


@dataclass(frozen=True, slots=True)
class Lane:
    """One side of a channel."""

    key: Key
    frontend: bool
    title: str
    who: str


@dataclass(frozen=True, slots=True)
class SequenceRow:
    """A request with its reply, or either alone; or several such."""

    first: int
    """Number of the first message."""
    last: int
    time_ns: int
    session: int
    connection: int
    key: Key
    from_frontend: bool
    name: str
    details: str
    request: bool
    """The request is part of it."""
    reply: str | None = None
    """What was answered."""
    failed: bool = False
    findings: tuple[str, ...] = ()
    count: int = 1
    phase: str | None = None
    """The phase that begins with it."""

    @property
    def plain(self) -> bool:
        """Nothing about it is remarkable, so that it may be folded."""
        return not self.failed and not self.findings and self.request


@dataclass(frozen=True, slots=True)
class Sequence:
    """All that a diagram shows."""

    lanes: tuple[Lane, ...]
    steps: tuple[SequenceRow, ...]
    left_out: int
    """Messages that are not shown."""
    first_ns: int

    positions: Mapping[tuple[Key, bool], int]
    """The title of each lane, by its channel and whether it is the front-end's."""

    def lane(self, step: SequenceRow, frontend: bool) -> int:
        """Position of the lane at an end of a step."""
        return self.positions[step.key, frontend]


Counted = tuple[SequenceRow, int]
"""A step, and how many messages it shows."""


def sequence(chosen: Chosen) -> Texts[Sequence]:
    """The ladder of the chosen messages."""
    most = chosen.limit or STEPS
    steps: list[SequenceRow] = []
    shown = 0
    begins = yield from _begins(chosen)
    for counted in _folded(_with_phases(begins, _steps(chosen))):
        if counted is None:
            yield ""
            continue
        if len(steps) == most:
            break
        steps.append(counted[0])
        shown += counted[1]
    lanes = tuple(_lanes(chosen, steps))
    positions = {(lane.key, lane.frontend): position for position, lane in enumerate(lanes)}
    return Sequence(lanes, tuple(steps), len(chosen.rows) - shown, chosen.first_ns, positions)


def _steps(chosen: Chosen) -> Iterator[Counted | None]:
    """Each request with its reply when that follows at once; None now and then, since what follows may fold many."""
    asked: Message | None = None
    for message in chosen.messages(MESSAGES):
        if not message.number % BREATH:
            yield None
        if asked is not None:
            if message.answers == asked.number:
                yield _step(chosen, asked, message), 2
                asked = None
                continue
            yield _step(chosen, asked, None), 1
        asked = message
    if asked is not None:
        yield _step(chosen, asked, None), 1


def _is_broken(message: Message) -> bool:
    """Its bytes do not fit; what a log does not tell is no fault."""
    return message.malformed is not None and message.told is None


def _step(chosen: Chosen, message: Message, answer: Message | None) -> SequenceRow:
    found = [*chosen.findings(message.number), *(chosen.findings(answer.number) if answer else ())]
    reply = message if message.reply else answer
    said = None
    failed = False
    if reply is not None:
        said = words.summary(reply) or ("ack" if reply.layout == "ack" else "reply" if answer is not None else "")
        failed = bool(reply.payload and reply.payload.get("success") is False) or _is_broken(reply)
        failed = failed or reply.failed
        if reply.latency_ns is not None and answer is not None:
            said += f", after {words.duration(reply.latency_ns)}"
    details = "" if message.reply else words.summary(message)
    if message.descriptors and not message.reply:
        details += f" {words.descriptors(message.descriptors)}"
    sender = message.sender
    return SequenceRow(
        message.number,
        answer.number if answer else message.number,
        message.time_ns,
        message.session,
        message.connection,
        (chosen.timeline.sessions[message.session - 1].path, message.channel),
        (sender is Sender.FRONTEND) != message.reply,
        message.name,
        details.strip(),
        not message.reply,
        said,
        failed or _is_broken(message),
        tuple(f"{one.severity}: {one.sentence}" for one in found),
    )


def _begins(chosen: Chosen) -> Texts[dict[int, str]]:
    """First message of a phase -> what it is called."""
    sessions = yield from chosen.sessions()
    begins: dict[int, str] = {}
    for session in sessions:
        for phase in (yield from chosen.phases(session)):
            if phase.count:
                begins[phase.first] = f"session {session}: {phase.kind}" if len(sessions) > 1 else phase.kind.value
        yield ""
    return begins


def _with_phases(begins: Mapping[int, str], steps: Iterator[Counted | None]) -> Iterator[Counted | None]:
    for counted in steps:
        if counted is not None:
            step, count = counted
            phase = begins.get(step.first) or (begins.get(step.last) if step.last != step.first else None)
            counted = (replace(step, phase=phase) if phase else step), count
        yield counted


def _folded(steps: Iterator[Counted | None]) -> Iterator[Counted | None]:
    run: list[Counted] = []
    for counted in steps:
        if counted is None:
            yield None
            continue
        if run and not _alike(run[-1][0], counted[0]):
            yield from _fold(run)
            run = []
        run.append(counted)
    yield from _fold(run)


def _alike(one: SequenceRow, other: SequenceRow) -> bool:
    return (
        one.plain
        and other.plain
        and other.phase is None
        and (one.name, one.connection, one.from_frontend, one.reply is None)
        == (other.name, other.connection, other.from_frontend, other.reply is None)
    )


def _fold(run: list[Counted]) -> Iterator[Counted]:
    if len(run) < _FOLDED:
        yield from run
        return
    first, last = run[0][0], run[-1][0]
    details = f"{first.details} ... {last.details}" if first.details != last.details else first.details
    reply = None if first.reply is None else f"{len(run)} replies"
    folded = replace(first, last=last.last, details=details, reply=reply, count=len(run))
    yield folded, sum(count for _, count in run)


def _lanes(chosen: Chosen, steps: list[SequenceRow]) -> Iterator[Lane]:
    """Two lanes for each path and channel that is used, in the order of their first message."""
    timeline = chosen.timeline
    known: dict[Key, int] = {}
    for step in steps:
        known.setdefault(step.key, step.session)
    for key, session in known.items():
        record = timeline.sessions[session - 1]
        frontend, backend = state.peers(timeline, record)
        path = escape(record.path)
        main = key[1] == record.family.main
        left, right = record.family.roles
        other = "other channel" if key[1] == record.family.unknown else f"{key[1]} channel"
        title = path if main else f"{_CHANNELS.get(key[1], other)} of {path}"
        yield Lane(key, True, title, f"{left} {frontend}")
        yield Lane(key, False, title, f"{right} {backend}")
