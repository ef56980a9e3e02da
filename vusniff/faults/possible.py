"""Which messages a filter can match at all, by the tables of messages: to refuse one that never matches, and to ask
only those rules that a message may concern.

Sound, not complete: what is said never to match never does; what is said to be possible may still never be. Pure.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from vusniff.channel import Channel
from vusniff.errors import FilterError
from vusniff.families.registry import families
from vusniff.filter.compiler import Filter, tests_of
from vusniff.filter.field import Field, Origin, ValueKind
from vusniff.filter.tree import All, Named, Node, Not, Odd, Operator, Range, Test
from vusniff.filter.tree import Any as Either
from vusniff.layouts import dissect

_LATER = {
    Origin.FINDING: "findings are made when a capture is read",
    Origin.LOG: "a proxy reads no logs",
    Origin.RING: "rings are sampled beside the messages",
    Origin.STACK: "a proxy does not see who calls whom",
}
_NEVER = {
    "vhost.answered_by": "the reply has not come when a request passes",
    "proc.tid": "a proxy does not see threads",
}
_MOST = (1 << 64) - 1


class Kind(NamedTuple):
    """A kind of message."""

    channel: Channel
    request: int | None
    """None: one that the tables do not have, or bytes without a header."""
    reply: bool


Kinds = frozenset[Kind]


@functools.cache
def every() -> Kinds:
    """All kinds of messages that a proxy may meet."""
    found = set()
    for family in families().values():
        if family.transport not in ("", "user"):
            continue
        for channel in family.channels:
            dissector = dissect.load().get(channel)
            for reply in (False, True):
                found.add(Kind(channel, None, reply))
                found |= {Kind(channel, code, reply) for code in (dissector.specs if dissector else ())}
    return frozenset(found)


def possible(filter: Filter) -> Kinds:
    """The kinds that a filter may match. Raises FilterError where it can never match any message of a proxy."""
    for test in tests_of(filter.node):
        _refuse(filter, test)
    kinds = _may(filter.node)[0]
    if not kinds or _never(filter.node):
        raise FilterError("no message can match this filter", filter.text, 0, len(filter.text))
    return kinds


def _refuse(filter: Filter, test: Test) -> None:
    field = test.field
    why = _LATER.get(field.origin) or _NEVER.get(field.name)
    if why is None and not _of_field(field) and field.origin is not Origin.PAYLOAD:
        why = "such messages do not pass through a proxy"
    if why is not None:
        at = max(filter.text.find(field.name), 0)
        raise FilterError(f"{field.name} is not known while a message passes: {why}", filter.text, at, len(field.name))


def _of_field(field: Field) -> Kinds:
    """The kinds that may have a field."""
    if field.origin is Origin.PAYLOAD and field.keys:
        keys = field.keys
        whole = {(key.channel, key.reply) for key in keys if key.request is None}
        return frozenset(kind for kind in every() if (kind.channel, kind.reply) in whole or tuple(kind) in keys)
    if field.origin is Origin.HEADER:
        for family in families().values():
            own = family.own or (family.fields if family.fields != "vhost" else "")
            if (own and field.name.startswith(f"{own}.")) or (field.name == "errno" and family.own):
                mine = set(family.channels)
                return frozenset(kind for kind in every() if kind.channel in mine)
    return every()


def _may(node: Node) -> tuple[Kinds, Kinds]:
    """The kinds that may match, and those whose every message does."""
    match node:
        case Not(of):
            may, must = _may(of)
            return every() - must, every() - may
        case All(of):
            parts = [_may(part) for part in of]
            return frozenset.intersection(*(may for may, _ in parts)), frozenset.intersection(
                *(must for _, must in parts)
            )
        case Either(of):
            parts = [_may(part) for part in of]
            return frozenset.union(*(one[0] for one in parts)), frozenset.union(*(one[1] for one in parts))
        case Odd(_):
            return every(), frozenset()
    return _of_test(node)


def _of_test(test: Test) -> tuple[Kinds, Kinds]:
    kinds, field = _of_field(test.field), test.field
    if test.mask is not None or test.operator not in (Operator.EQ, Operator.NE, Operator.IN):
        return kinds, frozenset()
    if field.kind is ValueKind.REQUEST:
        chosen = frozenset(kind for kind in kinds if _is_among(kind, test))
        if test.operator is Operator.NE:
            unknown = frozenset(kind for kind in kinds if kind.request is None)
            return (kinds - chosen) | unknown, frozenset()
        # A number may also be that of a request which the tables do not have.
        plain = any(not isinstance(value, Named) for value in test.values)
        unknown = frozenset(kind for kind in kinds if kind.request is None) if plain else frozenset()
        return chosen | unknown, chosen - unknown
    if test.operator is Operator.NE:
        return kinds, frozenset()
    if field.name == "vhost.channel":
        chosen = frozenset(kind for kind in kinds if kind.channel in test.values)
        return chosen, chosen
    if field.name == "vhost.reply":
        # A reply is told by its header: bytes without one are none.
        chosen = frozenset(kind for kind in kinds if int(kind.reply) in test.values)
        return chosen, frozenset()
    return kinds, frozenset()


def _is_among(kind: Kind, test: Test) -> bool:
    return any(
        (kind.channel, kind.request) in value.keys
        if isinstance(value, Named)
        else kind.request is not None and value.low <= kind.request <= value.high  # type: ignore[operator]
        if isinstance(value, Range)
        else kind.request == value
        for value in test.values
    )


def _never(node: Node) -> bool:
    """Whether the values that a filter asks for exclude each other."""
    match node:
        case All(of):
            return any(_never(part) for part in of) or _contradicts(_flat(of))
        case Either(of):
            return all(_never(part) for part in of)
        case Test():
            return _contradicts([node])
    return False


def _flat(parts: Iterable[Node]) -> Iterator[Test]:
    for part in parts:
        if isinstance(part, All):
            yield from _flat(part.of)
        elif isinstance(part, Test):
            yield part


def _contradicts(tests: Iterable[Test]) -> bool:
    """Whether no value of some field fits all tests of it."""
    bounds: dict[str, tuple[int, int]] = {}
    texts: dict[str, frozenset[str]] = {}
    for test in tests:
        field = test.field
        if field.several or test.mask is not None or field.kind is ValueKind.REQUEST:
            continue
        name, values = field.name, test.values
        if field.kind in (
            ValueKind.NUMBER,
            ValueKind.BITS,
            ValueKind.BOOLEAN,
            ValueKind.NANOSECONDS,
            ValueKind.SECONDS,
        ):
            span = _span(test)
            if span is None:
                continue
            signed = field.origin is Origin.PAYLOAD and field.kind is ValueKind.NUMBER
            low, high = bounds.get(name, (-_MOST if signed else 0, 1 if field.kind is ValueKind.BOOLEAN else _MOST))
            low, high = max(low, span[0]), min(high, span[1])
            if low > high:
                return True
            bounds[name] = low, high
        elif test.operator in (Operator.EQ, Operator.IN) and all(isinstance(value, str) for value in values):
            wanted = frozenset(str(value) for value in values)
            texts[name] = texts[name] & wanted if name in texts else wanted
            if not texts[name]:
                return True
    return False


def _span(test: Test) -> tuple[int, int] | None:
    """The numbers that fit a test lie between these; None where that is not known."""
    numbers = [one for value in test.values for one in (value if isinstance(value, Range) else (value,))]
    if not numbers or not all(isinstance(one, int) for one in numbers):
        return None
    low, high = min(numbers), max(numbers)  # type: ignore[type-var]
    assert isinstance(low, int)
    assert isinstance(high, int)
    match test.operator:
        case Operator.EQ | Operator.IN:
            return low, high
        case Operator.LT:
            return -_MOST, high - 1
        case Operator.LE:
            return -_MOST, high
        case Operator.GT:
            return low + 1, _MOST
        case Operator.GE:
            return low, _MOST
    return None
