"""Payloads that do not fit, unknown requests, short captures, foreign dissectors, garbage."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from vusniff_dissectors import DISSECTORS

from vusniff.errors import DissectorError
from vusniff.families.vhost_user.protocol import CHANNELS, Channels
from vusniff.layouts import dissect
from vusniff.message import Context

MAIN, BACKEND, GPU = Channels.MAIN, Channels.BACKEND, Channels.GPU
PLAIN = Context()
REGION = struct.pack("<4Q", 0, 1 << 30, 0x7F0000000000, 0)
REGION_VALUES = {"guest_address": 0, "size": 1 << 30, "user_address": 0x7F0000000000, "mmap_offset": 0}


def request(code: int, data: bytes, missing: int = 0, context: Context = PLAIN) -> dissect.Decoded:
    return dissect.payload(MAIN, code, False, data, missing, context)


def reply(code: int, data: bytes, missing: int = 0, context: Context = PLAIN) -> dissect.Decoded:
    return dissect.payload(MAIN, code, True, data, missing, context)


def test_too_short_names_the_field_and_the_bytes_and_keeps_what_was_whole() -> None:
    decoded = request(9, struct.pack("<IIQ", 1, 1, 0x1000) + b"\x07\x07\x07")
    assert decoded.payload == {"index": 1, "flags": 1, "flags_names": ["VHOST_VRING_F_LOG"], "descriptor": 0x1000}
    assert decoded.malformed == (
        "19 bytes are too few for vring_addr: field used needs 8 bytes at offset 16, 3 are there"
    )
    assert decoded.trailing == b"\x07\x07\x07"
    assert decoded.layout == "vring_addr"


def test_a_table_that_is_cut_keeps_its_whole_regions() -> None:
    decoded = request(5, struct.pack("<II", 3, 0) + REGION + REGION[:20])
    assert decoded.payload == {"num_regions": 3, "padding": 0, "regions": [REGION_VALUES]}
    assert decoded.malformed == (
        "60 bytes are too few for memory_table: field regions.user_address needs 8 bytes at offset 56, 4 are there"
    )
    assert decoded.trailing == REGION[:20]


@pytest.mark.parametrize("count", [2, 9, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_hostile_count_ends_at_the_last_byte(count: int) -> None:
    decoded = request(5, struct.pack("<II", count, 0) + REGION)
    assert decoded.payload == {"num_regions": count, "padding": 0, "regions": [REGION_VALUES]}
    assert decoded.malformed is not None
    assert decoded.trailing == b""


@pytest.mark.parametrize("size", [3, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_hostile_config_size_ends_at_the_last_byte(size: int) -> None:
    decoded = reply(24, struct.pack("<III", 0, size, 0) + b"ab")
    assert decoded.payload == {"offset": 0, "size": size, "flags": 0}
    assert decoded.malformed == (
        f"14 bytes are too few for config: field payload needs {size} bytes at offset 12, 2 are there"
    )
    assert decoded.trailing == b"ab"


def test_a_hostile_rectangle_is_a_sentence() -> None:
    data = struct.pack("<5I", 0, 0, 0, 0xFFFFFFFF, 0xFFFFFFFF)
    decoded = dissect.payload(GPU, 8, False, data, 0, PLAIN)
    assert decoded.payload == {"scanout_id": 0, "x": 0, "y": 0, "w": 0xFFFFFFFF, "h": 0xFFFFFFFF}
    assert decoded.malformed is not None
    assert "data needs 73786976260478468100 bytes at offset 20, 0 are there" in decoded.malformed


def test_an_empty_payload_where_one_is_needed_has_no_values() -> None:
    decoded = request(41, b"")
    assert decoded.payload is None
    assert (
        decoded.malformed == "0 bytes are too few for shared_object: field uuid needs 16 bytes at offset 0, 0 are there"
    )


def test_bytes_left_over_are_kept() -> None:
    decoded = request(3, b"xyz")
    assert (decoded.payload, decoded.malformed, decoded.trailing) == ({}, None, b"xyz")
    decoded = request(8, struct.pack("<II", 1, 256) + b"tail")
    assert decoded.payload == {"index": 1, "num": 256}
    assert (decoded.malformed, decoded.trailing) == (None, b"tail")


def test_the_72_bytes_of_user_mode_linux_are_one_region_and_the_rest() -> None:
    decoded = request(5, struct.pack("<II", 1, 0) + REGION + bytes(32))
    assert decoded.payload == {"num_regions": 1, "padding": 0, "regions": [REGION_VALUES]}
    assert (decoded.malformed, decoded.trailing) == (None, bytes(32))


def test_an_unknown_request_keeps_its_bytes() -> None:
    for channel in CHANNELS:
        decoded = dissect.payload(channel, 4711, False, b"abc", 0, PLAIN)
        assert decoded == ("REQUEST_4711", None, None, None, b"abc", None)
        assert dissect.spec_of(channel, 4711) is None


def test_a_reply_where_the_channel_knows_none_keeps_its_bytes() -> None:
    decoded = dissect.payload(GPU, 7, True, b"abc", 0, PLAIN)
    assert (decoded.name, decoded.payload, decoded.malformed, decoded.trailing) == ("GPU_SCANOUT", {}, None, b"abc")


def test_a_payload_that_was_not_captured_in_full_says_so() -> None:
    whole = struct.pack("<II", 2, 0) + REGION + REGION
    decoded = request(5, whole[:50], missing=len(whole) - 50)
    assert decoded.malformed == "payload not captured in full: 50 of 72 bytes are there"
    assert decoded.payload == {"num_regions": 2, "padding": 0, "regions": [REGION_VALUES]}
    assert decoded.trailing == whole[40:50]
    nothing = request(5, b"", missing=72)
    assert (nothing.payload, nothing.trailing) == (None, b"")
    unknown = request(4711, b"a", missing=1)
    assert unknown.malformed == "payload not captured in full: 1 of 2 bytes are there"


def test_a_size_decides_the_layout_even_when_bytes_are_missing() -> None:
    decoded = request(6, struct.pack("<Q", 4096), missing=8)
    assert decoded.layout == "log"
    assert decoded.payload == {"log_size": 4096}


def test_a_field_of_more_than_64_kib_is_cut_and_says_so() -> None:
    data = struct.pack("<5I", 0, 0, 0, 256, 128) + b"\xab" * (256 * 128 * 4)
    decoded = dissect.payload(GPU, 8, False, data, 0, PLAIN)
    assert decoded.payload is not None
    assert decoded.payload["data"] == "ab" * 65536
    assert decoded.payload["data_truncated"] is True
    assert decoded.payload["data_size"] == 131072
    assert (decoded.malformed, decoded.trailing) == (None, b"")


def test_big_endian_hosts() -> None:
    big = Context(order="big", device="net", packed=True)
    assert request(8, struct.pack(">II", 1, 256), context=big).payload == {"index": 1, "num": 256}
    packed = request(10, struct.pack(">II", 1, 0x80018002), context=big).payload
    assert packed is not None
    assert (packed["available_index"], packed["available_wrap"]) == (2, 1)
    assert (packed["used_index"], packed["used_wrap"]) == (1, 1)
    # Config space stays little-endian: the device is one of VIRTIO 1.
    config = reply(24, struct.pack(">III", 6, 2, 0) + b"\x01\x00", context=big).payload
    assert config is not None
    assert config["config"]["status"] == 1


def test_other_contexts_give_other_values() -> None:
    data = struct.pack("<II", 0, 5)
    first = request(10, data, context=Context(packed=False))
    assert request(10, data, context=Context(packed=False)).payload == first.payload
    assert request(10, data, context=Context(packed=None)).payload == {"index": 0, "num": 5}


def test_what_is_kept_is_bounded() -> None:
    for size in range(dissect.READERS + 10):
        dissect.payload(MAIN, 900_000 + size, False, b"", 0, PLAIN)
    for number in range(100):
        assert request(20, bytes(8), context=Context(device=f"d{number}")).payload == {"u64": 0}
    assert dissect.kept() == dissect.READERS


def interesting_sizes() -> list[int]:
    return [0, 1, 4, 7, 8, 9, 12, 16, 20, 24, 26, 28, 32, 40, 41, 48, 64, 72, 100, 264, 408, 1056, 1072, 2056]


@pytest.mark.slow
@pytest.mark.slow
def test_100000_payloads_of_garbage_raise_nothing_and_lose_no_byte() -> None:
    chance = random.Random(20240131)
    noise = chance.randbytes(1 << 16)
    contexts = [
        Context(order, xen, log, packed, postcopy, device)
        for order in ("little", "big")
        for xen, log, packed, postcopy, device in (
            (False, False, None, False, None),
            (True, True, True, True, "net"),
            (False, True, False, True, "input"),
            (False, False, False, False, "9p"),
        )
    ]
    kinds = [
        (dissector.channel, code, is_reply)
        for dissector in DISSECTORS
        for code in [*dissector.specs, 0, 77, 0xFFFFFFFF]
        for is_reply in (False, True)
    ]
    sizes = interesting_sizes()
    per_kind = 100_000 // len(kinds) + 1
    done = 0
    for channel, code, is_reply in kinds:
        for turn in range(per_kind):
            size = sizes[turn % len(sizes)] if turn % 3 else chance.randrange(300)
            start = chance.randrange(len(noise) - size)
            data = noise[start : start + size]
            if turn % 4 == 0 and size >= 8:
                # Small counts and sizes reach what lies behind them.
                data = struct.pack("<II", chance.randrange(9), chance.randrange(80)) + data[8:]
            missing = 0 if turn % 11 else chance.randrange(50)
            decoded = dissect.payload(channel, code, is_reply, data, missing, contexts[turn % len(contexts)])
            assert data.endswith(decoded.trailing)
            assert decoded.payload is not None or decoded.trailing == data
            assert decoded.malformed is not None or not missing
            done += 1
    assert done >= 100_000


def test_what_garbage_decodes_to_is_plain_json() -> None:
    chance = random.Random(7)
    for dissector in DISSECTORS:
        for code in dissector.specs:
            for size in interesting_sizes():
                decoded = dissect.payload(dissector.channel, code, False, chance.randbytes(size), 0, PLAIN)
                assert json.loads(json.dumps(decoded.payload)) == decoded.payload
                for number in numbers(decoded.payload):
                    assert -(1 << 63) <= number < 1 << 64


def numbers(value: Any) -> Iterator[int]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from numbers(inner)
    elif isinstance(value, int):
        yield value


Install = Callable[[str, str], None]

VENDOR = """
from construct import Int32ul, Struct
from vusniff.message import Dissector, Layout, MessageSpec
from vusniff.channel import Channel
from vusniff.families.vhost_user.protocol import Channels

