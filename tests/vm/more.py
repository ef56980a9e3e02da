"""Runs in a virtual machine: pairs that the default run leaves out, seen by the probe beside the logger.

usage: python tests/vm/more.py TREE LOGGER [NAME ...]      the unpacked kernel package, and ioctlog.c compiled
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from vm.calls import MODULES, Attached, emulated, record, run, seen, standing, started, told, wait_for, with_testpmd
from vusniff.families.vhost_kernel.protocol import Ioctl
from vusniff.sources.probe.probe import Probe

TAP = "labtap1"
QEMU = (
    "qemu-system-x86_64 -nodefaults -no-user-config -display none -machine pc,accel=tcg -cpu qemu64 -m 64 "
    f"-netdev tap,id=n0,ifname={TAP},script=no,downscript=no,vhost=on "
    "-device virtio-net-pci,netdev=n0,mac=52:54:00:00:10:02,bootindex=1 -monitor stdio"
)
"""The network boot of QEMU's ROM (iPXE) drives the device: no guest is needed."""


def qemu(logger: str, folder: Path, file: Path) -> dict[str, Any]:
    """QEMU with vhost in the kernel, until its guest has sent a packet and the rings were seen; then it is ended."""
    with subprocess.Popen(
        QEMU.split(),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"LD_PRELOAD": logger, "IOCTLOG": str(folder / "log")},
    ) as process:
        try:
            interface = Path("/sys/class/net") / TAP
            wait_for("QEMU makes no tap", lambda: interface.exists() or process.poll() is not None)
            subprocess.run(["ip", "link", "set", TAP, "up"], check=True)
            wait_for("the rings are not started", lambda: started(file) >= 2)
            came = interface / "statistics/rx_packets"
            wait_for("the guest sends nothing", lambda: int(came.read_text()))
            wait_for("the rings are not seen to move", lambda: 1 in (rings := standing(file)) and rings[1].used)
        finally:
            _, errors = process.communicate("quit\n")
    return {"status": process.returncode, "errors": errors, "used": {k: v.used for k, v in standing(file).items()}}


def vsock(logger: str, folder: Path, probe: Probe) -> dict[str, Any]:
    """A socket of the host and a guest on /dev/vhost-vsock, which is a program of ours."""
    with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as listener:
        listener.bind((socket.VMADDR_CID_ANY, 5000))
        listener.listen()
        listener.settimeout(240)
        with subprocess.Popen(
            [sys.executable, "tests/vm/vsock.py", "5000"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"LD_PRELOAD": logger, "IOCTLOG": str(folder / "log")},
        ) as guest:
            accepted, address = listener.accept()
            with accepted:
                came = accepted.recv(100)
                accepted.sendall(b"from the host")
                printed, errors = guest.communicate()
    return {"status": guest.returncode, "errors": errors, "address": address[0], "came": came.decode(), "sent": printed}


def found(file: Path, folder: Path, given: Any) -> dict[str, Any]:
    """What was acted, what the logger wrote, and what the probe saw."""
    if not isinstance(given, dict):
        return {"refused": given}
    calls, devices = seen(file)
    names = {int(one): one.name for one in Ioctl}
    return given | {
        "told": told(folder / "log"),
        "seen": calls,
        "names": [names.get(one["request"], "?") for one in calls],
        "paths": [one.path for one in devices],
        "sides": [one.ends[1].process.label if one.ends[1].process else None for one in devices],
    }


def with_qemu(logger: str, folder: Path, both: Attached) -> dict[str, Any]:
    file = folder / "qemu.pcapng"
    given, _ = record(file, lambda _: qemu(logger, folder, file), both=both, rings=True)
    return found(file, folder, given)


def with_vsock(logger: str, folder: Path, both: Attached) -> dict[str, Any]:
    file = folder / "vsock.pcapng"
    given, _ = record(file, lambda probe: vsock(logger, folder, probe), both=both)
    return found(file, folder, given)


PAIRS = {"testpmd": with_testpmd, "vsock": with_vsock, "qemu": with_qemu}


def main() -> None:
    """All, or those that are named."""
    tree, logger, *names = sys.argv[1:]
    emulated()
    run(tree, logger, {name: PAIRS[name] for name in names or PAIRS}, (*MODULES, "vhost_vsock"))


if __name__ == "__main__":
    main()
