"""What a live message says otherwise than the recorded one. Pure: two decoded messages in, named fields out.

Not compared is what another run of the same programs says otherwise: numbers and identities of descriptors, addresses
of mappings and rings, guest addresses where there is no guest, where a ring stands (no data goes through the rings of a
replay), where and how large a back-end made the inflight buffer, padding. Everything else is: which request is
answered, flags, features bit by bit, sizes, config space, acknowledgements, number and kind of descriptors.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from typing import Any

from vusniff.analysis.exchanges import OF_ONE_RUN, of_a_process
from vusniff.families.vhost_user.protocol import STOPS_RING, Channels, FrontendRequest
from vusniff.message import Message
from vusniff.record import DescriptorKind
from vusniff.values import dataclass

VARYING: Mapping[str, frozenset[str]] = {
    "memory_table": frozenset({"mmap_offset"}),
    "memory_region_single": frozenset({"mmap_offset"}),
    "vring_addr": frozenset({"descriptor", "used", "available"}),
    "vring_base": frozenset({"num", "available_index", "available_wrap", "used_index", "used_wrap"}),
    "inflight": frozenset({"mmap_size", "mmap_offset"}),
    "log": frozenset({"log_offset"}),
}
"""Layout -> fields, at any depth, that differ in a play, besides those of `OF_ONE_RUN`."""
DERIVED = frozenset({"success", "error", "data_size"})
"""Fields worked out from others that are compared."""
_MEMORY = frozenset({DescriptorKind.MEMFD, DescriptorKind.FILE})
FIELD_LIMIT = 64
"""Fields of one message that are told."""


class What(str, enum.Enum):
    """How the play differs from the recording."""

    CHANGED = "changed"
    MISSING = "missing"
    """Recorded, and not said now."""
    UNEXPECTED = "unexpected"
    """Said now, and not recorded."""

    __str__ = str.__str__


@dataclass(frozen=True, slots=True)
class FieldDifference:
    """One field; None where a side does not have it."""

    path: str
    """``u64``, ``regions[0].size``, ``flags``, ``descriptors``."""
    recorded: Any
    live: Any
    removed: tuple[str, ...] = ()
    """Names of bits that only the recording has."""
    added: tuple[str, ...] = ()
    """Names of bits that are new."""


@dataclass(frozen=True, slots=True)
class MessageDifference:
    """One message that is not as recorded."""

    what: What
    recorded: Message | None
    live: Message | None
    changes: tuple[FieldDifference, ...] = ()


def compare(recorded: Message, live: Message) -> tuple[FieldDifference, ...]:
    """The fields that differ."""
    changes: list[FieldDifference] = []
    if recorded.flags != live.flags:
        changes.append(FieldDifference("flags", hex(recorded.flags), hex(live.flags)))
    if _kinds(recorded) != _kinds(live):
        changes.append(FieldDifference("descriptors", _words(_kinds(recorded)), _words(_kinds(live))))
    before, now = dict(comparable(recorded)), dict(comparable(live))
    changes += (
        _change(path, before.get(path), now.get(path), recorded, live)
        for path in dict.fromkeys((*before, *now))
        if before.get(path) != now.get(path)
    )
    if any(change.path.startswith("config.") for change in changes):
        changes = [change for change in changes if change.path != "payload"]  # the same bytes, told by field
    return tuple(changes[:FIELD_LIMIT])


def _change(path: str, before: Any, now: Any, recorded: Message, live: Message) -> FieldDifference:
    had, has = (tuple((one.payload or {}).get(f"{path}_names") or ()) for one in (recorded, live))
    return FieldDifference(
        path,
        before,
        now,
        tuple(name for name in had if name not in has),
        tuple(name for name in has if name not in had),
    )


def signature(message: Message) -> tuple[Any, ...]:
    """Equal for two messages exactly if `compare` finds nothing."""
    return message.channel, message.request, message.flags, _kinds(message), tuple(comparable(message))


def comparable(message: Message) -> Iterator[tuple[str, Any]]:
    """Path and value of what is compared in a payload."""
    if message.payload is None or message.malformed is not None:
        yield "bytes", message.data.hex()
        return
    varying = VARYING.get(message.layout or "", frozenset())
    if message.channel is Channels.MAIN and message.request in STOPS_RING:
        varying = varying | {"num"}  # virtio-user sends what was in its memory
    if message.channel is Channels.MAIN and message.request == FrontendRequest.SET_LOG_BASE and message.reply:
        return  # its body is not specified, and every back-end sends another
    yield from _flat(message.payload, "", varying | DERIVED | OF_ONE_RUN)
    if message.trailing:
        yield "trailing", message.trailing.hex()


def _flat(values: Mapping[str, Any], prefix: str, leaves_out: frozenset[str]) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        named = (name.endswith("_names") and name[:-6] in values) or (name.endswith("_name") and name[:-5] in values)
        if named or name in leaves_out or "padding" in name:
            continue
        if name == "guest_address" and of_a_process(value, values.get("user_address")):
            continue
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.", leaves_out)
        elif isinstance(value, list):
            for position, one in enumerate(value):
                path = f"{prefix}{name}[{position}]"
                if isinstance(one, Mapping):
                    yield from _flat(one, f"{path}.", leaves_out)
                else:
                    yield path, one
        else:
            yield prefix + name, value


def _kinds(message: Message) -> tuple[str, ...]:
    return tuple("memory" if one.kind in _MEMORY else one.kind.value for one in message.descriptors)


def _words(kinds: tuple[str, ...]) -> str:
    return ", ".join(kinds) or "none"
