"""A filter as a function that asks a message: one small function for each test, joined as the filter joins them.

Knows no capture: it asks whatever has the attributes of a message.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any

from vusniff.filter.field import MessageLike, Read, Surroundings, ValueKind
from vusniff.filter.regex import TEXT_LIMIT
from vusniff.filter.tree import All, BitSet, Named, Node, Not, Odd, Operator, Range, Test, Value
from vusniff.filter.tree import Any as Either

Matches = Callable[[MessageLike, Surroundings], bool]
Fits = Callable[[Any, MessageLike], bool]
"""Whether one value of a field fits a test; the message tells the channel, which names of requests depend on."""

_COMPARISONS: dict[Operator, Callable[[Any, Any], bool]] = {
    Operator.EQ: operator.eq,
    Operator.NE: operator.ne,
    Operator.LT: operator.lt,
    Operator.LE: operator.le,
    Operator.GT: operator.gt,
    Operator.GE: operator.ge,
}


def matcher(node: Node, leaf: Callable[[Test], Matches] | None = None) -> Matches:
    """The function that asks a filter of a message. ``leaf`` makes the function of one test; else `asking` does."""
    match node:
        case Not(of):
            inner = matcher(of, leaf)
            return lambda message, around: not inner(message, around)
        case All(of):
            return _joined([matcher(part, leaf) for part in of], False)
        case Either(of):
            return _joined([matcher(part, leaf) for part in of], True)
        case Odd(of):
            parts = [matcher(part, leaf) for part in of]
            return lambda message, around: sum(part(message, around) for part in parts) % 2 == 1
    return (leaf or asking)(node)


def _joined(parts: list[Matches], until: bool) -> Matches:
    """Asks one part after the other until one gives ``until``."""

    def asked(message: MessageLike, around: Surroundings) -> bool:
        for part in parts:
            if part(message, around) is until:
                return until
        return not until

    return asked


def asking(test: Test, read: Read | None = None) -> Matches:
    """The function that asks one test of a message. ``read`` gives the values of the field; else the field does."""
    read = _masked(read or _reader(test), test)
    if test.operator is Operator.PRESENT and test.mask is None:
        if test.field.several:
            return lambda message, around: len(read(message, around)) > 0
        return lambda message, around: read(message, around) is not None
    fits = _fits(test)
    if not test.field.several:

        def one(message: MessageLike, around: Surroundings) -> bool:
            value = read(message, around)
            return value is not None and fits(value, message)

        return one
    if test.every:

        def every(message: MessageLike, around: Surroundings) -> bool:
            values = read(message, around)
            return bool(values) and all(fits(value, message) for value in values)

        return every
    return lambda message, around: any(fits(value, message) for value in read(message, around))


def _reader(test: Test) -> Read:
    """What reads the values that a test compares."""
    field = test.field
    if test.values and isinstance(test.values[0], BitSet):
        assert field.bit_names is not None
        return field.bit_names
    if field.kind is ValueKind.REQUEST and test.operator in (Operator.CONTAINS, Operator.MATCHES):
        return lambda message, _: None if message.request is None else message.name
    return field.read


def _masked(read: Read, test: Test) -> Read:
    mask = test.mask
    if mask is None:
        return read
    if test.field.several:
        return lambda message, around: [value & mask for value in read(message, around)]

    def masked(message: MessageLike, around: Surroundings) -> Any:
        value = read(message, around)
        return None if value is None else value & mask

    return masked


def _fits(test: Test) -> Fits:
    wanted = test.values[0] if test.values else 0
    match test.operator:
        case Operator.PRESENT:  # of a masked number
            return lambda value, _: value != 0
        case Operator.IN:
            return _member(test.values)
        case Operator.CONTAINS:
            return _contains(test.field.kind, wanted)
        case Operator.MATCHES:
            assert isinstance(wanted, re.Pattern)
            search = wanted.search
            return lambda value, _: search(value[:TEXT_LIMIT]) is not None
    if isinstance(wanted, Named):
        named = _member(test.values)
        return named if test.operator is Operator.EQ else lambda value, message: not named(value, message)
    compare = _COMPARISONS[test.operator]
    return lambda value, _: compare(value, wanted)


def _contains(kind: ValueKind, wanted: Any) -> Fits:
    if isinstance(wanted, BitSet):
        names = wanted.names
        return lambda value, _: not names.isdisjoint(value)
    if kind is ValueKind.BITS:
        return lambda value, _: value & wanted == wanted
    return lambda value, _: wanted in value


def _member(values: tuple[Value, ...]) -> Fits:
    """Whether a value is one of several, in one of the ranges, or the code of one of the requests."""
    keys = frozenset(key for one in values if isinstance(one, Named) for key in one.keys)
    codes = frozenset(code for _, code in keys)
    ranges = [one for one in values if isinstance(one, Range)]
    plain = frozenset(one for one in values if not isinstance(one, Range | Named))

    def member(value: Any, message: MessageLike) -> bool:
        return (
            value in plain
            or (value in codes and (message.channel, value) in keys)
            or any(low <= value <= high for low, high in ranges)
        )

    return member
