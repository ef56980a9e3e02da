"""Phases: of sessions said request by request, of real captures, of captures that grow, and where they are shown."""

from __future__ import annotations

import json
from itertools import accumulate, pairwise
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from captures import synthetic
from vusniff.analysis.timeline import Timeline, read_all
from vusniff.capture.index import Index
from vusniff.capture.writer import CaptureWriter
from vusniff.channel import Channel
from vusniff.cli import main
from vusniff.families.phase import Phase, PhaseKind
from vusniff.families.vhost_user.phases import PURPOSES, SETTLE_NS, WAIT_NS, Phases, value_of
from vusniff.families.vhost_user.protocol import F_LOG_ALL, FLAG_REPLY, HEADERS, VERSION, Channels, FrontendRequest
from vusniff.record import Closed, Connection, Frame

CAPTURES = Path(__file__).parent.parent / "captures"
F, K = FrontendRequest, PhaseKind
MS = 1_000_000
Said = tuple[int, int | None] | int


def divide(
    *said: Said | float,
    opened_ns: int | None = None,
    closed_ns: int | None = None,
    now_ns: int = 0,
    late: bool = False,
) -> list[Phase]:
    """Requests a microsecond apart, (request, what it sets), or a pause in milliseconds as a float."""
    values: dict[int, int | None] = {}
    phases = Phases(values.get, opened_ns, joined_late=late)
    time_ns = number = 0
    for one in said:
        if isinstance(one, float):
            time_ns += int(one * MS)
            continue
        request, value = one if isinstance(one, tuple) else (int(one), None)
        number, time_ns = number + 1, time_ns + 1000
        values[number] = value
        phases.feed(number, time_ns, request, False, Channels.MAIN)
    return list(phases.phases(max(time_ns, now_ns), closed_ns))


SETUP = (F.GET_FEATURES, F.SET_OWNER, F.SET_FEATURES, F.SET_MEM_TABLE, F.SET_VRING_NUM, F.SET_VRING_KICK)
COMMON = (F.SET_VRING_ENABLE, F.SET_VRING_ENABLE, F.SET_VRING_CALL, F.IOTLB_MSG, F.GET_VRING_BASE)
INTERRUPTED = (F.IOTLB_MSG, F.SET_VRING_ENABLE, F.SET_VRING_CALL, F.SET_VRING_ENABLE, F.GET_VRING_BASE)
MESSAGES = st.lists(
    st.tuples(
        st.one_of(*[st.sampled_from(COMMON)] * 6, st.sampled_from(sorted({0, 99, *F}))),
        st.sampled_from((VERSION, VERSION, VERSION, FLAG_REPLY)),
        st.sampled_from((Channels.MAIN, Channels.MAIN, Channels.MAIN, Channels.BACKEND)),
        st.sampled_from((1, 1, 1, 1, SETTLE_NS, SETTLE_NS + 1, WAIT_NS + 1)),
        st.sampled_from((0, 0, 1, F_LOG_ALL)),
    ),
    min_size=8,
    max_size=40,
)


@settings(max_examples=400)
@example([(request, VERSION, Channels.MAIN, 1, 0) for request in INTERRUPTED], 0)
@given(MESSAGES, st.integers(0, 40))
def test_many_at_once_are_divided_as_one_by_one(said: list[tuple[int, int, Channel, int, int]], cut: int) -> None:
    values = {number: value for number, (*_, value) in enumerate(said, 1)}
    once, single = Phases(values.get), Phases(values.get)
    setup = [(number, 1, request, VERSION, Channels.MAIN) for number, request in enumerate(SETUP, -len(SETUP))]
    times = accumulate(pause for *_, pause, _ in said)
    messages = setup + [
        (number, time_ns, request, flags, channel)
        for (number, (request, flags, channel, _, _)), time_ns in zip(enumerate(said, 1), times, strict=True)
    ]
    once.follow(messages[:cut])
    once.follow(messages[cut:])
    for number, time_ns, request, flags, channel in messages:
        single.feed(number, time_ns, request, bool(flags & FLAG_REPLY), channel)
    assert once.phases() == single.phases()


def kinds(phases: list[Phase]) -> list[str]:
    return [str(phase.kind) for phase in phases]


def whole(phases: list[Phase], count: int) -> bool:
    """Every message is in exactly one phase, and phases follow one another in time."""
    numbers = [number for phase in phases for number in range(phase.first, phase.last + 1)]
    ordered = all(left.end_ns <= right.start_ns for left, right in pairwise(phases))
    return numbers == list(range(1, count + 1)) and ordered and all(phase.duration_ns >= 0 for phase in phases)


