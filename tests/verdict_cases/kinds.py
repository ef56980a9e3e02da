"""Sessions of further kinds: other protocols, refusals with their values, loops, short waits, lost descriptors."""

from __future__ import annotations

from checks_cases.script import (
    FEATURES,
    GIB,
    MEMORY,
    PROTOCOL,
    Again,
    Close,
    F,
    P,
    Part,
    Wait,
    acked,
    be,
    fe,
    hello,
    memfd,
    raw,
    region,
    set_up,
    single,
    table,
    u32,
    u64,
    up,
)

from verdict_cases import Expected
from verdict_cases.ends import ASKED, BE, FE, queues
from vusniff.checks.outcome import Outcome
from vusniff.families.vhost_user.device import Sure

GREETING = b'{"QMP": {"version": {}}}\r\n'
RPC = b'{"jsonrpc":"2.0","method":"spdk_get_version","id":1}'
SLOTS = PROTOCOL | P.CONFIGURE_MEM_SLOTS
LESS: list[Part] = [Wait(1), Again(), *hello(features=1 << 30)[:2], Close(0)]


def regions(count: int) -> list[Part]:
    """A memory table of so many regions that is refused."""
    many = fe(F.SET_MEM_TABLE, table(*(region(i << 30) for i in range(count))), *(memfd(50 + i) for i in range(count)))
    return [*acked(many, 1)]


