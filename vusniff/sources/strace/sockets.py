"""From system calls to sockets: which unix stream sockets a traced process had, what went through each, with which
descriptors.

Owns the meaning of the calls. Knows no framing and does not judge what a socket carries.

A socket is known by its inode where strace says it (-y, -yy). Without, it is known by its number in the log until the
number is closed or given to another socket; then only calls that need a socket begin one, because files are read and
written too.

Identities of descriptors are those the log proves: a socket's and a pipe's inode, a device's numbers, and an eventfd's
id (strace 6.12 and later). strace does not print the inode of a memfd or a file, and older ones call every eventfd
``anon_inode:[eventfd]``: these have a kind and a name, and no identity. The number of a descriptor would not do
instead, since most logs do not show when it was closed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from vusniff.families.vhost_user.protocol import MAX_FDS
from vusniff.record import Descriptor, DescriptorKind
from vusniff.sources.strace.log import Fd, StringValue, TracedCall, Value, parse_fd
from vusniff.values import dataclass, field

SENDS = frozenset({"sendmsg", "sendmmsg", "sendto", "write", "writev"})
RECEIVES = frozenset({"recvmsg", "recvmmsg", "recvfrom", "read", "readv"})
OPENS = frozenset({"socket", "connect", "accept", "accept4", "socketpair", "close"})
CALLS = SENDS | RECEIVES | OPENS | {"ioctl"}
"""The calls that say something about a socket, or about a device (`devices`)."""
OTHER_FILES = re.compile(
    r"(?:read|readv|write|writev|close|ioctl)\(\d+<(?!UNIX|/dev/v|socket:|\\x73\\x6f\\x63\\x6b\\x65\\x74\\x3a)"
)
"""Beginnings of calls on what is not a unix socket; -xx prints ``socket:`` in hexadecimal."""
_ANY_FILE = frozenset({"read", "readv", "write", "writev", "close"})

CMSG_HEAD = 16
"""Bytes of a cmsghdr on 64-bit hosts."""
_UNIX = re.compile(r'(?:UNIX|UNIX-STREAM|socket):\[(\d{1,19})(?:->(\d{1,19}))?(?:,(@?)"(.*)")?\]', re.DOTALL)
_PIPE = re.compile(r"pipe:\[(\d{1,19})\]")
_EVENTFD_ID = re.compile(r"\{eventfd-.*eventfd-id=(\d{1,19})")


@dataclass(frozen=True, slots=True)
class Piece:
    """What one call moved, or the part of it before a hole."""

    sending: bool
    """The socket's owner sent it; else received it."""
    log: int
    line: int
    """The line where a send begins or a receive ends: then the bytes were certainly there."""
    time_ns: int | None
    data: bytes
    missing: int
    descriptors: tuple[Descriptor, ...]
    tid: int | None


@dataclass(frozen=True, slots=True)
class Ending:
    """When a connection ended, and how."""

    log: int
    line: int
    time_ns: int | None
    reason: str
    by_peer: bool


@dataclass(slots=True)
class Socket:
    """One end of a connection, as its owner's log shows it."""

    name: str
    """``socket:[7]``, or ``fd 5`` where nothing better is known."""
    inode: int | None = None
    peer: int | None = None
    path: str | None = None
    accepted: bool | None = None
    """It was accepted (or is bound); False: it connected; None: not seen."""
    opened: bool = False
    """The log shows how it came to be, so nothing went before what is here."""
    opened_ns: int | None = None
    opener: tuple[int, int | None, str] | None = None
    """Log, thread and name of who connected or accepted."""
    sent: list[Piece] = field(default_factory=list)
    received: list[Piece] = field(default_factory=list)
    tids: set[int] = field(default_factory=set)
    comm: str = ""
    logs: set[int] = field(default_factory=set)
    """Logs in which it carried something."""
    end: Ending | None = None

    @property
    def silent(self) -> bool:
        """It was connected or accepted at a path, and nothing went through it."""
        return self.opened and self.path is not None and not self.sent and not self.received


