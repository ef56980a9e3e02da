"""Words of payloads: numbers that the peer said before, and what is made of them. Pure."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

from vusniff.conformance.scenario import Body
from vusniff.families.vhost_user.protocol import F_LOG_ALL, F_PROTOCOL_FEATURES, ProtocolFeature

VERSION_1 = 1 << 32
KNOWN = sum(ProtocolFeature)


def _unoffered(known: Mapping[str, int], word: str) -> int:
    """The highest bit that is not offered; 0 where all are."""
    return next((1 << bit for bit in range(63, -1, -1) if not known[word] >> bit & 1), 0)


_MADE: Mapping[str, Callable[[Mapping[str, int]], int]] = {
    "features": lambda known: known["offered"] & known["wanted"] & ~F_LOG_ALL,
    "features without 30": lambda known: known["offered"] & known["wanted"] & ~(F_PROTOCOL_FEATURES | F_LOG_ALL),
    "features and one not offered": lambda known: (
        known["offered"] & known["wanted"] & ~F_LOG_ALL | _unoffered(known, "offered")
    ),
    "features and log": lambda known: known["offered"] & known["wanted"] | F_LOG_ALL,
    "protocol": lambda known: known["protocol offered"] & known["protocol wanted"],
    "protocol and one not offered": lambda known: (
        known["protocol offered"] & known["protocol wanted"] | _unoffered(known, "protocol offered")
    ),
    "in-band alone": lambda known: (
        known["protocol offered"] & ProtocolFeature.MQ | ProtocolFeature.INBAND_NOTIFICATIONS
    ),
    "queues + 1": lambda known: known.get("queues", 0) + 1,
}


def number(word: str | int, known: Mapping[str, int]) -> int:
    """What a word stands for; 0 where the peer has not said it."""
    if isinstance(word, int):
        return word
    made = _MADE.get(word)
    return made(known) if made is not None else known.get(word, 0)


def payload(body: Body, known: Mapping[str, int]) -> bytes:
    """The bytes of a payload."""
    if not body:
        return b""
    form, *words = body
    values: list[int | bytes] = [word if isinstance(word, bytes) else number(word, known) for word in words]
    return struct.pack("=" + str(form), *values)


def begin(wanted: int, protocol_wanted: int) -> dict[str, int]:
    """What is known before anything is said."""
    return {"wanted": wanted, "protocol wanted": protocol_wanted, "offered": 0, "protocol offered": 0}
