"""Recorded sessions against real programs: recorded front-ends to real back-ends, recorded back-ends to a real QEMU.

The captures are those of the repository where there is one; what is not kept there is recorded first.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from peers import dpdk, ovs, qemu
from peers.conversation import read
from peers.pairs import PAIRS, VIRTIOFSD, Pair
from peers.processes import LONGEST, Process, Stage, wait_for_socket
from peers.proxied import run_through_proxy
from peers.requirements import require

pytestmark = [pytest.mark.xdist_group("peers"), pytest.mark.timeout(LONGEST)]

CAPTURES = Path(__file__).resolve().parents[2] / "captures"
PAIR = {pair.name: pair for pair in PAIRS}
PATIENCE = "60"


def command(capture: Path, to: str, side: str, path: Path, *words: str) -> list[str]:
    program = [sys.executable, "-m", "vusniff", "replay", str(capture), "--to", to]
    return [*program, side, str(path), "--timeout", PATIENCE, "--json", *words]


def replay(capture: Path, path: Path, *words: str, side: str = "--connect") -> dict[str, Any]:
    """Play a recorded front-end; what came of it."""
    done = subprocess.run(command(capture, "backend", side, path, *words), capture_output=True, text=True, timeout=300)
    assert done.stderr == ""
    result: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (0 if result["same"] else 1)
    return result


def of_its_version(name: str, change: dict[str, Any]) -> bool:
    """Whether later versions than those of the captures (Debian 12's) say this otherwise."""
    recorded, live = change["recorded"], change["live"]
    match name, change["field"]:
        case "GET_FEATURES", "u64":  # Open vSwitch 3.5 offers more
            return not change["removed"]
        case "GET_MAX_MEM_SLOTS", "u64":  # libvhost-user of QEMU 10: 509
            return bool(live > recorded)
        case "SET_VRING_ENABLE", "flags":  # QEMU 10 wants it acknowledged
            return (recorded, live) == ("0x1", "0x9")
        case "SET_VRING_NUM", "num":  # a disk of QEMU 10 has larger rings
            return (recorded, live) == (128, 256)
    return False


def changed(result: dict[str, Any]) -> list[tuple[str, str, Any, Any]]:
    """Fields that differ beyond the versions of the programs: request, field, recorded, live."""
    return [
        (one["name"], change["field"], change["recorded"], change["live"])
        for one in result["differences"]
        for change in one["changes"]
        if not of_its_version(one["name"], change)
    ]


def all_the_same(result: dict[str, Any]) -> bool:
    """Every message came, and said what was recorded or what is its version's."""
    assert changed(result) == []
    assert [one for one in result["differences"] if not one["changes"]] == []
    assert result["more_differences"] == 0
    assert result["ended"] is None
    assert result["same"] == (result["differences"] == [])
    return bool(result["compared"] > 0)


def played(player: Process) -> dict[str, Any]:
    """What came of a replay that was started and has ended."""
    status = player.wait_exit()
    result: dict[str, Any] = json.loads(player.lines[-1])
    assert status == (0 if result["same"] else 1), player.tail()
    return result


def needs(pair: str) -> Pair:
    require(PAIR[pair].missing())
    return PAIR[pair]


@contextlib.contextmanager
def recorded(pair: Pair) -> Iterator[Path]:
    """What the pair says now."""
    with Stage() as stage:
        capture = stage.path("recorded.pcapng")
        run_through_proxy(pair, stage, capture)
        yield capture


def storage_daemon(stage: Stage, path: Path, *, size: int = 4 << 20, queues: int = 2) -> Process:
    disk = stage.path("disk.img")
    qemu.write_boot_disk(disk)
    with disk.open("r+b") as file:
        file.truncate(size)
    export = f"type=vhost-user-blk,id=e0,node-name=d0,addr.type=unix,addr.path={path},writable=on,num-queues={queues}"
    blockdev = f"driver=file,node-name=d0,filename={disk}"
    daemon = stage.start("backend", ["qemu-storage-daemon", "--blockdev", blockdev, "--export", export])
    wait_for_socket(path, daemon)
    return daemon


def test_a_recorded_qemu_drives_the_storage_daemon() -> None:
    needs("qemu-blk")
    with Stage() as stage:
        path = stage.path("vhost.sock")
        daemon = storage_daemon(stage, path)
        for _ in range(2):
            assert all_the_same(replay(CAPTURES / "qemu-blk.pcapng", path))
        assert daemon.running


def test_another_disk_is_told_by_its_fields() -> None:
    needs("qemu-blk")
    with Stage() as stage:
        path = stage.path("vhost.sock")
        storage_daemon(stage, path, size=8 << 20)
        result = replay(CAPTURES / "qemu-blk.pcapng", path, "--until", "20")
    assert result["ended"] is None
    assert set(changed(result)) == {("GET_CONFIG", "config.capacity", 8192, 16384)}


def test_a_daemon_with_fewer_queues_is_told_with_what_it_refused() -> None:
    needs("qemu-blk")
    with Stage() as stage:
        path = stage.path("vhost.sock")
        storage_daemon(stage, path, queues=1)
        result = replay(CAPTURES / "qemu-blk.pcapng", path, "--until", "20")
    assert changed(result)[0] == ("GET_QUEUE_NUM", "u64", 2, 1)
    # It has no ring 1, and ends the connection when it hears of one.
    assert result["ended"].startswith("the back-end ")


def test_bad_input_from_an_edited_capture_reaches_the_storage_daemon() -> None:
    """A kick for a ring that the export does not have: it does not answer what comes after."""
    needs("qemu-blk")
    with Stage() as stage:
        path, edited = stage.path("vhost.sock"), stage.path("edited.pcapng")
        daemon = storage_daemon(stage, path)
        words = ["edit", str(CAPTURES / "qemu-blk.pcapng"), "-o", str(edited), "--set", "30.u64=200", "--set"]
        subprocess.run([sys.executable, "-m", "vusniff", *words, "30.flags=9"], check=True, capture_output=True)
        result = replay(edited, path, "--timeout", "5")
        assert not result["same"]
        assert result["ended"] is not None or result["differences"]
        # Whatever it made of that: the next front-end is served.
        assert not daemon.running or all_the_same(replay(CAPTURES / "qemu-blk.pcapng", path))


@pytest.mark.parametrize("connects", [False, True])
def test_a_recorded_qemu_drives_testpmd(connects: bool) -> None:
    needs("qemu-testpmd")
    with Stage() as stage:
        path = stage.path("vhost.sock")
        backend = dpdk.Testpmd(stage, "backend", dpdk.vhost_port(path, pairs=2, connect=connects), pairs=2)
        if not connects:
            wait_for_socket(path, backend.process)
        capture = CAPTURES / "qemu-testpmd.pcapng"
        assert all_the_same(replay(capture, path, side="--listen" if connects else "--connect"))
        backend.process.wait_line(dpdk.READY, 2)  # the machine was reset once
        backend.process.wait_line(dpdk.CLOSED)
        backend.quit()


def test_a_recorded_virtio_user_drives_testpmd_with_packed_rings() -> None:
    needs("virtio-user-packed-reconnect")
    with Stage() as stage:
        path = stage.path("vhost.sock")
        backend = dpdk.Testpmd(stage, "backend", dpdk.vhost_port(path, pairs=4, connect=False), pairs=4)
        wait_for_socket(path, backend.process)
        for session in (1, 2):
            capture = CAPTURES / "virtio-user-packed-reconnect.pcapng"
            assert all_the_same(replay(capture, path, "--session", str(session)))
            backend.process.wait_line(dpdk.READY, session)
            backend.process.wait_line(dpdk.CLOSED, session)
        backend.quit()


def test_a_recorded_qemu_drives_open_vswitch() -> None:
    needs("qemu-ovs")
    with Stage() as stage:
        switch = ovs.Switch(stage)
        path = stage.path("vhost.sock")
        words = command(CAPTURES / "qemu-ovs.pcapng", "backend", "--listen", path)
        player = stage.start("player", words)
        wait_for_socket(path, player)
        switch.add_port("vhost0", path)
        assert all_the_same(played(player)), player.tail()
        switch.process.wait_line(dpdk.READY)
        switch.process.wait_line(dpdk.CLOSED)


def test_a_recorded_qemu_drives_virtiofsd() -> None:
    pair = needs("qemu-virtiofsd")
    with recorded(pair) as capture, Stage() as stage:
        path, shared = stage.path("vhost.sock"), stage.path("shared")
        shared.mkdir()
        argv = [str(VIRTIOFSD), f"--socket-path={path}", "-o", f"source={shared}", "-o", "sandbox=chroot", "-f"]
        backend = stage.start("backend", argv)
        wait_for_socket(path, backend)
        assert all_the_same(replay(capture, path))
        backend.wait_exit()


def started(machine: qemu.Machine, device: str) -> None:
    """The machine runs, its device is there, and its firmware has gone as far as to use it."""
    assert machine.monitor.ask("query-status")["status"] == "running"
    machine.wait_info("info qtree", f'dev: {device}, id ""')


def test_a_recorded_storage_daemon_starts_a_real_qemu() -> None:
    needs("qemu-blk")
    with Stage() as stage:
        path = stage.path("vhost.sock")
        words = command(CAPTURES / "qemu-blk.pcapng", "frontend", "--listen", path, "--until", "32")
        player = stage.start("player", words)
        wait_for_socket(path, player)
        machine = qemu.block_machine(stage, path, queues=2)
        started(machine, "vhost-user-blk-pci")
        machine.wait_info(
            "info virtio-status /machine/peripheral-anon/device[0]/virtio-backend", "started:                 true"
        )
        machine.quit()
        result = played(player)
        assert all_the_same(result)
        assert result["received"] >= 24


@pytest.mark.parametrize(("pair", "until"), [("qemu-testpmd", "64"), ("qemu-ovs", "63")])
def test_a_recorded_network_back_end_starts_a_real_qemu(pair: str, until: str) -> None:
    needs(pair)
    with Stage() as stage:
        path = stage.path("vhost.sock")
        machine = qemu.network_machine(stage, path, queues=2)
        wait_for_socket(path, machine.process)
        words = command(CAPTURES / f"{pair}.pcapng", "frontend", "--connect", path, "--until", until)
        player = stage.start("player", words)
        started(machine, "virtio-net-pci")
        machine.wait_info("info network", "vhost-user")
        machine.wait_info(
            "info virtio-status /machine/peripheral-anon/device[0]/virtio-backend", "started:                 true"
        )
        machine.quit()
        result = played(player)
        assert all_the_same(result)


def test_a_recorded_virtiofsd_starts_a_real_qemu() -> None:
    pair = needs("qemu-virtiofsd")
    with recorded(pair) as capture, Stage() as stage:
        last = max(message["number"] for message in read(capture))
        path = stage.path("vhost.sock")
        player = stage.start("player", command(capture, "frontend", "--listen", path, "--until", str(last)))
        wait_for_socket(path, player)
        machine = qemu.file_system_machine(stage, path)
        started(machine, "vhost-user-fs-pci")
        machine.process.wait_line("No bootable device")
        machine.reset()
        machine.process.wait_line("No bootable device", 2)
        machine.quit()
        assert all_the_same(played(player))


def test_a_recorded_testpmd_serves_a_real_virtio_user() -> None:
    pair = needs("virtio-user-status")
    with recorded(pair) as capture, Stage() as stage:
        path = stage.path("vhost.sock")
        player = stage.start("player", command(capture, "frontend", "--listen", path))
        wait_for_socket(path, player)
        frontend = dpdk.Testpmd(stage, "frontend", dpdk.virtio_user_port(path, pairs=1), pairs=1)
        frontend.process.wait_line("Port 0:")
        # Not told to send: it would wait until what it sent was taken.
        frontend.quit()
        assert all_the_same(played(player)), player.tail()
