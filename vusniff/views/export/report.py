"""A bug report in Markdown, to be pasted into an issue tracker.

What decides stands open: the verdict, and of each session who spoke, what was negotiated and what was found. The rest
is folded (``<details>``, which GitHub and GitLab unfold on a click): the capture, rings, memory, phases, messages.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vusniff.views import account, summary, verdict, words
from vusniff.views.export.chosen import Chosen
from vusniff.views.markdown import literal
from vusniff.views.page import Items, Page, PageSection, Table, markdown, markdown_of_sections

SESSIONS = 100
"""Sessions in full: nobody reads more, and the table before them tells of all."""
MESSAGES = 500
_DETAILS = 160


def report(chosen: Chosen) -> Iterator[str]:
    """The report."""
    sessions = yield from chosen.sessions()
    timeline = chosen.timeline
    capture = account.overview(timeline, chosen.names)
    lead = verdict.lead(verdict.of(timeline))
    yield markdown(Page(summary.page_title(timeline, chosen.names), [], lead))
    for number in sessions[:SESSIONS]:
        yield from chosen.phases(number)
        sections = summary.session_sections(timeline, number)
        yield markdown_of_sections(sorted(filter(_is_open, sections), key=_place))
        yield folded(f"Session {number} in full", [one for one in sections if not _is_open(one)])
    yield folded("The capture", summary.capture_sections(capture))
    if left := sessions[SESSIONS:]:
        with_findings = [number for number in left if timeline.findings_of(number)]
        said = f"{len(with_findings)} of them have findings" if with_findings else "none of them has a finding"
        first = f", the first is session {with_findings[0]}" if with_findings else ""
        how = f"{said}{first}; --session N chooses one, vusniff check lists the findings of all"
        yield markdown_of_sections([PageSection(f"{len(left)} more sessions are not shown", [Items([how])])])
    most = chosen.limit or MESSAGES
    rows = []
    for message in chosen.messages(most):
        title = words.title_of(message)
        details = words.summary(message)
        if message.descriptors:
            details += f" {words.descriptors(message.descriptors)}"
        if len(details) > _DETAILS:
            details = details[:_DETAILS] + "..."
        found = "; ".join(f"{one.severity}: {one.rule}" for one in chosen.findings(message.number))
        seconds = f"{(message.time_ns - chosen.first_ns) / 1e9:.6f}"
        cells = (str(message.number), seconds, words.role(message), title, details, found)
        rows.append((str(message.session), *cells) if len(sessions) > 1 else cells)
        yield ""
    columns = ("number", "time", "from", "message", "what it says", "findings")
    left_out = len(chosen.rows) - len(rows)
    title = "Messages" if left_out <= 0 else f"Messages (the first {len(rows)}; {left_out} more are not shown)"
    table = Table(("session", *columns) if len(sessions) > 1 else columns, rows)
    yield folded(title, [PageSection("", [table])])


OPEN = ("Session ", "Negotiated", "Findings: ")
"""Beginnings of the titles of a session's sections that are not folded, in their order."""


def _is_open(section: PageSection) -> bool:
    return section.title.startswith(OPEN)


def _place(section: PageSection) -> int:
    return next(place for place, name in enumerate(OPEN) if section.title.startswith(name))


def folded(title: str, sections: Sequence[PageSection]) -> str:
    """Sections behind a line that unfolds them; a section without a title has no heading."""
    if not sections:
        return ""
    inside = "".join(
        markdown_of_sections([one]) if one.title else markdown_of_sections([one]).partition("\n\n")[2]
        for one in sections
    )
    return f"\n<details>\n<summary>{literal(title)}</summary>\n\n{inside.strip()}\n\n</details>\n"
