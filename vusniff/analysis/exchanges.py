"""What two sessions have in common: requests with their answers, without what is different in every run.

Addresses become places in memory regions, descriptors what they were first passed for, positions in rings whether they
go on where the ring stopped; user addresses, pointers, keys, padding and times are left out. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vusniff import amounts
from vusniff.analysis.driver import steps_of
from vusniff.channel import Channel
from vusniff.families.family import Family, State
from vusniff.families.phase import LASTING, Phase, PhaseKind
from vusniff.families.vhost_user.protocol import NAME, STOPS_RING, Channels, FrontendRequest
from vusniff.families.vhost_user.state import DeviceState, translate
from vusniff.message import Message
from vusniff.record import Descriptor, DescriptorKind
from vusniff.values import dataclass, field

LIMIT = 4096
"""Exchanges of one phase that are kept."""
STAGES = 64
"""Stages of a session that are kept."""

Words = str | tuple[str, ...]
"""What a field says; a tuple is a set of names."""
Values = dict[str, Words]

OF_ONE_RUN = frozenset(
    {
        *("user_address", "iova", "log", "unused", "pointer"),
        *("cipher_key_pointer", "auth_key_pointer", "key_pointer", "session_id"),
    }
)
"""Fields of any layout that differ from run to run of the same programs: `vusniff.replay` leaves them out too."""
PROCESS_ADDRESSES = 1 << 40
"""From here guest addresses are none that a guest has: 1 TiB."""
VOLATILE = OF_ONE_RUN | {"key", "auth_key", "fence_id", "data", "cursor", "edid"}
"""Fields that mean nothing beyond one run."""
FROM_THE_START = (0, 0x8000, 0x80008000)
"""Bases of a ring that was not used yet: split, and packed in two forms."""
RING_ADDRESSES = ("descriptor", "available", "used")


@dataclass(slots=True)
class Exchange:
    """A request and its answer, if there is one."""

    number: int
    """Of the request; of a reply to nothing, its own."""
    channel: Channel
    name: str
    target: str
    """What it is about, such as ``vring 0``; empty for requests of the whole device."""
    values: Values
    fds: tuple[str, ...]
    need_reply: bool
    expected: bool
    """It should be answered."""
    answer: Values | None = None
    answer_fds: tuple[str, ...] = ()
    latency_ns: int | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """What exchanges of two sessions are aligned by."""
        return self.channel, self.name, self.target


@dataclass(slots=True)
class Stage:
    """Something that is done (a phase that ends with its last message), or what lasts after it."""

    phase: Phase
    exchanges: list[Exchange] = field(default_factory=list)
    left_out: int = 0
    """Messages beyond `LIMIT`."""

    @property
    def kind(self) -> PhaseKind:
        """The kind of the phase."""
        return self.phase.kind

    @property
    def lasting(self) -> bool:
        """The stage lasts (`phase.LASTING`): the order of its exchanges has no meaning."""
        return self.phase.kind in LASTING


def stages(
    messages: Iterable[Message], phases: Sequence[Phase], state: State, family: Family, by_meaning: bool = False
) -> list[Stage]:
    """The exchanges of a session of a family by its phases; ``state`` is that before its first message.

    ``by_meaning``: what another family says as vhost-user does counts as vhost-user's, to compare the two.
    """
    made = [Stage(phase) for phase in phases if phase.count][:STAGES]
    folding = _Folding()
    asked: dict[int, Exchange] = {}
    at = 0
    for message, before, _ in steps_of(family, state, messages):
        while at + 1 < len(made) and message.number >= made[at + 1].phase.first:
            at += 1
        if at >= len(made) or message.number < made[at].phase.first:
            continue
        stage = made[at]
        said = list(family.as_user(before, message)) if by_meaning and family.as_user is not None else []
        if said and len(stage.exchanges) < LIMIT:
            stage.exchanges.append(folding.as_user(said, message, before))
            continue
        known = asked.pop(message.answers, None) if message.answers else None
        if known is not None:
            known.answer, known.answer_fds = folding.values(message, before), folding.fds(message)
            known.latency_ns = message.latency_ns
        elif len(stage.exchanges) >= LIMIT:
            stage.left_out += 1
        elif not (message.answers and message.reply):
            exchange = folding.exchange(message, before)
            stage.exchanges.append(exchange)
            asked[message.number] = exchange
            if len(asked) > 2 * LIMIT:
                del asked[next(iter(asked))]
    return made


class _Folding:
    """Remembers what was seen in a session, so that it can be named by its first appearance."""

    def __init__(self) -> None:
        self._roles: dict[str, str] = {}
        self._counted: dict[str, int] = {}
        self._bases: dict[Any, Any] = {}
        """Ring -> where GET_VRING_BASE said it stopped."""

    def exchange(self, message: Message, state: State) -> Exchange:
        """A request, or a reply to nothing."""
        spec = message.spec
        name = f"{message.name} reply" if message.reply else message.name
        return Exchange(
            message.number,
            message.channel,
            name,
            _target(message),
            self.values(message, state),
            self.fds(message),
            message.need_reply,
            not message.reply and (message.need_reply or bool(spec and spec.answered)),
        )

    def as_user(self, said: Sequence[Message], message: Message, state: State) -> Exchange:
        """A call as the request of vhost-user, and its reply, that say the same."""
        exchange = self.exchange(said[0], state)
        exchange.need_reply = exchange.expected = False
        if len(said) > 1:
            exchange.answer, exchange.latency_ns = self.values(said[1], state), message.more.get("duration_ns")
            exchange.expected = True
        return exchange

    def fds(self, message: Message) -> tuple[str, ...]:
        """The descriptors of a message, each by what it was first passed for."""
        role = " ".join(filter(None, (message.name, _target(message))))
        return tuple(self._descriptor(descriptor, role) for descriptor in message.descriptors)

    def _descriptor(self, descriptor: Descriptor, role: str) -> str:
        size = f" {amounts.size(descriptor.size)}" if descriptor.size else ""
        what = f"{descriptor.kind}{size if descriptor.kind is not DescriptorKind.EVENTFD else ''}"
        if descriptor.identity is None:
            return what
        return f"{what} of {self._first(descriptor.identity, role)}"

    def _first(self, identity: str, role: str) -> str:
        known = self._roles.get(identity)
        if known is None:
            count = self._counted[role] = self._counted.get(role, 0) + 1
            known = role if count == 1 else f"{role} ({count}.)"
            if len(self._roles) < LIMIT:
                self._roles[identity] = known
        return known

    def values(self, message: Message, state: State) -> Values:
        """What a message says."""
        payload = message.payload
        if payload is None:
            return {"bytes": f"{message.size} bytes that could not be decoded"}
        found: Values = {"malformed": message.malformed} if message.malformed else {}
        if message.failed:
            found["error"] = str(message.more.get("error", 0))
        match message.request if message.channel is Channels.MAIN else None:
            case FrontendRequest.SET_VRING_ADDR:
                found |= {name: _place(state, payload[name]) for name in RING_ADDRESSES if name in payload}
                found |= _plain({name: value for name, value in payload.items() if name.startswith("flags")})
            case (
                FrontendRequest.SET_VRING_BASE
                | FrontendRequest.GET_VRING_BASE
                | FrontendRequest.GET_VRING_BASE_SKIP_DRAIN
            ):
                found |= self._base(message, payload)
            case FrontendRequest.GET_CONFIG if not message.reply:
                found |= _plain({name: payload[name] for name in ("offset", "size") if name in payload})
            case FrontendRequest.SET_VRING_KICK | FrontendRequest.SET_VRING_CALL | FrontendRequest.SET_VRING_ERR:
                if payload.get("no_fd"):
                    found["no_fd"] = "yes"
            case _:
                found |= _plain(payload)
                if "uuid" in found:
                    found["uuid"] = self._first(str(payload["uuid"]), "object")
        if message.trailing:
            found["left over"] = f"{len(message.trailing)} bytes"
        return found

    def _base(self, message: Message, payload: Mapping[str, Any]) -> Values:
        ring, base = payload.get("index"), payload.get("num")
        if message.request in STOPS_RING:
            if message.reply and len(self._bases) < LIMIT:
                self._bases[ring] = base
            return {}
        if not isinstance(base, int):
            return {}
        if base in FROM_THE_START or ring not in self._bases:
            return {"base": f"{base:#x}"}
        return {"base": "where it stopped" if self._bases[ring] == base else "elsewhere than where it stopped"}


def of_a_process(guest_address: object, user_address: object) -> bool:
    """The guest address of a region is that of its front-end's process, which has no guest, so that it is another one
    in each run: libblkio and SPDK's initiator give both addresses the same value."""
    return isinstance(guest_address, int) and guest_address >= PROCESS_ADDRESSES and guest_address == user_address


