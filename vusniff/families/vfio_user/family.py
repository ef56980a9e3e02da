"""vfio-user as a row of the table of families: how its streams are framed and recognised, and where its parts are.

A stream is recognised strictly, by a header that the specification has (`_first`). Once it is known, a command that it
does not have yet, or a flag without a meaning, is shown and does not end the framing (`message_size`). A header of
vhost-user is none of vfio-user: request codes there are small, so that the word in which the command stands is 0.
"""

from __future__ import annotations

import sys

from vusniff.channel import Channel
from vusniff.families.family import Bytes, Family, Sign
from vusniff.families.vfio_user.advance import advance
from vusniff.families.vfio_user.phases import VfioPhases, value_of
from vusniff.families.vfio_user.protocol import (
    CHANNELS,
    FLAG_ERROR,
    FLAG_NO_REPLY,
    FLAG_TYPE,
    FLAGS,
    HEADER,
    HEADER_SIZE,
    NAME,
    OF_SERVER,
    TYPE_REPLY,
    Command,
    VfioChannels,
    fields,
    request_name,
)
from vusniff.families.vfio_user.setting import setting
from vusniff.families.vfio_user.state import initial
from vusniff.families.vfio_user.words import WORDS
from vusniff.families.vhost_user.device import Guess
from vusniff.message import Context
from vusniff.record import Frame
from vusniff.values import dataclass

FIRST_LIMIT = 2 << 20
"""Largest first message that is believed, bytes: the default of max_data_xfer_size is 1 MiB."""
SIZE_LIMIT = 256 << 20
"""Largest message that is believed later: servers offer more than the default."""
SIZE_LIMIT_ODD = 64 << 10
"""Largest message that is believed of a header that sets flags without a meaning, or is joined late."""
COMMAND_LIMIT = 0xFF
"""Largest command that is believed; the specification ends at 18."""


def message_size(header: Bytes, order: str = sys.byteorder, offset: int = 0) -> int | None:
    """Bytes of the whole message, header included; None when the 12 bytes at ``offset`` are no plausible header."""
    _, command, size, flags = fields(header, order, offset)
    if not 0 < command <= COMMAND_LIMIT or flags & FLAG_TYPE > TYPE_REPLY:
        return None
    return size if HEADER_SIZE <= size <= (SIZE_LIMIT_ODD if flags & ~FLAGS else SIZE_LIMIT) else None


def _first(header: Bytes, order: str = sys.byteorder, offset: int = 0) -> int | None:
    """As `message_size`, for the first header of a stream: they may be of any protocol, so every field is checked."""
    _, command, size, flags = fields(header, order, offset)
    if not 0 < command <= max(Command) or not HEADER_SIZE <= size <= FIRST_LIMIT or flags & ~FLAGS:
        return None
    if flags & FLAG_TYPE > TYPE_REPLY:
        return None
    if flags & FLAG_TYPE != TYPE_REPLY:
        # A command has no error; where more than 12 bytes are there, its error number is looked at too.
        if flags & FLAG_ERROR or any(header[offset + 12 : offset + HEADER_SIZE]):
            return None
    elif flags & FLAG_NO_REPLY:
        return None
    return size


def _begins(header: Bytes, order: str, offset: int) -> int | None:
    """Data of reads and writes holds small numbers too, so more is asked of what may be the middle of a stream."""
    size = _first(header, order, offset)
    return size if size is not None and size <= SIZE_LIMIT_ODD else None


def _likely_channel(frame: Frame, request: int, flags: int) -> Channel:
    """What a connection without a path carries: the server's commands alone are on a twin."""
    return VfioChannels.TWIN if request in OF_SERVER else VfioChannels.MAIN


@dataclass(frozen=True, slots=True)
class FixedReading:
    """How bytes are read: nothing that is said changes it."""

    order: str = "little"

    @property
    def context(self) -> Context:
        """What the dissectors are given."""
        return Context(order=self.order)

    @property
    def guess(self) -> Guess | None:
        """The protocol does not tell what a device is, but in its configuration space."""
        return None

    def after(self, request: int, is_reply: bool, payload: bytes) -> FixedReading:
        """The reading as it is: no message changes it."""
        return self


def _identify(data: bytes, order: str) -> int:
    return fields(data, order)[0]


FAMILY = Family(
    name=NAME,
    main=VfioChannels.MAIN,
    unknown=VfioChannels.UNKNOWN,
    channels=CHANNELS,
    devices=(),
    openings={(VfioChannels.MAIN, int(Command.VERSION), True): VfioChannels.TWIN},
    request_name=request_name,
    message_size=message_size,
    first=_first,
    sign=Sign(max(Command), ((FLAG_NO_REPLY, 0), (FLAG_ERROR, TYPE_REPLY)), FIRST_LIMIT, zero=HEADER.more["error"][0]),
    begins=_begins,
    likely_channel=_likely_channel,
    reading=lambda order, device, programs: FixedReading(order),
    reads=frozenset(),
    other_way=OF_SERVER,
    identify=_identify,
    initial=initial,
    advance=advance,
    phases=VfioPhases,
    value_of=value_of,
    roles=("client", "server"),
    prefix="VFIO_USER_",
    fields="vfio",
    qemu={"vfio-user-pci": "socket.path"},
    words=WORDS,
    setting=setting,
)
