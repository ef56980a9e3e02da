"""Logs of peers: what they tell of messages, what stands beside these, and that nothing is made up."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import threading
from datetime import datetime, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vusniff.analysis.timeline import Timeline, read_all
from vusniff.capture.index import Index
from vusniff.capture.reader import CaptureReader
from vusniff.channel import Sender
from vusniff.checks.outcome import Outcome
from vusniff.checks.story import verdicts
from vusniff.cli import main
from vusniff.errors import SourceError
from vusniff.families.vhost_user.protocol import Channels
from vusniff.message import Message
from vusniff.record import Closed, FrameKind, LogLine
from vusniff.sources.logs import journal
from vusniff.sources.logs.clock import best, estimate
from vusniff.sources.logs.importing import ImportedLogs, import_log
from vusniff.sources.logs.prefix import parse
from vusniff.sources.logs.reading import FORMATS
from vusniff.told import REST_UNKNOWN, Told, build
from vusniff.told import parse as parse_told

LOGS = Path(__file__).parent / "logs"
B, F = Sender.BACKEND, Sender.FRONTEND
Facts = list[tuple[str, Sender | None, dict[str, object] | None]]


def imported(tmp_path: Path, *names: str, text: str | None = None, **options: object) -> tuple[Timeline, ImportedLogs]:
    target = tmp_path / "out.pcapng"
    paths = [str(LOGS / name) for name in names]
    if text is not None:
        (tmp_path / "text.log").write_text(text)
        paths = [str(tmp_path / "text.log")]
    done = import_log(paths, target, b"", **options)  # type: ignore[arg-type]
    timeline = Timeline(Index(target))
    read_all(timeline, judge=True)
    return timeline, done


def messages(timeline: Timeline) -> list[Message]:
    return list(timeline.messages())


def lines(timeline: Timeline) -> list[LogLine]:
    return [event for _, event in timeline.index.events if isinstance(event, LogLine)]


def closed(timeline: Timeline) -> list[Closed]:
    return [event for _, event in timeline.index.events if isinstance(event, Closed)]


def told(timeline: Timeline) -> Facts:
    """Name, sender, and the values of each message, without names of bits."""
    return [
        (
            one.name,
            one.sender,
            one.payload and {name: value for name, value in one.payload.items() if not name.endswith("_names")},
        )
        for one in messages(timeline)
    ]


def test_dpdk(tmp_path: Path) -> None:
    timeline, done = imported(tmp_path, "dpdk-24.11-testpmd.log")
    region = {"guest_address": 0, "size": 0x40000000, "user_address": 0x7F0000000000, "mmap_offset": 0}
    assert told(timeline) == [
        ("GET_FEATURES", F, {}),
        ("SET_OWNER", F, {}),
        ("SET_VRING_CALL", F, {"u64": 0, "index": 0, "no_fd": False}),
        ("SET_FEATURES", F, {"u64": 0x140008000}),
        ("SET_MEM_TABLE", F, {"num_regions": 1, "padding": 0, "regions": [region]}),
        ("SET_VRING_BASE", F, {"index": 1, "num": 9, "available_index": 9}),
        ("SET_VRING_NUM", F, {}),
    ]
    assert (done.connections, done.messages) == (1, 7)
    assert [len(one.descriptors) for one in messages(timeline)] == [0, 0, 1, 0, 1, 0, 0]
    (end,) = closed(timeline)
    assert (end.reason, end.by) == ('after it wrote "invalid virtqueue size 300"', 1)
    assert [one.text.rpartition(") ")[2] for one in lines(timeline)[-3:]] == [
        "invalid virtqueue size 300",
        "processing VHOST_USER_SET_VRING_NUM failed.",
        "vhost message handling failed.",
    ]
    assert all(one.ends == ((1, 1),) for one in lines(timeline)[-3:])


def test_no_bytes_are_made_up(tmp_path: Path) -> None:
    timeline, _ = imported(tmp_path, "dpdk-24.11-testpmd.log")
    for message in messages(timeline):
        assert (message.data, message.size, message.version) == (b"", 0, 0)
        assert message.told is not None
        assert message.told.where.startswith("dpdk-24.11-testpmd.log:")
    assert {timeline.frame(row).kind for row in range(len(timeline))} == {FrameKind.TOLD}


def test_what_a_log_does_not_tell_is_unknown(tmp_path: Path) -> None:
    timeline, _ = imported(tmp_path, "dpdk-24.11-testpmd.log")
    state = timeline.session_state(1, len(timeline) - 1)
    assert state.features is not None
    assert state.features.value == 0x140008000
    assert state.features_offered is None
    assert state.vrings[1].base is not None
    assert state.vrings[1].num is None
    assert messages(timeline)[-1].malformed == REST_UNKNOWN
    assert timeline.findings == []
    assert timeline.tracker.pending() == []


def test_dpdk_of_old_behind_syslog(tmp_path: Path) -> None:
    timeline, _ = imported(tmp_path, "dpdk-20.11-syslog.log")
    table, stop, answer = messages(timeline)
    assert table.payload is not None
    assert table.payload["regions"][0]["user_address"] == 0x7FFE00000000
    assert (stop.name, stop.malformed, stop.payload) == ("GET_VRING_BASE", REST_UNKNOWN, {"index": 1})
    assert answer.payload == {"index": 1, "num": 41}
    assert (answer.sender, answer.answers) == (B, 2)
    assert closed(timeline)[0].by == 0
    assert {one.program for one in lines(timeline)} == {"vhost"}


def test_dpdk_in_spdk(tmp_path: Path) -> None:
    timeline, _ = imported(tmp_path, "dpdk-21.11-spdk.log")
    kick, enable = messages(timeline)
    assert kick.payload is not None
    assert (kick.payload["index"], kick.payload["no_fd"], kick.descriptors) == (2, True, ())
    assert enable.payload == {"index": 2, "num": 1}
    assert [one.text for one in lines(timeline) if one.level == "error"] == [
        "Session naa.1 doesn't set memory table yet"
    ]


def test_two_ports_of_open_vswitch(tmp_path: Path) -> None:
    timeline, done = imported(tmp_path, "ovs-two-ports.log")
    assert done.connections == 2
    assert {one.session: timeline.sessions[one.session - 1].path for one in messages(timeline)} == {
        1: "/run/ovs/b",
        2: "/run/ovs/a",
    }
    assert sorted(told(timeline), key=str) == [
        ("SET_FEATURES", F, {"u64": 0x140000000}),
        ("SET_STATUS", F, {"u64": 15}),
        ("SET_VRING_CALL", F, {"u64": 1, "index": 1, "no_fd": False}),
    ]
    assert any("VHOST_USER_NEW_ONE" in one.text for one in lines(timeline))
    assert [one.level for one in lines(timeline)].count("error") == 2
    # Open vSwitch connected to a: its end is 0, and the front-end's 1.
    assert {one.session: timeline.frame(one.number - 1).end for one in messages(timeline)} == {1: 0, 2: 1}


def test_tracing_of_qemu(tmp_path: Path) -> None:
    timeline, _ = imported(tmp_path, "qemu-simple-trace.log")
    ask, answer = messages(timeline)
    assert (ask.request, ask.flags, ask.sender, ask.payload) == (1, 1, F, {})
    assert (answer.flags, answer.sender, answer.payload, answer.malformed) == (5, B, {}, REST_UNKNOWN)
    timeline, _ = imported(tmp_path, "qemu-msg-timestamp.log")
    table, acknowledged = messages(timeline)
    assert table.payload is not None
    assert [region["size"] for region in table.payload["regions"]] == [0xA0000, 0x3FF00000]
    assert (table.need_reply, len(table.descriptors)) == (True, 2)
    assert acknowledged.answers == 1
    assert [one.text for one in lines(timeline)][-1] == "Failed to set msg fds."


def test_a_dump_of_libvhost_user_is_nearly_whole(tmp_path: Path) -> None:
    timeline, done = imported(tmp_path, "libvhost-user-table.log")
    table, size, kick, ask = messages(timeline)
    assert table.malformed is None
    assert (table.told and table.told.size, table.flags) == (40, 1)
    assert size.payload == {"index": 0, "num": 256}
    assert kick.payload is not None
    assert kick.payload["index"] == 1
    assert ask.payload == {}
    assert done.notes
    assert "no times" in done.notes[0]


def seen(name: str) -> Timeline:
    """What the proxy saw between the programs, in the run in which one of them wrote the log of this name."""
    timeline = Timeline(Index(LOGS / f"{name}.pcapng"))
    read_all(timeline)
    return timeline


def test_a_dump_of_libvhost_user_agrees_with_the_capture_of_its_run(tmp_path: Path) -> None:
    """contrib/vhost-user-blk of QEMU 7.2, compiled with LIBVHOST_USER_DEBUG: every message that it read, in order."""
    timeline, _ = imported(tmp_path, "vhost-user-blk-7.2.log")
    main = [one for one in seen("vhost-user-blk-7.2").messages() if one.channel is Channels.MAIN]
    real = iter(one for one in main if not one.reply)
    asked: dict[int, Message] = {}
    values = 0
    for one in messages(timeline):
        other = main[(asked[one.answers].answered_by or 0) - 1] if one.reply and one.answers else next(real)
        asked[one.number] = other
        assert (one.request, one.reply, one.sender) == (other.request, other.reply, other.sender)
        assert one.reply or (one.flags, one.told and one.told.size) == (other.flags, other.size)
        assert one.reply or len(one.descriptors) == len(other.descriptors)
        for name, value in (one.payload or {}).items():
            assert (other.payload or {}).get(name) == value, f"#{other.number} {other.name}: {name}"
            values += 1
    assert next(real, None) is None
    assert values > 80
    (end,) = closed(timeline)
    assert (end.reason, end.by) == ("eof", 0), "QEMU hung up, and no message of that is made up"


def test_a_log_of_virtiofsd_agrees_with_the_capture_of_its_run(tmp_path: Path) -> None:
    """virtiofsd 1.13: it says when the front-end came and went, to the second."""
    timeline, _ = imported(tmp_path, "virtiofsd-1.13.log")
    capture = seen("virtiofsd-1.13")
    came, went = (one for one in lines(timeline) if one.text.startswith("Client "))
    (end,) = closed(capture)
    assert came.time_ns // 10**9 == capture.time_ns(0) // 10**9
    assert went.time_ns // 10**9 == end.time_ns // 10**9
    assert "disconnected" in went.text
    assert end.reason == "eof"


def test_virtiofsd_tells_of_no_message(tmp_path: Path) -> None:
    timeline, done = imported(tmp_path, "virtiofsd.log")
    assert len(timeline) == 0
    assert [one.level for one in lines(timeline)] == ["info", "info", "error"]
    assert "no line tells of a message" in done.notes[0]


def test_logs_are_merged_by_time_and_shifted(tmp_path: Path) -> None:
    one = "2024-01-01T00:00:0{}Z|1|dpdk|INFO|VHOST_CONFIG: (/a) read message VHOST_USER_{}\n"
    (tmp_path / "one.log").write_text(one.format(1, "SET_OWNER") + one.format(3, "GET_FEATURES"))
    (tmp_path / "two.log").write_text(one.format(2, "GET_QUEUE_NUM"))
    target = tmp_path / "out.pcapng"
    import_log([str(tmp_path / name) for name in ("one.log", "two.log")], target, shift_ns=-3_600_000_000_000)
    timeline = Timeline(Index(target))
    read_all(timeline)
    assert [message.name for message in timeline.messages()] == ["SET_OWNER", "GET_QUEUE_NUM", "GET_FEATURES"]
    assert timeline.time_ns(0) == 1_704_067_201_000_000_000 - 3_600_000_000_000


def test_lines_alone_stand_beside_a_capture(tmp_path: Path) -> None:
    timeline, done = imported(tmp_path, "dpdk-24.11-testpmd.log", with_messages=False)
    assert len(timeline) == 0
    assert done.messages == 7
    assert lines(timeline)


def test_the_journal(tmp_path: Path) -> None:
    entry = (
        b"__CURSOR=s=1\n__REALTIME_TIMESTAMP=1704067200000001\nPRIORITY=3\nSYSLOG_IDENTIFIER=ovs-vswitchd\n_PID=77\n"
        b"MESSAGE=ovs|00071|dpdk|INFO|VHOST_CONFIG: (/a) read message VHOST_USER_SET_OWNER\n\n"
        b"__CURSOR=s=2\n__REALTIME_TIMESTAMP=1704067200000002\nMESSAGE\n" + (5).to_bytes(8, "little") + b"a\nb c\n\n"
    )
    found = list(journal.lines(io.BytesIO(entry), 2024))
    assert [(one.number, one.time_ns, one.level, one.pid) for one in found] == [
        (1, 1_704_067_200_000_001_000, "error", 77),
        (8, 1_704_067_200_000_002_000, "", None),
    ]
    assert found[1].text == "a\nb c"
    (tmp_path / "journal").write_bytes(entry)
    import_log([str(tmp_path / "journal")], tmp_path / "out.pcapng")
    timeline = Timeline(Index(tmp_path / "out.pcapng"))
    read_all(timeline)
    assert [message.name for message in timeline.messages()] == ["SET_OWNER"]


@pytest.mark.parametrize(
    ("text", "time_ns", "rest", "level", "program", "pid"),
    [
        (
            "2018-09-07T05:20:01.091Z|00071|dpdk|INFO|VHOST_CONFIG: x",
            1536297601091000000,
            "VHOST_CONFIG: x",
            "info",
            "",
            None,
        ),
        ("Oct 24 01:56:22 host vhost[15]: y", 1729734982000000000, "y", "", "vhost", 15),
        ("2024-01-01T01:00:00.5+01:00 host p[1]: y", 1704067200500000000, "y", "", "p", 1),
        ("[2026-01-01T00:00:00Z DEBUG a::b] z", 1767225600000000000, "z", "debug", "a::b", None),
        ("[2021-03-25 23:38:59.8] f.c: 53:fun: *ERROR*: m", 1616715539800000000, "m", "error", "", None),
        ("4711@1790000000.100001:vhost_user_read req:1", 1790000000100001000, "vhost_user_read req:1", "", "", 4711),
        ("2020-07-28 19:20:07.197+0000: start", 1595964007197000000, "start", "", "", None),
        ("qemu-system-x86_64: oh", None, "oh", "", "qemu-system-x86_64", None),
        ("Oct 24 01:56:22 h p[1]: [2026-01-01T00:00:00Z WARN t] q", 1767225600000000000, "q", "warning", "t", 1),
        ("2024-05-01T10:00:00.5Z stderr F [DEBUG a::b] z", 1714557600500000000, "z", "debug", "a::b", None),
        ("[ERROR virtiofsd] z", None, "z", "error", "virtiofsd", None),
        ("12.0126: Flags:   0x1", None, "Flags:   0x1", "", "", None),
        (
            r'{"log":"VHOST_CONFIG: \"a\"\ttold\u00e9\ud800\n","stream":"stdout","time":"2024-05-01T10:00:00.5Z"}',
            1714557600500000000,
            'VHOST_CONFIG: "a"\ttold\u00e9\ufffd',
            "",
            "",
            None,
        ),
        (
            r'time="2024-05-01T10:00:00.5Z" level=warning msg="[2026-01-01T00:00:00Z INFO  v] \"a\"" name=v pid=9',
            1767225600000000000,
            '"a"',
            "info",
            "v",
            None,
        ),
        (
            'time="2024-05-01T10:00:00Z" level=error msg="oh" name=virtiofsd',
            1714557600000000000,
            "oh",
            "error",
            "virtiofsd",
            None,
        ),
        ('{"log": 5}', None, '{"log": 5}', "", "", None),
        ("9999-99-99T99:99:99Z|1|m|INFO|x", None, "x", "info", "", None),
        ("", None, "", "", "", None),
    ],
)
def test_prefixes(text: str, time_ns: int | None, rest: str, level: str, program: str, pid: int | None) -> None:
    line = parse(1, text, 2024)
    assert (line.time_ns, line.text, line.level, line.program, line.pid) == (time_ns, rest, level, program, pid)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "is empty"),
        (b"\x7fELF\0\0\0\0", "is not text"),
        (b"hello\n", "is known"),
        (b"sendmsg(5, {msg_name=NULL}, 0) = 12\n", "vusniff import strace"),
    ],
)
def test_what_is_no_such_log(tmp_path: Path, data: bytes, why: str) -> None:
    (tmp_path / "log").write_bytes(data)
    with pytest.raises(SourceError, match=why):
        import_log([str(tmp_path / "log")], tmp_path / "out.pcapng")
    assert not (tmp_path / "out.pcapng").exists()


PIECES = st.sampled_from([line for path in sorted(LOGS.glob("*.log")) for line in path.read_text().splitlines()])


@settings(max_examples=60, deadline=None)
@given(st.lists(PIECES | st.text(max_size=60), max_size=30), st.sampled_from(sorted(FORMATS)))
def test_no_line_raises(tmp_path_factory: pytest.TempPathFactory, pieces: list[str], wanted: str) -> None:
    folder = tmp_path_factory.mktemp("log")
    (folder / "log").write_text("\n".join(pieces), errors="surrogatepass")
    import_log([str(folder / "log")], folder / "out.pcapng", wanted=wanted)
    timeline = Timeline(Index(folder / "out.pcapng"))
    read_all(timeline, judge=True)
    assert all(message.told is not None for message in timeline.messages())


@pytest.mark.parametrize("wanted", FORMATS)
@pytest.mark.parametrize("digits", ["1" * 5000, "0x" + "f" * 5000], ids=["decimal", "hexadecimal"])
def test_no_number_is_too_long(tmp_path: Path, wanted: str, digits: str) -> None:
    """Python refuses to read or write more than 4300 decimal digits."""
    lines = [line for path in sorted(LOGS.glob("*.log")) for line in path.read_text().splitlines()]
    found = [(line, number) for line in dict.fromkeys(lines) for number in re.finditer(r"(0x)?[0-9a-f]+", line)]
    made = [line[: number.start()] + digits + line[number.end() :] for line, number in found[::7]]
    (tmp_path / "log").write_text("\n".join(made))
    done = import_log([str(tmp_path / "log")], tmp_path / "out.pcapng", wanted=wanted)
    with CaptureReader(tmp_path / "out.pcapng") as reader:
        assert sum(len(batch) for batch in reader.batches()) == done.messages


@given(st.binary(max_size=200) | st.recursive(st.integers() | st.text(max_size=3), st.lists).map(str).map(str.encode))
def test_what_is_not_told_by_us(data: bytes) -> None:
    assert parse_told(data) is None or data.startswith(b"{")
    assert parse_told(build(Told(1, False, "x:1"))) == Told(1, False, "x:1")


def run(*words: object) -> tuple[int, str, str]:
    kept = io.BytesIO()
    with io.TextIOWrapper(kept, "utf-8", write_through=True) as out, contextlib.redirect_stdout(out):
        with contextlib.redirect_stderr(io.StringIO()) as said:
            status = main([str(word) for word in words])
        return status, kept.getvalue().decode(), said.getvalue()


def test_every_view_marks_what_a_log_tells(tmp_path: Path) -> None:
    out = tmp_path / "out.pcapng"
    status, _, said = run("import", "log", LOGS / "dpdk-24.11-testpmd.log", "-o", out)
    assert status == 0
    assert said.startswith("vusniff: 7 messages on 1 connection, 8 other lines\n")
    read = run("read", out)[1]
    assert read.count("(from dpdk-24.11-testpmd.log:") == 7
    assert "SET_VRING_NUM                  (not told)" in read
    assert "MALFORMED" not in read
    assert "# DPDK wrote (dpdk-24.11-testpmd.log:24): VHOST_CONFIG: (/tmp/vhost0) invalid virtqueue size 300" in read
    whole = run("read", "-v", out)[1]
    assert "flags and size not told" in whole
    assert "told by: dpdk-24.11-testpmd.log:5" in whole
    values = [json.loads(line) for line in run("read", "--json", out)[1].splitlines()]
    first = next(one for one in values if "kind" not in one)
    assert (first["flags"], first["size"], first["told"]["where"]) == (None, None, "dpdk-24.11-testpmd.log:5")
    assert run("check", out)[0] == 0
    assert "a log tells of it" in run("check", out)[1] + run("check", out)[2]
    assert "never answered" not in run("summary", out)[1]
    first = run("summary", out)[1].splitlines()[0]
    assert first == 'Refused: the back-end closed the connection, after it wrote "invalid virtqueue size 300".'
    edited = run("edit", out, "--set", "4.u64=1", "-o", tmp_path / "edited.pcapng")
    assert (edited[0], "is told by a log" in edited[2]) == (2, True)
    exported = tmp_path / "r.pcapng"
    assert run("export", "--redact", "--format", "pcapng", out, "-o", exported)[0] == 0
    redacted = run("read", "-v", exported)[1]
    assert "testpmd" not in redacted
    assert "(from log:5)" in redacted
    assert "0x7f0000000000" in redacted


def test_values_are_filtered_as_any(tmp_path: Path) -> None:
    out = tmp_path / "out.pcapng"
    run("import", "log", LOGS / "dpdk-24.11-testpmd.log", "-o", out)
    assert run("read", out, "--filter", "vhost.request == SET_FEATURES")[1].count("\n") == 1


@pytest.mark.parametrize("words", ["x", "1e3", "1" * 30])
def test_what_is_no_shift(tmp_path: Path, words: str) -> None:
    status, _, said = run("import", "log", LOGS / "virtiofsd.log", "-o", tmp_path / "o", f"--shift={words}")
    assert status == 2
    assert "give seconds" in said


# -- beside a capture -------------------------------------------------------------------------------------------------

CAPTURE = Path(__file__).parent.parent / "captures" / "qemu-testpmd.pcapng"


def log_of(capture: Path, late_ns: int) -> tuple[str, int]:
    """What Open vSwitch would have written of a capture, by a clock that is late, and a line of its own; and the number
    of the message that this line stands behind."""
    timeline = Timeline(Index(capture))
    read_all(timeline)
    asked = [one for one in timeline.messages() if not one.reply and one.channel is Channels.MAIN]
    said = [(one.time_ns, f"dpdk|INFO|VHOST_CONFIG: (/x) read message VHOST_USER_{one.name}") for one in asked]
    behind = next(one for one in asked if one.name == "SET_MEM_TABLE")
    said.append((behind.time_ns + 1000, "bridge|WARN|something about a bridge"))
    made = []
    for number, (time_ns, words) in enumerate(sorted(said)):
        when = datetime.fromtimestamp((time_ns - late_ns) // 1000 / 1e6, timezone.utc)
        made.append(f"{when:%Y-%m-%dT%H:%M:%S.%f}Z|{number}|{words}\n")
    return "".join(made), behind.number


def test_a_log_is_put_on_the_clock_of_a_capture(tmp_path: Path) -> None:
    log = tmp_path / "ovs.log"
    log.write_text(log_of(CAPTURE, 3_600_500_000_000)[0])
    found = estimate([CAPTURE], str(log))
    assert found is not None
    assert abs(found.ns - 3_600_500_000_000) < 2_000_000
    assert found.messages > 100
    assert best([], {}) is None
    assert best([(1, False, 5)], {(2, False): [7]}) is None


def test_lines_of_a_log_stand_between_the_messages_of_a_capture(tmp_path: Path) -> None:
    log, lines_only = tmp_path / "ovs.log", tmp_path / "lines.pcapng"
    text, behind = log_of(CAPTURE, 0)
    log.write_text(text)
    assert run("import", "log", log, "--lines-only", "-o", lines_only)[0] == 0
    read = run("read", CAPTURE, lines_only)[1].splitlines()
    at = next(place for place, line in enumerate(read) if "something about a bridge" in line)
    assert read[at].startswith("# DPDK wrote (ovs.log:")
    assert [line.split()[0] for line in (read[at - 1], read[at + 1])] == [str(behind), str(behind + 1)]


def test_a_log_is_shown_beside_a_capture(tmp_path: Path) -> None:
    log, picture = tmp_path / "ovs.log", tmp_path / "x.svg"
    text, behind = log_of(CAPTURE, 7_200_000_000_000)
    log.write_text(text)
    words = ("view", CAPTURE, "--log", log, "--screenshot", picture, "--at", behind, "--size", "160x40")
    status, _, said = run(*words)
    assert status == 0
    assert "messages found in both" in said
    assert "(ovs.log:" in picture.read_text()
    assert run("view", CAPTURE, "--log", log, "--shift", "0", "--screenshot", picture, "--force")[0] == 0
    assert run("view", CAPTURE, "--shift", "0", "--screenshot", picture, "--force")[0] == 2
    assert run("view", "-", "--log", log)[0] == 2


def test_a_log_of_another_program_is_named(tmp_path: Path) -> None:
    log = LOGS / "dpdk-24.11-testpmd.log"
    status, _, said = run("import", "strace", log, "-o", tmp_path / "out.pcapng")
    assert status == 2
    assert (
        said == f"vusniff: {log} is not a log of strace but of DPDK's vhost library: vusniff import log {log} -o OUT\n"
    )


def test_what_came_by_a_fifo_is_not_opened_again(tmp_path: Path) -> None:
    """To open it again waits for a writer that never comes."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = threading.Thread(target=fifo.write_bytes, args=[(LOGS / "dpdk-24.11-testpmd.log").read_bytes()])
    writer.start()
    status, _, said = run("import", "strace", fifo, "-o", tmp_path / "out.pcapng")
    writer.join()
    assert (status, said.startswith(f"vusniff: no vhost-user in {fifo}: ")) == (2, True)
    capture = Path(__file__).parents[1] / "captures" / "qemu-blk.pcapng"
    status, _, said = run("view", capture, "--log", fifo, "--screenshot", tmp_path / "out.svg")
    assert status == 2
    assert said == (f"vusniff: --log: give the capture and the logs as files; {fifo} cannot be read twice\n")


