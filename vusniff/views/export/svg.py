"""A sequence diagram as SVG: lanes from top to bottom, requests as arrows, replies drawn back.

Lanes stand as far apart as the longest text needs, up to a bound; what is longer is cut. Widths are those of a
monospaced font. The colour of an arrow is its sender's. The picture follows the reader's light or dark scheme and
needs no script and no network. In a page its numbers lead to the messages (``#m12``).
"""

from __future__ import annotations

import html
from collections.abc import Iterator

from vusniff.printable import escape
from vusniff.values import dataclass, field
from vusniff.views.export.chosen import Chosen
from vusniff.views.export.sequence import Sequence, SequenceRow, sequence

_LEFT = 150
"""Where the first lane stands: room for number and time."""
_NARROW, _WIDE, _WIDEST = 430, 640, 900
"""Between the two lanes of a channel: at least, at most, and at most where there is one channel only."""
_GAP = 130
"""Between channels: at least."""
_APART = 16
"""Between the boxes of two neighbours."""
_RIGHT = 90
_TOP = 84
_CHARACTER, _BOLD = 6.6, 7.3
"""Width of a character of the small font, and of a bold one."""
_STYLE = """
.ladder text { font: 12px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; fill: #1c2024; }
.ladder text.small, .ladder .small { font-size: 11px; fill: #5b636c; }
.ladder .who, .ladder .name { font-weight: 700; }
.ladder a text { fill: #0b57d0; text-decoration: underline; }
.ladder .head { fill: #f3f5f7; stroke: #b8c0c8; }
.ladder .lane { stroke: #b8c0c8; stroke-dasharray: 2 4; }
.ladder .request { stroke-width: 1.5; }
.ladder .reply { stroke-width: 1.2; stroke-dasharray: 6 4; }
.ladder .front { stroke: #0b57d0; } .ladder .back { stroke: #146c2e; }
.ladder .failed { stroke: #b3261e; }
.ladder .finding { fill: #b3261e; }
.ladder .phase { fill: #e6ebf0; }
.ladder .paper { fill: #ffffff; }
@media (prefers-color-scheme: dark) {
  .ladder text { fill: #e6e9ec; } .ladder text.small, .ladder .small { fill: #a3adb7; }
  .ladder a text { fill: #8ab8ff; }
  .ladder .paper { fill: #15191d; } .ladder .phase { fill: #2a323a; } .ladder .head { fill: #1e242a; stroke: #4a545e; }
  .ladder .lane { stroke: #4a545e; } .ladder .front { stroke: #7cacf8; } .ladder .back { stroke: #7fd19b; }
  .ladder .failed { stroke: #ff8a80; } .ladder .finding { fill: #ff8a80; }
}
"""
_MARKERS = "".join(
    f'<marker id="{name}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" '
    f'orient="auto-start-reverse"><path d="{path}" fill="{fill}" stroke="context-stroke"/></marker>'
    for name, path, fill in (("full", "M0 0 L10 5 L0 10 z", "context-stroke"), ("open", "M0 0 L10 5 L0 10", "none"))
)


def svg(chosen: Chosen, links: bool = False) -> Iterator[str]:
    """The picture; with ``links`` its numbers lead to the messages in the same page."""
    ladder = yield from sequence(chosen)
    drawing = _LadderPicture(ladder, links)
    y = _TOP
    for step in ladder.steps:
        y = drawing.step(step, y)
        yield ""
    if ladder.left_out:
        y += 26
        drawing.body.append(_text(_LEFT, y, f"{ladder.left_out} more messages are not shown", "small"))
    width, height = drawing.width, y + 30
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="ladder" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" '
        f'aria-label="{_escape("vhost-user messages of " + ", ".join(chosen.names))}">\n'
        f"<style>{_STYLE}</style><defs>{_MARKERS}</defs>\n"
        f'<rect class="paper" width="{width}" height="{height}"/>\n'
    )
    yield from drawing.heads(height)
    yield from drawing.body
    yield "</svg>\n"


