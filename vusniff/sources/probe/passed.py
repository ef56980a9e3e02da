"""What a passed descriptor is, from what the kernel program read of its file while it was being sent.

Gives the identities of `vusniff.sources.host.descriptors`. The kernel side cannot walk a path, so names of files
and devices are asked of /proc, and believed only when what is found there is still the same file.
"""

from __future__ import annotations

import stat
from collections.abc import Callable

from vusniff.bpf.records import NAME_LIMIT, PASSED_FD
from vusniff.record import Descriptor, DescriptorKind
from vusniff.sources.host.descriptors import describe_of

_ANONYMOUS, _TMPFS, _HUGETLBFS, _DMABUF = 0x09041934, 0x01021994, 0x958458F6, 0x444D4142
"""Magic numbers of file systems (include/uapi/linux/magic.h)."""
_OVERLAYFS, _BTRFS = 0x794C7630, 0x9123683E
"""Those whose stat(2) tells another device than that of the file system."""
_MEMFD = b"memfd:"

_NAMED_BY_PATH = frozenset(
    {DescriptorKind.FILE, DescriptorKind.DEVICE, DescriptorKind.DMABUF, DescriptorKind.OTHER, DescriptorKind.PIPE}
)

Fields = tuple[int, int, int, int, int, int, int, int, bytes]
"""As `PASSED_FD`."""


def descriptors(data: bytes, pid: int) -> tuple[Descriptor, ...]:
    """The descriptors of one send, from the records `PASSED_FD` in ``data``; ``pid`` is the sender."""
    return tuple(describe(fields, pid) for fields in PASSED_FD.iter_unpack(data))


def describe(fields: Fields, pid: int, look: Callable[[int, int], Descriptor] = describe_of) -> Descriptor:
    """One descriptor. ``look`` asks /proc."""
    seen = _from_kernel(fields)
    name = fields[8].split(b"\0", 1)[0]
    cut_short = seen.kind is DescriptorKind.MEMFD and len(name) >= NAME_LIMIT - 1
    if cut_short or (seen.kind in _NAMED_BY_PATH and seen.name is not None):
        now = look(pid, fields[0])
        if now.kind is seen.kind and _is_same(now.identity, seen.identity, fields[4]):
            return now
    return seen


def _is_same(now: str | None, seen: str | None, magic: int) -> bool:
    if now is None or seen is None:
        return False
    if magic in (_OVERLAYFS, _BTRFS):
        return now.rpartition(":")[2] == seen.rpartition(":")[2]
    return now == seen


def _from_kernel(fields: Fields) -> Descriptor:
    number, mode, inode, size, magic, device, rdev, eventfd, entry = fields
    name = entry.split(b"\0", 1)[0]
    if not mode and not inode:
        return Descriptor(DescriptorKind.UNKNOWN, None, number)
    if magic == _ANONYMOUS:
        return _anonymous(number, inode, eventfd, name)
    if magic in (_TMPFS, _HUGETLBFS) and name.startswith(_MEMFD):
        return Descriptor(DescriptorKind.MEMFD, f"memfd:{inode}", number, _text(name[len(_MEMFD) :]), size)
    if stat.S_ISSOCK(mode):
        return Descriptor(DescriptorKind.SOCKET, f"socket:{inode}", number)
    if stat.S_ISFIFO(mode):
        return Descriptor(DescriptorKind.PIPE, f"pipe:{inode}", number, _text(name) if name else None)
    if magic == _DMABUF:
        return Descriptor(DescriptorKind.DMABUF, f"dmabuf:{inode}", number, _text(name) or None, size)
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        return Descriptor(DescriptorKind.DEVICE, f"device:{_numbers(rdev)}", number, _text(name))
    identity = f"file:{_numbers(device)}:{inode}"
    if stat.S_ISREG(mode):
        return Descriptor(DescriptorKind.FILE, identity, number, _text(name), size)
    return Descriptor(DescriptorKind.OTHER, identity, number, _text(name))


def _anonymous(number: int, inode: int, eventfd: int, name: bytes) -> Descriptor:
    kind = name.strip(b"[]")
    if kind == b"eventfd":
        return Descriptor(DescriptorKind.EVENTFD, f"eventfd:{eventfd}", number)
    if kind == b"userfaultfd":
        return Descriptor(DescriptorKind.USERFAULTFD, f"userfaultfd:{inode}", number)
    return Descriptor(DescriptorKind.OTHER, None, number, "anon_inode:" + _text(name))


def _numbers(device: int) -> str:
    """major:minor of the kernel's own dev_t."""
    return f"{device >> 20}:{device & 0xFFFFF}"


def _text(name: bytes) -> str:
    return name.decode(errors="backslashreplace")
