"""What a rule is and what it says: the words of a verdict, without any rule."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from vusniff.channel import Channel, Sender
from vusniff.values import dataclass

if TYPE_CHECKING:
    from vusniff.checks.rings import Look
    from vusniff.checks.step import SessionEnd, Step


class Severity(str, enum.Enum):
    """How bad a finding is, worst first."""

    ERROR = "error"
    """The specification says must, and it was not so."""
    WARNING = "warning"
    """Implementations disagree about it, or some refuse it."""
    NOTE = "note"
    """Worth knowing."""

    __str__ = str.__str__

    @property
    def rank(self) -> int:
        """0 for the worst."""
        return _RANKS[self]


_RANKS = {severity: rank for rank, severity in enumerate(Severity)}


class Side(str, enum.Enum):
    """Who is to blame."""

    FRONTEND = "frontend"
    BACKEND = "backend"
    EITHER = "either"

    __str__ = str.__str__


SIDES = {Sender.FRONTEND: Side.FRONTEND, Sender.BACKEND: Side.BACKEND, None: Side.EITHER}


class Level(str, enum.Enum):
    """Where a rule comes from."""

    MUST = "must"
    SHOULD = "should"
    DERIVED = "derived"
    """From layouts, or from what implementations enforce."""
    KNOWN = "known"
    """The specification demands it, and QEMU or another common implementation breaks it without harm."""
    TRAP = "trap"
    """A known way in which implementations do not fit together."""

    __str__ = str.__str__


SEVERITIES = {
    Level.MUST: Severity.ERROR,
    Level.SHOULD: Severity.WARNING,
    Level.DERIVED: Severity.WARNING,
    Level.KNOWN: Severity.NOTE,
    Level.TRAP: Severity.WARNING,
}


class Trigger(enum.Enum):
    """What makes a rule be asked, beside a request or reply of a certain code."""

    HEADER = "the flags are not what this sender's messages have"
    PAYLOAD = "the payload does not fit its layout"
    DESCRIPTORS = "descriptors came with it"
    NEED_REPLY = "need_reply is set"
    UNCOUNTED = "need_reply is set, and features were negotiated in another way than most front-ends do"
    PAIRING = "a reply does not fit the requests that wait"
    WRONG_BEFORE = "a request follows a wrong reply"
    UNKNOWN = "the request is not in the specification"
    LATE = "a request waits for too long"
    FAILED = "an acknowledgement says failure"
    UNOWNED = "a main request while SET_OWNER was not seen"
    STREAM = "a message is not whole, or follows one that is not"
    POSTCOPY = "a main request between POSTCOPY_LISTEN and POSTCOPY_END"
    CALL = "a call to vhost in the kernel"

    __hash__ = object.__hash__  # that of Enum is Python code, and these are looked up with every message


class Key(NamedTuple):
    """A request or a reply of one code."""

    channel: Channel
    request: int
    reply: bool


class Said(NamedTuple):
    """What a rule has to say of a step."""

    sentence: str
    """What happened, with the values in it."""
    evidence: tuple[int, ...] = ()
    """Numbers of further messages that prove it."""
    side: Side | None = None
    """Where it is not the rule's."""
    severity: Severity | None = None
    """Where it is not the rule's."""
    number: int | None = None
    """The message it stands at, where that is not the one that brought it up."""


Sayings = tuple[Said, ...]
FINE: Sayings = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: the row of the table."""

    id: str
    """``R01`` up for rules of the specification, ``T01`` up for traps."""
    slug: str
    """Its stable name."""
    level: Level
    side: Side
    section: str
    """Section of the vhost-user specification, or the source of what it does not say."""
    judge: Callable[[Step], Sayings] | None = None
    """Asked at a message."""
    on: tuple[Key | Trigger, ...] = ()
    """When ``judge`` is asked."""
    at_end: Callable[[SessionEnd], Sayings] | None = None
    """Asked when the session ends."""
    at_sample: Callable[[Look], Sayings] | None = None
    """Asked with each ring of each sample."""
    complete_only: bool = False
    """Judged only in a session that was seen from its first byte, with nothing lost, cut or unreadable."""
    once: bool = False
    """Said once in a session: what follows is the same fact."""
    unread: bool = False
    """Judged also when the payload could not be read in full."""
    remark: str = ""
    """What it demands, for a rule without a function."""

    @property
    def function(self) -> Callable[[Any], Sayings] | None:
        """The one that judges; None for a rule that nothing in a capture can break."""
        return self.judge or self.at_end or self.at_sample

    @property
    def words(self) -> str:
        """What it demands, in one line: the first of its function's docstring."""
        function = self.function
        return ((function.__doc__ if function else "") or self.remark).partition("\n")[0].rstrip(".")

    @property
    def severity(self) -> Severity:
        """Of its findings, where they do not say otherwise."""
        return SEVERITIES[self.level]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or worth knowing."""

    rule: str
    """Slug."""
    severity: Severity
    side: Side
    section: str
    sentence: str
    number: int
    """The message it stands at."""
    evidence: tuple[int, ...]
    """The messages that prove it, ascending, ``number`` among them."""
    session: int
