"""Which file of /dev is a vhost device of the kernel, and what it is called where it is shown. Does no I/O."""

from __future__ import annotations

from vusniff.families.vhost_kernel.protocol import KERNEL_NAME, VDPA_NAME, VDUSE, VDUSE_NAME
from vusniff.record import Process

_VDPA = "/dev/vhost-vdpa-"
_VHOST = "/dev/vhost-"
_VDUSE = "/dev/vduse/"
CONTROL = "/dev/vduse/control"
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
    """The back-end's node of VDUSE that a driver's node is about, if VDUSE made the device: it is called alike."""
    return f"{_VDUSE}{detail.partition(',')[0]}" if path.startswith(_VDPA) else ""


def kernel_side(path: str, detail: str = "", served_by: str | None = None) -> Process:
    """The kernel, as the other end of a device: ``kernel vhost (tap0)``, ``vdpa0 (vp_vdpa)``, ``VDUSE blk0 (qemu)``.

    ``detail`` is what stands in brackets. ``served_by``: VDUSE made it, and this program serves it, empty where that is
    not known.
    """
    if served_by is not None:
        name = vduse_node(path, detail).removeprefix(_VDUSE)
        return Process(0, "kernel", None, f"VDUSE {name} ({served_by})" if served_by else f"VDUSE {name}")
    if path.startswith(_VDUSE):
        words = "vDPA bus" if path != CONTROL else "VDUSE control"
    elif path.startswith(_VDPA):
        words = f"vdpa{path.removeprefix(_VDPA)}"
    else:
        words = _WORDS.get(path, "kernel vhost")
    return Process(0, "kernel", None, f"{words} ({detail})" if detail else words)


def path_of(node: str, detail: str = "") -> str:
    """What a device is called in a capture: ``/dev/vhost-net (tap0)``."""
    return f"{node} ({detail})" if detail else node