class Sockets:
    """All sockets of some logs."""

    def __init__(self) -> None:
        self.by_inode: dict[int, Socket] = {}
        self.nameless: list[Socket] = []
        """Sockets without an inode, in the order in which they appeared."""
        self.peers: dict[int, int] = {}
        """Inode of a socket -> inode of the socket it is connected to."""
        self.cut = 0
        """Strings of which strace printed only the beginning."""
        self._by_number: dict[tuple[int, int], Socket] = {}

    def __iter__(self) -> Iterator[Socket]:
        yield from self.by_inode.values()
        yield from self.nameless

    def take(self, call: TracedCall, log: int) -> None:
        """Learn from one call of log number ``log``."""
        if call.name == "socketpair":
            self._pair(call, log)
            return
        fd = parse_fd(call.args[0]) if call.args else None
        if call.name == "socket":
            fd = parse_fd(call.returned)
        if fd is None:
            return
        if call.name in OPENS:
            self._open_or_close(call, fd, log)
            return
        socket = self._socket(fd, log, begin=call.name not in _ANY_FILE)
        if socket is None:
            return
        if call.result is None or call.result < 0:
            if call.error in ("ECONNRESET", "EPIPE"):
                reason = "reset" if call.error == "ECONNRESET" else "eof"
                socket.end = socket.end or Ending(log, call.ended, call.ended_ns, reason, True)
            return
        self._transfer(call, socket, log)

    def _transfer(self, call: TracedCall, socket: Socket, log: int) -> None:
        sending = call.name in SENDS
        line, time_ns = (call.began, call.began_ns) if sending else (call.ended, call.ended_ns)
        if any(isinstance(arg, str) and "MSG_PEEK" in arg for arg in call.args[2:]):
            return
        for buffers, total, descriptors in self._messages(call, sending):
            if total == 0 and not sending and _room(buffers):
                socket.end = socket.end or Ending(log, line, time_ns, "eof", True)
            if total == 0 and not descriptors:
                continue
            pieces = socket.sent if sending else socket.received
            for data, missing in self._gather(buffers, total):
                pieces.append(Piece(sending, log, line, time_ns, data, missing, descriptors, call.tid))
                descriptors = ()
            socket.logs.add(log)
            socket.comm = socket.comm or call.comm
            if call.tid is not None:
                socket.tids.add(call.tid)

    def _messages(
        self, call: TracedCall, sending: bool
    ) -> Iterator[tuple[list[tuple[Value, int | None]], int, tuple[Descriptor, ...]]]:
        """Buffers (with their sizes), bytes moved and descriptors of each message of a call."""
        result = call.result or 0
        what = call.args[1] if len(call.args) > 1 else ""
        if call.name in ("sendmsg", "recvmsg"):
            if isinstance(what, dict):
                yield _vector(what.get("msg_iov", "")), result, self._rights(what, sending)
        elif call.name in ("sendmmsg", "recvmmsg"):
            for message in what[:result] if isinstance(what, list) else ():
                head = message.get("msg_hdr") if isinstance(message, dict) else None
                if isinstance(message, dict) and isinstance(head, dict):
                    length = _number(message.get("msg_len", "")) or 0
                    yield _vector(head.get("msg_iov", "")), length, self._rights(head, sending)
        elif call.name in ("readv", "writev"):
            yield _vector(what), result, ()
        else:
            yield [(what, _number(call.args[2]) if len(call.args) > 2 else None)], result, ()

    def _gather(self, buffers: Sequence[tuple[Value, int | None]], total: int) -> list[tuple[bytes, int]]:
        """Runs of bytes, each with the number of bytes behind it that the log does not have."""
        runs: list[tuple[bytes, int]] = []
        for value, room in buffers:
            data = value.data if isinstance(value, StringValue) else b""
            size = min(total, len(data) if room is None else room)
            if isinstance(value, StringValue) and value.cut and room is None:
                size = total
            data = data[:size]
            self.cut += len(data) < size
            total -= size
            if runs and not runs[-1][1]:
                runs[-1] = (runs[-1][0] + data, size - len(data))
            elif size:
                runs.append((data, size - len(data)))
        if buffers and all(room is not None for _, room in buffers):
            total = 0  # no call moves more than there is room for
        if total > 0:
            self.cut += 1
            before, missing = runs.pop() if runs else (b"", 0)
            runs.append((before, missing + total))
        return runs or [(b"", 0)]

    def _rights(self, message: dict[str, Value], sending: bool) -> tuple[Descriptor, ...]:
        """The descriptors of a message's SCM_RIGHTS."""
        found: list[Descriptor] = []
        control = message.get("msg_control")
        # strace before 4.14 prints control messages as fields without a name, and descriptors in braces.
        unnamed = [value for name, value in message.items() if name.isdigit() and isinstance(value, dict)]
        entries = [entry for entry in (control if isinstance(control, list) else unnamed) if isinstance(entry, dict)]
        entries = [entry for entry in entries if "cmsg_type" in entry or "cmsg_level" in entry]
        if not entries:
            return _unread_rights(message)
        for entry in entries:
            if entry.get("cmsg_type") != "SCM_RIGHTS":
                continue
            data = entry.get("cmsg_data", next((value for name, value in entry.items() if name.isdigit()), None))
            values = list(data.values()) if isinstance(data, dict) else data if isinstance(data, list) else []
            before = len(found)
            for value in values:
                fd = parse_fd(value)
                if fd is not None:
                    found.append(describe(fd, sending))
                    self._note(fd)
            count = ((_number(entry.get("cmsg_len", "")) or 0) - CMSG_HEAD) // 4
            if "..." in values or len(found) == before:  # strace printed the first ones only, or none
                found += [Descriptor()] * (min(count, MAX_FDS) - (len(found) - before))
        return tuple(found)

    def _note(self, fd: Fd) -> None:
        """Remember which socket a printed descriptor is connected to."""
        match = _UNIX.fullmatch(fd.target or "")
        if match and match[2]:
            self.peers[int(match[1])] = int(match[2])
            self.peers[int(match[2])] = int(match[1])

    def _pair(self, call: TracedCall, log: int) -> None:
        pair = call.args[3] if len(call.args) > 3 else ""
        for value in pair if isinstance(pair, list) else ():
            fd = parse_fd(value)
            if fd is None or call.result != 0:
                continue
            self._by_number.pop((log, fd.number), None)
            socket = self._socket(fd, log, begin=False)
            if socket is not None:
                socket.opened, socket.opened_ns = True, call.ended_ns

    def _open_or_close(self, call: TracedCall, fd: Fd, log: int) -> None:
        if call.name in ("accept", "accept4"):
            new = parse_fd(call.returned)
            if new is None or call.result is None or call.result < 0:
                return
            self._by_number.pop((log, new.number), None)
            socket = self._socket(new, log, begin=True)
            if socket is not None:
                socket.accepted, socket.opened, socket.opened_ns = True, True, call.ended_ns
                socket.opener = log, call.tid, call.comm
            return
        if call.name == "socket":
            self._by_number.pop((log, fd.number), None)
            return
        if call.name == "close":
            socket = self._socket(fd, log, begin=False)
            if socket is not None and call.result == 0 and (log in socket.logs or socket.silent):
                socket.end = socket.end or Ending(log, call.ended, call.ended_ns, "eof", False)
            self._by_number.pop((log, fd.number), None)
            return
        address = call.args[1] if len(call.args) > 1 else ""
        if not isinstance(address, dict) or address.get("sa_family") != "AF_UNIX":
            return
        if call.result != 0 and call.error not in ("EINPROGRESS", "EISCONN"):
            return
        socket = self._socket(fd, log, begin=True)
        path = address.get("sun_path")
        if socket is not None:
            socket.accepted, socket.opened, socket.opened_ns = False, True, call.ended_ns
            socket.opener = log, call.tid, call.comm
            if isinstance(path, StringValue):
                # strace prints an abstract name as @"name", older ones with its NUL in front
                name = path.data.decode("utf-8", "replace").rstrip("\0")
                socket.path = "@" + name.lstrip("\0") if path.abstract or name.startswith("\0") else name

    def _socket(self, fd: Fd, log: int, begin: bool) -> Socket | None:
        """The socket behind a printed descriptor; None for anything else."""
        if fd.target is None:
            key = (log, fd.number)
            known = self._by_number.get(key)
            if known is None and begin:
                known = self._by_number[key] = Socket(f"fd {fd.number}")
                self.nameless.append(known)
            return known
        match = _UNIX.fullmatch(fd.target)
        if match is None:
            return None
        inode = int(match[1])
        socket = self.by_inode.get(inode)
        if socket is None:
            socket = self.by_inode[inode] = Socket(f"socket:[{inode}]", inode)
        self._note(fd)
        socket.peer = self.peers.get(inode, socket.peer)
        if match[4] is not None:
            socket.path = match[3] + match[4]
            if socket.accepted is None:
                socket.accepted = True
        return socket


