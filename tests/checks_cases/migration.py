"""Dirty log, postcopy, transfer of the back-end's state."""

from __future__ import annotations

from checks_cases.memory import POSTCOPY, add, many, tables
from checks_cases.script import (
    FEATURES,
    GIB,
    PIPE,
    PROTOCOL,
    Case,
    F,
    Gap,
    P,
    Part,
    Say,
    acked,
    addresses,
    be,
    enable,
    fe,
    hello,
    kick,
    memfd,
    region,
    set_up,
    single,
    stop,
    table,
    u32,
    u64,
    up,
)
from vusniff.record import Descriptor, DescriptorKind

LOG = memfd(9)
LOG_ALL = fe(F.SET_FEATURES, u64(FEATURES))
STATE = PROTOCOL | P.DEVICE_STATE
UFFD = Descriptor(DescriptorKind.USERFAULTFD, "userfaultfd:5")
PAGEFAULT = hello(protocol=PROTOCOL | P.PAGEFAULT)
END: list[Part] = [fe(F.POSTCOPY_END), be(F.POSTCOPY_END, u64(0))]


def log_base(size: int, *fds: Descriptor) -> list[Part]:
    return [fe(F.SET_LOG_BASE, u64(size, 0), *fds), be(F.SET_LOG_BASE)]


def state_fd(direction: int = 0, phase: int = 0, *fds: Descriptor) -> Say:
    return fe(F.SET_DEVICE_STATE_FD, u32(direction, phase), *fds)


ENOUGH = GIB // 4096 // 8
LOGGED: list[Part] = [*up(), *log_base(ENOUGH, LOG), LOG_ALL, fe(F.SET_VRING_ADDR, addresses(flags=1, log=0x4000))]
BASES = be(F.SET_MEM_TABLE, table(*[region(i * GIB, user=0x7E00_0000_0000) for i in range(2)]))

FIRES = [
    Case("postcopy-with-memory-slots", POSTCOPY, says="POSTCOPY_ADVISE is sent"),
    Case("log-descriptor", [*up(), *log_base(ENOUGH)]),
    Case("log-too-small", [*up(), *log_base(ENOUGH - 1, LOG)], says="0x40000000"),
    Case("log-too-small", [*LOGGED, tables(*many(2))]),
    Case(
        "log-too-small", [*LOGGED, fe(F.SET_VRING_ADDR, addresses(flags=1, log=GIB - 8))], says="used ring of vring 0"
    ),
    Case("log-before-features", [*up(), LOG_ALL]),
    Case("log-before-features", [*up(), fe(F.SET_VRING_ADDR, addresses(flags=1, log=0x4000))]),
    Case("postcopy-order", [*PAGEFAULT, *acked(fe(F.POSTCOPY_LISTEN))], says="first"),
    Case("postcopy-order", [*PAGEFAULT, *END]),
    Case("postcopy-order", [*POSTCOPY, fe(F.POSTCOPY_ADVISE)], says="after POSTCOPY_LISTEN"),
    Case("postcopy-advise-reply", [*PAGEFAULT, fe(F.POSTCOPY_ADVISE), be(F.POSTCOPY_ADVISE)], says="no descriptors"),
    Case(
        "postcopy-advise-reply",
        [*PAGEFAULT, fe(F.POSTCOPY_ADVISE), be(F.POSTCOPY_ADVISE, u64(0), UFFD)],
        says="8 bytes",
    ),
    Case("postcopy-bases", [*POSTCOPY, tables(*many(2)), be(F.SET_MEM_TABLE, table(region()))]),
    Case(
        "postcopy-bases", [*POSTCOPY, tables(*many(2)), be(F.SET_MEM_TABLE, table(*many(3)[1:]))], says="other regions"
    ),
    Case("postcopy-bases-acknowledged", [*POSTCOPY, tables(*many(2)), BASES, enable()], says="were not acknowledged"),
    Case("postcopy-bases-acknowledged", [*POSTCOPY, tables(*many(2))._replace(flags=9)], says="need_reply"),
    Case("postcopy-listen-with-regions", [*PAGEFAULT, tables(region()), fe(F.POSTCOPY_ADVISE), fe(F.POSTCOPY_LISTEN)]),
    Case("device-state-while-running", [*up(protocol=STATE), state_fd(0, 0, PIPE)], says="vring 0 ran"),
    Case("device-state-while-running", [*hello(protocol=STATE), state_fd()], says="no descriptors"),
    Case("device-state-values", [*hello(protocol=STATE), state_fd(2, 0, PIPE)], says="direction 2"),
    Case("device-state-values", [*hello(protocol=STATE), state_fd(0, 1, PIPE)], says="phase 1"),
    Case(
        "device-state-reply",
        [*hello(protocol=STATE), state_fd(0, 0, PIPE), be(F.SET_DEVICE_STATE_FD, u64(1), PIPE)],
        says="error 1",
    ),
    Case("device-state-reply", [*hello(protocol=STATE), state_fd(0, 0, PIPE), be(F.SET_DEVICE_STATE_FD, u64(0))]),
    Case("device-state-check-alone", [*hello(protocol=STATE), fe(F.CHECK_DEVICE_STATE)]),
]

