"""Owner, features, protocol features, and what they allow; device status, configuration and crypto sessions."""

from __future__ import annotations

from checks_cases.script import (
    FEATURES,
    MEMORY,
    PROTOCOL,
    Case,
    F,
    Gap,
    P,
    Say,
    acked,
    back,
    be,
    channel,
    cut,
    enable,
    fe,
    hello,
    ring,
    stop,
    u32,
    u64,
    up,
)
from vusniff.checks.finding import Side
from vusniff.families.vhost_user.protocol import BackendRequest as B

FE, BE = Side.FRONTEND, Side.BACKEND
RUST = ("qemu-system-x86", "vhost-device-gp")
CLH = ("cloud-hyperviso", "dpdk-testpmd")
MTU = 1 << 3
IOMMU = 1 << 33


def status(value: int) -> Say:
    return fe(F.SET_STATUS, u64(value))


def config(request: int, size: int = 4, flags: int = 0, follow: int | None = None) -> Say:
    return fe(request, u32(0, size, flags) + bytes(size if follow is None else follow))


def config_reply(size: int = 4, follow: int | None = None) -> Say:
    return be(F.GET_CONFIG, u32(0, size, 0) + bytes(size if follow is None else follow))


def iotlb(kind: int) -> bytes:
    return u64(0x1000, 4096, 0) + bytes([3, kind]) + bytes(6)


WITH_CONFIG = hello(protocol=PROTOCOL | P.CONFIG)
WITH_STATUS = hello(protocol=PROTOCOL | P.STATUS)
WITH_CRYPTO = hello(protocol=PROTOCOL | P.CRYPTO_SESSION)
EVERYTHING = hello(FEATURES | MTU | IOMMU, protocol=(1 << 24) - 1 & ~P.XEN_MMAP & ~P.GPA_ADDRESSES)
GATED: list[Say] = [
    fe(F.GET_QUEUE_NUM),
    fe(F.SEND_RARP, bytes(8)),
    fe(F.NET_SET_MTU, u64(1500)),
    channel(),
    fe(F.SET_VRING_ENDIAN, u32(0, 0)),
    fe(F.GET_CONFIG, u32(0, 4, 0) + bytes(4)),
    fe(F.SET_CONFIG, u32(0, 4, 0) + bytes(4)),
    fe(F.CREATE_CRYPTO_SESSION, bytes(1072)),
    fe(F.CLOSE_CRYPTO_SESSION, u64(0)),
    fe(F.POSTCOPY_ADVISE),
    fe(F.POSTCOPY_LISTEN),
    fe(F.POSTCOPY_END),
    fe(F.GET_INFLIGHT_FD, bytes(24)),
    fe(F.SET_INFLIGHT_FD, bytes(24)),
    fe(F.RESET_DEVICE),
    fe(F.VRING_KICK, u32(0, 0)),
    fe(F.GET_VRING_BASE_SKIP_DRAIN, u32(0, 0)),
    fe(F.GET_MAX_MEM_SLOTS),
    fe(F.ADD_MEM_REG, bytes(40)),
    fe(F.REM_MEM_REG, bytes(40)),
    fe(F.SET_STATUS, u64(0)),
    fe(F.GET_STATUS),
    fe(F.GET_SHARED_OBJECT, bytes(16)),
    fe(F.SET_DEVICE_STATE_FD, u32(0, 0)),
    fe(F.CHECK_DEVICE_STATE),
    fe(F.GET_SHMEM_CONFIG),
]
"""One of each request that a protocol feature brings."""
BACKEND_GATED: list[Say] = [
    back(B.BACKEND_IOTLB_MSG, iotlb(1)),
    back(B.BACKEND_CONFIG_CHANGE_MSG),
    back(B.BACKEND_VRING_HOST_NOTIFIER_MSG, u64(0x100, 0, 0)),
    back(B.BACKEND_VRING_CALL, u32(0, 0)),
    back(B.BACKEND_VRING_ERR, u32(0, 0)),
    back(B.BACKEND_SHARED_OBJECT_ADD, bytes(16)),
    back(B.BACKEND_SHARED_OBJECT_REMOVE, bytes(16)),
    back(B.BACKEND_SHARED_OBJECT_LOOKUP, bytes(16)),
    back(B.BACKEND_SHMEM_MAP, bytes(40)),
    back(B.BACKEND_SHMEM_UNMAP, bytes(40)),
]
NO_FEATURES = hello(protocol=0)
CREATE = bytes(1064)

