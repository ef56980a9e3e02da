"""Each promise of SECURITY.md names tests, and these are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "SECURITY.md").read_text("utf-8")


def functions_of(file: str) -> set[str]:
    tree = ast.parse((TESTS / file).read_text("utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def named() -> list[tuple[str, str]]:
    """File and test, in the order of the page; a name without a file is one of the file named last."""
    found, file = [], ""
    for path, test in re.findall(r"`(?:tests/)?([\w/]+\.py)?(?:::)?(test_\w+)?`", PAGE):
        file = path or file
        if test:
            found.append((file, test))
    return found


def test_the_tests_that_are_named_are_there() -> None:
    assert len(named()) > 80
    assert [(file, test) for file, test in named() if test not in functions_of(file)] == []


def test_each_section_names_one() -> None:
    sections = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
    assert len(sections) >= 4
    assert [title for title, text in sections.items() if "::test_" not in text] == []
