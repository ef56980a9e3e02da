"""The command decode: what people paste, options, text, JSON, and what it refuses."""

from __future__ import annotations

import io
import json
import struct
import subprocess
from pathlib import Path

import pytest

from vusniff.channel import Sender
from vusniff.cli import main
from vusniff.commands.decode import bytes_of, message_of
from vusniff.errors import DissectorError
from vusniff.families.vhost_user.protocol import Channels, ProtocolFeature

SET_VRING_NUM = bytes.fromhex("08000000 01000000 08000000 0100000000010000")
SET_FEATURES = bytes.fromhex("02000000 09000000 08000000 2080004001000000")


@pytest.mark.parametrize(
    "text",
    [
        "0800000001000000080000000100000000010000",
        "08000000 01000000 08000000 01000000 00010000",
        "08:00:00:00:01:00:00:00:08:00:00:00:01:00:00:00:00:01:00:00",
        "0x08, 0x0, 0x0, 0x0, 0x1, 0x0, 0x0, 0x0, 0x08, 0x0,0x0,0x0, 0x1,0x0,0x0,0x0, 0x0,0x1,0x0,0x0",
        r'"\x08\x00\x00\x00\x01\x00\x00\x00\x08\x00\x00\x00\x01\x00\x00\x00\x00\x01\x00\x00"',
        "08 00 00 00\n01 00 00 00\n08 00 00 00\r\n01 00 00 00 00 01 00 00\n",
        "00000000: 0800 0000 0100 0000 0800 0000 0100 0000  ................\n"
        "00000010: 0001 0000                                ....\n",
        "00000000  08 00 00 00 01 00 00 00  08 00 00 00 01 00 00 00  |................|\n"
        "00000010  00 01 00 00                                       |....|\n00000014\n",
        "0000  08 00 00 00 01 00 00 00 08 00 00 00 01 00 00 00   ................\n0010  00 01 00 00   ....\n",
    ],
    ids=["plain", "words", "colons", "c", "escaped", "lines", "xxd", "hexdump", "packet"],
)
def test_hexadecimal_as_people_paste_it(text: str) -> None:
    assert bytes_of(text) == SET_VRING_NUM


def test_a_control_character_behind_an_offset_is_as_good_as_a_blank() -> None:
    assert bytes_of("00000000  01 00 00 00  |....|\n00000004\x1f\n") == b"\1\0\0\0"


def test_the_dumps_of_real_tools(tmp_path: Path) -> None:
    path = tmp_path / "message"
    path.write_bytes(bytes(range(256)))
    for command in (["xxd", str(path)], ["hexdump", "-C", str(path)], ["xxd", "-p", str(path)]):
        try:
            dump = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        except FileNotFoundError:
            continue
        assert bytes_of(dump) == bytes(range(256))


def test_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["decode", "--device", "net", SET_FEATURES.hex()]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("front -> back SET_FEATURES need_reply 0x140008020")
    assert "        VIRTIO_NET_F_MRG_RXBUF" in lines


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["decode", "--json", "--fds", "2", SET_VRING_NUM.hex()]) == 0
    unknown = {"number": None, "kind": "unknown", "identity": None, "name": None, "size": None}
    found = json.loads(capsys.readouterr().out)
    assert found.pop("process", None) is None
    assert found == {
        "number": 1,
        "time_ns": None,
        "session": None,
        "connection": None,
        "channel": "main",
        "sender": "frontend",
        "request": 8,
        "name": "SET_VRING_NUM",
        "flags": 1,
        "version": 1,
        "reply": False,
        "need_reply": False,
        "size": 8,
        "payload": {"index": 1, "num": 256},
        "fds": [unknown, unknown],
        "answers": None,
        "answered_by": None,
        "latency_ns": None,
        "malformed": None,
    }


def test_bytes_left_over_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    message = struct.pack("<III", 3, 1, 2) + b"\xab\xcd"
    assert main(["decode", "--json", message.hex()]) == 0
    assert json.loads(capsys.readouterr().out)["trailing_hex"] == "abcd"


def test_standard_input(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(SET_VRING_NUM.hex(" ") + "\n"))
    assert main(["decode", "-"]) == 0
    assert "SET_VRING_NUM vring 1 size 256" in capsys.readouterr().out


def test_channels_and_senders(capsys: pytest.CaptureFixture[str]) -> None:
    config_change = struct.pack("<III", 2, 1, 0).hex()
    assert main(["decode", "--channel", "backend", config_change]) == 0
    assert "front <- back BACKEND_CONFIG_CHANGE_MSG" in capsys.readouterr().out
    display = struct.pack("<III", 3, 0, 0).hex()
    assert main(["decode", "--channel", "gpu", "--sender", "backend", display]) == 0
    assert "GPU_GET_DISPLAY_INFO" in capsys.readouterr().out
    assert message_of(struct.pack("<IIIQ", 2, 5, 8, 0), Channels.MAIN).sender is Sender.BACKEND
    assert message_of(struct.pack("<IIIQ", 2, 5, 8, 0), Channels.BACKEND).sender is Sender.FRONTEND


