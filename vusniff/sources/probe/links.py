"""The connections that the probe follows: from sockets that speak to frames in a capture.

Owns which two sockets are one connection and which of them accepted, and what is told of a loss. A socket is known by
its inode.
"""

from __future__ import annotations

from collections.abc import Callable

from vusniff.bpf.records import PASSED_FD
from vusniff.capture.recording import Recording
from vusniff.families.framing import Framer
from vusniff.families.registry import FIRST, family_named
from vusniff.passed_sockets import PassedSockets
from vusniff.record import (
    CAPTURE_ENDED,
    Chunk,
    Closed,
    Connection,
    Descriptor,
    End,
    Exit,
    Facts,
    Frame,
    FrameKind,
    Lost,
    Process,
)
from vusniff.sources.host.held import held
from vusniff.sources.host.unixdiag import path_text
from vusniff.sources.probe.passed import descriptors
from vusniff.sources.probe.sends import Exited, NewSocket, Send
from vusniff.values import dataclass, field, replace

_PROCESSES = 64
"""Threads remembered per end of a connection."""
LATELY_NS = 5_000_000_000
"""How long after its last connection the end of a process is still recorded."""
_LEFT_PROCESSES, _LEFT_ENDS = 1024, 64
"""Processes whose connections have ended lately, and ends of each, that are remembered."""


@dataclass(slots=True)
class LinkEnd:
    """One end of a connection."""

    inode: int
    framer: Framer
    process: Process | None = None
    lost: int = 0
    """Losses that have been told."""
    speakers: dict[tuple[int, bytes], Process] = field(default_factory=dict)


@dataclass(slots=True)
class Dying:
    """A process that has begun to end: its files are closed next, which takes long where it has much memory."""

    pid: int
    time: int
    exit: Exit
    told: bool = False

    @property
    def killed(self) -> bool:
        """By a signal."""
        return self.exit.signal is not None


@dataclass(slots=True)
class Link:
    """A connection; ``sides`` are in the order of `Connection.ends`."""

    path: str
    sides: tuple[LinkEnd, LinkEnd]
    late: bool
    netns: int
    opened: NewSocket
    connection: Connection | None = None
    received: int = 0
    lost: int = 0
    going: tuple[int | None, int, str] | None = None
    """An end is gone: which, when in kernel time, why. The connection ends when what was sent before is written."""
    dying: dict[int, Dying] = field(default_factory=dict)
    """End -> its process, which is ending."""


