"""The processes of the peers: which ends of connections they hold, and how they end.

Owns one pidfd a process, from its first connection until shortly after its last: a process that ends closes its sockets
before its pidfd tells. How it ended is known of our own child, and of others by PIDFD_GET_INFO (Linux 6.15), once their
parent has taken note; else it stays unknown. What it had sent is still being read when its end is seen, so that is
written once its connections have ended. A connection that does not end with it is held by somebody else, such as the
child of a program that has gone into the background. Knows no messages. Nothing here raises: what the kernel refuses to
tell is not told.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import os
import select
import socket
import struct
import time
from collections.abc import Callable

from vusniff.record import Connection, Exit, Process
from vusniff.sources.proxy.loop import Loop
from vusniff.sources.proxy.open_files import OpenFiles
from vusniff.values import dataclass, field

LATELY_SECONDS = 5.0
"""How long after its last connection the end of a process is still told."""
_LEFT_LIMIT = 64
"""Ends that a process held lately and that are remembered."""
_WAIT_SECONDS = 1.0
"""How long is waited for connections to end with their process, and for its parent."""
_LOOK_SECONDS = 0.01
SO_PEERPIDFD = 77
"""Linux 6.5."""
_INFO = struct.Struct("=Q52xi")
"""struct pidfd_info (include/uapi/linux/pidfd.h): mask, and at its first version's end exit_code."""
_GET_INFO = 3 << 30 | _INFO.size << 16 | 0xFF << 8 | 11
_INFO_EXIT = 1 << 3

Key = tuple[int, int]
"""Connection and end."""
How = tuple[int | None, int | None, bool | None]
"""Exit status, signal, whether it dumped core."""
UNKNOWN: How = (None, None, None)


@dataclass(slots=True, eq=False)
class _WatchedProcess:
    """A process that holds ends."""

    pidfd: int
    process: Process
    open: dict[Key, socket.socket] = field(default_factory=dict)
    """The ends it holds -> our sockets to them."""
    left: dict[Key, float] = field(default_factory=dict)
    """The ends that were closed lately -> when, on the monotonic clock; in this order."""
    ended: tuple[int, float] | None = None
    """When its end was seen: nanoseconds since the epoch, and on the monotonic clock."""
    how: How = UNKNOWN
    leaving: bool = False
    """A timer will let it go."""


