"""A capture and one of its sessions in plain values: what a summary words, and its JSON. Knows a timeline, no words."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vusniff.amounts import process as process_words
from vusniff.analysis.session import Session
from vusniff.analysis.timeline import Timeline
from vusniff.channel import Sender
from vusniff.families.family import State
from vusniff.families.registry import family_of
from vusniff.families.vhost_user.state import DeviceState, Seen
from vusniff.layouts import dissect
from vusniff.message import Context
from vusniff.meta import REPLY
from vusniff.record import CAPTURE_ENDED, Closed, Lost
from vusniff.views import evidence, phases, rings, state

if TYPE_CHECKING:
    pass

SLOWEST = 5
NAMED_BY = 256
"""Messages at the start of a session that are asked who sent them, where its connection does not tell."""


def overview(timeline: Timeline, files: Sequence[str]) -> dict[str, Any]:
    """What the capture holds: files, sources, messages, losses, notes of the reader, and its sessions."""
    index = timeline.index
    sections = {section: None for section in index.reader.sections if section.ours}
    lost = [event for _, event in index.events if isinstance(event, Lost)]
    closed_lost = sum(closed.lost for closed in index.closed.values())
    return {
        "files": list(files),
        "sources": [
            {
                "source": section.source,
                "application": section.application,
                "host": section.host.name,
                "os": section.host.os,
                "hardware": section.host.hardware,
                "edited": section.edited,
            }
            for section in sections
        ],
        "messages": len(timeline),
        "first_ns": index.time_ns[0] if len(timeline) else None,
        "last_ns": index.time_ns[-1] if len(timeline) else None,
        "connections": len(index.connections),
        "restated": sum(connection.restated for connection in index.connections),
        "lost": max(sum(event.count for event in lost), closed_lost),
        "notes": list(index.notes),
        "sessions": [_judged(timeline, session) for session in timeline.sessions],
    }


def _judged(timeline: Timeline, session: Session) -> dict[str, Any]:
    """A session, and how many different findings of each severity it has: one that repeats counts once."""
    from vusniff.checks.finding import Severity

    different = {(one.rule, one.side): one.severity for one in reversed(timeline.findings_of(session.number))}
    found = Counter(different.values())
    findings = {severity.value: found[severity] for severity in Severity}
    took = slowest(timeline, session.number, 1)
    return {**session_dict(timeline, session), "findings": findings, "slowest_answer": took[0] if took else None}


def session_dict(timeline: Timeline, session: Session) -> dict[str, Any]:
    """What a session is: path, peers, device, messages, when it began and how it ended."""
    frontend, backend = people(timeline, session)
    first = timeline.time_ns(session.first - 1)
    closed = session.closed
    rows = timeline.rows_of(session.number)
    return {
        "session": session.number,
        "path": session.path,
        "frontend": frontend,
        "backend": backend,
        "device": session.guess.device if session.guess else None,
        "messages": session.count,
        "first": session.first,
        "last": session.last,
        "began_ns": session.opened_ns if session.opened_ns is not None else first,
        "ended_ns": closed.time_ns if closed else None,
        "last_ns": timeline.time_ns(rows[-1]),
        "ended": ending(timeline, closed, session),
        "joined_late": session.joined_late,
        "previous": session.previous,
    }


def ending(timeline: Timeline, closed: Closed | None, session: Session | None = None) -> str:
    """How a connection ended, and who ended it; of a ``session`` also which processes ended."""
    if session is not None:
        exits = timeline.exits(next(iter(session.connections)))
        not_seen = session.following is not None and (closed is None or closed.reason == CAPTURE_ENDED)
        how = f"not seen; session {session.following} begins on the same path" if not_seen else ending(timeline, closed)
        return how + evidence.sentences(exits)
    if closed is None:
        return "open"
    sender = None if closed.by is None else timeline.tracker.sender(closed.connection, closed.by)
    roles = family_of(timeline.tracker.channel(closed.connection)).roles
    side = f" by the {roles[sender is Sender.BACKEND]}" if sender else ""
    return {"eof": f"closed{side}", "reset": f"reset{side}"}.get(closed.reason, closed.reason)


def people(timeline: Timeline, session: Session) -> tuple[str | None, str | None]:
    """Front-end and back-end of a session by process name and number, from its connection or from its messages."""
    main, _ = timeline.tracker.sides(session)
    found: dict[Sender | None, str] = {}
    for end in (0, 1):
        if main.ends[end].process is not None:
            found[timeline.tracker.sender(main.id, end)] = state.end_words(main, end)
    for row in timeline.rows_of(session.number)[:NAMED_BY]:
        if Sender.FRONTEND in found and Sender.BACKEND in found:
            break
        frame = timeline.frame(row)
        sender = timeline.place(row).sender(frame.end)
        if frame.process is not None and sender not in found:
            found[sender] = process_words(frame.process)
    return found.get(Sender.FRONTEND), found.get(Sender.BACKEND)


def account(timeline: Timeline, number: int) -> dict[str, Any]:
    """One session in full: peers, device, features, memory, rings, phases, slow replies, findings."""
    session = timeline.sessions[number - 1]
    rows = timeline.rows_of(number)
    row = rows[-1]
    device_state, context = timeline.session_state(number, row), timeline.place(row).context
    guess = session.guess
    return {
        **_judged(timeline, session),
        "programs": _programs(timeline, session, device_state),
        "guess": {"type": guess.device, "sure": guess.sure.value, "reasons": list(guess.reasons)} if guess else None,
        "connections": [_connection(timeline, session, connection) for connection in session.connections],
        **_features(device_state, context),
        "phases": [phases.phase_dict(phase) for phase in timeline.phases(number)],
        "slowest": slowest(timeline, number),
        "unanswered": unanswered(timeline, session),
        "findings_listed": _findings(timeline, number),
        "state": state.state_dict(device_state, context),
        "rings": [rings.account_dict(one) for one in timeline.ring_history.accounts(number)],
        "unreadable": timeline.ring_history.unreadable.get(number, {}),
    }


def _features(device_state: State, context: Context) -> dict[str, Any]:
    """What was negotiated bit by bit; None of a family that does not negotiate so."""
    if not isinstance(device_state, DeviceState):
        return {"features": None, "protocol_features": None}
    offered, taken = device_state.protocol_features_offered, device_state.protocol_features
    return {
        "features": negotiated(context, device_state.features_offered, device_state.features),
        "protocol_features": negotiated(context, offered, taken, protocol=True),
    }


def _programs(timeline: Timeline, session: Session, device_state: State) -> dict[str, str | None]:
    from vusniff.checks.peers import Implementation, recognise, told_apart

    found: dict[str, str | None] = {}
    offered = device_state.protocol_features_offered if isinstance(device_state, DeviceState) else None
    for sender, name in zip(Sender, people(timeline, session), strict=True):
        peer = told_apart(recognise(sender, name or ""), offered.value if offered else 0)
        found[sender.value] = None if peer.program is Implementation.UNKNOWN else peer.program.value
    return found


def _connection(timeline: Timeline, session: Session, number: int) -> dict[str, Any]:
    connection, closed = timeline.connection(number), timeline.closed(number)
    return {
        "connection": number,
        "path": connection.path,
        "channel": str(session.connections[number]),
        "opened_ns": connection.opened_ns,
        "joined_late": connection.joined_late,
        "ended": ending(timeline, closed),
        "lost": closed.lost if closed else 0,
    }


def negotiated(
    context: Context, offered: Seen[int] | None, taken: Seen[int] | None, protocol: bool = False
) -> dict[str, Any]:
    """Names of the bits that were offered, acknowledged, offered and not acknowledged, acknowledged and not offered."""

    def names(mask: int) -> list[str]:
        return state.feature_names(context, mask, protocol)

    has, takes = (None if seen is None else seen.value for seen in (offered, taken))
    both = has is not None and takes is not None
    return {
        "offered": None if has is None else names(has),
        "acknowledged": None if takes is None else names(takes),
        "refused": names((has or 0) & ~(takes or 0)) if both else None,
        "not_offered": names((takes or 0) & ~(has or 0)) if both else None,
    }


def _name(timeline: Timeline, row: int) -> str:
    channel, request = timeline.place(row).channel, timeline.index.request[row]
    spec = dissect.spec_of(channel, request)
    return spec.name if spec else family_of(channel).request_name(channel, request)


def slowest(timeline: Timeline, number: int, most: int = SLOWEST) -> list[dict[str, Any]]:
    """The replies that took longest, worst first, at most so many."""
    index, answers = timeline.index, timeline.answers
    waited = (
        (index.time_ns[row] - index.time_ns[answers[row] - 1], row)
        for row in timeline.rows_of(number)
        if answers[row] and index.meta[row] & REPLY
    )
    return [
        {"name": _name(timeline, row), "request": answers[row], "reply": row + 1, "latency_ns": latency}
        for latency, row in heapq.nlargest(most, waited)
    ]


def unanswered(timeline: Timeline, session: Session) -> list[dict[str, Any]]:
    """Requests that should have been answered and were not, oldest first."""
    end_ns = session.closed.time_ns if session.closed else timeline.index.time_ns[-1]
    return [
        {
            "name": _name(timeline, pending.number - 1),
            "request": pending.number,
            "waited_ns": max(end_ns - pending.time_ns, 0),
        }
        for pending in timeline.tracker.pending(session.number)
    ]


def _findings(timeline: Timeline, number: int) -> list[dict[str, Any]]:
    """The findings of a session, what is equal once, causes first."""
    from vusniff.checks.ranking import ranked

    told = ranked(timeline.findings_of(number), timeline.checker.counts)
    return [
        {
            "rule": one.finding.rule,
            "severity": one.finding.severity.value,
            "side": one.finding.side.value,
            "section": one.finding.section,
            "sentence": one.finding.sentence,
            "number": one.finding.number,
            "evidence": list(one.finding.evidence),
            "times": one.times,
            "numbers": list(one.numbers),
            "explained_by": (
                {"rule": one.explained_by.rule, "number": one.explained_by.number} if one.explained_by else None
            ),
        }
        for one in told
    ]


def summary_dict(timeline: Timeline, files: Sequence[str], number: int) -> dict[str, Any]:
    """The same as JSON."""
    from vusniff.views import verdict

    return {
        "verdicts": [verdict.verdict_dict(one) for one in verdict.of(timeline)],
        "capture": overview(timeline, files),
        "session": account(timeline, number) if number else None,
    }