ACKNOWLEDGED: list[Part] = [*POSTCOPY, tables(*many(2)), BASES, tables(), *set_up(), *END]
SLOTS_ACKNOWLEDGED: list[Part] = [
    *POSTCOPY,
    add(region()),
    be(F.ADD_MEM_REG, single(region(user=0x7E00_0000_0000))),
    add(region(), fds=0),
    kick(),
]

QUIET = [
    Case("postcopy-with-memory-slots", [*hello(protocol=PROTOCOL | P.PAGEFAULT), fe(F.POSTCOPY_ADVISE)]),
    Case("log-descriptor", LOGGED),
    Case("log-descriptor", [*up(protocol=P.REPLY_ACK), fe(F.SET_LOG_BASE, u64(ENOUGH, 0))]),
    Case("log-too-small", LOGGED),
    Case("log-too-small", [*up(), Gap(), *log_base(1, LOG)]),
    Case("log-before-features", LOGGED),
    Case("log-before-features", [*hello()[:-1], LOG_ALL, *set_up()]),
    Case("postcopy-order", ACKNOWLEDGED),
    Case("postcopy-order", [*POSTCOPY[:-2], *END]),
    Case("postcopy-advise-reply", POSTCOPY),
    Case("postcopy-bases", ACKNOWLEDGED),
    Case("postcopy-bases", SLOTS_ACKNOWLEDGED),
    Case("postcopy-bases", [*hello(), *acked(tables(*many(2)))]),
    Case("postcopy-bases-acknowledged", ACKNOWLEDGED),
    Case("postcopy-bases-acknowledged", SLOTS_ACKNOWLEDGED),
    Case("postcopy-listen-with-regions", POSTCOPY),
    Case("device-state-while-running", [*up(protocol=STATE), *stop(), state_fd(0, 0, PIPE)]),
    Case("device-state-while-running", [kick(), state_fd(0, 0, PIPE)], late=True),
    Case("device-state-values", [*hello(protocol=STATE), state_fd(1, 0, PIPE)]),
    Case("device-state-reply", [*hello(protocol=STATE), state_fd(0, 0, PIPE), be(F.SET_DEVICE_STATE_FD, u64(0x100))]),
    Case("device-state-reply", [*hello(protocol=STATE), state_fd(0, 0, PIPE), be(F.SET_DEVICE_STATE_FD, u64(0), PIPE)]),
    Case("device-state-reply", [*hello(protocol=STATE), state_fd(0, 0, PIPE), be(F.SET_DEVICE_STATE_FD, u64(0x101))]),
    Case("device-state-check-alone", [*hello(protocol=STATE), state_fd(0, 0, PIPE), fe(F.CHECK_DEVICE_STATE)]),
]
