"""What every family brings: data and a few pure functions. The rest of the program knows a family by its row only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from vusniff.channel import Channel
from vusniff.families.pairing import NOTHING_DUE, Due
from vusniff.families.setting import Setting
from vusniff.message import Context, Message
from vusniff.values import dataclass, field

if TYPE_CHECKING:
    from vusniff.families.phase import Phase, PhaseKind
    from vusniff.families.places import Places
    from vusniff.families.vhost_user.device import Guess
    from vusniff.record import Frame

HEAD = 12
"""Bytes of a header from which every family can tell the size of a message."""

Bytes = bytes | bytearray | memoryview
MessageSize = Callable[[Bytes, str, int], int | None]
"""Bytes, byte order and the offset of a header in them, of which `HEAD` bytes are there -> bytes of the whole message,
header included; None when no header can be there."""


class Reading(Protocol):
    """What the messages of one session have said so far about how its bytes are read. Immutable."""

    @property
    def order(self) -> str:
        """Byte order, ``little`` or ``big``."""

    @property
    def context(self) -> Context:
        """What the dissectors are given."""

    @property
    def guess(self) -> Guess | None:
        """The device type."""

    def after(self, request: int, is_reply: bool, payload: bytes) -> Reading:
        """What is known after a message of the main channel that `Family.reads` names; may be equal to this."""


@dataclass(frozen=True, slots=True)
class Sign:
    """How the kernel program of the probe recognises a stream, by the header at the beginning of a send.

    It asks less than `Family.first`: the kernel decides which sockets are followed, not what they carry.
    """

    last: int
    """Greatest request; the smallest is 1."""
    flags: tuple[tuple[int, int], ...]
    """(Bits that may be set, value of all others): one of these fits the flags."""
    largest: int
    """Bytes of the largest payload."""
    zero: int = 0
    """Offset of 4 bytes that are zero in a request; 0: there are none."""


@dataclass(frozen=True, slots=True)
class StateTable:
    """A part of a device's state as views print it: plain text in cells."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    by: Sequence[int] = ()
    """Of each row the number of the message that set it, 0 for none."""


class ShownState(Protocol):
    """A state that says itself how it is shown."""

    @property
    def fresh(self) -> bool:
        """Followed from the first byte of the connection."""

    def tables(self) -> Sequence[StateTable]:
        """The state as tables for people."""

    def values(self) -> dict[str, Any]:
        """The state as plain JSON values."""


State = Any
"""A device as its session has shown it so far, immutable: a `ShownState`, but of vhost-user, whose state the views know
and show in ways of their own."""


