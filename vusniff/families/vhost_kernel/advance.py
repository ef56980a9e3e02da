"""What a call does to the device: ``advance(state, message)`` over one table, pure and total.

A call that means what a request of vhost-user means is given to vhost-user's own state machine (`as_user`); the
table has the others. Source: drivers/vhost/{vhost,net,vsock,scsi,vdpa}.c and drivers/vdpa/vdpa_user/vduse_dev.c of
Linux 6.18.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from vusniff.channel import Sender
from vusniff.families.vhost_kernel.protocol import (
    CAME_BACK,
    GIVES,
    KERNEL_NAME,
    RETURNED,
    RINGS_OF_A_FILE,
    USER,
    Control,
    Ioctl,
)
from vusniff.families.vhost_kernel.state import MAX_FILES, MAX_MADE, KernelState
from vusniff.families.vhost_user.advance import advance as advance_user
from vusniff.families.vhost_user.protocol import FLAG_REPLY, VERSION, Channels, FrontendRequest
from vusniff.families.vhost_user.state import (
    MAX_REFUSED,
    MAX_VRINGS,
    Addresses,
    Refusal,
    RingState,
    Seen,
    Vring,
    evolve,
    evolved,
    vring,
)
from vusniff.message import Message
from vusniff.record import Descriptor

Handler = Callable[[KernelState, Message, Mapping[str, Any]], KernelState]

_F = FrontendRequest
_TAKES_DESCRIPTOR = frozenset({_F.SET_VRING_KICK, _F.SET_VRING_CALL, _F.SET_VRING_ERR})
_new, _set = object.__new__, object.__setattr__


def ring_of(state: KernelState, message: Message, index: int) -> int:
    """The ring of the device that a call means: each further /dev/vhost-net has the next two."""
    if message.channel.family != KERNEL_NAME or message.more.get("fd") not in state.files[1:]:
        return index
    return index + RINGS_OF_A_FILE * state.files.index(message.more["fd"])


def as_user(state: KernelState, message: Message) -> Iterator[Message]:
    """The message of vhost-user, or request and reply, that say what a call says; nothing where there is none."""
    request = message.request
    user = None if request is None else USER.get(request)
    if user is None or message.failed:
        return
    payload = dict(message.payload or {})
    if user in _TAKES_DESCRIPTOR:
        payload["no_fd"] = payload.pop("fd", -1) < 0
    if "index" in payload:
        payload["index"] = ring_of(state, message, payload["index"])
    if user is _F.SET_MEM_TABLE:
        payload["regions"] = [{**region, "mmap_offset": 0} for region in payload.get("regions") or []]
    if user not in GIVES:
        yield _said(message, user, VERSION, payload)
        return
    asked: dict[str, Any] = {name: payload[name] for name in ("index", "offset", "size") if name in payload}
    yield _said(message, user, VERSION, {"num": 0, **asked} if user is _F.GET_VRING_BASE else asked)
    if message.flags & CAME_BACK:
        yield _said(message, user, VERSION | FLAG_REPLY, payload)


def _said(message: Message, request: FrontendRequest, flags: int, payload: dict[str, Any]) -> Message:
    """A message of vhost-user with what a call says."""
    values = {
        **message.__dict__,
        "channel": Channels.MAIN,
        "request": int(request),
        "name": request.name,
        "flags": flags,
        "sender": Sender.BACKEND if flags & FLAG_REPLY else message.sender,
        "payload": payload,
    }
    made = _new(Message)
    _set(made, "__dict__", values)
    return made


def _with(state: KernelState, index: int, **changes: Any) -> KernelState:
    rings = state.vrings
    if index not in rings and len(rings) >= MAX_VRINGS:
        return state
    return evolved(state, {"vrings": rings.with_ring(evolved(vring(state, index), changes))})


def _all_rings(state: KernelState, change: Callable[[Vring], dict[str, Any]]) -> KernelState:
    rings = state.vrings
    for ring in list(rings.values()):
        rings = rings.with_ring(evolved(ring, change(ring)))
    return evolved(state, {"vrings": rings})


def _first(message: Message) -> Descriptor | None:
    return message.descriptors[0] if message.descriptors else None


def _seen(name: str, field: str = "u64") -> Handler:
    def handler(state: KernelState, message: Message, payload: Mapping[str, Any]) -> KernelState:
        return evolved(state, {name: Seen(payload[field], message.number)})

    return handler


def _get_base(state: KernelState, message: Message, payload: Mapping[str, Any]) -> KernelState:
    """The kernel keeps the ring's descriptors, and tells where it stands; it stops the ring in NET_SET_BACKEND."""
    if not message.flags & CAME_BACK:
        return state
    index = ring_of(state, message, payload["index"])
    return _with(state, index, base=Seen(payload["num"], message.number))


