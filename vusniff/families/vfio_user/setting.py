"""What of the state a message of vfio-user sets, told by its bytes (layouts: QEMU's document vfio-user)."""

from __future__ import annotations

from vusniff.channel import Channel
from vusniff.families.setting import Setting
from vusniff.families.vfio_user.protocol import HEADER_SIZE, Command

_ITEMS: dict[int, slice] = {
    Command.DEVICE_GET_REGION_INFO: slice(8, 12),
    Command.DEVICE_GET_IRQ_INFO: slice(8, 12),
    Command.DEVICE_SET_IRQS: slice(4, 16),
    Command.DEVICE_FEATURE: slice(4, 8),
}
"""Where the item stands in the payload."""
_MAPPED, _UNMAPPED = slice(16, 32), slice(8, 24)
"""Address and size of DMA_MAP and of DMA_UNMAP."""


def setting(channel: Channel, request: int, data: bytes, order: str) -> Setting:
    """What a message sets; ``data`` has its header too."""
    payload = data[HEADER_SIZE:]
    if request == Command.DMA_MAP:
        return Setting("memory", payload[_MAPPED])
    if request == Command.DMA_UNMAP:
        return Setting("memory", payload[_UNMAPPED], ends=True)
    place = _ITEMS.get(request)
    return Setting((channel, request), None if place is None else payload[place])
