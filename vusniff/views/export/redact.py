"""A capture that may be shown to strangers: the same messages, of the same sizes, without what belongs to the guest.

What is removed and what stays, and why, is in SECURITY.md. In short: bytes become zeros wherever a payload holds bytes
and not numbers (config space, pixels, keys, padding, MAC addresses, whatever no layout knows); paths, names of files,
processes and hosts become names that only tell them apart; numbers, times, sizes and identities stay, because they are
what a fault is found by.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from construct import Adapter, Array, Bytes, Computed, Container, IfThenElse, Renamed, Struct

from vusniff.analysis.session import Place
from vusniff.analysis.timeline import Timeline, read_all
from vusniff.capture.facts import Host, Section
from vusniff.capture.index import Index
from vusniff.capture.writer import CaptureWriter
from vusniff.channel import Sender
from vusniff.checks.peers import Program, recognise
from vusniff.errors import VusniffError
from vusniff.families.vhost_user.protocol import FLAG_REPLY, HEADER_SIZE, HEADERS
from vusniff.layouts import dissect
from vusniff.record import Closed, Connection, Descriptor, DescriptorKind, End, Frame, FrameKind, Lost, Process

_REASONS = frozenset({"eof", "reset", "killed", "capture ended"})
_UUID_SIZE = 16
_SAMPLE = bytes(range(_UUID_SIZE))
_PAIR = re.compile(r"pair:\d+(-\d+)?")


class _DoneError(Exception):
    """The payload ends."""


def redact(files: Sequence[str], target: str, device: str | None = None) -> None:
    """Write a redacted copy of captures. Raises VusniffError for captures of both byte orders."""
    timeline = Timeline(Index(files), device)
    read_all(timeline)
    index = timeline.index
    orders = {index.order(connection.id) for connection in index.connections}
    if len(orders) > 1:
        raise VusniffError("captures of hosts of different byte orders do not go into one file: redact them one by one")
    sections = [section for section in index.reader.sections if section.ours] or [Section()]
    names = _Names()
    host = Host("redacted", "", "Linux", sections[0].host.hardware)
    order = orders.pop() if orders else sections[0].order
    with CaptureWriter(target, source=sections[0].source, order=order, host=host) as writer:
        for written, record in enumerate(_records(timeline, names)):
            match record:
                case Connection():
                    ends = (names.end(record.ends[0]), names.end(record.ends[1]))
                    writer.open(names.path(record.path), ends, record.opened_ns, record.joined_late)
                case Closed():
                    reason = record.reason if record.reason in _REASONS else "other"
                    writer.close_connection(replace(record, reason=reason))
                case Lost():
                    writer.lost(record)
                case Frame():
                    writer.frame(record)
            if written % 1024 == 0:
                writer.flush()
        writer.flush()
        if writer.failure:
            raise VusniffError(writer.failure)


def _records(timeline: Timeline, names: _Names) -> Iterator[Connection | Closed | Lost | Frame]:
    index = timeline.index
    events, at = index.events, 0
    for row, frame in enumerate(index.frames()):
        while at < len(events) and events[at][0] <= row:
            yield events[at][1]
            at += 1
        data = redacted(frame, timeline.place(row))
        fds = tuple(map(names.descriptor, frame.descriptors))
        yield replace(frame, data=data, descriptors=fds, process=names.process(frame.process))
    for _, event in events[at:]:
        yield event


# -- bytes ------------------------------------------------------------------------------------------------------------


def redacted(frame: Frame, place: Place) -> bytes:
    """The bytes of a frame with zeros for whatever is not a number that is known to be harmless."""
    data = frame.data
    if frame.kind is not FrameKind.MESSAGE or len(data) < HEADER_SIZE:
        return bytes(len(data))
    order = place.context.order
    request, flags, _ = HEADERS[order].unpack_from(data)
    payload = data[HEADER_SIZE:]
    reply = bool(flags & FLAG_REPLY)
    layout = dissect.layout_of(place.channel, request, reply, len(payload) + frame.missing, place.context)
    kept = bytearray(len(payload))
    if layout is not None:
        walk = _Walk(payload, kept)
        # The payload ends, or a vendor's declaration fails: what follows stays zero.
        with contextlib.suppress(Exception):
            walk.struct(layout.construct(order), Container())
    return data[:HEADER_SIZE] + bytes(kept)


class _Walk:
    """Follows a declaration through a payload and copies the numbers."""

    def __init__(self, data: bytes, kept: bytearray) -> None:
        self._data = data
        self._kept = kept
        self._at = 0

    def struct(self, declaration: Any, values: Container) -> None:
        for part in declaration.subcons:
            self._part(part, values)

    def _part(self, part: Any, values: Container) -> None:
        name = part.name
        while isinstance(part, Renamed):
            part = part.subcon
        if isinstance(part, Computed):
            return
        if isinstance(part, IfThenElse):
            if part.condfunc(values):
                self._part(part.thensubcon, values)
        elif isinstance(part, Struct):
            self.struct(part, Container())
        elif isinstance(part, Array):
            count = part.count(values) if callable(part.count) else part.count
            for _ in range(min(count, len(self._data))):
                self._part(part.subcon, Container())
        elif isinstance(part, Bytes):
            self._skip(part.length(values) if callable(part.length) else part.length)
        elif isinstance(part, Adapter):
            size = part.sizeof()
            if _is_uuid(part, size):
                self._keep(size)
            else:
                self._skip(size)
        elif name is not None and "padding" in name:
            self._skip(part.sizeof())
        else:
            values[name] = part.parse(self._keep(part.sizeof()))

    def _keep(self, size: int) -> bytes:
        part = self._data[self._at : self._at + size]
        if len(part) < size:
            raise _DoneError
        self._kept[self._at : self._at + size] = part
        self._at += size
        return part

    def _skip(self, size: int) -> None:
        self._at += size
        if self._at > len(self._data):
            raise _DoneError


def _is_uuid(part: Any, size: int) -> bool:
    """UUIDs of shared objects stay: they are random, and tell which request means which object."""
    return size == _UUID_SIZE and part._decode(_SAMPLE, None, None) == "00010203-0405-0607-0809-0a0b0c0d0e0f"


# -- names ------------------------------------------------------------------------------------------------------------


class _Names:
    """Names that only tell things apart: the same for the same."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], str] = {}
        self._counts: dict[str, int] = {}

    def _of(self, kind: str, name: str) -> str:
        known = self._known.get((kind, name))
        if known is None:
            number = self._counts[kind] = self._counts.get(kind, 0) + 1
            known = self._known[kind, name] = f"{kind}{number}"
        return known

    def path(self, path: str) -> str:
        """A socket's path; names made of inodes stay."""
        if _PAIR.fullmatch(path):
            return path
        return ("@" if path.startswith("@") else "/redacted/") + self._of("socket", path)

    def end(self, end: End) -> End:
        """An end of a connection."""
        return End(end.inode, self.process(end.process), tuple(map(self.descriptor, end.held)))

    def process(self, process: Process | None) -> Process | None:
        """A process: the programs everybody knows keep their names, because findings depend on them."""
        if process is None:
            return None
        known = any(recognise(side, process.comm).program is not Program.UNKNOWN for side in Sender)
        return Process(process.pid, process.comm if known else self._of("process", process.comm), process.tid)

    def descriptor(self, descriptor: Descriptor) -> Descriptor:
        """A descriptor."""
        if descriptor.name is None:
            return descriptor
        kind = "memory" if descriptor.kind is DescriptorKind.MEMFD else "file"
        return replace(descriptor, name=self._of(kind, descriptor.name))
