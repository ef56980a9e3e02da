"""Scenarios about what a protocol feature adds: config, status, reset, inflight, log, channels and others."""

# ruff: noqa: E501 - rows are read as a table

from __future__ import annotations

from vusniff.conformance.places import HIGH_REGION, LOW_REGION, USER, layout
from vusniff.conformance.scenario import Demand, Drop, Expect, Marked, P, Say, Scenario, Start, Stop, Work
from vusniff.conformance.steps import MEMORY, RUN, SET_FEATURES, UP, F, share
from vusniff.conformance.things import LOG_SIZE, SMALL
from vusniff.families.vhost_user.protocol import F_ACCESS_PLATFORM, F_LOG_ALL, FLAG_NEED_REPLY, VERSION

R, ANY, REFUSED = Expect.REPLY, Expect.ANY, Expect.REFUSED
SHOULD = Demand.SHOULD
CONFIG, STATUS, RESET = (f"Front-end message types, {word}" for word in ("GET_CONFIG", "SET_STATUS", "RESET_DEVICE"))
MIGRATION, INFLIGHT, IOMMU, BACK = "Migration", "Inflight I/O tracking", "IOMMU support", "Back-end communication"
MATCH = "back-end's payload size MUST match the front-end's request; zero length of payload indicates an error"
READ_ONLY = (
    "back-ends MUST NOT accept SET_CONFIG for read-only configuration space fields unless the live migration bit is set"
)
VIRTIO_STATUS = "device status as defined in the virtio specification"
CHANNEL = ("socket:channel",)
CONNECT = Say(F.SET_BACKEND_REQ_FD, (), CHANNEL)
LOGGED = F_LOG_ALL
LOG = Say(F.SET_LOG_BASE, ("QQ", LOG_SIZE, 0), ("log",), R, VERSION)
LOG_ON = Say(F.SET_FEATURES, ("Q", "features and log"))
GET_INFLIGHT = Say(F.GET_INFLIGHT_FD, ("QQHH4x", 0, 0, 2, 256), expect=R, check="inflight")
SET_INFLIGHT = Say(F.SET_INFLIGHT_FD, ("QQHH4x", "inflight size", "inflight offset", 2, 256), ("inflight",))
USED_PAGE = layout(0).used & ~0xFFF


def _config(
    offset: int, size: int, expect: Expect = R, check: str = "config", keep: str = "", demand: Demand = Demand.MUST
) -> Say:
    flags = VERSION if expect is ANY else None
    return Say(F.GET_CONFIG, (f"III{size}x", offset, size, 0), (), expect, flags, demand, check=check, keep=keep)


def _set_status(value: int) -> tuple[Say, Say]:
    return Say(F.SET_STATUS, ("Q", value)), Say(
        F.GET_STATUS, expect=R, check="a number", equals=("Q", value), demand=SHOULD
    )


