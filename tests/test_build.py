"""Layouts build as well as they parse: every layout, any bytes, in both byte orders; and one field at a time."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from payload_examples import Example, every

from vusniff.errors import DissectorError
from vusniff.families.vhost_user.protocol import Channels
from vusniff.layouts import dissect
from vusniff.layouts.build import build, replaced
from vusniff.layouts.spans import spans
from vusniff.message import Alternatives, Context, Layout

CONTEXTS = [Context(order=order) for order in ("little", "big")]
TEXTS = {"version"}
"""Layouts with a text up to the end: bytes that are no UTF-8 and a missing zero byte at its end are not kept."""
EXAMPLES = [one for one in every.EXAMPLES if one.hex]


@functools.cache
def all_layouts() -> list[Layout]:
    found: dict[int, Layout] = {}
    for dissector in dissect.load().values():
        choices: list[Any] = [dissector.ack]
        for spec in dissector.specs.values():
            choices += [spec.payload, spec.reply]
        for choice in choices:
            for one in choice.layouts if isinstance(choice, Alternatives) else (choice,):
                if one is not None:
                    found[id(one)] = one
    return list(found.values())


def layout_of(one: Example) -> Layout:
    size = len(bytes.fromhex(one.hex))
    layout = dissect.layout_of(one.channel, one.request, one.reply, size, one.context)
    assert layout is not None
    return layout


@given(st.data())
def test_every_layout_builds_what_it_parsed(data: st.DataObject) -> None:
    layout = data.draw(st.sampled_from(all_layouts()))
    context = data.draw(st.sampled_from(CONTEXTS))
    # A small first word, so that counts and lengths behind it can agree with the bytes that are there.
    head = data.draw(st.sampled_from([b"", *(n.to_bytes(4, context.order) for n in (0, 1, 2, 3))]))  # type: ignore[arg-type]
    payload = head + data.draw(st.binary(max_size=2400))
    values, used, problem = dissect.interpret(layout, payload, context)
    if problem is None and values is not None:
        made = build(layout, values, context)
        if layout.name in TEXTS:
            assert dissect.interpret(layout, made, context)[0] == values
        else:
            assert made == payload[:used]


def test_there_are_layouts_and_each_of_them_has_an_example_that_it_builds() -> None:
    layouts = all_layouts()
    built = set()
    for one in EXAMPLES:
        layout = layout_of(one)
        values = dissect.payload(one.channel, one.request, one.reply, bytes.fromhex(one.hex), 0, one.context).payload
        assert values == one.payload
        assert build(layout, values, one.context) == bytes.fromhex(one.hex)
        built.add(layout.name)
    assert built == {layout.name for layout in layouts}


def test_a_window_into_config_space_is_built_from_its_bytes() -> None:
    layout = dissect.layout_of(Channels.MAIN, 24, True, 22, Context(device="net"))
    assert layout is not None
    data = bytes.fromhex("00000000 0a000000 00000000 525400123456 0100 0200")
    values = dissect.payload(Channels.MAIN, 24, True, data, 0, Context(device="net")).payload
    assert values is not None
    assert values["config"]["mac"] == "52:54:00:12:34:56"
    assert build(layout, values, Context(device="net")) == data


@pytest.mark.parametrize("one", EXAMPLES, ids=lambda one: f"{one.channel}-{one.request}-{one.reply}")
def test_fields_stand_where_their_bytes_are(one: Example) -> None:
    layout, data = layout_of(one), bytes.fromhex(one.hex)
    known = spans(layout, data, one.context.order)
    top = [span for path, span in known.items() if "." not in path and "[" not in path]
    assert top[0].start == 0
    assert [span.start for span in top[1:]] == [span.stop for span in top[:-1]]
    assert top[-1].stop == len(data)


MEMORY = bytes.fromhex("02000000 00000000") + b"".join(
    value.to_bytes(8, "little") for value in (0, 1 << 20, 0x7F0000000000, 0, 1 << 32, 1 << 21, 0x7F8000000000, 1 << 20)
)


def table() -> Layout:
    layout = dissect.layout_of(Channels.MAIN, 5, False, len(MEMORY), Context())
    assert layout is not None
    return layout


def test_one_field_is_changed_and_nothing_else() -> None:
    changed = replaced(table(), MEMORY, "regions[1].size", "0x3000", Context())
    assert changed[48:56] == (0x3000).to_bytes(8, "little")
    assert changed[:48] + changed[56:] == MEMORY[:48] + MEMORY[56:]


def test_a_count_need_not_fit() -> None:
    changed = replaced(table(), MEMORY, "num_regions", "200", Context())
    assert changed == (200).to_bytes(4, "little") + MEMORY[4:]


@pytest.mark.parametrize(
    ("path", "word", "sentence"),
    [
        ("regions[1].sise", "1", "memory_table has no field regions[1].sise; did you mean regions[1].size"),
        ("regions", "1", "field regions of memory_table holds others: name one of them, such as regions[0]"),
        ("num_regions", "-1", "field num_regions of memory_table is a number of 32 bits, not '-1'"),
        ("num_regions", "many", "field num_regions of memory_table is a number of 32 bits, not 'many'"),
        ("regions[0].size", str(1 << 64), "field regions[0].size of memory_table is a number of 64 bits"),
    ],
)
def test_what_cannot_be_set_is_named(path: str, word: str, sentence: str) -> None:
    with pytest.raises(DissectorError) as caught:
        replaced(table(), MEMORY, path, word, Context())
    assert str(caught.value).startswith(sentence)


def test_text_fields_take_text() -> None:
    mac = dissect.layout_of(Channels.MAIN, 19, False, 8, Context())
    assert mac is not None
    assert replaced(mac, bytes(8), "mac", "52:54:00:12:34:56", Context()) == bytes.fromhex("525400123456 0000")
    assert replaced(mac, bytes(8), "unused", "beef", Context()) == bytes.fromhex("000000000000 beef")
    with pytest.raises(DissectorError, match="field unused of rarp_mac has 2 bytes, given as hex digits, not 'bee'"):
        replaced(mac, bytes(8), "unused", "bee", Context())


def test_values_that_do_not_fit_are_a_sentence() -> None:
    with pytest.raises(DissectorError, match="the values do not fit memory_table"):
        build(table(), {"num_regions": 1, "padding": 0}, Context())


@given(st.binary(max_size=64), st.text(max_size=12), st.text(max_size=12))
def test_nothing_but_the_one_error_comes_out(data: bytes, path: str, word: str) -> None:
    try:
        changed = replaced(table(), data, path, word, Context())
    except DissectorError:
        return
    assert len(changed) == len(data)
