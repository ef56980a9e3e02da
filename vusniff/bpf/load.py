"""Compiles, loads and attaches the kernel program, and takes it away again.

Owns all contact with bcc: it is silent here, and what it would say is turned into one sentence. Nothing compiled is
kept on disk: what a cache would save is no more than a third of a second, and what it holds would run in the kernel.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import enum
import errno
import functools
import operator
import os
import platform
import re
from collections.abc import Iterable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

from vusniff.bpf import headers
from vusniff.bpf.btf import KERNEL_BTF, Btf
from vusniff.bpf.find import Bcc, find_bcc
from vusniff.bpf.kernel import fentry_refused, kprobe_refused, recursion_misses, refusal
from vusniff.bpf.offsets import definitions
from vusniff.bpf.records import DEFINITIONS, LOST_REASONS, EventfdTable, RingBuffer, SocketTable, cpus
from vusniff.errors import SourceError

CALL_RING_BYTES = 4 << 20
"""Kernel memory for records of calls on vhost devices."""
RING_BYTES = 32 << 20
"""Kernel memory for records on their way: about 200,000 short messages."""

STACK_RING_BYTES = 32 << 20
"""Kernel memory for call stacks on their way: 2,000 of 16 KiB."""
STACK_SIZES = (4, 16, 32)
"""KiB of a stack that may be asked for."""
KERNEL_STACK = 16384
"""THREAD_SIZE of x86-64 (arch/x86/include/asm/page_64_types.h): only asked where the kernel is older than 5.15."""

_CALLS = {
    "x86_64": {
        "SENDMSG": 46,
        "SENDMMSG": 307,
        "SENDTO": 44,
        "WRITE": 1,
        "WRITEV": 20,
        "CLOSE": 3,
        "READ": 0,
        "IOCTL": 16,
        "PWRITE64": 18,
        "DUP": 32,
        "DUP2": 33,
        "DUP3": 292,
        "FCNTL": 72,
    },
    "aarch64": {
        "SENDMSG": 211,
        "SENDMMSG": 269,
        "SENDTO": 206,
        "WRITE": 64,
        "WRITEV": 66,
        "CLOSE": 57,
        "READ": 63,
        "IOCTL": 29,
        "PWRITE64": 68,
        "DUP": 23,
        "DUP2": 24,  # only dup3 is there
        "DUP3": 24,
        "FCNTL": 25,
    },
}
"""System call numbers, by machine."""


_PARTS = ("eventfds.h", "stacks.h")
"""Files with maps or probes, which bcc sees only in the text that it is given, not in what that includes."""
_EVENTFD_FUNCTIONS = {
    "eventfd_write": "write_eventfd",
    "eventfd_read": "read_eventfd",
    "eventfd_signal": "signal_eventfd",
    "eventfd_signal_mask": "signal_eventfd_mask",
}
"""Functions of the kernel and of the program that counts kicks and calls by them."""


_HANDED_OVER = {1: "see_call", 2: "see_return"}
"""Place in ``steps`` of probe.c and function of calls.c."""


class Attach(str, enum.Enum):
    """How the program hangs in the kernel, in the order of preference."""

    FENTRY = "fentry"
    KPROBE = "kprobe"
    RAWTP = "rawtp"

    __str__ = str.__str__


class KernelProgram:
    """The kernel program, attached. Closing it, or the end of this process, leaves nothing in the kernel."""

    def __init__(self, bpf: Any, attach: Attach, bcc: Bcc, counts: bool = False, stacks: bool = False) -> None:
        self.attach = attach
        self.bcc = bcc
        self._bpf = bpf
        self.ring = RingBuffer(bpf["ring"].map_fd, RING_BYTES)
        self.stacks = RingBuffer(bpf["stacks"].map_fd, STACK_RING_BYTES) if stacks else None
        """Call stacks, where they were asked for."""
        self._sockets = SocketTable(bpf["sockets"].map_fd)
        self._eventfds = EventfdTable(bpf["eventfds"].map_fd) if counts else None
        self._presets = bpf["presets"]
        self._lost = bpf["lost"]

    def preset(self, inode: int, decision: int) -> None:
        """Decides about a socket that has not spoken yet."""
        with contextlib.suppress(Exception):  # the table is full: the socket is judged like an unknown one
            self._presets[ctypes.c_uint64(inode)] = ctypes.c_uint32(decision)

    def decide(self, inode: int, decision: int) -> None:
        """Decides about a socket that has spoken."""
        self.preset(inode, decision)  # holds if the socket loses its place in the table
        self._sockets.decide(inode, decision)

    def forget(self, inode: int) -> None:
        """Takes a closed socket out of the kernel's table."""
        self._sockets.decide(inode, 0)
        with contextlib.suppress(KeyError):
            del self._presets[ctypes.c_uint64(inode)]

    def sends(self, inode: int) -> tuple[int, int] | None:
        """Sends counted on a socket so far, and how many of them did not reach the ring; None for an unknown one."""
        return self._sockets.sends(inode)

    def hand_over(self, calls: Any) -> None:
        """Gives system calls that are none of its own to the program for calls, which is loaded."""
        for step, name in _HANDED_OVER.items():
            function = calls.load_func(name, self.bcc.program_class.RAW_TRACEPOINT)
            self._bpf["steps"][ctypes.c_int(step)] = ctypes.c_int(function.fd)

    def signals(self, number: int) -> int | None:
        """How often an event descriptor was signalled since it was passed, by its id; None where it is not counted."""
        return None if self._eventfds is None else self._eventfds.signals(number)

    def losses(self) -> dict[str, int]:
        """Records that did not reach the ring, by what they were."""
        return {name: int(self._lost[ctypes.c_int(i)].value) for i, name in enumerate(LOST_REASONS)}

    def missed(self) -> int:
        """Times the kernel did not run the program because it was already running on that CPU (since Linux 5.12)."""
        return sum(recursion_misses(function.fd) for function in self._bpf.funcs.values())

    def detach_entries(self) -> None:
        """No new send is reported; returns of those that were still are."""
        bpf = self._bpf
        with _quiet(), contextlib.suppress(Exception):
            if b"sys_enter" in bpf.raw_tracepoint_fds:
                bpf.detach_raw_tracepoint(b"sys_enter")
            for name in list(bpf.kfunc_entry_fds):
                bpf.detach_kfunc(name)
            for name in [name for name in bpf.kprobe_fds if name.startswith(b"p_")]:
                bpf.detach_kprobe_event(name)

    def close(self) -> None:
        """Detaches the program; what is in the ring is lost with it."""
        self.ring.close()
        if self.stacks is not None:
            self.stacks.close()
        self._sockets.close()
        if self._eventfds is not None:
            self._eventfds.close()
            self._eventfds = None
        # bcc stumbles over a tracefs that is not mounted, after detaching; and it would clean up again at exit.
        with _quiet(), contextlib.suppress(Exception):
            self._bpf.cleanup()
        atexit.unregister(self._bpf.cleanup)


