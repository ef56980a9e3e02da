"""The language of strace: lines of a log become calls with plain values.

Owns what strace prints (checked against 6.1; of versions before 4.14 as far as reports show it): prefixes of pids and
times, strings in C, octal or hexadecimal escapes, structures, descriptors with what ``-y`` and ``-yy`` say of them, and
calls that are interrupted by other threads (``<unfinished ...>``, ``resumed``). Knows no sockets. Nothing in a log
raises: what cannot be read is counted.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from typing import BinaryIO

from vusniff.values import dataclass, field

LINE_LIMIT = 16 << 20
"""Bytes of the longest line that is read; an iovec of 16 buffers of 64 KiB in hexadecimal takes 4 MiB."""
DEPTH_LIMIT = 24
"""Brackets within brackets; strace itself needs about 6."""
PENDING_LIMIT = 65536
"""Threads whose unfinished call is remembered."""
PID_LIMIT = 4 << 20
"""PID_MAX_LIMIT of Linux; a larger number at the head of a line is a time."""
DAY_NS = 86_400_000_000_000
LATEST_NS = (1 << 63) - 1
"""The latest time that is read: in the year 2262."""
MAX_MOVED = 0x7FFFF000
"""Bytes that one call moves at most (linux/fs.h, MAX_RW_COUNT)."""


@dataclass(frozen=True, slots=True)
class StringValue:
    """A string, as bytes."""

    data: bytes
    cut: bool = False
    """strace printed its beginning only (option -s)."""
    abstract: bool = False
    """Printed with an @ in front: the name of an abstract socket."""


Value = StringValue | str | list["Value"] | dict[str, "Value"]
"""A string, anything else as it is printed, an array, or a structure."""


@dataclass(frozen=True, slots=True)
class TracedCall:
    """One system call that returned."""

    name: str
    args: list[Value]
    result: int | None
    """None: it did not return, or was restarted."""
    error: str
    """Name of the error, or empty."""
    returned: str
    """The returned number with what strace says of it, such as ``5<UNIX-STREAM:[7->8]>``."""
    tid: int | None
    comm: str
    """Name of the thread (option -Y), or empty."""
    began: int
    """Line of its beginning, from 1."""
    ended: int
    """Line of its end."""
    began_ns: int | None
    """When it began, as the log's clock has it."""
    ended_ns: int | None
    """When it ended: exact with -T, else when strace printed the line that ends it."""


@dataclass(frozen=True, slots=True)
class ThreadEnd:
    """A thread has ended, as the last line about it says."""

    line: int
    time_ns: int | None
    status: int | None
    signal: int | None
    """A signal ends all threads of a process."""
    dumped_core: bool | None


@dataclass(frozen=True, slots=True)
class Fd:
    """A descriptor as strace prints it."""

    number: int
    target: str | None
    """What it is, by -y or -yy: ``/path``, ``socket:[7]``, ``UNIX-STREAM:[7->8,"/path"]``; None when not said."""
    device: tuple[str, int, int] | None = None
    """``char`` or ``block``, major and minor."""
    deleted: bool = False


