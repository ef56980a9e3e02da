"""Colours of text output: only where a terminal wants them, never in place of a character, and none of others."""

from __future__ import annotations

import os
import pty
import re
import subprocess
from pathlib import Path

import pytest
from test_child import SCRIPT

from vusniff import terminal
from vusniff.cli import main
from vusniff.views import paint

CAPTURE = str(Path(__file__).parents[1] / "captures" / "qemu-ovs.pcapng")
COMMANDS = [("read", CAPTURE), ("summary", CAPTURE), ("check", CAPTURE), ("diff", CAPTURE), ("sockets", "--all")]
SGR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_colours_change_no_character(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    if words[0] == "sockets":
        text = "STATE  PATH\nopen   -     -\n"
        terminal.paint_with(paint.painter(paint.TABLES))
        terminal.put(text)
        terminal.paint_with(None)
    else:
        main([*words])
        text = capsys.readouterr().out
        main([*words, "--color", "always"])
    painted = capsys.readouterr().out
    assert SGR.sub("", painted) == text
    assert len(SGR.findall(painted)) > len(text.splitlines()) / 2


def test_json_and_other_forms_have_none(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["read", "--json"], ["summary", "--format", "markdown"], ["check", "--format", "junit"]):
        main([*words, "--color", "always", CAPTURE])
        assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "colours"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False), ({"NO_COLOR": ""}, True)],
)
def test_a_terminal_has_them_unless_somebody_says_no(more: dict[str, str], colours: bool) -> None:
    ours, theirs = pty.openpty()
    plain = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    with subprocess.Popen([SCRIPT, "check", CAPTURE], stdout=theirs, env={**plain, "TERM": "xterm", **more}) as child:
        os.close(theirs)
        said = b""
        try:
            while part := os.read(ours, 65536):
                said += part
        except OSError:
            pass  # the other end is closed
        assert child.wait() == 0
    os.close(ours)
    assert b"Stopped cleanly" in said
    assert (b"\x1b[32m" in said) is colours


def test_what_others_wrote_steers_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.paint_with(paint.painter(paint.PAGES))
    terminal.put("Running: \x1b[31;5mname\x1b[m\n\x1b]0;title\x07\n")
    terminal.paint_with(None)
    painted = capsys.readouterr().out
    assert SGR.sub("", painted) == "Running: \\x1b[31;5mname\\x1b[m\n\\x1b]0;title\\x07\n"
