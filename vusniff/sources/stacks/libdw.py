"""libdw of elfutils, by ctypes: unwinds copies of stacks, and names addresses.

Structures and functions are those of ``libdwfl.h`` (elfutils 0.188), which keeps them compatible. Only for files that
this process may be harmed by: see `worker`.
"""

from __future__ import annotations

import ctypes as c
import os
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from vusniff.errors import SourceError
from vusniff.record import StackEntry

NAME = "libdw.so.1"
MISSING = (
    "call stacks need libdw of elfutils, which is not installed: install the package libdw1 (Debian, Ubuntu) or "
    "elfutils-libs (Fedora), or leave out --stacks"
)
DEBUG_PATH = b"/usr/lib/debug"
"""Where distributions install debug files."""

_Pointer, _U64, _Int = c.c_void_p, c.c_uint64, c.c_int
_FindElf = c.CFUNCTYPE(_Int, _Pointer, _Pointer, c.c_char_p, _U64, _Pointer, _Pointer)
_Next = c.CFUNCTYPE(_Int, _Pointer, _Pointer, c.POINTER(_Pointer))
_Read = c.CFUNCTYPE(c.c_bool, _Pointer, _U64, c.POINTER(_U64), _Pointer)
_SetRegisters = c.CFUNCTYPE(c.c_bool, _Pointer, _Pointer)
_OnFrame = c.CFUNCTYPE(_Int, _Pointer, _Pointer)
_DWARF_CB_OK, _DWARF_CB_ABORT = 0, 1
_KNOWN_LIMIT = 1 << 16
"""Addresses of which is kept what they are."""
_UP = re.compile(r"^(\.\.?/)+")


class _Callbacks(c.Structure):
    """Dwfl_Callbacks."""

    _fields_ = (
        ("find_elf", _Pointer),
        ("find_debuginfo", _Pointer),
        ("section_address", _Pointer),
        ("debuginfo_path", c.POINTER(c.c_char_p)),
    )


class _ThreadCallbacks(c.Structure):
    """Dwfl_Thread_Callbacks."""

    _fields_ = (
        ("next_thread", _Next),
        ("get_thread", _Pointer),
        ("memory_read", _Read),
        ("set_initial_registers", _SetRegisters),
        ("detach", _Pointer),
        ("thread_detach", _Pointer),
    )


class _Symbol(c.Structure):
    """GElf_Sym."""

    _fields_ = (
        ("name", c.c_uint32),
        ("info", c.c_uint8),
        ("other", c.c_uint8),
        ("section", c.c_uint16),
        ("value", _U64),
        ("size", _U64),
    )


def load() -> Any:
    """The library. Raises SourceError where it is not there."""
    try:
        dw = c.CDLL(NAME)
    except OSError:
        raise SourceError(MISSING) from None
    pointers = "dwfl_begin dwfl_addrmodule dwfl_module_getelf dwfl_module_getsrc dwfl_report_elf dwfl_report_offline"
    for name in pointers.split():
        getattr(dw, name).restype = _Pointer
    for name in ("dwfl_errmsg", "dwfl_module_info", "dwfl_module_addrinfo", "dwfl_lineinfo"):
        getattr(dw, name).restype = c.c_char_p
    dw.dwfl_addrmodule.argtypes = [_Pointer, _U64]
    dw.dwfl_end.argtypes = dw.dwfl_report_begin.argtypes = [_Pointer]
    dw.dwfl_report_end.argtypes = [_Pointer, _Pointer, _Pointer]
    dw.dwfl_linux_proc_maps_report.argtypes = [_Pointer, _Pointer]
    dw.dwfl_report_offline.argtypes = [_Pointer, c.c_char_p, c.c_char_p, _Int]
    dw.dwfl_attach_state.argtypes = [_Pointer, _Pointer, _Int, _Pointer, _Pointer]
    dw.dwfl_getthread_frames.argtypes = [_Pointer, _Int, _OnFrame, _Pointer]
    dw.dwfl_frame_pc.argtypes = [_Pointer, c.POINTER(_U64), c.POINTER(c.c_bool)]
    dw.dwfl_thread_state_registers.argtypes = [_Pointer, _Int, c.c_uint, c.POINTER(_U64)]
    dw.dwfl_thread_state_register_pc.argtypes = [_Pointer, _U64]
    dw.dwfl_module_info.argtypes = [
        _Pointer,
        _Pointer,
        c.POINTER(_U64),
        _Pointer,
        _Pointer,
        _Pointer,
        _Pointer,
        _Pointer,
    ]
    dw.dwfl_module_getelf.argtypes = [_Pointer, c.POINTER(_U64)]
    dw.dwfl_module_build_id.argtypes = [_Pointer, c.POINTER(_Pointer), c.POINTER(_U64)]
    dw.dwfl_module_addrinfo.argtypes = [
        _Pointer,
        _U64,
        c.POINTER(_U64),
        c.POINTER(_Symbol),
        _Pointer,
        _Pointer,
        _Pointer,
    ]
    dw.dwfl_module_getsrc.argtypes = [_Pointer, _U64]
    dw.dwfl_lineinfo.argtypes = [_Pointer, _Pointer, c.POINTER(_Int), _Pointer, _Pointer, _Pointer]
    return dw