class Links:
    """All connections of one capture. ``epoch`` turns kernel time into nanoseconds since the epoch."""

    def __init__(
        self,
        writer: Recording,
        epoch: Callable[[int], int],
        existed: frozenset[int],
        listening: frozenset[str],
        name: Callable[[int, str], str | None],
        command: Callable[[int], str],
    ) -> None:
        self._writer = writer
        self._epoch = epoch
        self._existed = existed
        """Inodes of the sockets that were there before the probe."""
        self._listening = listening
        self._name = name
        """What the user calls a process: pid and path of the connection -> label."""
        self._command = command
        self._by_inode: dict[int, tuple[Link, int]] = {}
        self._passed: PassedSockets[bool] = PassedSockets()
        """Tells which end of a pair was passed."""
        self._left: dict[int, list[tuple[int, int, int]]] = {}
        """By process: connection, end and time in the kernel of what it held lately."""
        self.connections = self.messages = self.lost = self.failed = self.amended = 0

    def all(self) -> list[Link]:
        """The connections that have not ended."""
        return list({id(link): link for link, _ in self._by_inode.values()}.values())

    def find(self, inode: int) -> tuple[Link, int] | None:
        """The connection of a socket, and which end of it this is."""
        return self._by_inode.get(inode)

    def was_passed(self, opened: NewSocket) -> bool:
        """Whether this socket, or its peer, came as a descriptor over a connection that is recorded."""
        return bool(self._passed.get(opened.inode) or self._passed.get(opened.peer_inode))

    def meet(self, opened: NewSocket) -> Link | None:
        """A socket speaks for the first time; the connection if it is new."""
        if opened.inode in self._by_inode:
            return None
        known = self._by_inode.get(opened.peer_inode)
        if known is not None:
            link, end = known
            side = link.sides[1 - end]
            side.inode = opened.inode
            self._by_inode[opened.inode] = (link, 1 - end)
            return None
        late = opened.inode in self._existed or opened.peer_inode in self._existed
        end = self._end_of(opened)
        path = path_text(opened.path if end else opened.peer_path) or path_text(opened.peer_path or opened.path)
        channel = None if path else self._writer.passed(opened.inode, opened.peer_inode) or family_named(FIRST).unknown
        own = LinkEnd(opened.inode, Framer(late=late, channel=channel))
        other = LinkEnd(opened.peer_inode, Framer(late=late, channel=channel))
        sides = (own, other) if end == 0 else (other, own)
        if path is None:
            path = f"pair:{sides[0].inode}-{sides[1].inode}"
        own.process = self._process(opened.tgid, opened.comm, opened.tid, path)
        if opened.peer_pid > 0:
            other.process = Process(
                opened.peer_pid, self._command(opened.peer_pid), None, self._name(opened.peer_pid, path)
            )
        link = Link(path, sides, late, opened.netns, opened)
        self._by_inode[opened.inode] = (link, end)
        if opened.peer_inode:
            self._by_inode[opened.peer_inode] = (link, 1 - end)
        return link

    def _end_of(self, opened: NewSocket) -> int:
        """1 for the end that accepted: it has its listener's path. Of a pair it is the end that was passed on."""
        if bool(opened.path) != bool(opened.peer_path):
            return int(bool(opened.path))
        if opened.path:
            own, peer = path_text(opened.path), path_text(opened.peer_path)
            return int(own in self._listening and peer not in self._listening)
        if self.was_passed(opened):
            return int(self._passed.get(opened.inode) is not None)
        return int(opened.inode > opened.peer_inode > 0)

    def _process(self, pid: int, comm: bytes, tid: int, path: str) -> Process:
        return Process(pid, comm.rstrip(b"\0").decode(errors="backslashreplace"), tid, self._name(pid, path))

    def send(self, send: Send) -> None:
        """Writes what a send handed over."""
        known = self._by_inode.get(send.inode)
        if known is None:
            return
        link, end = known
        side = link.sides[end]
        time_ns = self._epoch(send.time)
        if send.lost != side.lost:
            self._lose(link, end, send.lost - side.lost, time_ns)
            side.lost = send.lost
        result = send.result
        if result is None or result < 0:
            self.failed += 1
            return
        data = send.data[:result]
        missing = result - len(data)
        passed: tuple[Descriptor, ...] = ()
        if send.count:
            passed = self._descriptors(send)
        key = (send.tid, send.comm)
        process = side.speakers.get(key)
        if process is None:
            process = self._speaker(link, side, send, key)
        if link.connection is None:
            self._open(link, time_ns)
        assert link.connection is not None
        frames = link.sides[1 - end].framer.release()
        frames += side.framer.feed(
            Chunk(link.connection.id, end, time_ns, data, Facts(passed, process, send.stack), missing)
        )
        if frames:
            self._write(link, frames)

    def open(self, link: Link, time: int) -> int:
        """Writes that a connection is there, though nothing was said on it; which one of the file it is, 0 for none."""
        if link.connection is None:
            self._open(link, self._epoch(time))
        assert link.connection is not None
        return self._writer.describe(link.connection.id)

    def _descriptors(self, send: Send) -> tuple[Descriptor, ...]:
        if send.descriptors is None:
            return (Descriptor(),) * send.count
        found = descriptors(send.descriptors[: send.count * PASSED_FD.size], send.tgid)
        for descriptor in found:
            self._passed.note(descriptor, True)
        return found

    def _speaker(self, link: Link, side: LinkEnd, send: Send, key: tuple[int, bytes]) -> Process:
        if len(side.speakers) >= _PROCESSES:
            side.speakers.clear()
        process = self._process(send.tgid, send.comm, send.tid, link.path)
        if process == side.process:
            process = side.process
        side.speakers[key] = process
        end = int(side is link.sides[1])
        if end in link.dying and link.dying[end].pid != process.pid:
            del link.dying[end]  # another process has its socket
        return process

    def _open(self, link: Link, time_ns: int) -> None:
        a, b = link.sides
        pids = [side.process.pid if side.process else None for side in (a, b)]
        ends = (
            End(a.inode or None, a.process, held(*pids) if link.late else ()),
            End(b.inode or None, b.process, held(*reversed(pids)) if link.late else ()),
        )
        self.connections += 1
        link.connection = self._writer.open(link.path, ends, None if link.late else time_ns, link.late)

    def _write(self, link: Link, frames: list[Frame]) -> None:
        write = self._writer.frame
        for frame in frames:
            write(frame)
            if frame.kind is not FrameKind.CONTINUATION:
                link.received += 1
                self.messages += 1

    def _lose(self, link: Link, end: int, count: int, time_ns: int) -> None:
        """Sends of one end did not reach us: what it says next need not begin with a header."""
        if link.connection is None:
            self._open(link, time_ns)
        assert link.connection is not None
        self._write(link, link.sides[end].framer.gap())
        self._writer.lost(Lost(link.connection.id, time_ns, count))
        link.lost += count
        self.lost += count

    def lose(self, inode: int, count: int, time: int) -> None:
        """Sends of this socket are missing that nobody has counted yet."""
        if (known := self._by_inode.get(inode)) is not None:
            self._lose(*known, count, self._epoch(time))

    def amend(self, inode: int) -> None:
        """A send of this socket is written as sent in full, and now it has failed or was cut short: what it says next
        need not begin with a header."""
        self.amended += 1
        if (known := self._by_inode.get(inode)) is not None:
            self._write(known[0], known[0].sides[known[1]].framer.gap())

    def settle(self, inode: int, lost: int, time: int) -> None:
        """The kernel's count of a socket's losses, when no further send will tell it."""
        if (known := self._by_inode.get(inode)) is not None and lost > known[0].sides[known[1]].lost:
            side = known[0].sides[known[1]]
            self._lose(*known, lost - side.lost, self._epoch(time))
            side.lost = lost

    def exited(self, exited: Exited) -> None:
        """A process begins to end. It is told when a connection ends with it, for its socket may be somebody else's by
        now; at once when all of its connections have ended already."""
        code, number = exited.code, exited.code & 0x7F
        how = (None, number, bool(code & 0x80)) if number else (code >> 8 & 0xFF, None, None)
        comm = exited.comm.decode(errors="backslashreplace")
        dying = Dying(exited.tgid, exited.time, Exit(self._epoch(exited.time), exited.tgid, comm, *how))
        held = False
        for link in self.all():
            for end in (0, 1):
                if link.connection is not None and _pid_of(link.sides[end]) == exited.tgid:
                    link.dying[end] = dying
                    held = True
        if not held:
            self.tell(dying)

    def tell(self, dying: Dying) -> None:
        """A process has ended, and its connections with it."""
        if dying.told:
            return
        dying.told = True
        left = self._left.pop(dying.pid, ())
        ends = [(connection, end) for connection, end, time in left if dying.time - time <= LATELY_NS]
        for link in self.all():
            if link.connection is not None:
                ends += [(link.connection.id, end) for end, one in link.dying.items() if one is dying]
        if ends:
            self._writer.evidence(replace(dying.exit, ends=tuple(ends)))

    def _leave(self, link: Link, time: int) -> None:
        """Remembers who held the ends of a connection that ends."""
        assert link.connection is not None
        for end, side in enumerate(link.sides):
            pid = _pid_of(side)
            if pid is not None and end not in link.dying:
                if pid not in self._left and len(self._left) >= _LEFT_PROCESSES:
                    del self._left[next(iter(self._left))]
                left = self._left.setdefault(pid, [])
                left.append((link.connection.id, end, time))
                del left[:-_LEFT_ENDS]

    def end(self, link: Link, by: int | None, time: int, reason: str) -> None:
        """A connection ends: unfinished messages and statistics are written."""
        for side in link.sides:
            self._by_inode.pop(side.inode, None)
            self._passed.forget(side.inode)
        if link.connection is None:
            return
        time_ns = self._epoch(time)
        for side in link.sides:
            self._write(link, side.framer.end(time_ns, closed=reason != CAPTURE_ENDED))
        self._leave(link, time)
        self._writer.close_connection(Closed(link.connection.id, time_ns, reason, by, link.received, link.lost))

    def drop(self, link: Link) -> None:
        """A connection is not wanted after all."""
        for side in link.sides:
            self._by_inode.pop(side.inode, None)


def _pid_of(side: LinkEnd) -> int | None:
    """Who holds an end, as far as known: who spoke for it last, before who connected or listened."""
    spoken = next(reversed(side.speakers.values()), None)
    process = spoken or side.process
    return process.pid if process else None
