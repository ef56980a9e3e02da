"""A vendor's dissector, installed as a distribution of its own, works like ours."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from talk import Talk

from vusniff.checks.registry import rules
from vusniff.errors import DissectorError
from vusniff.families.vhost_user.protocol import FrontendRequest as F

EXAMPLE = Path(__file__).parent / "example_dissector"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which the example is installed beside vusniff."""
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), str(EXAMPLE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return {**os.environ, "PYTHONPATH": str(target)}


def run(environment: dict[str, str], *words: str) -> str:
    command = [sys.executable, "-m", "vusniff", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True).stdout


def test_its_requests_are_decoded_and_paired(tmp_path: Path, environment: dict[str, str]) -> None:
    talk = Talk(tmp_path / "acme.pcapng")
    peers = talk.connect()
    peers.ask(F.GET_FEATURES)
    asked = peers.ask(0x1000, struct.pack("<IHH", 7, 3, 0))
    answered = peers.answer(0x1000, struct.pack("<IHH", 1, 3, 0))
    peers.ask(0x1001)
    talk.writer.close()
    messages = [json.loads(line) for line in run(environment, "read", "--json", str(talk.path)).splitlines()]
    mode, reply, pause = messages[1:]
    assert mode["name"] == "ACME_SET_MODE"
    assert mode["payload"] == {
        "mode": 7,
        "mode_names": ["ACME_FAST", "ACME_QUIET", "BIT_2"],
        "level": 3,
        "padding": 0,
    }
    assert (mode["answered_by"], reply["answers"]) == (answered, asked)
    assert pause["name"] == "ACME_PAUSE"
    assert "ACME_SET_MODE                  mode ACME_FAST ACME_QUIET BIT_2 level 3" in run(
        environment, "read", str(talk.path)
    )


def test_its_rules_are_asked_beside_ours(tmp_path: Path, environment: dict[str, str]) -> None:
    talk = Talk(tmp_path / "acme.pcapng")
    peers = talk.connect()
    asked = peers.ask(0x1000, struct.pack("<IHH", 3, 3, 0))
    talk.writer.close()
    words = ["check", "--json", "--rule", "acme-mode", "--fail-on=never", str(talk.path)]
    lines = [json.loads(line) for line in run(environment, *words).splitlines()]
    (said,) = [line for line in lines if "rule" in line]
    assert (said["rule"], said["message"], said["severity"]) == ("acme-mode", asked, "error")
    assert said["sentence"] == "ACME_SET_MODE has mode 0x3: fast and quiet exclude each other"
    assert "A01" in run(environment, "check", "--list")
    assert "A01 acme-mode" in run(environment, "explain", "ACME_SET_MODE")


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("vusniff.checks.table:RULES", "has a rule R01 "),
        ("vusniff.checks.none:RULES", "cannot be loaded: ModuleNotFoundError"),
        ("vusniff.errors:VusniffError", "is not a tuple of vusniff.checks.finding.Rule"),
    ],
)
def test_rules_that_cannot_be_used_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, says: str
) -> None:
    made = tmp_path / "other-1.dist-info"
    made.mkdir()
    (made / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1\n")
    (made / "entry_points.txt").write_text(f"[vusniff.rules]\nother = {value}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(DissectorError, match=re.escape(f"rules 'other' ({value}) {says}")):
        rules.__wrapped__()


def test_without_it_they_are_unknown_but_visible(tmp_path: Path) -> None:
    talk = Talk(tmp_path / "acme.pcapng")
    talk.connect().ask(0x1000, b"\1\2\3\4")
    (message,) = talk.timeline().messages()
    assert (message.name, message.trailing) == ("REQUEST_4096", b"\1\2\3\4")


def test_ours_stay_as_they_are(environment: dict[str, str]) -> None:
    words = [
        "decode",
        "--json",
        "--channel",
        "main",
        "--sender",
        "frontend",
        "0800000001000000080000000000000000010000",
    ]
    assert json.loads(run(environment, *words))["payload"] == {"index": 0, "num": 256}