def fail(context, size):
    raise KeyError("no layout")

HELLO = Layout("hello", lambda order: Struct("greeting" / Int32ul))
SPECS = {
    1000: MessageSpec(1000, "VENDOR_HELLO", payload=HELLO),
    1001: MessageSpec(1001, "VENDOR_BROKEN", payload=fail),
}
DISSECTORS = (Dissector(Channels.MAIN, SPECS),)
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs a distribution ``acme`` with one module and its entry point, for the time of a test."""

    def distribution(module: str, source: str) -> None:
        (tmp_path / f"{module}.py").write_text(source)
        facts = tmp_path / "acme-1.0.dist-info"
        facts.mkdir()
        (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
        (facts / "entry_points.txt").write_text(f"[{dissect.ENTRY_POINTS}]\nacme = {module}:DISSECTORS\n")
        monkeypatch.syspath_prepend(tmp_path)
        dissect.forget()

    yield distribution
    monkeypatch.undo()
    dissect.forget()


def test_a_vendors_requests_stand_beside_ours(install: Install) -> None:
    install("acme_good", VENDOR)
    decoded = request(1000, struct.pack("<I", 7))
    assert decoded.malformed is None
    assert (decoded.name, decoded.payload, decoded.layout) == ("VENDOR_HELLO", {"greeting": 7}, "hello")
    assert request(8, struct.pack("<II", 1, 2)).payload == {"index": 1, "num": 2}
    assert reply(8, bytes(8)).payload == {"u64": 0, "success": True}
    broken = request(1001, b"abc")
    assert (broken.name, broken.payload, broken.trailing) == ("VENDOR_BROKEN", None, b"abc")


def test_a_dissector_that_cannot_be_imported_is_a_sentence(install: Install) -> None:
    install("acme_broken", "raise RuntimeError('half installed')")
    with pytest.raises(DissectorError, match=r"'acme' .* cannot be loaded: RuntimeError: half installed; repair or"):
        dissect.load()


def test_a_dissector_of_another_shape_is_a_sentence(install: Install) -> None:
    install("acme_other", "DISSECTORS = ['not one']")
    with pytest.raises(DissectorError, match=r"'acme' .* is not a tuple of vusniff\.message\.Dissector; repair or"):
        dissect.load()


def test_ours_are_found_through_their_entry_point() -> None:
    assert set(dissect.load()) == {MAIN, BACKEND, GPU, "vfio", "vfio-twin", "kernel", "vdpa", "vduse"}
    assert dissect.load() is dissect.load()
