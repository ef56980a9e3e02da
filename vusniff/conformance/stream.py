"""Scenarios about the connection: made again, cut, in pieces, not read."""

# ruff: noqa: E501 - rows are read as a table

from __future__ import annotations

from vusniff.conformance.places import LOW_REGION
from vusniff.conformance.scenario import (
    Again,
    Alive,
    Demand,
    Expect,
    Flood,
    Half,
    Joined,
    Pieces,
    Say,
    Scenario,
    Start,
    Work,
)
from vusniff.conformance.steps import ASK_FEATURES, MEMORY, RUN, UP, F, share, table

SHOULD = Demand.SHOULD
R, N = Expect.REPLY, Expect.NOTHING
COMM = "Communication"
RECONNECT = "an optional reconnection mechanism can be implemented"
FIRST = "file descriptors will only be received in the first recvmsg operation for a message header"
GET = Say(F.GET_FEATURES, expect=R, check="a number")
NUM = Say(F.SET_VRING_NUM, ("II", 0, 256))
ASKED = Say(F.GET_FEATURES, expect=N)


def _half(id: str, about: str, half: Half) -> Scenario:
    return Scenario(
        f"cut-{id}",
        about,
        COMM,
        "if front-end is unable to send the full message it will close the connection",
        (*UP, half, Again(), *RUN, Work()),
    )


# fmt: off
ROWS = (
    Scenario("again", "connects three times, and the device works each time", COMM, RECONNECT, (*RUN, Work(), Again(), *RUN, Work(), Again(), *RUN, Work())),
    Scenario("again-often", "connects twenty times", COMM, RECONNECT, (*UP, *(step for _ in range(20) for step in (Again(), *UP)))),
    Scenario("again-silent", "connects and says nothing, three times", COMM, RECONNECT, (Again(), Again(), Again(), *RUN, Work())),
    Scenario("again-unread", "leaves while replies were not read", COMM, RECONNECT, (*UP, *(ASKED for _ in range(50)), Again(), *RUN, Work())),
    Scenario("again-half-set-up", "leaves while a ring is set up", COMM, RECONNECT, (*UP, MEMORY, Start(("num", "base", "addr")), Again(), *RUN, Work())),
    _half("header-1", "the first byte of a header, and the end", Half(F.GET_FEATURES, (), 1)),
    _half("header-11", "11 bytes of a header, and the end", Half(F.GET_FEATURES, (), 11)),
    _half("payload-0", "a header without its payload, and the end", Half(F.SET_VRING_NUM, ("II", 0, 256), 12)),
    _half("payload-7", "a header and 7 of 8 bytes, and the end", Half(F.SET_VRING_NUM, ("II", 0, 256), 19)),
    _half("table", "half a memory table, and the end", Half(F.SET_MEM_TABLE, table((LOW_REGION,)), 30)),
    Scenario("pieces-header", "the header and the payload in two sends", "Message Specification", "a vhost-user message consists of 3 header fields and a payload", (*UP, *(step for step in (Pieces(12), NUM, Pieces(12), share(LOW_REGION))), Start(), Work()), demand=SHOULD),
    Scenario("pieces-every-byte", "a message in two sends, split at every byte", "Message Specification", "", (*UP, *(step for at in range(10, 20) for step in (Pieces(at), NUM))), demand=SHOULD),
    Scenario("pieces-bytes", "messages byte by byte, with their descriptors on the first", COMM, FIRST, (Pieces(), ASK_FEATURES, *UP, Pieces(), NUM, Pieces(), share(LOW_REGION), Start(), Work()), demand=SHOULD),
    Scenario("joined", "ten requests in one send, answered in their order", COMM, "", (*UP, Joined((GET,) * 10))),
    Scenario("joined-mixed", "requests with and without replies in one send", COMM, "", (*UP, Joined((GET, Say(F.SET_VRING_NUM, ("II", 0, 256), expect=N), GET, Say(F.SET_VRING_BASE, ("II", 0, 0), expect=N), GET)))),
    Scenario("flood", "3000 requests whose replies are read only afterwards", COMM, "", (*UP, Flood(F.GET_FEATURES, 3000), Alive())),
    Scenario("flood-left", "3000 requests, and the end while their replies wait", COMM, RECONNECT, (*UP, Flood(F.GET_FEATURES, 3000, read=False), Again(), *RUN, Work())),
)
# fmt: on
