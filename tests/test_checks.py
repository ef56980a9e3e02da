"""Every rule with sessions that break it and sessions that do not."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import NoReturn

import pytest
from checks_cases import (
    channels,
    endings,
    exchange,
    memory,
    migration,
    negotiation,
    rings,
    setting_up,
    traps,
    values,
    vrings,
)
from checks_cases.script import (
    MEMORY,
    PROTOCOL,
    Again,
    B,
    Case,
    Close,
    F,
    P,
    Part,
    Say,
    Wait,
    acked,
    back,
    be,
    channel,
    checker_of,
    enable,
    fe,
    gpu_socket,
    hello,
    judge,
    kick,
    ring,
    stop,
    tell,
    u32,
    u64,
    up,
)
from hypothesis import given, settings
from hypothesis import strategies as st

import vusniff.checks
from vusniff.analysis.compose import compose
from vusniff.analysis.session import Place
from vusniff.checks import rulings
from vusniff.checks.finding import Key, Level, Rule, Severity, Side, Trigger
from vusniff.checks.table import BY_SLUG, RULES
from vusniff.families.pairing import Pairing
from vusniff.families.vhost_user.protocol import Channels
from vusniff.families.vhost_user.state import Seen, evolve, initial
from vusniff.layouts import dissect
from vusniff.message import Context
from vusniff.record import End, Frame

SUBJECTS = (exchange, negotiation, memory, vrings, migration, channels, traps, values, setting_up, endings, rings)
FIRES = [case for subject in SUBJECTS for case in subject.FIRES]
QUIET = [case for subject in SUBJECTS for case in subject.QUIET]
INVISIBLE = {"kick-once-after-start"}
BY_HAND = {"backend-request-too-early"}
"""Tested with a made-up place: the tracker finds a back-end channel by SET_BACKEND_REQ_FD only."""
OF_CALLS = {"call-failed", "backend-before-ring"}
"""Of another family: tests/test_vhost_kernel.py."""

NORMAL: list[list[Part]] = [
    up(),
    [*up(), *ring(1), channel(), *stop(), *stop(1), Close(0)],
    [*up(), Wait(1), Close(1), Again(), *up(), Wait(20), *stop(), Close(0)],
    [
        *up(protocol=PROTOCOL | P.CONFIG),
        channel(),
        *acked(back(B.BACKEND_CONFIG_CHANGE_MSG)),
        Wait(9),
        *stop(),
        *ring(),
    ],
    [*hello(accept=1 << 32), *MEMORY, *ring()[:-1], Wait(9), Close(1)],
]
FLAGS = st.sampled_from([0, 1, 4, 5, 9, 13, 0x11])


def _names(cases: list[Case]) -> list[str]:
    return [f"{case.slug}-{sum(other.slug == case.slug for other in cases[:i]) + 1}" for i, case in enumerate(cases)]


def test_what_qemu_does_is_not_said_of_another_front_end() -> None:
    """Sentences that name QEMU's ways to explain a remark are for front-ends that are or may be QEMU."""
    for session in ([*hello()[:6], enable()], [*hello(protocol=P(0)), fe(F.GET_CONFIG)]):
        for comm in ("dpdk-testpmd", "cloud-hyperviso", "libblkio"):
            said = [one.sentence for one in judge(Case("", session, comms=(comm, "dpdk-testpmd")))]
            assert said
            assert not [one for one in said if "QEMU" in one]


@pytest.mark.parametrize("case", FIRES, ids=_names(FIRES))
def test_a_broken_rule_is_found(case: Case) -> None:
    rule = BY_SLUG[case.slug]
    findings = judge(case)
    mine = [finding for finding in findings if finding.rule == case.slug]
    assert mine, f"only {[finding.rule for finding in findings]}"
    finding = mine[0]
    assert finding.side == (case.side or rule.side) != Side.EITHER
    assert finding.severity == (case.severity or rule.severity)
    assert finding.section == rule.section
    assert case.says in finding.sentence
    assert finding.number in finding.evidence
    assert min(finding.evidence) > 0


