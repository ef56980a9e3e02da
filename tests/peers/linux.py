"""A Linux guest of QEMU: the kernel that ``tests/vm/fetch.py`` has unpacked, emulated, with busybox and a disk."""

from __future__ import annotations

import lzma
from collections.abc import Sequence
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
CARD_MODULES = (*MODULES[:-1], "failover", "net_failover", "virtio_net")
PINGS = 50
PING = f"""#!/bin/busybox sh
busybox=/bin/busybox
$busybox mkdir /proc
$busybox mount -t proc proc /proc
$busybox mount -t sysfs sys /sys
for module in {" ".join(CARD_MODULES)}; do $busybox insmod /$module.ko; done
for word in $($busybox cat /proc/cmdline); do case $word in own=*|other=*) eval $word;; esac; done
$busybox ifconfig eth0 $own up
until $busybox ping -c 1 -W 1 $other; do :; done
echo meets
$busybox ping -c {PINGS} -i 0.1 $other
while :; do
    echo packets $($busybox cat /sys/class/net/eth0/statistics/tx_packets /sys/class/net/eth0/statistics/rx_packets) end
    $busybox sleep 1
done
"""
PACKETS = r"packets (\d+) (\d+) end"
"""What the guest's card has sent and received."""


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
    devices = ["-chardev", f"socket,id=c0,path={path}", "-device", "vhost-user-blk-pci,chardev=c0,num-queues=1"]
    return _machine(stage, "qemu", devices, packed_root(stage, MODULES, INIT), "")


def packed_root(stage: Stage, modules: Sequence[str], script: str) -> Path:
    """What a guest is started with."""
    found = {one.stem: one for one in (_images()[-1].parents[1] / "lib/modules").rglob("*.ko") if one.stem in modules}
    return uml.pack_initramfs(stage, [found[name] for name in modules], script)


def card_machine(stage: Stage, path: Path, root: Path, own: int, other: int) -> qemu.Machine:
    """A guest that pings another guest. The back-end of its card connects to a path; `own` and `other` are the last
    bytes of the two addresses."""
    devices = ["-chardev", f"socket,id=c0,path={path},server=on,wait=on", "-netdev", "vhost-user,id=n0,chardev=c0"]
    # Without MSI-X: with it QEMU 7.2 ends by SIGSEGV when Linux starts the card of an emulated machine.
    devices += ["-device", f"virtio-net-pci,netdev=n0,mac=52:54:00:00:01:{own:02x},vectors=0,romfile="]
    return _machine(stage, path.stem, devices, root, f"own=10.9.8.{own} other=10.9.8.{other}")


def _machine(stage: Stage, name: str, devices: list[str], root: Path, words: str) -> qemu.Machine:
    kernel = ["-kernel", str(_unpacked(_images()[-1])), "-initrd", str(root)]
    kernel += ["-append", f"console=ttyS0 quiet no_timer_check {words}".rstrip()]
    return qemu.Machine(stage, name, [*devices, *kernel, "-cpu", "max"], 256)
