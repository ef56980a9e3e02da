"""Scenarios about messages of the wrong shape: sizes, flags, requests that are not there, requests before their turn.

The specification says of most of these only that a back-end may close the connection upon an error. So a back-end may
do, refuse or ignore them; it must not die of them, nor hang.
"""

# ruff: noqa: E501 - rows are read as a table

from __future__ import annotations

from vusniff.conformance.places import LOW_REGION, USER, layout
from vusniff.conformance.scenario import Again, Alive, Body, Demand, Expect, P, Say, Scenario
from vusniff.conformance.steps import ASK_FEATURES, HELLO, MEMORY, RUN, UP, F, single, table
from vusniff.families.vhost_user.protocol import FLAG_REPLY, VERSION, FrontendRequest

R, ANY, REFUSED, N = Expect.REPLY, Expect.ANY, Expect.REFUSED, Expect.NOTHING
SHOULD = Demand.SHOULD
HEADER, TYPES, QUEUES, SPEC = "Header", "Front-end message types", "Multiple queue support", "Message Specification"
MAY_CLOSE = "if the back-end detects some error it may also close the connection"
_RING = layout(0)
_ADDRESSES = (USER + _RING.descriptors, USER + _RING.used, USER + _RING.available, 0)

_SIZED: tuple[tuple[FrontendRequest, Body, tuple[str, ...]], ...] = (
    (F.SET_FEATURES, ("Q", "features"), ()),
    (F.SET_MEM_TABLE, table((LOW_REGION,)), ("ram",)),
    (F.SET_VRING_NUM, ("II", 0, 256), ()),
    (F.SET_VRING_ADDR, ("IIQQQQ", 0, 0, *_ADDRESSES), ()),
    (F.SET_VRING_KICK, ("Q", 0), ("event:kick0",)),
    (F.SET_VRING_ENABLE, ("II", 0, 1), ()),
    (F.GET_VRING_BASE, ("II", 0, 0), ()),
)
"""Requests, their payload and their descriptors."""


def _word(request: FrontendRequest) -> str:
    return request.name.lower().replace("_", "-")


def _wrong_size(request: FrontendRequest, body: Body, fds: tuple[str, ...], what: str) -> Scenario:
    if what == "empty":
        said = Say(request, (), fds, ANY, VERSION)
    else:
        said = Say(request, (str(body[0]) + "64x", *body[1:]), fds, ANY, VERSION)
    about = f"{request.name} {'without its payload' if what == 'empty' else 'with 64 bytes too many'}"
    return Scenario(f"{what}-{_word(request)}", about, SPEC, MAY_CLOSE, (*UP, said))


_SIZES = tuple(_wrong_size(*row, what) for what in ("empty", "long") for row in _SIZED)


def _index(request: FrontendRequest, form: str, *rest: int) -> Scenario:
    """A ring that is not there."""
    said = Say(request, (form, 0xFFFF_FFFF if form[0] == "I" else 0xFF, *rest), expect=REFUSED, demand=SHOULD)
    if request is F.GET_VRING_BASE:
        said = Say(request, (form, 0xFFFF_FFFF, *rest), expect=ANY, flags=VERSION)
    if request is F.SET_VRING_KICK:
        said = Say(request, ("Q", 0xFF), ("event:kick255",), REFUSED, demand=SHOULD)
    about = f"{request.name} of a ring that is not there"
    says = "front-end should stop when the number of requested queues is bigger than that"
    return Scenario(f"no-such-ring-{_word(request)}", about, QUEUES, says, (*UP, MEMORY, said))


_INDEXES = (
    _index(F.SET_VRING_NUM, "II", 256),
    _index(F.SET_VRING_BASE, "II", 0),
    _index(F.SET_VRING_ADDR, "IIQQQQ", 0, *_ADDRESSES),
    _index(F.SET_VRING_ENABLE, "II", 1),
    _index(F.SET_VRING_KICK, "Q"),
    _index(F.GET_VRING_BASE, "II", 0),
)


def _not_negotiated(request: FrontendRequest, body: Body = (), fds: tuple[str, ...] = ()) -> Scenario:
    said = Say(request, body, fds, ANY, VERSION)
    about = f"{request.name} although its feature was not negotiated"
    says = "any protocol extensions are gated by protocol feature bits"
    return Scenario(f"not-negotiated-{_word(request)}", about, "Communication", says, (*UP, said))


_GATED = (
    _not_negotiated(F.GET_CONFIG, ("III8x", 0, 8, 0)),
    _not_negotiated(F.SET_BACKEND_REQ_FD, (), ("socket:stray",)),
    _not_negotiated(F.ADD_MEM_REG, single(LOW_REGION), ("ram",)),
    _not_negotiated(F.GET_STATUS),
    _not_negotiated(F.GET_INFLIGHT_FD, ("QQHH4x", 0, 0, 1, 256)),
    _not_negotiated(F.VRING_KICK, ("II", 0, 0)),
    _not_negotiated(F.IOTLB_MSG, ("QQQBB6x", 0, 4096, USER, 3, 2)),
    _not_negotiated(F.POSTCOPY_END),
    _not_negotiated(F.SET_DEVICE_STATE_FD, ("II", 0, 0), ("pipe:state",)),
    _not_negotiated(F.RESET_DEVICE),
    _not_negotiated(F.GET_SHMEM_CONFIG),
)