# fmt: off
ROWS = (
    Scenario("config-read", "reads 8 bytes of config space", CONFIG, MATCH, (*UP, _config(0, 8)), needs=P.CONFIG),
    Scenario("config-same-again", "reads config space twice", CONFIG, MATCH, (*UP, _config(0, 8, keep="config"), _config(0, 8, check="config as before")), needs=P.CONFIG),
    Scenario("config-bytes", "reads config space byte by byte, as user-mode Linux does", CONFIG, MATCH, (*UP, *(_config(at, 1) for at in range(8))), needs=P.CONFIG),
    Scenario("config-256", "reads 256 bytes of config space", CONFIG, MATCH, (*UP, _config(0, 256, ANY)), needs=P.CONFIG),
    Scenario("config-size-0", "reads no byte of config space", CONFIG, MATCH, (*UP, _config(0, 0, ANY)), needs=P.CONFIG),
    Scenario("config-beyond", "reads config space beyond its end", CONFIG, MATCH, (*UP, _config(0xFFFF_FF00, 8, ANY)), needs=P.CONFIG),
    Scenario("config-large", "reads 4096 bytes of config space", CONFIG, MATCH, (*UP, _config(0, 4096, ANY)), needs=P.CONFIG),
    Scenario("config-size-lies", "says 200 bytes, and has 8", CONFIG, MATCH, (*UP, Say(F.GET_CONFIG, ("III8x", 0, 200, 0), expect=ANY, flags=VERSION)), needs=P.CONFIG),
    Scenario("config-size-huge", "says 0xffffffff bytes, and has 8", CONFIG, MATCH, (*UP, Say(F.GET_CONFIG, ("III8x", 0, 0xFFFF_FFFF, 0), expect=ANY, flags=VERSION)), needs=P.CONFIG),
    Scenario("config-empty", "GET_CONFIG without a payload", CONFIG, MATCH, (*UP, Say(F.GET_CONFIG, expect=ANY, flags=VERSION)), needs=P.CONFIG),
    Scenario("config-read-only", "writes the capacity of a disk, which is read-only", "Front-end message types, SET_CONFIG", READ_ONLY, (*UP, _config(0, 8, keep="config"), Say(F.SET_CONFIG, ("III8s", 0, 8, 0, b"\xff" * 8), expect=ANY), _config(0, 8, check="config as before")), needs=P.CONFIG, device=("blk",)),
    Scenario("config-writable", "switches the write cache of a disk off", "Front-end message types, SET_CONFIG", "submitted when the Guest changes the virtio device configuration space", (*UP, Say(F.SET_CONFIG, ("III1s", 32, 1, 0, b"\0"), demand=SHOULD), _config(32, 1), Say(F.SET_CONFIG, ("III1s", 32, 1, 0, b"\1"), demand=SHOULD)), needs=P.CONFIG, features=1 << 11, device=("blk",)),
    Scenario("config-write-beyond", "writes config space beyond its end", "Front-end message types, SET_CONFIG", READ_ONLY, (*UP, Say(F.SET_CONFIG, ("III8x", 0xFFFF_FF00, 8, 0), expect=ANY)), needs=P.CONFIG),
    Scenario("config-write-lies", "writes 200 bytes of config space, and has 8", "Front-end message types, SET_CONFIG", READ_ONLY, (*UP, Say(F.SET_CONFIG, ("III8x", 0, 200, 0), expect=ANY)), needs=P.CONFIG),
    Scenario("status-kept", "sets the status bit by bit, and reads it back", STATUS, VIRTIO_STATUS, (*UP, *(one for value in (1, 3, 11) for one in _set_status(value))), needs=P.STATUS),
    Scenario("status-zero", "sets the status to 0", STATUS, VIRTIO_STATUS, (*UP, *_set_status(11), *_set_status(0)), needs=P.STATUS),
    Scenario("status-large", "sets a status of more than 8 bits", STATUS, VIRTIO_STATUS, (*UP, Say(F.SET_STATUS, ("Q", 1 << 40), expect=ANY)), needs=P.STATUS),
    Scenario("status-works", "the device works once the driver is ready", STATUS, VIRTIO_STATUS, (*UP, *_set_status(11), MEMORY, Start(), Say(F.SET_STATUS, ("Q", 15)), Work()), needs=P.STATUS),
    Scenario("reset-again", "resets the device, sets it up anew, and it works", RESET, "reset all internal device state to the initial state, ready to be reinitialized", (*RUN, Work(), Say(F.RESET_DEVICE), SET_FEATURES, MEMORY, Start(fresh=True), Work()), needs=P.RESET_DEVICE),
    Scenario("inflight-get", "asks for an inflight buffer", INFLIGHT, "the back-end needs to allocate an extra buffer and share it with front-end", (*UP, GET_INFLIGHT), needs=P.INFLIGHT_SHMFD),
    Scenario("inflight-work", "gives the inflight buffer back, and the device works", INFLIGHT, "GET_INFLIGHT_FD and SET_INFLIGHT_FD are used to transfer this buffer", (*UP, GET_INFLIGHT, SET_INFLIGHT, MEMORY, Start(), Work()), needs=P.INFLIGHT_SHMFD),
    Scenario("inflight-no-queues", "asks for an inflight buffer of 0 queues", INFLIGHT, "num queues: a 16-bit number of virtqueues", (*UP, Say(F.GET_INFLIGHT_FD, ("QQHH4x", 0, 0, 0, 256), expect=ANY, flags=VERSION)), needs=P.INFLIGHT_SHMFD),
    Scenario("inflight-largest", "asks for an inflight buffer of 65535 queues of 65535", INFLIGHT, "num queues: a 16-bit number of virtqueues", (*UP, Say(F.GET_INFLIGHT_FD, ("QQHH4x", 0, 0, 0xFFFF, 0xFFFF), expect=ANY, flags=VERSION)), needs=P.INFLIGHT_SHMFD),
    Scenario("inflight-no-descriptor", "SET_INFLIGHT_FD without a descriptor", INFLIGHT, "", (*UP, Say(F.SET_INFLIGHT_FD, ("QQHH4x", 8192, 0, 2, 256), expect=REFUSED, demand=SHOULD)), needs=P.INFLIGHT_SHMFD),
    Scenario("inflight-too-small", "an inflight buffer that is smaller than it says", INFLIGHT, "", (*UP, Say(F.SET_INFLIGHT_FD, ("QQHH4x", 1 << 20, 0, 2, 256), ("small",), ANY)), needs=P.INFLIGHT_SHMFD),
    Scenario("inflight-wraps", "an inflight buffer whose offset wraps", INFLIGHT, "", (*UP, Say(F.SET_INFLIGHT_FD, ("QQHH4x", 8192, (1 << 64) - 4096, 2, 256), ("ram",), ANY)), needs=P.INFLIGHT_SHMFD),
    Scenario("log-answered", "SET_LOG_BASE is answered", "Communication", "requests that require replies: SET_LOG_BASE (if LOG_SHMFD)", (*UP, MEMORY, LOG), needs=P.LOG_SHMFD, features=LOGGED),
    Scenario("log-marks-buffers", "what the device writes into buffers is logged", MIGRATION, "all the modifications to memory pointed by vring descriptor should be marked", (*RUN, LOG, LOG_ON, Work(logged=True)), needs=P.LOG_SHMFD, features=LOGGED),
    Scenario("log-marks-rings", "what the device writes into the used ring is logged", MIGRATION, "modifications to used vring should be marked if VHOST_VRING_F_LOG is part of ring's flags", (*RUN, LOG, LOG_ON, Start(("addr",), log=True), Work(), Marked()), needs=P.LOG_SHMFD, features=LOGGED),
    Scenario("log-ends", "logging ends, and the device works on", MIGRATION, "to start/stop logging the front-end may send SET_FEATURES", (*RUN, LOG, LOG_ON, Start(("addr",), log=True), Work(), SET_FEATURES, Start(("addr",)), Work(), Stop()), needs=P.LOG_SHMFD, features=LOGGED),
    Scenario("log-no-descriptor", "SET_LOG_BASE without a descriptor", MIGRATION, "the log memory fd is provided in the ancillary data of SET_LOG_BASE", (*UP, MEMORY, Say(F.SET_LOG_BASE, ("QQ", LOG_SIZE, 0), expect=ANY, flags=VERSION)), needs=P.LOG_SHMFD, features=LOGGED),
    Scenario("log-too-small", "a log that covers a part of memory, and work beyond it", MIGRATION, "the size of the log should be large enough to cover all known guest addresses", (*RUN, Say(F.SET_LOG_BASE, ("QQ", SMALL, 0), ("small",), ANY, VERSION), LOG_ON, Work(SHOULD, high=True)), needs=P.LOG_SHMFD, features=LOGGED),
    Scenario("log-descriptor-too-small", "a log that is larger than what is behind its descriptor", MIGRATION, "", (*RUN, Say(F.SET_LOG_BASE, ("QQ", LOG_SIZE, 0), ("small",), ANY, VERSION), LOG_ON, Work(SHOULD, high=True)), needs=P.LOG_SHMFD, features=LOGGED),
    Scenario("log-event", "SET_LOG_FD", MIGRATION, "SET_LOG_FD is an optional message with an eventfd in ancillary data", (*UP, Say(F.SET_LOG_FD, (), ("event:log",), ANY))),
    Scenario("channel-opens", "a back-end channel, and the device works", BACK, "if REPLY_ACK is negotiated, the back-end must respond with zero for success, non-zero otherwise", (*UP, CONNECT, MEMORY, Start(), Work()), needs=P.BACKEND_REQ),
    Scenario("channel-twice", "a second back-end channel in place of the first", BACK, "", (*UP, CONNECT, CONNECT, MEMORY, Start(), Work()), needs=P.BACKEND_REQ),
    Scenario("channel-closed", "a back-end channel whose other end is closed", BACK, "", (*UP, CONNECT, Drop("channel"), MEMORY, Start(), Work(SHOULD)), needs=P.BACKEND_REQ),
    Scenario("channel-deaf", "a back-end channel whose other end was closed before it was passed", BACK, "", (*UP, Say(F.SET_BACKEND_REQ_FD, (), ("deaf",), ANY)), needs=P.BACKEND_REQ),
    Scenario("channel-memory", "a memfd in place of a back-end channel", BACK, "the fd is provided via SET_BACKEND_REQ_FD ancillary data", (*UP, Say(F.SET_BACKEND_REQ_FD, (), ("small",), REFUSED, demand=SHOULD)), needs=P.BACKEND_REQ),
    Scenario("channel-none", "SET_BACKEND_REQ_FD without a descriptor", BACK, "the fd is provided via SET_BACKEND_REQ_FD ancillary data", (*UP, Say(F.SET_BACKEND_REQ_FD, (), (), REFUSED, demand=SHOULD)), needs=P.BACKEND_REQ),
    Scenario("postcopy-advise", "POSTCOPY_ADVISE", "Front-end message types, POSTCOPY_ADVISE", "the back-end must open a userfaultfd for later use", (*UP, Say(F.POSTCOPY_ADVISE, expect=R, check="userfaultfd", demand=SHOULD)), needs=P.PAGEFAULT),
    Scenario("postcopy-round", "POSTCOPY_ADVISE, POSTCOPY_LISTEN, POSTCOPY_END", "Front-end message types, POSTCOPY_END", "the reply is an acknowledgement only; 0 is success", (*UP, Say(F.POSTCOPY_ADVISE, expect=R, check="userfaultfd", demand=SHOULD), Say(F.POSTCOPY_LISTEN, demand=SHOULD), Say(F.POSTCOPY_END, expect=R, check="0", flags=VERSION | FLAG_NEED_REPLY, demand=SHOULD)), needs=P.PAGEFAULT | P.REPLY_ACK),
    Scenario("postcopy-end-first", "POSTCOPY_END before anything of post-copy", "Front-end message types, POSTCOPY_END", "sent after POSTCOPY_LISTEN was previously sent", (*UP, Say(F.POSTCOPY_END, expect=ANY, flags=VERSION)), needs=P.PAGEFAULT),
    Scenario("postcopy-listen-first", "POSTCOPY_LISTEN without POSTCOPY_ADVISE", "Front-end message types, POSTCOPY_LISTEN", "this is always sent sometime after a POSTCOPY_ADVISE", (*UP, Say(F.POSTCOPY_LISTEN, expect=ANY)), needs=P.PAGEFAULT),
    Scenario("postcopy-listen-running", "POSTCOPY_LISTEN while rings run", "Front-end message types, POSTCOPY_LISTEN", "", (*RUN, Say(F.POSTCOPY_ADVISE, expect=ANY, flags=VERSION), Say(F.POSTCOPY_LISTEN, expect=ANY)), needs=P.PAGEFAULT),
    Scenario("object-unknown", "asks for a shared object that is not there", "Front-end message types, GET_SHARED_OBJECT", "back-end will reply passing the fd when the operation is successful, or no fd otherwise", (*UP, Say(F.GET_SHARED_OBJECT, ("16s", bytes(range(16))), expect=R, check="no descriptor")), needs=P.SHARED_OBJECT),
    Scenario("shmem-config", "asks for the shared memory regions, twice", "Front-end message types, GET_SHMEM_CONFIG", "the size must be a multiple of the page size; the information will remain unchanged", (*UP, Say(F.GET_SHMEM_CONFIG, expect=R, check="shmem"), Say(F.GET_SHMEM_CONFIG, expect=R, check="shmem")), needs=P.SHMEM),
    Scenario("iotlb-update", "an IOTLB entry for the first region", IOMMU, "on success, the back-end is expected to reply with a zero payload", (*UP, CONNECT, share(LOW_REGION, HIGH_REGION), Say(F.IOTLB_MSG, ("QQQBB6x", 0, LOW_REGION.size, USER, 3, 2), expect=R, check="0", flags=VERSION | FLAG_NEED_REPLY)), needs=P.BACKEND_REQ | P.REPLY_ACK, features=F_ACCESS_PLATFORM),
    Scenario("iotlb-invalidate", "an IOTLB entry is set and invalidated", IOMMU, "for invalidation events the type is 3", (*UP, CONNECT, MEMORY, *(Say(F.IOTLB_MSG, ("QQQBB6x", 0, LOW_REGION.size, USER, 3, kind), expect=R, check="0", flags=VERSION | FLAG_NEED_REPLY) for kind in (2, 3))), needs=P.BACKEND_REQ | P.REPLY_ACK, features=F_ACCESS_PLATFORM),
    Scenario("iotlb-miss", "an IOTLB miss, which only a back-end says", IOMMU, "back-end sends IOTLB miss messages", (*UP, CONNECT, MEMORY, Say(F.IOTLB_MSG, ("QQQBB6x", 0, 4096, USER, 3, 1), expect=ANY, flags=VERSION | FLAG_NEED_REPLY)), needs=P.BACKEND_REQ | P.REPLY_ACK, features=F_ACCESS_PLATFORM),
    Scenario("state-save", "asks to save the device's state while its rings are stopped", "Front-end message types, SET_DEVICE_STATE_FD", "the back-end must not both indicate an error and return a file descriptor", (*RUN, Work(), Stop(), Say(F.SET_DEVICE_STATE_FD, ("II", 0, 0), ("pipe:state",), R, check="device state"), Drop("pipe:state"), Say(F.CHECK_DEVICE_STATE, expect=R, check="a number")), needs=P.DEVICE_STATE, demand=SHOULD),
    Scenario("state-check-first", "CHECK_DEVICE_STATE before anything is transferred", "Front-end message types, CHECK_DEVICE_STATE", "after transferring the back-end's internal state", (*UP, Say(F.CHECK_DEVICE_STATE, expect=ANY, flags=VERSION)), needs=P.DEVICE_STATE),
    Scenario("state-direction", "SET_DEVICE_STATE_FD with a direction that is not there", "Device state transfer parameters", "0: Save, 1: Load", (*UP, Say(F.SET_DEVICE_STATE_FD, ("II", 9, 0), ("pipe:state",), ANY, VERSION)), needs=P.DEVICE_STATE),
    Scenario("mtu-valid", "an MTU of 1500", "Front-end message types, NET_SET_MTU", "the back-end must respond with zero in case the specified MTU is valid", (*UP, Say(F.NET_SET_MTU, ("Q", 1500))), needs=P.MTU | P.REPLY_ACK, features=1 << 3),
    Scenario("mtu-invalid", "an MTU of 1", "Front-end message types, NET_SET_MTU", "the back-end must respond with zero in case the specified MTU is valid, or non-zero otherwise", (*UP, Say(F.NET_SET_MTU, ("Q", 1), expect=REFUSED)), needs=P.MTU | P.REPLY_ACK, features=1 << 3),
    Scenario("rarp", "SEND_RARP", "Front-end message types, SEND_RARP", "ask the back-end to broadcast a fake RARP", (*RUN, Say(F.SEND_RARP, ("Q", 0x665066005452), demand=SHOULD)), needs=P.RARP),
    Scenario("endian-little", "SET_VRING_ENDIAN with 0", "Front-end message types, SET_VRING_ENDIAN", "back-ends that negotiated this feature should handle both endiannesses", (*UP, Say(F.SET_VRING_ENDIAN, ("II", 0, 0))), needs=P.CROSS_ENDIAN),
    Scenario("endian-invalid", "SET_VRING_ENDIAN with 2", "Front-end message types, SET_VRING_ENDIAN", "other values are invalid", (*UP, Say(F.SET_VRING_ENDIAN, ("II", 0, 2), expect=REFUSED, demand=SHOULD)), needs=P.CROSS_ENDIAN),
    Scenario("crypto-close-unknown", "closes a crypto session that was never made", "Front-end message types, CLOSE_CRYPTO_SESSION", "close a session which was previously created", (*UP, Say(F.CLOSE_CRYPTO_SESSION, ("Q", 99), expect=ANY)), needs=P.CRYPTO_SESSION),
)
# fmt: on
