"""Construct behind one door: what a layout consists of, values from bytes, bytes from values.

Owns everything that is asked of a construct declaration. `parts` walks a declaration once and makes a tree of plain
values of it; whoever wants to know what a layout consists of (the generated parser, filters, Wireshark, reference
pages, redaction, the bytes of a field) walks that tree. Construct itself runs only to read what the generated parser
refuses (`dissect`), to build (`build`), and for shapes that the walk does not know; no other package of the spine
imports it, and a contract proves that.

Must not know sessions, files or screens: what decides a layout beyond the header arrives as `vusniff.message.Context`.

Start reading in `parts`, then in `dissect.payload`, which is what everybody calls.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

_LATER = ("hashlib", "pdb", "pickle", "platform", "traceback")
"""What construct imports for a debugger, compiled declarations and pickles, and to learn that this is no Windows: half
of the time that its import takes."""


class _Later(ModuleType):
    """Stands for a module, and imports it when something of it is asked for."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)


def _import_construct() -> None:
    later = {name: _Later(name) for name in _LATER if name not in sys.modules}
    if "platform" in later:
        vars(later["platform"])["system"] = lambda: "Linux"  # construct asks at once
    sys.modules.update(later)
    try:
        importlib.import_module("construct")
    finally:
        for name in later:
            del sys.modules[name]


_import_construct()
