"""The vfio-user pair: QEMU's vfio-user-pci and a server of our own; and a client that is a script, where QEMU is not.

QEMU has the device from 10.1 on. Where the distribution's is older it is that of Debian's backports, fetched into the
user's cache (`fetch_qemu`), with its firmware.
"""

from __future__ import annotations

import array
import os
import re
import socket
import struct
import sys
from pathlib import Path

import fetch_qemu

from peers.pairs import Pair, Wire
from peers.processes import PATIENCE, Process, Stage, wait_for_socket
from peers.qemu import Monitor
from peers.vfio_user_server import ADDRESS, DOORBELL, REPLY, message, receive

SERVER = Path(__file__).with_name("vfio_user_server.py")
_BAR = re.compile(r"REGION_WRITE 10000000000000000700000004000000(?!ffffffff|00000000)([0-9a-f]{8})")


def server(stage: Stage, path: Path, *, twin: bool = False, trace: Path | None = None) -> Process:
    """The server, listening; with a trace it runs under strace, which logs to that file."""
    process = stage.start("server", [sys.executable, str(SERVER), str(path), *(["--twin"] if twin else [])], trace)
    wait_for_socket(path, process)
    return process


def firmware_boot(wire: Wire) -> None:
    """QEMU connects; its firmware sets the device up; its monitor reads region 0; the server reads memory; a reset."""
    peer = server(wire.stage, wire.back)
    control = wire.stage.path("qemu.qmp")
    argv = [*fetch_qemu.command(), "-nodefaults", "-no-user-config", "-display", "none", "-cpu", "qemu64"]
    argv += ["-name", "vm,process=qemu-system-x86"]  # not the loader's, where it was fetched
    argv += ["-machine", "q35,accel=tcg,graphics=off,memory-backend=mem0", "-m", "128", "-serial", "stdio"]
    argv += ["-object", "memory-backend-memfd,id=mem0,size=128M,share=on"]
    argv += ["-qmp", f"unix:{control},server=on,wait=off", "-device"]
    argv += [f'{{"driver":"vfio-user-pci","socket":{{"path":"{wire.front}","type":"unix"}}}}']
    machine = wire.stage.start("qemu", argv, wire.trace("frontend"))
    monitor = Monitor(control, machine)
    machine.wait_line("No bootable device")
    bars = [match[1] for line in list(peer.lines) if (match := _BAR.search(line))]
    address = int.from_bytes(bytes.fromhex(bars[-1]), "little")
    for _ in range(3):
        monitor.ask("human-monitor-command", **{"command-line": f"xp /4wx {address + 16:#x}"})
    monitor.ask("human-monitor-command", **{"command-line": f"xp /1wx {address + DOORBELL:#x}"})
    peer.wait_line("memory ")
    monitor.ask("system_reset")
    machine.wait_line("No bootable device", 2)
    monitor.ask("quit")
    monitor.close()
    machine.wait_exit()
    peer.wait_exit()


PAIR = Pair("vfio-user", firmware_boot, False, ())


class Client:
    """A client that is a script."""

    def __init__(self, path: Path) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(str(path))
        self.number = 0
        self.twin: socket.socket | None = None

    def ask(self, command: int, payload: bytes = b"", fds: tuple[int, ...] = (), flags: int = 0) -> bytes:
        """Send a command; the payload of its reply."""
        passed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.sock.sendmsg([message(self.number, command, payload, flags)], passed)
        self.number += 1
        come = receive(self.sock)
        assert come is not None
        if come[4]:
            self.twin = socket.socket(fileno=come[4][0])
            self.twin.settimeout(PATIENCE)
        return come[3]

    def answer_dma(self, memory: bytes) -> None:
        """Answer a DMA_READ of the server's."""
        sock = self.twin or self.sock
        come = receive(sock)
        assert come is not None
        number, command, _, payload, _ = come
        sock.sendall(message(number, command, payload + memory, REPLY))

    def close(self) -> None:
        for sock in (self.twin, self.sock):
            if sock is not None:
                sock.close()


def scripted(path: Path, *, twin: bool = False) -> None:
    """What a client goes through: version, memory, regions, an interrupt, accesses, memory read by the server, a reset
    and a command that fails."""
    client = Client(path)
    said = b'{"capabilities": {"max_msg_fds": 8, "twin_socket": {"supported": true}}}\0'
    client.ask(1, struct.pack("=HH", 0, 1) + said)
    memory, event = os.memfd_create("guest-ram"), os.eventfd(0)
    os.ftruncate(memory, 1 << 20)
    client.ask(2, struct.pack("=IIQQQ", 32, 3, 0, 0, 1 << 20), (memory,))
    client.ask(2, struct.pack("=IIQQQ", 32, 1, 0, ADDRESS, 4096))
    client.ask(4, struct.pack("=IIII", 16, 0, 0, 0))
    for region in (0, 7):
        client.ask(5, struct.pack("=IIIIQQ", 32, 0, region, 0, 0, 0))
    client.ask(7, struct.pack("=IIII", 16, 0, 0, 0))
    client.ask(8, struct.pack("=IIIII", 20, 0x24, 0, 0, 1), (event,))
    client.ask(9, struct.pack("=QII", 0, 7, 4))
    client.ask(10, struct.pack("=QIII", DOORBELL, 0, 4, 1))
    client.answer_dma(b"sixteen of bytes")
    for offset in range(8):
        client.ask(9, struct.pack("=QII", 4 * offset, 0, 4))
    client.ask(13)
    client.ask(16, struct.pack("=II", 16, 1 << 16 | 1))
    client.ask(3, struct.pack("=IIQQ", 24, 0, ADDRESS, 4096))
    client.close()
    os.close(memory)
    os.close(event)
