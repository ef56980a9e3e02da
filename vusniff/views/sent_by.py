"""Who sent what in a capture with call stacks, beside who is known to: what ``vusniff explain --capture`` adds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from vusniff.amounts import counted
from vusniff.analysis.callers import LOOKED_AT, RowCallers
from vusniff.analysis.timeline import Timeline
from vusniff.errors import VusniffError
from vusniff.message import Message
from vusniff.meta import OPTIONS, REPLY
from vusniff.views import page
from vusniff.views.page import NamedValues, PageSection
from vusniff.views.stacks import callers
from vusniff.views.topic import Topic

CHAINS = 4
"""Ways to a request that are shown."""
FUNCTIONS = 12
"""Functions of one."""
TITLE = "Who sent it"


def with_callers(topics: Sequence[Topic], timeline: Timeline) -> list[Topic]:
    """The same; requests and phases with who sent them here and who is known to.

    Raises VusniffError for a capture without call stacks, or when neither a request nor a phase was asked for.
    """
    if not any(topic.kind in ("request", "phase") for topic in topics):
        raise VusniffError("--capture tells who sent a request, or the requests of a phase: ask for one of these")
    known = RowCallers(timeline)
    if not known.rows:
        raise VusniffError("--capture: there are no call stacks in it; record with vusniff capture --stacks")
    return [_with(topic, timeline, known) for topic in topics]


def _with(topic: Topic, timeline: Timeline, known: RowCallers) -> Topic:
    if topic.kind == "request":
        section = _request(topic.name, timeline)
    elif topic.kind == "phase":
        section = _phase(topic.name, timeline, known)
    else:
        return topic
    made = topic.page
    return topic._replace(page=made._replace(sections=[made.sections[0], section, *made.sections[1:]]))


def _request(name: str, timeline: Timeline) -> PageSection:
    """Each way on which it was sent, the most frequent first."""
    ways: Counter[str] = Counter()
    sent_by = ""
    for message in _requests(timeline, range(min(len(timeline), LOOKED_AT))):
        if message.name == name and message.stack is not None:
            ways[callers(message.stack, FUNCTIONS)] += 1
            sent_by = message.spec.sent_by if message.spec is not None else ""
    rows = [(_times(count), chain) for chain, count in ways.most_common(CHAINS)]
    if len(ways) > CHAINS:
        rows.append(("here", f"on {len(ways) - CHAINS} more ways"))
    return _section(page.facts(*rows, ("known", sent_by)) if rows else None)


def _phase(name: str, timeline: Timeline, known: RowCallers) -> PageSection:
    """For each request in it the functions that sent it, and those that are known to send it."""
    here: dict[str, Counter[str]] = {}
    told: dict[str, str] = {}
    for session in timeline.sessions:
        for phase in timeline.phases(session.number):
            if phase.kind.value != name or not phase.count:
                continue
            for message in _requests(timeline, range(phase.first - 1, phase.last)):
                if message.session != session.number:
                    continue
                if (function := known.of(message.number - 1)) is not None:
                    here.setdefault(message.name, Counter())[function] += 1
                    told[message.name] = message.spec.sent_by if message.spec is not None else ""
    rows: list[tuple[str, str]] = []
    for request, functions in here.items():
        words = ", ".join(f"{function} ({count})" for function, count in functions.most_common(CHAINS))
        rows += [(request, f"here  {words}")]
        rows += [("", f"known {told[request]}")] if told[request] else []
    return _section(NamedValues(rows) if rows else None)


def _times(count: int) -> str:
    return f"here {counted(count, 'time')}" if count != 1 else "here once"


def _section(found: NamedValues | None) -> PageSection:
    return PageSection(TITLE, [found]) if found is not None else PageSection(f"{TITLE}: not seen in the capture", [])


def _requests(timeline: Timeline, rows: Iterable[int]) -> Iterator[Message]:
    """Those with a call stack."""
    meta = timeline.index.meta
    for row in rows:
        if meta[row] & OPTIONS and not meta[row] & REPLY:
            yield timeline.message(row)
