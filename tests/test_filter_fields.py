"""Every field of every layout has a name in filters, each name means one thing, and the reference page knows them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from payload_examples import Example
from payload_examples.every import EXAMPLES

from captures import synthetic
from vusniff.analysis.timeline import Timeline, read_all
from vusniff.capture.index import Index
from vusniff.channel import Channel
from vusniff.families.registry import channels
from vusniff.families.vhost_user.protocol import Channels
from vusniff.filter import compile_filter, payload
from vusniff.filter.compiler import NOWHERE
from vusniff.filter.completion import complete
from vusniff.filter.field import Origin, ValueKind
from vusniff.filter.fields import STATIC, fields, requests, words_of
from vusniff.filter.leaves import EVERY, leaves
from vusniff.filter.payload import forms, name_of
from vusniff.filter.reference import page
from vusniff.layouts import dissect
from vusniff.message import Alternatives, Layout, Message


def layouts() -> Iterator[Layout]:
    for dissector in dissect.load().values():
        choices: list[Any] = [dissector.ack]
        for spec in dissector.specs.values():
            choices += [spec.payload, spec.reply]
        for choice in choices:
            if isinstance(choice, Alternatives):
                yield from choice.layouts
            elif isinstance(choice, Layout):
                yield choice


def test_every_field_of_every_layout_has_a_name() -> None:
    known = fields()
    for layout in layouts():
        found = list(leaves(layout))
        assert found, layout.name
        names = [name_of(layout.name, path) for path, _ in found]
        assert len(set(names)) == len(names), f"{layout.name}: two fields of one name"
        for name, (path, _) in zip(names, found, strict=True):
            assert known[name].origin is Origin.PAYLOAD
            assert known[name].several or EVERY not in path


def plain(values: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The values of a decoded payload, without the names that stand beside numbers."""
    for name, value in values.items():
        if re.sub("_names?$", "", name) in values and name.endswith(("_name", "_names")):
            continue
        if isinstance(value, dict):
            yield from plain(value, (*path, name))
        elif isinstance(value, list):
            for one in value:
                yield from plain(one, (*path, name)) if isinstance(one, dict) else [((*path, name), one)]
        elif value is not None:
            yield (*path, name), value


@pytest.mark.parametrize("one", EXAMPLES, ids=lambda one: f"{one.channel}-{one.request}-{one.layout}")
def test_fields_read_what_was_decoded(one: Example) -> None:
    data = bytes.fromhex(one.hex)
    decoded = dissect.payload(one.channel, one.request, one.reply, data, 0, one.context)
    message = Message(
        *(1, 0, 1, 1, one.channel, None, one.request, decoded.name, 5 if one.reply else 1, len(data)),
        payload=decoded.payload,
        data=bytes(12) + data,
        layout=decoded.layout,
    )
    for path, value in plain(one.payload):
        field = fields()[name_of(decoded.layout or "", path)]
        read = field.read(message, NOWHERE)
        if field.kind is ValueKind.BYTES:
            value = bytes.fromhex(value)
        assert value in read if field.several else value == read, field.name


def test_names_are_wiresharks_kind_of_names() -> None:
    for name in fields():
        assert re.fullmatch(
            r"(vhost|vring|vfio|vduse|call|fd|proc|sock|finding|stack|log|ring|state)(\.[a-z0-9_]+)+|stack|errno", name
        ), name
    assert len({one.name for one in STATIC}) == len(STATIC)
    assert not {one.name for one in STATIC} & set(payload.fields())


def test_words_for_values_are_there() -> None:
    known = fields()
    assert "SET_MEM_TABLE" in words_of(known["vhost.request"])
    assert "MRG_RXBUF" in words_of(known["vhost.features"])
    assert words_of(known["finding.severity"]) == ("note", "warning", "error")
    assert "UPDATE" in words_of(known["vhost.iotlb.type"])
    for field in known.values():
        if field.origin is not Origin.PAYLOAD:
            assert not field.keys


