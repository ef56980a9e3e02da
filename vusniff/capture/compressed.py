"""Compressed captures: gzip and zstd are unpacked into a file without a name, which is read in their place.

Owns which compressions are known, by which endings of names they are written, and how much they may unpack to. It must
not know what the bytes mean. A file that unpacks to more than the disk may hold is cut there (`vusniff.capture.bound`),
so a small file cannot fill it.
"""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Iterator
from typing import IO, Any, Protocol, cast

from vusniff.capture.bound import Bound
from vusniff.errors import CaptureError

GZIP = b"\x1f\x8b"
ZSTD = b"\x28\xb5\x2f\xfd"
ENDINGS = (".gz", ".zst")
"""Of names of files that are written compressed."""
_CHUNK = 1 << 20
_PIECE = 1 << 14
"""Bytes given to gzip at once: what stands behind the end of a member is copied, and members may be very short."""
_WINDOW = 1 << 27
"""Bytes of the largest window of zstd that is accepted: what ``zstd -d`` accepts without being asked."""


def is_compressed(head: bytes | bytearray) -> bool:
    """Whether a file that begins with these bytes is compressed in a way that `unpacked` knows."""
    return head.startswith((GZIP, ZSTD))


class Compressor(Protocol):
    """Packs bytes piece by piece."""

    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes:
        """The last bytes."""


def compressor_of(path: str) -> Compressor | None:
    """What to write a file of this name with; None for one that is not compressed. Raises `CaptureError`."""
    if path.endswith(".gz"):
        return zlib.compressobj(wbits=zlib.MAX_WBITS | 16)  # 16: with the head and the end of gzip
    if path.endswith(".zst"):
        return cast(Compressor, _zstandard(f"cannot write {path}", "name another file").ZstdCompressor().compressobj())
    return None


def unpacked(fd: int, before: bytes, head: bytes, name: str) -> tuple[int, str | None]:
    """Unpacks what can be read from ``fd``: a descriptor at the beginning of the result, and why that is not all.

    ``before`` are bytes that were read from it already, ``head`` the first bytes of all; ``fd`` stays open. Raises
    `CaptureError` where zstd is not at hand or the system refuses.
    """
    import tempfile  # few captures are compressed, and it would be imported for all

    source: io.BufferedReader[Any] = io.BufferedReader(_ReplayedDescriptor(fd, before), _CHUNK)
    pieces = _unzstd(source, name) if head.startswith(ZSTD) else _gunzip(source)
    try:
        with tempfile.TemporaryFile(prefix="vusniff-", buffering=0) as file:
            why = _copy(pieces, file)
            if not file.tell():
                why = "its compressed data is cut or damaged at its beginning, or there is nothing in it"
            file.seek(0)
            return os.dup(file.fileno()), why
    except OSError as error_:
        raise CaptureError(f"cannot unpack {name}: {error_.strerror or error_}") from None


def _copy(pieces: Iterator[bytes], file: IO[bytes]) -> str | None:
    import tempfile

    bound = Bound(file.fileno(), tempfile.gettempdir())
    try:
        for data in pieces:
            room, why = bound.room(0)
            if len(data) > room:
                return f"it was not unpacked to its end: {why}"
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]
    except _Damage:
        return "its compressed data is cut or damaged: only what comes before that is read"
    return None


class _Damage(Exception):
    """Nothing more can be unpacked."""


def _gunzip(source: io.BufferedReader[Any]) -> Iterator[bytes]:
    """Pieces of all members. `gzip.GzipFile` would keep what it has unpacked before the damage."""
    member, data = zlib.decompressobj(zlib.MAX_WBITS | 16), b""
    while data := data or source.read1(_PIECE):
        if member.eof:
            member = zlib.decompressobj(zlib.MAX_WBITS | 16)
        try:
            yield member.decompress(data, _CHUNK)
        except zlib.error:
            raise _Damage from None
        data = member.unused_data if member.eof else member.unconsumed_tail
    while not member.eof:
        piece = member.decompress(b"", _CHUNK)
        if not piece:
            raise _Damage
        yield piece


def _unzstd(source: io.BufferedReader[Any], name: str) -> Iterator[bytes]:
    """Pieces of all frames; of one that is cut, what is there."""
    zstandard = _zstandard(f"{name} is compressed with zstd", "decompress it first (unzstd)")
    decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
    stream = decompressor.stream_reader(source, read_size=_CHUNK, read_across_frames=True)
    try:
        while data := stream.read(_CHUNK):
            yield data
    except zstandard.ZstdError:
        raise _Damage from None


class _ReplayedDescriptor(io.RawIOBase):
    """A descriptor, and in front of it the bytes that were read from it before."""

    def __init__(self, fd: int, before: bytes) -> None:
        self._fd = fd
        self._before = before

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        data = self._before[: len(view)] or os.read(self._fd, len(view))
        self._before = self._before[len(data) :]
        view[: len(data)] = data
        return len(data)


def _zstandard(what: str, otherwise: str) -> Any:
    try:
        import zstandard
    except ImportError:
        raise CaptureError(f"{what}: install the Python package zstandard, or {otherwise}") from None
    return zstandard