def attach_program(
    modes: tuple[Attach, ...] = tuple(Attach),
    follow_any: bool = False,
    counts: bool = False,
    stack_kib: int | None = None,
) -> KernelProgram:
    """The program, attached in the first of these modes that works. Raises SourceError that says why none does.

    ``counts``: it also counts how often the event descriptors that are passed are signalled. ``stack_kib``: it also
    copies so much of the sender's stack.
    """
    if platform.machine() not in _CALLS:
        raise SourceError(f"{platform.machine()} is not supported by the probe; use vusniff proxy")
    bcc = find_bcc()
    btf = Btf.read(KERNEL_BTF)
    offsets = definitions(btf)
    refused: list[str] = []
    for mode in modes:
        try:
            if (why := _refused(mode, btf)) is not None:
                raise SourceError(why)
            return _attach(bcc, offsets, mode, follow_any, counts, stack_kib)
        except (SourceError, OSError) as error:  # a file that only root may look at is a reason like any other
            refused.append(f"{mode}: {error}")
    raise SourceError("the probe cannot be attached to this kernel; " + "; ".join(refused))


def _refused(mode: Attach, btf: Btf) -> str | None:
    """What can be known at once against a mode: compiling takes longer."""
    if mode is Attach.RAWTP:
        return None
    if mode is Attach.KPROBE:
        return kprobe_refused()
    functions = btf.functions(["unix_stream_sendmsg"])
    if not functions:
        return "unix_stream_sendmsg is not a function of its own in this kernel"
    return fentry_refused(functions["unix_stream_sendmsg"])


