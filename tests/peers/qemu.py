"""QEMU as a front-end: machines without an operating system, driven by their firmware, and their control socket."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from peers.processes import PATIENCE, Process, Stage, wait_for_socket, wait_until


class Monitor:
    """QEMU's control protocol (QMP): one command at a time."""

    def __init__(self, path: Path, process: Process) -> None:
        wait_for_socket(path, process)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(PATIENCE)
        self._socket.connect(str(path))
        self._lines = self._socket.makefile("r", encoding="utf-8")
        self._lines.readline()
        self.ask("qmp_capabilities")

    def ask(self, command: str, **arguments: Any) -> Any:
        """Its answer; events on the way to it are skipped."""
        self._socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        for line in self._lines:
            answer = json.loads(line)
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise AssertionError(f"QEMU refuses {command}: {answer['error']['desc']}")
        raise AssertionError(f"QEMU ended before it answered {command}")

    def close(self) -> None:
        self._lines.close()
        self._socket.close()


class Machine:
    """A running QEMU."""

    def __init__(
        self,
        stage: Stage,
        name: str,
        devices: list[str],
        memory: int,
        trace: Path | None = None,
        shared: bool = True,
        huge: bool = False,
    ) -> None:
        """``huge``: of pages of 2 MiB, which have to be there: see `huge_pages`."""
        control = stage.path(f"{name}.qmp")
        argv = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-cpu", "qemu64"]
        # graphics=off: the firmware writes its console to the serial port, which is this process's output.
        argv += ["-machine", "pc,accel=tcg,graphics=off", "-m", str(memory), "-smp", "1", "-serial", "stdio"]
        if shared:
            pages = ",hugetlb=on,hugetlbsize=2M" if huge else ""
            backend = f"memory-backend-memfd,id=mem0,size={memory}M,share=on{pages}"
            argv += ["-object", backend, "-numa", "node,memdev=mem0"]
        argv += ["-qmp", f"unix:{control},server=on,wait=off", *devices]
        self.log = stage.path(f"{name}.trace")
        """What it says of each message it sends and receives."""
        argv += ["-trace", "vhost_user_*", "-D", str(self.log)]
        self._control = control
        self._monitor: Monitor | None = None
        self.process: Process = stage.start(name, argv, trace)
        stage.at_end(self._close)

    @property
    def monitor(self) -> Monitor:
        """Its control socket; a QEMU that waits for its back-end opens it only afterwards."""
        if self._monitor is None:
            self._monitor = Monitor(self._control, self.process)
        return self._monitor

    def _close(self) -> None:
        if self._monitor is not None:
            self._monitor.close()

    def reset(self) -> None:
        self.monitor.ask("system_reset")

    def quit(self) -> None:
        """End it as its user would, and wait until it is gone."""
        self.monitor.ask("quit")
        self.process.wait_exit()

    def wait_info(self, question: str, text: str) -> None:
        """Until the answer to a human monitor command holds the text."""

        def told() -> bool:
            return text in str(self.monitor.ask("human-monitor-command", **{"command-line": question}))

        wait_until(told, f"{text!r} in QEMU's {question}")


def network_machine(stage: Stage, path: Path, *, queues: int, wait: bool = True, trace: Path | None = None) -> Machine:
    """A machine whose network card is a vhost-user device; its option ROM (iPXE) drives one queue pair and asks DHCP.

    It listens; with ``wait`` it starts only when the back-end has come.
    """
    devices = ["-chardev", f"socket,id=c0,path={path},server=on,wait={'on' if wait else 'off'}"]
    devices += ["-netdev", f"vhost-user,id=n0,chardev=c0,queues={queues}"]
    card = f"virtio-net-pci,netdev=n0,mq=on,vectors={2 * queues + 2},mac=52:54:00:00:01:01,bootindex=1"
    return Machine(stage, "qemu", [*devices, "-device", card], 256, trace)


def block_machine(
    stage: Stage,
    path: Path,
    *,
    queues: int,
    shared: bool = True,
    huge: bool = False,
    trace: Path | None = None,
    comes_from: Path | None = None,
) -> Machine:
    """A machine whose only disk is a vhost-user device: SeaBIOS drives it and runs its first sector.

    Memory that is not ``shared`` cannot be passed to the back-end. One that ``comes_from`` a socket is migrated there.
    """
    devices = ["-chardev", f"socket,id=c0,path={path}"]
    devices += ["-device", f"vhost-user-blk-pci,chardev=c0,num-queues={queues},bootindex=1"]
    if comes_from is not None:
        devices += ["-incoming", f"unix:{comes_from}"]
    name = "qemu" if comes_from is None else "incoming"
    return Machine(stage, name, devices, SMALL if huge else 128, trace, shared, huge)


def storage_daemon(disk: Path, path: Path) -> list[str]:
    """The command of a qemu-storage-daemon that serves a disk, which several may do at a time."""
    export = f"type=vhost-user-blk,id=e0,node-name=d0,addr.type=unix,addr.path={path},writable=on,num-queues=2"
    node = f"driver=file,node-name=d0,filename={disk},locking=off"
    return ["qemu-storage-daemon", "--blockdev", node, "--export", export]


SMALL = 16
"""Megabytes with which SeaBIOS runs: 8 huge pages."""


@contextlib.contextmanager
def huge_pages(megabytes: int) -> Iterator[bool]:
    """Whether there are so many free in pages of 2 MiB, which are asked for where that is allowed."""
    control, free = Path("/proc/sys/vm/nr_hugepages"), Path("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")
    wanted, before = megabytes // 2, None
    try:
        if free.exists() and int(free.read_text()) < wanted and os.access(control, os.W_OK):
            before = control.read_text()
            control.write_text(str(int(before) + wanted))
        yield free.exists() and int(free.read_text()) >= wanted
    finally:
        if before is not None:
            control.write_text(before)


def file_system_machine(stage: Stage, path: Path, *, trace: Path | None = None) -> Machine:
    """A machine with a vhost-user file system. Its firmware has no driver for it: rings are set up, none starts."""
    devices = ["-chardev", f"socket,id=c0,path={path}"]
    devices += ["-device", "vhost-user-fs-pci,chardev=c0,tag=shared"]
    return Machine(stage, "qemu", devices, 128, trace)


BOOT_WORDS = "booted"
"""Short: newer firmware writes dots to the same port meanwhile."""


def write_boot_disk(path: Path) -> None:
    """A 4 MiB disk; its first sector reads the eight behind it, writes BOOT_WORDS to the serial port, and halts."""
    code = bytearray()
    code += b"\x31\xc0\x8e\xd8\x8e\xc0"  # xor ax, ax; mov ds, ax; mov es, ax
    code += b"\xb8\x08\x02\xbb\x00\x7e"  # mov ax, 0x0208 (read 8 sectors); mov bx, 0x7e00
    code += b"\xb9\x02\x00\xba\x80\x00\xcd\x13"  # mov cx, 2; mov dx, 0x80; int 0x13
    code += b"\xba\xf8\x03"  # mov dx, 0x3f8
    for byte in f"{BOOT_WORDS}\r\n".encode():
        code += bytes((0xB0, byte, 0xEE))  # mov al, byte; out dx, al
    code += b"\xf4\xeb\xfd"  # hlt; jmp to it
    sector = bytes(code).ljust(510, b"\0") + b"\x55\xaa"
    path.write_bytes(sector.ljust(4 << 20, b"\xa5"))
