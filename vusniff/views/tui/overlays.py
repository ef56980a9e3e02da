"""What is shown over the timeline: lists to pick from and pages to read, and what a pick does. Knows no screen.

Each function returns an `Overlay`, which `screens.LinesScreen` shows, or None when there is nothing to show. The
reason has then been announced.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from vusniff.analysis.timeline import Timeline
from vusniff.checks.finding import Finding
from vusniff.checks.verdict import Verdict
from vusniff.errors import VusniffError
from vusniff.families.vhost_user.state import DeviceState
from vusniff.message import Message
from vusniff.printable import escape
from vusniff.values import dataclass
from vusniff.views import verdict
from vusniff.views.stacks import callers
from vusniff.views.tui import compare, features, memory, sessions
from vusniff.views.tui.analysis import States
from vusniff.views.tui.application import Application
from vusniff.views.tui.judging import Judging
from vusniff.views.tui.line import Part, TextLine, cut, line, text_lines, wrapped
from vusniff.views.tui.marks import MARKS
from vusniff.views.tui.state import reference_to

FINDINGS = 1000
"""Findings that are listed."""
VERDICTS = 100
"""Devices whose verdict is told."""
FULL = 20
"""Of them those with all that it rests on."""
PATIENCE = 0.5
"""Seconds that a key may take for another session's state."""
GO = "go to the message"
"""What Enter does in most lists."""


@dataclass(frozen=True, slots=True)
class Overlay:
    """Lines in a frame."""

    title: str
    make: Callable[[int], Sequence[TextLine]]
    """Width in cells -> the lines."""
    enter: str = ""
    """What Enter does; empty where there is nothing to pick."""
    key: str | None = None
    """Key of the line that the cursor begins on."""
    picked: Callable[[TextLine], None] | None = None
    """Called with the line that was picked."""
    orders: Sequence[tuple[str, Callable[[int], Sequence[TextLine]]]] = ()
    """The ways to arrange the lines, the first is that of ``make``: a word, and what makes them."""
    order: str = "sort"
    """What such a way is called."""


def explain(app: Application, chosen: TextLine | None) -> Overlay | None:
    """The selected request and the rules that it breaks in words; ``chosen`` is a line of the details with the focus,
    of which only the rule is explained where it is about one."""
    row = app.view.row
    if row is None:
        return None
    if chosen is not None and chosen.key and chosen.key.startswith("rule "):
        rule = chosen.key.split()[1]
        return Overlay(f"Rule {rule}", lambda width: page_lines([rule], width))
    rules = list(dict.fromkeys(finding.rule for finding in app.timeline.findings_at(row)))
    message = app.timeline.message(row)
    return Overlay(
        f"#{row + 1} {message.name}",
        lambda width: [*called_lines(message, width), *page_lines([*rules, message], width)],
    )


def called_lines(message: Message, width: int) -> list[TextLine]:
    """Who called whom in this capture, and who is known to send such a message: one below the other."""
    if message.stack is None:
        return []
    made = [line(("Who sent it", "heading"))]
    known = message.spec.sent_by if message.spec is not None else ""
    for label, words in (("here      ", callers(message.stack, 12)), ("known     ", known)):
        made += [TextLine(parts) for parts in wrapped(words.split(), width, f"  {label}", " " * 12)] if words else []
    return [*made, line()]


def page_lines(what: Sequence[Message | str], width: int) -> list[TextLine]:
    """Explanations of messages and rules one below the other, wrapped to a width in cells."""
    lines: list[TextLine] = []
    for one in what:
        lines += [line()] if lines else []
        for number, text in enumerate(_explained(one, width).rstrip("\n").split("\n")):
            head = not number or not text.startswith(" ")
            lines.append(line((text, "heading" if head else "")))
    return lines


def _explained(what: Message | str, width: int) -> str:
    from vusniff.views.explain import explain

    try:
        return explain(what, width=width)
    except VusniffError as error:
        return str(error)


