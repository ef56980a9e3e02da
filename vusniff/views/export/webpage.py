"""One self-contained page: timeline, details, the state after each message, findings and phases, for any browser.

Everything is in the page as JSON; ``page.js`` shows it and ``page.css`` is its look. Nothing is fetched: a content
security policy in the page forbids it. States are kept as what changed in each message, so that a page of some
thousand messages stays small.
"""

from __future__ import annotations

import html
import json
from bisect import bisect_left
from collections.abc import Iterator
from importlib import resources
from typing import Any

from vusniff.analysis.driver import Steps
from vusniff.analysis.lives import RingLife, RingLives
from vusniff.analysis.session import Session
from vusniff.analysis.timeline import Timeline
from vusniff.checks.finding import Finding
from vusniff.checks.ranking import ranked
from vusniff.distributions import version
from vusniff.families.family import State
from vusniff.families.phase import Phase
from vusniff.families.registry import family_of
from vusniff.families.vhost_user.state import DeviceState
from vusniff.message import Context, Message
from vusniff.printable import escape
from vusniff.views import account, phases, stacks, state, verdict, words
from vusniff.views.export import plots
from vusniff.views.export.chosen import Chosen
from vusniff.views.export.svg import svg
from vusniff.views.summary import moment

MESSAGES = 2000
"""Messages of a page; what is beyond them is counted and said."""
VERDICTS = 100
"""Verdicts of a page: over so many devices."""
LIVES = 2000
"""Changes of a ring that are drawn."""
SLOW_NS = 100_000_000
"""From here an answer is marked as slow, nanoseconds."""
STRETCH_SECONDS = 0.004
"""Work at a stretch while keys of the terminal view may wait."""
BYTES = 1024
"""Bytes of each message that are shown in hex."""
_EXACT = (1 << 53) - 1
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


def webpage(chosen: Chosen) -> Iterator[str]:
    """The page."""
    families = dict.fromkeys(connection.family for connection in chosen.timeline.index.connections)
    title = " and ".join(families) + ": " + ", ".join(name.rpartition("/")[2] for name in chosen.names)
    named = html.escape(escape(title))
    folder = resources.files("vusniff.views.export")
    style, script, body = (folder.joinpath(name).read_text("utf-8") for name in ("page.css", "page.js", "page.html"))
    yield "<!doctype html>\n"
    yield '<html lang="en"><head><meta charset="utf-8">\n'
    yield f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    yield f'<meta name="color-scheme" content="light dark"><title>{named}</title>\n<style>\n{style}</style></head>\n'
    before, after = body.split("<!-- sequence -->")
    yield before
    yield from svg(chosen, links=True)
    yield after
    yield '<script type="application/json" id="capture">'
    yield from _values(chosen, title, chosen.limit or MESSAGES)
    yield f"</script>\n<script>\n{script}</script></body></html>\n"


