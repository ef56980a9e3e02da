"""One end of a vhost-user socket: sends and receives whole messages with their descriptors, and never waits for ever.

Owns the sockets, the deadlines and the payload layouts that the demo's peers need. Knows no order of messages.
"""

from __future__ import annotations

import array
import contextlib
import os
import select
import socket
import struct
import time
from collections.abc import Iterable, Sequence

from vusniff.errors import VusniffError
from vusniff.families.vhost_user.protocol import FLAG_REPLY, FLAG_VERSION, HEADER_SIZE, MAX_FDS, VERSION
from vusniff.values import dataclass, field

HEADER = struct.Struct("=III")
U64 = struct.Struct("=Q")
VRING_STATE = struct.Struct("=II")
VRING_ADDR = struct.Struct("=IIQQQQ")
"""Ring index, flags, descriptor table, used ring, available ring, log."""
VRING_AREA = struct.Struct("=QQQ")
"""Ring index word, size, offset."""
TABLE_HEAD = struct.Struct("=II")
REGION = struct.Struct("=QQQQ")
"""Guest address, size, user address, mmap offset."""
INFLIGHT = struct.Struct("=QQHH4x")
"""mmap size, mmap offset, number of queues, queue size; the C structure ends with 4 bytes of padding."""
CONFIG_HEAD = struct.Struct("=III")
"""Offset, size, flags."""

PAYLOAD_LIMIT = 4096
"""More than any message of the demo has; a larger size field is taken for garbage."""
TIMEOUT = 30.0
"""Seconds to wait for the other end before giving up."""


class PeerError(VusniffError):
    """The other end did something this one cannot go on with; the connection is closed."""


@dataclass(slots=True)
class Incoming:
    """One received message; it owns its descriptors until they are taken."""

    request: int
    flags: int
    payload: bytes
    descriptors: list[int] = field(default_factory=list)

    def take(self) -> int:
        """The next descriptor; the caller closes it."""
        if not self.descriptors:
            raise PeerError(f"request {self.request} came without the descriptor it needs")
        return self.descriptors.pop(0)

    def close(self) -> None:
        """Close the descriptors that nobody took."""
        while self.descriptors:
            os.close(self.descriptors.pop())

    def unpack(self, layout: struct.Struct) -> tuple[int, ...]:
        """The payload by its layout, which must fit exactly."""
        if len(self.payload) != layout.size:
            raise PeerError(f"request {self.request} has {len(self.payload)} bytes of payload, {layout.size} expected")
        return layout.unpack(self.payload)


def readable(fds: Iterable[int], timeout: float) -> list[int]:
    """Those of the descriptors that can be read or have hung up; none when ``timeout`` seconds pass."""
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    return [fd for fd, _ in poll.poll(max(0, int(timeout * 1000)))]


class DemoSocket:
    """A connected stream socket."""

    def __init__(self, sock: socket.socket, who: str, timeout: float = TIMEOUT) -> None:
        """Takes over ``sock``; ``who`` names the other end in sentences; ``timeout`` is in seconds."""
        self.sock = sock
        self.who = who
        self.timeout = timeout

    def fileno(self) -> int:
        """The socket's number, for poll."""
        return self.sock.fileno()

    def close(self) -> None:
        """Close the socket."""
        self.sock.close()

    def send(
        self, request: int, flags: int, payload: bytes = b"", descriptors: Sequence[int] = (), split: bool = False
    ) -> None:
        """Send one message; with ``split`` header and payload go out in two sends, as libvhost-user does it."""
        data = HEADER.pack(request, flags, len(payload)) + payload
        rights = array.array("i", descriptors)
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if rights else []
        try:
            self.sock.settimeout(self.timeout)
            sent = self.sock.sendmsg([data[:HEADER_SIZE] if split else data], ancillary)
            if sent < len(data):
                self.sock.sendall(data[sent:])
        except OSError as error:
            raise PeerError(f"cannot send request {request} to {self.who}: {_reason(error, self.timeout)}") from None

    def receive(self) -> Incoming | None:
        """The next message; None when the other end closed the connection between two messages."""
        deadline = time.monotonic() + self.timeout
        message = Incoming(0, 0, b"")
        try:
            header = self._read(HEADER_SIZE, message.descriptors, deadline)
            if not header and not message.descriptors:
                return None
            if len(header) < HEADER_SIZE:
                raise PeerError(f"{self.who} closed the connection inside a header")
            message.request, message.flags, size = HEADER.unpack(header)
            if message.flags & FLAG_VERSION != VERSION or size > PAYLOAD_LIMIT:
                raise PeerError(f"{self.who} sent no vhost-user header but {header.hex(' ')}")
            message.payload = self._read(size, message.descriptors, deadline)
            if len(message.payload) < size:
                raise PeerError(f"{self.who} closed the connection inside the payload of request {message.request}")
        except BaseException:
            message.close()
            raise
        return message

    def _read(self, size: int, descriptors: list[int], deadline: float) -> bytes:
        """``size`` bytes, fewer only at end of file; adds the descriptors that come with them."""
        data = bytearray()
        while len(data) < size:
            left = deadline - time.monotonic()
            if left <= 0:
                raise PeerError(f"{self.who} said nothing for {self.timeout:g} s")
            try:
                self.sock.settimeout(left)
                part, ancillary, _, _ = self.sock.recvmsg(
                    size - len(data), socket.CMSG_SPACE(MAX_FDS * 4), socket.MSG_CMSG_CLOEXEC
                )
            except ConnectionResetError:
                raise PeerError(f"{self.who} reset the connection") from None
            except OSError as error:
                raise PeerError(f"cannot read from {self.who}: {_reason(error, self.timeout)}") from None
            for level, kind, rights in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    descriptors.extend(array.array("i", rights[: len(rights) // 4 * 4]))
            if not part:
                break
            data += part
        return bytes(data)


def is_reply(message: Incoming, request: int) -> bool:
    """Whether the message is the reply to ``request``."""
    return message.request == request and bool(message.flags & FLAG_REPLY)


def accept(listener: socket.socket, path: str, timeout: float) -> socket.socket:
    """The next connection."""
    listener.settimeout(timeout)
    try:
        return listener.accept()[0]
    except OSError as error:
        raise PeerError(f"nobody connected to {path}: {_reason(error, timeout)}") from None


def connect(path: str, timeout: float) -> socket.socket:
    """A socket connected to ``path``; waits for a listener to appear there."""
    deadline = time.monotonic() + timeout
    while True:
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.settimeout(timeout)
            sock.connect(path)
            return sock
        except OSError as error:
            sock.close()
            waiting = isinstance(error, (FileNotFoundError, ConnectionRefusedError, BlockingIOError))
            if not waiting or time.monotonic() >= deadline:
                raise PeerError(f"cannot connect to {path}: {_reason(error, timeout)}") from None
        time.sleep(0.02)


def name_process(name: str) -> None:
    """Give this process a name in /proc, so that a capture tells the demo's peers apart."""
    with contextlib.suppress(OSError), open("/proc/self/comm", "w") as comm:
        comm.write(name)


def _reason(error: OSError, timeout: float) -> str:
    if isinstance(error, TimeoutError):
        return f"nothing happened for {timeout:g} s"
    return error.strerror or str(error)
