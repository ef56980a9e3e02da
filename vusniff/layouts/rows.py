"""A layout as rows of a table for people: its fields with offset, size and kind, and what their values are called."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from vusniff.layouts.parts import Formula, Node, NodeKind, tree
from vusniff.message import Context, Layout, Names, enum_of

NAMES_WIDTH = 120
"""Characters of names of values that are listed; more are a matter of their own."""


class FieldRow(NamedTuple):
    """One field of a layout."""

    offset: str
    """Bytes from the start of the payload, or a formula: ``8``, ``+16`` within an element."""
    size: str
    """Bytes, or a formula."""
    name: str
    """Indented by two blanks for each level it lies in."""
    kind: str
    values: str
    """What its bits or values are called."""


def rows_of(layout: Layout, context: Context | None = None) -> list[FieldRow]:
    """The fields in the order of their bytes; what is worked out from others stands below them, without an offset.

    A vendor's declaration that fails gives one row with the kind of the error.
    """
    context = context or Context()
    try:
        return list(_rows(tree(layout, context.order), _values(layout, context), ""))
    except Exception as error:  # a vendor's declaration may fail in any way
        return [FieldRow("0", "?", layout.name, type(error).__name__, "")]


def window_rows(layout: Layout) -> list[FieldRow]:
    """The fields of what a layout shows a window of, such as a config space; none where it has no window."""
    parts = tree(layout, Context().order).parts
    return [row for node in parts if node.kind is NodeKind.COMPUTED for row in _rows(node, {}, "")]


def size_of(rows: Sequence[FieldRow]) -> str:
    """How many bytes a payload of these fields has."""
    top = [row for row in rows if row.size and not row.name.startswith(" ")]
    if not top or not top[-1].offset:
        return "its size varies"
    offset, size = top[-1].offset, top[-1].size
    return f"{int(offset) + int(size)} bytes" if size.isdecimal() else f"{offset} + {size} bytes"


def members_of(names: Names, context: Context) -> dict[str, int]:
    """Names of bits or values, with the numbers they stand for."""
    return {name: int(member) for name, member in enum_of(names, context).__members__.items()}


def _values(layout: Layout, context: Context) -> dict[str, str]:
    found = {}
    for field, names in layout.names.items():
        members = members_of(names, context)
        if issubclass(enum_of(names, context), enum.IntFlag):
            found[field] = ", ".join(f"bit {value.bit_length() - 1} {name}" for name, value in members.items())
        else:
            found[field] = ", ".join(f"{value} {name}" for name, value in members.items())
        if len(found[field]) > NAMES_WIDTH:
            found[field] = f"{len(members)} have names"
    return found


def _rows(structure: Node, values: dict[str, str], indent: str) -> Iterator[FieldRow]:
    for node in structure.parts:
        name, named = indent + node.name, values.get(node.name, "")
        if node.kind is NodeKind.COMPUTED:
            yield FieldRow("", "", name, node.word, named)
            continue
        if node.kind is NodeKind.CONDITIONAL and len(node.parts) == 1:
            node = node.parts[0]
        at = "" if node.offset is None else f"{'+' if indent else ''}{node.offset}"
        yield FieldRow(at, _size_words(node), name, node.word, named)
        inner = node.parts[0] if node.kind is NodeKind.ARRAY else node
        if inner.kind is NodeKind.STRUCTURE:
            yield from _rows(inner, values, indent + "  ")


def _size_words(node: Node) -> str:
    if node.size is not None:
        return str(node.size)
    if node.kind is NodeKind.ARRAY:
        many = node.count.text if isinstance(node.count, Formula) else node.count
        return f"{node.parts[0].size or '?'} * {many}"
    return node.count.text if isinstance(node.count, Formula) else "?"
