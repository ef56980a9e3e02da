"""What a source reports and a capture file holds: connections, chunks, frames, descriptors, losses, and other evidence.

These types know sockets and descriptors, not vhost-user: nothing here says who is the front-end.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from vusniff.values import dataclass


class DescriptorKind(str, enum.Enum):
    """What a passed descriptor is."""

    EVENTFD = "eventfd"
    MEMFD = "memfd"
    FILE = "file"
    SOCKET = "socket"
    PIPE = "pipe"
    DEVICE = "device"
    DMABUF = "dmabuf"
    USERFAULTFD = "userfaultfd"
    OTHER = "other"
    """Seen, and none of the above; ``name`` says what the kernel calls it."""
    UNKNOWN = "unknown"
    """Passed, but the source could not look at it."""

    __str__ = str.__str__


@dataclass(frozen=True, slots=True)
class Descriptor:
    """One descriptor passed with a message (SCM_RIGHTS, unix(7)). Unknown is None."""

    kind: DescriptorKind = DescriptorKind.UNKNOWN
    identity: str | None = None
    """The open object, equal whenever the same object is passed again: ``eventfd:<eventfd-id>``, ``memfd:<inode>``,
    ``socket:<inode>``, ``pipe:<inode>``, ``file:<major>:<minor>:<inode>``, ``device:<major>:<minor>``."""
    number: int | None = None
    """Its number in the sending process."""
    name: str | None = None
    """Name of a memfd without the ``memfd:`` prefix, or path of a file or device."""
    size: int | None = None
    """Bytes, of what has a size."""
    late: bool = False
    """It came behind the first byte of its message."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process as seen when it spoke."""

    pid: int
    comm: str = ""
    tid: int | None = None
    """The sending thread, where the source knows it."""
    label: str | None = None
    """What its user calls it, such as ``vm1 hostnet1``."""


@dataclass(frozen=True, slots=True)
class End:
    """One end of a connection."""

    inode: int | None = None
    """Inode of its socket; for a socket passed as a descriptor the one in that descriptor's identity."""
    process: Process | None = None
    held: tuple[Descriptor, ...] = ()
    """Event descriptors and memory that its process held when the source joined late: what may have been passed
    before. What this process shares with the other end's comes first."""


@dataclass(frozen=True, slots=True)
class Connection:
    """One pair of connected stream sockets."""

    id: int
    """Counts from 1 in its capture."""
    path: str
    """Path the listening end is bound to; ``@name`` if abstract; ``pair:<inode>-<inode>`` where there is none."""
    ends: tuple[End, End] = (End(), End())
    """0: the end that connected; 1: the end that accepted, or that was passed as a descriptor."""
    opened_ns: int | None = None
    """When it was opened, nanoseconds since the epoch; None when the source came later."""
    joined_late: bool = False
    """The source did not see its first byte: what went before is unknown."""
    family: str = "vhost-user"
    """Name of the family whose messages it carries."""
    timed: bool = True
    """The source knew when things happened; else times only keep their order."""
    restated: int = 0
    """How many of its messages were sent before the file begins."""


def is_named(path: str) -> bool:
    """Whether the path of a connection is one that somebody listens at; else it is what a source calls a pair of
    sockets that nothing tells more of (``pair:7-8``, ``fd 5``)."""
    return not path.startswith(("pair:", "fd ", "socket:["))


class FrameKind(enum.IntEnum):
    """How the bytes of a frame were told apart."""

    MESSAGE = 0
    """One whole message: header and payload; shorter only by ``missing``."""
    RAW = 1
    """Bytes that no header could be found for."""
    CONTINUATION = 2
    """More payload of the message before it in this direction, which is too large for one frame."""
    TOLD = 3
    """A message of which a log tells: in place of its bytes there is what that says (`vusniff.told`)."""


UNDIVIDED = 255 << 10
"""Bytes of a frame up to which a capture never divides it: only of a longer one may the rest be a CONTINUATION."""