ASK = (F.GET_FEATURES, F.GET_PROTOCOL_FEATURES, F.SET_PROTOCOL_FEATURES)
RING = (F.SET_VRING_NUM, F.SET_VRING_BASE, F.SET_VRING_ADDR, F.SET_VRING_KICK, F.SET_VRING_CALL)
ON, OFF = (F.SET_VRING_ENABLE, 1), (F.SET_VRING_ENABLE, 0)
FEATURES = (F.SET_FEATURES, 0)
LOGGING = (F.SET_FEATURES, F_LOG_ALL)
UP = (*ASK, F.SET_OWNER, FEATURES, F.SET_MEM_TABLE, *RING, ON)


def test_pairs_of_one_device_repeat_within_a_phase() -> None:
    pair = (F.GET_FEATURES, F.SET_VRING_CALL, F.SET_VRING_ERR, F.SET_VRING_CALL, F.SET_VRING_ERR)
    start = (ON, ON, FEATURES, F.GET_STATUS, (F.SET_STATUS, 8), *RING, *RING)
    said = (*ASK, F.GET_QUEUE_NUM, F.SET_OWNER, *pair, *ASK, *pair, *start, F.SET_MEM_TABLE, *start)
    phases = divide(*said)
    assert kinds(phases) == ["feature negotiation", "initialisation", "start"]
    assert [phase.first for phase in phases] == [1, 5, 5 + 1 + 5 + 3 + 5]
    assert whole(phases, len(said))


def test_an_owner_before_anything_is_negotiation() -> None:
    said = (F.SET_OWNER, *ASK, F.SET_VRING_CALL, FEATURES, F.SET_MEM_TABLE, *RING)
    phases = divide(*said)
    assert kinds(phases) == ["feature negotiation", "initialisation", "start"]
    assert (phases[0].first, phases[0].last) == (1, 4)


def test_features_set_before_the_rest_is_asked_are_no_start() -> None:
    said = (*ASK, FEATURES, F.GET_QUEUE_NUM, F.SET_OWNER, FEATURES, F.SET_MEM_TABLE, *RING)
    phases = divide(*said)
    assert kinds(phases) == ["feature negotiation", "initialisation", "start"]
    assert [phase.first for phase in phases] == [1, 6, 7]
    assert whole(phases, len(said))


def test_enabling_announces_a_start_and_disabling_a_stop() -> None:
    phases = divide(*UP[:4], ON, OFF, 500.0, ON, OFF, ON, ON, *UP[4:], 300.0, (F.SET_STATUS, 0), OFF, F.GET_VRING_BASE)
    assert kinds(phases) == ["feature negotiation", "initialisation", "idle", "start", "running", "stop"]
    idle, start, running, stop = phases[2:]
    assert (idle.first, idle.last) == (5, 8)
    assert (start.first, stop.first, stop.last) == (9, 19, 21)
    assert running.count == 0
    assert running.duration_ns == 300 * MS + 1000


@pytest.mark.parametrize("stops", [F.GET_VRING_BASE, F.GET_VRING_BASE_SKIP_DRAIN])
def test_what_is_set_last_belongs_to_the_start(stops: int) -> None:
    phases = divide(*UP, (F.SET_STATUS, 15), 300.0, (F.SET_STATUS, 0), stops)
    assert [(phase.first, phase.last) for phase in phases if phase.count][-2:] == [(5, 13), (14, 15)]


def test_a_pause_ends_a_start() -> None:
    early = divide(*UP, 50.0, OFF, ON)
    late = divide(*UP, 150.0, OFF, ON)
    assert kinds(early)[-1] == "start"
    assert kinds(late)[-2:] == ["start", "running"]
    assert late[-1].start_ns == late[-2].end_ns
    assert late[-1].open


def test_memory_and_calls_change_while_it_runs() -> None:
    phases = divide(*UP, 200.0, F.SET_MEM_TABLE, F.SET_VRING_CALL, F.IOTLB_MSG, FEATURES, F.ADD_MEM_REG, OFF, ON)
    assert kinds(phases)[-1] == "running"
    assert phases[-1].count == 7


def test_a_ring_that_is_set_up_later_is_a_start_of_its_own() -> None:
    assert kinds(divide(*UP, 200.0, *RING, 200.0, F.SEND_RARP))[2:] == ["start", "running", "start", "running"]