@dataclass(slots=True)
class _LadderPicture:
    ladder: Sequence
    links: bool
    lane: int = _NARROW
    """Between the two lanes of a channel."""
    gap: int = _GAP
    """Between channels."""
    body: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        most = _WIDEST if len(self.ladder.lanes) <= 2 else _WIDE
        self.lane = max(_NARROW, min(most, max(map(_needs, self.ladder.steps), default=0)))
        neighbours = range(1, len(self.ladder.lanes) - 1, 2)
        boxes = ((self._head(one) + self._head(one + 1)) // 2 + _APART for one in neighbours)
        self.gap = max(_GAP, *boxes, 0)

    @property
    def width(self) -> int:
        """Of the whole picture."""
        lanes = len(self.ladder.lanes)
        room = max(_RIGHT, self._head(lanes - 1) // 2 + 12) if lanes else 0
        return max(self._x(lanes - 1) + room, 760) if lanes else 760

    def _x(self, position: int) -> int:
        pair, second = divmod(position, 2)
        return _LEFT + pair * (self.lane + self.gap) + second * self.lane

    def _head(self, position: int) -> int:
        """Width of the box on a lane: as long as its text, where it has room for that."""
        room = 2 * (_LEFT - 6) if not position else self.lane + _GAP - 20
        return int(min(len(self.ladder.lanes[position].who) * _BOLD + 20, room, self.lane - 20))

    def heads(self, height: int) -> Iterator[str]:
        """The lanes, each with a box that says who it is."""
        for position, lane in enumerate(self.ladder.lanes):
            x, size = self._x(position), self._head(position)
            if lane.frontend:
                yield _text(x, 18, _cut(lane.title, self.lane), "small")
            yield f'<rect class="head" x="{x - size // 2}" y="28" width="{size}" height="24" rx="4"/>\n'
            yield _text(x, 44, _cut(lane.who, (size - 12) * _CHARACTER / _BOLD), "who", "middle")
            yield f'<line class="lane" x1="{x}" y1="52" x2="{x}" y2="{height - 16}"/>\n'

    def step(self, step: SequenceRow, y: int) -> int:
        """Draw one step below ``y``; returns where it ends."""
        body = self.body
        front, back = (self._x(self.ladder.lane(step, side)) for side in (True, False))
        asks, answers = (front, back) if step.from_frontend else (back, front)
        sender, other = ("front", "back") if step.from_frontend else ("back", "front")
        if step.phase:
            y += 24
            body.append(f'<rect class="phase" x="{front}" y="{y - 14}" width="{back - front}" height="20" rx="3"/>\n')
            body.append(_text((front + back) // 2, y, step.phase, "small", "middle"))
        y += 30
        number = f"#{step.first}" if step.first == step.last else f"#{step.first}-{step.last}"
        shown = _text(8, y - 4, number, "small")
        body.append(f'<a href="#m{step.first}">{shown.rstrip()}</a>\n' if self.links else shown)
        body.append(_text(_LEFT - 12, y - 4, f"{(step.time_ns - self.ladder.first_ns) / 1e9:.6f}", "small", "end"))
        if step.request:
            title = step.name + (f" x{step.count}" if step.count > 1 else "")
            body.append(self._label(front + 10, y - 4, title, step.details))
            failed = " failed" if step.failed and step.reply is None else ""
            body.append(_arrow(asks, answers, y, f"request {sender}{failed}"))
            y += 4
        if step.reply is not None:
            y += 20 if step.request else 0
            title = "" if step.request else f"{step.name} reply"
            body.append(self._label(front + 10, y - 4, title, step.reply))
            body.append(_arrow(answers, asks, y, f"reply {other}{' failed' if step.failed else ''}"))
        for finding in step.findings:
            y += 18
            body.append(_text(front + 10, y, _cut(finding, self.lane - 20), "small finding"))
        return y

    def _label(self, x: int, y: int, name: str, details: str) -> str:
        """A name and, as far as there is room, its details."""
        shown = _cut(details, self.lane - 24 - len(name) * _BOLD) if details else ""
        bold = f'<tspan class="name">{_escape(name)}</tspan> ' if name else ""
        small = f'<tspan class="small">{_escape(shown)}</tspan>'
        return f'<text x="{x}" y="{y}" xml:space="preserve">{bold}{small}</text>\n'


def _needs(step: SequenceRow) -> int:
    """Width that the texts of a step need between their lanes."""
    asked = len(step.name) * _BOLD + len(step.details) * _CHARACTER
    answered = len(step.reply or "") * _CHARACTER + (0 if step.request else (len(step.name) + 7) * _BOLD)
    found = max((len(finding) for finding in step.findings), default=0) * _CHARACTER
    return int(max(asked, answered, found)) + 40


def _arrow(start: int, end: int, y: int, kind: str) -> str:
    marker = "full" if kind.startswith("request") else "open"
    end += -2 if end > start else 2
    return f'<line class="{kind}" x1="{start}" y1="{y}" x2="{end}" y2="{y}" marker-end="url(#{marker})"/>\n'


def _text(x: int, y: int, words: str, kind: str, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x}" y="{y}" text-anchor="{anchor}">{_escape(words)}</text>\n'


def _cut(words: str, room: float) -> str:
    most = max(int(room / _CHARACTER), 4)
    return words if len(words) <= most else words[: most - 3] + "..."


def _escape(words: str) -> str:
    """Text that XML can hold."""
    return html.escape(escape(words))
