"""``--filter`` of the commands: what they print is what they print without it, less the messages that do not pass."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from captures import synthetic
from vusniff.cli import main

QEMU = Path(__file__).parent.parent / "captures" / "qemu-testpmd.pcapng"


@pytest.fixture
def every(tmp_path: Path) -> Path:
    path = tmp_path / "every.pcapng"
    synthetic.every(path)
    return path


def said(capsys: pytest.CaptureFixture[str], *words: str | Path, status: int = 0) -> str:
    capsys.readouterr()
    assert main([str(word) for word in words]) == status
    return capsys.readouterr().out


@pytest.mark.parametrize(
    "text", ["vring.index == 1", "vhost.reply == 1 && vhost.size > 0", "fd.kind", "vhost.number > 100"]
)
def test_lines_are_those_of_all_that_pass(capsys: pytest.CaptureFixture[str], every: Path, text: str) -> None:
    numbers = [
        json.loads(line)["number"] for line in said(capsys, "read", every, "--json", "--filter", text).splitlines()
    ]
    assert numbers
    for options in ((), ("--json",)):
        all_lines = said(capsys, "read", every, *options).splitlines()
        assert said(capsys, "read", every, *options, "--filter", text).splitlines() == [
            all_lines[number - 1] for number in numbers
        ]
    shown = said(capsys, "read", every, "-v", "--filter", text).splitlines()
    assert [int(line.split()[0]) for line in shown if re.match(r" {0,5}\d+ +\d+\.\d{6} ", line)] == numbers


def test_a_pipe_is_filtered_as_it_is_read(capsys: pytest.CaptureFixture[str], every: Path) -> None:
    text = 'sock.path contains "gpu" && vhost.time > 1us && vhost.request != SET_OWNER'
    expected = said(capsys, "read", every, "--filter", text)
    assert expected
    words = [sys.executable, "-m", "vusniff", "read", "-", "--filter", text]
    with every.open("rb") as stream:
        done = subprocess.run(words, stdin=stream, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == expected


def test_sessions_and_filters_go_together(capsys: pytest.CaptureFixture[str], every: Path) -> None:
    both = said(capsys, "read", every, "--session", "2", "--filter", "vhost.reply == 1").splitlines()
    assert both == said(capsys, "read", every, "--filter", "vhost.reply == 1 && vhost.session == 2").splitlines()


def test_nothing_that_passes_is_a_status(capsys: pytest.CaptureFixture[str], every: Path) -> None:
    assert said(capsys, "read", every, "--filter", "vhost.size == 77777", status=1) == ""
    assert said(capsys, "read", every, "--json", "--filter", "vhost.size == 77777", status=1) == ""


@pytest.mark.parametrize("command", ["read", "check"])
def test_an_error_is_a_sentence_and_a_mark(capsys: pytest.CaptureFixture[str], every: Path, command: str) -> None:
    assert main([command, str(every), "--filter", "vhost.sise > 3"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "vusniff: filter: there is no field vhost.sise; did you mean vhost.size or vhost.time or vhost.mem.size?",
        "    vhost.sise > 3",
        "    ^^^^^^^^^^",
    ]


@pytest.mark.parametrize(
    "words", [("read", "-"), ("read", "x", "--follow"), ("check", "-"), ("check", "x", "--follow")]
)
def test_findings_need_a_finished_capture(capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    assert main([*words, "--filter", "finding.severity >= warning"]) == 2
    assert "finished" in capsys.readouterr().err


def test_checks_tell_findings_at_messages_that_pass(capsys: pytest.CaptureFixture[str]) -> None:
    def findings(*options: str) -> list[dict[str, object]]:
        lines = said(capsys, "check", QEMU, "--format", "json", "--fail-on", "never", *options).splitlines()
        return [found for found in map(json.loads, lines) if "rule" in found and "message" in found]

    whole = findings()
    assert whole
    slug = str(whole[0]["rule"])
    some = findings("--filter", f'finding.rule == "{slug}"')
    numbers = {found["message"] for found in whole if found["rule"] == slug}
    assert some == [found for found in whole if found["message"] in numbers]
    assert findings("--filter", "vhost.number < 1") == []


@pytest.mark.parametrize("words", [("proxy", "--listen", "a", "--connect", "b"), ("capture",)])
def test_a_source_is_not_started_for_a_wrong_filter(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, words: tuple[str, ...]
) -> None:
    file = tmp_path / "never.pcapng"
    assert main([*words, "-w", str(file), "--filter", "vhost.size >"]) == 2
    assert "ends too early" in capsys.readouterr().err
    assert not file.exists()