def pick_finding(app: Application, judging: Judging) -> Overlay | None:
    """All findings; the picked one is gone to."""
    if not app.timeline.findings:
        app.announce("Nothing was found" + (" yet" if judging.words else ""))
        return None
    numbers = judging.numbers
    at = bisect_left(numbers, (app.view.row or 0) + 1)
    near = numbers[min(at, len(numbers) - 1)] if numbers else 0
    title = f"Findings: {judging.counts(False)}"
    orders = [(order, partial(finding_lines, app.timeline, order=order)) for order in FINDING_ORDERS]
    return Overlay(title, orders[0][1], GO, f"finding {near}", jump_of(app), orders)


def why(app: Application, judging: Judging) -> Overlay | None:
    """The verdict in full; Enter leads to the message it points to."""
    found = judging.verdicts
    if not found:
        app.announce(judging.sentence)
        return None
    enter = GO if found[0].number else ""
    return Overlay("Verdict", lambda width: why_lines(found, width), enter, picked=jump_of(app))


def why_lines(found: Sequence[Verdict], width: int) -> list[TextLine]:
    """The verdicts: the first in full, the others in a sentence each; every line leads to its message."""
    lines: list[TextLine] = []
    for position, one in enumerate(found[:VERDICTS]):
        lines += [line()] if lines else []
        jump = one.number
        style = "bad" if one.trouble else "heading"
        for parts in wrapped(escape(one.sentence).split(), width, "", "  "):
            lines.append(TextLine(tuple(Part(part.text, style) for part in parts), jump=jump))
        rows = verdict.why(one).rows if position < FULL else ()
        label = max((len(name) for name, _ in rows), default=0)
        for name, value in rows:
            for parts in wrapped(escape(value).split(), width, f"  {name:<{label}}  ", " " * (label + 4)):
                lines.append(TextLine(tuple(parts), jump=jump))
    if len(found) > VERDICTS:
        lines.append(line((f"{len(found) - VERDICTS:,} more devices", "dim")))
    return lines


FINDING_ORDERS: Mapping[str, Callable[[Finding], tuple[object, ...]]] = {
    "by message": lambda finding: (finding.number, finding.severity.rank),
    "worst first": lambda finding: (finding.severity.rank, finding.number),
    "by rule": lambda finding: (finding.rule, finding.number),
    "by session": lambda finding: (finding.session, finding.number),
}
"""How findings can be sorted."""


def finding_lines(timeline: Timeline, width: int, order: str = "by message") -> list[TextLine]:
    """All findings, each in two lines and more."""
    found = sorted(timeline.findings, key=FINDING_ORDERS[order])
    lines: list[TextLine] = []
    for finding in found[:FINDINGS]:
        letter, style = MARKS[finding.severity]
        sentence = escape(finding.sentence).split()
        for number, parts in enumerate(wrapped(sentence, width, f"{letter} #{finding.number:<7} ", " " * 11)):
            first = (Part(parts[0].text, style), *parts[1:]) if not number else parts
            lines.append(TextLine(first, jump=finding.number, key=f"finding {finding.number}" if not number else None))
        where = f"session {finding.session}, " if len(timeline.sessions) > 1 else ""
        rule = f"{' ' * 11}{where}{finding.rule} ({finding.section})"
        lines.append(line((cut(rule, width), "dim"), jump=finding.number))
    if len(found) > FINDINGS:
        lines.append(line((f"{len(found) - FINDINGS:,} more: vusniff check prints all", "dim")))
    return lines


def jump_of(app: Application) -> Callable[[TextLine], None]:
    """A pick that leads to the message of its line."""
    return lambda picked: app.jump_to(picked.jump - 1) if picked.jump else None


def feature_matrix(app: Application, states: States) -> Overlay | None:
    """Every feature bit as of the selected message."""
    selected = _state(app, states)
    if selected is None:
        return None
    row, state = selected
    refer = reference_to(app.timeline)
    return Overlay(
        f"Features after #{row + 1}",
        lambda width: features.matrix(app.timeline, row, state, width, refer),
        GO,
        picked=jump_of(app),
    )