def describe(fd: Fd, sending: bool) -> Descriptor:
    """What a log says of a passed descriptor; the number is the sender's, so a receiver's log does not have it."""
    number = fd.number if sending else None
    target = fd.target
    if target is None:
        return Descriptor(number=number)
    name = target + (" (deleted)" if fd.deleted else "")
    if fd.device is not None:
        return Descriptor(DescriptorKind.DEVICE, f"device:{fd.device[1]}:{fd.device[2]}", number, target)
    if socket := _UNIX.fullmatch(target):
        return Descriptor(DescriptorKind.SOCKET, f"socket:{socket[1]}", number)
    if pipe := _PIPE.fullmatch(target):
        return Descriptor(DescriptorKind.PIPE, f"pipe:{pipe[1]}", number)
    if event := _EVENTFD_ID.match(target):
        return Descriptor(DescriptorKind.EVENTFD, f"eventfd:{event[1]}", number)
    if target == "anon_inode:[eventfd]" or target.startswith("{eventfd-"):
        return Descriptor(DescriptorKind.EVENTFD, None, number)
    if target == "anon_inode:[userfaultfd]":
        return Descriptor(DescriptorKind.USERFAULTFD, None, number)
    if target.startswith("/memfd:"):
        return Descriptor(DescriptorKind.MEMFD, None, number, target.removeprefix("/memfd:"))
    if target.startswith("/dmabuf:"):
        return Descriptor(DescriptorKind.DMABUF, None, number, target.removeprefix("/dmabuf:") or None)
    if target.startswith("/"):
        return Descriptor(DescriptorKind.FILE, None, number, name)
    if ":[" in target and target[0].isupper():
        return Descriptor(DescriptorKind.SOCKET, None, number)
    return Descriptor(DescriptorKind.OTHER, None, number, name)


