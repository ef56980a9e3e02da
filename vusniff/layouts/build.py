"""Plain values to payload bytes: `vusniff.layouts.dissect` the other way round, for those who change messages.

The construct of a layout is the only definition here, too. A payload is built as a whole from its values, or one field
is built and put in the place it has in given bytes; the latter keeps what does not fit together (a count of regions
that are not there), which is what bad input is made of. Values that are worked out from others are left out of account.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Any

from vusniff.errors import DissectorError
from vusniff.layouts.parts import Node, NodeKind, tree
from vusniff.layouts.spans import Span, spans
from vusniff.message import Context, Layout

_HOLDERS = (NodeKind.STRUCTURE, NodeKind.ARRAY)


def build(layout: Layout, values: Mapping[str, Any], context: Context) -> bytes:
    """The payload that `vusniff.layouts.dissect.payload` reads as these values; other keys are of no account.

    Raises DissectorError for a value that is missing or does not fit its field.
    """
    try:
        root = tree(layout, context.order)
        return bytes(root.construct.build(_raw(root, values)))
    except Exception as error:  # construct's errors, and those of a vendor's adapters
        raise DissectorError(f"the values do not fit {layout.name}: {_reason(error)}") from None


def _raw(node: Node, value: Any) -> Any:
    """A plain value as construct takes it: bytes are hex strings among plain values."""
    if node.kind is NodeKind.STRUCTURE and isinstance(value, Mapping):
        fields = [part for part in node.parts if part.kind is not NodeKind.COMPUTED]
        return {part.name: _raw(part, value[part.name]) for part in fields if part.name in value}
    if node.kind is NodeKind.ARRAY and isinstance(value, list):
        return [_raw(node.parts[0], one) for one in value]
    if node.kind is NodeKind.CONDITIONAL:
        return None if value is None else _raw(node.parts[0], value)
    if isinstance(value, str) and node.kind is not NodeKind.ADAPTED:
        return bytes.fromhex(value)
    return value


def _reason(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[-1] if lines else type(error).__name__


def replaced(layout: Layout, data: bytes, path: str, word: str, context: Context) -> bytes:
    """The payload with one field changed to what ``word`` says.

    Numbers are decimal or, with their prefix, hex, octal or binary; bytes are hex digits; a MAC or UUID is as printed.
    Raises DissectorError for a field that is not there, close ones named, or a value that does not fit it.
    """
    known = spans(layout, data, context.order)
    span = known.get(path)
    leaves = [name for name, one in known.items() if one.node.kind not in _HOLDERS]
    if span is None:
        raise DissectorError(f"{layout.name} has no field {path}{close(path, leaves)}")
    if path not in leaves:
        inside = next((name for name in leaves if name.startswith(path)), path)
        raise DissectorError(f"field {path} of {layout.name} holds others: name one of them, such as {inside}")
    try:
        built = _built(span, word)
    except Exception:  # of struct, construct, or a vendor's adapter
        raise DissectorError(f"field {path} of {layout.name} {_wanted(span)}, not {word!r}") from None
    return data[: span.start] + built + data[span.stop :]


def _built(span: Span, word: str) -> bytes:
    node = span.node
    if node.kind is NodeKind.NUMBER:
        return struct.pack(node.format, int(word, 0))
    if node.kind is not NodeKind.BYTES:
        return bytes(node.construct.build(_raw(node, word)))
    value = bytes.fromhex(word)
    if len(value) != span.stop - span.start:
        raise ValueError
    return value


def _wanted(span: Span) -> str:
    size = span.stop - span.start
    if span.node.kind is NodeKind.NUMBER:
        return f"is a number of {8 * size} bits"
    return f"has {size} bytes" + ("" if span.node.kind is NodeKind.ADAPTED else ", given as hex digits")


def close(word: str, known: Iterable[str]) -> str:
    """``; did you mean num?`` or ``; there are index, num``."""
    names = list(known)
    import difflib

    matches = difflib.get_close_matches(word, names, 3, 0.5)
    if matches:
        return f"; did you mean {' or '.join(matches)}?"
    return f"; there are {', '.join(names[:12])}{', ...' if len(names) > 12 else ''}" if names else ""
