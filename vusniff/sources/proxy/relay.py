"""One connection passed through: what comes in on one socket is recorded, then goes out on the other.

Sockets that are passed on are channels of the same conversation only where the table of openings that the relay is
given says so: one end of a new pair takes the place of such a socket, and another relay stands between. Any other is
passed on as it is, like any descriptor: it is for those who passed it, and how they use it is not known here.

Order of things: what completes a frame is recorded, handed to the kernel, and then passed on. What does not complete
one yet (a header whose payload is a second send) is passed on at once: waiting for the rest could wait for ever, since
nobody says that a stream is vhost-user. A capture therefore holds every whole message that was passed on.

No room for more open files. Descriptors that the kernel finds no number for are gone, and the message that lost them
means something else. So they are left in the queue while there is no room for those of a whole message, and only after
ROOM_SECONDS they are taken as far as they fit, which is told and counted. A relay that the kernel refuses anything else
ends, and no other with it.

Memory: one receive of at most CHUNK bytes and 253 descriptors is held for each direction, and what its framer holds.
While it cannot be sent on, nothing more is read.

Ends. A half-close is passed on behind the data before it. A peer that has closed altogether is one that nothing can be
sent to: the other side is closed as soon as it has been given what was on the way. Unread bytes then make the kernel
tell it a reset, as they would without a proxy; where all its bytes were read here, it sees an end of file instead.
"""

from __future__ import annotations

import array
import contextlib
import errno
import functools
import select
import socket
import time
from collections.abc import Callable

from vusniff.channel import Channel
from vusniff.families.framing import Framer
from vusniff.record import NO_FACTS, Chunk, Closed, Connection, Descriptor, DescriptorKind, End, Facts, Frame, FrameKind
from vusniff.sources.host.descriptors import describe
from vusniff.sources.host.endpoints import NoRoomError
from vusniff.sources.host.mounts import Closer
from vusniff.sources.proxy.interposing import NO_ROOM_WORDS, Interposed, NotInterposedError, interpose
from vusniff.sources.proxy.loop import Loop
from vusniff.sources.proxy.open_files import OpenFiles
from vusniff.sources.proxy.receiving import NONE, SCM_RIGHTS, SOL_SOCKET, Held, always, has_left, take, unread
from vusniff.sources.proxy.recorder import Recorder

_TURNS = 64
"""Receives in a row from one connection, before others get their turn."""
_SEND = int(socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)
_KERNEL_BUSY = (errno.ETOOMANYREFS, errno.ENOBUFS, errno.ENOMEM)
"""Sending may succeed later, and no event tells when."""
_BUSY_SECONDS = 0.01
ROOM_SECONDS = 2.0
"""How long room for descriptors is waited for, and how often it is looked for."""
_LOOK_SECONDS = 0.05

Tell = Callable[[str, str], None]
"""Takes what happened, as `Bursts.tell` does: kind and sentence."""
Spawn = Callable[[socket.socket, socket.socket, str, tuple[End, End], Channel], object]
"""Starts a relay."""
NOT_CLOSED_WORDS = "files that came before cannot be closed, because their server does not answer"
CLOSING_LIMIT = 64
"""Descriptors of a connection that are not closed yet, from which on no more are taken from its peers."""


class Direction:
    """What one end sends to the other."""

    __slots__ = (
        "data",
        "descriptors",
        "done",
        "end",
        "ended",
        "framer",
        "held",
        "paused",
        "room_at",
        "source",
        "stalled",
        "target",
    )

    def __init__(self, end: int, source: socket.socket, target: socket.socket, channel: Channel | None) -> None:
        self.end = end
        self.source = source
        self.target = target
        self.framer = Framer(channel=channel)
        self.data: bytes | memoryview = b""
        """Received and not yet sent on."""
        self.descriptors = NONE
        """To be sent with the first byte of ``data``; ours until then."""
        self.held = Held()
        self.ended = False
        """Nothing more is read."""
        self.done = False
        """Nothing more is sent."""
        self.stalled = False
        """Sending is tried again by a timer."""
        self.paused = False
        """Nothing is read for now."""
        self.room_at: float | None = None
        """It is paused because descriptors wait that there is no room for: when they are taken all the same."""

    @property
    def is_empty(self) -> bool:
        """Nothing waits to be sent."""
        return not self.data

    def drop(self, closer: Closer) -> None:
        """Gives up what cannot be sent."""
        self.data = b""
        for fd in self.descriptors:
            closer.give_back(fd)
        self.descriptors = NONE


