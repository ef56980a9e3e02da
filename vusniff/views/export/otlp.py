"""A capture as OpenTelemetry traces in JSON: a trace a session, with spans of its phases and of requests up to replies.

One line a session: an ``ExportTraceServiceRequest`` of the OTLP/JSON encoding (opentelemetry-proto, ids in hexadecimal,
64-bit numbers as strings). A collector reads it with its receiver ``otlpjsonfile``, or takes a line by HTTP at
``/v1/traces``. Ids are worked out from the capture, so that the same capture gives the same trace.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from vusniff.checks.finding import Severity
from vusniff.families.phase import Phase
from vusniff.message import Message
from vusniff.printable import escape, escape_json
from vusniff.views import evidence, words
from vusniff.views.export.chosen import Chosen, result

_INTERNAL, _CLIENT, _PRODUCER = 1, 3, 4
"""Span.SpanKind."""
_ERROR = 2
"""Status.StatusCode."""


def otlp(chosen: Chosen) -> Iterator[str]:
    """A line for each session."""
    sessions = result(chosen.sessions())
    spans: dict[int, list[dict[str, Any]]] = defaultdict(list)
    phases = {session: result(chosen.phases(session)) for session in sessions}
    traces = {session: _trace(chosen, session) for session in sessions}
    for message in chosen.messages():
        if not message.answers:
            spans[message.session].append(_span(chosen, traces[message.session], phases[message.session], message))
    ends = _ends(chosen)
    for session in sessions:
        about, trace = chosen.timeline.sessions[session - 1], traces[session]
        first_ns, last_ns = (chosen.timeline.time_ns(number - 1) for number in (about.first, about.last))
        whole = {
            **_named(trace, "session", f"{about.family.name} {about.path}", _INTERNAL),
            **_times(
                min([first_ns, *(phase.start_ns for phase in phases[session])]),
                max([last_ns, *(phase.end_ns for phase in phases[session])]),
            ),
            "attributes": _attributes(
                {
                    "vhost.session": session,
                    "vhost.path": about.path,
                    "vhost.device": about.guess.device if about.guess else "unknown",
                    "vhost.messages": about.count,
                }
            ),
            "events": ends.get(session, []),
        }
        parts = [
            {
                **_named(trace, f"phase {number}", phase.kind.value, _INTERNAL, "session"),
                **_times(phase.start_ns, phase.end_ns),
                "attributes": _attributes({"vhost.messages": phase.count}),
            }
            for number, phase in enumerate(phases[session])
        ]
        resource = {"attributes": _attributes({"service.name": about.family.name, "vhost.path": about.path})}
        scope = {"scope": {"name": "vusniff"}, "spans": [whole, *parts, *spans.pop(session, [])]}
        document = {"resourceSpans": [{"resource": resource, "scopeSpans": [scope]}]}
        yield escape_json(json.dumps(document, separators=(",", ":"))) + "\n"


def _span(chosen: Chosen, trace: str, phases: tuple[Phase, ...], message: Message) -> dict[str, Any]:
    """A request up to its reply, or anything else that was said, as long as nothing."""
    answered = message.answered_by
    end_ns = chosen.timeline.time_ns(answered - 1) if answered else message.time_ns
    around = next((at for at, one in enumerate(phases) if one.first <= message.number <= one.last), None)
    found = chosen.findings(message.number) + (chosen.findings(answered) if answered else ())
    span = {
        **_named(
            trace,
            f"message {message.number}",
            message.name,
            _CLIENT if answered else _PRODUCER,
            "session" if around is None else f"phase {around}",
        ),
        **_times(message.time_ns, max(end_ns, message.time_ns)),
        "attributes": _attributes(
            {
                "vhost.message": message.number,
                "vhost.reply": answered,
                "vhost.channel": str(message.channel),
                "vhost.sender": message.sender.value if message.sender else "unknown",
                "vhost.values": words.summary(message),
                "vhost.descriptors": ", ".join(map(words.descriptor, message.descriptors)),
            }
        ),
        "events": [
            {
                "timeUnixNano": str(chosen.timeline.time_ns(one.number - 1)),
                "name": escape(one.sentence),
                "attributes": _attributes({"vhost.rule": one.rule, "vhost.severity": str(one.severity)}),
            }
            for one in found
        ],
    }
    if wrong := [one for one in found if one.severity is Severity.ERROR]:
        span["status"] = {"code": _ERROR, "message": escape(wrong[0].sentence)}
    return span


def _ends(chosen: Chosen) -> dict[int, list[dict[str, Any]]]:
    """Evidence other than messages, as events of sessions."""
    tracker = chosen.timeline.tracker
    found: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for _, one in chosen.evidence():
        for session in dict.fromkeys(tracker.session_of(connection) or 0 for connection, _ in one.ends):
            found[session].append({"timeUnixNano": str(one.time_ns), "name": evidence.sentence(one)})
    return found


def _trace(chosen: Chosen, session: int) -> str:
    about = chosen.timeline.sessions[session - 1]
    told = f"{about.path} {session} {chosen.timeline.time_ns(about.first - 1)}"
    return hashlib.blake2b(told.encode("utf-8", "backslashreplace"), digest_size=16).hexdigest()


def _named(trace: str, which: str, name: str, kind: int, parent: str | None = None) -> dict[str, Any]:
    above = {} if parent is None else {"parentSpanId": _id(trace, parent)}
    return {"traceId": trace, "spanId": _id(trace, which), **above, "name": escape(name), "kind": kind}


def _id(trace: str, which: str) -> str:
    return hashlib.blake2b(f"{trace} {which}".encode(), digest_size=8).hexdigest()


def _times(start_ns: int, end_ns: int) -> dict[str, str]:
    return {"startTimeUnixNano": str(start_ns), "endTimeUnixNano": str(end_ns)}


def _attributes(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in values.items() if value not in (None, "")]


def _value(value: int | str) -> dict[str, str]:
    return {"intValue": str(value)} if isinstance(value, int) else {"stringValue": escape(value)}
