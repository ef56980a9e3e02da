"""Call stacks while a source records: hands each to a process without rights, and takes what comes back.

Owns which worker unwinds for whom, what is waited for and how long, and the count of what is lost. Processes of
different users have different workers, so that a file of one user cannot reach stacks of another. What the worker
answers is read as a file is read: it may be anything.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections import Counter, deque

from vusniff.bpf.records import STACK_HEAD, split
from vusniff.capture.stacks import ENTRIES_LIMIT, STACKS_LIMIT, parse_entry, stack_of
from vusniff.child import command
from vusniff.record import Stack, StackEntry
from vusniff.sources.stacks import maps, worker
from vusniff.values import dataclass, field

QUEUE_BYTES = 64 << 20
"""Copies of stacks that wait to be unwound; further ones are lost."""
PATIENCE_NS = 10_000_000_000
"""How long a worker may take for one stack."""
END_SECONDS = 1.0
"""How long the end of a worker is waited for."""
FRESH_NS = 1_000_000_000
"""How old what is known of a process's mappings may be."""
_BUFFER = 4 << 20
_PROCESSES, _WORKERS, _FILES = 128, 16, 2048
_KERNEL = "a thread of the kernel sent it for the process (io_uring), which has no stack there"
_GONE = "the process had ended before its files could be looked at"
_OTHER = "a 32-bit program sent it, whose stack is not unwound"
_CODE_64 = 0x33
"""__USER_CS of x86-64 (arch/x86/include/asm/segment.h)."""

Key = tuple[int, int]
"""Thread and time of a send."""


@dataclass(slots=True)
class _ProcessMaps:
    """A process, as it was mapped when it was looked at."""

    key: int
    pid: int
    user: int
    read_ns: int
    mappings: tuple[maps.Mapping, ...]
    told: bool = False


@dataclass(slots=True)
class _StackAsked:
    """A stack that a worker has not answered yet."""

    key: Key
    process: _ProcessMaps
    record: bytes
    since_ns: int
    again: bool = False


@dataclass(slots=True)
class _UnwindingProcess:
    """A process that unwinds."""

    user: int
    process: subprocess.Popen[bytes]
    socket: socket.socket
    waiting: deque[tuple[bytes, int | None]] = field(default_factory=deque)
    """Packets, each with the descriptor that goes with it."""
    asked: dict[int, _StackAsked] = field(default_factory=dict)
    files: dict[tuple[str, int], int] = field(default_factory=dict)
    told: list[Stack] = field(default_factory=list)
    processes: deque[_ProcessMaps] = field(default_factory=deque)


