"""Filters mean what their reference says: asked of messages, of columns, and beside an oracle that knows neither."""

from __future__ import annotations

from pathlib import Path

import pytest
from filter_oracle import Oracle
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from captures import synthetic
from vusniff.analysis.timeline import Timeline, read_all
from vusniff.capture.index import Index
from vusniff.channel import Sender
from vusniff.cli import main
from vusniff.errors import FilterError
from vusniff.families.vhost_user.protocol import Channels
from vusniff.filter import Filter, compile_filter
from vusniff.filter.sieve import Around
from vusniff.message import Message
from vusniff.views.jsonl import message_dict

CAPTURES = sorted((Path(__file__).parent.parent / "captures").glob("*.pcapng"))


def opened(path: Path) -> Timeline:
    timeline = Timeline(Index(path))
    read_all(timeline)
    while timeline.analyse():
        pass
    timeline.conclude()
    return timeline


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> Timeline:
    path = tmp_path_factory.mktemp("filter") / "every.pcapng"
    synthetic.every(path)
    return opened(path)


@pytest.fixture(scope="module")
def timelines(every: Timeline) -> list[Timeline]:
    return [every, *map(opened, CAPTURES)]


def numbers(timeline: Timeline, text: str) -> list[int]:
    return [row + 1 for row in compile_filter(text).rows(timeline)]


# -- one operator after the other, on a capture that is known ----------------------------------------------------------