@pytest.mark.parametrize("channel", [Channels.MAIN, Channels.BACKEND, Channels.GPU])
def test_requests_of_every_channel_are_found_and_completed_by_name(channel: Channel, tmp_path: Path) -> None:
    synthetic.every(tmp_path / "every.pcapng")
    timeline = Timeline(Index(tmp_path / "every.pcapng"))
    read_all(timeline)
    messages = list(timeline.messages())
    played = {one.request for one in messages if one.channel is channel}
    assert played
    for spec in dissect.load()[channel].specs.values():
        if spec.code not in played:
            continue
        meant = [one.number for one in messages if (one.channel, one.request) == (channel, spec.code)]
        for name in (spec.name, f"VHOST_USER_{spec.name}", f'"{spec.name}"', *spec.aliases):
            assert [row + 1 for row in compile_filter(f"vhost.request == {name}").rows(timeline)] == meant
        for typed in (spec.name[:-1], f"VHOST_USER_{spec.name[:-1]}", spec.name[:-1].lower()):
            text = f"vhost.request == {typed}"
            offered = {one.text: one for one in complete(text, len(text))}
            assert offered[spec.name].start == text.index(typed)


def test_requests_have_their_older_names() -> None:
    assert requests()["SET_MEM_TABLE"] == ((Channels.MAIN, 5), ("kernel", 0x4008AF03), ("vdpa", 0x4008AF03))
    for channel, dissector in dissect.load().items():
        for spec in dissector.specs.values():
            for name in (spec.name, *spec.aliases):
                assert (channel, spec.code) in requests()[name.removeprefix("VHOST_USER_")]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("VIRTIO_NET_F_MRG_RXBUF", ("VIRTIO_NET_F_MRG_RXBUF", "NET_F_MRG_RXBUF", "MRG_RXBUF")),
        ("VIRTIO_RING_F_EVENT_IDX", ("VIRTIO_RING_F_EVENT_IDX", "RING_F_EVENT_IDX", "EVENT_IDX")),
        ("VHOST_F_LOG_ALL", ("VHOST_F_LOG_ALL", "F_LOG_ALL", "LOG_ALL")),
        ("MQ", ("MQ",)),
    ],
)  # fmt: skip
def test_bits_have_short_names(name: str, expected: tuple[str, ...]) -> None:
    assert forms(name) == expected


@pytest.mark.parametrize("payload", [{"index": "x"}, {"index": None}, {"index": [1]}, {}, None, {"index": {"a": 1}}])
def test_payloads_of_other_shapes_have_no_value(payload: dict[str, Any] | None) -> None:
    message = Message(1, 0, 1, 1, Channels.MAIN, None, 8, "SET_VRING_NUM", 1, 8, payload, b"", layout="vring_state")
    assert fields()["vring.index"].read(message, NOWHERE) is None


@pytest.mark.parametrize("payload", [{"regions": 5}, {"regions": [5, {"size": "x"}, {"size": 7}]}, None, {}])
def test_lists_of_other_shapes_have_only_what_fits(payload: dict[str, Any] | None) -> None:
    message = Message(1, 0, 1, 1, Channels.MAIN, None, 5, "SET_MEM_TABLE", 1, 8, payload, b"", layout="memory_table")
    found = fields()["vhost.mem.size"].read(message, NOWHERE)
    assert found == ([7] if payload and isinstance(payload.get("regions"), list) else [])


def test_the_reference_page_has_every_field() -> None:
    text = page()
    for name in fields():
        assert f"`{name}`" in text


def test_every_channel_of_every_family_is_a_word_of_the_language(monkeypatch: pytest.MonkeyPatch) -> None:
    other = Channel("other", "other-user", Channels.MAIN.header)
    monkeypatch.setattr("vusniff.filter.fields.channels", lambda: (*channels(), other))
    fields.cache_clear()
    try:
        assert compile_filter("vhost.channel == other").match(MESSAGE) is False
        assert compile_filter("vhost.channel == other").match(replace(MESSAGE, channel=other)) is True
    finally:
        fields.cache_clear()


MESSAGE = Message(1, 0, 1, 1, Channels.MAIN, None, 3, "SET_OWNER", 1, 0, {}, bytes(12))