class StackEntry(NamedTuple):
    """One entry of a call stack. Unknown is empty or None."""

    file: str
    """Name of the executable or library, without its folder."""
    build_id: str
    """Of that file, in hexadecimal (GNU property NT_GNU_BUILD_ID)."""
    address: int
    """In the file, as its symbols count (ELF, st_value); of a caller it lies within the call. In memory where no file
    is known."""
    function: str | None = None
    source: str | None = None
    """``file:line`` of the source."""


@dataclass(frozen=True, slots=True)
class Stack:
    """Who called whom when a message was sent."""

    id: str
    """Made of what it holds: the same stack has the same in every capture (`capture.stacks.identify`)."""
    entries: tuple[StackEntry, ...]
    """Innermost first."""
    cut: str = ""
    """Why the outermost entries are missing, as a sentence; empty where none is."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a source knows of a message besides its bytes, one value up to the decoded message. Unknown is None."""

    descriptors: tuple[Descriptor, ...] = ()
    """Those that were passed with it, in order."""
    process: Process | None = None
    """The sender and its thread, where they are known for this message; else see the connection's end."""
    stack: Stack | None = None
    """Who called whom, where the source recorded it."""

    def without_descriptors(self) -> Facts:
        """The same of what follows in the same send: descriptors come with the first byte."""
        return Facts((), self.process, self.stack) if self.descriptors else self

    def without_stack(self) -> Facts:
        """The same, but not who called whom."""
        return Facts(self.descriptors, self.process) if self.stack is not None else self


NO_FACTS = Facts()


class HasFacts:
    """The names of `Facts`, for whoever has some."""

    __slots__ = ()

    facts: Facts

    @property
    def descriptors(self) -> tuple[Descriptor, ...]:
        """Those that were passed with it, in order."""
        return self.facts.descriptors

    @property
    def process(self) -> Process | None:
        """The sender, where it is known for this message; else see the connection's end."""
        return self.facts.process

    @property
    def stack(self) -> Stack | None:
        """Who called whom, where the source recorded it."""
        return self.facts.stack


@dataclass(frozen=True, slots=True)
class Chunk(HasFacts):
    """What one send handed over: any number of messages or a part of one. Descriptors come with its first byte."""

    connection: int
    end: int
    """0 or 1: the end that sent it."""
    time_ns: int
    data: bytes
    facts: Facts = NO_FACTS
    missing: int = 0
    """Bytes at its end that were sent but not captured."""


@dataclass(frozen=True, slots=True)
class Frame(HasFacts):
    """One message as it was seen: what one packet of a capture file holds."""

    connection: int
    end: int
    """0 or 1: the end that sent it."""
    time_ns: int
    """When its first byte was sent, nanoseconds since the epoch."""
    data: bytes
    """Header and payload, in the byte order of the host."""
    facts: Facts = NO_FACTS
    kind: FrameKind = FrameKind.MESSAGE
    missing: int = 0
    """Bytes of it that were sent but not captured."""
    restated: bool = False
    """It was sent before the file begins, and stands there because the present state is made up of it."""


FrameFields = tuple[int, int, int, bytes, Facts, FrameKind, int, bool]
"""The fields of a `Frame` in their order, for callers that need only a message: making and reading them by name took a
twentieth of the full analysis (bench_check.py)."""


def fields_of(frame: Frame) -> FrameFields:
    """The fields of a frame; `Frame` makes a frame of them again."""
    return (
        frame.connection,
        frame.end,
        frame.time_ns,
        frame.data,
        frame.facts,
        frame.kind,
        frame.missing,
        frame.restated,
    )


@dataclass(frozen=True, slots=True)
class Call(HasFacts):
    """One ioctl on a device, or a write to it or read from it. Unknown is None.

    In a capture it is a frame of its connection, which is the device as one process has it open
    (`vusniff.families.vhost_kernel.call`).
    """

    connection: int
    time_ns: int
    """When it was entered, nanoseconds since the epoch."""
    request: int
    """Number of the ioctl, or a `vhost_kernel.protocol.Control`."""
    data: bytes
    """The bytes of its argument, in the byte order of the host."""
    came_back: bool = False
    """They are what the kernel wrote there; else what the caller gave."""
    result: int | None = None
    """What it returned; None where that was not seen."""
    error: int = 0
    """errno, of one that failed."""
    fd: int = 0
    """Number of the descriptor in the process."""
    duration_ns: int = 0
    facts: Facts = NO_FACTS
    """Its descriptors are those that the argument names by number."""
    missing: int = 0
    """Bytes of its argument that were not captured."""


