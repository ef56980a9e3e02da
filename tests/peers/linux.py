"""A Linux guest of QEMU: the kernel that ``tests/vm/fetch.py`` has unpacked, emulated, with busybox and a disk."""

from __future__ import annotations

import lzma
from pathlib import Path

from vm.fetch import FOLDER

from peers import qemu, uml
from peers.processes import Stage

MODULES = ("virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_blk")
"""In the order in which they need each other."""
READS = 50
INIT = f"""#!/bin/busybox sh
busybox=/bin/busybox
$busybox mount -t devtmpfs dev /dev
$busybox mount -t sysfs sys /sys
for module in {" ".join(MODULES)}; do $busybox insmod /$module.ko; done
for read in $($busybox seq {READS}); do
    $busybox dd if=/dev/vda of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null
done
echo completed $($busybox cat /sys/block/vda/stat)
$busybox sleep 10000
"""
COMPLETED = r"completed (\d+) "
"""How many reads the guest has completed (Documentation/block/stat.rst)."""


def missing() -> list[str]:
    """What is not there."""
    packages = [one for one in uml.missing() if "busybox" in one or "cpio" in one]
    return packages if _images() else [*packages, f"a kernel in {FOLDER}"]


def _images() -> list[Path]:
    """Kernels whose virtio drivers are modules, and not packed: Debian's up to 6.1."""
    drivers = "lib/modules/*/kernel/drivers/virtio/virtio_ring.ko"
    return [one for one in sorted(FOLDER.glob("*/boot/vmlinuz-*")) if any(one.parents[1].glob(drivers))]


def _unpacked(image: Path) -> Path:
    """The kernel without what unpacks it, which takes long under emulation; the image itself where that is no xz."""
    made, data = image.with_name(f"unpacked-{image.name}"), image.read_bytes()
    at = data.find(b"\xfd7zXZ\0")
    if at < 0:
        return image
    if not made.exists():
        part = made.with_suffix(".part")
        part.write_bytes(lzma.LZMADecompressor().decompress(data[at:]))
        part.rename(made)
    return made


def block_machine(stage: Stage, path: Path) -> qemu.Machine:
    """A guest that reads from the vhost-user disk at a path, says how often, and does nothing more."""
    image = _images()[-1]
    found = {one.stem: one for one in (image.parents[1] / "lib/modules").glob("*/kernel/drivers/*/virtio*.ko")}
    initramfs = uml.pack_initramfs(stage, [found[name] for name in MODULES], INIT)
    devices = ["-chardev", f"socket,id=c0,path={path}", "-device", "vhost-user-blk-pci,chardev=c0,num-queues=1"]
    kernel = ["-kernel", str(_unpacked(image)), "-initrd", str(initramfs)]
    kernel += ["-append", "console=ttyS0 quiet no_timer_check"]
    return qemu.Machine(stage, "qemu", [*devices, *kernel, "-cpu", "max"], 256)