def _unread_rights(message: dict[str, Value]) -> tuple[Descriptor, ...]:
    """The descriptors of a message whose control data strace did not decode: control data holds at least one.

    Their number is not known for sure, because two descriptors take as much room as one.
    """
    length = _number(message.get("msg_controllen", ""))
    if not length or message.get("msg_control", "") == "NULL":
        return ()
    count = max((length - CMSG_HEAD) // 4, 1)
    return (Descriptor(),) * min(count - (count % 2 == 0), MAX_FDS)


def _vector(value: Value) -> list[tuple[Value, int | None]]:
    """The buffers of an iovec, with their sizes."""
    buffers: list[tuple[Value, int | None]] = []
    for entry in value if isinstance(value, list) else ():
        if isinstance(entry, dict):
            room = _number(entry.get("iov_len", entry.get("1", "")))
            buffers.append((entry.get("iov_base", entry.get("0", "")), room))
        elif entry == "...":  # strace printed the first ones only
            buffers.append(("", None))
    return buffers


def _room(buffers: Iterable[tuple[Value, int | None]]) -> bool:
    """Whether a receive of no bytes could have had some: then it was the end of the stream."""
    return any(room for _, room in buffers)


def _number(value: Value) -> int | None:
    """A printed number that is not negative."""
    if not isinstance(value, str) or len(value) > 20:
        return None
    try:
        return max(0, int(value, 0))
    except ValueError:
        return None
