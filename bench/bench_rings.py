"""What it costs to see where rings stand: CPU of one sample, and bytes in the capture.

usage: bench_rings.py [RINGS]

Memory is a memfd of our own, which is read as that of others is. CPU is the best of some runs: one sample of RINGS (64)
rings read and decoded, and what the sampler adds that decides whether to write. The bytes are those of a device whose
rings move all the time, for a minute.
"""

from __future__ import annotations

import os
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import replace

from vusniff.capture import evidence
from vusniff.families.places import MemoryRegion, Places, RingPlace, Spot
from vusniff.record import Sample
from vusniff.sources.host.descriptors import describe
from vusniff.sources.rings.access import Access
from vusniff.sources.rings.reader import RingReader
from vusniff.sources.rings.sampler import Sampler

RUNS, TIMES = 7, 200
ROOM = 1 << 16
"""Bytes for each ring."""


def rings(count: int, size: int, is_packed: bool, **more: bool) -> tuple[int, Places]:
    """A memory object, and rings in it."""
    fd = os.memfd_create("guest-ram")
    os.ftruncate(fd, count * ROOM)
    descriptor = replace(describe(fd), number=fd)
    found = []
    for index in range(count):
        at = index * ROOM
        for slot in range(size if is_packed else 0):
            flags = 0x8080 if slot < size // 2 else 0x0080
            os.pwrite(fd, struct.pack("<QIHH", 1, 64, slot, flags), at + 16 * slot)
        spots = Spot(0, at), Spot(0, at + ROOM // 2), Spot(0, at + ROOM // 2 + 8192)
        found.append(replace(RingPlace(index, size, is_packed, *spots), **more))  # type: ignore[arg-type]
    return fd, Places((MemoryRegion(descriptor, 0, count * ROOM, 0),), tuple(found))


def best(act: Callable[[], object]) -> float:
    """Milliseconds of CPU that one call takes."""
    least = float("inf")
    for _ in range(RUNS):
        began = time.process_time_ns()
        for _ in range(TIMES):
            act()
        least = min(least, (time.process_time_ns() - began) / TIMES / 1e6)
    return least


def growth(count: int) -> float:
    """Bytes a minute and ring of a device whose rings move all the time, looked at 10 times a second."""
    fd, places = rings(count, 256, False, event_index=True)
    written = [0]

    def write(sample: Sample) -> int:
        size = evidence.size(sample)
        written[0] += size
        return size

    sampler = Sampler(Access(), write)
    sampler.follow(1, ((1, 0),), [os.getpid()], places)
    now, tick = 1_700_000_000_000_000_000, 100_000_000
    for look in range(600):
        for index in range(count):
            at = index * ROOM + ROOM // 2
            os.pwrite(fd, struct.pack("<HH", 0, (31000 * look + 99) & 0xFFFF), at)
            os.pwrite(fd, struct.pack("<HH", 0, 31000 * look & 0xFFFF), at + 8192)
        sampler.sample(now + look * tick)
    sampler.close()
    os.close(fd)
    return written[0] / count


def main(arguments: list[str]) -> int:
    """Print the figures."""
    count = int(arguments[0]) if arguments else 64
    for words, size, is_packed, more in (
        ("split, 256", 256, False, {}),
        ("split, 256, event index", 256, False, {"event_index": True}),
        ("packed, 256", 256, True, {}),
        ("packed, 512", 512, True, {}),
        ("packed, 512, in order", 512, True, {"in_order": True}),
    ):
        fd, places = rings(count, size, is_packed, **more)
        reader = RingReader(places, Access(), [os.getpid()])
        sampler = Sampler(Access(), evidence.size)
        sampler.follow(1, ((1, 0),), [os.getpid()], places)
        print(
            f"{count} rings, {words}: {best(reader.positions):.3f} ms read and decoded, "
            f"{best(lambda s=sampler: s.sample(1_700_000_000_000_000_000)):.3f} ms with the sampler"  # type: ignore[misc]
        )
        os.close(fd)
    for number in (1, 2, 8):
        print(f"a device of {number} rings that move: {growth(number) / 1000:.2f} KB a minute and ring")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
