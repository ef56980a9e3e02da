"""The verdict: what is wrong, whose fault it is, what to do; and nothing alarming where nothing is wrong."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from checks_cases import script
from checks_cases.script import (
    FEATURES,
    MEMORY,
    Again,
    Case,
    Close,
    F,
    Part,
    acked,
    be,
    fe,
    hello,
    ring,
    tell,
    u32,
    u64,
    up,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from talk import Talk
from verdict_cases import Expected
from verdict_cases.answers import ANSWERS
from verdict_cases.ends import ENDS
from verdict_cases.kinds import KINDS
from verdict_cases.lives import LIVES
from verdict_cases.outside import OUTSIDE
from verdict_cases.stalls import STALLS
from verdict_cases.variants import VARIANTS

from vusniff.analysis.timeline import Timeline, read_all
from vusniff.capture.index import Index
from vusniff.checks.checker import Checker
from vusniff.checks.outcome import Outcome
from vusniff.checks.ranking import ranked
from vusniff.checks.story import session_verdict, verdicts
from vusniff.checks.verdict import Verdict
from vusniff.record import Frame, FrameKind
from vusniff.views.account import session_dict
from vusniff.views.verdict import fault, first_line, verdict_dict, why_dict

CAPTURES = sorted((Path(__file__).parent.parent / "captures").glob("*.pcapng"))
CASES = [*ENDS, *LIVES, *STALLS, *KINDS, *OUTSIDE, *ANSWERS, *VARIANTS]


def judged(expected: Expected) -> tuple[Checker, list[Verdict]]:
    """The verdicts over a session that is over when its messages are."""
    case = Case("", expected.session, comms=expected.comms, late=expected.late, device=expected.device)
    checker, now = tell(case)
    checker.conclude(now)
    return checker, verdicts(checker, now)


@pytest.mark.parametrize("expected", CASES, ids=lambda expected: expected.name)
def test_a_verdict_names_the_cause(expected: Expected) -> None:
    _, found = judged(expected)
    assert len(found) == 1
    verdict = found[0]
    at = 0
    for words in expected.says:
        assert words in verdict.sentence[at:], verdict.sentence
        at = verdict.sentence.index(words, at) + len(words)
    assert (verdict.outcome, verdict.cause, verdict.side) == (expected.outcome, expected.cause, expected.side), verdict
    assert verdict.step == expected.step
    assert expected.number in (None, verdict.number)
    assert expected.sure in (None, verdict.sure)
    assert expected.advice in verdict.advice
    if verdict.trouble:
        assert verdict.advice
        assert verdict.number
        assert verdict.number in verdict.evidence or verdict.times > 1
    if expected.caveat or not expected.cause:
        assert bool(expected.caveat) == bool(verdict.caveats)
        assert expected.caveat in " ".join(verdict.caveats)


def test_names_of_cases_are_different() -> None:
    names = [expected.name for expected in CASES]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
def test_working_programs_have_a_quiet_verdict(path: Path) -> None:
    timeline = Timeline(Index([path]))
    read_all(timeline, judge=True)
    timeline.conclude()
    found = verdicts(timeline.checker, timeline.index.time_ns[-1])
    assert {(one.outcome, one.trouble) for one in found} == {(Outcome.STOPPED, False)}
    judged = timeline.sessions[0].family.name != "vfio-user"
    assert bool(found[0].caveats) is not judged
    assert sorted(number for one in found for number in one.sessions) == list(range(1, len(timeline.sessions) + 1))
    for number, session in enumerate(timeline.sessions, 1):
        following = session.following
        single = session_verdict(timeline.checker, number, timeline.index.time_ns[-1], following)
        assert single is not None
        assert not single.trouble


def test_a_session_that_goes_on_has_a_verdict_at_any_time() -> None:
    session = list(up())
    for count in range(1, len(session) + 1):
        checker, now = tell(Case("", session[:count]))
        (verdict,) = verdicts(checker, now)
        assert not verdict.trouble
    assert verdict.outcome is Outcome.RUNNING


def test_the_worst_story_is_told_first() -> None:
    checker, now = tell(Case("", [*up(), Close(0)]))
    assert [one.path for one in verdicts(checker, now)] == ["/run/vm1.sock"]
    every = [judged(expected)[1][0] for expected in CASES]
    bad = [one for one in every if one.trouble]
    assert bad
    assert len(bad) < len(every)


PARTS: st.SearchStrategy[Part] = st.sampled_from(
    [*[part for case in CASES for part in case.session], Again(), Close(None)]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(PARTS, min_size=1, max_size=40), st.booleans())
def test_no_session_has_no_verdict(parts: list[Part], late: bool) -> None:
    """Whatever comes in whatever order: there is a verdict with a sentence, and nothing raises."""
    opened = False
    session: list[Part] = []
    for part in parts:  # what is closed or lost was open before
        if isinstance(part, script.Say):
            opened = opened or part.connection == script.MAIN
        elif isinstance(part, Again):
            opened = False
        elif not opened and not isinstance(part, script.Wait):
            continue
        session.append(part)
    checker, now = tell(Case("", session, late=late))
    checker.conclude(now)
    found = verdicts(checker, now)
    sessions = [number for one in found for number in one.sessions]
    assert sorted(sessions) == list(range(1, len(checker.tracker.sessions) + 1))
    for verdict in found:
        assert verdict.sentence.endswith((".", "?"))
        assert not verdict.trouble or verdict.advice


def test_a_verdict_keeps_to_its_schema() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = Path(__file__).parent.parent / "docs" / "verdict.schema.json"
    check = jsonschema.Draft202012Validator(json.loads(schema.read_text("utf-8")))
    for expected in CASES:
        for verdict in judged(expected)[1]:
            check.validate(verdict_dict(verdict))
    outcomes = set(json.loads(schema.read_text("utf-8"))["properties"]["outcome"]["enum"])
    assert outcomes == {outcome.value for outcome in Outcome}


def test_no_caveat_is_left_out_by_name() -> None:
    verdict = Verdict(Outcome.UNKNOWN, caveats=("it was joined late", "messages were lost"), sessions=(1,))
    assert why_dict(verdict)["but"] == "it was joined late; messages were lost"


def test_causes_are_told_before_symptoms_and_equals_once() -> None:
    session = [*hello(accept=FEATURES | 4), *[fe(F.SET_VRING_NUM, u32(index, 0)) for index in range(3)], Close(1)]
    checker, now = tell(Case("", session, comms=("qemu-system-x86", "vhost-device-sc")))
    checker.conclude(now)
    told = ranked(checker.found[1], checker.counts)
    assert [one.finding.rule for one in told] == ["features-not-offered", "closed-after-request", "vring-size"]
    assert told[1].explained_by is told[0].finding
    assert (told[2].times, told[2].numbers) == (3, (8, 9, 10))
    assert "queue-size-more-than-peer" not in {one.finding.rule for one in told}


def test_of_two_that_explain_each_other_the_cause_is_told_first() -> None:
    checker, now = tell(Case("", [*hello(), *acked(fe(F.SET_VRING_NUM, u32(0, 256)), 1), Close(0)]))
    checker.conclude(now)
    told = ranked(checker.found[1], checker.counts)
    explained = {one.finding.rule: one.explained_by.rule for one in told if one.explained_by is not None}
    assert not any(explained.get(by) == rule for rule, by in explained.items()), explained
    assert told[0].explained_by is None


def test_an_end_that_was_not_seen_is_said(tmp_path: Path) -> None:
    talk = Talk(tmp_path / "two.pcapng")
    for _ in range(2):
        peers = talk.connect()
        peers.ask(F.GET_FEATURES)
        peers.answer(F.GET_FEATURES, u64(FEATURES))
    timeline = talk.timeline()
    first, second = (session_dict(timeline, session)["ended"] for session in timeline.sessions)
    assert first == "not seen; session 2 begins on the same path"
    assert second == "open"
    talk.writer.close()


def test_sessions_at_the_same_time_have_a_verdict_each(tmp_path: Path) -> None:
    talk = Talk(tmp_path / "two.pcapng")
    fine, bad = talk.connect("/run/a.sock"), talk.connect("/run/b.sock")
    both = [*hello(), fe(F.GET_QUEUE_NUM), be(F.GET_QUEUE_NUM, u64(1))]
    for part in (*both, *MEMORY, *ring()):
        assert isinstance(part, script.Say)
        for peers in (fine, bad) if part in both else (fine,):
            peers.say(part.end, part.request, part.payload, part.flags, part.fds)
        if part is both[-1]:
            bad.close()
    talk.writer.close()
    timeline = Timeline(Index(talk.path))
    read_all(timeline, judge=True)
    timeline.conclude()
    first, second = verdicts(timeline.checker, timeline.index.time_ns[-1])
    assert (first.path, first.outcome, first.sessions) == ("/run/b.sock", Outcome.NEVER_STARTED, (2,))
    assert "GET_QUEUE_NUM said 1" in first.sentence
    assert (second.path, second.outcome, second.sessions) == ("/run/a.sock", Outcome.RUNNING, (1,))
    about = " This is about /run/b.sock; "
    assert first_line([first, second]).endswith(f"{about}nothing is wrong with the other device.")
    assert first_line([first, first, second]).endswith(
        " This is about /run/b.sock; of the 2 other devices 1 is in trouble."
    )


def command(number: int, request: int, flags: int = 0, body: bytes = b"", error: int = 0) -> bytes:
    """One message of vfio-user."""
    return struct.pack("<HHIII", number, request, 16 + len(body), flags, error) + body


VERSION = struct.pack("<HH", 0, 1) + b'{"capabilities":{}}\0'
AGREED = [(0, command(1, 1, body=VERSION)), (1, command(1, 1, 1, VERSION))]
INFO = (0, command(2, 4, body=bytes(16)))


@pytest.mark.parametrize(
    ("said", "closer", "outcome", "says", "advice"),
    [
        ([*AGREED, INFO, (1, command(2, 4, 1, bytes(16)))], 0, Outcome.STOPPED, "the client (qemu) closed", ""),
        ([*AGREED, INFO], 1, Outcome.HUNG_UP, "after DEVICE_GET_INFO (#3) and did not answer it", "the server's log"),
        (
            [*AGREED, INFO, (1, command(2, 4, 0x21, error=22))],
            0,
            Outcome.REFUSED,
            "with EINVAL (#4)",
            "the server's log",
        ),
        (AGREED[:1], 1, Outcome.NEVER_STARTED, "VERSION (#1), before it answered anything", "the server's own log"),
        (AGREED, 1, Outcome.ENDED, "Ended: the server (nvmf_tgt) closed the connection.", ""),
        ([AGREED[0], (1, b"HTTP/1.1 400\r\n\r\n")], 1, Outcome.NEVER_STARTED, "that is HTTP, not vfio-user", "serves"),
    ],
)
def test_how_a_session_without_rules_ended(
    tmp_path: Path, said: list[tuple[int, bytes]], closer: int, outcome: Outcome, says: str, advice: str
) -> None:
    talk = Talk(tmp_path / "vfio.pcapng")
    peers = talk.connect(comms=("qemu", "nvmf_tgt"))
    for end, data in said:
        talk.now += 1_000_000
        kind = FrameKind.RAW if data.startswith(b"HTTP") else FrameKind.MESSAGE
        talk.writer.frame(Frame(peers.connection.id, end, talk.now, data, kind=kind))
    peers.close(closer)
    talk.writer.close()
    timeline = Timeline(Index(talk.path))
    read_all(timeline, judge=True)
    timeline.conclude()
    (verdict,) = verdicts(timeline.checker, talk.now)
    assert (verdict.outcome, timeline.sessions[0].family.name) == (outcome, "vfio-user")
    assert says in verdict.sentence
    assert advice in verdict.advice
    assert bool(verdict.advice) is verdict.trouble
    assert "the back-end" not in fault(verdict)
    assert "no rules" in verdict.caveats[0]
