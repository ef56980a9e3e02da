"""The page of situations: each command on it runs as it stands, and the captures tell what the page says of them."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from vusniff.cli import main

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "situations.md").read_text("utf-8")
OFFLINE = ("summary", "diff", "rings", "explain", "import", "find")
COMMANDS = [
    line.strip()
    for line in PAGE.splitlines()
    if re.match(rf"    vusniff ({'|'.join(OFFLINE)}) ", line) and "session.pcapng" not in line
]
VERDICTS = {
    "too-few-queues": ("Never started: the front-end", "GET_QUEUE_NUM said 1", "four times in a row"),
    "memory-not-shared": ("Never started: the back-end", "no memory region was sent", "share=on"),
    "another-protocol": ("Never started: the back-end", "QMP"),
    "backend-killed": ("Peer died:", "was killed by SIGKILL", "Nobody has connected again."),
    "backend-stopped": ("Stalled:", "vring"),
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory with what the page names, in which it may write."""
    for name in ("captures", "tests"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)


def test_each_command_runs(place: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(COMMANDS) > 8
    for line in COMMANDS:
        status = main([*shlex.split(line)[1:], *(["--jobs", "1"] if " find " in line else [])])
        printed = capsys.readouterr()
        assert status in (0, 1), (line, printed.err)
        assert printed.out or "-o" in line, line


@pytest.mark.parametrize("name", VERDICTS)
def test_the_first_lines_say_what_was_wrong(name: str, place: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", f"captures/trouble/{name}.pcapng"]) == 0
    lead = " ".join(capsys.readouterr().out.split("\n\n")[0].split())
    at = 0
    for words in VERDICTS[name]:
        assert words in lead[at:], lead
        at = lead.index(words, at)
    assert f"captures/trouble/{name}.pcapng" in PAGE


def test_every_capture_of_trouble_is_on_the_page() -> None:
    assert {path.stem for path in (ROOT / "captures" / "trouble").glob("*.pcapng")} == set(VERDICTS)


def test_a_ring_that_stands_still_at_the_end_is_a_finding_too(place: None, capsys: pytest.CaptureFixture[str]) -> None:
    """Its last sample is a second old, and there is none later: the verdict alone had said it."""
    status = main(["check", "--fail-on", "warning", "--format", "json", "captures/trouble/backend-stopped.pcapng"])
    finding = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert status == 1
    assert (finding["rule"], finding["side"], finding["message"]) == ("vring-not-served", "backend", 28)
    assert finding["sentence"].startswith("vring 1 is not served")
