"""A bug report in Markdown: the summary page of each session, its findings, and the messages as a table."""

from __future__ import annotations

from collections.abc import Iterator

from vusniff.views import account, summary, words
from vusniff.views.export.chosen import Chosen
from vusniff.views.page import Page, Section, Table, markdown

MESSAGES = 500
_DETAILS = 160


def report(chosen: Chosen) -> Iterator[str]:
    """The report."""
    sessions = yield from chosen.sessions()
    capture = account.overview(chosen.timeline, chosen.names)
    for number in sessions:
        yield from chosen.phases(number)
        yield markdown(summary.summary_page(chosen.timeline, chosen.names, number, capture)) + "\n"
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
    made = markdown(Page("Messages", [Section(title, [table])]))
    yield made.partition("\n\n")[2]
