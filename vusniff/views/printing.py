"""Prints captures to standard output: lines, all fields, or JSON; from files, pipes, and files that still grow."""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from vusniff import terminal
from vusniff.analysis.compose import Other, compose_fields
from vusniff.analysis.current import CurrentDevices
from vusniff.analysis.driver import Driver
from vusniff.analysis.session import Place, Tracker
from vusniff.analysis.timeline import Timeline
from vusniff.capture.batch import Batch
from vusniff.capture.reader import CaptureReader
from vusniff.errors import VusniffError
from vusniff.message import Context, Message
from vusniff.meta import REPLY, has_options
from vusniff.progress import tell
from vusniff.record import Connection, Evidence, LogLine
from vusniff.views import evidence, jsonl
from vusniff.views.phases import phase_lines
from vusniff.views.text import Lines, details, message_line
from vusniff.views.whole import whole_timeline

if TYPE_CHECKING:
    from vusniff.analysis.rings import RingSpan
    from vusniff.checks.finding import Finding
    from vusniff.families.family import State
    from vusniff.filter import Filter

STREAM_ROWS = 4096
"""Messages between two writes."""


class Tracked(NamedTuple):
    """A batch whose messages have been placed."""

    first: int
    """Number of its first message."""
    batch: Batch
    places: list[Place]
    answers: Sequence[Other]
    """For each reply the number and time of its request."""
    tracker: Tracker | None = None
    """Who is who, where evidence other than messages is to be shown."""

    def messages(self) -> Iterator[Message]:
        """Its messages, decoded."""
        for number, (frame, place, answer) in enumerate(
            zip(self.batch.rows(), self.places, self.answers, strict=True), self.first
        ):
            yield compose_fields(number, frame, place, answer)


def stream(paths: Sequence[str], device: str | None, follow: bool, stop: Callable[[], bool]) -> Iterator[Tracked]:
    """Read captures piece by piece in bounded memory, placing messages on the way."""
    driver = Driver(device)
    reader = CaptureReader(paths)
    for batch in reader.batches(data=True, follow=follow, stop=stop, max_rows=STREAM_ROWS):
        first = driver.count + 1
        placed = driver.place_batch(batch, reader.order)
        yield Tracked(first, batch, placed.places, placed.answers, driver.tracker)
    tell(reader.notes)


def print_stream(
    paths: Sequence[str],
    args: argparse.Namespace,
    follow: bool = False,
    stop: Callable[[], bool] = lambda: False,
    remarks: Iterable[tuple[int, str]] = (),
) -> int:
    """Print captures as they are read; return the number of messages that pass.

    A request printed here does not name its reply, which may not have been sent yet; the reply names the request.
    ``remarks`` are lines to print before messages, in the order of these. ``args.until`` is a filter: the first message
    that passes it is the last one that is read.
    """
    put = _nowhere if getattr(args, "quiet", False) else terminal.put_json if args.json else terminal.put
    lines, json_lines = Lines(), jsonl.JsonLines(args.hex)
    session = getattr(args, "session", None)
    count = sessions = 0
    between = deque(remarks)
    chosen = filter_of(args)
    if chosen and not follow and "-" not in paths:
        timeline = _timeline(paths, args)
        lines.first_ns = timeline.time_ns(0) if len(timeline) else None
        pieces = passing(timeline, chosen)
        chosen = None
    else:
        pieces = stream(paths, args.device, follow, stop)
    around = StreamSurroundings(chosen) if chosen else None
    end = end_of(args)
    narrator: evidence.Narrator | None = None
    for tracked in pieces:
        passed = around.passed(tracked) if around else None
        if args.json:
            made = json_lines.lines(tracked.first, tracked.batch, tracked.places, tracked.answers)
            texts = _only(session, made, tracked.places)
        elif args.verbose or args.hex:
            texts = _verbose(tracked, lines, session, args.hex)
        else:
            worded = lines.lines(tracked.first, tracked.batch, tracked.places, tracked.answers)
            texts = _only(session, worded, tracked.places)
        if passed is not None:
            texts = [text if passes else "" for text, passes in zip(texts, passed, strict=True)]
        last = next((row for row, passes in enumerate(end.passed(tracked)) if passes), None) if end else None
        count += sum(map(bool, texts))
        if passed is None:
            if narrator is None and tracked.tracker is not None and not args.json:
                narrator = evidence.Narrator(tracked.tracker)
            texts = _with_evidence(tracked, texts, session, narrator)
        if session is not None and not count:
            sessions = max([sessions, *(place.session for place in tracked.places)])
        if between:
            texts = _remarked(between, tracked.first, texts)
        if last is not None:
            texts = texts[: last + 1]
        put("".join(texts))
        if follow or "-" in paths:
            terminal.flush()
        if last is not None:
            if not args.quiet:
                terminal.say(f"message {tracked.first + last} passes --until: recording ends")
            break
    put("".join(f"{remark}\n" for _, remark in between))
    terminal.flush()
    if not count:
        _require(session, sessions)
    return count


