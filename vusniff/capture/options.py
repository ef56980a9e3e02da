"""The options of a block that is read, and what ours among them say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vusniff.capture import facts, pcapng
from vusniff.capture.skipped import Skipped

Options = list[tuple[int, bytes]]
"""Code and value of each."""


def parse(order: str, options: bytes, skipped: Skipped) -> Options:
    """The options of a block, as many as are read."""
    found = list(pcapng.parse_options(order, options))
    if len(found) > pcapng.OPTIONS_LIMIT:
        skipped.add(f"option{{s}} and more: of a block the first {pcapng.OPTIONS_LIMIT} are read")
        del found[pcapng.OPTIONS_LIMIT :]
    return found


def own(order: str, options: Options) -> Iterator[dict[str, Any]]:
    """What our options of a block say, one after the other: what is read of JSON may be many times as large."""
    prefix = pcapng.structs(order, "I").pack(facts.ENTERPRISE)
    return (facts.load(value[4:]) for code, value in options if code == pcapng.OPT_CUSTOM and value[:4] == prefix)


def little_options(order: str, options: bytes) -> bytes:
    """Options as they would be in a little-endian file, as far as vusniff reads them: our own text."""
    if order == "little" or not options:
        return options
    prefix = pcapng.structs(order, "I").pack(facts.ENTERPRISE)
    return pcapng.options(
        "little",
        (
            pcapng.custom_option("little", facts.ENTERPRISE, value[4:])
            for code, value in pcapng.parse_options(order, options)
            if code == pcapng.OPT_CUSTOM and value[:4] == prefix
        ),
    )