# fmt: off
ROWS = (
    *_SIZES,
    Scenario("version-0", "a request of version 0", HEADER, "lower 2 bits are the version (currently 0x01)", (*UP, Say(F.GET_FEATURES, flags=0, expect=ANY))),
    Scenario("version-2", "a request of version 2", HEADER, "lower 2 bits are the version (currently 0x01)", (*UP, Say(F.GET_FEATURES, flags=2, expect=ANY))),
    Scenario("flag-reply", "a request with the reply flag", HEADER, "bit 2 is the reply flag: needs to be sent on each reply from the back-end", (*UP, Say(F.GET_FEATURES, flags=VERSION | FLAG_REPLY, expect=ANY))),
    Scenario("flags-reserved", "a request with flags that have no meaning", HEADER, "", (*UP, Say(F.GET_FEATURES, flags=VERSION | 0xFFFF_FFF0, expect=ANY))),
    Scenario("size-huge", "a header that promises 4 GiB, and the end of the connection", HEADER, "size: 32-bit size of the payload", (*UP, Say(F.SET_FEATURES, ("Q", "features"), expect=N, claims=0xFFFF_FFFF), Again(), ASK_FEATURES, Alive())),
    Scenario("size-beyond", "a header that promises more than any message has", HEADER, "size: 32-bit size of the payload", (*UP, Say(F.SET_VRING_NUM, ("II", 0, 256), expect=N, claims=65536), Again(), ASK_FEATURES, Alive())),
    Scenario("request-0", "request 0", SPEC, MAY_CLOSE, (*UP, Say(0, expect=REFUSED, demand=SHOULD))),
    Scenario("request-unknown", "an unknown request, with need_reply", "REPLY_ACK", "the back-end MUST respond, with zero on success or non-zero on failure", (*UP, Say(9999, expect=REFUSED, demand=SHOULD)), needs=P.REPLY_ACK),
    Scenario("request-unknown-silent", "an unknown request, without need_reply", SPEC, MAY_CLOSE, (*UP, Say(9999, expect=ANY, flags=VERSION))),
    Scenario("request-largest", "request 0xffffffff with 8 bytes of payload", SPEC, MAY_CLOSE, (*UP, Say(0xFFFF_FFFF, ("Q", 0), expect=REFUSED, demand=SHOULD))),
    *_INDEXES,
    *_GATED,
    Scenario("before-memory-addr", "SET_VRING_ADDR before there is memory", TYPES, "", (*UP, Say(F.SET_VRING_ADDR, ("IIQQQQ", 0, 0, *_ADDRESSES), expect=ANY))),
    Scenario("before-setup-kick", "SET_VRING_KICK before anything else of the ring", "Ring states", "", (*UP, Say(F.SET_VRING_KICK, ("Q", 0), ("event:kick0",), ANY))),
    Scenario("before-memory-kick", "a whole ring before there is memory", "Ring states", "", (*UP, Say(F.SET_VRING_NUM, ("II", 0, 256), expect=ANY), Say(F.SET_VRING_ADDR, ("IIQQQQ", 0, 0, *_ADDRESSES), expect=ANY), Say(F.SET_VRING_KICK, ("Q", 0), ("event:kick0",), ANY))),
    Scenario("before-features-enable", "SET_VRING_ENABLE before SET_FEATURES, as QEMU's net device does", TYPES, "SET_VRING_ENABLE should be sent only when VHOST_USER_F_PROTOCOL_FEATURES has been negotiated", (*HELLO, Say(F.SET_VRING_ENABLE, ("II", 0, 1), expect=ANY))),
    Scenario("before-start-stop", "GET_VRING_BASE of a ring that never started", TYPES, "GET_VRING_BASE stops the vring and returns the current descriptor index or indices", (*UP, Say(F.GET_VRING_BASE, ("II", 0, 0), expect=R, check="base", demand=SHOULD))),
    Scenario("before-everything", "SET_MEM_TABLE first of all", TYPES, "", (Say(F.SET_MEM_TABLE, table((LOW_REGION,)), ("ram",), ANY),)),
    Scenario("enable-with-2", "SET_VRING_ENABLE with 2", TYPES, "", (*RUN, Say(F.SET_VRING_ENABLE, ("II", 0, 2), expect=REFUSED, demand=SHOULD))),
    Scenario("stop-with-num", "GET_VRING_BASE with a num that is not 0", TYPES, "the request payload's num field is currently reserved and must be set to 0", (*RUN, Say(F.GET_VRING_BASE, ("II", 0, 7), expect=R, check="base", demand=SHOULD))),
)
# fmt: on