class Exits:
    """All of them. ``tell`` takes what is to be recorded."""

    def __init__(self, loop: Loop, files: OpenFiles, tell: Callable[[Exit], None]) -> None:
        self._loop = loop
        self._files = files
        self._tell = tell
        self._held: dict[int, _WatchedProcess] = {}
        """By pid, as long as it means this process."""
        self._holders: dict[int, list[_WatchedProcess]] = {}
        """Connection -> who holds its ends."""

    def hold(self, connection: Connection, sockets: tuple[socket.socket, socket.socket], own: bool) -> None:
        """A connection begins; ``sockets`` are those to its ends, ``own``: those that the peers made."""
        if not connection.id:  # it is not recorded
            return
        for end, process in enumerate(one.process for one in connection.ends):
            held = self._process(process, sockets[end] if own else None) if process else None
            if held is not None:
                held.open[connection.id, end] = sockets[end]
                self._holders.setdefault(connection.id, []).append(held)

    def release(self, connection: int) -> None:
        """A connection has ended."""
        now = time.monotonic()
        for held in self._holders.pop(connection, ()):
            for end in (0, 1):
                if held.open.pop((connection, end), None) is not None:
                    held.left[connection, end] = now
            self._forget_old(held, now)
            if not held.open and not held.leaving:
                held.leaving = True
                self._loop.after(LATELY_SECONDS, functools.partial(self._let_go, held))

    def child_ended(self, pid: int) -> None:
        """Our own child has ended, and nobody has taken note of it yet: the last moment to ask how."""
        held = self._held.get(pid)
        if held is not None:
            held.how = _how(held.pidfd)

    def end(self) -> None:
        """Tells what is known now, and forgets all. Connections may still be open here that their peer has left."""
        for held in list(self._held.values()):
            if held.ended is None and _is_readable(held.pidfd):
                self._seen(held)
            if held.ended is not None:
                held.left |= {key: held.ended[1] for key, sock in held.open.items() if _hung_up(sock)}
                self._write(held)
            else:
                self._close(held)

    def _process(self, process: Process, sock: socket.socket | None) -> _WatchedProcess | None:
        """Who that is; None where the kernel does not give a pidfd that surely is of this process."""
        held = self._held.get(process.pid)
        if held is not None and held.ended is None and not _is_readable(held.pidfd):
            return held
        if held is not None or sock is None:
            return None  # its pid may mean another process by now
        pidfd = pidfd_of(sock, process.pid)
        if pidfd is None:
            return None
        if self._files.is_reserved(pidfd) or _is_readable(pidfd):
            os.close(pidfd)
            return None
        held = _WatchedProcess(pidfd, process)
        try:
            self._loop.watch(pidfd, select.EPOLLIN, lambda _: self._seen(held))
        except OSError:
            os.close(pidfd)
            return None
        self._held[process.pid] = held
        return held

    def _forget_old(self, held: _WatchedProcess, now: float) -> None:
        """A back-end that lives long has had many connections."""
        left = held.left
        while left and (len(left) > _LEFT_LIMIT or now - left[next(iter(left))] > LATELY_SECONDS):
            del left[next(iter(left))]

    def _let_go(self, held: _WatchedProcess) -> None:
        held.leaving = False
        if held.pidfd < 0 or held.ended is not None:
            return
        self._forget_old(held, time.monotonic())
        if held.open:
            return
        if not held.left:
            self._close(held)
        else:
            held.leaving = True
            self._loop.after(LATELY_SECONDS, functools.partial(self._let_go, held))

    def _seen(self, held: _WatchedProcess) -> None:
        """It has ended."""
        if held.ended is None:
            held.ended = time.time_ns(), time.monotonic()
            self._loop.ignore(held.pidfd)
            self._look(held)

    def _look(self, held: _WatchedProcess) -> None:
        """Writes it, once everything is known that will be."""
        if held.pidfd < 0 or held.ended is None:
            return
        if held.how == UNKNOWN:
            held.how = _how(held.pidfd)
        settled = held.how != UNKNOWN and not held.open
        if settled or time.monotonic() - held.ended[1] > _WAIT_SECONDS:
            self._write(held)
        else:
            self._loop.after(_LOOK_SECONDS, functools.partial(self._look, held))

    def _write(self, held: _WatchedProcess) -> None:
        if held.ended is None or held.pidfd < 0:
            return
        if held.how == UNKNOWN:
            held.how = _how(held.pidfd)
        when, seen = held.ended
        ends = tuple(key for key, closed in held.left.items() if seen - closed <= LATELY_SECONDS)
        self._close(held)
        if ends:
            self._tell(Exit(when, held.process.pid, held.process.comm, *held.how, ends))

    def _close(self, held: _WatchedProcess) -> None:
        if held.pidfd >= 0:
            self._loop.ignore(held.pidfd)
            os.close(held.pidfd)
            held.pidfd = -1
            self._held.pop(held.process.pid, None)
            for connection, _ in held.open:
                if held in (holders := self._holders.get(connection, [])):
                    holders.remove(held)


def pidfd_of(sock: socket.socket, pid: int) -> int | None:
    """A pidfd of the process at the other end of a socket (SO_PEERCRED: who connected, or who called listen)."""
    try:
        return sock.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD)
    except OSError as error:
        if error.errno != errno.ENOPROTOOPT:
            return None
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return None
    # The number may have been given to another process; but as long as the peer has not closed, its process lives.
    if _hung_up(sock):
        os.close(pidfd)
        return None
    return pidfd


def _hung_up(sock: socket.socket) -> bool:
    """Whether its peer has closed."""
    poll = select.poll()
    poll.register(sock.fileno(), 0)
    return bool(poll.poll(0))


def _is_readable(pidfd: int) -> bool:
    """Whether the process has ended."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def _how(pidfd: int) -> How:
    """How a process has ended, as far as the kernel tells us now."""
    with contextlib.suppress(OSError):
        found = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if found is not None:
            killed = found.si_code != os.CLD_EXITED
            return (None, found.si_status, found.si_code == os.CLD_DUMPED) if killed else (found.si_status, None, None)
    info = bytearray(_INFO.pack(_INFO_EXIT, 0))
    with contextlib.suppress(OSError):
        fcntl.ioctl(pidfd, _GET_INFO, info)
        mask, status = _INFO.unpack(info)
        if mask & _INFO_EXIT:
            return decoded(status)
    return UNKNOWN


def decoded(status: int) -> How:
    """How a process ended, by its wait(2) status."""
    number = status & 0x7F
    return (None, number, bool(status & 0x80)) if number else (status >> 8 & 0xFF, None, None)
