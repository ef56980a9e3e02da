"""How a device is set up: memory, rings and acknowledgements in another order or form than some peers take."""

from __future__ import annotations

from checks_cases.memory import many, tables
from checks_cases.script import (
    FEATURES,
    GIB,
    MEMORY,
    PROTOCOL,
    Again,
    Case,
    Close,
    F,
    Gap,
    P,
    Part,
    Say,
    Wait,
    acked,
    addresses,
    back,
    be,
    call,
    channel,
    enable,
    fe,
    gpu,
    gpu_socket,
    hello,
    kick,
    memfd,
    raw,
    region,
    ring,
    set_up,
    stop,
    table,
    u32,
    u64,
    up,
)
from vusniff.checks.finding import Side
from vusniff.families.vhost_user.protocol import BackendRequest as B

FE, BE = Side.FRONTEND, Side.BACKEND
RUST = ("qemu-system-x86", "vhost-device-gp")
DPDK = ("qemu-system-x86", "dpdk-testpmd")
SPDK = ("qemu-system-x86", "reactor_0")
VPP = ("qemu-system-x86", "vpp_main")
LVU = ("qemu-system-x86", "qemu-storage-da")
CLOUD = ("cloud-hyperviso", "reactor_0")
PACKED = FEATURES | 1 << 34
ASKED = acked(fe(F.SET_MEM_TABLE, table(region()), memfd()))
BARE = FEATURES & ~(1 << 30 | 1 << 26)
NOT_ASKED: list[Part] = [
    *hello()[:2],
    fe(F.SET_OWNER),
    fe(F.SET_PROTOCOL_FEATURES, u64(PROTOCOL)),
    fe(F.SET_FEATURES, u64(FEATURES & ~(1 << 26))),
]
LOG = fe(F.SET_LOG_BASE, u64(GIB, 0), memfd())
INFLIGHT = hello(protocol=PROTOCOL | P.INFLIGHT_SHMFD)
BUFFER = fe(F.SET_INFLIGHT_FD, u64(8192, 0) + bytes([2, 0, 0, 1]) + bytes(4), memfd(9))
QUEUES: list[Part] = [fe(F.GET_QUEUE_NUM), be(F.GET_QUEUE_NUM, u64(2))]
AGAIN: Say = tables(region(), region(4 * GIB, GIB, 0x7E00_0000_0000))
STATUS = hello(protocol=PROTOCOL | P.STATUS)


XEN = hello(protocol=PROTOCOL | P.XEN_MMAP)
PRIVCMD: list[Part] = [
    fe(F.SET_MEM_TABLE, u32(1, 0) + region(0x40000000, user=0x7F0000000000) + u32(1, 5), memfd()),
    fe(F.SET_VRING_NUM, u32(0, 256)),
]


def base(value: int, index: int = 0) -> Say:
    return fe(F.SET_VRING_BASE, u32(index, value))


