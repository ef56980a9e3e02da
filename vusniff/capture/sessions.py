"""A recording with one file a session: its main connection with the channels that were opened on it.

Each file is finished when its session has ended, compressed then, and removed when newer ones need the room. Owns the
names of the files and how long they stay. It must not know sessions beyond who passed which socket to whom.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone

from vusniff.capture.finishing import Finisher
from vusniff.capture.output import DescriptorOutput, open_path
from vusniff.capture.writer import CaptureWriter
from vusniff.channel import Channel
from vusniff.errors import CaptureError
from vusniff.families.registry import FIRST
from vusniff.passed_sockets import PassedSockets
from vusniff.record import Closed, Connection, End, Evidence, Frame, FrameKind, Lost, is_named
from vusniff.values import dataclass, replace

LINGER_SECONDS = 2.0
"""How long the file of a session that has ended takes what is said of it later: that a process has ended."""
RETRY_NS = 1_000_000_000
"""After a file could not be made, none is tried for so long."""
_ENDED = 1024
"""Connections that have ended and can still be named by evidence."""
LINGERING = 1024
"""Files of sessions that have ended and are not finished; of more, the one that ended first is."""
_NAME_LENGTH = 80
_ODD = re.compile(r"[^A-Za-z0-9._-]+")


def name_of(ends: tuple[End, End], path: str, time_ns: int) -> str:
    """The name of a session's file without its ending: time (UTC), and what its peers or its socket are called."""
    when = datetime.fromtimestamp(time_ns // 1_000_000_000, timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    labels = [end.process.label for end in ends if end.process is not None and end.process.label]
    if not labels and is_named(path):
        labels = [os.path.splitext(os.path.basename(path))[0]]
    if not labels:
        labels = [end.process.comm for end in ends if end.process is not None]
    words = _ODD.sub("_", "-".join(dict.fromkeys(labels))).strip("._-")[:_NAME_LENGTH]
    return f"{when}-{words or 'unknown'}"


@dataclass(slots=True)
class _SessionFile:
    """The file of one session."""

    path: str
    output: DescriptorOutput
    writer: CaptureWriter
    open: int = 0
    """Connections that have not ended."""
    ended: float | None = None
    """When the last one did (monotonic seconds)."""


@dataclass(slots=True)
class _FiledConnection:
    """A connection that has not ended, as its source knows it."""

    connection: Connection
    family: str | None
    file: _SessionFile | None = None
    inner: int = 0
    """Its number in that file."""


@dataclass(slots=True)
class _Finished:
    """What the files that are finished have counted."""

    lost: int = 0
    kept_stacks: int = 0
    lost_stacks: int = 0


class SessionFiles:
    """Writes one file a session into a directory. A `vusniff.capture.recording.Recording`.

    ``begin`` makes a writer of an open file. ``keep``: bytes that finished files may take; the oldest are removed
    beyond. ``say`` takes sentences.
    """

    def __init__(
        self,
        folder: str,
        begin: Callable[[DescriptorOutput], CaptureWriter],
        order: str,
        say: Callable[[str], None],
        keep: int | None = None,
        linger: float = LINGER_SECONDS,
    ) -> None:
        """Raises `CaptureError` for a directory that is not there and cannot be made."""
        self.order = order
        self.number = 0
        self.stopped: str | None = None
        self.failure: str | None = None
        self.files = 0
        """Files made so far."""
        self._folder = folder
        self._begin = begin
        self._say = say
        self._linger = linger
        self._opened = 0
        self._going: dict[int, _FiledConnection] = {}
        self._left: dict[int, tuple[_SessionFile, int]] = {}
        """Connections that have ended lately -> their file, and their number there."""
        self._files: dict[str, _SessionFile] = {}
        """Those that are not finished, by path."""
        self._changed: dict[str, _SessionFile] = {}
        """Those of them that something was written to since the last flush."""
        self._ended: dict[str, _SessionFile] = {}
        """Those of them whose session has ended, the one that ended first before."""
        self._passed: PassedSockets[tuple[_SessionFile, Channel]] = PassedSockets()
        self._counts = _Finished()
        self._unwritten = 0
        """Messages for which no file could be made."""
        self._retry_ns = 0
        self._finisher = Finisher(_directory(folder), folder, keep, say)

    # -- what the source tells ----------------------------------------------------------------------------------------

    def open(
        self,
        path: str,
        ends: tuple[End, End] = (End(), End()),
        opened_ns: int | None = None,
        joined_late: bool = False,
        family: str | None = None,
    ) -> Connection:
        """A connection begins: gives it its id. Its file is made when something is said on it."""
        self._opened += 1
        found = next(filter(None, (self._passed.get(end.inode) for end in ends)), None)
        known = family or (found[1].family if found is not None else None)
        connection = Connection(self._opened, path, ends, opened_ns, joined_late, known or FIRST)
        going = self._going[connection.id] = _FiledConnection(connection, known)
        if found is not None:
            self._join(going, found[0])
        return connection

    def passed(self, *inodes: int) -> Channel | None:
        """What a socket carries that was passed as a descriptor in a message that says so; None for any other."""
        return next((found[1] for found in map(self._passed.get, inodes) if found is not None), None)

    def frame(self, frame: Frame, comments: Sequence[bytes] = ()) -> int:
        """One frame; returns its number in the recording."""
        going = self._going[frame.connection]
        file: _SessionFile | None = going.file or self._file(going, frame.time_ns)
        if frame.kind is not FrameKind.CONTINUATION:
            self.number += 1
            self._unwritten += file is None
        if file is None:
            return self.number
        file.writer.frame(replace(frame, connection=going.inner), comments)
        self._changed[file.path] = file
        if frame.descriptors:
            self._note_passed(file, going, frame)
        return self.number

    def lost(self, lost: Lost) -> None:
        """A gap: of no known connection, it may be one of any session."""
        if lost.connection is None:
            for file in self._files.values():
                file.writer.lost(lost)
                self._changed[file.path] = file
            return
        going = self._going[lost.connection]
        where = going.file or self._file(going, lost.time_ns)
        if where is not None:
            where.writer.lost(replace(lost, connection=going.inner))
            self._changed[where.path] = where

    def evidence(self, one: Evidence, by_file: bool = False) -> None:
        """Evidence other than a message, for the sessions that it is about."""
        ends: dict[str, list[tuple[int, int]]] = {}
        found: dict[str, _SessionFile] = {}
        for connection, end in one.ends:
            file, inner = self._where(connection)
            if file is not None:
                found[file.path] = file
                ends.setdefault(file.path, []).append((inner, end))
        for path, file in found.items():
            file.writer.evidence(replace(one, ends=tuple(ends[path])))
            self._changed[path] = file

    def describe(self, connection: int) -> int:
        """Makes the file of a connection on which nobody has spoken yet; see `CaptureWriter.describe`."""
        going = self._going[connection]
        file = going.file or self._file(going, time.time_ns())
        if file is None:
            return 0
        self._changed[file.path] = file
        return file.writer.describe(going.inner)

    def close_connection(self, closed: Closed, silent: bool = False) -> None:
        """A connection ends, and its session with the last one."""
        going = self._going.pop(closed.connection)
        for end in going.connection.ends:
            self._passed.forget(end.inode)
        file = going.file
        if file is None:
            return
        file.writer.close_connection(replace(closed, connection=going.inner), silent)
        self._changed[file.path] = file
        if len(self._left) >= _ENDED:
            del self._left[next(iter(self._left))]
        self._left[closed.connection] = file, going.inner
        file.open -= 1
        if not file.open:
            file.ended = time.monotonic()
            self._ended[file.path] = file

    def flush(self) -> None:
        """Hands everything to the kernel, and finishes the files of sessions that ended a while ago. Never raises."""
        changed, self._changed = self._changed, {}
        for file in changed.values():
            file.writer.flush()
            if file.writer.stopped is not None:
                self.stopped = file.writer.stopped
            self.failure = file.writer.failure
            if self.failure is not None:
                self._changed[file.path] = file
                break
        if self._ended:
            now = time.monotonic()
            for file in list(self._ended.values()):
                lingers = file.ended is None or now - file.ended < self._linger
                if lingers and len(self._ended) <= LINGERING:
                    break
                self._finish(file)

    def close(self) -> None:
        """Finishes all files."""
        for file in list(self._files.values()):
            self._finish(file)
        self._finisher.close()

    # -- what the source asks -----------------------------------------------------------------------------------------

    @property
    def lost_frames(self) -> int:
        """Messages that could not be written so far."""
        return self._unwritten + self._counts.lost + sum(file.writer.lost_frames for file in self._files.values())

    @property
    def kept_stacks(self) -> int:
        """Messages whose callers are in a file."""
        return self._counts.kept_stacks + sum(file.writer.kept_stacks for file in self._files.values())

    @property
    def lost_stacks(self) -> int:
        """Messages whose call stack could not be kept."""
        return self._counts.lost_stacks + sum(file.writer.lost_stacks for file in self._files.values())

    # -- files --------------------------------------------------------------------------------------------------------

    def _where(self, connection: int) -> tuple[_SessionFile | None, int]:
        """The file of a connection that goes on or ended lately, and its number there."""
        going = self._going.get(connection)
        if going is not None:
            return going.file, going.inner
        file, inner = self._left.get(connection, (None, 0))
        return (file, inner) if file is not None and file.path in self._files else (None, 0)

    def _file(self, going: _FiledConnection, time_ns: int) -> _SessionFile | None:
        """The file of a connection on which something is said for the first time; None where none can be made."""
        if self.stopped is not None or time_ns < self._retry_ns:
            return None
        one = going.connection
        found = next(filter(None, (self._passed.get(end.inode) for end in one.ends)), None)
        if found is not None and found[0].path in self._files:
            self._join(going, found[0])
            return found[0]
        try:
            file = self._make(name_of(one.ends, one.path, time_ns))
        except CaptureError as error:
            self._retry_ns = time_ns + RETRY_NS
            self.failure = f"{error}; traffic goes on, messages are only counted until files can be made again"
            return None
        self.failure = None
        self._join(going, file)
        return file

    def _make(self, name: str) -> _SessionFile:
        number = 1
        path = os.path.join(self._folder, f"{name}.pcapng")
        while os.path.lexists(path) or os.path.lexists(path + self._finisher.ending):
            number += 1
            path = os.path.join(self._folder, f"{name}-{number}.pcapng")
        output = open_path(path, None)
        file = self._files[path] = _SessionFile(path, output, self._begin(output))
        self.files += 1
        return file

    def _join(self, going: _FiledConnection, file: _SessionFile) -> None:
        one = going.connection
        going.file = file
        going.inner = file.writer.open(one.path, one.ends, one.opened_ns, one.joined_late, going.family).id
        file.open += 1
        file.ended = None
        self._ended.pop(file.path, None)

    def _note_passed(self, file: _SessionFile, going: _FiledConnection, frame: Frame) -> None:
        """Remembers a socket that is passed as a channel of this session."""
        carried = file.writer.carried(going.inner)
        if carried is None or len(frame.data) < (header := carried[1].header).size:
            return
        request, flags, _ = header.read[self.order](frame.data, 0)
        opened = carried[0].openings.get((carried[1], request, header.is_reply(flags)))
        if opened is not None:
            self._passed.note(frame.descriptors[0], (file, opened))

    def _finish(self, file: _SessionFile) -> None:
        """Closes a file, and gives it to those who compress it."""
        copy = os.dup(file.output.fileno())
        file.writer.close()
        counts = self._counts
        counts.lost += file.writer.lost_frames
        counts.kept_stacks += file.writer.kept_stacks
        counts.lost_stacks += file.writer.lost_stacks
        for known in (self._files, self._changed, self._ended):
            known.pop(file.path, None)
        self._finisher.take(file.path, copy)


def _directory(folder: str) -> int:
    """The directory, made where it is missing. Raises `CaptureError`."""
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder, 0o700)
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise CaptureError(f"cannot write to the directory {folder}: {error.strerror or error}") from error
