"""``vusniff check`` from capture file to exit code, and the documents it writes."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
import termios
from pathlib import Path
from typing import IO, Any
from xml.etree import ElementTree

import pytest
from peers.processes import wait_until
from talk import Talk, eventfd, memfd, region, u32, u64

from vusniff.checks.finding import Severity
from vusniff.checks.table import BY_SLUG, RULES
from vusniff.cli import main
from vusniff.families.vhost_user.protocol import FrontendRequest as F

CAPTURES = Path(__file__).parent.parent / "captures"
FEATURES = 1 << 32 | 1 << 30
VERDICTS = {
    "virtio-user-packed-reconnect": {"owner-first"},
}
"""Warnings that real programs deserve: see the docstring of each rule."""


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A session with an error, a warning and a note, and one that is joined late."""
    talk = Talk(tmp_path / "broken.pcapng")
    peers = talk.connect(path="/run/\x1b[31mvm1.sock", comms=("qemu-system-x86", "dpdk-testpmd"))
    peers.ask(F.GET_FEATURES)
    peers.answer(F.GET_FEATURES, u64(FEATURES))
    peers.ask(F.SET_OWNER)
    peers.ask(F.SET_VRING_ENABLE, u32(0, 1))
    peers.ask(F.SET_FEATURES, u64(FEATURES | 1))
    peers.ask(
        F.SET_MEM_TABLE, u32(2, 0) + region(0, 1 << 30, 1 << 40) + region(1 << 29, 1 << 30, 1 << 41), memfd(1), memfd(2)
    )
    peers.ask(F.SET_VRING_CALL, u64(0), eventfd(1))
    peers.close()
    late = talk.connect(path="/run/vm2.sock", late=True)
    late.ask(F.SET_VRING_NUM, u32(0, 300))
    talk.writer.close()
    return talk.path


@pytest.fixture
def good(tmp_path: Path) -> Path:
    talk = Talk(tmp_path / "good.pcapng")
    peers = talk.connect()
    peers.ask(F.GET_FEATURES)
    peers.answer(F.GET_FEATURES, u64(FEATURES))
    peers.ask(F.SET_OWNER)
    peers.close()
    talk.writer.close()
    return talk.path


def _out(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str]:
    status = main(["check", *map(str, words)])
    return status, capsys.readouterr().out


def test_findings_are_told_with_side_time_evidence_and_counts(capsys: pytest.CaptureFixture[str], broken: Path) -> None:
    status, out = _out(capsys, broken)
    lines = out.splitlines()
    assert status == 1
    assert lines[0].startswith("Never started: the front-end (qemu-system-x86) closed the connection")
    assert "The probable cause: SET_FEATURES acknowledges bit 0" in lines[0]
    assert "nothing is wrong with the other device." in lines[0]
    assert any(line.startswith("  try") for line in lines[1:6])
    title = next(line for line in lines if line.startswith("session 1"))
    assert "qemu-system-x86 (QEMU) -> dpdk-testpmd (DPDK)" in title
    assert [line.split()[0] for line in lines if "#" in line[10:12]] == [
        "warning",
        "error",
        "note",
    ]
    assert "#5          0.004000  front-end   SET_FEATURES acknowledges bit 0" in out
    assert "features-not-offered (Front-end message types); see also #2" in out
    assert "session 2: it was joined late" in out
    assert lines[-1] == "1 error, 1 warning, 1 note in 8 messages of 2 sessions"
    assert "\x1b" not in out


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ((), 1),
        (("--fail-on", "never"), 0),
        (("--ignore", "memory-overlap-guest"), 0),
        (("--ignore", "memory-overlap-guest", "--fail-on", "warning"), 1),
        (("--ignore", "memory-overlap-guest,features-not-offered", "--fail-on", "warning"), 0),
        (("--ignore", "memory-overlap-guest", "--ignore", "features-not-offered", "--fail-on", "note"), 1),
        (("--rule", "vring-size"), 0),
        (("--rule", "R33"), 1),
    ],
)
def test_the_exit_code_follows_the_worst_finding_asked_for(broken: Path, words: tuple[str, ...], status: int) -> None:
    assert main(["check", str(broken), *words]) == status


