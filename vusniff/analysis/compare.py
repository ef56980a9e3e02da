"""Two sessions aligned by phase and request: what was negotiated, said, ordered and answered differently.

Pure. Both come as `exchanges.Stage`s, so that what differs in every run has gone. What is done (negotiation, start,
stop) is aligned in order; what lasts (idle, running, migration) is compared as a set, because nothing there has an
order of its own.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

from vusniff.analysis.exchanges import Exchange, Stage, Values, Words
from vusniff.families.phase import PhaseKind
from vusniff.values import dataclass

SLOWER = 10.0
"""How many times slower an answer must be to count."""
SLOW_NS = 10_000_000
"""What takes less is never slow, nanoseconds."""


class DifferenceKind(str, enum.Enum):
    """In what two sessions differ."""

    PHASE = "phase"
    """Only one of them went through it."""
    MISSING = "only in A"
    ADDED = "only in B"
    ORDER = "order"
    """Both have it in this phase, at another place among the others."""
    MOVED = "other phase"
    VALUE = "value"
    DESCRIPTORS = "descriptors"
    NEED_REPLY = "need_reply"
    ANSWER = "answer"
    SLOWER = "time"

    __str__ = str.__str__


@dataclass(frozen=True, slots=True)
class SessionDifference:
    """One difference."""

    difference: DifferenceKind
    phase: PhaseKind
    name: str
    """Request, or phase."""
    target: str
    left: str
    """What A has."""
    right: str
    left_number: int | None
    """Message of A, None where it has none."""
    right_number: int | None


Pair = tuple[Stage | None, Stage | None]


def pairs(left: Sequence[Stage], right: Sequence[Stage]) -> list[Pair]:
    """The stages of two sessions in pairs; a stage that only one session went through has no partner.

    Stages in which something is done are aligned in order. A stage that lasts goes with the one that was done before
    it.
    """
    blocks = _blocks(left), _blocks(right)
    kinds = [[block[0].kind for block in side] for side in blocks]
    found: list[Pair] = []
    for tag, a, b, c, d in SequenceMatcher(None, kinds[0], kinds[1], autojunk=False).get_opcodes():
        if tag == "equal":
            for mine, theirs in zip(blocks[0][a:b], blocks[1][c:d], strict=True):
                found += _lasting_pairs(mine, theirs)
        else:
            found += [(stage, None) for block in blocks[0][a:b] for stage in block]
            found += [(None, stage) for block in blocks[1][c:d] for stage in block]
    return found


def _blocks(stages: Sequence[Stage]) -> list[list[Stage]]:
    blocks: list[list[Stage]] = []
    for stage in stages:
        if stage.lasting and blocks:
            blocks[-1].append(stage)
        else:
            blocks.append([stage])
    return blocks


def _lasting_pairs(left: list[Stage], right: list[Stage]) -> Iterator[Pair]:
    yield left[0], right[0]
    rest = right[1:]
    for stage in left[1:]:
        place = next((at for at, other in enumerate(rest) if other.kind is stage.kind), None)
        yield stage, None if place is None else rest.pop(place)
    yield from ((None, stage) for stage in rest)


def compare(left: Sequence[Stage], right: Sequence[Stage], slower: float = SLOWER) -> list[SessionDifference]:
    """All differences in what was said, in the order of the sessions."""
    changes: list[SessionDifference] = []
    for mine, theirs in pairs(left, right):
        if mine is None or theirs is None:
            changes += _lonely(mine, theirs)
        elif mine.lasting:
            changes += _sets(mine, theirs, slower)
        else:
            changes += _sequences(mine, theirs, slower)
    return _moved(changes)


SAID_ONE_BY_ONE = frozenset({PhaseKind.NEGOTIATION, PhaseKind.INITIALISATION})
"""Phases that front-ends divide differently: a message that only one session has there may be in another phase of the
other session."""


def _lonely(left: Stage | None, right: Stage | None) -> Iterator[SessionDifference]:
    stage = left or right
    assert stage is not None
    if stage.kind in SAID_ONE_BY_ONE:
        for exchange in stage.exchanges:
            if left:
                yield _change(DifferenceKind.MISSING, stage.kind, exchange, None, said(exchange), "")
            else:
                yield _change(DifferenceKind.ADDED, stage.kind, None, exchange, "", said(exchange))
        return
    words = f"{stage.phase.count} message{'s' if stage.phase.count != 1 else ''}"
    sides = (words, "") if left else ("", words)
    numbers = (stage.phase.first, None) if left else (None, stage.phase.first)
    yield SessionDifference(DifferenceKind.PHASE, stage.kind, stage.kind.value, "", *sides, *numbers)


def _sequences(left: Stage, right: Stage, slower: float) -> Iterator[SessionDifference]:
    sides = _numbered(left.exchanges), _numbered(right.exchanges)
    mine, theirs = sides
    keys = list(mine), list(theirs)
    aligned = {
        key
        for tag, a, b, _, _ in SequenceMatcher(None, *keys, autojunk=False).get_opcodes()
        if tag == "equal"
        for key in keys[0][a:b]
    }
    places = [{key: place for place, key in enumerate(side)} for side in keys]
    for key, exchange in mine.items():
        other = theirs.get(key)
        if other is None:
            yield _change(DifferenceKind.MISSING, left.kind, exchange, None, said(exchange), "")
            continue
        if key not in aligned:
            behind = _apart_by(left.exchanges, places[0][key], right.exchanges, places[1][key])
            yield _change(DifferenceKind.ORDER, left.kind, exchange, other, *behind)
        yield from _details(left.kind, exchange, other, slower)
    for key, exchange in theirs.items():
        if key not in mine:
            yield _change(DifferenceKind.ADDED, left.kind, None, exchange, "", said(exchange))


def _numbered(exchanges: Sequence[Exchange]) -> dict[tuple[str, str, str, int], Exchange]:
    """Exchanges by key and how often it came before: each has one partner at most, so that aligning costs little."""
    counts: Counter[tuple[str, str, str]] = Counter()
    found: dict[tuple[str, str, str, int], Exchange] = {}
    for exchange in exchanges:
        numbered = (*exchange.key, counts[exchange.key])
        found[numbered] = exchange
        counts[exchange.key] += 1
    return found


BEHIND = 3
"""Exchanges before one that are named to say where it stands."""


def _apart_by(left: Sequence[Exchange], mine: int, right: Sequence[Exchange], theirs: int) -> tuple[str, str]:
    """Words for where each of two exchanges stands: the exchanges before it, as few as tell the two places apart; the
    number in the phase where up to `BEHIND` of them do not."""
    for depth in range(1, BEHIND + 1):
        here, there = _after(left, mine, depth), _after(right, theirs, depth)
        if here != there:
            return here, there
    return f"as number {mine + 1} of the phase", f"as number {theirs + 1}"


def _after(exchanges: Sequence[Exchange], place: int, depth: int) -> str:
    before = exchanges[max(0, place - depth) : place]
    if not before:
        return "first"
    words = " and ".join(f"{one.name}{f' {one.target}' if one.target else ''}" for one in before)
    return f"after {words}"


def _sets(left: Stage, right: Stage, slower: float) -> Iterator[SessionDifference]:
    sides = _by_key(left.exchanges), _by_key(right.exchanges)
    for key, mine in sides[0].items():
        theirs = sides[1].get(key)
        if theirs is None:
            yield _change(DifferenceKind.MISSING, left.kind, mine[0], None, said(mine[0]), "")
            continue
        for difference, words in ((DifferenceKind.VALUE, said), (DifferenceKind.ANSWER, answered)):
            here, there = ({words(exchange): None for exchange in side} for side in (mine, theirs))
            if here.keys() != there.keys():
                left_only = _several([word for word in here if word not in there])
                right_only = _several([word for word in there if word not in here])
                yield _change(difference, left.kind, mine[0], theirs[0], left_only, right_only)
        yield from _times(left.kind, _slowest(mine), _slowest(theirs), slower)
    for key, theirs in sides[1].items():
        if key not in sides[0]:
            yield _change(DifferenceKind.ADDED, left.kind, None, theirs[0], "", said(theirs[0]))


def _slowest(exchanges: Sequence[Exchange]) -> Exchange:
    return max(exchanges, key=lambda exchange: exchange.latency_ns or 0)


def _several(words: list[str]) -> str:
    shown = "; ".join(word or "nothing" for word in words[:3]) or "nothing else"
    return f"{shown}; ..." if len(words) > 3 else shown


def _by_key(exchanges: Sequence[Exchange]) -> dict[tuple[str, str, str], list[Exchange]]:
    found: dict[tuple[str, str, str], list[Exchange]] = {}
    for exchange in exchanges:
        found.setdefault(exchange.key, []).append(exchange)
    return found


def _details(phase: PhaseKind, left: Exchange, right: Exchange, slower: float) -> Iterator[SessionDifference]:
    if left.values != right.values:
        yield _change(DifferenceKind.VALUE, phase, left, right, *_apart(left.values, right.values))
    if left.fds != right.fds:
        shown = (", ".join(fds) or "none" for fds in (left.fds, right.fds))
        yield _change(DifferenceKind.DESCRIPTORS, phase, left, right, *shown)
    if left.need_reply != right.need_reply:
        shown = ("set" if one.need_reply else "not set" for one in (left, right))
        yield _change(DifferenceKind.NEED_REPLY, phase, left, right, *shown)
    if _answers_differ(left, right):
        if left.answer and right.answer and left.answer != right.answer:
            yield _change(DifferenceKind.ANSWER, phase, left, right, *_apart(left.answer, right.answer))
        else:
            yield _change(DifferenceKind.ANSWER, phase, left, right, answered(left), answered(right))
    yield from _times(phase, left, right, slower)


def _answers_differ(left: Exchange, right: Exchange) -> bool:
    if left.need_reply != right.need_reply and (left.answer is None or right.answer is None):
        return False  # that one of them did not ask is said already
    return answered(left) != answered(right)


def _times(phase: PhaseKind, left: Exchange, right: Exchange, slower: float) -> Iterator[SessionDifference]:
    times = left.latency_ns, right.latency_ns
    if times[0] is None or times[1] is None:
        return
    low, high = sorted((times[0], times[1]))
    if high >= SLOW_NS and high > slower * max(low, 1):
        yield _change(DifferenceKind.SLOWER, phase, left, right, str(times[0]), str(times[1]))


def _change(
    difference: DifferenceKind, phase: PhaseKind, left: Exchange | None, right: Exchange | None, mine: str, theirs: str
) -> SessionDifference:
    known = left or right
    assert known is not None
    numbers = (left.number if left else None, right.number if right else None)
    return SessionDifference(difference, phase, known.name, known.target, mine, theirs, *numbers)


def _moved(changes: list[SessionDifference]) -> list[SessionDifference]:
    """The changes, with a request that is missing in one phase and added in another as one change: it was said at
    another time."""
    found: list[SessionDifference] = []
    waiting: dict[tuple[str, str], list[int]] = {}
    opposite = {DifferenceKind.MISSING: DifferenceKind.ADDED, DifferenceKind.ADDED: DifferenceKind.MISSING}
    for change in changes:
        other = opposite.get(change.difference)
        if other is None:
            found.append(change)
            continue
        key = (change.name, change.target)
        place = next((at for at in waiting.get(key, ()) if found[at].difference is other), None)
        if place is None:
            waiting.setdefault(key, []).append(len(found))
            found.append(change)
            continue
        waiting[key].remove(place)
        first = found[place]
        mine, theirs = (first, change) if first.difference is DifferenceKind.MISSING else (change, first)
        found[place] = SessionDifference(
            DifferenceKind.MOVED,
            first.phase,
            change.name,
            change.target,
            mine.phase.value,
            theirs.phase.value,
            mine.left_number,
            theirs.right_number,
        )
    return found


# --- words ------------------------------------------------------------------------------------------------------------


def shown(words: Words) -> str:
    """A field's value; of a set its names."""
    return words if isinstance(words, str) else " ".join(words) or "none"


