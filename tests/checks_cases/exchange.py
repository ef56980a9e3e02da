"""Header, descriptors, requests and replies."""

from __future__ import annotations

from dataclasses import replace

from checks_cases.script import (
    BACK,
    GIB,
    MEMORY,
    PIPE,
    PROTOCOL,
    Case,
    Close,
    F,
    Gap,
    P,
    Part,
    Wait,
    acked,
    back,
    be,
    channel,
    cut,
    enable,
    eventfd,
    fe,
    front,
    gpu,
    gpu_answer,
    gpu_socket,
    hello,
    memfd,
    raw,
    region,
    ring,
    single,
    stop,
    table,
    u32,
    u64,
    unfinished,
    up,
)
from vusniff.checks.finding import Side
from vusniff.families.vhost_user.protocol import BackendRequest as B
from vusniff.families.vhost_user.protocol import GpuRequest as G
from vusniff.record import FrameKind

FE, BE = Side.FRONTEND, Side.BACKEND
QEMU = ("qemu-system-x86", "dpdk-testpmd")
BLKIO = ("fio", "qemu-storage-da")
CONFIG = u32(0, 4, 0) + bytes(4)
LONG = 6.0
NO_ACK = PROTOCOL & ~P.REPLY_ACK
STATE = [
    *hello(protocol=PROTOCOL | P.DEVICE_STATE),
    fe(F.SET_DEVICE_STATE_FD, u32(0, 0), PIPE),
    be(F.SET_DEVICE_STATE_FD, u64(0x100)),
]
"""The state goes to another host, over the front-end's pipe."""

ONES = b"\xff" * 12
FEATURES_SET = fe(F.SET_FEATURES, u64(1 << 30))

