"""Where the bytes of a capture go: a file, a FIFO, standard output, or a stream of Python.

Owns what a failed write leaves behind. It must not know what the bytes mean, except that a file which is no pcapng is
not overwritten.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO, Protocol

from vusniff import files
from vusniff.capture.compressed import Compressor, compressor_of
from vusniff.capture.pcapng import MAGIC
from vusniff.errors import CaptureError, ExistsError, OutputError

if TYPE_CHECKING:
    from pathlib import Path


_PACKED = 1 << 16
"""Bytes that are compressed and not written yet, at most."""


class Output(Protocol):
    """Something that takes bytes in order."""

    name: str

    def write(self, data: bytes) -> tuple[int, OSError | None]:
        """How many bytes went out, and the error when that is not all."""

    def cut(self, extra: int) -> bool:
        """Takes back the last ``extra`` bytes written; False where that cannot be done."""

    def finish(self) -> OSError | None:
        """Writes what it still holds: no more bytes follow. Returns the error where that fails."""

    def close(self) -> None:
        """Never raises."""


class DescriptorOutput:
    """A descriptor of ours: each write is a system call."""

    def __init__(self, fd: int, name: str, made: bool = False) -> None:
        self._fd = fd
        self.name = name
        self.made = made
        """It is a regular file that was made for this."""

    def write(self, data: bytes) -> tuple[int, OSError | None]:
        done = 0
        try:
            done = os.write(self._fd, data)
            while done < len(data):
                done += os.write(self._fd, memoryview(data)[done:])
        except OSError as error:
            return done, error
        return done, None

    def cut(self, extra: int) -> bool:
        try:
            end = os.lseek(self._fd, 0, os.SEEK_CUR) - extra
            os.ftruncate(self._fd, end)
            os.lseek(self._fd, end, os.SEEK_SET)
        except OSError:
            return False
        return True

    def finish(self) -> OSError | None:
        return None

    def fileno(self) -> int:
        """The descriptor, which stays ours."""
        return self._fd

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        with contextlib.suppress(OSError):
            os.close(fd)


class Packing(DescriptorOutput):
    """A descriptor of ours that takes bytes and writes them compressed."""

    def __init__(self, fd: int, name: str, made: bool, compressor: Compressor) -> None:
        super().__init__(fd, name, made)
        self._compressor = compressor
        self._packed = bytearray()
        self._error: OSError | None = None

    def write(self, data: bytes) -> tuple[int, OSError | None]:
        if self._error is not None:
            return 0, self._error
        self._packed += self._compressor.compress(data)
        if len(self._packed) >= _PACKED and self._put() is not None:
            return 0, self._error
        return len(data), None

    def _put(self) -> OSError | None:
        """Writes what is packed. A file that could not be written once has a gap, and takes nothing more."""
        _, self._error = super().write(bytes(self._packed))
        self._packed.clear()
        return self._error

    def cut(self, extra: int) -> bool:
        return extra == 0

    def finish(self) -> OSError | None:
        self._packed += self._compressor.flush()
        return self._error or self._put()


class StreamOutput:
    """A Python stream without a descriptor; it stays open."""

    name = "the stream"

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, data: bytes) -> tuple[int, OSError | None]:
        done = 0
        try:
            while done < len(data):
                done += self._stream.write(memoryview(data)[done:]) or 0
            self._stream.flush()
        except OSError as error:
            return done, error
        return done, None

    def cut(self, extra: int) -> bool:
        try:
            end = self._stream.tell() - extra
            self._stream.seek(end)
            self._stream.truncate(end)
        except (OSError, ValueError):
            return False
        return True

    def finish(self) -> OSError | None:
        return None

    def close(self) -> None:
        return


def open_output(target: str | Path | BinaryIO | DescriptorOutput, replaces: bytes | None = MAGIC) -> Output:
    """Opens what a capture is to be written to; raises `CaptureError`. What is open already is taken as it is."""
    if isinstance(target, DescriptorOutput):
        return target
    if isinstance(target, str | os.PathLike):
        return open_path(target, replaces)
    try:
        target.flush()
        return DescriptorOutput(os.dup(target.fileno()), getattr(target, "name", "the stream"))
    except (OSError, AttributeError):
        return StreamOutput(target)


def open_path(path: str | Path, replaces: bytes | None = MAGIC) -> DescriptorOutput:
    """Opens a file as `vusniff.files` does; ``-`` is standard output, a terminal is refused. Raises `CaptureError`.

    By default a file that is there already is replaced if it is a capture. A name that ends in .gz or .zst is written
    compressed; such a file is not known to be a capture, and not replaced by default.
    """
    compressor = compressor_of(str(path))
    replaces = None if compressor and replaces == MAGIC else replaces
    name = "standard output" if str(path) == "-" else str(path)
    path = "/dev/stdout" if str(path) == "-" else path
    if files.descriptor_of(path) == 1 and sys.stdout is not None:
        sys.stdout.flush()
    with _as_capture_error(name, replaces):
        opened = files.open_output(path, replaces)
    if os.isatty(opened.fd):
        os.close(opened.fd)
        raise CaptureError("a capture is not for a terminal: redirect standard output or name a file")
    if compressor is not None:
        return Packing(opened.fd, name, opened.made, compressor)
    return DescriptorOutput(opened.fd, name, opened.made)


def check_path(path: str | Path, replaces: bytes | None = MAGIC) -> None:
    """Raises what `open_path` would raise now, as far as that is known without opening."""
    if str(path) != "-":
        with _as_capture_error(str(path), replaces):
            files.check_output(path, replaces)


@contextlib.contextmanager
def _as_capture_error(name: str, replaces: bytes | None) -> Iterator[None]:
    try:
        yield
    except ExistsError as error:
        if replaces == MAGIC:
            raise CaptureError(f"{name} exists and is not a capture: name another file, or remove it first") from error
        raise CaptureError(str(error)) from error
    except OutputError as error:
        raise CaptureError(str(error)) from error.__cause__  # the error of the system, for those who try otherwise