def _target(message: Message) -> str:
    payload = message.payload or {}
    start, size = payload.get("guest_address"), payload.get("size")
    if isinstance(start, int) and isinstance(size, int):
        place = "" if of_a_process(start, payload.get("user_address")) else f"{start:#x}"
        return f"{place}+{amounts.size(size)}"
    if "index" in payload:
        return f"{'vring' if message.channel.family == NAME else 'index'} {payload['index']}"
    if "region" in payload and "offset" in payload:
        return f"region {payload['region']} + {payload['offset']:#x}"
    if "type_name" in payload and "iova" in payload:
        return str(payload["type_name"] or payload.get("type"))
    return ""


def _place(state: DeviceState, address: int) -> str:
    place = translate(state, address)
    return f"region {place.region} + {place.offset:#x}" if place else "in no region"


def _plain(payload: Mapping[str, Any]) -> Values:
    """The fields that mean something beyond one run."""
    found: Values = {}
    for name, value in payload.items():
        if name in VOLATILE or "padding" in name or name in ("index", "success"):
            continue
        if name == "guest_address" and of_a_process(value, payload.get("user_address")):
            continue
        if name.endswith(("_name", "_names")) and name.rpartition("_")[0] in payload:
            continue
        if name == "payload" and "config" in payload:
            continue
        if name == "num_regions" and "regions" in payload:
            continue
        found[name] = _words(name, value, payload)
    return found


def _words(name: str, value: Any, payload: Mapping[str, Any]) -> Words:
    if isinstance(payload.get(f"{name}_names"), list):
        return tuple(payload[f"{name}_names"])
    if payload.get(f"{name}_name"):
        return str(payload[f"{name}_name"])
    if isinstance(value, Mapping):
        return tuple(f"{field} {_shown(inner)}" for field, inner in _plain(value).items())
    if isinstance(value, list):
        return tuple(_shown(_words(name, one, {}) if isinstance(one, Mapping) else str(one)) for one in value[:LIMIT])
    if isinstance(value, int) and not isinstance(value, bool) and value > 0xFFFF:
        return f"{value:#x}"
    return str(value)


def _shown(words: Words) -> str:
    return words if isinstance(words, str) else " ".join(words)
