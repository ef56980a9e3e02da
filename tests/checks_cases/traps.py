"""Known interoperability traps."""

from __future__ import annotations

from checks_cases.memory import add, many, tables
from checks_cases.script import (
    FEATURES,
    MEMORY,
    NO_FD,
    PROTOCOL,
    Again,
    Case,
    Close,
    F,
    P,
    Part,
    Wait,
    acked,
    back,
    be,
    call,
    channel,
    enable,
    fe,
    hello,
    kick,
    memfd,
    ring,
    stop,
    u64,
    up,
)
from vusniff.checks.finding import Side
from vusniff.families.vhost_user.protocol import BackendRequest as B

FE, BE = Side.FRONTEND, Side.BACKEND
RUST = ("qemu-system-x86", "vhost-device-gp")
DPDK = ("qemu-system-x86", "dpdk-testpmd")
LVU = ("qemu-system-x86", "qemu-storage-da")
SLOTS = hello(protocol=PROTOCOL | P.CONFIGURE_MEM_SLOTS)
NUM = fe(F.SET_VRING_NUM, bytes(4) + (1024).to_bytes(4, "little"))
SHMEM_MAP = bytes(8) + u64(0, 0, 4096, 1)


def again(session: list[Part]) -> list[Part]:
    return [*up(), Close(1), Again(), *session]


FIRES = [
    Case("regions-more-than-peer", [*hello(), tables(*many(9))], comms=DPDK, says="dpdk-testpmd (DPDK) takes 8"),
    Case("regions-more-than-peer", [*hello(), tables(*many(33))], comms=RUST, says="takes 32"),
    Case("regions-more-than-peer", [*hello(), tables(*many(9))], says="libvhost-user and DPDK"),
    Case("descriptors-more-than-peer", [*hello(), tables(*many(9))], comms=LVU, says="ends its process"),
    Case("descriptors-more-than-peer", [*hello(), tables(*many(33))], comms=RUST, says="silently drops"),
    Case("shmem-bit", hello(protocol=PROTOCOL | P.GPA_ADDRESSES)[:4], BE, comms=RUST, says="rust-vmm vhost 0.16"),
    Case("shmem-bit", [*hello(protocol=PROTOCOL | P.GPA_ADDRESSES), fe(F.GET_SHMEM_CONFIG)], FE),
    Case(
        "shmem-bit",
        [
            *hello(protocol=PROTOCOL | P.GET_VRING_BASE_INFLIGHT),
            channel(),
            back(B.BACKEND_SHMEM_MAP, SHMEM_MAP, memfd(9)),
        ],
        BE,
        says="bit 20",
    ),
    Case("queue-size-more-than-peer", [*hello(), *MEMORY, *acked(NUM, 1)], says="size 1024"),
    Case("queue-size-more-than-peer", [*hello(), *MEMORY, NUM, Close(1)], comms=RUST, says="1024"),
    Case(
        "vring-lost-after-reconnect",
        [*up(), *ring(1), Close(1), Again(), *up(), Wait(6), Close(0)],
        says="vring 1 ran in session 1",
    ),
    Case("vring-lost-after-reconnect", [*again(hello()), Wait(6), Close(0)], severity="note"),
    Case("features-shrink", [*up(FEATURES | 1), Close(1), Again(), *hello()], says="bit 0, which was negotiated"),
    Case("features-shrink", [*up(FEATURES | 1, accept=1 << 30), Close(1), Again(), *hello()], severity="note"),
    Case("protocol-features-shrink", again(hello(protocol=P.MQ)), severity="note", says="REPLY_ACK"),
    Case("descriptor-of-two-rings", [*up(), *ring(1)[:3], kick(1, 500)], says="as its kick descriptor, as vring 0"),
    Case("descriptor-of-two-rings", [*up(), call(1, 600)], severity="note"),
    Case("descriptor-of-two-rings", [*up(), call(1, 500)], says="which is the kick of vring 0"),
    Case("descriptor-missing", [*hello(), channel()._replace(fds=())]),
    Case("descriptor-missing", [*hello(), fe(F.SET_LOG_FD)]),
]

QUIET = [
    Case("regions-more-than-peer", [*hello(), tables(*many(9))], comms=RUST),
    Case("regions-more-than-peer", [*SLOTS, *map(add, many(9))], comms=DPDK),
    Case("descriptors-more-than-peer", [*hello(), tables(*many(8))], comms=LVU),
    Case("shmem-bit", hello(protocol=PROTOCOL | P.GPA_ADDRESSES | P.SHMEM), comms=RUST),
    Case("shmem-bit", hello(protocol=PROTOCOL | P.GPA_ADDRESSES), comms=DPDK),
    Case("shmem-bit", [*hello(protocol=PROTOCOL | P.SHMEM), fe(F.GET_SHMEM_CONFIG)]),
    Case("queue-size-more-than-peer", [*hello(), *MEMORY, *acked(NUM)]),
    Case("queue-size-more-than-peer", [*up(), Close(1)], comms=RUST),
    Case("queue-size-more-than-peer", [*hello(), *MEMORY, NUM, Wait(3), Close(1)], comms=RUST),
    Case("queue-size-more-than-peer", [*hello(), *MEMORY, NUM, Close(0)], comms=RUST),
    Case("vring-lost-after-reconnect", [*again(up()), Wait(6), Close(0)]),
    Case("vring-lost-after-reconnect", [*again(hello()), Close(0)]),
    Case("vring-lost-after-reconnect", [*up(), *stop(), Close(0), Again(), *hello(), Wait(6), Close(0)]),
    Case("features-shrink", again(up(FEATURES | 1))),
    Case("features-shrink", [*up(), Close(1), Again(), *hello()]),
    Case("protocol-features-shrink", again(up())),
    Case("descriptor-of-two-rings", [*up(), *ring(1), call(0), kick(0)]),
    Case("descriptor-of-two-rings", [*up(), fe(F.SET_VRING_CALL, u64(NO_FD | 1)), enable(1)]),
    Case("descriptor-missing", [*up(), channel()]),
    Case("request-waits", [*hello(), *acked(enable()), be(F.GET_FEATURES, u64(0))]),
]
