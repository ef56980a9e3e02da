"""Every sentence that the program can print, listed from its code: texts of more than one word, docstrings left out.

usage: python tests/sentences.py [FOLDER]     one line each, with the file and line it stands in
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
LEFT_OUT = ("vusniff/bpf", "vusniff/layouts", "vusniff/wireshark", "vusniff/demo")
"""Folders whose texts are programs, layouts and declarations."""
HOLE = "{}"
"""Stands for what is put into a sentence."""


class Sentence(NamedTuple):
    """A text, and where it is."""

    path: str
    line: int
    text: str


def sentences(folder: Path = ROOT / "vusniff") -> Iterator[Sentence]:
    """All sentences of a folder, in the order of its files."""
    for path in sorted(folder.rglob("*.py")):
        name = str(path.relative_to(ROOT))
        if not name.startswith(LEFT_OUT):
            for line, text in texts(path.read_text("utf-8")):
                yield Sentence(name, line, text)


def texts(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of what a module may print."""
    tree = ast.parse(source)
    silent = _docstrings(tree)
    for node in ast.walk(tree):
        if id(node) in silent:
            continue
        if isinstance(node, ast.JoinedStr):
            silent.update(id(part) for part in ast.walk(node) if isinstance(part, ast.Constant))
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else HOLE for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        else:
            continue
        text = " ".join(text.split())
        if re.search(r"[A-Za-z]{2,} +\S|\S +[A-Za-z]{2,}", text):
            yield node.lineno, text


def _docstrings(tree: ast.AST) -> set[int]:
    """Expressions that stand alone: what they say is for readers of the code."""
    return {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}


if __name__ == "__main__":
    wanted = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT / "vusniff"
    for one in sentences(wanted):
        print(f"{one.path}:{one.line}: {one.text}")