CAPTURE_ENDED = "capture ended"
"""`Closed.reason` of a connection that was open when its source stopped."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The end of a connection."""

    connection: int
    time_ns: int
    reason: str
    """One of ``eof``, ``reset``, ``killed``, ``capture ended``, or the source's sentence."""
    by: int | None = None
    """The end that closed first, where that is known."""
    received: int = 0
    """Messages seen on it."""
    lost: int = 0
    """Messages (or sends) known to be lost on it."""


@dataclass(frozen=True, slots=True)
class Lost:
    """A gap: sends that are known to have happened and were not captured."""

    connection: int | None
    """None where the source cannot tell which."""
    time_ns: int
    count: int


Ends = tuple[tuple[int, int], ...]
"""Ends of connections, each as the id of the connection and 0 or 1."""


@dataclass(frozen=True, slots=True)
class Exit:
    """The end of a process that held an end of a connection. Unknown is None."""

    time_ns: int
    pid: int | None = None
    comm: str = ""
    status: int | None = None
    """Its exit status, where no signal killed it."""
    signal: int | None = None
    """Number of the signal that killed it."""
    dumped_core: bool | None = None
    ends: Ends = ()
    """The ends that it held, also until shortly before its end."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where one ring stood, as it was read from memory. Unknown is None.

    Indexes of a split ring count modulo 65536; those of a packed ring are slots, of which there are ``size``.
    """

    ring: int
    """Its index in the device."""
    size: int
    """Descriptors."""
    packed: bool
    available: int
    """What the driver makes available next."""
    used: int
    """What the device uses next."""
    in_flight: int
    """Made available and not used yet: chains of a split ring, slots of a packed one. More than ``size`` where one of
    the sides has written an index that cannot be."""
    available_wrap: bool | None = None
    """The driver's wrap counter, of a packed ring."""
    used_wrap: bool | None = None
    """The device's wrap counter, of a packed ring."""
    no_interrupt: bool = False
    """The driver wants no calls."""
    no_notify: bool = False
    """The device wants no kicks."""
    used_event: int | None = None
    """With VIRTIO_RING_F_EVENT_IDX: the driver wants a call when the used index has passed this one."""
    available_event: int | None = None
    """The same of the device and kicks."""
    moved_ns: int | None = None
    """How long before, in nanoseconds, the device was last seen to use something; None: not since it is sampled."""
    waiting_ns: int | None = None
    """How long something has been in flight and the device has used nothing; None: nothing waits, or it moves."""
    unread_kicks: int | None = None
    """Count of the kick descriptor: more than 0 is a kick that the back-end has not read. Looked at while it waits."""
    tracked: int | None = None
    """In flight by the in-flight buffer."""
    kicks: int | None = None
    """How often the kick descriptor was signalled since it was passed, at least; None where nobody counted."""
    calls: int | None = None
    """The same of the call descriptor."""
    told_by: str = ""
    """Who said where the ring is, where that was not witnessed: ``QMP``."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Where rings of one device stood at one moment. It is written when something has changed."""

    time_ns: int
    rings: tuple[Position, ...] = ()
    unreadable: tuple[tuple[str, str], ...] = ()
    """What cannot be read from here on, and why: (``ring 3``, sentence). Told once."""
    dirty_pages: int | None = None
    """Pages set in the dirty log of a migration."""
    ends: Ends = ()
    """The front-end's end of the main connection."""


class ChainBuffer(NamedTuple):
    """A descriptor of a ring: a buffer."""

    address: int
    """In the guest's memory, as the driver wrote it."""
    length: int
    """Bytes, as the driver wrote it."""
    writable: bool
    """The device is to write it; else to read."""


