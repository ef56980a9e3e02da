"""What is remembered of messages changes nothing of what later ones are read as."""

from __future__ import annotations

import struct
import sys
from itertools import permutations

import pytest

from vusniff.analysis import compose
from vusniff.analysis.session import Place
from vusniff.channel import Sender
from vusniff.families.vhost_user.protocol import HEADERS, VERSION, Channels, FrontendRequest
from vusniff.layouts import dissect
from vusniff.message import Context
from vusniff.record import End, Frame, FrameKind

PLACE = Place(1, 1, Channels.MAIN, 0, Context(), (End(), End()))


def table(count: int, regions: int) -> bytes:
    """SET_MEM_TABLE that says how many regions it has, and holds so many."""
    payload = struct.pack("<II", count, 0) + b"".join(
        struct.pack("<QQQQ", i << 30, 1 << 30, i, 0) for i in range(regions)
    )
    return HEADERS["little"].pack(FrontendRequest.SET_MEM_TABLE, VERSION, len(payload)) + payload


def iotlb(iova: int) -> bytes:
    payload = struct.pack("<QQQBB6x", iova, 4096, iova << 8, 3, 2)
    return HEADERS["little"].pack(FrontendRequest.IOTLB_MSG, VERSION, len(payload)) + payload


@pytest.mark.parametrize(
    "datas",
    [
        pytest.param((table(2, 2), table(1, 2), table(3, 2), table(2, 2)[:-8]), id="count does not fit"),
        pytest.param((iotlb(1 << 20), iotlb(1 << 21), iotlb(1 << 20) + b"more", iotlb(7)[:30]), id="other size"),
    ],
)
def test_messages_with_the_same_header_are_read_each_for_itself(datas: tuple[bytes, ...]) -> None:
    for order in permutations(datas):
        dissect.forget()
        for data in (*order, *order):
            message = compose.compose(1, Frame(1, 0, 5, data), PLACE)
            request, flags, size, decoded = compose.decode(
                *(data, 0, FrameKind.MESSAGE, Channels.MAIN, PLACE.context, Sender.FRONTEND)
            )
            assert (message.request, message.flags, message.size) == (request, flags, size)
            assert (message.payload, message.malformed, message.trailing) == (
                *(decoded.payload, decoded.malformed, decoded.trailing),
            )
            assert (message.name, message.layout, message.data) == (decoded.name, decoded.layout, data)


def test_what_is_remembered_of_long_messages_does_not_hold_them() -> None:
    dissect.forget()
    data = table(64, 64)
    before = sys.getrefcount(data)
    compose.compose(1, Frame(1, 0, 5, data), PLACE)
    assert sys.getrefcount(data) == before
