"""What a descriptor is, asked of the kernel: its status, the link in /proc/PID/fd and, for eventfds, fdinfo.

Identities are those that every source writes (see `vusniff.record.Descriptor`). All eventfds share one anonymous inode,
so theirs is the eventfd-id that fdinfo shows since Linux 5.2; before that an eventfd has no identity. Other anonymous
inodes (``anon_inode:[io_uring]``) have none either.

Nothing here raises, or waits: a descriptor that cannot be looked at is of kind UNKNOWN. It knows no sockets' peers and
no vhost-user.
"""

from __future__ import annotations

import os
import stat

from vusniff.record import Descriptor, DescriptorKind
from vusniff.sources.host.mounts import Status, status

_MEMFD = b"/memfd:"
_DELETED = b" (deleted)"
_DMABUF = b"/dmabuf:"
_ANONYMOUS = b"anon_inode:"
_EVENTFD = b"anon_inode:[eventfd]"
_USERFAULTFD = b"anon_inode:[userfaultfd]"


def describe(fd: int, number: int | None = None) -> Descriptor:
    """A descriptor that this process holds; ``number`` is what it was called in the process that sent it."""
    return _describe(b"/proc/self/", fd, fd, number)


def describe_of(pid: int, fd: int) -> Descriptor:
    """Descriptor ``fd`` of process ``pid``, as it is now: a number that was closed may already mean something else."""
    process = b"/proc/%d/" % pid
    return _describe(process, fd, process + b"fd/%d" % fd, fd)


def _describe(process: bytes, fd: int, target: int | bytes, number: int | None) -> Descriptor:
    try:
        called = os.readlink(process + b"fd/%d" % fd)
        if called == _EVENTFD:
            counter = _eventfd_id(process + b"fdinfo/%d" % fd)
            return Descriptor(DescriptorKind.EVENTFD, counter and f"eventfd:{counter}", number)
        found = status(target)
    except OSError:
        return Descriptor(DescriptorKind.UNKNOWN, None, number)
    if called.startswith(_MEMFD) and called.endswith(_DELETED):
        memfd = _text(called[len(_MEMFD) : -len(_DELETED)])
        return Descriptor(DescriptorKind.MEMFD, f"memfd:{found.inode}", number, memfd, found.size)
    return _classify(found, called, number)


def _classify(found: Status, called: bytes, number: int | None) -> Descriptor:
    mode, inode = found.mode, found.inode
    if called == _USERFAULTFD:
        return Descriptor(DescriptorKind.USERFAULTFD, f"userfaultfd:{inode}", number)
    if called.startswith(_ANONYMOUS):
        return Descriptor(DescriptorKind.OTHER, None, number, _text(called))
    if stat.S_ISSOCK(mode):
        return Descriptor(DescriptorKind.SOCKET, f"socket:{inode}", number)
    if stat.S_ISFIFO(mode):
        name = None if called.startswith(b"pipe:") else _text(called)
        return Descriptor(DescriptorKind.PIPE, f"pipe:{inode}", number, name)
    if called.startswith(_DMABUF):
        buffer = _text(called[len(_DMABUF) :]) or None
        return Descriptor(DescriptorKind.DMABUF, f"dmabuf:{inode}", number, buffer, found.size)
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        major, minor = found.device
        return Descriptor(DescriptorKind.DEVICE, f"device:{major}:{minor}", number, _text(called))
    major, minor = found.lies_on
    identity = f"file:{major}:{minor}:{inode}"
    if stat.S_ISREG(mode):
        return Descriptor(DescriptorKind.FILE, identity, number, _text(called), found.size)
    return Descriptor(DescriptorKind.OTHER, identity, number, _text(called))


def _eventfd_id(fdinfo: bytes) -> str | None:
    fd = os.open(fdinfo, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _, found, rest = os.read(fd, 4096).partition(b"eventfd-id:")
    finally:
        os.close(fd)
    return str(int(rest.split(maxsplit=1)[0])) if found else None


def _text(name: bytes) -> str:
    """A name of any bytes as text that can be written as UTF-8."""
    return name.decode("utf-8", "backslashreplace")