def told(timeline: Timeline, text: str) -> list[str]:
    """Names of the messages that pass, replies marked."""
    messages = (timeline.message(number - 1) for number in numbers(timeline, text))
    return [message.name + ("+" if message.reply else "") for message in messages]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("vhost.request == SET_MEM_TABLE", ["SET_MEM_TABLE", "SET_MEM_TABLE+"]),
        ('vhost.request == "SET_MEM_TABLE"', ["SET_MEM_TABLE", "SET_MEM_TABLE+"]),
        ("vhost.request == VHOST_USER_SET_MEM_TABLE", ["SET_MEM_TABLE", "SET_MEM_TABLE+"]),
        ("vhost.request eq 5 && vhost.channel == main", ["SET_MEM_TABLE", "SET_MEM_TABLE+"]),
        ("vhost.request == 5 and vhost.channel == backend", ["BACKEND_VRING_ERR"]),
        ("vhost.request == BACKEND_VRING_ERR", ["BACKEND_VRING_ERR"]),
        ("vhost.mem.num_regions == 2", ["SET_MEM_TABLE"]),
        ("vhost.mem.num_regions > 2", []),
        ("vhost.mem.guest_address == 0x40000000", ["SET_MEM_TABLE"]),
        ("all vhost.mem.guest_address == 0x40000000", []),
        ("vhost.mem.guest_address === 0x100000000", ["ADD_MEM_REG", "REM_MEM_REG"]),
        ("all vhost.mem.size == 1073741824", ["SET_MEM_TABLE", "ADD_MEM_REG", "REM_MEM_REG"]),
        ("vhost.mem.guest_address != 0", ["ADD_MEM_REG", "REM_MEM_REG"]),
        ("vhost.mem.guest_address !== 0", ["SET_MEM_TABLE", "ADD_MEM_REG", "REM_MEM_REG"]),
        ("any vhost.mem.guest_address != 0", ["SET_MEM_TABLE", "ADD_MEM_REG", "REM_MEM_REG"]),
        ("vhost.mtu in {1..1499, 1500}", ["NET_SET_MTU"]),
        ("vhost.mtu == 0b10111011100", ["NET_SET_MTU"]),
        ("vhost.mtu == 02734", ["NET_SET_MTU"]),
        ("vhost.mtu < 1500 || vhost.mtu > 1500", []),
        ("vhost.mtu le 1500 && vhost.mtu ge 1500", ["NET_SET_MTU"]),
        ("vhost.mtu not in {1500..1501}", None),
        ("vhost.mtu and vhost.mtu not in {1..2}", ["NET_SET_MTU"]),
        ("vhost.features contains MQ && vhost.request == SET_FEATURES", ["SET_FEATURES"] * 4),
        ("vhost.features & LOG_ALL == LOG_ALL && vhost.request == SET_FEATURES", ["SET_FEATURES"]),
        ("vhost.protocol_features contains REPLY_ACK and vhost.reply == true and vhost.session == 2",
         ["GET_PROTOCOL_FEATURES+"]),
        ("vhost.status contains DRIVER_OK", []),
        ("vhost.status contains FEATURES_OK", ["SET_STATUS"]),
        ("vhost.queue_num == 2", ["GET_QUEUE_NUM+"]),
        ("vring.index == 1 && vring.base", ["SET_VRING_BASE", "GET_VRING_BASE_SKIP_DRAIN+"]),
        ("vring.base == 17", ["GET_VRING_BASE+", "GET_VRING_BASE_SKIP_DRAIN+"]),
        ("vring.enabled == 1 && vring.index == 0", ["SET_VRING_ENABLE"]),
        ("vring.no_fd == true", ["SET_VRING_ERR"] * 2),
        ("vhost.iotlb.type == MISS", ["BACKEND_IOTLB_MSG"]),
        ("vhost.iotlb.iova == 0x1000 && vhost.iotlb.type == UPDATE", ["IOTLB_MSG"]),
        ('vhost.rarp.mac == "52:54:00:00:00:01"', ["SEND_RARP"]),
        ("vhost.rarp.mac == 52-54-00-00-00-01", ["SEND_RARP"]),
        ("vhost.config.space.mtu == 1500", ["GET_CONFIG+"]),
        ("vhost.data contains 00:ff:ff:ff", ["GPU_GET_EDID+"]),
        ("vhost.gpu.edid contains ff:ff", ["GPU_GET_EDID+"]),
        ("vhost.crypto.session_id == 7", ["CREATE_CRYPTO_SESSION+"]),
        ("vhost.device_state.no_fd == 1", ["SET_DEVICE_STATE_FD+"]),
        ('fd.name == "vhost-log"', ["SET_LOG_BASE"]),
        ('fd.name matches "^GUEST-.am[01]$"', ["SET_MEM_TABLE"]),
        ('fd.name matches "(?-i)^GUEST-"', []),
        ("fd.count == 2", ["SET_MEM_TABLE"]),
        ("fd.kind in {pipe, device}", ["SET_DEVICE_STATE_FD", "BACKEND_VRING_HOST_NOTIFIER_MSG"]),
        ('fd.identity == "eventfd:501"', ["SET_VRING_KICK"]),
        ("fd.size == 0x10000", ["SET_LOG_BASE"]),
        ("fd.kind == userfaultfd", ["POSTCOPY_ADVISE+"]),
        ('vhost.name contains "RARP"', ["SEND_RARP", "SEND_RARP+"]),
        ('vhost.request contains "RARP"', ["SEND_RARP", "SEND_RARP+"]),
        ('vhost.name == "SEND_RARP" xor vhost.reply == 0 and vhost.name == "SEND_RARP"', ["SEND_RARP+"]),
        ('vhost.request == SEND_RARP ^^ vhost.flags & 4 == 4 && vhost.name ~ "^send_"', ["SEND_RARP"]),
        ("vhost.success == false", []),
        ("vhost.shmem.flags contains READ_WRITE && vhost.request == BACKEND_SHMEM_MAP", ["BACKEND_SHMEM_MAP"]),
        ('proc.comm == "vhost-user-gpu" && vhost.gpu.data_size == 32', ["GPU_UPDATE"]),
        ('sock.path contains "\\x6eet0" && vhost.request == SET_OWNER', ["SET_OWNER", "SET_OWNER+"]),
        ('sock.path == "@crypto0" && vhost.request == SET_OWNER', ["SET_OWNER", "SET_OWNER+"]),
        ('sock.path matches r"^/run/vm1/gpu\\d\\.sock$" and vhost.sender == backend && vhost.request == SET_OWNER',
         ["SET_OWNER+"]),
    ],
)  # fmt: skip
def test_operators_and_fields(every: Timeline, text: str, names: list[str] | None) -> None:
    if names is None:
        assert len(numbers(every, text)) == len(every) - 1
    else:
        assert sorted(told(every, text)) == sorted(names)


