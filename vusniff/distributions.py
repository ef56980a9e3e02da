"""Which distributions are installed here, and what they bring us: entry points of the groups ``vusniff.*``.

`importlib.metadata` is the library for it, and answers the same; but it imports `email`, `zipfile` and `csv`, which
took 20 to 35 of the 145 ms that `vusniff read` of a small capture cost. So the entry points of directories are read
here, and the library is asked only for what is rare: the version, and paths that are archives. Knows no dissector and
no family.
"""

from __future__ import annotations

import functools
import importlib
import os
import re
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

_FOLDERS = (".dist-info", ".egg-info")
_OURS = "vusniff."
_VALUE = re.compile(r"(?P<module>[\w.]+)\s*(?::\s*(?P<attribute>[\w.]+)\s*)?(?:\[.*\]\s*)?")


class EntryPoint(NamedTuple):
    """A name that a distribution offers, and where its object is."""

    name: str
    group: str
    value: str
    """``module:attribute``."""

    def load(self) -> Any:
        """The object. It raises what the import of its module raises, which may be anything."""
        found = _VALUE.fullmatch(self.value)
        if found is None:
            raise ValueError("an entry point is MODULE:ATTRIBUTE")
        module = importlib.import_module(found["module"])
        return functools.reduce(getattr, found["attribute"].split(".") if found["attribute"] else (), module)


def entry_points(group: str) -> list[EntryPoint]:
    """What the installed distributions bring of one of our groups, in the order of `sys.path`.

    Of a distribution that is installed twice the first one counts. A file that cannot be read brings nothing.
    """
    points: list[EntryPoint] = []
    seen: set[str] = set()
    for path in sys.path:
        for name, text in _archive(path) if os.path.isfile(path) else _folder(path):
            if name not in seen:
                seen.add(name)
                points += (point for point in _parsed(text) if point.group == group)
    return points


@functools.cache
def version() -> str:
    """Our own; "unknown" where we are not installed."""
    from importlib import metadata

    try:
        return metadata.version("vusniff")
    except metadata.PackageNotFoundError:
        return "unknown"


def _folder(path: str) -> Iterator[tuple[str, str]]:
    """The distributions in a directory: normalised name, text of the entry points."""
    try:
        children = os.listdir(path or ".")
    except OSError:
        return
    for child in children:
        if child.lower().endswith(_FOLDERS):
            stem = child.rpartition(".")[0]
            yield _normalised(stem.partition("-")[0]), _text(os.path.join(path, child, "entry_points.txt"))


def _archive(path: str) -> Iterator[tuple[str, str]]:
    """The same of an archive."""
    from importlib import metadata

    for one in metadata.distributions(path=[path]):
        yield _normalised(one.metadata["Name"]), one.read_text("entry_points.txt") or ""


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "_", name).lower()


def _text(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def _parsed(text: str) -> Iterator[EntryPoint]:
    """The entry points of our groups in the text of a distribution."""
    if _OURS not in text:
        return
    group = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            group = line.strip("[]")
        elif group.startswith(_OURS) and not line.startswith("#"):
            name, sign, value = map(str.strip, line.partition("="))
            if sign:
                yield EntryPoint(name, group, value)
