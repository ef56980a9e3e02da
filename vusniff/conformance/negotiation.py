"""Scenarios about negotiation: features, protocol features, the owner, acknowledgements."""

# ruff: noqa: E501 - rows are read as a table

from __future__ import annotations

from vusniff.conformance.scenario import Demand, Expect, P, Say, Scenario, Start, Work
from vusniff.conformance.steps import (
    ASK_FEATURES,
    MEMORY,
    RUN,
    SET_FEATURES,
    UP,
    F,
)

R, ANY, REFUSED, CLOSED, SILENT = Expect.REPLY, Expect.ANY, Expect.REFUSED, Expect.CLOSED, Expect.SILENT
SHOULD = Demand.SHOULD
EARLY = "Back-ends that report VHOST_USER_F_PROTOCOL_FEATURES must support this message even before SET_FEATURES"
TYPES = "Front-end message types"
ALL_ENABLED = "upon SET_FEATURES without VHOST_USER_F_PROTOCOL_FEATURES the back-end must enable all rings immediately"
WITHOUT_30 = Say(F.SET_FEATURES, ("Q", "features without 30"))
START_UNENABLED = Start(("num", "base", "addr", "kick", "call"))

ROWS = (
    Scenario("features-offered", "asks for the features first of all", "Communication", "GET_FEATURES requires a reply", (ASK_FEATURES,)),
    Scenario("features-same-again", "asks for the features twice", "Communication", "GET_FEATURES requires a reply", (ASK_FEATURES, Say(F.GET_FEATURES, expect=R, check="as offered"))),
    Scenario("features-set", "sets all features it knows that are offered", TYPES, "Enable features in the underlying vhost implementation using a bitmask", UP),
    Scenario("features-set-twice", "sets the same features twice", TYPES, "", (*UP, SET_FEATURES)),
    Scenario("data-moves", "sets up the device and has it work", "Ring states", "started and enabled: the back-end must process all requests and execute them", (*RUN, Work(whole=True))),
    Scenario("protocol-features-early", "asks for protocol features before it sets features", TYPES, EARLY, (ASK_FEATURES, Say(F.GET_PROTOCOL_FEATURES, expect=R, check="a number")), needs=P(0)),
    Scenario("request-unknown", "says a request that nobody knows, and asks for an acknowledgement", "REPLY_ACK", "the back-end MUST respond with a payload indicating success or failure", (*UP, Say(9999, expect=REFUSED, demand=SHOULD)), needs=P.REPLY_ACK),
    Scenario("vring-kick-without-descriptor", "SET_VRING_KICK without a descriptor and without bit 8", TYPES, "bit 8 is set when there is no file descriptor in the ancillary data", (*UP, MEMORY, Start(("num", "base", "addr")), Say(F.SET_VRING_KICK, ("Q", 0), expect=REFUSED, demand=SHOULD))),
)  # fmt: skip
