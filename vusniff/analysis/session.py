"""Who is who: sessions, channels, roles, and which reply answers which request. From headers alone, without I/O.

A session is one main connection with its back-end and GPU channels; a reconnect begins a new session, which knows the
one before it on the same path. Either end may have listened: the front-end is the end that sends requests on the main
channel. Other channels are found by the identity of the descriptor that SET_BACKEND_REQ_FD or GPU_SET_SOCKET passed.

Only what decides how bytes are read (`Shape`) is followed here, because that has to be known for every line printed;
the device's state is `vusniff.families.vhost_user.state`'s.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

from vusniff.channel import Channel, Sender
from vusniff.errors import VusniffError
from vusniff.families.vhost_user.device import DEVICES, Guess, Sure, deduce
from vusniff.families.vhost_user.protocol import (
    CHANNEL_PASSED_BY,
    CHANNELS,
    F_RING_PACKED,
    FLAG_NEED_REPLY,
    FLAG_REPLY,
    HEADER_SIZE,
    Channels,
    FrontendRequest,
    ProtocolFeature,
)
from vusniff.layouts import dissect
from vusniff.message import Context
from vusniff.passed_sockets import PassedSockets
from vusniff.record import Closed, Connection, End, Frame

MAX_PENDING = 4096
"""Requests of one connection that may wait for their replies; the oldest is given up beyond that."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The part of a session that decides how bytes are read and what bits are called."""

    order: str = "little"
    device: str | None = None
    """Given by the user; else deduced."""
    offered: int | None = None
    features: int | None = None
    protocol_features: int | None = None
    postcopy: bool = False
    config_size: int | None = None
    requests: frozenset[int] = frozenset()
    programs: tuple[str, ...] = ()


@functools.lru_cache(maxsize=4096)
def guess_device(shape: Shape) -> Guess | None:
    """The device type as far as a session has shown it."""
    if shape.device is not None:
        return Guess(shape.device, Sure.GIVEN, ("given by --device",))
    return deduce(shape.offered, shape.config_size, shape.requests, shape.programs)


@functools.lru_cache(maxsize=4096)
def context_of(shape: Shape) -> Context:
    """What a dissector needs to know of a session."""
    protocol = shape.protocol_features or 0
    guess = guess_device(shape)
    return Context(
        order=shape.order,
        xen_mmap=bool(protocol & ProtocolFeature.XEN_MMAP),
        log_shmfd=bool(protocol & ProtocolFeature.LOG_SHMFD),
        packed=None if shape.features is None else bool(shape.features & F_RING_PACKED),
        postcopy=shape.postcopy,
        device=guess.device if guess else None,
    )


_F, _tuple = FrontendRequest, tuple.__new__
SHAPING_REQUESTS = frozenset(
    {
        _F.SET_FEATURES,
        _F.SET_PROTOCOL_FEATURES,
        _F.POSTCOPY_LISTEN,
        _F.POSTCOPY_END,
        _F.SEND_RARP,
        _F.NET_SET_MTU,
        _F.SET_BACKEND_REQ_FD,
        _F.CREATE_CRYPTO_SESSION,
        _F.GPU_SET_SOCKET,
        _F.SET_DEVICE_STATE_FD,
    }
)
PASSING_REQUESTS: dict[int, Channel] = {
    _F.SET_DEVICE_STATE_FD: Channels.UNKNOWN,
    **{int(request): channel for request, channel in CHANNEL_PASSED_BY.items()},
}
"""Requests whose descriptor may be a socket that belongs to the session."""
SHAPING_REPLIES = frozenset({_F.GET_FEATURES, _F.GET_CONFIG, _F.SET_DEVICE_STATE_FD})


