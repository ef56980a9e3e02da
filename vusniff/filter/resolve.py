"""From words to meaning: looks fields up, turns literals into values of the field's type, says what does not fit.

Everything that a user wrote is checked here; what leaves is numbers, texts and compiled expressions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from lark import Token, Tree

from vusniff.errors import FilterError
from vusniff.families.registry import bare
from vusniff.filter.field import Field, ValueKind
from vusniff.filter.fields import fields, requests, words_of
from vusniff.filter.regex import compile_pattern
from vusniff.filter.tree import All, Any, BitSet, Named, Node, Not, Odd, Operator, Range, Test, Value

DEPTH_LIMIT = 40
"""Brackets and negations within one another."""

OPERATORS = {
    "==": (Operator.EQ, None),
    "eq": (Operator.EQ, None),
    "any_eq": (Operator.EQ, False),
    "===": (Operator.EQ, True),
    "all_eq": (Operator.EQ, True),
    "!=": (Operator.NE, True),
    "ne": (Operator.NE, True),
    "all_ne": (Operator.NE, True),
    "!==": (Operator.NE, False),
    "any_ne": (Operator.NE, False),
    "<": (Operator.LT, None),
    "lt": (Operator.LT, None),
    "<=": (Operator.LE, None),
    "le": (Operator.LE, None),
    ">": (Operator.GT, None),
    "gt": (Operator.GT, None),
    ">=": (Operator.GE, None),
    "ge": (Operator.GE, None),
    "contains": (Operator.CONTAINS, None),
    "matches": (Operator.MATCHES, None),
    "~": (Operator.MATCHES, None),
}
"""As written -> what it asks, and whether all values have to fit (None: any, unless ``all`` stands before it)."""

NUMBERS = frozenset(
    {ValueKind.NUMBER, ValueKind.BOOLEAN, ValueKind.BITS, ValueKind.REQUEST, ValueKind.SECONDS, ValueKind.NANOSECONDS}
)
UNITS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
EQUALITY = frozenset({Operator.EQ, Operator.NE, Operator.IN})
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", '"': '"', "'": "'"}
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{1,2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{1,3}|.)", re.DOTALL)


class Resolver:
    """Resolves one filter."""

    def __init__(self, text: str) -> None:
        self.text = text

    def error(self, sentence: str, token: Token) -> FilterError:
        """The sentence, pointing at a token."""
        return FilterError(sentence, self.text, token.start_pos or 0, len(token))

    def node(self, tree: Tree[Token], depth: int = 0) -> Node:
        """What a part of the tree means."""
        if depth > DEPTH_LIMIT:
            raise FilterError(f"more than {DEPTH_LIMIT} brackets or negations within one another", self.text, 0, 0)
        children = tree.children
        match tree.data:
            case "start":
                return self.node(_tree(children[0]), depth)
            case "any_of" | "odd" | "all_of":
                if len(children) == 1:
                    return self.node(_tree(children[0]), depth)
                parts = tuple(self.node(_tree(child), depth + 1) for child in children)
                return Any(parts) if tree.data == "any_of" else Odd(parts) if tree.data == "odd" else All(parts)
            case "negated":
                return Not(self.node(_tree(children[1]), depth + 1))
            case "present":
                field, mask, every, _ = self.operand(_tree(children[0]))
                return Test(field, Operator.PRESENT, (), mask, every)
            case "compare":
                return self.compare(_tree(children[0]), _token(children[1]), _token(children[2]))
            case "member_of":
                return self.member_of(tree)
        # ?expression and ?negation leave brackets and plain tests as they are.
        return self.node(_tree(children[0]), depth)

    def operand(self, tree: Tree[Token]) -> tuple[Field, int | None, bool, Token]:
        """Field, mask, whether ``all`` stands before it, and the field's token."""
        tokens = [_token(child) for child in tree.children]
        every = tokens[0].type == "ALL"
        if tokens[0].type in ("ALL", "ANY"):
            tokens = tokens[1:]
        word = tokens[0]
        field = fields().get(word)
        if field is None:
            raise self.error(f"there is no field {word}{_meant(word)}", word)
        mask = None
        if len(tokens) > 1:
            if field.kind not in NUMBERS:
                raise self.error(f"& needs a number, {field.name} is {field.kind.value}", word)
            mask = self.number(field, tokens[1], bits=True)
        return field, mask, every, word

    def compare(self, operand: Tree[Token], sign: Token, literal: Token) -> Node:
        field, mask, every, _ = self.operand(operand)
        operator, of_all = OPERATORS[str(sign)]
        # As in Wireshark, a quantifier that is written beats the one in the operator.
        quantified = _token(operand.children[0]).type in ("ALL", "ANY")
        every = every if quantified or of_all is None else of_all
        value = self.value(field, operator, sign, literal, mask)
        return Test(field, operator, (value,), mask, every)

    def member_of(self, tree: Tree[Token]) -> Node:
        """``in``: ranges and single values."""
        field, mask, every, _ = self.operand(_tree(tree.children[0]))
        sign = next(child for child in tree.children if isinstance(child, Token) and child.type == "IN")
        members = [child for child in tree.children[1:] if isinstance(child, Tree)]
        values = [self.member(field, sign, [_token(part) for part in child.children], mask) for child in members]
        test = Test(field, Operator.IN, tuple(values), mask, every)
        negated = any(isinstance(child, Token) and child.type == "NOT" for child in tree.children)
        return Not(test) if negated else test

    def member(self, field: Field, sign: Token, parts: list[Token], mask: int | None) -> Value:
        if len(parts) == 1:
            return self.value(field, Operator.IN, sign, parts[0], mask)
        low, high = (self.value(field, Operator.LE, sign, part, mask) for part in parts)
        if not isinstance(low, int | str) or not isinstance(high, int | str):
            raise self.error(f"{field.name} has no order, so there are no ranges of it", parts[0])
        if low > high:  # type: ignore[operator]
            raise self.error("this range ends before it begins", parts[0])
        return Range(low, high)

    def plain(self, literal: Token) -> str:
        """The text that a literal stands for."""
        try:
            return unquoted(str(literal))
        except ValueError as error:
            raise self.error(f'{error} is not an escape sequence: write \\{error}, or r"..."', literal) from None

    # -- values -------------------------------------------------------------------------------------------------------

    def value(self, field: Field, operator: Operator, sign: Token, literal: Token, mask: int | None) -> Value:
        """A literal as a value of the field."""
        if operator is Operator.MATCHES:
            return self.pattern(field, sign, literal)
        if operator is Operator.CONTAINS:
            if mask is not None:
                raise self.error("& and contains do not go together: compare with == or leave out the rest", sign)
            if field.kind is ValueKind.BITS:
                return self.bit(field, literal)
            if field.kind in NUMBERS and field.kind is not ValueKind.REQUEST:
                raise self.error(f"{field.name} is a number: compare it with == != < <= > >= or in", sign)
        if field.kind is ValueKind.BYTES:
            return self.bytes(field, literal)
        if field.kind is ValueKind.REQUEST and operator is Operator.CONTAINS:
            return self.quoted(field, literal)
        if field.kind is ValueKind.REQUEST and literal.type in ("WORD", "STRING"):
            if operator not in EQUALITY or mask is not None:
                raise self.error("names of requests have no order: compare with == != or in, or use a number", literal)
            return self.request(field, literal)
        if field.kind in NUMBERS:
            return self.number(field, literal, bits=operator in EQUALITY)
        if field.words and operator not in (*EQUALITY, Operator.CONTAINS):
            raise self.error(f"{field.name} has no order: compare it with == != or in", sign)
        return self.choice(field, operator, literal)

    def number(self, field: Field, literal: Token, bits: bool) -> int:
        match literal.type:
            case "DURATION":
                if field.kind not in (ValueKind.SECONDS, ValueKind.NANOSECONDS):
                    raise self.error(f"{field.name} is not a time: leave out the unit", literal)
                return duration(str(literal))
            case "NUMBER":
                return self.plain_number(field, literal)
            case "WORD" | "STRING":
                word = self.plain(literal)
                if word.lower() in ("true", "false") and field.kind in (ValueKind.BOOLEAN, ValueKind.NUMBER):
                    return int(word.lower() == "true")
                known = _lookup(field.names, word)
                if known is not None:
                    return known
                if word.upper() in field.bits:
                    either = " and ".join(sorted(n for n in field.bits[word.upper()] if not n.startswith("BIT_")))
                    raise self.error(f"{word} is another bit on another device ({either}): write one of them", literal)
                names = words_of(field)
                if names:
                    raise self.error(f"{field.name} is never {word}{_close(word, names)}", literal)
        raise self.error(f"{field.name} is {_a(field.kind)}, {literal} is not", literal)

    def plain_number(self, field: Field, literal: Token) -> int:
        text = str(literal)
        scale = UNITS["s"] if field.kind is ValueKind.SECONDS else 1
        if "." in text:
            if field.kind not in (ValueKind.SECONDS, ValueKind.NANOSECONDS):
                raise self.error(f"{field.name} is a whole number, {text} is not", literal)
            return decimal(text, scale)
        digits = text.lstrip("-")
        if digits[:2].lower() == "0x":
            base = 16
        elif digits[:2].lower() == "0b":
            base = 2
        else:
            base = 8 if len(digits) > 1 and digits[0] == "0" else 10
        if len(digits) > 70:
            raise self.error("no field has so large a number", literal)
        try:
            number = int(text, base) * scale
            return int(number != 0) if field.kind is ValueKind.BOOLEAN else number
        except ValueError:
            raise self.error(f"{text} is octal, as it begins with 0, and has a digit that is not", literal) from None

    def bit(self, field: Field, literal: Token) -> Value:
        """What ``contains`` looks for in a word of bits: a name, or a number with all its bits."""
        if literal.type not in ("WORD", "STRING"):
            return self.number(field, literal, bits=True)
        word = self.plain(literal)
        names = field.bits.get(word.upper())
        if names is None:
            raise self.error(f"{field.name} has no bit {word}{_close(word, words_of(field))}", literal)
        return BitSet(names)

    def request(self, field: Field, literal: Token) -> Value:
        word = bare(self.plain(literal))
        known = requests().get(word)
        if known is None:
            raise self.error(f"there is no request {literal}{_close(word, requests())}", literal)
        return Named(frozenset((channel, code) for channel, code in known))

    def choice(self, field: Field, operator: Operator, literal: Token) -> str:
        """A text; of a closed set it has to be one of them."""
        if literal.type == "STRING":
            text = self.plain(literal)
        elif literal.type == "BYTES":
            text = str(literal).replace("-", ":").lower()
        elif literal.type == "WORD" and (field.words or field.name == "vhost.name"):
            text = str(literal)
        else:
            raise self.error(f'{field.name} is text: write "{literal}"', literal)
        if field.words and operator in EQUALITY and text not in field.words:
            lower = text.lower()
            if lower in field.words:
                return lower
            raise self.error(f"{field.name} is never {text}{_close(lower, field.words)}", literal)
        return text

    def quoted(self, field: Field, literal: Token) -> str:
        if literal.type not in ("STRING", "WORD"):
            raise self.error(f"contains needs text for {field.name}", literal)
        return self.plain(literal)

    def pattern(self, field: Field, sign: Token, literal: Token) -> re.Pattern[str]:
        if field.kind not in (ValueKind.TEXT, ValueKind.REQUEST):
            raise self.error(f"matches needs text, {field.name} is {_a(field.kind)}", sign)
        if literal.type != "STRING":
            raise self.error('a regular expression stands in double quotes: "..."', literal)
        try:
            return compile_pattern(self.plain(literal))
        except ValueError as error:
            raise self.error(str(error), literal) from None

    def bytes(self, field: Field, literal: Token) -> bytes:
        text = str(literal)
        match literal.type:
            case "STRING":
                return self.plain(literal).encode("utf-8", "surrogatepass")
            case "BYTES":
                return bytes.fromhex(re.sub("[:-]", "", text))
            case "NUMBER" | "WORD":
                digits = text.removeprefix("0x").removeprefix("0X")
                if re.fullmatch(r"[0-9a-fA-F]{2}", digits):
                    return bytes.fromhex(digits)
        raise self.error(f'{field.name} is bytes: write 52:54:00 or "text"', literal)


