"""The generated parsers read exactly what construct reads: every layout, both byte orders, any bytes."""

from __future__ import annotations

import json
import operator
import struct
from typing import Any

import pytest
from construct import Array, Bytes, Computed, If, Int8ub, Int16ub, Int16ul, Int32ul, Padding, Struct, this
from construct.expr import BinExpr
from hypothesis import given, settings
from hypothesis import strategies as st
from vusniff_dissectors import DISSECTORS

from vusniff.layouts import codegen, dissect
from vusniff.message import Alternatives, Context, Layout

ORDERS = ("little", "big")


def all_layouts() -> list[Layout]:
    found: dict[int, Layout] = {}
    for dissector in DISSECTORS:
        for spec in dissector.specs.values():
            for choice in (spec.payload, spec.reply, dissector.ack):
                if isinstance(choice, Alternatives):
                    found.update((id(layout), layout) for layout in choice.layouts)
                elif isinstance(choice, Layout):
                    found[id(choice)] = choice
                else:
                    assert choice is None
    return list(found.values())


LAYOUTS = all_layouts()
CONTEXT = Context(device="net")


def parser_of(declaration: Any) -> codegen.Parse | None:
    return codegen.parser(Layout("made", lambda order: declaration), CONTEXT)


def fixed_size(layout: Layout, order: str) -> int | None:
    try:
        return int(layout.construct(order).sizeof())
    except Exception:
        return None


