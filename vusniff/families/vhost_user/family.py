"""vhost-user as a row of the table of families: how its streams are framed and recognised, and where its parts are."""

from __future__ import annotations

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
    NAME,
    VERSION,
    Channels,
    FrontendRequest,
    request_name,
)
from vusniff.families.vhost_user.reading import READS, VhostUserReading
from vusniff.families.vhost_user.replies import due
from vusniff.families.vhost_user.setting import setting
from vusniff.families.vhost_user.shape import likely_channel
from vusniff.families.vhost_user.state import initial

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
    likely_channel=likely_channel,
    reading=lambda order, device, programs: VhostUserReading(order=order, device=device, programs=programs),
    reads=READS,
    other_way=frozenset(),
    identify=None,
    initial=initial,
    advance=advance,
    phases=Phases,
    value_of=value_of,
    largest=largest,
    find=find,
    transport="user",
    places=places,
    setting=setting,
    due=due,
)
