"""The plain fields of a layout: where each is in a decoded payload, and what kind of value it has."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from vusniff.filter.field import ValueKind
from vusniff.layouts.parts import Node, NodeKind, tree
from vusniff.message import Context, Layout, enum_of

EVERY = "*"
"""In a path: every element of an array."""
_SAMPLE = 4096
"""Bytes that a computed field is tried with, to see which values it has."""
_VARIANTS = (0, 1, 3, 0x12)
"""First bytes of such a sample: what a union holds may depend on it."""
_COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
PathOf = tuple[str, ...]


def leaves(layout: Layout) -> Iterator[tuple[PathOf, ValueKind]]:
    """The plain fields of a layout: where they are in a payload, and their kinds."""
    try:
        root = tree(layout, "little")
    except Exception:  # a vendor's declaration may fail in any way: its payloads stay raw
        return
    bits = {name for name, names in layout.names.items() if issubclass(enum_of(names, Context()), enum.IntFlag)}
    for path, kind in _walk(root, (), {}) if root.kind is NodeKind.STRUCTURE else ():
        yield path, ValueKind.BITS if path[-1] in bits and kind is ValueKind.NUMBER else kind


def _walk(node: Node, path: PathOf, before: dict[str, Any]) -> Iterator[tuple[PathOf, ValueKind]]:
    match node.kind:
        case NodeKind.STRUCTURE:
            values: dict[str, Any] = {}
            for part in node.parts:
                if part.name:
                    yield from _walk(part, (*path, part.name), values)
        case NodeKind.ARRAY:
            yield from _walk(node.parts[0], (*path, EVERY), {})
        case NodeKind.CONDITIONAL:
            yield from _walk(node.parts[0], path, before)
        case NodeKind.NUMBER:
            before[path[-1]] = 0
            yield path, ValueKind.NUMBER
        case NodeKind.BYTES:
            before[path[-1]] = bytes(_SAMPLE)
            yield path, ValueKind.BYTES
        case NodeKind.ADAPTED:
            yield path, ValueKind.TEXT
        case NodeKind.COMPUTED if node.formula is not None:
            compares = any(f" {sign} " in node.formula.text for sign in _COMPARISONS)
            yield path, ValueKind.BOOLEAN if compares else ValueKind.NUMBER
        case NodeKind.COMPUTED if node.value is not None:
            yield from _computed(node.value, path, before)


def _computed(
    function: Callable[[Mapping[str, Any]], Any], path: PathOf, before: dict[str, Any]
) -> Iterator[tuple[PathOf, ValueKind]]:
    """What a function of Python gives, found by trying."""
    seen: dict[PathOf, ValueKind] = {}
    for first in _VARIANTS:
        sample = bytes([first, 0]) + b"\x20" * (_SAMPLE - 2)
        values = {name: sample if isinstance(value, bytes) else value for name, value in before.items()}
        try:
            seen.update(_plain(function(values), path))
        except Exception:  # it may need other values than these: it has no name then
            continue
    yield from seen.items()


def _plain(value: Any, path: PathOf) -> Iterator[tuple[PathOf, ValueKind]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if not (name.endswith("_names") and name.removesuffix("_names") in value):
                yield from _plain(inner, (*path, name))
    elif isinstance(value, bool):
        yield path, ValueKind.BOOLEAN
    elif isinstance(value, int):
        yield path, ValueKind.NUMBER
    elif isinstance(value, str):
        # Bytes are hex in a decoded payload, whoever made them.
        yield path, ValueKind.TEXT