@dataclass(slots=True)
class StraceLog:
    """One log, and what was noticed while reading it."""

    file: BinaryIO
    calls: frozenset[str]
    """Names of the calls that are wanted."""
    dull: re.Pattern[str] | None = None
    """Beginnings of lines that need not be looked at: most of a log may be the files that a program reads."""
    tid: int | None = None
    """Whose log it is, where the lines do not say (option -ff)."""
    clock: str = ""
    """``epoch`` (-ttt), ``day`` (-t, -tt), ``relative`` (-r), or empty while no line had a time."""
    unreadable: int = 0
    """Lines that are not strace's."""
    unfinished: dict[int | None, _CallHead] = field(default_factory=dict)
    ended: dict[int | None, ThreadEnd] = field(default_factory=dict)
    """Thread -> how it ended; the first `PENDING_LIMIT` of them."""
    from_start: bool = False
    """It begins with the program: its execve or its loader's reads are there."""
    _now_ns: int | None = None

    @property
    def last_ns(self) -> int | None:
        """The time of its last line that has one."""
        return self._now_ns

    def __iter__(self) -> Iterator[TracedCall]:
        """The wanted calls, in the order in which they ended."""
        number = 0
        while line := self.file.readline(LINE_LIMIT):
            number += 1
            if not line.endswith(b"\n") and len(line) >= LINE_LIMIT:
                self.unreadable += 1
                while line and not line.endswith(b"\n"):
                    line = self.file.readline(LINE_LIMIT)
                continue
            call = self._line(line.decode("latin-1").rstrip(), number)
            if call is not None:
                yield call

    def _line(self, line: str, number: int) -> TracedCall | None:
        prefix = _PREFIX.match(line)
        if prefix is None:
            return None
        pid, comm = prefix["pid"] or prefix["bracketed"], prefix["comm"] or ""
        tid = int(pid) if pid else self.tid
        now_ns = self._time(prefix)
        rest = line[prefix.end() :]
        if not rest or rest.startswith(_REMARKS):
            if rest.startswith("+++"):
                self.unfinished.pop(tid, None)
                self._end(tid, rest, number, now_ns)
            return None
        if rest.startswith("<... "):
            resumed = _RESUMED.match(rest)
            head = self.unfinished.pop(tid, None)
            if resumed is None or head is None or head.name != resumed[1]:
                return None
            return self._call(head, head.text + rest[resumed.end() :], tid, comm, number, now_ns)
        name = _NAME.match(rest)
        if name is None:
            self.unreadable += 1
            return None
        self.from_start = self.from_start or name[1] == "execve" or (name[1] == "read" and bool(_ELF.match(rest)))
        if name[1] not in self.calls or (self.dull is not None and self.dull.match(rest)):
            return None
        head = _CallHead(name[1], rest, number, now_ns)
        if rest.endswith(_UNFINISHED):
            if len(self.unfinished) < PENDING_LIMIT:
                self.unfinished[tid] = _CallHead(name[1], rest[: -len(_UNFINISHED)], number, now_ns)
            return None
        return self._call(head, rest, tid, comm, number, now_ns)

    def _call(
        self, head: _CallHead, text: str, tid: int | None, comm: str, number: int, now_ns: int | None
    ) -> TracedCall | None:
        try:
            args, end = _parse_list(text, len(head.name) + 1, ")", 0)
        except _NotStraceError:
            self.unreadable += 1
            return None
        result = _RESULT.match(text, end)
        if result is None or not isinstance(args, list):
            self.unreadable += 1
            return None
        digits = result["value"]
        value = None if digits == "?" else int(digits, 16 if digits.startswith("0x") else 10)
        if value is not None and value > MAX_MOVED:
            self.unreadable += 1  # none of the calls that are read returns so much
            return None
        ended_ns = now_ns
        took = _SECONDS.search(text, result.end())
        if head.began_ns is not None and took:
            ended_ns = min(head.began_ns + _ns(took[1], took[2]), LATEST_NS)
        return TracedCall(
            head.name,
            args,
            value,
            result["error"] or "",
            result["returned"],
            tid,
            comm,
            head.number,
            number,
            head.began_ns,
            ended_ns,
        )

    def _end(self, tid: int | None, text: str, number: int, now_ns: int | None) -> None:
        match = _END.match(text)
        if match is None or (tid not in self.ended and len(self.ended) >= PENDING_LIMIT):
            return
        status = None if match["status"] is None else int(match["status"])
        killed = match["signal"] is not None
        core = match["core"] is not None if killed else None
        self.ended[tid] = ThreadEnd(number, now_ns, status, _signal_number(match["signal"]) if killed else None, core)

    def _time(self, prefix: re.Match[str]) -> int | None:
        """What the log's clock says; a time of day runs on past midnight."""
        if prefix["hours"]:
            self.clock = "day"
            seconds = int(prefix["hours"]) * 3600 + int(prefix["minutes"]) * 60 + int(prefix["seconds"])
            now_ns = _ns(str(seconds), prefix["fraction"] or "")
            if self._now_ns is not None:
                now_ns += self._now_ns // DAY_NS * DAY_NS
                if self._now_ns - now_ns > DAY_NS // 2:
                    now_ns += DAY_NS
        elif prefix["units"]:
            now_ns = _ns(prefix["units"], prefix["decimals"] or "")
            if now_ns < PID_LIMIT * 1_000_000_000:
                self.clock = "relative"
                now_ns += self._now_ns or 0
            else:
                self.clock = "epoch"
        else:
            return None
        self._now_ns = min(now_ns, LATEST_NS)
        return self._now_ns


