"""Construct declarations as Lua: the text of a function that reads one payload layout and shows its fields.

The functions call the reader of ``runtime.lua``: ``int``, ``bytes``, ``text`` and their like take the next field and
add it to the tree, ``array``, ``struct`` and ``window`` what consists of fields. A declaration of a shape that is not
known here raises `UnknownShapeError`; its payload is shown as bytes.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from construct import Adapter, Array, Bytes, Computed, FormatField, IfThenElse, Pass, Renamed, Struct
from construct.expr import BinExpr, Path, UniExpr

from vusniff.filter.payload import name_of
from vusniff.message import Layout, Names, Window

_FUNCTIONS = {
    operator.add: "add",
    operator.sub: "sub",
    operator.mul: "mul",
    operator.and_: "band",
    operator.rshift: "shr",
    operator.eq: "eq",
    operator.ne: "ne",
}
_THIS = re.compile(r"this\['(\w+)'\]")
_SAMPLE = b"ABCDEFGHIJKLMNOP"
_UUID = "41424344-4546-4748-494a-4b4c4d4e4f50"


class UnknownShapeError(Exception):
    """The declaration has a part that has no Lua form."""


def quoted(text: str) -> str:
    """A Lua string."""
    return '"' + "".join(c if c.isprintable() and c not in '"\\' else f"\\{ord(c):03d}" for c in text) + '"'


@dataclass
class Fields:
    """The fields of all layouts: what has to be registered before it can be shown."""

    kinds: dict[str, dict[str, None]] = field(default_factory=dict)
    """Name in filters (``vhost.mem.size``) -> kinds of value it has (``u32``, ``u64``, ``bytes``, ...), as met."""

    def key(self, name: str, kind: str) -> str:
        """The Lua expression of a registered field."""
        self.kinds.setdefault(name, {})[kind] = None
        return f"F[{quoted(f'{name}|{kind}')}]"


Resolve = Callable[[Mapping[str, Names]], Mapping[str, str]]
"""Field name -> names of its bits or values, to field name -> Lua expression of the table of them."""


def reader(layout: Layout, resolve: Resolve, fields: Fields) -> list[str]:
    """Lines of Lua that read a payload."""
    declaration = layout.construct("little")
    if type(declaration) is not Struct:
        raise UnknownShapeError
    return _Reader(layout.name, resolve(layout.names), resolve, fields).struct(declaration, "", {})


@dataclass
class _Reader:
    layout: str
    names: Mapping[str, str]
    resolve: Resolve
    fields: Fields
    count: int = 0

    def struct(self, declaration: Any, path: str, outside: Mapping[str, str]) -> list[str]:
        """All fields; variables of fields are local to their struct, as ``this`` is."""
        lines: list[str] = []
        scope: dict[str, str] = {}
        for part in declaration.subcons:
            name, inner = named(part)
            lines += self.field(name, f"{path}.{name}" if path else name, inner, scope)
        return lines

    def key(self, path: str, kind: str) -> str:
        return self.fields.key(name_of(self.layout, tuple(path.split("."))), kind)

    def variable(self) -> str:
        self.count += 1
        return f"v{self.count}"

    def field(self, name: str, path: str, inner: Any, scope: dict[str, str]) -> list[str]:
        if isinstance(inner, Computed):
            return self.computed(name, path, inner.func, scope)
        if isinstance(inner, IfThenElse):
            if inner.elsesubcon is not Pass:
                raise UnknownShapeError
            body = self.field(name, path, unwrapped(inner.thensubcon), {})
            return [f"if {self.expression(inner.condfunc, scope)} then", *_indented(body), "end"]
        if isinstance(inner, Array):
            return self.array(name, path, inner, scope)
        if type(inner) is Struct:
            size = inner.sizeof()
            body = self.struct(inner, path, {})
            return [f"struct({quoted(path)}, {size}, function()", *_indented(body), "end)"]
        return self.plain(name, path, inner, scope)

    def plain(self, name: str, path: str, inner: Any, scope: dict[str, str]) -> list[str]:
        """A field without fields of its own."""
        if isinstance(inner, Adapter):
            kind, size = _adapted(inner)
            return [f"{_ADAPTED[kind]}({self.key(path, kind)}, {quoted(path)}, {size})"]
        if isinstance(inner, Bytes):
            length = str(inner.length) if isinstance(inner.length, int) else self.expression(inner.length, scope)
            variable = scope[name] = self.variable()
            return [f"local {variable} = bytes({self.key(path, 'bytes')}, {quoted(path)}, {length})"]
        kind, size = scalar(inner)
        variable = scope[name] = self.variable()
        table = self.names.get(name)
        line = f"local {variable} = int({self.key(path, kind)}, {quoted(path)}, {size}"
        if table is None:
            return [f"{line})"]
        suffix = "names" if table.startswith("BITS") else "name"
        return [f"{line}, {table}, {self.key(f'{path}_{suffix}', 'text')})"]

    def array(self, name: str, path: str, inner: Any, scope: dict[str, str]) -> list[str]:
        element = unwrapped(inner.subcon)
        count = str(inner.count) if isinstance(inner.count, int) else self.expression(inner.count, scope)
        body = self.struct(element, path, {}) if type(element) is Struct else self.plain(name, path, element, {})
        whole = "true" if type(element) is Struct else "false"
        call = f"array({quoted(path)}, {count}, {element.sizeof()}, {whole}, function()"
        return [call, *_indented(body), "end)"]

    def computed(self, name: str, path: str, function: Any, scope: dict[str, str]) -> list[str]:
        if isinstance(function, Window):
            return self.window(path, function, scope)
        kind = "bool" if isinstance(function, BinExpr) and function.op in (operator.eq, operator.ne) else "u64"
        variable = scope[name] = self.variable()
        value = self.expression(function, scope)
        return [f"local {variable} = shown({self.key(path, kind)}, {quoted(path)}, {value})"]

    def window(self, path: str, window: Window, scope: dict[str, str]) -> list[str]:
        """Each field of the structure that lies wholly in the bytes."""
        inside = _Reader(self.layout, self.resolve(window.names), self.resolve, self.fields)
        lines = [f"window({quoted(path)}, {scope[window.data]}, {scope[window.offset]}, {{"]
        start = 0
        for part in window.structure.subcons:
            name, inner = named(part)
            size = inner.sizeof()
            body = inside.field(name, f"{path}.{name}", inner, {})
            lines += [f"  {{{start}, {size}, function()", *_indented(_indented(body)), "  end},"]
            start += size
        return [*lines, "})"]

    def expression(self, node: Any, scope: Mapping[str, str]) -> str:
        """Lua of an expression of ``this``."""
        if isinstance(node, bool | int):
            return str(int(node))
        if isinstance(node, BinExpr) and node.op in _FUNCTIONS:
            return f"{_FUNCTIONS[node.op]}({self.expression(node.lhs, scope)}, {self.expression(node.rhs, scope)})"
        if isinstance(node, UniExpr) or not isinstance(node, Path):
            raise UnknownShapeError
        known = _THIS.fullmatch(repr(node))
        if known is None or known[1] not in scope:
            raise UnknownShapeError
        return scope[known[1]]


_ADAPTED = {"ether": "adapted", "guid": "adapted", "text": "text", "bytes": "bytes"}


def named(part: Any) -> tuple[str, Any]:
    """Name and declaration of a field."""
    if not part.name:
        raise UnknownShapeError
    return part.name, unwrapped(part)


def unwrapped(part: Any) -> Any:
    """A declaration without its name."""
    while isinstance(part, Renamed):
        part = part.subcon
    return part


def scalar(inner: Any) -> tuple[str, int]:
    """Kind and size of an integer: ``u32``, 4."""
    if isinstance(inner, FormatField) and inner.fmtstr[1:] in "BHILQbhilq":
        return f"{'u' if inner.fmtstr[1:].isupper() else 'i'}{inner.length * 8}", inner.length
    raise UnknownShapeError


def _adapted(inner: Any) -> tuple[str, int]:
    """What an adapter makes of bytes, found by giving it some."""
    size = inner.sizeof()
    try:
        value = inner._decode(_SAMPLE[:size], None, None)
    except Exception:  # a vendor's adapter may raise what it likes
        return "bytes", size
    if value == _SAMPLE[:size].hex(":") and size == 6:
        return "ether", size
    if value == _UUID:
        return "guid", size
    return ("text" if isinstance(value, str) and value == _SAMPLE[:size].decode() else "bytes"), size


def _indented(lines: list[str]) -> list[str]:
    return [f"  {line}" for line in lines]
