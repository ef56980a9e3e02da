"""How fast a capture is judged: state, pairing, phases and all rules; and what memory that takes beyond the index.

usage: python bench/bench_check.py [FILE]     FILE: a capture; without one, a synthetic one of a million messages

CPU time, best of three. ``full analysis`` is what `vusniff summary` does before it writes: reading, state, pairing and
all rules in one pass, then the phases. ``check`` is what `vusniff check` does, which needs no phases. The steps are
those of the terminal view, which reads first and judges meanwhile; their first run gives the memory.
"""

from __future__ import annotations

import gc
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from captures import synthetic
from vusniff.analysis.timeline import Timeline, read_all
from vusniff.capture.index import Index
from vusniff.capture.reader import CaptureReader
from vusniff.checks.table import RULES
from vusniff.cli import COLLECTIONS
from vusniff.commands.check import ROWS
from vusniff.views.findings import Judged

ROUNDS = 3


def show(what: str, count: int, seconds: float) -> float:
    """Prints one line; returns messages per second."""
    rate = count / seconds
    print(f"{what:44} {count:9,} messages {seconds:7.2f} s {rate / 1e3:7.0f} k/s {1e6 / rate:7.2f} us each")
    return rate


def resident() -> int:
    """Resident bytes now."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("/proc/self/status does not tell the resident memory")


def check(path: Path) -> int:
    """All that `vusniff check` does but writing; returns how many messages."""
    judged = Judged(RULES)
    with CaptureReader(path) as reader:
        for batch in reader.batches(max_rows=ROWS):
            judged.take(batch, reader.order)
    judged.conclude()
    return len(judged.times)


def analysed(path: Path) -> int:
    """All that is known of a capture, in one pass; returns how many messages."""
    with Index(path) as index:
        timeline = Timeline(index)
        read_all(timeline, judge=True)
        timeline.conclude()
        phases(timeline)
        return len(timeline)


def analyse(timeline: Timeline) -> None:
    while timeline.analyse(ROWS):
        pass


def phases(timeline: Timeline) -> None:
    for session in timeline.sessions:
        timeline.phases(session.number)


STEPS: tuple[tuple[str, Callable[[Timeline], None]], ...] = (
    ("timeline: index, sessions, pairing", read_all),
    ("timeline: state and rules (analyse)", analyse),
    ("timeline: phases", phases),
)


def main(arguments: list[str]) -> int:
    """Prints the figures."""
    gc.set_threshold(*COLLECTIONS)
    with tempfile.TemporaryDirectory() as folder:
        if arguments:
            path = Path(arguments[0])
        else:
            path = Path(folder) / "million.pcapng"
            synthetic.million(path)
        best = [float("inf")] * len(STEPS)
        count = 0
        for turn in range(ROUNDS):
            with Index(path) as index:
                timeline = Timeline(index)
                memory = []
                for number, (_, step) in enumerate(STEPS):
                    start = time.process_time()
                    step(timeline)
                    best[number] = min(best[number], time.process_time() - start)
                    memory.append(resident())
                count = len(timeline)
                if not turn:
                    more = max(memory) - memory[0]
                    found = len(timeline.findings)
                    print(f"{found:,} findings, {len(timeline.sessions):,} sessions")
                    print(f"memory beyond the index: {more / 1e6:.0f} MB, {more / count:.0f} bytes a message")
        for (what, _), seconds in zip(STEPS, best, strict=True):
            show(what, count, seconds)
        for what, whole in (("full analysis", analysed), ("check", check)):
            seconds = float("inf")
            for _ in range(ROUNDS):
                start = time.process_time()
                count = whole(path)
                seconds = min(seconds, time.process_time() - start)
            show(what, count, seconds)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
