"""Search through rows in slices: text, numbers and times as typed by a user. Knows no screen."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

from vusniff.analysis.timeline import Timeline
from vusniff.views import words


class Search:
    """Looks for a text from a position on, around the end, one slice at a time."""

    def __init__(self, timeline: Timeline, rows: Sequence[int] | None, wanted: str, start: int, step: int) -> None:
        """``rows`` are the rows shown, None for all; ``start`` is the position to begin behind, ``step`` 1 or -1."""
        self.timeline, self.rows, self.wanted, self.step = timeline, rows, wanted.lower(), step
        self.count = len(timeline) if rows is None else len(rows)
        self.position = start
        self.seen = 0

    def run(self, seconds: float) -> int | None:
        """Search for about so many seconds; the position of a hit, -1 for none, None when there is more to do."""
        deadline = time.monotonic() + seconds
        while self.seen < self.count:
            self.seen += 1
            self.position = (self.position + self.step) % self.count
            if self.wanted in row_text(self.timeline, self.position if self.rows is None else self.rows[self.position]):
                return self.position
            if not self.seen & 15 and time.monotonic() > deadline:
                return None
        return -1


def row_text(timeline: Timeline, row: int) -> str:
    """What a search looks at: request, values and descriptors, in lower case."""
    message = timeline.message(row)
    text = f"{message.name} {words.summary(message)}"
    if message.descriptors:
        text += f" {words.descriptors(message.descriptors)}"
    return text.lower()


CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2})(\.\d+)?)?$")
SECONDS = re.compile(r"\+?(\d+\.\d*|\d+(?=s)|\.\d+)s?$")


def target(timeline: Timeline, words_: str) -> int | None:
    """The row that is meant by ``1234`` (number), ``2.5`` or ``+3s`` (seconds since the start), ``12:00:03.5`` (time of
    day); the first at or after a time. None when it cannot be read."""
    text = words_.strip().lstrip("#")
    if not len(timeline):
        return None
    if text.isdecimal():
        return max(0, min(len(timeline), int(text)) - 1)
    first = timeline.time_ns(0)
    if found := SECONDS.match(text):
        return _at(timeline, first + int(float(found[1]) * 1e9))
    if found := CLOCK.match(text):
        midnight = time.localtime(first // 1_000_000_000)
        begin = time.mktime((*midnight[:3], int(found[1]), int(found[2]), int(found[3] or 0), 0, 0, -1))
        return _at(timeline, int(begin) * 1_000_000_000 + int(float(found[4] or 0) * 1e9))
    return None


def beyond(timeline: Timeline, words_: str) -> str | None:
    """Why `target` went to the first or the last message, where that is not what was asked for."""
    text, last = words_.strip().lstrip("#"), len(timeline)
    if text.isdecimal():
        if not int(text):
            return "There is no #0: this is #1, the first message"
        return f"There is no #{text}: this is #{last:,}, the last message" if int(text) > last else None
    found = SECONDS.match(text)
    lasted = (timeline.time_ns(last - 1) - timeline.time_ns(0)) / 1e9
    if found and float(found[1]) > lasted:
        return f"The capture lasts {lasted:.6f} s: this is #{last:,}, the last message"
    return None


def _at(timeline: Timeline, time_ns: int) -> int:
    """The first row that is not before a time."""
    low, high = 0, len(timeline) - 1
    while low < high:
        middle = (low + high) // 2
        if timeline.time_ns(middle) < time_ns:
            low = middle + 1
        else:
            high = middle
    return low
