"""Tests go through the public door: what only a test can reach is changed by nobody without breaking it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
NAMED_TUPLE = {"_replace", "_asdict", "_make", "_fields"}
"""Public, although they begin with an underscore."""
ALLOWED = {
    ("os", "_exit"): "public, although it begins with an underscore",
    ("this", "_"): "the outer structure, in construct's formulas",
    ("app", "_notifications"): "Textual has no public name for what the user was told (notices)",
    ("app.screen", "_compositor"): "Textual has no public name for what is painted (screen_text)",
}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in NAMED_TUPLE


def reached(text: str) -> Iterator[str]:
    """Private names of others that a module reaches for: attributes, imports, and attributes given as text."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            owner = ast.unparse(node.value)
            if owner not in ("self", "cls") and (owner, node.attr) not in ALLOWED:
                yield f"line {node.lineno}: {owner}.{node.attr}"
        elif isinstance(node, ast.ImportFrom):
            yield from (f"line {node.lineno}: {node.module}.{one.name}" for one in node.names if is_private(one.name))
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("getattr", "setattr", "delattr")):
            for one in node.args[1:2]:
                if isinstance(one, ast.Constant) and isinstance(one.value, str) and is_private(one.value):
                    yield f"line {node.lineno}: {ast.unparse(node.args[0])}.{one.value}"


@pytest.mark.parametrize("path", sorted(TESTS.rglob("*.py")), ids=lambda path: str(path.relative_to(TESTS)))
def test_no_test_reaches_into_private_names(path: Path) -> None:
    assert list(reached(path.read_text("utf-8"))) == [], "test what it does, or make it public with a docstring"


@pytest.mark.parametrize(
    "text", ["thing._part", "from vusniff.files import _part", "monkeypatch.setattr(thing, '_part', 1)", "a.b._part()"]
)
def test_a_private_name_is_noticed(text: str) -> None:
    assert len(list(reached(text))) == 1


@pytest.mark.parametrize("text", ["self._part", "one._replace(a=1)", "os._exit(0)", "thing.__class__", "import a._b"])
def test_what_is_no_private_name_of_others_is_left_alone(text: str) -> None:
    assert list(reached(text)) == []
