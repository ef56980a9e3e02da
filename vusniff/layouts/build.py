"""Plain values to payload bytes: `vusniff.layouts.dissect` the other way round, for those who change messages.

The construct of a layout is the only definition here, too. A payload is built as a whole from its values, or one field
is built and put in the place it has in given bytes; the latter keeps what does not fit together (a count of regions
that are not there), which is what bad input is made of. Values that are worked out from others are left out of account.
"""

from __future__ import annotations

import difflib
import io
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from construct import Adapter, Array, Computed, Construct, FormatField, IfThenElse, Renamed, Struct

from vusniff.errors import DissectorError
from vusniff.message import Context, Layout

ELEMENT_LIMIT = 1024
"""Elements of an array that have names."""


def build(layout: Layout, values: Mapping[str, Any], context: Context) -> bytes:
    """The payload that `vusniff.layouts.dissect.payload` reads as these values; other keys are of no account.

    Raises DissectorError for a value that is missing or does not fit its field.
    """
    declaration = layout.construct(context.order)
    try:
        return bytes(declaration.build(_raw(declaration, values)))
    except Exception as error:  # construct's errors, and those of a vendor's adapters
        raise DissectorError(f"the values do not fit {layout.name}: {_reason(error)}") from None


def _raw(declaration: Any, value: Any) -> Any:
    """A plain value as construct takes it: bytes are hex strings among plain values."""
    inner = _unnamed(declaration)
    if isinstance(inner, Struct) and isinstance(value, Mapping):
        fields = [field for field in inner.subcons if not isinstance(_unnamed(field), Computed)]
        return {field.name: _raw(field, value[field.name]) for field in fields if field.name in value}
    if isinstance(inner, Array) and isinstance(value, list):
        return [_raw(inner.subcon, one) for one in value]
    if isinstance(inner, IfThenElse):
        return None if value is None else _raw(inner.thensubcon, value)
    if isinstance(value, str) and not isinstance(inner, Adapter):
        return bytes.fromhex(value)
    return value


def _unnamed(declaration: Any) -> Any:
    while isinstance(declaration, Renamed):
        declaration = declaration.subcon
    return declaration


def _reason(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[-1] if lines else type(error).__name__


class Place(NamedTuple):
    """Where a field stands in a payload."""

    start: int
    """First byte, from the start of the payload."""
    stop: int
    declaration: Construct[Any, Any]
    before: Mapping[str, Any]
    """The values before it in its structure, which its length may depend on."""


def places(layout: Layout, data: bytes, context: Context) -> dict[str, Place]:
    """Path (``num``, ``regions[1].size``) -> place of every field that has bytes; as far as the bytes go."""
    found: dict[str, Place] = {}
    try:
        _walk(_unnamed(layout.construct(context.order)), data, 0, "", found)
    except Exception:  # bytes that do not fit, or a vendor's adapter: what was found until there is right
        return found
    return found


def _walk(declaration: Any, data: bytes, offset: int, prefix: str, found: dict[str, Place]) -> None:
    """The fields of a Struct whose first byte is the first of ``data``, ``offset`` bytes into the payload."""
    stream = io.BytesIO(data)
    values: dict[str, Any] = {}
    for field in declaration.subcons:
        inner = _unnamed(field)
        before = dict(values)
        start = stream.tell()
        value = inner.parse_stream(stream, **before)
        stop = stream.tell()
        values[field.name] = value
        if stop == start:
            continue
        path = f"{prefix}{field.name}"
        found[path] = Place(offset + start, offset + stop, inner, before)
        if isinstance(inner, IfThenElse):
            inner = _unnamed(inner.thensubcon)
        if isinstance(inner, Struct):
            _walk(inner, data[start:stop], offset + start, f"{path}.", found)
        elif isinstance(inner, Array) and value:
            size = (stop - start) // len(value)
            for position in range(min(len(value), ELEMENT_LIMIT)):
                first = start + position * size
                name, element = f"{path}[{position}]", _unnamed(inner.subcon)
                found[name] = Place(offset + first, offset + first + size, element, {})
                if isinstance(element, Struct):
                    _walk(element, data[first : first + size], offset + first, f"{name}.", found)


def replaced(layout: Layout, data: bytes, path: str, word: str, context: Context) -> bytes:
    """The payload with one field changed to what ``word`` says.

    Numbers are decimal or, with their prefix, hex, octal or binary; bytes are hex digits; a MAC or UUID is as printed.
    Raises DissectorError for a field that is not there, close ones named, or a value that does not fit it.
    """
    known = places(layout, data, context)
    place = known.get(path)
    leaves = [name for name, one in known.items() if not isinstance(one.declaration, (Struct, Array, IfThenElse))]
    if place is None:
        raise DissectorError(f"{layout.name} has no field {path}{close(path, leaves)}")
    if path not in leaves:
        inside = next((name for name in leaves if name.startswith(path)), path)
        raise DissectorError(f"field {path} of {layout.name} holds others: name one of them, such as {inside}")
    try:
        value = int(word, 0) if isinstance(place.declaration, FormatField) else word
        built = place.declaration.build(_raw(place.declaration, value), **place.before)
    except Exception:  # construct's errors, and those of a vendor's adapters
        raise DissectorError(f"field {path} of {layout.name} {_wanted(place)}, not {word!r}") from None
    return data[: place.start] + bytes(built) + data[place.stop :]


def _wanted(place: Place) -> str:
    size = place.stop - place.start
    if isinstance(place.declaration, FormatField):
        return f"is a number of {8 * size} bits"
    return f"has {size} bytes" + ("" if isinstance(place.declaration, Adapter) else ", given as hex digits")


def close(word: str, known: Iterable[str]) -> str:
    """``; did you mean num?`` or ``; there are index, num``."""
    names = list(known)
    matches = difflib.get_close_matches(word, names, 3, 0.5)
    if matches:
        return f"; did you mean {' or '.join(matches)}?"
    return f"; there are {', '.join(names[:12])}{', ...' if len(names) > 12 else ''}" if names else ""
