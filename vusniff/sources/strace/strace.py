"""A source made of logs: what strace saw of one or both peers becomes a capture.

Owns which sockets of a log are vhost-user, which log tells the truer story of a direction, and the order of what
happened. The language of strace is `strace_log`'s, the meaning of calls `strace_sockets`'s, messages are `framing`'s.

A traced process shows both directions: what it sends, and what it receives of the other end. Where both ends are in
the logs, each direction is taken from the sender, whose log has the descriptors' numbers, unless the receiver's has
more of it. A process is named by the lowest of the thread ids that used the socket, since strace does not say which
threads form a process.

Times: a send happens when it begins, a receive when it ends. Without -T the end of a receive is when strace printed
it, which is exact in a log of one process (lines are written as calls return) and too early with -ff, where a waiting
receive bears the time of its beginning. Logs without times get one microsecond per call; logs with times of day only
(-t, -tt) happen on the first day of 1970.

A process has ended when a signal has killed one of the threads that used the socket, or all of them have exited.

Limit: a receive that took several messages at once shows the descriptors of the last of them; they are given to the
first. Peers that are known read message by message.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from vusniff.capture import facts
from vusniff.capture.pcapng import MAGIC
from vusniff.capture.writer import CaptureWriter
from vusniff.channel import Channel
from vusniff.errors import SourceError
from vusniff.families.framing import Framer
from vusniff.families.registry import FIRST, family_named, recognised
from vusniff.families.vhost_kernel.call import frame as frame_of
from vusniff.families.vhost_user.protocol import (
    HEADER_SIZE,
    VERSION,
)
from vusniff.printable import escape
from vusniff.record import CAPTURE_ENDED, Chunk, Closed, DescriptorKind, End, Exit, Facts, Frame, Process, is_named
from vusniff.sources.host.kernel_devices import kernel_side
from vusniff.sources.logs.reading import log_of
from vusniff.sources.strace.devices import TracedDevice, TracedDeviceCall, TracedDevices
from vusniff.sources.strace.log import LATEST_NS, StraceLog, ThreadEnd
from vusniff.sources.strace.sockets import CALLS, OTHER_FILES, Ending, Piece, Socket, Sockets
from vusniff.values import dataclass, replace

LOOK = 4
"""Transfers of a direction among whose beginnings a header is looked for: a log may begin in the middle of one."""
STEP_NS = 1000
"""Between two calls of a log without times."""
HOUR_NS = 3_600_000_000_000
"""How much later than the lines behind it a line may say that it happened."""


@dataclass(frozen=True, slots=True)
class ImportedStrace:
    """What came of it."""

    connections: int
    messages: int
    left_out: int
    """Unix stream sockets that carried something else."""
    notes: tuple[str, ...]
    """What its reader should know about the logs, as sentences."""


@dataclass(slots=True, eq=False)
class _TracedConnection:
    """A connection: one socket of it, or both."""

    sockets: tuple[Socket, Socket | None]
    said: tuple[list[Piece], list[Piece]] = ([], [])
    """What the first socket's end sent, and what the other one's sent."""
    first: int = 0
    """Which end the first of the sockets is."""
    path: str = ""
    ends: tuple[End, End] = (End(), End())
    late: bool = False
    family: str | None = None
    """The family of a device of the kernel. For a socket its first bytes tell the family."""
    timed: bool = True
    id: int = 0
    frames: int = 0
    over: bool = False
    """Its end is written."""

    def inodes(self) -> set[int]:
        """The inodes of its ends, as far as they are known."""
        inodes = {inode for socket in self.sockets if socket for inode in (socket.inode, socket.peer)}
        return {inode for inode in inodes if inode is not None}


@dataclass(frozen=True, slots=True)
class _Gone:
    """A process has ended that held ends of connections."""

    log: int
    line: int
    time_ns: int | None
    exit: Exit
    ends: tuple[tuple[_TracedConnection, int], ...]


@dataclass(slots=True)
class _Move:
    """Something that happened on a connection."""

    talk: _TracedConnection
    end: int
    """Of a piece, which end sent it; of an ending, which end's log says so; of a process, which end it held."""
    what: Piece | Ending | _Gone | TracedDeviceCall
    time_ns: int = 0


