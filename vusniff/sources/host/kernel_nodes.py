"""The vhost devices of the kernel that this machine has: their numbers and names, asked of /proc and /dev."""

from __future__ import annotations

import os
import stat

from vusniff.families.vhost_kernel.protocol import KERNEL_NAME
from vusniff.sources.host import mounts
from vusniff.sources.host.kernel_devices import family_of_node
from vusniff.sources.host.unixdiag import comm
from vusniff.values import dataclass

FOLDERS = ("/dev", "/dev/vduse")
TUN = "/dev/net/tun"


def nodes() -> dict[int, str]:
    """Device number, as the kernel keeps it (12 bits major, 20 bits minor), -> path, of those in /dev."""
    found: dict[int, str] = {}
    for folder in FOLDERS:
        try:
            names = os.listdir(folder)
        except OSError:
            continue
        for name in names:
            path = f"{folder}/{name}"
            if family_of_node(path) is None:
                continue
            try:
                status = os.stat(path)
            except OSError:
                continue
            if stat.S_ISCHR(status.st_mode):
                found[os.major(status.st_rdev) << 20 | os.minor(status.st_rdev)] = path
    return found


@dataclass(frozen=True, slots=True)
class OpenDevice:
    """A vhost device of the kernel that a process has open."""

    path: str
    detail: str
    """Its tap, or what it is on the vDPA bus; empty where that is not known."""
    pid: int
    comm: str
    fds: tuple[int, ...]


def open_devices() -> list[OpenDevice]:
    """Those that processes have open whose descriptors this one may look at."""
    known = set(nodes().values())
    found: dict[tuple[int, str, str], list[int]] = {}
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdecimal()) if known else ():
        try:
            numbers = sorted(int(name) for name in os.listdir(f"/proc/{pid}/fd"))
        except OSError:
            continue
        for fd in numbers:
            try:
                path = os.readlink(f"/proc/{pid}/fd/{fd}")
            except OSError:
                continue
            if path in known:
                found.setdefault((pid, path, detail_of(pid, fd, path)), []).append(fd)
    return [OpenDevice(path, detail, pid, comm(pid), tuple(fds)) for (pid, path, detail), fds in found.items()]


def is_open(pid: int, fd: int, rdev: int) -> bool:
    """Whether a process still has a device open by this number. What it may have there instead is not asked."""
    try:
        found = mounts.status(f"/proc/{pid}/fd/{fd}".encode())
    except OSError:
        return False
    major, minor = found.device
    return stat.S_ISCHR(found.mode) and major << 20 | minor == rdev


def tap_of(pid: int, fd: int) -> str:
    """The tap that a /dev/vhost-net of a process is for, as far as its descriptors tell: those who open both open the
    tap before, so it is the one with the nearest number below, or the only one; empty for none."""
    found: dict[int, str] = {}
    try:
        numbers = [int(name) for name in os.listdir(f"/proc/{pid}/fd")]
    except (OSError, ValueError):
        return ""
    for number in numbers:
        name = tap_name(pid, number)
        if name:
            found[number] = name
    if len(set(found.values())) == 1:
        return next(iter(found.values()))
    below = [number for number in found if number < fd]
    return found[max(below)] if below else ""


def tap_name(pid: int, fd: int) -> str:
    """Name of the interface behind a descriptor of /dev/net/tun (``iff:`` in fdinfo); empty for anything else."""
    try:
        if os.readlink(f"/proc/{pid}/fd/{fd}") != TUN:
            return ""
        with open(f"/proc/{pid}/fdinfo/{fd}", encoding="utf-8", errors="replace") as file:
            return next((line.split(":", 1)[1].strip() for line in file if line.startswith("iff:")), "")
    except OSError:
        return ""


def vdpa_name(path: str) -> str:
    """What a vDPA device is called on its bus, and what made it: ``vduse0, vduse``; empty where sysfs does not say.

    A node has no class: it stands below its device on the bus ``vdpa``, and that below what made it, which is a device
    with a driver (``vp_vdpa``) or of a class (``vduse``). Linux 6.12: ``/sys/devices/virtual/vduse/NAME/NAME/
    vhost-vdpa-0`` (vhost_vdpa_probe, vduse_dev_init_vdpa).
    """
    try:
        number = os.stat(path).st_rdev
        node = os.path.realpath(f"/sys/dev/char/{os.major(number)}:{os.minor(number)}")
    except OSError:
        return ""
    device, maker = os.path.dirname(node), os.path.dirname(os.path.dirname(node))
    if not os.path.isdir(node) or os.path.basename(os.path.realpath(f"{device}/subsystem")) != "vdpa":
        return ""
    made = next((f"{maker}/{link}" for link in ("driver", "subsystem") if os.path.islink(f"{maker}/{link}")), maker)
    return f"{os.path.basename(device)}, {os.path.basename(os.path.realpath(made))}"


def detail_of(pid: int, fd: int, path: str) -> str:
    """What is known of the other side of a device: its tap, or what it is on the vDPA bus."""
    family = family_of_node(path)
    if path == "/dev/vhost-net":
        return tap_of(pid, fd)
    return vdpa_name(path) if family not in (None, KERNEL_NAME) and "vhost-vdpa" in path else ""