DRAINS_LATER = P.GET_VRING_BASE_SKIP_DRAIN | P.GET_VRING_BASE_INFLIGHT | P.INFLIGHT_SHMFD

FIRES = [
    Case("owner-first", [*hello()[:5], *MEMORY, fe(F.SET_OWNER)]),
    Case("owner-first", [*hello()[:2], *ring()]),
    Case("owner-again", [*hello(), fe(F.SET_OWNER)], says="#6"),
    Case("reset-owner-deprecated", [*hello(), fe(F.RESET_OWNER)]),
    Case("get-protocol-features-unoffered", [*hello(1 << 32)[:3]], says="without bit 30"),
    Case("get-protocol-features-unoffered", [fe(F.GET_PROTOCOL_FEATURES)], says="before GET_FEATURES"),
    Case("set-protocol-features-unoffered", [*hello(1 << 32)[:5]]),
    Case("features-not-offered", hello(accept=FEATURES | 1 << 5), says="bit 5"),
    Case("protocol-features-not-offered", hello(protocol=P.MQ | P.STATUS, offer=P.MQ), says="STATUS"),
    Case("protocol-features-not-offered", hello(protocol=1 << 40, offer=P.MQ), says="bit 40"),
    Case(
        "features-change-while-running", [*up(FEATURES | 1), fe(F.SET_FEATURES, u64(1 << 30 | 1 << 32))], says="bit 0"
    ),
    Case("inband-notifications-alone", hello(protocol=P.INBAND_NOTIFICATIONS | P.BACKEND_REQ), says="REPLY_ACK"),
    Case("base-inflight-alone", hello(protocol=P.GET_VRING_BASE_INFLIGHT)),
    Case("base-inflight-alone", hello(protocol=P.GET_VRING_BASE_SKIP_DRAIN | P.INFLIGHT_SHMFD), says="without GET_V"),
    *[Case("request-not-negotiated", [*NO_FEATURES, part]) for part in GATED if part[2] != F.GET_SHMEM_CONFIG],
    Case("request-not-negotiated", [*NO_FEATURES, GATED[-1]], says="SHMEM, of which none are negotiated"),
    *[Case("backend-request-not-negotiated", [*hello(), channel(), part]) for part in BACKEND_GATED],
    Case("mtu-not-negotiated", [*hello(protocol=P.MTU), fe(F.NET_SET_MTU, u64(1500))]),
    Case(
        "mtu-not-negotiated",
        [*hello(protocol=P.MTU)[:6], fe(F.NET_SET_MTU, u64(1500)), fe(F.SET_FEATURES, u64(1 << 30))],
    ),
    Case("iotlb-not-negotiated", [*hello(), fe(F.IOTLB_MSG, iotlb(3))]),
    Case("iotlb-not-negotiated", [*hello()[:6], fe(F.IOTLB_MSG, iotlb(3))], says="before SET_FEATURES"),
    Case("vring-enable-not-negotiated", [*hello()[:6], enable()], says="QEMU", comms=("qemu-system-x86", "dpdk")),
    Case("vring-enable-not-negotiated", [*hello(accept=1 << 32), enable()], says="lacks bit 30"),
    Case("vring-enable-before-features", [*hello()[:6], enable()], comms=RUST, says="vhost-device-gp (rust-vmm)"),
    Case("status-drops-bits", [*WITH_STATUS, status(3), status(1)], says="drops 0x2"),
    Case("status-drops-bits", [*WITH_STATUS, status(0x100)], says="8 bits"),
    Case("status-order", [*WITH_STATUS[:6], status(8)], says="FEATURES_OK before"),
    Case(
        "request-refused",
        [*WITH_CRYPTO, fe(F.CREATE_CRYPTO_SESSION, CREATE + u64(0)), be(F.CREATE_CRYPTO_SESSION, CREATE + b"\xff" * 8)],
        BE,
        says="CREATE_CRYPTO_SESSION (#8) is refused by backend with -1",
    ),
    Case("device-gave-up", [*WITH_STATUS, status(0x83)], Side.FRONTEND, says="SET_STATUS writes 0x83"),
    Case("device-gave-up", [*WITH_STATUS, fe(F.GET_STATUS), be(F.GET_STATUS, u64(0x4F))], Side.BACKEND, says="0x4f"),
    Case("device-gave-up", [*WITH_STATUS, fe(F.GET_STATUS), be(F.GET_STATUS, u64(0x80))], Side.BACKEND, says="nobody"),
    Case("status-order", [*WITH_STATUS, status(0xC), status(0xF)], says="after DRIVER_OK"),
    Case(
        "config-reply-size", [*WITH_CONFIG, config(F.GET_CONFIG), config_reply(8)], says="16 bytes was answered with 20"
    ),
    Case("config-size", [*WITH_CONFIG, config(F.SET_CONFIG, 8, follow=12)], FE, says="12 bytes follow"),
    Case("config-size", [*WITH_CONFIG, config(F.GET_CONFIG, 300), config_reply(300)], FE, says="300 bytes"),
    Case("config-size", [*WITH_CONFIG, config(F.GET_CONFIG, 4), config_reply(2, 4)], BE),
    Case("config-flags", [*WITH_CONFIG, config(F.SET_CONFIG, flags=1)], comms=RUST, says="writable"),
    Case("config-flags", [*WITH_CONFIG, config(F.SET_CONFIG, flags=2)], says="rust-vmm's migration"),
    Case("config-flags", [*WITH_CONFIG, config(F.GET_CONFIG, flags=1)], severity="note", comms=CLH),
    Case("config-refused", [*WITH_CONFIG, config(F.GET_CONFIG), be(F.GET_CONFIG)]),
    Case("config-refused", [*WITH_CONFIG, config(F.GET_CONFIG), config_reply(0)], comms=RUST, says="(rust-vmm)"),
    Case("crypto-session-unknown", [*WITH_CRYPTO, fe(F.CLOSE_CRYPTO_SESSION, u64(5))], says="session 5"),
]

