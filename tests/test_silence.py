"""Connections on which nobody said a byte: what is said of them, and that a proxy tells of whom it found nobody for."""

from __future__ import annotations

from pathlib import Path

import pytest
from talk import Talk, u64

from vusniff.analysis.timeline import read_all
from vusniff.checks.finding import Side
from vusniff.checks.outcome import Outcome
from vusniff.checks.verdict import Verdict
from vusniff.cli import main
from vusniff.families.vhost_user.protocol import FrontendRequest as F
from vusniff.record import CAPTURE_ENDED, Closed, Exit
from vusniff.views import verdict

SECOND = 1_000_000_000
NOBODY = "nobody listens at /run/vm1.sock"


def silent(
    talk: Talk,
    comms: tuple[str, str],
    seconds: float = 3,
    by: int | None = 0,
    reason: str = "eof",
    late: bool = False,
    killed: int | None = None,
) -> None:
    """A connection without a byte."""
    talk.now += SECOND
    connection = talk.connect(comms=comms, late=late).connection
    talk.now += int(seconds * SECOND)
    talk.writer.close_connection(Closed(connection.id, talk.now, reason, by), silent=True)
    if killed is not None:
        exit = Exit(talk.now + 1_000_000, 12, comms[1], signal=killed, ends=((connection.id, 1),))
        talk.writer.evidence(exit)


def told(talk: Talk) -> list[Verdict]:
    """The verdicts over what was written."""
    timeline = talk.timeline()
    read_all(timeline, judge=True)
    timeline.analyse()
    timeline.conclude()
    return verdict.of(timeline)


@pytest.mark.parametrize(
    ("comms", "seconds", "times", "side", "says"),
    [
        (("qemu-system-x86", "nginx"), 3, 1, Side.FRONTEND, "The front-end speaks first, and qemu-system-x86 did not."),
        (("ovs-vswitchd", "vhost-user-blk"), 30, 3, None, "three times in a row. The front-end speaks first, and both"),
        (("socat", "vhost-user-blk"), 0.001, 1, None, "may only have tried whether somebody listens"),
        (("dpdk-testpmd", "dpdk-testpmd"), 9, 2, None, "probably neither of the two is a vhost-user front-end"),
    ],
)
def test_nobody_speaks(
    tmp_path: Path, comms: tuple[str, str], seconds: float, times: int, side: Side | None, says: str
) -> None:
    talk = Talk(tmp_path / "silent.pcapng")
    for _ in range(times):
        silent(talk, comms, seconds)
    (found,) = told(talk)
    assert (found.outcome, found.cause, found.side) == (Outcome.NEVER_STARTED, "nobody-spoke", side)
    assert says in found.sentence
    assert found.times == times
    assert found.advice
    talk.writer.close()


def test_a_peer_that_is_killed_before_anybody_speaks(tmp_path: Path) -> None:
    talk = Talk(tmp_path / "killed.pcapng")
    for _ in range(2):
        silent(talk, ("qemu-system-x86", "virtiofsd"), 0.001, by=1, killed=31)
    (found,) = told(talk)
    assert found.outcome is Outcome.DIED
    assert "virtiofsd (12) was killed by SIGSYS before either side sent a byte" in found.sentence
    assert "twice in a row" in found.sentence
    assert "seccomp" in found.advice
    talk.writer.close()


@pytest.mark.parametrize(
    ("comms", "side"),
    [(("qemu-system-x86", ""), Side.BACKEND), (("ovs-vswitchd", ""), Side.FRONTEND), (("dpdk-testpmd", ""), None)],
)
def test_nobody_is_on_the_other_side(tmp_path: Path, comms: tuple[str, str], side: Side | None) -> None:
    talk = Talk(tmp_path / "alone.pcapng")
    for _ in range(4):
        silent(talk, comms, 7, reason=NOBODY)
    (found,) = told(talk)
    assert (found.outcome, found.cause, found.side) == (Outcome.NEVER_STARTED, "no-peer", side)
    assert found.sentence.startswith(
        f"Never started: {NOBODY}; {comms[0]} (11) connected to the proxy and waited 7.00 s"
    )
    assert "four times in a row" in found.sentence
    talk.writer.close()


def test_what_may_be_well_is_not_called_trouble(tmp_path: Path) -> None:
    talk = Talk(tmp_path / "late.pcapng")
    silent(talk, ("qemu-system-x86", "virtiofsd"), 60, reason=CAPTURE_ENDED, late=True)
    (found,) = told(talk)
    assert (found.outcome, found.trouble) == (Outcome.UNKNOWN, False)
    assert "joined late" in found.caveats[0]
    talk = Talk(tmp_path / "young.pcapng")
    silent(talk, ("qemu-system-x86", "virtiofsd"), 2, reason=CAPTURE_ENDED)
    (found,) = told(talk)
    assert (found.outcome, found.trouble) == (Outcome.IDLE, False)


def test_silence_after_a_session_is_told_with_it(tmp_path: Path) -> None:
    talk = Talk(tmp_path / "after.pcapng")
    peers = talk.connect()
    peers.ask(F.GET_FEATURES)
    peers.answer(F.GET_FEATURES, u64(1 << 30))
    talk.writer.close_connection(Closed(peers.connection.id, talk.now, "eof", 1))
    silent(talk, ("frontend", "backend"))
    silent(talk, ("frontend", "backend"))
    (found,) = told(talk)
    assert found.sessions == (1,)
    assert "After it, nothing was sent on 2 more connections to this path." in found.sentence
    talk.writer.close()


def test_every_page_begins_with_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    talk = Talk(tmp_path / "none.pcapng")
    silent(talk, ("qemu-system-x86", ""), reason=NOBODY)
    talk.writer.close()
    path = str(talk.path)
    for words in (["summary"], ["check"], ["summary", "--format", "markdown"]):
        main([*words, path])
        out = capsys.readouterr().out
        assert NOBODY in out.splitlines()[0], words
    for words in (["summary", "--format", "json"], ["check", "--format", "junit"], ["check", "--format", "sarif"]):
        main([*words, path])
        assert NOBODY in capsys.readouterr().out
    assert main(["summary", "--session", "1", path]) == 2