def test_protocol_features_choose_the_layout(capsys: pytest.CaptureFixture[str]) -> None:
    table = struct.pack("<IIIII4QII", 5, 1, 48, 1, 0, 0, 4096, 0, 0, 1, 7).hex()
    for words in ("XEN_MMAP", "MQ, VHOST_USER_PROTOCOL_F_XEN_MMAP", "0x20000", "mq xen_mmap"):
        assert main(["decode", "--json", "--protocol-features", words, table]) == 0
        region = json.loads(capsys.readouterr().out)["payload"]["regions"][0]
        assert (region["xen_mmap_flags_names"], region["domid"]) == (["FOREIGN"], 7)
    reply = struct.pack("<IIIQ", 6, 5, 8, 4096).hex()
    assert main(["decode", "--json", "--protocol-features", "LOG_SHMFD,NET_MTU,SLAVE_REQ", reply]) == 0
    assert json.loads(capsys.readouterr().out)["payload"] == {"u64": 4096}


def test_features_choose_the_meaning_of_ring_indices(capsys: pytest.CaptureFixture[str]) -> None:
    base = struct.pack("<IIIII", 10, 1, 8, 0, 0x8005).hex()
    for words, keys in (
        ("RING_PACKED", {"available_index", "available_wrap", "used_index", "used_wrap"}),
        ("VIRTIO_F_RING_PACKED,VIRTIO_NET_F_MQ", {"available_index", "available_wrap", "used_index", "used_wrap"}),
        ("VERSION_1", {"available_index"}),
        ("0x100000000", {"available_index"}),
    ):
        assert main(["decode", "--json", "--device", "net", "--features", words, base]) == 0
        assert set(json.loads(capsys.readouterr().out)["payload"]) == {"index", "num"} | keys
    assert main(["decode", "--json", base]) == 0
    assert json.loads(capsys.readouterr().out)["payload"] == {"index": 0, "num": 0x8005}


def test_a_big_endian_message_is_recognised_by_its_size() -> None:
    message = message_of(struct.pack(">IIIII", 8, 1, 8, 1, 256), Channels.MAIN)
    assert (message.name, message.payload) == ("SET_VRING_NUM", {"index": 1, "num": 256})


def test_a_payload_that_does_not_fit_is_shown_and_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    message = struct.pack("<IIIII", 9, 1, 8, 1, 0).hex()
    assert main(["decode", "--json", message]) == 2
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    assert found["payload"] == {"index": 1, "flags": 0, "flags_names": []}
    assert found["malformed"] in shown.err
    assert shown.err.startswith("vusniff: SET_VRING_ADDR does not fit: 8 bytes are too few for vring_addr")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["hello"], "'h' is not a hexadecimal digit"),
        (["080"], "3 digits do not make whole bytes"),
        (["0800"], "2 bytes are not a message: a header alone has 12"),
        (
            [SET_VRING_NUM.hex()[:-2]],
            "the header says that 8 bytes of payload follow, but 7 do; give the whole message",
        ),
        ([SET_VRING_NUM.hex() * 2], "8 bytes of payload follow, but 28 do; give one message at a time"),
        (["--protocol-features", "MQ,NOPE", SET_VRING_NUM.hex()], "--protocol-features: NOPE is not a known name"),
        (["--features", "NOPE", SET_VRING_NUM.hex()], "--features: NOPE is not a known name"),
        (["--device", "toaster", SET_VRING_NUM.hex()], "--device toaster: no such device type"),
        (["--fds", "254", SET_VRING_NUM.hex()], "--fds 254: a message carries 0 to 253 descriptors"),
        (["--fds", "-1", SET_VRING_NUM.hex()], "--fds -1: a message carries 0 to 253 descriptors"),
    ],
)
def test_what_cannot_be_decoded_is_one_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["decode", *arguments]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("vusniff: ")
    assert sentence in shown.err
    assert shown.err.count("\n") == 1


def test_the_functions_raise_what_the_command_line_prints() -> None:
    with pytest.raises(DissectorError, match="is not a hexadecimal digit"):
        bytes_of("xyz")
    with pytest.raises(DissectorError, match="are not a message"):
        message_of(b"", Channels.MAIN, protocol_features=ProtocolFeature.MQ)


@pytest.mark.parametrize("option", ["--features", "--protocol-features"])
@pytest.mark.parametrize("number", ["-1", str(1 << 64)])
def test_a_mask_fits_in_64_bits(option: str, number: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["decode", f"{option}={number}", "010000000100000000000000"]) == 2
    assert capsys.readouterr().err == f"vusniff: {option}: {number} does not fit in 64 bits\n"
