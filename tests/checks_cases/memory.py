"""Memory regions and the IOTLB."""

from __future__ import annotations

from checks_cases.script import (
    FEATURES,
    GIB,
    MEMORY,
    PROTOCOL,
    USER,
    Case,
    F,
    Gap,
    P,
    Part,
    Say,
    Wait,
    acked,
    back,
    be,
    channel,
    fe,
    hello,
    kick,
    memfd,
    region,
    ring,
    single,
    sock,
    table,
    u32,
    u64,
    up,
)
from vusniff.families.vhost_user.protocol import BackendRequest as B
from vusniff.record import Descriptor, DescriptorKind

SLOTS = hello(protocol=PROTOCOL | P.CONFIGURE_MEM_SLOTS)
IOMMU = hello(FEATURES | 1 << 33)
POSTCOPY: list[Part] = [
    *hello(protocol=PROTOCOL | P.PAGEFAULT | P.CONFIGURE_MEM_SLOTS),
    fe(F.POSTCOPY_ADVISE),
    be(F.POSTCOPY_ADVISE, b"", Descriptor(DescriptorKind.USERFAULTFD, "userfaultfd:5")),
    *acked(fe(F.POSTCOPY_LISTEN)),
]


def tables(*regions: bytes, fds: int | None = None) -> Say:
    count = len(regions) if fds is None else fds
    return fe(F.SET_MEM_TABLE, table(*regions), *[memfd(51 + i) for i in range(count)])


def add(what: bytes, fds: int = 1) -> Say:
    return fe(F.ADD_MEM_REG, single(what), *[memfd(51 + i) for i in range(fds)])


def rem(what: bytes, fds: int = 0) -> Say:
    return fe(F.REM_MEM_REG, single(what), *[memfd(51 + i) for i in range(fds)])


def many(count: int) -> list[bytes]:
    return [region(i * GIB) for i in range(count)]


def slots(value: int) -> list[Part]:
    return [fe(F.GET_MAX_MEM_SLOTS), be(F.GET_MAX_MEM_SLOTS, u64(value))]


def iotlb(kind: int, iova: int = 0x1000, user: int = USER, size: int = 4096) -> bytes:
    return u64(iova, size, user) + bytes([3, kind]) + bytes(6)


SECOND = region(GIB)

