"""The state machine: ``advance(state, message)`` over one table of handlers, pure and total.

The rules it follows stand at the head of `vusniff.families.vhost_user.state`. A handler is only called with a payload
that was decoded in full; adding a request that changes state is a row in one of the two tables at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vusniff.channel import Channel
from vusniff.families.vhost_user.protocol import (
    CHANNELS,
    F_PROTOCOL_FEATURES,
    FLAG_REPLY,
    STOPS_RING,
    BackendRequest,
    Channels,
    FrontendRequest,
)
from vusniff.families.vhost_user.state import (
    MAX_CONFIG,
    MAX_ENTRIES,
    MAX_REFUSED,
    MAX_VRINGS,
    Addresses,
    Config,
    DeviceState,
    DirtyLog,
    Inflight,
    Postcopy,
    Refusal,
    Region,
    RingState,
    Seen,
    evolve,
    evolved,
    vring,
)
from vusniff.message import Message
from vusniff.record import Descriptor
from vusniff.values import replace

Values = dict[str, Any]
Handler = Callable[[DeviceState, Message, Values], DeviceState]
"""State, message, and the fields of its payload -> the state after it."""


def _first(message: Message) -> Descriptor | None:
    descriptors = message.facts.descriptors
    return descriptors[0] if descriptors else None


def _with_vring(state: DeviceState, index: int, changes: dict[str, Any]) -> DeviceState:
    rings = state.vrings
    ring = rings.get(index)
    if ring is None:
        if len(rings) >= MAX_VRINGS:
            return state
        ring = vring(state, index)
    return evolved(state, {"vrings": rings.with_ring(evolved(ring, changes))})


def _u64(name: str) -> Handler:
    def handler(state: DeviceState, message: Message, values: Values) -> DeviceState:
        changes: dict[str, Any] = {name: Seen(values["u64"], message.number)}
        return evolve(state, **changes)

    return handler


def _descriptor(name: str) -> Handler:
    def handler(state: DeviceState, message: Message, values: Values) -> DeviceState:
        changes: dict[str, Any] = {name: Seen(_first(message), message.number)}
        return evolve(state, **changes)

    return handler


def _set_features(state: DeviceState, message: Message, values: Values) -> DeviceState:
    value = values["u64"]
    seen = Seen(value, message.number)
    if value & F_PROTOCOL_FEATURES:
        return evolve(state, features=seen)
    enabled = Seen(True, message.number)
    return evolve(state, features=seen, all_enabled=enabled, vrings=state.vrings.all_enabled(enabled))


def _set_owner(state: DeviceState, message: Message, values: Values) -> DeviceState:
    return evolve(state, owned=Seen(True, message.number))


def _disabled(state: DeviceState, number: int) -> DeviceState:
    off = Seen(False, number)
    return evolve(state, all_enabled=off, vrings=state.vrings.all_enabled(off))


def _reset_owner(state: DeviceState, message: Message, values: Values) -> DeviceState:
    return evolve(_disabled(state, message.number), owned=Seen(False, message.number))


def _reset_device(state: DeviceState, message: Message, values: Values) -> DeviceState:
    return evolve(_disabled(state, message.number), status=Seen(0, message.number), shmem={})


def _region(values: Mapping[str, Any], descriptor: Descriptor | None, number: int) -> Region:
    return Region(
        values["guest_address"],
        values["size"],
        values["user_address"],
        values["mmap_offset"],
        descriptor,
        number,
    )


def _set_mem_table(state: DeviceState, message: Message, values: Values) -> DeviceState:
    if message.layout == "ack":
        return state  # the front-end's acknowledgement of the back-end's table
    table = (values.get("regions") or [])[:MAX_ENTRIES]
    listening = state.postcopy is not None and state.postcopy.value is Postcopy.LISTENING
    if not table and listening:
        return state  # the front-end's acknowledgement of the back-end's table
    descriptors = message.descriptors
    regions = tuple(
        _region(values, descriptors[i] if i < len(descriptors) else None, message.number)
        for i, values in enumerate(table)
    )
    return evolve(state, regions=regions, regions_by=message.number, regions_part=False)


def _mem_table_reply(state: DeviceState, message: Message, values: Values) -> DeviceState:
    table = values.get("regions")
    if table is None or state.regions is None or len(table[:MAX_ENTRIES]) != len(state.regions):
        return state
    regions = tuple(
        replace(region, backend_address=values["user_address"])
        for region, values in zip(state.regions, table, strict=False)
    )
    return evolve(state, regions=regions)


def _add_mem_reg(state: DeviceState, message: Message, values: Values) -> DeviceState:
    if message.layout == "ack":
        return state
    regions = state.regions or ()
    if len(regions) >= MAX_ENTRIES:
        return state
    region = _region(values, _first(message), message.number)
    part = state.regions_part or state.regions is None
    return evolve(state, regions=(*regions, region), regions_by=message.number, regions_part=part)


def _add_mem_reg_reply(state: DeviceState, message: Message, values: Values) -> DeviceState:
    if "user_address" not in values:
        return state
    regions = tuple(
        replace(region, backend_address=values["user_address"])
        if (region.guest_address, region.size) == (values["guest_address"], values["size"])
        else region
        for region in state.regions or ()
    )
    return evolve(state, regions=regions)


def _rem_mem_reg(state: DeviceState, message: Message, values: Values) -> DeviceState:
    gone = (values["guest_address"], values["user_address"], values["size"])
    regions = tuple(
        region for region in state.regions or () if (region.guest_address, region.user_address, region.size) != gone
    )
    part = state.regions_part or state.regions is None
    return evolve(state, regions=regions, regions_by=message.number, regions_part=part)


def _set_log_base(state: DeviceState, message: Message, values: Values) -> DeviceState:
    offset = values.get("log_offset")
    offset = values.get("u64", 0) if offset is None else offset
    log = DirtyLog(values.get("log_size"), offset, _first(message))
    return evolve(state, log=Seen(log, message.number))


def _vring_value(name: str) -> Handler:
    def handler(state: DeviceState, message: Message, values: Values) -> DeviceState:
        return _with_vring(state, values["index"], {name: Seen(values["num"], message.number)})

    return handler


def _set_vring_addr(state: DeviceState, message: Message, values: Values) -> DeviceState:
    addresses = Addresses(values["flags"], values["descriptor"], values["used"], values["available"], values["log"])
    return _with_vring(state, values["index"], {"addresses": Seen(addresses, message.number)})


def _get_vring_base(state: DeviceState, message: Message, values: Values) -> DeviceState:
    none: Seen[Descriptor | None] = Seen(None, message.number)
    stopped = Seen(RingState.STOPPED, message.number)
    return _with_vring(state, values["index"], {"life": stopped, "kick": none, "call": none})


def _named_descriptor(values: Mapping[str, Any], message: Message) -> Seen[Descriptor | None]:
    return Seen(None if values["no_fd"] else _first(message) or Descriptor(), message.number)


def _vring_descriptor(name: str) -> Handler:
    def handler(state: DeviceState, message: Message, values: Values) -> DeviceState:
        return _with_vring(state, values["index"], {name: _named_descriptor(values, message)})

    return handler


def _set_vring_kick(state: DeviceState, message: Message, values: Values) -> DeviceState:
    life = Seen(RingState.STARTED if values["no_fd"] else RingState.KICK_SET, message.number)
    return _with_vring(state, values["index"], {"kick": _named_descriptor(values, message), "life": life})


def _vring_kick(state: DeviceState, message: Message, values: Values) -> DeviceState:
    return _with_vring(state, values["index"], {"life": Seen(RingState.STARTED, message.number)})


def _set_vring_enable(state: DeviceState, message: Message, values: Values) -> DeviceState:
    return _with_vring(state, values["index"], {"enabled": Seen(bool(values["num"]), message.number)})


def _config(state: DeviceState, message: Message, values: Values) -> DeviceState:
    offset, data = values.get("offset", 0), bytes.fromhex(values.get("payload") or "")
    if not data or offset + len(data) > MAX_CONFIG:
        return state
    old = state.config.value if state.config else Config(b"", b"")
    size = max(len(old.data), offset + len(data))
    space, known = bytearray(old.data.ljust(size, b"\0")), bytearray(old.known.ljust(size, b"\0"))
    space[offset : offset + len(data)] = data
    known[offset : offset + len(data)] = b"\1" * len(data)
    return evolve(state, config=Seen(Config(bytes(space), bytes(known)), message.number))


def _inflight(state: DeviceState, message: Message, values: Values) -> DeviceState:
    inflight = Inflight(
        values["mmap_size"], values["mmap_offset"], values["num_queues"], values["queue_size"], _first(message)
    )
    return evolve(state, inflight=Seen(inflight, message.number))


def _postcopy(stage: Postcopy) -> Handler:
    def handler(state: DeviceState, message: Message, values: Values) -> DeviceState:
        return evolve(state, postcopy=Seen(stage, message.number))

    return handler


IOTLB_UPDATE = 2
IOTLB_INVALIDATE = 3


def _iotlb(state: DeviceState, message: Message, values: Values) -> DeviceState:
    start, size = values["iova"], values["size"]
    if values["type"] == IOTLB_UPDATE:
        return evolved(
            state, {"iotlb": state.iotlb.updated(start, (size, values["user_address"], values["permissions"]))}
        )
    if values["type"] == IOTLB_INVALIDATE:
        return evolved(state, {"iotlb": state.iotlb.invalidated(start, size)})
    return state


def _shmem_map(state: DeviceState, message: Message, values: Values) -> DeviceState:
    if len(state.shmem) >= MAX_ENTRIES:
        return state
    return evolve(state, shmem={**state.shmem, (values["shmid"], values["shm_offset"]): values["len"]})


def _shmem_unmap(state: DeviceState, message: Message, values: Values) -> DeviceState:
    kept = {place: size for place, size in state.shmem.items() if place != (values["shmid"], values["shm_offset"])}
    return evolve(state, shmem=kept)


def _host_notifier(state: DeviceState, message: Message, values: Values) -> DeviceState:
    return _vring_descriptor("notifier")(state, message, values)


def _create_crypto(state: DeviceState, message: Message, values: Values) -> DeviceState:
    session = values["session_id"]
    if session < 0 or len(state.crypto_sessions) >= MAX_ENTRIES:
        return state
    return evolve(state, crypto_sessions=(*state.crypto_sessions, session))


def _close_crypto(state: DeviceState, message: Message, values: Values) -> DeviceState:
    gone = values["u64"]
    return evolve(state, crypto_sessions=tuple(s for s in state.crypto_sessions if s != gone))


def _set_device_state(state: DeviceState, message: Message, values: Values) -> DeviceState:
    return evolve(state, device_state=Seen(values["transfer_direction"], message.number))


def _device_state_reply(state: DeviceState, message: Message, values: Values) -> DeviceState:
    """Bits 0 to 7 are an error, and bit 8 says only that no descriptor comes."""
    error = values["error"]
    return _refused(state, message, error) if error else state


def _not_enabled(state: DeviceState, message: Message) -> DeviceState:
    """A ring that was to be enabled, which the back-end refuses, is not."""
    if message.request != FrontendRequest.SET_VRING_ENABLE or message.answers is None:
        return state
    for ring in state.vrings.values():
        if ring.enabled is not None and ring.enabled.value and ring.enabled.by == message.answers:
            return _with_vring(state, ring.index, {"enabled": Seen(False, message.number)})
    return state


def _refused(state: DeviceState, message: Message, value: int) -> DeviceState:
    refusal = Refusal(message.answers or 0, message.name, value, message.number)
    return evolve(state, refused=(*state.refused[1 - MAX_REFUSED :], refusal))


F, B = FrontendRequest, BackendRequest

REQUEST_HANDLERS: dict[Channel, dict[int, Handler]] = {
    Channels.MAIN: {
        F.SET_FEATURES: _set_features,
        F.SET_OWNER: _set_owner,
        F.RESET_OWNER: _reset_owner,
        F.SET_MEM_TABLE: _set_mem_table,
        F.SET_LOG_BASE: _set_log_base,
        F.SET_LOG_FD: _descriptor("log_fd"),
        F.SET_VRING_NUM: _vring_value("num"),
        F.SET_VRING_ADDR: _set_vring_addr,
        F.SET_VRING_BASE: _vring_value("base"),
        **dict.fromkeys(STOPS_RING, _get_vring_base),
        F.SET_VRING_KICK: _set_vring_kick,
        F.SET_VRING_CALL: _vring_descriptor("call"),
        F.SET_VRING_ERR: _vring_descriptor("err"),
        F.SET_PROTOCOL_FEATURES: _u64("protocol_features"),
        F.SET_VRING_ENABLE: _set_vring_enable,
        F.NET_SET_MTU: _u64("mtu"),
        F.SET_BACKEND_REQ_FD: _descriptor("backend_channel"),
        F.IOTLB_MSG: _iotlb,
        F.SET_VRING_ENDIAN: _vring_value("endian"),
        F.SET_CONFIG: _config,
        F.CLOSE_CRYPTO_SESSION: _close_crypto,
        F.POSTCOPY_ADVISE: _postcopy(Postcopy.ADVISED),
        F.POSTCOPY_LISTEN: _postcopy(Postcopy.LISTENING),
        F.POSTCOPY_END: _postcopy(Postcopy.ENDED),
        F.SET_INFLIGHT_FD: _inflight,
        F.GPU_SET_SOCKET: _descriptor("gpu_socket"),
        F.RESET_DEVICE: _reset_device,
        F.VRING_KICK: _vring_kick,
        F.ADD_MEM_REG: _add_mem_reg,
        F.REM_MEM_REG: _rem_mem_reg,
        F.SET_STATUS: _u64("status"),
        F.SET_DEVICE_STATE_FD: _set_device_state,
    },
    Channels.BACKEND: {
        B.BACKEND_VRING_HOST_NOTIFIER_MSG: _host_notifier,
        B.BACKEND_SHMEM_MAP: _shmem_map,
        B.BACKEND_SHMEM_UNMAP: _shmem_unmap,
    },
    Channels.GPU: {},
}

REPLY_HANDLERS: dict[Channel, dict[int, Handler]] = {
    Channels.MAIN: {
        F.GET_FEATURES: _u64("features_offered"),
        F.SET_MEM_TABLE: _mem_table_reply,
        **dict.fromkeys(STOPS_RING, _vring_value("base")),
        F.GET_PROTOCOL_FEATURES: _u64("protocol_features_offered"),
        F.GET_QUEUE_NUM: _u64("queue_num"),
        F.GET_CONFIG: _config,
        F.CREATE_CRYPTO_SESSION: _create_crypto,
        F.GET_INFLIGHT_FD: _inflight,
        F.GET_MAX_MEM_SLOTS: _u64("max_mem_slots"),
        F.ADD_MEM_REG: _add_mem_reg_reply,
        F.GET_STATUS: _u64("status"),
        F.SET_DEVICE_STATE_FD: _device_state_reply,
    },
    Channels.BACKEND: {},
    Channels.GPU: {},
}

_REQUESTS = {channel: REQUEST_HANDLERS.get(channel, {}) for channel in CHANNELS}
_REPLIES = {channel: REPLY_HANDLERS.get(channel, {}) for channel in CHANNELS}


def advance(state: DeviceState, message: Message) -> DeviceState:
    """The state after a message; the same object when the message changes nothing."""
    request, payload = message.request, message.payload
    if request is None or payload is None or message.malformed is not None:
        return state
    if message.flags & FLAG_REPLY:
        if message.sender is message.channel.requester:
            return state  # who asks answers nothing: the flag is wrong
        if "success" in payload:
            return _refused(_not_enabled(state, message), message, payload["u64"]) if payload["u64"] else state
        handler = _REPLIES[message.channel].get(request)
    else:
        handler = _REQUESTS[message.channel].get(request)
    return handler(state, message, payload) if handler else state
