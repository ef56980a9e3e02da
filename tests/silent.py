"""A file system in user space whose files can be opened, and which answers nothing after that.

Whoever may mount one, as any user may in a user namespace, may pass a descriptor of such a file: fstat, read, fstatfs
and close of it wait until its server answers. Speaks FUSE (include/uapi/linux/fuse.h) on /dev/fuse; needs root.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
import threading
from pathlib import Path
from types import TracebackType

import pytest

_LOOKUP, _GETATTR, _STATFS, _OPEN, _INIT = 1, 3, 17, 14, 26
_FORCE_AND_DETACH = 1 | 2
PATIENCE = 20.0
_libc = ctypes.CDLL(None, use_errno=True)


def _mounted(path: Path) -> int:
    """A new file system there; the descriptor of its server. Skips where that is not allowed."""
    if not os.path.exists("/dev/fuse"):
        pytest.skip("needs /dev/fuse")
    server = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    words = f"fd={server},rootmode=40755,user_id=0,group_id=0".encode()
    if _libc.mount(b"silent", os.fsencode(path), b"fuse", 0, words):
        os.close(server)
        pytest.skip(f"needs to mount (as root): {os.strerror(ctypes.get_errno())}")
    return server


class SilentFile:
    """A context in which ``fd`` is such a file. When it is left, all that waits for it is let go with an error."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._silent = False
        self._patience = threading.Timer(PATIENCE, self._let_go)
        self.waited = False
        """Somebody waited until there was no more patience."""

    def __enter__(self) -> SilentFile:
        self._server = _mounted(self._folder)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        self.fd = os.open(self._folder / "file", os.O_RDONLY | os.O_CLOEXEC)
        self._silent = True
        self._patience.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        self._patience.cancel()
        _libc.umount2(os.fsencode(self._folder), _FORCE_AND_DETACH)
        with contextlib.suppress(OSError):
            os.close(self.fd)
        self._thread.join(20)
        os.close(self._server)

    def _let_go(self) -> None:
        self.waited = True
        _libc.umount2(os.fsencode(self._folder), _FORCE_AND_DETACH)

    def _serve(self) -> None:
        while True:
            try:
                data = os.read(self._server, 1 << 17)
            except OSError:  # unmounted
                return
            _, opcode, unique, node = struct.unpack_from("<IIQQ", data)
            if self._silent:
                continue
            if opcode == _INIT:
                answer = struct.pack("<IIIIHHIIHHI28x", 7, 31, 4096, 0, 0, 0, 4096, 1, 0, 0, 0)
            elif opcode == _LOOKUP:
                answer = struct.pack("<QQQQII", 2, 0, 0, 0, 0, 0) + self._attributes(2)
            elif opcode == _GETATTR:
                answer = struct.pack("<QII", 0, 0, 0) + self._attributes(node)
            elif opcode == _OPEN:
                answer = struct.pack("<QII", 1, 0, 0)
            else:
                answer = b""
            with contextlib.suppress(OSError):
                os.write(self._server, struct.pack("<IiQ", 16 + len(answer), 0 if answer else -38, unique) + answer)

    @staticmethod
    def _attributes(node: int) -> bytes:
        mode = 0o40755 if node == 1 else 0o100644
        return struct.pack("<6Q3I7I", node, 4096, 8, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)
