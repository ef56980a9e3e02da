"""One socket of a replay: whole messages with their descriptors, both ways, and never a wait without an end.

Reads as the peers do, header and then payload, so that descriptors stay with their message. Knows where a message
ends, and nothing of what is in it.
"""

from __future__ import annotations

import array
import contextlib
import os
import select
import socket
import time
from collections.abc import Sequence

from vusniff.channel import Channel
from vusniff.errors import SourceError
from vusniff.families.vhost_user.header import message_size
from vusniff.families.vhost_user.protocol import HEADER_SIZE, MAX_FDS
from vusniff.sources.host.endpoints import ProxySide, connect, listen
from vusniff.values import dataclass, field

MESSAGE_LIMIT = 64 << 20
"""Bytes of the largest message that is taken from a peer: a picture of 4096 by 4096 pixels."""
PIECE = 1 << 20
RETRY_S = 0.02


@dataclass(slots=True)
class Arrival:
    """One message of the peer's; it owns its descriptors until they are taken."""

    channel: Channel
    data: bytes
    fds: list[int] = field(default_factory=list)
    time_ns: int = 0

    def close(self) -> None:
        """Close what nobody took."""
        while self.fds:
            os.close(self.fds.pop())


class ReplaySocket:
    """A connected stream socket."""

    def __init__(self, sock: socket.socket, channel: Channel) -> None:
        """Takes over ``sock``."""
        sock.setblocking(False)
        self._sock = sock
        self.channel = channel
        self.ended: str | None = None
        """Why nothing more can come: what the peer did, as the rest of a sentence."""
        self._data = bytearray()
        self._fds: list[int] = []
        self._size: int | None = None

    def fileno(self) -> int:
        """The socket's number, for poll."""
        return self._sock.fileno()

    def close(self) -> None:
        """Closes the socket and what came with an unfinished message."""
        self._sock.close()
        while self._fds:
            os.close(self._fds.pop())

    def receive(self) -> Arrival | None:
        """The next whole message, or None when there is none yet or the peer has ended (see `ended`)."""
        while self.ended is None:
            want = HEADER_SIZE if self._size is None else self._size
            if len(self._data) < want:
                if not self._read(want - len(self._data)):
                    return None
                continue
            if self._size is None:
                self._size = message_size(self._data)
                if self._size is None or self._size > MESSAGE_LIMIT:
                    self.ended = f"sent what is not a vhost-user message: {bytes(self._data).hex(' ')}"
                continue
            arrival = Arrival(self.channel, bytes(self._data), self._fds, time.time_ns())
            self._data, self._fds, self._size = bytearray(), [], None
            return arrival
        return None

    def _read(self, size: int) -> bool:
        """Reads at most so many bytes; False when none are there."""
        try:
            part, ancillary, _, _ = self._sock.recvmsg(
                min(size, PIECE), socket.CMSG_SPACE(MAX_FDS * 4), socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return False
        except ConnectionResetError:
            self.ended = "reset the connection"
            return False
        except OSError as error:
            self.ended = f"cannot be read from any more: {error.strerror}"
            return False
        for level, kind, rights in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                self._fds.extend(array.array("i", rights[: len(rights) // 4 * 4]))
        if not part:
            self.ended = "closed the connection" + (" inside a message" if self._data else "")
            return False
        self._data += part
        return True

    def send(self, data: bytes, fds: Sequence[int], deadline: float) -> bool:
        """Sends one message; False when the peer has ended or took nothing until ``deadline`` (monotonic seconds)."""
        view = memoryview(data)
        rights = array.array("i", fds)
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if rights else []
        while view:
            try:
                sent = self._sock.sendmsg([view], ancillary)
            except BlockingIOError:
                if not wait((self,), deadline, select.POLLOUT):
                    return False
                continue
            except OSError as error:
                if not isinstance(error, (BrokenPipeError, ConnectionResetError)):
                    raise SourceError(f"cannot send to the peer: {error.strerror}") from None
                self.ended = self.ended or "closed the connection"
                return False
            view, ancillary = view[sent:], []
        return True


def wait(links: Sequence[ReplaySocket], deadline: float, events: int = select.POLLIN) -> bool:
    """Waits until one of the links can be read (or written), at most until ``deadline`` (monotonic seconds)."""
    poll = select.poll()
    for link in links:
        poll.register(link, events)
    return bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))


def meet(side: ProxySide, timeout: float) -> socket.socket:
    """A socket connected to the peer: it is waited for ``timeout`` seconds. Raises SourceError."""
    deadline = time.monotonic() + timeout
    if not side.listens:
        while (sock := connect(side)) is None:
            if time.monotonic() >= deadline:
                raise SourceError(f"nobody listens at {side.path}: waited {timeout:g} s, --timeout makes it longer")
            time.sleep(RETRY_S)
        return sock
    listener = listen(side)
    with contextlib.closing(listener):
        poll = select.poll()
        poll.register(listener.sock, select.POLLIN)
        while (accepted := listener.accept()) is None:
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise SourceError(f"nobody connected to {side.path}: waited {timeout:g} s, --timeout makes it longer")
        return accepted
