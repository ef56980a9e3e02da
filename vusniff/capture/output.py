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
from vusniff.capture.pcapng import MAGIC
from vusniff.errors import CaptureError, ExistsError, OutputError

if TYPE_CHECKING:
    from pathlib import Path


class Output(Protocol):
    """Something that takes bytes in order."""

    name: str

    def write(self, data: bytes) -> tuple[int, OSError | None]:
        """How many bytes went out, and the error when that is not all."""

    def cut(self, extra: int) -> bool:
        """Takes back the last ``extra`` bytes written; False where that cannot be done."""

    def close(self) -> None:
        """Never raises."""


class Descriptor:
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

    def fileno(self) -> int:
        """The descriptor, which stays ours."""
        return self._fd

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        with contextlib.suppress(OSError):
            os.close(fd)


class Stream:
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

    def close(self) -> None:
        return


def open_output(target: str | Path | BinaryIO | Descriptor, replaces: bytes | None = MAGIC) -> Output:
    """Opens what a capture is to be written to; raises `CaptureError`. What is open already is taken as it is."""
    if isinstance(target, Descriptor):
        return target
    if isinstance(target, str | os.PathLike):
        return open_path(target, replaces)
    try:
        target.flush()
        return Descriptor(os.dup(target.fileno()), getattr(target, "name", "the stream"))
    except (OSError, AttributeError):
        return Stream(target)


def open_path(path: str | Path, replaces: bytes | None = MAGIC) -> Descriptor:
    """Opens a file as `vusniff.files` does; ``-`` is standard output, a terminal is refused. Raises `CaptureError`.

    By default a file that is there already is replaced if it is a capture.
    """
    name = "standard output" if str(path) == "-" else str(path)
    path = "/dev/stdout" if str(path) == "-" else path
    if files.descriptor_of(path) == 1 and sys.stdout is not None:
        sys.stdout.flush()
    with _as_capture_error(name, replaces):
        opened = files.open_output(path, replaces)
    if os.isatty(opened.fd):
        os.close(opened.fd)
        raise CaptureError("a capture is not for a terminal: redirect standard output or name a file")
    return Descriptor(opened.fd, name, opened.made)


def check_path(path: str | Path, replaces: bytes | None = MAGIC) -> None:
    """Raises what `open_path` would raise now, as far as that can be told without opening."""
    if str(path) != "-":
        with _as_capture_error(str(path), replaces):
            files.check_output(path, replaces)


@contextlib.contextmanager
def _as_capture_error(name: str, replaces: bytes | None) -> Iterator[None]:
    try:
        yield
    except ExistsError as error:
        if replaces == MAGIC:
            raise CaptureError(f"{name} exists and is no capture: name another file, or remove it first") from error
        raise CaptureError(str(error)) from error
    except OutputError as error:
        raise CaptureError(str(error)) from error.__cause__  # the error of the system, for those who try otherwise