@pytest.mark.parametrize("case", QUIET, ids=_names(QUIET))
def test_a_kept_rule_is_not(case: Case) -> None:
    assert [finding for finding in judge(case) if finding.rule == case.slug] == []


def test_every_rule_has_both_kinds_of_sessions() -> None:
    slugs = {rule.slug for rule in RULES if rule.function} - OF_CALLS
    assert slugs - {case.slug for case in FIRES} == BY_HAND
    assert slugs - {case.slug for case in QUIET} == set()
    assert {case.slug for case in FIRES + QUIET} <= slugs
    assert {rule.slug for rule in RULES} - slugs == INVISIBLE | OF_CALLS


def test_every_request_that_a_protocol_feature_brings_is_asked_whether_that_is_negotiated() -> None:
    specs = dissect.load()[Channels.MAIN].specs.values()
    asked = {key.request for key in BY_SLUG["request-not-negotiated"].on if isinstance(key, Key)}
    assert {spec.name for spec in specs if spec.requires is not None and spec.code not in asked} == set()


def test_the_table_is_complete() -> None:
    ids = [rule.id for rule in RULES]
    rules = sum(id.startswith("R") for id in ids)
    assert ids[:rules] == [f"R{number:02}" for number in range(1, rules + 1)]
    traps = sum(id.startswith("T") for id in ids)
    assert ids[rules : rules + traps] == [f"T{number:02}" for number in range(1, traps + 1)]
    assert ids[rules + traps :] == [f"C{number:02}" for number in range(1, len(ids) - rules - traps + 1)]
    assert len(BY_SLUG) == len(RULES)


def test_rows_say_what_they_demand() -> None:
    for rule in RULES:
        assert rule.words, rule.id
        assert rule.section, rule.id
        assert rule.slug == rule.slug.lower().replace("_", "-")
        assert bool(rule.on) == bool(rule.judge), rule.id
        assert (rule.level is Level.MUST) == (rule.severity is Severity.ERROR)


def test_a_request_on_a_channel_that_was_not_passed_is_found() -> None:
    checker, now = tell(Case("", hello(protocol=PROTOCOL | P.CONFIG)))
    place = Place(1, 2, Channels.BACKEND, 1, Context(), (End(), End()))
    frame = Frame(2, 1, now, u32(B.BACKEND_CONFIG_CHANGE_MSG, 1, 0))
    state = evolve(initial(True), owned=Seen(True, 1), protocol_features=Seen(int(PROTOCOL | P.CONFIG), 6))
    checker.feed(compose(8, frame, place), place, Pairing.UNASKED, state, state)
    assert [finding.rule for finding in checker.findings] == ["backend-request-too-early"]


def test_what_repeats_is_counted_and_not_kept() -> None:
    session = [*hello(), *[fe(F.RESET_OWNER)] * 10]
    checker = checker_of(Case("", session), kept=3)
    assert len([finding for finding in checker.findings if finding.rule == "reset-owner-deprecated"]) == 3
    assert checker.counts[1, "reset-owner-deprecated", Side.FRONTEND] == 10


def test_a_fact_that_holds_for_a_session_is_said_once() -> None:
    checker = checker_of(Case("", [*hello()[:6], *[enable()] * 5]))
    assert [finding.number for finding in checker.findings] == [7]
    assert checker.counts[1, "vring-enable-not-negotiated", Side.FRONTEND] == 1


def test_only_the_rules_that_are_given_are_asked() -> None:
    case = Case("", [*hello(), fe(F.RESET_OWNER), fe(F.SET_VRING_NUM, u32(0, 0))])
    assert {f.rule for f in checker_of(case, rules=(BY_SLUG["vring-size"],)).findings} == {"vring-size"}


