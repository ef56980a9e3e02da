"""Where the bytes of a capture go: a file, a FIFO, standard output, or a stream of Python.

Owns opening for writing and what a failed write leaves behind. It must not know what the bytes mean, except that a file
which is no pcapng is not overwritten.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from pathlib import Path
from typing import BinaryIO, Protocol

from vusniff.capture.pcapng import MAGIC
from vusniff.errors import CaptureError


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

    def __init__(self, fd: int, name: str) -> None:
        self._fd = fd
        self.name = name

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


def open_output(target: str | Path | BinaryIO) -> Output:
    """Opens what a capture is to be written to; raises `CaptureError`.

    A new file gets mode 0600, because a capture holds guest addresses and names. An existing one is emptied (and gets
    that mode) when it is a capture or empty. ``-`` is standard output, unless that is a terminal.
    """
    if not isinstance(target, str | Path):
        try:
            target.flush()
            return Descriptor(os.dup(target.fileno()), getattr(target, "name", "the stream"))
        except (OSError, AttributeError):
            return Stream(target)
    if str(target) == "-":
        return _open_stdout()
    path = str(target)
    try:
        return Descriptor(_open_path(path), path)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise CaptureError(f"cannot write the capture to {path}: {why}") from None


def _open_stdout() -> Output:
    try:
        if os.isatty(1):
            raise CaptureError("a capture is not for a terminal: redirect standard output or name a file")
        sys.stdout.flush()
        return Descriptor(os.dup(1), "standard output")
    except OSError as error:
        raise CaptureError(f"cannot write the capture to standard output: {error.strerror}") from None


def _open_path(path: str) -> int:
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    if stat.S_ISFIFO(mode):
        return os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    if not stat.S_ISREG(mode):
        raise CaptureError(f"{path} is neither a regular file nor a FIFO: name another file for the capture")
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        found = os.pread(fd, len(MAGIC), 0)
        if found and found != MAGIC:
            raise CaptureError(f"{path} exists and is no capture: name another file, or remove it first")
        os.ftruncate(fd, 0)
        os.fchmod(fd, 0o600)
    except BaseException:
        os.close(fd)
        raise
    return fd
