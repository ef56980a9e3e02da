"""What counts as a header of vhost-user, and how a header is found in bytes that may hold anything.

Versions are 1 on the main and the back-end channel and 0 on the GPU socket, so the version says little; a peer that
sets unassigned bits, a wrong version, no request or an impossible size is to be shown, not to be lost. So there are
three questions, from the most generous to the strictest:

- `message_size`: can a header stand here, where one is due?
- `begins`: does a send begin with one, of which nothing before is known?
- `find`: where is the next one that surely is one?

A size that no message of its kind has (`largest`) is implausible: the message is read on, and the bytes behind its
header may be the next one.
"""

from __future__ import annotations

import functools
import re
import sys

from vusniff.channel import Channel
from vusniff.families.family import Bytes
from vusniff.families.vhost_user.protocol import (
    FLAG_VERSION,
    HEADER_SIZE,
    HEADERS,
    VERSION,
    BackendRequest,
    Channels,
    FrontendRequest,
    GpuRequest,
)

SIZE_LIMIT = 256 << 20
"""Largest payload of GPU_UPDATE that is believed: it has w * h * 4 bytes."""
SIZE_LIMIT_ODD = 64 << 10
"""Largest payload that is believed of a request that is not in the specification, or with unassigned flag bits."""
REQUEST_LIMIT = 0xFFFF
"""Largest request code that is believed."""
USUAL_SIZE = 1 << 10
"""Bytes that the payload of nearly every message is smaller than."""

_ASSIGNED_FLAGS = 0xF
_UNPACK = {order: header.unpack_from for order, header in HEADERS.items()}
_F, _B, _G = FrontendRequest, BackendRequest, GpuRequest
_LARGE: dict[Channel, dict[int, int]] = {
    Channels.MAIN: {
        _F.SET_MEM_TABLE: 4 << 10,
        _F.GET_CONFIG: 64 << 10,
        _F.SET_CONFIG: 64 << 10,
        _F.CREATE_CRYPTO_SESSION: 64 << 10,
        _F.GET_SHMEM_CONFIG: 4 << 10,
    },
    Channels.BACKEND: {},
    # A cursor has 64 * 64 * 4 bytes (specification, VhostUserGpuCursorUpdate), a reply to GET_EDID 1024 and a few.
    Channels.GPU: {_G.GPU_UPDATE: SIZE_LIMIT, _G.GPU_CURSOR_UPDATE: 64 << 10, _G.GPU_GET_EDID: 4 << 10},
}
"""Channel -> requests whose payload may be larger than `USUAL_SIZE` -> how large it may be."""
_LARGE[Channels.UNKNOWN] = {
    request: max(sizes.get(request, USUAL_SIZE) for sizes in _LARGE.values())
    for request in {request for sizes in _LARGE.values() for request in sizes}
}
_LAST: dict[Channel, int] = {
    Channels.MAIN: max(_F),
    Channels.BACKEND: max(_B),
    Channels.GPU: max(_G),
    Channels.UNKNOWN: max(_F),
}
"""Channel -> the last request of the specification."""


def largest(channel: Channel, request: int) -> int:
    """Bytes of the largest payload that is believed of a request."""
    if request > _LAST[channel]:
        return SIZE_LIMIT_ODD
    return _LARGE[channel].get(request, USUAL_SIZE)


def message_size(header: Bytes, order: str = sys.byteorder, offset: int = 0) -> int | None:
    """Bytes of the whole message, header included; None when the 12 bytes at ``offset`` cannot be a header.

    Text, NBD, QMP and zeros cannot. Of a request of the specification any size is told, see `largest`.
    """
    request, flags, size = _UNPACK[order](header, offset)
    if size > SIZE_LIMIT_ODD:
        if not 0 < request <= max(_F) or (flags & ~_ASSIGNED_FLAGS and (request != _G.GPU_UPDATE or size > SIZE_LIMIT)):
            return None
    elif not 0 < request <= REQUEST_LIMIT and (request or flags & FLAG_VERSION != VERSION or flags & ~_ASSIGNED_FLAGS):
        return None
    return HEADER_SIZE + int(size)


def begins(header: Bytes, order: str, offset: int) -> int | None:
    """Payloads hold small numbers too, so more is asked here: only flags with a meaning, and a modest size."""
    request, flags, size = _UNPACK[order](header, offset)
    if not request or flags & ~_ASSIGNED_FLAGS or flags & FLAG_VERSION > VERSION or size > SIZE_LIMIT_ODD:
        return None
    return message_size(header, order, offset)


_VERSIONED = b"\x01\x05\x09\x0d"


@functools.cache
def _pattern(channel: Channel, order: str) -> re.Pattern[bytes]:
    """Headers of one channel: a request of the specification, flags as they are, a size below 64 KiB."""
    flags = b"\x00\x04\x01\x05" if channel is Channels.GPU else _VERSIONED
    words = (b"[\\x01-\\x%02x]" % _LAST[channel], b"[" + re.escape(flags) + b"]")
    if order == "little":
        return re.compile(b"%b\\0\\0\\0%b\\0\\0\\0..\\0\\0" % words, re.DOTALL)
    return re.compile(b"\\0\\0\\0%b\\0\\0\\0%b\\0\\0.." % words, re.DOTALL)


def find(data: Bytes, order: str, start: int, channel: Channel) -> int | None:
    """The offset, ``start`` or behind, of the first header that surely is one; None for none.

    Its message is whole and followed by another header or by nothing more; or the header is the last of the bytes, as
    those write it who send the payload after it. Linear in the bytes.
    """
    pattern = _pattern(channel, order)
    search, matches = pattern.search, pattern.match
    unpack, length = _UNPACK[order], len(data)
    while (found := search(data, start)) is not None:
        at = found.start()
        request, _, size = unpack(data, at)
        end = at + HEADER_SIZE + size
        if size <= largest(channel, request) and (
            end == length or at + HEADER_SIZE == length or (end < length and (matches(data, end) or length - end < 12))
        ):
            return at
        start = at + 1
    return None
