"""The public interface: what its documentation shows is what happens."""

from __future__ import annotations

import doctest
import json
import pydoc
from pathlib import Path

import pytest

import vusniff
from vusniff import cli

ROOT = Path(__file__).parent.parent


def test_examples_of_the_documentation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    done = doctest.testmod(vusniff)
    assert done.attempted > 5
    assert done.failed == 0


def test_every_public_name_is_there_and_documented() -> None:
    for name in vusniff.__all__:
        assert getattr(vusniff, name).__doc__, name
    with pytest.raises(AttributeError, match="nonsense"):
        vusniff.nonsense  # noqa: B018


def test_help_shows_every_public_name() -> None:
    shown = pydoc.plain(pydoc.render_doc(vusniff))
    assert [name for name in vusniff.__all__ if f" {name}(" not in shown and f"class {name}" not in shown] == []


def test_analyze_gives_every_message_with_the_state_after_it() -> None:
    timeline = vusniff.open_capture(ROOT / "captures" / "qemu-testpmd.pcapng")
    steps = list(vusniff.analyze(timeline))
    assert [step.message.number for step in steps] == list(range(1, len(timeline) + 1))
    assert steps[40].state == timeline.state(40)
    assert steps[-1].state == timeline.state(len(timeline) - 1)


def test_analyze_finds_what_check_finds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = (ROOT / "captures" / "qemu-testpmd.pcapng").read_bytes()
    cut = tmp_path / "cut.pcapng"
    cut.write_bytes(data[: len(data) * 7 // 10])
    steps = vusniff.analyze(vusniff.open_capture(cut))
    found = [(finding.number, finding.rule) for step in steps for finding in step.findings]
    assert cli.main(["check", str(cut), "--format", "json"]) == 1
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert found
    assert sorted(found) == sorted((one["message"], one["rule"]) for one in said if "rule" in one and one["message"])


def test_a_message_of_the_other_side_is_decoded_as_its_reply() -> None:
    reply = bytes.fromhex("0100000005000000080000000000004001000000")
    message = vusniff.decode(reply, sender="backend", context=vusniff.Context(device="net"))
    assert message.sender is vusniff.Sender.BACKEND
    assert message.payload == {
        "u64": 0x140000000,
        "u64_names": ["VHOST_USER_F_PROTOCOL_FEATURES", "VIRTIO_F_VERSION_1"],
    }
    with pytest.raises(vusniff.DissectorError, match="at least 12 bytes"):
        vusniff.decode(b"short")
