"""The unix stream sockets of this machine: sock_diag(7) tells what they are, /proc which processes hold them.

Knows no vhost-user. A socket is known by its inode, which no other open socket has, in any network namespace. sock_diag
answers for one network namespace at a time, so each one that some process lives in is asked, where we are allowed to.

Messages (include/uapi/linux/unix_diag.h), native byte order. Request: family u8, protocol u8, pad u16, states u32,
inode u32, show u32, cookie 2 x u32. Answer: family u8, type u8, state u8, pad u8, inode u32, cookie 2 x u32, then
attributes (length u16, kind u16, value padded to 4): 0 name, 1 device and inode of the bound path, 2 inode of the peer.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import socket
import struct
import threading
from collections.abc import Iterator

from vusniff.values import dataclass

LISTEN, ESTABLISHED, CLOSED = 10, 1, 7

_NETLINK_SOCK_DIAG = 4
_BY_FAMILY = 20
_DONE, _ERROR = 3, 2
_REQUEST, _DUMP = 1, 0x300
_SHOW = 1 | 2 | 4
_ANY = 0xFFFFFFFF
_CLONE_NEWNET = 0x40000000
_DAC, _SYS_PTRACE = 1 << 1 | 1 << 2, 1 << 19
"""CAP_DAC_OVERRIDE or CAP_DAC_READ_SEARCH; CAP_SYS_PTRACE (include/uapi/linux/capability.h)."""
_HEADER = struct.Struct("=IHHII")
_QUERY = struct.Struct("=BBHIIIII")
_ANSWER = struct.Struct("=BBBBIII")


@dataclass(frozen=True, slots=True)
class UnixSocket:
    """One unix stream socket."""

    inode: int
    state: int
    path: str | None
    """What it is bound to, ``@name`` for an abstract name; an accepted socket has its listener's."""
    peer: int | None
    file: tuple[int, int] | None = None
    """Device (the kernel's number) and inode of the bound path."""
    namespace: int = 0
    """Inode of its network namespace."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that has a socket open."""

    pid: int
    fd: int
    comm: str


class Diag:
    """Questions to the kernel about the sockets of one network namespace, or of ours."""

    def __init__(self, namespace: str | None = None) -> None:
        """``namespace`` is a path such as ``/proc/PID/ns/net``. Raises OSError where we may not go there."""
        self._socket = _in_namespace(namespace) if namespace else _netlink()
        self._socket.settimeout(5)

    def all(self) -> Iterator[UnixSocket]:
        """Every unix stream socket."""
        yield from self._ask(0, _DUMP)

    def one(self, inode: int) -> UnixSocket | None:
        """The socket with this inode; None when there is none here."""
        try:
            return next(iter(self._ask(inode, 0)), None)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return None
            raise

    def close(self) -> None:
        """No more questions."""
        self._socket.close()

    def _ask(self, inode: int, flags: int) -> Iterator[UnixSocket]:
        query = _QUERY.pack(socket.AF_UNIX, 0, 0, _ANY, inode & _ANY, _SHOW, _ANY, _ANY)
        self._socket.send(_HEADER.pack(_HEADER.size + len(query), _BY_FAMILY, _REQUEST | flags, 1, 0) + query)
        while True:
            data = self._socket.recv(1 << 17)
            at = 0
            while at + _HEADER.size <= len(data):
                length, kind, _, _, _ = _HEADER.unpack_from(data, at)
                if kind == _DONE or length < _HEADER.size:
                    return
                if kind == _ERROR:
                    (code,) = struct.unpack_from("=i", data, at + _HEADER.size)
                    if code:
                        raise OSError(-code, os.strerror(-code), "sock_diag")
                    return
                if (found := _parse(data[at + _HEADER.size : at + length])) is not None:
                    yield found
                at += (length + 3) & ~3
            if not flags:
                return


def _parse(answer: bytes) -> UnixSocket | None:
    _, kind, state, _, inode, _, _ = _ANSWER.unpack_from(answer)
    path, peer, file = None, None, None
    at = _ANSWER.size
    while at + 4 <= len(answer):
        length, what = struct.unpack_from("=HH", answer, at)
        if length < 4:
            break
        value = answer[at + 4 : at + length]
        if what == 0:
            path = path_text(value)
        elif what == 1 and len(value) >= 8:
            number, device = struct.unpack_from("=II", value)
            file = (device, number)
        elif what == 2 and len(value) >= 4:
            (peer,) = struct.unpack_from("=I", value)
        at += (length + 3) & ~3
    return UnixSocket(inode, state, path, peer or None, file) if kind == socket.SOCK_STREAM else None


def path_text(name: bytes) -> str | None:
    """A bound name as the kernel keeps it: NUL in front for an abstract one, NUL at the end of a path."""
    if not name:
        return None
    if name[0] == 0:
        return "@" + name[1:].decode(errors="backslashreplace").replace("\0", "@")
    return name.split(b"\0", 1)[0].decode(errors="backslashreplace") or None


def _netlink() -> socket.socket:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG)


def _in_namespace(path: str) -> socket.socket:
    """A netlink socket of another network namespace: a socket stays where it was made, a thread can go there."""
    made: list[socket.socket | OSError] = []

    def go() -> None:
        try:
            with open(path, "rb") as file:
                if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), _CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)
            made.append(_netlink())
        except OSError as error:
            made.append(error)

    thread = threading.Thread(target=go)
    thread.start()
    thread.join()
    if isinstance(made[0], OSError):
        raise made[0]
    return made[0]


