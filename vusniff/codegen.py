"""Bulk parsers generated from construct (to come)."""
from __future__ import annotations
from collections.abc import Callable
from typing import Any
from vusniff.message import Context, Layout
from vusniff.names import BitNames

def parser(layout: Layout, context: Context) -> Callable[[bytes], dict[str, Any] | None] | None:
    return None
