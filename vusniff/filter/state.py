"""Fields of the device as it is before a message: its features, memory and rings, and the phase of its session.

Where they come from is the `Surroundings`' matter: a capture follows each session's state up to the message that is
asked, which costs about as much as judging it does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from vusniff.families.phase import PhaseKind
from vusniff.families.vhost_user.protocol import Channels, FrontendRequest
from vusniff.families.vhost_user.state import DeviceState, RingState, Vring, ring_state, running
from vusniff.filter.field import Field, MessageLike, Origin, Surroundings, ValueKind
from vusniff.layouts import dissect
from vusniff.message import Context, enum_of
from vusniff.names import bit_names
from vusniff.values import replace

PHASE = "state.phase"


class _Word(NamedTuple):
    """A word of bits in the state."""

    name: str
    of: str
    """The field of payloads that has the same bits."""
    request: FrontendRequest
    """The message that sets them."""
    about: str
    value: Callable[[DeviceState], int | None]


def _features(state: DeviceState) -> int | None:
    if state.features is None:
        return None
    offered = state.features_offered
    return state.features.value & (offered.value if offered is not None else -1)


def _protocol_features(state: DeviceState) -> int | None:
    if state.protocol_features is None:
        return None
    offered = state.protocol_features_offered
    return state.protocol_features.value & (offered.value if offered is not None else -1)


def _status(state: DeviceState) -> int | None:
    return None if state.status is None else state.status.value


_WORDS = (
    _Word(
        "state.features",
        "vhost.features",
        FrontendRequest.SET_FEATURES,
        "features that are negotiated: acknowledged, and offered as far as that was seen",
        _features,
    ),
    _Word(
        "state.protocol_features",
        "vhost.protocol_features",
        FrontendRequest.SET_PROTOCOL_FEATURES,
        "protocol features that are negotiated",
        _protocol_features,
    ),
    _Word("state.status", "vhost.status", FrontendRequest.SET_STATUS, "device status", _status),
)


def fields(payload: dict[str, Field]) -> dict[str, Field]:
    """All of them by name; ``payload`` are the fields of payloads, whose names of bits these share."""
    made = [*_plain(payload["vring.index"]), *(_word(one, payload[one.of]) for one in _WORDS)]
    return {one.name: one for one in made}


def _device(around: Surroundings, number: int) -> tuple[DeviceState | None, Context]:
    found = around.device(number)
    if found is None or not isinstance(found[0], DeviceState):
        return None, Context()  # of another family, or unknown
    return found


def _of(read: Callable[[DeviceState], Any], nothing: Any = None) -> Any:
    def value(message: MessageLike, around: Surroundings) -> Any:
        state, _ = _device(around, message.number)
        return nothing if state is None else read(state)

    return value


def _word(word: _Word, like: Field) -> Field:
    def names(message: MessageLike, around: Surroundings) -> list[str] | None:
        state, context = _device(around, message.number)
        value = None if state is None else word.value(state)
        layout = dissect.layout_of(Channels.MAIN, word.request, False, 8, context)
        if value is None or layout is None or "u64" not in layout.names:
            return None
        return bit_names(enum_of(layout.names["u64"], context), value)  # type: ignore[arg-type]

    return replace(
        like,
        name=word.name,
        origin=Origin.STATE,
        about=word.about,
        read=_of(word.value),
        bit_names=names,
        keys=frozenset(),
        paths={},
    )


def _plain(index: Field) -> Iterator[Field]:
    number, text, boolean, origin = ValueKind.NUMBER, ValueKind.TEXT, ValueKind.BOOLEAN, Origin.STATE

    def own(message: MessageLike, around: Surroundings) -> Vring | None:
        """The ring that a message is about."""
        which = index.read(message, around)
        state, _ = _device(around, message.number)
        return None if which is None or state is None else state.vrings.get(which)

    def own_state(message: MessageLike, around: Surroundings) -> str | None:
        ring = own(message, around)
        known = None if ring is None else ring_state(ring)
        return None if known is None else str(known)

    def own_enabled(message: MessageLike, around: Surroundings) -> bool | None:
        ring = own(message, around)
        return None if ring is None or ring.enabled is None else ring.enabled.value

    about = "phase of the session that the message belongs to"
    words = tuple(str(kind) for kind in PhaseKind)
    yield Field(PHASE, text, origin, about, lambda m, w: w.phase(m.number), words=words)
    yield Field("state.regions", number, origin, "memory regions", _of(_regions))
    about = "indexes of the rings that are armed or started"
    yield Field("state.running", number, origin, about, _of(_running, ()), several=True)
    about = "indexes of the rings that are enabled"
    yield Field("state.enabled", number, origin, about, _of(_enabled, ()), several=True)
    about = "the ring that the message is about"
    yield Field("state.vring", text, origin, about, own_state, words=tuple(map(str, RingState)))
    about = "whether the ring that the message is about is enabled"
    yield Field("state.vring_enabled", boolean, origin, about, own_enabled)


def _regions(state: DeviceState) -> int | None:
    if state.regions is None:
        return 0 if state.fresh else None
    return len(state.regions)


def _running(state: DeviceState) -> list[int]:
    return [index for index, ring in state.vrings.items() if running(ring)]


def _enabled(state: DeviceState) -> list[int]:
    return [index for index, ring in state.vrings.items() if ring.enabled is not None and ring.enabled.value]