class Namespaces:
    """Whom to ask about the sockets of a network namespace, by its inode; 0 is ours."""

    def __init__(self) -> None:
        self._own = os.stat("/proc/self/ns/net").st_ino
        self._diags: dict[int, Diag] = {}
        self._closed: set[int] = set()

    def diag(self, namespace: int, pid: int = 0) -> Diag | None:
        """Whom to ask there; None where that is not possible now. ``pid`` is likely to live there."""
        namespace = namespace or self._own
        if namespace not in self._diags and namespace not in self._closed:
            try:
                self._diags[namespace] = self._enter(namespace, pid)
            except OSError:
                self._closed.add(namespace)
        return self._diags.get(namespace)

    def try_again(self) -> None:
        """What was not possible may be now: a process that could not be entered has ended, others live there."""
        self._closed.clear()

    def close(self) -> None:
        """No more questions."""
        for diag in self._diags.values():
            diag.close()
        self._diags.clear()

    def _enter(self, namespace: int, pid: int) -> Diag:
        if namespace == self._own:
            return Diag()
        with contextlib.suppress(OSError), open(f"/proc/{pid}/ns/net", "rb") as file:
            if os.fstat(file.fileno()).st_ino == namespace:  # the number may be another process's by now
                return Diag(f"/proc/self/fd/{file.fileno()}")
        path = namespaces().get(namespace)
        if path is None:
            raise ProcessLookupError(f"no process lives in network namespace {namespace}")
        return Diag(path)


def pids() -> list[int]:
    """Every process that /proc shows."""
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def namespaces() -> dict[int, str]:
    """Inode of each network namespace that some process lives in, and a path to it; ours is always there."""
    found = {os.stat("/proc/self/ns/net").st_ino: "/proc/self/ns/net"}
    for pid in pids():
        with contextlib.suppress(OSError):
            found.setdefault(os.stat(f"/proc/{pid}/ns/net").st_ino, f"/proc/{pid}/ns/net")
    return found


def unix_sockets() -> dict[int, UnixSocket]:
    """Every unix stream socket by inode, in all network namespaces that can be entered."""
    out: dict[int, UnixSocket] = {}
    own = os.stat("/proc/self/ns/net").st_ino
    for number, path in namespaces().items():
        with contextlib.suppress(OSError):  # gone meanwhile, or not allowed
            diag = Diag(None if number == own else path)
            with contextlib.closing(diag):
                for found in diag.all():
                    out[found.inode] = UnixSocket(found.inode, found.state, found.path, found.peer, found.file, number)
    return out


def holders() -> dict[int, tuple[Holder, ...]]:
    """Who has which socket open, by the socket's inode; processes that cannot be looked into are not there."""
    out: dict[int, tuple[Holder, ...]] = {}
    for pid in pids():
        with contextlib.suppress(OSError):
            name: str | None = None
            for fd in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    link = os.readlink(f"/proc/{pid}/fd/{fd}")
                    if link.startswith("socket:["):
                        name = comm(pid) if name is None else name
                        inode = int(link[8:-1])
                        out[inode] = (*out.get(inode, ()), Holder(pid, int(fd), name))
    return out


def sees_descriptors() -> bool:
    """Whether this process may look into those of other users: CAP_DAC_READ_SEARCH lists /proc/PID/fd, and
    CAP_SYS_PTRACE reads its links (proc(5))."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        effective = next((int(line.split()[1], 16) for line in file if line.startswith("CapEff:")), 0)
    return bool(effective & _DAC and effective & _SYS_PTRACE)


def held_sockets() -> frozenset[int] | None:
    """Inodes of the sockets that some process has open; None where the processes of other users cannot be looked into.

    Who has the capabilities for it cannot look into all of them either: one outside of a container has no socket of
    ours open.
    """
    found: set[int] = set()
    rights = sees_descriptors()
    for pid in pids():
        try:
            for fd in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(FileNotFoundError):
                    link = os.readlink(f"/proc/{pid}/fd/{fd}")
                    if link.startswith("socket:["):
                        found.add(int(link[8:-1]))
        except PermissionError:
            if not rights:
                return None
        except OSError:  # it has ended meanwhile
            continue
    return frozenset(found)


def comm(pid: int) -> str:
    """Command name of a process; empty when it is gone."""
    try:
        with open(f"/proc/{pid}/comm", "rb") as file:
            return file.read().rstrip(b"\n").decode(errors="backslashreplace")
    except OSError:
        return ""


_COMM_BYTES = 15
"""What the kernel keeps of a name (TASK_COMM_LEN less the zero)."""
_NAME_LENGTH = 64
_COMMAND_BYTES, _SCRIPT_WORDS = 4096, 4
"""Of a command line, in which a script stands behind its interpreter and its options."""


def full_name(pid: int, comm: str) -> str:
    """What a process is called: its command name. Where the kernel kept only the beginning of that, the name of its
    executable, or the word of its command line, that begins so: a script's executable is its interpreter."""
    if len(comm) < _COMM_BYTES:
        return comm
    names: list[str] = []
    with contextlib.suppress(OSError):
        names.append(os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)"))
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
        names += [os.fsdecode(word) for word in file.read(_COMMAND_BYTES).split(b"\0")[:_SCRIPT_WORDS]]
    found = next((name for name in map(os.path.basename, names) if name.startswith(comm)), comm)
    return found[:_NAME_LENGTH]


def parents(pid: int) -> list[int]:
    """The process, its parent, and so on."""
    out: list[int] = []
    while pid > 0 and pid not in out:
        out.append(pid)
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                pid = int(file.read().rpartition(b")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            break
    return out
