"""Rings: setting up, starting, stopping, enabling; the inflight buffer."""

from __future__ import annotations

from checks_cases.script import (
    FEATURES,
    MEMORY,
    NO_FD,
    PROTOCOL,
    USER,
    Case,
    Close,
    F,
    Gap,
    P,
    Part,
    Say,
    Wait,
    addresses,
    back,
    be,
    call,
    channel,
    enable,
    eventfd,
    fe,
    hello,
    kick,
    memfd,
    ring,
    set_up,
    stop,
    u32,
    u64,
    up,
)
from vusniff.checks.finding import Side
from vusniff.families.vhost_user.protocol import BackendRequest as B

FE, BE = Side.FRONTEND, Side.BACKEND
PACKED = FEATURES | 1 << 34
INBAND = PROTOCOL | P.INBAND_NOTIFICATIONS
WITH_INFLIGHT = hello(protocol=PROTOCOL | P.INFLIGHT_SHMFD)
INFLIGHT = u64(8192, 0) + bytes([2, 0, 0, 1]) + bytes(4)
OTHER_INFLIGHT = u64(8192, 0) + bytes([4, 0, 0, 1]) + bytes(4)
GOT: list[Part] = [fe(F.GET_INFLIGHT_FD, INFLIGHT), be(F.GET_INFLIGHT_FD, INFLIGHT, memfd(9))]


def queues(value: int) -> list[Part]:
    return [fe(F.GET_QUEUE_NUM), be(F.GET_QUEUE_NUM, u64(value))]


def num(size: int, index: int = 0) -> Say:
    return fe(F.SET_VRING_NUM, u32(index, size))


def base(value: int, index: int = 0) -> Say:
    return fe(F.SET_VRING_BASE, u32(index, value))


def fds(request: int, word: int, *descriptors: int) -> Say:
    return fe(request, u64(word), *map(eventfd, descriptors))


