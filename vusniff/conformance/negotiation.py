"""Scenarios about negotiation: features, protocol features, the owner."""

# ruff: noqa: E501 - rows are read as a table

from __future__ import annotations

from vusniff.conformance.places import LOW_REGION
from vusniff.conformance.scenario import Demand, Disabled, Expect, P, Say, Scenario, Start, Work
from vusniff.conformance.steps import (
    ASK_FEATURES,
    ASK_PROTOCOL,
    HELLO,
    MEMORY,
    OWNER,
    RUN,
    SET_FEATURES,
    SET_PROTOCOL,
    UP,
    F,
    share,
)
from vusniff.families.vhost_user.protocol import FLAG_NEED_REPLY, VERSION

R, ANY, REFUSED, CLOSED, SILENT = Expect.REPLY, Expect.ANY, Expect.REFUSED, Expect.CLOSED, Expect.SILENT
SHOULD = Demand.SHOULD
TYPES, STATES = "Front-end message types", "Ring states"
EARLY = "back-ends that report VHOST_USER_F_PROTOCOL_FEATURES must support this message even before SET_FEATURES"
ALL_ENABLED = "upon SET_FEATURES without VHOST_USER_F_PROTOCOL_FEATURES the back-end must enable all rings immediately"
ANSWERED = "most of the requests don't require replies, except for GET_FEATURES, ..."
NOT_ENABLED = ("num", "base", "addr", "kick", "call")
ALL_BITS = (1 << 64) - 1
WITHOUT_30 = Say(F.SET_FEATURES, ("Q", "features without 30"))
ASK_AGAIN = Say(F.GET_FEATURES, expect=R, check="as offered")

# fmt: off
ROWS = (
    Scenario("features-offered", "asks for the features first of all", "Communication", ANSWERED, (ASK_FEATURES,)),
    Scenario("features-same-again", "asks for the features twice", "Communication", ANSWERED, (ASK_FEATURES, ASK_AGAIN)),
    Scenario("features-set", "acknowledges features that are offered", TYPES, "SET_FEATURES: enable features using a bitmask", UP),
    Scenario("features-set-twice", "sets the same features twice", TYPES, "", (*UP, SET_FEATURES)),
    Scenario("features-none", "acknowledges no feature at all", TYPES, "", (*HELLO, Say(F.SET_FEATURES, ("Q", 0), expect=ANY))),
    Scenario("features-not-offered", "acknowledges one bit that is not offered", TYPES, "", (*HELLO, Say(F.SET_FEATURES, ("Q", "features and one not offered"), expect=REFUSED, demand=SHOULD))),
    Scenario("features-all-bits", "acknowledges all 64 bits", TYPES, "", (*HELLO, Say(F.SET_FEATURES, ("Q", ALL_BITS), expect=ANY))),
    Scenario("features-again-while-running", "sets the same features while the rings run", STATES, "the back-end must support changing some configuration aspects on the fly", (*RUN, Work(), SET_FEATURES, Work(SHOULD))),
    Scenario("data-moves", "sets up the device and has it work", STATES, "started and enabled: the back-end must process all requests and execute them", (*RUN, Work(whole=True))),
    Scenario("enabled-without-30", "leaves out bit 30, and enables no ring", STATES, ALL_ENABLED, (ASK_FEATURES, OWNER, WITHOUT_30, MEMORY, Start(NOT_ENABLED), Work())),
    Scenario("disabled-until-enabled", "starts the rings of a net device and does not enable them", STATES, "in the disabled state the back-end must not supply any new RX packets", (*UP, MEMORY, Start(NOT_ENABLED), Disabled(takes=False)), device=("net",)),
    Scenario("disabled-discards", "sends a frame on a ring that is started and disabled", STATES, "in the disabled state the back-end must process and discard any TX packets", (*UP, MEMORY, Start(NOT_ENABLED), Disabled(takes=True)), device=("net",)),
    Scenario("protocol-features-early", "asks for protocol features before it sets features", TYPES, EARLY, (ASK_FEATURES, ASK_PROTOCOL)),
    Scenario("protocol-features-same-again", "asks for protocol features twice", TYPES, "", (ASK_FEATURES, ASK_PROTOCOL, Say(F.GET_PROTOCOL_FEATURES, expect=R, check="as offered before"))),
    Scenario("protocol-features-early-set", "sets protocol features before it sets features", TYPES, EARLY, (ASK_FEATURES, ASK_PROTOCOL, Say(F.SET_PROTOCOL_FEATURES, ("Q", "protocol")))),
    Scenario("protocol-features-set-twice", "sets the same protocol features twice", TYPES, "", (*UP, Say(F.SET_PROTOCOL_FEATURES, ("Q", "protocol")))),
    Scenario("protocol-features-none", "acknowledges no protocol feature, and has the device work", TYPES, "", (ASK_FEATURES, ASK_PROTOCOL, Say(F.SET_PROTOCOL_FEATURES, ("Q", 0)), OWNER, SET_FEATURES, MEMORY, Start(), Work())),
    Scenario("protocol-features-never", "acknowledges bit 30, and never asks for protocol features", TYPES, "", (ASK_FEATURES, OWNER, SET_FEATURES, MEMORY, Start(), Work())),
    Scenario("protocol-features-not-offered", "acknowledges a protocol feature that is not offered", TYPES, "", (ASK_FEATURES, ASK_PROTOCOL, Say(F.SET_PROTOCOL_FEATURES, ("Q", "protocol and one not offered"), expect=REFUSED, demand=SHOULD))),
    Scenario("protocol-features-all-bits", "acknowledges 64 protocol features", TYPES, "", (ASK_FEATURES, ASK_PROTOCOL, Say(F.SET_PROTOCOL_FEATURES, ("Q", ALL_BITS), expect=ANY))),
    Scenario("in-band-alone", "acknowledges in-band notifications without the features they need", "In-band notifications", "the back-end should close the connection", (ASK_FEATURES, ASK_PROTOCOL, Say(F.SET_PROTOCOL_FEATURES, ("Q", "in-band alone"), expect=CLOSED, demand=SHOULD)), needs=P.INBAND_NOTIFICATIONS),
    Scenario("owner-never", "does not say SET_OWNER", TYPES, "", (ASK_FEATURES, ASK_PROTOCOL, SET_PROTOCOL, SET_FEATURES, share(LOW_REGION, expect=ANY))),
    Scenario("owner-twice", "says SET_OWNER twice", TYPES, "", (*UP, Say(F.SET_OWNER, expect=ANY))),
    Scenario("owner-reset", "says RESET_OWNER", TYPES, "it is recommended that back-ends either ignore this message, or use it to disable all rings", (*RUN, Work(), Say(F.RESET_OWNER, demand=SHOULD), Say(F.SET_VRING_ENABLE, ("II", 0, 1), demand=SHOULD)), demand=SHOULD),
    Scenario("queue-number", "asks how many queues there are", "Multiple queue support", "GET_QUEUE_NUM: query how many queues the back-end supports", (*UP, Say(F.GET_QUEUE_NUM, expect=R, check="not 0")), needs=P.MQ),
    Scenario("need-reply-too-early", "asks for an acknowledgement before that is negotiated", "REPLY_ACK", "with this protocol extension negotiated the sender can set need_reply", (ASK_FEATURES, Say(F.SET_OWNER, expect=SILENT, flags=VERSION | FLAG_NEED_REPLY, demand=SHOULD))),
)
# fmt: on
