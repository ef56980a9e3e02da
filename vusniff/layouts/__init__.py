"""Construct behind one door: what a layout consists of, values from bytes, bytes from values.

Owns everything that is asked of a construct declaration. `parts` walks a declaration once and makes a tree of plain
values of it; everything that wants to know what a layout consists of (the generated parser, filters, Wireshark,
reference pages, redaction, the bytes of a field) walks that tree. Construct itself runs only to read what the
generated parser refuses (`dissect`), to build (`build`), and for shapes that the walk does not know; no other package
of the spine imports it, and a contract proves that.

Must not know sessions, files or screens: what decides a layout beyond the header arrives as `vusniff.message.Context`.

Start reading in `parts`, then in `dissect.payload`, which is what everybody calls.
"""

from __future__ import annotations

import importlib

from vusniff.later import later

_LATER = ("hashlib", "inspect", "pdb", "pickle", "platform", "traceback")
"""What construct imports for a debugger, compiled declarations and pickles, and to learn that this is no Windows: half
of the time that its import takes."""


def _import_construct() -> None:
    with later(*_LATER) as modules:
        if "platform" in modules:
            vars(modules["platform"])["system"] = lambda: "Linux"  # construct asks at once
        importlib.import_module("construct")


_import_construct()
