"""Names of bits and values."""

from __future__ import annotations

import enum

import pytest

from vusniff.names import CACHE_LIMIT, bit_names, mask_of, names_of_bits, names_of_values


class Colour(enum.IntFlag):
    COLOUR_F_RED = 1 << 0
    COLOUR_F_GREEN = 1 << 3
    COLOUR_F_DARK_RED = 1 << 40


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 7


def test_bits_are_named_lowest_first_and_unknown_ones_by_number() -> None:
    assert bit_names(Colour, 0) == []
    assert bit_names(Colour, 1 << 40 | 1 << 63 | 0b1011) == [
        "COLOUR_F_RED",
        "BIT_1",
        "COLOUR_F_GREEN",
        "COLOUR_F_DARK_RED",
        "BIT_63",
    ]


def test_each_value_is_worked_out_once_and_not_without_bound() -> None:
    names = names_of_bits(Colour)
    assert names is names_of_bits(Colour)
    assert bit_names(Colour, 9) is bit_names(Colour, 9)
    for value in range(CACHE_LIMIT * 2):
        assert len(names[value]) == value.bit_count()
    assert len(names) <= CACHE_LIMIT


def test_a_value_without_a_name_has_none() -> None:
    names = names_of_values(Size)
    assert (names[1], names[7], names[2]) == ("SMALL", "LARGE", None)
    assert len(names) == 2


def test_a_mask_from_full_and_short_names() -> None:
    assert mask_of(Colour, ["COLOUR_F_RED", " green "]) == 9
    assert mask_of(Colour, ["dark_red"]) == 1 << 40
    assert mask_of(Colour, ["crimson"], {"CRIMSON": "DARK_RED"}) == 1 << 40
    with pytest.raises(KeyError, match="BLUE"):
        mask_of(Colour, ["RED", "BLUE"])
