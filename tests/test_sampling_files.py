"""Rings of a recording in several files: each file tells where they stand."""

from __future__ import annotations

import argparse
import os
import struct
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from vusniff.capture.reader import CaptureReader
from vusniff.capture.recording import Recording
from vusniff.commands import sampling_files
from vusniff.commands.keeping import recording_of
from vusniff.commands.sampling import ToldDevice
from vusniff.commands.sampling_files import FilesSampling
from vusniff.families.places import MemoryRegion, Places, RingPlace, Spot
from vusniff.record import Closed, Descriptor, End, Facts, Frame, Process, Sample
from vusniff.sources.host.descriptors import describe

USER = 0x7F00_0000_0000
USED = 8192
NOW = 1_700_000_000 * 10**9


class Device:
    """Memory with one ring in it, and what a front-end says of it."""

    def __init__(self) -> None:
        self.memory, self.kick = os.memfd_create("ram"), os.eventfd(0)
        os.ftruncate(self.memory, 1 << 20)
        self.descriptors = [replace(describe(fd), number=fd) for fd in (self.memory, self.kick)]
        self.ends = End(1, Process(os.getpid(), "front")), End(2, Process(os.getpid(), "back"))

    def messages(self) -> Iterator[tuple[bytes, tuple[Descriptor, ...]]]:
        memory, kick = self.descriptors
        for request, payload, passed in (
            (3, b"", ()),
            (2, struct.pack("<Q", 1 << 30), ()),
            (5, struct.pack("<IIQQQQ", 1, 0, 0, 1 << 20, USER, 0), (memory,)),
            (8, struct.pack("<II", 0, 256), ()),
            (10, struct.pack("<II", 0, 0), ()),
            (9, struct.pack("<IIQQQQ", 0, 0, USER, USER + USED, USER + 4096, 0), ()),
            (12, struct.pack("<Q", 0), (kick,)),
            (18, struct.pack("<II", 0, 1), ()),
        ):
            yield struct.pack("<III", request, 1, len(payload)) + payload, passed

    def move(self, count: int) -> None:
        os.pwrite(self.memory, struct.pack("<HH", 0, count), USED)
        os.pwrite(self.memory, struct.pack("<HH", 0, count), 4096)

    def places(self) -> Places:
        """As a monitor of QEMU tells them."""
        ring = RingPlace(0, 256, False, Spot(0, 0), Spot(0, 4096), Spot(0, USED))
        return Places((MemoryRegion(self.descriptors[0], 0, 1 << 20, 0),), (ring,))

    def close(self) -> None:
        os.close(self.memory)
        os.close(self.kick)


@pytest.fixture
def device() -> Iterator[Device]:
    made = Device()
    yield made
    made.close()


def recording(folder: Path, per_session: bool) -> tuple[Recording, FilesSampling]:
    args = argparse.Namespace(rings=1000.0, every_sample=True, qmp=[], files_fd=None, keep=None, turn_files=None)
    args.per_session = str(folder) if per_session else None
    args.turn_size, args.turn_seconds = (None, None) if per_session else (1, None)
    args.write = str(folder / "part.pcapng")
    sampling = FilesSampling(args, print)
    return recording_of(args, "test", print, sampling), sampling


def look(writing: Recording, sampling: FilesSampling) -> None:
    """Both files of a rotation, where it takes a turn."""
    for _ in range(2):
        writing.flush()
        pause = sampling.turn(lambda sample: None)
        assert pause is not None
        time.sleep(pause)  # a file that was looked at just now is not due again at once


def used(path: Path) -> list[int]:
    with CaptureReader(path) as reader:
        samples = [one for one in reader.records() if isinstance(one, Sample)]
        known = {one.id for one in reader.connections}
    assert all(set(dict(sample.ends)) <= known for sample in samples)
    return [sample.rings[0].used for sample in samples]


@pytest.mark.parametrize("per_session", [False, True])
def test_each_file_tells_where_rings_stand(tmp_path: Path, device: Device, per_session: bool) -> None:
    writing, sampling = recording(tmp_path, per_session)
    numbers = []
    for turn in range(2):
        if turn == 0 or per_session:
            opened = writing.open(f"/run/{turn}.sock", device.ends, NOW)
            numbers.append(opened.id)
            for data, passed in device.messages():
                writing.frame(Frame(opened.id, 0, NOW, data, Facts(passed)))
        else:
            writing.frame(Frame(numbers[0], 0, NOW, struct.pack("<III", 18, 1, 8) + struct.pack("<II", 0, 1)))
        device.move(turn + 1)
        look(writing, sampling)
    sampling.close()
    for number in numbers:
        writing.close_connection(Closed(number, NOW, "eof", 0, 8))
    writing.close()
    parts = sorted(tmp_path.iterdir())
    assert {one for part in parts for one in used(part)} == {1, 2}
    assert used(parts[-1])[-1] == 2


@pytest.mark.parametrize("per_session", [False, True])
def test_what_a_monitor_told_holds_in_the_next_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: Device, per_session: bool
) -> None:
    writing, sampling = recording(tmp_path, per_session)
    opened = writing.open("/run/disk.sock", device.ends, None, True)
    other = writing.open("/run/other.sock", (End(3), End(4)), NOW)
    told = ToldDevice(1, os.getpid(), device.places())

    def introduce(inode: int) -> tuple[int, int] | None:
        ordinal = writing.describe(opened.id)
        return (ordinal, 0) if ordinal and inode == 1 else None

    monkeypatch.setattr(sampling_files, "told_devices", lambda monitors, say: [[replace(told, inode=9), told]])
    sampling.join(introduce)
    for turn in range(2):
        device.move(turn + 1)
        writing.frame(Frame(other.id, 0, NOW, struct.pack("<III", 3, 1, 0)))
        look(writing, sampling)
    sampling.close()
    writing.close()
    parts = sorted(tmp_path.iterdir())
    assert {one for part in parts for one in used(part)} == {1, 2}
    if not per_session:
        assert used(parts[-1])[-1] == 2
