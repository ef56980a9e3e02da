"""One byte-for-byte example of every request and every reply, and the tables against a list of facts."""

from __future__ import annotations

from typing import Any

import pytest
from payload_examples import BLK, LOG_SHMFD, MAIN, NET, PACKED, PLAIN, POSTCOPY, REPLY, REQUEST, SPLIT, XEN, Example
from payload_examples.every import EXAMPLES
from payload_examples.facts import FACTS
from vusniff_dissectors import DISSECTORS, config_space, features

from vusniff.channel import Channel
from vusniff.families.vhost_user.device import DEVICE_IDS
from vusniff.families.vhost_user.protocol import ProtocolFeature, request_name
from vusniff.layouts import dissect
from vusniff.message import Alternatives, Layout, MessageSpec

UP_TO_THE_END = ("data", "bitmap", "capabilities", "rest")
"""Fields of vfio-user, and of calls to the kernel, that take all that is left of a payload."""
UP_TO_THE_END_OF = ("vdpa_config", "vduse_config", "vduse_device", "features_array")
"""Layouts that do."""
NEVER_ASSIGNED = 1000
"""Numbers from here on are those of programs: the specification never had them."""


def name_of(one: Example) -> str:
    return f"{one.channel}-{one.request}-{'reply' if one.reply else 'request'}-{len(bytes.fromhex(one.hex))}"


@pytest.mark.parametrize("one", EXAMPLES, ids=name_of)
def test_every_request_and_reply_byte_for_byte(one: Example) -> None:
    data = bytes.fromhex(one.hex)
    decoded = dissect.payload(one.channel, one.request, one.reply, data, 0, one.context)
    assert decoded.payload == one.payload
    assert decoded.malformed is None
    assert decoded.trailing == b""
    assert decoded.layout == one.layout


@pytest.mark.parametrize("one", EXAMPLES, ids=name_of)
def test_examples_fill_their_layout(one: Example) -> None:
    data = bytes.fromhex(one.hex)
    longer = dissect.payload(one.channel, one.request, one.reply, data + b"\x5a", 0, one.context)
    taken = any(name in (longer.payload or {}) for name in UP_TO_THE_END) or one.layout in UP_TO_THE_END_OF
    assert longer.trailing or longer.malformed or longer.layout != one.layout or taken


def test_every_request_and_every_kind_of_reply_has_an_example() -> None:
    shown = {(one.channel, one.request, one.reply) for one in EXAMPLES}
    wanted = set()
    for dissector in dissect.load().values():
        for code, spec in dissector.specs.items():
            wanted.add((dissector.channel, code, REQUEST))
            if spec.answered or dissector.ack is not None:
                wanted.add((dissector.channel, code, REPLY))
    assert wanted - shown == set(), "tests/payload_examples: add an example of each of these (channel, number, reply)"
    assert shown - wanted == set(), "no table of dissectors/vusniff_dissectors has a row for these examples"


ROWS = [(dissector.channel, spec) for dissector in DISSECTORS for spec in dissector.specs.values()]


def row_name(row: Any) -> str:
    return row.name if isinstance(row, MessageSpec) else str(row)


def test_the_tables_hold_every_request_of_the_facts() -> None:
    assert {dissector.channel for dissector in DISSECTORS} == set(FACTS)
    for dissector in DISSECTORS:
        assert set(dissector.specs) == set(FACTS[dissector.channel]), "add a line to tests/payload_examples/facts.py"
        assert all(code == spec.code for code, spec in dissector.specs.items())


