"""Lines of the peers' own logs in the verdict: quoted where they are about the end, and left out elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from talk import Talk, u64

from vusniff.analysis.timeline import read_all
from vusniff.checks.verdict import Verdict
from vusniff.checks.wrote import QUOTED, tells_of_trouble
from vusniff.families.vhost_user.protocol import FrontendRequest as F
from vusniff.record import Closed, LogLine
from vusniff.views import verdict

FAILED = "VHOST_CONFIG: (/run/vm1.sock) failed to map memory region"
MS = 1_000_000


def told(path: Path, *lines: tuple[int, str, str], closes: bool = True) -> Verdict:
    """The verdict where the back-end closes after SET_FEATURES, 5 ms after these lines and their times before it."""
    talk = Talk(path)
    peers = talk.connect()
    peers.ask(F.GET_FEATURES)
    peers.answer(F.GET_FEATURES, u64(1 << 32))
    peers.ask(F.SET_FEATURES, u64(1 << 32))
    end = talk.now + 5 * MS
    for number, (before, text, level) in enumerate(lines, 1):
        talk.writer.evidence(LogLine(end - before, "ovs.log", number, text, level, "ovs-vswitchd"))
    if closes:
        talk.writer.close_connection(Closed(peers.connection.id, end, "eof", 1))
    talk.writer.flush()
    timeline = talk.timeline()
    read_all(timeline, judge=True)
    timeline.analyse()
    timeline.conclude()
    (found,) = verdict.of(timeline)
    talk.writer.close()
    return found


def test_a_line_about_the_end_is_quoted(tmp_path: Path) -> None:
    found = told(
        tmp_path / "a.pcapng", (4 * MS, "all is well", "info"), (3 * MS, FAILED, ""), (2 * MS, "error: later", "")
    )
    assert f'ovs-vswitchd wrote "{FAILED}" 3.00 ms before the connection was closed (ovs.log:2).' in found.sentence
    assert "vusniff explain" in found.advice or not found.advice.startswith("check the")


def test_an_error_is_preferred_and_may_come_after_the_end(tmp_path: Path) -> None:
    found = told(tmp_path / "a.pcapng", (3 * MS, "cannot do that yet", "warning"), (-2 * MS, "giving up", "error"))
    assert 'wrote "giving up" 2.00 ms after the connection was closed (ovs.log:2).' in found.sentence


@pytest.mark.parametrize(
    "line", [(9_000 * MS, FAILED, "error"), (-9_000 * MS, FAILED, "error"), (MS, "all is well", "info")]
)
def test_other_lines_are_left_out(tmp_path: Path, line: tuple[int, str, str]) -> None:
    assert "wrote" not in told(tmp_path / "a.pcapng", line).sentence


def test_a_quiet_session_quotes_nothing(tmp_path: Path) -> None:
    found = told(tmp_path / "a.pcapng", (MS, FAILED, "error"), closes=False)
    assert not found.trouble
    assert "wrote" not in found.sentence


def test_a_long_line_is_cut(tmp_path: Path) -> None:
    found = told(tmp_path / "a.pcapng", (MS, "failed " + "x" * 1000, "error"))
    assert "x" * (QUOTED - len("failed ")) + '..." 1.00 ms before' in found.sentence


@pytest.mark.parametrize(
    ("text", "level", "trouble"),
    [
        ("vhost-user server: socket created, fd: 28", "", False),
        ("new device is handled by poll threads", "info", False),
        ("anything", "warning", True),
        ("Unable to init vhost-user device", "", True),
        ("guest memory is not shared: too many regions", "info", True),
    ],
)
def test_which_lines_tell_of_trouble(text: str, level: str, trouble: bool) -> None:
    assert tells_of_trouble(LogLine(0, "a.log", 1, text, level)) is trouble
