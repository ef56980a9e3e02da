"""Fast parsers generated from construct declarations, which stay the only definition of every layout.

The tree of a layout (`parts`) becomes a Python function: one ``struct.Struct`` for each run of fixed fields, dict
displays, no calls per field. The function reads exactly what construct would read from a payload that fits and
returns None for every other one (too short, bytes left over, a count that does not agree with the size, an adapter
that raises), so that construct itself makes the diagnosis. Trees of a shape the generator does not know have no
function. `tests/test_codegen.py` proves the two equal.

Known shapes: a Struct of integers and other struct-module fields, Bytes, Adapters of those, nested Structs, Arrays of
a fixed count, Computed; and at most one Array or Bytes whose count or length is an expression of ``this``, or
GreedyBytes, with nothing but Computed behind it.
"""

from __future__ import annotations

import enum
import functools
import struct
from collections.abc import Callable, Mapping
from typing import Any

from vusniff.layouts.parts import Formula, Node, NodeKind, Term, UnknownShapeError, tree
from vusniff.message import Context, Layout, enum_of
from vusniff.names import BitNames, ValueNames, names_of_bits, names_of_values
from vusniff.values import dataclass, field

BYTES_LIMIT = 64 * 1024
"""Bytes of one field that are shown as hex; a longer one is cut and has a field ``<name>_truncated`` beside it."""
PARSERS = 1024
"""Parsers that are kept: a vendor's chooser may make a layout for each message."""

Parse = Callable[[bytes], dict[str, Any] | None]
NameTables = Mapping[str, BitNames | ValueNames]


def name_tables(layout: Layout, context: Context) -> NameTables:
    """Field name -> table of the names of its values, as the context resolves them."""
    return _tables(layout, _kinds(layout, context))


def parser(layout: Layout, context: Context) -> Parse | None:
    """The generated parser of a layout in a context, None where its shape is not known or its declaration raises.

    The parser returns None for bytes that it cannot read, else the values in plain form.
    """
    return _parser(layout, context.order, _kinds(layout, context))


def _kinds(layout: Layout, context: Context) -> tuple[type[enum.Enum], ...]:
    return tuple(enum_of(names, context) for names in layout.names.values())


def _tables(layout: Layout, kinds: tuple[type[enum.Enum], ...]) -> NameTables:
    tables: dict[str, BitNames | ValueNames] = {}
    for name, kind in zip(layout.names, kinds, strict=True):
        if issubclass(kind, enum.IntFlag):
            tables[name] = names_of_bits(kind)
        elif issubclass(kind, enum.IntEnum):
            tables[name] = names_of_values(kind)
    return tables


@functools.lru_cache(PARSERS)
def _parser(layout: Layout, order: str, kinds: tuple[type[enum.Enum], ...]) -> Parse | None:
    try:
        source = _ParserText(_tables(layout, kinds))
        text = source.function(tree(layout, order))
    except Exception:  # a shape that is not known; or a vendor's declaration fails, and construct's run will say how
        return None
    exec(compile(text, "<generated from construct>", "exec"), source.environment)
    parse: Parse = source.environment["parse"]
    return parse


@dataclass
class _FixedFields:
    """Fixed fields that one ``struct.Struct`` reads."""

    order: str = ""
    formats: list[str] = field(default_factory=list)
    variables: list[str] = field(default_factory=list)

    def add(self, order: str, form: str, variable: str) -> None:
        if struct.calcsize(order + form) > 1 and not form.endswith("s"):
            if self.order and self.order != order:
                raise UnknownShapeError
            self.order = order
        self.formats.append(form)
        self.variables.append(variable)

    @property
    def program(self) -> struct.Struct:
        return struct.Struct((self.order or "<") + "".join(self.formats))

    @property
    def targets(self) -> str:
        return ", ".join(self.variables) + ("," if len(self.variables) == 1 else "")


