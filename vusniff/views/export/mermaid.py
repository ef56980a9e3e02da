"""A sequence diagram in the language of Mermaid, as documentation on GitHub and GitLab takes it."""

from __future__ import annotations

from collections.abc import Iterator

from vusniff.printable import escape
from vusniff.views.export.chosen import Chosen
from vusniff.views.export.sequence import Sequence, SequenceRow, sequence

_DETAILS = 120


def mermaid(chosen: Chosen) -> Iterator[str]:
    """The text of a diagram; Markdown shows it in a code block of the language ``mermaid``."""
    ladder = yield from sequence(chosen)
    yield "sequenceDiagram\n"
    for position in range(0, len(ladder.lanes), 2):
        yield f"    box {_text(ladder.lanes[position].title)}\n"
        for lane in (position, position + 1):
            yield f"    participant P{lane} as {_text(ladder.lanes[lane].who)}\n"
        yield "    end\n"
    for step in ladder.steps:
        yield from _step(ladder, step)
    if ladder.left_out and ladder.lanes:
        yield f"    Note over P0: {ladder.left_out} more messages are not shown\n"


def _step(ladder: Sequence, step: SequenceRow) -> Iterator[str]:
    front, back = ladder.lane(step, True), ladder.lane(step, False)
    asks, answers = (front, back) if step.from_frontend else (back, front)
    if step.phase:
        yield f"    Note over P{front},P{back}: {_text(step.phase)}\n"
    if step.request:
        times = f" x{step.count}" if step.count > 1 else ""
        yield f"    P{asks}->>P{answers}: {_text(f'{step.name}{times} {step.details}')}\n"
    if step.reply is not None:
        arrow = "--x" if step.failed else "-->>"
        words = step.reply if step.request else f"{step.name} {step.reply}"
        yield f"    P{answers}{arrow}P{asks}: {_text(words)}\n"
    for finding in step.findings:
        yield f"    Note right of P{back}: {_text(finding)}\n"


def _text(words: str) -> str:
    """Text that Mermaid leaves as it is; never empty."""
    short = escape(words).strip()
    if len(short) > _DETAILS:
        short = short[:_DETAILS] + "..."
    # Its own way to write characters that would end or structure a line.
    return "".join(f"#{ord(c)};" if c in '#;<>{}"' else c for c in short) or "-"
