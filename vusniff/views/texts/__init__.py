"""Error texts that people have: what each means. The tables are one module for each family of programs.

`find` looks for all of them in any text: values, prefixes (times, levels, names of programs) and broken lines do not
matter. Nothing but `vusniff explain` imports this, so that no other command pays for the tables.
It must not know captures. Start reading in `row`, then in the table of a family.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from vusniff.views.texts import backends, dpdk, qemu, rust
from vusniff.views.texts.row import KnownError

TABLES = (qemu.ROWS, dpdk.ROWS, backends.ROWS, rust.ROWS)
LENGTH_LIMIT = 1 << 20
"""Characters of a text that are looked at."""
FOUND_LIMIT = 40
"""Texts that are found in one text."""
LIKE = 3
"""Texts that are offered for one that is not known."""
_VALUES = {
    "n": r"-?\d+",
    "x": r"(?:0x)?[0-9a-fA-F]+",
    "w": r"\S+?",
    "s": r"\S.{0,200}?",
    "request": r"-?\d+",
    "back": r"-?\d+",
    "errno": r"-?\d+",
    "features": r"(?:0x)?[0-9a-fA-F]+",
    "call": r"[a-z][a-z_]*?",
    "name": r"\w+",
}
"""Kind of a value -> its pattern."""
_FIELD = re.compile(r"\{(?:(\w+):)?(\w+)\}")


class TextPattern(NamedTuple):
    """One text of a row, ready to be looked for."""

    row: KnownError
    text: str
    kinds: dict[str, str]
    """Name of a value -> its kind."""
    literal: str
    """What of it is always there and longest, in lower case."""
    weight: int
    """Characters that are always there."""


class FoundText(NamedTuple):
    """A text that was found."""

    row: KnownError
    text: str
    """As it stands in the table."""
    said: str
    """As it was found."""
    values: dict[str, str]
    kinds: dict[str, str]


def _texts() -> Iterator[TextPattern]:
    for row in (row for rows in TABLES for row in rows):
        for text in row.texts:
            literals = _FIELD.sub("\0", text).split("\0")
            kinds = {field[1]: field[2] for field in _FIELD.finditer(text) if field[1]}
            yield TextPattern(row, text, kinds, max(literals, key=len).strip().lower(), sum(map(len, literals)))


@functools.cache
def texts() -> Sequence[TextPattern]:
    """All that are known."""
    return tuple(_texts())


def _pattern(text: str) -> re.Pattern[str]:
    made, at = [], 0
    for field in _FIELD.finditer(text):
        made.append(re.escape(text[at : field.start()]))
        value = _VALUES[field[2]]
        if field.end() == len(text) and field[2] in "sw":  # what follows may be another text
            made.append(rf"(?={f'(?P<{field[1]}>' if field[1] else '(?:'}\S.{{0,100}}))" if field[2] == "s" else r"\S+")
            if field[2] == "w" and field[1]:
                made[-1] = rf"(?P<{field[1]}>\S+)"
        else:
            made.append(f"(?P<{field[1]}>{value})" if field[1] else f"(?:{value})")
        at = field.end()
    made.append(re.escape(text[at:]))
    first, last = (r"\b" if text[0].isalnum() else ""), (r"\b" if text[-1].isalnum() else "")
    return re.compile(first + "".join(made) + last, re.IGNORECASE)


def readable(text: str) -> str:
    """A text of a row with the names of its values in capitals, and ``...`` for one without a name."""
    return _FIELD.sub(lambda field: field[1].upper() if field[1] else "...", text)


def plain(text: str) -> str:
    """A text on one line: breaks, also those that a log wrote as ``\\n``, are spaces."""
    return " ".join(re.sub(r"\\[nt]", " ", text[:LENGTH_LIMIT]).split())


def find(text: str) -> list[FoundText]:
    """All known texts in it, in their order, each with the same values once."""
    whole = plain(text)
    lower = whole.lower()
    matches = [
        (known, match) for known in texts() if known.literal in lower for match in _pattern(known.text).finditer(whole)
    ]
    matches.sort(key=lambda found: (-found[0].weight, found[1].start()))
    taken: list[tuple[int, int]] = []
    kept: list[tuple[TextPattern, re.Match[str]]] = []
    for known, match in matches:
        if len(kept) == FOUND_LIMIT:
            break
        if any(start <= match.start() < end for start, end in taken):
            continue
        taken += _own(known, match)
        kept.append((known, match))
    kept.sort(key=lambda found: found[1].start())
    seen: dict[tuple[str, ...], FoundText] = {}
    for known, match in kept:
        values = match.groupdict()
        key = (known.row.happened, *(f"{name} {value}" for name, value in values.items()))
        seen.setdefault(key, FoundText(known.row, known.text, _said(known, match), values, known.kinds))
    return list(seen.values())


def _said(known: TextPattern, match: re.Match[str]) -> str:
    """It with the words that follow it, where these belong to it."""
    return match.string[match.start() : max([match.end(), *(match.end(name) for name in known.kinds)])]


def _own(known: TextPattern, match: re.Match[str]) -> Iterator[tuple[int, int]]:
    """Where the text itself stands: what it quotes in words may be another text."""
    start = match.start()
    for name, kind in known.kinds.items():
        if kind == "s" and match.start(name) < match.end():
            yield start, match.start(name)
            start = match.end(name)
    yield start, match.end()


def like(text: str) -> list[str]:
    """Texts with many of its words, the most alike first."""
    words = _words(text)

    def alike(known: TextPattern) -> float:
        own = _words(_FIELD.sub(" ", known.text))
        return len(words & own) / max(len(words | own), 1)

    if len(words) < 2:
        return []
    best = sorted(texts(), key=alike, reverse=True)[:LIKE]
    return [readable(known.text) for known in best if alike(known) >= 0.3]


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z_]{3,}", text[:4096].lower()))


def said(found: FoundText, sentence: str, spoken: Callable[[str, str], str]) -> str:
    """A sentence of its row with the values in it; ``spoken`` words a value by its kind."""
    return sentence.format_map({name: spoken(found.kinds[name], value) for name, value in found.values.items()})
