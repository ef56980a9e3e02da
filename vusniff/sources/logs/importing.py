"""A source made of logs: what they tell of messages becomes a capture, with the lines beside them.

Owns which connection a fact is about and what is written of it. A connection that a log tells of was never seen whole:
it counts as joined late, so that what the log does not tell is unknown. Frames are of kind TOLD: no bytes are made up.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from vusniff import told
from vusniff.capture import facts as capture_facts
from vusniff.capture.pcapng import MAGIC
from vusniff.capture.writer import CaptureWriter
from vusniff.errors import SourceError
from vusniff.printable import escape
from vusniff.record import Closed, Connection, Descriptor, End, Facts, Frame, FrameKind, LogLine
from vusniff.sources.logs.facts import BACKEND, FRONTEND, Fact, LoggedEnd, LoggedMessage, LoggedOpening, LoggedText
from vusniff.sources.logs.reading import LogFile, facts
from vusniff.told import Told
from vusniff.values import dataclass, field

FLUSHED = 512
"""Facts between two writes."""
KEYS = 1 << 16
"""Connections that are open at once."""
TEXT_LIMIT = 2048
"""Characters of a line that are kept."""


@dataclass(frozen=True, slots=True)
class ImportedLogs:
    """What came of it."""

    connections: int
    messages: int
    lines: int
    notes: tuple[str, ...]


@dataclass(slots=True)
class _LoggedConnection:
    """A connection that is open."""

    connection: Connection
    frontend: int
    """The end of the front-end."""
    messages: int = 0


@dataclass(slots=True)
class _Writing:
    writer: CaptureWriter
    with_messages: bool
    talks: dict[tuple[str, str], _LoggedConnection] = field(default_factory=dict)
    connections: int = 0
    messages: int = 0
    lines: int = 0
    not_kept: int = 0

    def take(self, time_ns: int, log: LogFile, fact: Fact) -> None:
        """Write one fact."""
        if isinstance(fact, LoggedText):
            self._line(time_ns, log, fact)
        elif not self.with_messages:
            if isinstance(fact, LoggedMessage):
                self.messages += 1
        elif isinstance(fact, LoggedOpening):
            self._end(time_ns, (log.path, fact.key), None, "capture ended")
            self._begin(time_ns, log, fact.key, fact.writer_listens, time_ns)
        elif isinstance(fact, LoggedEnd):
            self._end(time_ns, (log.path, fact.key), fact.by, fact.reason)
        else:
            self._message(time_ns, log, fact)

    def _begin(
        self, time_ns: int, log: LogFile, key: str, listens: bool | None = None, opened_ns: int | None = None
    ) -> _LoggedConnection:
        if len(self.talks) >= KEYS:
            self._end(time_ns, next(iter(self.talks)), None, "capture ended")
        is_backend = log.reader.writer == BACKEND
        frontend = 0 if listens is None else int(is_backend != listens)
        connection = self.writer.open(key, (End(), End()), opened_ns, True, "vhost-user")
        talk = self.talks[log.path, key] = _LoggedConnection(connection, frontend)
        return talk

    def _end(self, time_ns: int, which: tuple[str, str], by: str | None, reason: str) -> None:
        talk = self.talks.pop(which, None)
        if talk is None:
            return
        end = None if by is None else talk.frontend if by == FRONTEND else 1 - talk.frontend
        self.writer.close_connection(Closed(talk.connection.id, time_ns, reason, end, talk.messages))

    def _message(self, time_ns: int, log: LogFile, fact: LoggedMessage) -> None:
        talk = self.talks.get((log.path, fact.key)) or self._begin(time_ns, log, fact.key)
        if not talk.messages:
            self.connections += 1
        where = f"{log.name}:{fact.line.number}"
        said = Told(fact.request, fact.reply, where, fact.line.text, fact.values, fact.flags, fact.size)
        end = 1 - talk.frontend if fact.reply else talk.frontend
        passed = (Descriptor(),) * fact.descriptors
        data = told.build(said)
        self.writer.frame(Frame(talk.connection.id, end, time_ns, data, Facts(passed), kind=FrameKind.TOLD))
        talk.messages += 1
        self.messages += 1

    def _line(self, time_ns: int, log: LogFile, fact: LoggedText) -> None:
        talk = self.talks.get((log.path, fact.key)) if fact.key is not None else None
        line = fact.line
        ends = ()
        if talk is not None and talk.messages:
            end = 1 - talk.frontend if log.reader.writer == BACKEND else talk.frontend
            ends = ((talk.connection.id, end),)  # type: ignore[assignment]
        program = line.program or log.reader.program
        self.writer.evidence(LogLine(time_ns, log.name, line.number, line.text[:TEXT_LIMIT], line.level, program, ends))
        self.lines += 1


def import_log(
    paths: Sequence[str],
    target: str | Path | BinaryIO,
    replaces: bytes | None = MAGIC,
    *,
    wanted: str | None = None,
    shift_ns: int = 0,
    with_messages: bool = True,
    window: tuple[int, int] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ImportedLogs:
    """Read logs (``-`` is standard input) and write a capture of what they tell; several are merged by time.

    ``wanted`` is a word of `reading.FORMATS`, None to tell it by content. ``shift_ns`` is added to all times. Without
    messages only lines are kept, all of them, to stand beside a capture that has the messages; of a ``window`` (first
    and last time in nanoseconds since the epoch) only those in it.

    Raises:
        SourceError: a log cannot be read, has no format that is known, or tells of no message.
        CaptureError: the capture cannot be written.
    """
    logs: dict[str, LogFile] = {}
    merged = _merged([facts(path, wanted, shift_ns, progress, every_line=not with_messages) for path in paths])
    first = next(merged, None)  # a log that cannot be read leaves no capture behind
    with CaptureWriter(target, source="log", replaces=replaces, host=capture_facts.Host(), keeps_ended=True) as writer:
        writing = _Writing(writer, with_messages)
        count = 0
        while first is not None:
            time_ns, log, fact = first
            logs[log.path] = log
            if window is None or window[0] <= time_ns <= window[1]:
                writing.take(time_ns, log, fact)
            count += 1
            if not count % FLUSHED:
                writer.flush()
            first = next(merged, None)
    if writer.failure is not None:
        raise SourceError(writer.failure.partition(";")[0])
    return ImportedLogs(writing.connections, writing.messages, writing.lines, tuple(_notes(logs.values(), writing)))


def _merged(sources: list[Iterator[tuple[int, LogFile, Fact]]]) -> Iterator[tuple[int, LogFile, Fact]]:
    if len(sources) == 1:
        return sources[0]
    return heapq.merge(*sources, key=lambda one: one[0])


def _notes(logs: object, writing: _Writing) -> Iterator[str]:
    for log in logs:  # type: ignore[attr-defined]
        if not log.has_clock:
            yield f"{escape(log.name)} has no times: its messages are one microsecond apart, in the order of its lines"
    if writing.with_messages and not writing.messages:
        yield "no line tells of a message: only lines are kept"
