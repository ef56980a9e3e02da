"""Fields of the device before a message: the same in a file, in what is read once, and in the rules of a proxy."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from vusniff.analysis.current import CurrentDevices
from vusniff.analysis.timeline import Timeline, read_all
from vusniff.capture.index import Index
from vusniff.families.vhost_user.state import DeviceState, ring_state
from vusniff.faults.deciding import RuleDecider
from vusniff.faults.rule import rules_of
from vusniff.filter import compile_filter
from vusniff.filter.field import Origin
from vusniff.filter.fields import fields
from vusniff.record import Connection, Descriptor, DescriptorKind, Facts, Frame
from vusniff.views.printing import StreamSurroundings, stream

CAPTURES = [Path(__file__).parent.parent / "captures" / f"{name}.pcapng" for name in ("qemu-blk", "qemu-ovs")]
EXPRESSIONS = (
    "state.phase == running",
    'state.phase in {"feature negotiation", stop}',
    "state.features contains VERSION_1",
    "state.features contains MRG_RXBUF && vhost.reply == 0",
    "state.protocol_features contains MQ",
    "state.status",
    "state.regions > 0",
    "state.running == 1",
    "!state.running && vhost.request == SET_VRING_NUM",
    "state.enabled == 0",
    "state.vring == armed",
    "state.vring_enabled == true",
)


def read(path: Path) -> Timeline:
    timeline = Timeline(Index(path))
    read_all(timeline)
    return timeline


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
def test_a_file_and_what_is_read_once_agree(path: Path) -> None:
    timeline = read(path)
    for text in EXPRESSIONS:
        chosen = compile_filter(text)
        around = StreamSurroundings(chosen)
        once = [
            passes
            for tracked in stream([str(path)], None, follow=False, stop=lambda: False)
            for passes in around.passed(tracked)
        ]
        rows = list(chosen.rows(timeline))
        same = sum((row in rows) is passes for row, passes in enumerate(once))
        # What a message announces is known only behind it.
        assert same == len(once) or (chosen.needs_phases and same > len(once) * 0.85), text
        sieve, last = chosen.sieve(timeline), range(min(len(timeline), 60))
        assert [row for row in last[::-1] if sieve.rows(row, row + 1)] == [row for row in rows if row in last][::-1]


def test_values_are_those_of_the_state_before_the_message() -> None:
    timeline = read(Path(__file__).parent.parent / "captures" / "qemu-testpmd.pcapng")
    asked = {
        "state.regions > 0": lambda state: len(state.regions or ()) > 0,
        "state.running": lambda state: any(
            ring.life is not None and ring_state(ring) in ("armed", "started") for ring in state.vrings.values()
        ),
        "state.enabled == 1": lambda state: bool(
            (ring := state.vrings.get(1)) and ring.enabled is not None and ring.enabled.value
        ),
        "state.features contains PROTOCOL_FEATURES": lambda state: bool(
            state.features and (state.features.value & (state.features_offered or state.features).value) >> 30 & 1
        ),
    }
    for text, holds in asked.items():
        expected = []
        for row in range(len(timeline)):
            state = timeline.before(row)
            assert isinstance(state, DeviceState)
            if holds(state):  # type: ignore[no-untyped-call]
                expected.append(row)
        assert list(compile_filter(text).rows(timeline)) == expected, text
        assert 0 < len(expected) < len(timeline), text


def test_phases_are_those_that_are_shown() -> None:
    timeline = read(Path(__file__).parent.parent / "captures" / "qemu-ovs.pcapng")
    shown = {
        row + 1
        for session in timeline.sessions
        for phase in timeline.phases(session.number)
        if phase.count and str(phase.kind) == "start"
        for row in timeline.rows_of(session.number)
        if phase.first <= row + 1 <= phase.last
    }
    assert {row + 1 for row in compile_filter("state.phase == start").rows(timeline)} == shown
    assert shown


def test_the_devices_of_a_run_can_be_forgotten() -> None:
    devices = CurrentDevices(phases=True)
    devices.forget()
    assert (devices.state, devices.phase) == (None, None)


def message(request: int, payload: bytes = b"", flags: int = 1) -> bytes:
    return struct.pack("=III", request, flags, len(payload)) + payload


def test_rules_ask_for_the_device() -> None:
    kick, num = message(12, struct.pack("=Q", 1)), message(8, struct.pack("=II", 1, 256))
    run = [
        (message(1), 0),
        (message(1, struct.pack("=Q", 1 << 32 | 1 << 30), 5), 1),
        (message(2, struct.pack("=Q", 1 << 32 | 1 << 30)), 0),
        (num, 0),
        (kick, 0),
        (num, 0),  # while ring 1 runs
        (message(18, struct.pack("=II", 1, 1)), 0),
        (num, 0),
        (message(11, struct.pack("=II", 1, 0)), 0),
        (num, 0),
    ]
    expected = {
        "vhost.request == SET_VRING_NUM && state.running == 1": [6, 8],
        "state.vring == armed": [6, 7, 8, 9],
        "state.vring_enabled == true": [8, 9, 10],
        "state.enabled == 1": [8, 9, 10],
        "state.features contains VERSION_1": [4, 5, 6, 7, 8, 9, 10],
        "state.features contains EVENT_IDX": [],
        "state.regions == 0": list(range(1, 11)),
        "state.phase == start": [3, 4, 5, 6, 7, 8, 10],
        "state.phase == stop": [9],
    }
    for text, hits in expected.items():
        decider = RuleDecider(rules_of([f"{text} : drop"], ()), 1, print)
        number = decider.opened(Connection(1, "/run/vm.sock"))
        found = []
        for at, (data, end) in enumerate(run, 1):
            passed = (Descriptor(DescriptorKind.EVENTFD, identity="eventfd:1"),) if data is kick else ()
            if decider.decide(number, Frame(1, end, at * 1000, data, Facts(passed))):
                found.append(at)
        assert found == hits, text


def test_they_are_a_kind_of_their_own() -> None:
    own = [name for name, field in fields().items() if field.origin is Origin.STATE]
    assert len(own) == 9
    assert all(name.startswith("state.") for name in own)
