"""Explanations: of everything that the tables hold, under every name people use, and of what nothing is called."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vusniff.analysis.timeline import Timeline, read_all
from vusniff.capture.index import Index
from vusniff.channel import Channel
from vusniff.checks.table import RULES
from vusniff.cli import main
from vusniff.errors import VusniffError
from vusniff.families.phase import PhaseKind
from vusniff.families.vhost_user.device import DEVICES
from vusniff.families.vhost_user.protocol import Channels, ProtocolFeature
from vusniff.layouts import dissect
from vusniff.layouts.parts import layouts_of
from vusniff.layouts.rows import FieldRow, rows_of, size_of
from vusniff.message import Context, Layout, MessageSpec
from vusniff.views import prose
from vusniff.views.editions import EDITIONS
from vusniff.views.explain import explain, topics
from vusniff.views.explain_requests import NODES, node_of
from vusniff.views.page import Table
from vusniff.views.topic import Topic
from vusniff.views.words import short_name

CAPTURES = Path(__file__).parent.parent / "captures"
SPECS = [(channel, spec) for channel, one in dissect.load().items() for spec in one.specs.values()]


def only(what: str, kind: str, device: str | None = None) -> Topic:
    found = [topic for topic in topics(what, device) if topic.kind == kind]
    assert len(found) == 1, [topic.page.title for topic in found]
    return found[0]


def names(found: list[Topic]) -> list[tuple[str, str]]:
    return [(topic.kind, topic.name) for topic in found]


@pytest.mark.parametrize(("channel", "spec"), SPECS, ids=lambda value: getattr(value, "name", str(value)))
def test_every_request_is_explained(channel: Channel, spec: MessageSpec) -> None:
    if channel in NODES:
        told = " ".join(explain(f"VHOST_{spec.name}").split())
        assert spec.about in told
        assert (f"{spec.code:#x}" if spec.code > 0x1FF else "what is written and read") in told
        node = node_of(channel, spec.code)
        assert (
            f"on {node}" in told
            or f"and {node}" in told
            or (channel == "vdpa" and spec.code in dissect.load()["kernel"].specs)
        )
        return
    for name in (spec.name, f"VHOST_USER_{spec.name}", spec.name.lower().replace("_", "-"), *spec.aliases):
        assert ("request", spec.name) in names(topics(name))
    assert ("request", spec.name) in names(topics(str(spec.code)))
    text = explain(spec.name)
    assert spec.about in " ".join(text.split())
    assert f"request {spec.code} of the " in text
    assert "needs" in text
    assert "descriptors" in text
    assert "answer" in text
    for layout in (*layouts_of(spec.payload), *layouts_of(spec.reply)):
        for field in rows_of(layout):
            assert field.kind
            assert field.size or field.kind == "worked out"
            assert field.name.strip()


def test_every_section_says_something() -> None:
    seen = 0
    for _, spec in SPECS:
        for topic in topics(spec.name):
            for section in topic.page.sections:
                assert section.title
                assert section.parts or section.title.endswith((": none", ": the same"))
                seen += 1
    assert seen > 3 * len(SPECS)


@pytest.mark.parametrize("feature", list(ProtocolFeature), ids=lambda feature: str(feature.name))
def test_every_protocol_feature_is_explained(feature: ProtocolFeature) -> None:
    assert feature.name is not None
    for name in (feature.name, f"VHOST_USER_PROTOCOL_F_{feature.name}", f"PROTOCOL_F_{feature.name}"):
        text = " ".join(explain(name).split())
        assert prose.PROTOCOL_FEATURES[feature.name] in text
    gated = [spec.name for _, spec in SPECS if spec.requires == feature]
    made = json.dumps(only(feature.name, "protocol feature").page, default=repr)
    assert all(name in made for name in gated)


@pytest.mark.parametrize("device", DEVICES)
def test_every_feature_of_a_device_is_explained(device: str) -> None:
    spec = dissect.spec_of(Channels.MAIN, 2)
    assert spec is not None
    assert isinstance(spec.payload, Layout)
    kind = spec.payload.names["u64"]
    assert not isinstance(kind, type)
    for name, member in kind(Context(device=device)).__members__.items():
        for called in (name, short_name(name)):
            found = [topic for topic in topics(called, device) if topic.kind == "feature"]
            assert name in [topic.name for topic in found]
        bit = int(member).bit_length() - 1
        assert name in [topic.name for topic in topics(str(bit), device)]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.slug)
def test_every_rule_is_explained(rule: MessageSpec) -> None:
    known = next(one for one in RULES if one is rule)  # type: ignore[comparison-overlap]
    assert only(known.id, "rule").page == only(known.slug, "rule").page
    text = " ".join(explain(known.slug).split())
    assert known.words in text
    assert known.section in text
    assert str(known.severity) in text


def test_a_fault_of_one_program_is_not_put_on_another(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "get-vring-base-num"]) == 0
    text = capsys.readouterr().out
    assert "virtio-user" in text
    assert "QEMU itself" not in text


def test_every_phase_is_explained() -> None:
    for kind in PhaseKind:
        assert prose.PHASES[kind][0] in " ".join(explain(kind.value).split())
        assert only(kind.name, "phase").name == kind.value


@pytest.mark.parametrize(
    ("device", "says"),
    [
        ("media", ("device type 48", "Features of its own: none", "8       32    card", "40 bytes", "VIRTIO 1.4")),
        ("net", ("device type 1", "VIRTIO_NET_F_MAC: bit 5", "0       6     mac")),
        ("i2c", ("device type 34", "VIRTIO_I2C_F_ZERO_LENGTH_REQUEST: bit 0", "Config space: none")),
    ],
)
def test_device_types_are_explained(device: str, says: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "--device", device]) == 0
    text = capsys.readouterr().out
    for part in says:
        assert part in text


@pytest.mark.parametrize("name", sorted(EDITIONS))
def test_where_editions_differ_each_is_told(name: str) -> None:
    """Of what nothing is called there is no edition; the text has each edition and what it says."""
    text = " ".join(explain(name).split())
    for edition, words in EDITIONS[name]:
        assert edition in text
        assert words in text


def test_the_newest_edition_and_those_before_are_told() -> None:
    text = " ".join(explain("GET_VRING_BASE").split())
    assert "QEMU 11.1.3 num may be 1 where GET_VRING_BASE_INFLIGHT (bit 20) is negotiated" in text
    assert "September 2026 num of the request is reserved and must be 0" in text
    assert "Must not be sent once CONFIGURE_MEM_SLOTS is negotiated" in " ".join(explain("POSTCOPY_LISTEN").split())
    assert "keep user addresses" in " ".join(explain("GPA_ADDRESSES").split())


def test_prose_is_of_things_that_exist() -> None:
    known = {topic.name for device in (None, *DEVICES) for bit in range(64) for topic in features(bit, device)}
    assert set(prose.FEATURES) <= known
    assert set(prose.PROTOCOL_FEATURES) == {feature.name for feature in ProtocolFeature}


def features(bit: int, device: str | None) -> list[Topic]:
    try:
        return [topic for topic in topics(str(bit), device or "net") if topic.kind == "feature"]
    except VusniffError:
        return []


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("IOTLB_MSG", [("request", "IOTLB_MSG"), ("request", "BACKEND_IOTLB_MSG")]),
        ("VHOST_VDPA_SET_STATUS", [("request", "SET_STATUS")]),
        ("VHOST_NET_SET_BACKEND", [("request", "NET_SET_BACKEND")]),
        ("SET_SLAVE_REQ_FD", [("request", "SET_BACKEND_REQ_FD")]),
        ("VHOST_USER_SLAVE_IOTLB_MSG", [("request", "BACKEND_IOTLB_MSG")]),
        ("scanout", [("request", "GPU_SCANOUT")]),
        (
            "MQ",
            [("protocol feature", "MQ"), ("feature", "VIRTIO_NET_F_MQ"), ("feature", "VIRTIO_BLK_F_MQ")],
        ),
        ("reset-device", [("request", "RESET_DEVICE"), ("protocol feature", "RESET_DEVICE")]),
        ("SLAVE_REQ", [("protocol feature", "BACKEND_REQ")]),
        ("mrg_rxbuf", [("feature", "VIRTIO_NET_F_MRG_RXBUF")]),
        ("VIRTIO_F_VERSION_1", [("feature", "VIRTIO_F_VERSION_1")]),
        ("VHOST_USER_F_PROTOCOL_FEATURES", [("feature", "VHOST_USER_F_PROTOCOL_FEATURES")]),
        ("driver_ok", [("value", "DRIVER_OK")]),
        ("r48", [("rule", "vring-kick-before-num")]),
        ("feature negotiation", [("phase", "feature negotiation")]),
        (
            "0x1",
            [
                *(("request", "GET_FEATURES"), ("request", "BACKEND_IOTLB_MSG")),
                *(("request", "GPU_GET_PROTOCOL_FEATURES"), ("request", "VERSION")),
                *(("request", "IOTLB_MSG"), ("request", "IOTLB_MSG")),
            ],
        ),
    ],
)
def test_all_meanings_of_a_name(what: str, expected: list[tuple[str, str]]) -> None:
    assert names(topics(what)) == expected


def test_a_device_narrows_features() -> None:
    assert names(topics("MQ", "blk")) == [("protocol feature", "MQ"), ("feature", "VIRTIO_BLK_F_MQ")]
    assert names(topics("15", "net")) == [("feature", "VIRTIO_NET_F_MRG_RXBUF")]
    with pytest.raises(VusniffError, match="no such device type"):
        topics("MQ", "toaster")


@pytest.mark.parametrize(
    ("what", "like"),
    [
        ("GET_FEATURS", "did you mean GET_FEATURES"),
        ("RXBUF", "VIRTIO_NET_F_MRG_RXBUF"),
        ("vring-kick-before", "did you mean vring-kick-before-num"),
        ("\x1b[31m", "nothing is called '\\x1b[31m'"),
        ("", "give a request"),
        ("99999999999999999999", "nothing is called"),
        ("9" * 5000, "nothing is called"),
        ("0x" + "f" * 5000, "nothing is called"),
        ("007", "nothing is called"),
    ],
)
def test_what_nothing_is_called(what: str, like: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", what]) == 2
    caught = capsys.readouterr()
    assert like in caught.err
    assert caught.out == ""
    assert caught.err.count("\n") == 1


def rows(text: str) -> dict[str, list[str]]:
    """Field -> offset and size, of the first layout."""
    lines = text.partition("offset  size")[2].partition("\n\n")[0].splitlines()[1:]
    return {words[2]: words[:2] for words in (line.split() for line in lines)}


def test_layouts_are_those_of_the_specification() -> None:
    address = rows(explain("SET_VRING_ADDR"))
    assert address == {
        "index": ["0", "4"],
        "flags": ["4", "4"],
        "descriptor": ["8", "8"],
        "used": ["16", "8"],
        "available": ["24", "8"],
        "log": ["32", "8"],
    }
    table = only("SET_MEM_TABLE", "request").page.sections[1].parts[0]
    assert isinstance(table, Table)
    assert ("8", "32 * num_regions", "regions", "num_regions of these") in table.rows
    assert ("+24", "8", "  mmap_offset", "u64") in table.rows


def test_a_union_lies_in_one_place() -> None:
    spec = dissect.spec_of(Channels.MAIN, 26)
    assert spec is not None
    fields = rows_of(layouts_of(spec.payload)[0])
    at = {field.name: field.offset for field in fields}
    assert (at["sym"], at["asym"], at["session_id"]) == ("8", "8", "1064")
    assert size_of(fields) == "1072 bytes"


def test_a_declaration_that_fails_is_one_field() -> None:
    def broken(order: str) -> object:
        raise RuntimeError(order)

    layout = Layout("odd", broken)
    assert rows_of(layout) == [FieldRow("0", "?", "odd", "RuntimeError", "")]


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "--json", "SET_VRING_NUM"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    told = json.loads(line)
    assert (told["kind"], told["name"]) == ("request", "SET_VRING_NUM")
    payload = next(section for section in told["sections"] if section["title"].startswith("Payload"))
    assert payload["rows"][1] == {"offset": "4", "size": "4", "field": "num", "kind": "u32"}


def test_messages_are_explained_by_their_request() -> None:
    timeline = Timeline(Index(CAPTURES / "qemu-blk.pcapng"))
    read_all(timeline)
    for message in timeline.messages():
        assert explain(message) in explain(message.name)
