"""Who called whom, over all chosen messages: as folded text, and as a flame graph in SVG.

Folded text is what Brendan Gregg's flamegraph.pl, speedscope and others read: functions from the outermost to the
innermost with ``;`` between them, and a number: here of messages. The name of the message stands on top, as the call
that it is. The picture is one file without scripts; a name that does not fit stands in the title of its box.
"""

from __future__ import annotations

from collections import Counter
from html import escape as escape_html

from vusniff.printable import escape
from vusniff.record import Stack
from vusniff.values import dataclass, field
from vusniff.views import stacks, words
from vusniff.views.export.chosen import Chosen, Texts

WIDTH, ROW, LETTER = 1200, 17, 6.7
"""Of the picture, a box and a character, in pixels."""
BOXES = 20_000
"""Most boxes of a picture."""
_COLOURS = {True: "#f4b266", False: "#d9d9d9"}
"""Of the program's own functions, and of libraries' that all have."""
_MESSAGE = "#8fc1e3"
_NONE = "no call stack was recorded"


@dataclass(slots=True)
class _Box:
    name: str
    colour: str
    count: int = 0
    inner: dict[str, _Box] = field(default_factory=dict)


def _counted(chosen: Chosen) -> Texts[Counter[tuple[str, Stack | None, str]]]:
    """Process, stack and name of the message -> how many there are."""
    found: Counter[tuple[str, Stack | None, str]] = Counter()
    for number, message in enumerate(chosen.messages()):
        process = message.process.comm if message.process else "unknown"
        found[process, message.stack, words.title_of(message)] += 1
        if not number % 4096:
            yield ""
    return found


def _path(process: str, stack: Stack | None, name: str) -> list[tuple[str, str]]:
    """Names and colours from the outermost to the innermost."""
    path = [(escape(process), _COLOURS[False])]
    if stack is None or not stack.entries:
        path.append((_NONE if stack is None else f"({escape(stack.cut)})", _COLOURS[False]))
    else:
        if stack.cut:
            path.append((f"({escape(stack.cut)})", _COLOURS[False]))
        path += [(stacks.name_of(one), _COLOURS[stacks.is_own(one)]) for one in reversed(stack.entries)]
    return [*path, (name, _MESSAGE)]


def folded(chosen: Chosen) -> Texts[None]:
    """The text, most messages first."""
    found = yield from _counted(chosen)
    for (process, stack, name), count in found.most_common():
        path = ";".join(one.replace(";", ":") for one, _ in _path(process, stack, name))
        yield f"{path} {count}\n"


def svg(chosen: Chosen) -> Texts[None]:
    """The picture, outermost functions below."""
    found = yield from _counted(chosen)
    root, boxes, depth = _Box(", ".join(map(escape, chosen.names)), _COLOURS[False]), 0, 1
    for (process, stack, name), count in found.most_common():
        at = root
        at.count += count
        path = _path(process, stack, name)
        depth = max(depth, len(path) + 1)
        for one, colour in path:
            if one not in at.inner:
                boxes += 1
                if boxes > BOXES:
                    break
                at.inner[one] = _Box(one, colour)
            at = at.inner[one]
            at.count += count
    height = (depth + 2) * ROW
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="monospace" '
        f'font-size="11">\n<rect width="{WIDTH}" height="{height}" fill="white"/>\n'
        f'<text x="4" y="13">{root.count} messages by who called whom, in {escape_html(root.name)}</text>\n'
    )
    waiting = [(root, 0.0, 0)]
    scale = WIDTH / max(root.count, 1)
    while waiting:
        box, left, row = waiting.pop()
        width, top = box.count * scale, height - (row + 1) * ROW
        label, fits = escape_html(box.name), int(width / LETTER) - 1
        many = f"{box.count} message{'s' if box.count > 1 else ''}"
        shown = label if len(box.name) <= fits else escape_html(box.name[: fits - 1]) + "…" if fits > 3 else ""
        yield (
            f'<g><title>{label}: {many}</title><rect x="{left:.1f}" y="{top}" width="{max(width - 0.5, 0.5):.1f}" '
            f'height="{ROW - 1}" fill="{box.colour}"/><text x="{left + 3:.1f}" y="{top + 12}">{shown}</text></g>\n'
        )
        for inner in box.inner.values():
            waiting.append((inner, left, row + 1))
            left += inner.count * scale
    yield "</svg>\n"
