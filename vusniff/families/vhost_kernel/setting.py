"""What of the state a call to the kernel sets, told by its bytes."""

from __future__ import annotations

from collections.abc import Mapping

from vusniff.channel import Channel
from vusniff.families.setting import Setting
from vusniff.families.vhost_kernel.protocol import HEADER, HEADER_SIZE, Control, Ioctl

_IOTLB_INVALIDATE = 3
_STATUS: Mapping[int, int] = {Ioctl.VDPA_SET_STATUS: 0, Control.VDUSE_SET_STATUS: 24}
"""What sets the device status -> where in its argument that stands."""
_NAMED = frozenset({Ioctl.VDUSE_CREATE_DEV, Ioctl.VDUSE_DESTROY_DEV})
_NAME = 256
"""Bytes of the name of a VDUSE device, with which these begin (VDUSE_NAME_MAX)."""
_SETS_NOTHING = frozenset(Control) - {Control.IOTLB_MSG, Control.IOTLB_MSG_V2, Control.VDUSE_SET_STATUS}
_IOTLB = slice(8, 24)
"""iova and size in struct vhost_msg and vhost_msg_v2 (linux/vhost_types.h)."""
_IOTLB_TYPE = 33
_FD = slice(HEADER.more["fd"][0], sum(HEADER.more["fd"]))


def setting(channel: Channel, request: int, data: bytes, order: str) -> Setting:
    """What a call sets; ``data`` has its header too. Of calls with different first words of the argument, such as the
    index of a ring, each is kept."""
    payload, fd = data[HEADER_SIZE:], data[_FD]
    if request in _STATUS:
        at = _STATUS[request]
        # What a reset has ended is not to come back: the last one is kept beside the status that was set after it.
        return Setting(request, (fd, payload[at : at + 1] == b"\0"))
    if request in _NAMED:
        return Setting(request, (fd, payload[:_NAME].partition(b"\0")[0]))
    if request in _SETS_NOTHING:
        return Setting(request, fd)
    if request in (Control.IOTLB_MSG, Control.IOTLB_MSG_V2):
        ends = payload[_IOTLB_TYPE : _IOTLB_TYPE + 1] == bytes([_IOTLB_INVALIDATE])
        return Setting("iotlb", payload[_IOTLB], ends=ends)
    return Setting(request, (fd, payload[:4]))
