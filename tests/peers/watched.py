"""Runs of a pair that several tests look at: a run of real programs takes seconds, and reading its captures does not.

A probe watches where there can be one; where there cannot, the run is the same without it.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from probing import why_no_probe

from peers.conversation import import_logs, read
from peers.pairs import Pair, Wire
from peers.processes import Process, Stage, wait_until
from peers.proxied import run_through_proxy

STACKS = ("qemu-testpmd",)
"""Pairs whose call stacks are captured when they talk directly."""


class Probed(NamedTuple):
    """A probe that has ended, and what it captured."""

    process: Process
    seen: list[dict[str, Any]]


class Run(NamedTuple):
    """A run of a pair that has ended."""

    stage: Stage
    wire: Wire
    seen: list[dict[str, Any]]
    """What the capture of the proxy holds; empty without one."""
    probes: list[Probed]
    """Of the front-end's and the back-end's socket with a proxy, of the only one without; empty where none can be."""
    traced: dict[str, list[dict[str, Any]]]
    """What strace saw with a proxy, by role."""


@dataclass(slots=True)
class Runs:
    """One run of each pair directly, and one under strace through the proxy, made when a test first asks for it."""

    _open: ExitStack
    _made: dict[tuple[str, bool], Run] = field(default_factory=dict)

    def directly(self, pair: Pair) -> Run:
        return self._made.get((pair.name, False)) or self._run(pair, False)

    def proxied(self, pair: Pair) -> Run:
        return self._made.get((pair.name, True)) or self._run(pair, True)

    def _run(self, pair: Pair, proxied: bool) -> Run:
        stage = self._open.enter_context(Stage())
        more = ("--stacks",) if pair.name in STACKS and not proxied else ()
        sides = ("front", "back") if proxied else ("vhost",)
        started = [] if _no_probe() else [_start(stage, side, *more) for side in sides]
        if proxied:
            capture = stage.path("proxy.pcapng")
            wire = run_through_proxy(pair, stage, capture, traced=True)
            seen = read(capture)
        else:
            seen, path = [], stage.path("vhost.sock")
            wire = Wire(stage, path, path)
            pair.run(wire)
            for _, capture in started:
                _wait_for_ends(capture, pair.connections)
        probes: list[Probed] = []
        for process, capture in started:
            process.send_signal(signal.SIGINT)
            assert process.wait_exit() == 0, process.tail()
            probes.append(Probed(process, read(capture)))
        stage.end()
        traced = {role: _imported(stage, role, logs) for role, logs in wire.traces.items() if logs}
        return self._made.setdefault((pair.name, proxied), Run(stage, wire, seen, probes, traced))


def _no_probe() -> bool:
    return why_no_probe() is not None and os.environ.get("CI") != "true"


def _imported(stage: Stage, role: str, logs: list[Path]) -> list[dict[str, Any]]:
    capture = stage.path(f"{role}.pcapng")
    import_logs(logs, capture)
    return read(capture)


def _wait_for_ends(capture: Path, connections: int) -> None:
    wait_until(lambda: capture.read_bytes().count(b'"closed"') >= connections, "the end of the connections")


def _start(stage: Stage, side: str, *more: str) -> tuple[Process, Path]:
    capture = stage.path(f"{side}-probe.pcapng")
    words = ["capture", "--record-only", "--path", str(stage.path(f"{side}.sock")), "-w", str(capture), *more]
    probe = stage.start(f"probe-{side}", [sys.executable, "-m", "vusniff", *words])
    probe.wait_line("attached by")
    return probe, capture
