"""A source made of logs: what strace saw of one or both peers becomes a capture.

Reads the logs, writes what they tell into a capture, and says what its reader should know about them. The language of
strace is `log`'s, the meaning of calls `sockets`'s and `devices`'s, which sockets are vhost-user `choosing`'s, who and
when `arranging`'s, where messages end `families.framing`'s.

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
from vusniff.families.registry import FIRST, family_named
from vusniff.families.vhost_kernel.call import frame as frame_of
from vusniff.printable import escape
from vusniff.record import CAPTURE_ENDED, Chunk, Closed, Facts, Frame, Process, is_named
from vusniff.sources.logs.reading import log_of
from vusniff.sources.strace.arranging import EndedProcess, Happening, arrange, describe, ended_processes, of_device
from vusniff.sources.strace.choosing import TracedConnection, begins_with_header, choose, pair_up, passed_inodes, silent
from vusniff.sources.strace.devices import TracedDeviceCall, TracedDevices
from vusniff.sources.strace.log import StraceLog
from vusniff.sources.strace.sockets import CALLS, OTHER_FILES, Ending, Piece, Sockets
from vusniff.values import dataclass, replace


@dataclass(frozen=True, slots=True)
class ImportedStrace:
    """What came of it."""

    connections: int
    messages: int
    left_out: int
    """Unix stream sockets that carried something else."""
    notes: tuple[str, ...]
    """What its reader should know about the logs, as sentences."""


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
    talks = pair_up(sockets)
    chosen, order = choose(talks, sockets)
    left_out = len(talks) - len(chosen)
    served = [of_device(device) for device in devices.all.values()]
    chosen += silent(sockets, chosen, bool(talks or served))
    if not chosen and not served:
        raise SourceError(_nothing(paths, left_out, sum(log.unreadable for log in logs)))
    passed = passed_inodes(chosen)
    for talk in chosen:
        describe(talk, passed, logs)
    clocks = {log.clock for log in logs}
    calls = [move for _, of_device in served for move in of_device]
    moves = arrange(chosen, ended_processes(chosen, logs), calls, merge=len(clocks) == 1 and clocks <= {"epoch", "day"})
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


# -- writing -----------------------------------------------------------------------------------------------------------


def _write(talks: Sequence[TracedConnection], moves: Sequence[Happening], writer: CaptureWriter, order: str) -> None:
    """Write everything in order.

    Framers are given the place of a transfer instead of its time, since times may be equal: so frames can be put into
    the order in which their first bytes went.
    """
    framers = {
        (talk, end): Framer(order, late=talk.late and not begins_with_header(pieces[:1], order), channel=_channel(talk))
        for talk in talks
        for end, pieces in zip((talk.first, 1 - talk.first), talk.said, strict=True)
    }
    endings: dict[TracedConnection, int] = {}
    records: list[tuple[int, TracedConnection, Frame | EndedProcess | None]] = []
    for place, move in enumerate(moves):
        if isinstance(move.what, Ending):
            endings.setdefault(move.talk, place)
            continue
        if isinstance(move.what, EndedProcess):
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
    records += [
        (place, move.talk, move.what) for place, move in enumerate(moves) if isinstance(move.what, EndedProcess)
    ]
    records.sort(key=lambda record: record[0])
    for place, talk, frame in records:
        if isinstance(frame, EndedProcess):
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


def _open_in(writer: CaptureWriter, talk: TracedConnection) -> None:
    """Give a connection its place in the capture."""
    opened_ns = next((socket.opened_ns for socket in talk.sockets if socket and socket.opened), None)
    talk.id = writer.open(talk.path, talk.ends, opened_ns, talk.late, talk.family, talk.timed).id


def _tell_silent(talks: Sequence[TracedConnection], writer: CaptureWriter, now_ns: int) -> None:
    """Connections on which nothing was said to the end of the log."""
    for talk in talks:
        if not talk.frames and not talk.over:
            if not talk.id:
                _open_in(writer, talk)
            writer.close_connection(Closed(talk.id, now_ns, CAPTURE_ENDED, None, 0), silent=True)


def _channel(talk: TracedConnection) -> Channel | None:
    """What decides which sizes are believed: without a path any channel may be carried."""
    return None if is_named(talk.path) else family_named(FIRST).unknown


def _said_all(talk: TracedConnection, end: int, ending: object) -> bool:
    """Whether an end has sent nothing beyond what the log has of it when the connection ended: what it sent is in its
    own log, or its peer has read up to the end of the stream."""
    pieces = talk.said[end ^ talk.first]
    sending = bool(pieces) and pieces[-1].sending
    return isinstance(ending, Ending) and (sending or (ending.by_peer and ending.reason == "eof"))


def _speaker(move: Happening, piece: Piece) -> Process | None:
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
    talks: Sequence[TracedConnection],
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
