"""What a layout consists of: a tree of plain values, made once by the only walk of its construct declaration.

Owns what is known of construct's classes. A shape that is not known here becomes a `Node` of kind OTHER, which only
construct itself can read. Knows no payload and no names of values.
"""

from __future__ import annotations

import enum
import functools
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import construct
from construct.expr import BinExpr, Path, UniExpr

from vusniff.message import Alternatives, Choice, Layout, Window
from vusniff.values import dataclass

Term: TypeAlias = "int | str | tuple[Any, ...]"
"""A number, the name of a field, or a sign of Python with its one or two terms: ``("*", ("-", "w", 1), 4)``."""

_SIGNS = {
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
    operator.neg: "-",
    operator.not_: "not ",
}
_THIS = re.compile(r"this\['(\w+)'\]")
_SAMPLE = b"ABCDEFGHIJKLMNOP"
_SAMPLE_UUID = "41424344-4546-4748-494a-4b4c4d4e4f50"

TREES = 1024
"""Trees that are kept: a vendor's chooser may make a layout for each message."""


class UnknownShapeError(Exception):
    """The tree has a part that its reader cannot express."""


class NodeKind(enum.Enum):
    """What a node is."""

    NUMBER = enum.auto()
    BYTES = enum.auto()
    ADAPTED = enum.auto()
    """Bytes or a number that read better as something else: a MAC address, a UUID, text."""
    STRUCTURE = enum.auto()
    ARRAY = enum.auto()
    CONDITIONAL = enum.auto()
    COMPUTED = enum.auto()
    """Worked out from the fields before it; it has no bytes."""
    OTHER = enum.auto()
    """A shape that is not known: only construct can read it."""


@dataclass(frozen=True, slots=True, eq=False)
class Formula:
    """A number or a truth that follows from the fields before it in the same structure."""

    value: Callable[[Mapping[str, Any]], Any]
    """The values before it -> its value; it raises what it likes."""
    text: str
    """For people: ``num_regions``, ``((w * h) * 4)``."""
    term: Term | None
    """None where it is more than signs, numbers and fields before it."""


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One field, structure or element of a layout."""

    kind: NodeKind
    name: str
    """Empty for the elements of an array, and where the declaration gives none."""
    offset: int | None
    """Bytes from the start of its structure; None behind what varies. The members of a union share one."""
    size: int | None
    """Bytes, None where it varies."""
    construct: Any
    """The declaration, for construct itself to read or build; nobody else looks into it."""
    word: str = "bytes"
    """Its kind for people: ``u32``, ``mac``, ``bytes``."""
    format: str = ""
    """Of NUMBER: byte order and format of the struct module, ``<I``."""
    count: int | Formula | None = 0
    """Of ARRAY: elements. Of BYTES: bytes; None: all that are left of the payload."""
    parts: tuple[Node, ...] = ()
    """Of STRUCTURE: its fields. Of ARRAY: the element. Of ADAPTED: what it is made of. Of CONDITIONAL: what is there
    when the formula is true, and what is there when it is not, if anything. Of COMPUTED: the fields of a window."""
    formula: Formula | None = None
    """Of CONDITIONAL: when. Of COMPUTED: from what; None for a function of Python, which `value` is then."""
    value: Callable[[Mapping[str, Any]], Any] | None = None
    """Of COMPUTED: the values before it -> its value. A `Window` tells what it does."""
    decode: Callable[[Any, Any, Any], Any] | None = None
    """Of ADAPTED: what it is made of (and twice None) -> its value; it raises what it likes."""

    @property
    def shown(self) -> str:
        """Of ADAPTED, what the value is, found by trying: ``ether``, ``guid``, ``text``, ``bytes``."""
        sample = _SAMPLE[: self.size]
        try:
            value = self.decode(sample, None, None) if self.decode else None
        except Exception:  # a vendor's adapter may raise what it likes
            return "bytes"
        if value == sample.hex(":") and self.size == 6:
            return "ether"
        if value == _SAMPLE_UUID:
            return "guid"
        return "text" if isinstance(value, str) and value == sample.decode() else "bytes"


def layouts_of(choice: Choice) -> Sequence[Layout]:
    """All layouts that a choice may give; none for a function that does not list them."""
    if isinstance(choice, Layout):
        return (choice,)
    return choice.layouts if isinstance(choice, Alternatives) else ()


@functools.lru_cache(TREES)
def tree(layout: Layout, order: str) -> Node:
    """The tree of a layout in a byte order. Raises what a vendor's declaration raises, which may be anything."""
    return _node(layout.construct(order), 0)


