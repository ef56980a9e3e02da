"""Runs in a virtual machine: attaches the probe in each way, sends in every way, prints what was seen as JSON lines.

usage: python tests/vm/inside.py TREE LOGGER MODE ...      the last one is rawtp

Then vhost in the kernel is seen by the program of the last mode, as `calls` says.
"""

from __future__ import annotations

import array
import ctypes
import json
import mmap
import os
import platform
import signal
import socket
import struct
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vm.calls import STACK_KIB, emulated, keep, run
from vusniff.bpf.load import Attach, KernelProgram, attach_program
from vusniff.capture.reader import CaptureReader
from vusniff.capture.writer import CaptureWriter
from vusniff.record import Closed, Connection, Exit, Frame, Stack
from vusniff.sources.host.descriptors import describe
from vusniff.sources.probe.probe import Probe
from vusniff.sources.probe.selection import Selection
from vusniff.sources.stacks import unwinder

IORING_OP_SENDMSG, IORING_OP_WRITE, IORING_OP_SEND = 9, 23, 26
IOSQE_ASYNC = 16

libc = ctypes.CDLL(None, use_errno=True)


class Segment(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class Header(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("segments", ctypes.POINTER(Segment)),
        ("segment_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class Message(ctypes.Structure):
    _fields_ = (("header", Header), ("sent", ctypes.c_uint32))


def message(request: int, payload: bytes = b"") -> bytes:
    return struct.pack("=III", request, 1, len(payload)) + payload


class Prepared:
    """A message in memory that C can point at."""

    def __init__(self, data: bytes, fd: int | None = None) -> None:
        self.buffer = ctypes.create_string_buffer(data, len(data))
        self.segment = Segment(ctypes.addressof(self.buffer), len(data))
        self.control = ctypes.create_string_buffer(24)
        struct.pack_into("=Qiii", self.control, 0, 20, socket.SOL_SOCKET, socket.SCM_RIGHTS, fd or 0)
        control = (ctypes.addressof(self.control), 24) if fd is not None else (None, 0)
        self.header = Header(None, 0, ctypes.pointer(self.segment), 1, *control, 0)


def ring_send(fd: int, operation: int, address: int, length: int, flags: int = 0) -> int:
    """One operation through an io_uring of its own (io_uring(7)): its result."""
    parameters = ctypes.create_string_buffer(120)
    ring = libc.syscall(425, 8, parameters)
    if ring < 0:
        return -ctypes.get_errno()
    entries, completions = struct.unpack_from("=II", parameters, 0)
    submit, complete = struct.unpack_from("=10I", parameters, 40), struct.unpack_from("=10I", parameters, 80)
    tail_at, array_at = submit[1], submit[6]
    completed_at = complete[5]
    queue = mmap.mmap(ring, array_at + entries * 4)
    slots = mmap.mmap(ring, entries * 64, offset=0x10000000)
    done = mmap.mmap(ring, completed_at + completions * 16, offset=0x8000000)
    slots[:64] = struct.pack("=BBHiQQII", operation, flags, 0, fd, 0, address, length, 0).ljust(64, b"\0")
    struct.pack_into("=I", queue, array_at, 0)
    struct.pack_into("=I", queue, tail_at, struct.unpack_from("=I", queue, tail_at)[0] + 1)
    libc.syscall(426, ring, 1, 1, 1, None, 0)
    (result,) = struct.unpack_from("=i", done, completed_at + 8)
    os.close(ring)
    return int(result)


def sends(
    near: socket.socket, far: socket.socket, memory: int, event: int
) -> list[tuple[str, Callable[[], object], bytes]]:
    """Ways to send: name, call, and what goes over the wire."""
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [memory, event]))]
    long, body = message(5, bytes(range(256)) * 200), message(8, b"12345678")
    several = [Prepared(message(9, bytes([i]) * 40)) for i in range(5)]
    vector = (Message * 5)(*(Message(one.header, 0) for one in several))
    plain, passing = Prepared(message(11, b"abcdefgh")), Prepared(message(12, b"abcdefgh"), memory)
    fd, length = near.fileno(), 20

    def ring(operation: int, what: Any, size: int, flags: int = 0) -> Callable[[], object]:
        return lambda: ring_send(fd, operation, ctypes.addressof(what), size, flags)

    return [
        ("send", lambda: near.send(message(1)), message(1)),
        ("sendmsg", lambda: near.sendmsg([long[:12], long[12:5000], long[5000:]], rights), long),
        ("writev", lambda: os.writev(fd, [body[:3], body[3:]]), body),
        ("write", lambda: os.write(fd, body), body),
        ("split", lambda: (near.sendmsg([body[:12]]), os.write(fd, body[12:])), body),
        ("sendmmsg", lambda: libc.sendmmsg(fd, vector, len(several), 0), b"".join(one.buffer.raw for one in several)),
        ("io_uring SEND", ring(IORING_OP_SEND, plain.buffer, length), plain.buffer.raw),
        ("io_uring WRITE", ring(IORING_OP_WRITE, plain.buffer, length), plain.buffer.raw),
        ("io_uring SENDMSG", ring(IORING_OP_SENDMSG, passing.header, 1), passing.buffer.raw),
        ("io_uring worker", ring(IORING_OP_SENDMSG, plain.header, 1, IOSQE_ASYNC), plain.buffer.raw),
    ]


WRITTEN, SIGNALLED = 10, 25


