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

from vusniff.analysis.session import Session
from vusniff.analysis.timeline import Timeline
from vusniff.checks.finding import Finding
from vusniff.checks.ranking import ranked
from vusniff.distributions import version
from vusniff.families.family import State
from vusniff.families.registry import family_of
from vusniff.families.vhost_user.phases import Phase
from vusniff.families.vhost_user.state import DeviceState
from vusniff.message import Context, Message
from vusniff.printable import escape
from vusniff.views import evidence, phases, stacks, state, verdict, words
from vusniff.views.export import plots
from vusniff.views.export.chosen import Chosen
from vusniff.views.summary import moment

MESSAGES = 2000
"""Messages of a page; what is beyond them is counted and said."""
VERDICTS = 100
"""Verdicts of a page: over so many devices."""
BYTES = 1024
"""Bytes of each message that are shown in hex."""
_EXACT = (1 << 53) - 1
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


def webpage(chosen: Chosen) -> Iterator[str]:
    """The page."""
    title = "vhost-user: " + ", ".join(name.rpartition("/")[2] for name in chosen.names)
    named = html.escape(escape(title))
    folder = resources.files("vusniff.views.export")
    style, script, body = (folder.joinpath(name).read_text("utf-8") for name in ("page.css", "page.js", "page.html"))
    yield "<!doctype html>\n"
    yield '<html lang="en"><head><meta charset="utf-8">\n'
    yield f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    yield f'<meta name="color-scheme" content="light dark"><title>{named}</title>\n<style>\n{style}</style></head>\n'
    yield body
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
        made.append(_script(_session(chosen, number, found)))
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


def _session(chosen: Chosen, number: int, found: tuple[Phase, ...]) -> dict[str, Any]:
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
        "phases": [phases.phase_dict(phase) for phase in found],
        "rings": plots.of_session(timeline.ring_history, number, chosen.first_ns),
    }


def _closed(timeline: Timeline, session: Session) -> str | None:
    """How it ended, and which processes did."""
    exits = evidence.sentences(timeline.exits(next(iter(session.connections))))
    if not exits:
        return session.closed.reason if session.closed else None
    return escape((session.closed.reason if session.closed else "still open") + exits)


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
        "malformed": message.malformed,
        "process": f"{escape(message.process.comm)} ({message.process.pid})" if message.process else None,
        "stack": stacks.lines(message.stack, "") if message.stack is not None else None,
    }
    one.update({name: value for name, value in optional.items() if value is not None})
    return one


class _StateChanges:
    """The states of the sessions, as what changes from one shown message to the next."""

    def __init__(self, chosen: Chosen) -> None:
        self._timeline = chosen.timeline
        self._now: dict[int, tuple[int, State, Context | None]] = {}
        self._told: dict[int, dict[str, Any]] = {}

    def change(self, message: Message) -> dict[str, Any]:
        """The parts that are other than after the last shown message of the session; rings by index."""
        timeline, number, row = self._timeline, message.session, message.number - 1
        session = timeline.sessions[number - 1]
        done, before, known = self._now.get(number) or (0, session.initial(), None)
        rows = timeline.rows_of(number)
        if done < len(rows) and rows[done] == row:
            after, done = session.family.advance(before, message), done + 1
        else:  # messages between are not shown
            after = timeline.state(row)
            done = bisect_left(rows, row) + 1
        context = timeline.place(row).context
        self._now[number] = (done, after, context)
        if after is before and known == context:
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
