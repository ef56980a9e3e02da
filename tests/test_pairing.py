"""One mechanism says which reply answers which request: rules, timeline, JSON and filters agree in every case."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from talk import Talk, memfd, region, u32, u64

from vusniff.capture.reader import CaptureReader
from vusniff.checks.finding import Key, Level, Rule, Sayings, Side
from vusniff.checks.step import Step
from vusniff.cli import main
from vusniff.families.pairing import MAX_CODES, MAX_WAITING, Pairing, Pairs, Pending
from vusniff.families.vhost_user.protocol import Channels, ProtocolFeature
from vusniff.families.vhost_user.protocol import FrontendRequest as F
from vusniff.filter import compile_filter
from vusniff.record import Lost
from vusniff.views.findings import Judged

UNKNOWN = 300
"""A code that no table has."""
Found = dict[int, int | None]


@pytest.fixture
def talk(tmp_path: Path) -> Talk:
    return Talk(tmp_path / "talk.pcapng")


def paired(talk: Talk, capsys: pytest.CaptureFixture[str]) -> Found:
    """Reply -> the request it answers, as the timeline says, once rules, JSON and filters have said the same."""
    timeline = talk.timeline()
    found = {message.number: message.answers for message in timeline.messages() if message.reply}
    assert by_rules(talk) == found
    assert main(["read", "--json", str(talk.path)]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {line["number"]: line["answers"] for line in lines if line["reply"]} == found
    for reply, request in found.items():
        if request is not None:
            assert lines[request - 1]["answered_by"] == reply
            assert list(compile_filter(f"vhost.answered_by == {reply}").rows(timeline)) == [request - 1]
    return found


def by_rules(talk: Talk) -> Found:
    """The same, as a rule that is asked of every reply sees it."""
    found: Found = {}

    def look(step: Step) -> Sayings:
        """Never minds anything"""
        again = step.pairing == Pairing.AGAIN
        found[step.message.number] = step.request.number if step.request and not again else None
        return ()

    replies = tuple(Key(Channels.MAIN, code, True) for code in (*F, UNKNOWN))
    judged = Judged([Rule("X01", "look", Level.TRAP, Side.EITHER, "here", look, replies, unread=True)])
    with CaptureReader(talk.path) as reader:
        for batch in reader.batches():
            judged.take(batch, reader.order)
    return found


def waiting(talk: Talk) -> list[int]:
    """Requests that must be answered and were not."""
    return [pending.number for pending in talk.timeline().tracker.pending()]


def test_a_reply_behind_a_loss_answers_nothing_from_before_it(talk: Talk, capsys: pytest.CaptureFixture[str]) -> None:
    """Its request may be one that was lost."""
    peers, other = talk.connect(), talk.connect("/run/vm2.sock")
    peers.ask(F.GET_FEATURES)
    elsewhere = other.ask(F.GET_FEATURES)
    talk.writer.lost(Lost(peers.connection.id, talk.now, 2))
    behind = peers.answer(F.GET_FEATURES, u64(0))
    asked = peers.ask(F.GET_FEATURES)
    answer = peers.answer(F.GET_FEATURES, u64(0))
    kept = other.answer(F.GET_FEATURES, u64(0))
    assert paired(talk, capsys) == {behind: None, answer: asked, kept: elsewhere}
    assert waiting(talk) == []


def test_a_loss_anywhere_may_be_of_any_connection(talk: Talk, capsys: pytest.CaptureFixture[str]) -> None:
    peers, other = talk.connect(), talk.connect("/run/vm2.sock")
    for one in (peers, other):
        one.ask(F.GET_FEATURES)
    talk.writer.lost(Lost(None, talk.now, 2))
    talk.writer.lost(Lost(None, talk.now, 2))
    replies = [one.answer(F.GET_FEATURES, u64(0)) for one in (peers, other)]
    assert paired(talk, capsys) == dict.fromkeys(replies)
    assert waiting(talk) == []


def test_need_reply_is_no_duty_without_reply_ack(talk: Talk, capsys: pytest.CaptureFixture[str]) -> None:
    """The flag has a meaning only where REPLY_ACK is negotiated; an answer that comes all the same is paired."""
    peers = talk.connect()
    unanswered = peers.ask(F.SET_OWNER, need_reply=True)
    asked = peers.ask(F.POSTCOPY_LISTEN, need_reply=True)
    answer = peers.answer(F.POSTCOPY_LISTEN, u64(0))
    late = peers.answer(F.SET_OWNER, u64(0))
    assert paired(talk, capsys) == {answer: asked, late: unanswered}
    peers.ask(F.SET_VRING_ENABLE, u32(0, 1), need_reply=True)
    assert waiting(talk) == []
    peers.ask(F.SET_PROTOCOL_FEATURES, u64(ProtocolFeature.REPLY_ACK), need_reply=True)
    due = peers.ask(F.SET_VRING_ENABLE, u32(0, 1), need_reply=True)
    assert waiting(talk) == [due]


def test_whether_a_late_session_has_negotiated_reply_ack_is_not_known(talk: Talk) -> None:
    talk.connect(late=True).ask(F.SET_OWNER, need_reply=True)
    assert waiting(talk) == []


def test_requests_that_no_table_has_are_answered_in_their_order(talk: Talk, capsys: pytest.CaptureFixture[str]) -> None:
    peers = talk.connect()
    first, second = peers.ask(UNKNOWN), peers.ask(UNKNOWN)
    one, two = peers.answer(UNKNOWN), peers.answer(UNKNOWN)
    again = peers.answer(UNKNOWN)
    assert paired(talk, capsys) == {one: first, two: second, again: None}
    peers.ask(UNKNOWN)
    assert waiting(talk) == []


def test_in_postcopy_a_table_without_descriptors_acknowledges_and_asks_nothing(
    talk: Talk, capsys: pytest.CaptureFixture[str]
) -> None:
    peers = talk.connect()
    peers.ask(F.POSTCOPY_LISTEN)
    table = u32(1, 0) + region(0, 1 << 20, 0x7000_0000)
    asked = peers.ask(F.SET_MEM_TABLE, table, memfd(9))
    answer = peers.answer(F.SET_MEM_TABLE, table)
    peers.ask(F.SET_MEM_TABLE, u64(0))
    assert paired(talk, capsys) == {answer: asked}
    assert waiting(talk) == []
    peers.ask(F.POSTCOPY_END)
    peers.answer(F.POSTCOPY_END, u64(0))
    peers.ask(F.SET_MEM_TABLE, table, memfd(9))
    assert waiting(talk) == []


def test_what_the_wrong_side_sends_is_paired_with_nothing(talk: Talk, capsys: pytest.CaptureFixture[str]) -> None:
    peers = talk.connect()
    peers.ask(F.SET_OWNER)
    peers.say(1, F.GET_FEATURES)
    stray = peers.say(0, F.GET_FEATURES, u64(0), 5)
    assert talk.timeline().message(stray - 1).answers is None
    assert waiting(talk) == []
    assert list(talk.timeline().pairings) == [Pairing.UNASKED, Pairing.NONE, Pairing.NONE]


def ask(pairs: Pairs, number: int, code: int, due: Pairing = Pairing.DUE) -> Pending:
    pending = Pending(number, number, code, 1, due)
    pairs.ask(pending)
    return pending


def test_replies_fit_in_one_of_five_ways() -> None:
    pairs = Pairs()
    first, second = ask(pairs, 1, 10), ask(pairs, 2, 11)
    unasked = ask(pairs, 3, 12, Pairing.UNASKED)
    assert pairs.answer(11) == (second, Pairing.OUT_OF_ORDER)
    assert pairs.answer(10) == (first, Pairing.FITS)
    assert pairs.answer(10) == (None, Pairing.AGAIN)
    assert pairs.answer(12) == (unasked, Pairing.NOT_ASKED)
    assert pairs.answer(12) == (None, Pairing.AGAIN)
    assert pairs.answer(13) == (None, Pairing.WRONG)


def test_what_need_not_be_answered_is_given_up_when_a_later_request_is() -> None:
    pairs = Pairs()
    ask(pairs, 1, 10, Pairing.OPTIONAL)
    due = ask(pairs, 2, 11)
    assert pairs.answer(11) == (due, Pairing.FITS)
    assert pairs.answer(10)[1] is Pairing.NOT_ASKED


def test_replies_that_name_their_request_come_in_any_order() -> None:
    pairs = Pairs()
    first, second = Pending(1, 1, 10, 1), Pending(2, 2, 10, 1)
    pairs.ask_by_id(0, 7, first)
    pairs.ask_by_id(0, 8, second)
    assert pairs.unanswered == [first, second]
    assert pairs.answer_by_id(0, 8) == (second, Pairing.FITS)
    assert pairs.answer_by_id(0, 7) == (first, Pairing.FITS)
    assert pairs.answer_by_id(0, 7) == (None, Pairing.WRONG)
    assert pairs.answer_by_id(1, 7) == (None, Pairing.WRONG)


def test_what_is_remembered_of_requests_is_bounded() -> None:
    pairs = Pairs()
    for number in range(2 * MAX_WAITING):
        ask(pairs, number, number)
        pairs.ask_by_id(0, number, Pending(number, number, 1, 1))
    assert len(pairs.unanswered) == 2 * MAX_WAITING
    assert pairs.answer(MAX_CODES) == (None, Pairing.WRONG)
