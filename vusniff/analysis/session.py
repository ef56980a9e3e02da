"""Who is who: sessions, channels, roles, and which reply answers which request. From headers alone, without I/O.

A session is one main connection with the channels that were opened on it; a reconnect begins a new session, which knows
the one before it on the same path. Either end may have listened: the front-end is the end that sends requests on the
main channel. Other channels are found by the identity of the descriptor that opened them (`Family.openings`).

Of a session only what decides how bytes are read is followed here (`Family.reading`), because that has to be known for
every line printed; the device's state is its family's.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from vusniff.channel import Channel, Sender
from vusniff.errors import VusniffError
from vusniff.families.family import Family, Reading, State
from vusniff.families.pairing import Due, Pairing, Pairs, Pending
from vusniff.families.registry import families, family_named
from vusniff.families.vhost_user.device import Guess
from vusniff.message import Context
from vusniff.meta import FLAGS, NEED_REPLY, NO_MESSAGE, REPLY, TOLD, connection_of, end_of
from vusniff.passed_sockets import PassedSockets
from vusniff.record import Closed, Connection, End, Frame, FrameKind, Lost, is_named
from vusniff.told import payload as told_payload
from vusniff.values import dataclass, field

MAX_COMPANIONS = 64
"""Connections between the same processes that are looked at to find the session of a channel."""

_tuple = tuple.__new__
_NONE, _OPTIONAL, _DUE_WITH_DESCRIPTORS = Pairing.NONE, Pairing.OPTIONAL, Pairing.DUE_WITH_DESCRIPTORS


@functools.cache
def _telling(channel: Channel, is_reply: bool) -> frozenset[int]:
    """Requests whose messages say how bytes are read, or open a channel."""
    family = family_named(channel.family)
    opening = {request for of, request, reply in family.openings if of is channel and reply is is_reply}
    reading = {request for request, reply in family.reads if reply is is_reply} if channel is family.main else set()
    return frozenset(opening | reading)


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Where a message belongs: constant until its connection or session learns something new. Equal only to itself, so
    that what follows from a place can be kept by it."""

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
        asks = self.channel.requester
        if self.requester is None or asks is None:
            return None
        return asks if end == self.requester else asks.other


@dataclass(slots=True)
class Session:
    """One device's life on one main connection."""

    number: int
    path: str
    joined_late: bool
    opened_ns: int | None
    family: Family
    reading: Reading
    timed: bool = True
    """Times of its main connection were measured (`vusniff.record.Connection.timed`)."""
    connections: dict[int, Channel] = field(default_factory=dict)
    previous: int | None = None
    """The session before it on the same path."""
    following: int | None = None
    """The session after it on the same path."""
    closed: Closed | None = None
    first: int = 0
    """Number of its first message, 0 for none."""
    last: int = 0
    count: int = 0

    @property
    def guess(self) -> Guess | None:
        """The device type."""
        return self.reading.guess

    def initial(self) -> State:
        """The device before the first message."""
        return self.family.initial(not self.joined_late)


@dataclass(slots=True)
class _TrackedConnection:
    """What is known of one connection."""

    connection: Connection
    order: str = "little"
    session: Session | None = None
    channel: Channel | None = None
    requester: int | None = None
    place: Place | None = None
    reading: Reading | None = None
    """That of the session when the place was made."""
    pairs: Pairs = field(default_factory=Pairs)
    due: Due = field(default_factory=dict)
    """Which of its requests are answered."""
    closed: bool = False
    telling: tuple[frozenset[int], frozenset[int]] = (frozenset(), frozenset())
    """Requests, or replies, that are looked at."""


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


class Placed(NamedTuple):
    """What is known of consecutive messages by their headers. One entry a message."""

    places: list[Place]
    answers: list[Pending | None]
    """Of a reply: the request it answers."""
    pairings: bytearray
    """See `Pairing`."""


def _pids(connection: Connection) -> list[int]:
    """The processes that sit at the ends of a connection, as far as known."""
    return [end.process.pid for end in connection.ends if end.process]


def _is_main(channel: Channel) -> bool:
    """It is the main channel of its family, on which the front-end asks."""
    return channel is family_named(channel.family).main and channel.requester is Sender.FRONTEND


def _asked_there(family: Family) -> Channel:
    """The channel on which a family's main side answers: where a reply on an unnamed socket belongs."""
    asks = family.main.requester
    return next(channel for channel in family.channels if channel.requester not in (None, asks))


