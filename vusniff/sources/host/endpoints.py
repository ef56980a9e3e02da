"""The proxy's ends of unix stream sockets: paths bound and connected to, and who is on the other side.

Owns addresses, permissions and the removal of socket files. It knows nothing of what is said on a socket.

Permissions. A listening socket is bound with a umask that leaves it to its owner (0600), so that there is no moment in
which it is open to more. Then, when it stands in front of a socket file that exists (the ``--connect`` path), it takes
over that file's owner, group and mode: who may reach the one may reach the other. Where the owner cannot be taken over
(that needs root), or there is no such file yet, it stays at 0600.

Files. A socket file that no socket is bound to any more is replaced; one that is in use, or anything else at that path,
is not touched. One that is bound and does not listen yet is in use: to connect a stream is refused there too, so a
datagram socket asks instead, which the kernel refuses only where there is no socket (unix_find_bsd in
net/unix/af_unix.c: another type is EPROTOTYPE). It asks in every network namespace, and nobody notices it. Programs of
ours that replace files in one directory take turns (flock). Another program may replace the same file at the same time:
so a file is moved aside before it is removed, asked once more there, and put back if it is a new one. At the end the
own file is removed, unless somebody has put another in its place.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import socket
import stat
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from vusniff.errors import SourceError
from vusniff.record import Process
from vusniff.values import dataclass

BACKLOG = 128
TURN_SECONDS = 1.0
"""How long to wait for another program of ours that replaces a socket file in the same directory."""
_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST = 1
_UDIAG_SHOW_PEER = 4
_UNIX_DIAG_PEER = 2
_NLMSG = struct.Struct("=IHHII")
_UNIX_DIAG_REQ = struct.Struct("=BBHIIIII")
_UNIX_DIAG_MSG_SIZE = 16
_NLATTR = struct.Struct("=HH")


NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)
"""No more files can be opened now; later they may."""


class NoRoomError(SourceError):
    """A socket or its descriptors cannot be opened or received now: see NO_ROOM."""


@dataclass(frozen=True, slots=True)
class ProxySide:
    """One of the two sides a proxy stands between."""

    listens: bool
    """The proxy listens and the peer connects; else the proxy connects to a peer that listens."""
    path: str
    """Path of the socket file, or ``@name`` for an abstract socket."""

    def __post_init__(self) -> None:
        """Raises `SourceError` for a path without a name: a socket bound to it could not be found by anybody."""
        if self.path in ("", "@"):
            raise SourceError(f"{self.path!r} names no socket: give a path, or @NAME")

    @property
    def place(self) -> str:
        """The same for all spellings of one path."""
        return self.path if self.path.startswith("@") else os.path.realpath(self.path)

    @property
    def address(self) -> str:
        """The address as the socket calls take it."""
        return "\0" + self.path[1:] if self.path.startswith("@") else self.path


@dataclass(slots=True)
class Listener:
    """A bound, listening socket and the file it made."""

    side: ProxySide
    sock: socket.socket
    file: tuple[int, int] | None
    """Device and inode of the socket file; None for an abstract socket."""

    def accept(self) -> socket.socket | None:
        """The next peer that connected, or None; raises OSError when it cannot be accepted."""
        try:
            return self.sock.accept()[0]
        except (BlockingIOError, ConnectionAbortedError):
            return None

    def close(self) -> None:
        """Stops listening and removes the file if it is still ours."""
        self.sock.close()
        with contextlib.suppress(OSError):
            status = os.lstat(self.side.path)
            if self.file == (status.st_dev, status.st_ino):
                os.unlink(self.side.path)


def listen(side: ProxySide, stands_for: str | None = None) -> Listener:
    """Binds a side; ``stands_for`` is the socket file it stands in front of. Raises `SourceError`.

    Owner or mode that cannot be taken over are no error: ask `differs`.
    """
    if side.path.startswith("@"):
        return Listener(side, _bind(side), None)
    with _taking_turns(os.path.dirname(side.path) or "."):
        make_room(side.path)
        sock = _bind(side)
    try:
        status = os.lstat(side.path)
    except OSError as error:
        sock.close()
        raise SourceError(f"cannot listen on {side.path}: somebody has removed it: {_why(error)}") from None
    if stands_for is not None and not stands_for.startswith("@"):
        take_over(stands_for, side.path)
    return Listener(side, sock, (status.st_dev, status.st_ino))


def connect(side: ProxySide) -> socket.socket | None:
    """Connects to a side; None when nobody is there yet.

    Raises `NoRoomError` when this process or the machine can open no more files, `SourceError` where waiting would not
    help.
    """
    sock = None
    try:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)
        sock.connect(side.address)
        sock.setblocking(True)
    except OSError as error:
        if sock is not None:
            sock.close()
        if error.errno in NO_ROOM:
            raise NoRoomError(f"cannot connect to {side.path}: {_why(error)}") from None
        if error.errno in (errno.ENOENT, errno.ECONNREFUSED, errno.EAGAIN):
            return None
        raise SourceError(f"cannot connect to {side.path}: {_why(error)}") from None
    return sock


def differs(path: str, stands_for: str) -> bool:
    """Whether the socket file at ``path`` may be reached by others than the existing one it stands for."""
    try:
        ours, theirs = os.stat(path), os.stat(stands_for)
    except OSError:
        return False
    return (ours.st_uid, ours.st_gid, ours.st_mode) != (theirs.st_uid, theirs.st_gid, theirs.st_mode)


def peer_process(sock: socket.socket) -> Process | None:
    """Who is on the other side (SO_PEERCRED: who connected, or who called listen); None beyond a pid namespace."""
    try:
        pid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
    except OSError:
        return None
    if pid <= 0:
        return None
    try:
        comm = Path(f"/proc/{pid}/comm").read_bytes().rstrip(b"\n").decode(errors="backslashreplace")
    except OSError:
        comm = ""
    return Process(pid, comm)


def peer_inode(sock: socket.socket) -> int | None:
    """Inode of the socket on the other side (sock_diag(7), UDIAG_SHOW_PEER).

    None where the kernel does not tell, and while the other side has not accepted, for there is no inode yet.
    """
    inode = os.fstat(sock.fileno()).st_ino
    any_cookie = 0xFFFFFFFF
    request = _UNIX_DIAG_REQ.pack(
        socket.AF_UNIX, 0, 0, 0xFFFFFFFF, inode & 0xFFFFFFFF, _UDIAG_SHOW_PEER, any_cookie, any_cookie
    )
    header = _NLMSG.pack(_NLMSG.size + len(request), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0)
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as netlink:
            netlink.send(header + request)
            answer = netlink.recv(8192, socket.MSG_DONTWAIT)
    except OSError:
        return None
    length, kind, *_ = _NLMSG.unpack_from(answer)
    offset = _NLMSG.size + _UNIX_DIAG_MSG_SIZE
    while kind == _SOCK_DIAG_BY_FAMILY and offset + _NLATTR.size <= min(length, len(answer)):
        size, attribute = _NLATTR.unpack_from(answer, offset)
        if size < _NLATTR.size:
            break
        if attribute == _UNIX_DIAG_PEER:
            return int.from_bytes(answer[offset + 4 : offset + 8], sys.byteorder) or None
        offset += size + 3 & ~3
    return None


def is_connected_stream(sock: socket.socket) -> bool:
    """Whether a passed socket is one that can be interposed: a unix stream socket with somebody on its other side."""
    if sock.family != socket.AF_UNIX or sock.type != socket.SOCK_STREAM:
        return False
    try:
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return False
        sock.getpeername()
    except OSError:
        return False
    return True


def _bind(side: ProxySide) -> socket.socket:
    before = os.umask(0o177)
    sock = None
    try:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.bind(side.address)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        if sock is not None:
            sock.close()
        raise SourceError(f"cannot listen on {side.path}: {_why(error)}") from None
    finally:
        os.umask(before)
    return sock


@contextlib.contextmanager
def _taking_turns(directory: str) -> Iterator[None]:
    """No other program of ours replaces socket files in this directory now.

    Anybody who can read the directory can keep us waiting: not for long.
    """
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (OSError, ValueError):
        fd = -1
    try:
        deadline = time.monotonic() + TURN_SECONDS
        while fd >= 0 and time.monotonic() < deadline:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno != errno.EWOULDBLOCK:
                    break
                time.sleep(0.005)
        yield
    finally:
        if fd >= 0:
            os.close(fd)


def make_room(path: str) -> None:
    """Removes a socket file that no socket is bound to."""
    try:
        status = os.lstat(path)
        if not stat.S_ISSOCK(status.st_mode):
            raise SourceError(f"cannot listen on {path}: it exists and is not a socket; choose another path")
        if _is_bound(path):
            raise SourceError(_TAKEN.format(path=path))
        aside = os.path.join(os.path.dirname(path), f".{secrets.token_hex(8)}")
        os.rename(path, aside)
        if _is_bound(aside):  # somebody else has replaced it in the meantime
            with contextlib.suppress(OSError):
                os.link(aside, path)
            os.unlink(aside)
            raise SourceError(_TAKEN.format(path=path))
        os.unlink(aside)
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise SourceError(f"cannot listen on {path}: {_why(error)}") from None


_TAKEN = "cannot listen on {path}: another program is bound to it already; choose another path or end that one"


def _is_bound(path: str) -> bool:
    """Whether there is a socket behind a socket file, listening or not; raises OSError where that cannot be told."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asking:
        asking.setblocking(False)
        try:
            asking.connect(path)
        except ConnectionRefusedError:
            return False
        except OSError as error:
            if error.errno not in (errno.EPROTOTYPE, errno.EPERM):  # EPERM: a datagram socket that has its peer
                raise
    return True


def take_over(original: str, path: str) -> None:
    """Gives our socket file at ``path`` the owner and the mode of the socket at ``original``, as far as we may.

    Anything else that stands at either path is left as it is.
    """
    try:
        status = os.stat(original)
        if not stat.S_ISSOCK(status.st_mode):
            return
        # Not by its path: who may write in the directory could have put something else there by now.
        fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            ours = os.fstat(fd)
            if not stat.S_ISSOCK(ours.st_mode) or ours.st_uid != os.geteuid() or ours.st_nlink != 1:
                return
            if (os.geteuid(), os.getegid()) != (status.st_uid, status.st_gid):
                os.chown(f"/proc/self/fd/{fd}", status.st_uid, status.st_gid)
            os.chmod(f"/proc/self/fd/{fd}", stat.S_IMODE(status.st_mode))
        finally:
            os.close(fd)
    except OSError:
        return


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
