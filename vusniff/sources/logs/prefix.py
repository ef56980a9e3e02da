"""What loggers put in front of a line: times, levels, hosts, programs. Any number of them, one inside the other.

Knows Open vSwitch (``2018-09-07T05:20:01.091Z|00071|dpdk|INFO|``), syslog and journald (``Oct 24 01:56:22 host
prog[1517]: `` and with ISO times), env_logger (``[2026-01-01T00:00:00Z DEBUG target] ``), SPDK (``[2021-03-25
23:38:59.800724] file.c: 535:func: *NOTICE*: ``), libvirt (``2020-07-28 19:20:07.197+0000: ``), QEMU's
``-msg timestamp`` and tracing (``4711@1790000000.100001:``), env_logger without times (``[DEBUG target] ``), passt
(``0.0126: ``), Kubernetes (``2024-05-01T10:00:00.1Z stderr F ``); and the lines that a line is wrapped in by Docker
(``{"log":"...","time":"..."}``) and logrus, as of Kata Containers (``time="..." level=info msg="..." name=virtiofsd``).
"""

from __future__ import annotations

import re
from calendar import timegm
from functools import lru_cache
from typing import NamedTuple

LINE_LIMIT = 2 << 10
"""Characters of a line that are looked at: so no number has more digits than Python reads and writes, and no regular
expression is slow."""
LAYERS = 4
"""Prefixes within one another that are taken off."""
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
LEVELS = {
    **dict.fromkeys(("EMER", "ERR", "ERROR", "CRITICAL", "ALERT", "EMERG", "FATAL"), "error"),
    **dict.fromkeys(("WARN", "WARNING"), "warning"),
    **dict.fromkeys(("INFO", "NOTICE"), "info"),
    **dict.fromkeys(("DBG", "DEBUG", "TRACE"), "debug"),
}
_DAY = r"(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)[T ](?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
_TIME = _DAY + r"(?:[.,](?P<part>\d{1,9}))?(?P<zone>Z|[+-]\d\d:?\d\d)?"
_SWITCH = re.compile(rf"\s*{_TIME}\|\d+\|[^|]{{1,64}}\|(?P<level>[A-Z]{{3,6}})\|")
"""That of Open vSwitch, whose logs are the longest: it is looked for first."""
_PREFIX = re.compile(
    r"\s*(?:"
    rf"\[{_TIME.replace('?P<', '?P<a_')} ?(?P<level1>[A-Z]+)? *(?P<target>[\w:-]+)?\] ?"
    rf"|{_TIME.replace('?P<', '?P<b_')}:? (?:[\w.-]{{1,64}} )?(?P<program1>[\w./@-]{{1,64}})(?:\[(?P<pid1>\d+)\])?: "
    rf"|{_TIME.replace('?P<', '?P<c_')}:? (?:std(?:out|err) [FP] )?"
    r"|(?P<mon>[A-Z][a-z]{2}) {1,2}(?P<d_day>\d{1,2}) (?P<d_hour>\d\d):(?P<d_minute>\d\d):(?P<d_second>\d\d)"
    r"(?:\.(?P<d_part>\d{1,9}))? [\w.-]{1,64} (?P<program2>[\w./@-]{1,64}?)(?:\[(?P<pid2>\d+)\])?: "
    r"|(?P<pid3>\d{1,7})@(?P<epoch>\d{9,11})\.(?P<e_part>\d{1,9}):"
    r"|[\w.-]{1,64}: *\d+:\w{1,64}: \*(?P<level2>[A-Z]+)\*: "
    r"|\[(?P<level3>ERROR|WARN|INFO|DEBUG|TRACE) +(?P<target3>[\w:-]{1,64})\] "
    r"|\d{1,7}\.\d{4}: "
    r"|(?P<program3>qemu[\w-]{0,40}|virtiofsd|dpdk-\w{1,20}|ovs-vswitchd|spdk\w{0,20}): "
    r")"
)
"""Any other."""
_PARTS = ("year", "month", "day", "hour", "minute", "second", "part", "zone")


class Line(NamedTuple):
    """A line of a log without its prefixes. Unknown is None or empty."""

    number: int
    """From 1."""
    time_ns: int | None
    """Nanoseconds since the epoch; UTC where the log names no zone."""
    text: str
    level: str = ""
    """``error``, ``warning``, ``info`` or ``debug``."""
    program: str = ""
    pid: int | None = None


