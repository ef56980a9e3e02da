"""Puts the packaged programs through `vusniff test`, and keeps what came of it for docs/conformance.md.

usage: python captures/conformance.py [NAME ...]     (default: all; some take minutes; as root)

Programs of another distribution are started by the command in OTHER_TREE, such as ``chroot /mnt/next``, and their
sockets are looked for under the directory in OTHER_ROOT. What is not there is left as it was.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "captures" / "conformance.json"
VUSNIFF = [str(Path(sys.executable).parent / "vusniff")]
PMD = "-l 0-1 --no-huge --no-pci --no-shconf -m 256 --no-telemetry --file-prefix vusniff-test"
MEMORY = "-object memory-backend-memfd,id=m,size=256M,share=on -numa node,memdev=m"
MACHINE = f"-nodefaults -no-user-config -display none -machine pc,accel=tcg -m 256 {MEMORY}"


@dataclass(frozen=True)
class Packaged:
    """One program: how it is started, and how it says what it is."""

    name: str
    to: str
    device: str
    command: str
    """For bash; {socket} is where it listens or connects, {folder} a directory of its own."""
    version: str
    """A command whose first line of output tells it."""
    timeout: float = 2.0
    elsewhere: bool = False
    """It is of the other tree."""


PROGRAMS = (
    Packaged(
        "qemu-storage-daemon",
        "backend",
        "blk",
        "truncate -s 4M {folder}/disk && exec qemu-storage-daemon"
        " --blockdev driver=file,node-name=d,filename={folder}/disk --export type=vhost-user-blk,id=e,node-name=d,"
        "addr.type=unix,addr.path={socket},writable=on,num-queues=2",
        "qemu-storage-daemon --version",
    ),
    Packaged(
        "dpdk-testpmd",
        "backend",
        "net",
        f"exec dpdk-testpmd {PMD} --vdev net_vhost0,iface={{socket}},queues=1,postcopy-support=1"
        " -- --total-num-mbufs=4096 --auto-start < <(exec sleep infinity)",
        "dpkg-query -W -f '${Version}' dpdk-dev",
        8.0,
    ),
    Packaged(
        "Open vSwitch (DPDK)",
        "backend",
        "net",
        f"exec bash {ROOT}/captures/ovs-backend {{folder}} {{socket}} {shlex.join(VUSNIFF)}",
        "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk --version",
        8.0,
    ),
    Packaged(
        "virtiofsd (C)",
        "backend",
        "fs",
        "exec /usr/lib/qemu/virtiofsd --socket-path={socket} -o source={folder} -o sandbox=chroot -f",
        "/usr/lib/qemu/virtiofsd --version",
    ),
    Packaged(
        "virtiofsd (Rust)",
        "backend",
        "fs",
        "exec /usr/libexec/virtiofsd --socket-path={socket} --shared-dir /tmp --sandbox none",
        "/usr/libexec/virtiofsd --version",
        elsewhere=True,
    ),
    Packaged(
        "passt",
        "backend",
        "net",
        "exec passt --vhost-user -f -s {socket}",
        "dpkg-query -W -f '${Version}' passt",
        elsewhere=True,
    ),
    Packaged(
        "vusniff demo --backend",
        "backend",
        "net",
        f"exec {shlex.join(VUSNIFF)} demo --backend {{socket}} --count 100000",
        f"{shlex.join(VUSNIFF)} --version",
    ),
    Packaged(
        "QEMU, net",
        "frontend",
        "net",
        f"exec qemu-system-x86_64 {MACHINE} -chardev socket,id=c,path={{socket}},reconnect=1 -netdev vhost-user,id=n,"
        "chardev=c -device virtio-net-pci,netdev=n,bootindex=1",
        "qemu-system-x86_64 --version",
        6.0,
    ),
    Packaged(
        "QEMU, blk",
        "frontend",
        "blk",
        f"exec qemu-system-x86_64 {MACHINE} -chardev socket,id=c,path={{socket}},reconnect=1 "
        "-device vhost-user-blk-pci,chardev=c,bootindex=1",
        "qemu-system-x86_64 --version",
        6.0,
    ),
    Packaged(
        "DPDK virtio-user",
        "frontend",
        "net",
        f"exec dpdk-testpmd {PMD} --vdev net_virtio_user0,path={{socket}} -- --total-num-mbufs=4096 --auto-start"
        " --tx-first < <(exec sleep infinity)",
        "dpkg-query -W -f '${Version}' dpdk-dev",
        3.0,
    ),
    Packaged(
        "libblkio (qemu-io)",
        "frontend",
        "blk",
        "exec qemu-io -r -c 'read 0 4096' --image-opts driver=virtio-blk-vhost-user,path={socket},cache.direct=on",
        "dpkg-query -W -f '${Version}' libblkio1",
        elsewhere=True,
    ),
    Packaged(
        "vusniff demo --frontend",
        "frontend",
        "net",
        f"exec {shlex.join(VUSNIFF)} demo --frontend {{socket}} --count 1 --timeout 5",
        f"{shlex.join(VUSNIFF)} --version",
        1.0,
    ),
)


def run(program: Packaged, folder: Path) -> dict[str, object] | None:
    """What came of it; None where it is not there."""
    tree = shlex.split(os.environ.get("OTHER_TREE", "")) if program.elsewhere else []
    root = Path(os.environ.get("OTHER_ROOT", "/")) if program.elsewhere else Path("/")
    if program.elsewhere and not tree:
        return None
    said = subprocess.run([*tree, "bash", "-c", program.version], capture_output=True, text=True, timeout=60)
    lines = (said.stdout or said.stderr).splitlines()
    if said.returncode or not lines:
        return None
    socket = Path("/tmp") / f"vusniff-{os.getpid()}.sock" if program.elsewhere else folder / "socket"
    seen = root / socket.relative_to("/")
    command = program.command.format(socket=socket, folder=folder)
    side = ["--connect" if program.to == "backend" else "--listen", str(seen)]
    words = ["test", "--to", program.to, *side, "--device", program.device, "--format", "json"]
    words += ["--keep", str(folder / "kept"), "--timeout", str(program.timeout)]
    began = time.monotonic()
    done = subprocess.run([*VUSNIFF, *words, "--", *tree, "bash", "-c", command], stdout=subprocess.PIPE, text=True)
    seconds = time.monotonic() - began
    if not done.stdout:
        return None
    told = json.loads(done.stdout)
    if told["stopped"]:
        print(f"{program.name}: {told['stopped']}")
    wanted = ("id", "result", "why", "section", "says")
    found = [one for one in told["scenarios"] if one["result"] in ("fail", "inconclusive")]
    return {
        "name": program.name,
        "version": lines[0],
        "to": program.to,
        "seconds": round(seconds),
        "counts": told["counts"],
        "scenarios": [{key: one[key] for key in wanted} for one in found],
    }


def main(names: list[str]) -> int:
    """Runs them, and writes what came of it into the place of what was there."""
    kept = {one["name"]: one for one in json.loads(KEPT.read_text())} if KEPT.exists() else {}
    for program in PROGRAMS:
        if names and program.name not in names:
            continue
        folder = Path(tempfile.mkdtemp(prefix="vusniff-"))
        folder.chmod(0o777)
        try:
            came = run(program, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        print(f"{program.name}: {came['counts'] if came else 'not here'}")
        if came is not None:
            kept[program.name] = came
            order = [one.name for one in PROGRAMS]
            rows = sorted(kept.values(), key=lambda one: order.index(one["name"]))
            KEPT.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
