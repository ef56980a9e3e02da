"""vhost-user as a row of the table of families: how its streams are framed and recognised, and where its parts are."""

from __future__ import annotations

from vusniff.channel import Channel
from vusniff.families.family import Family, Sign
from vusniff.families.vhost_user.advance import advance
from vusniff.families.vhost_user.device import DEVICES
from vusniff.families.vhost_user.header import begins, find, largest, message_size
from vusniff.families.vhost_user.phases import Phases, value_of
from vusniff.families.vhost_user.places import places
from vusniff.families.vhost_user.protocol import (
    CHANNEL_PASSED_BY,
    CHANNELS,
    FLAG_NEED_REPLY,
    FLAG_REPLY,
    HEADER_SIZE,
    NAME,
    VERSION,
    Channels,
    FrontendRequest,
    request_name,
)
from vusniff.families.vhost_user.reading import READS, Reading
from vusniff.families.vhost_user.replies import due
from vusniff.families.vhost_user.state import initial
from vusniff.record import Frame

_GPU_FLAGS = (0, FLAG_REPLY)
_BACKEND_SIZES = {1: (26, 32), 2: (0,), 3: (24,), 4: (8,), 5: (8,), 6: (16,), 7: (16,), 8: (16,)}
_MAIN_SIZES = {1: (0,), 2: (8,), 3: (0,), 4: (0,), 6: (8, 16), 7: (0,), 8: (8,)}
"""Request -> payload sizes, where the same request code means something else on the other channel."""


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
    first=message_size,
    sign=Sign(63, ((FLAG_REPLY | FLAG_NEED_REPLY, VERSION),), 1 << 20),
    begins=begins,
    likely_channel=_likely_channel,
    reading=lambda order, device, programs: Reading(order=order, device=device, programs=programs),
    reads=READS,
    other_way=frozenset(),
    identify=None,
    initial=initial,
    advance=advance,
    phases=Phases,
    value_of=value_of,
    largest=largest,
    find=find,
    places=places,
    due=due,
)
