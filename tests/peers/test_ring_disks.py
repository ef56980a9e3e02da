"""Rings of disks, read from outside while firmware or Linux drives them: huge pages, event indexes, migration."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from probing import why_no_probe

import vusniff
from peers import linux, qemu
from peers.processes import LONGEST, Process, Stage, wait_for_socket, wait_until
from peers.requirements import require
from peers.sampled import bases, evidence, last, samples
from vusniff.cli import main
from vusniff.families.vhost_user.places import places
from vusniff.record import RingDump
from vusniff.sources.rings.access import Access
from vusniff.views import chains

pytestmark = [pytest.mark.xdist_group("peers"), pytest.mark.timeout(LONGEST)]
MACHINE = [
    f"package {package}"
    for program, package in (("qemu-system-x86_64", "qemu-system-x86"), ("qemu-storage-daemon", "qemu-system-common"))
    if shutil.which(program) is None
]
READ_FOR_EVER = bytes.fromhex("31c08ed88ec0b80802bb007eb90200ba8000cd13ebf0")
"""A boot sector: int 13h reads eight sectors, and again."""
SLOW = 1 << 12
"""Bytes a second of a migration that lasts until it is let go on: zero pages alone are 300 KB."""


def kick(capture: Path) -> str:
    """Identity of the kick descriptor of ring 0."""
    timeline = vusniff.open_capture(capture)
    state = timeline.state(len(timeline) - 1)
    timeline.index.close()
    (ring,) = (one for one in places(state).rings if one.index == 0)
    assert ring.kick is not None
    return str(ring.kick.identity)


def unread(pid: int, identity: str) -> int:
    """What a process has not read of an event descriptor, as the kernel tells (proc_pid_fdinfo(5))."""
    said = [one.read_text() for one in Path(f"/proc/{pid}/fdinfo").iterdir()]
    (facts,) = (one for one in said if re.search(rf"eventfd-id:\s*{identity.partition(':')[2]}\n", one))
    return int(re.findall(r"eventfd-count:\s*(\w+)", facts)[0], 16)


def serve(stage: Stage, disk: Path, name: str = "") -> tuple[Path, Path, list[Process]]:
    """A back-end for a disk, and a proxy before it: where a front-end connects, the capture, and both."""
    front, back, capture = (stage.path(one + name) for one in ("front.sock", "back.sock", "seen.pcapng"))
    backend = stage.start(f"backend{name}", qemu.storage_daemon(disk, back))
    wait_for_socket(back, backend)
    sides = ["--listen", str(front), "--connect", str(back), "-w", str(capture), "--quiet", "--rings=50"]
    proxy = stage.start(f"proxy{name}", [sys.executable, "-m", "vusniff", "proxy", *sides])
    wait_for_socket(front, proxy)
    return front, capture, [backend, proxy]


def read_for_ever(stage: Stage) -> Path:
    """A disk whose boot sector reads it."""
    disk = stage.path("disk.img")
    disk.write_bytes(READ_FOR_EVER.ljust(510, b"\0") + b"\x55\xaa" + bytes((4 << 20) - 512))
    return disk


def end(capture: Path, backend: Process, proxy: Process) -> None:
    """All that was said is in the capture afterwards."""
    backend.end()
    proxy.send_signal(signal.SIGTERM)
    assert proxy.wait_exit() == 0, proxy.tail()
    assert all(sample.unreadable == () for sample in samples(capture))


def test_a_disk_that_is_read_and_not_served_while_its_back_end_stands_still(capsys: pytest.CaptureFixture[str]) -> None:
    """QEMU with huge pages and qemu-storage-daemon: SeaBIOS drives a disk; GET_VRING_BASE gives the index it read."""
    require(MACHINE)
    with qemu.huge_pages(qemu.SMALL) as huge, Stage() as stage:
        front, capture, (backend, proxy) = serve(stage, read_for_ever(stage))
        machine = qemu.block_machine(stage, front, queues=2, huge=huge)
        wait_until(lambda: capture.exists() and used(capture) > 50, "a disk that is read")
        if why_no_probe() is None:
            seen_late(front)
        backend.send_signal(signal.SIGSTOP)
        wait_until(lambda: bool((one := last(capture, 0)) and one.waiting_ns), "a request that waits")
        waits = last(capture, 0)
        assert waits is not None
        assert waits.in_flight > 0
        assert waits.unread_kicks == unread(backend.pid, kick(capture))
        dumped = stage.path("dumped.pcapng")
        assert main(["rings", str(capture), "--dump", "4", "--store", str(dumped), "--json"]) == 0
        capsys.readouterr()
        (dump,) = [one for one in evidence(dumped) if isinstance(one, RingDump)]
        header = chains.header_of(dump, dump.chains[0])
        assert (header["type_name"], header["sector"]) == ("IN", 1), "int 13h reads from the second sector on"
        lengths = [(piece.length, piece.writable) for piece in dump.chains[0].pieces]
        assert lengths == [(16, False), (8 * 512, True), (1, True)]
        backend.send_signal(signal.SIGCONT)
        wait_until(lambda: bool((one := last(capture, 0)) and one.moved_ns == 0), "a request that was answered")
        machine.quit()
        end(capture, backend, proxy)
        final = last(capture, 0)
        assert final is not None
        assert (bases(capture)[0] - final.used) & 0xFFFF < 0x8000, "the used index only grows"


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


def used(capture: Path) -> int:
    position = last(capture, 0)
    return position.used if position is not None else 0


def test_a_linux_guest_with_event_indexes() -> None:
    """It counts what it has read; when all is still, each side wants to be told of the next one."""
    require([*linux.missing(), *MACHINE])
    with Stage() as stage:
        front, capture, (backend, proxy) = serve(stage, read_for_ever(stage))
        machine = linux.block_machine(stage, front)
        reads = int(re.findall(linux.COMPLETED, machine.process.wait_line(linux.COMPLETED))[0])
        assert reads > linux.READS
        wait_until(lambda: used(capture) == reads, f"a used index of {reads}")
        final = last(capture, 0)
        assert final is not None
        assert (final.available, final.in_flight) == (final.used, 0)
        assert (final.available_event, final.used_event) == (final.available, final.used)
        machine.quit()
        end(capture, backend, proxy)
        assert bases(capture)[0] == reads


def test_the_dirty_log_of_a_migration() -> None:
    """A machine that reads its disk moves to another QEMU: what the back-end writes is marked; rings go on there."""
    require(MACHINE)
    with Stage() as stage:
        disk, way = read_for_ever(stage), stage.path("migration.sock")
        front, capture, (backend, proxy) = serve(stage, disk)
        other_front, other_capture, (other_backend, other_proxy) = serve(stage, disk, "2")
        machine = qemu.block_machine(stage, front, queues=2)
        other = qemu.block_machine(stage, other_front, queues=2, comes_from=way)
        wait_until(lambda: capture.exists() and used(capture) > 50, "a disk that is read")
        wait_for_socket(way, other.process)
        machine.monitor.ask("migrate-set-parameters", **{"max-bandwidth": SLOW})
        machine.monitor.ask("migrate", uri=f"unix:{way}")
        wait_until(lambda: any(sample.dirty_pages for sample in samples(capture)), "marked pages")
        marked, used_ring = dirty_pages(capture, machine.process.pid)
        assert marked >= {0x7E00 >> 12, 0x8E00 - 1 >> 12, used_ring >> 12}
        assert [one.dirty_pages for one in samples(capture) if one.dirty_pages][-1] <= len(marked)
        machine.monitor.ask("migrate-set-parameters", **{"max-bandwidth": 1 << 30})
        machine.wait_info("info migrate", "completed")
        (base, *_) = bases(capture).values()
        wait_until(lambda: bool((one := last(other_capture, 0)) and one.moved_ns == 0), "rings that move there")
        there = last(other_capture, 0)
        assert there is not None
        assert 0 < (there.used - base) & 0xFFFF < 0x8000
        machine.quit()
        end(capture, backend, proxy)
        other.quit()
        end(other_capture, other_backend, other_proxy)


def dirty_pages(capture: Path, pid: int) -> tuple[set[int], int]:
    """Pages that are marked in the dirty log now, and the guest address of the used ring."""
    timeline = vusniff.open_capture(capture)
    state = timeline.state(len(timeline) - 1)
    timeline.index.close()
    log, access = places(state).dirty_log, Access()
    assert log is not None
    bits = int.from_bytes(access.buffer(log, [pid])(0, log.size)(), "little")
    access.close()
    assert state.vrings[0].addresses is not None
    return {page for page in range(bits.bit_length()) if bits >> page & 1}, state.vrings[0].addresses.value.log
