"""Sessions that go on: what is remembered of one, and which rules hold for it."""

from __future__ import annotations

from vusniff.analysis.session import Session
from vusniff.channel import Sender
from vusniff.checks.recall import lasting
from vusniff.checks.step import MAX_SPOKEN, MAX_UNANSWERED, PreviousSession, SessionHistory, Spoken
from vusniff.families.family import State
from vusniff.families.vhost_user.protocol import NAME, Channels
from vusniff.families.vhost_user.state import DeviceState
from vusniff.message import Message
from vusniff.values import dataclass


@dataclass(slots=True)
class OpenSession:
    """A session that goes on."""

    state: State
    memory: SessionHistory
    judged: bool
    """There are rules for its family."""
    calls: bool = False
    """It is one of calls to the kernel: some of the rules hold for it, too."""


def begin(
    session: Session, message: Message, previous: PreviousSession | None, complete: bool, ruled: bool
) -> OpenSession:
    """A session with its first message. ``complete``: it is seen from its beginning; ``ruled``: a proxy has rules for
    it."""
    memory = SessionHistory(session.number, complete, session.joined_late, previous)
    memory.timed, memory.roles, memory.family = session.timed, session.family.roles, session.family.name
    memory.fresh, memory.first_ns, memory.from_log = complete, message.time_ns, message.told is not None
    judged = session.family.name == NAME and message.told is None and not ruled
    calls = not judged and message.told is None and isinstance(session.initial(), DeviceState)
    calls = calls and not ruled
    return OpenSession(session.initial(), memory, judged, calls)


FOLLOWED = (Channels.MAIN, Channels.BACKEND)
"""Channels whose messages decide a device's state."""


def remember_told(memory: SessionHistory, message: Message) -> None:
    """The last message of either side that a log tells of."""
    if message.sender is Sender.FRONTEND:
        memory.last_main = lasting(message)
    elif message.sender is Sender.BACKEND:
        memory.last_reply = lasting(message)


def follow(memory: SessionHistory, message: Message) -> None:
    """What is remembered of a session without rules: who spoke last, and what waits for its answer."""
    if message.request is None:
        if message.sender not in memory.spoken:
            memory.spoken[message.sender] = spoken_of(message)
    elif message.reply:
        memory.unanswered.pop(message.answers or 0, None)
        if message.sender is Sender.BACKEND:
            memory.last_reply, memory.answered = lasting(message), True
    elif message.sender is Sender.FRONTEND:
        memory.main_before, memory.last_main = memory.last_main, lasting(message)
        if message.need_reply and len(memory.unanswered) < MAX_UNANSWERED:
            memory.unanswered[message.number] = memory.last_main


def spoken_of(message: Message) -> Spoken:
    """What is kept of bytes that are no message."""
    process = message.process
    return Spoken(message.number, message.sender, message.data[:MAX_SPOKEN], process.comm if process else "")