FIRES = [
    Case("vring-index", [*hello(), *queues(2), num(256, 4)], says="vring 4; GET_QUEUE_NUM told 2"),
    Case("vring-index", [*hello(), *queues(2), num(256, 2)], device="blk"),
    Case("vring-index", [*hello(), *queues(1), kick(9)], device="scsi"),
    Case("vring-address-outside-memory", [*hello(), *MEMORY, num(256), fe(F.SET_VRING_ADDR, addresses(0, 1 << 31))]),
    Case(
        "vring-address-outside-memory",
        [*hello(), *MEMORY, num(32768), fe(F.SET_VRING_ADDR, u32(0, 0) + u64(USER + (1 << 30) - 4096, USER, USER, 0))],
        says="descriptor area",
    ),
    Case(
        "vring-address-alignment", [*hello(), *MEMORY, fe(F.SET_VRING_ADDR, u32(0, 0) + u64(USER + 8, USER, USER, 0))]
    ),
    Case(
        "vring-address-alignment", [*hello(), *MEMORY, fe(F.SET_VRING_ADDR, u32(0, 0) + u64(USER, USER, USER + 1, 0))]
    ),
    Case("vring-size", [*hello(), num(0)], says="size 0"),
    Case("vring-size", [*hello(), num(65536)]),
    Case("vring-size", [*hello(), num(300)], says="power of two"),
    Case("vring-no-fd-bit", [*hello(), fds(F.SET_VRING_CALL, 0)], says="bit 8 does not say so"),
    Case("vring-no-fd-bit", [*hello(), fds(F.SET_VRING_KICK, NO_FD, 5)], says="carries 1"),
    Case("vring-fd-reserved", [*hello(), fds(F.SET_VRING_ERR, 0x200, 5)], says="0x200"),
    Case(
        "vring-kick-before-num", [*hello(), *MEMORY, kick()], says="SET_VRING_NUM and SET_VRING_BASE and SET_VRING_ADDR"
    ),
    Case("vring-kick-before-num", [*hello(protocol=INBAND), *MEMORY, *set_up()[:2], fe(F.VRING_KICK, u32(0, 0))]),
    Case("get-vring-base-num", [*up(), fe(F.GET_VRING_BASE, u32(0, 5))], says="num 5"),
    Case(
        "get-vring-base-num",
        [
            *up(protocol=PROTOCOL | P.INFLIGHT_SHMFD | P.GET_VRING_BASE_INFLIGHT),
            fe(F.GET_VRING_BASE, u32(0, 1)),
        ],
        says="as QEMU 11.1.3 allowed",
    ),
    Case("get-vring-base-num", [*up(), fe(F.GET_VRING_BASE_SKIP_DRAIN, u32(0, 5))], says="SKIP_DRAIN of vring 0"),
    Case("get-vring-base-index", [*up(), fe(F.GET_VRING_BASE, u32(0, 0)), be(F.GET_VRING_BASE, u32(1, 0))]),
    Case("vring-stopped-notifies", [*up(protocol=INBAND), channel(), *stop(), back(B.BACKEND_VRING_CALL, u32(0, 0))]),
    Case(
        "vring-stopped-notifies",
        [*hello(protocol=INBAND), channel(), back(B.BACKEND_VRING_ERR, u32(3, 0))],
        says="never",
    ),
    Case("vring-used-without-kick", [*up(), *stop(), *set_up(base=7), enable(), Wait(2), Close(0)]),
    Case(
        "vring-not-restarted",
        [*up(), *ring(1), *stop(), enable(), Wait(2), Close(0)],
        severity="note",
        says="vring 0 was",
    ),
    Case("vring-never-enabled", [*up()[:-1], Wait(2), Close(0)], device="blk", says="nothing can flow"),
    Case("vring-never-enabled", [*up()[:-1], Wait(2), Close(0)], severity="warning"),
    Case("vring-never-enabled", [*up(), *ring(1)[:-1], Wait(2), Close(0)], severity="note", says="vring 1"),
    Case("vring-base-repeated", [*up(), *stop(base=7), base(9)], says="base 0x7"),
    Case("vring-base-split", [*hello(), base(0x10000)], FE),
    Case("vring-base-split", [*up(), *stop(base=0x80008000)], BE),
    Case("vring-enable-value", [*hello(), enable(0, 2)]),
    Case("vring-endian", [*hello(protocol=PROTOCOL | P.CROSS_ENDIAN), fe(F.SET_VRING_ENDIAN, u32(0, 2))], says="num 2"),
    Case("vring-endian", [*up(protocol=PROTOCOL | P.CROSS_ENDIAN), fe(F.SET_VRING_ENDIAN, u32(0, 1))], says="ran"),
    Case("inband-num", [*hello(protocol=INBAND), fe(F.VRING_KICK, u32(0, 1))], FE),
    Case("inband-num", [*hello(protocol=INBAND), channel(), back(B.BACKEND_VRING_CALL, u32(0, 1))], BE),
    Case(
        "suspended-device-talks",
        [*up(protocol=PROTOCOL | P.CONFIG), channel(), *stop(), back(B.BACKEND_CONFIG_CHANGE_MSG)],
    ),
    Case("inflight-reply-descriptor", [*WITH_INFLIGHT, GOT[0], be(F.GET_INFLIGHT_FD, INFLIGHT)]),
    Case("inflight-reply-descriptor", [*WITH_INFLIGHT, GOT[0], be(F.GET_INFLIGHT_FD, bytes(24), memfd(9))]),
    Case(
        "inflight-geometry",
        [*WITH_INFLIGHT, *GOT, fe(F.SET_INFLIGHT_FD, OTHER_INFLIGHT, memfd(9))],
        says="num_queues 4",
    ),
    Case("inflight-geometry", [*WITH_INFLIGHT, *GOT, fe(F.SET_INFLIGHT_FD, INFLIGHT)], says="no descriptors"),
]

RESTART: list[Part] = [*up(), *stop(), *set_up(base=7), kick(), call(), enable(), Wait(2), Close(0)]

