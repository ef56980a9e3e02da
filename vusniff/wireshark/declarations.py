"""Trees of layouts as Lua: the text of a function that reads one payload layout and shows its fields.

The functions call the reader of ``runtime.lua``: ``int``, ``bytes``, ``text`` and their like take the next field and
add it to the tree, ``array``, ``struct`` and ``window`` what consists of fields. A tree of a shape that is not known
here raises `UnknownShapeError`; its payload is shown as bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from vusniff.filter.payload import name_of
from vusniff.layouts.parts import Formula, Node, NodeKind, Term, UnknownShapeError, tree
from vusniff.message import Layout, Names, Window
from vusniff.values import dataclass, field

_FUNCTIONS = {"+": "add", "-": "sub", "*": "mul", "&": "band", ">>": "shr", "==": "eq", "!=": "ne"}
_REST = "rest()"
"""The bytes that are left of the payload."""
_TRUTHS = ("==", "!=")
_SHOWN = {"ether": "adapted", "guid": "adapted", "text": "text", "bytes": "bytes"}
"""What an adapted value is -> the function of ``runtime.lua`` that reads it."""


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
    root = tree(layout, "little")
    if root.kind is not NodeKind.STRUCTURE:
        raise UnknownShapeError
    return _ReaderText(layout.name, resolve(layout.names), resolve, fields).struct(root, "")


@dataclass
class _ReaderText:
    layout: str
    names: Mapping[str, str]
    resolve: Resolve
    fields: Fields
    count: int = 0

    def struct(self, node: Node, path: str) -> list[str]:
        """All fields; variables of fields are local to their struct, as ``this`` is."""
        lines: list[str] = []
        scope: dict[str, str] = {}
        for part in node.parts:
            lines += self.field(part, f"{path}.{part.name}" if path else part.name, scope)
        return lines

    def key(self, path: str, kind: str) -> str:
        return self.fields.key(name_of(self.layout, tuple(path.split("."))), kind)

    def variable(self) -> str:
        self.count += 1
        return f"v{self.count}"

    def field(self, node: Node, path: str, scope: dict[str, str]) -> list[str]:
        if not node.name:
            raise UnknownShapeError
        match node.kind:
            case NodeKind.COMPUTED:
                return self.computed(node, path, scope)
            case NodeKind.CONDITIONAL if len(node.parts) == 1:
                body = self.field(node.parts[0], path, {})
                return [f"if {self.formula(node.formula, scope)} then", *_indented(body), "end"]
            case NodeKind.ARRAY:
                return self.array(node, path, scope)
            case NodeKind.STRUCTURE:
                body = self.struct(node, path)
                return [f"struct({quoted(path)}, {_size(node)}, function()", *_indented(body), "end)"]
        return self.plain(node, path, scope)

    def plain(self, node: Node, path: str, scope: dict[str, str]) -> list[str]:
        """A field without fields of its own."""
        if node.kind is NodeKind.ADAPTED:
            rest = node.parts[0].kind is NodeKind.BYTES and node.parts[0].count is None
            size = _REST if rest else str(_size(node))
            return [f"{_SHOWN[node.shown]}({self.key(path, node.shown)}, {quoted(path)}, {size})"]
        if node.kind is NodeKind.BYTES:
            length = _REST if node.count is None else self.formula(node.count, scope)
            variable = scope[node.name] = self.variable()
            return [f"local {variable} = bytes({self.key(path, 'bytes')}, {quoted(path)}, {length})"]
        if node.kind is not NodeKind.NUMBER or node.word == "bytes":
            raise UnknownShapeError
        variable = scope[node.name] = self.variable()
        table = self.names.get(node.name)
        line = f"local {variable} = int({self.key(path, node.word)}, {quoted(path)}, {_size(node)}"
        if table is None:
            return [f"{line})"]
        suffix = "names" if table.startswith("BITS") else "name"
        return [f"{line}, {table}, {self.key(f'{path}_{suffix}', 'text')})"]

    def array(self, node: Node, path: str, scope: dict[str, str]) -> list[str]:
        element = node.parts[0]
        count = self.formula(node.count, scope)
        whole = element.kind is NodeKind.STRUCTURE
        body = self.struct(element, path) if whole else self.plain(element, path, {})
        call = f"array({quoted(path)}, {count}, {_size(element)}, {str(whole).lower()}, function()"
        return [call, *_indented(body), "end)"]

    def computed(self, node: Node, path: str, scope: dict[str, str]) -> list[str]:
        if isinstance(node.value, Window):
            return self.window(node, node.value, path, scope)
        compares = node.formula is not None and isinstance(node.formula.term, tuple) and node.formula.term[0] in _TRUTHS
        value = self.formula(node.formula, scope)
        variable = scope[node.name] = self.variable()
        return [f"local {variable} = shown({self.key(path, 'bool' if compares else 'u64')}, {quoted(path)}, {value})"]

    def window(self, node: Node, window: Window, path: str, scope: dict[str, str]) -> list[str]:
        """Each field of the structure that lies wholly in the bytes."""
        inside = _ReaderText(self.layout, self.resolve(window.names), self.resolve, self.fields)
        data, offset = self.term(window.data, scope), self.term(window.offset, scope)
        lines = [f"window({quoted(path)}, {data}, {offset}, {{"]
        for part in node.parts:
            body = inside.field(part, f"{path}.{part.name}", {})
            lines += [f"  {{{part.offset}, {_size(part)}, function()", *_indented(_indented(body)), "  end},"]
        return [*lines, "})"]

    def formula(self, formula: Formula | int | None, scope: Mapping[str, str]) -> str:
        """Lua of a number or a formula."""
        return self.term(formula.term if isinstance(formula, Formula) else formula, scope)

    def term(self, term: Term | None, scope: Mapping[str, str]) -> str:
        if isinstance(term, int):
            return str(term)
        if isinstance(term, str) and term in scope:
            return scope[term]
        if not isinstance(term, tuple) or len(term) != 3 or term[0] not in _FUNCTIONS:
            raise UnknownShapeError
        return f"{_FUNCTIONS[term[0]]}({self.term(term[1], scope)}, {self.term(term[2], scope)})"


def _size(node: Node) -> int:
    if node.size is None:
        raise UnknownShapeError
    return node.size


def _indented(lines: list[str]) -> list[str]:
    return [f"  {line}" for line in lines]