LATE_TABLE = MEMORY

QUIET = [
    Case("owner-first", up()),
    Case("owner-first", [*MEMORY, *ring()], late=True),
    Case("owner-again", [*hello(), fe(F.RESET_OWNER), fe(F.SET_OWNER)]),
    Case("reset-owner-deprecated", up()),
    Case("get-protocol-features-unoffered", hello()),
    Case("get-protocol-features-unoffered", [fe(F.GET_PROTOCOL_FEATURES)], late=True),
    Case("set-protocol-features-unoffered", hello()),
    Case("protocol-features-before-features", hello()),
    Case("features-not-offered", hello(accept=1 << 30)),
    Case("features-not-offered", [fe(F.SET_FEATURES, u64(1 << 5))], late=True),
    Case("protocol-features-not-offered", hello(protocol=P.MQ, offer=P.MQ | P.STATUS)),
    Case("features-change-while-running", [*up(), fe(F.SET_FEATURES, u64(FEATURES))]),
    Case("features-change-while-running", [*up(FEATURES | 1), *stop(), fe(F.SET_FEATURES, u64(1 << 30))]),
    Case("inband-notifications-alone", hello(protocol=P.INBAND_NOTIFICATIONS | P.BACKEND_REQ | P.REPLY_ACK)),
    Case("base-inflight-alone", hello(protocol=P.GET_VRING_BASE_INFLIGHT | P.INFLIGHT_SHMFD)),
    Case("base-inflight-alone", hello(protocol=DRAINS_LATER)),
    Case("request-not-negotiated", [*EVERYTHING, *GATED]),
    Case("request-not-negotiated", GATED, late=True),
    Case("request-not-negotiated", [*hello()[:4], cut(fe(F.SET_PROTOCOL_FEATURES, u64(PROTOCOL)), 4), *GATED]),
    Case("request-not-negotiated", [*hello()[:4], Gap(), *GATED]),
    Case("request-not-negotiated", [*hello(protocol=P.GPA_ADDRESSES), fe(F.GET_SHMEM_CONFIG)]),
    Case("backend-request-not-negotiated", [*EVERYTHING, channel(), *BACKEND_GATED]),
    Case("mtu-not-negotiated", [*hello(FEATURES | MTU, P.MTU), fe(F.NET_SET_MTU, u64(1500))]),
    Case(
        "mtu-not-negotiated", [*hello(protocol=P.MTU)[:6], fe(F.NET_SET_MTU, u64(9000)), fe(F.SET_FEATURES, u64(MTU))]
    ),
    Case("iotlb-not-negotiated", [*hello(FEATURES | IOMMU), fe(F.IOTLB_MSG, iotlb(3))]),
    Case("iotlb-not-negotiated", [fe(F.IOTLB_MSG, iotlb(3))], late=True),
    Case("vring-enable-not-negotiated", up()),
    Case("vring-enable-not-negotiated", [enable()], late=True),
    Case("vring-enable-before-features", up(), comms=RUST),
    Case("vring-enable-before-features", [*hello()[:6], enable()], comms=("qemu-system-x86", "dpdk-testpmd")),
    Case("vring-enable-before-features", [enable()], comms=RUST, late=True),
    Case("status-drops-bits", [*WITH_STATUS, *map(status, (1, 3, 0xB, 0xF, 0, 1))]),
    Case("status-drops-bits", [*WITH_STATUS, status(0x43), status(3)]),
    Case("status-drops-bits", [*WITH_STATUS, status(3), Gap(), status(1)]),
    Case("status-order", [*WITH_STATUS, *map(status, (8, 0xF, 0x8F, 0))]),
    Case("device-gave-up", [*WITH_STATUS, *map(status, (8, 0xF, 0)), fe(F.GET_STATUS), be(F.GET_STATUS, u64(0xF))]),
    Case("config-reply-size", [*WITH_CONFIG, config(F.GET_CONFIG), config_reply()]),
    Case("config-reply-size", [*WITH_CONFIG, config(F.GET_CONFIG), be(F.GET_CONFIG)]),
    Case("config-reply-size", [*WITH_CONFIG, config(F.GET_CONFIG), config_reply(0)]),
    Case("config-size", [*WITH_CONFIG, config(F.GET_CONFIG, 256), config_reply(256)]),
    Case("config-size", [*WITH_CONFIG, config(F.GET_CONFIG, 1000), config_reply(1000)], comms=RUST),
    Case("config-flags", [*WITH_CONFIG, config(F.SET_CONFIG, flags=1)]),
    Case("config-flags", [*WITH_CONFIG, config(F.SET_CONFIG)], comms=RUST),
    Case("config-flags", [*WITH_CONFIG, config(F.SET_CONFIG, flags=1)], comms=("crosvm", "crosvm")),
    Case("config-refused", [*WITH_CONFIG, config(F.GET_CONFIG), config_reply()]),
    Case(
        "crypto-session-unknown",
        [
            *WITH_CRYPTO,
            fe(F.CREATE_CRYPTO_SESSION, CREATE + u64(0)),
            be(F.CREATE_CRYPTO_SESSION, CREATE + u64(5)),
            fe(F.CLOSE_CRYPTO_SESSION, u64(5)),
        ],
    ),
    Case("acknowledgement-form", [*hello(), *acked(enable())]),
]
