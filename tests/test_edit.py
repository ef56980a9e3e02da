"""Edited copies: each change is made and nothing else; mistakes are sentences and leave no file."""

from __future__ import annotations

import stat
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from talk import STEP_NS, Talk, eventfd, memfd, region, u32, u64

from vusniff.analysis.timeline import Timeline, read_all
from vusniff.capture.index import Index
from vusniff.capture.reader import CaptureReader
from vusniff.cli import main
from vusniff.families.vhost_user.protocol import FrontendRequest as F
from vusniff.message import Message
from vusniff.record import Closed, Connection, Frame

GET_FEATURES, FEATURES_REPLY, SET_NUM, MEM_TABLE, ACK, GET_CONFIG, CONFIG_REPLY = range(1, 8)


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    talk = Talk(tmp_path / "original.pcapng")
    peers = talk.connect()
    peers.ask(F.GET_FEATURES)
    peers.answer(F.GET_FEATURES, u64(1 << 30))
    peers.ask(F.SET_VRING_NUM, u32(0, 256))
    table = u32(1, 0) + region(0, 1 << 20, 0x7F0000000000)
    peers.ask(F.SET_MEM_TABLE, table, memfd(7, 1 << 20), need_reply=True)
    peers.answer(F.SET_MEM_TABLE, u64(0))
    peers.ask(F.GET_CONFIG, u32(0, 4, 0) + bytes(4))
    peers.answer(F.GET_CONFIG, u32(0, 4, 0) + b"\1\2\3\4")
    peers.close()
    again = talk.connect()
    again.ask(F.SET_OWNER)
    again.ask(F.SET_VRING_KICK, u64(0), eventfd(9))
    again.close()
    talk.writer.close()
    return talk.path


def edit(capture: Path, *words: str) -> Path:
    target = capture.with_name("edited.pcapng")
    assert main(["edit", str(capture), "-o", str(target), "--force", *words]) == 0
    return target


def messages(capture: Path) -> list[Message]:
    with Index(capture) as index:
        timeline = Timeline(index)
        read_all(timeline)
        return list(timeline.messages())


def records(capture: Path) -> list[Connection | Closed | Frame]:
    with CaptureReader(capture) as reader:
        return [one for one in reader.records() if isinstance(one, Connection | Closed | Frame)]


def history(capture: Path) -> tuple[str, ...]:
    with CaptureReader(capture) as reader:
        list(reader.records())
        return reader.sections[0].edited


