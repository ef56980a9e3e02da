"""One thing that can be explained."""

from __future__ import annotations

from typing import NamedTuple

from vusniff.views.page import Page


class Topic(NamedTuple):
    """One thing that can be explained."""

    kind: str
    """``request``, ``feature``, ``protocol feature``, ``value``, ``rule``, ``phase``, ``error text``, ``features``,
    ``word``, ``verdict``."""
    name: str
    page: Page
    device: str | None = None
    """The device type that has a feature; None where every device has it."""
