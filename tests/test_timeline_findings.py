"""A timeline that is judged piece by piece says the same as one that is judged at once, and keeps its states."""

from __future__ import annotations

from pathlib import Path

import pytest
from talk import Talk, eventfd, u32, u64

from vusniff.analysis.timeline import CHECKPOINT, Timeline
from vusniff.families.vhost_user.protocol import FrontendRequest as F
from vusniff.record import Lost

FEATURES = 1 << 32 | 1 << 30


def _session(talk: Talk, rounds: int) -> None:
    peers = talk.connect()
    peers.ask(F.GET_FEATURES)
    peers.answer(F.GET_FEATURES, u64(FEATURES))
    peers.ask(F.SET_OWNER)
    peers.ask(F.SET_FEATURES, u64(FEATURES | 1))
    for number in range(rounds):
        peers.ask(F.SET_VRING_CALL, u64(0), eventfd(number))
        peers.ask(F.SET_VRING_ENABLE, u32(0, number % 3))
    peers.close()


@pytest.fixture
def talk(tmp_path: Path) -> Talk:
    return Talk(tmp_path / "capture.pcapng")


def _analysed(timeline: Timeline, rows: int) -> Timeline:
    while timeline.analyse(rows):
        pass
    timeline.conclude()
    return timeline


@pytest.mark.parametrize("rows", [1, 7, 100000])
def test_pieces_say_what_the_whole_says(talk: Talk, rows: int) -> None:
    _session(talk, CHECKPOINT)
    _session(talk, 3)
    whole, pieces = _analysed(talk.timeline(), 1 << 30), _analysed(talk.timeline(), rows)
    assert pieces.findings == whole.findings
    assert pieces.analysed == len(pieces)
    assert {finding.rule for finding in whole.findings} == {"features-not-offered", "vring-enable-value"}
    plain = talk.timeline()
    for row in (0, 5, CHECKPOINT + 9, len(plain) - 1):
        assert pieces.state(row) == plain.state(row)


def test_findings_stand_at_their_rows(talk: Talk) -> None:
    _session(talk, 3)
    timeline = talk.timeline()
    assert timeline.findings == []
    assert timeline.findings_at(3) == ()
    timeline.analyse()
    assert [finding.rule for finding in timeline.findings_at(3)] == ["features-not-offered"]
    assert timeline.findings_at(4) == ()
    assert sum(len(timeline.findings_at(row)) for row in range(len(timeline))) == len(timeline.findings)


def test_what_grows_is_judged_as_it_comes(talk: Talk) -> None:
    peers = talk.connect()
    peers.ask(F.RESET_OWNER)
    timeline = talk.timeline()
    timeline.analyse()
    assert [finding.number for finding in timeline.findings] == [1]
    peers.ask(F.SET_VRING_ENABLE, u32(0, 2))
    talk.writer.flush()
    timeline.update()
    assert timeline.analyse() == 1
    assert "vring-enable-value" in [finding.rule for finding in timeline.findings_at(1)]


def test_a_loss_ends_what_rests_on_the_whole(talk: Talk) -> None:
    peers = talk.connect()
    peers.ask(F.GET_FEATURES)
    talk.writer.lost(Lost(peers.connection.id, talk.now, 2))
    peers.ask(F.SET_VRING_KICK, u64(0), eventfd(1))
    timeline = _analysed(talk.timeline(), 1 << 30)
    assert timeline.findings == []
    assert timeline.checker.partial == {1: "messages were lost"}
