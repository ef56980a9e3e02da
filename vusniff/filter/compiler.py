"""A filter's text to a filter that can be asked: of messages, or of a whole capture."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import TYPE_CHECKING

from vusniff.filter.field import MessageLike, Origin, Surroundings
from vusniff.filter.grammar import parse
from vusniff.filter.match import Matches, matcher
from vusniff.filter.resolve import resolve
from vusniff.filter.sieve import Sieve
from vusniff.filter.state import PHASE
from vusniff.filter.tree import All, Node, Not, Odd, Test
from vusniff.filter.tree import Any as Either
from vusniff.values import dataclass, field

if TYPE_CHECKING:
    from vusniff.analysis.rings import RingSpan
    from vusniff.analysis.timeline import Timeline
    from vusniff.checks.finding import Finding
    from vusniff.record import LogLine


@dataclass(frozen=True, slots=True)
class Nowhere:
    """Surroundings of a message whose capture is not at hand: no path, no findings, no rings, no device, and it begins
    at 0."""

    first_ns: int = 0

    def path(self, connection: int) -> str | None:
        return None

    def findings(self, number: int) -> tuple[Finding, ...]:
        return ()

    def logs(self, number: int) -> tuple[LogLine, ...]:
        return ()

    def rings(self, number: int) -> tuple[RingSpan, ...]:
        return ()

    def device(self, number: int) -> None:
        return None

    def phase(self, number: int) -> None:
        return None


NOWHERE = Nowhere()


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter that can be asked."""

    text: str
    node: Node = field(repr=False)
    needs_findings: bool
    """Messages have to be judged before they are asked."""
    _matches: Matches = field(repr=False)

    def match(self, message: MessageLike, around: Surroundings = NOWHERE) -> bool:
        """Whether a message passes."""
        return self._matches(message, around)

    @property
    def follows(self) -> bool:
        """It asks for the device, so that sessions have to be followed."""
        return any(test.field.origin is Origin.STATE for test in tests_of(self.node))

    @property
    def needs_phases(self) -> bool:
        """It asks for the phases of sessions."""
        return any(test.field.name == PHASE for test in tests_of(self.node))

    def sieve(self, timeline: Timeline) -> Sieve:
        """What finds the rows of a capture that pass, slice by slice; it can be used while the capture grows."""
        return Sieve(self.node, timeline, self.needs_findings)

    def rows(self, timeline: Timeline, start: int = 0, stop: int | None = None) -> array[int]:
        """The rows of a capture that pass, ascending. Findings are those that have been made so far."""
        return self.sieve(timeline).rows(start, len(timeline) if stop is None else stop)


def compile_filter(text: str) -> Filter:
    """A filter by its text. Raises FilterError, and DissectorError when the dissectors cannot be loaded."""
    node = resolve(parse(text), text)
    later = (Origin.FINDING, Origin.LOG, Origin.RING)
    return Filter(text, node, any(test.field.origin in later for test in tests_of(node)), matcher(node))


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
