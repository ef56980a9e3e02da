"""What of a capture is played: the messages of one session, in their order, and the refusal of what cannot be.

Everything is looked at before the first byte is sent, so that a replay never stops half-way for a reason that the
capture could have told. Reads a timeline; knows no sockets.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from vusniff.amounts import descriptor
from vusniff.analysis.session import Place, Session
from vusniff.analysis.timeline import Timeline
from vusniff.channel import Sender
from vusniff.errors import VusniffError
from vusniff.families.vhost_user.protocol import NAME, Channels, FrontendRequest
from vusniff.message import Message
from vusniff.printable import escape
from vusniff.record import DescriptorKind, Frame, FrameKind, Lost
from vusniff.values import dataclass, replace


class ReplayError(VusniffError):
    """A capture cannot be played, or what it takes to play it cannot be had: one sentence that names the message."""


MADE = frozenset(
    {
        DescriptorKind.EVENTFD,
        DescriptorKind.MEMFD,
        DescriptorKind.FILE,
        DescriptorKind.SOCKET,
        DescriptorKind.PIPE,
    }
)
"""Kinds of descriptors of which an equal one can be made. A file is played by memory of its size."""

POSTCOPY = frozenset({FrontendRequest.POSTCOPY_ADVISE, FrontendRequest.POSTCOPY_LISTEN, FrontendRequest.POSTCOPY_END})


@dataclass(frozen=True, slots=True)
class ScriptLine:
    """One message of the script."""

    message: Message
    """Decoded; ``message.data`` is what is sent."""
    place: Place
    mine: bool
    """It is sent by the side that is played."""
    reply: int | None
    """Of a request: the number of its reply, where that is in the script."""

    @property
    def title(self) -> str:
        """``#12 SET_MEM_TABLE``, ``#13 SET_MEM_TABLE reply``."""
        return f"#{self.message.number} {self.message.name}{' reply' if self.message.reply else ''}"


@dataclass(frozen=True, slots=True)
class Script:
    """A session to play."""

    session: int
    role: Sender
    """The side that is played."""
    lines: tuple[ScriptLine, ...]
    whole: bool
    """The session is played to its end."""
    by_number: Mapping[int, ScriptLine]


def script_of(timeline: Timeline, role: Sender, session: int = 1, until: int | None = None) -> Script:
    """The script for playing ``role`` in a session, up to message ``until`` and what answers it.

    Raises ReplayError for what cannot be played.
    """
    if not timeline.sessions:
        raise ReplayError("no messages: there is nothing to play")
    if not 1 <= session <= len(timeline.sessions):
        raise ReplayError(f"--session {session}: there are sessions 1 to {len(timeline.sessions)}")
    known = timeline.sessions[session - 1]
    if known.family.name != NAME:
        raise ReplayError(f"session {session} is one of {known.family.name}: only sessions of {NAME} can be played")
    rows = timeline.rows_of(session)
    if until is not None and until < rows[0] + 1:
        raise ReplayError(f"--until {until}: session {session} begins with message {rows[0] + 1}")
    _refuse_unknown_beginning(timeline, known)
    numbers = _numbers(timeline, rows, until)
    _refuse_losses(timeline, known, max(numbers), until is None or until > rows[-1])
    lines: list[ScriptLine] = []
    for message, place in _whole_messages(timeline, sorted(numbers)):
        line = ScriptLine(message, place, message.sender is role, _reply(message, numbers))
        _refuse(line, rows[0] + 1)
        lines.append(line)
    if not any(line.place.channel is Channels.MAIN and line.message.sender is Sender.FRONTEND for line in lines):
        raise ReplayError(f"session {session} holds no request of the front-end: there is nothing to play")
    if not any(line.mine for line in lines):
        raise ReplayError(f"session {session} holds no message of the {_words(role)}: there is nothing to play")
    by_number = {line.message.number: line for line in lines}
    return Script(session, role, tuple(lines), len(numbers) == len(rows), MappingProxyType(by_number))