@pytest.mark.parametrize(("channel", "spec"), ROWS, ids=row_name)
def test_a_row_agrees_with_the_facts(channel: Channel, spec: MessageSpec) -> None:
    assert spec.code in FACTS[channel], "add a line to tests/payload_examples/facts.py: what the specification says"
    sizes, reply_sizes, fds, reply_fds, bit = FACTS[channel][spec.code]
    assert spec.fds == fds
    assert spec.reply_fds == reply_fds
    assert spec.answered == (reply_sizes is not None)
    expected = None if bit is None else ProtocolFeature(1 << bit)
    assert spec.requires == expected
    for is_reply, lengths in ((False, sizes), (True, reply_sizes or ())):
        for length in lengths:
            data = bytes(length)
            if spec.name == "SET_MEM_TABLE" and length > 8:
                data = bytes([(length - 8) // 32]) + bytes(length - 1)
            decoded = dissect.payload(channel, spec.code, is_reply, data, 0, PLAIN)
            assert decoded.malformed is None
            assert decoded.trailing == b""


@pytest.mark.parametrize(("channel", "spec"), ROWS, ids=row_name)
def test_a_row_explains_itself(channel: Channel, spec: MessageSpec) -> None:
    assert spec.about.endswith(".")
    assert spec.sent_by
    assert spec.handled_by
    assert spec.section
    assert bool(spec.fds_meaning) == (spec.fds[1] > 0)
    assert bool(spec.reply_fds_meaning) == (spec.reply_fds[1] > 0)
    if spec.code < NEVER_ASSIGNED:
        assert spec.name == request_name(channel, spec.code), "families/vhost_user/protocol.py: add the number and name"
    assert "slave" not in spec.about.lower()


def test_conditional_replies_depend_on_the_context() -> None:
    table = dissect.spec_of(MAIN, 5)
    log = dissect.spec_of(MAIN, 6)
    region = dissect.spec_of(MAIN, 37)
    assert table is not None
    assert table.may_answer is not None
    assert log is not None
    assert log.may_answer is not None
    assert region is not None
    assert region.may_answer is not None
    assert (table.may_answer(PLAIN), table.may_answer(POSTCOPY)) == (False, True)
    assert (region.may_answer(PLAIN), region.may_answer(POSTCOPY)) == (False, True)
    assert (log.may_answer(PLAIN), log.may_answer(LOG_SHMFD)) == (False, True)


def test_alternatives_pick_only_what_they_list() -> None:
    for _, spec in ROWS:
        for choice in (spec.payload, spec.reply):
            if not isinstance(choice, Alternatives):
                continue
            for context in (PLAIN, NET, BLK, PACKED, SPLIT, XEN, LOG_SHMFD, POSTCOPY):
                for size in (0, 1, 8, 12, 16, 20, 24, 26, 32, 40, 72, 2056):
                    picked = choice(context, size)
                    assert picked is None or (isinstance(picked, Layout) and picked in choice.layouts)


def test_feature_names_by_device_type() -> None:
    assert "VIRTIO_BLK_F_RO" in features.features("blk").__members__
    assert "VIRTIO_BLK_F_RO" not in features.features("net").__members__
    for device in (*DEVICE_IDS, None, "unheard-of"):
        members = features.features(device).__members__
        assert "VIRTIO_F_VERSION_1" in members
        assert "VHOST_USER_F_PROTOCOL_FEATURES" in members
        values = [int(member) for member in members.values()]
        assert len(set(values)) == len(values)
        assert all(value & (value - 1) == 0 for value in values)
    assert features.features("net")["VIRTIO_F_ADMIN_VQ"] == 1 << 41
    assert features.features("fs").__name__ == "fs"


def test_protocol_features_are_those_of_the_spine() -> None:
    prefix = "VHOST_USER_PROTOCOL_F_"
    assert {name.removeprefix(prefix): int(bit) for name, bit in features.ProtocolFeatures.__members__.items()} == {
        name: int(bit) for name, bit in ProtocolFeature.__members__.items()
    }


CONFIG_SIZES = {
    "net": 28,
    "blk": 96,
    "console": 12,
    "balloon": 16,
    "scsi": 36,
    "9p": 2,
    "gpu": 20,
    "input": 136,
    "vsock": 8,
    "crypto": 56,
    "iommu": 40,
    "mem": 56,
    "sound": 16,
    "fs": 44,
    "pmem": 16,
    "rpmb": 3,
    "can": 2,
    "bluetooth": 5,
    "gpio": 8,
    "spi": 32,
    "media": 40,
}


def test_config_spaces_have_their_sizes() -> None:
    assert {device: config_space.size_of(device) for device in config_space.DEVICES} == CONFIG_SIZES
    assert set(config_space.DEVICES) <= set(DEVICE_IDS)


def test_config_fields_lie_wholly_in_what_was_read() -> None:
    assert config_space.decode("blk", 0, bytes.fromhex("0000200000000000 00000100")) == {
        "capacity": 0x200000,
        "size_max": 0x10000,
    }
    assert config_space.decode("blk", 4, bytes.fromhex("00000000 00000100 fe")) == {"size_max": 0x10000}
    assert config_space.decode("blk", 16, bytes.fromhex("e803 10 3f")) == {
        "geometry": {"cylinders": 1000, "heads": 16, "sectors": 63}
    }
    assert config_space.decode("blk", 5000, b"\1\2\3") == {}
    assert config_space.decode("blk", 0, b"") == {}


def test_config_of_a_media_device() -> None:
    """Device type 48 of virtio 1.4, "Media Device": capabilities, type, name."""
    data = bytes.fromhex("00002004 00000000") + b"simple_device" + bytes(19)
    assert config_space.decode("media", 0, data) == {
        "device_caps": 0x04200000,
        "device_caps_names": ["V4L2_CAP_EXT_PIX_FORMAT", "V4L2_CAP_STREAMING"],
        "device_type": 0,
        "card": "simple_device",
    }
    assert DEVICE_IDS["media"] == 48


def test_config_of_a_file_system_and_an_input_device() -> None:
    tag = b"myfs" + bytes(32)
    assert config_space.decode("fs", 0, tag + bytes.fromhex("02000000")) == {"tag": "myfs", "num_request_queues": 2}
    named = config_space.decode("input", 0, bytes.fromhex("01 00 05 0000000000") + b"mouse" + bytes(123))
    assert named["string"] == "mouse"
    ids = config_space.decode("input", 0, bytes.fromhex("03 00 08 0000000000 0300 2706 0100 0200") + bytes(120))
    assert ids["ids"] == {"bustype": 3, "vendor": 0x627, "product": 1, "version": 2}
    axis = config_space.decode("input", 0, bytes.fromhex("12 00 14 0000000000 01000000 ffffffff") + bytes(120))
    assert axis["abs"] == {"min": 1, "max": -1, "fuzz": 0, "flat": 0, "res": 0}
    assert config_space.decode("9p", 0, b"\4\0rootx") == {"tag_len": 4, "tag": "root"}
