"""Sends in the order in which they began, each with what the kernel took of it.

The kernel program reports a send when it begins, and when it returns only if not all of it was sent: silence means
success. So a send is given out when its thread sends again, or `HOLD_NS` after it began. What failed by then is not
shown as sent, and what was sent in part is shown in part; what fails later than that is shown, and counted.

Knows the records of the kernel program; must not know connections, files or time zones: times are the kernel's
monotonic nanoseconds.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from vusniff.bpf import records
from vusniff.record import Stack
from vusniff.values import dataclass

HOLD_NS = 50_000_000
_THREADS = 65536
"""Names of threads remembered."""


@dataclass(slots=True)
class Send:
    """One call that sends on a socket, or one message of a sendmmsg."""

    inode: int
    sock: int
    time: int
    tgid: int
    tid: int
    comm: bytes
    data: bytes
    length: int
    """Bytes that were to be sent; ``data`` holds at most the first 64 KiB."""
    lost: int
    """Sends on this socket that did not reach us before this one."""
    count: int
    """Descriptors."""
    descriptors: bytes | None
    """`records.PASSED_FD` for each; None when there are none, or when their record did not reach us."""
    index: int
    stacked: bool = False
    """Its call stack was handed over."""
    stack: Stack | None = None
    given: bool = False
    """It was written."""
    result: int | None = None
    """Bytes that the kernel took, or a negative error number; None while nothing else is known than that it began."""


@dataclass(frozen=True, slots=True)
class NewSocket:
    """A socket speaks for the first time: who it is."""

    inode: int
    sock: int
    peer_inode: int
    """0 while the connection is not accepted."""
    peer_sock: int
    time: int
    tgid: int
    tid: int
    comm: bytes
    netns: int
    peer_pid: int
    """Who connected, or who called listen."""
    path: bytes
    peer_path: bytes


@dataclass(frozen=True, slots=True)
class Shut:
    """A descriptor of a socket is closed; ``final`` when the socket is gone with it, ``unread`` when it had
    data that nobody read: then its peer is told a reset."""

    inode: int
    sock: int
    time: int
    tgid: int
    final: bool
    unread: bool
    exit_code: int | None
    """As wait(2) gives it, when the process is ending."""


@dataclass(frozen=True, slots=True)
class Exited:
    """The last thread of a process ends, before its files are closed."""

    tgid: int
    time: int
    code: int
    """As wait(2) gives it."""
    comm: bytes


Event = Send | NewSocket | Shut | Exited


class Sends:
    """Puts records together and gives events back in order."""

    def __init__(self) -> None:
        self._queue: deque[Event] = deque()
        self._waiting: dict[int, list[Send]] = {}
        """By thread: the last call, as its messages."""
        self._passed: dict[int, bytes] = {}
        """By thread: the descriptors of the send that is to come."""
        self._comms: dict[int, bytes] = {}
        """By thread: its name."""
        self.belated: list[Send] = []
        """Given out as sent in full, and then not sent in full. Whoever reads takes them out."""
        self.overflowed: list[tuple[Send, int]] = []
        """The last captured message of a sendmmsg, and how many more it sent than can be captured."""

    def feed(self, piece: bytes) -> list[Event]:
        """The events that these records complete."""
        queue, waiting, comms = self._queue, self._waiting, self._comms
        unpack_sent, head = records.SENT_HEAD.unpack_from, records.SENT_HEAD.size
        unpack_done = records.DONE_ALL.unpack_from
        out: list[Event] = []
        before = 0
        for kind, at, size in records.split(piece):
            if kind == records.SENT:
                (_, flags, _, tid, time, sock, inode, tgid, count, length, captured, index, _, lost, comm) = (
                    unpack_sent(piece, at)
                )
                if flags & 1:
                    comms[tid] = comm
                    if len(comms) > _THREADS:
                        del comms[next(iter(comms))]
                else:
                    comm = comms.get(tid, b"")
                send = Send(
                    inode,
                    sock,
                    time,
                    tgid,
                    tid,
                    comm,
                    piece[at + head : at + head + captured],
                    length,
                    lost,
                    count,
                    self._passed.pop(tid, None) if count else None,
                    index,
                    bool(flags & 4),
                )
                queue.append(send)
                before = time - HOLD_NS
                last_call = waiting.get(tid)
                if last_call is None:
                    waiting[tid] = [send]
                elif index and last_call[0].inode == inode:
                    last_call.append(send)
                else:
                    for one in last_call:
                        if one.result is None:
                            one.result = one.length
                    waiting[tid] = [send]
            elif kind == records.DONE:
                _, _, _, tid, time, result, last = unpack_done(piece, at)
                sends = waiting.get(tid)
                if sends is not None and sends[0].time == time:  # else the record of the send itself was lost
                    del waiting[tid]
                    self._return(sends, result, last)
            elif kind == records.PASSED:
                fields = records.PASSED_HEAD.unpack_from(piece, at)
                self._passed[fields[3]] = piece[at + records.PASSED_HEAD.size : at + size]
            elif kind == records.OPENED:
                queue.append(_opened(records.OPENED_ALL.unpack_from(piece, at)))
            elif kind == records.CLOSED:
                queue.append(_shut(records.CLOSED_ALL.unpack_from(piece, at)))
            elif kind == records.EXITED:
                _, _, _, tgid, time, code, _, comm = records.EXITED_ALL.unpack_from(piece, at)
                queue.append(Exited(tgid, time, code, comm.rstrip(b"\0")))
            while queue:
                first = queue[0]
                if type(first) is Send and first.result is None:
                    if first.time > before:
                        break
                    first.result = first.length
                out.append(queue.popleft())
        return out

    def expire(self, now: int) -> list[Event]:
        """What can be given out at ``now``, a kernel time up to which all records have been fed."""
        out: list[Event] = []
        while self._queue:
            first = self._queue[0]
            if type(first) is Send and first.result is None:
                if now - first.time < HOLD_NS:
                    break
                first.result = first.length
            out.append(self._queue.popleft())
        return out

    def _return(self, sends: list[Send], result: int, last: int) -> None:
        """A call has returned; one that is not a sendmmsg has one send. Its messages are numbered from 0."""
        if len(sends) == 1 and not last:
            self._settle(sends[0], result)
            return
        for send in sends:
            if send.index >= result:
                self._settle(send, result if result < 0 else -1)
            else:
                self._settle(send, last if send.index == result - 1 else send.length)
        if result > len(sends):
            self.overflowed.append((sends[-1], result - len(sends)))

    def _settle(self, send: Send, result: int) -> None:
        if send.result is not None and send.result != result:
            self.belated.append(send)
        send.result = result


def _opened(fields: tuple[Any, ...]) -> NewSocket:
    tid, time, sock, inode, peer_sock, peer_inode, tgid, netns, peer_pid, size, peer_size, comm, path, other = fields[
        3:
    ]
    ends = path[:size], other[:peer_size]
    return NewSocket(inode, sock, peer_inode, peer_sock, time, tgid, tid, comm, netns, peer_pid, *ends)


def _shut(fields: tuple[Any, ...]) -> Shut:
    _, flags, _, _, time, sock, inode, tgid, code, _ = fields
    return Shut(inode, sock, time, tgid, bool(flags & 1), bool(flags & 2), code & 0x7FFFFFFF if code >> 31 else None)
