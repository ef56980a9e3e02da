"""How fast a capture is written, indexed and read, and how that compares with other pcapng libraries in the same run.

usage: python bench/bench_index.py [FILE]     FILE: a capture; without one, a synthetic one of a million messages

CPU time, best of five. dpkt and python-pcapng are timed on the same file when they are installed; they read it as
packets without looking at messages, which is less than what the index does.
"""

from __future__ import annotations

import io
import itertools
import os
import resource
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from captures import synthetic
from vusniff.capture.index import Index
from vusniff.capture.reader import CaptureReader
from vusniff.capture.writer import CaptureWriter
from vusniff.record import Descriptor, DescriptorKind, Facts, Frame

ROUNDS = 5
PEER_PACKETS = 100_000
"""As many packets as the slower libraries are given."""


def cpu(run: Callable[[], int]) -> tuple[int, float]:
    """What a run counted, and its CPU seconds, best of `ROUNDS`."""
    best, count = float("inf"), 0
    for _ in range(ROUNDS):
        start = time.process_time()
        count = run()
        best = min(best, time.process_time() - start)
    return count, best


def show(what: str, count: int, seconds: float, ratio: float | None = None) -> float:
    """Prints one line; returns messages per second."""
    rate = count / seconds
    beside = f"   vusniff is {ratio / rate:.1f} times as fast" if ratio else ""
    print(f"{what:44} {count:9,} messages {seconds:7.2f} s {rate / 1e3:9,.0f} k/s {1e6 / rate:7.2f} us each{beside}")
    return rate


def peak() -> float:
    """Peak resident MB so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def index(path: Path) -> int:
    with Index(path) as opened:
        return opened.update()


def first_screen(path: Path) -> int:
    with Index(path) as opened:
        opened.update(60)
        return sum(1 for _ in opened.frames(0, 60))


def batches(path: Path, data: bool) -> int:
    with CaptureReader(path) as reader:
        return sum(len(batch) for batch in reader.batches(data=data))


def sequential(path: Path) -> int:
    with Index(path) as opened:
        opened.update(PEER_PACKETS)
        return sum(1 for _ in opened.frames())


def write(path: Path, fds: tuple[Descriptor, ...], count: int = 200_000) -> int:
    """Messages of 20 bytes, each handed to the kernel, as the proxy does."""
    data = struct.pack("<III", 13, 1, 8) + bytes(8)
    frames = [Frame(1, 0, synthetic.START_NS + number, data, Facts(fds)) for number in range(1000)]
    with CaptureWriter(path, source="bench") as writer:
        writer.open("/run/bench.sock")
        for frame in itertools.islice(itertools.cycle(frames), count):
            writer.frame(frame)
            writer.flush()
    return count


def peers(path: Path, packets: list[bytes], read_rate: float, write_rate: float) -> None:
    """The same with other libraries, where they are installed."""
    try:
        import dpkt  # type: ignore[import-not-found]
    except ImportError:
        print("dpkt is not installed: not compared (pip install dpkt)")
    else:

        def dpkt_write() -> int:
            writer: Any = dpkt.pcapng.Writer(io.BytesIO(), linktype=252)
            for packet in packets:
                writer.writepkt(packet, 1.5)
            return len(packets)

        def dpkt_read() -> int:
            with open(path, "rb") as file:
                return sum(1 for _ in itertools.islice(dpkt.pcapng.Reader(file), PEER_PACKETS))

        show("dpkt: read packets", *cpu(dpkt_read), read_rate)
        show("dpkt: write packets, without options", *cpu(dpkt_write), write_rate)
    try:
        import pcapng  # type: ignore[import-not-found]
    except ImportError:
        print("python-pcapng is not installed: not compared (pip install python-pcapng)")
        return

    def pcapng_read() -> int:
        with open(path, "rb") as file:
            blocks = (block for block in pcapng.FileScanner(file) if isinstance(block, pcapng.blocks.EnhancedPacket))
            return sum(1 for block in itertools.islice(blocks, PEER_PACKETS) if block.packet_data)

    def pcapng_write() -> int:
        header: Any = pcapng.blocks.SectionHeader()
        header.new_member(pcapng.blocks.InterfaceDescription, link_type=252)
        writer = pcapng.FileWriter(io.BytesIO(), header)
        for packet in packets:
            block = header.new_member(pcapng.blocks.EnhancedPacket)
            block.packet_data, block.timestamp = packet, 1.5
            writer.write_block(block)
        return len(packets)

    show("python-pcapng: read packets", *cpu(pcapng_read), read_rate)
    show("python-pcapng: write packets, without options", *cpu(pcapng_write), write_rate)


def main(arguments: list[str]) -> int:
    """Prints the figures."""
    with tempfile.TemporaryDirectory() as folder:
        if arguments:
            path = Path(arguments[0])
        else:
            path = Path(folder) / "million.pcapng"
            start = time.process_time()
            count = synthetic.million(path)
            show("make the synthetic capture", count, time.process_time() - start)
        print(f"{path.name}: {os.path.getsize(path) / 1e6:.0f} MB")
        before = peak()
        with Index(path) as opened:
            count = opened.update()
        more = peak() - before
        print(f"index in memory: {more:.0f} MB more at its peak, {more * 2**20 / count:.0f} bytes a message")
        show("open, index and read the first screen", *cpu(lambda: first_screen(path)))
        index_rate = show("index", *cpu(lambda: index(path)))
        show("stream of columns", *cpu(lambda: batches(path, data=False)))
        read_rate = show("stream of columns with bytes and options", *cpu(lambda: batches(path, data=True)))
        show("frames by number, in order, and their index", *cpu(lambda: sequential(path)))
        target = Path(folder) / "written.pcapng"
        fds = (Descriptor(DescriptorKind.EVENTFD, "eventfd:7", 33),)
        write_rate = show("write and flush each, no descriptors", *cpu(lambda: write(target, ())))
        show("write and flush each, one descriptor", *cpu(lambda: write(target, fds)))
        packets = [b"\0" * 132] * (PEER_PACKETS // 4)
        peers(path, packets, read_rate, write_rate)
        print(f"index: {index_rate / 1e6:.2f} M messages/s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
