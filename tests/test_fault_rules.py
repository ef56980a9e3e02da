"""Fault rules as text: what they say, what is refused and where, and what a rule decides about messages."""

from __future__ import annotations

import contextlib
import re
import struct
from pathlib import Path

import pytest

from vusniff.errors import RuleError
from vusniff.faults.actions import ACTIONS, FieldSetting, WantedDescriptors
from vusniff.faults.deciding import RuleDecider
from vusniff.faults.rule import FaultRule, parse_rule, rules_of
from vusniff.record import Connection, Frame
from vusniff.sources.proxy.plan import Breaking, FaultPlan, Order

GET_FEATURES, SET_FEATURES, SET_VRING_NUM, GET_QUEUE_NUM = 1, 2, 8, 17


def message(request: int, payload: bytes = b"", flags: int = 1) -> bytes:
    return struct.pack("=III", request, flags, len(payload)) + payload


def num(index: int, value: int) -> bytes:
    return message(SET_VRING_NUM, struct.pack("=II", index, value))


class Run:
    """Rules, and one connection after the other on which both sides speak."""

    def __init__(self, *rules: str, seed: int = 1) -> None:
        self.said: list[str] = []
        self.decider = RuleDecider(rules_of(rules, ()), seed, self.said.append)
        self.connect()

    def connect(self) -> None:
        self.number = self.decider.opened(Connection(1, "/run/vm.sock"))

    def end(self) -> None:
        self.decider.closed(self.number)

    def ask(self, data: bytes, end: int = 0) -> FaultPlan | None:
        return self.decider.decide(self.number, Frame(1, end, 1, data))

    def hits(self, *messages: bytes) -> list[int]:
        """Which of them a rule takes, from 1."""
        return [at for at, data in enumerate(messages, 1) if self.ask(data) is not None]


def parse(text: str) -> FaultRule:
    return parse_rule(text)


def test_a_rule_says_which_matches_what_chance_and_what_to_do() -> None:
    plain = parse("vhost.request == SET_VRING_NUM : drop")
    assert (plain.first, plain.counts, plain.each, plain.chance) == (1, False, False, 1.0)
    assert [action.name for action in plain.actions] == ["drop"]
    one, some, all_from = (parse(f"vring.index == 1 {when} : drop") for when in ("@3", "@2 , 5", "@4,"))
    assert (one.first, one.last) == (3, 3)
    assert (some.first, some.last) == (2, 5)
    assert all_from.first == 4
    assert all_from.last > 1 << 60
    full = parse('sock.path == "a : b, @3" @2,3 per session 12.5% : delay 300ms, set vring.size=7')
    assert (full.filter.text, full.each, full.chance) == ('sock.path == "a : b, @3"', True, 0.125)
    assert [action.value for action in full.actions] == [0.3, FieldSetting("vring.size", "7")]
    assert parse("vhost.request == SEND_RARP && vhost.data contains 52:54:00 : cut").actions[0].name == "cut"
    assert parse("vhost.request:drop".replace(":", ": ")).actions[0].name == "drop"
    values = {
        "delay 500us": 5e-4,
        "repeat 3": 3,
        "fds none": WantedDescriptors("none"),
        "fds keep 2": WantedDescriptors("keep", 2),
        "fds extra": WantedDescriptors("extra", 1),
        "split 4": 4,
        "half": None,
        "half 6": 6,
        "stall 2": 2.0,
        "stall 20ms": 0.02,
        "answer 0x10": "0x10",
        "kill SIGSTOP": 19,
        "kill 9": 9,
        "raise vhost.features 3 MRG_RXBUF": FieldSetting("vhost.features", "", ("3", "MRG_RXBUF")),
    }
    for written, value in values.items():
        filter = "vhost.request == SET_FEATURES" if "features" in written else "vhost.request"
        assert parse(f"{filter} : {written}").actions[0].value == value, written