def import_strace(
    paths: Sequence[str], target: str | Path | BinaryIO, replaces: bytes | None = MAGIC
) -> ImportedStrace:
    """Read logs of strace (``-`` is standard input) and write a capture; logs of one run may be given together.

    ``replaces``: what becomes of a file that is there already, as in `vusniff.files.open_output`.

    Raises:
        SourceError: a log cannot be read, or none of them shows vhost-user.
        CaptureError: the capture cannot be written.
    """
    sockets, devices, logs = Sockets(), TracedDevices(sys.byteorder), []
    for number, path in enumerate(paths):
        with _open(path) as file:
            log = StraceLog(file, CALLS, OTHER_FILES, _tid_of(path))
            for call in log:
                if call.name in ("ioctl", "close"):
                    devices.take(call, number)
                if call.name != "ioctl":
                    sockets.take(call, number)
        logs.append(log)
    talks = _pair_up(sockets)
    chosen, order = _choose(talks, sockets)
    left_out = len(talks) - len(chosen)
    served = [_of_device(device) for device in devices.all.values()]
    chosen += _silent(sockets, chosen, bool(talks or served))
    if not chosen and not served:
        raise SourceError(_nothing(paths, left_out, sum(log.unreadable for log in logs)))
    passed = _passed(chosen)
    for talk in chosen:
        _describe(talk, passed, logs)
    clocks = {log.clock for log in logs}
    calls = [move for _, of_device in served for move in of_device]
    moves = _arrange(chosen, _gone(chosen, logs), calls, merge=len(clocks) == 1 and clocks <= {"epoch", "day"})
    chosen += [talk for talk, _ in served]
    for talk in chosen:
        talk.timed = "" not in clocks
    with CaptureWriter(
        target, source="strace", replaces=replaces, order=order, host=facts.Host(), keeps_ended=True
    ) as writer:
        _write(chosen, moves, writer, order)
        _tell_silent(chosen, writer, max(log.last_ns or 0 for log in logs))
    if writer.failure is not None:
        raise SourceError(writer.failure.partition(";")[0])  # the rest is about live traffic
    notes = _notes(chosen, logs, clocks, sockets, devices)
    return ImportedStrace(len(chosen), sum(talk.frames for talk in chosen), left_out, notes)


@contextlib.contextmanager
def _open(path: str) -> Iterator[BinaryIO]:
    if path == "-":
        yield sys.stdin.buffer
        return
    try:
        with open(path, "rb") as file:
            yield file
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror or error}") from None


def _tid_of(path: str) -> int | None:
    """The thread a log of -ff belongs to, by its name."""
    match = re.search(r"\.(\d{1,7})$", path)
    return int(match[1]) if match else None


# -- which sockets -----------------------------------------------------------------------------------------------------


def _pair_up(sockets: Sockets) -> list[_TracedConnection]:
    """Connections that carried something, by the first socket of each that the logs show."""
    talks: list[_TracedConnection] = []
    seen: set[int] = set()
    for socket in sockets:
        if socket.inode is not None and socket.inode in seen:
            continue
        other = None
        if socket.inode is not None:
            socket.peer = sockets.peers.get(socket.inode, socket.peer)
            other = sockets.by_inode.get(socket.peer) if socket.peer is not None else None
            if other is not None and other.inode is not None and other is not socket:
                seen.add(other.inode)
        if other is None or other is socket:
            talk = _TracedConnection((socket, None), (socket.sent, socket.received))
        else:
            said = _fuller(socket.sent, other.received), _fuller(other.sent, socket.received)
            talk = _TracedConnection((socket, other), said)
        if any(talk.said):
            talks.append(talk)
    return talks


def _choose(talks: list[_TracedConnection], sockets: Sockets) -> tuple[list[_TracedConnection], str]:
    """The connections that are vhost-user, and the byte order they are written in.

    A connection is, when each direction that carried something begins with a header of the specification's version;
    and so is every socket that is passed on such a connection, whatever it carries.
    """
    other = "big" if sys.byteorder == "little" else "little"
    for order in (sys.byteorder, other):
        chosen = [talk for talk in talks if _speaks(talk, order)]
        if chosen:
            break
    else:
        order = sys.byteorder
    count = 0
    while count != len(chosen):
        count = len(chosen)
        passed = _passed(chosen)
        passed |= {sockets.peers[inode] for inode in passed if inode in sockets.peers}
        known = set(chosen)
        chosen = [talk for talk in talks if talk in known or not passed.isdisjoint(talk.inodes())]
    return chosen, order


