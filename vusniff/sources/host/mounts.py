"""Files that can be looked at, read and closed without waiting for anybody, and the others.

A peer decides what it passes. A file of a file system in user space (FUSE), which any user may mount, answers when its
server likes to: fstat, fstatfs, read and even close wait for it. What is asked here is answered by the kernel alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import stat
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

_MEMORY = frozenset({b"tmpfs", b"ramfs", b"hugetlbfs"})
_NO_DISK = 0
"""Major number of what lies on no block device; to mount one takes root."""
_DISKS = frozenset({b"btrfs"})
"""On disks, and their files have numbers of their own."""
_STACKED = frozenset({b"overlay"})
"""Believed where we are mounted ourselves: in a namespace of his own anybody can stack one upon FUSE."""
_HUGE = (21 << 26, 30 << 26)
"""MFD_HUGE_2MB and MFD_HUGE_1GB (include/uapi/linux/memfd.h): every size has a mount of its own."""
_MOUNTS_LIMIT = 4 << 20
"""Bytes of a list of mounts that are read."""
_AT_FDCWD, _AT_EMPTY_PATH, _AT_STATX_DONT_SYNC = -100, 0x1000, 0x4000
_STATX_BASIC_STATS, _STATX_MNT_ID = 0x7FF, 0x1000
_STATX = struct.Struct("=I24xH2xQQ80x4IQ104x")
"""struct statx (include/uapi/linux/stat.h): what of it is filled, mode, inode, size, device of a device, device that it
lies on, number of its mount."""


class Status(NamedTuple):
    """What is known of a file."""

    mode: int
    inode: int
    size: int
    device: tuple[int, int]
    """Major and minor number of a device."""
    lies_on: tuple[int, int]
    """Those of what it lies on."""
    mount: int | None = None
    """Number of its mount; None before Linux 5.8."""


def status(target: int | bytes) -> Status:
    """What the kernel knows of a descriptor of ours, or of a path in /proc, without asking a file system (statx(2) with
    AT_STATX_DONT_SYNC). Raises OSError."""
    statx = _statx()
    if statx is None:
        found = os.stat(target)
        device, lies_on = ((os.major(one), os.minor(one)) for one in (found.st_rdev, found.st_dev))
        return Status(found.st_mode, found.st_ino, found.st_size, device, lies_on)
    filled = ctypes.create_string_buffer(_STATX.size)
    at, path = (target, b"") if isinstance(target, int) else (_AT_FDCWD, target)
    if statx(at, path, _AT_EMPTY_PATH | _AT_STATX_DONT_SYNC, _STATX_BASIC_STATS | _STATX_MNT_ID, filled):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    mask, mode, inode, size, *numbers, mount = _STATX.unpack(filled.raw)
    device, lies_on = (numbers[0], numbers[1]), (numbers[2], numbers[3])
    return Status(mode, inode, size, device, lies_on, mount if mask & _STATX_MNT_ID else None)


@functools.cache
def _statx() -> Callable[..., int] | None:
    """statx of the C library: in glibc since 2.28."""
    return getattr(ctypes.CDLL(None, use_errno=True), "statx", None)


def is_at_hand(fd: int, pid: int | None = None, pids: Iterable[int] = ()) -> bool:
    """Whether an open file of ours, or of process ``pid``, lies in memory or on a disk of this machine.

    ``pids``: processes whose mounts are looked at too, since they may have a namespace of their own. Not known is no.
    """
    process = "/proc/self" if pid is None else f"/proc/{pid}"
    with contextlib.suppress(OSError, ValueError):
        found = status(f"{process}/fd/{fd}".encode())
        if found.lies_on[0] != _NO_DISK:
            return True
        mount = _mount_by(f"{process}/fdinfo/{fd}") if found.mount is None else found.mount
        if mount in _OF_MEMFDS:
            return True
        kind = _mounts("self").get(mount)
        if kind is not None:
            return kind in _MEMORY | _DISKS | _STACKED
        return any(_mounts(pid).get(mount) in _MEMORY | _DISKS for pid in pids)
    return False


class Closer:
    """Closes what a peer passed. Where that could wait, a thread does it: a file system that does not answer holds up
    nobody but those who have their descriptors closed here."""

    __slots__ = ("_left", "waiting")

    def __init__(self) -> None:
        self._left: deque[int] = deque()
        self.waiting = 0
        """Descriptors that are to be closed, the one that is being closed with them."""

    def give_back(self, fd: int) -> None:
        """Close a descriptor, now or as soon as it can be."""
        try:
            waits = stat.S_ISREG(status(fd).mode) and not is_at_hand(fd)
        except OSError:
            waits = True
        if not waits:
            os.close(fd)
            return
        global _waiting
        with _LOCK:
            self._left.append(fd)
            self.waiting += 1
            _waiting += 1
            is_first = self.waiting == 1
        if is_first:
            threading.Thread(target=self._close, name="closer", daemon=True).start()

    def _close(self) -> None:
        global _waiting
        while True:
            with contextlib.suppress(OSError):
                os.close(self._left.popleft())
            with _LOCK:
                self.waiting -= 1
                _waiting -= 1
                if not self.waiting:
                    return


def files_waiting() -> int:
    """Descriptors that are to be closed, of all closers, those of connections that have ended included."""
    return _waiting


_LOCK = threading.Lock()
_waiting = 0
give_back = Closer().give_back
"""Close a descriptor that somebody passed, beside all others that are closed here."""


def _mount_by(fdinfo: str) -> int:
    """Number of the mount that an open file lies on. Raises OSError, and ValueError where it is not told."""
    with open(fdinfo, "rb") as file:
        found = file.read(4096).partition(b"mnt_id:")[2]
    return int(found.split(maxsplit=1)[0]) if found else int(found)


def _of_memfds() -> frozenset[int]:
    """Mounts that memfds lie on, which are in no list: the kernel's own."""
    found = set()
    for flags in (0, *(os.MFD_HUGETLB | size for size in _HUGE)):
        with contextlib.suppress(OSError):
            fd = os.memfd_create("vusniff", os.MFD_CLOEXEC | flags)
            try:
                found.add(_mount_by(f"/proc/self/fdinfo/{fd}"))
            finally:
                os.close(fd)
    return frozenset(found)


_OF_MEMFDS = _of_memfds()


def _mounts(pid: int | str) -> dict[int, bytes]:
    """Number of a mount -> type of its file system, as a process sees them (proc(5), mountinfo)."""
    found = {}
    with contextlib.suppress(OSError), open(f"/proc/{pid}/mountinfo", "rb") as file:
        for line in file.read(_MOUNTS_LIMIT).split(b"\n"):
            number, _, rest = line.partition(b" ")
            kind = rest.partition(b" - ")[2].partition(b" ")[0]
            if number.isdigit() and kind:
                found[int(number)] = kind
    return found
