"""The contract between the spine and its dissectors, and the decoded message itself.

A dissector is data: a table of `MessageSpec` rows whose layouts are construct declarations. It is found by the
entry-point group ``vusniff.dissectors``; ours (`vusniff_dissectors`) arrives the same way as a vendor's.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from vusniff.channel import Channel, Sender
from vusniff.record import NO_FACTS, Facts, HasFacts, Process
from vusniff.told import Told
from vusniff.values import dataclass, field

if TYPE_CHECKING:
    from construct import Construct


NOT_CAPTURED = "payload not captured in full"
"""How the sentence begins of a payload that its sender did not spoil: bytes of it are not in the capture."""


@dataclass(frozen=True, slots=True)
class Context:
    """What decides a layout beyond the header: the part of a session's state that changes how bytes are read."""

    order: str = "little"
    """Byte order of the host, ``little`` or ``big``."""
    xen_mmap: bool = False
    """VHOST_USER_PROTOCOL_F_XEN_MMAP is negotiated: memory regions have 40 bytes."""
    log_shmfd: bool = False
    """VHOST_USER_PROTOCOL_F_LOG_SHMFD is negotiated: SET_LOG_BASE is answered."""
    packed: bool | None = None
    """VIRTIO_F_RING_PACKED is negotiated; None when SET_FEATURES was not seen."""
    postcopy: bool = False
    """POSTCOPY_LISTEN was sent and POSTCOPY_END was not: memory tables are answered with tables."""
    device: str | None = None
    """Device type (``net``, ``blk``, ...) as far as deduced or given: names feature bits and config space."""
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Each message is looked up by its context: worked out anew, a filter on payloads takes a tenth longer
        # (bench_filter.py).
        values = (self.order, self.xen_mmap, self.log_shmfd, self.packed, self.postcopy, self.device)
        object.__setattr__(self, "_hash", hash(values))

    def __hash__(self) -> int:
        return self._hash


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """A function for Computed: the fields of another structure that lie wholly in bytes which are a part of it.

    It tells a program that only reads declarations (the generator of the Wireshark dissector) what ``decode`` does.
    """

    decode: Callable[[Mapping[str, Any]], dict[str, Any]]
    """The values before it -> the fields."""
    data: str
    """Name of the field of bytes."""
    offset: str
    """Name of the field that says where in the structure these bytes begin."""
    structure: Construct[Any, Any]
    """A Struct of fixed size, little-endian on every host."""
    names: Mapping[str, Names]

    def __call__(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return self.decode(values)


Names = type[enum.IntFlag] | type[enum.IntEnum] | Callable[[Context], type[enum.IntFlag]]


def enum_of(names: Names, context: Context) -> type[enum.IntFlag] | type[enum.IntEnum]:
    """What bits or values are called in a context."""
    return names if isinstance(names, type) else names(context)


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """One payload layout; construct is its only definition. Two layouts are equal only when they are the same object.

    The construct is a Struct. Its values reach the user as plain JSON: bytes become hex strings, so a field that
    reads better as something else (a MAC, a UUID) is an Adapter. Adapters and Computed functions work from the values
    before them alone (a Computed function gets a mapping and reads it by item), so that a generated parser may call
    them.
    """

    name: str
    """The kind, as in `views.text` and the reference page: ``vring_state``."""
    construct: Callable[[str], Construct[Any, Any]]
    """Byte order (``little``, ``big``) -> construct of the payload."""
    names: Mapping[str, Names] = field(default_factory=dict)
    """Field name (at any depth) -> what its bits (IntFlag) or values (IntEnum) are called."""


@dataclass(frozen=True, slots=True, eq=False)
class Alternatives:
    """Several layouts of which context and payload size choose one. ``layouts`` lists them for pages and tests."""

    layouts: tuple[Layout, ...]
    pick: Callable[[Context, int], Layout | None]
    """Context and payload size -> one of ``layouts``, or None for an empty payload."""

    def __call__(self, context: Context, size: int) -> Layout | None:
        return self.pick(context, size)


Choice = Layout | None | Alternatives | Callable[[Context, int], Layout | None]
"""A layout, none (empty payload), or one chosen by context and payload size."""


@dataclass(frozen=True, slots=True)
class MessageSpec:
    """One request of a channel: the row that drives dissection, checks, explanations and reference pages."""

    code: int
    name: str
    """As in the specification, without VHOST_USER_."""
    payload: Choice = None
    reply: Choice = None
    """Layout of its own reply. A chooser may return the acknowledgement's layout where only the size tells."""
    answered: bool = False
    """It has a reply of its own, whatever need_reply says; else a reply is an acknowledgement (u64, 0 is success)."""
    may_answer: Callable[[Context], bool] | None = None
    """It has a reply of its own in some contexts only (SET_LOG_BASE with LOG_SHMFD, memory tables in postcopy)."""
    fds: tuple[int, int] = (0, 0)
    """Fewest and most descriptors of the request."""
    reply_fds: tuple[int, int] = (0, 0)
    fds_meaning: str = ""
    reply_fds_meaning: str = ""
    requires: enum.IntFlag | None = None
    """Protocol feature that must be negotiated."""
    requires_feature: str | None = None
    """Feature bit and state that is needed, such as ``VHOST_USER_F_PROTOCOL_FEATURES offered``."""
    aliases: tuple[str, ...] = ()
    about: str = ""
    """One line: what it is for."""
    sent_by: str = ""
    """Who sends it when, with the QEMU functions."""
    handled_by: str = ""
    """Who handles it: the DPDK or libvhost-user function."""
    section: str = ""
    """Section of the specification."""

    def has_reply(self, context: Context) -> bool:
        """Whether it has a reply of its own in a context, whatever need_reply says."""
        return self.answered or bool(self.may_answer and self.may_answer(context))


@dataclass(frozen=True, slots=True)
class Dissector:
    """The requests of one channel. An entry point of the group ``vusniff.dissectors`` names a tuple of these."""

    channel: str
    """Name of the channel, such as ``main``."""
    specs: Mapping[int, MessageSpec]
    ack: Layout | None = None
    """Layout of a reply to a request that has none of its own; None where the channel knows no acknowledgements."""
    headers: Mapping[str, Layout] = field(default_factory=dict)
    """Device type -> how a request in its rings begins."""


@dataclass(frozen=True)
class Message(HasFacts):
    """One decoded message. Unknown is None; numbers are integers; nothing in it refers to the file it came from.

    Without slots, so that `vusniff.analysis.compose` can make one of ready fields: a million at a time are made
    and let go.
    """

    number: int
    """Counts from 1 in its capture; the packet number in Wireshark."""
    time_ns: int
    session: int
    connection: int
    channel: Channel
    sender: Sender | None
    request: int | None
    """None for bytes that have no header (`vusniff.record.FrameKind`)."""
    name: str
    flags: int
    size: int
    """Payload bytes by the header; all bytes of what has no header."""
    payload: dict[str, Any] | None
    """Values by field name; None when nothing could be decoded; ``{}`` when the payload is empty."""
    data: bytes
    """Header and payload as captured."""
    facts: Facts = NO_FACTS
    """What the source knew of it besides its bytes."""
    speaker: Process | None = None
    """The process at the end that sent it, where ``facts`` name none."""
    answers: int | None = None
    """Number of the request this replies to."""
    answered_by: int | None = None
    """Number of the reply to this request, as far as it has been seen."""
    latency_ns: int | None = None
    """Of a reply: time since its request. Of an answered request: time to its reply."""
    missing: int = 0
    """Bytes of it that were sent but not captured."""
    malformed: str | None = None
    """What does not fit, as a sentence; also that it was not captured in full, where bytes are `missing`."""
    trailing: bytes = b""
    """Bytes behind the layout."""
    layout: str | None = None
    """Name of the layout the payload was read by; ``ack`` for an acknowledgement, None for raw bytes."""
    spec: MessageSpec | None = None
    told: Told | None = None
    """What a log says of it, where no bytes of it were seen: then ``data`` is empty, ``size`` is 0 and ``flags`` say no
    more than whether it is a reply, unless the log says so."""
    restated: bool = False
    """It was sent before the file begins, and stands there because the present state is made up of it."""
    more: Mapping[str, int] = field(default_factory=dict)
    """What else its header holds by name (`vusniff.channel.Header.more`); shared, never changed."""

    @property
    def process(self) -> Process | None:
        """The sender."""
        return self.facts.process or self.speaker

    @property
    def failed(self) -> bool:
        """It is a reply whose header says that its request failed."""
        return self.channel.header.is_failed(self.flags)

    @property
    def reply(self) -> bool:
        """It answers a request, by its header."""
        return self.channel.is_reply(self.flags, self.sender)

    @property
    def need_reply(self) -> bool:
        """It is a request that wants a reply, by its header."""
        return self.channel.header.is_need_reply(self.flags)

    @property
    def version(self) -> int:
        """The header's version; 0 where it has none."""
        return self.flags & self.channel.header.version