class Unwinder:
    """All stacks of one recording. ``kib`` is how much of each is copied."""

    def __init__(self, kib: int) -> None:
        self._limit = kib << 10
        self._workers: dict[int, _UnwindingProcess] = {}
        self._known: dict[int, _ProcessMaps] = {}
        self._refused: set[int] = set()
        """Processes at which a worker failed."""
        self._started = 0
        self._sequence = self._keys = 0
        self._queued = 0
        self._copied: dict[Key, tuple[bytes, _ProcessMaps | None]] = {}
        """Stacks that nobody has asked for yet, and their processes as they were then."""
        self._done: dict[Key, Stack | None] = {}
        self._pending: set[Key] = set()
        self.lost: Counter[str] = Counter()
        """Stacks that were copied and not unwound, by why."""

    # -- what the probe calls -----------------------------------------------------------------------------------------

    def take(self, piece: bytes) -> None:
        """Stacks as the kernel's ring gives them."""
        for _, at, _ in split(piece):
            head = STACK_HEAD.unpack_from(piece, at)
            self._take(head, piece[at : at + STACK_HEAD.size + head[6]])

    def ask(self, tid: int, time_ns: int) -> None:
        """The stack of a send is wanted."""
        key = tid, time_ns
        record, process = self._copied.pop(key, (b"", None))
        self._queued -= len(record)
        if not record:
            return
        pid = STACK_HEAD.unpack_from(record)[5]
        if process is None:
            at = STACK_HEAD.unpack_from(record)[7 + 16]
            self._done[key] = stack_of((StackEntry("", "", at),), _GONE)
            return
        one = self._worker(process.user)
        if one is None or pid in self._refused:
            self.lost["its files made the worker fail" if pid in self._refused else "no worker"] += 1
            return
        self._pending.add(key)
        self._ask(one, _StackAsked(key, process, record, 0))

    def drop(self, tid: int, time_ns: int) -> None:
        """The stack of a send is of no interest."""
        self._queued -= len(self._copied.pop((tid, time_ns), (b"", None))[0])
        self._done.pop((tid, time_ns), None)

    def is_pending(self, tid: int, time_ns: int) -> bool:
        """Whether the stack of a send is still being unwound."""
        return (tid, time_ns) in self._pending

    def pop(self, tid: int, time_ns: int) -> Stack | None:
        """The stack of a send; None when it was lost, or is not waited for any longer."""
        key = tid, time_ns
        if key in self._pending:
            self._pending.discard(key)
            self.lost["it took too long"] += 1
        return self._done.pop(key, None)

    def turn(self) -> None:
        """Hands on what waits, and takes answers, without waiting for any."""
        long_ago = time.monotonic_ns() - PATIENCE_NS
        while self._copied and (oldest := next(iter(self._copied)))[1] < long_ago:
            self.drop(*oldest)
            self.lost["its send was lost, or came too late"] += 1
        while self._done and next(iter(self._done))[1] < long_ago:
            del self._done[next(iter(self._done))]  # its send was lost
        for one in list(self._workers.values()):
            try:
                self._send(one)
                self._receive(one)
            except (OSError, ValueError) as error:
                self._fail(one, "its worker ended" if isinstance(error, OSError) else "its worker answered nonsense")
                continue
            first = next(iter(one.asked.values()), None)
            if first is not None and time.monotonic_ns() - first.since_ns > PATIENCE_NS:
                self._fail(one, "it took too long")

    def start(self, user: int) -> None:
        """Starts the worker for processes of a user before it is needed: that takes longer than a stack."""
        self._worker(user)

    def workers(self) -> list[int]:
        """Their process ids."""
        return [one.process.pid for one in self._workers.values()]

    def close(self) -> None:
        """Ends the workers."""
        for one in list(self._workers.values()):
            self._end(one)

    # -- stacks -------------------------------------------------------------------------------------------------------

    def _take(self, head: tuple[int, ...], record: bytes) -> None:
        flags, tid, time_ns, pid, registers = head[1], head[3], head[4], head[5], head[7:]
        key = tid, time_ns
        if flags & 1:
            self._done[key] = stack_of((), _KERNEL)
        elif registers[17] != _CODE_64:
            self._done[key] = stack_of((), _OTHER)
        elif self._queued + len(record) > QUEUE_BYTES:
            self.lost["too many waited"] += 1
        else:
            # What it has mapped is looked at now, because it may end soon.
            self._copied[key] = record, self._process(pid, time_ns)
            self._queued += len(record)

    def _ask(self, one: _UnwindingProcess, asked: _StackAsked) -> None:
        process = asked.process
        if not process.told:
            self._tell(one, process)
        self._sequence += 1
        asked.since_ns = time.monotonic_ns()
        one.asked[self._sequence] = asked
        self._queued += len(asked.record)
        head = worker.STACK_SENT.pack(b"S", self._sequence, process.key, self._limit)
        one.waiting.append((head + asked.record, None))

    # -- processes ----------------------------------------------------------------------------------------------------

    def _process(self, pid: int, time_ns: int) -> _ProcessMaps | None:
        """A process as it was mapped about then; None when it has gone and nothing is known of it."""
        known = self._known.get(pid)
        if known is not None and time_ns - known.read_ns < FRESH_NS:
            return known
        return self._look(pid, time_ns) or known

    def _look(self, pid: int, time_ns: int) -> _ProcessMaps | None:
        """Reads what it has mapped; what is known already where that is the same."""
        now = time.monotonic_ns()
        try:
            if maps.started_ns(pid) > time_ns + FRESH_NS // 20:
                return None  # another process has its number by now
            mappings, user = maps.read(pid), os.stat(f"/proc/{pid}").st_uid
        except OSError:
            return None
        known = self._known.get(pid)
        if known is not None and known.mappings == mappings and known.user == user:
            known.read_ns = now
            return known
        self._keys += 1
        found = self._known[pid] = _ProcessMaps(self._keys, pid, user, now, mappings)
        while len(self._known) > 4 * _PROCESSES:
            del self._known[next(iter(self._known))]
        return found

    def _tell(self, one: _UnwindingProcess, process: _ProcessMaps) -> None:
        """Hands a process and its files to the worker."""
        process.told = True
        with contextlib.suppress(OSError):
            mounts = maps.Mounts(process.pid)
            for mapping in process.mappings:
                if mapping.file in one.files or len(one.files) >= _FILES or "x" not in mapping.rights:
                    continue
                number = one.files[mapping.file] = len(one.files) + 1
                said = worker.FILE_HEAD.pack(b"F", number) + os.fsencode(mapping.name)
                one.waiting.append((said, mounts.open(process.pid, mapping)))
        numbers: dict[tuple[str, int], int] = {}
        lines = bytearray()
        for mapping in process.mappings:
            number = one.files.get(mapping.file) or numbers.setdefault(mapping.file, _FILES + 1 + len(numbers))
            place = f"{mapping.start:x}-{mapping.end:x} {mapping.rights} {mapping.offset:x} 00:00 {number}"
            lines += f"{place} /{number}\n".encode()
        one.waiting.append((worker.PROCESS_HEAD.pack(b"P", process.key, process.pid) + bytes(lines), None))
        one.processes.append(process)
        if len(one.processes) > _PROCESSES:
            gone = one.processes.popleft()
            gone.told = False
            one.waiting.append((worker.PROCESS_HEAD.pack(b"X", gone.key, gone.pid), None))

    # -- workers ------------------------------------------------------------------------------------------------------

    def _worker(self, user: int) -> _UnwindingProcess | None:
        found = self._workers.get(user)
        if found is not None or self._started >= _WORKERS:
            return found
        self._started += 1
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        words, null = command("unwind", str(theirs.fileno())), subprocess.DEVNULL
        try:  # in a session of its own: what interrupts a capture at a terminal does not end what it still waits for
            process = subprocess.Popen(
                words,
                pass_fds=(theirs.fileno(),),
                stdin=null,
                stdout=null,
                stderr=null,
                cwd="/",
                start_new_session=True,
            )
        except OSError:
            ours.close()
            return None
        finally:
            theirs.close()
        with contextlib.suppress(OSError):  # without the right to, it has the usual size
            ours.setsockopt(socket.SOL_SOCKET, 32, _BUFFER)  # SO_SNDBUFFORCE
        ours.setblocking(False)
        made = self._workers[user] = _UnwindingProcess(user, process, ours)
        return made

    def _send(self, one: _UnwindingProcess) -> None:
        while one.waiting:
            packet, fd = one.waiting[0]
            try:
                if fd is None:
                    one.socket.send(packet)
                else:
                    socket.send_fds(one.socket, [packet], [fd])
                    os.close(fd)
            except BlockingIOError:
                return
            one.waiting.popleft()

    def _receive(self, one: _UnwindingProcess) -> None:
        while True:
            try:
                packet = one.socket.recv(worker.PACKET_BYTES)
            except BlockingIOError:
                return
            if not packet:
                raise ConnectionResetError("the worker ended")
            self._answered(one, packet)

    def _answered(self, one: _UnwindingProcess, packet: bytes) -> None:
        """Takes an answer. Raises ValueError for one that is none."""
        if len(packet) < worker.ANSWER.size:
            raise ValueError(packet)
        kind, sequence = worker.ANSWER.unpack_from(packet)
        asked = one.asked.pop(sequence, None)
        if asked is None:
            raise ValueError(packet)
        self._queued -= len(asked.record)
        if kind == b"A" and len(packet) == worker.AGAIN.size:
            which = worker.AGAIN.unpack(packet)[2]
            if which >= len(one.told):
                raise ValueError(packet)
            stack = one.told[which]
        elif kind in (b"N", b"M", b"U"):
            stack = parse(packet[worker.ANSWER.size :])
            if kind == b"N" and len(one.told) >= STACKS_LIMIT:
                raise ValueError(packet)
            if kind == b"N":
                one.told.append(stack)
            if kind == b"U" and not asked.again and asked.process.read_ns < asked.key[1]:
                # It may have mapped another file since.
                process = self._look(asked.process.pid, asked.key[1])
                if process is not None and process.key != asked.process.key and process.user == one.user:
                    self._ask(one, _StackAsked(asked.key, process, asked.record, 0, True))
                    return
        else:
            raise ValueError(packet)
        if asked.key in self._pending:
            self._pending.discard(asked.key)
            self._done[asked.key] = stack

    def _fail(self, one: _UnwindingProcess, why: str) -> None:
        """A worker is of no use any more: the process whose stack was first in line is not unwound again."""
        oldest = next(iter(one.asked.values()), None)
        if oldest is not None:
            self._refused.add(oldest.process.pid)
        for asked in one.asked.values():
            if asked.key in self._pending:
                self._pending.discard(asked.key)
                self.lost[why] += 1
            self._queued -= len(asked.record)
        one.asked.clear()
        self._end(one)

    def _end(self, one: _UnwindingProcess) -> None:
        del self._workers[one.user]
        one.socket.close()
        for _, fd in one.waiting:
            if fd is not None:
                os.close(fd)
        one.waiting.clear()
        for known in self._known.values():
            if known.user == one.user:
                known.told = False
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            one.process.send_signal(signal.SIGKILL)
            one.process.wait(END_SECONDS)  # one that hangs in the kernel ends when the kernel lets it


def parse(said: bytes) -> Stack:
    """A stack as a worker gives it. Raises ValueError for anything else."""
    try:
        facts = json.loads(said)
        entries, cut = facts["entries"], facts["cut"]
        found = [parse_entry([0, *one[2:]], one[0], one[1]) for one in entries[:ENTRIES_LIMIT]]
        if not isinstance(cut, str) or any(one is None or not one.file.isprintable() for one in found):
            raise ValueError(cut)
        return stack_of(tuple(one for one in found if one is not None), cut[:200])
    except (KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise ValueError(str(error)) from None