def resolve(tree: Tree[Token], text: str) -> Node:
    """The meaning of a tree. Raises FilterError, and DissectorError when the dissectors cannot be loaded."""
    return Resolver(text).node(tree)


def _tree(child: Tree[Token] | Token) -> Tree[Token]:
    assert isinstance(child, Tree)
    return child


def _token(child: Tree[Token] | Token) -> Token:
    assert isinstance(child, Token)
    return child


def _lookup(names: object, word: str) -> int | None:
    assert isinstance(names, dict)
    for form in (word, word.upper(), word.lower()):
        if form in names:
            number: int = names[form]
            return number
    return None


def _a(kind: ValueKind) -> str:
    return (
        f"a {kind.value}"
        if kind in (ValueKind.NUMBER, ValueKind.SECONDS, ValueKind.NANOSECONDS, ValueKind.REQUEST)
        else kind.value
    )


def _meant(word: str) -> str:
    """``; did you mean ...?`` of a word in the place of a field: a request, or fields that end alike or look alike."""
    if word.upper() in requests():
        return f"; did you mean vhost.request == {word.upper()}?"
    tail = word.rpartition(".")[2].lower()
    alike = [name for name in fields() if tail and name.rpartition(".")[2] == tail]
    alike.sort(key=lambda name: (name.count("."), not name.startswith("vhost.")))
    return f"; did you mean {' or '.join(alike[:3])}?" if alike else _close(word, fields())


