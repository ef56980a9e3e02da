"""The descriptors of a scenario, by name: memory, eventfds, and what must not be passed.

A name is a kind and what tells two of that kind apart: ``ram``, ``event:kick0``, ``socket:channel``. Knows no messages.
"""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from collections.abc import Callable, Mapping

from vusniff.conformance.places import RAM_SIZE

SMALL = 4096
LOG_SIZE = 1 << 20
"""Bytes of a dirty log: one bit a page, for 32 GiB."""


def _memory(name: str, size: int) -> int:
    fd = os.memfd_create(name, os.MFD_CLOEXEC)
    os.ftruncate(fd, size)
    return fd


def _file(kind: str) -> Callable[[Things, str], int]:
    paths = {"null": "/dev/null", "folder": "/"}
    return lambda things, name: os.open(paths[kind], (os.O_RDWR if kind == "null" else os.O_RDONLY) | os.O_CLOEXEC)


def _socket(things: Things, name: str) -> int:
    ours, theirs = socket.socketpair()
    things.sockets[name] = ours
    return theirs.detach()


def _deaf(things: Things, name: str) -> int:
    """A socket whose other end is closed."""
    ours, theirs = socket.socketpair()
    ours.close()
    return theirs.detach()


def _pipe(things: Things, name: str) -> int:
    read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    things.others[name] = read
    return write


def _read_only(things: Things, name: str) -> int:
    """A file of the size of memory that can only be read."""
    with tempfile.TemporaryFile() as file:
        os.ftruncate(file.fileno(), RAM_SIZE)
        return os.open(f"/proc/self/fd/{file.fileno()}", os.O_RDONLY | os.O_CLOEXEC)


_MADE: Mapping[str, Callable[[Things, str], int]] = {
    "ram": lambda things, name: _memory("guest-ram", RAM_SIZE),
    "small": lambda things, name: _memory("small", SMALL),
    "empty": lambda things, name: _memory("empty", 0),
    "log": lambda things, name: _memory("log", LOG_SIZE),
    "event": lambda things, name: os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC),
    "socket": _socket,
    "deaf": _deaf,
    "pipe": _pipe,
    "null": _file("null"),
    "folder": _file("folder"),
    "read-only": _read_only,
}


class Things:
    """The descriptors of one scenario; it owns them all."""

    def __init__(self) -> None:
        self._fds: dict[str, int] = {}
        self.sockets: dict[str, socket.socket] = {}
        """Our ends of sockets, until they are taken."""
        self.others: dict[str, int] = {}
        """Our ends of pipes."""

    def fd(self, name: str) -> int:
        """The descriptor of a name, made when it is first asked for."""
        if name not in self._fds:
            self._fds[name] = _MADE[name.partition(":")[0]](self, name)
        return self._fds[name]

    def made(self, name: str) -> bool:
        """Whether there is one of this name."""
        return name in self._fds

    def adopt(self, name: str, fd: int) -> None:
        """What the peer handed over gets a name."""
        self.drop(name)
        self._fds[name] = fd

    def drop(self, name: str) -> None:
        """Close it, and the other end of it."""
        if (fd := self._fds.pop(name, None)) is not None:
            os.close(fd)
        if (sock := self.sockets.pop(name, None)) is not None:
            sock.close()
        if (other := self.others.pop(name, None)) is not None:
            os.close(other)

    def forget(self, kind: str) -> None:
        """Close all of a kind: the next of the same name are others."""
        for name in [name for name in self._fds if name.startswith(kind)]:
            self.drop(name)

    def passed(self, name: str) -> None:
        """A socket was handed over: its end is the peer's alone, so that a hang-up can be seen."""
        if name in self.sockets and name in self._fds:
            os.close(self._fds.pop(name))

    def close(self) -> None:
        """Close them all."""
        for name in (*self._fds, *self.sockets, *self.others):
            with contextlib.suppress(OSError):
                self.drop(name)
