"""Fast parsers generated from construct declarations, which stay the only definition of every layout.

A declaration is walked once and becomes a Python function: one ``struct.Struct`` for each run of fixed fields, dict
displays, no calls per field. The function reads exactly what construct would read from a payload that fits and
returns None for every other one (too short, bytes left over, a count that does not agree with the size, an adapter
that raises), so that construct itself makes the diagnosis. Declarations of a shape the generator does not know have
no function. `tests/test_codegen.py` proves the two equal.

Known shapes: a Struct of integers and other struct-module fields, Bytes, Adapters of those, nested Structs, Arrays of
a fixed count, Computed; and at most one Array or Bytes whose count or length is an expression of ``this``, with
nothing but Computed behind it.
"""

from __future__ import annotations

import enum
import operator
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from construct import Adapter, Array, Bytes, Computed, FormatField, Renamed, Struct
from construct.expr import BinExpr, Path, UniExpr

from vusniff.message import Context, Layout
from vusniff.names import BitNames, ValueNames, names_of_bits, names_of_values

BYTES_LIMIT = 64 * 1024
"""Bytes of one field that are shown as hex; a longer one is cut and has a field ``<name>_truncated`` beside it."""

Parse = Callable[[bytes], dict[str, Any] | None]
NameTables = Mapping[str, BitNames | ValueNames]

_BINARY = {
    operator.add: "+",
    operator.sub: "-",
    operator.mul: "*",
    operator.floordiv: "//",
    operator.mod: "%",
    operator.xor: "^",
    operator.lshift: "<<",
    operator.rshift: ">>",
    operator.and_: "&",
    operator.or_: "|",
    operator.eq: "==",
    operator.ne: "!=",
    operator.lt: "<",
    operator.le: "<=",
    operator.gt: ">",
    operator.ge: ">=",
}
_UNARY = {operator.neg: "-", operator.not_: "not "}
_THIS = re.compile(r"this\['(\w+)'\]")


class _UnknownShapeError(Exception):
    """The declaration has a part that the generator does not know."""


def name_tables(layout: Layout, context: Context) -> dict[str, BitNames | ValueNames]:
    """Field name -> table of the names of its values, as the context resolves them."""
    tables: dict[str, BitNames | ValueNames] = {}
    for name, names in layout.names.items():
        kind = names if isinstance(names, type) else names(context)
        if issubclass(kind, enum.IntFlag):
            tables[name] = names_of_bits(kind)
        elif issubclass(kind, enum.IntEnum):
            tables[name] = names_of_values(kind)
    return tables


_parsers: dict[tuple[Layout, str, tuple[int, ...]], Parse | None] = {}


def parser(layout: Layout, context: Context) -> Parse | None:
    """The generated parser of a layout in a context, None where its shape is not known or its declaration raises.

    The parser returns None for bytes that it cannot read, else the values in plain form.
    """
    tables = name_tables(layout, context)
    # Tables live as long as the program, so their ids stand for them.
    key = (layout, context.order, tuple(map(id, tables.values())))
    if key not in _parsers:
        try:
            declaration = layout.construct(context.order)
        except Exception:  # a vendor's declaration may fail in any way; construct's own run will say how
            return None
        _parsers[key] = compile_parser(declaration, tables)
    return _parsers[key]


def compile_parser(declaration: Any, tables: NameTables) -> Parse | None:
    """Generate and compile the parser of one declaration, None where its shape is not known."""
    try:
        source = _Source(tables)
        text = source.function(declaration)
    except _UnknownShapeError:
        return None
    environment: dict[str, Any] = source.environment
    exec(compile(text, "<generated from construct>", "exec"), environment)
    parse: Parse = environment["parse"]
    return parse


@dataclass
class _Run:
    """Fixed fields that one ``struct.Struct`` reads."""

    order: str = ""
    formats: list[str] = field(default_factory=list)
    variables: list[str] = field(default_factory=list)

    def add(self, order: str, form: str, variable: str) -> None:
        if struct.calcsize(order + form) > 1 and not form.endswith("s"):
            if self.order and self.order != order:
                raise _UnknownShapeError
            self.order = order
        self.formats.append(form)
        self.variables.append(variable)

    @property
    def program(self) -> struct.Struct:
        return struct.Struct((self.order or "<") + "".join(self.formats))

    @property
    def targets(self) -> str:
        return ", ".join(self.variables) + ("," if len(self.variables) == 1 else "")