def test_a_verdict_goes_no_further_than_a_log(tmp_path: Path) -> None:
    for name, words in (
        ("dpdk-20.11-syslog.log", "Unknown: the front-end closed the connection; the log does not tell whether"),
        ("libvhost-user-table.log", "Unknown: the log does not tell how it ended; the last message it tells of is "),
        ("ovs-two-ports.log", "Unknown: the front-end closed the connection;"),
    ):
        out = tmp_path / f"{name}.pcapng"
        run("import", "log", LOGS / name, "-o", out)
        assert run("summary", out)[1].startswith(words)


STARTED = """new vhost user connection is 9
read message VHOST_USER_SET_FEATURES
negotiated Virtio features: 0x140000000
read message VHOST_USER_SET_MEM_TABLE
guest memory region size: 0x40000000
guest physical addr: 0x0
guest virtual  addr: 0x7fa58be00000
mmap off  : 0x0
read message VHOST_USER_SET_VRING_KICK
vring kick idx:0 file:20
read message VHOST_USER_SET_VRING_ENABLE
set queue enable: 1 to qp idx: 0
"""


@pytest.mark.parametrize(
    ("left_out", "cause", "says"),
    [
        ("", "", "is SET_VRING_ENABLE (#4), and by then 1 ring had been started."),
        ("ENABLE|queue enable", "vring-never-enabled", "SET_VRING_ENABLE never came, and feature bit 30 asks for it"),
        ("MEM_TABLE|guest|mmap", "nothing-shared", "no memory was shared before rings were started"),
        ("MEM_TABLE|guest|mmap|FEATURES", "", "1 ring had been started."),
    ],
)
def test_what_never_came_by_a_log(tmp_path: Path, left_out: str, cause: str, says: str) -> None:
    told = [line for line in STARTED.splitlines() if not left_out or not re.search(left_out, line)]
    (tmp_path / "log").write_text("".join(f"VHOST_CONFIG: (/a) {line}\n" for line in told))
    import_log([str(tmp_path / "log")], tmp_path / "out.pcapng")
    timeline = Timeline(Index(tmp_path / "out.pcapng"))
    read_all(timeline, judge=True)
    timeline.conclude()
    (verdict,) = verdicts(timeline.checker, timeline.index.time_ns[-1])
    assert (verdict.outcome, verdict.cause) == (Outcome.UNKNOWN, cause)
    assert says in verdict.sentence
