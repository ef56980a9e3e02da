"""The records of the kernel program: their layouts on this side, and the ring buffer they come through.

The layouts are those of ``probe.c``, which checks the sizes given here when it is compiled. Kinds, decisions, limits
and reasons of losses stand here only: the compiler gets them (`DEFINITIONS`). All layouts are in the host's byte order,
without padding that the structures below do not name.

The ring buffer is read through a mapping, not through bcc's callback: a third of the cost per record. Its first page
holds the position of the reader, the second that of the kernel, then follow the data twice in a row so that no record
is split. A record is a word of length (bit 31: being written, bit 30: discarded), a word of page offset, and the data,
padded to 8.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator

SENT, PASSED, OPENED, DONE, CLOSED, EXITED, STACK = 1, 2, 3, 4, 5, 6, 7
"""First byte of a record: a send with its data, the descriptors of the send that follows, a socket that speaks for the
first time, the return of a send that was not sent in full (or of a sendmmsg), a socket that is closed, a process that
ends, a call stack (in a ring of its own)."""

IGNORED, FOLLOWED = 100, 200
"""Decisions about a socket."""

DATA_LIMIT = 65536
"""Bytes of a send that are captured."""
FD_LIMIT = 253
"""Descriptors of a send that are captured: SCM_MAX_FD of Linux (include/net/scm.h)."""
NAME_LIMIT = 64
"""Bytes of a directory entry's name that are captured, with the NUL at its end."""
PATH_LIMIT = 108
"""Bytes of a bound path (sun_path, unix(7))."""

SENT_HEAD = struct.Struct("=BBHIQQQIIQIIQQ16s")
"""kind, flags, call, tid, time, sock, inode, tgid, descriptors, length, captured, index, sequence, lost, comm; data.
flags 1: comm is given; else it is what it was when this thread last sent; 4: its stack was handed over before. The
record may be longer than the data."""
PASSED_HEAD = struct.Struct("=BBHIQQQII")
"""kind, flags, call, tid, time, sock, inode, count, unused; `PASSED_FD` times count."""
PASSED_FD = struct.Struct(f"=iIQQIIII{NAME_LIMIT}s")
"""number, mode, inode, size, magic of the file system, device, rdev, eventfd id, name of the directory entry."""
OPENED_ALL = struct.Struct(f"=BBHIQQQQQIIiHH16s{PATH_LIMIT}s{PATH_LIMIT}s")
"""kind, flags, call, tid, time, sock, inode, peer sock, peer inode, tgid, network namespace, peer pid, length of path,
length of peer's path, comm, path, peer's path."""
DONE_ALL = struct.Struct("=BBHIQqQ")
"""kind, flags, call, tid, time of the send, result, for sendmmsg bytes taken of the last message."""
CLOSED_ALL = struct.Struct("=BBHIQQQII16s")
"""kind, flags (1: the last reference, 2: unread data is thrown away), call, tid, time, sock, inode, tgid, exit code
with bit 31 when exiting, comm."""
EXITED_ALL = struct.Struct("=BBHIQII16s")
"""kind, flags, call, tgid, time, exit code as wait(2) gives it, unused, comm of the first thread."""
STACK_HEAD = struct.Struct("=BBHIQII21Q")
"""kind, flags (1: a kernel thread sent it), call, tid, time of the send, tgid, bytes of the stack, registers as in
struct pt_regs of x86-64 (r15 r14 r13 r12 bp bx r11 r10 r9 r8 ax cx dx si di orig_ax ip cs flags sp ss); the stack from
sp on. The record is as long as the longest."""

CALL_HEAD = struct.Struct("=BBHIIIQqiIII")
"""kind (0 entered, 1 returned), whether it names a descriptor, call, tid, tgid, ioctl (0: read or write), time, result,
descriptor, device number, bytes that follow, bytes that there are; `PASSED_FD`, and the bytes. In a ring of its own."""

ENTRY = struct.Struct("=QQQQ")
"""Of a socket: inode number and decision (low byte), sends, how many of them did not reach the ring, who spoke last."""
_BUCKETS, _WAYS, _DECISION_BITS = 16384, 4, 8

EVENTFD = struct.Struct("=QQQQ")
"""Of an event descriptor: whether it counts, how often it was signalled and read since it was passed, its id."""
_EVENTFDS = 65536
"""A power of two: see eventfds.h."""

_LOST = {
    "SENT": "send",
    "PASSED": "descriptors",
    "OPENED": "connection",
    "DONE": "return",
    "CLOSED": "close",
    "TABLE": "table full",
    "EXITED": "exit",
    "STACK": "stack",
}
LOST_REASONS = tuple(_LOST.values())
"""What the kernel program counts when it cannot hand a record over, in the order of its map."""

