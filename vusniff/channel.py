"""What a connection carries, who asks on it, and what the header of its messages looks like. Knows no family by name.

A family brings its channels; a vendor's distribution may bring more. Nothing a peer or a file contains makes one.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping

from vusniff.meta import NEED_REPLY, REPLY
from vusniff.values import dataclass, field


class Sender(str, enum.Enum):
    """Who sent a message."""

    FRONTEND = "frontend"
    BACKEND = "backend"

    __str__ = str.__str__

    @property
    def words(self) -> str:
        """As people write it: ``front-end``."""
        return "front-end" if self is Sender.FRONTEND else "back-end"

    @property
    def other(self) -> Sender:
        """The other side."""
        return Sender.BACKEND if self is Sender.FRONTEND else Sender.FRONTEND


ReadHeader = Callable[[bytes | bytearray | memoryview, int], tuple[int, int, int]]
"""Bytes and the offset of a header in them -> request code, flags, bytes of the payload that follows."""


@dataclass(frozen=True, slots=True, eq=False)
class Header:
    """The header of a family's messages. Byte orders are ``little`` and ``big``."""

    size: int
    """Bytes."""
    read: Mapping[str, ReadHeader]
    """By byte order; ``struct.error`` for fewer bytes than `size`."""
    reply: tuple[int, int]
    """Mask and value of the flags of a reply."""
    need_reply: tuple[int, int]
    """Mask and value of the flags of a request that wants a reply."""
    version: int = 0
    """Mask of the flags that hold a version; 0 where there is none."""
    kind: slice = field(default_factory=lambda: slice(0, 8))
    """The bytes that tell request and flags."""
    spans: Mapping[str, tuple[int, int]] = field(
        default_factory=lambda: {"request": (0, 4), "flags": (4, 8), "size": (8, 12)}
    )
    """Where request, flags and size stand: first byte, and the byte behind the last."""
    counts: int = 0
    """Bytes of the header that its size field counts too."""
    more: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """What else it holds: name -> offset and size in bytes of a number."""
    signed: frozenset[str] = frozenset()
    """Those of `more` that may be negative."""
    failed: tuple[int, int] = (0, 1)
    """Mask and value of the flags of a reply that says that its request failed; by default there are none."""
    unusual: str = "need_reply"
    """The word for a request that differs from the usual ones in whether it wants a reply: ``need_reply`` where that is
    set for some, ``no_reply`` where it is taken back for some."""
    assigned: int = 0xF
    """Mask of the flags that have a meaning."""
    marks: Mapping[int, str] = field(default_factory=dict)
    """Flags that have no field of their own here -> what they say."""
    small: str = "request"
    """Which of request and flags is a number of 4 bytes that is always small: it tells the byte order of the host where
    nothing else does."""
    by_sender: bool = False
    """The sender of a message tells whether it is a reply: flags of requests may be anything, and none wants a reply by
    its flags."""

    def is_reply(self, flags: int) -> bool:
        """Whether these are the flags of a reply."""
        return flags & self.reply[0] == self.reply[1]

    def column(self, flags: int) -> int:
        """The flags as the columns of a capture have them (`vusniff.meta`)."""
        return (
            flags & self.version
            | (REPLY if self.is_reply(flags) else 0)
            | (NEED_REPLY if self.is_need_reply(flags) else 0)
        )

    def is_failed(self, flags: int) -> bool:
        """Whether these are the flags of a reply that says that its request failed."""
        return flags & self.failed[0] == self.failed[1]

    def remark(self, flags: int) -> str:
        """`unusual` for a request with these flags that is such a one, else nothing."""
        wants = self.is_need_reply(flags)
        return self.unusual if wants is (self.unusual == "need_reply") and not self.is_reply(flags) else ""

    def others(self, data: bytes, order: str) -> dict[str, int]:
        """The numbers of `more` by name."""
        cut = {name: data[at : at + size] for name, (at, size) in self.more.items()}
        byte_order = "little" if order == "little" else "big"
        return {name: int.from_bytes(one, byte_order, signed=name in self.signed) for name, one in cut.items()}  # type: ignore[arg-type]

    def written(self, head: bytes, order: str, values: Mapping[str, int]) -> bytes:
        """A header with other numbers in the fields of `spans` and `more` that are named; they have to fit."""
        changed = bytearray(head)
        places = {**self.spans, **{name: (at, at + size) for name, (at, size) in self.more.items()}}
        for name, value in values.items():
            start, stop = places[name]
            byte_order = "little" if order == "little" else "big"
            changed[start:stop] = value.to_bytes(stop - start, byte_order, signed=name in self.signed)  # type: ignore[arg-type]
        return bytes(changed)

    def is_need_reply(self, flags: int) -> bool:
        """Whether a request with these flags wants a reply."""
        return not self.by_sender and flags & self.need_reply[0] == self.need_reply[1]


class Channel(str):
    """The name of a channel, such as ``main``, with what its family says of it. One object for each name."""

    family: str
    """The family it belongs to, as in the file: ``vhost-user``."""
    header: Header
    requester: Sender | None
    """Who sends requests on it; the other side sends only replies. None: nobody knows."""
    passed_by: Sender
    """Who passes the socket that opens it."""

    def __new__(
        cls,
        name: str,
        family: str,
        header: Header,
        requester: Sender | None = None,
        passed_by: Sender = Sender.FRONTEND,
    ) -> Channel:
        channel = super().__new__(cls, name)
        channel.family, channel.header, channel.requester, channel.passed_by = family, header, requester, passed_by
        return channel

    def is_reply(self, flags: int, sender: Sender | None) -> bool:
        """Whether a message that a side sent with these flags is a reply."""
        if self.header.by_sender and sender is self.requester:
            return False
        return self.header.is_reply(flags)
