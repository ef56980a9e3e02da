"""Blocks and options of pcapng against bytes written out by hand, in both byte orders."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vusniff.capture import pcapng

ORDERS = pytest.mark.parametrize(("order", "sign"), [("little", "<"), ("big", ">")])
OPTIONS = st.lists(st.tuples(st.integers(1, 0xFFFF), st.binary(max_size=40)), max_size=6)


@ORDERS
def test_a_section_header_is_the_bytes_of_the_draft(order: str, sign: str) -> None:
    expected = struct.pack(sign + "IIIHHq HH4s HH I", 0x0A0D0D0A, 40, 0x1A2B3C4D, 1, 0, -1, 4, 3, b"abc\0", 0, 0, 40)
    assert pcapng.section_header(order, [(4, b"abc")]) == expected
    assert pcapng.order_of(expected) == order


@ORDERS
def test_an_interface_is_the_bytes_of_the_draft(order: str, sign: str) -> None:
    expected = struct.pack(sign + "IIHHI HH4s HH I", 1, 32, 252, 0, 96, 9, 1, b"\x09\0\0\0", 0, 0, 32)
    assert pcapng.interface_description(order, 252, 96, [(9, b"\x09")]) == expected


@ORDERS
def test_a_packet_is_the_bytes_of_the_draft(order: str, sign: str) -> None:
    expected = struct.pack(sign + "IIIIIII8sHHIHHI", 6, 52, 3, 2, 1, 5, 9, b"hello", 2, 4, 1, 0, 0, 52)
    flags = struct.pack(sign + "I", 1)
    assert pcapng.enhanced_packet(order, 3, 2 << 32 | 1, b"hello", 9, [(2, flags)]) == expected


@ORDERS
def test_statistics_and_custom_blocks_are_the_bytes_of_the_draft(order: str, sign: str) -> None:
    assert pcapng.interface_statistics(order, 1, 7, []) == struct.pack(sign + "IIIIII", 5, 24, 1, 0, 7, 24)
    assert pcapng.custom_block(order, 32473, b"x") == struct.pack(sign + "III4sI", 0xBAD, 20, 32473, b"x", 20)


@given(order=st.sampled_from(("little", "big")), items=OPTIONS)
def test_options_come_back(order: str, items: list[tuple[int, bytes]]) -> None:
    built = pcapng.options(order, items)
    assert len(built) % 4 == 0
    assert list(pcapng.parse_options(order, built)) == items


@given(order=st.sampled_from(("little", "big")), items=OPTIONS, cut=st.integers(0, 300))
def test_cut_options_are_a_prefix(order: str, items: list[tuple[int, bytes]], cut: int) -> None:
    found = list(pcapng.parse_options(order, pcapng.options(order, items)[:cut]))
    assert found == items[: len(found)]


@given(data=st.binary(max_size=200))
def test_noise_has_options_and_tags_of_no_kind_that_raises(data: bytes) -> None:
    for order in ("little", "big"):
        assert sum(len(value) for _, value in pcapng.parse_options(order, data)) <= len(data)
    tags = pcapng.parse_tags(data)
    assert tags is None or tags[1] <= len(data)


def test_an_option_that_cannot_be_that_long_is_cut() -> None:
    ((code, value),) = pcapng.parse_options("little", pcapng.options("little", [(1, b"x" * 70_000)]))
    assert (code, len(value)) == (1, 0xFFFF)


def test_tags_are_big_endian_and_end_where_the_packet_begins() -> None:
    built = pcapng.tag(12, b"name!") + pcapng.tag(0, b"") + b"packet"
    assert built[:12] == b"\x00\x0c\x00\x08name!\0\0\0"
    assert pcapng.parse_tags(built) == ({12: b"name!\0\0\0"}, 16)
    assert pcapng.parse_tags(built[:12]) is None


@pytest.mark.parametrize(
    ("ticks", "resolution", "offset", "expected"),
    [
        (1_700_000_000_123_456_789, 9, 0, 1_700_000_000_123_456_789),
        (1_700_000_000_123_456, 6, 0, 1_700_000_000_123_456_000),
        (17, 0, 0, 17_000_000_000),
        (3 << 31, 0x80 | 32, 10, 11_500_000_000),
        (5, 9, -1, 0),
        ((1 << 64) - 1, 0, 0, (1 << 63) - 1),
    ],
)
def test_times_of_any_resolution_become_nanoseconds(ticks: int, resolution: int, offset: int, expected: int) -> None:
    assert pcapng.nanoseconds(ticks, resolution, offset) == expected


def test_a_start_of_anything_else_has_no_byte_order() -> None:
    assert pcapng.order_of(b"\x0a\x0d\x0d\x0a\x1c\0\0\0\x01\x02\x03\x04") is None
    assert pcapng.order_of(b"\xd4\xc3\xb2\xa1" + bytes(8)) is None
