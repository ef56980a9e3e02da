"""Stands between two sides of a unix stream socket, passes everything on, and records it.

Owns which sockets are joined to a connection, how long peers are waited for, and how a run ends. What a connection does
is `relay`'s, what is written is `recorder`'s, addresses are `endpoints`'. It does not know which side is the front-end.

Sides, exactly two:

- listen and connect: every peer that connects gets a connection of its own to the other side. While nobody listens
  there, the peer is held, and connecting is tried again every 100 ms until it succeeds or the peer hangs up.
- listen and listen: peers are joined in the order in which they came, whichever side is first.
- connect and connect: one connection at a time; both are tried until both are there, and again after a disconnect.

End 0 of a connection is the one that connected, end 1 the one that accepted; where both did the same, they are in the
order of the command line. Its path is the one the real listener is bound to, if there is one: the ``--connect`` path.

No room. A peer that there is no room for is refused, which is a close: when it or its connection to the other side
would need one of the descriptors that are kept back (see `open_files`), or when WAITING_LIMIT peers wait already for
somebody on the other side. Those who are served notice nothing. It is said once a burst.

One thread, one epoll; every call that could wait is told not to.
"""

from __future__ import annotations

import functools
import os
import select
import socket
import subprocess
import time
from collections import deque
from collections.abc import Callable, Sequence

from vusniff.amounts import counted
from vusniff.capture.writer import CaptureWriter
from vusniff.channel import Channel
from vusniff.errors import SourceError
from vusniff.record import CAPTURE_ENDED, Closed, End
from vusniff.sources.host.endpoints import (
    Listener,
    NoRoomError,
    ProxySide,
    connect,
    differs,
    listen,
    peer_inode,
    peer_process,
)
from vusniff.sources.host.labels import label
from vusniff.sources.host.mounts import files_waiting
from vusniff.sources.proxy.bursts import Bursts
from vusniff.sources.proxy.exits import Exits
from vusniff.sources.proxy.faulty import FaultRelay
from vusniff.sources.proxy.host import FaultHost
from vusniff.sources.proxy.interposing import NO_ROOM_WORDS
from vusniff.sources.proxy.loop import Loop
from vusniff.sources.proxy.open_files import OpenFiles, raise_limit
from vusniff.sources.proxy.recorder import Recorder
from vusniff.sources.proxy.relay import Relay
from vusniff.sources.rings.sampler import Sampling
from vusniff.sources.stopping import stopped_by_signals
from vusniff.values import dataclass, field, replace

RETRY_CONNECT_SECONDS = 0.1
FILES_LIMIT = 1024
"""Files of peers that are not closed yet, from which on nobody else is let in."""
WAITING_LIMIT = 64
"""Peers of one side that may wait for somebody on the other."""
COMMAND_SECONDS = 5.0
"""How long the started command may take to end when the proxy is told to."""

Say = Callable[[str], None]


@dataclass(slots=True)
class _Peers:
    """One side and who waits on it for somebody on the other."""

    side: ProxySide
    waiting: deque[socket.socket] = field(default_factory=deque)
    since: dict[socket.socket, int] = field(default_factory=dict)
    """When each of them came, nanoseconds since the epoch."""
    why: str = ""
    """Why this side could not be connected to, when that was tried last."""
    told: bool = False
    """It was said that nobody is there yet."""