def compare_sessions(app: Application, states: States, show: Callable[[Overlay | None], None]) -> Overlay | None:
    """Another session, at its end, beside this one as of the selected message; which one is asked where there are
    several, and ``show`` shows what was picked."""
    selected = _state(app, states)
    if selected is None:
        return None
    timeline = app.timeline
    session = timeline.place(selected[0]).session
    others = [known for known in timeline.sessions if known.number != session and known.count]
    if not others:
        app.announce("There is no other session to compare with")
        return None
    if len(others) == 1:
        return compared(app, states, selected, others[0].number)

    def picked(line: TextLine) -> None:
        if line.key is not None:
            show(compared(app, states, selected, int(line.key.removeprefix("session "))))

    previous = timeline.sessions[session - 1].previous or others[0].number
    return Overlay(
        f"Compare session {session} with",
        lambda width: sessions.session_lines(timeline, None, width, every=False, without=session),
        "compare",
        f"session {previous}",
        picked,
    )


def compared(app: Application, states: States, selected: tuple[int, DeviceState], other: int) -> Overlay | None:
    """Two sessions side by side, the earlier one first."""
    from vusniff.views import aligned  # the first picture does not wait for it

    timeline, (row, state) = app.timeline, selected
    session = timeline.place(row).session
    last = timeline.rows_of(other)[-1]
    ended = states.get(last) if states.step(last, PATIENCE) else None
    if ended is None:
        app.announce(f"Session {other} is still being worked out: press C again")
        return None
    if not isinstance(ended[1], DeviceState):
        app.announce("Sessions of two families are not compared here")
        return None
    pair = [(last, ended[1]), (row, state)]
    if other > session:
        pair.reverse()
    first, second = sorted((session, other))
    said = aligned.aligned(timeline, first, second)

    def lines(width: int) -> list[TextLine]:
        left_out = aligned.left_out(timeline, first) + aligned.left_out(timeline, second)
        more = [line((f"  {left_out:,} more messages are not compared here", "warn"))] if left_out else []
        return [
            *compare.compare_lines(timeline, pair[0], pair[1], width),
            line(),
            line(("  What was said, side by side", "heading"), ": = the same, ≠ differs, < > one only"),
            *text_lines(aligned.lines(said, width)),
            *more,
        ]

    return Overlay(f"Session {first}, then {second}", lines, GO, picked=jump_of(app))


def memory_map(app: Application, states: States) -> Overlay | None:
    """The memory table as of the selected message."""
    selected = _state(app, states)
    if selected is None:
        return None
    row, state = selected
    title = f"Memory after #{row + 1}"
    return Overlay(title, lambda width: memory.memory_lines(state, width), GO, picked=jump_of(app))


def _state(app: Application, states: States) -> tuple[int, DeviceState] | None:
    """The selected row and the state after it."""
    row = app.view.row
    if row is None:
        return None
    both = states.get(row)
    if both is None:
        app.announce("The state is still being worked out")
        return None
    if not isinstance(both[1], DeviceState):
        family = app.timeline.sessions[app.timeline.place(row).session - 1].family.name
        app.announce(f"This is for sessions of vhost-user: the state pane shows all that is known of one of {family}")
        return None
    return row, both[1]


def pick_session(app: Application) -> Overlay:
    """All sessions; the picked one is shown alone."""

    def picked(line: TextLine) -> None:
        if line.key is None:
            return
        number = int(line.key.removeprefix("session "))
        if number == 0:
            app.limit(None, "")
        else:
            app.limit(app.timeline.rows_of(number), f"session {number}", number)

    row, shown = app.view.row, app.view.session
    now = app.timeline.place(row).session if row is not None else 0
    return Overlay(
        sessions.counted(app.timeline),
        lambda width: sessions.session_lines(app.timeline, shown, width),
        "show it alone",
        f"session {now if shown is None else shown}",
        picked,
    )
