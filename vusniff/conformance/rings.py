"""Scenarios about rings: their life, their descriptors, their sizes, and what a driver must not write into them."""

# ruff: noqa: E501 - rows are read as a table

from __future__ import annotations

from vusniff.conformance.places import BUFFERS, USER, layout
from vusniff.conformance.scenario import Called, Demand, Drop, Expect, Offer, P, Rest, Say, Scenario, Start, Stop, Work
from vusniff.conformance.steps import MEMORY, RUN, UP, F
from vusniff.demo.memory import DESC_NEXT, DESC_WRITE
from vusniff.families.vhost_user.protocol import F_RING_PACKED, VRING_NOFD

R, ANY, REFUSED = Expect.REPLY, Expect.ANY, Expect.REFUSED
SHOULD = Demand.SHOULD
STATES, TYPES, VIRTIO = "Ring states", "Front-end message types", "virtio, Split Virtqueues"
PROCESS = "the back-end must process all requests and execute them"
STOPPED = "while a ring is stopped, the back-end must not process the ring at all"
RESTARTED = (
    "a stopped ring enters the started state again with SET_VRING_KICK and the back-end resumes processing requests"
)
FLY = "the back-end must support changing some configuration aspects on the fly"
NO_FD = "bit 8 is the invalid FD flag: it is set when there is no file descriptor in the ancillary data"
BASE = "GET_VRING_BASE returns the next descriptor index to process in the Available Ring"
SIZE = "SET_VRING_NUM sets the size of the queue"
DRIVER = "the driver in the guest is not trusted: what it writes into a ring is its own fault, and no reason to die"
INDIRECT = 4
HERE = USER + layout(0).descriptors
ENABLE, DISABLE = Say(F.SET_VRING_ENABLE, ("II", 0, 1)), Say(F.SET_VRING_ENABLE, ("II", 0, 0))
AGAIN = Start(base="as stopped")
PREPARED = (*UP, MEMORY)


def _order(id: str, *order: str) -> Scenario:
    """The messages that set up a ring, in another order."""
    words = ", ".join(order)
    return Scenario(
        f"order-{id}", f"a ring is set up in the order {words}", STATES, PROCESS, (*PREPARED, Start(order), Work())
    )


def _size(size: int, expect: Expect) -> Scenario:
    said = Say(F.SET_VRING_NUM, ("II", 0, size), expect=expect, demand=SHOULD)
    return Scenario(
        f"ring-size-{size}",
        f"a ring of {size}",
        VIRTIO,
        "queue size is always a power of 2, at most 32768",
        (*PREPARED, said),
    )


def _driver(id: str, about: str, *descriptors: tuple[int, int, int, int], head: int = 0, ahead: int = 1) -> Scenario:
    return Scenario(f"driver-{id}", about, VIRTIO, "", (*RUN, Work(), Offer(None, descriptors, head, ahead)))


def _file(id: str, about: str, request: F, *fds: str, word: int = 0, expect: Expect = ANY) -> Scenario:
    before = Start(("num", "base", "addr"), ring=0)
    said = Say(request, ("Q", word), fds, expect, demand=SHOULD)
    return Scenario(f"descriptors-{id}", about, f"{TYPES}, {request.name}", NO_FD, (*PREPARED, before, said))


