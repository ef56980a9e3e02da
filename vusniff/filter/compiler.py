"""A filter's text to code: one code object that asks a message, and one that asks the columns of an index.

The text of the code is written by `source` and `columns`; nothing a user typed is in it.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vusniff.filter.columns import Columns, exact
from vusniff.filter.field import Origin, Said, Surroundings
from vusniff.filter.grammar import parse
from vusniff.filter.resolve import resolve
from vusniff.filter.source import Source
from vusniff.filter.tree import All, Node, Not, Odd, Test
from vusniff.filter.tree import Any as Either

if TYPE_CHECKING:
    from vusniff.analysis.timeline import Timeline
    from vusniff.checks.finding import Finding
    from vusniff.filter.sieve import Sieve

Matches = Callable[[Said, Surroundings], bool]


@dataclass(frozen=True, slots=True)
class Nowhere:
    """Surroundings of a message whose capture is not at hand: it has no path, no findings, and begins at 0."""

    first_ns: int = 0

    def path(self, connection: int) -> str | None:
        return None

    def findings(self, number: int) -> tuple[Finding, ...]:
        return ()


NOWHERE = Nowhere()


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter that can be asked."""

    text: str
    node: Node = field(repr=False)
    fields: frozenset[str] = field(repr=False)
    """Names of the fields it reads."""
    origins: frozenset[Origin] = field(repr=False)
    """What has to be read of a message to decide it."""
    columns_only: bool
    """The columns of an index decide it: header, connection, request and reply."""
    _matches: Matches = field(repr=False)

    def match(self, message: Said, around: Surroundings = NOWHERE) -> bool:
        """Whether a message passes."""
        return self._matches(message, around)

    def sieve(self, timeline: Timeline) -> Sieve:
        """What finds the rows of a capture that pass, slice by slice; it can be used while the capture grows."""
        from vusniff.filter.sieve import Sieve

        return Sieve(self, timeline)

    def rows(self, timeline: Timeline, start: int = 0, stop: int | None = None) -> array[int]:
        """The rows of a capture that pass, ascending. Findings are those that have been made so far."""
        return self.sieve(timeline).rows(start, len(timeline) if stop is None else stop)

    @property
    def needs_findings(self) -> bool:
        """Messages have to be judged before they are asked."""
        return Origin.FINDING in self.origins


def compile_filter(text: str) -> Filter:
    """A filter by its text. Raises FilterError, and DissectorError when the dissectors cannot be loaded."""
    node = resolve(parse(text), text)
    tests = list(tests_of(node))
    return Filter(
        text,
        node,
        frozenset(test.field.name for test in tests),
        frozenset(test.field.origin for test in tests),
        exact(node),
        matcher(node),
    )


def matcher(node: Node) -> Matches:
    """The function that asks a message."""
    source = Source()
    text = f"lambda m, w: {_text(source, node)}"
    asked: Matches = eval(compile(text, "<filter>", "eval"), source.environment)
    return asked


def _text(source: Source, node: Node) -> str:
    match node:
        case Not(of):
            return f"(not {_text(source, of)})"
        case All(of):
            return f"({' and '.join(_text(source, part) for part in of)})"
        case Either(of):
            return f"({' or '.join(_text(source, part) for part in of)})"
        case Odd(of):
            return f"(({' + '.join(f'bool({_text(source, part)})' for part in of)}) % 2 == 1)"
    return source.test(node)


def tests_of(node: Node) -> Iterator[Test]:
    """All tests in a filter, from left to right."""
    match node:
        case Not(of):
            yield from tests_of(of)
        case All(of) | Either(of) | Odd(of):
            for part in of:
                yield from tests_of(part)
        case _:
            yield node


def scan_text(node: Node) -> tuple[Columns, str, str | None]:
    """What texts about columns look values up in; a text that is true at least for the rows that pass; and one that is
    true at most for them, None where it would be the same."""
    columns = Columns()
    most = columns.text(node, most=True)
    return columns, most, None if exact(node) else columns.text(node, most=False)
