"""What bits and values are called: numbers to the names of an IntFlag or IntEnum.

Unknown bits stay visible as ``BIT_<n>``; an unknown value has no name (None).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping

CACHE_LIMIT = 4096
"""Values a name cache remembers: a session uses a handful, a hostile peer may send a new one every time."""


class BitNames(dict[int, list[str]]):
    """Number -> names of its bits, lowest first, worked out once. The lists are shared: never change one."""

    def __init__(self, flags: type[enum.IntFlag]) -> None:
        super().__init__()
        self._bits: dict[int, str] = {}
        for name, member in flags.__members__.items():
            self._bits.setdefault(int(member), name)

    def __missing__(self, value: int) -> list[str]:
        names = []
        rest = value
        while rest > 0:
            bit = rest & -rest
            names.append(self._bits.get(bit) or f"BIT_{bit.bit_length() - 1}")
            rest ^= bit
        if len(self) < CACHE_LIMIT:
            self[value] = names
        return names


class ValueNames(dict[int, str | None]):
    """Number -> its name, None for one that has none."""

    def __init__(self, values: type[enum.IntEnum]) -> None:
        super().__init__({int(member): name for name, member in values.__members__.items()})

    def __missing__(self, value: int) -> None:
        return None


_bit_names: dict[type[enum.IntFlag], BitNames] = {}
_value_names: dict[type[enum.IntEnum], ValueNames] = {}


def names_of_bits(flags: type[enum.IntFlag]) -> BitNames:
    """The name cache of a flag class."""
    known = _bit_names.get(flags)
    if known is None:
        known = _bit_names[flags] = BitNames(flags)
    return known


def names_of_values(values: type[enum.IntEnum]) -> ValueNames:
    """The name table of an enum class."""
    known = _value_names.get(values)
    if known is None:
        known = _value_names[values] = ValueNames(values)
    return known


def bit_names(flags: type[enum.IntFlag], value: int) -> list[str]:
    """Names of the bits set in ``value``, lowest first, ``BIT_<n>`` for one that has no name. Never change the list."""
    return names_of_bits(flags)[value]


def mask_of(flags: type[enum.IntFlag], words: Iterable[str], aliases: Mapping[str, str] | None = None) -> int:
    """The number whose bits have these names; a name may be given without its class's common prefix.

    Raises KeyError with the first word that names no bit.
    """
    members = flags.__members__
    mask = 0
    for word in words:
        name = word.strip().upper()
        name = (aliases or {}).get(name, name)
        found = [member for full, member in members.items() if full == name or full.endswith(f"_F_{name}")]
        if len(found) != 1:
            raise KeyError(word.strip())
        mask |= int(found[0])
    return mask
