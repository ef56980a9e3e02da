"""Which file of /dev is a vhost device of the kernel, and what it is called where it is shown. Does no I/O."""

from __future__ import annotations

from vusniff.families.vhost_kernel.family import vduse_device
from vusniff.families.vhost_kernel.protocol import CONTROL, KERNEL_NAME, VDPA_NAME, VDUSE, VDUSE_NAME
from vusniff.record import Process

_VDPA = "/dev/vhost-vdpa-"
_VHOST = "/dev/vhost-"
_VDUSE = "/dev/vduse/"
_WORDS = {
    "/dev/vhost-net": "kernel vhost",
    "/dev/vhost-vsock": "kernel vhost-vsock",
    "/dev/vhost-scsi": "kernel vhost-scsi",
}


def family_of_node(path: str) -> str | None:
    """The family of the calls on a file; None for another file."""
    if path.startswith(_VDPA):
        return VDPA_NAME
    if path.startswith(_VDUSE):
        return VDUSE_NAME
    return KERNEL_NAME if path.startswith(_VHOST) else None


def family_of_request(request: int, name: str) -> str:
    """The same by an ioctl alone, where nothing tells which file it was on."""
    if request >> 8 & 0xFF == VDUSE:
        return VDUSE_NAME
    return VDPA_NAME if name.startswith("VDPA_") else KERNEL_NAME


def vduse_node(path: str, detail: str) -> str:
    """The back-end's node of a driver's node whose device VDUSE made; empty for any other."""
    name = vduse_device(path_of(path, detail)) if path.startswith(_VDPA) else ""
    return name and f"{_VDUSE}{name}"


def kernel_side(path: str, detail: str = "", served_by: str = "") -> Process:
    """The kernel, as the other end of a device: ``kernel vhost (tap0)``, ``vdpa0 (vp_vdpa)``, ``VDUSE blk0 (qemu)``.

    ``detail`` is what a device is for, or what it is on the vDPA bus and what made it. ``served_by`` is the program
    that serves a device of VDUSE, empty where that is not known.
    """
    name, _, maker = detail.partition(", ")
    if vduse_node(path, detail):
        words, detail = f"VDUSE {name}", served_by
    elif path.startswith(_VDUSE):
        words = "vDPA bus" if path != CONTROL else "VDUSE control"
    elif path.startswith(_VDPA):
        words, detail = name or f"vdpa{path.removeprefix(_VDPA)}", maker
    else:
        words = _WORDS.get(path, "kernel vhost")
    return Process(0, "kernel", None, f"{words} ({detail})" if detail else words)


def path_of(node: str, detail: str = "") -> str:
    """What a device is called in a capture: ``/dev/vhost-net (tap0)``."""
    return f"{node} ({detail})" if detail else node
