"""Evidence other than messages in a capture file: one custom block each, JSON like all of ours (see `facts`).

Keys of every kind: ``vusniff``, ``kind``, ``time_ns``, ``ends`` (of [connection, end]; a connection by its number in
the file, counted as ``continues`` counts). The rest are the kind's own; `KINDS` is the table of them, and a new kind is
a row there. Of a kind that is not in it everything is kept: a reader of today loses nothing of a newer capture.

Building takes our own records; reading takes anything: what is not of the expected type is left out or no evidence.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from vusniff.capture import dumps, faults, samples
from vusniff.capture.facts import FORMAT_VERSION, TEXT_LIMIT, dump, integer, load, text
from vusniff.record import Ends, Evidence, Exit, Fault, LogLine, OtherEvidence, RingDump, Sample
from vusniff.values import dataclass, replace

SIZE_LIMIT = 256 << 10
"""Bytes of a block that is read."""
DATA_LIMIT = SIZE_LIMIT // 2
"""Largest JSON of an unknown kind, in bytes. Written again with larger connection numbers it still fits a block."""
ENDS_LIMIT = 4096
"""Ends that one block names. Evidence of more ends takes several blocks."""
KIND_LIMIT = 64
"""Characters of the name of a kind."""
_BLOCK = 20
"""Bytes of a block around its text."""
NAME_LIMIT = 64
"""Characters of the name of a program in a log."""
LEVELS = frozenset({"error", "warning", "info", "debug"})
"""What a line of a log may be."""
_COMMON = frozenset({"vusniff", "kind", "time_ns", "ends"})

Facts = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class EvidenceFormat:
    """How one kind of evidence is written and read."""

    type: type[Exit] | type[Sample] | type[RingDump] | type[LogLine] | type[Fault]
    """The record."""
    build: Callable[[Any], dict[str, Any]]
    """Its own keys."""
    parse: Callable[[Facts, int, Ends], Evidence | None]
    """Keys, time and ends -> the record; None when a key that it needs is missing."""


def _exit_facts(one: Exit) -> dict[str, Any]:
    facts = {"pid": one.pid, "status": one.status, "signal": one.signal, "core": one.dumped_core}
    known = {key: value for key, value in facts.items() if value is not None}
    return known | ({"comm": one.comm[:TEXT_LIMIT]} if one.comm else {})


def _parse_exit(facts: Facts, time_ns: int, ends: Ends) -> Exit:
    core = facts.get("core")
    return Exit(
        time_ns,
        integer(facts.get("pid"), 1),
        text(facts.get("comm")) or "",
        integer(facts.get("status"), 0, (1 << 32) - 1),
        integer(facts.get("signal"), 1, 127),
        core if isinstance(core, bool) else None,
        ends,
    )


def _log_facts(one: LogLine) -> dict[str, Any]:
    facts: dict[str, Any] = {"log": one.log[:TEXT_LIMIT], "line": one.number, "text": one.text[:TEXT_LIMIT]}
    return facts | {name: value[:NAME_LIMIT] for name in ("level", "program") if (value := getattr(one, name))}


def _parse_log(facts: Facts, time_ns: int, ends: Ends) -> LogLine | None:
    said, level = text(facts.get("text")), text(facts.get("level")) or ""
    if said is None:
        return None
    return LogLine(
        time_ns,
        text(facts.get("log")) or "",
        integer(facts.get("line")) or 0,
        said,
        level if level in LEVELS else "",
        (text(facts.get("program")) or "")[:NAME_LIMIT],
        ends,
    )


KINDS: dict[str, EvidenceFormat] = {
    "exit": EvidenceFormat(Exit, _exit_facts, _parse_exit),
    "sample": EvidenceFormat(Sample, samples.build, samples.parse),
    "dump": EvidenceFormat(RingDump, dumps.build, dumps.parse),
    "log": EvidenceFormat(LogLine, _log_facts, _parse_log),
    "fault": EvidenceFormat(Fault, faults.build, faults.parse),
}
"""Name in the file -> how it is written and read."""
_NAMES = {kind.type: name for name, kind in KINDS.items()}


def kind_of(one: Evidence) -> str:
    """The name of its kind."""
    return one.kind if isinstance(one, OtherEvidence) else _NAMES[type(one)]


def build(one: Evidence) -> bytes:
    """What a block says of it; its ends name connections as the file does."""
    name = kind_of(one)
    own = load(one.data.encode()) if isinstance(one, OtherEvidence) else KINDS[name].build(one)
    facts: dict[str, Any] = {"vusniff": FORMAT_VERSION, "kind": name, "time_ns": one.time_ns}
    if one.ends:
        facts["ends"] = one.ends
    return dump(facts | {key: value for key, value in own.items() if key not in _COMMON})


def size(one: Evidence) -> int:
    """About how many bytes it takes in a file."""
    return len(build(one)) + _BLOCK


def pieces(one: Evidence) -> Iterator[Evidence]:
    """The evidence in as many pieces as its ends need. Each piece is evidence by itself."""
    if len(one.ends) <= ENDS_LIMIT:
        yield one
        return
    for at in range(0, len(one.ends), ENDS_LIMIT):
        yield replace(one, ends=one.ends[at : at + ENDS_LIMIT])


def parse(facts: Facts, connection: Callable[[int], int | None]) -> Evidence | None:
    """One piece of evidence, or None. ``connection`` gives the id of the n-th connection of the file."""
    name, time_ns = text(facts.get("kind")), integer(facts.get("time_ns"))
    if not name or len(name) > KIND_LIMIT or time_ns is None:
        return None
    ends = _ends(facts.get("ends"), connection)
    kind = KINDS.get(name)
    if kind is not None:
        return kind.parse(facts, time_ns, ends)
    try:
        data = json.dumps({key: value for key, value in facts.items() if key not in _COMMON}, allow_nan=False)
    except (ValueError, RecursionError):  # no number that JSON has, or lists within lists
        return None
    if len(data) > DATA_LIMIT:
        return None
    return OtherEvidence(name, time_ns, data, ends)


def _ends(stated: object, connection: Callable[[int], int | None]) -> Ends:
    """The ends that are there in this file, each once."""
    found: dict[tuple[int, int], None] = {}
    for pair in stated[:ENDS_LIMIT] if isinstance(stated, list) else ():
        if isinstance(pair, list) and len(pair) == 2:
            ordinal, end = integer(pair[0], 1), integer(pair[1], 0, 1)
            known = None if ordinal is None or end is None else connection(ordinal)
            if known is not None and end is not None:
                found[known, end] = None
    return tuple(found)
