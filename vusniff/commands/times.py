"""Times that people type: one way to write them for every command."""

from __future__ import annotations

import argparse
import re

_TIME = re.compile(r"(\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})\s*(ms|s|m|h|d)?", re.ASCII)
_MOST = 366 * 86400.0
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, None: 1}


def seconds(word: str) -> float:
    """The seconds of 5, 0.5, 300ms, 30s, 10m, 8h or 7d; zero is one. Raises `argparse.ArgumentTypeError`."""
    found = _TIME.fullmatch(word.strip())
    if found is None:
        raise argparse.ArgumentTypeError(f"{word!r} is not a time: give seconds, or a number with ms, s, m, h or d")
    value = float(found[1]) * _UNITS[found[2]]
    if value > _MOST:
        raise argparse.ArgumentTypeError(f"{word!r} is too long: at most 366d")
    return value


def some_seconds(word: str) -> float:
    """As `seconds`, and more than none."""
    value = seconds(word)
    if value == 0:
        raise argparse.ArgumentTypeError(f"{word!r} is too short a time: give more")
    return value
