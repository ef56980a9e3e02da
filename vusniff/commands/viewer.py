"""Who shows what root records: the user who called sudo, or nobody; never root.

Owns the choice, and the step down. A view imports modules while it is shown, so a user is chosen who may read every
file of every package that is part of it. Must not know what is shown.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pkgutil
import sys
from collections.abc import Iterator

from vusniff.errors import SourceError
from vusniff.files import sudo_user
from vusniff.privileges import NOBODY, User, drop

_LATER = ("vusniff.views.tui", "vusniff.commands", "vusniff.bpf", "vusniff.demo", "vusniff.wireshark", "vusniff.replay")
"""No part of a view of text."""
_TEXT = ("vusniff.views.printing", "msgspec")
_TUI = ("vusniff.views.tui.app", "lark", "pygments", "markdown_it", "mdurl")
"""Modules whose packages are all that a view is made of; some are imported only when a key is pressed."""
_CANNOT_STEP_DOWN = "the privileges of the view cannot be given up here"


def caller() -> User | None:
    """Who called sudo, where that is not root."""
    found = sudo_user()
    return None if found is None else User(*found)


def choose(tui: bool, instead: str = "leave out --tui") -> User | None:
    """Who is to show it; None where we are not root, and show it ourselves.

    Raises SourceError where nobody can, which names what to do ``instead``.
    """
    if os.geteuid() != 0:
        return None
    from vusniff.families.registry import families
    from vusniff.layouts.dissect import load

    families()
    load()
    for name in _TUI if tui else _TEXT:
        _load(name)
    for user in filter(None, (caller(), NOBODY)):
        why = _hindrance(user)
        if why is None:
            return user
    if tui or why == _CANNOT_STEP_DOWN:
        less = "" if why == _CANNOT_STEP_DOWN else f"{instead}, or "
        raise SourceError(
            f"the view is not shown as root, and no other user can show it: {why}; "
            f"{less}record with -q and look at the file with vusniff view"
        )
    # Lines need little, and all of it is there before the step down.
    for module in pkgutil.walk_packages(sys.modules["vusniff"].__path__, "vusniff.", onerror=lambda _: None):
        if not module.name.startswith(_LATER) and module.name != "vusniff.__main__":
            _load(module.name)
    return NOBODY


def step_down(user: User | None) -> None:
    """Become this user for good, and give up all capabilities. Raises SourceError where that does not work."""
    try:
        drop(user)
    except OSError:
        raise SourceError(f"{_CANNOT_STEP_DOWN}: record with -q, and look at the file as another user") from None


def _load(name: str) -> None:
    with contextlib.suppress(ImportError):  # an optional package is not there, or the view will say what is missing
        importlib.import_module(name)


def _hindrance(user: User) -> str | None:
    """Why this user cannot show it: something that the view imports may not be read; None when all of it may."""
    folders, files = _parts()
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        why = _CANNOT_STEP_DOWN
        with contextlib.suppress(BaseException):  # this process must end here, whatever happens
            drop(user)
            hidden = next(_hidden(folders, files), None)
            why = f"{hidden} may not be read" if hidden else ""
        os.write(writable, b"=" + why.encode(errors="backslashreplace")[:4000])
        os._exit(0)
    os.close(writable)
    with open(readable, "rb") as pipe:
        said = pipe.read().decode(errors="replace")
    os.waitpid(child, 0)
    return said[1:] or None if said else _CANNOT_STEP_DOWN


def _parts() -> tuple[list[str], list[str]]:
    """Folders and single files that hold the packages which have been imported, and the whole standard library."""
    folders, files = {os.path.dirname(os.__file__)}, set()
    for name in {name.partition(".")[0] for name in sys.modules} - sys.stdlib_module_names:
        module = sys.modules.get(name)
        found = list(getattr(module, "__path__", ()))
        folders.update(found)
        if not found and isinstance(file := getattr(module, "__file__", None), str):
            files.add(file)
    return sorted(folders), sorted(files)


def _hidden(folders: list[str], files: list[str]) -> Iterator[str]:
    yield from (file for file in files if not os.access(file, os.R_OK))
    for top in folders:
        if not os.access(top, os.R_OK | os.X_OK):
            yield top
        for folder, inner, names in os.walk(top):
            # Installed packages lie in the standard library's folder; bytecode that cannot be read is made again.
            inner[:] = [
                name for name in inner if not name.endswith("-packages") and name not in ("__pycache__", "test")
            ]
            yield from (path for name in inner if not os.access(path := f"{folder}/{name}", os.R_OK | os.X_OK))
            yield from (path for name in names if not os.access(path := f"{folder}/{name}", os.R_OK))
