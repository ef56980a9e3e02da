"""Which answers count as different, and which only say that it is another run."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from talk import eventfd, memfd, region, socket, u32, u64

from vusniff.analysis.compose import compose
from vusniff.analysis.session import Place
from vusniff.families.vhost_user.protocol import Channels
from vusniff.families.vhost_user.protocol import FrontendRequest as F
from vusniff.message import Context, Message
from vusniff.record import Descriptor, DescriptorKind, End, Facts, Frame
from vusniff.replay.differences import compare, signature

NET = Context(device="net", packed=False)


def message(request: int, body: bytes = b"", *fds: Descriptor, flags: int = 5, context: Context = NET) -> Message:
    place = Place(1, 1, Channels.MAIN, 0, context, (End(), End()))
    return compose(1, Frame(1, 1, 0, struct.pack("<III", request, flags, len(body)) + body, Facts(fds)), place)


def config(body: bytes) -> bytes:
    return u32(0, len(body), 0) + body


TABLE = u32(1, 0)
MAC = bytes(6) + b"\1\0" + b"\1\0"


@pytest.mark.parametrize(
    ("recorded", "live"),
    [
        (message(F.GET_FEATURES, u64(3)), message(F.GET_FEATURES, u64(3))),
        (message(F.GET_VRING_BASE, u32(0, 7)), message(F.GET_VRING_BASE, u32(0, 0))),
        (message(F.GET_VRING_BASE, u32(0, 7), flags=1), message(F.GET_VRING_BASE, u32(0, 99), flags=1)),
        (
            message(F.SET_VRING_CALL, u64(0), eventfd(4), flags=1),
            message(F.SET_VRING_CALL, u64(0), eventfd(5), flags=1),
        ),
        (
            message(F.SET_MEM_TABLE, TABLE + region(0, 4096, 0x7000), memfd(3), flags=9),
            message(
                F.SET_MEM_TABLE,
                TABLE + region(0, 4096, 0x9000, 4096),
                Descriptor(DescriptorKind.FILE, "file:0:1:2", 7, "/dev/hugepages/x", 8192),
                flags=9,
            ),
        ),
        (  # libblkio has no guest: both addresses are those of its process
            message(F.ADD_MEM_REG, u64(0) + region(0x7F1200000000, 4096, 0x7F1200000000), memfd(3), flags=9),
            message(F.ADD_MEM_REG, u64(0) + region(0x7F9900001000, 4096, 0x7F9900001000), memfd(3), flags=9),
        ),
        (
            message(F.GET_INFLIGHT_FD, struct.pack("<QQHH", 4096, 0, 2, 128) + b"abcd", memfd(1, 4096)),
            message(F.GET_INFLIGHT_FD, struct.pack("<QQHH", 8192, 64, 2, 128) + b"efgh", memfd(2, 8192)),
        ),
        (
            message(F.SET_LOG_BASE, u64(1), context=Context(log_shmfd=True)),
            message(F.SET_LOG_BASE, b"", context=Context(log_shmfd=True)),
        ),
        (message(F.SEND_RARP, bytes(6) + b"xy", flags=1), message(F.SEND_RARP, bytes(6) + b"zz", flags=1)),
    ],
    ids=lambda one: one.name,
)
def test_another_run_is_no_difference(recorded: Message, live: Message) -> None:
    assert compare(recorded, live) == ()
    assert signature(recorded) == signature(live)


@pytest.mark.parametrize(
    ("recorded", "live", "expected"),
    [
        (message(F.GET_FEATURES, u64(3)), message(F.GET_FEATURES, u64(1)), [("u64", 3, 1)]),
        (message(F.GET_FEATURES, u64(3)), message(F.GET_FEATURES, u64(3), flags=13), [("flags", "0x5", "0xd")]),
        (message(F.SET_OWNER, u64(0)), message(F.SET_OWNER, u64(1)), [("u64", 0, 1)]),
        (message(F.GET_VRING_BASE, u32(0, 7)), message(F.GET_VRING_BASE, u32(1, 7)), [("index", 0, 1)]),
        (
            message(F.SET_VRING_CALL, u64(0), eventfd(4), flags=1),
            message(F.SET_VRING_CALL, u64(0), socket(5), flags=1),
            [("descriptors", "eventfd", "socket")],
        ),
        (
            message(F.SET_VRING_CALL, u64(0), eventfd(4), flags=1),
            message(F.SET_VRING_CALL, u64(0x100), flags=1),
            [("descriptors", "eventfd", "none"), ("u64", 0, 256), ("no_fd", False, True)],
        ),
        (
            message(F.SET_MEM_TABLE, TABLE + region(0, 4096, 0x7000), memfd(3), flags=9),
            message(F.SET_MEM_TABLE, TABLE + region(0, 8192, 0x7000), memfd(3), flags=9),
            [("regions[0].size", 4096, 8192)],
        ),
        (
            message(F.SET_MEM_TABLE, TABLE + region(0, 4096, 0x7000), memfd(3), flags=9),
            message(F.SET_MEM_TABLE, TABLE + region(4096, 4096, 0x7000), memfd(3), flags=9),
            [("regions[0].guest_address", 0, 4096)],
        ),
        (  # GPA_ADDRESSES: a guest's address, repeated
            message(F.ADD_MEM_REG, u64(0) + region(1 << 32, 4096, 1 << 32), memfd(3), flags=9),
            message(F.ADD_MEM_REG, u64(0) + region(2 << 32, 4096, 2 << 32), memfd(3), flags=9),
            [("guest_address", 1 << 32, 2 << 32)],
        ),
        (
            message(F.GET_CONFIG, config(MAC)),
            message(F.GET_CONFIG, config(bytes(6) + b"\0\0" + b"\1\0")),
            [("config.status", 1, 0)],
        ),
        # A byte of a field that is not there as a whole.
        (
            message(F.GET_CONFIG, config(b"\1")),
            message(F.GET_CONFIG, config(b"\2")),
            [("payload", "01", "02")],
        ),
        (
            message(F.GET_FEATURES, u64(3)),
            message(F.GET_FEATURES, b""),
            [("u64", 3, None), ("bytes", None, "01000000")],
        ),
        (message(F.GET_FEATURES, u64(3)), message(F.GET_FEATURES, u64(3) + b"\7"), [("trailing", None, "07")]),
    ],
    ids=lambda one: one.name if isinstance(one, Message) else "",
)
def test_anything_else_is_told_by_field(recorded: Message, live: Message, expected: list[tuple[str, Any, Any]]) -> None:
    changes = compare(recorded, live)
    told = [(change.path, change.recorded, change.live) for change in changes]
    assert [one[:2] for one in told] == [one[:2] for one in expected]
    for (_, _, live_value), (_, _, wanted) in zip(told, expected, strict=True):
        assert live_value == wanted or str(live_value).startswith(str(wanted))
    assert signature(recorded) != signature(live)


def test_bits_are_named() -> None:
    (change,) = compare(message(F.GET_FEATURES, u64(1 << 5 | 1 << 32)), message(F.GET_FEATURES, u64(1 << 32 | 1 << 40)))
    assert (change.removed, change.added) == (("VIRTIO_NET_F_MAC",), ("VIRTIO_F_RING_RESET",))
