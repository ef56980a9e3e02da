"""The map (docs/architecture.md) names every room, and every folder says what it must not know and where to begin."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = sorted((ROOT / "vusniff").rglob("__init__.py"))


def test_the_map_names_every_folder_and_module_at_the_top() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    modules = [path.name for path in (ROOT / "vusniff").glob("*.py") if not path.name.startswith("__")]
    folders = [f"{path.parent.name}/" for path in FOLDERS if path.parent.parent == ROOT / "vusniff"]
    assert [name for name in sorted((*modules, *folders)) if f"`{name}`" not in page] == []


@pytest.mark.parametrize("path", FOLDERS[1:], ids=lambda path: path.parent.name)
def test_a_folder_says_what_it_must_not_know_and_where_to_begin(path: Path) -> None:
    sign = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    assert "ust not" in sign, "say what it must not know"
    assert "tart reading" in sign, "say where to start reading"
