"""Applies a filter to a capture: first to the columns of its index, then to the messages that are left.

A message that has to be read is read only as far as the filter asks, and the verdict on bytes that were seen before in
the same place is remembered.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from vusniff.capture.batch import said
from vusniff.families.vhost_user.protocol import FLAG_REPLY, HEADER_SIZE, HEADERS
from vusniff.filter.columns import CHANNEL_NUMBERS, HEADLESS_SHIFT, KIND_SHIFT, Scan, compile_scan
from vusniff.filter.compiler import NOWHERE, Filter, matcher, scan_text
from vusniff.filter.field import Origin
from vusniff.filter.tree import Test
from vusniff.layouts import dissect
from vusniff.message import Context
from vusniff.record import FrameKind, Process

if TYPE_CHECKING:
    from vusniff.analysis.timeline import Timeline
    from vusniff.checks.finding import Finding

STEP = 65536
"""Rows whose columns are looked at in one go."""
REMEMBERED = 65536
"""Verdicts on bytes that are kept."""
REMEMBERED_BYTES = 256
"""Longest message whose verdict is kept."""

_CHANNELS = tuple(CHANNEL_NUMBERS)
_BY_BYTES = frozenset({Origin.HEADER, Origin.CONNECTION, Origin.PAYLOAD, Origin.BYTES})
_NAMED = frozenset({"vhost.name", "vhost.request"})
"""Fields of the header for which the request's name may be wanted."""
_BY_ROW = frozenset({"vhost.number", "vhost.time"})


class View(SimpleNamespace):
    """As much of a message as a filter asks for; its attributes are those of `vusniff.message.Message`.

    One is filled again and again: making a `Message` costs more than asking it.
    """


class Around:
    """A capture as the surroundings of its messages."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline

    @property
    def first_ns(self) -> int:
        """When its first message was sent."""
        times = self._timeline.index.time_ns
        return times[0] if len(times) else 0

    def path(self, connection: int) -> str | None:
        """Where a connection's listening end is bound."""
        connections = self._timeline.index.connections
        return connections[connection - 1].path if 0 < connection <= len(connections) else None

    def findings(self, number: int) -> tuple[Finding, ...]:
        """What was found so far at a message."""
        return self._timeline.findings_at(number - 1)


