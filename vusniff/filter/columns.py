"""What a filter can tell from the columns of an index, without reading a message.

Of every part of a filter two texts can be made: one that is true at least where the part is true, and one that is true
at most there. For the header and the connection both are the same, and the filter needs nothing else; for the others
the first leaves the rows that have to be read. A row is ``row``, its columns are the letters of `LETTERS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from vusniff.families.vhost_user.protocol import CHANNELS
from vusniff.filter.field import Key, Origin
from vusniff.filter.source import Source
from vusniff.filter.tree import All, Named, Node, Not, Odd, Operator, Range, Test
from vusniff.filter.tree import Any as Either

LETTERS = "rzmpta"
"""request, size, meta (see `vusniff.capture.batch`), place, time_ns, answer."""
NIBBLE = 15
"""The bits of a message's flags that its meta has."""

_HEADER = "(not m & 192 and (r or m & 15 or headed(row)))"
"""The row has a header. A request of 0 with flags of 0 may be bytes without one, which only its bytes can tell."""
_NUMBERS = {
    "vhost.size": "z",
    "vhost.number": "(row + 1)",
    "vhost.time": "(t - first)",
    "vhost.request": "r",
    "vhost.version": "(m & 3)",
    "vhost.reply": "(m >> 2 & 1)",
    "vhost.need_reply": "(m >> 3 & 1)",
    "vhost.flags": "(m & 15)",
}
_ANSWERS = {"vhost.answers": "m & 4 and a", "vhost.answered_by": "not m & 4 and a", "vhost.latency": "a"}
_HEADED = frozenset({"vhost.request", "vhost.version", "vhost.reply", "vhost.need_reply", "vhost.flags"})
_OF_PLACE = frozenset({"vhost.channel", "vhost.session", "sock.connection", "sock.path"})
_OF_END = frozenset({"vhost.sender"})
_OF_NAME = frozenset({"vhost.name"})

KIND_SHIFT = 50
HEADLESS_SHIFT = 55
"""Where kind and lack of a header stand in the number by which names are looked up."""
CHANNEL_NUMBERS: dict[str, int] = {channel: number for number, channel in enumerate(CHANNELS)}


def key_number(channel: str, request: int, reply: bool) -> int:
    """A `Key` as one number, as the columns give it."""
    return CHANNEL_NUMBERS[channel] << 40 | request << 1 | reply


@dataclass
class Columns:
    """Texts about columns, and what they look values up in."""

    source: Source = field(default_factory=Source)
    places: list[tuple[str, Test]] = field(default_factory=list)
    """Name of a list, and the test whose result it holds by place."""
    ends: list[tuple[str, Test]] = field(default_factory=list)
    """The same by place and sending end."""
    names: list[tuple[str, Test]] = field(default_factory=list)
    """Name of a dict, and the test whose result it holds by channel, request and kind of row."""

    def text(self, node: Node, most: bool) -> str:
        """True at least where a node is (``most``), or at most there."""
        match node:
            case Not(of):
                return _negated(self.text(of, not most))
            case All(of):
                return _joined("and", [self.text(part, most) for part in of], "True", "False")
            case Either(of):
                return _joined("or", [self.text(part, most) for part in of], "False", "True")
            case Odd(of):
                if len(of) == 2:
                    one, other = of
                    return self.text(Either((All((one, Not(other))), All((Not(one), other)))), most)
                if not all(map(exact, of)):
                    return "True" if most else "False"
                return f"({' + '.join(f'bool({self.text(part, most)})' for part in of)}) % 2 == 1"
        return self.test(node) if exact(node) else self.guess(node, most)

    def test(self, test: Test) -> str:
        """A test that columns decide."""
        name = test.field.name
        if name in _OF_PLACE:
            return f"{self._table(self.places, 'place', test)}[p]"
        if name in _OF_END:
            return f"{self._table(self.ends, 'end', test)}[p << 1 | m >> 5 & 1]"
        if name in _OF_NAME or test.operator in (Operator.CONTAINS, Operator.MATCHES):
            # A row without a header has a name by its kind; with flags and request of 0 only its bytes tell.
            table = self._table(self.names, "name", test)
            headless = f"(not (r or m & 207 or headed(row))) << {HEADLESS_SHIFT}"
            return f"{table}[channel[p] | r << 1 | (m >> 6 & 3) << {KIND_SHIFT} | {headless}]"
        if name in _ANSWERS:
            return self._answer(test)
        value = _NUMBERS[name]
        if test.operator is Operator.PRESENT and test.mask is None:
            return _HEADER if name in _HEADED else "True"
        fits = f"({self.source.fits(test, value, 'word[p]')})"
        return f"({_HEADER} and {fits})" if name in _HEADED and _fits_zero(test) else fits

    def _answer(self, test: Test) -> str:
        there = _ANSWERS[test.field.name]
        if test.operator is Operator.PRESENT and test.mask is None:
            return f"bool({there})"
        value = "abs(t - times[a - 1])" if test.field.name == "vhost.latency" else "a"
        return f"bool({there} and {self.source.fits(test, value, '')})"

    def guess(self, test: Test, most: bool) -> str:
        """A test that columns do not decide, but perhaps for some rows."""
        origin = test.field.origin
        if origin is Origin.PROCESS:
            # Who sent it stands in the row's options, or else it is who sits at the end.
            of_end = f"{self._table(self.ends, 'end', test)}[p << 1 | m >> 5 & 1]"
            return f"(m & 16 or {of_end})" if most else f"(not m & 16 and {of_end})"
        if not most:
            return "False"
        if origin is Origin.DESCRIPTOR:
            return "m & 16" if test.field.several or not _fits_zero(test) else "True"
        if origin is Origin.FINDING:
            return "row in flagged"
        if origin is Origin.PAYLOAD and test.field.keys:
            return self._keys(test.field.keys)
        if test.field.name == "vhost.flags" and test.operator is Operator.EQ and test.mask is None:
            wanted = test.values[0]
            assert isinstance(wanted, int)
            return f"m & {NIBBLE} == {wanted & NIBBLE}"
        return "True"

    def _keys(self, keys: frozenset[Key]) -> str:
        known = frozenset(key_number(key.channel, key.request, key.reply) for key in keys if key.request is not None)
        every = frozenset(key.channel for key in keys if key.request is None)
        parts = [f"(channel[p] | r << 1 | m >> 2 & 1) in {self.source.bind(known)}"] if known else []
        if every:
            parts.append(f"m & 4 and word[p] in {self.source.bind(frozenset(every))}")
        return f"({' or '.join(parts)})"

    def _table(self, tables: list[tuple[str, Test]], letter: str, test: Test) -> str:
        name = self.source.variable(letter)
        tables.append((name, test))
        return name


