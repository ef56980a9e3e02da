"""What a payload consists of, asked from its construct declaration: fields with offset, size and kind. No values."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from construct import Adapter, Array, Bytes, Computed, FormatField, IfThenElse, Pass, Renamed, SizeofError, Struct

from vusniff.message import Alternatives, Choice, Context, Layout, Names

KINDS = {"B": "u8", "H": "u16", "I": "u32", "L": "u32", "Q": "u64", "b": "i8", "h": "i16", "i": "i32", "l": "i32"}
KINDS["q"] = "i64"
NAMES_WIDTH = 120
"""Characters of names of values that are listed; more are a matter of their own."""


class Field(NamedTuple):
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


def layouts_of(choice: Choice) -> Sequence[Layout]:
    """All layouts that a choice may give; none for a function that does not list them."""
    if choice is None:
        return ()
    if isinstance(choice, Layout):
        return (choice,)
    return choice.layouts if isinstance(choice, Alternatives) else ()


def fields_of(layout: Layout, context: Context | None = None) -> list[Field]:
    """The fields in the order of their bytes; what is worked out from others stands below them, without an offset.

    A vendor's declaration of a shape that is not known here gives one field of that shape's name.
    """
    context = context or Context()
    try:
        return list(_fields(layout.construct(context.order), _values(layout, context), "", 0))
    except Exception as error:  # a vendor's declaration may fail in any way
        return [Field("0", "?", layout.name, type(error).__name__, "")]


def size_of(fields: Sequence[Field]) -> str:
    """How many bytes a payload of these fields has."""
    top = [field for field in fields if field.size and not field.name.startswith(" ")]
    if not top or not top[-1].offset:
        return "its size varies"
    offset, size = top[-1].offset, top[-1].size
    return f"{int(offset) + int(size)} bytes" if size.isdecimal() else f"{offset} + {size} bytes"


def _kind_of(names: Names, context: Context) -> type[enum.IntFlag] | type[enum.IntEnum]:
    return names if isinstance(names, type) else names(context)


def members_of(names: Names, context: Context) -> dict[str, int]:
    """Names of bits or values, with the numbers they stand for."""
    return {name: int(member) for name, member in _kind_of(names, context).__members__.items()}


def _values(layout: Layout, context: Context) -> dict[str, str]:
    found = {}
    for field, names in layout.names.items():
        members = members_of(names, context)
        if issubclass(_kind_of(names, context), enum.IntFlag):
            found[field] = ", ".join(f"bit {value.bit_length() - 1} {name}" for name, value in members.items())
        else:
            found[field] = ", ".join(f"{value} {name}" for name, value in members.items())
        if len(found[field]) > NAMES_WIDTH:
            found[field] = f"{len(members)} have names"
    return found


def _size(declaration: Any) -> int | None:
    try:
        size: int = declaration.sizeof()
    except SizeofError:
        return None
    return size


def _number(expression: Any) -> str:
    return (
        str(expression).replace("this['", "").replace("']", "") if not isinstance(expression, int) else str(expression)
    )


def _fields(struct: Any, values: dict[str, str], indent: str, start: int) -> Iterator[Field]:
    """The fields of a Struct that begins at an offset."""
    offset: int | None = start
    before = start
    chosen = False
    plus = "+" if indent else ""
    for field in struct.subcons:
        declaration, name = field, field.name or ""
        while isinstance(declaration, Renamed):
            declaration = declaration.subcon
        if isinstance(declaration, Computed):
            yield Field("", "", indent + name, "worked out", values.get(name, ""))
            continue
        # Of a union each member is declared as a condition; they lie in the same place.
        conditional = isinstance(declaration, IfThenElse)
        if conditional and chosen and offset is not None:
            offset = before
        chosen = conditional
        if conditional and declaration.elsesubcon is Pass:
            declaration = declaration.thensubcon
            while isinstance(declaration, Renamed):
                declaration = declaration.subcon
        size = _size(declaration)
        at = "" if offset is None else f"{plus}{offset}"
        yield Field(at, _size_words(declaration, size), indent + name, _kind(declaration), values.get(name, ""))
        inner = declaration.subcon if isinstance(declaration, Array) else declaration
        while isinstance(inner, Renamed):
            inner = inner.subcon
        if isinstance(inner, Struct):
            yield from _fields(inner, values, indent + "  ", 0)
        before = offset if offset is not None else before
        offset = offset + size if offset is not None and size is not None else None


def _size_words(declaration: Any, size: int | None) -> str:
    if size is not None:
        return str(size)
    if isinstance(declaration, Array):
        return f"{_size(declaration.subcon) or '?'} * {_number(declaration.count)}"
    if isinstance(declaration, Bytes):
        return _number(declaration.length)
    return "?"


def _kind(declaration: Any) -> str:
    if isinstance(declaration, FormatField):
        return KINDS.get(str(declaration.fmtstr)[-1], "bytes")
    if isinstance(declaration, Array):
        inner = declaration.subcon
        while isinstance(inner, Renamed):
            inner = inner.subcon
        return f"{_number(declaration.count)} of {'these' if isinstance(inner, Struct) else _kind(inner)}"
    if isinstance(declaration, Struct):
        return "these"
    if isinstance(declaration, Adapter):
        return type(declaration).__name__.lstrip("_").lower()
    return "bytes"
