"""What a fault rule that matches nothing costs a message, in `vusniff.faults.deciding` alone.

The messages are those of one session of ``captures/qemu-testpmd.pcapng`` over and over, as of a device that is set up
again and again, and a request for features with its reply, as in bench_proxy.py. CPU time of this process, the best of
several runs. Without rules the proxy asks nothing.

usage: python bench/bench_rules.py [MESSAGES]    default 20000
"""

from __future__ import annotations

import struct
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from vusniff.capture.reader import CaptureReader
from vusniff.faults.deciding import RuleDecider
from vusniff.faults.rule import rules_of
from vusniff.record import Connection, Frame

CAPTURE = Path(__file__).parent.parent / "captures" / "qemu-testpmd.pcapng"
TARGET_US = 5.0
RUNS = 7
RULES = (
    "vhost.request == SET_LOG_BASE : drop",
    "vhost.u64 == 77 : drop",
    "vring.index == 77 : drop",
    "vhost.mem.size == 77 : drop",
    "vhost.malformed : drop",
    "fd.count > 7 : drop",
    "vhost.size > 5000 : drop",
    "vhost.latency > 1000s : drop",
    "state.regions > 30 : drop",
    "state.vring == stopped && state.regions > 30 : drop",
    "state.phase == postcopy : drop",
)


def session() -> list[Frame]:
    """The messages of a session's main channel."""
    with CaptureReader(CAPTURE) as reader:
        found = [one for one in reader.records() if isinstance(one, Frame)]
    return [one for one in found if one.connection == found[0].connection]


def questions() -> list[Frame]:
    """One request and its reply."""
    asked = struct.pack("=IIIQ", 1, 1, 8, 0)
    return [Frame(1, 0, 1, asked), Frame(1, 1, 2, struct.pack("=IIIQ", 1, 5, 8, 0))]


def cost(rule: str, frames: Sequence[Frame], count: int) -> float:
    """Microseconds of CPU a message."""
    found = []
    for _ in range(RUNS):
        decider = RuleDecider(rules_of([rule], ()), 1, lambda _: None)
        number = decider.opened(Connection(1, "/run/vm.sock"))
        rounds, decide = max(count // len(frames), 1), decider.decide
        began = time.process_time()
        for _ in range(rounds):
            for frame in frames:
                decide(number, frame)
        found.append((time.process_time() - began) / rounds / len(frames) * 1e6)
    return min(found)


def main(count: int) -> int:
    """Prints the figures; 1 when a rule costs more than it may."""
    streams = {"a session": session(), "a question": questions()}
    costs = {rule: [cost(rule, frames, count) for frames in streams.values()] for rule in RULES}
    print(f"{'us of CPU a message':54}" + "".join(f"{name:>12}" for name in streams))
    for rule, figures in costs.items():
        print(f"{rule:54}" + "".join(f"{figure:12.1f}" for figure in figures))
    good = max(figure for figures in costs.values() for figure in figures) <= TARGET_US
    print(f"target: {TARGET_US:g} us: {'reached' if good else 'missed'}")
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000))
