"""What a scenario for a front-end is: a row of pure data. Plays nothing.

A front-end asks in its own order; so a row says what our back-end offers, what it does otherwise than a good one upon
which request, and what the front-end is to do.
"""

from __future__ import annotations

import enum

from vusniff.conformance.scenario import Body, Demand, P
from vusniff.families.vhost_user.protocol import F_PROTOCOL_FEATURES
from vusniff.values import dataclass, field

VERSION_1 = 1 << 32
TABLE = P.MQ | P.REPLY_ACK | P.CONFIG | P.BACKEND_REQ | P.BACKEND_SEND_FD | P.STATUS | P.RESET_DEVICE
"""Protocol features of a good back-end that takes its memory by tables."""
OFFERED = TABLE | P.CONFIGURE_MEM_SLOTS
"""Those of one that takes it by regions, too."""


class Goal(enum.Enum):
    """What the front-end is to do."""

    RUNS = "a ring is started and enabled"
    MOVES = "a request comes through a ring"
    LEAVES = "it closes the connection"
    RETURNS = "it connects again"
    ANSWERS = "it answers the back-end's request with 0"
    REFUSES = "it answers the back-end's request with a value other than 0"
    REPLIES = "it answers the back-end's request"
    QUIET = "it does not answer the back-end's request"
    ENDURES = "it goes on, or leaves"


class Act(enum.Enum):
    """What our back-end does with a request."""

    VALUE = "replies with a number"
    REFUSE = "acknowledges with 1"
    OTHER_REQUEST = "replies under another request"
    NO_REPLY_FLAG = "replies without the reply flag"
    VERSION_0 = "replies with version 0"
    SHORT = "replies with 4 bytes too few"
    LONG = "replies with 8 bytes too many"
    EMPTY = "replies without a payload"
    HUGE = "replies with a header that promises 1 MiB"
    TWICE = "replies twice"
    LATE = "replies after a moment"
    BYTES = "replies byte by byte"
    TWO_SENDS = "replies with header and payload in two sends"
    SILENT = "does not reply"
    CLOSE = "closes the connection"
    HALF = "says half a reply, and closes the connection"
    UNASKED = "says a reply that nobody waits for, before it does what it should"
    DEAF = "stops reading for a moment"


@dataclass(frozen=True, slots=True)
class Departure:
    """What the peer does differently at the first such request."""

    request: int
    act: Act
    value: int = 0


@dataclass(frozen=True, slots=True)
class OwnRequest:
    """A request of our back-end on its channel, once a ring runs."""

    request: int
    body: Body = ()
    fds: tuple[str, ...] = ()
    need_reply: bool = True
    claims: int | None = None
    """What the header says of the payload's size, where that is not its size."""
    flags: int | None = None
    then_close: bool = False
    """The channel is closed behind it."""


@dataclass(frozen=True, slots=True)
class Manner:
    """One row for a front-end."""

    id: str
    about: str
    section: str
    says: str
    goal: Goal
    turns: tuple[Departure, ...] = field(default=(), repr=False)
    own: OwnRequest | None = field(default=None, repr=False)
    features: int = F_PROTOCOL_FEATURES | VERSION_1
    """Offered beside those of the device."""
    plain: bool = False
    """The features of the device are not offered."""
    protocol: P = OFFERED
    needs: P = P(0)
    """Protocol features that the front-end has to take for it."""
    asks: int | None = None
    """A request that it has to say for it."""
    demand: Demand = Demand.MUST
    judged: bool = True
    """What it says is held to the rules of `vusniff check`, too."""
    queues: int = 8
    device: tuple[str, ...] = ()