def _nowhere(_text: str) -> None:
    pass


def end_of(args: argparse.Namespace) -> StreamSurroundings | None:
    """What asks the filter of ``--until``. Raises FilterError, and VusniffError for findings, logs and rings."""
    text = getattr(args, "until", None)
    if text is None:
        return None
    from vusniff.filter import compile_filter

    chosen = compile_filter(text)
    if chosen.needs_findings:
        what = "fields of findings, logs and rings"
        raise VusniffError(f"--until: {what} need a capture that is finished; ask for what the messages say")
    return StreamSurroundings(chosen)


def _remarked(remarks: deque[tuple[int, str]], first: int, texts: list[str]) -> list[str]:
    """The texts of messages from ``first`` on, with the remarks that stand before them, which are used up."""
    made: list[str] = []
    for number, text in enumerate(texts, first):
        while remarks and remarks[0][0] <= number:
            made.append(f"{remarks.popleft()[1]}\n")
        made.append(text)
    return made


def _with_evidence(
    tracked: Tracked, texts: list[str], session: int | None, narrator: evidence.Narrator | None
) -> list[str]:
    """The texts of messages, each behind the other evidence that stands before it: as JSON where nobody narrates."""
    tracker = tracked.tracker
    if tracker is None:
        return texts
    found: dict[int, str] = {}
    for row, event in tracked.batch.events:
        if isinstance(event, Evidence) and evidence.is_of(event, session, tracker):
            said = narrator.line(event) if narrator else evidence.json_line(event, tracker)
            found[row] = found.get(row, "") + said
    if not found:
        return texts
    made = [found.get(row, "") + text for row, text in enumerate(texts)]
    return [*made, found[len(texts)]] if len(texts) in found else made


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
    timeline = _timeline(paths, args)
    return list(phase_lines(timeline, args.session))


def print_timeline(paths: Sequence[str], args: argparse.Namespace) -> int:
    """Print captures as JSON lines, requests with their replies; return the number of messages that pass."""
    chosen = filter_of(args)
    timeline = _timeline(paths, args)
    lines = jsonl.JsonLines(args.hex)
    count = 0
    for tracked in passing(timeline, chosen) if chosen else _everything(paths, timeline):
        others = timeline.others(tracked.first - 1, tracked.first - 1 + len(tracked.batch))
        texts = lines.lines(tracked.first, tracked.batch, tracked.places, others)
        texts = _only(args.session, texts, tracked.places)
        count += sum(map(bool, texts))
        terminal.put_json("".join(_with_evidence(tracked, texts, args.session, None)))
    terminal.flush()
    return count


def _timeline(paths: Sequence[str], args: argparse.Namespace) -> Timeline:
    """All of some finished captures."""
    timeline = whole_timeline(paths, args.device)
    _require(getattr(args, "session", None), len(timeline.sessions))
    return timeline


def _require(session: int | None, count: int) -> None:
    """Raises VusniffError for a session that is asked for and not there."""
    if session is not None and count and not 1 <= session <= count:
        raise VusniffError(f"--session {session}: there are sessions 1 to {count}")