def test_a_good_capture_is_fine(capsys: pytest.CaptureFixture[str], good: Path) -> None:
    status, out = _out(capsys, good, "--fail-on", "note")
    assert status == 0
    assert out.startswith("Never started: the front-end (frontend) closed the connection")
    assert out.endswith("\n0 errors, 0 warnings, 0 notes in 3 messages of 1 session\n")


def test_an_empty_capture_is_not_called_good(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    talk = Talk(tmp_path / "empty.pcapng")
    talk.writer.close()
    for form in ("text", "json"):
        assert main(["check", "--format", form, str(talk.path)]) == 1
        assert capsys.readouterr() == ("", "no messages: there is nothing to judge\n")
    assert _out(capsys, talk.path, "--fail-on", "never")[0] == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--rule", "vring-kik-before-num", "x"], "did you mean vring-kick-before-num"),
        (["--ignore", "kick", "x"], "did you mean vring-kick-before-num"),
        (["--ignore", "qqqq", "x"], "vusniff check --list shows them all"),
        ([], "no capture to check"),
        (["--follow", "--format", "sarif", "x"], "does not go with --follow"),
        (["/nowhere.pcapng"], "/nowhere.pcapng"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    assert main(["check", *words]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.startswith("vusniff: ")
    assert error.count("\n") == 1


def test_json_has_one_object_a_finding(capsys: pytest.CaptureFixture[str], broken: Path) -> None:
    _, out = _out(capsys, broken, "--format", "json")
    verdict, other, *found = [json.loads(line) for line in out.splitlines()]
    assert (verdict["kind"], verdict["outcome"], verdict["trouble"]) == ("verdict", "never started", True)
    assert (verdict["cause"], verdict["side"], verdict["message"]) == ("features-not-offered", "frontend", 5)
    assert (other["outcome"], other["trouble"], other["sessions"]) == ("unknown", False, [2])
    assert [finding["rule"] for finding in found] == [
        "vring-enable-not-negotiated",
        "features-not-offered",
        "memory-overlap-guest",
    ]
    assert found[1]["evidence"] == [2, 5]
    assert found[1]["message"] == 5
    assert found[1]["severity"] == "warning"
    assert found[1]["time_ns"] > 0


def test_the_list_has_every_rule(capsys: pytest.CaptureFixture[str]) -> None:
    status, out = _out(capsys, "--list")
    assert status == 0
    assert [line.split()[1] for line in out.splitlines()] == [rule.slug for rule in RULES]


def test_sarif_is_a_log_of_version_2_1_0(capsys: pytest.CaptureFixture[str], broken: Path) -> None:
    status, out = _out(capsys, broken, "--format", "sarif")
    log = json.loads(out)
    assert status == 1
    _holds_sarif(log)
    results = log["runs"][0]["results"]
    assert [result["ruleId"] for result in results] == [
        "vring-enable-not-negotiated",
        "features-not-offered",
        "memory-overlap-guest",
    ]
    assert results[1]["relatedLocations"][0]["logicalLocations"][0]["fullyQualifiedName"] == "session 1/message 2"
    assert results[0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == broken.as_uri()


def _holds_sarif(log: dict[str, Any]) -> None:
    """What the SARIF 2.1.0 schema demands of the objects that are used."""
    assert set(log) == {"$schema", "version", "runs"}
    assert log["version"] == "2.1.0"
    for run in log["runs"]:
        driver = run["tool"]["driver"]
        assert isinstance(driver["name"], str)
        ids = [rule["id"] for rule in driver["rules"]]
        assert len(set(ids)) == len(ids)
        for rule in driver["rules"]:
            assert rule["shortDescription"]["text"]
            assert rule["helpUri"].startswith("https://")
            assert rule["defaultConfiguration"]["level"] in ("none", "note", "warning", "error")
        for artifact in run["artifacts"]:
            assert set(artifact["roles"]) <= {"analysisTarget"}
            assert "uri" in artifact["location"]
        for invocation in run["invocations"]:
            assert isinstance(invocation["executionSuccessful"], bool)
            assert all(note["message"]["text"] for note in invocation["toolExecutionNotifications"])
        assert run["columnKind"] in ("utf16CodeUnits", "unicodeCodePoints")
        for result in run["results"]:
            assert ids[result["ruleIndex"]] == result["ruleId"]
            assert result["level"] in ("none", "note", "warning", "error")
            assert result["message"]["text"]
            assert len(result["locations"]) == 1
            for location in (*result["locations"], *result["relatedLocations"]):
                assert location.get("id", 0) >= 0
                assert all(place["fullyQualifiedName"] for place in location["logicalLocations"])


def test_junit_has_a_case_for_each_rule_of_each_session(capsys: pytest.CaptureFixture[str], broken: Path) -> None:
    _, out = _out(capsys, broken, "--format", "junit")
    root = ElementTree.fromstring(out)
    judged = [rule for rule in RULES if rule.function]
    assert root.tag == "testsuites"
    assert [suite.tag for suite in root] == ["testsuite", "testsuite"]
    for suite in root:
        properties, *cases = list(suite)
        assert [one.get("name") for one in properties] == ["verdict"]
        assert [case.get("name") for case in cases] == [rule.slug for rule in judged]
        assert int(suite.get("tests", "")) == len(cases)
        assert int(suite.get("failures", "")) == len(suite.findall("testcase/failure"))
        assert int(suite.get("skipped", "")) == len(suite.findall("testcase/skipped"))
    failures = root.findall("testsuite/testcase/failure")
    assert [failure.get("type") for failure in failures] == ["error"]
    assert "overlapping guest addresses" in (failures[0].text or "")
    assert int(root.get("failures", "")) == 1
    skipped = {case.get("name") for case in root[1] if case.find("skipped") is not None}
    assert skipped == {rule.slug for rule in judged if rule.complete_only}


def test_junit_fails_by_what_is_asked_for(capsys: pytest.CaptureFixture[str], broken: Path) -> None:
    assert (
        ElementTree.fromstring(_out(capsys, broken, "--format", "junit", "--fail-on", "note")[1]).get("failures") == "3"
    )
    never = ElementTree.fromstring(_out(capsys, broken, "--format", "junit", "--fail-on", "never")[1])
    assert never.get("failures") == "0"
    assert len(never.findall("testsuite/testcase/system-out")) == 3


@pytest.fixture
def cut(tmp_path: Path) -> Path:
    path = tmp_path / "cut.pcapng"
    data = (CAPTURES / "qemu-testpmd.pcapng").read_bytes()
    path.write_bytes(data[: len(data) * 7 // 10])
    return path


def test_a_capture_that_is_cut_is_not_called_good(capsys: pytest.CaptureFixture[str], cut: Path) -> None:
    assert main(["check", str(cut)]) == 1
    text = capsys.readouterr().out
    assert f"{cut}: cut at byte " in text
    assert "what follows is not judged" in text
    assert main(["check", str(cut), "--format", "json"]) == 1
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (last["rule"], last["severity"], last["message"]) == ("capture-cut", "error", None)
    assert "what follows is not judged" in last["sentence"]
    assert main(["check", str(cut), "--format", "sarif"]) == 1
    (invocation,) = json.loads(capsys.readouterr().out)["runs"][0]["invocations"]
    assert not invocation["executionSuccessful"]
    first = invocation["toolExecutionNotifications"][0]
    assert (first["level"], first["descriptor"]["id"]) == ("error", "capture-cut")
    assert main(["check", str(cut), "--format", "junit"]) == 1
    root = ElementTree.fromstring(capsys.readouterr().out)
    (case,) = [case for case in root.iter("testcase") if case.get("name") == "capture-cut"]
    assert case.find("failure") is not None
    assert root.get("failures") == str(len(root.findall(".//failure")))
    assert root.get("tests") == str(len(root.findall(".//testcase")))
    assert main(["check", str(cut), "--fail-on", "never"]) == 0


def test_damage_is_told_as_a_cut_is(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    data = bytearray((CAPTURES / "qemu-blk.pcapng").read_bytes())
    data[len(data) // 2 :] = bytes(len(data) // 2)
    path = tmp_path / "damaged.pcapng"
    path.write_bytes(data)
    assert main(["check", str(path)]) == 1
    assert "damaged at byte" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ("read",),
        ("read", "--json"),
        ("read", "--phases"),
        ("read", "--filter", "vhost.request == 1"),
        ("state",),
        ("state", "--json"),
        ("summary",),
        ("summary", "--format", "json"),
        ("check",),
        ("diff", "{cut}"),
        ("export", "--format", "csv"),
        ("export", "--format", "jsonl", "--redact"),
        ("export", "--format", "pcapng", "-o", "{out}"),
        ("edit", "-o", "{out}"),
        ("replay", "--to", "backend", "--connect", "/no/such/socket", "--timeout", "0.1"),
    ],
    ids=" ".join,
)
def test_every_command_that_reads_says_that_a_capture_is_cut(
    capsys: pytest.CaptureFixture[str], cut: Path, words: tuple[str, ...]
) -> None:
    command, *rest = (word.format(cut=cut, out=cut.with_name("out.pcapng")) for word in words)
    main([command, str(cut), *rest])
    said = capsys.readouterr()
    assert "cut at byte" in " ".join((said.out + said.err).split())


def test_a_growing_capture_is_judged_while_it_grows(tmp_path: Path) -> None:
    talk = Talk(tmp_path / "growing.pcapng")
    peers = talk.connect()
    talk.writer.flush()
    words = [sys.executable, "-m", "vusniff", "check", "--follow", "--format", "json", str(talk.path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as program:
        assert program.stdout is not None
        for code in (F.RESET_OWNER, F.SET_VRING_ENABLE):
            peers.ask(code, b"" if code is F.RESET_OWNER else u32(0, 2))
            talk.writer.flush()
            assert json.loads(program.stdout.readline())["message"] == talk.writer.number
        program.terminate()


def unread(pipe: IO[bytes]) -> int:
    """Bytes that wait in a pipe."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


def test_findings_appear_while_a_capture_is_read(broken: Path) -> None:
    capture = broken.read_bytes()
    words = [sys.executable, "-m", "vusniff", "check", "--format", "json", "-"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        pipe = program.stdin
        half = len(capture) // 2
        for piece in (capture[:half], capture[half:-100]):
            pipe.write(piece)
            pipe.flush()
            wait_until(lambda: not unread(pipe), "the piece is read")
        assert json.loads(program.stdout.readline())["rule"] in BY_SLUG
        pipe.write(capture[-100:])
        pipe.close()
        assert program.wait() == 1


def test_rules_of_a_pipe_are_those_of_a_file(broken: Path) -> None:
    words = [sys.executable, "-m", "vusniff", "check", "--format", "json"]
    piped = subprocess.run([*words, "-"], input=broken.read_bytes(), capture_output=True, check=False)
    read = subprocess.run([*words, str(broken)], capture_output=True, check=False)
    assert piped.returncode == read.returncode == 1
    # Of a pipe the verdict comes last: what stands before it is told while the capture comes.
    assert sorted(piped.stdout.splitlines()) == sorted(read.stdout.splitlines())
    assert b'"kind": "verdict"' in read.stdout.splitlines()[0]
    assert b'"kind": "verdict"' in piped.stdout.splitlines()[-1]


@pytest.mark.parametrize("path", sorted(CAPTURES.glob("*.pcapng")), ids=lambda path: path.stem)
def test_real_programs_get_no_false_alarms(capsys: pytest.CaptureFixture[str], path: Path) -> None:
    status, out = _out(capsys, path, "--format", "json")
    told = [json.loads(line) for line in out.splitlines()]
    verdicts = [one for one in told if one.get("kind") == "verdict"]
    found = [one for one in told if one not in verdicts]
    assert status == 0
    assert {(verdict["outcome"], verdict["trouble"]) for verdict in verdicts} == {("stopped cleanly", False)}
    worse = {finding["rule"] for finding in found if finding["severity"] != "note"}
    assert worse == VERDICTS.get(path.stem, set())
    assert all(BY_SLUG[finding["rule"]].severity.rank <= Severity.NOTE.rank for finding in found)