class _ParserText:
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

    def variable(self) -> str:
        """Field names are identifiers of a declaration, but nothing of them is needed in the text."""
        self.count += 1
        return f"v{self.count}"

    def function(self, root: Node) -> str:
        lines = "\n".join(f"        {line}" for line in self.body(root))
        return f"def parse(data):\n    try:\n{lines}\n    except Exception:\n        return None\n"

    def body(self, root: Node) -> list[str]:
        if root.kind is not NodeKind.STRUCTURE:
            raise UnknownShapeError
        run = _FixedFields()
        scope: dict[str, str] = {}
        items: list[str] = []
        late: list[str] = []
        size = 0
        length = ""
        for node in root.parts:
            name = node.name
            if not name:
                raise UnknownShapeError
            if node.kind is NodeKind.COMPUTED:
                variable = self.variable()
                late.append(f"{variable} = {self.computed(node, scope)}")
                scope[name] = variable
                items.append(self.item(name, variable, variable))
            elif length:
                raise UnknownShapeError
            elif node.kind is NodeKind.ARRAY and isinstance(node.count, Formula):
                count = self.expression(node.count.term, scope)
                program, element = self.element(node.parts[0])
                late.append(f"if len(data) != {size} + {count} * {program.size}: return None")
                items.append(f"{name!r}: [{element} in {self.bind('each', program.iter_unpack)}(data[{size}:])]")
                length = count
            elif node.kind is NodeKind.BYTES and isinstance(node.count, Formula):
                length = self.expression(node.count.term, scope)
                variable = self.variable()
                late.append(f"if len(data) != {size} + {length} or {length} > {BYTES_LIMIT}: return None")
                late.append(f"{variable} = data[{size}:]")
                scope[name] = variable
                items.append(f"{name!r}: {variable}.hex()")
            elif node.kind is NodeKind.BYTES and node.count is None:
                length = self.variable()
                late.append(f"{length} = data[{size}:]")
                late.append(f"if len({length}) > {BYTES_LIMIT}: return None")
                scope[name] = length
                items.append(f"{name!r}: {length}.hex()")
            elif node.kind is NodeKind.ARRAY and isinstance(node.count, int):
                variable = self.variable()
                program, element = self.element(node.parts[0])
                run.add("<", f"{program.size * node.count}s", variable)
                items.append(f"{name!r}: [{element} in {self.bind('each', program.iter_unpack)}({variable})]")
                size += program.size * node.count
            else:
                item, used = self.fixed(node, run, scope)
                items.append(item)
                size += used
        unpack = run.program
        if unpack.size != size:
            raise UnknownShapeError
        lines = [f"if len(data) {'<' if length else '!='} {size}: return None"]
        if run.variables:
            lines.append(f"{run.targets} = {self.bind('unpack', unpack.unpack_from)}(data)")
        return [*lines, *late, f"return {{{', '.join(items)}}}"]

    def fixed(self, node: Node, run: _FixedFields, scope: dict[str, str]) -> tuple[str, int]:
        """Dict item of a field of fixed size, and its bytes."""
        name = node.name
        if node.kind is NodeKind.STRUCTURE:
            nested: dict[str, str] = {}
            items, size = [], 0
            for part in node.parts:
                if not part.name:
                    raise UnknownShapeError
                item, used = self.fixed(part, run, nested)
                items.append(item)
                size += used
            return f"{name!r}: {{{', '.join(items)}}}", size
        variable = self.variable()
        order, form, size = _scalar(node.parts[0] if node.kind is NodeKind.ADAPTED else node)
        run.add(order, form, variable)
        if node.kind is NodeKind.ADAPTED:
            # What Computed fields behind it would see is the decoded value, which has no variable.
            value = f"{self.bind('plain', _adapted)}({self.bind('decode', node.decode)}, {variable})"
            return self.item(name, value, ""), size
        scope[name] = variable
        if node.kind is NodeKind.BYTES:
            return self.item(name, f"{variable}.hex()", ""), size
        return self.item(name, variable, variable), size

    def element(self, node: Node) -> tuple[struct.Struct, str]:
        """Program of one array element, and the text ``<value> for <targets>``."""
        run = _FixedFields()
        item, _ = self.fixed(node, run, {})
        if run.program.size == 0:
            raise UnknownShapeError
        value = item.removeprefix("'': ")
        return run.program, f"{value} for {run.targets}"

    def item(self, name: str, value: str, number: str) -> str:
        table = self.tables.get(name)
        if table is None:
            return f"{name!r}: {value}"
        if not number:
            raise UnknownShapeError
        suffix = "names" if isinstance(table, BitNames) else "name"
        return f"{name!r}: {value}, {f'{name}_{suffix}'!r}: {self.bind('names', table)}[{number}]"

    def computed(self, node: Node, scope: Mapping[str, str]) -> str:
        if node.formula is not None:
            return self.expression(node.formula.term, scope)
        values = ", ".join(f"{name!r}: {variable}" for name, variable in scope.items())
        return f"{self.bind('compute', node.value)}({{{values}}})"

    def expression(self, term: Term | None, scope: Mapping[str, str]) -> str:
        """Source of a formula."""
        if isinstance(term, int):
            return repr(term)
        if isinstance(term, str) and term in scope:
            return scope[term]
        if not isinstance(term, tuple):
            raise UnknownShapeError
        sign, *terms = term
        if len(terms) == 1:
            return f"({sign}{self.expression(terms[0], scope)})"
        return f"({self.expression(terms[0], scope)} {sign} {self.expression(terms[1], scope)})"


def _scalar(node: Node) -> tuple[str, str, int]:
    """Byte order, struct format and size of a plain field."""
    if node.kind is NodeKind.NUMBER and node.format[0] in "<>" and node.size is not None:
        return node.format[0], node.format[1:], node.size
    if node.kind is NodeKind.BYTES and isinstance(node.count, int) and node.count <= BYTES_LIMIT:
        return "<", f"{node.count}s", node.count
    raise UnknownShapeError


def _adapted(decode: Callable[[Any, Any, Any], Any], value: Any) -> Any:
    value = decode(value, None, None)
    if isinstance(value, bytes):
        return value.hex()
    if value is None or isinstance(value, str | int | float):
        return value
    raise UnknownShapeError