def signal_often(event: int) -> None:
    """Writes to an event descriptor, reads it once, and has the kernel signal it (IOCB_FLAG_RESFD of io_submit(2))."""
    for _ in range(WRITTEN):
        os.eventfd_write(event, 1)
    os.eventfd_read(event)
    context, buffer = ctypes.c_ulong(0), ctypes.create_string_buffer(512)
    assert libc.syscall(206, 8, ctypes.byref(context)) == 0
    file = os.open("/etc/passwd", os.O_RDONLY)
    for _ in range(SIGNALLED):
        words = (0, 0, 0, 0, 0, file, ctypes.addressof(buffer), 512, 0, 0, 1, event)
        block = ctypes.create_string_buffer(struct.pack("<QIIHhIQQqQII", *words))
        assert libc.syscall(209, context, 1, (ctypes.c_void_p * 1)(ctypes.addressof(block))) == 1
        assert libc.syscall(208, context, 1, 1, ctypes.create_string_buffer(64), None) == 1


def session(path: str, memory: int, event: int, out: int, until: int) -> None:
    """Resets one connection; over another sends everything, tells what each call gave, and dies with it open when
    ``until`` can be read."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        for last in (False, True):
            near = socket.socket(socket.AF_UNIX)
            near.connect(path)
            far, _ = listener.accept()
            if not last:
                near.send(message(1))
                far.close()
                near.close()
    told: list[tuple[str, str, str]] = []
    for name, call, data in sends(near, far, memory, event):
        try:
            gave = str(call())
        except OSError as error:
            gave = str(error)
        arrived = b""
        far.setblocking(False)
        while len(arrived) < len(data):
            try:
                arrived += far.recv(1 << 17)
            except BlockingIOError:
                break
        told.append((name, gave, arrived.hex()))
    signal_often(event)
    far.shutdown(socket.SHUT_RD)
    try:
        near.send(message(3))
    except OSError as error:
        told.append(("failed", str(error), ""))
    with open(out, "wb") as pipe:
        pipe.write(json.dumps(told).encode())
    os.read(until, 1)
    os.kill(os.getpid(), signal.SIGKILL)


def place(stack: Stack) -> tuple[str, str, int]:
    """Where a message was sent: the file of the innermost function, why the stack ends there, and its length."""
    return stack.entries[0].file if stack.entries else "", stack.cut, len(stack.entries)


def watch(program: KernelProgram, folder: Path) -> dict[str, Any]:
    """One mode: what was sent, and what the capture holds of it."""
    mode = str(program.attach)
    path, file = str(folder / f"{mode}.sock"), folder / f"{mode}.pcapng"
    memory, event = os.memfd_create("guest-ram"), os.eventfd(0)
    os.ftruncate(memory, 1 << 20)
    os.eventfd_write(event, 1)  # before it is passed: this does not count
    said: list[str] = []
    stacks = unwinder.Unwinder(STACK_KIB)
    stacks.start(0)
    writer = CaptureWriter(file, source=f"probe {mode}")
    probe = Probe(program, writer, Selection(paths=(path,)), said.append, str(file), unwinder=stacks)
    readable, writable = os.pipe()
    until, end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(readable)
        session(path, memory, event, writable, until)
    os.close(writable)
    with open(readable, "rb") as pipe:
        told = json.loads(pipe.read())
    deadline = 6000
    while not probe.links.messages and deadline:  # the child's stacks are unwound while it is there
        probe.step()
        signal.sigtimedwait([], 0.02)
        deadline -= 1
    os.write(end, b"x")
    os.waitpid(child, 0)
    deadline = 400
    while probe.links.connections < 2 or (probe.links.all() and deadline):
        probe.step()
        signal.sigtimedwait([], 0.02)
        deadline -= 1
    number = int((describe(event).identity or "").partition(":")[2])
    signals = [program.signals(number), program.signals(number + 1)]
    probe.close()
    with CaptureReader(file) as reader:
        records = list(reader.records())
    reset, connection = (record for record in records if isinstance(record, Connection))
    frames = [record for record in records if isinstance(record, Frame) and record.connection == connection.id]
    closed = {record.connection: record for record in records if isinstance(record, Closed)}
    seen = {item.identity for frame in frames for item in frame.descriptors}
    return {
        "mode": mode,
        "sent": told,
        "seen": b"".join(frame.data for frame in frames).hex(),
        "frames": len(frames),
        "identities": seen == {describe(memory).identity, describe(event).identity},
        "path": connection.path == path,
        "pid": {end.process.pid for end in connection.ends if end.process} == {child},
        "closed": [closed[one.id].reason for one in (reset, connection)],
        "exits": [
            [one.pid == child, one.signal, {(connection.id, 0), (connection.id, 1)} <= set(one.ends)]
            for one in records
            if isinstance(one, Exit)
        ],
        "lost": closed[connection.id].lost,
        "stacks": [place(frame.stack) for frame in frames if frame.stack is not None],
        "said": said,
        "signals": signals,
    }


def main() -> None:
    """Every mode, one line each; then a line of the kernel, and those of calls."""
    tree, logger, *modes = sys.argv[1:]
    emulated()
    program = None
    with tempfile.TemporaryDirectory() as folder:
        for mode in modes:
            began = compiled = time.monotonic()
            try:
                program = attach_program((Attach(mode),), follow_any=True, counts=True, stack_kib=STACK_KIB)
                compiled = time.monotonic()
                if mode == modes[-1]:
                    keep(program)
                found = watch(program, Path(folder))
            except Exception:
                found = {"mode": mode, "refused": traceback.format_exc()}
            print("RESULT " + json.dumps(found), flush=True)
            print(
                f"{mode} took {compiled - began:.0f} s to attach, {time.monotonic() - compiled:.0f} s more", flush=True
            )
    print("RESULT " + json.dumps({"kernel": platform.release()}), flush=True)
    run(tree, logger, program=program)


if __name__ == "__main__":
    main()