FIRES = [
    Case(
        "bytes-unread",
        [*hello(), raw(ONES), *MEMORY],
        FE,
        says="front-end sends 12 bytes that do not begin a message: ff ff",
    ),
    Case("bytes-unread", [*hello(), raw(ONES + bytes(8), 1), *MEMORY], BE, says="20 bytes"),
    Case("bytes-unread", [*hello(), channel(), back(B.BACKEND_VRING_CALL, u32(0, 0)), raw(ONES, 1, BACK)], BE),
    Case("bytes-unread", [*hello(), *MEMORY, raw(ONES)], FE, late=True, says="12 bytes"),
    Case("stream-lost", [*hello(), raw(ONES), raw(bytes(8)), raw(ONES)], FE, says="the front-end sent from #8 on"),
    Case("stream-lost", [*hello(), raw(ONES, 1), *MEMORY, Close(0)], BE, says="the back-end sent from #8 on"),
    Case(
        "message-unfinished",
        [*hello(), unfinished(fe(F.SET_VRING_NUM, u32(0, 256)), 1), Close(0)],
        FE,
        says="the front-end closed after 7 of 8 bytes of SET_VRING_NUM's payload",
    ),
    Case(
        "message-unfinished",
        [*hello(), unfinished(fe(F.SET_MEM_TABLE), 40), Close(0)],
        FE,
        says="closed after the header of SET_MEM_TABLE and before its 40 bytes of payload",
    ),
    Case("message-unfinished", [*hello(), raw(bytes(7)), Close(0)], FE, says="closed after 7 of 12 bytes of a header"),
    Case(
        "message-unfinished",
        [*hello(), unfinished(fe(F.SET_VRING_NUM, u32(0, 256)), 1), Close(1)],
        FE,
        "note",
        says="the back-end closed when the front-end had sent 7 of 8 bytes",
    ),
    Case(
        "message-unfinished",
        [fe(F.GET_FEATURES), unfinished(be(F.GET_FEATURES, u64(0)), 7), Close(1)],
        BE,
        says="the back-end closed after 1 of 8 bytes of GET_FEATURES's payload",
    ),
    Case(
        "message-unfinished",
        [*hello(), unfinished(FEATURES_SET, 0xFFFFFFF7), *MEMORY],
        FE,
        says="SET_FEATURES says that 4294967287 bytes of payload follow; 0 bytes came before #9",
    ),
    Case("header-version", [*hello(), fe(F.GET_FEATURES, flags=0)], FE, says="version 0"),
    Case("header-version", [fe(F.GET_FEATURES), be(F.GET_FEATURES, u64(0), flags=6)], BE, says="version 2"),
    Case("header-version", [*hello(), channel(), back(B.BACKEND_VRING_CALL, u32(0, 0), flags=3)], BE),
    Case("header-reply-flag", [fe(F.GET_FEATURES), be(F.GET_FEATURES, u64(0), flags=1)], BE, says="without"),
    Case("header-reply-flag", [*hello(), fe(F.SET_OWNER, flags=5)], FE, says="with the reply flag"),
    Case("two-front-ends", [fe(F.GET_FEATURES), be(F.GET_FEATURES, flags=1)], BE, says="both sides ask"),
    Case("header-reserved-flags", [fe(F.GET_FEATURES, flags=0x11)], FE, says="0x10"),
    Case("header-reserved-flags", [fe(F.GET_FEATURES), be(F.GET_FEATURES, u64(0), flags=0x80000005)], BE),
    Case(
        "reply-with-need-reply",
        [*hello(), fe(F.SET_OWNER, flags=9), be(F.SET_OWNER, u64(0), flags=13)],
        BE,
        severity="warning",
        comms=QEMU,
    ),
    *(
        # QEMU's tools are libblkio, and so is QEMU where it asks for a reply to GET_FEATURES: it takes such replies.
        Case(
            "reply-with-need-reply",
            [fe(F.GET_FEATURES, flags=9), be(F.GET_FEATURES, u64(0), flags=13)],
            BE,
            severity="note",
            comms=(comm, "qemu-storage-da"),
        )
        for comm in ("qemu-io", "qemu-storage-da", "qemu-img", "qemu-system-x86")
    ),
    Case(
        "reply-with-need-reply",
        [fe(F.GET_FEATURES, flags=9), be(F.GET_FEATURES, u64(0), flags=13)],
        BE,
        severity="note",
        comms=BLKIO,
    ),
    Case("payload-size", [*hello(), fe(F.SET_VRING_NUM, u32(0))], FE, says="cannot be read"),
    Case(
        "payload-size", [*hello(), fe(F.SET_MEM_TABLE, table(region()) + bytes(32), memfd())], FE, "warning", "32 more"
    ),
    Case("payload-size", [fe(F.GET_FEATURES, u64(0))], FE, says="8 more"),
    Case("payload-size", [fe(F.GET_FEATURES), be(F.GET_FEATURES, u32(0))], BE),
    Case("reply-to-nothing", [*hello(), be(F.GET_QUEUE_NUM, u64(1))], BE, says="no request waits"),
    Case("reply-to-nothing", [*hello(), fe(F.GET_QUEUE_NUM), be(F.GET_CONFIG, CONFIG)], BE, says="GET_QUEUE_NUM (#8)"),
    Case(
        "reply-out-of-order",
        [*hello(), fe(F.GET_QUEUE_NUM), fe(F.GET_FEATURES), be(F.GET_FEATURES, u64(0)), be(F.GET_QUEUE_NUM, u64(1))],
        BE,
    ),
    Case(
        "descriptors-after-header",
        [*hello(), *MEMORY, fe(0, b"more bytes and more", memfd())._replace(kind=FrameKind.CONTINUATION)],
        FE,
    ),
    Case(
        "descriptors-after-header",
        [*hello(), fe(F.SET_MEM_TABLE, table(region()), replace(memfd(), late=True))],
        FE,
        says="1 descriptor comes in the middle of SET_MEM_TABLE",
    ),
    Case(
        "descriptors-after-header",
        [*hello(), fe(F.GET_INFLIGHT_FD, bytes(24)), be(F.GET_INFLIGHT_FD, bytes(24), replace(memfd(), late=True))],
        BE,
    ),
    *[
        Case(
            "gpu-flags-not-set",
            [*hello(), gpu_socket(), *[gpu(G.GPU_CURSOR_POS_HIDE, bytes(12), flags=noise + n) for n in range(10)]],
            BE,
            "warning",
            says=f"are {noise:#x}",
        )
        for noise in (0x55D0A8, 0xFFFFFFF0, 0x10)
    ],
    Case("descriptors-unexpected", [*hello(), fe(F.SET_VRING_NUM, u32(0, 256), memfd())], FE, says="none"),
    Case("descriptors-unexpected", [*hello(), fe(F.SET_VRING_CALL, u64(0), eventfd(1), eventfd(2))], FE),
    Case("descriptors-unexpected", [fe(F.GET_FEATURES), be(F.GET_FEATURES, u64(0), memfd())], BE),
    Case(
        "descriptors-unexpected",
        [
            *hello(protocol=PROTOCOL | P.SHARED_OBJECT),
            channel(),
            back(B.BACKEND_SHARED_OBJECT_LOOKUP, bytes(16), memfd()),
        ],
        BE,
        says="rust-vmm",
    ),
    Case("need-reply-not-negotiated", [*hello(protocol=NO_ACK), *acked(enable())], FE, "note"),
    Case(
        "need-reply-not-negotiated", [*hello(protocol=NO_ACK), channel(), *acked(back(B.BACKEND_CONFIG_CHANGE_MSG))], BE
    ),
    Case(
        "need-reply-not-negotiated",
        [*hello(protocol=NO_ACK), fe(F.POSTCOPY_LISTEN, flags=9)],
        FE,
        says="QEMU",
        comms=QEMU,
    ),
    Case("need-reply-one-reply", [*hello(), *acked(enable()), be(F.SET_VRING_ENABLE, u64(0))], BE, says="again"),
    Case("need-reply-one-reply", [*hello(), fe(F.SET_VRING_ENABLE, u32(0, 1), flags=9), Wait(LONG), Close(0)], BE),
    Case(
        "need-reply-one-reply",
        [*hello(), fe(F.SET_VRING_ENABLE, u32(0, 1), flags=9), Wait(LONG)],
        BE,
        "warning",
        "when the capture ended",
    ),
    Case(
        "need-reply-one-reply",
        [*hello(), channel(), back(B.BACKEND_CONFIG_CHANGE_MSG, flags=9), Wait(LONG), Close(None)],
        FE,
    ),
    Case("reply-not-asked", [*hello(), enable(), be(F.SET_VRING_ENABLE, u64(0))], BE),
    Case("acknowledgement-form", [*hello(), enable()._replace(flags=9), be(F.SET_VRING_ENABLE, u32(0))], BE, says="4"),
    Case(
        "reply-and-acknowledgement",
        [*hello(), fe(F.GET_QUEUE_NUM, flags=9), be(F.GET_QUEUE_NUM, u64(1)), be(F.GET_QUEUE_NUM, u64(0))],
        BE,
    ),
    Case("goes-on-after-wrong-reply", [*hello(), be(F.GET_QUEUE_NUM, u64(1)), fe(F.GET_FEATURES)], FE),
    Case("request-never-answered", [*hello(), fe(F.GET_QUEUE_NUM), Wait(LONG), Close(0)], BE, says="front-end closed"),
    Case("request-never-answered", [*hello(), fe(F.GET_QUEUE_NUM), Wait(LONG), Close(None, "reset")], BE, says="reset"),
    Case("request-waits", [*hello(), fe(F.GET_QUEUE_NUM), Wait(LONG), enable()], BE, says="goes on"),
    Case(
        "request-waits",
        [*hello(), fe(F.GET_QUEUE_NUM), Wait(LONG), be(F.GET_QUEUE_NUM, u64(1))],
        BE,
        says="answered now",
    ),
    Case("request-waits", [*hello(), channel(), back(B.BACKEND_CONFIG_CHANGE_MSG, flags=9), Wait(LONG), enable()], FE),
    Case("request-refused", [*hello(), *acked(enable(), 1)], BE, says="SET_VRING_ENABLE (#8)"),
    Case(
        "request-refused",
        [*STATE, fe(F.CHECK_DEVICE_STATE), be(F.CHECK_DEVICE_STATE, u64(1))],
        BE,
        says="CHECK_DEVICE_STATE (#10)",
    ),
    Case("request-refused", [*STATE[:-1], be(F.SET_DEVICE_STATE_FD, u64(0x103))], BE, says="with 0x3"),
    Case("request-refused", [*hello(), channel(), *acked(back(B.BACKEND_CONFIG_CHANGE_MSG), 22)], FE, says="0x16"),
    Case("refused-by-closing", [*hello(), *ring()[:-1], enable()._replace(flags=9), Close(1)], BE),
    Case("pending-at-close", [*hello(), fe(F.GET_QUEUE_NUM), Close(0)], BE, "note"),
    Case("request-unknown", [*hello(), fe(200, u64(0))], FE, says="request 200"),
    Case("request-unknown", [*hello(), channel(), back(77)], BE),
    Case("log-base-unanswered", [*hello(), fe(F.SET_LOG_BASE, u64(GIB, 0), memfd(9)), Wait(LONG), Close(0)], BE),
    Case(
        "iotlb-unanswered",
        [
            *hello(1 << 30 | 1 << 33),
            *MEMORY,
            fe(F.IOTLB_MSG, u64(0, 4096, 0) + bytes([3, 3] + [0] * 6)),
            Wait(LONG),
            Close(0),
        ],
        BE,
    ),
    Case("suspended-device-silent", [*up(), *stop(), fe(F.GET_QUEUE_NUM), Wait(LONG), Close(0)], BE, says="all rings"),
    Case(
        "protocol-features-before-features",
        [*hello()[:2], fe(F.GET_PROTOCOL_FEATURES), Wait(LONG), Close(0)],
        BE,
    ),
    Case(
        "protocol-features-before-features",
        [*hello()[:4], *acked(fe(F.SET_PROTOCOL_FEATURES, u64(PROTOCOL)), 1)],
        BE,
    ),
]

