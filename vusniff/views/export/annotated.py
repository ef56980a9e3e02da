"""The capture again, with what vusniff knows of each message as comments of its packet: what Wireshark can show.

A comment has one line for each descriptor (``vusniff fd kind=eventfd identity=eventfd:7 number=33``) and one for each
finding (``vusniff error vring-kick-before-num (frontend): ...``); our dissector reads both back into fields. Messages
that were not chosen are left out, so that numbers are those of the new file.
"""

from __future__ import annotations

from collections.abc import Iterator

from vusniff.capture.facts import Section
from vusniff.capture.writer import CaptureWriter
from vusniff.errors import VusniffError
from vusniff.record import Closed, Connection, Descriptor, Frame, Lost
from vusniff.views.export.chosen import Chosen
from vusniff.views.words import clean

_COMMENT = 32_000


def annotate(chosen: Chosen, target: str) -> None:
    """Write the copy. Raises VusniffError for captures of hosts of both byte orders, which one file cannot hold."""
    index = chosen.timeline.index
    orders = {index.order(connection.id) for connection in index.connections}
    if len(orders) > 1:
        raise VusniffError("captures of hosts of different byte orders do not go into one file: export them one by one")
    sections = [section for section in index.reader.sections if section.ours]
    first = sections[0] if sections else Section()
    with CaptureWriter(
        target,
        source=first.source,
        order=orders.pop() if orders else first.order,
        host=first.host,
    ) as writer:
        for written, (record, comment) in enumerate(_records(chosen)):
            match record:
                case Connection():
                    writer.open(record.path, record.ends, record.opened_ns, record.joined_late)
                case Closed():
                    writer.close_connection(record)
                case Lost():
                    writer.lost(record)
                case Frame():
                    writer.frame(record, comment)
            if written % 1024 == 0:
                writer.flush()
        writer.flush()
        if writer.failure:
            raise VusniffError(f"cannot write {target}: {writer.failure}")


def _records(chosen: Chosen) -> Iterator[tuple[Connection | Closed | Lost | Frame, bytes]]:
    """Events and chosen frames in their order."""
    index = chosen.timeline.index
    events, at = index.events, 0
    for row in chosen.rows:
        while at < len(events) and events[at][0] <= row:
            yield events[at][1], b""
            at += 1
        frame = index.frame(row)
        yield frame, comment_of(chosen, row, frame)
    for _, event in events[at:]:
        yield event, b""


def comment_of(chosen: Chosen, row: int, frame: Frame) -> bytes:
    """What there is to say of a message, one line each; nothing for most."""
    lines = [f"vusniff fd {_described(descriptor)}" for descriptor in frame.descriptors]
    lines += [
        f"vusniff {finding.severity} {finding.rule} ({finding.side}): {clean(finding.sentence)}"
        for finding in chosen.findings(row + 1)
    ]
    return "\n".join(lines).encode("utf-8", "replace")[:_COMMENT]


def _described(descriptor: Descriptor) -> str:
    parts = [f"kind={descriptor.kind}"]
    if descriptor.identity is not None:
        parts.append(f"identity={clean(descriptor.identity).replace(' ', '_')}")
    if descriptor.number is not None:
        parts.append(f"number={descriptor.number}")
    if descriptor.size is not None:
        parts.append(f"size={descriptor.size}")
    if descriptor.name is not None:
        parts.append(f"name={clean(descriptor.name)}")
    return " ".join(parts)
