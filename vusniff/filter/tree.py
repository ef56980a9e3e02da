"""A filter that has been understood: fields instead of words, values of the right type. Plain data."""

from __future__ import annotations

import enum
import re
from typing import NamedTuple

from vusniff.filter.field import Field
from vusniff.values import dataclass


class Operator(enum.Enum):
    """What a test asks."""

    PRESENT = ""
    EQ = "=="
    NE = "!="
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="
    CONTAINS = "contains"
    MATCHES = "matches"
    IN = "in"


class Range(NamedTuple):
    """From ``low`` to ``high``, both included."""

    low: int | str
    high: int | str


class Named(NamedTuple):
    """A request by name."""

    keys: frozenset[tuple[str, int]]
    """Channel and code; more than one where channels share the name."""


class BitSet(NamedTuple):
    """A feature by name: the names that a decoded message may show for it."""

    names: frozenset[str]


Value = int | str | bytes | Range | Named | BitSet | re.Pattern[str]


@dataclass(frozen=True, slots=True)
class Test:
    """One comparison."""

    field: Field
    operator: Operator
    values: tuple[Value, ...] = ()
    """The one value; of IN any number of them."""
    mask: int | None = None
    """Bitwise and of the value before it is compared."""
    every: bool = False
    """Of a field with several values all of them have to fit; else any."""


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite."""

    of: Node


@dataclass(frozen=True, slots=True)
class All:
    """Every one of several."""

    of: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Any:
    """At least one of several."""

    of: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Odd:
    """Exclusive or: an odd number of several."""

    of: tuple[Node, ...]


Node = Test | Not | All | Any | Odd
