"""How sessions end."""

from __future__ import annotations

from checks_cases.script import (
    MEMORY,
    Case,
    Close,
    F,
    Wait,
    acked,
    be,
    enable,
    fe,
    hello,
    raw,
    ring,
    set_up,
    stop,
    u32,
    u64,
    up,
)
from vusniff.checks.finding import Side

HTTP = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
QUEUES = [fe(F.GET_QUEUE_NUM), be(F.GET_QUEUE_NUM, u64(1))]

FIRES = [
    Case(
        "other-protocol",
        [fe(F.GET_FEATURES), raw(HTTP, 1), Close(1)],
        Side.BACKEND,
        says="that is HTTP, not vhost-user",
    ),
    Case(
        "other-protocol",
        [raw(b'{"QMP": {"version": {}}}\r\n', 1), fe(F.GET_FEATURES), Wait(9)],
        Side.BACKEND,
        says="QMP",
    ),
    Case("other-protocol", [raw(bytes(range(128, 160)), 1), fe(F.GET_FEATURES)], Side.BACKEND, says="begin with: 80"),
    Case("peer-never-spoke", [fe(F.GET_FEATURES), Wait(6)]),
    Case(
        "peer-never-spoke", [fe(F.SET_OWNER), fe(F.GET_FEATURES), Wait(2), Close(0)], says="had no answer after 2.00 s"
    ),
    Case("closed-before-first-answer", [fe(F.GET_FEATURES), Close(1)]),
    Case("closed-before-first-answer", [fe(F.SET_OWNER), Wait(3), Close(1)], says="3.00 s after SET_OWNER (#1)"),
    Case("closed-after-request", [*hello(), Close(1)], says="1.00 ms after SET_FEATURES (#7)"),
    Case("closed-after-request", [*hello(), *MEMORY, *set_up(), Wait(0.3), Close(1)], says="SET_VRING_ADDR (#11)"),
    Case("closed-after-request", [*up(), Close(1)], says="SET_VRING_ENABLE"),
    Case("left-after-reply", [*hello()[:5], *QUEUES, Close(0)], says="after GET_QUEUE_NUM said 1 (#7)"),
    Case("left-after-reply", [*hello()[:2], Wait(0.5), Close(0)], says="GET_FEATURES said 0x144000000 (#2)"),
    Case("refused-then-closed", [*up(), *acked(fe(F.SET_VRING_NUM, u32(0, 8)), 1), Close(0)], says="refused with 0x1"),
    Case(
        "refused-then-closed",
        [*up(), fe(F.SET_LOG_BASE, u64(1 << 20, 0)), be(F.SET_LOG_BASE, u64(1)), Wait(0.2), Close(0)],
        says="SET_LOG_BASE (#15) was refused with 0x1 (#16)",
    ),
]

QUIET = [
    Case("other-protocol", [*up(), raw(HTTP, 1), Close(0)]),
    Case("other-protocol", [raw(bytes(range(128, 160)), 1), fe(F.GET_FEATURES)], late=True),
    Case("peer-never-spoke", [fe(F.GET_FEATURES), Wait(0.1), Close(0)]),
    Case("peer-never-spoke", [fe(F.GET_VRING_BASE, u32(0, 0)), Wait(9)], late=True),
    Case("closed-before-first-answer", [*hello()[:2], Close(1)]),
    Case("closed-before-first-answer", [fe(F.SET_VRING_CALL, u64(0x100)), Close(1)], late=True),
    Case("closed-before-first-answer", [fe(F.GET_FEATURES), Close(0)]),
    Case("closed-after-request", [*up(), *stop(), enable(0, 0), Close(1)]),
    Case("closed-after-request", [*up(), Wait(0.2), Close(1)]),
    Case("closed-after-request", [*up(), Close(0)]),
    Case("closed-after-request", [*up(), *ring(1), Close(1, lost=1)]),
    Case("left-after-reply", [*up(), *stop(), Close(0)]),
    Case("left-after-reply", [*hello()[:5], *QUEUES, Wait(3), Close(0)]),
    Case("left-after-reply", [*hello()[:5], *QUEUES, Close(0)], late=True),
    Case("refused-then-closed", [*up(), *acked(fe(F.SET_VRING_NUM, u32(0, 8)), 1), enable(), Close(0)]),
    Case(
        "refused-then-closed", [*up(), fe(F.SET_LOG_BASE, u64(1 << 20, 0)), be(F.SET_LOG_BASE, u64(1 << 20)), Close(0)]
    ),
]