WRONG = {
    "vhost.request == SET_VRING_NUM drop^": "has no colon with an action",
    "vhost.request == ^SET_VRING_NUMB : drop": "there is no request",
    "vhost.request == SET_VRING_NUM : ^dropp": "did you mean drop?",
    "vhost.request == SET_VRING_NUM : drop, ^set num=3": "drop and set exclude each other",
    "vhost.request == SET_VRING_NUM : set ^vring.sizee=0": "did you mean vring.size",
    "vhost.request == SET_VRING_NUM : set ^vhost.features=0": "has a field vhost.features",
    "vhost.request == SET_FEATURES : clear ^vhost.features MRG_RXBUFF": "has no bit MRG_RXBUFF; did you mean",
    "vhost.request == SET_FEATURES : clear ^vhost.features 64": "bits are numbered 0 to 63",
    "vhost.request @^0 : drop": "counted from 1",
    "vhost.request @2,^1 : drop": "before the first",
    "vhost.request ^@x : drop": "write @N",
    "vhost.request ^0% : drop": "more than 0%",
    "vhost.request ^per session : drop": "this rule counts nothing",
    "vhost.request : delay ^300": "with its unit",
    "vhost.request : delay ^2000000s": "at most a day",
    "vhost.request : drop ^now": "takes no argument",
    "vhost.request : drop, ^drop": "is given twice",
    "vhost.request : drop, ^": "an action is missing",
    "vhost.request : kill ^SIGFOO": "is not a signal",
    "vhost.request : fds ^some": "is not known: write",
    "vhost.request : ^repeat": "is not a count",
    "vhost.request : answer ^0x11112222333344445": "is not an answer",
    "^vhost.request == SET_OWNER && vring.index == 3 : drop": "no message can match",
    "^vring.index > 5 && vring.index < 3 : drop": "no message can match",
    "^vhost.channel == gpu && vhost.request == SET_OWNER : drop": "no message can match",
    "^vhost.latency < 0 : drop": "no message can match",
    '^sock.path == "a" && sock.path == "b" : drop': "no message can match",
    "^vhost.request == SET_OWNER && !(vhost.request == SET_OWNER) : drop": "no message can match",
    "^finding.severity >= warning : drop": "is not known while a message passes",
    "vhost.request == 1 && ^vhost.answered_by : drop": "is not known while a message passes",
    "^call.result < 0 : drop": "do not pass through a proxy",
}


@pytest.mark.parametrize("marked", WRONG)
def test_what_is_wrong_is_said_and_pointed_at(marked: str) -> None:
    text = marked.replace("^", "", 1)
    with pytest.raises(RuleError) as caught:
        parse_rule(text, 1, "rule 4")
    assert WRONG[marked] in caught.value.sentence
    assert caught.value.start == marked.index("^")
    first, shown, marks = str(caught.value).split("\n")
    assert first.startswith("rule 4: ")
    assert shown.strip() == text.strip()
    assert marks.index("^") == 4 + marked.index("^")


def test_files_have_comments_and_errors_name_their_line() -> None:
    text = "# bad days\n\nvhost.request == SET_OWNER : drop\r\n   vring.index == 1 @2 : cut   \n"
    found = rules_of(["vhost.request : pass"], [("rules.txt", text)])
    assert [rule.number for rule in found] == [1, 2, 3]
    assert found[2].text == "vring.index == 1 @2 : cut"
    with pytest.raises(RuleError, match=r"^rules\.txt:5: there is no action cutt"):
        rules_of([], [("rules.txt", text + "vring.index == 1 : cutt")])


def test_no_rule_is_read_wrongly_or_raises_anything_else() -> None:
    pieces = [
        "vhost.request",
        "==",
        "SET_OWNER",
        "@",
        "2",
        ",",
        ":",
        " : ",
        "drop",
        '"',
        "%",
        "set",
        "=",
        "(",
        "\n",
        "é",
    ]
    refused = []
    for seed in range(400):
        text = " ".join(pieces[(seed * 7 + at * (seed % 11 + 1)) % len(pieces)] for at in range(seed % 9))
        with contextlib.suppress(RuleError):
            parse_rule(text)
            continue
        refused.append(text)
    assert len(refused) > 300


