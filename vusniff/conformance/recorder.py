"""The capture of one scenario: what both sides said, as every other source writes it.

Owns the writer of one file. It must not know what a message means, beyond where one ends.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from vusniff.capture.writer import CaptureWriter
from vusniff.channel import Channel
from vusniff.families.framing import Framer
from vusniff.families.vhost_user.protocol import NAME, Channels
from vusniff.record import Chunk, Closed, Descriptor, End, Exit, Facts, Process
from vusniff.sources.host.descriptors import describe
from vusniff.values import dataclass, field


@dataclass(slots=True)
class _RecordedConnection:
    number: int
    framers: tuple[Framer, Framer]
    ours: int
    """The end that we are."""
    open: bool = True
    by_channel: dict[str, int] = field(default_factory=dict)


class TrialCapture:
    """What one scenario leaves."""

    def __init__(self, path: Path, socket_path: str, peer: Process | None) -> None:
        """Begins a file at ``path``, in the place of one that is there. Raises CaptureError."""
        self.path = path
        self._writer = CaptureWriter(path, source="test")
        self._socket_path = socket_path
        self._peer = peer
        self._here = Process(os.getpid(), "vusniff")
        self._connections: dict[Channel, _RecordedConnection] = {}
        self._ended: list[tuple[int, int]] = []
        """The ends that the peer had."""

    def opened(self, channel: Channel, connected: bool, inodes: tuple[int | None, int | None] = (None, None)) -> None:
        """A channel begins; ``connected``: we connected, or we passed its other end. Inodes: ours, the peer's."""
        self.closed(channel, None)
        ours = 0 if connected else 1
        ends = (End(inodes[0], self._here), End(inodes[1], self._peer))
        path = self._socket_path if channel is Channels.MAIN else f"pair:{inodes[0]}-{inodes[1]}"
        connection = self._writer.open(path, ends if connected else ends[::-1], time.time_ns(), family=NAME)
        framers = Framer(channel=channel), Framer(channel=channel)
        self._connections[channel] = _RecordedConnection(connection.id, framers, ours)
        self._ended.append((connection.id, 1 - ours))

    def chunk(self, channel: Channel, mine: bool, data: bytes, descriptors: tuple[Descriptor, ...] = ()) -> None:
        """Bytes that one side sent with one call."""
        known = self._connections.get(channel)
        if known is None or not known.open:
            return
        end = known.ours if mine else 1 - known.ours
        chunk = Chunk(known.number, end, time.time_ns(), data, Facts(descriptors))
        for frame in known.framers[end].feed(chunk):
            self._writer.frame(frame)

    def said(self, channel: Channel, data: bytes, fds: list[int]) -> None:
        """We sent this; the descriptors are still open here."""
        self.chunk(channel, True, data, tuple(describe(fd, fd) for fd in fds))

    def heard(self, channel: Channel, data: bytes, fds: list[int]) -> None:
        """The peer sent this."""
        self.chunk(channel, False, data, tuple(describe(fd) for fd in fds))

    def closed(self, channel: Channel, mine: bool | None) -> None:
        """A channel ends; ``mine``: we closed it."""
        known = self._connections.get(channel)
        if known is None or not known.open:
            return
        known.open = False
        now = time.time_ns()
        for framer in known.framers:
            for frame in framer.end(now, closed=True):
                self._writer.frame(frame)
        by = None if mine is None else known.ours if mine else 1 - known.ours
        self._writer.close_connection(Closed(known.number, now, "eof", by))

    def exited(self, pid: int, comm: str, status: int | None, number: int | None) -> None:
        """The process of the peer has ended: with a status, or by a signal."""
        self._writer.evidence(Exit(time.time_ns(), pid, comm, status, number, None, tuple(self._ended)))

    def close(self) -> str | None:
        """Finishes the file; why it could not be written, None when it was."""
        for channel in tuple(self._connections):
            self.closed(channel, True)
        self._writer.close()
        return self._writer.failure
