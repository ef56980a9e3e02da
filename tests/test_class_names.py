"""One class name, one meaning, in all of vusniff and its dissectors: nobody has to ask which one is meant."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
SHARED: dict[str, str] = {}
"""Names that the specification itself gives to two things of two families, and why both keep it. None today."""


def classes(node: ast.AST, outer: str = "") -> Iterator[str]:
    """Names of classes; a class within one has the name of both (Textual's messages: ``LinesView.Moved``)."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield (outer + child.name).lstrip("_")
            yield from classes(child, f"{outer}{child.name}.")
        else:
            yield from classes(child, outer)


def test_no_two_classes_share_a_name() -> None:
    found: dict[str, list[str]] = defaultdict(list)
    for folder in ("vusniff", "dissectors"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for name in classes(ast.parse(path.read_text("utf-8"))):
                found[name].append(str(path.relative_to(ROOT)))
    twice = {name: paths for name, paths in found.items() if len(paths) > 1}
    assert twice.keys() == SHARED.keys(), f"give each a name of its own: {twice}"
