"""Rings read from outside while real programs use them, against what these programs count themselves."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from probing import needs_probe, why_no_probe

import vusniff
from peers import dpdk, qemu
from peers.processes import LONGEST, Process, Stage, wait_for_socket, wait_until
from peers.requirements import require
from vusniff.families.places import Places
from vusniff.families.vhost_user.places import places
from vusniff.record import Position, Sample
from vusniff.sources.rings.access import Access
from vusniff.sources.rings.reader import RingReader

pytestmark = [pytest.mark.xdist_group("peers"), pytest.mark.timeout(LONGEST)]
RINGS = {
    "split": "",
    "split-mergeable-in-order": ",mrg_rxbuf=1,in_order=1",
    "packed": ",packed_vq=1,mrg_rxbuf=0",
    "packed-in-order": ",packed_vq=1,mrg_rxbuf=0,in_order=1",
}
TESTPMD = ("package dpdk-dev",) if shutil.which("dpdk-testpmd") is None else ()


@dataclass(slots=True)
class Pair:
    """Two testpmd, which forward all they get to each other, with a proxy between them."""

    frontend: dpdk.Testpmd
    backend: dpdk.Testpmd
    proxy: Process
    capture: Path

    def places(self) -> Places:
        timeline = vusniff.open_capture(self.capture)
        found = places(timeline.state(len(timeline) - 1))
        timeline.index.close()
        return found

    def counted(self) -> tuple[int, int]:
        """Packets that the back-end has taken from, and given to, the rings, once both have stopped.

        testpmd does one command after the other and keeps what it writes until there is more: so it is asked again and
        again, until the answers behind the one that may be older are the same.
        """
        for testpmd in (self.frontend, self.backend):
            testpmd.tell("stop")
            testpmd.tell("show port info 0")
        for testpmd in (self.frontend, self.backend):
            wait_until(lambda testpmd=testpmd: stopped(testpmd), "a testpmd that has stopped")  # type: ignore[misc]
        asked = self.backend.process.count("TX-packets:")
        wait_until(lambda: told(self.backend, "show port stats 0", "TX-packets:") > asked + 1, "counters of the port")
        lines = "\n".join(self.backend.process.lines)
        received, sent = (re.findall(rf"{way}-packets:\s*(\d+)", lines)[-1] for way in ("RX", "TX"))
        return int(received), int(sent)


def told(testpmd: dpdk.Testpmd, command: str, pattern: str) -> int:
    """How often it has answered, after it was asked once more."""
    testpmd.tell(command)
    return testpmd.process.count(pattern)


def stopped(testpmd: dpdk.Testpmd) -> bool:
    return told(testpmd, "show port info 0", "Infos for port 0") > 0 and testpmd.process.count("Done") > 0


def start(stage: Stage, options: str, pairs: int, *words: str) -> Pair:
    front, back, capture = stage.path("front.sock"), stage.path("back.sock"), stage.path("seen.pcapng")
    backend = dpdk.Testpmd(stage, "backend", dpdk.vhost_port(back, pairs=pairs, connect=False), pairs=pairs)
    wait_for_socket(back, backend.process)
    sides = ["--listen", str(front), "--connect", str(back), "-w", str(capture), "--quiet", *words]
    proxy = stage.start("proxy", [sys.executable, "-m", "vusniff", "proxy", *sides])
    wait_for_socket(front, proxy)
    port = dpdk.virtio_user_port(front, pairs=pairs) + options
    frontend = dpdk.Testpmd(stage, "frontend", port, pairs=pairs)
    backend.process.wait_line(dpdk.READY)
    return Pair(frontend, backend, proxy, capture)


def readers(pair: Pair, found: Places) -> Iterator[RingReader]:
    """By what the front-end holds, and by its addresses where nothing says which file they are in."""
    pids = [pair.frontend.process.pid, pair.backend.process.pid]
    yield RingReader(found, Access(), pids)
    if os.geteuid() == 0:
        yield RingReader(found, Access(), pids[1:])


@pytest.mark.parametrize("name", RINGS)
def test_used_indexes_are_what_the_back_end_counts(name: str) -> None:
    require(TESTPMD)
    is_packed = name.startswith("packed")
    pairs = 1 if is_packed else 2
    with Stage() as stage:
        pair = start(stage, RINGS[name], pairs)
        pair.backend.tell("start")
        pair.frontend.tell("start tx_first")
        pair.backend.wait_received()
        found = pair.places()
        assert len(found.rings) == 2 * pairs
        assert found.unreadable == ()
        for reader in readers(pair, found):
            assert reader.reasons == {}
            before = reader.positions()
            wait_until(lambda before=before, reader=reader: moved(before, reader.positions()), "rings that move")  # type: ignore[misc]
            assert all(position.in_flight <= position.size for position in reader.positions())
        received, sent = pair.counted()
        for reader in readers(pair, found):
            rings = reader.positions()
            modulus = rings[0].size if is_packed else 1 << 16
            assert sum(one.used for one in rings if one.ring % 2) % modulus == received % modulus
            assert sum(one.used for one in rings if one.ring % 2 == 0) % modulus == sent % modulus
        pair.frontend.quit()
        pair.backend.quit()
        pair.proxy.send_signal(signal.SIGTERM)
        assert pair.proxy.wait_exit() == 0
        if not is_packed:
            answered = bases(pair.capture)
            assert {one.ring: one.used for one in rings} == answered


def samples(capture: Path) -> list[Sample]:
    timeline = vusniff.open_capture(capture)
    found = [one for _, one in vusniff.evidence(timeline) if isinstance(one, Sample)]
    timeline.index.close()
    return found


def last(capture: Path, ring: int) -> Position | None:
    """Where a ring stood by the last sample that tells of it."""
    told = [position for sample in samples(capture) for position in sample.rings if position.ring == ring]
    return told[-1] if told else None


def waits(capture: Path) -> list[int]:
    """The transmit rings that wait, by the last samples."""
    found = {ring: last(capture, ring) for ring in (1, 3)}
    return [ring for ring, position in found.items() if position is not None and position.waiting_ns is not None]


@pytest.mark.parametrize("name", ["split", "packed"])
def test_the_proxy_tells_that_rings_move_wait_and_go_on(name: str) -> None:
    require(TESTPMD)
    with Stage() as stage:
        pair = start(stage, RINGS[name], 2, "--rings=50")
        pair.backend.tell("start")
        pair.frontend.tell("start tx_first")
        pair.backend.wait_received()
        wait_until(lambda: all((one := last(pair.capture, n)) and one.moved_ns == 0 for n in range(4)), "moving rings")
        pair.backend.process.send_signal(signal.SIGSTOP)
        wait_until(lambda: waits(pair.capture) != [], "a sample of a ring that waits")
        waiting = waits(pair.capture)
        pair.backend.process.send_signal(signal.SIGCONT)
        wait_until(lambda: not waits(pair.capture), "a sample of a ring that goes on")
        assert waiting
        pair.counted()
        found = pair.places()
        final = RingReader(found, Access(), [pair.frontend.process.pid]).positions()
        wait_until(
            lambda: all((one := last(pair.capture, p.ring)) and one.used == p.used for p in final), "the last positions"
        )
        pair.frontend.quit()
        pair.backend.quit()
        pair.proxy.send_signal(signal.SIGTERM)
        assert pair.proxy.wait_exit() == 0, pair.proxy.tail()
        assert all(sample.unreadable == () for sample in samples(pair.capture))


@needs_probe
def test_the_probe_tells_what_the_rings_do() -> None:
    require(TESTPMD)
    with Stage() as stage:
        path, capture = stage.path("vhost.sock"), stage.path("seen.pcapng")
        words = ["capture", "--quiet", "--path", str(path), "-w", str(capture), "--rings=50"]
        probe = stage.start("probe", [sys.executable, "-m", "vusniff", *words])
        probe.wait_line("attached by")
        backend = dpdk.Testpmd(stage, "backend", dpdk.vhost_port(path, pairs=1, connect=False), pairs=1)
        wait_for_socket(path, backend.process)
        frontend = dpdk.Testpmd(stage, "frontend", dpdk.virtio_user_port(path, pairs=1), pairs=1)
        backend.process.wait_line(dpdk.READY)
        backend.tell("start")
        frontend.tell("start tx_first")
        backend.wait_received()
        wait_until(lambda: all((one := last(capture, n)) and one.moved_ns == 0 for n in range(2)), "moving rings")
        frontend.quit()
        backend.quit()
        probe.send_signal(signal.SIGINT)
        assert probe.wait_exit() == 0, probe.tail()
        assert all(sample.unreadable == () for sample in samples(capture))


def test_a_disk_that_is_read_and_not_served_while_its_back_end_stands_still() -> None:
    """QEMU with qemu-storage-daemon: SeaBIOS drives a disk; the answer to GET_VRING_BASE is the index that was read."""
    needed = {"qemu-system-x86_64": "qemu-system-x86", "qemu-storage-daemon": "qemu-system-common"}
    require([f"package {package}" for program, package in needed.items() if shutil.which(program) is None])
    with Stage() as stage:
        front, back, capture = stage.path("front.sock"), stage.path("back.sock"), stage.path("seen.pcapng")
        disk = stage.path("disk.img")
        disk.write_bytes(READ_FOR_EVER.ljust(510, b"\0") + b"\x55\xaa" + bytes((4 << 20) - 512))
        export = f"type=vhost-user-blk,id=e0,node-name=d0,addr.type=unix,addr.path={back},writable=on,num-queues=2"
        argv = ["qemu-storage-daemon", "--blockdev", f"driver=file,node-name=d0,filename={disk}", "--export", export]
        backend = stage.start("backend", argv)
        wait_for_socket(back, backend)
        sides = ["--listen", str(front), "--connect", str(back), "-w", str(capture), "--quiet", "--rings=50"]
        proxy = stage.start("proxy", [sys.executable, "-m", "vusniff", "proxy", *sides])
        wait_for_socket(front, proxy)
        machine = qemu.block_machine(stage, front, queues=2)
        wait_until(lambda: capture.exists() and used(capture) > 50, "a disk that is read")
        if why_no_probe() is None:
            seen_late(front)
        backend.send_signal(signal.SIGSTOP)
        wait_until(lambda: bool((one := last(capture, 0)) and one.waiting_ns), "a request that waits")
        waits = last(capture, 0)
        assert waits is not None
        assert waits.in_flight > 0
        backend.send_signal(signal.SIGCONT)
        wait_until(lambda: bool((one := last(capture, 0)) and one.moved_ns == 0), "a request that was answered")
        machine.quit()
        backend.end()
        proxy.send_signal(signal.SIGTERM)
        assert proxy.wait_exit() == 0, proxy.tail()
        final = last(capture, 0)
        assert final is not None
        assert (bases(capture)[0] - final.used) & 0xFFFF < 0x8000, "the used index only grows"
        assert all(sample.unreadable == () for sample in samples(capture))


def seen_late(path: Path) -> None:
    """Who comes when the disk is read already is told by QEMU's monitor where its ring is, and reads it from there."""
    words = ["top", "--json", "--for", "1s", "--filter", str(path)]
    done = subprocess.run([sys.executable, "-m", "vusniff", *words], capture_output=True, text=True, check=True)
    (device,) = map(json.loads, done.stdout.splitlines())
    assert (device["device"], device["session"]) == ("blk", None)
    assert device["words"].endswith("(from QMP)")
    (ring,) = device["rings"]
    assert ring["told_by"] == "QMP"
    assert ring["used"] > 0
    assert ring["size"] in (128, 256)  # with the firmware of Debian 12 and of Debian 13


READ_FOR_EVER = bytes.fromhex("31c08ed88ec0b80802bb007eb90200ba8000cd13ebf0")
"""A boot sector: int 13h reads eight sectors, and again."""


def used(capture: Path) -> int:
    position = last(capture, 0)
    return position.used if position is not None else 0


def moved(before: list[Position], now: list[Position]) -> bool:
    return all(old.used != new.used or old.in_flight != new.in_flight for old, new in zip(before, now, strict=True))


def bases(capture: Path) -> dict[int, int]:
    """What the back-end answered to GET_VRING_BASE."""
    timeline = vusniff.open_capture(capture)
    found = {
        message.payload["index"]: message.payload["num"]
        for message in timeline.messages()
        if message.name == "GET_VRING_BASE" and message.answers and message.payload
    }
    timeline.index.close()
    return found
