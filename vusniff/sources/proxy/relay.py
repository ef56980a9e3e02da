"""One connection passed through: what comes in on one socket is recorded, then goes out on the other.

Messages go out one by one, each in one send, as peers expect them: DPDK takes a header or a payload that arrives in two
pieces for an error. Descriptors go out with the byte they came with. That takes care, since the kernel joins bytes
without descriptors and the descriptors of the send behind them in one receive (unix_stream_read_generic in
net/unix/af_unix.c ends a receive behind the first send that carries descriptors, not before it). So a relay

1. looks (MSG_PEEK) at what waits: the framer tells where the message ends, and MSG_CTRUNC, there being no room for
   ancillary data, tells that descriptors wait somewhere in the queue. Looking ends with the send that carries them;
2. if some wait, receives nothing at all (0 bytes), with room for descriptors: this takes those of the first send in the
   queue, and no byte of it;
3. receives the message, or what there is of it. Where the first send had none, descriptors may still come in the middle
   of the message, and the kernel does not tell where: they are passed on with the payload, which is a send of its own
   in the programs that do so, or behind the first byte of a header, and recorded as late (`Descriptor.late`). In a
   stream that has no messages, bytes are received one by one, asking before each.

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
import fcntl
import functools
import os
import select
import socket
import struct
import termios
import time
from collections.abc import Callable

from vusniff.channel import Channel
from vusniff.families.framing import Framer
from vusniff.families.vhost_user.protocol import MAX_FDS
from vusniff.record import Chunk, Closed, Connection, Descriptor, DescriptorKind, End, Frame, FrameKind
from vusniff.sources.host.descriptors import describe
from vusniff.sources.host.endpoints import NoRoomError, is_connected_stream, peer_inode
from vusniff.sources.host.mounts import Closer
from vusniff.sources.proxy.loop import Loop
from vusniff.sources.proxy.open_files import OpenFiles
from vusniff.sources.proxy.recorder import Recorder

CHUNK = 64 << 10
"""Most bytes of one receive."""
_GLANCE = 4 << 10
"""Bytes looked at first: more than nearly any message has."""
_TURNS = 64
"""Receives in a row from one connection, before others get their turn."""
_LOOKED_AT = memoryview(bytearray(CHUNK))
"""Where looking puts its bytes."""
_GLANCED_AT = (_LOOKED_AT[:_GLANCE],)
_INT = struct.calcsize("i")
_ROOM = socket.CMSG_SPACE(MAX_FDS * _INT)
# Plain integers: the bit operations of enums would cost more than the system calls do.
_NONE = array.array("i")
_SOL_SOCKET = int(socket.SOL_SOCKET)
_SCM_RIGHTS = int(socket.SCM_RIGHTS)
_DONTWAIT = int(socket.MSG_DONTWAIT)
_DROPPED = int(socket.MSG_CTRUNC)
_PEEK = int(socket.MSG_PEEK | socket.MSG_DONTWAIT)
_TAKE = int(socket.MSG_CMSG_CLOEXEC | socket.MSG_DONTWAIT)
_SEND = int(socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)
_KERNEL_BUSY = (errno.ETOOMANYREFS, errno.ENOBUFS, errno.ENOMEM)
"""Sending may succeed later, and no event tells when."""
_BUSY_SECONDS = 0.01
ROOM_SECONDS = 2.0
"""How long room for descriptors is waited for, and how often it is looked for."""
_LOOK_SECONDS = 0.05

Interposed = tuple[socket.socket, socket.socket, str, tuple[End, End], Channel]
"""A channel to stand in: sockets of ends 0 and 1, path, ends, which channel it is."""
Tell = Callable[[str, str], None]
"""Takes what happened, as `Bursts.tell` does: kind and sentence."""
Spawn = Callable[[socket.socket, socket.socket, str, tuple[End, End], Channel], object]
"""Starts a relay."""
NO_ROOM_WORDS = "no room for more open files (raise the limit, ulimit -n)"
NOT_CLOSED_WORDS = "files that came before cannot be closed, because their server does not answer"
CLOSING_LIMIT = 64
"""Descriptors of a connection that are not closed yet, from which on no more are taken from its peers."""


def _always() -> bool:
    return True


def _has_left(sock: socket.socket) -> bool:
    """Whether nobody has the other end any more."""
    poll = select.poll()
    poll.register(sock, 0)
    return bool(poll.poll(0))


class Held:
    """What was received and comes after what was handed out."""

    __slots__ = ("data", "descriptors")

    def __init__(self) -> None:
        self.data = b""
        self.descriptors = array.array("i")
        """Those of the next byte, received or not."""


def take(
    source: socket.socket, framer: Framer, held: Held, has_room: Callable[[], bool] = _always
) -> tuple[bytes, array.array[int], bool, bool]:
    """The next message, or as much of it as there is, with the descriptors that came with its first byte.

    Also says whether more waits behind it, and whether the kernel dropped descriptors. Empty bytes are the end of the
    stream. Raises BlockingIOError when there is nothing yet, `NoRoomError` when descriptors wait that there is no room
    for, OSError on a reset.
    """
    descriptors, dropped = _NONE, False
    if held.descriptors:
        descriptors, held.descriptors = held.descriptors, array.array("i")
    if held.data:
        data, held.data = held.data, b""
        return data, descriptors, True, False
    count, _, flags, _ = source.recvmsg_into(_GLANCED_AT, 0, _PEEK)
    if not count:
        return b"", _NONE, False, False
    due = framer.due(_LOOKED_AT[:count])
    if due >= count == _GLANCE:
        count, _, flags, _ = source.recvmsg_into((_LOOKED_AT,), 0, _PEEK)
        due = framer.due(_LOOKED_AT[:count])
    size = min(count, due)
    if not flags & _DROPPED:
        return source.recv(size, _DONTWAIT), descriptors, count > due, dropped
    first = not descriptors
    if not has_room():
        held.descriptors = descriptors
        raise NoRoomError
    if first:
        _, descriptors, dropped = _receive(source, 0)
        if descriptors or dropped:
            # Looking has ended with the send that carries them, and it is the first one of all: nothing is joined.
            return source.recv(size, _DONTWAIT), descriptors, count > due, dropped
    if not framer.framed:
        data, also_dropped = _take_bytes(source, size, held)
        return data, descriptors, True, dropped or also_dropped
    data, inside, also_dropped = _receive(source, size)
    header = framer.family.main.header.size if framer.family else 0
    if inside and framer.begins and len(data) > 1:
        at = header if len(data) > header else 1
        data, held.data, held.descriptors = data[:at], data[at:], inside
    else:
        descriptors = descriptors + inside
    return data, descriptors, True, dropped or also_dropped


def _receive(source: socket.socket, size: int) -> tuple[bytes, array.array[int], bool]:
    """Up to ``size`` bytes that wait, the descriptors that came with them, and whether the kernel dropped some.

    No bytes at all still give the descriptors of the first send.
    """
    data, ancillary, flags, _ = source.recvmsg(size, _ROOM, _TAKE)
    descriptors = array.array("i")
    for level, kind, passed in ancillary:
        if level == _SOL_SOCKET and kind == _SCM_RIGHTS:
            descriptors.frombytes(passed[: len(passed) // _INT * _INT])
    return data, descriptors, bool(flags & _DROPPED)


def _take_bytes(source: socket.socket, size: int, held: Held) -> tuple[bytes, bool]:
    """Up to ``size`` bytes, fewer when a send that carries descriptors begins there: these are held.

    Also says whether the kernel dropped some.
    """
    data = bytearray(source.recv(1, _DONTWAIT))
    dropped = False
    while len(data) < size and not (held.descriptors or dropped):
        _, held.descriptors, dropped = _receive(source, 0)
        if not (held.descriptors or dropped):
            data += source.recv(1, _DONTWAIT)
    return bytes(data), dropped


class _Direction:
    """What one end sends to the other."""

    __slots__ = (
        "data",
        "descriptors",
        "done",
        "end",
        "ended",
        "framer",
        "held",
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
        self.descriptors = _NONE
        """To be sent with the first byte of ``data``; ours until then."""
        self.held = Held()
        self.ended = False
        """Nothing more is read."""
        self.done = False
        """Nothing more is sent."""
        self.stalled = False
        """Sending is tried again by a timer."""
        self.room_at: float | None = None
        """Nothing is read, because descriptors wait that there is no room for: when they are taken all the same."""

    def drop(self, closer: Closer) -> None:
        """Gives up what cannot be sent."""
        self.data = b""
        for fd in self.descriptors:
            closer.give_back(fd)
        self.descriptors = _NONE


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
            _Direction(0, sockets[0], sockets[1], channel),
            _Direction(1, sockets[1], sockets[0], channel),
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

    def finish(self, reason: str | None = None) -> None:
        """Closes both sockets and says so in the capture."""
        if self.finished:
            return
        self.finished = True
        for direction in self._directions:
            direction.drop(self._closer)
            self._record_rest(direction)
            self._record(direction.framer.end(time.time_ns()))
            if _unread(direction.source):
                self._lose()
        for sock in self._sockets:
            self._loop.ignore(sock.fileno())
            sock.close()
        self._ready = ()  # which refers to this: so it is freed now, and not by a collection some time
        by = self._by if reason is None else None
        number = self.connection.id
        closed = Closed(number, time.time_ns(), reason or self._reason, by, self._messages, self._lost)
        self._recorder.close(closed, silent=self._channel is None)
        self._closed(self)

    def _record_rest(self, direction: _Direction) -> None:
        """Records what an end had sent already when the other was gone: nobody gets it, and it is still evidence."""
        left = len(direction.held.data) + _unread(direction.source)
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
            if not forth.data and not forth.ended and forth.room_at is None:
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

    def _read(self, direction: _Direction, hung_up: bool) -> None:
        for _ in range(_TURNS):
            if direction.data or direction.ended or direction.room_at is not None:
                return
            if not self._pass_one(direction, hung_up):
                return

    def _pass_one(self, direction: _Direction, hung_up: bool, whatever: bool = False) -> bool:
        """Receives, records and sends once; whether more is known to wait. ``whatever``: if there is room or not."""
        has_room = _always if whatever else self._has_room
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

    def _send(self, direction: _Direction) -> None:
        data, target = direction.data, direction.target
        try:
            while data:
                if direction.descriptors:
                    descriptors = direction.descriptors
                    sent = target.sendmsg((data,), ((_SOL_SOCKET, _SCM_RIGHTS, descriptors),), _SEND)
                    direction.descriptors = _NONE
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
        if direction.ended and not direction.done:
            direction.done = True
            self._pass_on(direction, socket.SHUT_WR)

    def _has_room(self) -> bool:
        return self._closer.waiting < CLOSING_LIMIT and self._files.has_room()

    def _wait_for_room(self, direction: _Direction) -> None:
        """Leaves descriptors in the queue until there is room for them, but not for ever: only where too many of this
        connection are not closed yet, it is nobody else's trouble."""
        for_room = self._closer.waiting < CLOSING_LIMIT
        kind = f"times that descriptors waited for {'room' if for_room else 'files to be closed'}"
        why = NO_ROOM_WORDS if for_room else NOT_CLOSED_WORDS
        self._tell(kind, f"descriptors passed on {self.connection.path} wait: {why}")
        direction.room_at = time.monotonic() + ROOM_SECONDS
        self._loop.after(_LOOK_SECONDS, functools.partial(self._look_for_room, direction))

    def _look_for_room(self, direction: _Direction) -> None:
        if self.finished or direction.ended or direction.room_at is None:
            return
        if self._closer.waiting < CLOSING_LIMIT:
            late = time.monotonic() >= direction.room_at
        else:
            late = _has_left(direction.source)
        if not (late or self._has_room()):
            self._loop.after(_LOOK_SECONDS, functools.partial(self._look_for_room, direction))
            return
        direction.room_at = None
        try:
            if self._pass_one(direction, False, late):
                self._read(direction, False)
            self._wait()
        except OSError as error:
            self._fail(error)

    def _try_again(self, direction: _Direction) -> None:
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

    def _end(self, direction: _Direction, closed: bool, reason: str) -> None:
        """Nothing more comes from this end; ``closed``: it cannot be sent to either."""
        direction.ended = True
        self._record(direction.framer.end(time.time_ns(), closed=True))
        if self._by is None:
            self._reason, self._by = reason, direction.end
        if closed:
            self._abandon(self._directions[1 - direction.end])
            direction.done = not direction.data
        elif not direction.data:
            direction.done = True
            self._pass_on(direction, socket.SHUT_WR)

    def _abandon(self, direction: _Direction) -> None:
        """Nothing more can be sent in this direction."""
        direction.ended = direction.done = True
        direction.drop(self._closer)

    def _pass_on(self, direction: _Direction, how: int) -> None:
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
            if not forth.ended and not forth.data and forth.room_at is None:
                mask |= select.EPOLLIN
            if back.data and not back.stalled:
                mask |= select.EPOLLOUT
            fd = self._sockets[end].fileno()
            if mask or (forth.ended and not back.done):
                self._loop.watch(fd, mask, self._ready[end])
            else:
                # A hang-up, which is told even unasked, cannot be acted on before what is on the way has been sent.
                self._loop.ignore(fd)

    def _interpose(self, direction: _Direction, data: bytes, passed: array.array[int]) -> Interposed | None:
        """Puts one end of a new pair in the place of the first descriptor that is passed.

        Only if the table says that the message opens a channel, and the descriptor is a connected stream socket.
        """
        opened = self._opens(direction.framer, data)
        if opened is None:
            return None
        try:
            sock = socket.socket(fileno=passed[0])
        except OSError:
            return None
        try:
            if not is_connected_stream(sock):
                sock.detach()
                return None
            ours, theirs = socket.socketpair()
        except OSError as error:
            sock.detach()
            self._not_recorded(str(error.strerror))
            return None
        if self._files.is_reserved(max(ours.fileno(), theirs.fileno())):
            for one in (ours, theirs):
                one.close()
            sock.detach()
            self._not_recorded(NO_ROOM_WORDS)
            return None
        _resemble(theirs, sock)
        peer, inode = peer_inode(sock), os.fstat(sock.fileno()).st_ino
        sender, receiver = direction.end, 1 - direction.end
        processes = [end.process for end in self.connection.ends]
        ends = (End(peer, processes[sender]), End(inode, processes[receiver]))
        passed[0] = theirs.detach()
        return sock, ours, f"pair:{peer or 0}-{inode}", ends, opened

    def _opens(self, framer: Framer, data: bytes) -> Channel | None:
        """The channel that a message opens by its first descriptor, as the table of its family says."""
        header, family = framer.header(data), framer.family
        if header is None or family is None:
            return None
        request, flags = header
        return family.openings.get((self._channel or family.main, request, family.main.header.is_reply(flags)))

    def _not_recorded(self, why: str) -> None:
        self._tell(
            "channels passed on without being recorded",
            f"a channel opened on {self.connection.path} is passed on without being recorded: {why}",
        )

    def _record(self, frames: list[Frame]) -> None:
        if frames:
            for frame in frames:
                if frame.kind is not FrameKind.CONTINUATION:
                    self._messages += 1
            self._recorder.frames(frames)

    def _record_received(
        self, direction: _Direction, data: bytes, descriptors: tuple[Descriptor, ...], dropped: bool
    ) -> None:
        """Records what was taken from one end."""
        framer, number, end, now = direction.framer, self.connection.id, direction.end, time.time_ns()
        if held := self._directions[1 - end].framer.release():
            self._record(held)
        if framer.is_message(data):
            self._record([Frame(number, end, now, data, descriptors)])
        else:
            self._record(framer.feed(Chunk(number, end, now, data, descriptors)))
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


def _resemble(substitute: socket.socket, original: socket.socket) -> None:
    """Gives a substitute what its receiver could notice of the original: blocking or not, room for what it sends."""
    with contextlib.suppress(OSError):
        flags = fcntl.fcntl(original.fileno(), fcntl.F_GETFL)
        if flags & os.O_NONBLOCK:
            fcntl.fcntl(substitute.fileno(), fcntl.F_SETFL, flags & os.O_NONBLOCK)
        room = original.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        if room != substitute.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF):
            # The kernel doubles what it is given, for its own bookkeeping (socket(7)).
            substitute.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room // 2)


def _unread(sock: socket.socket) -> int:
    """Bytes that came in on a socket and were not taken."""
    try:
        return int(struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.FIONREAD, bytes(_INT)))[0])
    except OSError:
        return 0
