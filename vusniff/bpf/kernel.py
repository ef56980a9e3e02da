"""Questions to the kernel about BPF that bcc does not ask: which ways to attach there are, what a program missed.

Answers cost a millisecond, where compiling the program to find out costs half a second. Owns the bpf(2) system call.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct

_CALL = {"x86_64": 321, "aarch64": 280}
_PROGRAM_LOAD, _INFO_BY_FD, _RAW_TRACEPOINT_OPEN = 5, 15, 17
_TRACING, _FENTRY = 26, 24
_RETURN_ZERO = bytes.fromhex("b700000000000000 9500000000000000")
_INFO_SIZE = 232
_MISSES_AT = 208
"""recursion_misses in struct bpf_prog_info (include/uapi/linux/bpf.h), since Linux 5.12."""
_KPROBES = (
    "/sys/bus/event_source/devices/kprobe/type",
    "/sys/kernel/tracing/kprobe_events",
    "/sys/kernel/debug/tracing/kprobe_events",
)

_CAPABILITIES = {"CAP_PERFMON": 38, "CAP_BPF": 39}
_ADMIN = 21


def missing_capabilities() -> list[str]:
    """Capabilities that the probe needs and this process does not have; CAP_SYS_ADMIN stands for both."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        effective = next((int(line.split()[1], 16) for line in file if line.startswith("CapEff:")), 0)
    if effective >> _ADMIN & 1:
        return []
    return [name for name, bit in _CAPABILITIES.items() if not effective >> bit & 1]


def refusal(number: int) -> str:
    """Why the kernel said no, in words; bcc takes every EPERM for missing super-user privileges."""
    if number in (errno.EPERM, errno.EACCES):
        if missing := missing_capabilities():
            return f"the kernel refuses it: this process lacks {' and '.join(missing)}"
        return "the kernel refuses it, although the capabilities are there: function tracing may be locked down"
    if number in (524, errno.EOPNOTSUPP):  # ENOTSUPP
        return "this kernel cannot attach BPF programs to functions"
    return f"the kernel refuses it: {os.strerror(number)}"


def fentry_refused(function: int) -> str | None:
    """Why fentry cannot attach to the function with this BTF type id, found by trying an empty program; else None."""
    code, licence = ctypes.create_string_buffer(_RETURN_ZERO), ctypes.create_string_buffer(b"GPL")
    load = bytearray(120)
    struct.pack_into("=IIQQ", load, 0, _TRACING, 2, ctypes.addressof(code), ctypes.addressof(licence))
    struct.pack_into("=I", load, 68, _FENTRY)
    struct.pack_into("=I", load, 108, function)
    program, number = _bpf(_PROGRAM_LOAD, load)
    if program < 0:
        return refusal(number)
    link, number = _bpf(_RAW_TRACEPOINT_OPEN, bytearray(struct.pack("=QIxxxx", 0, program)))
    os.close(program)
    if link < 0:
        return refusal(number)
    os.close(link)
    return None


def kprobe_refused() -> str | None:
    """Why kprobes cannot work; None when nothing speaks against them."""
    if missing := missing_capabilities():
        return f"the kernel refuses it: this process lacks {' and '.join(missing)}"
    if not any(os.path.exists(path) for path in _KPROBES):  # of a folder that we may not look into: False
        return "this kernel has no kprobes, or tracefs is not mounted, or not for this user"
    return None


def recursion_misses(program: int) -> int:
    """Times a program did not run because it was running on that CPU already; 0 where the kernel does not count."""
    info = ctypes.create_string_buffer(_INFO_SIZE)
    result, _ = _bpf(_INFO_BY_FD, bytearray(struct.pack("=IIQ", program, _INFO_SIZE, ctypes.addressof(info))))
    return int.from_bytes(info.raw[_MISSES_AT : _MISSES_AT + 8], "little") if result == 0 else 0


def _bpf(command: int, attributes: bytearray) -> tuple[int, int]:
    """bpf(2): result and errno."""
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = (ctypes.c_char * len(attributes)).from_buffer(attributes)
    result = libc.syscall(_CALL[platform.machine()], command, buffer, len(attributes))
    return int(result), ctypes.get_errno()