@pytest.mark.parametrize("early", [F.SEND_RARP, F.GET_SHARED_OBJECT, F.CREATE_CRYPTO_SESSION, F.CLOSE_CRYPTO_SESSION])
def test_nothing_runs_before_a_ring_is_kicked(early: int) -> None:
    """QEMU sends SEND_RARP at the end of a migration, which may be before the first ring is there."""
    set_up = kinds(divide(F.GET_FEATURES, F.GET_PROTOCOL_FEATURES, F.SET_OWNER, early, *UP[2:]))
    assert "running" not in set_up
    stopped = divide(*UP, 200.0, F.GET_VRING_BASE, early, 200.0, early)
    assert kinds(stopped)[-3:] == ["running", "stop", "idle"]
    assert kinds(divide(*UP, 200.0, early))[-1] == "running"
    assert kinds(divide(early, late=True)) == ["running"]
    assert kinds(divide(F.GET_FEATURES, F.SET_OWNER, F.VRING_KICK))[-1] == "running"


def test_migration_lasts_until_logging_ends() -> None:
    log = (F.SET_LOG_BASE, LOGGING, F.SET_VRING_ADDR)
    ended = divide(*UP, 200.0, *log, 5000.0, F.SET_MEM_TABLE, 5000.0, FEATURES, F.SET_VRING_ADDR, F.SEND_RARP)
    assert kinds(ended)[-3:] == ["running", "migration", "running"]
    assert ended[-2].count == 6
    assert ended[-2].duration_ns > 10_000 * MS
    stopped = divide(*UP, 200.0, *log, 900.0, OFF, F.GET_VRING_BASE, F.SET_DEVICE_STATE_FD, F.CHECK_DEVICE_STATE)
    assert kinds(stopped)[-4:] == ["running", "migration", "stop", "migration"]
    assert stopped[-2].count == 2


def test_features_with_logging_begin_a_migration_by_themselves() -> None:
    assert kinds(divide(*UP, 200.0, LOGGING, F.SET_VRING_ADDR))[-1] == "migration"


def test_postcopy_and_the_start_within() -> None:
    advise = (F.POSTCOPY_ADVISE, F.POSTCOPY_LISTEN)
    phases = divide(*UP[:4], *advise, *UP[4:], 200.0, F.POSTCOPY_END, F.SEND_RARP)
    assert kinds(phases)[2:] == ["postcopy", "start", "running", "postcopy", "running"]


def test_reset_and_beginning_again_on_the_same_connection() -> None:
    phases = divide(*UP, 200.0, F.RESET_DEVICE, FEATURES, *RING, 200.0, F.GET_FEATURES, F.GET_PROTOCOL_FEATURES)
    assert kinds(phases)[3:] == ["running", "reset", "start", "running", "feature negotiation"]
    assert phases[-1].count == 2


def test_waiting_for_a_driver_is_idle_even_without_messages() -> None:
    phases = divide(*UP[:4], 2000.0, *UP[4:])
    assert kinds(phases) == ["feature negotiation", "initialisation", "idle", "start"]
    assert phases[2].count == 0
    assert phases[2].first > phases[2].last
    assert phases[2].duration_ns > SETTLE_NS


def test_connect_lasts_until_the_first_message() -> None:
    phases = divide(5.0, *ASK, opened_ns=0)
    assert (phases[0].kind, phases[0].count, phases[0].duration_ns) == (K.CONNECT, 0, 5 * MS + 1000)


def test_the_end_of_the_connection_ends_the_last_phase() -> None:
    phases = divide(*UP, closed_ns=10_000 * MS)
    assert kinds(phases)[-2:] == ["start", "running"]
    assert phases[-1].end_ns == 10_000 * MS
    assert not any(phase.open for phase in phases)
    assert divide(*ASK)[-1].open


def test_late_joiners_are_taken_to_run() -> None:
    phases = Phases(lambda number: 1, joined_late=True)
    phases.feed(1, 1000, F.SET_VRING_ENABLE, False, Channels.MAIN)
    assert [phase.kind for phase in phases.phases()] == [K.RUNNING]


def joined_late(*said: Said | float) -> list[Phase]:
    """The phases of a session of which the beginning was not seen."""
    return divide(*said, late=True)