WELL: list[Part] = [*up(), channel(), *acked(back(B.BACKEND_CONFIG_CHANGE_MSG)), *stop()]
ADDED: list[Part] = [
    *hello(protocol=PROTOCOL | P.CONFIGURE_MEM_SLOTS),
    *acked(fe(F.ADD_MEM_REG, single(region()), memfd())),
    *acked(fe(F.REM_MEM_REG, single(region()))),
]
LOGGED: list[Part] = [*up(), fe(F.SET_LOG_BASE, u64(1 << 20, 0), memfd(9)), be(F.SET_LOG_BASE), fe(F.GET_FEATURES)]

QUIET = [
    Case("bytes-unread", [raw(ONES), *hello()], late=True),
    Case("bytes-unread", [*hello(), Gap(), raw(ONES), *MEMORY]),
    Case("bytes-unread", [*hello(), raw(bytes(3)), *MEMORY]),
    Case("stream-lost", [*hello(), raw(ONES), *MEMORY, Close(0)]),
    Case("stream-lost", [*hello(), Gap(), raw(ONES), Close(0)]),
    Case("message-unfinished", [*hello(), cut(FEATURES_SET, 1), *MEMORY, Close(0)]),
    Case("message-unfinished", [*hello(), cut(FEATURES_SET, 1), Close(0)]),
    Case("message-unfinished", [*hello(), unfinished(FEATURES_SET, 1)]),
    Case("header-version", WELL),
    Case(
        "header-version",
        [*hello(), gpu_socket(), gpu(G.GPU_GET_PROTOCOL_FEATURES), gpu_answer(G.GPU_GET_PROTOCOL_FEATURES, u64(0))],
    ),
    Case("header-reply-flag", WELL),
    Case("header-reply-flag", [fe(F.GET_FEATURES), be(F.GET_FEATURES, flags=1)]),
    Case("two-front-ends", [fe(F.GET_FEATURES), be(F.GET_FEATURES, u64(0), flags=1)]),
    Case("header-reply-flag", [*hello(), channel(), back(B.BACKEND_SHARED_OBJECT_LOOKUP, bytes(16)), front(8, u64(1))]),
    Case("header-reserved-flags", WELL),
    Case("gpu-flags-not-set", [*hello(), gpu_socket(), gpu(G.GPU_CURSOR_POS_HIDE, bytes(12))]),
    *[
        Case(slug, [*hello(), gpu_socket(), *[gpu(G.GPU_UPDATE, bytes(20), flags=0x7FE0 + n) for n in range(16)]])
        for slug in ("header-reserved-flags", "header-reply-flag", "reply-with-need-reply", "payload-size")
    ],
    Case("reply-with-need-reply", WELL),
    Case("payload-size", WELL),
    Case("payload-size", [*hello(), cut(fe(F.SET_VRING_NUM, u32(0, 256)), 4)]),
    Case("payload-size", [*hello(), fe(200, u64(0))]),
    Case("reply-to-nothing", WELL),
    Case("reply-to-nothing", [be(F.GET_FEATURES, u64(0))], late=True),
    Case("reply-to-nothing", [*hello(), Gap(), be(F.GET_QUEUE_NUM, u64(1))]),
    Case("reply-to-nothing", [*hello(), Gap(everywhere=True), be(F.GET_QUEUE_NUM, u64(1))]),
    Case("reply-out-of-order", WELL),
    Case(
        "reply-out-of-order",
        [*hello(protocol=NO_ACK), enable()._replace(flags=9), fe(F.GET_FEATURES), be(F.GET_FEATURES, u64(0))],
    ),
    Case("descriptors-after-header", WELL),
    Case("descriptors-after-header", [fe(0, b"no message at all", memfd())._replace(kind=FrameKind.RAW)]),
    Case("descriptors-unexpected", WELL),
    Case("descriptors-unexpected", ADDED),
    Case("descriptors-unexpected", [*hello(), fe(200, b"", memfd())]),
    Case("need-reply-not-negotiated", WELL),
    Case("need-reply-not-negotiated", [*hello()[:4], *acked(fe(F.SET_PROTOCOL_FEATURES, u64(PROTOCOL)))]),
    Case("need-reply-not-negotiated", [*acked(enable())], late=True),
    Case("need-reply-one-reply", WELL),
    Case("need-reply-one-reply", [*hello(), fe(F.SET_VRING_ENABLE, u32(0, 1), flags=9), Close(0)]),
    Case("need-reply-one-reply", [*hello(), fe(F.SET_VRING_ENABLE, u32(0, 1), flags=9), Wait(LONG), Close(0, lost=3)]),
    Case("need-reply-one-reply", [*hello(protocol=NO_ACK), enable()._replace(flags=9), Wait(LONG), Close(0)]),
    Case("reply-not-asked", WELL),
    Case("reply-not-asked", [*hello(protocol=NO_ACK), *acked(enable())]),
    Case("acknowledgement-form", WELL),
    Case("acknowledgement-form", LOGGED),
    Case("reply-and-acknowledgement", WELL),
    Case("reply-and-acknowledgement", [*hello(), *[part for _ in range(3) for part in hello()[:2]]]),
    Case("goes-on-after-wrong-reply", [*hello(), be(F.GET_QUEUE_NUM, u64(1)), Close(0)]),
    Case("request-never-answered", WELL),
    Case("request-never-answered", [*hello(), fe(F.GET_QUEUE_NUM), Wait(1), Close(0)]),
    Case("request-never-answered", [*hello(), fe(F.GET_QUEUE_NUM), Gap(), Wait(LONG), Close(0)]),
    Case("request-waits", [*hello(), fe(F.GET_QUEUE_NUM), Wait(4), be(F.GET_QUEUE_NUM, u64(1)), Wait(LONG), enable()]),
    Case("request-waits", [*hello(), fe(F.GET_QUEUE_NUM), Wait(LONG)]),
    Case("request-waits", [*hello(), fe(F.GET_QUEUE_NUM), Gap(), Wait(LONG), enable()]),
    Case(
        "request-waits",
        [*hello(protocol=PROTOCOL | P.DEVICE_STATE), fe(F.CHECK_DEVICE_STATE), Wait(LONG), fe(F.GET_FEATURES)],
    ),
    Case("request-refused", WELL),
    Case("request-refused", [*STATE, fe(F.CHECK_DEVICE_STATE), be(F.CHECK_DEVICE_STATE, u64(0))]),
    Case("refused-by-closing", [*hello(), *acked(enable()), Close(1)]),
    Case("refused-by-closing", [*hello(), enable()._replace(flags=9), Close(0)]),
    Case("pending-at-close", [*WELL, Close(0)]),
    Case("request-unknown", WELL),
    Case("log-base-unanswered", [*LOGGED, Wait(LONG), Close(0)]),
    Case("log-base-unanswered", [*hello(protocol=P.REPLY_ACK), fe(F.SET_LOG_BASE, u64(GIB, 0)), Wait(LONG), Close(0)]),
    Case(
        "iotlb-unanswered",
        [
            *hello(1 << 30 | 1 << 33),
            *MEMORY,
            *acked(fe(F.IOTLB_MSG, u64(0, 4096, 0) + bytes([3, 3] + [0] * 6))),
            Wait(LONG),
            Close(0),
        ],
    ),
    Case("suspended-device-silent", [*up(), *stop(), *hello()[:2], Wait(LONG), Close(0)]),
    Case("suspended-device-silent", [*up(), fe(F.GET_QUEUE_NUM), Wait(LONG), Close(0)]),
    Case("protocol-features-before-features", [*hello(), Wait(LONG), Close(0)]),
    Case("protocol-features-before-features", [*hello()[:2], fe(F.GET_PROTOCOL_FEATURES), Wait(1), Close(0)]),
]
