"""What of the state a call to the kernel sets, told by its bytes."""

from __future__ import annotations

from vusniff.channel import Channel
from vusniff.families.setting import Setting
from vusniff.families.vhost_kernel.protocol import HEADER, HEADER_SIZE, Control

_IOTLB_INVALIDATE = 3
_IOTLB = slice(8, 24)
"""iova and size in struct vhost_msg and vhost_msg_v2 (linux/vhost_types.h)."""
_IOTLB_TYPE = 33
_FD = slice(HEADER.more["fd"][0], sum(HEADER.more["fd"]))


def setting(channel: Channel, request: int, data: bytes, order: str) -> Setting:
    """What a call sets; ``data`` has its header too. Of calls with different first words of the argument, such as the
    index of a ring, each is kept."""
    payload, fd = data[HEADER_SIZE:], data[_FD]
    if request in (Control.IOTLB_MSG, Control.IOTLB_MSG_V2):
        ends = payload[_IOTLB_TYPE : _IOTLB_TYPE + 1] == bytes([_IOTLB_INVALIDATE])
        return Setting("iotlb", payload[_IOTLB], ends=ends)
    return Setting(request, (fd, payload[:4]))