class SymbolAt(NamedTuple):
    """What is known of an address in a file."""

    function: str | None
    source: str | None


def name_of(dw: Any, module: int, address: int) -> SymbolAt:
    """Function and source line at an address, which counts as the module is loaded.

    libdw gives the nearest symbol before an address: beyond its size there is another function, which has no symbol.
    """
    offset, symbol = _U64(), _Symbol()
    found = dw.dwfl_module_addrinfo(module, address, c.byref(offset), c.byref(symbol), None, None, None)
    inside = found is not None and (offset.value < symbol.size or (not symbol.size and not offset.value))
    source, number = None, _Int()
    line = dw.dwfl_module_getsrc(module, address)
    if line:
        file = dw.dwfl_lineinfo(line, None, c.byref(number), None, None, None)
        if file:
            source = f"{_UP.sub('', file.decode(errors='replace'))}:{number.value}"
    # The version of a symbol is not part of the function's name.
    return SymbolAt(found.decode(errors="replace").partition("@")[0] or None if inside else None, source)


def build_id_of(dw: Any, module: int) -> str:
    """The build-id of a module, in hexadecimal; empty where it has none."""
    bits, address = _Pointer(), _U64()
    length = dw.dwfl_module_build_id(module, c.byref(bits), c.byref(address))
    return c.string_at(bits, length).hex() if 0 < length <= 64 and bits.value else ""


def callbacks(dw: Any, find_elf: Any, debug_path: bytes = DEBUG_PATH) -> _Callbacks:
    """How libdw finds files; debug files only below ``debug_path``. The result has to be kept."""
    path = c.c_char_p(debug_path)
    return _Callbacks(
        c.cast(find_elf, _Pointer), c.cast(dw.dwfl_standard_find_debuginfo, _Pointer), None, c.pointer(path)
    )


class Unwound(NamedTuple):
    """A stack that was unwound."""

    entries: tuple[StackEntry, ...]
    cut: str
    unmapped: bool
    """It ends at an address at which no file was mapped when the maps were read."""


class Registers(NamedTuple):
    """Of a thread: in DWARF's order for x86-64 (System V ABI AMD64, figure 3.36), 16 is the instruction pointer."""

    values: tuple[int, ...]

    @property
    def stack(self) -> int:
        """The stack pointer."""
        return self.values[7]

    @classmethod
    def of_kernel(cls, p: tuple[int, ...]) -> Registers:
        """By struct pt_regs of x86-64 (`vusniff.bpf.records.STACK_HEAD`)."""
        return cls((p[10], p[12], p[11], p[5], p[13], p[14], p[4], p[19], *reversed(p[6:10]), *reversed(p[0:4]), p[16]))