class PhasesOf(Protocol):
    """The phases of one session, fed with its messages in their order."""

    def follow(self, messages: Iterable[tuple[int, int, int, int, Channel]]) -> None:
        """Number, time in nanoseconds, request (0 without a header), flags and channel of each message."""

    @property
    def kind(self) -> PhaseKind | None:
        """The phase that the last message belongs to; None before the first."""

    def phases(self, now_ns: int = 0, closed_ns: int | None = None) -> tuple[Phase, ...]:
        """All so far; ``now_ns`` is the latest time in the capture, ``closed_ns`` when the session ended."""


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """One protocol."""

    name: str
    """As in a capture file: ``vhost-user``. Wireshark finds the dissector of one of up to 12 bytes
    (`vusniff.capture.packet.NAME_LIMIT`)."""
    main: Channel
    """The channel of a connection that no other connection opened."""
    unknown: Channel
    """The channel of a connection that is not recognised."""
    channels: tuple[Channel, ...]
    devices: tuple[str, ...]
    """Short names of the device types that its sessions may be about."""
    openings: Mapping[tuple[Channel, int, bool], Channel]
    """Channel, request and whether it is the reply -> what a socket carries that is passed as its first descriptor."""
    request_name: Callable[[Channel, int], str]
    """Channel and request code -> its name in the specification, ``REQUEST_<code>`` for one that it does not have."""
    message_size: MessageSize
    first: MessageSize
    """The same for the first header of a stream: how the family is recognised."""
    sign: Sign
    begins: MessageSize
    """The same for bytes that may be anything, such as the first ones of a stream that is joined late."""
    likely_channel: Callable[[Frame, int, int], Channel]
    """The channel of a connection that nothing seen has opened, by the frame, request and flags of one message."""
    reading: Callable[[str, str | None, tuple[str, ...]], Reading]
    """Byte order, device type given by the user, names of the programs at both ends -> what is known at the start."""
    reads: frozenset[tuple[int, bool]]
    """Request, and whether it is the reply, of the main channel's messages that `Reading.after` learns from."""
    other_way: frozenset[int]
    """Requests of the main channel that are sent by the side that otherwise only replies there."""
    identify: Callable[[bytes, str], int] | None
    """Bytes of a message and byte order -> the id by which a reply names its request; None: replies come in order."""
    initial: Callable[[bool], State]
    """Whether a session is followed from its first byte -> the state of its device before the first message."""
    advance: Callable[[State, Message], State]
    """State and message -> the state after it; the same object when the message changes nothing."""
    phases: Callable[..., PhasesOf]
    """``phases(value, opened_ns, previous_end_ns=..., joined_late=...)``: see `vhost_user.phases.Phases`."""
    value_of: Callable[[int, bytes, str], int | None]
    """Request, payload and byte order -> the number that phases ask for."""
    roles: tuple[str, str] = ("front-end", "back-end")
    """What the front-end and the back-end are called where words are shown."""
    prefix: str = "VHOST_USER_"
    """What stands before the names of its requests in the specification."""
    fields: str = "vhost"
    """How the names of its fields begin, in filters and in Wireshark."""
    own: str = ""
    """The same of the fields of its header, where families share `fields`."""
    transport: str = ""
    """Who serves the device, as filters say it: ``user`` (another process), ``kernel``, ``vdpa``, ``vduse``."""
    qemu: Mapping[str, str] = field(default_factory=dict)
    """Device on QEMU's command line -> its property that holds the path of the socket; not those with a chardev."""
    words: Mapping[str, Callable[[dict[str, Any], int, bool], str]] = field(default_factory=dict)
    """Name of a layout -> what its payload says in a few words, by its values, the request, and whether it is the
    reply. A layout that is in no such table is worded as its fields."""
    largest: Callable[[Channel, int], int] | None = None
    """Channel and request -> bytes of the largest payload that is believed; None: `message_size` believes in each it
    tells. What is larger is read on, until a header is found in it."""
    find: Callable[[Bytes, str, int, Channel], int | None] | None = None
    """Bytes of a channel that may be anything, byte order, an offset -> the offset there or behind of the first header
    that surely is one, None for none. Linear in the bytes. None: one is looked for only where a send begins."""
    as_user: Callable[[Any, Message], Iterable[Message]] | None = None
    """State and message -> how vhost-user says the same: a request, or it and its reply; nothing where it cannot.
    None: of this family no message means one of vhost-user's."""
    places: Callable[[State], Places] | None = None
    """State -> where the rings are in memory; None: rings of this family are not read."""
    device_of: Callable[[str], str | None] = lambda path: None
    """Path of a connection -> the device type that it is for; None where the path does not tell."""
    setting: Callable[[Channel, int, bytes, str], Setting] = lambda channel, request, data, order: Setting(request)
    """Channel, request, bytes of a message and byte order -> what of the state it sets."""
    ring_of: Callable[[Any, Message, int], int] = lambda state, message, ring: ring
    """State, message, and the number of a ring that it tells -> the number of that ring in the whole device."""
    joins: Callable[[str], str] = lambda path: ""
    """Path of a connection -> a name; connections of other families with the same name are about the same device, and
    of one session with it. Empty: its session is its own."""
    due: Callable[[Channel, Any, bool], Due] = lambda channel, reading, fresh: NOTHING_DUE
    """Channel, the session's `Reading`, and whether it is followed from its first byte -> which of the channel's
    requests are answered. Asked only where replies come in order."""
