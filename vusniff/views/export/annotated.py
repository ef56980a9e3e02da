"""The capture again, with what the rules found as comments of its packets: what Wireshark can show.

There is a comment for each finding (``vusniff error vring-kick-before-num (frontend): ...``), and one for each ring
that was sampled before the next message of its session (``vusniff ring index=0 ... state=moving``); our dissector reads
them back into fields. Where call stacks were recorded there is one more, with who called whom. Messages that were not
chosen are left out, so that numbers are those of the new file.

What is still being recorded is judged as it comes. A finding that is not known yet when its message is written comes
with the next message, and says where it stands (``#12: ...``); what only the end of the capture shows is not written.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from vusniff.analysis.rings import RingSpan
from vusniff.analysis.timeline import Timeline
from vusniff.capture.facts import Section
from vusniff.capture.index import Index
from vusniff.capture.reader import CaptureReader
from vusniff.capture.writer import CaptureWriter
from vusniff.checks.finding import Finding
from vusniff.checks.registry import rules
from vusniff.errors import VusniffError
from vusniff.filter.sieve import Around
from vusniff.printable import escape
from vusniff.record import (
    Closed,
    Connection,
    Evidence,
    Exit,
    Fault,
    Frame,
    LogLine,
    Lost,
    OtherEvidence,
    Record,
    RingDump,
    Sample,
)
from vusniff.views import stacks
from vusniff.views.export.chosen import Chosen
from vusniff.views.findings import Judged

_POSITION = (
    *("size", "available", "used", "in_flight", "tracked", "unread_kicks", "kicks", "calls"),
    *("no_interrupt", "no_notify"),
)
"""What a position has under the same name as the fields of filters."""
_COMMENT_ROOM = 32_000
"""Bytes of the comments of a packet."""
_ROWS = 4096
_FLUSHED = 64
"""Records between two writes."""


def annotate(chosen: Chosen, target: str, replaces: bytes | None = None) -> None:
    """Write the copy; ``replaces`` as in `vusniff.files.open_output`.

    Raises VusniffError for captures of hosts of both byte orders, which one file cannot hold.
    """
    with _writer_of(chosen.timeline.index, target, replaces) as writer:
        for written, (record, said) in enumerate(_records(chosen)):
            copy_record(writer, record, said)
            if written % _FLUSHED == 0:
                writer.flush()
    _check(writer)


def pieces(chosen: Chosen) -> Iterator[bytes]:
    """The copy in pieces, as `annotate` writes it. Raises VusniffError as that does."""
    held = io.BytesIO()
    with _writer_of(chosen.timeline.index, held, None) as writer:
        for written, (record, said) in enumerate(_records(chosen)):
            copy_record(writer, record, said)
            chosen.progress.seen, chosen.progress.of = written, len(chosen.rows)
            if written % _FLUSHED == 0:
                writer.flush()
                yield held.getvalue()
                held.seek(0)
                held.truncate()
    yield held.getvalue()


def annotate_live(
    source: str,
    target: str | BinaryIO,
    device: str | None = None,
    stop: Callable[[], bool] = lambda: False,
    replaces: bytes | None = None,
) -> list[str]:
    """Copy a capture that comes through a pipe, each message as soon as it is there; return what the reader notes.

    It ends when the source does, or when ``stop`` says so. Raises VusniffError for a source that is no capture, and for
    a target that takes no more.
    """
    judged = Judged(rules(), device)
    writer: CaptureWriter | None = None
    with CaptureReader(source) as reader:
        try:
            for comments, records in _pieces(reader, judged, stop):
                if writer is None:
                    writer = _writer(reader.sections[0], target, replaces)
                for record in records:
                    frame = record if isinstance(record, Frame) else None
                    said = _fitting(_said(comments.pop(writer.number + 1, ()), frame)) if frame else []
                    copy_record(writer, record, said)
                writer.flush()
                _check(writer)
            reader.refuse()
        finally:
            if writer is not None:
                writer.close()
        if writer is not None:
            _check(writer)
        return reader.notes


def _pieces(
    reader: CaptureReader, judged: Judged, stop: Callable[[], bool]
) -> Iterator[tuple[dict[int, list[str]], Iterable[Record]]]:
    """What has come: what to say of which message, and the records. The section header is a piece of its own."""
    comments: dict[int, list[str]] = defaultdict(list)
    findings, told, begun = judged.checker.findings, 0, False
    while not stop():
        first = len(judged.times) + 1
        batch = reader.read(_ROWS)
        if not begun and reader.sections:
            begun = True
            yield comments, ()
        if len(batch) or batch.events:
            judged.take(batch, reader.order)
            for finding in findings[told:]:
                shown = max(first, finding.number)
                comments[shown].append(_line(finding, shown))
            told = len(findings)
            yield comments, batch.records()
        elif reader.at_end or reader.ended:
            return


def _writer_of(index: Index, target: str | BinaryIO, replaces: bytes | None) -> CaptureWriter:
    """Of a copy of captures."""
    orders = {index.order(connection.id) for connection in index.connections}
    if len(orders) > 1:
        raise VusniffError("captures of hosts of different byte orders do not go into one file: export them one by one")
    section = next((section for section in index.reader.sections if section.ours), Section())
    return _writer(section, target, replaces, *orders)


def _writer(
    section: Section, target: str | Path | BinaryIO, replaces: bytes | None, order: str | None = None
) -> CaptureWriter:
    return CaptureWriter(
        target,
        source=section.source,
        replaces=replaces,
        order=order or section.order,
        host=section.host,
        edited=section.edited,
        keeps_ended=True,
    )


def copy_record(writer: CaptureWriter, record: Record, comments: Sequence[bytes] = ()) -> None:
    """Writes what was read, all of it in its order; ``comments`` are for a frame."""
    match record:
        case Connection():
            one = record
            writer.open(one.path, one.ends, one.opened_ns, one.joined_late, one.family, one.timed)
        case Closed():
            writer.close_connection(record, silent=not record.received)
        case Lost():
            writer.lost(record)
        case Exit() | Sample() | RingDump() | LogLine() | Fault() | OtherEvidence():
            writer.evidence(record)
        case Frame():
            writer.frame(record, comments)


def copy(timeline: Timeline, target: str, more: Iterable[Evidence]) -> None:
    """A copy of captures, with more evidence at its end.

    Raises VusniffError for captures of both byte orders, and for a target that takes no more.
    """
    index = timeline.index
    with _writer_of(index, target, None) as writer:
        events, at = list(index.events), 0
        for row, frame in enumerate(index.frames()):
            while at < len(events) and events[at][0] <= row:
                copy_record(writer, events[at][1])
                at += 1
            copy_record(writer, frame)
            if row % 64 == 0:
                writer.flush()
        for record in (*(event for _, event in events[at:]), *more):
            copy_record(writer, record)
        writer.flush()
        _check(writer)


def _check(writer: CaptureWriter) -> None:
    if writer.failure:
        raise VusniffError(writer.failure.partition(";")[0])


def _records(chosen: Chosen) -> Iterator[tuple[Record, list[bytes]]]:
    """Events and chosen frames in their order."""
    index = chosen.timeline.index
    events, at, around = list(index.events), 0, Around(chosen.timeline)
    for row in chosen.rows:
        while at < len(events) and events[at][0] <= row:
            yield events[at][1], []
            at += 1
        frame = index.frame(row)
        lines = [
            *(_line(finding, row + 1) for finding in chosen.findings(row + 1)),
            *map(_ring_line, around.rings(row + 1)),
        ]
        yield frame, _fitting(_said(lines, frame))
    for _, event in events[at:]:
        yield event, []


def _said(findings: Iterable[str], frame: Frame) -> Iterator[str]:
    """The comments of a packet: what was found, and who called whom."""
    yield from findings
    if frame.stack is not None:
        yield f"vusniff called by {stacks.callers(frame.stack, len(frame.stack.entries))}"


def _fitting(lines: Iterable[str]) -> list[bytes]:
    comments: list[bytes] = []
    room = _COMMENT_ROOM
    for line in lines:
        comment = line.encode("utf-8", "replace")[:room]
        room -= len(comment)
        if not room:
            break
        comments.append(comment)
    return comments


def _line(finding: Finding, number: int) -> str:
    """A finding that is written at message ``number``."""
    where = f"#{finding.number}: " if finding.number != number else ""
    return f"vusniff {finding.severity} {finding.rule} ({finding.side}): {where}{escape(finding.sentence)}"


def _ring_line(span: RingSpan) -> str:
    """A ring that was sampled behind a message: fields of filters without ``ring.``, the state last."""
    position = span.last.position
    facts = {
        "index": position.ring,
        **{name: getattr(position, name) for name in _POSITION},
        "waited": span.waited_ns or None,
        "stalled": span.stalled or None,
    }
    said = " ".join(f"{name}={int(value)}" for name, value in facts.items() if value is not None and value is not False)
    return f"vusniff ring {said} state={span.last.doing}"
