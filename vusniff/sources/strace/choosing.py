"""Which sockets of logs of strace are vhost-user, and which log tells the truer story of each direction.

A traced process shows both directions: what it sends, and what it receives of the other end. Where both ends are in
the logs, each direction is taken from the sender, whose log has the descriptors' numbers, unless the receiver's has
more of it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from vusniff.families.registry import recognised
from vusniff.families.vhost_user.protocol import (
    HEADER_SIZE,
    VERSION,
)
from vusniff.record import DescriptorKind, End
from vusniff.sources.strace.sockets import Piece, Socket, Sockets
from vusniff.values import dataclass

LOOK = 4
"""Transfers of a direction among whose beginnings a header is looked for: a log may begin in the middle of one."""


@dataclass(slots=True, eq=False)
class TracedConnection:
    """A connection: one socket of it, or both."""

    sockets: tuple[Socket, Socket | None]
    said: tuple[list[Piece], list[Piece]] = ([], [])
    """What the first socket's end sent, and what the other one's sent."""
    first: int = 0
    """Which end the first of the sockets is."""
    path: str = ""
    ends: tuple[End, End] = (End(), End())
    late: bool = False
    family: str | None = None
    """The family of a device of the kernel. For a socket its first bytes tell the family."""
    timed: bool = True
    id: int = 0
    frames: int = 0
    over: bool = False
    """Its end is written."""

    def inodes(self) -> set[int]:
        """The inodes of its ends, as far as they are known."""
        inodes = {inode for socket in self.sockets if socket for inode in (socket.inode, socket.peer)}
        return {inode for inode in inodes if inode is not None}


def pair_up(sockets: Sockets) -> list[TracedConnection]:
    """Connections that carried something, by the first socket of each that the logs show."""
    talks: list[TracedConnection] = []
    seen: set[int] = set()
    for socket in sockets:
        if socket.inode is not None and socket.inode in seen:
            continue
        other = None
        if socket.inode is not None:
            socket.peer = sockets.peers.get(socket.inode, socket.peer)
            other = sockets.by_inode.get(socket.peer) if socket.peer is not None else None
            if other is not None and other.inode is not None and other is not socket:
                seen.add(other.inode)
        if other is None or other is socket:
            talk = TracedConnection((socket, None), (socket.sent, socket.received))
        else:
            said = _fuller(socket.sent, other.received), _fuller(other.sent, socket.received)
            talk = TracedConnection((socket, other), said)
        if any(talk.said):
            talks.append(talk)
    return talks


def choose(talks: list[TracedConnection], sockets: Sockets) -> tuple[list[TracedConnection], str]:
    """The connections that are vhost-user, and the byte order they are written in.

    A connection is, when each direction that carried something begins with a header of the specification's version;
    and so is every socket that is passed on such a connection, whatever it carries.
    """
    other = "big" if sys.byteorder == "little" else "little"
    for order in (sys.byteorder, other):
        chosen = [talk for talk in talks if _speaks(talk, order)]
        if chosen:
            break
    else:
        order = sys.byteorder
    count = 0
    while count != len(chosen):
        count = len(chosen)
        passed = passed_inodes(chosen)
        passed |= {sockets.peers[inode] for inode in passed if inode in sockets.peers}
        known = set(chosen)
        chosen = [talk for talk in talks if talk in known or not passed.isdisjoint(talk.inodes())]
    return chosen, order


def _speaks(talk: TracedConnection, order: str) -> bool:
    filled = [pieces for pieces in talk.said if any(piece.data for piece in pieces)]
    return bool(filled) and all(begins_with_header(pieces[:LOOK], order) for pieces in filled)


def begins_with_header(pieces: Sequence[Piece], order: str) -> bool:
    beginnings = [piece.data for piece in pieces] + [b"".join(piece.data for piece in pieces)]
    return any(len(data) >= HEADER_SIZE and _is_header(data, order) for data in beginnings)


def _is_header(data: bytes, order: str) -> bool:
    family = recognised(data, order, anywhere=True)
    if family is None:
        return False
    header = family.main.header
    return not header.version or header.read[order](data, 0)[1] & header.version == VERSION


def passed_inodes(talks: Sequence[TracedConnection]) -> set[int]:
    """Inodes of the sockets that were passed as descriptors."""
    return {
        int(descriptor.identity.partition(":")[2])
        for talk in talks
        for pieces in talk.said
        for piece in pieces
        for descriptor in piece.descriptors
        if descriptor.kind is DescriptorKind.SOCKET and descriptor.identity is not None
    }


def _fuller(sent: list[Piece], received: list[Piece]) -> list[Piece]:
    return received if _weight(received) > _weight(sent) else sent


def _weight(pieces: Sequence[Piece]) -> int:
    return sum(len(piece.data) for piece in pieces)


OTHERS = ("/dev/log", "/run/systemd/", "/run/dbus/", "/run/nscd/", "/var/run/nscd/", "/tmp/.X11-unix/", "/run/user/")
"""Beginnings of paths that programs connect to for something else."""


def silent(sockets: Sockets, chosen: Sequence[TracedConnection], others: bool) -> list[TracedConnection]:
    """Connections that were made and carried nothing: on the paths of those that did; on any path where no connection
    of the logs carried anything."""
    paths = {socket.path for talk in chosen for socket in talk.sockets if socket and socket.path}
    found: list[TracedConnection] = []
    seen: set[int | None] = set()
    for socket in sockets:
        if not socket.silent or (socket.inode is not None and socket.inode in seen) or (others and not chosen):
            continue
        if socket.path not in paths and (paths or (socket.path or "").startswith(OTHERS)):
            continue
        other = sockets.by_inode.get(socket.peer) if socket.peer is not None else None
        if other is not None and (other.sent or other.received):
            continue
        for one in (socket, other):
            if one is not None and one.opener is not None:
                log, tid, comm = one.opener
                one.logs.add(log)
                one.comm = one.comm or comm
                if tid is not None:
                    one.tids.add(tid)
        if other is not None:
            seen.add(other.inode)
        found.append(TracedConnection((socket, other), ([], [])))
    return found