def test_a_set_up_that_was_joined_late_is_none_of_running() -> None:
    """Whether it runs was not seen: what sets it up is not part of running."""
    set_up = (FEATURES, F.SET_MEM_TABLE, *RING, ON)
    phases = joined_late(F.GET_STATUS, *set_up)
    assert kinds(phases)[:2] == ["running", "start"]
    assert (phases[0].last, phases[1].first) == (1, 2)
    negotiated = joined_late(F.GET_STATUS, F.GET_QUEUE_NUM, F.SET_VRING_CALL, *set_up)
    assert kinds(negotiated)[:4] == ["running", "feature negotiation", "initialisation", "start"]
    plugged = joined_late(F.GET_STATUS, F.SET_MEM_TABLE, 900.0, F.GET_STATUS)
    assert kinds(plugged) == ["running"]


@pytest.mark.parametrize(
    ("request_", "kind"),
    [
        (F.GET_FEATURES, K.NEGOTIATION),
        (F.GET_QUEUE_NUM, K.NEGOTIATION),
        (F.GET_CONFIG, K.INITIALISATION),
        (F.GET_VRING_BASE, K.STOP),
        (F.GET_STATUS, K.RUNNING),
    ],
)
def test_a_reply_tells_where_a_late_session_stands(request_: int, kind: PhaseKind) -> None:
    phases = Phases(lambda number: 1, joined_late=True)
    phases.feed(1, 1000, request_, True, Channels.MAIN)
    assert [phase.kind for phase in phases.phases()] == [kind]


def test_a_pause_is_no_work() -> None:
    """22 s between two questions of an initialisation are waiting."""
    phases = divide(*ASK, F.SET_OWNER, F.SET_VRING_CALL, 22_000.0, F.GET_CONFIG, F.SET_VRING_CALL, 300.0, F.GET_CONFIG)
    assert kinds(phases) == ["feature negotiation", "initialisation", "idle", "initialisation"]
    assert phases[2].duration_ns > 22_000 * MS
    assert all(phase.duration_ns < WAIT_NS for phase in phases if phase.kind is not K.IDLE)
    assert whole(phases, 8)
    waited = divide(*ASK, 5000.0, F.SET_OWNER, F.SET_VRING_CALL)
    assert kinds(waited) == ["feature negotiation", "idle", "initialisation"]


def test_postcopy_ends_with_its_last_message() -> None:
    """What comes after POSTCOPY_END is no postcopy, however long nothing is said."""
    said = (*UP, 200.0, F.POSTCOPY_ADVISE, F.POSTCOPY_LISTEN, 300.0, F.POSTCOPY_END)
    ended = divide(*said, 5000.0, F.GET_VRING_BASE)
    assert kinds(ended)[-3:] == ["postcopy", "running", "stop"]
    assert ended[-3].duration_ns < 400 * MS
    assert ended[-2].duration_ns >= 5000 * MS
    assert kinds(divide(*said, now_ns=60_000 * MS))[-2:] == ["postcopy", "running"]
    assert kinds(divide(*said[:-1], now_ns=60_000 * MS))[-1] == "postcopy"


def test_nothing_said_is_no_phase() -> None:
    phases = Phases(lambda number: None)
    phases.feed(1, 1000, 0, False, Channels.UNKNOWN)
    assert phases.phases() == ()


def test_any_order_gives_whole_phases() -> None:
    said = [*PURPOSES, F.SET_VRING_ENABLE, F.SET_STATUS, F.GET_FEATURES, F.VRING_KICK, 999]
    for step in (3, 5, 7, 11, 13):
        for value in (0, 1, F_LOG_ALL, None):
            order = [(said[place * step % len(said)], value) for place in range(400)]
            spread = [part for place, one in enumerate(order) for part in (one, 150.0 if place % step == 0 else 0.0)]
            assert whole(divide(*spread), len(order))


def test_values_of_requests() -> None:
    assert value_of(F.SET_VRING_ENABLE, b"\3\0\0\0\1\0\0\0", "little") == 1
    assert value_of(F.SET_VRING_ENABLE, b"\0\0\0\3\0\0\0\1", "big") == 1
    assert value_of(F.SET_FEATURES, bytes(7), "little") is None
    assert value_of(F.SET_STATUS, b"\7" + bytes(7), "little") == 7


# -- of captures ------------------------------------------------------------------------------------------------------


def timeline_of(path: Path) -> Timeline:
    timeline = Timeline(Index(path))
    read_all(timeline)
    return timeline


def shown(path: Path, session: int = 1) -> list[tuple[str, int, int]]:
    return [(str(phase.kind), phase.first, phase.count) for phase in timeline_of(path).phases(session)]


