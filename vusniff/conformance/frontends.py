"""The scenarios for front-ends: what our back-end does, and what is to come of it."""

# ruff: noqa: E501 - rows are read as a table

from __future__ import annotations

from vusniff.conformance.manners import OFFERED, TABLE, VERSION_1, Act, Departure, Goal, Manner, OwnRequest
from vusniff.conformance.scenario import Demand, P
from vusniff.families.vhost_user.protocol import F_PROTOCOL_FEATURES, BackendRequest, FrontendRequest

F, B = FrontendRequest, BackendRequest
RUNS, LEAVES, RETURNS, ENDURES = Goal.RUNS, Goal.LEAVES, Goal.RETURNS, Goal.ENDURES
SHOULD = Demand.SHOULD
COMM, TYPES, BACK, ACK = "Communication", "Front-end message types", "Back-end message types", "REPLY_ACK"
WRONG = "if front-end receives a wrong reply it will close the connection"
GATED = "any protocol extensions are gated by protocol feature bits"
AGAIN = "an optional reconnection mechanism can be implemented"
RESPOND = "if REPLY_ACK is negotiated, and the back-end sets NEED_REPLY, the front-end must respond with zero when operation is successfully completed, or non-zero otherwise"
ALONE = "it is an error to negotiate in-band notifications without BACKEND_REQ and REPLY_ACK"
WHOLE = "a vhost-user message consists of 3 header fields and a payload"
NO_30 = "the feature bit signals back-end support for GET_PROTOCOL_FEATURES and SET_PROTOCOL_FEATURES"
CHANNEL = P.BACKEND_REQ | P.REPLY_ACK
MINE = OFFERED | P.SHARED_OBJECT | P.HOST_NOTIFIER


def _wrong(request: FrontendRequest, act: Act) -> Manner:
    """A wrong reply: the front-end leaves."""
    id = f"wrong-{request.name.lower().replace('_', '-')}-{act.name.lower().replace('_', '-')}"
    about = f"{request.name}: the back-end {act.value}"
    turns = (Departure(request, act),)
    return Manner(id, about, COMM, WRONG, LEAVES, turns, protocol=TABLE, demand=SHOULD, judged=False)


def _alone(feature: P) -> Manner:
    """One protocol feature."""
    name = (feature.name or "").lower().replace("_", "-")
    in_band = feature is P.INBAND_NOTIFICATIONS
    protocol = feature | (P.MQ if in_band else P.CONFIG)
    about = f"offers {feature.name} and little else"
    return Manner(f"only-{name}", about, COMM, ALONE if in_band else GATED, ENDURES, protocol=protocol)


def _own(
    id: str, about: str, says: str, goal: Goal, own: OwnRequest, needs: P = CHANNEL, demand: Demand = Demand.MUST
) -> Manner:
    """A request of the back-end's."""
    return Manner(
        f"channel-{id}", about, BACK, says, goal, own=own, protocol=MINE, needs=needs, judged=False, demand=demand
    )


def _late(id: str, about: str, request: FrontendRequest, act: Act) -> Manner:
    """Nothing is wrong, only slow or in pieces."""
    name = f"{id}-{request.name.lower().replace('_', '-')}"
    protocol = TABLE if request is F.SET_MEM_TABLE else OFFERED
    turns = (Departure(request, act),)
    return Manner(name, f"{request.name}: {about}", "Message Specification", WHOLE, RUNS, turns, protocol=protocol)