class Proxy:
    """One run: from binding the listening sockets to their removal.

    ``say`` takes sentences for the user, ``note`` those that are no errors, ``ready`` is called once everything is in
    place. `run` raises `SourceError` when it cannot start.
    """

    def __init__(
        self,
        sides: Sequence[ProxySide],
        writer: CaptureWriter,
        command: Sequence[str],
        say: Say,
        file: str = "the capture",
        ready: Callable[[], None] | None = None,
        sampling: Sampling | None = None,
        faults: FaultHost | None = None,
        note: Say | None = None,
    ) -> None:
        if len(sides) != 2:
            raise SourceError("a proxy stands between two sides: give --listen and --connect, exactly two in all")
        if sides[0].place == sides[1].place:
            raise SourceError(f"both sides are {sides[0].path}: a proxy needs two different sockets")
        self._say = say
        self._note = note or say
        self._file = file
        self._command = command
        self._call_ready = ready
        self._loop = Loop()
        self._bursts = Bursts(self._loop, say)
        self._files = OpenFiles()
        self._faults = faults
        if faults is not None:
            faults.loop = self._loop
        self._recorder = Recorder(writer, self._loop, say, note)
        self._sampling = sampling
        if sampling is not None:
            sampling.access.reserved = self._files.is_reserved
            self._recorder.keep = sampling.access.keep
        self._exits = Exits(self._loop, self._files, self._recorder.evidence)
        self._peers = (_Peers(sides[0]), _Peers(sides[1]))
        self._listeners: list[Listener] = []
        self._relays: set[Relay] = set()
        self._joined: set[Relay] = set()
        """The relays that were joined here; the others are for sockets that were passed on them."""
        self._started = False
        self._retrying = False
        self._stopping = False
        self._status: int | None = None
        """Exit status of the command, when it has ended."""
        self._process: subprocess.Popen[bytes] | None = None
        self._pidfd = -1

    def run(self) -> int:
        """Passes on until told to end (0) or until the command has ended (its exit status)."""
        with stopped_by_signals(self._stop) as wake:
            self._loop.watch(wake, select.EPOLLIN, lambda _: None)
            try:
                self._start()
                while not self._stopping and not (self._status is not None and not self._relays):
                    self._loop.turn()
            finally:
                self._finish()
        return 0 if self._stopping or self._status is None else self._status

    def _stop(self) -> None:
        self._stopping = True

    # -- start and end ------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        for peers, other in zip(self._peers, reversed(self._peers), strict=True):
            if not peers.side.listens:
                continue
            stands_for = None if other.side.listens else other.side.path
            listener = listen(peers.side, stands_for)
            self._listeners.append(listener)
            self._watch(listener, peers)
            if stands_for and listener.file and differs(peers.side.path, stands_for):
                self._say(f"{peers.side.path} is for this user only: owner and mode of {stands_for} need root")
        self._start_command()
        raise_limit()
        self._started = True
        if self._call_ready:
            self._call_ready()
        self._pair()
        self._sample()

    def _sample(self) -> None:
        """Looks at the rings now and again."""
        if self._sampling is not None:
            after = self._sampling.turn(lambda sample: self._recorder.evidence(sample, by_file=True))
            if after is None:
                self._recorder.keep = self._sampling = None
            else:
                self._loop.after(after, self._sample)

    def _start_command(self) -> None:
        if not self._command:
            return
        try:
            self._process = subprocess.Popen(list(self._command))
        except OSError as error:
            raise SourceError(f"cannot start {self._command[0]}: {error.strerror}") from None
        self._pidfd = os.pidfd_open(self._process.pid)
        if self._faults is not None:
            self._faults.pidfd = self._pidfd
        self._loop.watch(self._pidfd, select.EPOLLIN, self._command_ended)

    def _command_ended(self, _: int) -> None:
        assert self._process is not None
        self._exits.child_ended(self._process.pid)
        code = self._process.wait()
        self._status = code if code >= 0 else 128 - code
        self._loop.ignore(self._pidfd)
        # What it said last may still wait to be accepted.
        for listener, peers in zip(self._listeners, [p for p in self._peers if p.side.listens], strict=True):
            self._accept(listener, peers)

    def _finish(self) -> None:
        self._exits.end()
        if self._sampling is not None:
            self._sampling.close()
            self._recorder.keep = None
        if self._faults is not None and (count := self._faults.end()):
            self._say(f"{counted(count, 'message')} that a rule held went on, as the proxy ends")
        for relay in list(self._relays):
            relay.finish("capture ended")
        for peers in self._peers:
            for sock in peers.waiting:
                self._alone(peers, sock, CAPTURE_ENDED, None)
                sock.close()
        for listener in self._listeners:
            listener.close()
        self._bursts.end()
        self._recorder.end(self._file if self._started else None)
        if self._process is not None and self._status is None:
            self._process.terminate()
            try:
                self._process.wait(COMMAND_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._pidfd >= 0:
            os.close(self._pidfd)
        self._loop.close()

    # -- peers --------------------------------------------------------------------------------------------------------

    def _watch(self, listener: Listener, peers: _Peers) -> None:
        self._loop.watch(listener.sock.fileno(), select.EPOLLIN, functools.partial(self._accept, listener, peers))

    def _accept(self, listener: Listener, peers: _Peers, _events: int = 0) -> None:
        try:
            while (sock := listener.accept()) is not None:
                if self._files.is_reserved(sock.fileno()):
                    self._refuse(sock, peers, NO_ROOM_WORDS)
                elif files_waiting() >= FILES_LIMIT:
                    self._refuse(sock, peers, f"{FILES_LIMIT} files that were passed wait for a server to be closed")
                elif len(peers.waiting) >= WAITING_LIMIT:
                    self._refuse(sock, peers, f"{WAITING_LIMIT} wait already for somebody on the other side")
                else:
                    self._hold(peers, sock)
                    self._pair()
        except OSError as error:
            # Even what is kept back is used up: who waits stays in the kernel's queue until there is room.
            sentence = f"cannot accept a peer on {peers.side.path}: {error.strerror}; trying again"
            self._bursts.tell("times that no peer could be accepted", sentence)
            self._loop.ignore(listener.sock.fileno())
            self._loop.after(RETRY_CONNECT_SECONDS, functools.partial(self._watch, listener, peers))
        self._pair()

    def _refuse(self, sock: socket.socket, peers: _Peers, why: str) -> None:
        sock.close()
        self._bursts.tell("peers were refused", f"a peer on {peers.side.path} is refused: {why}")

    def _hold(self, peers: _Peers, sock: socket.socket) -> None:
        """Keeps a peer until there is one on the other side, unread, and notices when it hangs up."""
        try:
            self._loop.watch(sock.fileno(), 0, lambda _: self._hung_up(peers, sock))
        except OSError as error:
            self._refuse(sock, peers, str(error.strerror))
            return
        peers.waiting.append(sock)
        peers.since[sock] = time.time_ns()

    def _hung_up(self, peers: _Peers, sock: socket.socket) -> None:
        peers.waiting.remove(sock)
        self._loop.ignore(sock.fileno())
        self._alone(peers, sock, "eof", 0)
        sock.close()
        self._pair_later()

    def _alone(self, peers: _Peers, sock: socket.socket, reason: str, by: int | None) -> None:
        """Tells the capture of a peer that waited in vain: it found nobody on the other side."""
        other = self._peers[1 - self._peers.index(peers)]
        since = peers.since.pop(sock, None)
        if since is None or not peers.side.listens:
            return
        reason = other.why or (f"nobody has connected to {other.side.path}" if other.side.listens else reason)
        connection = self._recorder.open(other.side.path, (_end_of(sock, peers.side), End()), since)
        self._recorder.close(Closed(connection.id, time.time_ns(), reason, by), silent=True)

    def _pair(self) -> None:
        """Joins who waits, and connects where somebody waits for it."""
        first, second = self._peers
        while not self._stopping:
            for peers, other in ((first, second), (second, first)):
                if not peers.side.listens and not peers.waiting and (other.waiting or self._both_connect()):
                    self._connect(peers, other)
            if not (first.waiting and second.waiting):
                return
            self._join(first.waiting.popleft(), second.waiting.popleft())

    def _both_connect(self) -> bool:
        """Whether both sides are to be connected to now, nobody having asked."""
        return not self._listeners and not self._joined and self._status is None

    def _connect(self, peers: _Peers, other: _Peers) -> None:
        """Connects to one side for the peer that has waited longest on the other; refuses it where there is no room."""
        sock: socket.socket | None = None
        try:
            sock = connect(peers.side)
            why, wrong = f"nobody listens at {peers.side.path}", False
        except NoRoomError:
            self._refuse_first(other)
            return
        except SourceError as error:
            why, wrong = str(error), True
        if sock is not None and self._files.is_reserved(sock.fileno()):
            sock.close()
            self._refuse_first(other)
            return
        if sock is not None:
            peers.told, peers.why = False, ""
            self._hold(peers, sock)
            return
        peers.why = why
        if not peers.told:
            peers.told = True
            (self._say if wrong else self._note)(f"waiting for {peers.side.path}: {why}")
        self._pair_later()

    def _refuse_first(self, peers: _Peers) -> None:
        """There is no room for a connection to the other side."""
        if peers.waiting:
            sock = peers.waiting.popleft()
            self._loop.ignore(sock.fileno())
            peers.since.pop(sock, None)
            self._refuse(sock, peers, NO_ROOM_WORDS)
        self._pair_later()

    def _pair_later(self) -> None:
        if not self._retrying:
            self._retrying = True
            self._loop.after(RETRY_CONNECT_SECONDS, self._retry)

    def _retry(self) -> None:
        self._retrying = False
        self._pair()

    def _join(self, first: socket.socket, second: socket.socket) -> None:
        for peers, sock in zip(self._peers, (first, second), strict=True):
            peers.since.pop(sock, None)
        sockets, sides = (first, second), (self._peers[0].side, self._peers[1].side)
        for sock in sockets:
            self._loop.ignore(sock.fileno())
        if sides[1].listens and not sides[0].listens:
            # The peer that connects to the proxy is end 0.
            sockets, sides = (second, first), (sides[1], sides[0])
        path = next((side.path for side in sides if not side.listens), sides[0].path)
        first_end, second_end = (_end_of(sock, side) for sock, side in zip(sockets, sides, strict=True))
        ends = first_end, second_end
        relay = self._relay(*sockets, path, ends)
        if not relay.finished:
            self._joined.add(relay)

    def _relay(
        self,
        first: socket.socket,
        second: socket.socket,
        path: str,
        ends: tuple[End, End],
        channel: Channel | None = None,
    ) -> Relay:
        connection = self._recorder.open(path, ends)
        self._exits.hold(connection, (first, second), channel is None)
        sockets, tell = (first, second), self._bursts.tell
        parts = self._loop, self._recorder, sockets, connection, channel, self._relay, self._files, tell, self._closed
        relay = Relay(*parts) if self._faults is None else FaultRelay(self._faults, *parts)
        if not relay.finished:
            self._relays.add(relay)
        return relay

    def _closed(self, relay: Relay) -> None:
        self._relays.discard(relay)
        self._exits.release(relay.connection.id)
        if relay in self._joined:
            self._joined.discard(relay)
            if not self._listeners:
                self._pair_later()


def _end_of(sock: socket.socket, side: ProxySide) -> End:
    """Who is on the other side of a socket, with the name that its command line gives to the path it knows."""
    process = peer_process(sock)
    if process is not None:
        path = side.path if side.path.startswith("@") else os.path.abspath(side.path)
        process = replace(process, label=label(process.pid, path))
    return End(peer_inode(sock), process)


def run_proxy(
    sides: Sequence[ProxySide],
    writer: CaptureWriter,
    command: Sequence[str],
    status: Say,
    file: str = "the capture",
    ready: Callable[[], None] | None = None,
    sampling: Sampling | None = None,
    faults: FaultHost | None = None,
    note: Say | None = None,
) -> int:
    """Runs a proxy to its end and returns the exit status; the writer is closed. Raises `SourceError`."""
    try:
        return Proxy(sides, writer, command, status, file, ready, sampling, faults, note).run()
    except OSError as error:
        raise SourceError(f"the proxy cannot go on: {error.strerror or error}") from None
