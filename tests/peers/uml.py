"""User-mode Linux as a front-end: a kernel that is a process, with the driver for vhost-user devices built in."""

from __future__ import annotations

import gzip
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from peers.processes import Process, Stage

KERNEL = Path("/usr/bin/linux.uml")
MODULES = Path("/usr/lib/uml/modules")
BLOCK = 2
"""Virtio's number of block devices."""
NEEDS = {
    "user-mode-linux": KERNEL,
    "busybox-static": Path("/bin/busybox"),
    "cpio": Path("/usr/bin/cpio"),
    "gcc": Path("/usr/bin/gcc"),
    "qemu-system-common": Path("/usr/bin/qemu-storage-daemon"),
}

INIT = """#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox insmod /virtio_blk.ko
/bin/busybox md5sum /dev/vda
/bin/busybox poweroff -f
"""


def missing() -> list[str]:
    """Packages that are not there."""
    return [f"package {package}" for package, file in NEEDS.items() if not file.exists()]


def make_initramfs(stage: Stage) -> Path:
    """A root that reads the whole disk, says its digest, and halts."""
    return pack_initramfs(stage, [next(MODULES.glob("*/kernel/drivers/block/virtio_blk.ko"))], INIT)


def pack_initramfs(stage: Stage, modules: Sequence[Path], script: str) -> Path:
    """A root with busybox, some modules and a script that is run first."""
    root = stage.path("root")
    for directory in ("bin", "dev", "sys"):
        (root / directory).mkdir(parents=True)
    (root / "bin/busybox").write_bytes(NEEDS["busybox-static"].read_bytes())
    for module in modules:
        (root / module.name).write_bytes(module.read_bytes())
    (root / "init").write_text(script)
    for name in ("init", "bin/busybox"):
        (root / name).chmod(0o755)
    names = "\n".join([".", *(str(path.relative_to(root)) for path in sorted(root.rglob("*")))])
    packed = subprocess.run(
        ["cpio", "-o", "-H", "newc", "--quiet"], input=names.encode(), capture_output=True, check=True, cwd=root
    )
    image = stage.path("initramfs.gz")
    image.write_bytes(gzip.compress(packed.stdout, 1))
    return image


def block_machine(stage: Stage, name: str, path: Path, initramfs: Path) -> Process:
    """A machine whose disk is the vhost-user device at a path."""
    shim = stage.path("xstate.so")
    if not shim.exists():
        source = Path(__file__).with_name("xstate.c")
        subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", str(shim), str(source), "-ldl"], check=True)
    argv = ["env", f"LD_PRELOAD={shim}", f"TMPDIR={stage.directory}", f"HOME={stage.directory}", str(KERNEL)]
    argv += ["mem=128M", f"initrd={initramfs}", "root=/dev/ram0", "con=null", "con0=null,fd:1"]
    argv += [f"uml_dir={stage.directory}", f"umid={name}-{os.getpid()}", f"virtio_uml.device={path}:{BLOCK}"]
    return stage.start(name, argv)