def _speaks(talk: _TracedConnection, order: str) -> bool:
    filled = [pieces for pieces in talk.said if any(piece.data for piece in pieces)]
    return bool(filled) and all(_begins_with_header(pieces[:LOOK], order) for pieces in filled)


def _begins_with_header(pieces: Sequence[Piece], order: str) -> bool:
    beginnings = [piece.data for piece in pieces] + [b"".join(piece.data for piece in pieces)]
    return any(len(data) >= HEADER_SIZE and _is_header(data, order) for data in beginnings)


def _is_header(data: bytes, order: str) -> bool:
    family = recognised(data, order, anywhere=True)
    if family is None:
        return False
    header = family.main.header
    return not header.version or header.read[order](data, 0)[1] & header.version == VERSION


def _passed(talks: Sequence[_TracedConnection]) -> set[int]:
    """Inodes of the sockets that were passed as descriptors."""
    return {
        int(descriptor.identity.partition(":")[2])
        for talk in talks
        for pieces in talk.said
        for piece in pieces
        for descriptor in piece.descriptors
        if descriptor.kind is DescriptorKind.SOCKET and descriptor.identity is not None
    }


def _fuller(sent: list[Piece], received: list[Piece]) -> list[Piece]:
    return received if _weight(received) > _weight(sent) else sent


def _weight(pieces: Sequence[Piece]) -> int:
    return sum(len(piece.data) for piece in pieces)


OTHERS = ("/dev/log", "/run/systemd/", "/run/dbus/", "/run/nscd/", "/var/run/nscd/", "/tmp/.X11-unix/", "/run/user/")
"""Beginnings of paths that programs connect to for something else."""


def _silent(sockets: Sockets, chosen: Sequence[_TracedConnection], others: bool) -> list[_TracedConnection]:
    """Connections that were made and carried nothing: on the paths of those that did; on any path where no connection
    of the logs carried anything."""
    paths = {socket.path for talk in chosen for socket in talk.sockets if socket and socket.path}
    found: list[_TracedConnection] = []
    seen: set[int | None] = set()
    for socket in sockets:
        if not socket.silent or (socket.inode is not None and socket.inode in seen) or (others and not chosen):
            continue
        if socket.path not in paths and (paths or (socket.path or "").startswith(OTHERS)):
            continue
        other = sockets.by_inode.get(socket.peer) if socket.peer is not None else None
        if other is not None and (other.sent or other.received):
            continue
        for one in (socket, other):
            if one is not None and one.opener is not None:
                log, tid, comm = one.opener
                one.logs.add(log)
                one.comm = one.comm or comm
                if tid is not None:
                    one.tids.add(tid)
        if other is not None:
            seen.add(other.inode)
        found.append(_TracedConnection((socket, other), ([], [])))
    return found


# -- who and when ------------------------------------------------------------------------------------------------------


def _describe(talk: _TracedConnection, passed: set[int], logs: Sequence[StraceLog]) -> None:
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


def _first_end(talk: _TracedConnection, passed: set[int]) -> int:
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


def _of_device(device: TracedDevice) -> tuple[_TracedConnection, list[_Move]]:
    """A device as a connection between the process and the kernel, and what happened on it."""
    who = None if device.pid is None else Process(device.pid, device.comm, device.pid)
    ends = End(process=who), End(process=kernel_side(device.path))
    talk = _TracedConnection((Socket(device.path), None), path=device.path, ends=ends, family=device.family)
    moves = [_Move(talk, 0, one) for one in device.calls]
    if device.closed is not None:
        moves.append(_Move(talk, 0, Ending(*device.closed, "eof", False)))
    return talk, moves


def _process(socket: Socket) -> Process | None:
    return Process(min(socket.tids), socket.comm, min(socket.tids)) if socket.tids else None


