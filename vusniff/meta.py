"""The ``meta`` column of a capture: connection, kind, end, options and flags of a message in 32 bits.

::

    bit 8-31  connection
    bit 6-7   kind (`FrameKind`)
    bit 5     end that sent it
    bit 4     its packet says more than direction and number
    bit 0-3   flags: 0-1 the header's version, 2 a reply, 3 a request that wants a reply

Nobody else shifts it: what stands in it is asked of the functions. Loops over millions of messages test one bit with
the masks, and get the rest from one call of `origin_of`.
"""

from __future__ import annotations

from vusniff.record import FrameKind

CONNECTION_SHIFT = 8
KIND_SHIFT = 6
NO_MESSAGE = 0xC0
"""Mask of the kind: 0 is a message whose bytes are there."""
TOLD = 0xC0
"""The kind of a message of which a log tells."""
END_SHIFT = 5
OPTIONS = 0x10
FLAGS = 0xF
REPLY = 0x4
NEED_REPLY = 0x8
VERSION = 0x3
"""What the flags say whatever the header of a family looks like."""

KINDS: tuple[FrameKind, ...] = tuple(FrameKind)
"""Frame kinds by their two bits."""


def pack_meta(connection: int, kind: int, end: int, options: int, flags: int) -> int:
    """The column of one message."""
    return connection << CONNECTION_SHIFT | kind << KIND_SHIFT | end << END_SHIFT | options << 4 | flags & FLAGS


def connection_of(meta: int) -> int:
    """The id of the connection."""
    return meta >> CONNECTION_SHIFT


def kind_of(meta: int) -> FrameKind:
    """How the bytes were told apart."""
    return KINDS[meta >> KIND_SHIFT & 3]


def end_of(meta: int) -> int:
    """The end that sent it, 0 or 1."""
    return meta >> END_SHIFT & 1


def origin_of(meta: int) -> tuple[int, int, FrameKind]:
    """Connection, end and kind in one call, for loops over millions of messages."""
    return meta >> CONNECTION_SHIFT, meta >> END_SHIFT & 1, KINDS[meta >> KIND_SHIFT & 3]


def has_options(meta: int) -> bool:
    """Its packet says more than direction and number: descriptors, a process, a loss."""
    return bool(meta & OPTIONS)


def flags_of(meta: int) -> int:
    """The flags: `VERSION`, `REPLY`, `NEED_REPLY`."""
    return meta & FLAGS
