"""The syntax of filters: Wireshark's display filters (wireshark-filter(4)), as a tree of words that mean nothing yet.

Owns the grammar and the sentences for text that does not fit it. It must not know fields: what a word stands for is
`resolve`'s. lark is imported here and nowhere else, so that a program that is given no filter does not pay for it.

What Wireshark has and this has not: slices, functions, arithmetic, references, and fields on the right-hand side.
"""

from __future__ import annotations

import functools
import re
from typing import Any

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedEOF, UnexpectedInput, UnexpectedToken

from vusniff.errors import FilterError

LENGTH_LIMIT = 4096
"""Characters of a filter."""

# Keywords end where a word ends: ``inner`` is a word, not ``in`` and a rest. Words of values may have hyphens.
GRAMMAR = r"""
start: expression
?expression: exclusive (_OR exclusive)*       -> any_of
?exclusive: conjunction (_XOR conjunction)*   -> odd
?conjunction: negation (_AND negation)*       -> all_of
?negation: NOT negation                       -> negated
         | "(" expression ")"
         | test
test: operand                                 -> present
    | operand COMPARE literal                 -> compare
    | operand CONTAINS literal                -> compare
    | operand MATCHES literal                 -> compare
    | operand NOT? IN "{" member ("," member)* "}" -> member_of
operand: (ALL | ANY)? WORD (_MASK literal)?
member: literal (".." literal)?
?literal: STRING | DURATION | NUMBER | BYTES | WORD | HYPHENATED

COMPARE.6: /===|!==|==|!=|<=|>=|<|>|(?:eq|ne|gt|lt|ge|le|any_eq|all_eq|any_ne|all_ne)(?![\w.])/
CONTAINS.6: /contains(?![\w.])/
MATCHES.6: /~|matches(?![\w.])/
IN.6: /in(?![\w.])/
NOT.5: /!|not(?![\w.])/
ALL.5: /all(?![\w.])/
ANY.5: /any(?![\w.])/
_OR.5: /\|\||or(?![\w.])/
_XOR.5: /\^\^|xor(?![\w.])/
_AND.5: /&&|and(?![\w.])/
_MASK.4: /&|(?:bitwise_and|bitand)(?![\w.])/
BYTES.4: /[0-9a-fA-F]{2}(?:[:-][0-9a-fA-F]{2})+(?![\w])/
DURATION.3: /[0-9]+(?:\.[0-9]+)?(?:ns|us|ms|s)(?![\w])/
NUMBER.2: /-?(?:0[xX][0-9a-fA-F]+|0[bB][01]+|[0-9]+(?:\.[0-9]+)?)(?![\w])/
STRING.4: /r?"(?:\\.|[^"\\])*"/
HYPHENATED.3: /[A-Za-z][A-Za-z0-9_]*(?:-[A-Za-z0-9_]+)+(?![\w.-])/
WORD: /[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*/
%ignore /\s+/
"""

_OPERATORS = "an operator (== != < <= > >= & contains matches in)"
_TEXTS = (
    ({"WORD", "LPAR"}, "a field, such as vhost.request"),
    ({"WORD", "NUMBER"}, "a value"),
    ({"WORD"}, "a field, such as vhost.request"),
    ({"LBRACE"}, "a set, such as {1, 3..5}"),
    ({"COMPARE"}, f"{_OPERATORS}, && or ||, or the end"),
    ({"IN"}, "in"),
    ({"COMMA", "__DOTDOT"}, "a comma, .. or }"),
    ({"COMMA"}, "a comma or }"),
    ({"_OR"}, "&& or ||, or the end"),
    ({"$END"}, "the end of the filter"),
)
"""Terminals that may stand here -> words for them; the first that all may."""
_FOREIGN = re.compile(r"(?i)(and|or|not|xor|eq|ne|gt|lt|ge|le|in|contains|matches)$")


@functools.cache
def parser() -> Lark:
    """The parser; made once."""
    callbacks = {"HYPHENATED": lambda token: Token.new_borrow_pos("WORD", token, token)}
    return Lark(
        GRAMMAR,
        parser="lalr",
        lexer="contextual",
        start="start",
        maybe_placeholders=False,
        lexer_callbacks=callbacks,
    )


def parse(text: str) -> Tree[Token]:
    """The tree of a filter. Raises FilterError where the text does not fit the grammar."""
    if len(text) > LENGTH_LIMIT:
        raise FilterError(f"a filter has at most {LENGTH_LIMIT} characters, this one has {len(text)}", text, 0, 0)
    if not text.strip():
        raise FilterError("there is nothing in this filter: give a field, such as vhost.malformed", text, 0, 0)
    try:
        tree: Any = parser().parse(text)
    except UnexpectedInput as error:
        raise _explained(error, text) from None
    found: Tree[Token] = tree
    return found


def _explained(error: UnexpectedInput, text: str) -> FilterError:
    expected: set[str]
    if isinstance(error, UnexpectedCharacters):
        start: int = error.pos_in_stream or 0
        expected = set(error.allowed or ())
        foreign = _foreign(text, start, expected)
        if foreign:
            return foreign
        word = re.match(r"[\w.]*", text[start:])[0] or text[start]  # type: ignore[index]
    elif isinstance(error, UnexpectedToken) and error.token.type != "$END":
        start = error.token.start_pos or 0
        expected = set(error.accepts or error.expected or ())
        word = str(error.token)
        if word == ")":
            return FilterError("this ) closes nothing", text, start, 1)
    else:
        expected = set(getattr(error, "accepts", None) or getattr(error, "expected", None) or ())
        wanted = ")" if "RPAR" in expected else _wanted(expected)
        return FilterError(f"the filter ends too early; expected {wanted}", text, len(text), 0)
    hint = f"; did you mean {word.lower()}?" if _FOREIGN.match(word) and word != word.lower() else ""
    return FilterError(f"{word} cannot stand here; expected {_wanted(expected)}{hint}", text, start, len(word))


def _foreign(text: str, start: int, expected: set[str]) -> FilterError | None:
    """What other languages write, and what begins a text that never ends."""
    if text.startswith(('"', 'r"'), start) and ("STRING" in expected or text.count('"', start) == 1):
        return FilterError('the text that begins here has no closing "', text, start, len(text) - start)
    if text[start] == "'":
        return FilterError('text stands in double quotes: "..."', text, start, 1)
    if text[start] == "=":
        return FilterError("write == to compare", text, start, 1)
    return None


def _wanted(expected: set[str]) -> str:
    for terminals, words in _TEXTS:
        if terminals <= expected:
            return words.replace("or the end", "or )") if "RPAR" in expected else words
    return "something else"


def expected_after(text: str) -> tuple[set[str], list[Token]] | None:
    """Terminals that may follow a text, and its tokens; None where it has an error already."""
    try:
        running: Any = parser().parse_interactive(text)
        tokens: list[Token] = list(running.iter_parse())
        return set(running.accepts()), tokens
    except (UnexpectedInput, UnexpectedEOF):
        return None
