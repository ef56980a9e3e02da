"""How fast filters are: one expression asked of the same messages beside other evaluators, and a whole capture.

usage: python bench/bench_filter.py [FILE]     FILE: a capture; without one, a synthetic one of a million messages

CPU time, best of three. The ceiling is a lambda written by hand for the same messages; simpleeval is timed when it is
installed. The goals: filters of header fields look at a million messages in 1 s, those of payload fields at 300,000
messages a second.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from captures import synthetic
from vusniff.analysis.timeline import Timeline, read_all
from vusniff.capture.index import Index
from vusniff.filter import compile_filter
from vusniff.filter.sieve import Around

ROUNDS = 3
EXPRESSION = 'vhost.request == SET_MEM_TABLE && (vhost.size > 20 || vhost.session == 3) && !(vhost.name contains "fs")'
HEADER = (
    "vhost.request == SET_MEM_TABLE",
    "vhost.request in {SET_VRING_CALL, SET_VRING_KICK} && vhost.size > 4",
    'sock.path contains "vm1" && vhost.sender == backend',
    'vhost.name matches "^set_vring"',
    "vhost.latency > 2us",
    EXPRESSION,
)
PAYLOAD = (
    "vhost.request == SET_MEM_TABLE && vhost.mem.num_regions > 2",
    "vring.index == 3",
    "vhost.iotlb.iova > 0x100000 && vhost.iotlb.type == UPDATE",
    "fd.kind == eventfd",
    'proc.comm contains "qemu"',
    "vhost.malformed",
    "vhost.data contains 10:00",
)


def cpu(run: Callable[[], Any]) -> float:
    """CPU seconds, best of `ROUNDS`."""
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.process_time()
        run()
        best = min(best, time.process_time() - start)
    return best


def evaluators(timeline: Timeline) -> None:
    """One expression over the same decoded messages."""
    messages = [timeline.message(row) for row in range(2000)]
    around = Around(timeline)
    match = compile_filter(EXPRESSION).match

    def by_hand(m: Any) -> bool:
        return m.request == 5 and m.channel == "main" and (m.size > 20 or m.session == 3) and "fs" not in m.name

    rates = {
        "compiled filter": len(messages) / cpu(lambda: [match(message, around) for message in messages]),
        "a lambda by hand": len(messages) / cpu(lambda: [by_hand(message) for message in messages]),
    }
    try:
        simpleeval: Any = importlib.import_module("simpleeval")
    except ImportError:
        print("simpleeval is not installed")
    else:
        text = 'request == 5 and channel == "main" and (size > 20 or session == 3) and not ("fs" in name)'
        evaluator = simpleeval.SimpleEval()
        parsed = evaluator.parse(text)
        views = [
            {name: getattr(one, name) for name in ("request", "channel", "size", "session", "name")} for one in messages
        ]

        def simple() -> None:
            for view in views:
                evaluator.names = view
                evaluator.eval(text, previously_parsed=parsed)

        rates["simpleeval, parsed once"] = len(messages) / cpu(simple)
    for name, rate in rates.items():
        print(f"{name:40} {rate / 1e3:9,.0f} k/s   {rate / rates['a lambda by hand']:6.2f} of the lambda")


def million(timeline: Timeline) -> None:
    """Whole captures, by columns and by messages."""
    count = len(timeline)
    for what, filters in (("header", HEADER), ("payload", PAYLOAD)):
        for text in filters:
            filter_ = compile_filter(text)
            seconds = cpu(lambda filter_=filter_: filter_.rows(timeline))  # type: ignore[misc]
            passed = len(filter_.rows(timeline))
            rate = count / seconds
            print(f"{what:8} {seconds * 1e3:7,.0f} ms {rate / 1e3:9,.0f} k messages/s {passed:9,} pass   {text[:70]}")


def start() -> None:
    """What the first filter costs, beside an interpreter that has imported the rest."""
    import subprocess

    program = (
        "import time; from vusniff.layouts import dissect; dissect.load(); t = time.process_time(); "
        "from vusniff.filter import compile_filter; a = time.process_time(); "
        "compile_filter('vring.index == 3'); b = time.process_time(); "
        "compile_filter('vhost.request == SET_OWNER && vhost.size > 3'); c = time.process_time(); "
        "print(f'import {(a - t) * 1e3:.0f} ms, first filter {(b - a) * 1e3:.0f} ms, next {(c - b) * 1e3:.1f} ms')"
    )
    print(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout, end="")


def main(arguments: list[str]) -> int:
    """Measures."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(arguments[0]) if arguments else Path(folder) / "million.pcapng"
        if not arguments:
            synthetic.million(path)
        timeline = Timeline(Index(path))
        read_all(timeline)
        start()
        evaluators(timeline)
        million(timeline)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
