"""Bytes of a capture, whole blocks at a time: from a file that may grow, or from a pipe.

Owns opening for reading and how far there is something to read. Of the content it knows where a block ends, which is
what it needs to hand on whole blocks, and what other kinds of file look like, to say so.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import struct

from vusniff.capture import pcapng
from vusniff.capture.compressed import is_compressed, unpacked
from vusniff.errors import CaptureError, NoCaptureError
from vusniff.files import descriptor_of

CHUNK = 1 << 19
"""Bytes read at once: enough to spread the cost of a call, little enough to stay in a cache."""
BLOCK_LIMIT = 64 << 20
"""Bytes of the largest block that is believed; a longer one is damage."""
_PIPE_WAIT = 0.1

_LOOKS = (
    (b"\xfd7zXZ\0", "is compressed with xz: decompress it first (unxz)"),
    (b"BZh", "is compressed with bzip2: decompress it first (bunzip2)"),
    (b"\x04\x22\x4d\x18", "is compressed with lz4: decompress it first (unlz4)"),
    (b"PK\x03\x04", "is a zip archive: unpack it first"),
    (b"\xd4\xc3\xb2\xa1", "is a classic pcap file, which cannot hold a vusniff capture: that is always pcapng"),
    (b"\xa1\xb2\xc3\xd4", "is a classic pcap file, which cannot hold a vusniff capture: that is always pcapng"),
    (b"\x4d\x3c\xb2\xa1", "is a classic pcap file, which cannot hold a vusniff capture: that is always pcapng"),
    (b"\xa1\xb2\x3c\x4d", "is a classic pcap file, which cannot hold a vusniff capture: that is always pcapng"),
    (b"\x7fELF", "is an executable, not a capture"),
    (b"{", "is not a capture but looks like JSON, such as the output of read --json"),
)


def check_start(name: str, head: bytes) -> None:
    """Raises `CaptureError` unless these first bytes may start a pcapng."""
    if head.startswith(pcapng.MAGIC[: len(head)]):
        if len(head) >= 12 and pcapng.order_of(head) is None:
            raise CaptureError(f"{name} is damaged: its first block has no byte order")
        return
    for magic, sentence in _LOOKS:
        if head.startswith(magic):
            raise CaptureError(f"{name} {sentence}")
    raise NoCaptureError(name)


class Input:
    """A file, FIFO or standard input (``-``) to read blocks from. Raises `CaptureError` when it cannot be opened."""

    def __init__(self, path: str) -> None:
        self.name = "standard input" if path == "-" else path
        self.position = 0
        """Offset of the next byte that `more` will hand out: all before it were whole blocks."""
        self.partial = 0
        """Bytes behind that, which are no whole block yet."""
        self.closed = False
        """Nothing can follow: a pipe was closed."""
        self.remark: str | None = None
        """What happened to the file meanwhile, as the end of a sentence; nothing more is read then."""
        self.damage: str | None = None
        """Why not all of a compressed file could be unpacked, in the same way."""
        self._path = path
        self._packed = False
        """It was compressed, and `unpacked` is read in its place."""
        try:
            number = 0 if path == "-" else descriptor_of(path)
            # By its number: to open it again takes the right to, which its user may not have.
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC) if number is None else os.dup(number)
            self._stat = os.fstat(self._fd)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise CaptureError(f"cannot read {self.name}: {why}") from None
        mode = self._stat.st_mode
        if stat.S_ISDIR(mode):
            self.close()
            raise CaptureError(f"{self.name} is a directory: name the capture file in it")
        if os.isatty(self._fd):
            self.close()
            raise CaptureError(f"{self.name} is a terminal: give a capture file, or pipe one in")
        self.seekable = stat.S_ISREG(mode)
        self._pending = bytearray()
        if self.seekable and is_compressed(head := self.head()):
            self._unpack(head)

    def close(self) -> None:
        """Gives the descriptor back."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        """The descriptor of a capture that is not used any more is given back, closed or not."""
        if getattr(self, "_fd", -1) >= 0:
            self.close()

    @property
    def size(self) -> int:
        """Bytes that are there now."""
        return os.fstat(self._fd).st_size if self.seekable and self._fd >= 0 else self.position + self.partial

    def head(self) -> bytes:
        """The first bytes of a regular file."""
        return os.pread(self._fd, 12, 0) if self.seekable else b""

    def at(self, offset: int, size: int) -> bytes:
        """Bytes at an offset of a regular file; fewer at its end."""
        try:
            return os.pread(self._fd, size, offset)
        except OSError as error:
            raise CaptureError(f"cannot read {self.name}: {error.strerror}") from None

    def more(self, order: str) -> bytes:
        """The next whole blocks and whatever follows them; nothing when there is no whole block now.

        ``order`` is that of the section so far. The caller reports by `taken` how much of it were whole blocks.
        """
        try:
            return self._more_of_file(order) if self.seekable else self._more_of_pipe(order)
        except OSError as error:
            if error.errno == errno.EINTR:
                return b""
            raise CaptureError(f"cannot read {self.name}: {error.strerror}") from None

    def taken(self, size: int) -> None:
        """So many bytes of what `more` gave have been used."""
        self.position += size
        if not self.seekable:
            del self._pending[:size]
            self.partial = len(self._pending)

    def _more_of_file(self, order: str) -> bytes:
        size = os.fstat(self._fd).st_size
        self.partial = size - self.position
        if self.partial < 0:
            self.remark = f"became shorter while it was read: what was behind byte {size} is gone"
        if self.partial < 12:
            if self.partial <= 0:
                self._look_for_another()
            return b""
        data = os.pread(self._fd, CHUNK, self.position)
        total = block_length(data, 0, order)
        if total > len(data):
            if total > BLOCK_LIMIT or total > self.partial:
                return data if total > BLOCK_LIMIT else b""
            data = os.pread(self._fd, total, self.position)
            if len(data) < total:
                return b""
        return data

    def _more_of_pipe(self, order: str) -> bytes:
        pending = self._pending
        while len(pending) < 12 or len(pending) < block_length(pending, 0, order) <= BLOCK_LIMIT:
            if self.closed or not select.select([self._fd], [], [], _PIPE_WAIT)[0]:
                return b""
            data = os.read(self._fd, CHUNK)
            self.closed = not data
            pending += data
            if not self.position and not self._packed and len(pending) >= 4 and is_compressed(pending):
                self._unpack(bytes(pending))
                pending.clear()
            self.partial = len(pending)
            if not self.position:
                check_start(self.name, bytes(pending[:12]))
        return bytes(pending)

    def _unpack(self, head: bytes) -> None:
        """Read on from what it holds unpacked; ``head`` has been read already, unless it is a file."""
        packed, self._fd, self._packed = self._fd, -1, True
        try:
            self._fd, self.damage = unpacked(packed, b"" if self.seekable else head, head, self.name)
        finally:
            os.close(packed)

    def _look_for_another(self) -> None:
        """A file renamed over ours, or removed, will not grow."""
        try:
            now = os.stat(self._path) if self._path != "-" else self._stat
        except OSError:
            self.remark = self.remark or "was removed while it was read"
            return
        if (now.st_dev, now.st_ino) != (self._stat.st_dev, self._stat.st_ino):
            self.remark = self.remark or "was replaced by another file while it was read: open it again to see that"


_LENGTHS = {"little": struct.Struct("<I"), "big": struct.Struct(">I")}


def block_length(data: bytes | bytearray, at: int, order: str) -> int:
    """Total length that the block at an offset claims (12 bytes of it are there); 0 for an impossible one."""
    if data[at : at + 4] == pcapng.MAGIC:
        order = pcapng.order_of(bytes(data[at : at + 12])) or ""
        if not order:
            return 0
    total: int = _LENGTHS[order].unpack_from(data, at + 4)[0]
    return 0 if total < 12 or total & 3 else total