def fitting(layout: Layout, order: str) -> st.SearchStrategy[bytes]:
    """Payloads of the layout's own length."""
    size = fixed_size(layout, order)
    if size is not None:
        # A short piece repeated stands for a long payload: hypothesis draws it in no time.
        return st.binary(min_size=1, max_size=61).map(lambda piece: (piece * (size // len(piece) + 1))[:size])
    sign = "<" if order == "little" else ">"
    if layout.name == "memory_table":
        each = 40 if "xen_mmap_flags" in layout.names else 32
        return st.integers(0, 12).flatmap(
            lambda n: st.binary(min_size=4 + n * each, max_size=4 + n * each).map(
                lambda rest: struct.pack(f"{sign}I", n) + rest
            )
        )
    if layout.name == "config":
        return st.tuples(st.integers(0, 64), st.integers(0, 3), st.binary(max_size=80)).map(
            lambda t: struct.pack(f"{sign}III", t[0], len(t[2]), t[1]) + t[2]
        )
    if layout.name == "update":
        return st.tuples(st.integers(0, 3), st.integers(0, 3), st.binary(min_size=36, max_size=36)).map(
            lambda t: struct.pack(f"{sign}5I", 0, 1, 2, t[0], t[1]) + t[2][: t[0] * t[1] * 4]
        )
    if layout.name == "crypto_session":
        return st.tuples(st.sampled_from((0x002, 0x102, 0x404)), st.binary(min_size=1064, max_size=1064)).map(
            lambda t: struct.pack(f"{sign}Q", t[0]) + t[1]
        )
    if layout.name == "crypto_session_old":
        return st.tuples(st.sampled_from((0x002, 0x102, 3)), st.binary(min_size=632, max_size=632)).map(
            lambda t: t[1][:8] + struct.pack(f"{sign}I", t[0]) + t[1][12:]
        )
    raise AssertionError(f"no strategy for {layout.name}")


UNIONS = {"crypto_session", "crypto_session_old"}


def both(layout: Layout, data: bytes, order: str) -> tuple[Any, Any, int, str | None]:
    context = Context(order=order, device="net")
    parse = codegen.parser(layout, context)
    values, used, problem = dissect.interpret(layout, data, context)
    return (parse(data) if parse else None), values, used, problem


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("layout", LAYOUTS, ids=[f"{i}-{layout.name}" for i, layout in enumerate(LAYOUTS)])
def test_generated_equals_construct_for_fitting_payloads(layout: Layout, order: str) -> None:
    @settings(max_examples=15, deadline=None, database=None)
    @given(fitting(layout, order))
    def check(data: bytes) -> None:
        generated, values, used, problem = both(layout, data, order)
        assert problem is None
        assert used == len(data)
        if layout.name not in UNIONS:
            # As JSON, so that the order of the fields is compared too.
            assert json.dumps(generated) == json.dumps(values)

    check()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("layout", LAYOUTS, ids=[f"{i}-{layout.name}" for i, layout in enumerate(LAYOUTS)])
def test_generated_refuses_or_equals_for_any_payload(layout: Layout, order: str) -> None:
    @settings(max_examples=15, deadline=None, database=None)
    @given(st.binary(max_size=100))
    def check(data: bytes) -> None:
        generated, values, used, problem = both(layout, data, order)
        if generated is not None:
            assert problem is None
            assert used == len(data)
            assert generated == values

    check()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("layout", LAYOUTS, ids=[f"{i}-{layout.name}" for i, layout in enumerate(LAYOUTS)])
def test_a_payload_short_of_one_byte_or_with_one_more_is_refused(layout: Layout, order: str) -> None:
    @settings(max_examples=5, deadline=None, database=None)
    @given(fitting(layout, order))
    def check(data: bytes) -> None:
        parse = codegen.parser(layout, Context(order=order, device="net"))
        if parse is not None:
            assert parse(data[:-1]) is None
            assert parse(data + b"\0") is None

    check()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("layout", LAYOUTS, ids=[f"{i}-{layout.name}" for i, layout in enumerate(LAYOUTS)])
def test_build_and_parse_round_trip(layout: Layout, order: str) -> None:
    @settings(max_examples=10, deadline=None, database=None)
    @given(fitting(layout, order))
    def check(data: bytes) -> None:
        declaration = layout.construct(order)
        assert declaration.build(declaration.parse(data)) == data

    check()


def test_every_layout_but_the_crypto_unions_has_a_generated_parser() -> None:
    without = {layout.name for layout in LAYOUTS if codegen.parser(layout, CONTEXT) is None}
    assert without == UNIONS


def test_a_hostile_count_is_refused_without_reading_elements() -> None:
    table = next(layout for layout in LAYOUTS if layout.name == "memory_table")
    parse = codegen.parser(table, CONTEXT)
    assert parse is not None
    assert parse(struct.pack("<II", 0xFFFFFFFF, 0) + bytes(64)) is None


def test_a_field_longer_than_the_limit_goes_to_construct() -> None:
    parse = parser_of(Struct("n" / Int32ul, "data" / Bytes(this.n)))
    assert parse is not None
    size = codegen.BYTES_LIMIT
    assert parse(struct.pack("<I", size) + bytes(size)) == {"n": size, "data": "00" * size}
    assert parse(struct.pack("<I", size + 1) + bytes(size + 1)) is None


@pytest.mark.parametrize(
    "declaration",
    [
        Int32ul,
        Struct("a" / Int32ul, "b" / If(this.a == 1, Int32ul)),
        Struct("a" / Int16ul, "b" / Int16ub),
        Struct("a" / Int32ul, Padding(4)),
        Struct("a" / Int32ul, "b" / Bytes(this.a), "c" / Int32ul),
        Struct("a" / Int32ul, "b" / Bytes(this._.a)),
        Struct("a" / Int32ul, "b" / Bytes(lambda context: context.a)),
        Struct("a" / Int32ul, "b" / Computed(7)),
        Struct("a" / Int32ul, "b" / Computed(BinExpr(operator.pow, this.a, 2))),
        Struct("a" / Bytes(codegen.BYTES_LIMIT + 1)),
    ],
)
def test_shapes_it_does_not_know_have_no_parser(declaration: Any) -> None:
    assert parser_of(declaration) is None


def test_nested_structs_arrays_and_late_computed_fields() -> None:
    declaration = Struct(
        "head" / Struct("kind" / Int8ub, "flags" / Int8ub),
        "pair" / Array(2, Int16ul),
        "n" / Int32ul,
        "twice" / Computed(this.n * 2 + 1),
        "items" / Array(this.n, Struct("id" / Int8ub, "tag" / Bytes(2))),
        "low" / Computed(lambda values: values["n"] & 1),
    )
    parse = parser_of(declaration)
    assert parse is not None
    data = bytes.fromhex("01 02 0300 0400 02000000 0a 6162 0b 6364")
    assert parse(data) == {
        "head": {"kind": 1, "flags": 2},
        "pair": [3, 4],
        "n": 2,
        "twice": 5,
        "items": [{"id": 10, "tag": "6162"}, {"id": 11, "tag": "6364"}],
        "low": 0,
    }
    layout = Layout("mixed", lambda order: declaration)
    assert dissect.interpret(layout, data, CONTEXT) == (parse(data), len(data), None)


def test_a_broken_declaration_is_a_sentence() -> None:
    def broken(order: str) -> Any:
        raise RuntimeError("no such order")

    layout = Layout("broken", broken)
    assert codegen.parser(layout, CONTEXT) is None
    values, used, problem = dissect.interpret(layout, b"abc", CONTEXT)
    assert (values, used) == (None, 0)
    assert problem == "layout broken is broken: RuntimeError: no such order"


def test_an_adapter_that_raises_is_left_to_construct() -> None:
    def fail(values: Any) -> int:
        raise ValueError("not today")

    declaration = Struct("a" / Int32ul, "b" / Computed(fail))
    parse = parser_of(declaration)
    assert parse is not None
    assert parse(bytes(4)) is None
    values, used, problem = dissect.interpret(Layout("failing", lambda order: declaration), bytes(4), CONTEXT)
    assert values is None
    assert used == 0
    assert problem is not None
    assert "not today" in problem