def _everything(paths: Sequence[str], timeline: Timeline) -> Iterator[Tracked]:
    first = 0
    for batch in CaptureReader(paths).batches(data=True, max_rows=STREAM_ROWS):
        last = min(first + len(batch), len(timeline))
        yield Tracked(first + 1, batch, [timeline.place(row) for row in range(first, last)], [], timeline.tracker)
        first = last


# -- filters ----------------------------------------------------------------------------------------------------------


def filter_of(args: argparse.Namespace) -> Filter | None:
    """The filter of ``--filter``. Raises FilterError, and VusniffError for findings of what is not finished."""
    text = getattr(args, "filter", None)
    if text is None:
        return None
    from vusniff.filter import compile_filter

    chosen = compile_filter(text)
    if chosen.needs_findings and (getattr(args, "follow", False) or "-" in getattr(args, "files", "-")):
        words = "fields of findings, logs and rings need a capture that is finished"
        raise VusniffError(f"--filter: {words}: save it, and filter the file")
    return chosen


def passing(timeline: Timeline, chosen: Filter) -> Iterator[Tracked]:
    """The messages that pass a filter, in runs of consecutive ones."""
    if chosen.needs_findings:
        while timeline.analyse():
            pass
        timeline.conclude()
    sieve = chosen.sieve(timeline)
    for first in range(0, len(timeline), STREAM_ROWS):
        rows = sieve.rows(first, first + STREAM_ROWS)
        begin = 0
        for at in range(1, len(rows) + 1):
            if at == len(rows) or rows[at] != rows[at - 1] + 1:
                yield _run(timeline, rows[begin], rows[at - 1] + 1)
                begin = at


def _run(timeline: Timeline, start: int, stop: int) -> Tracked:
    """Consecutive rows with their bytes."""
    index = timeline.index
    meta, times = index.meta[start:stop], index.time_ns[start:stop]
    batch = Batch(
        index.offset[start:stop], times, index.request[start:stop], index.size[start:stop], meta, stacks=index.stacks
    )
    others = timeline.others(start, stop)
    for row in range(stop - start):
        data, options, missing = index.packet(start + row)
        batch.data.append(data)
        batch.options.append(options if has_options(meta[row]) else b"")
        if missing:
            batch.missing[row] = missing
    answers = [other if one & REPLY else None for other, one in zip(others, meta, strict=True)]
    return Tracked(start + 1, batch, [timeline.place(row) for row in range(start, stop)], answers)


class StreamSurroundings:
    """Asks a filter of messages that are read only once: what surrounds them is what has been read so far."""

    def __init__(self, chosen: Filter) -> None:
        self._filter = chosen
        self._paths: dict[int, str] = {}
        self._devices = CurrentDevices(chosen.needs_phases) if chosen.follows else None
        self.first_ns = 0

    def path(self, connection: int) -> str | None:
        """Where a connection's listening end is bound."""
        return self._paths.get(connection)

    def findings(self, number: int) -> tuple[Finding, ...]:
        """None: what is wrong is known only later."""
        return ()

    def logs(self, number: int) -> tuple[LogLine, ...]:
        """None: what follows a message is known only later."""
        return ()

    def rings(self, number: int) -> tuple[RingSpan, ...]:
        """None: where rings stood until the next message is known only later."""
        return ()

    def device(self, number: int) -> tuple[State, Context] | None:
        """The device before the message that is asked."""
        return None if self._devices is None else (self._devices.state, self._devices.context)

    def phase(self, number: int) -> str | None:
        """The phase that it belongs to."""
        return None if self._devices is None else self._devices.phase

    def passed(self, tracked: Tracked) -> list[bool]:
        """For each message of a batch, whether it passes."""
        if tracked.first == 1 and len(tracked.batch):
            self.first_ns = tracked.batch.time_ns[0]
        self._paths.update((one.id, one.path) for _, one in tracked.batch.events if isinstance(one, Connection))
        devices, tracker = self._devices, tracked.tracker
        if devices is None or tracker is None:
            return [self._filter.match(message, self) for message in tracked.messages()]
        found = []
        for message, place in zip(tracked.messages(), tracked.places, strict=True):
            devices.see(tracker, place, message)
            found.append(self._filter.match(message, self))
        return found