FIRES = [
    Case("memory-table-count", [*hello(), tables(*many(9))], says="9 regions"),
    Case("memory-table-descriptors", [*hello(), tables(*many(2), fds=1)], says="2 regions and 1"),
    Case("memory-overlap-guest", [*hello(), tables(region(), region(GIB // 2, user=USER + 4 * GIB))]),
    Case("memory-overlap-user", [*hello(), tables(region(), region(GIB, user=USER + GIB // 2))]),
    Case("add-region-descriptor", [*SLOTS, add(region(), fds=0)], says="no descriptors"),
    Case("add-region-descriptor", [*SLOTS, add(region(), fds=2)], says="2 descriptors"),
    Case("remove-region-descriptor", [*SLOTS, add(region()), rem(region(), fds=2)]),
    Case("remove-region-unknown", [*SLOTS, rem(region())]),
    Case("remove-region-unknown", [*SLOTS, add(region()), rem(region(size=2 * GIB))], says="the one there is 0x0+1G"),
    Case("memory-slots-exceeded", [*SLOTS, *slots(2), *map(add, many(3))], says="3 regions; 2 the back-end has told"),
    Case("memory-slots-exceeded", [*SLOTS, *map(add, many(9))], says="was not asked"),
    Case("add-region-overlap", [*SLOTS, add(region()), add(region(GIB // 2, user=USER + 8 * GIB))], says="#8"),
    Case("add-region-overlap", [*SLOTS, add(region()), add(region(8 * GIB, user=USER))]),
    Case("gpa-addresses-repeated", [*hello(protocol=PROTOCOL | P.GPA_ADDRESSES), tables(region())]),
    Case("region-size", [*hello(), tables(region(size=0))], says="size 0"),
    Case("region-size", [*hello(), tables(region(guest=(1 << 64) - 4096, user=0))], says="wrap"),
    Case("iotlb-frontend-type", [*IOMMU, *MEMORY, fe(F.IOTLB_MSG, iotlb(1))], says="type 1"),
    Case("iotlb-frontend-type", [*IOMMU, *MEMORY, fe(F.IOTLB_MSG, iotlb(2, user=1))], says="in no memory region"),
    Case("iotlb-backend-type", [*IOMMU, channel(), back(B.BACKEND_IOTLB_MSG, iotlb(2))], says="type 2"),
    Case("iotlb-unasked", [*IOMMU, *MEMORY, fe(F.IOTLB_MSG, iotlb(2))]),
    Case("memory-not-shared", [*hello(), fe(F.SET_MEM_TABLE, table(region()), sock(8))], says="cannot be mapped"),
    Case(
        "memory-file-too-short",
        [*hello(), fe(F.SET_MEM_TABLE, table(region()), memfd(size=4096))],
        says='region 0x0+1G needs 1G of its file, and memfd:51 "guest-ram" has only 4K',
    ),
    Case(
        "memory-file-too-short",
        [*SLOTS, fe(F.ADD_MEM_REG, single(region(offset=GIB)), memfd())],
        says="region 0x0+1G at offset 1G needs 2G of its file",
    ),
    Case("nothing-shared", [*hello(), *ring()], says="share=on"),
    Case(
        "iotlb-miss-unanswered",
        [
            *IOMMU,
            channel(),
            *MEMORY,
            *ring(),
            *[back(B.BACKEND_IOTLB_MSG, iotlb(1, at)) for at in (0x9000, 0x1000)],
            Wait(6),
        ],
        says="asks for I/O address 0x9000 (#16) and 1 more, and no IOTLB update has come in 6.00 s",
    ),
]

PRIMED: list[Part] = [
    *IOMMU,
    *MEMORY,
    fe(F.SET_VRING_ADDR, u32(0, 0) + u64(0x1000, 0x9000, 0x5000, 0)),
    fe(F.IOTLB_MSG, iotlb(2, 0x1000)),
    fe(F.IOTLB_MSG, iotlb(2, 0x9000)),
]
GPA = hello(protocol=PROTOCOL | P.GPA_ADDRESSES)

QUIET = [
    Case("memory-table-count", [*hello(), tables(*many(8))]),
    Case("memory-table-descriptors", up()),
    Case("memory-table-descriptors", [*POSTCOPY, tables(*many(2)), be(F.SET_MEM_TABLE, table(*many(2))), tables()]),
    Case("memory-overlap-guest", [*hello(), tables(*many(8))]),
    Case("memory-overlap-guest", [*hello(), tables(SECOND), tables(SECOND)]),
    Case("memory-overlap-user", [*hello(), tables(*many(8))]),
    Case("memory-overlap-user", [*GPA, tables(region(), region(GIB // 2))]),
    Case("add-region-descriptor", [*SLOTS, add(region())]),
    Case(
        "add-region-descriptor", [*POSTCOPY, add(region()), be(F.ADD_MEM_REG, single(region())), add(region(), fds=0)]
    ),
    Case("remove-region-descriptor", [*SLOTS, add(region()), rem(region())]),
    Case("remove-region-descriptor", [*SLOTS, add(region()), rem(region(), fds=1)]),
    Case("remove-region-unknown", [*SLOTS, add(region(offset=4096)), rem(region())]),
    Case("remove-region-unknown", [*SLOTS, Gap(), rem(region())]),
    Case("remove-region-unknown", [rem(region())], late=True),
    Case("memory-slots-exceeded", [*SLOTS, *slots(32), *map(add, many(9))]),
    Case("add-region-overlap", [*SLOTS, add(region()), rem(region()), add(region())]),
    Case("add-region-overlap", [*SLOTS, *map(add, many(4))]),
    Case("gpa-addresses-repeated", [*GPA, tables(region(user=0))]),
    Case("gpa-addresses-repeated", up()),
    Case("region-size", [*hello(), tables(*many(8))]),
    Case("iotlb-frontend-type", [*IOMMU, *MEMORY, fe(F.IOTLB_MSG, iotlb(2)), fe(F.IOTLB_MSG, iotlb(3, user=1))]),
    Case("iotlb-backend-type", [*IOMMU, channel(), *[back(B.BACKEND_IOTLB_MSG, iotlb(kind)) for kind in (1, 4)]]),
    Case("iotlb-unasked", [*IOMMU, *MEMORY, channel(), back(B.BACKEND_IOTLB_MSG, iotlb(1)), fe(F.IOTLB_MSG, iotlb(2))]),
    Case("iotlb-unasked", [*IOMMU, *MEMORY, fe(F.IOTLB_MSG, iotlb(3))]),
    Case("iotlb-unasked", PRIMED),
    Case(
        "iotlb-miss-unanswered",
        [*IOMMU, channel(), *MEMORY, *ring(), back(B.BACKEND_IOTLB_MSG, iotlb(1)), fe(F.IOTLB_MSG, iotlb(2)), Wait(9)],
    ),
    Case("iotlb-miss-unanswered", [*IOMMU, channel(), *MEMORY, *ring(), back(B.BACKEND_IOTLB_MSG, iotlb(1)), Wait(3)]),
    Case("memory-not-shared", up()),
    Case("memory-file-too-short", up()),
    Case("memory-file-too-short", [*hello(), fe(F.SET_MEM_TABLE, table(region()), Descriptor())]),
    Case("memory-file-too-short", [*hello(), fe(F.SET_MEM_TABLE, table(region()), memfd(size=0))]),
    Case("memory-not-shared", [*hello(), fe(F.SET_MEM_TABLE, table(region()), Descriptor())]),
    Case("nothing-shared", up()),
    Case("nothing-shared", [*hello(), *ring()], late=True),
    Case("nothing-shared", [*SLOTS, add(region()), kick()]),
]