def reshape(shape: Shape, request: int, reply: bool, payload: bytes) -> Shape:
    """The shape after a main-channel message of SHAPING_REQUESTS or SHAPING_REPLIES; may be an equal one."""
    u64 = int.from_bytes(payload[:8], "little" if shape.order == "little" else "big") if len(payload) == 8 else None
    if reply:
        if request == _F.GET_FEATURES and u64 is not None:
            return replace(shape, offered=u64)
        if request == _F.GET_CONFIG and len(payload) > HEADER_SIZE:
            order = "little" if shape.order == "little" else "big"
            end = int.from_bytes(payload[:4], order) + len(payload) - HEADER_SIZE  # type: ignore[arg-type]
            return replace(shape, config_size=max(end, shape.config_size or 0))
        return shape
    if request == _F.SET_FEATURES and u64 is not None:
        return replace(shape, features=u64)
    if request == _F.SET_PROTOCOL_FEATURES and u64 is not None:
        return replace(shape, protocol_features=u64)
    if request in (_F.POSTCOPY_LISTEN, _F.POSTCOPY_END):
        return replace(shape, postcopy=request == _F.POSTCOPY_LISTEN)
    return replace(shape, requests=shape.requests | {request})


@functools.lru_cache(maxsize=1024)
def answered_requests(channel: Channel, context: Context) -> frozenset[int]:
    """The requests of a channel that have a reply of their own, whatever need_reply says."""
    dissector = dissect.load().get(channel)
    specs = dissector.specs.values() if dissector else ()
    return frozenset(spec.code for spec in specs if spec.answered or (spec.may_answer and spec.may_answer(context)))


_ROLES: dict[str, tuple[Sender | None, Sender | None]] = {
    channel: (asks, Sender.BACKEND if asks is Sender.FRONTEND else Sender.FRONTEND if asks else None)
    for channel in CHANNELS
    for asks in (channel.requester,)
}
"""Who asks on a channel, and who answers."""


class Place(NamedTuple):
    """Where a message belongs: constant until its connection or session learns something new."""

    session: int
    connection: int
    channel: Channel
    requester: int | None
    """The end (0 or 1) that sends requests; None while nothing was said."""
    context: Context
    ends: tuple[End, End]
    """Who sits there, for messages that do not say who sent them."""

    def sender(self, end: int) -> Sender | None:
        """Who sits at an end."""
        asks, answers = _ROLES[self.channel]
        if self.requester is None:
            return None
        return asks if end == self.requester else answers


class Pending(NamedTuple):
    """A request that may be answered."""

    number: int
    time_ns: int
    request: int
    connection: int


@dataclass(slots=True)
class Session:
    """One device's life on one main connection."""

    number: int
    path: str
    joined_late: bool
    opened_ns: int | None
    shape: Shape
    connections: dict[int, Channel] = field(default_factory=dict)
    previous: int | None = None
    """The session before it on the same path."""
    closed: Closed | None = None
    first: int = 0
    """Number of its first message, 0 for none."""
    last: int = 0
    count: int = 0

    @property
    def guess(self) -> Guess | None:
        """The device type."""
        return guess_device(self.shape)


@dataclass(slots=True)
class _Link:
    """What is known of one connection."""

    connection: Connection
    order: str = "little"
    session: Session | None = None
    channel: Channel = Channels.UNKNOWN
    requester: int | None = None
    place: Place | None = None
    shape: Shape | None = None
    """That of the session when the place was made."""
    pending: deque[Pending] = field(default_factory=lambda: deque(maxlen=MAX_PENDING))
    unexpected: dict[int, Pending] = field(default_factory=dict)
    """Last request of each code that needs no reply: an answer may come all the same."""
    answered: frozenset[int] = frozenset()


GPU_FLAGS = (0, FLAG_REPLY)


def _likely_channel(frame: Frame, request: int, flags: int) -> Channel:
    """The channel of a connection that nothing seen has opened, by the shape of one message."""
    if flags in GPU_FLAGS:
        return Channels.GPU
    size = len(frame.data) + frame.missing - HEADER_SIZE
    backend_sizes = {1: (26, 32), 2: (0,), 3: (24,), 4: (8,), 5: (8,), 6: (16,), 7: (16,), 8: (16,)}
    main_sizes = {1: (0,), 2: (8,), 3: (0,), 4: (0,), 6: (8, 16), 7: (0,), 8: (8,)}
    if flags & FLAG_REPLY or size not in backend_sizes.get(request, ()) or size in main_sizes.get(request, ()):
        return Channels.MAIN
    return Channels.BACKEND


