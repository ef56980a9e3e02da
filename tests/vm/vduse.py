"""Runs in a virtual machine: a VDUSE block device of qemu-storage-daemon, and a driver of it by vhost-vdpa.

usage: python tests/vm/vduse.py TREE LOGGER [ROOT]      the unpacked kernel package, and ioctlog.c compiled

Both sides load the logger; a line says what it wrote of each, what the probe saw, and the capture. The driver is
tests/vm/vdpa.py, or libblkio in the qemu-io of the distribution whose root directory ROOT is (qemu-utils,
qemu-block-extra and libblkio1 of Debian 13; the qemu-io of Debian 12 has no libblkio).
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

from vm.calls import emulated, record, seen
from vusniff.sources.host.kernel_nodes import nodes
from vusniff.sources.probe.probe import Probe

NAME = "vduse0"
BACK, FRONT = f"/dev/vduse/{NAME}", "/dev/vhost-vdpa-0"
SECTOR = b"the first sector"
PATIENCE = 240


def wait_for(path: str, process: subprocess.Popen[bytes]) -> None:
    """Until there is such a device."""
    end = time.monotonic() + PATIENCE
    while not os.path.exists(path):
        assert process.poll() is None, "qemu-storage-daemon has ended"
        assert time.monotonic() < end, f"there is no {path}"
        time.sleep(0.05)


def command(logger: str, folder: Path, root: str | None) -> list[str]:
    """The driver: it loads the logger, and prints the first sector."""
    log = folder / "front.log"
    if root is None:
        return ["env", f"LD_PRELOAD={logger}", f"IOCTLOG={log}", sys.executable, "tests/vm/vdpa.py", FRONT]
    for own in ("dev", "proc", "sys"):
        subprocess.run(["mount", "--rbind", f"/{own}", f"{root}/{own}"], check=True)
    subprocess.run(["mount", "--bind", folder, f"{root}/tmp"], check=True)
    shutil.copy(logger, folder / "logger.so")
    image = f"driver=virtio-blk-vhost-vdpa,path={FRONT},cache.direct=on"
    words = ["env", "LD_PRELOAD=/tmp/logger.so", f"IOCTLOG=/tmp/{log.name}", "qemu-io", "--image-opts", image]
    return ["chroot", root, *words, "-c", "read -v 0 512"]


def device(tree: str, logger: str, folder: Path, root: str | None, probe: Probe) -> str:
    """The life of a device; what its driver read. The probe is there before the first node of /dev is."""
    subprocess.run(["modprobe", "-d", tree, "-a", "vduse", "vhost_vdpa"], check=True)
    end = time.monotonic() + PATIENCE
    while probe.calls is None:
        assert time.monotonic() < end, "the probe does not see the nodes"
        time.sleep(0.05)
    disk = folder / "disk.img"
    disk.write_bytes(SECTOR.ljust(1 << 20, b"."))
    export = f"type=vduse-blk,id=e0,node-name=f0,name={NAME},writable=on,num-queues=1"
    words = ["--blockdev", f"driver=file,node-name=f0,filename={disk}", "--export", export]
    logged = {**os.environ, "LD_PRELOAD": logger}
    with subprocess.Popen(
        ["qemu-storage-daemon", *words], env=logged | {"IOCTLOG": str(folder / "back.log")}
    ) as daemon:
        try:
            wait_for(BACK, daemon)
            subprocess.run(["vdpa", "dev", "add", "name", NAME, "mgmtdev", "vduse"], check=True)
            wait_for(FRONT, daemon)
            read = subprocess.run(command(logger, folder, root), capture_output=True, text=True)
            assert read.returncode == 0, read.stdout + read.stderr
            subprocess.run(["vdpa", "dev", "del", NAME], check=True)
        finally:  # else what went wrong is never said: its end is waited for
            daemon.terminate()
    shown = (SECTOR.decode(), SECTOR.hex(" "))  # qemu-io prints bytes
    return SECTOR.decode() if any(one in read.stdout for one in shown) else read.stdout


def main() -> None:
    """One line."""
    tree, logger, *roots = sys.argv[1:]
    root = roots[0] if roots else None
    emulated()
    result: dict[str, Any] = {}
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            file = folder / "vduse.pcapng"
            early = sorted(nodes().values())
            read, said = record(file, lambda probe: device(tree, logger, folder, root, probe), late=True)
            found, devices = seen(file)
            paths = {one.id: one.path for one in devices}
            sides = {one.path: [end.process.label for end in one.ends if end.process] for one in devices}
            told = {
                side: [json.loads(line) for line in (folder / f"{side}.log").read_text().splitlines()]
                for side in ("front", "back")
            }
            result = {"read": read, "said": said, "told": told, "sides": sides, "early": early}
            result["seen"] = [one | {"path": paths[one["connection"]]} for one in found]
            result["capture"] = base64.b64encode(file.read_bytes()).decode()
    except Exception:
        result["refused"] = traceback.format_exc()
    print("RESULT " + json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