def test_numbers_times_and_answers(every: Timeline) -> None:
    assert numbers(every, "vhost.number in {3, 5..6}") == [3, 5, 6]
    assert numbers(every, "vhost.time <= 1us") == [1, 2]
    assert numbers(every, "vhost.time > 0.000157") == [159]
    assert numbers(every, "vhost.answers == 1") == [2]
    assert numbers(every, "vhost.answered_by == 2") == [1]
    assert numbers(every, "vhost.latency == 1000") == numbers(every, "vhost.latency == 1us") != []
    assert numbers(every, "vhost.latency > 1.5us") == []
    assert numbers(every, "vhost.latency") == numbers(every, "vhost.answers || vhost.answered_by")


def test_a_field_that_is_not_there_passes_no_comparison(every: Timeline) -> None:
    there = numbers(every, "vring.index")
    assert sorted(numbers(every, "vring.index == 1") + numbers(every, "vring.index != 1")) == there
    assert len(numbers(every, "!(vring.index == 1)")) == len(every) - len(numbers(every, "vring.index == 1"))


def test_a_bare_field_is_there_whatever_its_value(every: Timeline) -> None:
    assert numbers(every, "vhost.reply") == list(range(1, len(every) + 1))
    assert numbers(every, "vhost.flags & 4") == numbers(every, "vhost.reply == 1")


def test_precedence_is_wiresharks(every: Timeline) -> None:
    text = "vhost.number == 1 or vhost.number == 2 and vhost.number == 3 xor not vhost.number < 158"
    assert numbers(every, text) == [1, 158, 159]


def test_findings(timelines: list[Timeline]) -> None:
    some = 0
    for timeline in timelines:
        bad = {finding.number for finding in timeline.findings if finding.severity.value in ("warning", "error")}
        assert numbers(timeline, "finding.severity >= warning") == sorted(bad)
        for finding in timeline.findings:
            assert finding.number in numbers(timeline, f'finding.rule == "{finding.rule}"')
            assert finding.number in numbers(timeline, f"finding.side == {finding.side} && finding.sentence")
        some += len(timeline.findings)
    assert some