DEFINITIONS = {
    "SIZE_SENT": SENT_HEAD.size,
    "SIZE_PASSED": PASSED_HEAD.size,
    "SIZE_PASSED_FD": PASSED_FD.size,
    "SIZE_OPENED": OPENED_ALL.size,
    "SIZE_DONE": DONE_ALL.size,
    "SIZE_CLOSED": CLOSED_ALL.size,
    "SIZE_EXITED": EXITED_ALL.size,
    "SIZE_ENTRY": ENTRY.size,
    "SIZE_EVENTFD": EVENTFD.size,
    "SIZE_STACK": STACK_HEAD.size,
    "SIZE_CALL": CALL_HEAD.size + PASSED_FD.size,
    "SENT": SENT,
    "PASSED": PASSED,
    "OPENED": OPENED,
    "DONE": DONE,
    "CLOSED": CLOSED,
    "EXITED": EXITED,
    "STACK": STACK,
    "IGNORED": IGNORED,
    "FOLLOWED": FOLLOWED,
    "DECISION_BITS": _DECISION_BITS,
    "BUCKETS": _BUCKETS,
    "WAYS": _WAYS,
    "EVENTFDS": _EVENTFDS,
    "DATA_LIMIT": DATA_LIMIT,
    "FD_LIMIT": FD_LIMIT,
    "NAME_LIMIT": NAME_LIMIT,
    "PATH_LIMIT": PATH_LIMIT,
    "LOST_REASONS": len(_LOST),
    **{f"LOST_{name}": number for number, name in enumerate(_LOST)},
}
"""What the kernel program is compiled with: sizes that it checks, numbers that it uses."""

_BUSY, _DISCARDED = 1 << 31, 1 << 30
_POSITION = struct.Struct("Q")  # in one piece: the kernel writes it meanwhile
_LENGTH = struct.Struct("=I")


class RingBuffer:
    """A BPF ring buffer of ``size`` bytes, behind the map's file descriptor."""

    def __init__(self, fd: int, size: int) -> None:
        self.size = size
        page = mmap.PAGESIZE
        self._page = page
        self._reader_page = mmap.mmap(fd, page, offset=0)
        # Written in one piece, because the kernel reads it meanwhile: `struct` would write zeros before.
        self._reader = memoryview(self._reader_page).cast("Q")
        self._data = mmap.mmap(fd, page + 2 * size, prot=mmap.PROT_READ, offset=page)

    def waiting(self) -> int:
        """Bytes that the kernel has handed over and that are not taken."""
        return int(_POSITION.unpack_from(self._data, 0)[0] - self._reader[0])

    def take(self, limit: int) -> bytes:
        """The whole records there are, up to about ``limit`` bytes, as one piece for `split`; makes their room free."""
        head: int = self._reader[0]
        tail: int = _POSITION.unpack_from(self._data, 0)[0]
        end = min(tail, head + limit)
        data, first, mask, length = self._data, self._page, self.size - 1, _LENGTH.unpack_from
        at = head
        while at < end:
            (size,) = length(data, first + (at & mask))
            if size & _BUSY:
                break
            at += ((size & ~_DISCARDED) + 15) & ~7
        if at == head:
            return b""
        start = first + (head & mask)
        piece = data[start : start + at - head]
        self._reader[0] = at
        return piece

    def close(self) -> None:
        """Unmaps it."""
        self._reader.release()
        self._reader_page.close()
        self._data.close()


class SocketTable:
    """What the kernel program knows of sockets, behind the map's file descriptor."""

    def __init__(self, fd: int) -> None:
        self._data = mmap.mmap(fd, ENTRY.size * _WAYS * _BUCKETS)
        self._words = memoryview(self._data).cast("Q")  # as in `RingBuffer`

    def sends(self, inode: int) -> tuple[int, int] | None:
        """Sends on a socket so far, and how many of them did not reach the ring; None for one that is not followed."""
        at = self._find(inode)
        if at is None:
            return None
        word, sequence, lost, _ = ENTRY.unpack_from(self._data, at)
        return (sequence, lost) if word & (1 << _DECISION_BITS) - 1 == FOLLOWED else None

    def decide(self, inode: int, decision: int) -> None:
        """Changes the decision about a socket that is known; 0 forgets it."""
        if (at := self._find(inode)) is not None:
            self._words[at // 8] = inode << _DECISION_BITS | decision if decision else 0

    def close(self) -> None:
        """Unmaps it."""
        self._words.release()
        self._data.close()

    def _find(self, inode: int) -> int | None:
        bucket = inode % _BUCKETS * _WAYS * ENTRY.size
        for at in range(bucket, bucket + _WAYS * ENTRY.size, ENTRY.size):
            if self._words[at // 8] >> 8 == inode:
                return at
        return None


class EventfdTable:
    """How often event descriptors were signalled, behind the map's file descriptor."""

    def __init__(self, fd: int) -> None:
        self._data = mmap.mmap(fd, EVENTFD.size * _EVENTFDS, prot=mmap.PROT_READ)

    def signals(self, number: int) -> int | None:
        """How often the event descriptor with this id was signalled since it was passed; None where it is not counted.

        At least: where nobody was seen to signal it, how often it was read. One read takes all signals before it.
        """
        if number < 0:
            return None
        counts, signals, reads, known = EVENTFD.unpack_from(self._data, number % _EVENTFDS * EVENTFD.size)
        return (signals or reads) if counts and known == number else None

    def close(self) -> None:
        """Unmaps it."""
        self._data.close()


def split(piece: bytes) -> Iterator[tuple[int, int, int]]:
    """Kind, offset and size of each record in what `RingBuffer.take` gave."""
    at, end, length = 0, len(piece), _LENGTH.unpack_from
    while at < end:
        (size,) = length(piece, at)
        if not size & _DISCARDED:
            yield piece[at + 8], at + 8, size
        at += ((size & ~_DISCARDED) + 15) & ~7


def cpus() -> int:
    """CPUs that may exist while the system runs: the scratch space of the kernel program is indexed by them."""
    try:
        with open("/sys/devices/system/cpu/possible", encoding="ascii") as file:
            return int(file.read().strip().replace(",", "-").rsplit("-", 1)[-1]) + 1
    except (OSError, ValueError):
        return os.cpu_count() or 1
