"""The split ring: flags, indexes and event indexes (virtio 1.2, 2.7.6 and 2.7.8).

Available ring: flags u16, index u16, ring of ``size`` u16, used_event u16. Used ring: flags u16, index u16, ring of
``size`` (u32, u32), avail_event u16. Flag bit 0 of the available ring is NO_INTERRUPT, of the used ring NO_NOTIFY.
"""

from __future__ import annotations

import struct

from vusniff.families.places import RingPlace
from vusniff.record import Position

_WHOLE = 4096
"""Bytes up to which a ring is read at once, together with the event index behind it."""
_PAIR = {"little": struct.Struct("<HH").unpack_from, "big": struct.Struct(">HH").unpack_from}
_LAST = {"little": struct.Struct("<H").unpack, "big": struct.Struct(">H").unpack}


def pieces(place: RingPlace) -> tuple[tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]]:
    """What has to be read of the used and of the available ring: (offset in it, bytes) each.

    The used ring is read first. What the device uses in between then looks in flight; the other way round the used
    index could be ahead of the available one.
    """
    return _pieces(place, 4 + 8 * place.size), _pieces(place, 4 + 2 * place.size)


def _pieces(place: RingPlace, event: int) -> tuple[tuple[int, int], ...]:
    if not place.event_index:
        return ((0, 4),)
    return ((0, event + 2),) if event + 2 <= _WHOLE else ((0, 4), (event, 2))


def decode(place: RingPlace, used: bytes, available: bytes) -> Position:
    """Where it stands, by the bytes of `pieces`, those of one ring joined."""
    pair = _PAIR[place.order]
    used_flags, used_index = pair(used, 0)
    available_flags, available_index = pair(available, 0)
    used_event = available_event = None
    if place.event_index:
        (used_event,), (available_event,) = _LAST[place.order](available[-2:]), _LAST[place.order](used[-2:])
    return Position(
        place.index,
        place.size,
        False,
        available_index,
        used_index,
        (available_index - used_index) & 0xFFFF,
        None,
        None,
        bool(available_flags & 1),
        bool(used_flags & 1),
        used_event,
        available_event,
    )
