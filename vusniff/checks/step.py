"""What a rule may look at: one step of a session, its end, and what has to be remembered beyond the device's state.

`SessionHistory` is changed by `vusniff.checks.recall` and `vusniff.checks.checker` only; rules read it. All of it is
bounded.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, NamedTuple

from vusniff.amounts import duration
from vusniff.channel import Sender
from vusniff.checks.peers import NOBODY, Peer
from vusniff.families.pairing import Pairing
from vusniff.families.vhost_user.state import DeviceState, Seen, Vring
from vusniff.message import Message
from vusniff.record import Closed, Exit, Position
from vusniff.values import dataclass, field

if TYPE_CHECKING:
    from vusniff.checks.standing import Standing

MAX_REMEMBERED = 1024
MAX_BYTES = 512
"""Of a message that is remembered with its payload."""
MAX_UNANSWERED = 64
"""Requests without an answer that are remembered of a session without rules."""
MAX_SPOKEN = 64
SLOW_NS = 1_000_000_000
"""An answer that takes less is not remembered as slow."""


def decoded(message: Message | None) -> dict[str, Any] | None:
    """The fields of a message that was decoded in full, else None.

    A peer chooses how short a payload is. Rules read the fields of other messages than their own by this function
    only, so that a field they name is there.
    """
    return message.payload if message is not None and message.malformed is None else None


class Waiting(NamedTuple):
    """A request that is not answered yet."""

    message: Message
    must: bool
    """An answer is due; else it may come."""
    state: DeviceState
    """When it was sent."""


@dataclass(slots=True)
class ConnectionHistory:
    """Who waits for what on one connection."""

    waiting: list[Waiting] = field(default_factory=list)
    """At most `vusniff.families.pairing.MAX_WAITING`: nearly always few, and much smaller than a deque."""
    asked: dict[int, Message] = field(default_factory=dict)
    """Code -> the last request, or the one that was answered last."""
    answered: dict[int, int] = field(default_factory=dict)
    """Code -> number of the last reply to one."""
    wrong_reply: int = 0
    """Number of a reply that answered nothing, until the next request."""
    late_said: int = 0
    """Number of the last request that was said to wait for too long."""
    unread: dict[Sender | None, Message] = field(default_factory=dict)
    """Side -> the last that it said, where that is not a whole message; of several raw stretches in a row the first."""
    lost: bool = False
    """Something of it was lost."""


class Spoken(NamedTuple):
    """Bytes that are no message: the first that came from one side of a session."""

    number: int
    side: Sender | None
    """None while neither side has said anything else."""
    data: bytes
    """At most `MAX_SPOKEN` of them."""
    comm: str = ""
    """Name of the process that said it, empty where not known."""


class PreviousSession(NamedTuple):
    """What the next session on the same path is measured against."""

    session: int
    offered: Seen[int] | None
    features: Seen[int] | None
    protocol_offered: Seen[int] | None
    running: tuple[tuple[int, int], ...]
    """Rings that ran when it ended, and the messages that started them."""
    objects: dict[str, int]


class Asked(NamedTuple):
    """When something was asked for."""

    number: int
    """Of the message."""
    time_ns: int


class DriverSeen(NamedTuple):
    """When the driver of a ring, which has wanted interrupts, was last seen to do something."""

    since_ns: int
    masked: bool
    """It has masked its interrupts."""
    available: int
    used: int
    """Where the ring stood then."""


class LogSeen(NamedTuple):
    """The dirty log while it is in use."""

    by: int
    """Number of the last message that it needs."""
    first_ns: int
    """When the first sample was taken while it was in use."""
    most: int | None
    """The most pages that were set; None where it was not read."""


@dataclass(slots=True)
class SessionHistory:
    """What a session's rules need of its past that `DeviceState` does not keep."""

    session: int
    complete: bool
    """Seen from its first byte, and so far nothing was lost, cut or unreadable."""
    late: bool = False
    """Not seen from its first byte."""
    previous: PreviousSession | None = None
    from_log: bool = False
    """A log tells of it: no bytes were seen."""
    timed: bool = True
    """Its times were measured; else they only keep the order."""
    roles: tuple[str, str] = ("front-end", "back-end")
    """What its family calls the two sides."""
    family: str = "vhost-user"
    """Name of its family."""
    unanswered: dict[int, Message] = field(default_factory=dict)
    """Requests of the front-end that wait for a reply by their number, in a family without rules; the first
    `MAX_UNANSWERED`."""
    device: str | None = None
    """Device type as far as deduced or given."""
    frontend: Peer = NOBODY
    backend: Peer = NOBODY
    links: dict[int, ConnectionHistory] = field(default_factory=dict)
    exits: list[Exit] = field(default_factory=list)
    """Ends of processes that held an end of its connections, as far as they came before the end of the session."""
    status_written: Seen[int] | None = None
    """Last SET_STATUS."""
    table_reply: int = 0
    """Number of a postcopy reply to SET_MEM_TABLE that the front-end has not acknowledged yet."""
    replaced: int = 0
    """Number of the last SET_MEM_TABLE that replaced memory while a ring ran."""
    misses: dict[int, Asked] = field(default_factory=dict)
    """I/O address of an IOTLB miss that has no update yet -> the first message that asked for it."""
    objects: dict[str, int] = field(default_factory=dict)
    """UUID of a shared object that the back-end added -> the message that did."""
    shmem: Seen[tuple[int, ...]] | None = None
    """Sizes of the shared memory regions."""
    device_state: int = 0
    """Number of the last SET_DEVICE_STATE_FD."""
    gpu_features: Seen[int] | None = None
    fresh: bool = True
    """Seen from its first byte, whatever was lost since."""
    unseen: bool = False
    """Whole messages of the front-end may be missing."""
    incomplete_since: int | None = None
    """Number of the last message before something was lost, cut or unreadable; None for never."""
    first_ns: int = 0
    """When its first message was sent."""
    answered: bool = False
    """The back-end has said something."""
    asked_back: Message | None = None
    """What the back-end said first on the main channel that has no reply flag."""
    kicked: bool = False
    """A ring was started."""
    spoken: dict[Sender | None, Spoken] = field(default_factory=dict)
    """Side -> what it said first that is no message."""
    last_main: Message | None = None
    """The last request on the main connection."""
    main_before: Message | None = None
    """The one before it."""
    last_reply: Message | None = None
    """The last reply there."""
    slow_ns: int = SLOW_NS
    """The longest wait for a reply there, of what is not slow by nature."""
    slowest: Message | None = None
    """The request that waited so long; None where none waited longer than `SLOW_NS`."""
    slow_before: Message | None = None
    """The request right before that one, where that has to do with memory and asked for no answer."""
    looked_ns: int = 0
    """When it was last looked at what waits."""
    used: int = 0
    """Rings that were stopped at another base than they began with."""
    unused: int = 0
    """Rings that were stopped at the base they began with: nothing of them was used."""
    last_stop: int = 0
    """Number of the last GET_VRING_BASE."""
    rings: dict[int, Vring] = field(default_factory=dict)
    """Those with addresses, as of when they were put into ``areas`` and ``logged``."""
    notifiers: dict[tuple[int, bool], str] = field(default_factory=dict)
    """(Ring, it is the kick) -> identity of its descriptor."""
    notified: dict[str, dict[tuple[int, bool], int]] = field(default_factory=dict)
    """Identity of a kick or call descriptor -> (ring, it is the kick) -> the message that set it."""
    areas: list[int] = field(default_factory=list)
    """Addresses of the rings' parts, ascending."""
    logged: list[tuple[int, int]] = field(default_factory=list)
    """End of the logged used ring, and the ring, ascending."""
    positions: dict[int, tuple[int, int, Position]] = field(default_factory=dict)
    """Ring -> the last request before its last sample, when that was, and where it stood then."""
    drivers: dict[int, DriverSeen] = field(default_factory=dict)
    """By ring."""
    dirty_pages: int | None = None
    """Pages in the dirty log, as last read."""
    log_seen: LogSeen | None = None
    said: frozenset[str] = frozenset()
    """Slugs of what is said once."""


