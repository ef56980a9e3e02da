"""Sends in the order in which they began, each with what the kernel took of it.

The kernel program reports a send twice, when it begins and when it returns. Here the two are put together, so that what
failed is not shown as sent and what was sent in part is shown in part. A send that waits (the other side does not
read) holds up what came after it, for `HOLD_NS` at most: then it counts as sent in full.

Knows the records of the kernel program; must not know connections, files or time zones: times are the kernel's
monotonic nanoseconds.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

from vusniff.bpf import records

HOLD_NS = 200_000_000


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
    result: int | None = None
    """Bytes that the kernel took, or a negative error number; None while it has not returned."""


@dataclass(frozen=True, slots=True)
class Opened:
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
    """A descriptor of a socket is closed; ``final`` when the socket is gone with it."""

    inode: int
    sock: int
    time: int
    tgid: int
    final: bool
    exit_code: int | None
    """As wait(2) gives it, when the process is ending."""


Event = Send | Opened | Shut


class Sends:
    """Puts records together and gives events back in order."""

    def __init__(self) -> None:
        self._queue: deque[Event] = deque()
        self._waiting: dict[int, list[Send]] = {}
        """By thread: what has not returned."""
        self._passed: dict[int, bytes] = {}
        """By thread: the descriptors of the send that is to come."""
        self.belated: list[Send] = []
        """Given out as sent in full, and then not sent in full. Whoever reads takes them out."""
        self.overflowed: list[tuple[Send, int]] = []
        """The last captured message of a sendmmsg, and how many more it sent than can be captured."""

    def feed(self, piece: bytes) -> list[Event]:
        """The events that these records complete."""
        queue, waiting = self._queue, self._waiting
        unpack_sent, head = records.SENT_HEAD.unpack_from, records.SENT_HEAD.size
        unpack_done = records.DONE_ALL.unpack_from
        out: list[Event] = []
        for kind, at, size in records.split(piece):
            if kind == records.SENT:
                (_, _, _, tid, time, sock, inode, tgid, count, length, _, index, _, lost, comm) = unpack_sent(piece, at)
                send = Send(
                    inode,
                    sock,
                    time,
                    tgid,
                    tid,
                    comm,
                    piece[at + head : at + size],
                    length,
                    lost,
                    count,
                    self._passed.pop(tid, None) if count else None,
                    index,
                )
                queue.append(send)
                if index and tid in waiting:
                    waiting[tid].append(send)
                else:
                    waiting[tid] = [send]
            elif kind == records.DONE:
                _, _, _, tid, _, result, last = unpack_done(piece, at)
                sends = waiting.pop(tid, None)
                if sends is not None:
                    self._return(sends, result, last)
            elif kind == records.PASSED:
                fields = records.PASSED_HEAD.unpack_from(piece, at)
                self._passed[fields[3]] = piece[at + records.PASSED_HEAD.size : at + size]
            elif kind == records.OPENED:
                queue.append(_opened(records.OPENED_ALL.unpack_from(piece, at)))
            elif kind == records.CLOSED:
                queue.append(_shut(records.CLOSED_ALL.unpack_from(piece, at)))
            while queue:
                first = queue[0]
                if type(first) is Send and first.result is None:
                    break
                out.append(queue.popleft())
        return out

    def expire(self, now: int) -> list[Event]:
        """What is held up for too long by a send that has not returned at ``now``, a kernel time."""
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


def _opened(fields: tuple[Any, ...]) -> Opened:
    tid, time, sock, inode, peer_sock, peer_inode, tgid, netns, peer_pid, size, peer_size, comm, path, other = fields[
        3:
    ]
    ends = path[:size], other[:peer_size]
    return Opened(inode, sock, peer_inode, peer_sock, time, tgid, tid, comm, netns, peer_pid, *ends)


def _shut(fields: tuple[Any, ...]) -> Shut:
    _, flags, _, _, time, sock, inode, tgid, code, _ = fields
    return Shut(inode, sock, time, tgid, bool(flags & 1), code & 0x7FFFFFFF if code >> 31 else None)
