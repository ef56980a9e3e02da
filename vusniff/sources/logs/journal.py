"""The export format of journald (``journalctl -o export``): entries of fields, as lines of a log.

systemd, Journal Export Formats: ``NAME=value`` lines, a blank line behind each entry; a value that is not text stands
as ``NAME``, its size as u64 in little-endian order, the bytes and a newline.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from vusniff.sources.logs.prefix import LEVELS, Line, parse

LINE_LIMIT = 1 << 20
"""Bytes of a field that are read."""
PRIORITIES = ("error", "error", "error", "error", "warning", "info", "info", "debug")
"""Priority 0 to 7 of syslog -> level."""
WANTED = frozenset({b"MESSAGE", b"__REALTIME_TIMESTAMP", b"SYSLOG_IDENTIFIER", b"_COMM", b"_PID", b"PRIORITY"})


def is_journal(head: bytes) -> bool:
    """Whether the beginning of a file is of this format."""
    return head.startswith((b"__CURSOR=", b"__REALTIME_TIMESTAMP=", b"__SEQNUM=")) and b"\n" in head


def lines(file: BinaryIO, year: int) -> Iterator[Line]:
    """The messages, each as one line numbered by the line of the file that it begins at. Never raises for content."""
    fields: dict[bytes, bytes] = {}
    number = began = 0
    while line := file.readline(LINE_LIMIT):
        number += 1
        if line == b"\n":
            if fields:
                yield _entry(began, fields, year)
            fields = {}
            continue
        if not fields:
            began = number
        name, equals, value = line.rstrip(b"\n").partition(b"=")
        if not equals and name in WANTED | {b"COREDUMP", b"_CMDLINE"}:
            size = int.from_bytes(file.read(8), "little")
            if size > LINE_LIMIT:  # damaged: the next blank line goes on
                continue
            value = file.read(size)
            file.read(1)
            number += value.count(b"\n")
        if name in WANTED:
            fields[name] = value
        elif not fields:
            fields[b""] = b""
    if fields:
        yield _entry(began, fields, year)


def _entry(number: int, fields: dict[bytes, bytes], year: int) -> Line:
    def word(name: bytes) -> str:
        return fields.get(name, b"").decode("utf-8", "replace")

    inner = parse(number, word(b"MESSAGE"), year)
    micros, pid, priority = word(b"__REALTIME_TIMESTAMP"), word(b"_PID"), word(b"PRIORITY")
    known = micros.isascii() and micros.isdecimal() and len(micros) <= 18
    level = PRIORITIES[int(priority)] if priority in "01234567" and len(priority) == 1 else LEVELS.get(priority, "")
    return Line(
        number,
        int(micros) * 1000 if known else inner.time_ns,
        inner.text,
        inner.level or level,
        inner.program or word(b"SYSLOG_IDENTIFIER") or word(b"_COMM"),
        int(pid) if pid.isascii() and pid.isdecimal() and len(pid) < 10 else inner.pid,
    )