@dataclass(slots=True)
class Step:
    """One message and what it meant."""

    before: DeviceState
    message: Message
    after: DeviceState
    memory: SessionHistory
    """Before this message."""
    link: ConnectionHistory
    """Of its connection."""
    values: dict[str, Any]
    """The payload's fields; those before the gap where it could not be decoded in full."""
    request: Message | None = None
    """Of a reply: the request it answers."""
    pairing: int = Pairing.NONE
    """A `Pairing`."""
    skipped: tuple[Message, ...] = ()
    """Older requests that wait, of a reply that is out of order and of a request that is sent while they wait."""
    late: Message | None = None
    """A request that waits for too long."""

    @property
    def asked(self) -> dict[str, Any] | None:
        """Of a reply: the fields of the request it answers; None where that was not seen or not decoded in full."""
        return decoded(self.request)

    def lacks(self, feature: enum.IntFlag) -> bool:
        """A protocol feature is surely not negotiated before this message."""
        return self.before.has(feature) is False and (self.memory.complete or self.before.protocol_features is not None)


@dataclass(slots=True)
class SessionEnd:
    """The end of a session, or of what is known of it."""

    state: DeviceState
    memory: SessionHistory
    closed: Closed | None
    """None: the capture ended first."""
    closer: Sender | None
    """Who closed the main connection first, where that is known."""
    time_ns: int
    """When it was closed, or of the last message of the capture."""
    standing: Standing | None = None
    """The same in plain values."""
    explained: bool = False
    """A finding says already what may have ended it: nothing is to be guessed."""

    @property
    def silent_ns(self) -> int:
        """How long the front-end had not asked anything."""
        last = self.memory.last_main
        return self.time_ns - last.time_ns if last else 0

    def apart(self, nanoseconds: int) -> str:
        """A time that passed as words with a space behind; empty where times were not measured."""
        return f"{duration(nanoseconds)} " if self.memory.timed else ""