def _attach(
    bcc: Bcc, offsets: dict[str, int], mode: Attach, follow_any: bool, counts: bool, stack_kib: int | None
) -> KernelProgram:
    values = offsets | DEFINITIONS | {f"NR_{name}": number for name, number in _CALLS[platform.machine()].items()}
    values |= {"OWN_PID": os.getpid(), "CPUS": cpus(), "RING_PAGES": RING_BYTES // os.sysconf("SC_PAGE_SIZE")}
    flags = [f"-D{name}={value}" for name, value in (values | headers.definitions()).items()]
    flags += [f"-DMODE_{mode.name}", f"-DPAGE_SIZE={os.sysconf('SC_PAGE_SIZE')}UL", "-Wno-all"]
    if follow_any:
        flags.append("-DFOLLOW_ANY")
    counts = counts and "O_EVENTFD_ID" in offsets
    if counts:
        flags.append("-DCOUNT_EVENTFDS")
    flags += _stack_flags(stack_kib)
    with resources.as_file(resources.files("vusniff.bpf")) as folder, _quiet() as said:
        source = _source(folder, "probe.c")
        flags.append(f"-I{folder}")
        try:
            with _environment(BCC_KERNEL_SOURCE=str(folder / "stubs")):
                bpf = bcc.program_class(text=source, cflags=flags)
            if mode is Attach.KPROBE:
                _attach_kprobes(bpf, offsets, counts)
            if mode is Attach.RAWTP:
                _chain(bcc, bpf)
        except Exception as error:  # bcc raises Exception itself
            raise SourceError(_reason(error, said)) from None
    return KernelProgram(bpf, mode, bcc, counts, stack_kib is not None)


def _stack_flags(stack_kib: int | None) -> list[str]:
    """What a program is compiled with to copy so much of each stack."""
    if stack_kib is None:
        return []
    pages = STACK_RING_BYTES // os.sysconf("SC_PAGE_SIZE")
    return [f"-DSTACK_LIMIT={stack_kib << 10}", f"-DSTACK_PAGES={pages}", f"-DKERNEL_STACK={KERNEL_STACK}"]


def _source(folder: Path, name: str) -> str:
    """The text of a program, with its parts in it."""
    source = (folder / name).read_text(encoding="utf-8")
    for part in _PARTS:
        source = source.replace(f'#include "{part}"\n', (folder / part).read_text(encoding="utf-8"))
    return source


def attach_calls(bcc: Bcc, stack_kib: int | None = None, program: KernelProgram | None = None) -> CallProgram:
    """The program that sees calls on vhost devices of the kernel, attached. Raises SourceError that says why not.

    ``stack_kib``: it also copies so much of the caller's stack. ``program``: the one that sees sends; by raw
    tracepoints it hands system calls over, so that nobody pays for two programs.
    """
    chained = program is not None and program.attach is Attach.RAWTP
    offsets = definitions(Btf.read(KERNEL_BTF))
    if "O_REG_CALL" not in offsets or "O_EVENTFD_ID" not in offsets:
        raise SourceError("this kernel's type information does not say where system calls are numbered")
    values = offsets | DEFINITIONS | {f"NR_{name}": number for name, number in _CALLS[platform.machine()].items()}
    values |= {"OWN_PID": os.getpid(), "CPUS": cpus(), "CALL_PAGES": CALL_RING_BYTES // os.sysconf("SC_PAGE_SIZE")}
    flags = [f"-D{name}={value}" for name, value in (values | headers.definitions()).items()]
    flags += ["-DMODE_RAWTP", f"-DPAGE_SIZE={os.sysconf('SC_PAGE_SIZE')}UL", "-Wno-all", *_stack_flags(stack_kib)]
    flags += ["-DCHAINED"] if chained else []
    with resources.as_file(resources.files("vusniff.bpf")) as folder, _quiet() as said:
        try:
            with _environment(BCC_KERNEL_SOURCE=str(folder / "stubs")):
                bpf = bcc.program_class(text=_source(folder, "calls.c"), cflags=[*flags, f"-I{folder}"])
            if chained and program is not None:
                program.hand_over(bpf)
        except Exception as error:  # bcc raises Exception itself
            raise SourceError(_reason(error, said)) from None
    return CallProgram(bpf, stack_kib is not None)


class CallProgram:
    """The program that sees calls on vhost devices, attached."""

    def __init__(self, bpf: Any, stacks: bool = False) -> None:
        self._bpf = bpf
        self.ring = RingBuffer(bpf["call_ring"].map_fd, CALL_RING_BYTES)
        self.stacks = RingBuffer(bpf["stacks"].map_fd, STACK_RING_BYTES) if stacks else None
        """Call stacks, where they were asked for."""

    def opened_by(self, pid: int, fds: Iterable[int]) -> None:
        """Says that a process had such a device open before, by these descriptors: what it reads and writes there is
        reported."""
        users, key = self._bpf["users"], ctypes.c_uint32(pid)
        bits = functools.reduce(operator.or_, (1 << fd % 64 for fd in fds), 0)
        with contextlib.suppress(Exception):  # the table is full
            users[key] = ctypes.c_uint64((users[key].value if key in users else 0) | bits)

    def judge(self, rdev: int, is_vhost: bool) -> None:
        """Says whether the device of a number is a vhost device: then what is written and read there is reported."""
        with contextlib.suppress(Exception):  # the table is full
            self._bpf["devices"][ctypes.c_uint32(rdev)] = ctypes.c_uint32(1 if is_vhost else 2)

    def lost(self) -> int:
        """Records that did not reach the ring."""
        return int(self._bpf["call_counts"][ctypes.c_int(0)].value)

    def lost_stacks(self) -> int:
        """Call stacks that did not reach their ring."""
        return int(self._bpf["call_counts"][ctypes.c_int(1)].value)

    def close(self) -> None:
        """Detaches the program; what is in the ring is lost with it."""
        self.ring.close()
        if self.stacks is not None:
            self.stacks.close()
        with _quiet(), contextlib.suppress(Exception):
            self._bpf.cleanup()
        atexit.unregister(self._bpf.cleanup)


def _attach_kprobes(bpf: Any, offsets: dict[str, int], counts: bool) -> None:
    bpf.attach_kprobe(event="unix_stream_sendmsg", fn_name="enter_send")
    bpf.attach_kretprobe(event="unix_stream_sendmsg", fn_name="leave_send")
    if offsets.get("HAS_UNIX_RELEASE"):
        bpf.attach_kprobe(event="unix_release", fn_name="enter_release")
    if counts:
        for event, function in _EVENTFD_FUNCTIONS.items():
            if offsets.get(f"HAS_{event.upper()}"):
                bpf.attach_kprobe(event=event, fn_name=function)


def _chain(bcc: Bcc, bpf: Any) -> None:
    function = bpf.load_func("report_send", bcc.program_class.RAW_TRACEPOINT)
    bpf["steps"][ctypes.c_int(0)] = ctypes.c_int(function.fd)


def _reason(error: Exception, said: Path | None) -> str:
    """bcc's failure in words; it reports every refusal as missing super-user privileges."""
    number = ctypes.get_errno()
    text = said.read_text(encoding="utf-8", errors="replace") if said else ""
    if "privileges" in str(error) or number in (errno.EPERM, errno.EACCES):
        return refusal(errno.EPERM)
    if "kprobe_events" in text or "not traceable" in str(error):
        return "this kernel has no kprobes, or none on unix_stream_sendmsg"
    if compiler := re.search(r"error: (.+)", text):
        return f"the program cannot be compiled: {compiler[1]}"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    tail = f" ({lines[-1][:200]})" if lines else ""
    return f"{error}{tail}"


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _quiet() -> Iterator[Path]:
    """Standard error of this process, where libbcc writes past Python, goes to a file whose path this gives."""
    kept = os.dup(2)
    said = os.memfd_create("bcc", os.MFD_CLOEXEC)
    os.dup2(said, 2)
    try:
        yield Path(f"/proc/self/fd/{said}")
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(said)
