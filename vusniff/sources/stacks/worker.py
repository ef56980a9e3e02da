"""The process that unwinds: it reads files that anybody may have made, and has no rights.

It is started by `unwinder` for the processes of one user, and gets files as descriptors and copies of stacks over a
socket. libdw may be led astray by a file, so this process belongs to nobody, has no capabilities, may not write files
or start programs, has bounded memory, and no other process of nobody's may look into it. What it answers is believed
as little as a file.

Packets to it, by their first byte: ``F`` number, name, and the descriptor of a file, if it may be read; ``P`` key and
pid of a process, and its maps, in which files are called by their numbers; ``X`` key: forget it; ``S`` sequence number,
key, bytes that were to be copied, and a stack as the kernel program gives it. Each stack is answered: ``N`` sequence
number and JSON of a stack that is new here, ``A`` sequence number and which of those it is again (counted from 0),
``U`` sequence number and JSON where no file was mapped at an address, ``M`` the same as ``N`` when there are too many
to count.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import socket
import struct
from collections.abc import Sequence
from typing import Any

from vusniff.bpf.records import STACK_HEAD
from vusniff.capture.stacks import ENTRIES_LIMIT, STACKS_LIMIT
from vusniff.privileges import NOBODY, drop, shut_off
from vusniff.record import StackEntry
from vusniff.sources.stacks import libdw

PACKET_BYTES = 256 << 10
MEMORY_BYTES = 4 << 30
_FILES = 4096
FILE_HEAD = struct.Struct("=cI")
PROCESS_HEAD = struct.Struct("=cQI")
STACK_SENT = struct.Struct("=cQQI")
ANSWER = struct.Struct("=cQ")
AGAIN = struct.Struct("=cQI")


class Worker:
    """What it knows."""

    def __init__(self, dw: Any) -> None:
        self._dw = dw
        self._files: dict[int, int] = {}
        self._names: dict[int, str] = {}
        self._processes: dict[int, libdw.MappedProcess] = {}
        self._entries: dict[tuple[int, int], StackEntry] = {}
        """By file and address in it: processes that run the same program share them."""
        self._told: dict[tuple[Any, ...], int] = {}

    def handle(self, packet: bytes, fds: Sequence[int]) -> bytes | None:
        """One packet; its answer, if it wants one."""
        kind = packet[:1]
        if kind == b"F":
            number = FILE_HEAD.unpack_from(packet)[1]
            if fds:
                self._files[number] = fds[0]
            self._names[number] = packet[FILE_HEAD.size :].decode(errors="surrogateescape")
        elif kind == b"P":
            _, key, pid = PROCESS_HEAD.unpack_from(packet)
            maps = packet[PROCESS_HEAD.size :]
            self._processes[key] = libdw.MappedProcess(self._dw, pid, maps, self._open, self._names, self._entries)
        elif kind == b"X":
            if (known := self._processes.pop(PROCESS_HEAD.unpack_from(packet)[1], None)) is not None:
                known.close()
        elif kind == b"S":
            return self._unwind(packet)
        return None

    def _open(self, number: int) -> int:
        """For libdw, which closes what it gets."""
        with contextlib.suppress(KeyError, OSError):
            return os.dup(self._files[number])
        return -1

    def _unwind(self, packet: bytes) -> bytes:
        _, sequence, key, limit = STACK_SENT.unpack_from(packet)
        head = STACK_HEAD.unpack_from(packet, STACK_SENT.size)
        at = STACK_SENT.size + STACK_HEAD.size
        registers = libdw.Registers.of_kernel(head[7:])
        entries, cut, unmapped = self._processes[key].unwind(registers, packet[at : at + head[6]], limit, ENTRIES_LIMIT)
        known = self._told.get((entries, cut))
        if known is not None and not unmapped:
            return AGAIN.pack(b"A", sequence, known)
        said = json.dumps({"entries": entries, "cut": cut}).encode()
        if unmapped or len(self._told) >= STACKS_LIMIT:
            return ANSWER.pack(b"U" if unmapped else b"M", sequence) + said
        self._told[entries, cut] = len(self._told)
        return ANSWER.pack(b"N", sequence) + said


def main(words: Sequence[str]) -> int:
    """Serve the socket whose descriptor is named until its other end is closed."""
    with socket.socket(fileno=int(words[0])) as served:
        os.environ.pop("DEBUGINFOD_URLS", None)  # nothing is asked of the network
        worker = Worker(libdw.load())
        drop(NOBODY if os.geteuid() == 0 else None)
        shut_off()
        for what, most in (
            (resource.RLIMIT_AS, MEMORY_BYTES),
            (resource.RLIMIT_NOFILE, _FILES),
            (resource.RLIMIT_FSIZE, 1 << 20),  # maps, in memory
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_NPROC, 0),
        ):
            hard = resource.getrlimit(what)[1]
            least = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(what, (least, least))
        while True:
            packet, fds, _, _ = socket.recv_fds(served, PACKET_BYTES, 1, socket.MSG_CMSG_CLOEXEC)
            if not packet:
                return 0
            answer = worker.handle(packet, fds)
            if answer is not None:
                served.send(answer)
