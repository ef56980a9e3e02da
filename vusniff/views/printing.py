"""Prints captures to standard output: lines, all fields, or JSON; from files, pipes, and files that still grow."""

from __future__ import annotations

import argparse
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from vusniff.capture.batch import Batch
from vusniff.capture.index import Index
from vusniff.capture.reader import CaptureReader
from vusniff.compose import compose
from vusniff.errors import VusniffError
from vusniff.message import Message
from vusniff.progress import reading
from vusniff.record import Closed, Connection
from vusniff.session import Pending, Place, Tracker
from vusniff.timeline import Timeline, read_all
from vusniff.views import jsonl
from vusniff.views.phases import phase_lines
from vusniff.views.text import Lines, details, message_line

STREAM_ROWS = 4096
"""Messages between two writes."""


class Tracked(NamedTuple):
    """A batch whose messages have been placed."""

    first: int
    """Number of its first message."""
    batch: Batch
    places: list[Place]
    answers: list[Pending | None]

    def messages(self) -> Iterator[Message]:
        """Its messages, decoded."""
        for row, (place, answer) in enumerate(zip(self.places, self.answers, strict=True)):
            other, time_ns = (answer.number, answer.time_ns) if answer else (0, 0)
            yield compose(self.first + row, self.batch.frame(row), place, other, time_ns)


def stream(paths: Sequence[str], device: str | None, follow: bool, stop: Callable[[], bool]) -> Iterator[Tracked]:
    """Read captures piece by piece in bounded memory, placing messages on the way."""
    tracker = Tracker(device)
    reader = CaptureReader(paths)
    first = 1
    for batch in reader.batches(data=True, follow=follow, stop=stop, max_rows=STREAM_ROWS):
        for _, event in batch.events:
            if isinstance(event, Connection):
                tracker.opened(event, reader.order(event.id))
        places: list[Place] = []
        answers: list[Pending | None] = []
        tracker.track(first, batch, batch.frame, places, answers)
        for _, event in batch.events:
            if isinstance(event, Closed):
                tracker.closed(event)
        yield Tracked(first, batch, places, answers)
        first += len(batch)


def print_stream(
    paths: Sequence[str],
    args: argparse.Namespace,
    follow: bool = False,
    stop: Callable[[], bool] = lambda: False,
    remarks: Iterable[tuple[int, str]] = (),
) -> int:
    """Print captures as they are read; return the number of messages.

    A request printed here does not name its reply, which may not have been sent yet; the reply names the request.
    ``remarks`` are lines to print before messages, in the order of these.
    """
    out = sys.stdout.buffer
    lines, json_lines = Lines(), jsonl.JsonLines(args.hex)
    session = getattr(args, "session", None)
    count = 0
    between = deque(remarks)
    for tracked in stream(paths, args.device, follow, stop):
        count += len(tracked.batch)
        if args.json:
            others = [(answer.number, answer.time_ns) if answer else None for answer in tracked.answers]
            texts = _only(
                session, json_lines.lines(tracked.first, tracked.batch, tracked.places, others), tracked.places
            )
        elif args.verbose or args.hex:
            texts = _verbose(tracked, lines, session, args.hex)
        else:
            worded = lines.lines(tracked.first, tracked.batch, tracked.places, tracked.answers)
            texts = _only(session, worded, tracked.places)
        if between:
            texts = _remarked(between, tracked.first, texts)
        out.write("".join(texts).encode("utf-8", "backslashreplace"))
        if follow:
            out.flush()
    out.write("".join(f"{remark}\n" for _, remark in between).encode("utf-8", "backslashreplace"))
    out.flush()
    return count


def _remarked(remarks: deque[tuple[int, str]], first: int, texts: list[str]) -> list[str]:
    """The texts of messages from ``first`` on, with the remarks that stand before them, which are used up."""
    made: list[str] = []
    for number, text in enumerate(texts, first):
        while remarks and remarks[0][0] <= number:
            made.append(f"{remarks.popleft()[1]}\n")
        made.append(text)
    return made


def _only(session: int | None, texts: list[str], places: Sequence[Place]) -> list[str]:
    """The texts of messages, empty for those of other sessions."""
    if session is None:
        return texts
    return [text if place.session == session else "" for text, place in zip(texts, places, strict=True)]


def _verbose(tracked: Tracked, lines: Lines, session: int | None, hexadecimal: bool) -> list[str]:
    texts: list[str] = []
    if lines.first_ns is None and len(tracked.batch):
        lines.first_ns = tracked.batch.time_ns[0]
    for message in tracked.messages():
        if session in (None, message.session):
            said = [message_line(message, lines.first_ns or 0), *details(message, hexadecimal)]
            texts.append("".join(f"{line}\n" for line in said))
        else:
            texts.append("")
    return texts


def phase_remarks(paths: Sequence[str], args: argparse.Namespace) -> list[tuple[int, str]]:
    """Where which phase begins. Raises VusniffError for what is not read twice, or not by people."""
    if args.json:
        raise VusniffError("--phases does not go with --json: vusniff state --json and vusniff summary tell phases")
    if args.follow or "-" in args.files:
        raise VusniffError("--phases needs files that are finished: what begins a phase may be seen later only")
    timeline = Timeline(Index(paths), args.device)
    with reading(os.fspath(paths[0])) as progress:
        read_all(timeline, progress)
    return list(phase_lines(timeline, args.session))


def print_timeline(paths: Sequence[str], args: argparse.Namespace) -> int:
    """Print captures as JSON lines, requests with their replies; return the number of messages."""
    timeline = Timeline(Index(paths), args.device)
    with reading(os.fspath(paths[0])) as progress:
        read_all(timeline, progress)
    out = sys.stdout.buffer
    lines = jsonl.JsonLines(args.hex)
    times, answers, place = timeline.index.time_ns, timeline.answers, timeline.place
    first = 0
    for batch in CaptureReader(paths).batches(data=True, max_rows=STREAM_ROWS):
        last = min(first + len(batch), len(timeline))
        others = [(other, times[other - 1]) if other else None for other in answers[first:last]]
        places = [place(row) for row in range(first, last)]
        out.write("".join(_only(args.session, lines.lines(first + 1, batch, places, others), places)).encode())
        first = last
    out.flush()
    return len(timeline)