def _node(named: Any, offset: int | None, name: str | None = None) -> Node:
    declaration = _unnamed(named)
    name = named.name or "" if name is None else name
    make = functools.partial(Node, name=name, offset=offset, construct=declaration)
    if isinstance(declaration, construct.FormatField):
        form, size = declaration.fmtstr, declaration.length
        word = f"{'u' if form[1:].isupper() else 'i'}{8 * size}" if form[1:] in "BHILQbhilq" else "bytes"
        return make(NodeKind.NUMBER, size=size, word=word, format=form)
    # A subclass of Struct may read its fields in any way.
    if type(declaration) is construct.Struct:
        parts, size = _fields(declaration)
        return make(NodeKind.STRUCTURE, size=size, word="these", parts=parts)
    if isinstance(declaration, construct.Array):
        element, count = _node(declaration.subcon, 0, ""), _count(declaration.count)
        size = element.size * count if isinstance(count, int) and element.size is not None else None
        many = count.text if isinstance(count, Formula) else count
        return make(NodeKind.ARRAY, size=size, word=f"{many} of {element.word}", count=count, parts=(element,))
    if isinstance(declaration, construct.IfThenElse) and callable(declaration.condfunc):
        otherwise = [] if declaration.elsesubcon is construct.Pass else [declaration.elsesubcon]
        parts = tuple(_node(branch, offset, name) for branch in (declaration.thensubcon, *otherwise))
        return make(NodeKind.CONDITIONAL, size=None, formula=_formula(declaration.condfunc), parts=parts)
    if declaration is construct.GreedyBytes:
        return make(NodeKind.BYTES, size=None, count=None)
    if isinstance(declaration, construct.Bytes):
        count = _count(declaration.length)
        return make(NodeKind.BYTES, size=count if isinstance(count, int) else None, count=count)
    if isinstance(declaration, construct.Adapter):
        word, parts = type(declaration).__name__.lstrip("_").lower(), (_node(declaration.subcon, 0),)
        return make(NodeKind.ADAPTED, size=_size(declaration), word=word, parts=parts, decode=declaration._decode)
    if isinstance(declaration, construct.Computed) and callable(declaration.func):
        function = declaration.func
        formula = _formula(function) if isinstance(function, BinExpr | UniExpr | Path) else None
        parts, _ = _fields(function.structure) if isinstance(function, Window) else ((), 0)
        return make(NodeKind.COMPUTED, size=0, word="worked out", formula=formula, value=function, parts=parts)
    return make(NodeKind.OTHER, size=_size(declaration))


def _fields(struct: Any) -> tuple[tuple[Node, ...], int | None]:
    """The fields of a structure, and its size: with a condition it varies."""
    nodes: list[Node] = []
    offset: int | None = 0
    before: Node | None = None
    for field in struct.subcons:
        # Of a union each member is declared as a condition; they lie in the same place.
        member = isinstance(_unnamed(field), construct.IfThenElse)
        if member and before is not None and before.kind is NodeKind.CONDITIONAL:
            offset = before.offset
        node = _node(field, offset)
        nodes.append(node)
        if node.kind is NodeKind.COMPUTED:
            continue
        size = node.parts[0].size if node.kind is NodeKind.CONDITIONAL and len(node.parts) == 1 else node.size
        offset = None if offset is None or size is None else offset + size
        before = node
    return tuple(nodes), None if any(node.kind is NodeKind.CONDITIONAL for node in nodes) else offset


def _unnamed(declaration: Any) -> Any:
    while isinstance(declaration, construct.Renamed):
        declaration = declaration.subcon
    return declaration


def _size(declaration: Any) -> int | None:
    try:
        return int(declaration.sizeof())
    except Exception:  # it varies, or a vendor's declaration fails
        return None


def _count(count: Any) -> int | Formula:
    return count if isinstance(count, int) else _formula(count)


def _formula(expression: Any) -> Formula:
    text = str(expression).replace("this['", "").replace("']", "")
    try:
        term = _term(expression)
    except UnknownShapeError:
        term = None
    return Formula(expression, text, term)


def _term(expression: Any) -> Term:
    if isinstance(expression, int):
        return int(expression)
    if isinstance(expression, BinExpr) and expression.op in _SIGNS:
        return _SIGNS[expression.op], _term(expression.lhs), _term(expression.rhs)
    if isinstance(expression, UniExpr) and expression.op in _SIGNS:
        return _SIGNS[expression.op], _term(expression.operand)
    known = _THIS.fullmatch(repr(expression)) if isinstance(expression, Path) else None
    if known is None:
        raise UnknownShapeError
    return known[1]