@dataclass(frozen=True, slots=True)
class _CallHead:
    """The beginning of a call."""

    name: str
    text: str
    number: int
    began_ns: int | None


class _NotStraceError(Exception):
    """Not strace's language; caught where a line is read."""


_REMARKS = ("+++ ", "--- ", "strace: ", "Process ")
_UNFINISHED = " <unfinished ...>"
_END = re.compile(
    r"\+\+\+ (?:exited with (?P<status>\d{1,3})|killed by (?P<signal>SIG[A-Z]{2,12}|SIGRT_\d{1,2})"
    r"(?P<core> \(core dumped\))?) \+\+\+$"
)
_FIRST_REAL_TIME = 32
"""What strace calls SIGRT_0."""
_PREFIX = re.compile(
    r"\s*"
    r"(?:\[pid\s+(?P<bracketed>\d{1,7})(?:<[^>]*>)?\]\s+|(?P<pid>\d{1,7})(?:<(?P<comm>[^>]*)>)?\s+)?"
    r"(?:(?:(?P<hours>\d\d):(?P<minutes>\d\d):(?P<seconds>\d\d)(?:\.(?P<fraction>\d{1,9}))?"
    r"|(?P<units>\d{1,11})(?:\.(?P<decimals>\d{1,9}))?)\s+(?:\(\+\s*[\d.]+\)\s+)?)?"
)
_RESUMED = re.compile(r"<\.\.\. (\w+) resumed>")
_NAME = re.compile(r"(\w+)\(")
_ELF = re.compile(r'read\(\d+(?:<[^"]*>)?, "\\(?:177ELF|x7f(?:ELF|\\x45\\x4c\\x46))')
_STRING = re.compile(r'(@)?"([^"\\]*(?:\\.[^"\\]*)*)"(\.\.\.)?')
_FIELD = re.compile(r"([A-Za-z_]\w*)(?:\(\d+\))?=(?!=)")
_TARGET = (
    # Of an address the end is found by its bracket, since it may hold "->"; 512 is more than the longest has.
    r"<(?P<target>[A-Z][A-Za-z0-9-]*:\[(?:\"(?:[^\"\\]|\\.)*\"|[^\"]){0,512}?\](?=>)|[^<>]*)"
    r"(?:<(?P<device>char|block) (?P<major>\d{1,10}):(?P<minor>\d{1,10})[^<>]*>)?>(?P<deleted>\(deleted\))?"
)
_FD = re.compile(rf"(?P<number>-?\d{{1,10}})(?:{_TARGET})?")
_RESULT = re.compile(
    rf"\s*=\s*(?P<returned>(?P<value>-?\d{{1,19}}|0x[0-9a-f]{{1,16}}|\?)(?:(?!<\d+\.\d+>){_TARGET})?)"
    r"(?:\s+(?P<error>E[A-Z0-9]+)\b)?"
)
_SECONDS = re.compile(r"<(\d{1,9})\.(\d{1,9})>$")
_PLAIN = re.compile(r"[^\s,\[\](){}\"<]+")
_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|[0-7]{1,3}|.)", re.DOTALL)
_ESCAPED = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"v": b"\v", b"f": b"\f", b"a": b"\a", b"b": b"\b", b"e": b"\x1b"}
_CLOSING = {"[": "]", "{": "}", "(": ")"}