def _kick(state: KernelState, message: Message, payload: Mapping[str, Any]) -> KernelState:
    index = ring_of(state, message, payload["index"])
    passed = None if payload["fd"] < 0 else _first(message) or Descriptor()
    changes: dict[str, Any] = {"kick": Seen(passed, message.number)}
    if passed is not None and not _runs(state, index):
        changes["life"] = Seen(RingState.KICK_SET, message.number)
    return _with(state, index, **changes)


def _runs(state: KernelState, index: int) -> bool:
    ring = state.vrings.get(index)
    return ring is not None and ring.life is not None and ring.life.value is RingState.STARTED


def _set_owner(state: KernelState, message: Message, payload: Mapping[str, Any]) -> KernelState:
    owned = Seen(True, message.number)
    return evolved(state, {"owned": owned, "owners": _noted(state.owners, message.more.get("fd", 0), owned)})


def _reset_owner(state: KernelState, message: Message, payload: Mapping[str, Any]) -> KernelState:
    owned = Seen(False, message.number)
    state = _stop(state, message)
    return evolved(state, {"owned": owned, "owners": _noted(state.owners, message.more.get("fd", 0), owned)})


def _noted(known: Mapping[int, Seen[bool]], key: int, value: Seen[bool]) -> Mapping[int, Seen[bool]]:
    return {**known, key: value} if key in known or len(known) < MAX_FILES else known


def _net_backend(state: KernelState, message: Message, payload: Mapping[str, Any]) -> KernelState:
    index, number = ring_of(state, message, payload["index"]), message.number
    bound = None if payload["fd"] < 0 else _first(message) or Descriptor(number=payload["fd"])
    life = RingState.STOPPED if bound is None else RingState.STARTED
    state = _with(state, index, life=Seen(life, number))
    if index not in state.backends and len(state.backends) >= MAX_VRINGS:
        return state
    return evolved(state, {"backends": {**state.backends, index: Seen(bound, number)}})


def _start(state: KernelState, message: Message) -> KernelState:
    started = Seen(RingState.STARTED, message.number)
    return _all_rings(state, lambda ring: {"life": started} if ring.addresses else {})


def _stop(state: KernelState, message: Message) -> KernelState:
    stopped = Seen(RingState.STOPPED, message.number)
    return _all_rings(state, lambda ring: {"life": stopped})


def _running(state: KernelState, message: Message, payload: Mapping[str, Any]) -> KernelState:
    runs = bool(payload["u32"])
    state = _start(state, message) if runs else _stop(state, message)
    return evolved(state, {"running": Seen(runs, message.number)})


def _endpoint(runs: bool) -> Handler:
    def handler(state: KernelState, message: Message, payload: Mapping[str, Any]) -> KernelState:
        state = _start(state, message) if runs else _stop(state, message)
        return evolved(state, {"running": Seen(runs, message.number)})

    return handler


def _status(state: KernelState, message: Message, payload: Mapping[str, Any]) -> KernelState:
    """Of vDPA and VDUSE: DRIVER_OK starts what is set up, 0 resets the device (vhost_vdpa_set_status)."""
    value, driven = payload["u64"], state.driven
    state = evolved(state, {"status": Seen(value, message.number)})
    if state.driven and not driven:
        return _start(state, message)
    return state if value else _reset(state, message)


def _reset(state: KernelState, message: Message) -> KernelState:
    """Every ring that was set up is stopped and disabled, whatever was seen of the status before."""
    off, stopped = Seen(False, message.number), Seen(RingState.STOPPED, message.number)

    def change(ring: Vring) -> dict[str, Any]:
        enabled = ring.enabled is not None and ring.enabled.value
        life = {"life": stopped} if enabled or ring.life is not None else {}
        return {"enabled": off, **life} if enabled else life

    return _all_rings(state, change)


def _got_status(state: KernelState, message: Message, payload: Mapping[str, Any]) -> KernelState:
    """It changes nothing; of a session joined late it tells that the device runs."""
    driven = state.driven
    state = evolved(state, {"status": Seen(payload["u64"], message.number)})
    return _start(state, message) if state.driven and not driven else state


def _vdpa_features(state: KernelState, message: Message, payload: Mapping[str, Any]) -> KernelState:
    """Unlike vhost-user's request it enables no ring: VDPA_SET_VRING_ENABLE does."""
    return evolved(state, {"features": Seen(payload["u64"], message.number)})


def _suspend(state: KernelState, message: Message, payload: Mapping[str, Any]) -> KernelState:
    return _stop(state, message)


def _resume(state: KernelState, message: Message, payload: Mapping[str, Any]) -> KernelState:
    return _start(state, message)


# -- the back-end's side of VDUSE --------------------------------------------------------------------------------------


def _version(state: KernelState, message: Message, payload: Mapping[str, Any]) -> KernelState:
    return state if state.made is not None else evolved(state, {"made": {}})


