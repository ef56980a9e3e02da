"""Takes messages from a socket one by one, with the descriptors that belong to them.

Messages go out one by one, each in one send, as peers expect them: DPDK takes a header or a payload that arrives in two
pieces for an error. Descriptors go out with the byte they came with. That takes care, since the kernel joins bytes
without descriptors and the descriptors of the send behind them in one receive (unix_stream_read_generic in
net/unix/af_unix.c ends a receive behind the first send that carries descriptors, not before it). So a relay

1. looks (MSG_PEEK) at what waits: the framer tells where the message ends, and MSG_CTRUNC, there being no room for
   ancillary data, tells that descriptors wait somewhere in the queue. Looking ends with the send that carries them;
2. if some wait, receives nothing at all (0 bytes), with room for descriptors: this takes those of the first send in the
   queue, and no byte of it;
3. receives the message, or what there is of it. Where the first send had none, descriptors may still come in the middle
   of the message, and the kernel does not tell where: they are passed on with the payload, which is a send of its own
   in the programs that do so, or behind the first byte of a header, and recorded as late (`Descriptor.late`). In a
   stream that has no messages, bytes are received one by one, asking before each.

Knows a framer, which says where a message ends, and nothing of connections.
"""

from __future__ import annotations

import array
import fcntl
import select
import socket
import struct
import termios
from collections.abc import Callable

from vusniff.families.framing import Framer
from vusniff.families.vhost_user.protocol import MAX_FDS
from vusniff.sources.host.endpoints import NoRoomError

CHUNK = 64 << 10
"""Most bytes of one receive."""
_GLANCE = 4 << 10
"""Bytes looked at first: more than nearly any message has."""
_LOOKED_AT = memoryview(bytearray(CHUNK))
"""Where looking puts its bytes."""
_GLANCED_AT = (_LOOKED_AT[:_GLANCE],)
_INT = struct.calcsize("i")
_ROOM = socket.CMSG_SPACE(MAX_FDS * _INT)
# Plain integers: the bit operations of enums would cost more than the system calls do.
NONE = array.array("i")
"""No descriptors."""
SOL_SOCKET = int(socket.SOL_SOCKET)
SCM_RIGHTS = int(socket.SCM_RIGHTS)
_DONTWAIT = int(socket.MSG_DONTWAIT)
_DROPPED = int(socket.MSG_CTRUNC)
_PEEK = int(socket.MSG_PEEK | socket.MSG_DONTWAIT)
_TAKE = int(socket.MSG_CMSG_CLOEXEC | socket.MSG_DONTWAIT)


def always() -> bool:
    """There is room."""
    return True


class Held:
    """What was received and comes after what was handed out."""

    __slots__ = ("data", "descriptors")

    def __init__(self) -> None:
        self.data = b""
        self.descriptors = array.array("i")
        """Those of the next byte, received or not."""


def take(
    source: socket.socket, framer: Framer, held: Held, has_room: Callable[[], bool] = always
) -> tuple[bytes, array.array[int], bool, bool]:
    """The next message, or as much of it as there is, with the descriptors that came with its first byte.

    Also says whether more waits behind it, and whether the kernel dropped descriptors. Empty bytes are the end of the
    stream. Raises BlockingIOError when there is nothing yet, `NoRoomError` when descriptors wait that there is no room
    for, OSError on a reset.
    """
    descriptors, dropped = NONE, False
    if held.descriptors:
        descriptors, held.descriptors = held.descriptors, array.array("i")
    if held.data:
        data, held.data = held.data, b""
        return data, descriptors, True, False
    count, _, flags, _ = source.recvmsg_into(_GLANCED_AT, 0, _PEEK)
    if not count:
        return b"", NONE, False, False
    due = framer.due(_LOOKED_AT[:count])
    if due >= count == _GLANCE:
        count, _, flags, _ = source.recvmsg_into((_LOOKED_AT,), 0, _PEEK)
        due = framer.due(_LOOKED_AT[:count])
    size = min(count, due)
    if not flags & _DROPPED:
        return source.recv(size, _DONTWAIT), descriptors, count > due, dropped
    first = not descriptors
    if not has_room():
        held.descriptors = descriptors
        raise NoRoomError
    if first:
        _, descriptors, dropped = _receive(source, 0)
        if descriptors or dropped:
            # Looking has ended with the send that carries them, and it is the first one of all: nothing is joined.
            return source.recv(size, _DONTWAIT), descriptors, count > due, dropped
    if not framer.framed:
        data, also_dropped = _take_bytes(source, size, held)
        return data, descriptors, True, dropped or also_dropped
    data, inside, also_dropped = _receive(source, size)
    header = framer.family.main.header.size if framer.family else 0
    if inside and framer.begins and len(data) > 1:
        at = header if len(data) > header else 1
        data, held.data, held.descriptors = data[:at], data[at:], inside
    else:
        descriptors = descriptors + inside
    return data, descriptors, True, dropped or also_dropped


def _receive(source: socket.socket, size: int) -> tuple[bytes, array.array[int], bool]:
    """Up to ``size`` bytes that wait, the descriptors that came with them, and whether the kernel dropped some.

    No bytes at all still give the descriptors of the first send.
    """
    data, ancillary, flags, _ = source.recvmsg(size, _ROOM, _TAKE)
    descriptors = array.array("i")
    for level, kind, passed in ancillary:
        if level == SOL_SOCKET and kind == SCM_RIGHTS:
            descriptors.frombytes(passed[: len(passed) // _INT * _INT])
    return data, descriptors, bool(flags & _DROPPED)


def _take_bytes(source: socket.socket, size: int, held: Held) -> tuple[bytes, bool]:
    """Up to ``size`` bytes, fewer when a send that carries descriptors begins there: these are held.

    Also says whether the kernel dropped some.
    """
    data = bytearray(source.recv(1, _DONTWAIT))
    dropped = False
    while len(data) < size and not (held.descriptors or dropped):
        _, held.descriptors, dropped = _receive(source, 0)
        if not (held.descriptors or dropped):
            data += source.recv(1, _DONTWAIT)
    return bytes(data), dropped


def unread(sock: socket.socket) -> int:
    """Bytes that came in on a socket and were not taken."""
    try:
        return int(struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.FIONREAD, bytes(_INT)))[0])
    except OSError:
        return 0


def has_left(sock: socket.socket) -> bool:
    """Whether nobody has the other end any more."""
    poll = select.poll()
    poll.register(sock, 0)
    return bool(poll.poll(0))
