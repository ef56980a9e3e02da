"""Which bytes a field is made of: every byte belongs to one field, and a payload that is cut keeps what is whole."""

from __future__ import annotations

import struct
from typing import Any

from construct import Array, Bytes, Computed, If, IfThenElse, Int8ub, Int16ul, Int32ul, Padding, Pass, Struct, this
from hypothesis import given
from hypothesis import strategies as st
from test_codegen import CONTEXT, LAYOUTS, ORDERS, fitting

from vusniff.filter.field import ValueKind
from vusniff.filter.leaves import leaves as leaves_of
from vusniff.layouts import dissect
from vusniff.layouts.parts import Formula, NodeKind, tree
from vusniff.layouts.spans import Span, spans, walk
from vusniff.message import Layout

HOLDERS = (NodeKind.STRUCTURE, NodeKind.ARRAY)
REGION = struct.pack("<4Q", 1, 2, 3, 4)


def made(declaration: Any) -> Layout:
    return Layout("made", lambda order: declaration)


def leaves(layout: Layout, data: bytes, order: str) -> list[Span]:
    return [span for span in walk(layout, data, order, len(data)) if span.node.kind not in HOLDERS]


@given(st.data())
def test_fields_are_all_the_bytes_in_order_and_a_cut_leaves_those_before_it(
    data: st.DataObject,
) -> None:
    layout, order = data.draw(st.sampled_from(LAYOUTS)), data.draw(st.sampled_from(ORDERS))
    payload = data.draw(fitting(layout, order))
    found = leaves(layout, payload, order)
    assert [span.start for span in found] == [0, *(span.stop for span in found)][: len(found)]
    assert (found[-1].stop if found else 0) == len(payload)
    cut = data.draw(st.integers(0, len(payload)))
    before = [(span.path, span.start, span.stop) for span in found if span.stop <= cut]
    assert [span[:3] for span in leaves(layout, payload[:cut], order)] == before


def test_a_table_that_is_cut_keeps_the_places_of_its_whole_fields() -> None:
    table = next(layout for layout in LAYOUTS if layout.name == "memory_table")
    found = spans(table, struct.pack("<II", 3, 0) + REGION + REGION[:20], "little")
    assert list(found)[:3] == ["num_regions", "padding", "regions[0]"]
    assert found["regions[0]"][1:3] == (8, 40)
    assert found["regions[1].size"][1:3] == (48, 56)
    assert "regions[1]" not in found
    assert "regions" not in found


def test_a_hostile_count_ends_at_the_last_byte_and_only_the_first_elements_have_names() -> None:
    layout = made(Struct("n" / Int32ul, "items" / Array(this.n, Int8ub), "last" / Int8ub))
    found = spans(layout, struct.pack("<I", 0xFFFFFFFF) + bytes(5000), "little")
    assert len(found) == 1 + 1024
    whole = spans(layout, struct.pack("<I", 5000) + bytes(5001), "little")
    assert whole["items"][1:3] == (4, 5004)
    assert whole["last"][1:3] == (5004, 5005)


def test_a_negative_count_and_elements_of_no_bytes_end() -> None:
    negative = made(Struct("n" / Int8ub, "items" / Array(this.n - 9, Int8ub), "last" / Int8ub))
    assert list(spans(negative, bytes(9), "little")) == ["n"]
    nothing = made(Struct("n" / Int32ul, "items" / Array(this.n, Struct())))
    assert list(spans(nothing, b"\xff" * 8, "little")) == ["n"]


def test_members_of_a_union_unnamed_bytes_and_shapes_that_only_construct_reads() -> None:
    union = made(
        Struct(
            "kind" / Int8ub,
            "pair" / If(this.kind == 1, Struct("a" / Int8ub, "b" / Int16ul)),
            "other" / IfThenElse(this.kind == 1, Int8ub, Bytes(this.kind)),
            Padding(2),
            "twice" / Computed(this.kind * 2),
            "odd" / Bytes(lambda values: values.twice),
        )
    )
    found = spans(union, bytes([1, *range(20)]), "little")
    places = {path: span[1:3] for path, span in found.items()}
    expected = {"kind": (0, 1), "pair": (1, 4), "pair.a": (1, 2), "pair.b": (2, 4), "other": (4, 5), "odd": (7, 9)}
    assert places == expected
    assert [span[1:3] for span in spans(union, bytes([2, *range(20)]), "little").values()] == [(0, 1), (1, 3), (5, 9)]


def test_a_condition_may_leave_out_either_branch() -> None:
    layout = made(
        Struct("kind" / Int8ub, "a" / IfThenElse(this.kind == 1, Pass, Int8ub), "b" / If(this.kind == 1, Pass))
    )
    assert list(spans(layout, bytes([1, 2]), "little")) == ["kind"]
    assert list(spans(layout, bytes([2, 2]), "little")) == ["kind", "a"]
    assert list(leaves_of(layout)) == [(("kind",), ValueKind.NUMBER)]


def test_of_a_payload_that_is_cut_only_what_is_whole_has_values() -> None:
    pairs = made(Struct("n" / Int8ub, "pairs" / Array(this.n, Array(2, Int8ub)), Padding(1), "_hidden" / Int8ub))
    values, used, problem = dissect.interpret(pairs, bytes([3, 1, 2, 3, 4, 5]), CONTEXT)
    assert (values, used) == ({"n": 3, "pairs": [[1, 2], [3, 4]]}, 5)
    assert problem is not None
    assert dissect.interpret(pairs, bytes([1, 2, 3, 0, 4]), CONTEXT) == (
        {"n": 1, "pairs": [[2, 3]], "_hidden": 4},
        5,
        None,
    )
    nested = made(Struct("head" / Struct("a" / Int8ub, "b" / Int16ul), "c" / Int8ub))
    assert dissect.interpret(nested, bytes(2), CONTEXT)[:2] == (None, 0)


def test_a_declaration_that_fails_has_no_spans() -> None:
    def broken(order: str) -> Any:
        raise RuntimeError

    assert spans(Layout("broken", broken), b"abc", "little") == {}


def test_a_tree_tells_offsets_and_sizes_where_they_do_not_vary() -> None:
    root = tree(made(Struct("a" / Int8ub, "n" / Int16ul, "b" / Bytes(this.n * 2), "c" / Int8ub)), "little")
    assert [(node.name, node.offset, node.size) for node in root.parts] == [
        ("a", 0, 1),
        ("n", 1, 2),
        ("b", 3, None),
        ("c", None, 1),
    ]
    count = root.parts[2].count
    assert isinstance(count, Formula)
    assert (count.text, count.term) == ("(n * 2)", ("*", "n", 2))
