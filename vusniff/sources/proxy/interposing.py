"""Puts one end of a new pair in the place of a socket that a peer passes, so that another relay can stand there.

It knows sockets; which messages pass a channel is the relay's.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import socket

from vusniff.channel import Channel
from vusniff.record import Connection, End
from vusniff.sources.host.endpoints import is_connected_stream, peer_inode
from vusniff.sources.proxy.open_files import OpenFiles

Interposed = tuple[socket.socket, socket.socket, str, tuple[End, End], Channel]
"""A channel to stand in: sockets of ends 0 and 1, path, ends, which channel it is."""
NO_ROOM_WORDS = "no room for more open files (raise the limit, ulimit -n)"


class NotInterposedError(Exception):
    """Nobody can stand in this channel: why, in words."""


def interpose(
    connection: Connection, end: int, passed: array.array[int], opened: Channel, files: OpenFiles
) -> Interposed | None:
    """Puts one end of a new pair in the place of the first descriptor that ``end`` passes, by a message that opens a
    channel; None where that is no connected stream socket. Raises `NotInterposedError`."""
    try:
        sock = socket.socket(fileno=passed[0])
    except OSError:
        return None
    try:
        if not is_connected_stream(sock):
            sock.detach()
            return None
        ours, theirs = socket.socketpair()
    except OSError as error:
        sock.detach()
        raise NotInterposedError(str(error.strerror)) from None
    if files.is_reserved(max(ours.fileno(), theirs.fileno())):
        for one in (ours, theirs):
            one.close()
        sock.detach()
        raise NotInterposedError(NO_ROOM_WORDS)
    _resemble(theirs, sock)
    peer, inode = peer_inode(sock), os.fstat(sock.fileno()).st_ino
    processes = [one.process for one in connection.ends]
    ends = (End(peer, processes[end]), End(inode, processes[1 - end]))
    passed[0] = theirs.detach()
    return sock, ours, f"pair:{peer or 0}-{inode}", ends, opened


def _resemble(substitute: socket.socket, original: socket.socket) -> None:
    """Gives a substitute what its receiver could notice of the original: blocking or not, room for what it sends."""
    with contextlib.suppress(OSError):
        flags = fcntl.fcntl(original.fileno(), fcntl.F_GETFL)
        if flags & os.O_NONBLOCK:
            fcntl.fcntl(substitute.fileno(), fcntl.F_SETFL, flags & os.O_NONBLOCK)
        room = original.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        if room != substitute.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF):
            # The kernel doubles what it is given, for its own bookkeeping (socket(7)).
            substitute.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room // 2)
