"""Rings read from memory: layouts against a driver and a device that know the truth, access, and hostile contents."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from silent import SilentFile

from vusniff.demo import memory as demo
from vusniff.families.places import Buffer, MemoryRegion, Places, RingPlace, Spot, Tracking
from vusniff.families.vhost_user.family import FAMILY
from vusniff.families.vhost_user.places import IOMMU_WORDS, places
from vusniff.families.vhost_user.protocol import F_ACCESS_PLATFORM, F_RING_PACKED
from vusniff.families.vhost_user.state import (
    Addresses,
    DeviceState,
    Region,
    RingState,
    Seen,
    Vring,
    Vrings,
    evolve,
    initial,
)
from vusniff.record import Descriptor, DescriptorKind
from vusniff.sources.host.descriptors import describe, describe_of
from vusniff.sources.rings import dirty, inflight, packed, split
from vusniff.sources.rings.access import FAR, KEPT_LIMIT, NEEDS, NEEDS_PTRACE, Access, UnreadableError
from vusniff.sources.rings.reader import RingReader

SPOT = Spot(0, 0)
NEXT, WRITE, INDIRECT = 1, 2, 4


def place(size: int, *, is_packed: bool = False, event: bool = False, in_order: bool = False) -> RingPlace:
    return RingPlace(3, size, is_packed, SPOT, SPOT, SPOT, event, in_order)


@contextlib.contextmanager
def memfd(size: int) -> Iterator[tuple[int, Descriptor]]:
    fd = os.memfd_create("guest-ram")
    try:
        os.ftruncate(fd, size)
        yield fd, replace(describe(fd), number=fd)
    finally:
        os.close(fd)


# -- split rings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("order", "sign"), [("little", "<"), ("big", ">")])
@pytest.mark.parametrize("size", [2, 256, 32768])
def test_a_split_ring(order: str, sign: str, size: int) -> None:
    used = struct.pack(f"{sign}HH", 1, 65530).ljust(4 + 8 * size, b"\x7f") + struct.pack(f"{sign}H", 77)
    available = struct.pack(f"{sign}HH", 1, 4).ljust(4 + 2 * size, b"\x7e") + struct.pack(f"{sign}H", 88)
    where = replace(place(size, event=True), order=order)
    read = [
        b"".join(area[offset : offset + length] for offset, length in pieces)
        for area, pieces in zip((used, available), split.pieces(where), strict=True)
    ]
    assert sum(map(len, read)) <= 2 * 4096 + 4
    position = split.decode(where, read[0], read[1])
    assert (position.ring, position.size, position.packed) == (3, size, False)
    assert (position.available, position.used, position.in_flight) == (4, 65530, 10)
    assert (position.no_interrupt, position.no_notify) == (True, True)
    assert (position.used_event, position.available_event) == (88, 77)


def test_event_indexes_are_read_only_where_they_mean_something() -> None:
    assert split.pieces(place(256)) == (((0, 4),), ((0, 4),))
    position = split.decode(place(256), bytes(4), bytes(4))
    assert (position.used_event, position.available_event) == (None, None)


# -- packed rings -----------------------------------------------------------------------------------------------------


class Packed:
    """A driver and a device on one packed ring, by the specification; they know what is in flight."""

    def __init__(self, size: int, in_order: bool) -> None:
        self.size, self.in_order = size, in_order
        self.slots = bytearray(16 * size)
        self.next, self.wrap = 0, 1
        self.used_next, self.used_wrap = 0, 1
        self.flying: list[tuple[int, int]] = []
        """Buffer id and slots of each chain, in order."""
        self.free = list(range(size))
        self.marked: int | None = None
        """The slot that was marked used last, as long as the driver has not written it again."""

    @property
    def in_flight(self) -> int:
        return sum(count for _, count in self.flying)

    def offer(self, count: int, indirect: bool) -> None:
        if self.in_flight + count > self.size:
            return
        # A name is used again as late as can be: an immediate reuse cannot be told from the outside (see `packed`).
        name = self.free.pop(0)
        self.flying.append((name, count))
        for left in range(count - 1, -1, -1):
            flags = NEXT * (left > 0) | INDIRECT * (indirect and count == 1) | self.wrap << 7 | (1 - self.wrap) << 15
            struct.pack_into("<QIHH", self.slots, 16 * self.next, 0x1000 + self.next, 64, name, flags)
            self.marked = None if self.marked == self.next else self.marked
            self.next += 1
            if self.next == self.size:
                self.next, self.wrap = 0, 1 - self.wrap

    def use(self, chains: int) -> None:
        """Some chains, in order: one used descriptor each, or one for all with VIRTIO_F_IN_ORDER."""
        done, self.flying = self.flying[:chains], self.flying[chains:]
        for names in [done] if self.in_order and done else [[one] for one in done]:
            slot = 16 * self.used_next
            address = struct.unpack_from("<Q", self.slots, slot)[0]
            flags = self.used_wrap << 7 | self.used_wrap << 15
            struct.pack_into("<QIHH", self.slots, slot, address, 60, names[-1][0], flags)
            self.marked = self.used_next
            self.used_next += sum(count for _, count in names)
            if self.used_next >= self.size:
                self.used_next, self.used_wrap = self.used_next - self.size, 1 - self.used_wrap
            self.free += [name for name, _ in names]


STEPS = st.lists(
    st.tuples(st.just("offer"), st.integers(1, 5), st.booleans()) | st.tuples(st.just("use"), st.integers(1, 6)),
    max_size=60,
)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from((4, 7, 16)), STEPS, st.booleans())
def test_a_packed_ring(size: int, steps: list[tuple[object, ...]], in_order: bool) -> None:
    ring = Packed(size, in_order)
    for step in steps:
        if step[0] == "offer":
            ring.offer(int(str(step[1])), bool(step[2]))
        else:
            ring.use(int(str(step[1])))
        where = place(size, is_packed=True, in_order=in_order)
        position = packed.decode(where, bytes(ring.slots), bytes(4), bytes(4))
        assert (position.available, position.available_wrap) == (ring.next, bool(ring.wrap))
        if ring.marked is None and len(ring.free) < size:
            # What tells the rest of the last used chain is overwritten: it counts as in flight until the next is used.
            assert position.in_flight >= ring.in_flight
            continue
        assert (position.in_flight, position.used) == (ring.in_flight, ring.used_next)
        assert position.used_wrap == bool(ring.used_wrap)


def test_event_suppression_of_a_packed_ring() -> None:
    def decode(flags: int, event: bool = True) -> tuple[bool, int | None, bool, int | None]:
        words = struct.pack("<HH", 0x8005, flags)
        one = packed.decode(place(4, is_packed=True, event=event), bytes(64), words, words)
        return one.no_interrupt, one.used_event, one.no_notify, one.available_event

    assert decode(0) == (False, None, False, None)
    assert decode(1) == (True, None, True, None)
    assert decode(2) == (False, 0x8005, False, 0x8005)
    assert decode(2, event=False) == (False, None, False, None)
    assert decode(0xFFFF) == (False, None, False, None)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 64), st.binary(min_size=1, max_size=64), st.booleans())
def test_any_bytes_give_a_position(size: int, noise: bytes, in_order: bool) -> None:
    slots = (noise * (16 * size // len(noise) + 1))[: 16 * size]
    where = place(size, is_packed=True, event=True, in_order=in_order)
    position = packed.decode(where, slots, (noise * 4)[:4], (noise * 4)[:4])
    assert 0 <= position.available < size
    assert 0 <= position.used < size
    assert 0 <= position.in_flight <= size


# -- in-flight buffer and dirty log -----------------------------------------------------------------------------------


def test_the_in_flight_buffer_of_a_split_ring() -> None:
    size = demo.inflight_size(8)
    assert inflight.region_size(False, 8) == size
    with memfd(2 * size) as (fd, descriptor):
        buffer = demo.InflightBuffer(fd, 2 * size, 0, 2, 8)
        for head in (0, 3, 7):
            buffer.begin(1, head)
        buffer.finish(1, 3, 1)
        rings = (replace(place(8), index=0), replace(place(8), index=1), replace(place(8), index=2))
        with memfd(4096) as (_, ram):
            found = Places(
                (MemoryRegion(ram, 0, 4096, 0),),
                rings,
                tracking=Tracking(Buffer(descriptor, 0, 2 * size), 2, 8),
            )
            access = Access()
            assert RingReader(found, access, [os.getpid()]).tracked() == {0: 0, 1: 2}
            access.close()
        buffer.close()


def test_the_in_flight_buffer_of_a_packed_ring() -> None:
    head = struct.pack("<QHHHHHHBB", 0, 1, 4, 0, 0, 0, 0, 1, 1).ljust(32, b"\0")
    slots = b"".join(struct.pack("<BBHHHQHHIQ", busy, 0, 0, 0, 1, 0, 0, 0, 0, 0) for busy in (1, 0, 1, 0))
    assert len(slots) == 4 * 32
    assert inflight.in_flight(True, (head + slots).ljust(inflight.region_size(True, 4), b"\0")) == 2
    assert inflight.in_flight(True, bytes(192)) is None
    assert inflight.in_flight(True, b"") is None


@given(st.binary(max_size=200), st.booleans())
def test_any_in_flight_buffer(region: bytes, is_packed: bool) -> None:
    count = inflight.in_flight(is_packed, region)
    assert count is None or 0 <= count <= len(region) // 16


def test_the_dirty_log() -> None:
    assert dirty.pages(b"\x00\x81\xff") == 10
    with memfd(4096) as (fd, descriptor):
        os.pwrite(fd, b"\x03\x80", 1024)
        reader = RingReader(Places(dirty_log=Buffer(descriptor, 1024, 512)), Access(), [os.getpid()])
        assert reader.dirty() == 3
        large = RingReader(Places(dirty_log=Buffer(descriptor, 0, 1 << 40)), Access(), [os.getpid()])
        assert large.dirty() is None
        assert "at most" in large.reasons["dirty log"]


# -- reading ----------------------------------------------------------------------------------------------------------


def split_places(descriptor: Descriptor, size: int = 8, region: int = 8192, offset: int = 0) -> Places:
    memory = MemoryRegion(descriptor, offset, region, 0)
    return Places((memory,), (RingPlace(0, size, False, Spot(0, 0), Spot(0, 1024), Spot(0, 4096), event_index=True),))


def test_a_ring_of_another_process_is_read_and_nothing_is_written(tmp_path: Path) -> None:
    code = (
        "import os,sys,time\nfd = os.memfd_create('ram')\nos.ftruncate(fd, 8192)\n"
        "os.pwrite(fd, b'\\0\\0\\5\\0', 1024)\nos.pwrite(fd, b'\\0\\0\\3\\0', 4096)\n"
        "print(fd, flush=True)\nsys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        number = int(child.stdout.readline())
        inode = os.stat(f"/proc/{child.pid}/fd/{number}").st_ino
        before = os.stat(f"/proc/{child.pid}/fd/{number}")
        descriptor = Descriptor(DescriptorKind.MEMFD, f"memfd:{inode}", None, "ram", 8192)
        access = Access()
        reader = RingReader(split_places(descriptor), access, [child.pid])
        assert reader.reasons == {}
        (position,) = reader.positions()
        assert (position.available, position.used, position.in_flight) == (5, 3, 2)
        after = os.stat(f"/proc/{child.pid}/fd/{number}")
        assert (after.st_blocks, after.st_mtime_ns) == (before.st_blocks, before.st_mtime_ns)
        (fd,) = access.kept.values()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.pwrite(fd, b"x", 0)
        access.close()
        child.terminate()


@pytest.mark.parametrize("how", ["os.O_PATH", "os.O_WRONLY"])
def test_a_file_that_its_process_may_not_read_is_not_read_for_it(tmp_path: Path, how: str) -> None:
    """Anybody may open any file by O_PATH and pass it as memory; as root we would tell what is in it."""
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(1024) + b"\0\0\5\0" + bytes(7164))
    code = f"import os,sys\nprint(os.open({str(secret)!r}, {how}), flush=True)\nsys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        number = int(child.stdout.readline())
        identity = describe_of(child.pid, number).identity
        assert identity is not None
        descriptor = Descriptor(DescriptorKind.FILE, identity, number)
        access = Access()
        reader = RingReader(split_places(descriptor), access, [child.pid])
        assert reader.positions() == []
        assert reader.reasons == {0: "the process that holds it has not opened it for reading"}
        assert not access.kept
        fd = os.open(secret, os.O_PATH if how == "os.O_PATH" else os.O_WRONLY)
        access.keep(fd, descriptor)
        os.close(fd)
        assert RingReader(split_places(descriptor), access, []).positions() == []
        access.close()
        child.terminate()


LOOK = """
import sys
from vusniff.families.places import MemoryRegion
from vusniff.record import Descriptor, DescriptorKind
from vusniff.sources.rings.access import Access, UnreadableError
pid, ram, inode, address, kick, number = map(int, sys.argv[1:])
memory = Descriptor(DescriptorKind.MEMFD, f"memfd:{inode}", ram)
access = Access()
for region in (MemoryRegion(memory, 0, 4096, 0), MemoryRegion(Descriptor(), 0, 4096, address)):
    try:
        print(access.memory(region, [pid])(0, 5)())
    except UnreadableError as error:
        print(error)
