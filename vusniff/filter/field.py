"""What a field of the filter language is: its name, its type, where its value comes from. Knows no single field."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from vusniff.channel import Channel, Sender
from vusniff.record import Descriptor, LogLine, Process, Stack
from vusniff.values import dataclass, field

if TYPE_CHECKING:
    from vusniff.analysis.rings import RingSpan
    from vusniff.checks.finding import Finding
    from vusniff.families.family import State
    from vusniff.message import Context


class ValueKind(enum.Enum):
    """What values a field has, and so what it can be compared with."""

    NUMBER = "number"
    BOOLEAN = "true or false"
    TEXT = "text"
    BYTES = "bytes"
    SECONDS = "time"
    """Nanoseconds inside; a number without a unit means seconds."""
    NANOSECONDS = "duration"
    """A number without a unit means nanoseconds."""
    BITS = "bits"
    """A number whose bits have names."""
    REQUEST = "request"
    """A number whose names depend on the channel."""


class Origin(enum.Enum):
    """Where a value comes from: what has to be read to know it."""

    HEADER = "header"
    CONNECTION = "connection"
    ANSWER = "request and reply"
    PAYLOAD = "payload"
    BYTES = "bytes"
    DESCRIPTOR = "descriptor"
    PROCESS = "process"
    FINDING = "finding"
    STACK = "call stack"
    LOG = "line of a log"
    RING = "ring"
    STATE = "state of the device"


class PayloadKey(NamedTuple):
    """The messages that may have a field of the payload."""

    channel: str
    request: int | None
    """None: of any request."""
    reply: bool


class MessageLike(Protocol):
    """What a filter reads of a message: `vusniff.message.Message`, or as much of one as the filter needs."""

    @property
    def number(self) -> int: ...
    @property
    def time_ns(self) -> int: ...
    @property
    def session(self) -> int: ...
    @property
    def connection(self) -> int: ...
    @property
    def channel(self) -> Channel: ...
    @property
    def sender(self) -> Sender | None: ...
    @property
    def request(self) -> int | None: ...
    @property
    def name(self) -> str: ...
    @property
    def flags(self) -> int: ...
    @property
    def version(self) -> int: ...
    @property
    def reply(self) -> bool: ...
    @property
    def need_reply(self) -> bool: ...
    @property
    def size(self) -> int: ...
    @property
    def payload(self) -> dict[str, Any] | None: ...
    @property
    def layout(self) -> str | None: ...
    @property
    def data(self) -> bytes: ...
    @property
    def trailing(self) -> bytes: ...
    @property
    def malformed(self) -> str | None: ...
    @property
    def descriptors(self) -> tuple[Descriptor, ...]: ...
    @property
    def process(self) -> Process | None: ...
    @property
    def answers(self) -> int | None: ...
    @property
    def answered_by(self) -> int | None: ...
    @property
    def latency_ns(self) -> int | None: ...
    @property
    def stack(self) -> Stack | None: ...
    @property
    def restated(self) -> bool: ...
    @property
    def more(self) -> Mapping[str, int]: ...


class Surroundings(Protocol):
    """What is known of a message's capture beside the message."""

    @property
    def first_ns(self) -> int:
        """When the first message was sent."""

    def path(self, connection: int) -> str | None:
        """Where a connection's listening end is bound."""

    def findings(self, number: int) -> tuple[Finding, ...]:
        """The findings that stand at a message."""

    def logs(self, number: int) -> Sequence[LogLine]:
        """The lines of logs that stand between a message and the next one; before the first they are the first's."""

    def rings(self, number: int) -> tuple[RingSpan, ...]:
        """Where the rings of a message's session stood before the session's next message."""

    def device(self, number: int) -> tuple[State, Context] | None:
        """The device of a message's session before the message, and how its bytes are read; None where unknown."""

    def phase(self, number: int) -> str | None:
        """The phase of its session that a message belongs to."""


Read = Callable[[MessageLike, Surroundings], Any]
"""The value of a field, or of one with several values all of them; None or nothing where the message has none."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field."""

    name: str
    kind: ValueKind
    origin: Origin
    about: str
    read: Read
    several: bool = False
    """A message may have more than one value; ``read`` returns a sequence."""
    names: Mapping[str, int] = field(default_factory=dict)
    """Names of its numbers (of BITS: as masks, where all devices agree on them)."""
    words: tuple[str, ...] = ()
    """All texts it can have, where they are a closed set; may be written without quotes."""
    bits: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Of BITS: name in any form -> the names that mean it in a decoded message."""
    bit_names: Read | None = None
    """Of BITS: the names of the bits that are set."""
    keys: frozenset[PayloadKey] = frozenset()
    """Of PAYLOAD: the messages that may have it."""
    paths: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Of PAYLOAD: name of a layout -> where it stands there, ``*`` for every element of an array."""
