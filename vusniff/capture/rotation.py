"""A recording in several files that take turns: by size, by time, and the newest so many.

Each file can be read by itself: it begins with the messages that make up the present state of each connection, marked
as restated (`restating`). A connection has another number in each file; its source knows it by one number throughout.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from vusniff import files
from vusniff.capture.compressed import ENDINGS
from vusniff.capture.restating import Restated
from vusniff.capture.writer import CaptureWriter
from vusniff.channel import Channel
from vusniff.errors import CaptureError
from vusniff.families.registry import FIRST
from vusniff.record import Closed, Connection, End, Evidence, Frame, Lost
from vusniff.values import dataclass, field, replace

MOST_FILES = 1000
RETRY_SECONDS = 10.0
"""How long the present file goes on when the next one cannot be made."""
_ENDED = 1024
"""Connections that have ended and can still be named by evidence."""
_DIGITS = 5


@dataclass(frozen=True, slots=True)
class Turn:
    """When the next file begins, and which stay."""

    size: int | None = None
    """Bytes, before compression."""
    seconds: float | None = None
    files: int | None = None
    """The newest so many stay; older ones of this recording are removed."""


class FileNames:
    """The paths of the files of one recording, none of which is there already."""

    def __init__(self, pattern: str) -> None:
        """``pattern`` may hold what strftime(3) replaces; else the files are numbered."""
        self._pattern = pattern
        self._number = 0
        self._timed = "%" in os.path.basename(pattern)

    def next(self) -> str:
        """The next path; times are local, as with tcpdump."""
        folder, name = os.path.split(self._pattern)
        if self._timed:
            name = time.strftime(name)
        stem, ending = _split(name)
        number = 0
        while True:
            if self._timed:
                path = os.path.join(folder, f"{stem}-{number}{ending}" if number else name)
                number += 1
            else:
                self._number += 1
                path = os.path.join(folder, f"{stem}_{self._number:0{_DIGITS}}{ending}")
            if not os.path.lexists(path):
                return path


def _split(name: str) -> tuple[str, str]:
    """A name, and its endings: ``a.pcapng.zst`` is ``a`` and ``.pcapng.zst``."""
    stem, ending = os.path.splitext(name)
    if ending in ENDINGS:
        stem, before = os.path.splitext(stem)
        ending = before + ending
    return stem, ending


@dataclass(slots=True)
class _GoingConnection:
    """A connection that goes on, as its source knows it."""

    connection: Connection
    inner: int
    """Its number in the present file."""
    restated: Restated = field(default_factory=Restated)


class Rotation:
    """Writes a recording to several files, one after the other. ``begin`` makes a file; ``say`` takes sentences.

    A `vusniff.capture.recording.Recording`.
    """

    def __init__(
        self, names: FileNames, turn: Turn, begin: Callable[[str], CaptureWriter], say: Callable[[str], None]
    ) -> None:
        """Makes the first file. Raises `CaptureError`."""
        self._names = names
        self._turn = turn
        self._begin = begin
        self._say = say
        self._going: dict[int, _GoingConnection] = {}
        self._left: dict[int, int] = {}
        """Connections that have ended in the present file -> their numbers there."""
        self._opened = 0
        self._numbers = self._lost = self._kept = self._unkept = 0
        """What the files before have counted."""
        self._restated = 0
        """Messages of the present file that are restated; and its bytes with them, before compression."""
        self._restated_bytes = 0
        self._made: deque[tuple[str, int]] = deque()
        """The files of this recording: path, and a descriptor that tells whether it is still the one of that name."""
        self._path = names.next()
        self._writer = begin(self._path)
        self.order = self._writer.order
        self._remember()
        self._began = self._tried = time.monotonic()

    # -- what the source tells ----------------------------------------------------------------------------------------

    def open(
        self,
        path: str,
        ends: tuple[End, End] = (End(), End()),
        opened_ns: int | None = None,
        joined_late: bool = False,
        family: str | None = None,
    ) -> Connection:
        """A connection begins: gives it its id, which it keeps over all files."""
        inner = self._writer.open(path, ends, opened_ns, joined_late, family)
        self._opened += 1
        connection = replace(inner, id=self._opened)
        self._going[self._opened] = _GoingConnection(connection, inner.id)
        return connection

    def passed(self, *inodes: int) -> Channel | None:
        """See `CaptureWriter.passed`."""
        return self._writer.passed(*inodes)

    def frame(self, frame: Frame, comments: Sequence[bytes] = ()) -> int:
        """One frame; returns its number in the recording, restated messages not counted."""
        going = self._going[frame.connection]
        self._writer.frame(replace(frame, connection=going.inner), comments)
        if (carried := self._writer.carried(going.inner)) is not None:
            going.restated.add(frame, *carried, self.order)
        return self.number

    def lost(self, lost: Lost) -> None:
        """A gap."""
        if lost.connection is not None:
            lost = replace(lost, connection=self._going[lost.connection].inner)
        self._writer.lost(lost)

    def evidence(self, one: Evidence, by_file: bool = False) -> None:
        """Evidence other than a message. Who learned it from a file (``by_file``) gives it to that file's writer."""
        named = tuple((inner, end) for outer, end in one.ends if (inner := self._inner(outer)))
        if named or not one.ends:
            self._writer.evidence(one if named == one.ends else replace(one, ends=named))

    def _inner(self, connection: int) -> int:
        going = self._going.get(connection)
        return going.inner if going is not None else self._left.get(connection, 0)

    def describe(self, connection: int) -> int:
        """See `CaptureWriter.describe`."""
        return self._writer.describe(self._going[connection].inner)

    def close_connection(self, closed: Closed, silent: bool = False) -> None:
        """A connection ends."""
        going = self._going.pop(closed.connection)
        if len(self._left) >= _ENDED:
            del self._left[next(iter(self._left))]
        self._left[closed.connection] = going.inner
        self._writer.close_connection(replace(closed, connection=going.inner), silent)

    def flush(self) -> None:
        """Hands everything to the kernel, and begins the next file when it is time. Never raises."""
        self._writer.flush()
        if self._is_time():
            self._rotate()

    def close(self) -> None:
        """Finishes the last file."""
        self._writer.close()
        while self._made:
            os.close(self._made.popleft()[1])

    # -- what the source asks -----------------------------------------------------------------------------------------

    @property
    def number(self) -> int:
        """Messages so far, each counted once."""
        return self._numbers + self._writer.number - self._restated

    @property
    def stopped(self) -> str | None:
        """See `CaptureWriter.stopped`."""
        return self._writer.stopped

    @property
    def failure(self) -> str | None:
        """See `CaptureWriter.failure`."""
        return self._writer.failure

    @property
    def lost_frames(self) -> int:
        """Messages that could not be written so far."""
        return self._lost + self._writer.lost_frames

    @property
    def kept_stacks(self) -> int:
        """Messages whose callers are in a file."""
        return self._kept + self._writer.kept_stacks

    @property
    def lost_stacks(self) -> int:
        """Messages whose call stack could not be kept."""
        return self._unkept + self._writer.lost_stacks

    # -- the next file ------------------------------------------------------------------------------------------------

    def _is_time(self) -> bool:
        """Whether the present file is full or old; one to which nothing new was written goes on."""
        writer, turn = self._writer, self._turn
        if writer.number <= self._restated or writer.stopped is not None or writer.failure is not None:
            return False
        # Where what is restated alone is as large, each file still has something new to tell.
        if turn.size is not None and writer.written >= max(turn.size, self._restated_bytes + turn.size // 2):
            return True
        return turn.seconds is not None and time.monotonic() - self._began >= turn.seconds

    def _rotate(self) -> None:
        now = time.monotonic()
        if now < self._tried:
            return
        path = self._names.next()
        try:
            new = self._begin(path)
        except CaptureError as error:
            self._tried = now + RETRY_SECONDS
            self._say(f"{error}; recording goes on in {self._path}")
            return
        old, self._writer, self._path, self._began = self._writer, new, path, now
        families = {outer: self._family(old, going) for outer, going in self._going.items()}
        old.close()
        self._numbers += old.number - self._restated
        self._lost += old.lost_frames
        self._kept += old.kept_stacks
        self._unkept += old.lost_stacks
        self._left.clear()
        self._remember()
        self._restate(families)

    def _family(self, writer: CaptureWriter, going: _GoingConnection) -> str | None:
        """What a connection turned out to carry; None where only its first frame will tell."""
        carried = writer.carried(going.inner)
        if carried is not None:
            return carried[0].name
        return None if going.connection.family == FIRST else going.connection.family

    def _restate(self, families: Mapping[int, str | None]) -> None:
        """Begins the present file with what makes up the state of each connection."""
        new = self._writer
        for outer, going in self._going.items():
            one, count = going.connection, sum(1 for _ in going.restated.frames())
            facts = one.path, one.ends, one.opened_ns, one.joined_late, families[outer]
            going.inner = new.open(*facts, restated=count).id
        for going in self._going.values():
            for frame in going.restated.frames():
                new.frame(replace(frame, connection=going.inner))
            new.flush()
        self._restated, self._restated_bytes = new.number, new.written

    def _remember(self) -> None:
        """Keeps the newest files of this recording, and removes older ones."""
        if self._turn.files is None:
            return
        self._made.append((self._path, os.open(self._path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)))
        while len(self._made) > self._turn.files:
            path, fd = self._made.popleft()
            files.remove(path, fd)
            os.close(fd)