def exact(node: Node) -> bool:
    """Columns alone decide it."""
    match node:
        case Not(of):
            return exact(of)
        case All(of) | Either(of) | Odd(of):
            return all(map(exact, of))
    if node.field.name == "vhost.flags":
        return node.mask is not None and 0 <= node.mask <= NIBBLE
    return node.field.origin in (Origin.HEADER, Origin.CONNECTION, Origin.ANSWER)


def _negated(text: str) -> str:
    return {"True": "False", "False": "True"}.get(text) or f"(not {text})"


def _joined(word: str, parts: list[str], neutral: str, fixed: str) -> str:
    parts = [part for part in dict.fromkeys(parts) if part != neutral]
    if fixed in parts:
        return fixed
    return f"({f' {word} '.join(parts)})" if parts else neutral


def _fits_zero(test: Test) -> bool:
    """A test may hold for the value 0."""
    if test.mask is not None:
        return True
    if test.operator in (Operator.GT, Operator.GE):
        least = test.values[0]
        return not isinstance(least, int) or least < (0 if test.operator is Operator.GT else 1)
    if test.operator not in (Operator.EQ, Operator.IN):
        return True
    for value in test.values:
        least = value.low if isinstance(value, Range) else value
        if isinstance(value, Named):
            least = min(code for _, code in value.keys)
        if not isinstance(least, int) or (least <= 0 if isinstance(value, Range) else least == 0):
            return True
    return False


Scan = Callable[[int, int], list[int]]


def compile_scan(most: str, least: str | None = None) -> Any:
    """The code of ``scan(start, stop)``: the rows for which ``most`` is true; with ``least`` each doubled, plus one
    where that is true as well. Its columns are R, Z, M, P, T, A.
    """
    item = "row" if least is None else f"row << 1 | bool({least})"
    used = [letter for letter in LETTERS if _uses(f"{most} {least}", letter)]
    columns = "".join(f", {letter.upper()}[start:stop]" for letter in used)
    rows = f"zip(range(start, stop){columns})" if used else "range(start, stop)"
    loop = f"for row{''.join(f', {letter}' for letter in used)} in {rows}"
    return compile(f"def scan(start, stop):\n    return [{item} {loop} if {most}]\n", "<filter>", "exec")


def _uses(text: str, letter: str) -> bool:
    return any(word == letter for word in _words(text))


def _words(text: str) -> list[str]:
    return "".join(char if char.isalnum() or char == "_" else " " for char in text).split()
