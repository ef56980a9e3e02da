"""What of the state a message of vhost-user sets, told by a few bytes of its payload.

Source of the layouts: specification, section "Message Specification".
"""

from __future__ import annotations

from collections.abc import Hashable

from vusniff.channel import Channel
from vusniff.families.setting import Setting
from vusniff.families.vhost_user.protocol import HEADER_SIZE, STOPS_RING, BackendRequest, Channels, FrontendRequest

_F, _B = FrontendRequest, BackendRequest

_ITEMS: dict[tuple[Channel, int], slice] = {
    **{
        (Channels.MAIN, request): slice(0, 4)  # the index of a ring, u32
        for request in (
            _F.SET_VRING_NUM,
            _F.SET_VRING_ADDR,
            _F.SET_VRING_BASE,
            *STOPS_RING,
            _F.SET_VRING_ENDIAN,
            _F.SET_VRING_ENABLE,
            _F.VRING_KICK,
        )
    },
    **{
        (Channels.MAIN, request): slice(0, 8)  # offset and size, u32 each
        for request in (_F.GET_CONFIG, _F.SET_CONFIG)
    },
    (Channels.MAIN, _F.CLOSE_CRYPTO_SESSION): slice(0, 8),
    (Channels.BACKEND, _B.BACKEND_VRING_HOST_NOTIFIER_MSG): slice(0, 8),
}
"""Where the item stands in the payload."""
_RING_DESCRIPTORS = frozenset({_F.SET_VRING_KICK, _F.SET_VRING_CALL, _F.SET_VRING_ERR})
_MEMORY = {_F.SET_MEM_TABLE: (True, False), _F.ADD_MEM_REG: (False, False), _F.REM_MEM_REG: (False, True)}
_SHARED = {_B.BACKEND_SHMEM_MAP: False, _B.BACKEND_SHMEM_UNMAP: True}
_ACKNOWLEDGEMENT = 8
"""Bytes of a payload that holds a u64, or a table without entries."""
_IOTLB_INVALIDATE = 3
_IOTLB_TYPE = 25
"""Byte of the payload of IOTLB_MSG that holds its type."""


def setting(channel: Channel, request: int, data: bytes, order: str) -> Setting:
    """What a message sets; ``data`` has its header too."""
    payload = data[HEADER_SIZE:]
    item: Hashable = None
    if (place := _ITEMS.get((channel, request))) is not None:
        item = payload[place]
    elif channel is Channels.MAIN:
        if request in _RING_DESCRIPTORS:
            item = payload[0:1] if order == "little" else payload[7:8]  # the low byte of a u64
        elif request == _F.SET_MEM_TABLE and len(payload) == _ACKNOWLEDGEMENT:
            return Setting((channel, request))  # no table, or during postcopy no more than an answer
        elif request in _MEMORY:
            whole, ends = _MEMORY[_F(request)]
            return Setting("memory", None if whole else payload[8:32], whole, ends)
        elif request == _F.IOTLB_MSG:
            ends = payload[_IOTLB_TYPE : _IOTLB_TYPE + 1] == bytes([_IOTLB_INVALIDATE])
            return Setting("iotlb", payload[:16], ends=ends)
        elif request == _F.CREATE_CRYPTO_SESSION:
            item = data
    elif channel is Channels.BACKEND and request in _SHARED:
        return Setting("shmem", payload[:1] + payload[16:24], ends=_SHARED[_B(request)])
    return Setting((channel, request), item)
