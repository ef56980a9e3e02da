"""Pairs of programs that do not get along: what people see when a device does not come up, or stops.

They are recorded for `docs/situations.md` (`captures/record.py`), and run again in the tests.
"""

from __future__ import annotations

import signal
import time

from peers import qemu
from peers.pairs import QEMU, TESTPMD, Pair, Wire, forwarding
from peers.processes import Process, wait_for_socket, wait_until

MOVING_S = 1.0
STOPPED_S = 5.0
"""Seconds that a back-end serves its rings, and that it hangs."""

NEEDS = (QEMU, ("qemu-storage-daemon", "qemu-system-common"))


def _daemon(wire: Wire, queues: int) -> Process:
    """qemu-storage-daemon, listening."""
    disk = wire.stage.path("disk.img")
    qemu.write_boot_disk(disk)
    export = f"type=vhost-user-blk,id=e0,node-name=d0,addr.type=unix,addr.path={wire.back},num-queues={queues}"
    argv = ["qemu-storage-daemon", "--blockdev", f"driver=file,read-only=on,node-name=d0,filename={disk}"]
    backend = wire.stage.start("backend", [*argv, "--export", export], wire.trace("backend"))
    wait_for_socket(wire.back, backend)
    return backend


def too_few_queues(wire: Wire) -> None:
    """QEMU wants four queues, qemu-storage-daemon has one: QEMU gives up."""
    backend = _daemon(wire, 1)
    machine = qemu.block_machine(wire.stage, wire.front, queues=4, trace=wire.trace("frontend"))
    machine.process.wait_exit()
    backend.end()


def memory_not_shared(wire: Wire) -> None:
    """QEMU's guest has memory that cannot be passed to another process: the device never starts."""
    backend = _daemon(wire, 1)
    machine = qemu.block_machine(wire.stage, wire.front, queues=1, shared=False, trace=wire.trace("frontend"))
    machine.process.wait_line("ring restore failed")
    machine.quit()
    backend.end()


def backend_killed(wire: Wire) -> None:
    """The back-end is killed while the guest uses its disk, as the kernel does when memory runs out."""
    backend = _daemon(wire, 1)
    machine = qemu.block_machine(wire.stage, wire.front, queues=1, trace=wire.trace("frontend"))
    machine.process.wait_line(qemu.BOOT_WORDS)
    backend.send_signal(signal.SIGKILL)
    backend.wait_exit()
    machine.wait_info("info chardev", "disconnected")
    machine.quit()


def another_protocol(wire: Wire) -> None:
    """The socket that QEMU is told belongs to another QEMU's monitor."""
    argv = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-machine", "none"]
    backend = wire.stage.start("backend", [*argv, "-qmp", f"unix:{wire.back},server=on,wait=off"])
    wait_for_socket(wire.back, backend)
    machine = qemu.block_machine(wire.stage, wire.front, queues=1, trace=wire.trace("frontend"))
    machine.process.wait_exit()
    backend.end()


def backend_stopped(wire: Wire) -> None:
    """A back-end that serves its rings, and then hangs; both still run when this returns."""
    _, backend = forwarding(wire)
    began = time.monotonic()
    wait_until(lambda: time.monotonic() - began > MOVING_S, "samples of rings that move")
    backend.process.send_signal(signal.SIGSTOP)
    wait_until(lambda: time.monotonic() - began > MOVING_S + STOPPED_S, "samples of rings that do not")


TROUBLES = (
    Pair("backend-stopped", backend_stopped, False, (TESTPMD,), options=("--rings",)),
    Pair("too-few-queues", too_few_queues, False, NEEDS),
    Pair("memory-not-shared", memory_not_shared, False, NEEDS),
    Pair("backend-killed", backend_killed, False, NEEDS),
    Pair("another-protocol", another_protocol, False, NEEDS),
)