class Columns(Protocol):
    """Consecutive messages in columns, as `vusniff.capture.batch` describes them."""

    @property
    def meta(self) -> Sequence[int]: ...
    @property
    def request(self) -> Sequence[int]: ...
    @property
    def time_ns(self) -> Sequence[int]: ...


class Rows(NamedTuple):
    """Columns cut out of longer ones."""

    meta: Sequence[int]
    request: Sequence[int]
    time_ns: Sequence[int]


class Tracker:
    """Follows the records of one capture in their order."""

    def __init__(self, device: str | None = None) -> None:
        """``device`` overrides what would be deduced."""
        if device is not None and device not in DEVICES:
            raise VusniffError(f"--device {device}: no such device type; there are {', '.join(DEVICES)}")
        self.device = device
        self.sessions: list[Session] = []
        self._links: dict[int, _Link] = {}
        self._passed: PassedSockets[tuple[Session, Channel]] = PassedSockets()
        self._by_path: dict[str, int] = {}

    def opened(self, connection: Connection, order: str = "little") -> None:
        """A connection appears, before its first frame. Its session begins with that frame, not before."""
        self._links[connection.id] = _Link(connection, order)

    def closed(self, closed: Closed) -> None:
        """A connection ends."""
        link = self._links.get(closed.connection)
        if link and link.session and link.channel is Channels.MAIN:
            link.session.closed = closed

    def pending(self, session: int | None = None) -> list[Pending]:
        """Requests that wait for a reply, oldest first."""
        of = self._links if session is None else self.sessions[session - 1].connections
        return sorted(pending for connection in of for pending in self._links[connection].pending)

    def connections(self, session: Session) -> list[Connection]:
        """The connections of a session, main first."""
        return [self._links[number].connection for number in session.connections]

    def sender(self, connection: int, end: int) -> Sender | None:
        """Who sits at an end of a connection, as far as known."""
        place = self._links[connection].place
        return place.sender(end) if place else None

    def channel(self, connection: int) -> Channel:
        """What a connection carries, as far as known."""
        return self._links[connection].channel

    def _begin(self, link: _Link, channel: Channel) -> None:
        """Start a session with a connection."""
        connection = link.connection
        programs = tuple(end.process.label or end.process.comm for end in connection.ends if end.process)
        session = Session(
            number=len(self.sessions) + 1,
            path=connection.path,
            joined_late=connection.joined_late,
            opened_ns=connection.opened_ns,
            shape=Shape(order=link.order, device=self.device, programs=tuple(filter(None, programs))),
            previous=self._by_path.get(connection.path),
        )
        self._by_path[connection.path] = session.number
        self.sessions.append(session)
        self._join(link, session, channel)

    def _join(self, link: _Link, session: Session, channel: Channel) -> None:
        link.session, link.channel = session, channel
        session.connections[link.connection.id] = channel
        self._renew(link)

    def _renew(self, link: _Link) -> None:
        """Make the link's place anew after something was learnt."""
        session = link.session
        assert session is not None
        link.shape = session.shape
        context = context_of(session.shape)
        connection = link.connection
        link.place = Place(session.number, connection.id, link.channel, link.requester, context, connection.ends)
        link.answered = answered_requests(link.channel, context)

    def _adopt(self, link: _Link) -> bool:
        """Join a connection to the session that passed one of its ends as a descriptor."""
        for position, end in enumerate(link.connection.ends):
            found = self._passed.get(end.inode)
            if found is not None:
                self._passed.forget(end.inode)
                if found[1] is not Channels.UNKNOWN:
                    # The end that was passed is the back-end's: it is who asks on these channels.
                    link.requester = position
                self._join(link, *found)
                return True
        return False

    def _introduce(self, link: _Link, frame: Frame, request: int, flags: int) -> None:
        """The first framed message of a connection: find its session, its channel and who asks on it."""
        if link.session is not None or not self._adopt(link):
            named = not link.connection.path.startswith("pair:")
            channel = Channels.MAIN if named else _likely_channel(frame, request, flags)
            if link.session is None:
                self._begin(link, channel)
            else:
                self._join(link, link.session, channel)
        if link.requester is None:
            link.requester = 1 - frame.end if flags & FLAG_REPLY else frame.end
            self._renew(link)

    def track(
        self,
        first: int,
        batch: Columns,
        frame: Callable[[int], Frame],
        places: list[Place],
        answers: list[Pending | None],
    ) -> None:
        """Place consecutive messages and pair replies with requests.

        ``first`` is the number of the batch's first message, ``frame(i)`` reads message ``i`` of the batch where its
        bytes are needed. For each message one `Place` is appended to ``places``, and to ``answers`` the request it
        answers, or None.
        """
        links = self._links
        number = first - 1
        place_append, answer_append = places.append, answers.append
        for i, (meta, request, time_ns) in enumerate(zip(batch.meta, batch.request, batch.time_ns, strict=True)):
            number += 1
            connection = meta >> 8
            link = links.get(connection)
            if link is None:
                link = links[connection] = _Link(Connection(connection, f"pair:{connection}"))
            flags = meta & 0xF
            if link.session is not None and link.shape is not link.session.shape:
                self._renew(link)
            if meta & 0xC0:  # not a whole message: nothing can be told from it
                if link.session is None and not self._adopt(link):
                    self._begin(link, Channels.UNKNOWN)
                answer = None
            else:
                if link.session is None or link.channel is Channels.UNKNOWN:
                    self._introduce(link, frame(i), request, flags)
                if flags & FLAG_REPLY:
                    answer = self._answer(link, request) if meta >> 5 & 1 != link.requester else None
                    if request in SHAPING_REPLIES and link.channel is Channels.MAIN:
                        self._shape(link, request, True, frame(i))
                else:
                    answer = None
                    # As Pending(...), in a third of the time: every request has one.
                    pending = _tuple(Pending, (number, time_ns, request, connection))
                    if flags & FLAG_NEED_REPLY or request in link.answered:
                        link.pending.append(pending)
                    else:
                        link.unexpected[request & 0xFFF] = pending
                    if request in SHAPING_REQUESTS and link.channel is Channels.MAIN:
                        self._shape(link, request, False, frame(i))
            place = link.place
            session = link.session
            if not session.count:  # type: ignore[union-attr]
                session.first = number  # type: ignore[union-attr]
            session.count += 1  # type: ignore[union-attr]
            session.last = number  # type: ignore[union-attr]
            place_append(place)  # type: ignore[arg-type]
            answer_append(answer)

    def _answer(self, link: _Link, request: int) -> Pending | None:
        """The request that a reply with this code answers: the oldest that waits, else the last that did not ask."""
        pending = link.pending
        if pending and pending[0].request == request:
            return pending.popleft()
        for waiting in pending:
            if waiting.request == request:
                pending.remove(waiting)
                return waiting
        return link.unexpected.pop(request & 0xFFF, None)

    def _shape(self, link: _Link, request: int, reply: bool, frame: Frame) -> None:
        session = link.session
        assert session is not None
        if frame.descriptors and (request == _F.SET_DEVICE_STATE_FD if reply else request in PASSING_REQUESTS):
            self._passed.note(frame.descriptors[0], (session, PASSING_REQUESTS[request]))
        shape = reshape(session.shape, request, reply, frame.data[HEADER_SIZE:])
        if shape != session.shape:
            session.shape = shape
            self._renew(link)  # the others when they speak: a session may have very many
