"""What may be typed next in a filter: fields, operators, and the values that a field can have."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from lark import Token

from vusniff.families.registry import bare
from vusniff.filter.field import Field, ValueKind
from vusniff.filter.fields import fields, words_of
from vusniff.filter.grammar import LENGTH_LIMIT, expected_after

MOST = 200
"""Completions that are offered at once."""
_WORD = re.compile(r"[A-Za-z0-9_.-]*\Z")
_SIGNS = {
    "==": "equal",
    "!=": "not equal",
    "in": "one of {a, b..c}",
    "<": "less",
    "<=": "at most",
    ">": "greater",
    ">=": "at least",
    "&": "some of these bits",
    "contains": "has this in it",
    "matches": "fits a regular expression",
}
_JOINING = {"&&": "both", "||": "either", "xor": "one of both", "and": "both", "or": "either"}
_SHORT = frozenset({"<", "<=", ">", ">=", "&"})


class Completion(NamedTuple):
    """Something that may stand at the cursor."""

    text: str
    start: int
    """It replaces the characters from here ..."""
    stop: int
    """... to before this one."""
    about: str


def complete(text: str, cursor: int) -> list[Completion]:
    """What may stand at a cursor, the likeliest first; nothing where the text before it is wrong."""
    before = text[:cursor]
    if len(before) > LENGTH_LIMIT:
        return []
    typed = _WORD.search(before)
    word = typed[0] if typed else ""
    start = cursor - len(word)
    known = expected_after(before[:start])
    if known is None:
        return []
    expected, tokens = known
    stop = cursor + len(re.match(r"[A-Za-z0-9_.-]*", text[cursor:])[0])  # type: ignore[index]
    found = []
    for offer, about in _offers(expected, tokens, word):
        found.append(Completion(offer, start, stop, about))
        if len(found) >= MOST:
            break
    return found


def _offers(expected: set[str], tokens: list[Token], word: str) -> Iterator[tuple[str, str]]:
    if "LPAR" in expected or expected == {"WORD"}:
        yield from _fields(word)
        if "NOT" in expected and word and "not".startswith(word):
            yield "not", "the opposite"
    elif "WORD" in expected:
        field = _field_before(tokens)
        if field is not None:
            bits = field.kind is ValueKind.BITS
            about = "" if bits or field.kind is ValueKind.REQUEST else field.about
            if field.kind is ValueKind.REQUEST:
                word = bare(word)
            yield from ((name, about) for name in _beginning(word, words_of(field)))
    elif "LBRACE" in expected:
        yield "{", "a set: {1, 3..5}"
    else:
        field = _field_before(tokens)
        if "COMPARE" in expected and field is not None:
            yield from ((sign, about) for sign, about in _SIGNS.items() if sign.startswith(word) and _has(field, sign))
        elif "IN" in expected and "in".startswith(word):
            yield "in", _SIGNS["in"]
        if "_AND" in expected:
            yield from ((sign, about) for sign, about in _JOINING.items() if word and sign.startswith(word))


def _fields(word: str) -> Iterator[tuple[str, str]]:
    """Fields that begin with what was typed; then those that have it in them."""
    known = fields()
    for name in _beginning(word, known):
        if not word and name.count(".") > 1:
            continue
        yield name, f"{known[name].kind.value}: {known[name].about}"


def _beginning(word: str, names: Iterable[str]) -> list[str]:
    lower = word.lower()
    names = list(names)
    first = [name for name in names if name.lower().startswith(lower)]
    if not lower:
        return first
    inner = [name for name in names if lower in name.lower() and not name.lower().startswith(lower)]
    return sorted(first, key=lambda name: name.count(".")) + inner


def _has(field: Field, sign: str) -> bool:
    """An operator makes sense for a field."""
    text = field.kind in (ValueKind.TEXT, ValueKind.BYTES)
    if sign == "contains":
        return text or field.kind in (ValueKind.BITS, ValueKind.REQUEST)
    if sign == "matches":
        return field.kind in (ValueKind.TEXT, ValueKind.REQUEST)
    if sign in _SHORT:
        return not text and field.kind is not ValueKind.BOOLEAN
    return True


def _field_before(tokens: list[Token]) -> Field | None:
    """The field that the value or operator at the end belongs to."""
    at = len(tokens) - 1
    while at >= 0 and tokens[at].type in _INSIDE_SET:
        at -= 1
    known = fields()
    for token in reversed(tokens[: at + 1]):
        if token.type == "WORD" and token in known:
            return known[token]
        if token.type in ("_AND", "_OR", "_XOR", "LPAR"):
            return None
    return None


_INSIDE_SET = frozenset({"COMMA", "STRING", "NUMBER", "DURATION", "BYTES"})
