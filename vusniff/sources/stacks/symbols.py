"""Names for addresses that were recorded elsewhere: by debug files with the same build-id.

Owns where debug files are looked for. They are the user's: he names the folder, installed the packages, or asks for a
server (debuginfod). Files that others may have made are `worker`'s.
"""

from __future__ import annotations

import ctypes as c
import os
from collections.abc import Iterable, Iterator
from typing import Any

from vusniff.errors import SourceError
from vusniff.record import Stack, StackEntry
from vusniff.sources.stacks import libdw

_DEBUGINFOD = "libdebuginfod.so.1"
_URLS = "DEBUGINFOD_URLS"


class Symbols:
    """Debug files, opened as they are asked for."""

    def __init__(self, folders: Iterable[str], debuginfod: bool) -> None:
        """``folders`` come before those of the distribution. Raises SourceError."""
        self._dw = libdw.load()
        self._folders = [*folders, libdw.DEBUG_PATH.decode()]
        for folder in self._folders[:-1]:
            if not os.path.isdir(folder):
                raise SourceError(f"--debug-dir {folder}: there is no such directory")
        self._client = _Debuginfod() if debuginfod else None
        # A server is asked by us, or not at all.
        urls = os.environ.pop(_URLS, None)
        if debuginfod and urls is None:
            raise SourceError(f"--debuginfod: {_URLS} names no server: set it, such as https://debuginfod.debian.net")
        self._callbacks = libdw.callbacks(self._dw, self._dw.dwfl_build_id_find_elf)
        self._modules: dict[str, tuple[int, int] | None] = {}
        self._known: dict[StackEntry, StackEntry] = {}
        self.missing: dict[str, str] = {}
        """Build-id -> name of a file for which there is no debug file."""

    def named(self, stack: Stack) -> Stack:
        """The same with the names that are found."""
        return Stack(stack.id, tuple(map(self._named, stack.entries)), stack.cut)

    def _named(self, entry: StackEntry) -> StackEntry:
        known = self._known.get(entry)
        if known is None:
            known = self._known[entry] = self._look(entry) if entry.build_id else entry
        return known

    def _look(self, entry: StackEntry) -> StackEntry:
        module = self._module(entry.build_id)
        if module is None:
            if entry.source is None:
                self.missing[entry.build_id] = entry.file
            return entry
        found = libdw.name_of(self._dw, module[0], (entry.address + module[1]) & (1 << 64) - 1)
        return entry._replace(function=found.function or entry.function, source=found.source or entry.source)

    def _module(self, build_id: str) -> tuple[int, int] | None:
        """A module of libdw, and what addresses are shifted by in it."""
        if build_id not in self._modules:
            self._modules[build_id] = next(filter(None, map(self._open, self._paths(build_id))), None) or (
                self._open(path, build_id) if self._client and (path := self._client.find(build_id)) else None
            )
        return self._modules[build_id]

    def _paths(self, build_id: str) -> Iterator[str]:
        """Where the debug file of a build-id may be: as distributions lay it out, and as debuginfod's cache."""
        for folder in self._folders:
            for path in (f".build-id/{build_id[:2]}/{build_id[2:]}.debug", f"{build_id}/debuginfo"):
                if os.path.isfile(whole := os.path.join(folder, path)):
                    yield whole

    def _open(self, path: str, build_id: str = "") -> tuple[int, int] | None:
        dwfl = self._dw.dwfl_begin(c.byref(self._callbacks))
        self._dw.dwfl_report_begin(dwfl)
        module = self._dw.dwfl_report_offline(dwfl, os.fsencode(path), os.fsencode(path), -1)
        self._dw.dwfl_report_end(dwfl, None, None)
        bias = c.c_uint64()
        if not module or not self._dw.dwfl_module_getelf(module, c.byref(bias)):
            self._dw.dwfl_end(dwfl)
            return None
        return module, bias.value


class _Debuginfod:
    """A client of debuginfod(8), by elfutils' library. Raises SourceError where that is not installed."""

    def __init__(self) -> None:
        try:
            self._library: Any = c.CDLL(_DEBUGINFOD)
        except OSError:
            raise SourceError("--debuginfod needs libdebuginfod of elfutils: install libdebuginfod1") from None
        self._library.debuginfod_begin.restype = c.c_void_p
        self._library.debuginfod_find_debuginfo.argtypes = [c.c_void_p, c.c_char_p, c.c_int, c.POINTER(c.c_char_p)]
        self._client = self._library.debuginfod_begin()
        self._urls = os.environ.get(_URLS)

    def find(self, build_id: str) -> str | None:
        """The debug file that a server has, in the client's cache."""
        path, raw = c.c_char_p(), bytes.fromhex(build_id)
        if self._urls is not None:
            os.environ[_URLS] = self._urls
        try:
            fd = self._library.debuginfod_find_debuginfo(self._client, raw, len(raw), c.byref(path))
        finally:
            os.environ.pop(_URLS, None)
        if fd < 0:
            return None
        os.close(fd)
        return os.fsdecode(path.value) if path.value else None
