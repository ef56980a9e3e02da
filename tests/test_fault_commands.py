"""``vusniff proxy --rule`` as a command: what it refuses, rules of a file, and the user who is asked at a terminal."""

from __future__ import annotations

import os
import pty
import select
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_proxy import Program, accepted, connected, listening, read

from vusniff.capture.reader import CaptureReader
from vusniff.cli import main
from vusniff.record import Fault, FaultAct

NUM = struct.pack("=IIIII", 8, 1, 8, 0, 256)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--rule", "vhost.request : dropp"],
            "rule 1: there is no action dropp; did you mean drop?\n    vhost.request",
        ),
        (["--rule", "vhost.request : kill 9"], "kill is for a program that the proxy has started"),
        (["--rule", "vhost.request : hold"], "hold asks at the terminal"),
        (["--rules", "rules"], "rules:2: the filter ends too early"),
        (["--rules", "nothing"], "cannot read the rules of nothing"),
        (["--rules", "empty"], "there is no rule in empty"),
        (["--rules", "latin"], "latin:2: rules are text in UTF-8"),
        (["--seed", "3"], "give --rule or --rules as well"),
        (["--seed", "x", "--rule", "vhost.request : drop"], "x is not a whole number"),
    ],
)
def test_what_is_wrong_with_rules_is_said_before_anything_begins(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rules").write_text("# a comment\nvhost.request == : drop\n", "utf-8")
    Path("empty").write_text("\n# nothing\n", "utf-8")
    Path("latin").write_bytes(b"# first\n# \xe4\n")
    try:
        status: object = main(["proxy", "--listen", "front", "--connect", "back", "-q", "-w", "c.pcapng", *words])
    except SystemExit as error:  # of argparse
        status = error.code
    assert status == 2
    assert said in capsys.readouterr().err
    assert not Path("c.pcapng").exists()


def test_rules_of_a_file_are_done_and_told_in_the_capture(tmp_path: Path) -> None:
    rules = tmp_path / "bad-day.rules"
    lines = ("vhost.request == SET_VRING_NUM @2 50% : pass", "vring.size == 256 @2 : drop")
    rules.write_text("# the second one may be lost\n\n" + "\n".join(lines))
    with (
        listening(tmp_path / "back") as listener,
        Program(tmp_path, "--listen", "front", "--connect", "back", "--rules", rules, "--seed", "4") as program,
    ):
        with connected(tmp_path / "front") as frontend, accepted(listener) as backend:
            frontend.send(NUM * 3)
            frontend.shutdown(socket.SHUT_WR)
            assert read(backend, 100) in (NUM * 2, NUM * 3)  # by the seed, and always the same
        assert program.end() == 0, program.said
    with CaptureReader(program.file) as reader:
        told = [one for one in reader.records() if isinstance(one, Fault)]
    assert told[0].act is FaultAct.RULES
    assert tuple(told[0].text.splitlines()) == lines


def test_the_user_is_asked_at_the_terminal(tmp_path: Path) -> None:
    """Two messages are held: the first is edited, the second dropped; whatever else is typed is refused."""
    ours, theirs = pty.openpty()
    words = ["--listen", "front", "--connect", "back", "-q", "-w", "c.pcapng", "--rule", "vring.size == 256 : hold"]
    with (
        listening(tmp_path / "back") as listener,
        subprocess.Popen(
            [sys.executable, "-m", "vusniff", "proxy", *words], cwd=tmp_path, stdin=theirs, stdout=theirs, stderr=theirs
        ) as program,
    ):
        os.close(theirs)
        said = b""

        def until(words: str) -> None:
            nonlocal said
            deadline = time.monotonic() + 30
            while words.encode() not in said:
                assert select.select([ours], [], [], deadline - time.monotonic())[0], said
                said += os.read(ours, 4096)
            said = b""

        with connected(tmp_path / "front") as frontend, accepted(listener) as backend:
            frontend.send(NUM * 2)
            until("holds a SET_VRING_NUM of 20 bytes: index=0, num=256")
            os.write(ours, b"what\n")
            until("say s to send it, d to drop it")
            os.write(ours, b"e set numm=1\n")
            until("did you mean num")
            os.write(ours, b"e set num=512, repeat 1\n")
            until("holds a SET_VRING_NUM")
            os.write(ours, b"d\n")
            frontend.shutdown(socket.SHUT_WR)
            assert read(backend, 100) == struct.pack("=IIIII", 8, 1, 8, 0, 512) * 2
        program.terminate()
        assert program.wait(30) == 0
    os.close(ours)