# -- which messages ---------------------------------------------------------------------------------------------------


def test_the_first_rule_that_matches_wins_and_all_matches_are_counted() -> None:
    run = Run("vring.index == 1 @1 : cut", "vhost.request == SET_VRING_NUM @2 : drop")
    plans = [run.ask(num(index, 256)) for index in (0, 1, 1)]
    assert [plan and plan.rule for plan in plans] == [None, 1, None]
    plan = run.ask(num(1, 256))
    assert plan is None
    run = Run("vring.index == 1 @2 : pass", "vhost.request == SET_VRING_NUM : drop")
    assert [(plan := run.ask(num(1, 1))) and plan.actions for _ in range(3)] == [("drop",), ("pass",), ("drop",)]


def test_matches_are_counted_over_the_run_or_per_session() -> None:
    for when, expected in (("@2", [2]), ("@2,3", [2, 3]), ("@3,", [3, 4])):
        run = Run(f"vhost.request == SET_VRING_NUM {when} : drop")
        assert run.hits(*[num(0, 1)] * 4) == expected
        run.end()
        run.connect()
        assert run.hits(*[num(0, 1)] * 4) == ([1, 2, 3, 4] if when == "@3," else [])
    run = Run("vhost.request == SET_VRING_NUM @2 per session : drop")
    for _ in range(2):
        assert run.hits(*[num(0, 1)] * 4) == [2]
        run.end()
        run.connect()


def test_chance_is_repeated_by_its_seed() -> None:
    def hits(seed: int) -> list[int]:
        return Run("vhost.request == SET_VRING_NUM 30% : drop", seed=seed).hits(*[num(0, 1)] * 200)

    assert hits(5) == hits(5)
    assert hits(5) != hits(6)
    assert 30 < len(hits(5)) < 90


def test_a_filter_sees_request_reply_values_and_session() -> None:
    run = Run("vhost.request == GET_FEATURES && vhost.reply == 1 && vhost.latency >= 0 : drop")
    assert run.ask(message(GET_FEATURES)) is None
    assert run.ask(message(GET_FEATURES, bytes(8), 5), end=1) is not None
    run = Run("vhost.features contains VERSION_1 && vhost.sender == frontend && vhost.session == 2 : drop")
    wanted = message(SET_FEATURES, struct.pack("=Q", 1 << 32))
    assert run.hits(message(3), wanted) == []
    run.end()
    run.connect()
    assert run.hits(message(3), message(SET_FEATURES, bytes(8)), wanted) == [3]
    assert Run("vhost.request == 200 : drop").hits(message(200), message(3)) == [1]
    assert Run("vhost.malformed : drop").hits(message(SET_VRING_NUM, b"x"), num(0, 1)) == [1]


@pytest.mark.parametrize("state", ["", " && state.regions == 0"])
def test_a_message_is_read_by_what_was_learnt_since_one_of_its_kind_was_met(state: str) -> None:
    run = Run(f"vring.available_wrap == 1{state} : drop")
    base = message(10, struct.pack("=II", 0, 0x8000))
    split, packed = (message(SET_FEATURES, struct.pack("=Q", value)) for value in (0, 1 << 34))
    assert run.hits(message(3), split, base, base, packed, base, base, split, base) == [6, 7]


# -- what is done -----------------------------------------------------------------------------------------------------


def done(action: str, data: bytes = num(1, 256), filter: str = "vhost.request") -> FaultPlan:
    plan = Run(f"{filter} : {action}").ask(data)
    assert plan is not None
    return plan


