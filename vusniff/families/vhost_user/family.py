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
    BackendRequest,
    Channels,
    FrontendRequest,
    request_name,
)
from vusniff.families.vhost_user.reading import READS, Reading
from vusniff.families.vhost_user.replies import due
from vusniff.families.vhost_user.state import initial
from vusniff.record import Frame

_GPU_FLAGS = (0, FLAG_REPLY)
_EMPTY, _U64 = (0,), (8,)
_F, _B = FrontendRequest, BackendRequest
_MAIN_SIZES: dict[int, tuple[int, ...]] = {
    **dict.fromkeys((_F.GET_FEATURES, _F.SET_OWNER, _F.RESET_OWNER, _F.SET_LOG_FD), _EMPTY),
    **dict.fromkeys((_F.SET_FEATURES, _F.SET_VRING_NUM, _F.SET_VRING_BASE), _U64),
    _F.SET_MEM_TABLE: tuple(8 + size * count for size in (32, 40) for count in range(1, 33)),
    _F.SET_LOG_BASE: (8, 16),
    _F.SET_VRING_ADDR: (40,),
}
_BACKEND_SIZES: dict[int, tuple[int, ...]] = {
    _B.BACKEND_IOTLB_MSG: (26, 32),
    _B.BACKEND_CONFIG_CHANGE_MSG: _EMPTY,
    _B.BACKEND_VRING_HOST_NOTIFIER_MSG: (24,),
    **dict.fromkeys((_B.BACKEND_VRING_CALL, _B.BACKEND_VRING_ERR), _U64),
    **dict.fromkeys((_B.BACKEND_SHARED_OBJECT_ADD, _B.BACKEND_SHARED_OBJECT_REMOVE), (16, 256)),
    _B.BACKEND_SHARED_OBJECT_LOOKUP: (16, 256),
    _B.BACKEND_SHMEM_MAP: (40, 256),
    _B.BACKEND_SHMEM_UNMAP: (40,),
}
"""Request -> payload sizes, where a request code means one thing on the main and another on the back-end channel. 256
bytes are those of the retired requests of virtio-fs, 6 to 9."""
_WITH_DESCRIPTOR: dict[int, bool] = {_F.SET_LOG_BASE: True, _F.SET_VRING_ADDR: False}
"""Requests whose size is that of the back-end channel's -> whether a descriptor tells that it is the main one's."""


def _likely_channel(frame: Frame, request: int, flags: int) -> Channel:
    """By what is said: a request code and a size that only one of the channels has. Unknown where both have it."""
    if flags in _GPU_FLAGS:
        return Channels.GPU
    if flags & FLAG_REPLY or request not in _BACKEND_SIZES:
        return Channels.MAIN
    size = len(frame.data) + frame.missing - HEADER_SIZE
    main, backend = size in _MAIN_SIZES.get(request, ()), size in _BACKEND_SIZES[request]
    if main and backend:
        return Channels.MAIN if bool(frame.descriptors) is _WITH_DESCRIPTOR.get(request) else Channels.BACKEND
    if backend and (request, size) == (_F.SET_MEM_TABLE, 8):
        return Channels.UNKNOWN  # an empty table has this size too
    return Channels.BACKEND if backend else Channels.MAIN


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
