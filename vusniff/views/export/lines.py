"""Exports of one line a message: text as ``vusniff read`` prints it, JSON, CSV."""

from __future__ import annotations

import csv
import io
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

from vusniff.message import Message
from vusniff.printable import escape
from vusniff.record import Evidence
from vusniff.views import evidence, jsonl, words
from vusniff.views.export.chosen import Chosen
from vusniff.views.text import message_line

COLUMNS = (
    *("number", "time", "time_ns", "session", "connection", "path", "channel", "sender", "request", "name"),
    *("flags", "reply", "need_reply", "size", "summary", "fds", "pid", "comm", "answers", "answered_by"),
    *("latency_ns", "malformed", "findings"),
)
_FORMULA = ("=", "+", "-", "@")


def text(chosen: Chosen) -> Iterator[str]:
    """Lines as ``vusniff read`` prints them."""
    first, narrator = chosen.first_ns, evidence.Narrator(chosen.timeline.tracker)
    for one in _in_order(chosen):
        yield message_line(one, first) + "\n" if isinstance(one, Message) else narrator.line(one)


def json_lines(chosen: Chosen) -> Iterator[str]:
    """One JSON object a message, with its bytes, or a piece of other evidence; see docs/jsonl.md."""
    for one in _in_order(chosen):
        if isinstance(one, Message):
            yield jsonl.encode(jsonl.message_dict(one, hexadecimal=True)).decode("utf-8", "backslashreplace") + "\n"
        else:
            yield evidence.json_line(one, chosen.timeline.tracker)


def _in_order(chosen: Chosen) -> Iterator[Message | Evidence]:
    """Messages and other evidence."""
    waiting = deque(chosen.evidence())
    for message in chosen.messages():
        while waiting and waiting[0][0] <= message.number:
            yield waiting.popleft()[1]
        yield message
    for _, one in waiting:
        yield one


def comma_separated(chosen: Chosen) -> Iterator[str]:
    """RFC 4180 with a header line. A text that a spreadsheet would take for a formula gets an apostrophe in front."""
    line = io.StringIO()
    writer = csv.writer(line)
    writer.writerow(COLUMNS)
    for message in chosen.messages():
        writer.writerow([_cell(value) for value in row(chosen, message)])
        if line.tell() > 1 << 13:
            yield line.getvalue()
            line.seek(0)
            line.truncate()
    yield line.getvalue()


def utc(time_ns: int) -> str:
    """ISO 8601 with nanoseconds."""
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(time_ns // 10**9))}.{time_ns % 10**9:09d}Z"


def row(chosen: Chosen, message: Message) -> tuple[Any, ...]:
    """The values of `COLUMNS`."""
    process = message.process
    return (
        message.number,
        utc(message.time_ns),
        message.time_ns,
        message.session,
        message.connection,
        chosen.timeline.connection(message.connection).path,
        message.channel,
        message.sender.value if message.sender else None,
        message.request,
        message.name,
        message.flags,
        int(message.reply),
        int(message.need_reply),
        message.size,
        words.summary(message),
        "; ".join(map(words.descriptor, message.descriptors)),
        process.pid if process else None,
        process.comm if process else None,
        message.answers,
        message.answered_by,
        message.latency_ns,
        message.malformed,
        "; ".join(f"{found.severity} {found.rule}" for found in chosen.findings(message.number)),
    )


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    value = escape(value)
    return f"'{value}" if value.startswith(_FORMULA) else value
