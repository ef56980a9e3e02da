"""Samples of rings in a capture file: the keys of a ring are short, because one is written every few seconds.

``rings`` is a list of objects: ``n`` (its index), ``size``, ``p`` (1: packed), ``a`` and ``u`` (available, used),
``f`` (in flight), ``aw`` and ``uw`` (wrap counters, 0 or 1), ``ni`` and ``nn`` (1: no interrupt, no notify), ``ue`` and
``ae`` (used event, available event), ``m`` (nanoseconds since the device was last seen to use something), ``w``
(nanoseconds that something waits), ``k`` (count of the kick descriptor), ``t`` (in flight by the in-flight buffer),
``kc`` and ``cc`` (how often it was kicked and called), ``by`` (who
said where the ring is, where that was not witnessed).
``unreadable`` is a list of [what, why], ``dirty`` a number of pages.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vusniff.capture.facts import TEXT_LIMIT, integer, text
from vusniff.record import Ends, Position, Sample

RINGS_LIMIT = 1024
"""Rings of one sample that are read."""
REASONS_LIMIT = 1100
NAME_LIMIT = 16
"""Characters of who said it."""
_SIZE_LIMIT = 1 << 15
_INDEX_LIMIT = 0xFFFF

Facts = Mapping[str, Any]


def build(one: Sample) -> dict[str, Any]:
    """The keys of the block that only this kind of evidence has."""
    facts: dict[str, Any] = {}
    if one.rings:
        facts["rings"] = [_ring(position) for position in one.rings]
    if one.unreadable:
        facts["unreadable"] = [[what[:TEXT_LIMIT], why[:TEXT_LIMIT]] for what, why in one.unreadable[:REASONS_LIMIT]]
    if one.dirty_pages is not None:
        facts["dirty"] = one.dirty_pages
    return facts


def _ring(one: Position) -> dict[str, Any]:
    facts = {"n": one.ring, "size": one.size, "a": one.available, "u": one.used, "f": one.in_flight}
    optional = {
        "p": int(one.packed) or None,
        "aw": one.available_wrap if one.available_wrap is None else int(one.available_wrap),
        "uw": one.used_wrap if one.used_wrap is None else int(one.used_wrap),
        "ni": int(one.no_interrupt) or None,
        "nn": int(one.no_notify) or None,
        "ue": one.used_event,
        "ae": one.available_event,
        "m": one.moved_ns,
        "w": one.waiting_ns,
        "k": one.unread_kicks,
        "t": one.tracked,
        "kc": one.kicks,
        "cc": one.calls,
        "by": one.told_by[:NAME_LIMIT] or None,
    }
    return facts | {key: value for key, value in optional.items() if value is not None}


def parse(facts: Facts, time_ns: int, ends: Ends) -> Sample:
    """What a block says; what is not of the expected type is left out."""
    rings, reasons = facts.get("rings"), facts.get("unreadable")
    found = [_parse_ring(one) for one in rings[:RINGS_LIMIT]] if isinstance(rings, list) else []
    told = [_parse_reason(one) for one in reasons[:REASONS_LIMIT]] if isinstance(reasons, list) else []
    return Sample(
        time_ns,
        tuple(one for one in found if one is not None),
        tuple(one for one in told if one is not None),
        integer(facts.get("dirty")),
        ends,
    )


def _parse_ring(facts: object) -> Position | None:
    if not isinstance(facts, dict):
        return None
    ring, size = integer(facts.get("n"), 0, (1 << 32) - 1), integer(facts.get("size"), 1, _SIZE_LIMIT)
    available, used = (integer(facts.get(key), 0, _INDEX_LIMIT) for key in ("a", "u"))
    flight = integer(facts.get("f"), 0, _INDEX_LIMIT)
    if ring is None or size is None or available is None or used is None or flight is None:
        return None
    return Position(
        ring,
        size,
        bool(integer(facts.get("p"), 0, 1)),
        available,
        used,
        flight,
        _bit(facts.get("aw")),
        _bit(facts.get("uw")),
        bool(integer(facts.get("ni"), 0, 1)),
        bool(integer(facts.get("nn"), 0, 1)),
        integer(facts.get("ue"), 0, _INDEX_LIMIT),
        integer(facts.get("ae"), 0, _INDEX_LIMIT),
        integer(facts.get("m")),
        integer(facts.get("w")),
        integer(facts.get("k")),
        integer(facts.get("t"), 0, _SIZE_LIMIT),
        integer(facts.get("kc")),
        integer(facts.get("cc")),
        (text(facts.get("by")) or "")[:NAME_LIMIT],
    )


def _bit(value: object) -> bool | None:
    found = integer(value, 0, 1)
    return None if found is None else bool(found)


def _parse_reason(said: object) -> tuple[str, str] | None:
    if not isinstance(said, list) or len(said) != 2:
        return None
    what, why = text(said[0]), text(said[1])
    return (what, why) if what and why else None