UUID = bytes(range(16))
# fmt: off
ROWS = (
    Manner("runs", "a good back-end: the rings run", "Ring states", "rings are started with SET_VRING_KICK, and enabled by SET_VRING_ENABLE", RUNS),
    Manner("moves", "a good back-end: requests come through a ring", "Ring states", "rings are started with SET_VRING_KICK, and enabled by SET_VRING_ENABLE", Goal.MOVES, device=("blk", "net", "rng"), demand=SHOULD),
    Manner("without-30", "does not offer bit 30", COMM, NO_30, ENDURES, features=VERSION_1),
    Manner("protocol-none", "offers bit 30 and no protocol feature", COMM, GATED, ENDURES, protocol=P(0)),
    Manner("features-few", "offers no feature of the device", TYPES, "GET_FEATURES: get the features bitmask", ENDURES, plain=True),
    Manner("features-all", "offers all 64 bits", TYPES, "GET_FEATURES: get the features bitmask", ENDURES, features=(1 << 64) - 1),
    Manner("features-legacy", "does not offer VERSION_1", TYPES, "GET_FEATURES: get the features bitmask", ENDURES, features=F_PROTOCOL_FEATURES),
    Manner("protocol-all", "offers 64 protocol features", COMM, GATED, ENDURES, (Departure(F.GET_PROTOCOL_FEATURES, Act.VALUE, (1 << 64) - 1),), judged=False),
    _alone(P.MQ), _alone(P.REPLY_ACK), _alone(P.CONFIG), _alone(P.STATUS), _alone(P.BACKEND_REQ), _alone(P.CONFIGURE_MEM_SLOTS),
    _alone(P.LOG_SHMFD), _alone(P.INFLIGHT_SHMFD), _alone(P.RESET_DEVICE), _alone(P.INBAND_NOTIFICATIONS),
    Manner("queues-one", "has one queue pair", "Multiple queue support", "front-end should stop when the number of requested queues is bigger than that", ENDURES, queues=2),
    Manner("queues-none", "has no queue", "Multiple queue support", "front-end should stop when the number of requested queues is bigger than that", ENDURES, (Departure(F.GET_QUEUE_NUM, Act.VALUE, 0),), judged=False),
    Manner("queues-many", "has 2^40 queues", "Multiple queue support", "query how many queues the back-end supports", ENDURES, (Departure(F.GET_QUEUE_NUM, Act.VALUE, 1 << 40),)),
    Manner("slots-one", "has one memory slot", TYPES, "GET_MAX_MEM_SLOTS: the maximum number of memory slots", ENDURES, (Departure(F.GET_MAX_MEM_SLOTS, Act.VALUE, 1),), needs=P.CONFIGURE_MEM_SLOTS),
    Manner("slots-many", "has 2^40 memory slots", TYPES, "the value will be capped at the maximum number of ram slots of the target platform", ENDURES, (Departure(F.GET_MAX_MEM_SLOTS, Act.VALUE, 1 << 40),), needs=P.CONFIGURE_MEM_SLOTS),
    *(_wrong(F.GET_FEATURES, act) for act in (Act.OTHER_REQUEST, Act.NO_REPLY_FLAG, Act.VERSION_0, Act.SHORT, Act.LONG, Act.EMPTY, Act.HUGE)),
    *(_wrong(F.GET_PROTOCOL_FEATURES, act) for act in (Act.OTHER_REQUEST, Act.NO_REPLY_FLAG, Act.SHORT, Act.EMPTY)),
    *(_wrong(F.SET_MEM_TABLE, act) for act in (Act.OTHER_REQUEST, Act.EMPTY)),
    _wrong(F.GET_CONFIG, Act.SHORT),
    Manner("config-error", "GET_CONFIG fails: zero length", TYPES, "back-end uses zero length of payload to indicate an error", ENDURES, (Departure(F.GET_CONFIG, Act.EMPTY),), asks=F.GET_CONFIG),
    Manner("refuses-memory", "acknowledges SET_MEM_TABLE with 1", ACK, "QEMU is expected to terminate the main vhost-user loop upon receiving such errors", ENDURES, (Departure(F.SET_MEM_TABLE, Act.REFUSE),), protocol=TABLE, needs=P.REPLY_ACK, judged=False),
    Manner("refuses-kick", "acknowledges SET_VRING_KICK with 1", ACK, "QEMU is expected to terminate the main vhost-user loop upon receiving such errors", ENDURES, (Departure(F.SET_VRING_KICK, Act.REFUSE),), needs=P.REPLY_ACK, judged=False),
    Manner("unasked", "a reply that nobody waits for, before GET_PROTOCOL_FEATURES is answered", COMM, WRONG, LEAVES, (Departure(F.GET_PROTOCOL_FEATURES, Act.UNASKED),), demand=SHOULD, judged=False),
    Manner("twice", "GET_FEATURES is answered twice", COMM, WRONG, LEAVES, (Departure(F.GET_FEATURES, Act.TWICE),), demand=SHOULD, judged=False),
    _late("late", "the reply comes late", F.GET_FEATURES, Act.LATE),
    _late("late", "the acknowledgement comes late", F.SET_MEM_TABLE, Act.LATE),
    _late("bytes", "the reply comes byte by byte", F.GET_FEATURES, Act.BYTES),
    _late("bytes", "the reply comes byte by byte", F.GET_CONFIG, Act.BYTES),
    _late("two-sends", "header and payload come in two sends, as libvhost-user does it", F.GET_PROTOCOL_FEATURES, Act.TWO_SENDS),
    _late("deaf", "the back-end stops reading for a moment", F.SET_FEATURES, Act.DEAF),
    Manner("closed-at-once", "closes the connection upon the first request", COMM, AGAIN, RETURNS, (Departure(F.GET_FEATURES, Act.CLOSE),), demand=SHOULD, judged=False),
    Manner("closed-half", "says half a reply, and closes the connection", COMM, AGAIN, RETURNS, (Departure(F.GET_FEATURES, Act.HALF),), demand=SHOULD, judged=False),
    Manner("closed-in-features", "closes the connection upon SET_FEATURES", COMM, AGAIN, RETURNS, (Departure(F.SET_FEATURES, Act.CLOSE),), demand=SHOULD, judged=False),
    Manner("closed-in-memory", "closes the connection upon SET_MEM_TABLE", COMM, AGAIN, RETURNS, (Departure(F.SET_MEM_TABLE, Act.CLOSE),), protocol=TABLE, demand=SHOULD, judged=False),
    Manner("closed-in-kick", "closes the connection upon SET_VRING_KICK", COMM, AGAIN, RETURNS, (Departure(F.SET_VRING_KICK, Act.CLOSE),), demand=SHOULD, judged=False),
    _own("config-change", "CONFIG_CHANGE_MSG with need_reply", RESPOND, Goal.REPLIES, OwnRequest(B.BACKEND_CONFIG_CHANGE_MSG), CHANNEL | P.CONFIG),
    _own("config-change-silent", "CONFIG_CHANGE_MSG without need_reply", RESPOND, Goal.QUIET, OwnRequest(B.BACKEND_CONFIG_CHANGE_MSG, need_reply=False), P.BACKEND_REQ | P.CONFIG),
    _own("unknown", "an unknown request, with need_reply", RESPOND, Goal.REFUSES, OwnRequest(999), demand=SHOULD),
    _own("object-unknown", "SHARED_OBJECT_LOOKUP of an object that is not there", "the front-end will reply passing the fd and a zero when the operation is successful, or non-zero otherwise", Goal.REFUSES, OwnRequest(B.BACKEND_SHARED_OBJECT_LOOKUP, ("16s", UUID)), CHANNEL | P.SHARED_OBJECT),
    _own("object-remove", "SHARED_OBJECT_REMOVE of an object that is not there", RESPOND, Goal.REPLIES, OwnRequest(B.BACKEND_SHARED_OBJECT_REMOVE, ("16s", UUID)), CHANNEL | P.SHARED_OBJECT),
    _own("notifier-ring", "VRING_HOST_NOTIFIER_MSG of a ring that is not there", RESPOND, Goal.REFUSES, OwnRequest(B.BACKEND_VRING_HOST_NOTIFIER_MSG, ("QQQ", 255, 4096, 0), ("ram",)), CHANNEL | P.HOST_NOTIFIER, SHOULD),
    _own("notifier-size", "VRING_HOST_NOTIFIER_MSG of 3 bytes", "size should be the same as host page size", Goal.REFUSES, OwnRequest(B.BACKEND_VRING_HOST_NOTIFIER_MSG, ("QQQ", 0, 3, 0), ("ram",)), CHANNEL | P.HOST_NOTIFIER, SHOULD),
    _own("notifier-no-descriptor", "VRING_HOST_NOTIFIER_MSG without a descriptor and without bit 8", RESPOND, Goal.REPLIES, OwnRequest(B.BACKEND_VRING_HOST_NOTIFIER_MSG, ("QQQ", 0, 4096, 0)), CHANNEL | P.HOST_NOTIFIER, SHOULD),
    _own("short", "CONFIG_CHANGE_MSG whose header promises more than comes, and the end of the channel", RESPOND, ENDURES, OwnRequest(B.BACKEND_CONFIG_CHANGE_MSG, claims=64, then_close=True), P.BACKEND_REQ),
    _own("large", "a request of 64 KiB", RESPOND, ENDURES, OwnRequest(B.BACKEND_SHARED_OBJECT_ADD, ("65536x",)), P.BACKEND_REQ),
    _own("version", "a request of version 2", "lower 2 bits are the version (currently 0x01)", ENDURES, OwnRequest(B.BACKEND_CONFIG_CHANGE_MSG, flags=2), P.BACKEND_REQ),
    _own("descriptors", "CONFIG_CHANGE_MSG with eight descriptors", "at most 8 descriptors in each message", ENDURES, OwnRequest(B.BACKEND_CONFIG_CHANGE_MSG, (), tuple(f"event:{n}" for n in range(8))), P.BACKEND_REQ),
    _own("closed", "the channel is closed", "an optional communication channel is provided", ENDURES, OwnRequest(B.BACKEND_CONFIG_CHANGE_MSG, need_reply=False, then_close=True), P.BACKEND_REQ),
)
# fmt: on
