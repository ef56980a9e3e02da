"""Scenarios about replies: which requests have one, and acknowledgements. Rows are made from lists of requests."""

from __future__ import annotations

from vusniff.conformance.places import LOW_REGION, USER, layout
from vusniff.conformance.scenario import Body, Expect, P, Say, Scenario, Start, Step
from vusniff.conformance.steps import MEMORY, RUN, UP, F, table
from vusniff.families.vhost_user.protocol import FLAG_NEED_REPLY, VERSION, FrontendRequest

_RING = layout(0)
_ADDR: Body = ("IIQQQQ", 0, 0, USER + _RING.descriptors, USER + _RING.used, USER + _RING.available, 0)
_HALF = (*UP, MEMORY)
_SET: tuple[tuple[FrontendRequest, Body, tuple[str, ...], tuple[Step, ...]], ...] = (
    (F.SET_OWNER, (), (), UP[:3]),
    (F.SET_FEATURES, ("Q", "features"), (), UP[:-1]),
    (F.SET_MEM_TABLE, table((LOW_REGION,)), ("ram",), UP),
    (F.SET_VRING_NUM, ("II", 0, 256), (), UP),
    (F.SET_VRING_BASE, ("II", 0, 0), (), UP),
    (F.SET_VRING_ADDR, _ADDR, (), (*_HALF, Start(("num", "base"), ring=0))),
    (F.SET_VRING_KICK, ("Q", 0), ("event:kick0",), (*_HALF, Start(("num", "base", "addr"), ring=0))),
    (F.SET_VRING_CALL, ("Q", 0), ("event:call0",), UP),
    (F.SET_VRING_ERR, ("Q", 0), ("event:err0",), UP),
    (F.SET_VRING_ENABLE, ("II", 0, 1), (), RUN),
)
"""Requests without a reply of their own that every back-end knows: payload, descriptors, what comes before."""
_GET: tuple[tuple[FrontendRequest, Body, str, P], ...] = (
    (F.GET_FEATURES, (), "as offered", P(0)),
    (F.GET_PROTOCOL_FEATURES, (), "as offered before", P(0)),
    (F.GET_VRING_BASE, ("II", 0, 0), "base", P(0)),
    (F.GET_QUEUE_NUM, (), "not 0", P.MQ),
    (F.GET_CONFIG, ("III8x", 0, 8, 0), "config", P.CONFIG),
    (F.GET_STATUS, (), "a number", P.STATUS),
    (F.GET_MAX_MEM_SLOTS, (), "not 0", P.CONFIGURE_MEM_SLOTS),
    (F.GET_INFLIGHT_FD, ("QQHH4x", 0, 0, 1, 256), "inflight", P.INFLIGHT_SHMFD),
)
"""Requests with a reply of their own: payload, what the reply is, the feature they need."""
_MUST = "the back-end MUST respond, with zero on success or non-zero on failure"
_NO_CHANGE = "for the message types that already solicit a reply need_reply brings no behavioural change"


def _word(request: FrontendRequest) -> str:
    return request.name.lower().replace("_", "-")


def _acknowledged(row: tuple[FrontendRequest, Body, tuple[str, ...], tuple[Step, ...]]) -> Scenario:
    request, body, fds, before = row
    said = Say(request, body, fds, flags=VERSION | FLAG_NEED_REPLY)
    about = f"{request.name} with need_reply: one acknowledgement, which is 0"
    return Scenario(f"acknowledged-{_word(request)}", about, "REPLY_ACK", _MUST, (*before, said), needs=P.REPLY_ACK)


def _unanswered(row: tuple[FrontendRequest, Body, tuple[str, ...], tuple[Step, ...]]) -> Scenario:
    request, body, fds, before = row
    about = f"{request.name} without need_reply: no answer"
    says = "most of the requests don't require replies"
    said = Say(request, body, fds, expect=Expect.SILENT, flags=VERSION)
    return Scenario(f"unanswered-{_word(request)}", about, "Communication", says, (*before, said))


def _answered_once(row: tuple[FrontendRequest, Body, str, P]) -> Scenario:
    request, body, check, needs = row
    said = Say(request, body, expect=Expect.REPLY, check=check, flags=VERSION | FLAG_NEED_REPLY)
    about = f"{request.name} with need_reply: its own reply, once"
    before = RUN if request is F.GET_VRING_BASE else UP
    return Scenario(
        f"once-{_word(request)}", about, "REPLY_ACK", _NO_CHANGE, (*before, said), needs=P.REPLY_ACK | needs
    )


ROWS = (*map(_acknowledged, _SET), *map(_unanswered, _SET), *map(_answered_once, _GET))
