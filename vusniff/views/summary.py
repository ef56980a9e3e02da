"""The one page that a bug report needs: what a capture holds, and one of its sessions in full.

Words for what `vusniff.views.account` gathers. Knows a timeline, no screen.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from vusniff.amounts import counted
from vusniff.analysis.timeline import Timeline
from vusniff.families.family import State
from vusniff.families.registry import channel_named, family_of
from vusniff.families.vhost_user.protocol import Channels
from vusniff.families.vhost_user.state import DeviceState
from vusniff.printable import escape
from vusniff.views import page, phases, rings, state, words
from vusniff.views.account import account, overview
from vusniff.views.page import Items, NamedValues, Page, PageSection, Table

UNANSWERED = 10
FINDINGS = 20
RINGS = 32
REGIONS = 16
PHASES = 24
SESSIONS = 40
CHANNELS: dict[str, str] = {
    Channels.MAIN: "main channel",
    Channels.BACKEND: "back-end channel",
    Channels.GPU: "GPU socket",
}


def _stream(channel: str) -> str:
    """What a connection beside the main one is called."""
    known = CHANNELS.get(channel)
    if known is None:
        named = channel_named(channel)
        known = "other stream" if named is family_of(named).unknown else f"{channel} channel"
    return known


def moment(time_ns: int) -> str:
    """A time as everybody reads it: UTC, microseconds."""
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(time_ns // 10**9))}.{time_ns // 1000 % 10**6:06d} UTC"


def _counted(findings: dict[str, int]) -> str:
    parts = [f"{count} {name}{'s' if count > 1 else ''}" for name, count in findings.items() if count]
    return ", ".join(parts) or "none"


def lasted_words(session: dict[str, Any]) -> str:
    """How long a session took, so far where it goes on."""
    end_ns = session["ended_ns"] or session["last_ns"]
    return words.duration(max(end_ns - session["began_ns"], 0)) + ("" if session["ended_ns"] else " so far")


def _ended_words(ended: str) -> str:
    """How a session ended; one that is open may have lost a process."""
    how, separator, exits = ended.partition("; ")
    return "still open when the capture ended" + separator + exits if how == "open" else ended


def _capture_section(values: dict[str, Any]) -> PageSection:
    first_ns, connections = values["first_ns"], values["connections"]
    lasted = "" if first_ns is None else f", in {words.duration(values['last_ns'] - first_ns)}"
    sources = [
        " ".join(
            filter(
                None, (one["source"], f"on {one['host']}" if one["host"] else "", f"({one['os']})" if one["os"] else "")
            )
        )
        for one in values["sources"]
    ]
    again = f"; {restated} of them restated: sent before this file begins" if (restated := values["restated"]) else ""
    where = f"on {connections} connection{'s' if connections != 1 else ''}{lasted}"
    lost = "nothing, as far as known"
    if values["lost"]:
        lost = f"{counted(values['lost'], 'message')}: what follows a loss may be wrong"
    known = page.facts(
        ("files", ", ".join(values["files"])),
        ("seen by", "; ".join(sources)),
        ("written by", ", ".join({source["application"]: None for source in values["sources"]})),
        ("messages", f"{values['messages']} {where}{again}"),
        *(() if first_ns is None else (("first", moment(first_ns)),)),
        ("lost", lost),
        *(("edited", escape("; ".join(one["edited"]))) for one in values["sources"] if one["edited"]),
        *(("note", note) for note in values["notes"]),
    )
    return PageSection("Capture", [known])


def _slowest_words(took: dict[str, Any] | None) -> str:
    """The answer that took longest in a session: how long, and to what."""
    return f"{words.duration(took['latency_ns'])} {took['name']} #{took['request']}" if took else "-"


def _sessions_section(values: dict[str, Any]) -> PageSection:
    def row(session: dict[str, Any]) -> Sequence[str]:
        return (
            str(session["session"]),
            session["path"],
            session["frontend"] or "unknown",
            session["backend"] or "unknown",
            session["device"] or "unknown",
            str(session["messages"]),
            lasted_words(session),
            _slowest_words(session["slowest_answer"]),
            session["ended"],
            _counted(session["findings"]),
        )

    every = values["sessions"]
    rows = page.shortened(list(map(row, every)), SESSIONS)
    columns = (
        "#",
        "path",
        "front-end",
        "back-end",
        "device",
        "messages",
        "lasted",
        "slowest answer",
        "ended",
        "findings",
    )
    return PageSection("Sessions", [Table(columns, rows)])


def _who_section(session: dict[str, Any], roles: tuple[str, str]) -> PageSection:
    guess, many = session["guess"], counted(session["messages"], "message")

    def who(side: str) -> str:
        program = session["programs"][side]
        return (session[side] or "unknown") + (f": {program}" if program else "")

    rows: list[tuple[str, str | None]] = [
        ("path", session["path"]),
        (roles[0], who("frontend")),
        (roles[1], who("backend")),
        (
            "device",
            f"{guess['type']} ({guess['sure']}: {'; '.join(guess['reasons'])})"
            if guess
            else "unknown (nothing seen identifies it)",
        ),
        ("lasted", f"{lasted_words(session)} from {moment(session['began_ns'])}, {many}"),
        ("ended", _ended_words(session["ended"])),
        ("joined late", "what came before the first message is unknown" if session["joined_late"] else None),
        ("reconnect", f"follows session {session['previous']} on the same path" if session["previous"] else None),
    ]
    for connection in session["connections"][1:]:
        lost = f", {counted(connection['lost'], 'message')} lost" if connection["lost"] else ""
        rows.append((_stream(connection["channel"]), f"{connection['path']}, {connection['ended']}{lost}"))
    return PageSection(f"Session {session['session']}", [page.facts(*rows)])


def _features_section(session: dict[str, Any]) -> PageSection:
    rows: list[tuple[str, str | None]] = []
    for title, key in (("features", "features"), ("protocol features", "protocol_features")):
        values = session[key]
        if values is None:
            continue
        if values["offered"] is None and values["acknowledged"] is None:
            rows.append((title, "unknown (neither offered nor acknowledged in what was seen)"))
            continue
        if values["acknowledged"] is None:
            rows.append((f"{title} offered", words.names(values["offered"])))
            rows.append((title, "not acknowledged"))
            continue
        rows.append((f"{title} negotiated", words.names(values["acknowledged"])))
        if values["refused"] is None:
            rows.append((title, "what was offered was not seen"))
        else:
            rows.append(("  offered, not acknowledged", words.names(values["refused"])))
            rows.append(
                ("  acknowledged, not offered", words.names(values["not_offered"]) if values["not_offered"] else None)
            )
    return PageSection("Negotiated", [page.facts(*rows)])


def _state_sections(device_state: State) -> Iterator[PageSection]:
    if not isinstance(device_state, DeviceState):
        for one in device_state.tables():
            table = Table(one.columns, page.shortened(list(one.rows), RINGS))
            yield PageSection(one.title, [table if one.rows else Items(["nothing seen"])])
        return
    columns = state.VRING_COLUMNS
    chosen = [
        columns.index(name)
        for name in ("vring", "state", "enabled", "size", "base", "descriptor", "kick", "call", "err")
    ]
    rows = [state.vring_row(device_state, device_state.vrings[index]) for index in sorted(device_state.vrings)]
    if rows:
        cells = [tuple(row[place] for place in chosen) for row in rows]
        table = Table([columns[place] for place in chosen], page.shortened(cells, RINGS))
        yield PageSection("Vrings, at the end", [table])
    else:
        yield PageSection("Vrings, at the end", [Items(["none set up" if device_state.fresh else "unknown"])])
    if device_state.regions:
        regions = [state.region_row(*region) for region in enumerate(device_state.regions)]
        parts: list[page.Part] = [Table(state.MEMORY_COLUMNS, page.shortened(regions, REGIONS))]
        if device_state.regions_part:
            parts.append(Items([state.OTHER_REGIONS]))
        yield PageSection("Memory", parts)
    else:
        yield PageSection("Memory", [Items([state.no_regions(device_state)])])
    rest = list(state.rest_rows(device_state))
    if rest:
        yield PageSection("Also set", [NamedValues(rest)])


def _rings_sections(timeline: Timeline, number: int) -> Iterator[PageSection]:
    """Where the rings stood and what they did, where samples tell."""
    history = timeline.ring_history
    rows = [rings.account_row(one) for one in history.accounts(number)]
    why = [f"{what} is not readable: {why}" for what, why in history.unreadable.get(number, {}).items()]
    parts: list[page.Part] = [Table(rings.ACCOUNT_COLUMNS, page.shortened(rows, RINGS))] if rows else []
    if why:
        parts.append(Items(why[:RINGS]))
    if parts:
        yield PageSection("Rings, by samples of their memory", parts)


def _phases_section(timeline: Timeline, number: int) -> PageSection:
    rows = [phases.phase_row(phase, timeline.time_ns(0)) for phase in timeline.phases(number)]
    return PageSection("Phases", [Table(phases.COLUMNS, page.shortened(rows, PHASES))])


def _answers_section(session: dict[str, Any]) -> PageSection:
    parts: list[page.Part] = []
    if session["slowest"]:
        rows = [
            (words.duration(one["latency_ns"]), one["name"], f"#{one['request']}", f"#{one['reply']}")
            for one in session["slowest"]
        ]
        parts.append(Table(("slowest", "request", "asked", "answered"), rows))
    missing = session["unanswered"]
    lines = [
        f"{one['name']} (#{one['request']}) was never answered, in {words.duration(one['waited_ns'])}"
        for one in missing[:UNANSWERED]
    ]
    if len(missing) > UNANSWERED:
        lines.append(f"... and {len(missing) - UNANSWERED} more were never answered")
    parts.append(Items(lines or ["every request that asks for an answer has one"]))
    return PageSection("Answers", parts)


def _findings_section(session: dict[str, Any], roles: tuple[str, str]) -> PageSection:
    lines = []
    for one in session["findings_listed"]:
        others = [f"#{number}" for number in one["evidence"] if number != one["number"]]
        beside = f" (see {', '.join(others[:6])})" if others else ""
        again = f" ({one['times']} times)" if one["times"] > 1 else ""
        by = one["explained_by"]
        why = f" (explained by {by['rule']} #{by['number']})" if by else ""
        side = dict(zip(("frontend", "backend"), roles, strict=True)).get(one["side"], one["side"])
        lines.append(
            f"{one['severity']} #{one['number']} {side}: {one['sentence']}{beside}{again}{why} [{one['rule']}]"
        )
    if len(lines) > FINDINGS:
        lines[FINDINGS:] = [f"... and {len(lines) - FINDINGS} other faults: vusniff check lists them all"]
    return PageSection(f"Findings: {_counted(session['findings'])}", [Items(lines)] if lines else [])


def summary_page(timeline: Timeline, files: Sequence[str], number: int) -> Page:
    """The page: the capture, its sessions where there are several, and one of them in full; 0 for none."""
    from vusniff.views import verdict  # with all rules, which `diff` does not need

    values = overview(timeline, files)
    sections = [*capture_sections(values), *(session_sections(timeline, number) if number else [])]
    return Page(page_title(timeline, files), sections, verdict.lead(verdict.of(timeline)))


def page_title(timeline: Timeline, files: Sequence[str]) -> str:
    """What stands above all."""
    families = dict.fromkeys(connection.family for connection in timeline.index.connections)
    return f"{' and '.join(families)} capture {', '.join(files)}"


def capture_sections(values: dict[str, Any]) -> list[PageSection]:
    """The capture, and its sessions where there are several; ``values`` is what `overview` said."""
    several = [_sessions_section(values)] if len(values["sessions"]) > 1 else []
    return [_capture_section(values), *several]


def session_sections(timeline: Timeline, number: int) -> list[PageSection]:
    """One session in full."""
    session = account(timeline, number)
    device_state = timeline.session_state(number, timeline.rows_of(number)[-1])
    roles = timeline.sessions[number - 1].family.roles
    return [
        _who_section(session, roles),
        _findings_section(session, roles),
        *([] if session["features"] is None else [_features_section(session)]),
        _phases_section(timeline, number),
        _answers_section(session),
        *_rings_sections(timeline, number),
        *_state_sections(device_state),
    ]
