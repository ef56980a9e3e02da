"""When a sample is written, what it says, and what is forgotten: a sampler on memory that the test writes."""

from __future__ import annotations

import itertools
import os
import struct
from collections.abc import Iterator
from dataclasses import replace

import pytest

from vusniff.capture import evidence
from vusniff.families.places import Buffer, MemoryRegion, Places, RingPlace, Spot
from vusniff.record import Descriptor, Position, Sample
from vusniff.sources.host.descriptors import describe
from vusniff.sources.rings.access import Access
from vusniff.sources.rings.sampler import EVERY_NS, ROOM, SECOND, Sampler

BEGIN = 1_700_000_000 * SECOND
TICK = SECOND // 10
SIZE = 256


class Bench:
    """One device with some rings, and the samples that are written of it."""

    def __init__(self, rings: int = 1, every: bool = False) -> None:
        self.fd = os.memfd_create("ram")
        os.ftruncate(self.fd, 1 << 20)
        self.kick = os.eventfd(0)
        descriptor = replace(describe(self.fd), number=self.fd)
        kick = replace(describe(self.kick), number=self.kick)
        self.places = Places(
            (MemoryRegion(descriptor, 0, 1 << 20, 0),),
            tuple(
                RingPlace(n, SIZE, False, Spot(0, 0), Spot(0, (n + 1) << 14), Spot(0, (n + 1) << 14 | 8192), kick=kick)
                for n in range(rings)
            ),
        )
        self.samples: list[Sample] = []
        self.sampler = Sampler(Access(), self.write, every)
        self.now = BEGIN
        self.follow()

    def follow(self, **changes: int) -> None:
        rings = tuple(replace(ring, **changes) for ring in self.places.rings)  # type: ignore[arg-type]
        self.sampler.follow(1, ((1, 0),), [os.getpid()], replace(self.places, rings=rings))

    def write(self, sample: Sample) -> int:
        self.samples.append(sample)
        return evidence.size(sample)

    def put(self, available: int, used: int, ring: int = 0) -> None:
        os.pwrite(self.fd, struct.pack("<HH", 0, available & 0xFFFF), (ring + 1) << 14)
        os.pwrite(self.fd, struct.pack("<HH", 0, used & 0xFFFF), (ring + 1) << 14 | 8192)

    def look(self, times: int = 1, moves: int = 0) -> list[Sample]:
        """Looks some times, the device using and the driver adding so many in between; what was written."""
        before = len(self.samples)
        for _ in range(times):
            for place in self.places.rings if moves else ():
                at = (place.index + 1) << 14
                available, used = (
                    struct.unpack("<HH", os.pread(self.fd, 4, where))[1] + moves for where in (at, at | 8192)
                )
                self.put(available, used, place.index)
            self.sampler.sample(self.now)
            self.now += TICK
        return self.samples[before:]

    def close(self) -> None:
        self.sampler.close()
        os.close(self.fd)
        os.close(self.kick)


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.close()


def test_the_first_sample_says_where_a_ring_stands(bench: Bench) -> None:
    bench.put(7, 7)
    (sample,) = bench.look()
    assert sample == Sample(BEGIN, (Position(0, SIZE, False, 7, 7, 0),), ends=((1, 0),))


def test_a_ring_that_does_nothing_is_written_once(bench: Bench) -> None:
    assert len(bench.look(100)) == 1


def test_a_ring_that_moves_is_written_once_a_second_at_most(bench: Bench) -> None:
    written = bench.look(600, moves=3)
    times = [sample.time_ns for sample in written]
    assert min(late - early for early, late in itertools.pairwise(times[2:])) >= EVERY_NS
    assert sum(map(evidence.size, written[2:])) <= ROOM * 60 * 1.1
    assert len(written) >= 15
    assert all(sample.rings[0].moved_ns == 0 for sample in written[1:])


def test_a_device_of_many_rings_takes_as_much_room_for_each() -> None:
    bench = Bench(rings=16)
    written = bench.look(600, moves=3)
    assert sum(map(evidence.size, written[2:])) <= ROOM * 60 * 16 * 1.1
    bench.close()


def test_every_change_is_written_when_asked_for() -> None:
    bench = Bench(every=True)
    assert len(bench.look(50, moves=1)) == 50
    bench.close()