def _script(values: Any) -> str:
    """JSON that can stand in a script element, whatever it says."""
    text = json.dumps(_safe(values), ensure_ascii=True, separators=(",", ":"), check_circular=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _safe(value: Any) -> Any:
    """Numbers that a browser would round become text, and text shows all of itself."""
    if isinstance(value, dict):
        return {escape(name): _safe(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_safe(inner) for inner in value]
    if isinstance(value, str):
        return escape(value)
    return f"{value:#x}" if isinstance(value, int) and abs(value) > _EXACT else value


def _values(chosen: Chosen, title: str, most: int) -> Iterator[str]:
    """What the page shows, as the JSON of one object in pieces."""
    timeline = chosen.timeline
    found = verdict.of(timeline)
    values = {
        "title": title,
        "made": f"vusniff {version()}",
        "captured": moment(chosen.first_ns) if len(timeline) else "",
        "verdicts": [verdict.verdict_dict(one) for one in found[:VERDICTS]],
        "verdict": verdict.first_line(found),
        "why": verdict.why_dict(found[0]) if found else {},
        "total": len(chosen.rows),
        "shown": min(len(chosen.rows), most),
        "notes": list(timeline.index.notes) if len(chosen.names) == len(timeline.index.reader.scans) else [],
    }
    yield _script(values)[:-1]
    about: dict[str, str] = {}
    yield from _sessions(chosen)
    yield from _messages(chosen, most, about)
    yield f',"findings":{_script(_findings(chosen, most))},"ranked":{_script(_ranked(chosen, most))}'
    yield f',"about":{_script(about)}}}'


def _sessions(chosen: Chosen) -> Iterator[str]:
    sessions = yield from chosen.sessions()
    made: list[str] = []
    for number in sessions:
        found = yield from chosen.phases(number)
        lives = RingLives(chosen.timeline, number)
        while not lives.run(STRETCH_SECONDS):
            yield ""
        made.append(_script(_session(chosen, number, found, lives)))
        yield ""
    yield f',"sessions":[{",".join(made)}]'


def _findings(chosen: Chosen, most: int) -> list[dict[str, Any]]:
    """What was found at the messages that are shown, by message."""
    numbers = [row + 1 for row in chosen.rows[:most]]
    shown = set(numbers)
    return [
        {
            "number": finding.number,
            "severity": finding.severity.value,
            "side": finding.side.value,
            "rule": finding.rule,
            "section": finding.section,
            "sentence": finding.sentence,
            "evidence": [number for number in finding.evidence if number in shown],
        }
        for number in numbers
        for finding in chosen.findings(number)
    ]


def _ranked(chosen: Chosen, most: int) -> list[dict[str, Any]]:
    """The same in a list: causes before symptoms, what is equal once."""
    of_session: dict[int, list[Finding]] = {}
    for row in chosen.rows[:most]:
        for finding in chosen.findings(row + 1):
            of_session.setdefault(finding.session, []).append(finding)
    return [
        {
            "number": one.finding.number,
            "severity": one.finding.severity.value,
            "words": f"{one.finding.severity.value} #{one.finding.number}"
            + (f", {one.times} times" if one.times > 1 else "")
            + f": {one.finding.sentence}"
            + (f" (explained by #{one.explained_by.number})" if one.explained_by else ""),
        }
        for found in of_session.values()
        for one in ranked(found, chosen.timeline.checker.counts)
    ]


def _session(chosen: Chosen, number: int, found: tuple[Phase, ...], lives: RingLives) -> dict[str, Any]:
    timeline = chosen.timeline
    session = timeline.sessions[number - 1]
    frontend, backend = state.peers(timeline, session)
    return {
        "number": number,
        "path": escape(session.path),
        "frontend": frontend,
        "backend": backend,
        "device": session.guess.device if session.guess else None,
        "late": session.joined_late,
        "closed": _closed(timeline, session),
        "roles": list(session.family.roles),
        "phases": [_phase(phase, chosen.first_ns) for phase in found],
        "span": _span(chosen, session),
        "lives": {str(ring): _lives(changes, chosen.first_ns) for ring, changes in lives.rings.items()},
        "rings": plots.of_session(timeline.ring_history, number, chosen.first_ns),
    }


def _phase(phase: Phase, first_ns: int) -> dict[str, Any]:
    """A phase, with seconds since the capture's first message."""
    return {
        **phases.phase_dict(phase),
        "from": (phase.start_ns - first_ns) / 1e9,
        "to": (phase.end_ns - first_ns) / 1e9,
    }


def _span(chosen: Chosen, session: Session) -> list[float]:
    """When a session began and ended, seconds since the capture's first message."""
    timeline = chosen.timeline
    ends = [timeline.time_ns(session.last - 1), timeline.ring_history.latest_ns(session.number)]
    ends += [session.closed.time_ns] if session.closed else []
    return [(timeline.time_ns(session.first - 1) - chosen.first_ns) / 1e9, (max(ends) - chosen.first_ns) / 1e9]


def _lives(changes: list[RingLife], first_ns: int) -> list[list[Any]]:
    """What a ring was: from which message and second on, its state, whether it was enabled."""
    return [
        [life.number, (life.since_ns - first_ns) / 1e9, life.state.value if life.state else None, life.enabled]
        for life in changes[:LIVES]
    ]


def _closed(timeline: Timeline, session: Session) -> str | None:
    """How it ended, and which processes did; None where it goes on."""
    if session.closed is None and not timeline.exits(next(iter(session.connections))):
        return None
    return escape(account.ending(timeline, session.closed, session))


def _messages(chosen: Chosen, most: int, about: dict[str, str]) -> Iterator[str]:
    """The messages with what each changed; ``about`` gets one line about each request."""
    states = _StateChanges(chosen)
    before = ',"messages":['
    for message in chosen.messages(most):
        one = _message(chosen, message)
        change = states.change(message)
        if change:
            one["change"] = change
        if message.spec is not None and message.spec.about:
            about.setdefault(message.name, message.spec.about)
        yield before + _script(one)
        before = ","
    yield "]" if before == "," else before + "]"


def _message(chosen: Chosen, message: Message) -> dict[str, Any]:
    one: dict[str, Any] = {
        "number": message.number,
        "time": f"{(message.time_ns - chosen.first_ns) / 1e9:.6f}",
        "session": message.session,
        "sender": message.sender.value if message.sender else None,
        "title": words.title_of(message),
        "name": message.name,
        "said": words.summary(message),
        "bytes": message.data[:BYTES].hex(),
        "size": len(message.data),
    }
    optional = {
        "channel": None if message.channel is family_of(message.channel).main else str(message.channel),
        "payload": message.payload or None,
        "fds": [words.descriptor(descriptor) for descriptor in message.descriptors] or None,
        "answers": message.answers,
        "answered_by": message.answered_by,
        "latency": words.duration(message.latency_ns) if message.latency_ns is not None else None,
        "failed": _refused(chosen, message) or None,
        "slow": True if message.answered_by and (message.latency_ns or 0) >= SLOW_NS else None,
        "malformed": message.malformed,
        "process": f"{escape(message.process.comm)} ({message.process.pid})" if message.process else None,
        "stack": stacks.lines(message.stack, "") if message.stack is not None else None,
    }
    one.update({name: value for name, value in optional.items() if value is not None})
    return one


def _refused(chosen: Chosen, message: Message) -> bool:
    """A request whose answer says that it failed."""
    if not message.answered_by:
        return False
    reply = chosen.timeline.message(message.answered_by - 1)
    return reply.failed or bool(reply.payload and reply.payload.get("success") is False)


class _StateChanges:
    """The states of the sessions, as what changes from one shown message to the next."""

    def __init__(self, chosen: Chosen) -> None:
        self._timeline = chosen.timeline
        self._steps = Steps(chosen.timeline.tracker)
        self._done: dict[int, int] = {}
        """Session -> how many of its messages were stepped through or skipped."""
        self._shown: dict[int, tuple[State, Context]] = {}
        """Session -> its state after its last shown message, and its context there."""
        self._told: dict[int, dict[str, Any]] = {}

    def change(self, message: Message) -> dict[str, Any]:
        """The parts that are other than after the last shown message of the session; rings by index."""
        timeline, number, row = self._timeline, message.session, message.number - 1
        done = bisect_left(timeline.rows_of(number), row)
        if done != self._done.get(number, 0):  # messages between are not shown
            self._steps.skip(number, timeline.before(row))
        _, after = self._steps.step(message)
        self._done[number] = done + 1
        context, known = timeline.place(row).context, self._shown.get(number)
        self._shown[number] = after, context
        if known is not None and after is known[0] and context == known[1]:
            return {}
        values = state.state_dict(after, context)
        if not isinstance(after, DeviceState):
            values = {
                "tables": [{"title": one.title, "columns": one.columns, "rows": one.rows} for one in after.tables()]
            }
            self._told[number] = values
            return values
        values["vrings"] = {str(ring["index"]): ring for ring in values["vrings"]}
        told = self._told.get(number, {})
        change = {name: value for name, value in values.items() if told.get(name) != value or not told}
        if "vrings" in change and "vrings" in told:
            old = told["vrings"]
            change["vrings"] = {index: ring for index, ring in values["vrings"].items() if old.get(index) != ring}
        self._told[number] = values
        return change