def test_a_real_reconnect() -> None:
    first = [
        ("connect", 1, 0),
        ("feature negotiation", 1, 9),
        ("initialisation", 10, 18),
        ("idle", 28, 16),
        ("start", 44, 21),
        ("running", 65, 0),
    ]
    second = [
        ("reconnect", 65, 0),
        ("feature negotiation", 65, 9),
        ("initialisation", 74, 18),
        ("start", 92, 21),
        ("running", 113, 0),
        ("stop", 113, 5),
        ("idle", 118, 40),
        ("start", 158, 21),
        ("running", 179, 0),
        ("stop", 179, 5),
    ]
    assert shown(CAPTURES / "qemu-ovs.pcapng", 1) == first
    assert shown(CAPTURES / "qemu-ovs.pcapng", 2) == second


def test_a_real_block_device() -> None:
    found = [kind for kind, _, _ in shown(CAPTURES / "qemu-blk.pcapng")]
    assert found == [
        *("connect", "feature negotiation", "initialisation"),
        *("start", "running", "stop", "start", "running", "stop"),
    ]


def test_every_message_of_real_captures_is_in_one_phase() -> None:
    for path in sorted(CAPTURES.glob("*.pcapng")):
        timeline = timeline_of(path)
        for session in timeline.sessions:
            phases = timeline.phases(session.number)
            assert sum(phase.count for phase in phases) == session.count
            assert all(left.end_ns <= right.start_ns for left, right in pairwise(phases))


def test_a_capture_that_grows(tmp_path: Path) -> None:
    path = tmp_path / "grows.pcapng"
    header = HEADERS["little"].pack
    with CaptureWriter(path, source="test") as writer:
        connection: Connection = writer.open("/run/x", opened_ns=synthetic.START_NS)
        timeline = Timeline(Index(path))
        seen = []
        for step, request in enumerate((*ASK, F.SET_OWNER, F.SET_FEATURES, *RING, F.GET_VRING_BASE)):
            time_ns = synthetic.START_NS + step * 1000
            writer.frame(Frame(connection.id, 0, time_ns, header(request, VERSION, 8) + bytes(8)))
            writer.frame(Frame(connection.id, 1, time_ns + 1, header(request, VERSION | FLAG_REPLY, 8) + bytes(8)))
            writer.flush()
            read_all(timeline)
            seen.append(str(timeline.phases(1)[-1].kind))
        assert timeline.phases(1)[-1].open
        writer.close_connection(Closed(connection.id, synthetic.START_NS + 10**10, "eof", 0))
        writer.flush()
        read_all(timeline)
    assert seen == [*["feature negotiation"] * 3, "initialisation", *["start"] * 6, "stop"]
    last = timeline.phases(1)[-1]
    assert (last.kind, last.count, last.open) == (K.IDLE, 0, False)


# -- where they are shown ---------------------------------------------------------------------------------------------


def test_read_says_where_phases_begin(capsys: pytest.CaptureFixture[str]) -> None:
    path = str(CAPTURES / "qemu-ovs.pcapng")
    assert main(["read", path]) == 0
    plain = capsys.readouterr().out.splitlines()
    assert main(["read", "--phases", path]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if not line.startswith("#")] == plain
    assert lines[1].startswith("# session 1: feature negotiation, #1 to #9, ")
    reconnect = lines.index(next(line for line in lines if "reconnect" in line))
    assert lines[reconnect - 1].startswith("# session 1: running, no messages, 3.01 s")
    assert lines[reconnect + 2].split()[0] == "65"
    assert main(["read", "--phases", "-v", "--session", "2", path]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("# session 2") for line in lines) == 10
    assert not any(line.startswith("# session 1") for line in lines)


def test_phases_of_what_grows_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    path = str(CAPTURES / "qemu-ovs.pcapng")
    assert main(["read", "--phases", "--follow", path]) == 2
    assert "--phases needs files that are finished" in capsys.readouterr().err
    assert main(["read", "--phases", "--json", path]) == 2
    assert "--json" in capsys.readouterr().err


def test_state_tells_phases(capsys: pytest.CaptureFixture[str]) -> None:
    path = str(CAPTURES / "qemu-blk.pcapng")
    assert main(["state", "--json", path]) == 0
    phases = json.loads(capsys.readouterr().out)["phases"]
    assert [phase["kind"] for phase in phases][:3] == ["connect", "feature negotiation", "initialisation"]
    assert (phases[0]["first"], phases[1]["first"], phases[1]["messages"]) == (None, 1, 11)
    assert main(["state", "--at", "15", path]) == 0
    out = capsys.readouterr().out
    assert "#12 to #20" in out
    assert "#21" not in out