FIRES = [
    Case("request-while-waiting", [*hello(), fe(F.GET_QUEUE_NUM), ASKED[0]], says="GET_QUEUE_NUM (#8) waits"),
    Case(
        "request-while-waiting",
        [*hello(), fe(F.GET_QUEUE_NUM), ASKED[0]],
        says="for its own",
        comms=("dpdk-testpmd", "dpdk-vhost"),
    ),
    Case("request-while-waiting", [*hello(), ASKED[0], fe(F.GET_VRING_BASE, u32(0, 0))], says="GET_VRING_BASE needs"),
    Case("acknowledgement-not-counted", [*hello(accept=BARE), *ASKED], comms=RUST, says="left out bit 30"),
    Case("acknowledgement-not-counted", [*hello(accept=BARE), *ASKED], severity="note"),
    Case("acknowledgement-not-counted", [*NOT_ASKED, *ASKED], comms=RUST, says="was never asked"),
    Case("acknowledgement-not-counted", [*NOT_ASKED, *ASKED], severity="note"),
    Case("log-base-reply-empty", [*hello(), LOG, be(F.SET_LOG_BASE)], comms=CLOUD),
    Case("inflight-before-rings", [*INFLIGHT, BUFFER], comms=DPDK),
    Case("memory-replaced-while-running", [*up(), AGAIN, Wait(1), Close(0)], comms=SPDK, says="vring 0 runs"),
    Case("memory-replaced-while-running", [*up(), *ring(1), AGAIN], comms=VPP, says="vrings 0 and 1 run"),
    Case("memory-replaced-while-running", [*up(), AGAIN, *stop(), Close(0)], severity="note"),
    Case("memory-replaced-while-running", [*up(), AGAIN, Gap()], comms=SPDK),
    Case(
        "rings-announced-not-set-up",
        [*hello(), *MEMORY, call(), call(1), call(2), call(3), *ring(), *ring(1), Wait(2), Close(0)],
        comms=DPDK,
        says="vring 2, 3 were announced",
    ),
    Case(
        "rings-announced-not-set-up",
        [*STATUS, *MEMORY, call(), call(1), *ring(), Wait(2), Close(0)],
        comms=DPDK,
        device="blk",
        says="vring 1 was announced",
    ),
    Case(
        "regions-not-on-2-mib",
        [*hello(), tables(region(0, 0xA0000))],
        comms=SPDK,
        says="begin and end on 2 MiB",
    ),
    Case("regions-not-on-2-mib", [*hello(), tables(region(0, GIB, offset=4096))], comms=SPDK),
    Case("pair-half-enabled", [*hello(), *QUEUES, *MEMORY, *ring()], comms=DPDK, says="before vring 1"),
    Case("pair-half-enabled", [*hello(), *QUEUES, *MEMORY, *ring(1)], comms=DPDK, device="net", says="before vring 0"),
    Case("packed-ring-first-base", [*hello(PACKED), base(0)], says="begins at base 0x0"),
    Case("packed-ring-first-base", [*hello(PACKED), base(0x80000000)]),
    Case(
        "vring-address-outside-memory",
        [*XEN, *PRIVCMD, fe(F.SET_VRING_ADDR, u32(0, 0) + u64(0x90001000, 0x90004000, 0x90002000, 0))],
    ),
    Case("nothing-shared", [*hello(), fe(F.SET_VRING_ADDR, addresses())], comms=LVU, says="gets addresses"),
    Case("nothing-shared", [*hello(), *set_up(), kick()], comms=DPDK, says="is kicked"),
    Case("nothing-shared", [*hello(), fe(F.SET_MEM_TABLE, table())], says="the first memory table is empty"),
    Case("nothing-shared", [*hello(), *ring()], comms=("dpdk-testpmd", "dpdk-vhost"), says="hugepages"),
    Case("nothing-shared", [*hello(), *ring()], comms=CLOUD, says="--memory shared=on"),
    Case("memory-never-came", [*hello(), call(), call(1), Close(0)], comms=DPDK, says="the session ended"),
    Case("memory-never-came", [*hello(), call(), Wait(2), Close(None)], comms=LVU),
    Case("memory-never-came", [*hello(), enable(0, 0), Wait(3)], comms=("cloud-hyperviso", "dpdk-vgw")),
]

