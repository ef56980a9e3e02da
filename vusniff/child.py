"""How vusniff starts itself: the one place that builds the command line of a process of ours.

A process of ours may run as root in a directory of somebody else, and ``python -m`` would look there for every module
first. So the interpreter is isolated (``-I``: no working directory, no variables, no user's site directory), and is
told where else this process found its modules. Knows no command.
"""

from __future__ import annotations

import os
import sys


def command(*words: str) -> list[str]:
    """The command line of ``vusniff WORDS``, with the same interpreter and the same modules as this process."""
    package = os.path.dirname(os.path.abspath(__file__))
    added = (f"--import-from={folder}" for folder in _added(os.path.dirname(package)))
    return [sys.executable, "-I", os.path.join(package, "__main__.py"), *added, *words]


def _added(own: str) -> list[str]:
    """Where this process finds modules and an isolated interpreter would not; ``own`` is where our package is.

    That is what PYTHONPATH, an editable or a user's installation have added. The working directory is among them only
    where our package is in it, and so was run from it already.
    """
    import site

    try:
        here = os.getcwd()
    except OSError:  # it has been removed
        here = ""
    library = os.path.join(os.path.dirname(os.__file__), "")
    installed = site.getsitepackages()
    return [
        folder
        for folder in dict.fromkeys(sys.path)
        if os.path.isabs(folder)
        and os.path.exists(folder)
        and folder not in installed
        and not folder.startswith(library)
        and folder != os.path.dirname(library)
        and (folder != here or folder == own)
    ]