# fmt: off
ROWS = (
    _order("call-first", "call", "err", "num", "base", "addr", "kick", "enable"),
    _order("addr-first", "addr", "num", "base", "kick", "call", "enable"),
    _order("base-last", "num", "addr", "base", "call", "kick", "enable"),
    _order("enable-first", "enable", "num", "base", "addr", "kick", "call"),
    _order("kick-last", "num", "base", "addr", "call", "enable", "kick"),
    _order("err-between", "num", "err", "base", "addr", "kick", "call", "enable"),
    Scenario("ring-works-again", "the device works ten times over", STATES, PROCESS, (*RUN, *(Work() for _ in range(10)))),
    Scenario("ring-called", "the call descriptor is signalled when buffers are used", f"{TYPES}, SET_VRING_CALL", "set the event file descriptor to signal when buffers are used", (*RUN, Called())),
    Scenario("ring-disabled-enabled", "a ring is disabled and enabled again", STATES, "rings can be enabled or disabled by SET_VRING_ENABLE", (*RUN, Work(), DISABLE, ENABLE, Work())),
    Scenario("ring-enabled-twice", "a ring is enabled twice", STATES, "rings can be enabled or disabled by SET_VRING_ENABLE", (*RUN, ENABLE, Work())),
    Scenario("ring-disabled-twice", "a ring is disabled twice", STATES, "rings can be enabled or disabled by SET_VRING_ENABLE", (*RUN, DISABLE, DISABLE, ENABLE, Work())),
    Scenario("ring-stops", "the rings are stopped after work: each stands where it was used up to", TYPES, BASE, (*RUN, Work(), Stop())),
    Scenario("ring-stops-idle", "the rings are stopped before they have done anything", TYPES, BASE, (*RUN, Stop())),
    Scenario("ring-stops-twice", "the rings are stopped twice", TYPES, BASE, (*RUN, Work(), Stop(), Stop(demand=SHOULD))),
    Scenario("ring-stopped", "a request is made available and kicked while the ring is stopped", STATES, STOPPED, (*RUN, Work(), Stop(), Rest())),
    Scenario("ring-stopped-enabled", "a stopped ring is enabled, and stays stopped", STATES, STOPPED, (*RUN, Work(), Stop(), ENABLE, Rest())),
    Scenario("ring-restarts", "the rings are stopped, set up where they stood, and started", STATES, RESTARTED, (*RUN, Work(), Stop(), AGAIN, Work())),
    Scenario("ring-restarts-often", "the rings are stopped and started ten times", STATES, RESTARTED, (*RUN, *(step for _ in range(10) for step in (Work(), Stop(), AGAIN)), Work())),
    Scenario("ring-restarts-by-kick", "the rings are stopped, and only SET_VRING_KICK and SET_VRING_CALL follow", STATES, RESTARTED, (*RUN, Work(), Stop(), Start(("call", "kick")), Work())),
    Scenario("ring-restarts-from-zero", "the rings are stopped, and set up anew from 0", STATES, RESTARTED, (*RUN, Work(), Stop(), Start(fresh=True), Work())),
    Scenario("ring-polled", "no kick descriptor: the back-end has to poll", f"{TYPES}, SET_VRING_KICK", "bit 8 signals that polling should be used instead of waiting for the kick", (*PREPARED, Start(polled=True), Work(SHOULD))),
    Scenario("ring-not-called", "no call descriptor: the front-end polls", f"{TYPES}, SET_VRING_CALL", "bit 8 signals that polling will be used instead of waiting for the call", (*PREPARED, Start(silent=True), Work())),
    Scenario("ring-kick-replaced", "another kick descriptor while the ring runs", STATES, FLY, (*RUN, Work(), Drop("event:kick0"), Drop("event:kick1"), Start(("kick",)), Work(SHOULD))),
    Scenario("ring-call-replaced", "another call descriptor while the ring runs", STATES, FLY, (*RUN, Work(), Drop("event:call0"), Drop("event:call1"), Start(("call",)), Called())),
    Scenario("ring-call-removed", "the call descriptor is taken away while the ring runs, and given back", STATES, FLY, (*RUN, Work(), Start(("call",), silent=True), Work(), Start(("call",)), Called())),
    Scenario("ring-addr-again", "the same addresses again while the ring runs, as migration does", STATES, FLY, (*RUN, Work(), Start(("addr",)), Work(SHOULD))),
    Scenario("ring-base", "a ring starts at 4660", TYPES, "SET_VRING_BASE sets the next index to use for descriptors in this vring", (*PREPARED, Start(base=0x1234), Work(), Stop())),
    Scenario("ring-base-wraps", "a ring starts at 65535", "Vring descriptor index for split virtqueues", "this is a free-running index that is not wrapped by the ring size", (*PREPARED, Start(base=0xFFFF), Work(), Stop())),
    Scenario("ring-base-reserved", "SET_VRING_BASE with bits above 15", "Vring descriptor index for split virtqueues", "bits 16-31: reserved (set to zero)", (*PREPARED, Say(F.SET_VRING_BASE, ("II", 0, 0xFFFF_0000), expect=ANY))),
    Scenario("ring-small", "rings of 8", TYPES, SIZE, (*PREPARED, Start(size=8), Work(), Work(), Work())),
    Scenario("ring-large", "rings of 1024", TYPES, SIZE, (*PREPARED, Start(size=1024), Work())),
    _size(0, REFUSED),
    _size(3, REFUSED),
    _size(65536, REFUSED),
    _size(0x8000_0000, REFUSED),
    Scenario("ring-second", "the second queue is started and stopped alone", "Multiple queue support", "the front-end uses a unique index for each queue", (*PREPARED, Start(ring=1), Stop(ring=1)), rings=2),
    Scenario("ring-addr-outside", "addresses that lie in no region", "Memory access", "user addresses map to the vhost memory region containing that user address", (*PREPARED, Say(F.SET_VRING_ADDR, ("IIQQQQ", 0, 0, 0x1000, 0x2000, 0x3000, 0), expect=REFUSED, demand=SHOULD))),
    Scenario("ring-addr-outside-kick", "addresses that lie in no region, and a kick", "Memory access", "user addresses map to the vhost memory region containing that user address", (*PREPARED, Start(("num", "base"), ring=0), Say(F.SET_VRING_ADDR, ("IIQQQQ", 0, 0, 0x1000, 0x2000, 0x3000, 0), expect=ANY), Say(F.SET_VRING_KICK, ("Q", 0), ("event:kick0",), ANY), Say(F.SET_VRING_ENABLE, ("II", 0, 1), expect=ANY))),
    Scenario("ring-addr-end", "a ring that begins in the last bytes of a region", "Memory access", "", (*PREPARED, Start(("num", "base"), ring=0), Say(F.SET_VRING_ADDR, ("IIQQQQ", 0, 0, *(USER + (2 << 20) - 16,) * 3, 0), expect=ANY), Say(F.SET_VRING_KICK, ("Q", 0), ("event:kick0",), ANY), Say(F.SET_VRING_ENABLE, ("II", 0, 1), expect=ANY))),
    Scenario("ring-addr-wraps", "addresses at the end of the address space", "Memory access", "", (*PREPARED, Start(("num", "base"), ring=0), Say(F.SET_VRING_ADDR, ("IIQQQQ", 0, 0, *((1 << 64) - 16,) * 3, 0), expect=ANY), Say(F.SET_VRING_KICK, ("Q", 0), ("event:kick0",), ANY))),
    Scenario("ring-addr-odd", "addresses that are not aligned", VIRTIO, "", (*PREPARED, Start(("num", "base"), ring=0), Say(F.SET_VRING_ADDR, ("IIQQQQ", 0, 0, HERE + 1, HERE + 0x3001, HERE + 0x2001, 0), expect=ANY), Say(F.SET_VRING_KICK, ("Q", 0), ("event:kick0",), ANY))),
    _file("kick-none", "SET_VRING_KICK without a descriptor and without bit 8", F.SET_VRING_KICK, expect=REFUSED),
    _file("kick-two", "SET_VRING_KICK with two descriptors", F.SET_VRING_KICK, "event:kick0", "event:other"),
    _file("kick-and-bit-8", "SET_VRING_KICK with bit 8 and a descriptor", F.SET_VRING_KICK, "event:kick0", word=VRING_NOFD),
    _file("kick-memory", "SET_VRING_KICK with a memfd", F.SET_VRING_KICK, "small"),
    _file("kick-folder", "SET_VRING_KICK with a directory", F.SET_VRING_KICK, "folder"),
    _file("kick-null", "SET_VRING_KICK with /dev/null, which can always be read", F.SET_VRING_KICK, "null"),
    _file("kick-deaf", "SET_VRING_KICK with a socket whose other end is closed", F.SET_VRING_KICK, "deaf"),
    _file("call-none", "SET_VRING_CALL without a descriptor and without bit 8", F.SET_VRING_CALL, expect=REFUSED),
    _file("call-deaf", "SET_VRING_CALL with a socket whose other end is closed", F.SET_VRING_CALL, "deaf"),
    _file("err-none", "SET_VRING_ERR without a descriptor and without bit 8", F.SET_VRING_ERR, expect=REFUSED),
    Scenario("descriptors-call-deaf-used", "a call descriptor whose other end is closed, and work", f"{TYPES}, SET_VRING_CALL", "", (*RUN, Say(F.SET_VRING_CALL, ("Q", 0), ("deaf",), ANY), Work(SHOULD))),
    Scenario("descriptors-call-pipe", "a pipe as call descriptor", "Support for platforms other than Linux", "either eventfd or pipe/pipe2", (*PREPARED, Start(("num", "base", "addr", "kick")), Say(F.SET_VRING_CALL, ("Q", 0), ("pipe:call",)), Start(("enable",)), Work(SHOULD)), demand=SHOULD),
    Scenario("descriptors-on-get-features", "GET_FEATURES with a descriptor", "Communication", "there are several messages that the front-end sends with file descriptors passed in the ancillary data", (*UP, Say(F.GET_FEATURES, (), ("event:stray",), ANY))),
    Scenario("descriptors-eight-on-enable", "SET_VRING_ENABLE with eight descriptors", "Communication", "", (*UP, Say(F.SET_VRING_ENABLE, ("II", 0, 1), tuple(f"event:stray{n}" for n in range(8)), ANY))),
    Scenario("descriptors-hundred", "GET_FEATURES with a hundred descriptors", "Communication", "", (*UP, Say(F.GET_FEATURES, (), tuple(f"event:stray{n}" for n in range(100)), ANY))),
    _driver("address", "a descriptor whose address lies in no region", (0x7777_0000_0000, 512, DESC_WRITE, 0)),
    _driver("address-end", "a descriptor that goes beyond its region", (BUFFERS * 2 - 16, 4096, DESC_WRITE, 0)),
    _driver("length", "a descriptor of 4 GiB", (BUFFERS, 0xFFFF_FFFF, DESC_WRITE, 0)),
    _driver("length-0", "a descriptor of length 0", (BUFFERS, 0, 0, 0)),
    _driver("loop", "a chain that leads into itself", (BUFFERS, 16, DESC_NEXT, 1), (BUFFERS, 16, DESC_NEXT, 0)),
    _driver("next", "a chain that leads out of the table", (BUFFERS, 16, DESC_NEXT, 0xFFFF)),
    _driver("head", "an available ring that names a descriptor which is not there", (BUFFERS, 16, 0, 0), head=0xFFFF),
    _driver("ahead", "an available index that is further ahead than the ring is large", (BUFFERS, 16, 0, 0), ahead=5000),
    _driver("indirect", "an indirect table that lies in no region", (0x7777_0000_0000, 4096, INDIRECT, 0)),
    _driver("indirect-size", "an indirect table whose size is not a multiple of 16", (BUFFERS, 17, INDIRECT, 0)),
    Scenario("packed-moves", "packed rings, and the device works", "Vring descriptor indices for packed virtqueues", PROCESS, (*UP, MEMORY, Start(packed=True), Work(), Work()), features=F_RING_PACKED),
    Scenario("packed-stops", "packed rings are stopped and started where they stood", "Vring descriptor indices for packed virtqueues", "both indices (as maintained by the device) are returned", (*UP, MEMORY, Start(packed=True), Work(), Stop(), Start(packed=True, base="as stopped"), Work()), features=F_RING_PACKED),
    Scenario("in-band-kick", "VRING_KICK in place of a kick descriptor", "In-band notifications", "the ring is also started on the VRING_KICK message", (*UP, Say(F.SET_BACKEND_REQ_FD, (), ("socket:channel",)), MEMORY, Start(("num", "base", "addr", "call", "enable"), ring=0), Say(F.VRING_KICK, ("II", 0, 0))), needs=P.INBAND_NOTIFICATIONS | P.BACKEND_REQ | P.REPLY_ACK),
)
# fmt: on
