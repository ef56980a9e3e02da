"""The pairs of programs that are watched: who listens, what they go through, and what they say of it themselves.

A pair's run is given two socket paths, for the front-end and for the back-end: the same when they talk directly, two
when something stands between them. It returns when both programs have ended, so that whoever watched has seen all.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from peers import dpdk, ovs, qemu
from peers.processes import Process, Stage, wait_for_socket, wait_until


@dataclass(slots=True)
class Wire:
    """What a pair's run is given, and where it leaves what the programs say."""

    stage: Stage
    front: Path
    """Socket path for the front-end."""
    back: Path
    """Socket path for the back-end."""
    traced: bool = False
    """Run the programs under strace."""
    traces: dict[str, list[Path]] = field(default_factory=lambda: {"frontend": [], "backend": []})
    """Logs of strace by role, one per process, in the order they were started."""
    logs: list[Process] = field(default_factory=list)
    """Back-ends that log every request they read, in the order they were started."""
    tracing: list[Path] = field(default_factory=list)
    """Logs of QEMU about every message."""

    def trace(self, role: str) -> Path | None:
        """Where the next process in this role is traced to; None when it is not."""
        if not self.traced:
            return None
        path = self.stage.path(f"{role}-{len(self.traces[role]) + 1}.strace")
        self.traces[role].append(path)
        return path

    def told(self) -> list[str]:
        """Requests by the back-ends' logs, without VHOST_USER_, in order."""
        lines = [line for process in self.logs for line in process.lines]
        names = [match.group(1) for line in lines if (match := re.search(dpdk.READ + r"(\w+)", line))]
        return [dpdk.OLD_NAMES.get(name, name) for name in names]


def network_boot(wire: Wire) -> None:
    """QEMU listens, testpmd connects; two queue pairs; iPXE drives the first, before and after a reset."""
    machine = qemu.network_machine(wire.stage, wire.front, queues=2, trace=wire.trace("frontend"))
    wire.tracing.append(machine.log)
    wait_for_socket(wire.front, machine.process)
    port = dpdk.vhost_port(wire.back, pairs=2, connect=True)
    backend = dpdk.Testpmd(wire.stage, "backend", port, pairs=2, trace=wire.trace("backend"))
    wire.logs.append(backend.process)
    backend.process.wait_line(dpdk.READY)
    backend.tell("start")
    backend.wait_received()
    starts = backend.process.count(dpdk.READY)
    machine.reset()
    backend.process.wait_line(dpdk.READY, starts + 1)
    backend.wait_received()
    machine.quit()
    backend.process.wait_line(dpdk.CLOSED)
    backend.quit()


def packed_reconnect(wire: Wire) -> None:
    """virtio-user listens, testpmd connects; packed, four queue pairs; the back-end ends and another comes."""
    port = dpdk.virtio_user_port(wire.front, pairs=4, packed=True, listen=True)
    frontend = dpdk.Testpmd(wire.stage, "frontend", port, pairs=4, trace=wire.trace("frontend"))
    wait_for_socket(wire.front, frontend.process)
    for number in (1, 2):
        port = dpdk.vhost_port(wire.back, pairs=4, connect=True)
        backend = dpdk.Testpmd(wire.stage, f"backend{number}", port, pairs=4, trace=wire.trace("backend"))
        wire.logs.append(backend.process)
        backend.process.wait_line(dpdk.READY)
        if number == 2:
            frontend.process.wait_line("reconnection succeeds")
            frontend.tell("stop")
        backend.tell("start")
        frontend.tell("start tx_first")
        backend.wait_received()
        if number == 1:
            backend.quit()
    frontend.quit()
    backend.process.wait_line(dpdk.CLOSED)
    backend.quit()


def forwarding(wire: Wire) -> tuple[dpdk.Testpmd, dpdk.Testpmd]:
    """Front-end and back-end: testpmd listens, virtio-user connects; split rings, one queue pair; packets flow."""
    port = dpdk.vhost_port(wire.back, pairs=1, connect=False)
    backend = dpdk.Testpmd(wire.stage, "backend", port, pairs=1, trace=wire.trace("backend"))
    wire.logs.append(backend.process)
    wait_for_socket(wire.back, backend.process)
    port = dpdk.virtio_user_port(wire.front, pairs=1)
    frontend = dpdk.Testpmd(wire.stage, "frontend", port, pairs=1, trace=wire.trace("frontend"))
    backend.process.wait_line(dpdk.READY)
    backend.tell("start")
    frontend.tell("start tx_first")
    backend.wait_received()
    return frontend, backend


