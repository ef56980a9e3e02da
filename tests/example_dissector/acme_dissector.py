"""Requests that only Acme's front-end sends: one with named bits and a reply of its own, one without a payload."""

from __future__ import annotations

import enum
from typing import Any

from construct import Int16ub, Int16ul, Int32ub, Int32ul, Struct

from vusniff import Dissector, Layout, MessageSpec


class Mode(enum.IntFlag):
    """Bits of ``mode``."""

    ACME_FAST = 1
    ACME_QUIET = 2


def _mode(order: str) -> Any:
    u32, u16 = (Int32ul, Int16ul) if order == "little" else (Int32ub, Int16ub)
    return Struct("mode" / u32, "level" / u16, "padding" / u16)


MODE = Layout("acme_mode", _mode, {"mode": Mode})

SPECS = (
    MessageSpec(
        0x1000,
        "ACME_SET_MODE",
        payload=MODE,
        reply=MODE,
        answered=True,
        about="Chooses how the device works; the reply holds what was possible.",
        section="Acme device guide, chapter 4",
    ),
    MessageSpec(0x1001, "ACME_PAUSE", about="Stops all rings at once."),
)

DISSECTORS = (Dissector("main", {spec.code: spec for spec in SPECS}),)
