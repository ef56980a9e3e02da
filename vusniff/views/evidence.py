"""Evidence other than messages, in words and as JSON: one row of `KINDS` for each kind.

The line for people begins with ``# ``. JSON objects have a key ``kind``, which messages have not; docs/jsonl.md and
docs/evidence.schema.json describe them. A kind without a row is shown raw.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from vusniff.amounts import duration, signal_name
from vusniff.analysis.rings import Doing, RingChange, RingChanges, kick_waits, numbers
from vusniff.analysis.session import Tracker
from vusniff.capture.evidence import kind_of
from vusniff.printable import escape, escape_json
from vusniff.record import Ends, Evidence, Exit, Fault, FaultAct, LogLine, OtherEvidence, Position, RingDump, Sample
from vusniff.values import fields
from vusniff.views.jsonl import descriptor_dict

RAW_LIMIT = 160
"""Characters of unknown evidence in a line."""


class EvidenceView(NamedTuple):
    """How one kind is shown."""

    words: Callable[[Any], str]
    """In a sentence without a full stop, with names as they are."""
    values: Callable[[Any], dict[str, Any]]
    """Its own keys."""


def _exit_words(one: Exit) -> str:
    who = f"{one.comm or 'process'} ({one.pid})" if one.pid is not None else one.comm or "a process"
    if one.signal is not None:
        return f"{who} was killed by {signal_name(one.signal)}{' (core dumped)' if one.dumped_core else ''}"
    return f"{who} ended" if one.status is None else f"{who} exited with status {one.status}"


def _exit_values(one: Exit) -> dict[str, Any]:
    return {
        "pid": one.pid,
        "comm": one.comm,
        "status": one.status,
        "signal": one.signal,
        "signal_name": None if one.signal is None else signal_name(one.signal),
        "dumped_core": one.dumped_core,
    }


RINGS_SHOWN = 4
"""Rings of a sample in a line."""


def _sample_words(one: Sample) -> str:
    said = [_ring_words(position) for position in one.rings[:RINGS_SHOWN]]
    if len(one.rings) > RINGS_SHOWN:
        said.append(f"and {len(one.rings) - RINGS_SHOWN} more rings")
    said += _unreadable_words(one)
    if one.dirty_pages is not None:
        said.append(f"{one.dirty_pages} pages are set in the dirty log")
    return "; ".join(said) or "rings were looked at"


def _unreadable_words(one: Sample) -> list[str]:
    said = [f"{what} is not readable: {why}" for what, why in one.unreadable[:RINGS_SHOWN]]
    if len(one.unreadable) > RINGS_SHOWN:
        said.append(f"and {len(one.unreadable) - RINGS_SHOWN} more that are not readable")
    return said


def _ring_words(one: Position) -> str:
    waits = "" if one.waiting_ns is None else f", waiting for {duration(one.waiting_ns)}"
    told = f" (place told by {one.told_by})" if one.told_by else ""
    return f"ring {one.ring}: {one.in_flight} in flight (available {one.available}, used {one.used}){waits}{told}"


def _sample_values(one: Sample) -> dict[str, Any]:
    return {
        "rings": [ring_values(position) for position in one.rings],
        "unreadable": [{"what": what, "why": why} for what, why in one.unreadable],
        "dirty_pages": one.dirty_pages,
    }


def ring_values(one: Position) -> dict[str, Any]:
    """Where a ring stood, as JSON."""
    return {field.name: getattr(one, field.name) for field in fields(Position)}


def _dump_words(one: RingDump) -> str:
    from vusniff.views import chains  # with all layouts: not for captures without a dump

    return chains.words(one)


def _dump_values(one: RingDump) -> dict[str, Any]:
    from vusniff.views import chains

    return chains.values(one)


def _log_words(one: LogLine) -> str:
    level = f"{one.level}: " if one.level in ("error", "warning") else ""
    return f"{one.program or 'a program'} wrote ({one.log}:{one.number}): {level}{one.text}"


def _log_values(one: LogLine) -> dict[str, Any]:
    return {
        "log": one.log,
        "line": one.number,
        "text": one.text,
        "level": one.level or None,
        "program": one.program or None,
    }


def _fault_words(one: Fault) -> str:
    """``rule 1: the proxy sends ...``."""
    if one.act is FaultAct.RULES:
        return f"the proxy does what rules ask for: {'; '.join(one.text.splitlines()) or one.words}"
    if one.act is FaultAct.TAKES:
        if one.words:
            return f"rule {one.rule}: the next message {one.words}"
        return f"rule {one.rule} takes the next message: {one.text or ', '.join(one.actions)}"
    return f"rule {one.rule}: the proxy {one.words or 'did ' + ', '.join(one.actions)}"


def _fault_values(one: Fault) -> dict[str, Any]:
    return {
        "id": one.id,
        "act": one.act.value,
        "rule": one.rule,
        "text": one.text or None,
        "actions": list(one.actions),
        "words": one.words or None,
        "to": one.to,
        "size": one.size,
        "times": one.times,
        "changes": [{"offset": at, "hex": data.hex()} for at, data in one.changes],
        "made": one.made,
        "fds": None if one.descriptors is None else [descriptor_dict(fd) for fd in one.descriptors],
    }


KINDS: dict[type, EvidenceView] = {
    Exit: EvidenceView(_exit_words, _exit_values),
    Sample: EvidenceView(_sample_words, _sample_values),
    RingDump: EvidenceView(_dump_words, _dump_values),
    LogLine: EvidenceView(_log_words, _log_values),
    Fault: EvidenceView(_fault_words, _fault_values),
}


def sentence(one: Evidence) -> str:
    """What it says, in printable characters."""
    if not isinstance(one, OtherEvidence):
        return escape(KINDS[type(one)].words(one))
    said = f'unknown evidence "{one.kind}" {one.data}'
    return escape(said if len(said) <= RAW_LIMIT else said[:RAW_LIMIT] + " ...")


class Narrator:
    """Evidence in sentences, in order: of samples only what has changed and matters, mostly nothing."""

    def __init__(self, tracker: Tracker) -> None:
        self._changes = RingChanges(tracker)

    def sentence(self, one: Evidence) -> str:
        """What it says, in printable characters; nothing where nobody wants to know."""
        if not isinstance(one, Sample):
            return sentence(one)
        said = [change_words(change) for change in self._changes.take(one)]
        return escape("; ".join([*said, *_unreadable_words(one)]))

    def line(self, one: Evidence) -> str:
        """It between the lines of messages."""
        said = self.sentence(one)
        return f"# {said}\n" if said else ""


def change_words(change: RingChange) -> str:
    """What rings have come to do, and who said where they are if that was not witnessed."""
    told = next((one.told_by for one in change.positions if one.told_by), "")
    return _change_words(change) + (f" (place told by {told})" if told else "")


def _change_words(change: RingChange) -> str:
    rings = change.positions
    who, many = numbers(one.ring for one in rings), len(rings) > 1
    if change.doing is Doing.MOVING:
        if change.before is Doing.NOT_SERVED:
            return f"{who} {'go' if many else 'goes'} on after {duration(max(one.waiting_ns or 0 for one in rings))}"
        return f"{who} {'move' if many else 'moves'}"
    if change.doing is Doing.NO_BUFFERS:
        return f"{who} {'have' if many else 'has'} no buffers: the driver has made none available for a second"
    waits = max(one.waiting_ns or 0 for one in rings)
    unread = " (kick not read)" if all(map(kick_waits, rings)) else ""
    flights = sorted({one.in_flight for one in rings})
    flight = f"{flights[0]}{f' to {flights[-1]}' if len(flights) > 1 else ''}"
    return f"{who} {'are' if many else 'is'} not served: {flight} in flight, nothing used for {duration(waits)}{unread}"


def sentences(found: Iterable[Exit]) -> str:
    """What to say behind how a connection ended: ``; qemu (12) was killed by SIGKILL``, or nothing."""
    return "".join(f"; {_exit_words(one)}" for one in found)


def json_line(one: Evidence, tracker: Tracker) -> str:
    """It between the JSON lines of messages."""
    values: dict[str, Any] = {"kind": kind_of(one), "time_ns": one.time_ns, "ends": _ends(one.ends, tracker)}
    if not isinstance(one, OtherEvidence):
        values |= KINDS[type(one)].values(one)
    text = json.dumps(values, separators=(",", ":"))
    if isinstance(one, OtherEvidence):  # as it is: its numbers may be of any size
        text = f'{text[:-1]},"data":{one.data}}}'
    return escape_json(text) + "\n"


def _ends(ends: Ends, tracker: Tracker) -> list[dict[str, Any]]:
    made = []
    for connection, end in ends:
        sender = tracker.sender(connection, end)
        side = sender.value if sender else None
        session = tracker.session_of(connection)
        made.append({"session": session, "connection": connection, "end": end, "side": side})
    return made


def is_of(one: Evidence, session: int | None, tracker: Tracker) -> bool:
    """Whether it is about a session; all of it is where none is asked for."""
    return session is None or any(tracker.session_of(connection) == session for connection, _ in one.ends)
