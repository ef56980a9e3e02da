"""Modules that a library imports and rarely uses: imported when something of them is first asked for.

Commands must start in 100 ms of CPU, and what `dataclasses` and construct import for rare cases took 10 of them.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any


class _Later(ModuleType):
    """Stands for a module, and imports it when something of it is asked for."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)


@contextlib.contextmanager
def later(*names: str) -> Iterator[dict[str, ModuleType]]:
    """What is imported inside gets stand-ins for these modules, given by name; not for those imported already."""
    modules: dict[str, ModuleType] = {name: _Later(name) for name in names if name not in sys.modules}
    sys.modules.update(modules)
    try:
        yield modules
    finally:
        for name in modules:
            del sys.modules[name]
