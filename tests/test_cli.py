"""How commands end when the world around them is odd: no output, a full device, a reader that left, no terminal."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from vusniff import cli
from vusniff.cli import main
from vusniff.commands.forms import COMMON
from vusniff.commands.times import seconds, some_seconds

CAPTURE = str(Path(__file__).parent.parent / "captures" / "qemu-blk.pcapng")
COMMANDS = (
    ("--version",),
    ("read", CAPTURE),
    ("read", "--json", CAPTURE),
    ("state", CAPTURE),
    ("summary", CAPTURE),
    ("check", CAPTURE),
    ("explain", "GET_FEATURES"),
    ("decode", "010000000100000000000000"),
    ("export", "--format", "jsonl", CAPTURE),
)


def shell(redirection: str, *words: str) -> subprocess.CompletedProcess[str]:
    """``vusniff WORDS`` by a shell, with standard output redirected as a user would."""
    command = [sys.executable, "-m", "vusniff", *words]
    return subprocess.run(
        ["bash", "-c", f'"$@" {redirection}', "bash", *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_output_that_cannot_be_written_is_one_sentence(words: tuple[str, ...]) -> None:
    full = shell(">/dev/full", *words)
    assert (full.returncode, full.stderr) == (2, "vusniff: input or output failed: No space left on device\n")
    closed = shell(">&-", *words)
    assert (closed.returncode, closed.stderr) == (0, "")


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_reader_that_has_left_is_no_error(words: tuple[str, ...]) -> None:
    script = "import os,subprocess,sys; r,w=os.pipe(); os.close(r); sys.exit(subprocess.call(sys.argv[1:], stdout=w))"
    command = [sys.executable, "-c", script, sys.executable, "-m", "vusniff", *words]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("words", [("proxy", "--listen", "a", "--connect", "b"), ("capture",), ("demo",)])
def test_a_terminal_view_without_a_terminal_is_refused_before_anything_starts(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vusniff", *words, "--tui"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("vusniff: --tui needs a terminal")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", [(), ("--json",), ("-v",), ("--phases",)], ids=str)
def test_a_session_that_is_not_there_is_said_to_be_missing(option: tuple[str, ...]) -> None:
    done = shell("", "read", "--session", "99", *option, CAPTURE)
    said = "vusniff: --session 99: there are sessions 1 to 1\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)


@pytest.mark.parametrize(
    "words", [("proxy", "--listen", "a", "--connect", "b", "--", "touch", "started"), ("capture",)]
)
def test_a_wrong_device_type_is_refused_before_anything_starts(words: tuple[str, ...], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vusniff", words[0], "--device", "toaster", *words[1:]],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("vusniff: --device toaster: no such device type; there are net, blk,")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", ["99", "-1", str(1 << 40)])
@pytest.mark.parametrize("command", ["capture", "proxy --listen a --connect b"])
def test_a_descriptor_that_is_not_open_is_one_sentence(command: str, number: str, tmp_path: Path) -> None:
    words = [*command.split(), "-q", "-w", str(tmp_path / "c.pcapng"), f"--ready-fd={number}"]
    done = shell("", *words)
    assert (done.returncode, done.stderr) == (2, f"vusniff: descriptor {number} is not open\n")


def test_a_file_in_place_of_a_command_is_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["read", str(CAPTURE)]) == 0
    expected = capsys.readouterr().out
    assert main([str(CAPTURE)]) == 0  # without a terminal as text
    assert capsys.readouterr().out == expected
    for name in (f"{tmp_path}/nothing", "nothing.pcapng"):
        assert main([name]) == 2
        assert f"cannot read {name}: No such file or directory" in capsys.readouterr().err
    with pytest.raises(SystemExit) as raised:
        main(["nothing"])
    assert raised.value.code == 2
    assert "invalid choice: 'nothing'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "whose", "command"),
    [
        (
            "2026-01-01T00:00:00Z|00001|dpdk|INFO|VHOST_CONFIG: (/tmp/s) read message VHOST_USER_GET_FEATURES",
            "DPDK",
            "log",
        ),
        ("12:00:00.000001 sendmsg(9<UNIX-STREAM:[1->2]>, {msg_name=NULL}, 0) = 12", "strace", "strace"),
    ],
)
def test_a_log_in_place_of_a_capture_is_named_with_the_command_for_it(
    line: str, whose: str, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "a.log"
    log.write_text(line + "\n")
    for words in (["read", str(log)], ["summary", str(log)], [str(log)]):
        assert main(words) == 2
        said = capsys.readouterr().err
        assert f"is a log of {whose}" in said
        assert f"vusniff import {command} {log} -o OUT" in said


@pytest.mark.parametrize(
    ("word", "value"),
    [("5", 5), ("300ms", 0.3), ("30s", 30), ("1.5m", 90), ("8h", 28800), ("7d", 7 * 86400)],
)
def test_times(word: str, value: float) -> None:
    assert seconds(word) == pytest.approx(value)


@pytest.mark.parametrize("word", ["", "x", "-1", "nan", "inf", "1e3", "5 weeks", "9" * 400, "367d", "٣"])
def test_what_is_no_time_is_refused(word: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        seconds(word)


def test_no_time_at_all_is_refused_where_it_makes_no_sense() -> None:
    assert seconds("0") == 0
    with pytest.raises(argparse.ArgumentTypeError, match="too short a time"):
        some_seconds("0s")


@pytest.mark.parametrize(
    "command", ["read", "state", "summary", "check", "diff", "export", "decode", "explain", "sockets"]
)
def test_json_is_asked_for_in_either_way(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    what = {"decode": ["010000000100000000000000"], "explain": ["GET_FEATURES"], "sockets": []}
    words = [command, *what.get(command, [CAPTURE] * (2 if command == "diff" else 1))]
    form = "jsonl" if command == "export" else "json"
    first = main([*words, "--json"]), capsys.readouterr().out
    assert (main([*words, "--format", form]), capsys.readouterr().out) == first
    for line in first[1].splitlines() if command != "explain" else [first[1]]:
        json.loads(line)


def test_text_can_be_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["read", "--format", "text", CAPTURE]) == 0
    assert "GET_FEATURES" in capsys.readouterr().out.partition("\n")[0]


def test_options_that_several_commands_have_stand_in_one_order_and_mean_the_same(
    capsys: pytest.CaptureFixture[str],
) -> None:
    painted = set()
    for name, *_ in cli.COMMANDS:
        with pytest.raises(SystemExit):
            main([name, "--help"])
        said = capsys.readouterr().out.partition("\noptions:\n")[2].partition("\n\n")[0]
        words = re.findall(r"^  (?:-\w(?: [A-Z]+)?, )?--([a-z-]+)", said, re.MULTILINE)
        assert [word for word in words if word in COMMON] == [word for word in COMMON if word in words], name
        if "json" in words:
            forms = re.search(r"--format \{([^}]*)\}", said)
            assert forms is not None, name
            assert {"json", "jsonl"} & set(forms[1].replace(" ", "").replace("\n", "").split(",")), name
        painted |= {name} if "color" in words else set()
    assert painted >= {"read", "summary", "check", "diff", "sockets", "capture", "proxy"}