QUIET = [
    Case("vring-index", [*hello(), *queues(2), num(256, 3)], device="net"),
    Case("vring-index", [*hello(), *queues(2), num(256, 1)], device="blk"),
    Case("vring-index", [*hello(), *queues(1), num(256, 2)], device="scsi"),
    Case("vring-index", [*hello(), num(256, 77)]),
    Case("vring-address-outside-memory", up()),
    Case(
        "vring-address-outside-memory",
        [*hello(FEATURES | 1 << 33), *MEMORY, fe(F.SET_VRING_ADDR, addresses(0, 1 << 31))],
    ),
    Case("vring-address-outside-memory", [*hello(), fe(F.SET_VRING_ADDR, addresses())]),
    Case("vring-address-alignment", up()),
    Case("vring-size", [*hello(), num(1), num(32768)]),
    Case("vring-size", [*hello(PACKED), num(300)]),
    Case("vring-no-fd-bit", up()),
    Case("vring-no-fd-bit", [*hello(), fds(F.SET_VRING_CALL, NO_FD)]),
    Case("vring-fd-reserved", [*hello(), fds(F.SET_VRING_CALL, NO_FD | 5)]),
    Case("vring-kick-before-num", up()),
    Case("vring-kick-before-num", [kick()], late=True),
    Case("vring-kick-before-num", [*hello(), *MEMORY, *set_up()[:2], Gap(), kick()]),
    Case("get-vring-base-num", RESTART),
    Case("get-vring-base-index", RESTART),
    Case("vring-stopped-notifies", [*up(protocol=INBAND), channel(), back(B.BACKEND_VRING_CALL, u32(0, 0))]),
    Case(
        "vring-stopped-notifies",
        [*up(protocol=INBAND), channel(), stop()[0], back(B.BACKEND_VRING_CALL, u32(0, 0)), stop()[1]],
    ),
    Case("vring-used-without-kick", RESTART),
    Case("vring-used-without-kick", [*up(), *stop(), *set_up(base=7), enable(), Close(0)]),
    Case("vring-not-restarted", RESTART),
    Case("vring-not-restarted", [*up(), *stop(), Wait(2), Close(0)]),
    # As QEMU does at a reset of its network device: all rings stop, and are enabled for the driver that comes.
    Case("vring-not-restarted", [*up(), *ring(1), *stop(), *stop(1), enable(), enable(1), Wait(2), Close(0)]),
    Case("vring-never-enabled", RESTART),
    Case("vring-never-enabled", [*up()[:-1], Close(0)], device="blk"),
    Case("vring-never-enabled", [*hello(accept=1 << 32), *MEMORY, *ring()[:-1], Wait(2), Close(0)]),
    Case("vring-never-enabled", [*up(), *ring(1)[:-1], enable(1, 0), Wait(2), Close(0)]),
    Case("vring-base-repeated", RESTART),
    Case("vring-base-repeated", [*up(), *stop(base=7), base(0)]),
    Case("vring-base-repeated", [*hello(), base(9), base(5)]),
    Case("vring-base-split", [*up(), *stop(base=0xFFFF)]),
    Case("vring-base-split", [*hello(PACKED), base(0x80008000)]),
    Case("vring-enable-value", [*hello(), enable(0, 0), enable(0, 1)]),
    Case("vring-endian", [*hello(protocol=PROTOCOL | P.CROSS_ENDIAN), fe(F.SET_VRING_ENDIAN, u32(0, 1)), *set_up()]),
    Case("inband-num", [*hello(protocol=INBAND), fe(F.VRING_KICK, u32(0, 0))]),
    Case(
        "suspended-device-talks",
        [*up(protocol=PROTOCOL | P.CONFIG), channel(), back(B.BACKEND_CONFIG_CHANGE_MSG), stop()[0]],
    ),
    Case(
        "suspended-device-talks", [*hello(protocol=PROTOCOL | P.CONFIG), channel(), back(B.BACKEND_CONFIG_CHANGE_MSG)]
    ),
    Case(
        "suspended-device-talks",
        [*up(protocol=PROTOCOL | P.CONFIG), *ring(1), channel(), *stop(), back(B.BACKEND_CONFIG_CHANGE_MSG)],
    ),
    Case("inflight-reply-descriptor", [*WITH_INFLIGHT, *GOT]),
    Case("inflight-reply-descriptor", [*WITH_INFLIGHT, GOT[0], be(F.GET_INFLIGHT_FD, bytes(24))]),
    Case("inflight-geometry", [*WITH_INFLIGHT, *GOT, fe(F.SET_INFLIGHT_FD, INFLIGHT, memfd(9))]),
    Case("inflight-geometry", [*WITH_INFLIGHT, fe(F.SET_INFLIGHT_FD, INFLIGHT, memfd(9))]),
]
