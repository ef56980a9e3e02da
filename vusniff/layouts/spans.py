"""Which bytes of a payload a field is made of: a layout's tree followed through the bytes, field by field.

Owns how a field is called by its path (``regions[1].size``). It goes as far as the bytes go: what lies whole before a
gap, or before a field that a vendor's adapter cannot read, is found.
"""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Generator, Iterator, Mapping
from typing import Any, NamedTuple

from construct import Container

from vusniff.layouts.parts import Formula, Node, NodeKind, tree
from vusniff.message import Layout

ELEMENT_LIMIT = 1024
"""Elements of an array that have names."""


class Span(NamedTuple):
    """Where a field, a structure or an array stands in a payload. It has at least one byte."""

    path: str
    start: int
    """First byte, from the start of the payload."""
    stop: int
    """The byte behind the last."""
    node: Node
    value: Any
    """As construct reads it."""


def walk(layout: Layout, data: bytes, order: str, elements: int = ELEMENT_LIMIT) -> Iterator[Span]:
    """The spans of a payload, what holds others behind those; of each array no more than so many elements.

    Never raises for what the bytes hold or a vendor's declaration does.
    """
    try:
        yield from _Walk(data, elements).structure(tree(layout, order), "", None)
    except Exception:  # bytes that do not fit, or a vendor's adapter: what was found until there is right
        return


def spans(layout: Layout, data: bytes, order: str) -> dict[str, Span]:
    """Path -> span, in the order of their bytes, what holds others before those."""
    found = sorted(walk(layout, data, order), key=lambda span: (span.start, -span.stop, len(span.path)))
    return {span.path: span for span in found}


def prefix(root: Node, data: bytes) -> tuple[Mapping[str, Any], int]:
    """The values of the fields that are whole before a gap, and of an array of its whole elements; and their bytes."""
    walk = _Walk(data, len(data))
    if root.kind is NodeKind.STRUCTURE:
        with contextlib.suppress(Exception):
            for _ in walk.structure(root, "", None):
                pass
    return walk.values, walk.used


class _EndError(Exception):
    """The bytes end within a field."""


class _Walk:
    """Follows a tree through bytes. Each method returns the values it read, which formulas behind them need."""

    def __init__(self, data: bytes, elements: int) -> None:
        self._stream = io.BytesIO(data)
        self._elements = min(elements, len(data))
        self.values = Container(_=None)
        """Those of the outermost structure."""
        self.used = 0
        """Bytes of its whole fields and elements."""

    def structure(self, node: Node, before: str, outside: Container | None) -> Generator[Span, None, Container]:
        values = self.values if outside is None else Container(_=outside)
        for part in node.parts:
            value = yield from self._part(part, before + part.name, values)
            if part.name:
                values[part.name] = value
            if values is self.values:
                self.used = self._stream.tell()
        return values

    def _part(self, node: Node, path: str, values: Container) -> Generator[Span, None, Any]:
        if node.kind is NodeKind.COMPUTED and node.value is not None:
            return node.value(values)
        if node.kind is NodeKind.CONDITIONAL and node.formula is not None:
            chosen = node.parts[:1] if node.formula.value(values) else node.parts[1:]
            return (yield from self._part(chosen[0], path, values)) if chosen else None
        start = self._stream.tell()
        value: Any
        if node.kind is NodeKind.STRUCTURE:
            value = yield from self.structure(node, f"{path}.", values)
        elif node.kind is NodeKind.ARRAY:
            value = yield from self._array(node, path, values)
        elif node.kind is NodeKind.NUMBER:
            (value,) = struct.unpack(node.format, self._take(node.size or 0))
        elif node.kind is NodeKind.BYTES:
            value = self._stream.read() if node.count is None else self._take(_number(node.count, values))
        else:
            value = node.construct.parse_stream(self._stream, **values)
        stop = self._stream.tell()
        if stop > start and path and not path.endswith("."):
            yield Span(path, start, stop, node, value)
        return value

    def _array(self, node: Node, path: str, values: Container) -> Generator[Span, None, list[Any]]:
        count, element = _number(node.count, values), node.parts[0]
        found: list[Any] = []
        if node.name:
            values[node.name] = found
        for position in range(min(count, self._elements)):
            value = yield from self._part(element, f"{path}[{position}]", values)
            found.append(value)
            if node.name and values is self.values:
                self.used = self._stream.tell()
        unnamed = count - len(found)
        if unnamed:
            # A negative count ends the walk, as it ends construct's run.
            self._take(unnamed * element.size if unnamed > 0 and element.size else -1)
        return found

    def _take(self, size: int) -> bytes:
        data = self._stream.read(size) if size >= 0 else b""
        if len(data) != size:
            raise _EndError
        return data


def _number(count: int | Formula | None, values: Container) -> int:
    return int(count.value(values) if isinstance(count, Formula) else count or 0)