print(sorted(access.kept), access.eventfd_count(Descriptor(DescriptorKind.EVENTFD, f"eventfd:{number}", kick), [pid]))
"""
"""Reads memory of another process by its descriptor, and by its address; then what was not read of an eventfd."""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a single capability away")
@pytest.mark.parametrize("rights", ["-all,+sys_ptrace", "-all"])
def test_one_capability_is_enough_for_memory_of_others(rights: str, installation: Path) -> None:
    with memfd(4096) as (fd, memory), mmap.mmap(fd, 4096) as mapped:
        mapped[:5] = b"rings"
        kick = os.eventfd(3)
        address = ctypes.addressof(ctypes.c_char.from_buffer(mapped))
        numbers = [str(describe(kick).identity).partition(":")[2], str(memory.identity).partition(":")[2]]
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/python3", "-c", LOOK]
        command[4:4] = [f"--{name}={rights}" for name in ("inh-caps", "ambient-caps", "bounding-set")]
        words = [os.getpid(), fd, numbers[1], address, kick, numbers[0]]
        environment = os.environ | {"PYTHONPATH": str(installation), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run([*command, *map(str, words)], capture_output=True, text=True, env=environment)
        os.close(kick)
    by_address = f"it is in the memory of process {os.getpid()}: {NEEDS_PTRACE}"
    enough = [str(b"rings")] * 2 + [f"['{memory.identity}'] 3"]
    assert done.stdout.splitlines() == (enough if "ptrace" in rights else [NEEDS, by_address, "[] None"]), done.stderr


def test_a_hole_is_not_allocated() -> None:
    with memfd(1 << 20) as (fd, descriptor):
        reader = RingReader(split_places(descriptor), Access(), [os.getpid()])
        assert [one.in_flight for one in reader.positions()] == [0]
        assert os.fstat(fd).st_blocks == 0


def test_a_duplicate_is_enough_when_its_owner_has_gone() -> None:
    access = Access()
    with memfd(8192) as (fd, descriptor):
        os.pwrite(fd, b"\0\0\5\0", 1024)
        access.keep(fd, descriptor)
    assert [one.available for one in RingReader(split_places(descriptor), access, []).positions()] == [5]
    access.retain([])  # it came since the last time
    assert access.kept
    access.retain([])
    assert not access.kept


def test_duplicates_are_bounded() -> None:
    access = Access()
    with memfd(8192) as (fd, descriptor):
        for number in range(KEPT_LIMIT + 5):
            access.keep(fd, replace(descriptor, identity=f"memfd:{number}"))
    assert len(access.kept) <= KEPT_LIMIT
    assert access.full
    access.close()
    no_room = Access(lambda fd: True)
    with memfd(8192) as (fd, descriptor):
        no_room.keep(fd, descriptor)
        with pytest.raises(UnreadableError, match="no room for more open files"):
            no_room.find(descriptor, [os.getpid()])


def test_memory_is_read_by_address_where_it_has_no_descriptor() -> None:
    with mmap.mmap(-1, 8192) as memory:
        memory[1024:1028] = b"\0\0\5\0"
        start = ctypes.addressof((ctypes.c_char * 8192).from_buffer(memory))
        known = split_places(Descriptor())
        own = replace(known, regions=(replace(known.regions[0], user_address=start),))
        assert [one.available for one in RingReader(own, Access(), [os.getpid()]).positions()] == [5]
        reader = RingReader(known, Access(), [os.getpid()])
        assert reader.positions() == []
        assert reader.reasons == {0: f"it is in the memory of process {os.getpid()}, which cannot be read: Bad address"}


def test_a_file_that_is_shorter_than_its_region() -> None:
    with memfd(4096) as (_, descriptor):
        reader = RingReader(split_places(descriptor), Access(), [os.getpid()])
        assert reader.positions() == []
        assert reader.reasons == {0: "the file of its memory ends before it"}


@pytest.mark.parametrize("size", [0, 32769, 1 << 63])
def test_a_size_that_no_ring_has(size: int) -> None:
    with memfd(4096) as (_, descriptor):
        reader = RingReader(split_places(descriptor, size), Access(), [os.getpid()])
        assert reader.positions() == []
        assert "the most is 32768" in reader.reasons[0]


def test_addresses_that_no_file_has() -> None:
    with memfd(4096) as (_, descriptor):
        far = split_places(descriptor, region=1 << 64, offset=(1 << 64) - 8192)
        assert RingReader(far, Access(), [os.getpid()]).reasons == {0: "no file can be that long"}
        outside = split_places(descriptor, region=2048)
        assert RingReader(outside, Access(), [os.getpid()]).reasons == {0: "it does not lie in its memory region"}


def test_what_is_no_memory_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    fd = os.open(path, os.O_RDWR)
    descriptor = Descriptor(DescriptorKind.FILE, "file:1:2:3", fd)
    access = Access()
    access.keep(fd, descriptor)
    os.close(fd)
    assert RingReader(split_places(descriptor), access, []).reasons == {0: "it is not a file in memory"}
    access.close()


@pytest.mark.parametrize("kept", [True, False])
def test_a_file_whose_server_does_not_answer_is_not_read(tmp_path: Path, kept: bool) -> None:
    with SilentFile(tmp_path) as silent:
        descriptor = describe(silent.fd, silent.fd)
        access = Access()
        if kept:
            access.keep(silent.fd, descriptor)
        reasons = RingReader(split_places(descriptor), access, [os.getpid()]).reasons
        access.close()
        assert reasons == {0: FAR}
        assert not silent.waited


def test_kicks_that_nobody_has_read() -> None:
    fd = os.eventfd(0)
    descriptor = replace(describe(fd), number=fd)
    with memfd(8192) as (_, ram):
        known = split_places(ram)
        known = replace(known, rings=(replace(known.rings[0], kick=descriptor),))
        kept = Access()
        kept.keep(fd, descriptor)
        for access in (kept, Access()):
            reader = RingReader(known, access, [os.getpid()])
            assert reader.unread_kicks() == {0: 0}
            os.eventfd_write(fd, 3)
            assert reader.unread_kicks() == {0: 3}
            os.eventfd_read(fd)
            access.close()
        os.close(fd)
        assert RingReader(known, Access(), [os.getpid()]).unread_kicks() == {}


# -- where rings are, by the state ------------------------------------------------------------------------------------

RAM = Descriptor(DescriptorKind.MEMFD, "memfd:5", 7, "ram", 1 << 20)


def state(features: int = 1 << 29, life: RingState = RingState.KICK_SET, **changes: Any) -> DeviceState:
    ring = Vring(
        0,
        num=Seen(256, 4),
        base=Seen(0, 5),
        addresses=Seen(Addresses(0, 0x7000_0000, 0x7000_3000, 0x7000_2000, 0), 6),
        kick=Seen(None, 7),
        life=Seen(life, 7),
    )
    ring = replace(ring, **changes)
    region = Region(0, 1 << 20, 0x7000_0000, 4096, RAM, 3)
    return evolve(
        initial(True),
        features=Seen(features, 2),
        regions=(region,),
        regions_by=3,
        vrings=Vrings().with_ring(ring),
    )


def test_the_place_of_a_ring() -> None:
    assert FAMILY.places is places
    found = places(state())
    assert found.regions == (MemoryRegion(RAM, 4096, 1 << 20, 0x7000_0000, found.regions[0].guest_address),)
    assert found.rings == (
        RingPlace(0, 256, False, Spot(0, 0), Spot(0, 0x2000), Spot(0, 0x3000), True, False, "little", 7, None),
    )
    assert places(state(F_RING_PACKED | 1 << 35, endian=Seen(1, 9))).rings[0] == RingPlace(
        0, 256, True, Spot(0, 0), Spot(0, 0x2000), Spot(0, 0x3000), False, True, "little", 7, None
    )
    assert places(state(endian=Seen(1, 9))).rings[0].order == "big"


def test_positions_count_from_what_changed_last() -> None:
    for changes in (
        {"base": Seen(9, 21)},
        {"addresses": Seen(Addresses(0, 0x7000_0000, 0x7000_3000, 0x7000_2000, 0), 21)},
    ):
        assert places(state(**changes)).rings[0].since == 21
    assert places(evolve(state(), regions_by=22)).rings[0].since == 22


def test_rings_that_do_not_run_are_not_read() -> None:
    assert places(state(life=RingState.STOPPED)) == replace(places(state()), rings=())


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"num": None}, "its size was not seen"),
        ({"addresses": None}, "its addresses were not seen"),
        ({"num": Seen(1 << 31, 4)}, "lies in no memory region"),
        ({"addresses": Seen(Addresses(0, 1, 2, 3, 0), 4)}, "lies in no memory region"),
    ],
)
def test_why_a_ring_cannot_be_read(changes: dict[str, Any], why: str) -> None:
    found = places(state(**changes))
    assert found.rings == ()
    assert why in found.unreadable[0][1]


def test_io_addresses_go_through_the_iotlb() -> None:
    known = evolve(state(F_ACCESS_PLATFORM))
    assert places(known).unreadable == ((0, IOMMU_WORDS),)
    one = evolve(known, iotlb=known.iotlb.updated(0x7000_0000, (0x8000, 0x7000_0000, 3)))
    assert places(one).rings[0].available == Spot(0, 0x2000)
    apart = known.iotlb.updated(0x7000_0000, (0x2100, 0x7000_0000, 3)).updated(0x7000_2100, (0x8000, 0x7000_4000, 3))
    assert places(evolve(known, iotlb=apart)).unreadable == ((0, IOMMU_WORDS),)