def test_a_ring_that_is_not_served_is_told_within_a_second_and_a_half_and_so_is_that_it_goes_on(bench: Bench) -> None:
    bench.look(33, moves=3)
    bench.put(500, 100)
    bench.look()
    stopped = bench.now - TICK
    os.eventfd_write(bench.kick, 2)
    (told,) = [sample for sample in bench.look(30) if sample.rings[0].waiting_ns is not None]
    assert told.time_ns - stopped <= 1.5 * SECOND
    (ring,) = told.rings
    assert ring.waiting_ns is not None
    assert ring.waiting_ns >= SECOND
    assert ring.moved_ns == ring.waiting_ns
    assert ring.unread_kicks == 2
    (stuck,) = [sample.rings[0] for sample in bench.look(300)]
    assert stuck.waiting_ns == 5 * SECOND
    bench.put(500, 130)
    (again,) = bench.look()
    assert (again.rings[0].waiting_ns, again.rings[0].moved_ns, again.rings[0].unread_kicks) == (None, 0, None)


def test_kicks_and_calls_are_written_when_they_have_changed() -> None:
    bench = Bench(rings=2)
    number = int((bench.places.rings[0].kick or Descriptor()).identity.partition(":")[2])  # type: ignore[union-attr]
    counted = {number: 3}
    bench.sampler.signals = counted.get
    bench.follow()
    (first,) = bench.look()
    assert [(one.kicks, one.calls) for one in first.rings] == [(3, None)] * 2
    assert bench.look(30) == []
    counted[number] = 4
    (second,) = bench.look(30)
    assert [one.kicks for one in second.rings] == [4, 4]
    bench.close()


def test_something_that_is_made_available_after_a_pause_has_not_waited_for_the_pause(bench: Bench) -> None:
    bench.put(5, 5)
    bench.look(100)
    bench.put(6, 5)
    made = bench.now
    told = bench.look(30)[-1]
    assert told.rings[0].waiting_ns is not None
    assert SECOND <= told.rings[0].waiting_ns <= told.time_ns - made


def test_what_matters_is_written_once_a_second_in_the_long_run(bench: Bench) -> None:
    written = 0
    for number in range(100):  # it moves for a look, and then waits for as long as it takes to be told
        bench.put(300 + number, 100 + number)
        written += len(bench.look(12))
    assert written <= 100 * 1.2 + 5


@pytest.mark.parametrize("changes", [{"since": 9}, {"since": 9, "size": 128}])
def test_what_a_ring_has_done_is_forgotten_when_its_place_changes(bench: Bench, changes: dict[str, int]) -> None:
    bench.put(300, 100)
    assert bench.look(15)[-1].rings[0].waiting_ns is not None
    bench.follow(**changes)
    (sample,) = bench.look()
    assert sample.rings[0].waiting_ns is None
    assert sample.rings[0].moved_ns is None


def test_what_a_ring_has_done_is_kept_when_another_changes(bench: Bench) -> None:
    bench.put(300, 100)
    bench.look(5)
    bench.follow()
    assert bench.look(10)[-1].rings[0].waiting_ns == SECOND


def test_a_device_that_has_gone_is_not_looked_at(bench: Bench) -> None:
    bench.sampler.follow(1, (), (), None)
    bench.put(3, 2)
    assert bench.look(20) == []


def test_what_cannot_be_read_is_told_once(bench: Bench) -> None:
    os.ftruncate(bench.fd, 4096)
    (sample,) = bench.look(30)
    assert sample.unreadable == (("ring 0", "the file of its memory ends before it"),)
    assert sample.rings == ()
    bench.follow()
    assert bench.look(30) == []


def test_the_dirty_log_is_told_when_it_changes(bench: Bench) -> None:
    log = os.memfd_create("log")
    os.ftruncate(log, 4096)
    bench.places = replace(bench.places, dirty_log=Buffer(replace(describe(log), number=log), 0, 4096))
    bench.follow()
    bench.look(20)
    assert [sample.dirty_pages for sample in bench.samples if sample.dirty_pages is not None] == [0]
    os.pwrite(log, b"\xff", 100)
    assert [sample.dirty_pages for sample in bench.look(60)] == [8]
    assert bench.look(20) == []
    os.close(log)


def test_the_dirty_log_is_told_beside_rings_that_move(bench: Bench) -> None:
    """Its first count at once, and each later one with the next sample of the rings, whenever that is due."""
    bench.look(200, moves=3)
    log = os.memfd_create("log")
    os.ftruncate(log, 4096)
    os.pwrite(log, b"\x01", 0)
    bench.places = replace(bench.places, dirty_log=Buffer(replace(describe(log), number=log), 0, 4096))
    bench.follow()
    assert 1 in [sample.dirty_pages for sample in bench.look(20, moves=3)]
    for byte in range(1, 8):
        os.pwrite(log, b"\x01", byte)
        bench.look(7, moves=3)
    bench.look(60, moves=3)
    assert [sample.dirty_pages for sample in bench.samples if sample.dirty_pages][-1] == 8
    os.close(log)