def test_a_copy_without_changes_holds_the_same_records_and_says_what_it_is(capture: Path) -> None:
    target = edit(capture)
    assert records(target) == records(capture)
    assert history(target) == ("from original.pcapng",)
    assert history(capture) == ()
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_the_summary_tells_an_edited_copy(capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = edit(capture, "--drop", "6")
    capsys.readouterr()
    assert main(["summary", str(target)]) == 0
    assert "from original.pcapng; drop 6" in capsys.readouterr().out
    assert main(["summary", str(capture)]) == 0
    assert "edited" not in capsys.readouterr().out


def test_the_source_and_the_host_stay_and_changes_add_up(capture: Path) -> None:
    target = edit(capture, "--set", "3.num=512", "--drop", "6")
    again = target.with_name("again.pcapng")
    assert main(["edit", str(target), "-o", str(again), "--repeat", "1"]) == 0
    with CaptureReader(capture) as one, CaptureReader(again) as other:
        list(one.records())
        list(other.records())
        assert (one.sections[0].source, one.sections[0].host) == (other.sections[0].source, other.sections[0].host)
    assert history(again) == ("from original.pcapng", "drop 6", "set 3.num=512", "from edited.pcapng", "repeat 1")


def test_a_dropped_request_takes_its_reply_along(capture: Path) -> None:
    left = messages(edit(capture, "--drop", "1", "--drop", str(CONFIG_REPLY)))
    names = [message.name for message in left if message.session == 1]
    assert names == ["SET_VRING_NUM", "SET_MEM_TABLE", "SET_MEM_TABLE", "GET_CONFIG"]


@pytest.mark.parametrize(
    ("word", "field"),
    [
        ("3.num=1024", lambda one: one.payload["num"] == 1024),
        ("3.payload.index=0x11", lambda one: one.payload["index"] == 0x11),
        ("4.regions[0].size=0", lambda one: one.payload["regions"][0]["size"] == 0),
        ("3.flags=0x11", lambda one: (one.flags, one.payload["num"]) == (0x11, 256)),
        ("3.size=4", lambda one: (one.size, len(one.data)) == (4, 20)),
        ("6.header.size=4", lambda one: (one.size, len(one.data)) == (4, 28)),
        ("6.payload.size=2", lambda one: (one.size, one.data[16:20]) == (16, u32(2))),
        ("3.request=10", lambda one: one.name == "SET_VRING_BASE"),
        ("3.payload=0102", lambda one: (one.size, one.data[12:]) == (2, b"\1\2")),
        ("3.payload=", lambda one: (one.size, one.data[12:]) == (0, b"")),
        ("4.num_regions=200", lambda one: (one.size, one.data[12:16]) == (40, u32(200))),
        ("4.fds=none", lambda one: one.descriptors == ()),
    ],
)
def test_one_value_is_set(capture: Path, word: str, field: Callable[[Message], bool]) -> None:
    number = int(word[0])
    before, after = messages(capture), messages(edit(capture, "--set", word))
    assert field(after[number - 1])
    assert [one.data for one in after if one.number != number] == [one.data for one in before if one.number != number]
    assert (after[number - 1].time_ns, after[number - 1].process) == (
        before[number - 1].time_ns,
        before[number - 1].process,
    )


def test_settings_of_one_message_are_made_in_their_order(capture: Path) -> None:
    changed = messages(edit(capture, "--set", "3.size=99", "--set", "3.payload=aabb", "--set", "3.flags=9"))[2]
    assert (changed.size, changed.flags, changed.data[12:]) == (99, 9, b"\xaa\xbb")


def test_a_delay_moves_the_message_and_all_after_it(capture: Path) -> None:
    before, after = records(capture), records(edit(capture, "--delay", "4=2s", "--delay", "8=500ms"))
    times = [
        (now.time_ns - then.time_ns) / 1e9
        for then, now in zip(before, after, strict=True)
        if isinstance(then, Frame | Closed) and isinstance(now, Frame | Closed)
    ]
    assert times == [0, 0, 0, 2, 2, 2, 2, 2, 2.5, 2.5, 2.5]


def test_a_message_is_repeated(capture: Path) -> None:
    names = [message.name for message in messages(edit(capture, "--repeat", "3=2", "--repeat", "8"))]
    assert names.count("SET_VRING_NUM") == 3
    assert names.count("SET_OWNER") == 2
    assert len(names) == 9 + 3


def test_repeats_are_written_as_they_are_made(tmp_path: Path) -> None:
    """What is kept in memory does not grow with the number of repeats, whatever a message brings along."""
    talk = Talk(tmp_path / "many.pcapng")
    talk.connect().ask(F.SET_MEM_TABLE, u32(1, 0) + region(0, 1, 2), *map(memfd, range(250)))
    talk.writer.close()
    edit(talk.path)  # what is loaded the first time does not count
    tracemalloc.start()
    target = edit(talk.path, "--repeat", "1=300")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert target.stat().st_size > 10 << 20
    assert peak < 2 << 20


def test_descriptors_of_many_messages_are_not_kept(tmp_path: Path) -> None:
    talk = Talk(tmp_path / "many.pcapng")
    peers = talk.connect()
    tracemalloc.start()
    for number in range(250):
        peers.ask(F.SET_MEM_TABLE, u32(1, 0) + region(0, 1, 2), *(memfd(1000 * number + one) for one in range(250)))
        talk.writer.flush()
    now = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    talk.writer.close()
    assert now < 1 << 20


def test_one_session_is_kept_and_numbers_are_those_of_the_original(capture: Path) -> None:
    left = messages(edit(capture, "--session", "2", "--set", "9.fds=none"))
    assert [(one.number, one.name, one.descriptors) for one in left] == [
        (1, "SET_OWNER", ()),
        (2, "SET_VRING_KICK", ()),
    ]
    assert left[0].time_ns == messages(capture)[7].time_ns
    assert left[1].time_ns - left[0].time_ns == STEP_NS


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--drop", "x"], "--drop 'x': name a message by its number, such as 12"),
        (["--drop", "10"], "there is no message #10: there are messages 1 to 9"),
        (["--set", "3"], "--set '3': name message, field and value, such as 12.num=1024"),
        (["--set", "3.nmu=1"], "--set 3.nmu: #3 SET_VRING_NUM: there is no field nmu; did you mean num?"),
        (
            ["--set", "3.num=x"],
            "--set 3.num: #3 SET_VRING_NUM: field num of vring_state is a number of 32 bits, not 'x'",
        ),
        (["--set", "3.size=-1"], "--set 3.size: #3 SET_VRING_NUM: size is a number of 32 bits, not '-1'"),
        (["--set", "3.fds=1"], "--set 3.fds: #3 SET_VRING_NUM: descriptors can only be left out: fds=none, not '1'"),
        (["--set", "3.payload=0"], "--set 3.payload: #3 SET_VRING_NUM: a payload is given as hex digits"),
        (["--set", "3.header.x=0"], "--set 3.header.x: #3 SET_VRING_NUM: the header has no field x; there are request"),
        (["--set", "6.size=0"], "both the header and the payload have a field size: say header.size or payload.size"),
        (["--set", "1.num=0"], "#1 GET_FEATURES: there is no field num, for its payload is not decoded"),
        (["--delay", "3=soon"], "--delay '3=soon': name message and time, such as 12=2s or 12=500ms"),
        (["--delay", "3=9999999s"], "--delay '3=9999999s'"),
        (["--repeat", "3="], "--repeat '3=': name message and how often more it is said, such as 12 or 12=3"),
        (["--session", "3"], "--session 3: there are sessions 1 to 2"),
        (["--session", "2", "--drop", "1"], "message #1 is not of session 2, which is all that is kept"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_no_file(
    capture: Path, words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    target = capture.with_name("none.pcapng")
    assert main(["edit", str(capture), "-o", str(target), *words]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
    assert not target.exists()


def test_the_original_is_not_written_to(capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = capture.read_bytes()
    link = capture.with_name("link.pcapng")
    link.symlink_to(capture)
    for target in (capture, link):
        assert main(["edit", str(capture), "-o", str(target)]) == 2
        assert "is the capture that is edited" in capsys.readouterr().err
    assert capture.read_bytes() == before


def test_bytes_without_a_header_are_kept_and_cannot_be_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    talk = Talk(tmp_path / "raw.pcapng")
    peers = talk.connect()
    peers.ask(F.SET_OWNER)
    peers.raw(0, b"garbage")
    talk.writer.close()
    assert records(edit(talk.path, "--repeat", "2"))[2:4] == [records(talk.path)[2]] * 2
    assert main(["edit", str(talk.path), "-o", str(tmp_path / "x.pcapng"), "--set", "2.flags=1"]) == 2
    assert "message #2 has no vhost-user header" in capsys.readouterr().err


def test_a_message_larger_than_a_packet_is_edited_whole(tmp_path: Path) -> None:
    talk = Talk(tmp_path / "large.pcapng")
    peers = talk.connect()
    peers.ask(F.SET_OWNER)
    peers.ask(77, bytes(3 << 20))
    peers.ask(F.SET_OWNER)
    talk.writer.close()
    assert [len(one.data) for one in messages(talk.path)] == [12, 12 + (3 << 20), 12]
    assert [one.name for one in messages(edit(talk.path, "--drop", "2"))] == ["SET_OWNER", "SET_OWNER"]
    _, changed, _ = messages(edit(talk.path, "--set", "2.flags=9"))
    assert (changed.flags, len(changed.data)) == (9, 12 + (3 << 20))
