"""Rings read from outside while real programs use them, against what these programs count themselves."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from probing import needs_probe

import vusniff
from peers import dpdk, ovs
from peers.processes import LONGEST, Process, Stage, wait_for_socket, wait_until
from peers.requirements import require
from peers.sampled import bases, evidence, last, samples
from vusniff.analysis.rings import Doing, doing
from vusniff.cli import main
from vusniff.families.places import Places
from vusniff.families.vhost_user.places import places
from vusniff.families.vhost_user.queues import Purpose
from vusniff.record import Connection, Exit, Position
from vusniff.sources.rings.access import Access
from vusniff.sources.rings.reader import RingReader

pytestmark = [pytest.mark.xdist_group("peers"), pytest.mark.timeout(LONGEST)]
RINGS = {
    "split": "",
    "split-mergeable-in-order": ",mrg_rxbuf=1,in_order=1",
    "packed": ",packed_vq=1,mrg_rxbuf=0",
    "packed-in-order": ",packed_vq=1,mrg_rxbuf=0,in_order=1",
}
PACKETS = 200
"""How many are waited for on a switch."""
PACKET = 64
"""Bytes of those that testpmd sends."""
SWITCH = [
    *([] if os.geteuid() == 0 else ["root"]),
    *(f"package {package}" for file, package in ovs.PROGRAMS if not file.exists()),
    *(["package dpdk-dev"] if shutil.which("dpdk-testpmd") is None else []),
]
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


def start(stage: Stage, options: str, pairs: int, *words: str, front_listens: bool = False) -> Pair:
    """With ``front_listens`` the front-end waits for back-ends, of which another may come."""
    front, back, capture = stage.path("front.sock"), stage.path("back.sock"), stage.path("seen.pcapng")
    sides = ["--connect", front, "--listen", back] if front_listens else ["--listen", front, "--connect", back]
    command = [sys.executable, "-m", "vusniff", "proxy", *map(str, sides), "-w", str(capture), "--quiet", *words]
    proxy = stage.start("proxy", command)
    wait_for_socket(back if front_listens else front, proxy)
    port = dpdk.virtio_user_port(front, pairs=pairs, listen=front_listens) + options
    if front_listens:
        frontend = dpdk.Testpmd(stage, "frontend", port, pairs=pairs)
        wait_for_socket(front, frontend.process)
        backend = connected(stage, "backend", pairs)
    else:
        backend = dpdk.Testpmd(stage, "backend", dpdk.vhost_port(back, pairs=pairs, connect=False), pairs=pairs)
        wait_for_socket(back, backend.process)
        frontend = dpdk.Testpmd(stage, "frontend", port, pairs=pairs)
    backend.process.wait_line(dpdk.READY)
    return Pair(frontend, backend, proxy, capture)


def connected(stage: Stage, name: str, pairs: int) -> dpdk.Testpmd:
    """A back-end that connects."""
    return dpdk.Testpmd(stage, name, dpdk.vhost_port(stage.path("back.sock"), pairs=pairs, connect=True), pairs=pairs)


def readers(pair: Pair, found: Places) -> Iterator[RingReader]:
    """By what the front-end holds, and by its addresses where nothing says which file they are in."""
    pids = [pair.frontend.process.pid, pair.backend.process.pid]
    yield RingReader(found, Access(), pids)
    if os.geteuid() == 0:
        yield RingReader(found, Access(), pids[1:])


def as_counted(pair: Pair) -> list[Position]:
    """Where the rings stand, which is what the back-end has counted, whichever way they are read."""
    received, sent = pair.counted()
    for reader in readers(pair, pair.places()):
        assert reader.reasons == {}
        rings = reader.positions()
        modulus = rings[0].size if rings[0].packed else 1 << 16
        assert sum(one.used for one in rings if one.ring % 2) % modulus == received % modulus
        assert sum(one.used for one in rings if one.ring % 2 == 0) % modulus == sent % modulus
    return rings


@pytest.mark.parametrize("name", ["split-mergeable-in-order", "packed-in-order"])
def test_used_indexes_are_what_the_back_end_counts(name: str) -> None:
    require(TESTPMD)
    with Stage() as stage:
        pair = start(stage, RINGS[name], 1)
        pair.backend.tell("start")
        pair.frontend.tell("start tx_first")
        pair.backend.wait_received()
        found = pair.places()
        assert len(found.rings) == 2
        assert found.unreadable == ()
        for reader in readers(pair, found):
            assert reader.reasons == {}
            before = reader.positions()
            wait_until(lambda before=before, reader=reader: moved(before, reader.positions()), "rings that move")  # type: ignore[misc]
            assert all(position.in_flight <= position.size for position in reader.positions())
        as_counted(pair)


def move(capture: Path, connection: int = 1) -> bool:
    """Whether all four rings have moved, by the last samples."""
    return all((one := last(capture, number, connection)) and one.moved_ns is not None for number in range(4))


def has_no_buffers(position: Position | None) -> bool:
    return position is not None and doing(position, Purpose.FILLED) is Doing.NO_BUFFERS


def waits(capture: Path) -> list[int]:
    """The transmit rings that wait, by the last samples."""
    found = {ring: last(capture, ring) for ring in (1, 3)}
    return [ring for ring, position in found.items() if position is not None and position.waiting_ns is not None]


def waits_and_goes_on(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    """Its back-end stands still, which is told; what waits are the packets of testpmd; it goes on, which is told."""
    pair.backend.process.send_signal(signal.SIGSTOP)
    wait_until(lambda: waits(pair.capture) != [], "a sample of a ring that waits")
    (waiting, *_) = waits(pair.capture)
    assert main(["rings", str(pair.capture), "--dump", "2", "--json"]) == 0
    dumped = {one["ring"]: one for one in map(json.loads, capsys.readouterr().out.splitlines())}
    assert dumped.keys() == {0, 1, 2, 3}
    assert len(dumped[waiting]["chains"]) == min(dumped[waiting]["waiting"], 2) > 0
    for chain in dumped[waiting]["chains"]:
        assert (chain["header"]["gso_type"], chain["header"]["hdr_len"], chain["problem"]) == (0, 0, None)
        assert sum(one["bytes"] for one in chain["descriptors"] if not one["writable"]) == PACKET + 12
    room = dumped[0]["chains"]
    assert all(chain["header"] is None and all(one["writable"] for one in chain["descriptors"]) for chain in room)
    pair.backend.process.send_signal(signal.SIGCONT)
    wait_until(lambda: not waits(pair.capture), "a sample of a ring that goes on")


def test_rings_move_wait_go_on_and_have_no_buffers(capsys: pytest.CaptureFixture[str]) -> None:
    """Split rings. At the end the front-end takes nothing out any more, and the back-end fills all it was given."""
    require(TESTPMD)
    with Stage() as stage:
        pair = start(stage, RINGS["split"], 2, "--rings=50")
        pair.backend.tell("start")
        pair.frontend.tell("start tx_first")
        pair.backend.wait_received()
        wait_until(lambda: move(pair.capture), "moving rings")
        waits_and_goes_on(pair, capsys)
        as_counted(pair)
        pair.backend.tell("set fwd txonly")
        pair.backend.tell("start")
        wait_until(lambda: all(has_no_buffers(last(pair.capture, ring)) for ring in (0, 2)), "a driver without buffers")
        final = RingReader(pair.places(), Access(), [pair.frontend.process.pid]).positions()
        pair.frontend.quit()
        pair.backend.quit()
        pair.proxy.send_signal(signal.SIGTERM)
        assert pair.proxy.wait_exit() == 0, pair.proxy.tail()
        assert {one.ring: one.used for one in final} == bases(pair.capture)
        assert all(sample.unreadable == () for sample in samples(pair.capture))


def test_rings_after_their_back_end_was_killed(capsys: pytest.CaptureFixture[str]) -> None:
    """Packed rings, and a front-end that waits for the next back-end: what was read before is forgotten."""
    require(TESTPMD)
    with Stage() as stage:
        pair = start(stage, RINGS["packed"], 2, "--rings=50", front_listens=True)
        pair.backend.tell("start")
        pair.frontend.tell("start tx_first")
        pair.backend.wait_received()
        wait_until(lambda: move(pair.capture), "moving rings")
        waits_and_goes_on(pair, capsys)
        pair.backend.process.send_signal(signal.SIGKILL)
        pair.backend.process.wait_exit()
        pair.backend = connected(stage, "another", 2)
        pair.frontend.process.wait_line("reconnection succeeds")
        pair.frontend.tell("stop")
        pair.backend.process.wait_line(dpdk.READY)
        pair.backend.tell("start")
        pair.frontend.tell("start tx_first")
        pair.backend.wait_received()
        wait_until(lambda: all(last(pair.capture, ring, 2) for ring in range(4)), "rings of the other back-end")
        final = as_counted(pair)
        wait_until(
            lambda: all((one := last(pair.capture, p.ring, 2)) and one.used == p.used for p in final), "last positions"
        )
        killed = [one for one in evidence(pair.capture) if isinstance(one, Exit)]
        assert [one.signal for one in killed] == [signal.SIGKILL]
        of_first = [sample.ends[0][0] == 1 for sample in samples(pair.capture)]
        assert of_first == sorted(of_first, reverse=True), "the rings of the first session are read no more"


def moved(before: list[Position], now: list[Position]) -> bool:
    return all(old.used != new.used or old.in_flight != new.in_flight for old, new in zip(before, now, strict=True))


@needs_probe
def test_two_devices_on_a_switch() -> None:
    """Two virtio_user that forward to each other through Open vSwitch, which counts what it takes and gives."""
    require(SWITCH)
    with Stage() as stage:
        fronts, capture = [stage.path("one.sock"), stage.path("two.sock")], stage.path("seen.pcapng")
        words = ["capture", "--record-only", *(f"--path={one}" for one in fronts), "-w", str(capture), "--rings=50"]
        probe = stage.start("probe", [sys.executable, "-m", "vusniff", *words])
        ports = [dpdk.virtio_user_port(front, pairs=1, listen=True) for front in fronts]
        ends = [dpdk.Testpmd(stage, one.stem, port, pairs=1) for one, port in zip(fronts, ports, strict=True)]
        switch = ovs.Switch(stage)
        probe.wait_line("attached by")
        for front, one in zip(fronts, ends, strict=True):
            wait_for_socket(front, one.process)
            switch.add_port(front.stem, front)
        switch.process.wait_line(dpdk.READY, 2)
        ends[0].tell("start")
        ends[1].tell("start tx_first")
        wait_until(lambda: all(switch.counted(one.stem)[0] > PACKETS for one in fronts), "packets on both ports")
        for one in ends:
            one.tell("stop")
        wait_until(lambda: all(as_the_switch(capture, one, switch) for one in fronts), "counts")
        for one in ends:
            one.quit()
        probe.send_signal(signal.SIGINT)
        assert probe.wait_exit() == 0, probe.tail()
        assert [sample.unreadable for sample in samples(capture) if sample.unreadable] == []


def as_the_switch(capture: Path, front: Path, switch: ovs.Switch) -> bool:
    """Whether the rings stand where the switch has counted to."""
    numbers = [one.id for one in evidence(capture) if isinstance(one, Connection) and one.path == str(front)]
    rings = [last(capture, ring, number) for number in numbers for ring in (1, 0)]
    counted = switch.counted(front.stem)
    return [one.used for one in rings if one is not None] == [count & 0xFFFF for count in counted]
