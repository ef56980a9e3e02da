"""How a session's memory goes on: requests and replies before the rules are asked, everything else after them.

The only place that changes `SessionHistory` and `ConnectionHistory`. `vusniff.families.pairing` says which reply
answers which request; here the requests themselves are kept for the rules.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable
from itertools import islice
from typing import Any, TypeVar

from vusniff.channel import Channel
from vusniff.checks.peers import asks_for_all, told_apart
from vusniff.checks.step import (
    MAX_BYTES,
    MAX_REMEMBERED,
    Asked,
    PreviousSession,
    SessionHistory,
    Step,
    Waiting,
)
from vusniff.families.pairing import MAX_CODES, MAX_WAITING, Pairing
from vusniff.families.vhost_user.protocol import (
    FLAG_NEED_REPLY,
    HEADER_SIZE,
    STOPS_RING,
    BackendRequest,
    Channels,
    FrontendRequest,
    GpuRequest,
)
from vusniff.families.vhost_user.state import DeviceState, Postcopy, Seen, Vring, running
from vusniff.message import Message
from vusniff.record import Descriptor
from vusniff.values import replace

VRING_F_LOG = 1

_tuple = tuple.__new__
# Plain numbers: every message is compared with some (bench_check.py).
UNASKED, DUE, FITS = int(Pairing.UNASKED), int(Pairing.DUE), int(Pairing.FITS)
NOT_ASKED, AGAIN, WRONG = int(Pairing.NOT_ASKED), int(Pairing.AGAIN), int(Pairing.WRONG)
F, B, G = FrontendRequest, BackendRequest, GpuRequest


def listening(state: DeviceState) -> bool:
    """POSTCOPY_LISTEN was sent and POSTCOPY_END was not."""
    return state.postcopy is not None and state.postcopy.value is Postcopy.LISTENING


def suspended(state: DeviceState) -> bool:
    """Rings ran, and all are stopped now, with the back-end's answers to prove it ("Suspended device state").

    Before the first ring is started the device is suspended too by the letter; that is not what back-ends go by
    (they announce configuration changes, objects and mappings then), so it does not count here.
    """
    return state.vrings.suspended


def lasting(message: Message) -> Message:
    """A message as it is remembered: a large one without what makes it large, so that no payload is kept."""
    if len(message.data) <= MAX_BYTES and len(message.descriptors) <= 1:
        return message
    facts = replace(message.facts, descriptors=message.descriptors[:1])
    if len(message.data) <= MAX_BYTES:
        return replace(message, facts=facts)
    return replace(message, data=message.data[:HEADER_SIZE], payload=None, trailing=b"", facts=facts)


def recall_request(step: Step, kept: Message) -> None:
    """Let a request wait for the reply that it may have. ``kept`` is it as it is remembered (`lasting`)."""
    link, pairing, code = step.link, step.pairing, kept.request
    if pairing > UNASKED:
        waiting = link.waiting
        if pairing == DUE and waiting and waiting[-1].must:
            step.skipped = (waiting[-1].message,)
        # As Waiting(...), without its Python code: nearly every request comes by.
        waiting.append(_tuple(Waiting, (kept, pairing == DUE, step.before)))
        if len(waiting) > MAX_WAITING:
            del waiting[0]
    if code is not None and (code in link.asked or len(link.asked) < MAX_CODES):
        link.asked[code] = kept


def recall_reply(step: Step) -> None:
    """Find the request that a reply is paired with."""
    message, link, pairing = step.message, step.link, step.pairing
    code = message.request
    if code is None or pairing == WRONG:
        return
    if pairing >= NOT_ASKED:
        step.request = link.asked.get(code)
    else:
        waiting = link.waiting
        if pairing == FITS and waiting and waiting[0].message.number == message.answers:
            step.request = waiting.pop(0).message
        else:
            step.request = _answered(waiting, message.answers or 0, step)
    if step.request is not None and pairing != AGAIN:
        link.asked[code], link.answered[code] = step.request, message.number


def _answered(waiting: list[Waiting], number: int, step: Step) -> Message | None:
    """Takes the request with a number out of those that wait; None where none has it."""
    if step.pairing == FITS:
        # What stood before it need not be answered, and replies come in order: it gets none.
        for position, entry in enumerate(waiting):
            if entry.message.number == number:
                del waiting[: position + 1]
                return entry.message
        waiting.clear()
        return None
    for position, entry in enumerate(waiting):
        if entry.message.number == number:
            step.skipped = tuple(one.message for one in islice(waiting, position) if one.must)
            del waiting[position]
            return entry.message
    return None


_T = TypeVar("_T")
"""What is remembered of a message."""


def _kept(known: dict[Any, _T], key: Any, by: _T) -> dict[Any, _T]:
    if key not in known and len(known) >= MAX_REMEMBERED:
        return known
    return {**known, key: by}


Handler = Callable[[SessionHistory, Message, Step], None]


def handler_of(channel: Channel, request: int, reply: bool) -> Handler | None:
    """What remembers a request or reply, if anything does."""
    return _HANDLERS.get((channel, request, reply))


def _status(memory: SessionHistory, message: Message, step: Step) -> None:
    memory.status_written = Seen(step.values["u64"], message.number)


def _reset(memory: SessionHistory, message: Message, step: Step) -> None:
    memory.status_written = Seen(0, message.number)


def _table(memory: SessionHistory, message: Message, step: Step) -> None:
    memory.table_reply = 0
    if step.before.regions and step.before.vrings.running is not None and not listening(step.before):
        memory.replaced = message.number


def _table_reply(memory: SessionHistory, message: Message, step: Step) -> None:
    if listening(step.before) and message.layout != "ack":
        memory.table_reply = message.number


def _listen(memory: SessionHistory, message: Message, step: Step) -> None:
    memory.table_reply = 0


def _device_state(memory: SessionHistory, message: Message, step: Step) -> None:
    memory.device_state = message.number


def _shmem_config(memory: SessionHistory, message: Message, step: Step) -> None:
    memory.shmem = Seen(tuple(step.values.get("mem_size") or ()), message.number)


def _miss(memory: SessionHistory, message: Message, step: Step) -> None:
    if step.values["type"] == 1 and step.values["iova"] not in memory.misses:
        memory.misses = _kept(memory.misses, step.values["iova"], Asked(message.number, message.time_ns))


def _iotlb(memory: SessionHistory, message: Message, step: Step) -> None:
    if memory.misses and step.values["type"] == 2:
        start, end = step.values["iova"], step.values["iova"] + step.values["size"]
        memory.misses = {iova: by for iova, by in memory.misses.items() if not start <= iova < end}


def _object_add(memory: SessionHistory, message: Message, step: Step) -> None:
    memory.objects = _kept(memory.objects, step.values["uuid"], message.number)


def _object_remove(memory: SessionHistory, message: Message, step: Step) -> None:
    memory.objects = {uuid: number for uuid, number in memory.objects.items() if uuid != step.values["uuid"]}


def _offered(memory: SessionHistory, message: Message, step: Step) -> None:
    memory.backend = told_apart(memory.backend, step.values["u64"])


def _asked_features(memory: SessionHistory, message: Message, step: Step) -> None:
    if message.flags & FLAG_NEED_REPLY:
        memory.frontend = asks_for_all(memory.frontend)


def _gpu_features(memory: SessionHistory, message: Message, step: Step) -> None:
    memory.gpu_features = Seen(step.values["u64"], message.number)


def _stop(memory: SessionHistory, message: Message, step: Step) -> None:
    memory.last_stop = message.number
    index = step.values["index"]
    _notify(memory, (index, True), None, message.number)
    _notify(memory, (index, False), None, message.number)


def _stopped(memory: SessionHistory, message: Message, step: Step) -> None:
    ring = step.before.vrings.get(step.values["index"])
    if ring is None or ring.base is None:
        return
    if ring.base.value == step.values["num"]:
        memory.unused += 1
    else:
        memory.used += 1


def _inband_kick(memory: SessionHistory, message: Message, step: Step) -> None:
    memory.kicked = True


def _kick(memory: SessionHistory, message: Message, step: Step) -> None:
    memory.kicked = True
    index = step.values["index"]
    ring = step.after.vrings.get(index)
    if ring is not None:  # else there are too many
        _notify(memory, (index, True), ring.kick.value if ring.kick else None, message.number)


def _call(memory: SessionHistory, message: Message, step: Step) -> None:
    index = step.values["index"]
    ring = step.after.vrings.get(index)
    if ring is not None:
        _notify(memory, (index, False), ring.call.value if ring.call else None, message.number)


def _notify(memory: SessionHistory, place: tuple[int, bool], descriptor: Descriptor | None, number: int) -> None:
    """A ring has another kick or call descriptor, or none."""
    identity = descriptor.identity if descriptor is not None else None
    known = memory.notified
    was = memory.notifiers.get(place)
    if was == identity:
        if was is not None:  # it is the latest now
            del known[was][place]
            known[was][place] = number
        return
    if was is not None:
        del memory.notifiers[place]
        del known[was][place]
        if not known[was]:
            del known[was]
    if identity is not None:
        memory.notifiers[place] = identity
        known.setdefault(identity, {})[place] = number


def _area(memory: SessionHistory, message: Message, step: Step) -> None:
    """A ring has another place or size: rules that ask of all rings need not look at each of them then."""
    index = step.values["index"]
    old, new = memory.rings.get(index), step.after.vrings.get(index)
    if new is None or (old is None and new.addresses is None):
        return
    memory.rings[index] = new
    for address in _addresses(old):
        del memory.areas[bisect_left(memory.areas, address)]
    for address in _addresses(new):
        insort(memory.areas, address)
    if (end := logged_end(old)) is not None:
        del memory.logged[bisect_left(memory.logged, (end, index))]
    if (end := logged_end(new)) is not None:
        insort(memory.logged, (end, index))


def _addresses(ring: Vring | None) -> tuple[int, ...]:
    places = ring.addresses.value if ring is not None and ring.addresses is not None else None
    return () if places is None else (places.descriptor, places.used, places.available)


def logged_end(ring: Vring | None) -> int | None:
    """Where the used ring ends of which writes are to be logged; None of a ring that is not logged."""
    if ring is None or ring.addresses is None or ring.num is None or not ring.addresses.value.flags & VRING_F_LOG:
        return None
    return ring.addresses.value.log + 4 + 8 * ring.num.value


_HANDLERS: dict[tuple[Channel, int, bool], Handler] = {
    (Channels.MAIN, F.SET_STATUS, False): _status,
    (Channels.MAIN, F.SET_VRING_NUM, False): _area,
    (Channels.MAIN, F.SET_VRING_ADDR, False): _area,
    (Channels.MAIN, F.SET_VRING_KICK, False): _kick,
    (Channels.MAIN, F.VRING_KICK, False): _inband_kick,
    (Channels.MAIN, F.SET_VRING_CALL, False): _call,
    **{(Channels.MAIN, request, False): _stop for request in STOPS_RING},
    **{(Channels.MAIN, request, True): _stopped for request in STOPS_RING},
    (Channels.MAIN, F.RESET_DEVICE, False): _reset,
    (Channels.MAIN, F.SET_MEM_TABLE, False): _table,
    (Channels.MAIN, F.SET_MEM_TABLE, True): _table_reply,
    (Channels.MAIN, F.POSTCOPY_LISTEN, False): _listen,
    (Channels.MAIN, F.SET_DEVICE_STATE_FD, False): _device_state,
    (Channels.MAIN, F.GET_SHMEM_CONFIG, True): _shmem_config,
    (Channels.MAIN, F.IOTLB_MSG, False): _iotlb,
    (Channels.BACKEND, B.BACKEND_IOTLB_MSG, False): _miss,
    (Channels.BACKEND, B.BACKEND_SHARED_OBJECT_ADD, False): _object_add,
    (Channels.BACKEND, B.BACKEND_SHARED_OBJECT_REMOVE, False): _object_remove,
    (Channels.MAIN, F.GET_PROTOCOL_FEATURES, True): _offered,
    (Channels.MAIN, F.GET_FEATURES, False): _asked_features,
    (Channels.GPU, G.GPU_SET_PROTOCOL_FEATURES, False): _gpu_features,
}


def previous_session(memory: SessionHistory, state: DeviceState) -> PreviousSession:
    """What the next session on the same path is measured against."""
    if state.features is None and memory.previous is not None:
        return memory.previous  # it came to nothing: what was before it still counts
    rings = sorted(state.vrings.values(), key=lambda ring: ring.index)
    return PreviousSession(
        memory.session,
        state.features_offered,
        state.features,
        state.protocol_features_offered,
        tuple((ring.index, ring.life.by) for ring in rings if running(ring) and ring.life) if memory.complete else (),
        memory.objects,
    )


def same_object(one: Descriptor | None, other: Descriptor | None) -> bool:
    """Both are known and open the same thing."""
    return one is not None and other is not None and one.identity is not None and one.identity == other.identity
