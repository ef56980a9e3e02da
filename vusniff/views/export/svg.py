"""A sequence diagram as SVG: lanes from top to bottom, requests as arrows, replies drawn back.

Every text is cut to what fits; widths are those of a monospaced font. The picture follows the reader's light or dark
scheme and needs no script and no network.
"""

from __future__ import annotations

import html
from collections.abc import Iterator

from vusniff.printable import escape
from vusniff.views.export.chosen import Chosen
from vusniff.views.export.sequence import Sequence, SequenceRow, sequence

_LEFT = 150
"""Where the first lane stands: room for number and time."""
_LANE = 430
"""Between the two lanes of a channel."""
_GAP = 130
"""Between channels."""
_RIGHT = 90
_TOP = 76
_CHARACTER = 6.6
"""Width of a character of the small font."""
_STYLE = """
text { font: 12px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; fill: #1c2024; }
.small { font-size: 11px; fill: #5b636c; }
.who { font-weight: 700; }
.name { font-weight: 700; }
.lane { stroke: #b8c0c8; stroke-dasharray: 2 4; }
.request { stroke: #0b57d0; stroke-width: 1.5; }
.reply { stroke: #48525c; stroke-width: 1.2; stroke-dasharray: 6 4; }
.failed { stroke: #b3261e; }
.finding { fill: #b3261e; }
.phase { fill: #eef2f6; }
.paper { fill: #ffffff; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6e9ec; } .small { fill: #a3adb7; } .paper { fill: #15191d; } .phase { fill: #232a31; }
  .lane { stroke: #4a545e; } .request { stroke: #7cacf8; } .reply { stroke: #b8c0c8; }
  .failed { stroke: #ff8a80; } .finding { fill: #ff8a80; }
}
"""
_MARKERS = "".join(
    f'<marker id="{name}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" '
    f'orient="auto-start-reverse"><path d="{path}" fill="{fill}" stroke="context-stroke"/></marker>'
    for name, path, fill in (("full", "M0 0 L10 5 L0 10 z", "context-stroke"), ("open", "M0 0 L10 5 L0 10", "none"))
)


def svg(chosen: Chosen) -> Iterator[str]:
    """The picture."""
    ladder = yield from sequence(chosen)
    body: list[str] = []
    y = _TOP
    for step in ladder.steps:
        y = _step(ladder, step, y, body)
        yield ""
    if ladder.left_out:
        y += 26
        body.append(_text(_LEFT, y, f"{ladder.left_out} more messages are not shown", "small"))
    lanes = len(ladder.lanes)
    width = max(_lane_x(lanes - 1) + _RIGHT, 760) if lanes else 760
    height = y + 30
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{_escape("vhost-user messages of " + ", ".join(chosen.names))}">\n'
        f"<style>{_STYLE}</style><defs>{_MARKERS}</defs>\n"
        f'<rect class="paper" width="{width}" height="{height}"/>\n'
    )
    for position, lane in enumerate(ladder.lanes):
        x = _lane_x(position)
        if lane.frontend:
            yield _text(x, 18, _cut(lane.title, _LANE), "small")
        yield _text(x, 40, _cut(lane.who, _LANE - 20), "who", "start" if lane.frontend else "middle")
        yield f'<line class="lane" x1="{x}" y1="52" x2="{x}" y2="{height - 16}"/>\n'
    yield from body
    yield "</svg>\n"


def _lane_x(position: int) -> int:
    pair, second = divmod(position, 2)
    return _LEFT + pair * (_LANE + _GAP) + second * _LANE


def _step(ladder: Sequence, step: SequenceRow, y: int, body: list[str]) -> int:
    """Draw one step below ``y``; returns where it ends."""
    front, back = _lane_x(ladder.lane(step, True)), _lane_x(ladder.lane(step, False))
    asks, answers = (front, back) if step.from_frontend else (back, front)
    if step.phase:
        y += 24
        body.append(f'<rect class="phase" x="{front}" y="{y - 14}" width="{back - front}" height="20" rx="3"/>\n')
        body.append(_text((front + back) // 2, y, step.phase, "small", "middle"))
    y += 30
    number = f"#{step.first}" if step.first == step.last else f"#{step.first}-{step.last}"
    body.append(_text(8, y - 4, number, "small"))
    body.append(_text(_LEFT - 12, y - 4, f"{(step.time_ns - ladder.first_ns) / 1e9:.6f}", "small", "end"))
    if step.request:
        title = step.name + (f" x{step.count}" if step.count > 1 else "")
        body.append(_label(front + 10, y - 4, title, step.details))
        body.append(_arrow(asks, answers, y, "request" + (" failed" if step.failed and step.reply is None else "")))
        y += 4
    if step.reply is not None:
        y += 20 if step.request else 0
        title = "" if step.request else f"{step.name} reply"
        body.append(_label(front + 10, y - 4, title, step.reply))
        body.append(_arrow(answers, asks, y, "reply" + (" failed" if step.failed else "")))
    for finding in step.findings:
        y += 18
        body.append(_text(front + 10, y, _cut(finding, _LANE - 20), "small finding"))
    return y


def _arrow(start: int, end: int, y: int, kind: str) -> str:
    marker = "full" if kind.startswith("request") else "open"
    end += -2 if end > start else 2
    return f'<line class="{kind}" x1="{start}" y1="{y}" x2="{end}" y2="{y}" marker-end="url(#{marker})"/>\n'


def _label(x: int, y: int, name: str, details: str) -> str:
    """A name and, as far as there is room, its details."""
    room = _LANE - 24 - len(name) * 7.3
    shown = _cut(details, room) if details else ""
    bold = f'<tspan class="name">{_escape(name)}</tspan> ' if name else ""
    return f'<text x="{x}" y="{y}" xml:space="preserve">{bold}<tspan class="small">{_escape(shown)}</tspan></text>\n'


def _text(x: int, y: int, words: str, kind: str, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x}" y="{y}" text-anchor="{anchor}">{_escape(words)}</text>\n'


def _cut(words: str, room: float) -> str:
    most = max(int(room / _CHARACTER), 4)
    return words if len(words) <= most else words[: most - 3] + "..."


def _escape(words: str) -> str:
    """Text that XML can hold."""
    return html.escape(escape(words))