def said(exchange: Exchange) -> str:
    """What a request says, in a few words."""
    return _listed(exchange.values)


def answered(exchange: Exchange) -> str:
    """How it was answered."""
    if exchange.answer is None:
        return "no answer" if exchange.expected else "nothing asked"
    words = _listed(exchange.answer)
    fds = ", ".join(exchange.answer_fds)
    return " ".join(filter(None, (words, f"[{fds}]" if fds else ""))) or "answered"


def _listed(values: Values) -> str:
    return ", ".join(f"{name} {shown(value)}" for name, value in values.items())


def _apart(left: Values, right: Values) -> tuple[str, str]:
    """What differs between two values: both values; of two sets of names, the names that only one of them has."""
    sides: tuple[list[str], list[str]] = ([], [])
    for name in dict.fromkeys((*left, *right)):
        mine, theirs = left.get(name), right.get(name)
        if mine == theirs:
            continue
        for side, words, other in ((sides[0], mine, theirs), (sides[1], theirs, mine)):
            if isinstance(words, tuple) and isinstance(other, tuple):
                only = [word for word in words if word not in other]
                side.append(f"{name} {'with ' + ' '.join(only) if only else 'without'}")
            else:
                side.append(f"{name} {'absent' if words is None else shown(words)}")
    return ", ".join(sides[0]), ", ".join(sides[1])
