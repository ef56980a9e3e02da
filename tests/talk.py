"""Conversations for tests: writes what two invented peers say to a capture file, byte by byte."""

from __future__ import annotations

import struct
from pathlib import Path

from vusniff.analysis.timeline import Timeline, read_all
from vusniff.capture.index import Index
from vusniff.capture.writer import CaptureWriter
from vusniff.families.vhost_user.protocol import BackendRequest, FrontendRequest, GpuRequest
from vusniff.record import Closed, Connection, Descriptor, DescriptorKind, End, Facts, Frame, FrameKind, Process

START_NS = 1_700_000_000_000_000_000
STEP_NS = 1_000_000
Code = FrontendRequest | BackendRequest | GpuRequest | int


def u64(*values: int) -> bytes:
    """Numbers of 8 bytes."""
    return struct.pack(f"<{len(values)}Q", *values)


def u32(*values: int) -> bytes:
    """Numbers of 4 bytes."""
    return struct.pack(f"<{len(values)}I", *values)


def region(guest: int, size: int, user: int, offset: int = 0) -> bytes:
    """One memory region of a table."""
    return u64(guest, size, user, offset)


def eventfd(number: int) -> Descriptor:
    """An eventfd by its id."""
    return Descriptor(DescriptorKind.EVENTFD, f"eventfd:{number}")


def memfd(inode: int, size: int = 1 << 30) -> Descriptor:
    """A memfd by its inode."""
    return Descriptor(DescriptorKind.MEMFD, f"memfd:{inode}", None, "guest-ram", size)


def socket(inode: int) -> Descriptor:
    """A socket by its inode."""
    return Descriptor(DescriptorKind.SOCKET, f"socket:{inode}")


class Talk:
    """One capture; every message comes a millisecond after the one before it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.writer = CaptureWriter(path, source="test")
        self.now = START_NS

    def connect(
        self,
        path: str = "/run/vm1.sock",
        front: int = 0,
        inodes: tuple[int | None, int | None] = (None, None),
        late: bool = False,
        comms: tuple[str, str] = ("frontend", "backend"),
    ) -> Peers:
        """Two peers; the front-end sits at end ``front``."""
        first, second = comms if front == 0 else comms[::-1]
        ends = (End(inodes[0], Process(11, first)), End(inodes[1], Process(12, second)))
        connection = self.writer.open(path, ends, None if late else self.now, late)
        return Peers(self, connection, front)

    def timeline(self, device: str | None = None) -> Timeline:
        """What was said so far, read back from the file."""
        self.writer.flush()
        timeline = Timeline(Index(self.path), device)
        read_all(timeline)
        return timeline


class Peers:
    """The two ends of one connection."""

    def __init__(self, talk: Talk, connection: Connection, front: int) -> None:
        self.talk = talk
        self.connection = connection
        self.front = front

    def say(self, end: int, code: Code, body: bytes = b"", flags: int = 1, fds: tuple[Descriptor, ...] = ()) -> int:
        """One message; returns its number."""
        self.talk.now += STEP_NS
        data = struct.pack("<III", code, flags, len(body)) + body
        return self.talk.writer.frame(Frame(self.connection.id, end, self.talk.now, data, Facts(fds)))

    def ask(self, code: Code, body: bytes = b"", *fds: Descriptor, need_reply: bool = False) -> int:
        """A request of the front-end."""
        return self.say(self.front, code, body, 9 if need_reply else 1, fds)

    def answer(self, code: Code, body: bytes = b"", *fds: Descriptor) -> int:
        """A reply of the back-end."""
        return self.say(1 - self.front, code, body, 5, fds)

    def raw(self, end: int, data: bytes) -> int:
        """Bytes without a header."""
        self.talk.now += STEP_NS
        return self.talk.writer.frame(Frame(self.connection.id, end, self.talk.now, data, kind=FrameKind.RAW))

    def close(self, by: int = 0) -> None:
        """The end of the connection."""
        self.talk.writer.close_connection(Closed(self.connection.id, self.talk.now, "eof", by))