KINDS = [
    Expected(
        "a monitor greets first",
        [raw(GREETING, 1), fe(F.GET_FEATURES), Wait(20)],
        Outcome.NEVER_STARTED,
        "other-protocol",
        ("the back-end (qemu-storage-da) says", "that is QMP"),
        BE,
        1,
        "connecting",
        comms=("qemu-system-x86", "qemu-storage-da"),
    ),
    Expected(
        "a client of another service connects",
        [raw(RPC, 0), Close(1)],
        Outcome.NEVER_STARTED,
        "other-protocol",
        ('python3 says "{"jsonrpc"', "that is JSON-RPC, not vhost-user"),
        None,
        1,
        "connecting",
        comms=("python3", "reactor_0"),
    ),
    Expected(
        "bytes of no protocol that is known",
        [fe(F.GET_FEATURES), raw(b"\1\0\0\0\xff\xfe\0" * 5, 1), Close(0)],
        Outcome.NEVER_STARTED,
        "other-protocol",
        ("the back-end (backend) says bytes that are no vhost-user message (#2)", "01 00 00 00 ff"),
        BE,
        2,
        "connecting",
        caveat="could not be read",
        sure=Sure.LIKELY,
    ),
    Expected(
        "a request that there is not, and the back-end is right to close",
        [fe(0), Close(1)],
        Outcome.NEVER_STARTED,
        "request-unknown",
        ("closed the connection 1.00 ms after REQUEST_0 (#1)", "request 0 on the main channel is not in"),
        FE,
        1,
        "connecting",
        "which program connects",
    ),
    Expected(
        "a request that there is not, which is passed over",
        [*up(), fe(999), Wait(3), fe(F.GET_FEATURES), be(F.GET_FEATURES, u64(FEATURES))],
        Outcome.RUNNING,
        "",
        ("1 ring runs",),
    ),
    Expected(
        "bytes of no protocol that is known, from who connects",
        [raw(b"\xff" * 40, 0), Close(1)],
        Outcome.NEVER_STARTED,
        "other-protocol",
        ("qemu-system-x86 says bytes that are no vhost-user message (#1)",),
        None,
        1,
        "connecting",
    ),
    Expected(
        "bytes of no protocol that is known, joined late",
        [raw(b"\xff" * 40, 1), Close(0)],
        Outcome.UNKNOWN,
        "",
        ("no message could be read",),
        late=True,
        caveat="joined late",
    ),
    Expected(
        "the front-end does not wait",
        [fe(F.GET_FEATURES), Wait(0.3), Close(0)],
        Outcome.WAITING,
        "request-never-answered",
        ("GET_FEATURES (#1) had no answer after 301 ms",),
        None,
        1,
        advice="front-end's log",
    ),
    Expected(
        "another request is answered",
        [fe(F.GET_FEATURES), be(F.GET_PROTOCOL_FEATURES, u64(1)), Close(0)],
        Outcome.WAITING,
        "reply-to-nothing",
        ("GET_FEATURES (#1)", "reply to GET_PROTOCOL_FEATURES, which was not requested"),
        BE,
    ),
    Expected(
        "a region is refused",
        [
            *hello(protocol=SLOTS),
            fe(F.GET_MAX_MEM_SLOTS),
            be(F.GET_MAX_MEM_SLOTS, u64(2)),
            *acked(fe(F.ADD_MEM_REG, single(region()), memfd())),
            *acked(fe(F.ADD_MEM_REG, single(region(GIB)), memfd(52)), 1),
            Close(0),
        ],
        Outcome.REFUSED,
        "request-refused",
        (
            "ADD_MEM_REG (#12) was refused with 0x1 (#13)",
            "With ADD_MEM_REG there would be 2 regions; the back-end has told 2 slots.",
        ),
        BE,
        13,
    ),
    Expected(
        "a status is refused",
        [*hello(protocol=PROTOCOL | P.STATUS), *acked(fe(F.SET_STATUS, u64(11)), 1), Close(0)],
        Outcome.REFUSED,
        "request-refused",
        ("SET_STATUS (#8) was refused with 0x1 (#9)", "SET_STATUS writes 0xb."),
        BE,
        9,
    ),
    *(
        Expected(
            f"a table of {count} regions is refused by {comm}",
            [*hello(), *regions(count), Close(0)],
            Outcome.REFUSED,
            "regions-more-than-peer",
            ("SET_MEM_TABLE (#8) was refused with 0x1", f"has {count} regions; {comm} ({program}) takes {limit}"),
            FE,
            advice="fewer memory regions",
            comms=("qemu-system-x86", comm),
        )
        for count, comm, program, limit in ((9, "dpdk-testpmd", "DPDK", 8), (33, "virtiofsd", "rust-vmm", 32))
    ),
    Expected(
        "a size is refused by closing",
        [*hello(), *MEMORY, fe(F.SET_VRING_NUM, u32(1, 2048), flags=9), Close(1)],
        Outcome.NEVER_STARTED,
        "refused-by-closing",
        ("SET_VRING_NUM (#9) and did not answer it", "SET_VRING_NUM gives vring 1 the size 2048."),
        BE,
        9,
        "setting up the rings",
        "smaller queue size",
        comms=("qemu-system-x86", "vhost-user-blk"),
    ),
    Expected(
        "no queues at all",
        [*ASKED, *queues(0), Close(0)],
        Outcome.NEVER_STARTED,
        "queue-num-zero",
        ("GET_QUEUE_NUM said 0",),
        BE,
        7,
        "negotiation",
        "give the back-end a queue",
    ),
    Expected(
        "a relay loses the descriptors of the table",
        [*hello(), fe(F.SET_MEM_TABLE, table(region())), Close(1)],
        Outcome.NEVER_STARTED,
        "memory-table-descriptors",
        ("SET_MEM_TABLE has 1 region and 0 descriptors",),
        FE,
        8,
        "memory",
        "relay",
    ),
    Expected(
        "a relay loses the kick descriptor",
        [*hello(), *MEMORY, *set_up(), fe(F.SET_VRING_KICK, u64(0)), Close(1)],
        Outcome.HUNG_UP,
        "vring-no-fd-bit",
        ("SET_VRING_KICK of vring 0 has no descriptor",),
        FE,
        12,
        advice="relay",
    ),
    *(
        Expected(
            f"comes back with fewer features, {times} times",
            [*up(), Wait(3), Close(1), *LESS * times],
            Outcome.NEVER_STARTED,
            "features-shrink",
            (
                "GET_FEATURES said 0x40000000 (#16)",
                again,
                "lack bit 32 (VERSION_1), which was negotiated in session 1",
                "Session 1 on this path worked; different then: features offered had",
            ),
            BE,
            16,
            "the first question",
            "the features it had",
        )
        for times, again in ((1, "."), (3, "three times in a row"))
    ),
    Expected(
        "ends right after SET_FEATURES",
        [*hello(features=FEATURES), Close(None)],
        Outcome.NEVER_STARTED,
        "memory-never-came",
        ("SET_FEATURES came (#7), then no memory",),
        FE,
        7,
        "memory",
        "share=on",
        sure=Sure.PERHAPS,
    ),
]