class _Source:
    """Text of one parser, and the objects that its text refers to."""

    def __init__(self, tables: NameTables) -> None:
        self.tables = tables
        self.environment: dict[str, Any] = {"__builtins__": {"len": len, "list": list, "Exception": Exception}}
        self.count = 0

    def bind(self, prefix: str, value: Any) -> str:
        self.count += 1
        name = f"{prefix}{self.count}"
        self.environment[name] = value
        return name

    def variable(self, name: str) -> str:
        self.count += 1
        # Field names are identifiers of a declaration, but nothing of them is needed in the text.
        return f"v{self.count}"

    def function(self, declaration: Any) -> str:
        body = self.body(declaration)
        lines = "\n".join(f"        {line}" for line in body)
        return f"def parse(data):\n    try:\n{lines}\n    except Exception:\n        return None\n"

    def body(self, declaration: Any) -> list[str]:
        if type(declaration) is not Struct:
            raise _UnknownShapeError
        run = _Run()
        scope: dict[str, str] = {}
        items: list[str] = []
        late: list[str] = []
        size = 0
        length = ""
        for part in declaration.subcons:
            name, inner = _named(part)
            if isinstance(inner, Computed):
                variable = self.variable(name)
                late.append(f"{variable} = {self.computed(inner.func, scope)}")
                scope[name] = variable
                items.append(self.item(name, variable, variable))
            elif length:
                raise _UnknownShapeError
            elif isinstance(inner, Array) and not isinstance(inner.count, int):
                count = self.expression(inner.count, scope)
                program, element = self.element(inner.subcon)
                late.append(f"if len(data) != {size} + {count} * {program.size}: return None")
                items.append(f"{name!r}: [{element} in {self.bind('each', program.iter_unpack)}(data[{size}:])]")
                length = count
            elif isinstance(inner, Bytes) and not isinstance(inner.length, int):
                length = self.expression(inner.length, scope)
                variable = self.variable(name)
                late.append(f"if len(data) != {size} + {length} or {length} > {BYTES_LIMIT}: return None")
                late.append(f"{variable} = data[{size}:]")
                scope[name] = variable
                items.append(f"{name!r}: {variable}.hex()")
            elif isinstance(inner, Array):
                variable = self.variable(name)
                program, element = self.element(inner.subcon)
                form = f"{program.size * inner.count}s"
                run.add("<", form, variable)
                items.append(f"{name!r}: [{element} in {self.bind('each', program.iter_unpack)}({variable})]")
                size += program.size * inner.count
            else:
                item, used = self.fixed(name, inner, run, scope)
                items.append(item)
                size += used
        unpack = run.program
        if unpack.size != size:
            raise _UnknownShapeError
        lines = [f"if len(data) {'<' if length else '!='} {size}: return None"]
        if run.variables:
            lines.append(f"{run.targets} = {self.bind('unpack', unpack.unpack_from)}(data)")
        return [*lines, *late, f"return {{{', '.join(items)}}}"]

    def fixed(self, name: str, inner: Any, run: _Run, scope: dict[str, str]) -> tuple[str, int]:
        """Dict item of a field of fixed size, and its bytes."""
        if type(inner) is Struct:
            nested: dict[str, str] = {}
            items, size = [], 0
            for part in inner.subcons:
                item, used = self.fixed(*_named(part), run, nested)
                items.append(item)
                size += used
            return f"{name!r}: {{{', '.join(items)}}}", size
        variable = self.variable(name)
        if isinstance(inner, Adapter):
            order, form, size = _scalar(inner.subcon)
            run.add(order, form, variable)
            # What Computed fields behind it would see is the decoded value, which has no variable.
            return self.item(
                name, f"{self.bind('plain', _adapted)}({self.bind('adapter', inner)}, {variable})", ""
            ), size
        order, form, size = _scalar(inner)
        run.add(order, form, variable)
        scope[name] = variable
        if isinstance(inner, Bytes):
            return self.item(name, f"{variable}.hex()", ""), size
        return self.item(name, variable, variable), size

    def element(self, inner: Any) -> tuple[struct.Struct, str]:
        """Program of one array element, and the text ``<value> for <targets>``."""
        run = _Run()
        item, _ = self.fixed("", inner, run, {})
        if run.program.size == 0:
            raise _UnknownShapeError
        value = item.removeprefix("'': ")
        return run.program, f"{value} for {run.targets}"

    def item(self, name: str, value: str, number: str) -> str:
        table = self.tables.get(name)
        if table is None:
            return f"{name!r}: {value}"
        if not number:
            raise _UnknownShapeError
        suffix = "names" if isinstance(table, BitNames) else "name"
        return f"{name!r}: {value}, {f'{name}_{suffix}'!r}: {self.bind('names', table)}[{number}]"

    def computed(self, function: Any, scope: Mapping[str, str]) -> str:
        if isinstance(function, BinExpr | UniExpr | Path):
            return self.expression(function, scope)
        if not callable(function):
            raise _UnknownShapeError
        values = ", ".join(f"{name!r}: {variable}" for name, variable in scope.items())
        return f"{self.bind('compute', function)}({{{values}}})"

    def expression(self, node: Any, scope: Mapping[str, str]) -> str:
        """Source of an expression of ``this``."""
        if isinstance(node, int):
            return repr(int(node))
        if isinstance(node, BinExpr) and node.op in _BINARY:
            return f"({self.expression(node.lhs, scope)} {_BINARY[node.op]} {self.expression(node.rhs, scope)})"
        if isinstance(node, UniExpr) and node.op in _UNARY:
            return f"({_UNARY[node.op]}{self.expression(node.operand, scope)})"
        known = _THIS.fullmatch(repr(node)) if isinstance(node, Path) else None
        if known is None or known[1] not in scope:
            raise _UnknownShapeError
        return scope[known[1]]


def _named(part: Any) -> tuple[str, Any]:
    name, inner = part.name, part
    while isinstance(inner, Renamed):
        inner = inner.subcon
    if not name:
        raise _UnknownShapeError
    return name, inner


def _scalar(inner: Any) -> tuple[str, str, int]:
    """Byte order, struct format and size of a plain field."""
    if isinstance(inner, FormatField) and inner.fmtstr[0] in "<>":
        return inner.fmtstr[0], inner.fmtstr[1:], inner.length
    if isinstance(inner, Bytes) and isinstance(inner.length, int) and inner.length <= BYTES_LIMIT:
        return "<", f"{inner.length}s", inner.length
    raise _UnknownShapeError


def _adapted(adapter: Any, value: Any) -> Any:
    value = adapter._decode(value, None, None)
    if isinstance(value, bytes):
        return value.hex()
    if value is None or isinstance(value, str | int | float):
        return value
    raise _UnknownShapeError