class Relay:
    """A connection between two sockets that it owns."""

    def __init__(
        self,
        loop: Loop,
        recorder: Recorder,
        sockets: tuple[socket.socket, socket.socket],
        connection: Connection,
        channel: Channel | None,
        spawn: Spawn,
        files: OpenFiles,
        tell: Tell,
        closed: Callable[[Relay], None],
    ) -> None:
        self.connection = connection
        self._loop = loop
        self._recorder = recorder
        self._sockets = sockets
        self._channel = channel
        self._spawn = spawn
        self._files = files
        self._tell = tell
        self._closed = closed
        self._closer = Closer()
        self._directions = (
            self._direction(0, sockets[0], sockets[1], channel),
            self._direction(1, sockets[1], sockets[0], channel),
        )
        self._reason = "eof"
        self._by: int | None = None
        self._messages = 0
        self._lost = 0
        self.finished = False
        self._ready: tuple[Callable[[int], None], ...] = (
            functools.partial(self._happened, 0),
            functools.partial(self._happened, 1),
        )
        try:
            self._wait()
        except OSError as error:
            self._fail(error)

    def _direction(self, end: int, source: socket.socket, target: socket.socket, channel: Channel | None) -> Direction:
        return Direction(end, source, target, channel)

    def finish(self, reason: str | None = None) -> None:
        """Closes both sockets and says so in the capture."""
        if self.finished:
            return
        self.finished = True
        for direction in self._directions:
            direction.drop(self._closer)
            self._record_rest(direction)
            self._record(direction.framer.end(time.time_ns()))
        for sock in self._sockets:
            self._loop.ignore(sock.fileno())
            sock.close()
        self._ready = ()  # which refers to this: so it is freed now, and not by a collection some time
        by = self._by if reason is None else None
        number = self.connection.id
        closed = Closed(number, time.time_ns(), reason or self._reason, by, self._messages, self._lost)
        self._recorder.close(closed, silent=self._channel is None)
        self._closed(self)

    def _record_rest(self, direction: Direction) -> None:
        """Records what an end had sent already when the other was gone: nobody gets it, and it is still evidence."""
        left = len(direction.held.data) + unread(direction.source)
        while left > 0:
            try:
                data, passed, _, dropped = take(direction.source, direction.framer, direction.held)
            except OSError:
                break
            if not data:
                break
            left -= len(data)
            self._record_received(direction, data, tuple([describe(fd) for fd in passed]), dropped)
            for fd in passed:
                self._closer.give_back(fd)
            self._reason, self._by = ("reset", 1 - direction.end) if self._by is None else (self._reason, self._by)
        for fd in direction.held.descriptors:
            self._closer.give_back(fd)
        if unread(direction.source):
            self._lose()

    def _happened(self, end: int, events: int) -> None:
        """The socket of ``end`` has something to read, room to write, or has hung up."""
        try:
            self._act(end, events)
        except OSError as error:
            self._fail(error)

    def _act(self, end: int, events: int) -> None:
        forth, back = self._directions[end], self._directions[1 - end]
        if not back.data and not forth.data and events == select.EPOLLIN and not forth.ended:
            if self._pass_one(forth, False):
                self._read(forth, False)
            if not forth.data and not forth.ended and not forth.paused:
                return
        else:
            hung_up = bool(events & (select.EPOLLHUP | select.EPOLLERR))
            if back.data and not back.stalled:
                self._send(back)
                if back.held.data:
                    self._read(back, False)  # no event tells of what was received already
            self._read(forth, hung_up)
            if hung_up and forth.ended:
                self._abandon(back)
        self._wait()

    def _fail(self, error: OSError) -> None:
        """The kernel refuses what a relay cannot do without, such as to be told of events."""
        self._tell("connections ended", f"a connection on {self.connection.path} is ended: {error.strerror}")
        self.finish(str(error.strerror))

    def _read(self, direction: Direction, hung_up: bool) -> None:
        for _ in range(_TURNS):
            if direction.data or direction.ended or direction.paused:
                return
            if not self._pass_one(direction, hung_up):
                return

    def _pass_one(self, direction: Direction, hung_up: bool, whatever: bool = False) -> bool:
        """Receives, records and sends once; whether more is known to wait. ``whatever``: if there is room or not."""
        has_room = always if whatever else self._has_room
        try:
            data, passed, more, dropped = take(direction.source, direction.framer, direction.held, has_room)
        except BlockingIOError:
            return False
        except NoRoomError:
            self._wait_for_room(direction)
            return False
        except OSError as error:
            self._end(direction, True, "reset" if error.errno == errno.ECONNRESET else str(error.strerror))
            return False
        if not data:
            self._end(direction, hung_up, "eof")
            return False
        descriptors: tuple[Descriptor, ...] = ()
        interposed: Interposed | None = None
        if passed:
            self._files.came(passed)
            descriptors = tuple([describe(fd) for fd in passed])
            self._recorder.passed(passed, descriptors)
            if descriptors[0].kind is DescriptorKind.SOCKET:
                interposed = self._interpose(direction, data, passed)
        self._record_received(direction, data, descriptors, dropped)
        if interposed is not None:
            self._spawn(*interposed)
        direction.data, direction.descriptors = data, passed
        self._send(direction)
        return more

    def _send(self, direction: Direction) -> None:
        data, target = direction.data, direction.target
        try:
            while data:
                if direction.descriptors:
                    descriptors = direction.descriptors
                    sent = target.sendmsg((data,), ((SOL_SOCKET, SCM_RIGHTS, descriptors),), _SEND)
                    direction.descriptors = NONE
                    for fd in descriptors:
                        self._closer.give_back(fd)
                else:
                    sent = target.send(data, _SEND)
                direction.data = data = b"" if sent == len(data) else memoryview(data)[sent:]
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno in _KERNEL_BUSY:
                direction.stalled = True
                self._loop.after(_BUSY_SECONDS, functools.partial(self._try_again, direction))
                return
            if self._by in (None, 1 - direction.end):
                # The kernel tells a reset once, to whoever asks first. What cannot be sent is not read either.
                self._reason, self._by = "reset", 1 - direction.end
            self._abandon(direction)
            self._pass_on(direction, socket.SHUT_RD)
            return
        if direction.ended and not direction.done and direction.is_empty:
            direction.done = True
            self._pass_on(direction, socket.SHUT_WR)

    def _has_room(self) -> bool:
        return self._closer.waiting < CLOSING_LIMIT and self._files.has_room()

    def _wait_for_room(self, direction: Direction) -> None:
        """Leaves descriptors in the queue until there is room for them, but not for ever: only where too many of this
        connection are not closed yet, it is nobody else's trouble."""
        for_room = self._closer.waiting < CLOSING_LIMIT
        kind = f"times that descriptors waited for {'room' if for_room else 'files to be closed'}"
        why = NO_ROOM_WORDS if for_room else NOT_CLOSED_WORDS
        self._tell(kind, f"descriptors passed on {self.connection.path} wait: {why}")
        direction.paused = True
        direction.room_at = time.monotonic() + ROOM_SECONDS
        self._loop.after(_LOOK_SECONDS, functools.partial(self._look_for_room, direction))

    def _look_for_room(self, direction: Direction) -> None:
        if self.finished or direction.ended or direction.room_at is None:
            return
        if self._closer.waiting < CLOSING_LIMIT:
            late = time.monotonic() >= direction.room_at
        else:
            late = has_left(direction.source)
        if not (late or self._has_room()):
            self._loop.after(_LOOK_SECONDS, functools.partial(self._look_for_room, direction))
            return
        direction.paused = False
        direction.room_at = None
        try:
            if self._pass_one(direction, False, late):
                self._read(direction, False)
            self._wait()
        except OSError as error:
            self._fail(error)

    def _try_again(self, direction: Direction) -> None:
        if self.finished:
            return
        direction.stalled = False
        try:
            self._send(direction)
            if direction.held.data:
                self._read(direction, False)
            self._wait()
        except OSError as error:
            self._fail(error)

    def _end(self, direction: Direction, closed: bool, reason: str) -> None:
        """Nothing more comes from this end; ``closed``: it cannot be sent to either."""
        direction.ended = True
        self._record_end(direction)
        if self._by is None:
            self._reason, self._by = reason, direction.end
        if closed:
            self._abandon(self._directions[1 - direction.end])
            direction.done = direction.is_empty
        elif direction.is_empty:
            direction.done = True
            self._pass_on(direction, socket.SHUT_WR)

    def _abandon(self, direction: Direction) -> None:
        """Nothing more can be sent in this direction."""
        direction.ended = direction.done = True
        direction.drop(self._closer)

    def _pass_on(self, direction: Direction, how: int) -> None:
        """Half-closes: SHUT_WR tells the target that no more comes, SHUT_RD the source that nobody listens."""
        with contextlib.suppress(OSError):
            (direction.target if how == socket.SHUT_WR else direction.source).shutdown(how)

    def _wait(self) -> None:
        """Asks for the events that can be acted on now, or ends."""
        if self.finished:
            return
        if self._directions[0].done and self._directions[1].done:
            self.finish()
            return
        for end in (0, 1):
            forth, back = self._directions[end], self._directions[1 - end]
            mask = 0
            if not forth.ended and not forth.data and not forth.paused:
                mask |= select.EPOLLIN
            if back.data and not back.stalled:
                mask |= select.EPOLLOUT
            fd = self._sockets[end].fileno()
            if mask or (forth.ended and not back.done):
                self._loop.watch(fd, mask, self._ready[end])
            else:
                # A hang-up, which is told even unasked, cannot be acted on before what is on the way has been sent.
                self._loop.ignore(fd)

    def _interpose(self, direction: Direction, data: bytes, passed: array.array[int]) -> Interposed | None:
        """Stands in the channel that a message opens, where the table says that it opens one."""
        opened = self._opens(direction.framer, data)
        if opened is None:
            return None
        try:
            return interpose(self.connection, direction.end, passed, opened, self._files)
        except NotInterposedError as why:
            self._tell(
                "channels passed on without being recorded",
                f"a channel opened on {self.connection.path} is passed on without being recorded: {why}",
            )
            return None

    def _opens(self, framer: Framer, data: bytes) -> Channel | None:
        """The channel that a message opens by its first descriptor, as the table of its family says."""
        header, family = framer.header(data), framer.family
        if header is None or family is None:
            return None
        request, flags = header
        return family.openings.get((self._channel or family.main, request, family.main.header.is_reply(flags)))

    def _record(self, frames: list[Frame], comments: tuple[bytes, ...] = ()) -> None:
        if frames:
            for frame in frames:
                if frame.kind is not FrameKind.CONTINUATION:
                    self._messages += 1
            self._recorder.frames(frames, comments)

    def _record_end(self, direction: Direction) -> None:
        """Records what is left of an unfinished message when its sender has ended."""
        self._record(direction.framer.end(time.time_ns(), closed=True))

    def _record_received(
        self, direction: Direction, data: bytes, descriptors: tuple[Descriptor, ...], dropped: bool
    ) -> None:
        """Records what was taken from one end."""
        framer, number, end, now = direction.framer, self.connection.id, direction.end, time.time_ns()
        if held := self._directions[1 - end].framer.release():
            self._record(held)
        facts = Facts(descriptors) if descriptors else NO_FACTS
        if framer.is_message(data):
            self._record([Frame(number, end, now, data, facts)])
        else:
            self._record(framer.feed(Chunk(number, end, now, data, facts)))
        if dropped:
            self._lose_descriptors()

    def _lose_descriptors(self) -> None:
        self._tell(
            "messages without their descriptors",
            f"descriptors passed on {self.connection.path} were lost: {NO_ROOM_WORDS}",
        )
        self._lose()

    def _lose(self) -> None:
        self._lost += 1
        self._recorder.lose(self.connection.id)