class Tracker:
    """Follows the records of one capture in their order."""

    def __init__(self, device: str | None = None) -> None:
        """``device`` overrides what would be deduced."""
        devices = [] if device is None else [one for family in families().values() for one in family.devices]
        devices = list(dict.fromkeys(devices))
        if device is not None and device not in devices:
            raise VusniffError(f"--device {device}: no such device type; there are {', '.join(devices)}")
        self.device = device
        self.sessions: list[Session] = []
        self.families: dict[Family, None] = {}
        """Those of the sessions."""
        self._links: dict[int, _TrackedConnection] = {}
        self._heard: dict[int, _TrackedConnection] = {}
        """Those that something was said on since anything was lost anywhere."""
        self._passed: PassedSockets[tuple[Session, Channel]] = PassedSockets()
        self._by_path: dict[str, int] = {}
        self._joined: dict[str, Session] = {}
        """What `Family.joins` says of a path -> the last session that began on one of which it says so."""
        self._late: dict[frozenset[int], list[_TrackedConnection]] = {}
        """Processes -> the named connections between them that were open before the capture began."""

    def opened(self, connection: Connection, order: str = "little") -> None:
        """A connection appears, before its first frame. Its session begins with that frame, not before."""
        link = self._links[connection.id] = _TrackedConnection(connection, order)
        if connection.joined_late and is_named(connection.path) and (who := _pids(connection)):
            self._late.setdefault(frozenset(who), []).append(link)

    def is_new(self, connection: int) -> bool:
        """It was not opened."""
        return connection not in self._links

    def closed(self, closed: Closed) -> None:
        """A connection ends."""
        if closed.connection in self._links:
            self._links[closed.connection].closed = True
        session = self.session_of_main(closed.connection)
        if session is not None and session.closed is None:
            session.closed = closed

    def session_of_main(self, connection: int) -> Session | None:
        """The session whose main connection this is; None for another connection, and where nothing was said yet."""
        link = self._links.get(connection)
        if link is None or link.session is None or link.channel is not link.session.family.main:
            return None
        return link.session

    def lost(self, lost: Lost) -> None:
        """Messages were lost here, of one connection or of any."""
        if lost.connection is None:
            links, self._heard = list(self._heard.values()), {}
        else:
            links = [link for link in (self._links.get(lost.connection),) if link is not None]
        for link in links:
            link.pairs.forget()
            link.reading = None  # it is made anew, and heard again, with its next message

    def pending(self, session: int | None = None) -> list[Pending]:
        """Requests that wait for a reply that they must get, oldest first."""
        of = self._links if session is None else self.sessions[session - 1].connections
        return sorted(pending for connection in of for pending in self._links[connection].pairs.unanswered)

    def connections(self, session: Session) -> list[Connection]:
        """The connections of a session, main first."""
        return [self._links[number].connection for number in session.connections]

    def sides(self, session: Session) -> tuple[Connection, int]:
        """The connection between the two sides of a session's device, and the front-end's end of it: its main one, but
        where another node of the device is open the one on which its driver asks."""
        numbers = iter(session.connections.items())
        first = next(numbers)[0]
        own = (one for one, channel in numbers if channel is not session.family.main and _is_main(channel))
        asked = first if session.family.main.requester is Sender.FRONTEND else next(own, first)
        return self._links[asked].connection, 1 if self.sender(asked, 0) is Sender.BACKEND else 0

    def sender(self, connection: int, end: int) -> Sender | None:
        """Who sits at an end of a connection, as far as known."""
        place = self._links[connection].place
        return place.sender(end) if place else None

    def session_of(self, connection: int) -> int | None:
        """Number of the session a connection belongs to, as far as known."""
        link = self._links.get(connection)
        return link.session.number if link and link.session else None

    def guess(self, connection: int) -> Guess | None:
        """The device type of a connection on which nobody has spoken, by the names of its ends."""
        link = self._links.get(connection)
        if link is None:
            return None
        ends = link.connection.ends
        programs = tuple(end.process.label or end.process.comm for end in ends if end.process)
        return family_named(link.connection.family).reading(link.order, self.device, programs).guess

    def channel(self, connection: int) -> Channel:
        """What a connection carries, as far as known."""
        link = self._links[connection]
        return link.channel or family_named(link.connection.family).unknown

    def _begin(self, link: _TrackedConnection, channel: Channel) -> None:
        """Start a session with a connection."""
        connection = link.connection
        programs = tuple(end.process.label or end.process.comm for end in connection.ends if end.process)
        family = family_named(connection.family)
        session = Session(
            number=len(self.sessions) + 1,
            path=connection.path,
            joined_late=connection.joined_late,
            opened_ns=connection.opened_ns,
            family=family,
            timed=connection.timed,
            reading=family.reading(
                link.order, self.device or family.device_of(connection.path), tuple(filter(None, programs))
            ),
            previous=self._by_path.get(connection.path),
        )
        if session.previous is not None:
            self.sessions[session.previous - 1].following = session.number
        self._by_path[connection.path] = session.number
        self.families[family] = None
        self.sessions.append(session)
        self._join(link, session, channel)
        if name := family.joins(connection.path):
            before, self._joined[name] = self._joined.get(name), session
            for one, carried in [] if before is None else list(before.connections.items()):
                other = self._links[one]
                if other.session is before and not other.closed and other.connection.family != family.name:
                    self._join(other, session, carried)  # the device goes on with another opener

    def _join(self, link: _TrackedConnection, session: Session, channel: Channel) -> None:
        link.session, link.channel = session, channel
        link.telling = _telling(channel, False), _telling(channel, True)
        session.connections[link.connection.id] = channel
        self._renew(link)

    def _renew(self, link: _TrackedConnection) -> None:
        """Make the link's place anew after something was learnt."""
        session, channel = link.session, link.channel
        assert session is not None
        assert channel is not None
        link.reading = session.reading
        context = session.reading.context
        connection = link.connection
        link.place = Place(session.number, connection.id, channel, link.requester, context, connection.ends)
        link.due = session.family.due(channel, session.reading, not session.joined_late)
        self._heard[connection.id] = link

    def _adopt(self, link: _TrackedConnection) -> bool:
        """Join a connection to the session that passed one of its ends as a descriptor."""
        for position, end in enumerate(link.connection.ends):
            found = self._passed.get(end.inode)
            if found is not None:
                self._passed.forget(end.inode)
                session, channel = found
                if channel.requester is not None:
                    # The end that was passed is the back-end's where the front-end passed it, else the front-end's.
                    link.requester = position if channel.passed_by is not channel.requester else 1 - position
                self._join(link, session, channel)
                return True
        return False

    def _joins(self, link: _TrackedConnection) -> bool:
        """Join a connection to the session of the same device, which is open by a node of another family."""
        family = family_named(link.connection.family)
        session = self._joined.get(family.joins(link.connection.path))
        if session is None or session.closed is not None or session.family is family:
            return False
        self._join(link, session, family.main)
        return True

    def _companion(self, link: _TrackedConnection) -> _TrackedConnection | None:
        """The main connection that a channel belongs to which was open before the capture began.

        What passed its socket was not seen. Its processes tell, where they share one main connection only.
        """
        found = self._late.get(frozenset(_pids(link.connection)), []) if link.connection.joined_late else []
        if len(found) > MAX_COMPANIONS or len(set(_pids(link.connection))) < len(link.connection.ends):
            return None
        family = link.connection.family
        going = [
            other
            for other in found
            if other.connection.family == family and (other.session is None or other.session.closed is None)
        ]
        return going[0] if len(going) == 1 else None

    def _introduce(self, link: _TrackedConnection, frame: Frame, request: int, flags: int) -> None:
        """The first framed message of a connection: find its session, its channel and who asks on it."""
        if link.session is not None or not self._adopt(link):
            family = family_named(link.connection.family)
            named = is_named(link.connection.path)
            channel = family.main if named else family.likely_channel(frame, request, flags)
            main = None if named or link.session is not None else self._companion(link)
            if main is not None and (channel is not family.main or flags & REPLY):
                asks = 1 - frame.end if flags & REPLY else frame.end
                link.requester = asks
                if main.session is None:
                    # The side that asks on the channel answers on the main connection.
                    backend = _pids(link.connection)[asks]
                    main.requester = 1 - _pids(main.connection).index(backend)
                    self._begin(main, family.main)
                assert main.session is not None
                self._join(link, main.session, _asked_there(family) if channel is family.main else channel)
            elif link.session is None:
                if not self._joins(link):
                    self._begin(link, channel)
            else:
                self._join(link, link.session, channel)
        if link.requester is None:
            assert link.session is not None
            assert link.channel is not None
            # The side that speaks first asks, whatever the flag says: nobody has asked anything that it could answer.
            empty = not link.connection.joined_late and 0 < len(frame.data) <= link.channel.header.size
            asks = 1 - frame.end if flags & REPLY and not empty else frame.end
            own = family_named(link.channel.family)
            turned = link.channel is own.main and request in own.other_way
            link.requester = 1 - asks if turned else asks
            self._renew(link)

    def teaches(self, connection: int, request: int, is_reply: bool) -> bool:
        """Whether messages of this kind may still say something of their connection: who asks on it, how bytes are
        read, or what a socket carries that they pass. The others need not be placed where nobody asks what answers
        what."""
        link = self._links.get(connection)
        if link is None or link.channel is None or link.session is None or link.requester is None:
            return True
        return link.channel is link.session.family.unknown or request in link.telling[is_reply]

    def place(self, connection: int) -> Place:
        """Where the messages of a connection belong on which something was said."""
        link = self._links[connection]
        assert link.session is not None
        if link.reading is not link.session.reading:
            self._renew(link)
        assert link.place is not None
        return link.place

    def unpair(self, connection: int) -> None:
        """Forget the requests of a connection whose replies nobody asks about."""
        self._links[connection].pairs.forget()

    def track(self, first: int, batch: Columns, frame: Callable[[int], Frame], placed: Placed) -> None:
        """Place consecutive messages between which nothing was lost, and pair replies with requests.

        ``first`` is the number of the batch's first message, ``frame(i)`` reads message ``i`` of the batch where its
        bytes are needed. For each message an entry is appended to ``placed``.
        """
        links = self._links
        number = first - 1
        place_append, answer_append = placed.places.append, placed.answers.append
        pairing_append = placed.pairings.append
        for i, (meta, request, time_ns) in enumerate(zip(batch.meta, batch.request, batch.time_ns, strict=True)):
            number += 1
            connection = connection_of(meta)
            link = links.get(connection)
            if link is None:
                link = links[connection] = _TrackedConnection(Connection(connection, f"pair:{connection}"))
            flags = meta & FLAGS
            if link.session is not None and link.reading is not link.session.reading:
                self._renew(link)
            answer, pairing = None, _NONE
            if meta & NO_MESSAGE and meta & NO_MESSAGE != TOLD:  # nothing can be told from it
                if link.session is None and not self._adopt(link):
                    self._begin(link, family_named(link.connection.family).unknown)
            else:
                channel = link.channel
                if channel is None or (channel.requester is None and channel is link.session.family.unknown):  # type: ignore[union-attr]
                    self._introduce(link, frame(i), request, flags)
                is_reply = flags & REPLY
                if link.session.family.identify is not None:  # type: ignore[union-attr]
                    answer, pairing = self._identify(link, number, time_ns, request, flags, frame(i))
                elif (end_of(meta) == link.requester) is (is_reply == 0):
                    if is_reply:
                        answer, pairing = link.pairs.answer(request)
                    else:
                        pairing = link.due.get(request << 1 | (flags & NEED_REPLY != 0), _OPTIONAL)
                        if meta & NO_MESSAGE:  # a log need not tell of answers
                            pairing = _OPTIONAL
                        elif pairing is _DUE_WITH_DESCRIPTORS:
                            pairing = Pairing.DUE if frame(i).descriptors else Pairing.UNASKED
                        # As Pending(...), in a third of the time: every request has one.
                        link.pairs.ask(_tuple(Pending, (number, time_ns, request, connection, pairing)))
                elif is_reply and link.channel.header.by_sender:  # type: ignore[union-attr]
                    is_reply = 0  # it comes from who asks, whatever its flags are
                    pairing = link.due.get(request << 1, _OPTIONAL)
                    link.pairs.ask(_tuple(Pending, (number, time_ns, request, connection, pairing)))
                if request in link.telling[is_reply != 0]:
                    self._learn(link, request, bool(is_reply), frame(i))
            session = link.session
            if not session.count:  # type: ignore[union-attr]
                session.first = number  # type: ignore[union-attr]
            session.count += 1  # type: ignore[union-attr]
            session.last = number  # type: ignore[union-attr]
            place_append(link.place)  # type: ignore[arg-type]
            answer_append(answer)
            pairing_append(pairing)

    def _identify(
        self, link: _TrackedConnection, number: int, time_ns: int, request: int, flags: int, frame: Frame
    ) -> tuple[Pending | None, Pairing]:
        """What a message answers that names its request by an id; a request waits for its reply if it wants one."""
        assert link.session is not None
        assert link.session.family.identify is not None
        which = link.session.family.identify(frame.data, link.order)
        if flags & REPLY:
            return link.pairs.answer_by_id(1 - frame.end, which)
        if not flags & NEED_REPLY:
            return None, Pairing.UNASKED
        link.pairs.ask_by_id(frame.end, which, Pending(number, time_ns, request, link.connection.id))
        return None, Pairing.DUE

    def _learn(self, link: _TrackedConnection, request: int, is_reply: bool, frame: Frame) -> None:
        """What a message says of the channels of its session, and of how bytes are read."""
        session, channel = link.session, link.channel
        assert session is not None
        assert channel is not None
        opened = session.family.openings.get((channel, request, is_reply))
        if opened is not None and frame.descriptors:
            self._passed.note(frame.descriptors[0], (session, opened))
        own = family_named(channel.family)
        if channel is own.main and (request, is_reply) in own.reads:
            told = frame.kind is FrameKind.TOLD
            payload = told_payload(frame.data, link.order) if told else frame.data[channel.header.size :]
            reading = session.reading.after(request, is_reply, payload)
            if reading != session.reading:
                session.reading = reading
                self._renew(link)  # the others when they speak: a session may have very many
