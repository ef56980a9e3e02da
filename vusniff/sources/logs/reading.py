"""Logs as facts: which format a log has, and its lines fed to what knows it. Streaming; nothing in a log raises."""

from __future__ import annotations

import io
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from vusniff.errors import SourceError
from vusniff.printable import escape
from vusniff.sources.logs import dpdk, journal, libvhost_user, qemu_trace, rust_vmm
from vusniff.sources.logs.facts import Fact, Format
from vusniff.sources.logs.prefix import LINE_LIMIT, Line, parse
from vusniff.values import dataclass

STRACE = re.compile(rb"^(?:\[pid +\d+\] |\d+ +)?(?:[\d:.]+ )?(?:sendmsg|recvmsg|connect|execve|read)\(", re.M)
"""A line of strace's."""
LOOK = 1 << 20
"""Bytes of a log by which its format is told."""
STEP_NS = 1000
"""Between two lines of a log without times."""
REPORTED = 1 << 22
"""Bytes between two reports of progress."""


@dataclass(frozen=True, slots=True)
class LogFormat:
    """One format."""

    make: Callable[[], Format]
    mark: re.Pattern[bytes] | None
    """What its lines have; None: any line may be of it."""
    tell: re.Pattern[bytes]
    """By what it is told apart."""
    about: str


FORMATS: dict[str, LogFormat] = {
    "dpdk": LogFormat(dpdk.Dpdk, dpdk.MARK, re.compile(rb"VHOST_CONFIG|VHOST_LOG_CONFIG"), "DPDK's vhost library"),
    "qemu-trace": LogFormat(
        qemu_trace.QemuTrace,
        qemu_trace.MARK,
        re.compile(rb"vhost_user_(?:read|write) (?:[\d.]+ pid=\d+ )?req|vhost_user_set_mem_table_withfd"),
        "QEMU's tracing",
    ),
    "libvhost-user": LogFormat(
        libvhost_user.LibvhostUser,
        libvhost_user.MARK,
        re.compile(rb"=== Vhost user message ==="),
        "the debug dump of libvhost-user",
    ),
    "rust-vmm": LogFormat(
        rust_vmm.RustVmm,
        rust_vmm.MARK,
        re.compile(
            rb"\[(?:\d{4}-\d\d-\d\dT[\d:.]+Z? +)?[A-Z]+ +[\w:]*(?:vhost|virtiofsd)|vhost-user: request|virtiofsd\["
        ),
        "rust-vmm, virtiofsd and vhost-device",
    ),
}
"""Word of ``--format`` -> format. Open vSwitch, SPDK, syslog and journald are what these stand in."""


def log_of(path: str) -> str | None:
    """Whose log a file is, in words; None for one whose format is not known, or that cannot be read again."""
    try:
        return FORMATS[recognise(path, _beginning(path), None)].about
    except (OSError, SourceError):
        return None


def how_to_import(path: str) -> str | None:
    """What makes a capture of a file that is none: a sentence, where the file is a log that can be imported."""
    kind, about = "log", log_of(path)
    if about is None and STRACE.search(_beginning(path)):
        kind, about = "strace", "strace"
    if about is None:
        return None
    shown = escape(path)
    return f"{shown} is a log of {about}, not a capture: vusniff import {kind} {shown} -o OUT makes one of it"


def _beginning(path: str) -> bytes:
    """The first bytes of a file, by which its format is told; none of what came by a pipe, which is gone."""
    if not Path(path).is_file():  # to open a FIFO again could wait for ever
        return b""
    with open(path, "rb") as file:
        return file.read(LOOK)


@dataclass(slots=True)
class LogFile:
    """One log."""

    path: str
    name: str
    """Of the file, without its folders."""
    format: str
    reader: Format
    lines: int = 0
    bytes: int = 0
    has_clock: bool = False


def recognise(path: str, head: bytes, wanted: str | None) -> str:
    """The format of a log by its beginning. Raises SourceError for one that has none."""
    if wanted is not None:
        return wanted
    counts = {name: len(kind.tell.findall(head)) for name, kind in FORMATS.items()}
    best = max(counts, key=lambda name: counts[name])
    if counts[best]:
        return best
    shown = escape(path)
    if not head:
        raise SourceError(f"{shown} is empty")
    if b"\0" in head[:4096] and not journal.is_journal(head):
        raise SourceError(f"{shown} is not text: logs are text, or what journalctl -o export writes")
    if STRACE.search(head):
        raise SourceError(f"{shown} is a log of strace: vusniff import strace {shown} -o OUT")
    about = ", ".join(kind.about for kind in FORMATS.values())
    raise SourceError(f"nothing in the beginning of {shown} is known: logs of {about} are; --format says which it is")


def facts(
    path: str,
    wanted: str | None,
    shift_ns: int,
    progress: Callable[[int, int], None] | None = None,
    *,
    every_line: bool = False,
) -> Iterator[tuple[int, LogFile, Fact]]:
    """What a log tells: time in nanoseconds since the epoch, the log, and a fact.

    ``every_line``: lines that are not about vhost-user too.

    Raises SourceError for a log that cannot be read or has no format that is known.
    """
    with _open(path) as file:
        head = file.peek(LOOK)[:LOOK]
        name = "standard input" if path == "-" else Path(path).name
        kind = recognise(path, head, wanted)
        log = LogFile(path, name, kind, FORMATS[kind].make())
        size = 0 if path == "-" else Path(path).stat().st_size
        now = 0
        for line in _lines(file, log, head, None if every_line else FORMATS[kind].mark):
            log.has_clock = log.has_clock or line.time_ns is not None
            now = max(now, line.time_ns) if line.time_ns is not None else now + (0 if log.has_clock else STEP_NS)
            for fact in log.reader.feed(line):
                yield max(0, _time(fact, now, log) + shift_ns), log, fact
            if progress and log.bytes >= REPORTED:
                log.bytes = 0
                progress(file.tell() if file.seekable() else 0, size)
        for fact in log.reader.finish():
            yield max(0, _time(fact, now, log) + shift_ns), log, fact


def _time(fact: Fact, now: int, log: LogFile) -> int:
    """When it happened: by its own line, where that has a time."""
    return now if fact.line.time_ns is None else fact.line.time_ns


def _lines(file: io.BufferedReader, log: LogFile, head: bytes, mark: re.Pattern[bytes] | None) -> Iterator[Line]:
    year = time.gmtime().tm_year
    if journal.is_journal(head):
        for line in journal.lines(file, year):
            log.lines += 1
            yield line
        return
    search = mark.search if mark is not None else None
    number = 0
    while raw := file.readline(LINE_LIMIT):
        number += 1
        log.bytes += len(raw)
        if len(raw) >= LINE_LIMIT and not raw.endswith(b"\n"):
            while (rest := file.readline(LINE_LIMIT)) and not rest.endswith(b"\n"):
                pass
        if search is None or search(raw):
            log.lines += 1
            yield parse(number, raw.decode("utf-8", "replace"), year)


def _open(path: str) -> io.BufferedReader:
    try:
        raw = open(sys.stdin.fileno() if path == "-" else path, "rb", buffering=0, closefd=path != "-")  # noqa: SIM115
    except OSError as error:
        raise SourceError(f"cannot read {escape(path)}: {error.strerror or error}") from None
    return io.BufferedReader(raw, LOOK)
