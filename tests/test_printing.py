"""``vusniff read`` and ``vusniff state`` as a user runs them, and the pieces they are made of."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from talk import START_NS, STEP_NS, Talk, eventfd, memfd, region, u32, u64

from captures import synthetic
from vusniff.capture.writer import CaptureWriter
from vusniff.cli import main
from vusniff.families.vhost_user.protocol import FrontendRequest as F
from vusniff.record import Frame
from vusniff.views import words
from vusniff.views.jsonl import encode, message_dict
from vusniff.views.text import message_line

USER = 0x7F0000000000


@pytest.fixture
def talk(tmp_path: Path) -> Talk:
    return Talk(tmp_path / "talk.pcapng")


@pytest.fixture
def every(tmp_path: Path) -> Path:
    path = tmp_path / "every.pcapng"
    synthetic.every(path)
    return path


def session(talk: Talk) -> None:
    peers = talk.connect(comms=("qemu-system-x86", "dpdk-testpmd"))
    peers.ask(F.GET_FEATURES)
    peers.answer(F.GET_FEATURES, u64(0x140618000))
    peers.ask(F.SET_FEATURES, u64(0x140010000))
    peers.ask(F.SET_MEM_TABLE, u32(1, 0) + region(0, 1 << 30, USER), memfd(51), need_reply=True)
    peers.answer(F.SET_MEM_TABLE, u64(0))
    peers.ask(F.SET_VRING_ADDR, u32(1, 0) + u64(USER, USER + 0x2000, USER + 0x1000, 0))
    peers.ask(F.SET_VRING_KICK, u64(1), eventfd(10))
    peers.ask(77, b"abc")
    peers.raw(0, b"no header at all")
    peers.ask(F.SET_VRING_NUM, b"\1\0")
    talk.writer.flush()


def lines(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    assert main(list(words)) == 0
    return capsys.readouterr().out.splitlines()


def test_one_line_a_message_with_the_values_that_matter(talk: Talk, capsys: pytest.CaptureFixture[str]) -> None:
    session(talk)
    got = lines(capsys, "read", str(talk.path))
    assert len(got) == 10
    assert (
        got[1].split()
        == (
            "2 0.001000 1 front <- back GET_FEATURES reply 0x140618000 MRG_RXBUF CTRL_VQ CTRL_RX MQ"
            " PROTOCOL_FEATURES VERSION_1 (to #1 after 1.00 ms)"
        )
        .replace("CTRL_VQ CTRL_RX MQ", names_of(0x140618000))
        .split()
    )
    assert 'SET_MEM_TABLE need_reply       1 region: 0x0+1G [memfd:51 "guest-ram" 1G]' in got[3]
    assert got[4].endswith("SET_MEM_TABLE ack              success (to #4 after 1.00 ms)")
    assert "vring 1 descriptor 0x7f0000000000 available 0x7f0000001000 used 0x7f0000002000" in got[5]
    assert got[6].endswith("vring 1 [eventfd:10]")
    assert got[7].endswith("REQUEST_77                     +3 bytes 61 62 63")
    assert "16 bytes: 6e 6f 20 68 65 61 64 65 72" in got[8]
    assert "MALFORMED: " in got[9]


def names_of(value: int) -> str:
    bits = {15: "MRG_RXBUF", 16: "STATUS", 17: "CTRL_VQ", 21: "GUEST_ANNOUNCE", 22: "MQ"}
    return " ".join(name for bit, name in bits.items() if value >> bit & 1 and bit != 15)


def test_lines_are_the_same_whether_streamed_or_made_one_by_one(
    every: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from vusniff.analysis.timeline import Timeline, read_all
    from vusniff.capture.index import Index

    timeline = Timeline(Index(every))
    read_all(timeline)
    first = timeline.time_ns(0)
    assert lines(capsys, "read", str(every)) == [message_line(message, first) for message in timeline.messages()]


def test_bytes_without_a_header_are_not_shown_as_a_message_of_the_same_bytes(
    talk: Talk, capsys: pytest.CaptureFixture[str]
) -> None:
    peers = talk.connect()
    # With an unassigned flag: of other bytes the reader would find that they are a message.
    peers.say(peers.front, F.SET_VRING_NUM, u32(0, 256), 0x11)
    peers.raw(peers.front, u32(F.SET_VRING_NUM, 0x11, 8, 0, 256))
    talk.writer.close()
    message, raw = lines(capsys, "read", str(talk.path))
    assert "SET_VRING_NUM" in message
    assert "(no header)" in raw
    assert "SET_VRING_NUM" not in raw


@pytest.mark.parametrize("hexadecimal", [False, True])
def test_json_lines_are_the_documented_objects(
    every: Path, talk: Talk, capsys: pytest.CaptureFixture[str], hexadecimal: bool
) -> None:
    session(talk)
    from vusniff.analysis.timeline import Timeline, read_all
    from vusniff.capture.index import Index

    for path in (every, talk.path):
        timeline = Timeline(Index(path))
        read_all(timeline)
        want = [json.loads(encode(message_dict(message, hexadecimal))) for message in timeline.messages()]
        got = lines(capsys, "read", "--json", *(["-x"] if hexadecimal else []), str(path))
        assert [json.loads(line) for line in got] == want
        assert [list(json.loads(line)) for line in got] == [list(one) for one in want]


def test_json_keys(talk: Talk, capsys: pytest.CaptureFixture[str]) -> None:
    session(talk)
    got = [json.loads(line) for line in lines(capsys, "read", "--json", str(talk.path))]
    assert list(got[3]) == [
        "number",
        "time_ns",
        "session",
        "connection",
        "channel",
        "sender",
        "request",
        "name",
        "flags",
        "version",
        "reply",
        "need_reply",
        "size",
        "payload",
        "fds",
        "process",
        "answers",
        "answered_by",
        "latency_ns",
        "malformed",
    ]
    assert got[3]["answered_by"] == 5
    assert got[4]["answers"] == 4
    assert got[3]["time_ns"] == START_NS + 4 * STEP_NS
    assert got[3]["fds"] == [
        {"number": None, "kind": "memfd", "identity": "memfd:51", "name": "guest-ram", "size": 1 << 30}
    ]
    assert got[7]["trailing_hex"] == "616263"
    assert got[8]["request"] is None
    assert got[9]["malformed"]


def test_all_fields_and_bytes(talk: Talk, capsys: pytest.CaptureFixture[str]) -> None:
    session(talk)
    got = "\n".join(lines(capsys, "read", "-v", str(talk.path)))
    assert "    regions[0]:\n        guest_address: 0\n        size: 1073741824 (1G)" in got
    assert "    answers #4 after 1.00 ms" in got
    assert "    left over, 3 bytes:" in got
    got = "\n".join(lines(capsys, "read", "-x", str(talk.path)))
    assert "0000  01 00 00 00 05 00 00 00  08 00 00 00 00 80 61 40  ..............a@" in got


def test_only_one_session(talk: Talk, capsys: pytest.CaptureFixture[str]) -> None:
    session(talk)
    talk.connect("/run/vm2.sock").ask(F.GET_FEATURES)
    talk.writer.flush()
    assert len(lines(capsys, "read", "--session", "2", str(talk.path))) == 1
    assert len(lines(capsys, "read", "--json", "--session", "1", str(talk.path))) == 10


def test_standard_input_is_read_as_it_comes(talk: Talk) -> None:
    session(talk)
    command = [sys.executable, "-m", "vusniff", "read", "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
        assert reader.stdin is not None
        assert reader.stdout is not None
        reader.stdin.write(talk.path.read_bytes())
        reader.stdin.flush()
        first = reader.stdout.readline()
        assert b"GET_FEATURES" in first
        reader.stdin.close()
        assert len(reader.stdout.readlines()) == 9
        assert reader.wait(10) == 0


def test_follow_prints_what_is_added(talk: Talk) -> None:
    session(talk)
    command = [sys.executable, "-m", "vusniff", "read", "--follow", str(talk.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        for _ in range(10):
            reader.stdout.readline()
        talk.connect("/run/vm2.sock").ask(F.SET_OWNER)
        talk.writer.flush()
        assert b"SET_OWNER" in reader.stdout.readline()
        reader.terminate()
        reader.wait(10)


def test_a_reader_that_leaves_is_no_error(talk: Talk) -> None:
    peers = talk.connect()
    for _ in range(20000):
        peers.ask(F.SET_OWNER)
    talk.writer.flush()
    script = f"{sys.executable} -m vusniff read {talk.path} | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, timeout=30, check=False)
    assert done.returncode == 0
    assert done.stderr == b""
    assert done.stdout.count(b"\n") == 1


def test_state_as_tables_and_json(talk: Talk, capsys: pytest.CaptureFixture[str]) -> None:
    session(talk)
    shown = "\n".join(lines(capsys, "state", str(talk.path)))
    assert "Session 1 of 1, after message 10" in shown
    assert "front-end qemu-system-x86 (11), back-end dpdk-testpmd (12)" in shown
    row = next(line for line in shown.splitlines() if line.strip().startswith("1 "))
    assert row.split()[:2] == ["1", "armed"]
    assert "r0+0x1000" in row
    assert "eventfd:10" in row
    (text,) = lines(capsys, "state", "--json", "--at", "4", str(talk.path))
    state: dict[str, Any] = json.loads(text)
    assert (state["session"], state["number"]) == (1, 4)
    assert state["features"] == {
        "value": 0x140010000,
        "names": ["VIRTIO_NET_F_STATUS", "VHOST_USER_F_PROTOCOL_FEATURES", "VIRTIO_F_VERSION_1"],
        "by": 3,
    }
    assert state["regions"][0]["by"] == 4
    assert state["vrings"] == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("state", "--at", "11"), "--at 11: there are messages 1 to 10"),
        (("state", "--session", "2"), "--session 2: there are sessions 1 to 1"),
        (("read", "--device", "toaster"), "--device toaster: no such device type"),
    ],
)
def test_what_cannot_be_shown_is_said_in_one_sentence(
    talk: Talk, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], sentence: str
) -> None:
    session(talk)
    assert main([words[0], str(talk.path), *words[1:]]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


def test_an_empty_capture_is_no_match(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "empty.pcapng"
    writer = CaptureWriter(path, source="test")
    writer.close()
    for command in (["read"], ["state"], ["summary"], ["export", "--format", "jsonl"]):
        assert main([*command, str(path)]) == 1
        said = capsys.readouterr()
        assert said.err.startswith("no messages")
        assert said.err.count("\n") == 1


def test_a_filter_that_nothing_passes_is_said(talk: Talk, capsys: pytest.CaptureFixture[str]) -> None:
    session(talk)
    assert main(["read", "--filter", "vhost.number == 77", str(talk.path)]) == 1
    assert capsys.readouterr() == ("", "no message passes the filter: there is nothing to show\n")


@pytest.mark.parametrize("json_lines", [False, True])
def test_a_cut_file_gives_what_is_whole_and_says_that_it_is_cut(
    talk: Talk, capsys: pytest.CaptureFixture[str], json_lines: bool
) -> None:
    session(talk)
    whole = talk.path.read_bytes()
    talk.path.write_bytes(whole[:-40])
    assert main(["read", *(["--json"] if json_lines else []), str(talk.path)]) == 0
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 9
    assert said.err.count("\n") == 1
    assert str(talk.path) in said.err


def test_bytes_that_are_no_text_are_printed(talk: Talk, capsys: pytest.CaptureFixture[str]) -> None:
    peers = talk.connect("/run/\udcff.sock", comms=("a\udcffb", "c\x1bd"))
    peers.ask(F.GET_FEATURES)
    talk.writer.flush()
    for command in (("read",), ("read", "-v"), ("read", "--json"), ("state",), ("state", "--json")):
        assert main([*command, str(talk.path)]) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_reading_while_a_source_writes_loses_nothing(tmp_path: Path) -> None:
    talk = Talk(tmp_path / "live.pcapng")
    peers = talk.connect()
    talk.writer.flush()
    count = 3001

    def write() -> None:
        for number in range(count):
            talk.writer.frame(Frame(peers.connection.id, 0, START_NS + number, u32(3, 1, 0)))
            talk.writer.flush()

    command = [sys.executable, "-m", "vusniff", "read", "--follow", str(talk.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        writer = threading.Thread(target=write)
        writer.start()
        numbers = [int(reader.stdout.readline().split()[0]) for _ in range(count)]
        writer.join()
        reader.kill()
    assert numbers == list(range(1, count + 1))


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0 ns"),
        (999, "999 ns"),
        (1000, "1.00 us"),
        (35_240, "35.2 us"),
        (999_499, "999 us"),
        (999_500, "1.00 ms"),
        (120_000_000, "120 ms"),
        (2_000_000_000, "2.00 s"),
        (3_600_000_000_000, "3600 s"),
    ],
)
def test_durations(nanoseconds: int, text: str) -> None:
    assert words.duration(nanoseconds) == text


def test_sizes() -> None:
    assert [words.size(number) for number in (0, 1, 4097, 640 << 10, 255 << 20, 1 << 40)] == [
        "0",
        "1",
        "4097",
        "640K",
        "255M",
        "1T",
    ]


def test_help_imports_nothing_heavy() -> None:
    heavy = {"textual", "construct", "bcc", "rich", "msgspec"}
    script = (
        "import sys; from vusniff.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\nprint(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "80"}
    )
    assert not heavy & set(done.stdout.splitlines()[-1].split())
    assert "capture" in done.stdout