def _close(word: str, known: Iterable[str]) -> str:
    """``; did you mean ...?`` with the names that look like a word; of few names all."""
    names = list(known)
    folded = {name.lower(): name for name in names}
    import difflib

    found = [folded[name] for name in difflib.get_close_matches(word.lower()[:64], list(folded), 3, 0.6)]
    if found:
        return f"; did you mean {' or '.join(found)}?"
    return f"; it is one of {', '.join(names)}" if len(names) <= 12 else ""


def unquoted(literal: str) -> str:
    """The text of a string literal, with its escapes worked out (``r"..."``: as it is), or a word as it is.

    Raises ValueError with an escape that there is not.
    """
    if literal.startswith('r"'):
        return literal[2:-1]
    if not literal.startswith('"'):
        return literal
    return _ESCAPE.sub(_unescaped, literal[1:-1])


def _unescaped(found: re.Match[str]) -> str:
    what = found[1]
    if what[0] in "xuU" and len(what) > 1:
        number = int(what[1:], 16)
    elif what[0] in "01234567":
        number = int(what, 8)
    elif what in _ESCAPES:
        return _ESCAPES[what]
    else:
        raise ValueError(found[0])
    return chr(number) if number <= 0x10FFFF else "\ufffd"


def decimal(text: str, scale: int) -> int:
    """``1.5`` of a unit in nanoseconds, without the errors of floating point."""
    sign = -1 if text.startswith("-") else 1
    whole, _, part = text.lstrip("-").partition(".")
    places: int = 10 ** len(part)
    return sign * ((int(whole) * places + int(part or 0)) * scale // places)


def duration(text: str) -> int:
    """``35us`` in nanoseconds."""
    unit = next(unit for unit in UNITS if text.endswith(unit) and text[: -len(unit)][-1].isdigit())
    return decimal(text[: -len(unit)], UNITS[unit])