@pytest.mark.parametrize("session", NORMAL, ids=range(len(NORMAL)))
def test_normal_sessions_have_no_findings(session: list[Part]) -> None:
    assert judge(Case("", session)) == []


def test_a_queue_size_that_was_not_sent_whole_is_refused() -> None:
    asked = fe(F.SET_VRING_NUM, u32(0), flags=9)
    assert {finding.rule for finding in judge(Case("", [*hello(), asked, be(F.SET_VRING_NUM, u64(1))]))} == {
        "payload-size",
        "request-refused",
    }
    assert {finding.rule for finding in judge(Case("", [*hello(), asked, Close(1)]))} == {"payload-size"}


@pytest.mark.parametrize("code", range(47))
def test_a_request_of_any_size_refused_or_left_raises_nothing(code: int) -> None:
    """What a peer leaves out of a request is not asked for again when that is answered, refused, or the end."""
    asked: list[Part]
    for size in (0, 4, 8, 12, 16, 24, 28, 32, 40, 63, 268):
        asked = [fe(code, bytes(size), flags=9)]
        answers = [be(code, u64(1)), be(code), be(code, bytes(size)), be(code, bytes(12))]
        rests: list[list[Part]] = [[answer] for answer in answers]
        rests += [[Close(1)], [Wait(9), kick()]]
        for rest in rests:
            judge(Case("", [*hello(), *asked, *rest, Close(1)]))
        judge(Case("", [*up(), channel(), *asked, answers[0], Close(0)], comms=("qemu", "virtiofsd")))


def test_rules_read_no_payload_but_a_decoded_one() -> None:
    """`Step.values`, `Step.asked` and `decoded` are the ways to a field; only they look at `Message.payload`."""
    for module in Path(vusniff.checks.__file__).parent.glob("*.py"):
        read = [node for node in ast.walk(ast.parse(module.read_text())) if isinstance(node, ast.Attribute)]
        assert module.name in ("checker.py", "step.py") or "payload" not in {node.attr for node in read}, module.name


def _broken(step: object) -> NoReturn:
    """It holds"""
    raise KeyError("num")


def test_a_rule_that_raises_becomes_one_note(monkeypatch: pytest.MonkeyPatch) -> None:
    key = BY_SLUG["vring-size"].on
    rules = (
        Rule("X1", "broken", Level.MUST, Side.FRONTEND, "none", _broken, key),
        Rule("X2", "broken-trigger", Level.MUST, Side.FRONTEND, "none", _broken, (Trigger.UNOWNED,)),
        Rule("X3", "broken-end", Level.MUST, Side.FRONTEND, "none", at_end=_broken),
        BY_SLUG["vring-size"],
    )
    case = Case("", [*hello(), *[fe(F.SET_VRING_NUM, u32(0, 0))] * 3, Close(0), Again(), *hello()])
    with pytest.raises(KeyError):
        checker_of(case, rules=rules)
    monkeypatch.setattr(rulings, "rules_may_raise", False)
    findings = checker_of(case, rules=rules).findings
    assert sorted(finding.rule for finding in findings) == [
        "broken",
        "broken-end",
        "broken-trigger",
        *["vring-size"] * 3,
    ]
    for finding in findings:
        if finding.rule != "vring-size":
            assert finding.severity is Severity.NOTE
            assert f"rule {finding.rule} could not be judged here (KeyError: 'num')" in finding.sentence
            assert finding.number


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 1), st.integers(0, 46), FLAGS, st.binary(max_size=300))))
def test_nothing_that_peers_say_raises(said: list[tuple[int, int, int, int, bytes]]) -> None:
    session: list[Part] = [*up(), channel(), gpu_socket()]
    session += [Say(connection, end, code, flags, payload, ()) for connection, end, code, flags, payload in said]
    for finding in judge(Case("", session)):
        assert finding.sentence
        assert 0 < finding.number <= len(session)
        assert set(finding.evidence) <= set(range(1, len(session) + 1))