class Sieve:
    """A filter at work on one capture."""

    def __init__(self, filter_: Filter, timeline: Timeline) -> None:
        self.filter = filter_
        self._timeline = timeline
        self._around = Around(timeline)
        self._columns, most, least = scan_text(filter_.node)
        self._channel: list[int] = []
        self._word: list[str] = []
        self._flagged: set[int] = set()
        self._judged = 0
        self._place_tests = [(self._bound(name, []), matcher(test)) for name, test in self._columns.places]
        self._end_tests = [(self._bound(name, []), matcher(test)) for name, test in self._columns.ends]
        for name, test in self._columns.names:
            self._bound(name, _Names(test))
        self._scan = self._scanner(most, least)
        self._view: Any = View()
        self._placed = (-1, 0)
        self._context = Context()
        self._process: Process | None = None
        self._payload = Origin.PAYLOAD in filter_.origins or bool(filter_.fields & _NAMED)
        self._verdicts: dict[tuple[int, bytes], bool] = {}
        self._by_bytes = filter_.origins <= _BY_BYTES and not filter_.fields & _BY_ROW

    def _bound(self, name: str, table: Any) -> Any:
        self._columns.source.environment[name] = table
        return table

    def _scanner(self, most: str, least: str | None) -> Scan:
        timeline, index = self._timeline, self._timeline.index
        environment = self._columns.source.environment
        environment.update(
            R=index.request,
            Z=index.size,
            M=index.meta,
            P=timeline.place_of,
            T=index.time_ns,
            A=timeline.answers,
            times=index.time_ns,
            channel=self._channel,
            word=self._word,
            flagged=self._flagged,
            headed=self._headed,
            first=0,
        )
        exec(compile_scan(most, least), environment)
        scan: Scan = environment["scan"]
        return scan

    def rows(self, start: int, stop: int) -> array[int]:
        """The rows of a slice that pass, ascending."""
        found = array("I")
        stop = min(stop, len(self._timeline))
        self._learn()
        for first in range(max(0, start), stop, STEP):
            rows = self._scan(first, min(first + STEP, stop))
            found.extend(rows if self.filter.columns_only else self._read(rows))
        return found

    def _learn(self) -> None:
        """Fill in the tables for places that are new."""
        places = self._timeline.places
        around = self._around
        for number in range(len(self._channel), len(places)):
            place = places[number]
            self._channel.append(CHANNEL_NUMBERS[place.channel] << 40)
            self._word.append(place.channel)
            view = View(session=place.session, connection=place.connection, channel=place.channel)
            for table, matches in self._place_tests:
                table.append(matches(view, around))
            for end in (0, 1):
                view.sender, view.process = place.sender(end), place.ends[end].process
                for table, matches in self._end_tests:
                    table.append(matches(view, around))
        self._columns.source.environment["first"] = around.first_ns
        findings = self._timeline.findings
        self._flagged.update(finding.number - 1 for finding in findings[self._judged :])
        self._judged = len(findings)

    def _headed(self, row: int) -> bool:
        """The bytes of a row of the kind MESSAGE begin with a header: they may have been cut before its end."""
        return len(self._timeline.index.frame(row).data) >= HEADER_SIZE

    # -- reading messages ---------------------------------------------------------------------------------------------

    def _read(self, rows: list[int]) -> list[int]:
        """Those of some rows that pass; a row is doubled, plus one where it need not be read to know that."""
        if self.filter.origins == {Origin.FINDING}:
            view, around, match = self._view, self._around, self.filter.match
            passed = []
            for row in rows:
                view.number = (row >> 1) + 1
                if match(view, around):
                    passed.append(row >> 1)
            return passed
        open_ = [row >> 1 for row in rows if not row & 1]
        if len(open_) == len(rows):
            return self._passed(open_)
        passed = self._passed(open_)
        passed += [row >> 1 for row in rows if row & 1]
        passed.sort()
        return passed

    def _passed(self, rows: list[int]) -> list[int]:
        """Those of some rows that pass, by what their messages say."""
        timeline, index = self._timeline, self._timeline.index
        meta, place_of, verdicts = index.meta, timeline.place_of, self._verdicts
        by_bytes, passed, ask = self._by_bytes, [], self._ask
        for row, (data, options, missing) in zip(rows, index.packets(rows), strict=True):
            if by_bytes and not missing:
                key = (place_of[row] << 1 | meta[row] >> 5 & 1, data)
                verdict = verdicts.get(key)
                if verdict is None:
                    verdict = ask(row, data, b"", 0)
                    if len(data) <= REMEMBERED_BYTES and len(verdicts) < REMEMBERED:
                        verdicts[key] = verdict
            else:
                verdict = ask(row, data, options if meta[row] & 16 else b"", missing)
            if verdict:
                passed.append(row)
        return passed

    def _ask(self, row: int, data: bytes, options: bytes, missing: int) -> bool:
        """Read one message as far as needed, and ask the filter."""
        view = self._view
        timeline, index = self._timeline, self._timeline.index
        meta = index.meta[row]
        number = timeline.place_of[row]
        end = meta >> 5 & 1
        if self._placed != (number, end):
            self._place(number, end)
        view.data = data
        if not self._by_bytes:
            view.number, view.time_ns = row + 1, index.time_ns[row]
            descriptors, process = said(options) if options else ((), None)
            view.descriptors, view.process = descriptors, process or self._process
            self._answer(row, bool(meta & FLAG_REPLY))
        if meta & 0xC0 or len(data) < HEADER_SIZE:
            kind = FrameKind(meta >> 6 & 3)
            view.request, view.name, view.flags, view.size = None, kind.name, 0, len(data) + missing
            view.payload, view.layout, view.trailing = None, None, data
            view.malformed = None if kind is FrameKind.CONTINUATION else "no vhost-user header"
        else:
            context = self._context
            view.request, view.flags, view.size = request, flags, _ = HEADERS[context.order].unpack_from(data)
            if self._payload:
                reply = bool(flags & FLAG_REPLY)
                decoded = dissect.payload(view.channel, request, reply, data[HEADER_SIZE:], missing, context)
                view.name, view.payload, view.layout, view.malformed, view.trailing, _ = decoded
        return self.filter.match(view, self._around)

    def _place(self, number: int, end: int) -> None:
        """Fill in what all messages of a place and end have in common."""
        view, place = self._view, self._timeline.places[number]
        view.session, view.connection, view.channel = place.session, place.connection, place.channel
        view.sender = place.sender(end)
        self._context = place.context
        self._process = place.ends[end].process
        self._placed = (number, end)

    def _answer(self, row: int, reply: bool) -> None:
        view, times = self._view, self._timeline.index.time_ns
        other = self._timeline.answers[row]
        view.answers = other if other and reply else None
        view.answered_by = other if other and not reply else None
        view.latency_ns = abs(times[row] - times[other - 1]) if other else None


class _Names(dict[int, bool]):
    """Channel, request and kind of a row, as one number -> whether its name passes a test; worked out once."""

    def __init__(self, test: Test) -> None:
        super().__init__()
        self._matches: Callable[..., bool] = matcher(test)

    def __missing__(self, key: int) -> bool:
        channel, request = _CHANNELS[key >> 40 & 0x3FF], key >> 1 & 0xFFFFFFFF
        kind = key >> KIND_SHIFT & 3
        if kind or key >> HEADLESS_SHIFT & 1:
            view = View(request=None, name=FrameKind(kind).name)
        else:
            spec = dissect.spec_of(channel, request)
            view = View(request=request, name=spec.name if spec else f"REQUEST_{request}")
        verdict = self._matches(view, NOWHERE)
        if len(self) < REMEMBERED:
            self[key] = verdict
        return verdict