QUIET = [
    Case("request-while-waiting", [*hello(), *QUEUES, *ASKED, *stop()]),
    Case("request-while-waiting", [*hello(), fe(F.GET_QUEUE_NUM), fe(F.SET_VRING_NUM, u32(0, 256))]),
    Case("request-while-waiting", [*hello()[:4], fe(F.SET_OWNER, flags=9), fe(F.GET_QUEUE_NUM)]),
    Case(
        "request-while-waiting",
        [
            *hello(protocol=PROTOCOL | P.CONFIG),
            channel(),
            back(B.BACKEND_CONFIG_CHANGE_MSG, flags=9),
            back(B.BACKEND_CONFIG_CHANGE_MSG, flags=9),
        ],
    ),
    Case("request-while-waiting", [*up(), gpu_socket(), gpu(1), gpu(1)]),
    Case("request-while-waiting", [*hello(), fe(F.GET_QUEUE_NUM), raw(b"\xff" * 12, end=1), ASKED[0]]),
    Case("acknowledgement-not-counted", [*hello(), *ASKED], comms=RUST),
    Case("acknowledgement-not-counted", [*hello(accept=BARE), *ASKED], comms=LVU),
    Case("acknowledgement-not-counted", [*hello(accept=BARE), *MEMORY, *stop()], comms=RUST),
    Case("acknowledgement-not-counted", [*NOT_ASKED, Gap(), *ASKED], comms=RUST),
    Case("log-base-reply-empty", [*hello(), LOG, be(F.SET_LOG_BASE)], comms=DPDK),
    Case("log-base-reply-empty", [*hello(), LOG, be(F.SET_LOG_BASE, u64(GIB, 0))], comms=CLOUD),
    Case("inflight-before-rings", [*INFLIGHT, call(), BUFFER], comms=DPDK),
    Case("inflight-before-rings", [*INFLIGHT, BUFFER], comms=LVU),
    Case("memory-replaced-while-running", up(), comms=SPDK),
    Case("memory-replaced-while-running", [*up(), *stop(), AGAIN, Close(0)], comms=SPDK),
    Case("memory-replaced-while-running", [*up(), AGAIN, fe(F.SET_VRING_ADDR, addresses()), Close(0)], comms=SPDK),
    Case("rings-announced-not-set-up", [*STATUS, *MEMORY, call(), call(1), *ring(), Wait(2), Close(0)], comms=DPDK),
    Case("rings-announced-not-set-up", [*hello(), *MEMORY, call(1), *ring(), Wait(2), Close(0)], comms=LVU),
    Case("rings-announced-not-set-up", [*hello(), *MEMORY, call(), call(1), *ring(), *ring(1), Wait(2)], comms=DPDK),
    Case("regions-not-on-2-mib", [*hello(), tables(region(0, GIB))], comms=SPDK),
    Case("regions-not-on-2-mib", [*hello(), tables(*many(2))], comms=DPDK),
    Case(
        "pair-half-enabled",
        [*hello(), *QUEUES, *MEMORY, *ring()[:-1], *ring(1)[:-1], enable(), enable(1)],
        comms=DPDK,
    ),
    Case("pair-half-enabled", [*hello(), *QUEUES, enable(), enable(1), *MEMORY, *ring()[:-1]], comms=DPDK),
    Case("pair-half-enabled", [*hello(), *QUEUES, *MEMORY, *ring()], comms=DPDK, device="blk"),
    Case("pair-half-enabled", [*hello(), *QUEUES, *MEMORY, *ring()], comms=LVU),
    Case("packed-ring-first-base", [*hello(PACKED), base(0x80008000), base(0x8000, 1), base(0x0005, 2)]),
    Case("packed-ring-first-base", [*hello(PACKED), *MEMORY, *set_up(base=0x8000), kick(), *stop(base=0), base(0)]),
    Case("packed-ring-first-base", [*hello(PACKED), Close(0), Again(), *hello(PACKED), base(0)]),
    Case("packed-ring-first-base", [*hello(), base(0)]),
    Case(
        "vring-address-outside-memory",
        [*XEN, *PRIVCMD, fe(F.SET_VRING_ADDR, u32(0, 0) + u64(0x40001000, 0x40004000, 0x40002000, 0))],
    ),
    Case("vring-address-outside-memory", [*XEN, *PRIVCMD, fe(F.SET_VRING_ADDR, addresses())]),
    Case("nothing-shared", [*hello(), fe(F.SET_VRING_ADDR, addresses())], comms=DPDK),
    Case("nothing-shared", [*hello(), *MEMORY, fe(F.SET_MEM_TABLE, table())]),
    Case("memory-never-came", [*hello(), *MEMORY, Close(0)], comms=LVU),
    Case("memory-never-came", [*hello()[:6], Wait(9), Close(0)], comms=LVU),
    Case("memory-never-came", [*hello(), Wait(9), Close(0)]),
    Case("memory-never-came", [*hello(), Close(1)], comms=LVU),
    Case("memory-never-came", [*hello(protocol=PROTOCOL | P.PAGEFAULT), fe(F.POSTCOPY_ADVISE), Close(0)], comms=LVU),
]
