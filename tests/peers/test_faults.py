"""Fault rules between real programs: what the other side makes of a bad day, and whom a verdict blames for it."""

from __future__ import annotations

import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from peers import dpdk, qemu
from peers.conversation import read
from peers.processes import LONGEST, Process, Stage, wait_for_socket
from peers.requirements import require
from vusniff.analysis.timeline import Timeline, read_all
from vusniff.capture.index import Index
from vusniff.capture.reader import CaptureReader
from vusniff.checks.story import verdicts
from vusniff.checks.verdict import Verdict
from vusniff.record import Fault

pytestmark = [
    pytest.mark.xdist_group("peers"),
    pytest.mark.timeout(LONGEST),
]

TESTPMD = [] if shutil.which("dpdk-testpmd") else ["dpdk-testpmd (package dpdk)"]
MACHINE = [
    f"{program} (package {package})"
    for program, package in (("qemu-system-x86_64", "qemu-system-x86"), ("qemu-storage-daemon", "qemu-system-common"))
    if shutil.which(program) is None
]


def proxy(stage: Stage, *rules: str) -> tuple[Path, Path, Path, Process]:
    """A proxy with rules: where the front-end and the back-end meet it, its capture, and itself."""
    front, back, capture = (stage.path(name) for name in ("front.sock", "back.sock", "seen.pcapng"))
    words = ["--listen", str(front), "--connect", str(back), "-w", str(capture), "--quiet"]
    words += [f"--rule={rule}" for rule in rules]
    process = stage.start("proxy", [sys.executable, "-m", "vusniff", "proxy", *words])
    wait_for_socket(front, process)
    return front, back, capture, process


def ended(process: Process) -> None:
    process.send_signal(signal.SIGTERM)
    assert process.wait_exit() == 0, process.tail()


def faults(capture: Path) -> list[Fault]:
    with CaptureReader(capture) as reader:
        return [one for one in reader.records() if isinstance(one, Fault)]


def judged(capture: Path) -> Verdict:
    with Index(capture) as index:
        timeline = Timeline(index)
        read_all(timeline, judge=True)
        timeline.conclude()
        return verdicts(timeline.checker, index.time_ns[-1])[0]


def times(messages: list[dict[str, Any]], name: str, reply: bool = False) -> list[dict[str, Any]]:
    return [one for one in messages if one["name"] == name and one["reply"] is reply]


def test_virtio_user_that_is_told_of_a_feature_less_takes_it_less() -> None:
    """testpmd with a vhost port and virtio-user: an address that comes late, and another offer."""
    require(TESTPMD)
    with Stage() as stage:
        front, back, capture, between = proxy(
            stage,
            "vhost.request == SET_VRING_ADDR @1 : delay 50ms",
            "vhost.features && vhost.reply == 1 : clear vhost.features MRG_RXBUF",
        )
        backend = dpdk.Testpmd(stage, "backend", dpdk.vhost_port(back, pairs=1, connect=False), pairs=1)
        wait_for_socket(back, backend.process)
        frontend = dpdk.Testpmd(stage, "frontend", dpdk.virtio_user_port(front, pairs=1), pairs=1)
        backend.process.wait_line(dpdk.READY)
        frontend.quit()
        backend.quit()
        ended(between)
        messages, verdict = read(capture), judged(capture)
    offered = times(messages, "GET_FEATURES", True)
    assert offered
    assert all("VIRTIO_NET_F_MRG_RXBUF" in one["payload"]["u64_names"] for one in offered)
    taken = times(messages, "SET_FEATURES")
    assert not any("VIRTIO_NET_F_MRG_RXBUF" in one["payload"]["u64_names"] for one in taken)
    assert verdict.side is None
    assert "The proxy did this on request, by rule" in verdict.sentence


def test_a_disk_whose_back_end_answers_late() -> None:
    """QEMU and qemu-storage-daemon: a late config space, addresses in pieces, and a size that comes twice."""
    require(MACHINE)
    with Stage() as stage:
        front, back, capture, between = proxy(
            stage,
            "vhost.request == GET_CONFIG && vhost.reply == 1 @1 : delay 300ms",
            "vhost.request == SET_VRING_ADDR : split 4",
            "vhost.request == SET_VRING_NUM @1 : delay 50ms, repeat 1",
        )
        disk = stage.path("disk.img")
        qemu.write_boot_disk(disk)
        backend = stage.start("backend", qemu.storage_daemon(disk, back))
        wait_for_socket(back, backend)
        machine = qemu.block_machine(stage, front, queues=1)
        machine.wait_info(
            "info virtio-status /machine/peripheral-anon/device[0]/virtio-backend", "started:                 true"
        )
        machine.quit()
        backend.end()
        ended(between)
        messages, verdict, done = read(capture), judged(capture), faults(capture)
    reply = times(messages, "GET_CONFIG", True)[0]
    after = next(one for one in messages if one["number"] > reply["number"] and one["sender"] == "frontend")
    assert after["time_ns"] - reply["time_ns"] >= 300_000_000
    assert {one.rule for one in done} >= {1, 2, 3}
    assert verdict.side is None
    assert not verdict.trouble, verdict.sentence