def _gone(talks: Sequence[_TracedConnection], logs: Sequence[StraceLog]) -> list[_Gone]:
    """The processes that have ended, each with the ends that it held."""
    found: dict[tuple[int | None, int], tuple[int, ThreadEnd, str, list[tuple[_TracedConnection, int]]]] = {}
    for talk in talks:
        for end, socket in zip((talk.first, 1 - talk.first), talk.sockets, strict=True):
            last = _last_thread(socket, logs) if socket is not None else None
            if socket is not None and last is not None:
                pid = min(socket.tids) if socket.tids else None
                key = pid, last[0] if pid is None else -1
                found.setdefault(key, (*last, socket.comm, []))[3].append((talk, end))
    return [
        _Gone(
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


# -- when --------------------------------------------------------------------------------------------------------------


def _arrange(
    talks: Sequence[_TracedConnection], gone: Sequence[_Gone], calls: Sequence[_Move], merge: bool
) -> list[_Move]:
    """All that happened, in one order, with times that never go back.

    The lines of one log are in order, whatever its clock says. With ``merge`` the logs have a clock in common, else
    one log comes after the other.
    """
    moves: list[_Move] = list(calls)
    for talk in talks:
        for end, pieces in zip((talk.first, 1 - talk.first), talk.said, strict=True):
            moves += [_Move(talk, end, piece) for piece in pieces]
        for end, socket in zip((talk.first, 1 - talk.first), talk.sockets, strict=True):
            if socket is not None and socket.end is not None:
                moves.append(_Move(talk, end, socket.end))
    moves += [_Move(*one.ends[0], one) for one in gone]
    moves += [
        _Move(talk, end, Ending(one.log, one.line, one.time_ns, "killed" if one.exit.signal else "eof", False))
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


def _bounds(moves: Sequence[_Move]) -> list[int]:
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


# -- writing -----------------------------------------------------------------------------------------------------------


def _write(talks: Sequence[_TracedConnection], moves: Sequence[_Move], writer: CaptureWriter, order: str) -> None:
    """Write everything in order.

    Framers are given the place of a transfer instead of its time, since times may be equal: so frames can be put into
    the order in which their first bytes went.
    """
    framers = {
        (talk, end): Framer(
            order, late=talk.late and not _begins_with_header(pieces[:1], order), channel=_channel(talk)
        )
        for talk in talks
        for end, pieces in zip((talk.first, 1 - talk.first), talk.said, strict=True)
    }
    endings: dict[_TracedConnection, int] = {}
    records: list[tuple[int, _TracedConnection, Frame | _Gone | None]] = []
    for place, move in enumerate(moves):
        if isinstance(move.what, Ending):
            endings.setdefault(move.talk, place)
            continue
        if isinstance(move.what, _Gone):
            continue
        if isinstance(move.what, TracedDeviceCall):
            records.append((place, move.talk, frame_of(replace(move.what.call, time_ns=place), order)))
            continue
        endings.pop(move.talk, None)  # it goes on: another descriptor of the same socket was closed
        piece = move.what
        speaker = _speaker(move, piece)
        chunk = Chunk(0, move.end, place, piece.data, Facts(piece.descriptors, speaker), missing=piece.missing)
        records += [(frame.time_ns, move.talk, frame) for frame in framers[move.talk, move.end].feed(chunk)]
    for (talk, end), framer in framers.items():
        closed = _said_all(talk, end, moves[endings[talk]].what if talk in endings else None)
        records += [(frame.time_ns, talk, frame) for frame in framer.end(len(moves) - 1, closed)]
    records += [(place, talk, None) for talk, place in endings.items()]
    records += [(place, move.talk, move.what) for place, move in enumerate(moves) if isinstance(move.what, _Gone)]
    records.sort(key=lambda record: record[0])
    for place, talk, frame in records:
        if isinstance(frame, _Gone):
            for held, _ in frame.ends:
                if not held.id and not any(held.said):
                    _open_in(writer, held)
                    writer.describe(held.id)
            ends = tuple((held.id, end) for held, end in frame.ends if held.id)
            if ends:
                writer.evidence(replace(frame.exit, time_ns=moves[place].time_ns, ends=ends))
            continue
        if not talk.id:
            _open_in(writer, talk)
        if frame is not None:
            writer.frame(replace(frame, connection=talk.id, time_ns=moves[place].time_ns))
            talk.frames += 1
        elif isinstance(ending := moves[place].what, Ending):
            end = moves[place].end
            by = 1 - end if ending.by_peer else end
            talk.over = True
            ended = Closed(talk.id, moves[place].time_ns, ending.reason, by, talk.frames)
            writer.close_connection(ended, silent=not talk.frames)


def _open_in(writer: CaptureWriter, talk: _TracedConnection) -> None:
    """Give a connection its place in the capture."""
    opened_ns = next((socket.opened_ns for socket in talk.sockets if socket and socket.opened), None)
    talk.id = writer.open(talk.path, talk.ends, opened_ns, talk.late, talk.family, talk.timed).id


def _tell_silent(talks: Sequence[_TracedConnection], writer: CaptureWriter, now_ns: int) -> None:
    """Connections on which nothing was said to the end of the log."""
    for talk in talks:
        if not talk.frames and not talk.over:
            if not talk.id:
                _open_in(writer, talk)
            writer.close_connection(Closed(talk.id, now_ns, CAPTURE_ENDED, None, 0), silent=True)


def _channel(talk: _TracedConnection) -> Channel | None:
    """What decides which sizes are believed: without a path any channel may be carried."""
    return None if is_named(talk.path) else family_named(FIRST).unknown


def _said_all(talk: _TracedConnection, end: int, ending: object) -> bool:
    """Whether an end has sent nothing beyond what the log has of it when the connection ended: what it sent is in its
    own log, or its peer has read up to the end of the stream."""
    pieces = talk.said[end ^ talk.first]
    sending = bool(pieces) and pieces[-1].sending
    return isinstance(ending, Ending) and (sending or (ending.by_peer and ending.reason == "eof"))


def _speaker(move: _Move, piece: Piece) -> Process | None:
    """Who sent a piece: with the thread, where its own log shows it."""
    process = move.talk.ends[move.end].process
    if process is None or not piece.sending or piece.tid is None or piece.tid == process.tid:
        return process
    return replace(process, tid=piece.tid)


# -- what to say -------------------------------------------------------------------------------------------------------


def _lines(count: int) -> str:
    return "1 line is" if count == 1 else f"{count} lines are"


def _nothing(names: Sequence[str], left_out: int, unreadable: int) -> str:
    where = names[0] if len(names) == 1 else f"any of {len(names)} logs"
    if left_out:
        others = "1 unix socket carries" if left_out == 1 else f"{left_out} unix sockets carry"
        return f"no vhost-user in {where}: {others} something else"
    about = log_of(names[0]) if unreadable else None
    if about is not None:
        shown = escape(names[0])
        return f"{shown} is not a log of strace but of {about}: vusniff import log {shown} -o OUT"
    if unreadable:
        return f"no vhost-user in {where}: {_lines(unreadable)} not strace's, and no unix socket carries anything"
    return (
        f"no unix socket carries anything in {where}: trace with "
        "strace -f -yy -x -s 65536 -ttt -T -e trace=network,read,write,readv,writev"
    )


def _notes(
    talks: Sequence[_TracedConnection],
    logs: Sequence[StraceLog],
    clocks: set[str],
    sockets: Sockets,
    devices: TracedDevices,
) -> tuple[str, ...]:
    unreadable = sum(log.unreadable for log in logs)
    nameless = any(socket.inode is None for talk in talks if not talk.family for socket in talk.sockets if socket)
    unread = "1 ioctl" if devices.unread == 1 else f"{devices.unread} ioctls"
    strings = "1 string" if sockets.cut == 1 else f"{sockets.cut} strings"
    apart = len(logs) > 1 and not (len(clocks) == 1 and clocks <= {"epoch", "day"})
    sentences = (
        (unreadable > 0, f"{_lines(unreadable)} not strace's and passed over"),
        (sockets.cut > 0, f"strace cut {strings}, so bytes are missing: trace with -s 65536"),
        (devices.unread > 0, f"strace did not print the arguments of {unread}: what they said is unknown"),
        ("" in clocks, "the log has no times: messages are put 1 us apart; trace with -ttt -T"),
        ("day" in clocks, "the log has times of day and no date: it is put on 1970-01-01"),
        ("relative" in clocks, "the log has relative times only: it is made to begin on 1970-01-01"),
        (apart, "the logs have no clock in common: they are put one after the other"),
        (nameless, "the log does not say which socket is which: trace with -yy to see channels and what is passed"),
    )
    return tuple(sentence for true, sentence in sentences if true)