def test_fields_and_bits_are_set_by_the_names_of_filters_and_of_edit() -> None:
    for field in ("vring.size", "num", "payload.num"):
        plan = done(f"set {field}=0x10", filter="vhost.request == SET_VRING_NUM")
        assert plan.data == num(1, 16)
        assert plan.changed == f"{field} 256 -> 0x10"
    assert done("set header.size=400").data[8:12] == struct.pack("=I", 400)
    assert done("set vhost.flags=5").data[4:8] == struct.pack("=I", 5)
    longer = done("set payload=0102030405")
    assert longer.data == message(SET_VRING_NUM, b"\1\2\3\4\5")
    features = message(SET_FEATURES, struct.pack("=Q", 1 << 32 | 1))
    of = "vhost.request == SET_FEATURES"
    plan = done("clear vhost.features VERSION_1, raise vhost.features 5 RING_PACKED", features, of)
    assert struct.unpack("=Q", plan.data[12:]) == (1 | 1 << 5 | 1 << 34,)
    table = message(5, struct.pack("=II", 2, 0) + struct.pack("=QQQQ", 1, 2, 3, 0) * 2)
    plan = done("set vhost.mem.size=9, set regions[1].guest_address=7", table, "vhost.request == SET_MEM_TABLE")
    assert struct.unpack("=8Q", plan.data[20:]) == (1, 9, 3, 0, 7, 9, 3, 0)


def test_what_cannot_be_done_to_a_message_is_told_once_and_the_message_passed_on() -> None:
    run = Run("vhost.request : set num=1")
    assert run.hits(message(3), num(0, 1), message(3)) == [2]
    assert len(run.said) == 1
    assert run.said[0].startswith("rule 1 cannot be applied to a SET_OWNER, which is passed on: there is no field num")
    run = Run("vhost.request : answer 1")
    assert run.ask(message(GET_FEATURES, bytes(8), 5), end=1) is None
    assert "only a request can be answered" in run.said[0]


def test_answers_are_replies_to_the_request() -> None:
    assert done("answer 7", message(GET_QUEUE_NUM, b"", 9)).answer == message(GET_QUEUE_NUM, struct.pack("=Q", 7), 5)
    base = message(11, struct.pack("=II", 3, 0))
    assert done("answer 9", base).answer == message(11, struct.pack("=II", 3, 9), 5)
    assert done("answer payload=0102", base).answer == message(11, b"\1\2", 5)
    assert done("answer 7").times == 0


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("drop", {"times": 0}),
        ("repeat 2", {"times": 3}),
        ("delay 20ms, repeat 1", {"times": 2, "delay": 0.02}),
        ("split 4", {"piece": 4}),
        ("half", {"most": 10}),
        ("half 6", {"most": 6}),
        ("join", {"order": Order.JOINED}),
        ("reorder", {"order": Order.BEHIND}),
        ("cut", {"end": Breaking.CUT, "times": 0}),
        ("pass, cut", {"end": Breaking.CUT, "times": 1}),
        ("half 3, reset", {"end": Breaking.RESET, "most": 3, "times": 1}),
        ("stall 2", {"stall": 2.0, "times": 1}),
        ("kill STOP", {"signal": 19, "times": 1}),
        ("fds none", {"kept": ()}),
        ("fds extra 2", {"kept": None, "extra": 2}),
        ("hold", {"hold": True}),
    ],
)
def test_each_action_has_its_place_in_the_plan(action: str, expected: dict[str, object]) -> None:
    plan = done(action)
    assert {name: getattr(plan, name) for name in expected} == expected
    assert plan.data == num(1, 256)


def test_the_page_has_every_action_and_its_rules_can_be_used() -> None:
    text = (Path(__file__).parent.parent / "docs" / "faults.md").read_text("utf-8")
    for form in ACTIONS.values():
        row = f"| `{form.usage}` | {form.about} |"
        assert row.replace("none|keep N|swap|extra", r"none\|keep N\|swap\|extra") in text
    rules = re.findall(r"^\| [A-Z].*?\. \| `(.*? : .*?)`", text, re.MULTILINE)
    assert len(rules) == 10
    for rule in rules:
        parse_rule(rule)
