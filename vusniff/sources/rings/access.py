"""Memory that two processes share, as far as we may read it: found by descriptor, read and never written.

Ways, in this order: a duplicate of the descriptor, which a proxy keeps as it passes (no privilege); the same object
below /proc/PID/fd of either peer, by its identity; pidfd_getfd(2); the addresses of the front-end by
process_vm_readv(2). All but the first need CAP_SYS_PTRACE, or to be the same user (ptrace(2), "Ptrace access mode
checking"). That is enough for what a peer still holds under the number that it passed, and for addresses; to find it
under another number takes CAP_DAC_READ_SEARCH too. A file of another process is opened anew, read-only, where that is
allowed; only one that this process may read itself.

Only what lies in memory or on a local disk is read: a peer decides what it passes, and a read from a file system in
user space or on a network could wait for ever.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import functools
import os
import stat
from collections.abc import Callable, Iterable, Sequence

from vusniff.families.places import Buffer, MemoryRegion
from vusniff.record import Descriptor, DescriptorKind
from vusniff.sources.host.descriptors import describe, describe_of
from vusniff.sources.host.mounts import give_back, is_at_hand

Read = Callable[[], bytes]
"""Reads one piece. Raises OSError; shorter where the file ends."""
KEPT_LIMIT = 1024
"""Duplicates kept at a time."""
_LOOKED_AT = 4096
"""Descriptors of one process that are looked at."""
_END = (1 << 63) - 1
"""Of the longest file."""
_PIDFD_GETFD = 438
"""Its number in every architecture (asm-generic/unistd.h)."""
FAR = "it lies neither in memory nor on a disk of this machine: reading it could block for ever"
NEEDS_PTRACE = "it needs CAP_SYS_PTRACE (run as root)"
NEEDS = f"{NEEDS_PTRACE}, or vusniff proxy, which needs nothing"
_libc = ctypes.CDLL(None, use_errno=True)


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class UnreadableError(Exception):
    """Memory that cannot be read, and why: the end of a sentence that begins with what it is."""


class Access:
    """All that is held open to be read."""

    def __init__(self, reserved: Callable[[int], bool] = lambda fd: False) -> None:
        self.reserved = reserved
        """Says of the number of a new descriptor that there is no room for it."""
        self.kept: dict[str, int] = {}
        """Identity -> our own descriptor: duplicates, and what was opened of other processes."""
        self._new: set[str] = set()
        """Kept since the last `retain`: what it is for is not known yet."""
        self.full = False
        """Something could not be kept for want of room."""

    def keep(self, fd: int, descriptor: Descriptor) -> None:
        """Keeps a duplicate of a descriptor that passes, if it may be memory or an eventfd."""
        identity = descriptor.identity
        if identity is None or descriptor.kind not in (
            DescriptorKind.MEMFD,
            DescriptorKind.FILE,
            DescriptorKind.EVENTFD,
        ):
            return
        self._new.add(identity)
        if identity in self.kept:
            return
        if len(self.kept) >= KEPT_LIMIT:
            self.full = True
            return
        with contextlib.suppress(OSError, UnreadableError):
            self._hold(identity, os.dup(fd))

    def retain(self, wanted: Iterable[str]) -> None:
        """Closes what is neither wanted nor new: a duplicate keeps memory alive after its owners have gone."""
        wanted = set(wanted)
        for identity in [one for one in self.kept if one not in wanted and one not in self._new]:
            give_back(self.kept.pop(identity))
        self._new.clear()

    def close(self) -> None:
        """Closes all."""
        self._new.clear()
        self.retain(())

    def _hold(self, identity: str, fd: int) -> int:
        if self.reserved(fd):
            give_back(fd)
            self.full = True
            raise UnreadableError("there is no room for more open files (raise the limit, ulimit -n)")
        self.kept[identity] = fd
        return fd

    def find(self, descriptor: Descriptor, pids: Sequence[int]) -> int:
        """Our own descriptor of the same object; ``pids`` are the peers that may hold it. Raises `UnreadableError`."""
        identity = descriptor.identity
        if identity is None:
            raise UnreadableError("it was not seen what the descriptor is")
        held = self.kept.get(identity)
        if held is None:
            held = self._hold(identity, _opened(descriptor, identity, pids))
        return held

    def memory(self, region: MemoryRegion, pids: Sequence[int]) -> Callable[[int, int], Read]:
        """How pieces of a region are read: ``(offset, bytes)`` gives what reads them. Raises `UnreadableError`.

        ``pids``: the front-end first, whose addresses are read where its memory has no descriptor.
        """
        try:
            fd = self._file(region.descriptor, pids)
        except UnreadableError as error:
            try:
                return _by_address(region, pids)
            except UnreadableError as by_address:
                raise (by_address if region.descriptor.identity is None and pids else error) from None
        return _pieces(fd, region.file_offset)

    def buffer(self, buffer: Buffer, pids: Sequence[int]) -> Callable[[int, int], Read]:
        """The same for a piece of a file."""
        return _pieces(self._file(buffer.descriptor, pids), buffer.offset)

    def _file(self, descriptor: Descriptor, pids: Sequence[int]) -> int:
        fd = self.find(descriptor, pids)
        if not is_at_hand(fd, None, pids):
            raise UnreadableError(FAR)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise UnreadableError("it is not a file in memory")
        return fd

    def eventfd_count(self, descriptor: Descriptor, pids: Sequence[int]) -> int | None:
        """The count of an eventfd by /proc: what was signalled and not read yet. None where it cannot be seen."""
        held = self.kept.get(descriptor.identity or "")
        number = descriptor.number if held is None else held
        for pid in pids if held is None else ("self",):
            with contextlib.suppress(OSError, KeyError, ValueError):
                facts = _facts(f"/proc/{pid}/fdinfo/{number}")
                if held is not None or f"eventfd:{facts['eventfd-id']}" == descriptor.identity:
                    return int(facts["eventfd-count"], 16)
        return None


def _pieces(fd: int, start: int) -> Callable[[int, int], Read]:
    def piece(offset: int, size: int) -> Read:
        if start + offset + size > _END:
            raise UnreadableError("no file can be that long")
        return functools.partial(os.pread, fd, size, start + offset)

    return piece


def _facts(path: str) -> dict[str, str]:
    """What a file of fdinfo says first, by name (proc_pid_fdinfo(5)); the id of an eventfd from Linux 5.2 on."""
    with open(path, "rb") as file:
        said = file.read(4096).decode("ascii", "replace")
    return {name: value.strip() for name, _, value in (line.partition(":") for line in said.splitlines())}


def _opened(descriptor: Descriptor, identity: str, pids: Sequence[int]) -> int:
    """The object of a descriptor, by the peers that hold it."""
    why = f"no peer holds {identity} any more"
    for pid in pids:
        listed = True
        try:
            numbers = sorted(map(int, os.listdir(f"/proc/{pid}/fd")), key=lambda n: (n != descriptor.number, n))
        except PermissionError:  # without CAP_DAC_READ_SEARCH: one is had by its number all the same
            listed, why = False, NEEDS
            numbers = [] if descriptor.number is None else [descriptor.number]
        except OSError:
            continue
        for number in numbers[:_LOOKED_AT]:
            if listed and describe_of(pid, number).identity != identity:
                continue
            try:
                fd = _taken(pid, number, descriptor, pids)
            except UnreadableError as error:
                why = str(error)
                continue
            # Not as root: whatever we may open is then no more than our user may.
            if fd is None and os.geteuid() != 0 and is_at_hand(number, pid, pids):
                fd = _reopened(f"/proc/{pid}/fd/{number}", descriptor)
            if fd is None:
                why = NEEDS
                continue
            if describe(fd).identity == identity:
                return fd
            give_back(fd)  # the number has come to mean something else
    raise UnreadableError(why)


def _reopened(path: str, descriptor: Descriptor) -> int | None:
    """A file opened anew, read-only; None where that is not allowed, or it is not a regular file."""
    if descriptor.kind is DescriptorKind.EVENTFD:
        return None
    with contextlib.suppress(OSError):
        if stat.S_ISREG(os.stat(path).st_mode):
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    return None


def _taken(pid: int, number: int, descriptor: Descriptor, pids: Sequence[int]) -> int | None:
    """A descriptor of another process by pidfd_getfd(2), read-only where it can be opened so.

    Only one that its process may read: whoever passes a file that was opened by O_PATH, or for writing only, may not
    know what is in it, and to open it anew as root would tell. Raises `UnreadableError` for such a one.
    """
    with contextlib.suppress(OSError):
        process = os.pidfd_open(pid)
        try:
            fd = int(_libc.syscall(_PIDFD_GETFD, process, number, 0))
        finally:
            os.close(process)
        if fd < 0:
            return None
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        if flags & os.O_PATH or flags & os.O_ACCMODE == os.O_WRONLY:
            give_back(fd)
            raise UnreadableError("the process that holds it has not opened it for reading")
        if descriptor.kind is not DescriptorKind.EVENTFD and not is_at_hand(fd, None, pids):
            give_back(fd)
            raise UnreadableError(FAR)
        own = _reopened(f"/proc/self/fd/{fd}", descriptor)
        if own is None:
            return fd
        give_back(fd)
        return own
    return None


def _owner(pid: int) -> int:
    """Whose process it is: root's where it may not be looked into by its user, as one with the rights of another."""
    return os.stat(f"/proc/{pid}").st_uid


def _by_address(region: MemoryRegion, pids: Sequence[int]) -> Callable[[int, int], Read]:
    """A region in the front-end's own address space. Raises `UnreadableError`."""
    if not pids:
        raise UnreadableError("it is not known which process is the front-end")
    pid, start = pids[0], region.user_address
    try:
        owner = _owner(pid)
    except OSError:
        raise UnreadableError(f"process {pid}, whose memory it is, has ended") from None

    def piece(offset: int, size: int) -> Read:
        buffer = ctypes.create_string_buffer(size)
        here = _Iovec(ctypes.addressof(buffer), size)
        there = _Iovec(start + offset, size)

        def read() -> bytes:
            got = _libc.process_vm_readv(pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0)
            if got < 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            if _owner(pid) != owner:  # it runs a program with other rights by now, which is not the front-end
                raise OSError(errno.EPERM, os.strerror(errno.EPERM))
            return buffer.raw[:got]

        return read

    try:
        piece(0, 1)()
    except PermissionError:
        raise UnreadableError(f"it is in the memory of process {pid}: {NEEDS_PTRACE}") from None
    except OSError as error:
        raise UnreadableError(f"it is in the memory of process {pid}, which cannot be read: {error.strerror}") from None
    return piece
