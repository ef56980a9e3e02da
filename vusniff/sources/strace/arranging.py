"""Who sat at the ends of the connections of a log of strace, and what happened on them in which order.

A process is named by the lowest of the thread ids that used the socket, since strace does not say which threads form a
process. It has ended when a signal has killed one of these threads, or all of them have exited.

Times: a send happens when it begins, a receive when it ends. Without -T the end of a receive is when strace printed
it, which is exact in a log of one process (lines are written as calls return) and too early with -ff, where a waiting
receive bears the time of its beginning. Logs without times get one microsecond per call; logs with times of day only
(-t, -tt) happen on the first day of 1970.
"""

from __future__ import annotations

from collections.abc import Sequence

from vusniff.record import End, Exit, Process
from vusniff.sources.host.kernel_devices import kernel_side
from vusniff.sources.strace.choosing import TracedConnection
from vusniff.sources.strace.devices import TracedDevice, TracedDeviceCall
from vusniff.sources.strace.log import LATEST_NS, StraceLog, ThreadEnd
from vusniff.sources.strace.sockets import Ending, Piece, Socket
from vusniff.values import dataclass

STEP_NS = 1000
"""Between two calls of a log without times."""
HOUR_NS = 3_600_000_000_000
"""How much later than the lines behind it a line may say that it happened."""


@dataclass(frozen=True, slots=True)
class EndedProcess:
    """A process has ended that held ends of connections."""

    log: int
    line: int
    time_ns: int | None
    exit: Exit
    ends: tuple[tuple[TracedConnection, int], ...]


@dataclass(slots=True)
class Happening:
    """Something that happened on a connection."""

    talk: TracedConnection
    end: int
    """Of a piece, which end sent it; of an ending, which end's log says so; of a process, which end it held."""
    what: Piece | Ending | EndedProcess | TracedDeviceCall
    time_ns: int = 0


def describe(talk: TracedConnection, passed: set[int], logs: Sequence[StraceLog]) -> None:
    """Fill in the ends of a connection, its path, and whether its beginning was seen."""
    one, two = talk.sockets
    talk.first = _first_end(talk, passed)
    ends = [End(one.inode, _process(one)), End(two.inode if two else one.peer, _process(two) if two else None)]
    if talk.first:
        ends.reverse()
    talk.ends = ends[0], ends[1]
    paths = [socket.path for socket in talk.sockets if socket and socket.path]
    inodes = "-".join(str(end.inode or 0) for end in ends)
    talk.path = paths[0] if paths else one.name if one.inode is None else f"pair:{inodes}"
    seen = any(socket.opened or any(logs[log].from_start for log in socket.logs) for socket in talk.sockets if socket)
    talk.late = not seen and passed.isdisjoint(talk.inodes())


def _first_end(talk: TracedConnection, passed: set[int]) -> int:
    """Which end the first socket is: the accepted one and the passed one are 1; else who speaks first is 0."""
    one, two = talk.sockets
    if one.inode in passed:
        return 1
    if (two.inode if two else one.peer) in passed:
        return 0
    if one.accepted is not None:
        return int(one.accepted)
    if two is not None and two.accepted is not None:
        return int(not two.accepted)
    ours, theirs = talk.said
    if not ours or not theirs:
        return int(not ours)
    return int((theirs[0].log, theirs[0].line) < (ours[0].log, ours[0].line))


def of_device(device: TracedDevice) -> tuple[TracedConnection, list[Happening]]:
    """A device as a connection between the process and the kernel, and what happened on it."""
    who = None if device.pid is None else Process(device.pid, device.comm, device.pid)
    ends = End(process=who), End(process=kernel_side(device.path))
    talk = TracedConnection((Socket(device.path), None), path=device.path, ends=ends, family=device.family)
    moves = [Happening(talk, 0, one) for one in device.calls]
    if device.closed is not None:
        moves.append(Happening(talk, 0, Ending(*device.closed, "eof", False)))
    return talk, moves


