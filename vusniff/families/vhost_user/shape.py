"""Which channel of vhost-user a connection without a path carries, by the shape of its first message.

Tables that the dissector for Wireshark is generated from too (`vusniff.wireshark.lua`).
"""

from __future__ import annotations

from vusniff.channel import Channel
from vusniff.families.vhost_user.protocol import FLAG_REPLY, HEADER_SIZE, BackendRequest, Channels, FrontendRequest
from vusniff.record import Frame

GPU_FLAGS = (0, FLAG_REPLY)
"""Flags that only messages of the GPU socket have: those have no version."""
_EMPTY, _U64 = (0,), (8,)
_F, _B = FrontendRequest, BackendRequest
MAIN_SIZES: dict[int, tuple[int, ...]] = {
    **dict.fromkeys((_F.GET_FEATURES, _F.SET_OWNER, _F.RESET_OWNER, _F.SET_LOG_FD), _EMPTY),
    **dict.fromkeys((_F.SET_FEATURES, _F.SET_VRING_NUM, _F.SET_VRING_BASE), _U64),
    _F.SET_MEM_TABLE: tuple(8 + size * count for size in (32, 40) for count in range(1, 33)),
    _F.SET_LOG_BASE: (8, 16),
    _F.SET_VRING_ADDR: (40,),
}
BACKEND_SIZES: dict[int, tuple[int, ...]] = {
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
WITH_DESCRIPTOR: dict[int, bool] = {_F.SET_LOG_BASE: True, _F.SET_VRING_ADDR: False}
"""Requests whose size is that of the back-end channel's -> whether a descriptor tells that it is the main one's."""
AMBIGUOUS = frozenset({(_F.SET_MEM_TABLE, 8)})
"""Requests and sizes that both channels may have, and nothing tells which: an empty table has this size too."""


def likely_channel(frame: Frame, request: int, flags: int) -> Channel:
    """By what is said: a request code and a size that only one of the channels has. Unknown where both have it."""
    if flags in GPU_FLAGS:
        return Channels.GPU
    if flags & FLAG_REPLY or request not in BACKEND_SIZES:
        return Channels.MAIN
    size = len(frame.data) + frame.missing - HEADER_SIZE
    main, backend = size in MAIN_SIZES.get(request, ()), size in BACKEND_SIZES[request]
    if main and backend:
        return Channels.MAIN if bool(frame.descriptors) is WITH_DESCRIPTOR.get(request) else Channels.BACKEND
    if backend and (request, size) in AMBIGUOUS:
        return Channels.UNKNOWN
    return Channels.BACKEND if backend else Channels.MAIN
