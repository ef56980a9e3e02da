"""What a proxy did by a rule, in a capture file.

Keys: ``id``, ``act`` (``rules``, ``takes``, ``gives``, ``does``), ``rule`` (number), ``text`` (of the rule, or all
rules), ``actions`` (list of words), ``words``; of ``gives`` also ``to`` (end), ``size`` (bytes that were sent, where
that are not those of the message), ``times``, ``changes`` (list of [offset, hex digits]), ``made`` (1: it is no changed
message), ``fds`` (like those of a packet, where others were sent than came). ``ends`` is the one end that sent the
message: of ``takes``, the next packet of that end is the message.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vusniff.capture.facts import TEXT_LIMIT, descriptor_facts, integer, parse_descriptor, text
from vusniff.record import Descriptor, Ends, Fault, FaultAct

CHANGED_LIMIT = 48 << 10
"""Bytes of changes that are kept of one message."""
ACTIONS_LIMIT = 32
TIMES_LIMIT = 1_000_000
_ACTION_LIMIT = 32
_DESCRIPTORS_LIMIT = 253
_ACTS = {act.value: act for act in FaultAct}

Facts = Mapping[str, Any]


def build(one: Fault) -> dict[str, Any]:
    """The keys of the block that only this kind of evidence has."""
    facts: dict[str, Any] = {"id": one.id, "act": one.act.value, "rule": one.rule}
    optional = {
        "text": one.text[:TEXT_LIMIT],
        "actions": [action[:_ACTION_LIMIT] for action in one.actions[:ACTIONS_LIMIT]],
        "words": one.words[:TEXT_LIMIT],
        "made": int(one.made),
        "times": one.times if one.times != 1 else 0,
        "changes": list(_kept(one.changes)),
    }
    facts |= {key: value for key, value in optional.items() if value}
    facts |= {key: value for key, value in (("to", one.to), ("size", one.size)) if value is not None}
    if one.descriptors is not None:
        facts["fds"] = [descriptor_facts(one) for one in one.descriptors[:_DESCRIPTORS_LIMIT]]
    return facts


def _kept(changes: tuple[tuple[int, bytes], ...]) -> list[list[Any]]:
    """As many of the changes as there is room for."""
    room, kept = CHANGED_LIMIT, []
    for at, data in changes:
        if room <= 0:
            break
        kept.append([at, data[:room].hex()])
        room -= len(data) + 16
    return kept


def parse(facts: Facts, time_ns: int, ends: Ends) -> Fault | None:
    """The record; None when a key that it needs is missing."""
    said, number, rule = facts.get("act"), integer(facts.get("id"), 1), integer(facts.get("rule"), 0)
    act = _ACTS.get(said) if isinstance(said, str) else None
    if act is None or number is None or rule is None or len(ends) != 1:
        return None
    actions, fds = facts.get("actions"), facts.get("fds")
    descriptors: tuple[Descriptor, ...] | None = None
    if isinstance(fds, list):
        descriptors = tuple([parse_descriptor(fd) for fd in fds[:_DESCRIPTORS_LIMIT]])
    return Fault(
        time_ns,
        number,
        act,
        rule,
        text(facts.get("text")) or "",
        tuple([one[:_ACTION_LIMIT] for one in actions[:ACTIONS_LIMIT] if isinstance(one, str) and one])
        if isinstance(actions, list)
        else (),
        text(facts.get("words")) or "",
        integer(facts.get("to"), 0, 1),
        integer(facts.get("size"), 0, (1 << 32) - 1),
        integer(facts.get("times"), 1, TIMES_LIMIT) or 1,
        _changes(facts.get("changes")),
        facts.get("made") == 1,
        descriptors,
        ends,
    )


def _changes(stated: object) -> tuple[tuple[int, bytes], ...]:
    found, room = [], CHANGED_LIMIT
    for pair in stated if isinstance(stated, list) else ():
        if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[1], str) or room <= 0:
            continue
        at = integer(pair[0], 0, (1 << 32) - 1)
        try:
            data = bytes.fromhex(pair[1][: 2 * room])
        except ValueError:
            continue
        if at is not None and data:
            found.append((at, data))
            room -= len(data) + 16
    return tuple(found)