def _signal_number(name: str) -> int | None:
    if name.startswith("SIGRT_"):
        return _FIRST_REAL_TIME + int(name.removeprefix("SIGRT_"))
    return signal.Signals[name].value if name in signal.Signals.__members__ else None


def unescape(text: str) -> bytes:
    """The bytes of a string as strace prints it, in any of its styles."""
    raw = text.encode("latin-1", "replace")
    return _ESCAPE.sub(_unescape, raw) if b"\\" in raw else raw


def _unescape(match: re.Match[bytes]) -> bytes:
    what = match[1]
    if what[:1] == b"x" and len(what) == 3:
        return bytes((int(what[1:], 16),))
    if what[:1].isdigit() and what[:1] < b"8":
        return bytes((int(what, 8) & 0xFF,))
    return _ESCAPED.get(what, what)


def parse_fd(value: Value) -> Fd | None:
    """A printed descriptor; None for anything else."""
    match = _FD.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    target = match["target"]
    if target is not None and "\\" in target:
        target = unescape(target).decode("utf-8", "replace")
    if target is not None and target.endswith(" (deleted)"):
        return Fd(int(match["number"]), target[: -len(" (deleted)")], None, True)
    device = (match["device"], int(match["major"]), int(match["minor"])) if match["device"] else None
    return Fd(int(match["number"]), target, device, bool(match["deleted"]))


def _ns(seconds: str, fraction: str) -> int:
    return int(seconds) * 1_000_000_000 + int(fraction.ljust(9, "0")[:9])


def _skip(text: str, at: int) -> int:
    """Past blanks and comments."""
    while at < len(text):
        if text[at] in " \t":
            at += 1
        elif text.startswith("/*", at):
            end = text.find("*/", at)
            if end < 0:
                raise _NotStraceError
            at = end + 2
        else:
            break
    return at


def _parse_list(text: str, at: int, closing: str, depth: int) -> tuple[Value, int]:
    """Elements up to ``closing``: a structure when they have names (in braces), else an array; and where it ends."""
    if depth > DEPTH_LIMIT:
        raise _NotStraceError
    elements: list[Value] = []
    fields: dict[str, Value] = {}
    while True:
        at = _skip(text, at)
        if at >= len(text):
            raise _NotStraceError
        if text[at] == closing:
            return (fields if closing == "}" else elements), at + 1
        if text[at] == ",":
            at += 1
            continue
        named = _FIELD.match(text, at)
        name = named[1] if named else str(len(fields))
        value, at = _parse_value(text, named.end() if named else at, depth)
        elements.append(value)
        fields[name] = value


def _parse_value(text: str, at: int, depth: int) -> tuple[Value, int]:
    """One value; of ``old => new`` the new one."""
    value: Value = ""
    start = at = _skip(text, at)
    words = end = 0
    while at < len(text):
        if words and text[at] in ",]})":
            # Several words, such as "0x1 /* A */|0x10", are taken as they are printed.
            return (value if words == 1 else text[start:end]), at
        if string := _STRING.match(text, at):
            value, end = StringValue(unescape(string[2]), bool(string[3]), bool(string[1])), string.end()
        elif text[at] in "[{":
            value, end = _parse_list(text, at + 1, _CLOSING[text[at]], depth + 1)
        else:
            value, end = _parse_word(text, at, depth)
        words += 1
        at = _skip(text, end)
        if text.startswith("=>", at):
            start = at = _skip(text, at + 2)
            words = 0
    raise _NotStraceError


def _parse_word(text: str, at: int, depth: int) -> tuple[str, int]:
    """A number, a name, a descriptor, or a macro with arguments, as it is printed."""
    start = at
    fd = _FD.match(text, at)
    if fd and fd["target"] is not None:
        return fd[0], fd.end()
    while at < len(text):
        plain = _PLAIN.match(text, at)
        if plain:
            at = plain.end()
        elif text[at] == "<":
            at += 1
        elif text[at] in "([{":
            _, at = _parse_list(text, at + 1, _CLOSING[text[at]], depth + 1)
        else:
            break
    if at == start:
        raise _NotStraceError
    return text[start:at], at