def status(wire: Wire) -> None:
    """testpmd listens, virtio-user connects and tells its device status; split rings, one queue pair."""
    frontend, backend = forwarding(wire)
    frontend.quit()
    backend.process.wait_line(dpdk.CLOSED)
    backend.quit()


def block_boot(wire: Wire) -> None:
    """qemu-storage-daemon listens, QEMU connects; SeaBIOS boots from the disk, before and after a reset."""
    disk = wire.stage.path("disk.img")
    qemu.write_boot_disk(disk)
    backend = wire.stage.start("backend", qemu.storage_daemon(disk, wire.back), wire.trace("backend"))
    wait_for_socket(wire.back, backend)
    machine = qemu.block_machine(wire.stage, wire.front, queues=2, trace=wire.trace("frontend"))
    wire.tracing.append(machine.log)
    machine.process.wait_line(qemu.BOOT_WORDS)
    machine.reset()
    machine.process.wait_line(qemu.BOOT_WORDS, 2)
    machine.quit()
    backend.end()


def switch_port(wire: Wire) -> None:
    """QEMU listens, Open vSwitch connects; iPXE drives the ring; the port is deleted and added again; a reset."""
    switch = ovs.Switch(wire.stage, trace=wire.trace("backend"))
    wire.logs.append(switch.process)
    machine = qemu.network_machine(wire.stage, wire.front, queues=2, wait=False, trace=wire.trace("frontend"))
    wire.tracing.append(machine.log)
    wait_for_socket(wire.front, machine.process)
    switch.add_port("vhost0", wire.back)
    switch.process.wait_line(dpdk.READY)
    wait_until(lambda: switch.received("vhost0") > 0, "packets on the switch's port")
    starts = switch.process.count(dpdk.READY)
    switch.delete_port("vhost0")
    machine.wait_info("info chardev", "disconnected:unix")
    switch.add_port("vhost0", wire.back)
    switch.process.wait_line(dpdk.READY, starts + 1)
    machine.reset()
    switch.process.wait_line(dpdk.READY, starts + 2)
    wait_until(lambda: switch.received("vhost0") > 0, "packets on the switch's second port")
    machine.quit()
    switch.process.wait_line(dpdk.CLOSED)


def file_system(wire: Wire) -> None:
    """virtiofsd listens, QEMU connects: the device is there, and no driver for it; the machine is reset once."""
    shared = wire.stage.path("shared")
    shared.mkdir()
    argv = [str(VIRTIOFSD), f"--socket-path={wire.back}", "-o", f"source={shared}", "-o", "sandbox=chroot", "-f"]
    backend = wire.stage.start("backend", argv, wire.trace("backend"))
    wait_for_socket(wire.back, backend)
    machine = qemu.file_system_machine(wire.stage, wire.front, trace=wire.trace("frontend"))
    wire.tracing.append(machine.log)
    machine.process.wait_line("No bootable device")
    machine.reset()
    machine.process.wait_line("No bootable device", 2)
    machine.quit()
    backend.wait_exit()


VIRTIOFSD = Path("/usr/lib/qemu/virtiofsd")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two programs and what they do together."""

    name: str
    run: Callable[[Wire], None]
    front_listens: bool
    needs: tuple[tuple[str, str], ...]
    """Programs, and the package each is from."""
    connections: int = 1
    """How often they connect in a run."""
    as_root: bool = False
    """One of them cannot run as anybody else."""
    options: tuple[str, ...] = ()
    """Of a proxy between them."""

    def missing(self) -> Sequence[str]:
        """What must be there first: packages, root."""
        packages = {f"package {package}" for program, package in self.needs if shutil.which(program) is None}
        return sorted(packages) + (["root"] if self.as_root and os.geteuid() != 0 else [])


QEMU = ("qemu-system-x86_64", "qemu-system-x86")
TESTPMD = ("dpdk-testpmd", "dpdk-dev")
STRACE = ("strace", "strace")

PAIRS = (
    Pair("qemu-testpmd", network_boot, True, (QEMU, TESTPMD, STRACE)),
    Pair("virtio-user-packed-reconnect", packed_reconnect, True, (TESTPMD, STRACE), connections=2),
    Pair("virtio-user-status", status, False, (TESTPMD, STRACE)),
    Pair("qemu-blk", block_boot, False, (QEMU, ("qemu-storage-daemon", "qemu-system-common"), STRACE)),
    Pair(
        "qemu-ovs",
        switch_port,
        True,
        (QEMU, (str(ovs.SWITCH), "openvswitch-switch-dpdk"), ("ovs-vsctl", "openvswitch-switch"), STRACE),
        connections=2,
        as_root=True,
    ),
    Pair("qemu-virtiofsd", file_system, False, (QEMU, (str(VIRTIOFSD), "qemu-system-common"), STRACE), as_root=True),
)