def parse(number: int, text: str, year: int) -> Line:
    """One line; ``year`` is that of times that have none. Never raises."""
    text = text[:LINE_LIMIT]
    time_ns: int | None = None
    level = program = ""
    pid: int | None = None
    at = 0
    if text.startswith(('{"log"', "time=")):
        text, time_ns, level, program = _unwrapped(text)
    for _ in range(LAYERS):
        found = _SWITCH.match(text, at)
        if found is not None:
            at = found.end()
            *parts, said = found.groups()
            when = _time_of_day(*parts)
            time_ns = time_ns if when is None else when
            level = LEVELS.get(said or "", level)
            continue
        found = _PREFIX.match(text, at)
        if found is None or found.end() == at:
            break
        at = found.end()
        values = found.groupdict()
        when = _time_of(values, year)
        time_ns = time_ns if when is None else when
        said = values["level1"] or values["level2"] or values["level3"]
        level = LEVELS.get(said, level) if said else level
        named = values["program1"] or values["program2"] or values["program3"] or values["target"]
        named = named or values["target3"]
        program = named or program
        number_of = values["pid1"] or values["pid2"] or values["pid3"]
        pid = int(number_of) if number_of else pid
    return Line(number, time_ns, text[at:].strip(), level, program, pid)


_DOCKER = re.compile(r'\{"log": ?"(?P<text>(?:[^"\\]|\\.)*)"')
_DOCKER_TIME = re.compile(rf'"time": ?"{_TIME}"')
_LOGRUS = re.compile(
    rf'time="?{_TIME}"?(?: level="?(?P<level>\w+)"?)? msg="(?P<text>(?:[^"\\]|\\.)*)"'
    r"(?:.* name=(?P<name>[\w./-]{1,64}))?"
)
_ESCAPED = re.compile(r"\\(u[0-9a-fA-F]{4}|.)")
_SHORT = {"n": "\n", "t": "\t", "r": "\r"}


def _unwrapped(text: str) -> tuple[str, int | None, str, str]:
    """What stands in a line of Docker's or of logrus, when it was written, its level, and of which program it is; the
    line as it is where it is none."""
    found = _DOCKER.match(text)
    when = _DOCKER_TIME.search(text, found.end()) if found else None
    found = found or _LOGRUS.match(text)
    if found is None:
        return text, None, "", ""
    when = when or (found if found.re is _LOGRUS else None)
    time_ns = _time_of_day(*(when[name] for name in _PARTS)) if when else None
    values = found.groupdict()
    level = LEVELS.get((values.get("level") or "").upper(), "")
    return _ESCAPED.sub(_plain, found["text"]), time_ns, level, values.get("name") or ""


def _plain(escaped: re.Match[str]) -> str:
    """A character that stands escaped in JSON or in a string of Go's."""
    what = escaped[1]
    if len(what) == 1:
        return _SHORT.get(what, what)
    number = int(what[1:], 16)
    return "\ufffd" if 0xD800 <= number < 0xE000 else chr(number)  # half of a pair is no character


def _time_of(values: dict[str, str | None], year: int) -> int | None:
    if values["epoch"]:
        return int(values["epoch"]) * 1_000_000_000 + _fraction(values["e_part"])
    for mark in ("a_", "b_", "c_"):
        if values[f"{mark}year"]:
            return _time_of_day(*(values[f"{mark}{name}"] for name in _PARTS))
    if values["mon"] in MONTHS:
        month = MONTHS.index(str(values["mon"])) + 1
        names = ("d_day", "d_hour", "d_minute", "d_second")
        seconds = _seconds(year, month, *(int(values[name] or 0) for name in names))
        return None if seconds is None else seconds * 1_000_000_000 + _fraction(values["d_part"])
    return None


def _time_of_day(*parts: str | None) -> int | None:
    """By what `_PARTS` says."""
    seconds = _seconds(*(int(one or 0) for one in parts[:6]))
    if seconds is None:
        return None
    return (seconds - _zone(parts[7])) * 1_000_000_000 + _fraction(parts[6])


@lru_cache(maxsize=64)
def _midnight(year: int, month: int, day: int) -> int | None:
    if not (1970 <= year < 2500 and 1 <= month <= 12 and 1 <= day <= 31):
        return None
    return timegm((year, month, day, 0, 0, 0))


def _seconds(year: int, month: int, day: int, hour: int, minute: int, second: int) -> int | None:
    midnight = _midnight(year, month, day)
    return None if midnight is None else midnight + hour * 3600 + minute * 60 + second


def _zone(zone: str | None) -> int:
    """Seconds east of Greenwich."""
    if not zone or zone == "Z":
        return 0
    digits = zone[1:].replace(":", "")
    east = int(digits[:2]) * 3600 + int(digits[2:]) * 60
    return -east if zone[0] == "-" else east


def _fraction(digits: str | None) -> int:
    return int(digits.ljust(9, "0")) if digits else 0
