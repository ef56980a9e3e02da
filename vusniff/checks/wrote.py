"""Lines that the peers wrote into their own logs, as far as a capture holds them: which of them tells of trouble.

A line stands beside a session by its time, or by the ends that its source knew. It is quoted, and never judged.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from vusniff.amounts import duration
from vusniff.checks.standing import Standing
from vusniff.record import LogLine

MAX_LINES = 4096
"""Lines of trouble that are remembered of a capture."""
BEFORE_NS, AFTER_NS = 1_000_000_000, 1_000_000_000
"""How far from the last message, and from the end, a line is taken to be about it."""
QUOTED = 160
"""Characters of a line that are quoted."""
_TROUBLE = (
    r"fail|error|invalid|cannot|can't|could not|couldn't|unable|unsupported|not supported|refus|denied|exceed|panic|"
    r"abort|fatal|\bbad\b|wrong|mismatch|too (many|few|large|small|big)|no such|"
    r"out of memory|not (found|shared|enough)"
)


def tells_of_trouble(line: LogLine) -> bool:
    """It is of a level that says so, or has a word that does."""
    return line.level in ("error", "warning") or bool(re.search(_TROUBLE, line.text, re.IGNORECASE))


def nearest(lines: Iterable[LogLine], one: Standing, connections: Iterable[int]) -> LogLine | None:
    """The line that tells best of the end of a session: the first about it that is an error, else the first."""
    at = one.waiting or one.last
    begin = (at.time_ns if at is not None else one.end_ns) - BEFORE_NS
    end, own = one.end_ns + AFTER_NS, set(connections)
    about = [
        line
        for line in lines
        if begin <= line.time_ns <= end and (not line.ends or own.intersection(number for number, _ in line.ends))
    ]
    return min(about, key=lambda line: (line.level != "error", line.time_ns), default=None)


def sentence(line: LogLine, one: Standing) -> str:
    """What was written, and when: ``ovs-vswitchd wrote "failed to map memory region" 3.00 ms before the end``."""
    text = line.text.strip()
    quoted = text if len(text) <= QUOTED else text[:QUOTED] + "..."
    apart = duration(abs(line.time_ns - one.end_ns))
    if one.closed is not None:
        when = f"{apart} {'before' if line.time_ns <= one.end_ns else 'after'} {one.link} was closed"
    elif (at := one.waiting or one.last) is not None:
        apart = duration(abs(line.time_ns - at.time_ns))
        when = f"{apart} {'before' if line.time_ns < at.time_ns else 'after'} {at}"
    else:
        when = f"{apart} before the capture ended"
    return f'{line.program or "A program"} wrote "{quoted}" {when} ({line.log}:{line.number}).'