# -- header-only filters never read a message --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "vhost.request == SET_MEM_TABLE",
        "vhost.size > 20 && !(vhost.reply == 1) || vhost.version != 1",
        'sock.path contains "net" && vhost.sender == backend',
        'vhost.name matches "vring" xor vhost.latency > 2us',
        "vhost.channel in {main, gpu} and vhost.session == 1 and sock.connection == 1 and vhost.number < 100",
        "vhost.answered_by || vhost.answers == 4 || vhost.flags & 8 || vhost.time > 1",
        "vhost.flags && !(vhost.flags == 0x1f)",
    ],
)
def test_header_filters_need_columns_only(every: Timeline, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    filter_ = compile_filter(text)
    expected = [row for row in range(len(every)) if asked(filter_, every, row)]

    def refuse(*_: object) -> None:
        raise AssertionError("a message was read")

    monkeypatch.setattr(Index, "packet", refuse)
    monkeypatch.setattr(Index, "frame", refuse)
    assert list(filter_.rows(every)) == expected


@pytest.mark.parametrize("text", ["vring.index == 1", "fd.count == 1", "proc.pid == 1", "vhost.iotlb.iova"])
def test_other_filters_read_only_messages_that_may_pass(
    every: Timeline, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    packet = Index.packet

    def noted(index: Index, row: int) -> tuple[bytes, bytes, int]:
        read.append(row)
        return packet(index, row)

    monkeypatch.setattr(Index, "packet", noted)
    compile_filter(text).rows(every)
    there = {number - 1 for number in numbers(every, text.partition(" ")[0])}
    assert {row for row in there if compile_filter(text).match(every.message(row))} <= set(read)
    assert len(set(read)) < len(every) / 2


def asked(filter_: Filter, timeline: Timeline, row: int) -> bool:
    """Asked of the decoded message."""
    return filter_.match(timeline.message(row), Around(timeline))


# -- generated filters beside the oracle -------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.slow
def test_generated_filters_evaluate_like_the_oracle(timelines: list[Timeline]) -> None:
    oracles = [
        Oracle(
            [message_dict(message, hexadecimal=True) for message in timeline.messages()],
            [message.layout for message in timeline.messages()],
            {connection.id: connection.path for connection in timeline.index.connections},
            timeline.findings,
        )
        for timeline in timelines
    ]
    passes = [0, 0]

    @settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def run(data: st.DataObject) -> None:
        which = data.draw(st.integers(0, len(timelines) - 1))
        timeline, oracle = timelines[which], oracles[which]
        text, truth = data.draw(oracle.filters())
        filter_ = compile_filter(text)
        rows = [row for row in range(len(timeline)) if truth(row)]
        sieve = filter_.sieve(timeline)
        cut = data.draw(st.integers(0, len(timeline)))
        assert [*sieve.rows(0, cut), *sieve.rows(cut, len(timeline))] == rows, text
        step = max(1, len(timeline) // 25)
        for row in range(0, len(timeline), step):
            assert asked(filter_, timeline, row) is truth(row), (text, row)
        passes[bool(rows)] += 1

    run()
    assert min(passes) > 20, "the generator makes filters that are all true or all false"


# -- any text is a filter or an error ----------------------------------------------------------------------------------


@settings(max_examples=500, deadline=None)
@given(st.text(max_size=60))
def test_random_text_is_a_filter_or_an_error(text: str) -> None:
    check_text(text)


WORDS = (
    *("vhost.request", "fd.kind", "vring.index", "sock.path", "finding.severity", "vhost.data", "vhost.features"),
    *("==", "!=", "<", "in", "contains", "matches", "&", "&&", "or", "xor", "not", "!", "(", ")", "{", "}", ",", ".."),
    *("5", "0x1f", "09", "1.5", "35us", "SET_OWNER", "eventfd", "MQ", '"a"', '"("', 'r"\\d"', '"\\q"', "52:54", "all"),
    *("warning", "true", "-3", "$", '"', "any", "vhost.time", "vhost.reply", "99999999999999999999999999", "7a"),
)


@pytest.mark.slow
@settings(max_examples=1500, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=9))
def test_shuffled_words_are_a_filter_or_an_error(words: list[str]) -> None:
    check_text(" ".join(words))


def check_text(text: str) -> None:
    error, filter_ = compiled(text)
    if error is not None:
        assert (0 <= error.start <= len(text), error.column, bool(error.sentence)) == (True, error.start + 1, True)
    else:
        assert filter_ is not None
        assert filter_.match(MESSAGE) in (True, False)


def compiled(text: str) -> tuple[FilterError | None, Filter | None]:
    try:
        return None, compile_filter(text)
    except FilterError as error:
        return error, None


MESSAGE = Message(1, 0, 1, 1, Channels.MAIN, Sender.FRONTEND, 3, "SET_OWNER", 1, 0, {}, bytes(12))


@pytest.mark.parametrize("text", ["!" * 41 + "vhost.reply", "(" * 300 + "vhost.reply" + ")" * 300, "a" * 5000])
def test_deep_and_long_filters_are_bounded(text: str) -> None:
    check_text(text)


def test_long_chains_are_fine() -> None:
    assert compile_filter(" or ".join(f"vhost.size == {size}" for size in range(150))).match(MESSAGE)


def test_rings_are_asked_by_the_samples_behind_a_message(timelines: list[Timeline]) -> None:
    timeline = Timeline(Index("captures/trouble/backend-stopped.pcapng"))
    read_all(timeline)
    last = len(timeline)
    for text in (
        "ring.stalled",
        "ring.in_flight > 0",
        'ring.state == "not served"',
        "ring.waited > 1s",
        "ring.index == 1",
    ):
        assert numbers(timeline, text) == [last], text
    for text in ("ring.in_flight > 1024", "all ring.index == 1", "ring.waited > 4000s", "ring.tracked"):
        assert numbers(timeline, text) == [], text
    backwards = Around(timeline)
    assert [len(backwards.rings(number)) for number in range(last, 0, -1)] == [2, *[0] * (last - 1)]
    for other in timelines:
        if not other.ring_history.rings:
            assert numbers(other, "ring.index") == []


@pytest.mark.parametrize("words", [["read", "--follow", "FILE"], ["read", "-"]])
def test_rings_are_not_asked_of_what_goes_on(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    file = "captures/trouble/backend-stopped.pcapng"
    assert main([*(file if word == "FILE" else word for word in words), "--filter", "ring.stalled"]) == 2
    assert "fields of findings, logs and rings need a capture that is finished" in capsys.readouterr().err