class Chain(NamedTuple):
    """What the driver made available with one index."""

    head: int
    """Of a split ring: index of its first descriptor; of a packed one: slot."""
    pieces: tuple[ChainBuffer, ...]
    indirect: bool
    header: bytes
    """The first bytes that the device is to read, at most as many as were asked for."""
    problem: str = ""
    """Why it is not shown in whole, as a sentence."""


@dataclass(frozen=True, slots=True)
class RingDump:
    """What waited in a ring at one moment: descriptors and headers of requests. It is stored only when asked for."""

    time_ns: int
    ring: int
    packed: bool
    waiting: int
    """Chains (split) or slots (packed) that are available and not used."""
    first: int
    """How many chains are in the pieces of evidence before this one: a long dump has several."""
    chains: tuple[Chain, ...]
    device: str = ""
    """Type of the device whose requests begin with a header that is read; else empty."""
    order: str = "little"
    """Byte order of the headers: ``little`` or ``big``."""
    ends: Ends = ()
    """The front-end's end of the main connection."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line that a program wrote into its log, and that tells of no message. Unknown is empty."""

    time_ns: int
    log: str
    """Name of the log."""
    number: int
    """Of the line, from 1."""
    text: str
    """Without its prefix of time, level and program."""
    level: str = ""
    """``error``, ``warning``, ``info`` or ``debug``."""
    program: str = ""
    """Who wrote it, as far as the line says."""
    ends: Ends = ()


class FaultAct(str, enum.Enum):
    """What a piece of evidence says of a fault."""

    RULES = "rules"
    """The proxy has rules for this connection: ``text`` holds them, a line each. It stands before its first message."""

    TAKES = "takes"
    """A rule matches the next message of this end, or that message waits behind one: it is not passed on as usual."""
    GIVES = "gives"
    """Something is sent in its place, or the message itself, later."""
    DOES = "does"
    """Something else is done, such as closing the connection."""

    __str__ = str.__str__


@dataclass(frozen=True, slots=True)
class Fault:
    """What a proxy did because its user asked for it (``vusniff proxy --rule``). Its messages are what came in."""

    time_ns: int
    id: int
    """Counts from 1 in a run: what is done to one message has the same one."""
    act: FaultAct
    rule: int
    """Its place among the rules, from 1."""
    text: str = ""
    """The rule, as it was written."""
    actions: tuple[str, ...] = ()
    """Names of what it asks for: ``drop``, ``delay``."""
    words: str = ""
    """What is done, with its values."""
    to: int | None = None
    """The end that it is sent to, of GIVES."""
    size: int | None = None
    """Bytes that are sent; None: those of the message."""
    times: int = 1
    """How often it is sent."""
    changes: tuple[tuple[int, bytes], ...] = ()
    """What differs from the message: offset and bytes."""
    made: bool = False
    """It was made here, and is no message of the other side."""
    descriptors: tuple[Descriptor, ...] | None = None
    """Those that are sent; None: those of the message."""
    ends: Ends = ()
    """The end that sent the message."""

    def sent(self, data: bytes) -> bytes:
        """The bytes that were sent in the place of a message, of GIVES; those that are not known are zero."""
        size = len(data) if self.size is None else min(self.size, len(data) + UNDIVIDED)
        sent = bytearray(b"" if self.made else data[:size])
        sent.extend(bytes(size - len(sent)))
        for at, changed in self.changes:
            if at < size:
                sent[at : at + len(changed)] = changed[: size - at]
        return bytes(sent)


@dataclass(frozen=True, slots=True)
class OtherEvidence:
    """Evidence of a kind that this version does not know: it is shown raw, and kept."""

    kind: str
    time_ns: int
    data: str
    """Its own keys: a JSON object in ASCII."""
    ends: Ends = ()
    """The ends that it is about."""


Evidence = Exit | Sample | RingDump | LogLine | Fault | OtherEvidence
"""What is neither a message nor an event of one connection. A new kind is added here, and see `capture.evidence`."""

Record = Connection | Frame | Closed | Lost | Evidence
