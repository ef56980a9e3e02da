"""A week of a host with many devices, as fast as it can be written: memory must stay flat.

usage: python bench/bench_weeks.py [MESSAGES [CONNECTIONS [WAY]]]

Default: 10,000,000 messages on 50,000 connections, to one capture file (one), to one file a session (sessions:
--per-session, --keep 1G), and to files that take turns (turns: -C 100M -W 4). 500 connections are open at any time. For
each: microseconds a message, and resident memory after each tenth of the messages.
"""

from __future__ import annotations

import os
import struct
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from vusniff.capture.output import DescriptorOutput, open_path
from vusniff.capture.recording import Recording
from vusniff.capture.rotation import FileNames, Rotation, Turn
from vusniff.capture.sessions import SessionFiles
from vusniff.capture.writer import CaptureWriter
from vusniff.record import Closed, End, Frame, Process

MESSAGES, CONNECTIONS = 10_000_000, 50_000
OPEN = 500
FLUSH = 64
"""Messages between two flushes, as of a busy probe."""


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def messages(count: int) -> list[bytes]:
    """What one connection says, over and over: rings that are set up, started and stopped."""
    made = []
    for number in range(count):
        request = (8, 9, 10, 12, 13, 18, 11)[number % 7]
        size = {9: 40, 12: 8, 13: 8}.get(request, 8)
        payload = struct.pack("<II", number // 7 % 4, 0) + bytes(size - 8)
        made.append(struct.pack("<III", request, 1, size) + payload)
    return made


def play(recording: Recording, total: int, connections: int) -> tuple[float, list[int]]:
    """Seconds, and memory after each tenth."""
    said = messages(total // connections)
    going: deque[tuple[int, int]] = deque()
    used: list[int] = []
    written = opened = 0
    start = time.perf_counter()
    while opened < connections or going:
        while len(going) < OPEN and opened < connections:
            opened += 1
            ends = (
                End(2 * opened, Process(opened, "qemu-system-x86", label=f"vm{opened % 500} net0")),
                End(2 * opened + 1),
            )
            going.append((recording.open(f"/run/{opened % 500}.sock", ends, written).id, 0))
        connection, at = going.popleft()
        for data in said[at : at + 20]:
            recording.frame(Frame(connection, 0, 10**18 + written * 60_000_000, data))
            written += 1
            if not written % FLUSH:
                recording.flush()
        if at + 20 < len(said):
            going.append((connection, at + 20))
        else:
            recording.close_connection(Closed(connection, 10**18 + written * 60_000_000, "eof", 0, len(said)))
        if written >= total * (len(used) + 1) // 10:
            used.append(resident())
    recording.close()
    return time.perf_counter() - start, used


def main() -> None:
    total = int(sys.argv[1]) if len(sys.argv) > 1 else MESSAGES
    connections = int(sys.argv[2]) if len(sys.argv) > 2 else max(1, total // (MESSAGES // CONNECTIONS))

    def begin(output: DescriptorOutput) -> CaptureWriter:
        return CaptureWriter(output, source="bench")

    def one(folder: str) -> Recording:
        return begin(open_path(f"{folder}/c.pcapng"))

    def sessions(folder: str) -> Recording:
        return SessionFiles(folder, begin, sys.byteorder, print, 1 << 30)

    def turns(folder: str) -> Recording:
        turn = Turn(size=100 << 20, files=4)
        return Rotation(FileNames(f"{folder}/c.pcapng"), turn, lambda path: begin(open_path(path)), print)

    ways: dict[str, Callable[[str], Recording]] = {"one": one, "sessions": sessions, "turns": turns}
    if len(sys.argv) > 3:
        ways = {sys.argv[3]: ways[sys.argv[3]]}
    print(f"{total:,} messages on {connections:,} connections, {OPEN} at a time")
    for name, make in ways.items():
        with tempfile.TemporaryDirectory() as folder:
            seconds, used = play(make(folder), total, connections)
        each = seconds / total * 1e6
        curve = " ".join(f"{one / 1e6:.1f}" for one in used)
        print(f"{name:<8} {each:6.1f} us a message, memory after each tenth, MB: {curve}", flush=True)


if __name__ == "__main__":
    main()
