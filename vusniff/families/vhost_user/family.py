"""vhost-user as a row of the table of families: how its streams are framed and recognised, and where its parts are.

What counts as a header. Versions are 1 on the main and the back-end channel and 0 on the GPU socket, so the version
says little; a peer that sets unassigned bits or a wrong version is to be shown, not to be lost. Hence:

- a request code of 1 to 65535 (the specifications end at 45; text, NBD, QMP and zeros fall out here), and
- with bits 4-31 clear, a size of up to 256 MiB (GPU UPDATE carries w * h * 4 bytes);
- with some of them set, a size of up to 64 KiB.
"""

from __future__ import annotations

import sys

from vusniff.channel import Channel
from vusniff.families.family import Bytes, Family
from vusniff.families.vhost_user.advance import advance
from vusniff.families.vhost_user.device import DEVICES
from vusniff.families.vhost_user.phases import Phases, value_of
from vusniff.families.vhost_user.protocol import (
    CHANNEL_PASSED_BY,
    CHANNELS,
    FLAG_REPLY,
    HEADER_SIZE,
    HEADERS,
    NAME,
    Channels,
    FrontendRequest,
    request_name,
)
from vusniff.families.vhost_user.reading import READS, Reading
from vusniff.families.vhost_user.state import initial
from vusniff.record import Frame

SIZE_LIMIT = 256 << 20
"""Largest payload size that is believed."""
SIZE_LIMIT_ODD = 64 << 10
"""Largest payload size that is believed of a header that sets unassigned flag bits."""
REQUEST_LIMIT = 0xFFFF
"""Largest request code that is believed."""

_ASSIGNED_FLAGS = 0xF
_UNPACK = {order: header.unpack_from for order, header in HEADERS.items()}
_GPU_FLAGS = (0, FLAG_REPLY)
_BACKEND_SIZES = {1: (26, 32), 2: (0,), 3: (24,), 4: (8,), 5: (8,), 6: (16,), 7: (16,), 8: (16,)}
_MAIN_SIZES = {1: (0,), 2: (8,), 3: (0,), 4: (0,), 6: (8, 16), 7: (0,), 8: (8,)}
"""Request -> payload sizes, where the same request code means something else on the other channel."""


def message_size(header: Bytes, order: str = sys.byteorder, offset: int = 0) -> int | None:
    """Bytes of the whole message, header included; None when the 12 bytes at ``offset`` are no plausible header."""
    request, flags, size = _UNPACK[order](header, offset)
    if not 0 < request <= REQUEST_LIMIT:
        return None
    if size > (SIZE_LIMIT_ODD if flags & ~_ASSIGNED_FLAGS else SIZE_LIMIT):
        return None
    return HEADER_SIZE + int(size)


def _begins(header: Bytes, order: str, offset: int) -> int | None:
    """Payloads hold small numbers too, so more is asked here: only flags with a meaning, and a modest size."""
    _, flags, size = _UNPACK[order](header, offset)
    if flags & ~_ASSIGNED_FLAGS or flags & 0x3 > 1 or size > SIZE_LIMIT_ODD:
        return None
    return message_size(header, order, offset)


def _likely_channel(frame: Frame, request: int, flags: int) -> Channel:
    if flags in _GPU_FLAGS:
        return Channels.GPU
    size = len(frame.data) + frame.missing - HEADER_SIZE
    if flags & FLAG_REPLY or size not in _BACKEND_SIZES.get(request, ()) or size in _MAIN_SIZES.get(request, ()):
        return Channels.MAIN
    return Channels.BACKEND


FAMILY = Family(
    name=NAME,
    main=Channels.MAIN,
    unknown=Channels.UNKNOWN,
    channels=CHANNELS,
    devices=DEVICES,
    openings={
        **{(Channels.MAIN, int(request), False): channel for request, channel in CHANNEL_PASSED_BY.items()},
        **{
            (Channels.MAIN, int(FrontendRequest.SET_DEVICE_STATE_FD), is_reply): Channels.UNKNOWN
            for is_reply in (False, True)
        },
    },
    request_name=request_name,
    message_size=message_size,
    begins=_begins,
    likely_channel=_likely_channel,
    reading=lambda order, device, programs: Reading(order=order, device=device, programs=programs),
    reads=READS,
    other_way=frozenset(),
    identify=None,
    initial=initial,
    advance=advance,
    phases=Phases,
    value_of=value_of,
)