def _words(role: Sender) -> str:
    return "front-end" if role is Sender.FRONTEND else "back-end"


def _numbers(timeline: Timeline, rows: Iterable[int], until: int | None) -> set[int]:
    """The messages up to ``until``, and the answers to them that came later."""
    all_of = {row + 1 for row in rows}
    if until is None:
        return all_of
    numbers = {number for number in all_of if number <= until}
    return numbers | {answer for number in numbers if (answer := timeline.answers[number - 1]) in all_of}


def _reply(message: Message, numbers: set[int]) -> int | None:
    return message.answered_by if message.answered_by in numbers else None


def _whole_messages(timeline: Timeline, numbers: list[int]) -> Iterable[tuple[Message, Place]]:
    """Messages with their continuations, which are frames of their own in the capture."""
    whole: list[tuple[Message, Place]] = []
    last: dict[tuple[int, int], int] = {}
    for number in numbers:
        frame, place = timeline.frame(number - 1), timeline.place(number - 1)
        stream = frame.connection, frame.end
        if frame.kind is FrameKind.CONTINUATION and stream in last and not frame.missing:
            before, where = whole[last[stream]]
            whole[last[stream]] = replace(before, data=before.data + frame.data), where
            continue
        _refuse_frame(number, frame)
        last[stream] = len(whole)
        whole.append((timeline.message(number - 1), place))
    return whole


def _refuse_unknown_beginning(timeline: Timeline, session: Session) -> None:
    number = timeline.rows_of(session.number)[0] + 1
    if session.joined_late:
        raise ReplayError(
            f"session {session.number} was joined late: what came before message #{number} is unknown; "
            "choose another with --session"
        )
    order = session.reading.order
    if order != sys.byteorder:
        raise ReplayError(f"message #{number} is of a {order}-endian host: it can only be played on such a host")


def _refuse_losses(timeline: Timeline, session: Session, last: int, to_its_end: bool) -> None:
    first = timeline.rows_of(session.number)[0]
    for row, event in timeline.index.events:
        if not isinstance(event, Lost) or event.connection not in (None, *session.connections):
            continue
        if first <= row < last or (to_its_end and row == last):
            raise ReplayError(
                f"{event.count} messages were lost before message #{row + 1}: what they said cannot be played; "
                f"with --until {max(row, first + 1)} the part before is"
            )
    if to_its_end and session.closed and session.closed.lost:
        raise ReplayError(f"{session.closed.lost} messages of session {session.number} were lost at a place unknown")


def _refuse_frame(number: int, frame: Frame) -> None:
    if frame.missing:
        raise ReplayError(
            f"message #{number} is truncated: {frame.missing} bytes of it were not captured; record without a snaplen"
        )
    if frame.kind is FrameKind.TOLD:
        raise ReplayError(f"message #{number} is told by a log: there are no bytes of it that could be played")
    if frame.kind is not FrameKind.MESSAGE:
        raise ReplayError(f"message #{number} is {len(frame.data)} bytes without a vhost-user header: not played")


def _refuse(line: ScriptLine, first: int) -> None:
    message = line.message
    before = f"; play what is before it with --until {message.number - 1}" if message.number > first else ""
    if message.sender is None:
        raise ReplayError(f"message #{message.number} has no known sender: there is no side that could be played")
    if message.channel is Channels.MAIN and not message.reply:
        if message.request in POSTCOPY:
            raise ReplayError(
                f"message #{message.number} {message.name} is about post-copy migration: its pages are not in the "
                f"capture{before}"
            )
        if message.request == FrontendRequest.SET_DEVICE_STATE_FD:
            raise ReplayError(
                f"message #{message.number} {message.name} is about device state, which is not in the capture{before}"
            )
    if not line.mine:
        return
    for one in message.descriptors:
        if one.kind not in MADE:
            what = "of an unknown kind" if one.kind is DescriptorKind.UNKNOWN else f"({escape(descriptor(one))})"
            raise ReplayError(
                f"message #{message.number} {message.name} passes a descriptor {what} of which no equal can be made"
            )