def _create(state: KernelState, message: Message, payload: Mapping[str, Any]) -> KernelState:
    number = message.number
    state = _made(state, message, payload, True)
    return evolved(
        state,
        {"features_offered": Seen(payload["features"], number), "queue_num": Seen(payload["vq_num"], number)},
    )


def _destroy(state: KernelState, message: Message, payload: Mapping[str, Any]) -> KernelState:
    return _made(state, message, payload, False)


def _made(state: KernelState, message: Message, payload: Mapping[str, Any], there: bool) -> KernelState:
    known, name = state.made or {}, payload["name"]
    if name not in known and len(known) >= MAX_MADE:
        return state
    return evolved(state, {"made": {**known, name: Seen(there, message.number)}})


def _vq_setup(state: KernelState, message: Message, payload: Mapping[str, Any]) -> KernelState:
    return _with(state, payload["index"])


def _vq_info(state: KernelState, message: Message, payload: Mapping[str, Any]) -> KernelState:
    if not message.flags & CAME_BACK:
        return state
    index, number, ready = payload["index"], message.number, bool(payload["ready"])
    if not payload["num"]:
        return _vq_setup(state, message, payload)  # the driver has not set it up
    addresses = Addresses(0, payload["descriptor"], payload["device"], payload["driver"], 0)
    changes: dict[str, Any] = {
        "num": Seen(payload["num"], number),
        "addresses": Seen(addresses, number),
        "enabled": Seen(ready, number),
    }
    if ready and state.driven and not _runs(state, index):
        changes["life"] = Seen(RingState.STARTED, number)
    return _with(state, index, **changes)


def _kickfd(state: KernelState, message: Message, payload: Mapping[str, Any]) -> KernelState:
    """Where the driver was seen, its descriptor is the ring's: the kernel passes a kick on to the back-end's."""
    return state if state.owned is not None else _kick(state, message, payload)


def _negotiated(state: KernelState, message: Message, payload: Mapping[str, Any]) -> KernelState:
    """They are 0 before the driver has acknowledged any."""
    if not payload["u64"] and state.features is None:
        return state
    return evolved(state, {"features": Seen(payload["u64"], message.number)})


_I = Ioctl
HANDLERS: Mapping[int, Handler] = {
    _I.SET_OWNER: _set_owner,
    _I.RESET_OWNER: _reset_owner,
    _I.GET_VRING_BASE: _get_base,
    _I.SET_VRING_KICK: _kick,
    _I.GET_BACKEND_FEATURES: _seen("backend_features_offered"),
    _I.SET_BACKEND_FEATURES: _seen("backend_features"),
    _I.NET_SET_BACKEND: _net_backend,
    _I.VSOCK_SET_GUEST_CID: _seen("guest_cid"),
    _I.VSOCK_SET_RUNNING: _running,
    _I.SCSI_SET_ENDPOINT: _endpoint(True),
    _I.SCSI_CLEAR_ENDPOINT: _endpoint(False),
    _I.VDPA_SET_STATUS: _status,
    _I.VDPA_GET_STATUS: _got_status,
    _I.VDPA_SUSPEND: _suspend,
    _I.VDPA_RESUME: _resume,
    _I.VDUSE_GET_API_VERSION: _version,
    _I.VDUSE_SET_API_VERSION: _version,
    _I.VDUSE_CREATE_DEV: _create,
    _I.VDUSE_DESTROY_DEV: _destroy,
    _I.VDUSE_DEV_GET_FEATURES: _negotiated,
    _I.VDUSE_VQ_SETUP: _vq_setup,
    _I.VDUSE_VQ_GET_INFO: _vq_info,
    _I.VDUSE_VQ_SETUP_KICKFD: _kickfd,
    Control.VDUSE_SET_STATUS: _status,
}
"""Calls that vhost-user has no request for, or a request with another meaning."""


def advance(state: KernelState, message: Message) -> KernelState:
    """The state after a call; the same object when it changes nothing."""
    request = message.request
    if request is None:
        return state
    fd = message.more.get("fd", 0)
    if fd not in state.files and len(state.files) < MAX_FILES:
        state = evolved(state, {"files": (*state.files, fd)})
    if message.failed:
        refusal = Refusal(message.number, message.name, message.more.get("error", 0), message.number)
        return evolve(state, refused=(*state.refused[1 - MAX_REFUSED :], refusal))
    payload = message.payload
    if payload is None or message.malformed is not None or not message.flags & RETURNED:
        return state
    handler = HANDLERS.get(request)
    try:
        if handler is not None:
            return handler(state, message, payload)
        if request == _I.SET_FEATURES and message.channel.family != KERNEL_NAME:
            return _vdpa_features(state, message, payload)
        for said in as_user(state, message):
            state = advance_user(state, said)  # type: ignore[assignment]
    except (KeyError, TypeError):  # a vendor's layout of this call, or one that is empty
        return state
    return state
