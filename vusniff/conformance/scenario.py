"""What a scenario is: a row of pure data. Plays nothing.

A scenario fails a peer only where the specification says must: else what was not as expected makes it inconclusive. A
peer that is killed by a signal, or neither answers nor closes in time, always fails.
"""

from __future__ import annotations

import enum

from vusniff.families.vhost_user.protocol import FrontendRequest, ProtocolFeature
from vusniff.values import dataclass, field

P = ProtocolFeature
USUAL = P.MQ | P.REPLY_ACK
"""Protocol features that a scenario negotiates where they are offered; a row asks for more, or for fewer."""
Body = tuple[str | int | bytes, ...]
"""A payload: a format of `struct` in native byte order, and its values. A word stands for what the peer said before
(`vusniff.conformance.words`)."""


class Result(str, enum.Enum):
    """What came of a scenario."""

    PASS = "pass"
    FAIL = "fail"
    NOT_APPLICABLE = "not applicable"
    """The peer does not offer what the scenario is about."""
    INCONCLUSIVE = "inconclusive"
    """Not as expected, and the specification does not demand it; or it could not be seen."""

    __str__ = str.__str__


class Demand(str, enum.Enum):
    """How firmly the specification asks for what is expected."""

    MUST = "must"
    SHOULD = "should"
    """Recommended, or only implied: a peer that does otherwise makes the scenario inconclusive."""

    __str__ = str.__str__


class Expect(enum.Enum):
    """What is to come of a message."""

    NOTHING = "nothing is waited for"
    DONE = "it is done: acknowledged with 0 where acknowledgements are negotiated, and the next request is answered"
    REPLY = "its own reply"
    REFUSED = "it is refused: acknowledged with a value other than 0, or the connection is closed"
    CLOSED = "the connection is closed"
    SILENT = "it is taken, and not answered"
    ANY = "it is done, refused or ignored, or the connection is closed"


@dataclass(frozen=True, slots=True)
class Say:
    """One message."""

    request: int
    body: Body = ()
    fds: tuple[str, ...] = ()
    """Names of descriptors (`vusniff.conformance.things`)."""
    expect: Expect = Expect.DONE
    flags: int | None = None
    """None: version 1, with need_reply where that gets what is expected."""
    demand: Demand = Demand.MUST
    equals: Body = ()
    """The payload of the reply."""
    check: str = ""
    """What the reply has to be, by its name in `vusniff.conformance.replies`."""
    keep: str = ""
    """The word by which later payloads name the reply's number."""
    when: ProtocolFeature = P(0)
    """Said only where these are negotiated."""
    claims: int | None = None
    """What the header says of the payload's size, where that is not its size."""


@dataclass(frozen=True, slots=True)
class Start:
    """The rings of the device are set up, started and enabled, each in this order of messages."""

    order: tuple[str, ...] = ("num", "base", "addr", "kick", "call", "enable")
    ring: int | None = None
    """None: all that the device needs for its work."""
    size: int = 256
    base: int | str = 0
    polled: bool = False
    """No kick descriptor."""
    silent: bool = False
    """No call descriptor."""
    log: bool = False
    """Writes to the used ring are logged."""
    fresh: bool = False
    """Both indices in memory begin at 0 again."""
    packed: bool = False
    expect: Expect = Expect.DONE


@dataclass(frozen=True, slots=True)
class Stop:
    """The rings of the device are stopped; each stops where it was used up to."""

    ring: int | None = None
    demand: Demand = Demand.MUST


@dataclass(frozen=True, slots=True)
class Alive:
    """The back-end still answers."""


@dataclass(frozen=True, slots=True)
class Work:
    """The device does its work: real requests go through its rings, and data moves."""

    demand: Demand = Demand.MUST
    high: bool = False
    """The buffers lie in the region above 4 GiB."""
    whole: bool = False
    """Also what may not come, such as a frame: without it the scenario is inconclusive."""
    logged: bool = False
    """The pages of all buffers that the device has written are marked in the dirty log."""


@dataclass(frozen=True, slots=True)
class Called:
    """The device does its work, and signals the call descriptor."""


@dataclass(frozen=True, slots=True)
class Disabled:
    """A frame is sent on a ring that is disabled: it is taken, or nothing comes of it."""

    takes: bool


@dataclass(frozen=True, slots=True)
class Rest:
    """A request is made available and kicked, and nothing may come of it: the ring is stopped."""

    demand: Demand = Demand.MUST


@dataclass(frozen=True, slots=True)
class Offer:
    """Puts bytes into memory and a descriptor on a ring, and kicks: what a driver in the guest may do wrong."""

    ring: int | None
    """None: the one that takes requests."""
    descriptors: tuple[tuple[int, int, int, int], ...]
    """Guest address, length, flags, next: from slot 0 on."""
    head: int = 0
    ahead: int = 1
    """How far the available index goes."""


@dataclass(frozen=True, slots=True)
class Pieces:
    """The next message goes out in pieces of so many bytes, each a send of its own."""

    size: int = 1


@dataclass(frozen=True, slots=True)
class Joined:
    """So many messages go out in one send, and are answered in their order."""

    said: tuple[Say, ...]


@dataclass(frozen=True, slots=True)
class Flood:
    """A request is said so often while its replies are not read; then they are."""

    request: int
    times: int
    read: bool = True
    """The replies are read in the end."""


@dataclass(frozen=True, slots=True)
class Half:
    """The first bytes of a message, and then the end of the connection."""

    request: int
    body: Body
    size: int
    """Bytes that go out."""


@dataclass(frozen=True, slots=True)
class Again:
    """The connection is closed and another is made."""


@dataclass(frozen=True, slots=True)
class Marked:
    """The page of the used ring is marked in the dirty log."""

    demand: Demand = Demand.SHOULD


@dataclass(frozen=True, slots=True)
class Drop:
    """Our copies of a descriptor and its other end are closed."""

    name: str


Step = (
    Say
    | Start
    | Stop
    | Alive
    | Work
    | Called
    | Disabled
    | Rest
    | Offer
    | Pieces
    | Joined
    | Flood
    | Half
    | Again
    | Marked
    | Drop
)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One row for a back-end."""

    id: str
    about: str
    """What is done, in words."""
    section: str
    """Of the vhost-user document of QEMU 11.1."""
    says: str
    """Its sentence, shortened; empty where it is silent."""
    steps: tuple[Step, ...] = field(repr=False)
    needs: ProtocolFeature = P(0)
    """Protocol features that have to be offered."""
    features: int = 0
    """Bits of GET_FEATURES that have to be offered, and are acknowledged."""
    also: ProtocolFeature = P(0)
    """Negotiated beside `USUAL`, where they are offered."""
    never: ProtocolFeature = P(0)
    """Not negotiated."""
    device: tuple[str, ...] = ()
    """Kinds of device it is for; none: all."""
    rings: int = 1
    """Queues that the device has to have."""
    demand: Demand = Demand.MUST
    """That the connection is not closed."""

    @property
    def works(self) -> bool:
        """Whether data has to move: it needs a kind of device whose requests are known."""
        return any(isinstance(step, (Work, Called, Disabled, Marked)) for step in self.steps)


def request_of(step: Step) -> FrontendRequest | None:
    """The request of a step that says one."""
    number = getattr(step, "request", None)
    return FrontendRequest(number) if number in set(FrontendRequest) else None
