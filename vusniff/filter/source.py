"""Writes the Python text of tests. Nothing that a user typed is in it: numbers are printed, all else is a name bound to
a value.

`compiler` uses it for messages, `columns` for columns of an index.
"""

from __future__ import annotations

import re
from typing import Any

from vusniff.filter.field import Field, Kind
from vusniff.filter.regex import TEXT_LIMIT
from vusniff.filter.tree import BitSet, Named, Operator, Range, Test, Value

BUILTINS = {"any": any, "all": all, "len": len, "bool": bool, "zip": zip, "range": range, "abs": abs}

INLINE = {
    "vhost.request": "m.request",
    "vhost.name": "m.name",
    "vhost.size": "m.size",
    "vhost.number": "m.number",
    "vhost.time": "(m.time_ns - w.first_ns)",
    "vhost.channel": "m.channel",
    "vhost.sender": "(m.sender and m.sender._value_)",
    "vhost.session": "m.session",
    "vhost.answers": "m.answers",
    "vhost.answered_by": "m.answered_by",
    "vhost.latency": "m.latency_ns",
    "vhost.malformed": "m.malformed",
    "vhost.layout": "m.layout",
    "vhost.flags": "(None if m.request is None else m.flags)",
    "vhost.version": "(None if m.request is None else m.flags & 3)",
    "vhost.reply": "(None if m.request is None else m.flags >> 2 & 1)",
    "vhost.need_reply": "(None if m.request is None else m.flags >> 3 & 1)",
    "sock.connection": "m.connection",
    "sock.path": "w.path(m.connection)",
    "fd.count": "len(m.descriptors)",
}
"""Fields that are read without calling their function: the same value, faster."""

ALWAYS = frozenset(
    {
        "vhost.name",
        "vhost.size",
        "vhost.number",
        "vhost.time",
        "vhost.channel",
        "vhost.session",
        "sock.connection",
        "fd.count",
    }
)
"""Fields that every message has."""


class Source:
    """Texts of tests, and the values that they refer to."""

    def __init__(self) -> None:
        self.environment: dict[str, Any] = {"__builtins__": BUILTINS}
        self._count = 0

    def bind(self, value: Any) -> str:
        """A name for a value."""
        name = self.variable("k")
        self.environment[name] = value
        return name

    def variable(self, letter: str = "v") -> str:
        """A name that is used nowhere else."""
        self._count += 1
        return f"{letter}{self._count}"

    def literal(self, value: Value) -> str:
        """A number as it is, anything else by a name."""
        return repr(int(value)) if isinstance(value, int) else self.bind(value)

    # -- one test of a message ----------------------------------------------------------------------------------------

    def test(self, test: Test) -> str:
        """A test of ``m``, a message, in its surroundings ``w``."""
        field, variable, channel = test.field, self.variable(), "m.channel"
        access = self.access(test)
        if field.several:
            fits = self.fits(test, variable, channel)
            if test.operator is Operator.PRESENT and test.mask is None:
                return f"(len({access}) > 0)"
            if test.every:
                values = self.variable()
                return f"(bool({values} := {access}) and all({fits} for {variable} in {values}))"
            return f"any({fits} for {variable} in {access})"
        if test.operator is Operator.PRESENT and test.mask is None:
            return "True" if field.name in ALWAYS else f"({access} is not None)"
        plain = test.mask is None and not any(isinstance(value, Range | Named | BitSet) for value in test.values)
        # Nothing is equal to None, so these need not ask whether there is a value.
        if (plain and test.operator in (Operator.EQ, Operator.IN)) or (field.name in ALWAYS and "(" not in access):
            return f"({self.fits(test, access, channel)})"
        return f"(({variable} := {access}) is not None and {self.fits(test, variable, channel)})"

    def access(self, test: Test) -> str:
        """What reads the field's value or values."""
        field = test.field
        if test.values and isinstance(test.values[0], BitSet):
            return f"{self.bind(field.bit_names)}(m, w)"
        if field.kind is Kind.REQUEST and test.operator in (Operator.CONTAINS, Operator.MATCHES):
            return "(None if m.request is None else m.name)"
        return INLINE.get(field.name) or f"{self.bind(field.read)}(m, w)"

    # -- one value ----------------------------------------------------------------------------------------------------

    def fits(self, test: Test, value: str, channel: str) -> str:
        """Whether one value fits a test; ``value`` and ``channel`` are the texts that read them."""
        if test.mask is not None:
            value = f"({value} & {test.mask})"
        match test.operator:
            case Operator.PRESENT:
                return f"{value} != 0" if test.mask is not None else "True"
            case Operator.IN:
                return self.member(test.values, value, channel)
            case Operator.CONTAINS:
                return self.contains(test.field, test.values[0], value)
            case Operator.MATCHES:
                pattern = test.values[0]
                assert isinstance(pattern, re.Pattern)
                return f"{self.bind(pattern.search)}({value}[:{TEXT_LIMIT}]) is not None"
        if isinstance(test.values[0], Named):
            member = self.member(test.values, value, channel)
            return f"not ({member})" if test.operator is Operator.NE else member
        return f"{value} {test.operator.value} {self.literal(test.values[0])}"

    def contains(self, field: Field, wanted: Value, value: str) -> str:
        if isinstance(wanted, BitSet):
            return f"not {self.bind(wanted.names)}.isdisjoint({value})"
        if field.kind is Kind.BITS:
            return f"{value} & {self.literal(wanted)} == {self.literal(wanted)}"
        return f"{self.literal(wanted)} in {value}"

    def member(self, values: tuple[Value, ...], value: str, channel: str) -> str:
        """Whether a value is one of several, in one of the ranges, or the code of one of the requests."""
        plain = [one for one in values if not isinstance(one, Range | Named)]
        parts = []
        if len(plain) == 1:
            parts.append(f"{value} == {self.literal(plain[0])}")
        elif plain:
            parts.append(f"{value} in {self.bind(frozenset(plain))}")
        keys = [key for one in values if isinstance(one, Named) for key in one.keys]
        if len(keys) == 1:
            parts.append(f"({value} == {keys[0][1]} and {channel} == {self.bind(keys[0][0])})")
        elif keys:
            codes = self.bind(frozenset(code for _, code in keys))
            parts.append(f"({value} in {codes} and ({channel}, {value}) in {self.bind(frozenset(keys))})")
        ranges = [one for one in values if isinstance(one, Range)]
        parts += [f"{self.literal(one.low)} <= {value} <= {self.literal(one.high)}" for one in ranges]
        return " or ".join(parts) if len(parts) == 1 else f"({' or '.join(parts)})"