def _process(socket: Socket) -> Process | None:
    return Process(min(socket.tids), socket.comm, min(socket.tids)) if socket.tids else None


def ended_processes(talks: Sequence[TracedConnection], logs: Sequence[StraceLog]) -> list[EndedProcess]:
    """The processes that have ended, each with the ends that it held."""
    found: dict[tuple[int | None, int], tuple[int, ThreadEnd, str, list[tuple[TracedConnection, int]]]] = {}
    for talk in talks:
        for end, socket in zip((talk.first, 1 - talk.first), talk.sockets, strict=True):
            last = _last_thread(socket, logs) if socket is not None else None
            if socket is not None and last is not None:
                pid = min(socket.tids) if socket.tids else None
                key = pid, last[0] if pid is None else -1
                found.setdefault(key, (*last, socket.comm, []))[3].append((talk, end))
    return [
        EndedProcess(
            log,
            thread.line,
            thread.time_ns,
            Exit(0, pid, comm, thread.status, thread.signal, thread.dumped_core),
            tuple(ends),
        )
        for (pid, _), (log, thread, comm, ends) in found.items()
    ]


def _last_thread(socket: Socket, logs: Sequence[StraceLog]) -> tuple[int, ThreadEnd] | None:
    """The log and the end of the thread with which the owner of a socket has ended; None where it has not."""
    ended = [
        (log, logs[log].ended[tid])
        for tid in socket.tids or (None,)
        for log in sorted(socket.logs)
        if tid in logs[log].ended
    ]
    killed = [one for one in ended if one[1].status is None]
    if killed:
        return killed[-1]
    if len(ended) < max(len(socket.tids), 1):
        return None
    return max(ended, key=lambda one: (one[1].time_ns or 0, one[0], one[1].line))


def arrange(
    talks: Sequence[TracedConnection], gone: Sequence[EndedProcess], calls: Sequence[Happening], merge: bool
) -> list[Happening]:
    """All that happened, in one order, with times that never go back.

    The lines of one log are in order, whatever its clock says. With ``merge`` the logs have a clock in common, else
    one log comes after the other.
    """
    moves: list[Happening] = list(calls)
    for talk in talks:
        for end, pieces in zip((talk.first, 1 - talk.first), talk.said, strict=True):
            moves += [Happening(talk, end, piece) for piece in pieces]
        for end, socket in zip((talk.first, 1 - talk.first), talk.sockets, strict=True):
            if socket is not None and socket.end is not None:
                moves.append(Happening(talk, end, socket.end))
    moves += [Happening(*one.ends[0], one) for one in gone]
    moves += [
        Happening(talk, end, Ending(one.log, one.line, one.time_ns, "killed" if one.exit.signal else "eof", False))
        for one in gone
        for talk, end in one.ends
        if all(socket is None or socket.end is None for socket in talk.sockets)
    ]  # with a process go its sockets
    moves.sort(key=lambda move: (move.what.log, move.what.line))
    bounds = _bounds(moves)
    latest: dict[int, int] = {}
    for move, bound in zip(moves, bounds, strict=True):
        log = move.what.log
        move.time_ns = latest[log] = max(latest.get(log, 0), min(move.what.time_ns or 0, bound))
    if merge:
        moves.sort(key=lambda move: move.time_ns)
    now = 0
    for number, move in enumerate(moves):
        now = move.time_ns = max(now, number * STEP_NS if move.what.time_ns is None else move.time_ns)
    return moves


def _bounds(moves: Sequence[Happening]) -> list[int]:
    """The latest time that is believed of each: one line with a wrong time must not put all behind it there."""
    bounds: list[int] = []
    least: dict[int, int] = {}
    for move in reversed(moves):
        log, time_ns = move.what.log, move.what.time_ns
        behind = least.get(log, LATEST_NS)
        bounds.append(LATEST_NS if time_ns is None or time_ns - behind <= HOUR_NS else behind)
        if time_ns is not None:
            least[log] = min(behind, time_ns)
    return bounds[::-1]
