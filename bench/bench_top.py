"""What ``vusniff top`` costs: CPU of one look at many devices of which every one has a new sample.

usage: bench_top.py [DEVICES [RINGS]]

A capture of DEVICES (500) with RINGS (4) each is written while it is followed, as the probe would: one sample a device
and look. Printed is the CPU of a look (reading what is new, the table, its lines), and its share of a core at 2 looks a
second; painting is not in it.
"""

from __future__ import annotations

import struct
import sys
import tempfile
import time
from pathlib import Path

from vusniff.analysis.devices import DeviceTable
from vusniff.analysis.timeline import Timeline
from vusniff.capture.index import Index
from vusniff.capture.writer import CaptureWriter
from vusniff.record import Descriptor, DescriptorKind, End, Facts, Frame, Position, Process, Sample
from vusniff.views import top
from vusniff.views.tui.top import TopArrangement, table_lines

SECOND = 1_000_000_000
BEGIN = 1_700_000_000 * SECOND
LOOKS = 10


def request(number: int, payload: bytes) -> bytes:
    """A message of the front-end."""
    return struct.pack("<III", number, 1, len(payload)) + payload


def set_up(rings: int) -> list[tuple[bytes, tuple[Descriptor, ...]]]:
    """The messages of a device whose rings run."""
    memory = Descriptor(DescriptorKind.MEMFD, "memfd:5", 7, "ram", 1 << 20)
    found: list[tuple[bytes, tuple[Descriptor, ...]]] = [
        (request(2, struct.pack("<Q", 1 << 32)), ()),
        (request(5, struct.pack("<II4Q", 1, 0, 0, 1 << 20, 1 << 30, 0)), (memory,)),
    ]
    for ring in range(rings):
        kick = Descriptor(DescriptorKind.EVENTFD, f"eventfd:{ring}", 8)
        found += [
            (request(8, struct.pack("<II", ring, 256)), ()),
            (request(9, struct.pack("<II4Q", ring, 0, 1 << 30, 0x4000_3000, 0x4000_2000, 0)), ()),
            (request(10, struct.pack("<II", ring, 0)), ()),
            (request(12, struct.pack("<Q", ring)), (kick,)),
        ]
    return found


def main(arguments: list[str]) -> int:
    """Print the figures."""
    devices, rings = (int(arguments[n]) if len(arguments) > n else default for n, default in ((0, 500), (1, 4)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "c.pcapng")
        with CaptureWriter(path, source="probe", order="little") as writer:
            numbers = []
            for number in range(devices):
                ends = (
                    End(2 * number + 1, Process(12, f"vm{number}")),
                    End(2 * number + 2, Process(34, "ovs-vswitchd")),
                )
                one = writer.open(f"/run/vm{number}.sock", ends, BEGIN)
                numbers.append(one.id)
                for data, descriptors in set_up(rings):
                    writer.frame(Frame(one.id, 0, BEGIN, data, Facts(descriptors)))
            writer.flush()
            with Index([str(path)]) as index:
                table, how = DeviceTable(Timeline(index)), TopArrangement()
                took = []
                for look in range(LOOKS):
                    now = BEGIN + (look + 1) * SECOND // 2
                    for number in numbers:
                        used = 500 * look & 0xFFFF
                        positions = tuple(
                            Position(ring, 256, False, used + 9, used, 9, moved_ns=0, kicks=look, calls=look)
                            for ring in range(rings)
                        )
                        writer.evidence(Sample(now, positions, ends=((number, 0),)))
                    writer.flush()
                    began = time.process_time()
                    table.timeline.update()
                    found = list(table.devices())
                    rows = top.arranged(top.rows_of(found, False), how.sort, "", now)
                    table_lines(rows, now, how)
                    top.summary(found)
                    took.append(time.process_time() - began)
    print(f"first look at {devices} devices of {rings} rings: {took[0] * 1000:.0f} ms")
    least, middle = min(took[1:]), sorted(took[1:])[len(took) // 2 - 1]
    share = f"{least * 200:.0f} % of a core at 2 Hz"
    print(f"each look: {least * 1000:.0f} ms at least, {middle * 1000:.0f} ms median; {share}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
