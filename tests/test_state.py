"""Rings by index: what a dict would hold, changed at the same cost whatever their number."""

from __future__ import annotations

import cProfile
import tracemalloc
from collections.abc import Callable

import pytest
from checks_cases.script import (
    PROTOCOL,
    USER,
    B,
    Case,
    F,
    P,
    Part,
    addresses,
    back,
    be,
    channel,
    checker_of,
    eventfd,
    fe,
    hello,
    kick,
    memfd,
    region,
    set_up,
    single,
    stop,
    table,
    u32,
    u64,
)
from hypothesis import given
from hypothesis import strategies as st

from vusniff.families.vhost_user.state import MAX_VRINGS, RingState, Seen, Vring, Vrings, evolve

INDEX = st.one_of(st.integers(0, 70), st.integers(0, 2**32 - 1), st.integers(0, 40).map(lambda n: n << 20))
LIFE = st.sampled_from([None, *RingState])


@given(st.lists(st.tuples(INDEX, LIFE, st.integers(0, 5), st.integers(0, 5), st.integers(0, 5)), max_size=40))
def test_it_holds_what_a_dict_would(steps: list[tuple[int, RingState | None, int, int, int]]) -> None:
    rings, plain, enabled = Vrings(), dict[int, Vring](), Seen(False, 0)
    for number, (index, life, at, base, what) in enumerate(steps, 10):
        before, was = rings, dict(plain)
        if what == 0:
            enabled = Seen(bool(at & 1), number)
            rings = rings.all_enabled(enabled)
            plain = {one: evolve(ring, enabled=enabled) for one, ring in plain.items()}
        else:
            ring = evolve(
                rings.get(index) or Vring(index, enabled=enabled),
                life=Seen(life, at) if life else None,
                base=Seen(0, base) if base else None,
            )
            if what == 1:
                ring = evolve(ring, enabled=Seen(True, number))
            rings, plain = rings.with_ring(ring), {**plain, index: ring}
        assert dict(before) == was
    assert dict(rings) == plain
    assert rings == plain
    assert list(rings) == sorted(plain)
    assert len(rings) == len(plain)
    assert all(index in rings and rings[index] == ring for index, ring in plain.items())
    runs = [ring for ring in plain.values() if ring.life and ring.life.value is not RingState.STOPPED]
    assert (rings.running in runs) if runs else rings.running is None
    if runs and max(plain) < MAX_VRINGS:
        assert rings.running == min(runs, key=lambda ring: ring.index)
    stopped = [ring for ring in plain.values() if ring.life and ring.life.by]
    proved = [ring for ring in stopped if ring.base and ring.life and ring.base.by > ring.life.by]
    assert rings.suspended == (
        bool(stopped) and stopped == proved and not runs and all(ring.life for ring in plain.values())
    )


def test_a_ring_that_is_not_there() -> None:
    rings = Vrings().with_ring(Vring(3))
    assert 4 not in rings
    assert rings.get(4) is None
    with pytest.raises(KeyError):
        rings[4]


def test_what_does_not_change_is_shared() -> None:
    rings = Vrings()
    for index in range(MAX_VRINGS):
        rings = rings.with_ring(Vring(index))
    tracemalloc.start()
    other = rings.with_ring(Vring(500, num=Seen(1, 2)))
    one_changed = tracemalloc.get_traced_memory()[0]
    all_changed = rings.all_enabled(Seen(True, 1))
    both = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert one_changed < 8 * MAX_VRINGS, "a pointer to each ring would take more"
    assert both - one_changed < MAX_VRINGS
    assert (other[500].num, rings[500].num) == (Seen(1, 2), None)
    assert all(ring.enabled == Seen(True, 1) for ring in all_changed.values())


BITS = 1 << 32 | 1 << 33 | 1 << 26
MESSAGES: dict[str, Callable[[int], list[Part]]] = {
    "SET_FEATURES": lambda last: [fe(F.SET_FEATURES, u64(1 << 32)), fe(F.SET_FEATURES, u64(1 << 32 | 1 << 33))],
    "RESET_OWNER": lambda last: [fe(F.RESET_OWNER)],
    "SET_VRING_KICK": lambda last: [kick(last), kick(last, 500)],
    "SET_VRING_CALL": lambda last: [fe(F.SET_VRING_CALL, u64(last), eventfd(7))],
    "SET_VRING_NUM": lambda last: [fe(F.SET_VRING_NUM, u32(last, 256)), fe(F.SET_VRING_NUM, u32(last, 128))],
    "SET_VRING_ADDR": lambda last: [fe(F.SET_VRING_ADDR, addresses(last, flags=1, log=last)), *set_up(last)],
    "SET_VRING_ENABLE": lambda last: [fe(F.SET_VRING_ENABLE, u32(last, 1)), fe(F.SET_VRING_ENABLE, u32(last, 0))],
    "GET_VRING_BASE": lambda last: [*stop(last), kick(last)],
    "SET_LOG_BASE": lambda last: [fe(F.SET_LOG_BASE, u64(1 << 20, 0), memfd(9), flags=9), be(F.SET_LOG_BASE)],
    "SET_MEM_TABLE": lambda last: [fe(F.SET_MEM_TABLE, table(region()), memfd())],
    "ADD_MEM_REG": lambda last: [fe(F.ADD_MEM_REG, single(region(1 << 40)), memfd())],
    "IOTLB_MSG": lambda last: [fe(F.IOTLB_MSG, u64(USER + 0x10000 * (last + 1), 64, 0) + bytes([3, 2]) + bytes(6))],
    "backend": lambda last: [back(B.BACKEND_CONFIG_CHANGE_MSG)],
    "SET_DEVICE_STATE_FD": lambda last: [fe(F.SET_DEVICE_STATE_FD, u32(0, 0), memfd(3))],
}


def calls_of(session: list[Part]) -> int:
    profile = cProfile.Profile()
    profile.enable()
    checker_of(Case("", session))
    profile.disable()
    return sum(entry.callcount for entry in profile.getstats())


@pytest.mark.parametrize("made", MESSAGES.values(), ids=MESSAGES)
def test_a_message_costs_the_same_with_many_rings(made: Callable[[int], list[Part]]) -> None:
    """Counted in calls, of messages that concern all rings or the last of them."""
    costs = []
    checker_of(Case("", [*hello(), *made(0)]))  # what is made for the first of its kind does not count
    for count in (64, 512):
        begun = [*hello(features=BITS, protocol=PROTOCOL | P.CONFIG, accept=1 << 32), channel()]
        begun += [part for index in range(count) for part in (*set_up(index), kick(index))]
        few, many = (calls_of([*begun, *made(count - 1) * times]) for times in (10, 60))
        costs.append(many - few)
    assert costs[1] < costs[0] * 1.1 + 50, costs


def test_the_rings_that_a_message_may_have_changed_are_few() -> None:
    rings = Vrings()
    for index in range(512):
        rings = rings.with_ring(Vring(index))
    one = rings.with_ring(Vring(300, num=Seen(256, 7)))
    changed = {ring.index: ring for ring in one.changed_from(rings)}
    assert changed[300].num == Seen(256, 7)
    assert len(changed) <= 32
    assert all(ring == rings[index] for index, ring in changed.items() if index != 300)
    assert list(rings.changed_from(rings)) == []
    every = rings.all_enabled(Seen(True, 8))
    assert [ring.enabled for ring in every.changed_from(rings)] == [Seen(True, 8)] * 512