class MappedProcess:
    """A process as its maps were once: unwinds copies of its stacks."""

    def __init__(
        self,
        dw: Any,
        pid: int,
        maps: bytes,
        open_file: Callable[[int], int],
        names: dict[int, str],
        entries: dict[tuple[int, int], StackEntry],
    ) -> None:
        """``maps`` as /proc/PID/maps has them, the name of a file being ``/`` and its number; ``open_file`` gives a
        descriptor of such a file, which libdw closes; ``names`` what it is called; ``entries`` keeps what is known of
        addresses in files. Raises OSError."""
        self._dw, self._names, self._entries = dw, names, entries
        self._find = _FindElf(lambda _m, _u, name, _b, _f, _e: open_file(_number(name)))
        self._callbacks = callbacks(dw, self._find)
        self._dwfl = dw.dwfl_begin(c.byref(self._callbacks))
        self._known: dict[int, StackEntry] = {}
        self._pid, self._left = max(pid, 1), 0
        self._stack, self._at, self._beyond = b"", 0, False
        self._registers = Registers(())
        self._found: list[StackEntry] = []
        self._unmapped = False
        self._limit = self._last = 0
        self._report(maps)
        # What libdw calls back has to live as long as it.
        self._threads = _ThreadCallbacks(
            _Next(self._next), None, _Read(self._read), _SetRegisters(self._set), None, None
        )
        self._on_frame = _OnFrame(self._frame)
        self.attached = bool(dw.dwfl_attach_state(self._dwfl, None, self._pid, c.byref(self._threads), None))

    def _report(self, maps: bytes) -> None:
        fd = os.memfd_create("maps", os.MFD_CLOEXEC)
        os.write(fd, maps)
        os.lseek(fd, 0, os.SEEK_SET)
        libc = c.CDLL(None)
        libc.fdopen.restype, libc.fdopen.argtypes = _Pointer, [_Int, c.c_char_p]
        libc.fclose.argtypes = [_Pointer]
        file = libc.fdopen(fd, b"r")
        self._dw.dwfl_report_begin(self._dwfl)
        self._dw.dwfl_linux_proc_maps_report(self._dwfl, file)
        self._dw.dwfl_report_end(self._dwfl, None, None)
        libc.fclose(file)

    def close(self) -> None:
        """Frees all of it."""
        self._dw.dwfl_end(self._dwfl)

    def unwind(self, registers: Registers, stack: bytes, limit: int, entries: int) -> Unwound:
        """The callers, at most so many ``entries``. ``stack`` begins at the stack pointer; ``limit`` is how much of it
        would have been copied."""
        self._registers, self._stack, self._at = registers, stack, registers.stack
        self._found, self._left, self._beyond, self._unmapped, self._limit = [], 1, False, False, entries
        status = self._dw.dwfl_getthread_frames(self._dwfl, self._pid, self._on_frame, None) if self.attached else -1
        if not self._found:
            self._add(registers.values[16])
        return Unwound(tuple(self._found), self._why_cut(status, len(stack) >= limit, limit), self._unmapped)

    def _why_cut(self, status: int, full: bool, limit: int) -> str:
        if self._unmapped:
            return "no file holds the code that called it: it was generated, or its file was unmapped"
        if status > 0:
            return f"it has more than {self._limit} entries"
        if self._beyond:
            if full:
                return f"the stack is longer than the {limit >> 10} KiB that were copied"
            return "a page of the stack was not in memory"
        if not status:
            return ""
        file, bias = self._found[-1].file or "a file", _U64()
        module = self._dw.dwfl_addrmodule(self._dwfl, self._last)
        if module and not self._dw.dwfl_module_getelf(module, c.byref(bias)):
            return f"{file} was not read: it is not an ELF file, or not on a disk of this host"
        return f"the unwind information of {file} ends here"

    # -- called by libdw ----------------------------------------------------------------------------------------------

    def _next(self, _dwfl: int, _arg: int, _thread: Any) -> int:
        self._left -= 1
        return self._pid if self._left >= 0 else 0

    def _read(self, _dwfl: int, address: int, out: Any, _arg: int) -> bool:
        at = address - self._at
        if not 0 <= at <= len(self._stack) - 8:
            self._beyond = self._beyond or at >= 0
            return False
        out[0] = int.from_bytes(self._stack[at : at + 8], "little")
        return True

    def _set(self, thread: int, _arg: int) -> bool:
        values = self._registers.values
        if not self._dw.dwfl_thread_state_registers(thread, 0, len(values), (_U64 * len(values))(*values)):
            return False
        self._dw.dwfl_thread_state_register_pc(thread, values[16])
        return True

    def _frame(self, state: int, _arg: int) -> int:
        address, activation = _U64(), c.c_bool()
        if not self._dw.dwfl_frame_pc(state, c.byref(address), c.byref(activation)):
            return _DWARF_CB_ABORT
        # A return address is behind the call, maybe in another function.
        self._add(address.value - (0 if activation.value else 1))
        return _DWARF_CB_ABORT if self._unmapped or len(self._found) >= self._limit else _DWARF_CB_OK

    def _add(self, address: int) -> None:
        self._last = address
        known = self._known.get(address)
        if known is None:
            module = self._dw.dwfl_addrmodule(self._dwfl, address)
            if not module:
                self._unmapped = True
                # Where unwinding has lost its way it is any word of the stack, which may be a secret.
                self._found.append(StackEntry("", "", 0))
                return
            if len(self._known) >= _KNOWN_LIMIT:
                self._known.clear()
            known = self._known[address] = self._entry(module, address)
        self._found.append(known)

    def _entry(self, module: int, address: int) -> StackEntry:
        start, bias = _U64(), _U64()
        name = self._dw.dwfl_module_info(module, None, c.byref(start), None, None, None, None, None)
        number = _number(name)
        file = self._names.get(number, "")
        if not self._dw.dwfl_module_getelf(module, c.byref(bias)):
            return StackEntry(file, "", address - start.value)
        key = number, address - bias.value
        known = self._entries.get(key)
        if known is None:
            if len(self._entries) >= _KNOWN_LIMIT:
                self._entries.clear()
            named = name_of(self._dw, module, address)
            known = StackEntry(file, build_id_of(self._dw, module), key[1], named.function, named.source)
            self._entries[key] = known
        return known


def _number(name: bytes | None) -> int:
    """Which file libdw means by a name that we gave it."""
    return int(name[1:]) if name and name[1:].isdigit() else -1
