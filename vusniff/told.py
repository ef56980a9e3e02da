"""A message as a log tells it: what stands in its frame in place of bytes, which nobody saw.

A frame of kind `FrameKind.TOLD` holds a JSON object: ``request``, ``reply``, ``where`` (file and line), ``line`` (its
text), ``values`` (fields of the payload as far as the log has them), and where the log says so the header's ``flags``
and ``size``. Building takes our own values; reading takes anything, because a file may contain anything.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from vusniff.values import dataclass, field

LINE_LIMIT = 1024
"""Characters of a line that are kept."""
SIZE_LIMIT = 64 << 10
"""Bytes of JSON that are read."""
DEPTH_LIMIT = 4
"""Lists and objects within one another."""
REST_UNKNOWN = "the log does not tell the rest"
"""Why a message cannot be read in full: no fault of who sent it."""
_U32, _U64 = (1 << 32) - 1, (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Told:
    """What a log says of one message."""

    request: int
    reply: bool
    where: str
    """Name of the log and number of the line: ``ovs-vswitchd.log:7312``."""
    line: str = ""
    """The line, without what its prefix says."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the payload that the log tells: numbers, and lists of such objects."""
    flags: int | None = None
    """The header's; None where the log does not tell."""
    size: int | None = None
    """The header's; None where the log does not tell."""


def build(told: Told) -> bytes:
    """What the frame holds."""
    facts: dict[str, Any] = {
        "request": told.request,
        "reply": told.reply,
        "where": told.where[:LINE_LIMIT],
        "line": told.line[:LINE_LIMIT],
        "values": told.values,
    }
    if told.flags is not None:
        facts["flags"] = told.flags
    if told.size is not None:
        facts["size"] = told.size
    return json.dumps(facts, separators=(",", ":")).encode()


def parse(data: bytes) -> Told | None:
    """What a frame says; None for anything that is not what `build` makes. Never raises."""
    if len(data) > SIZE_LIMIT or not data.startswith(b"{"):
        return None
    try:
        facts = json.loads(data)
    except (ValueError, RecursionError):
        return None
    request, values = facts.get("request"), facts.get("values")
    if not _is_number(request, _U32) or not isinstance(values, dict) or not _plain(values, DEPTH_LIMIT):
        return None
    flags, size = facts.get("flags"), facts.get("size")
    return Told(
        request,
        facts.get("reply") is True,
        _text(facts.get("where")),
        _text(facts.get("line")),
        values,
        flags if _is_number(flags, _U32) else None,
        size if _is_number(size, _U32) else None,
    )


def _is_number(value: object, most: int) -> bool:
    return type(value) is int and 0 <= value <= most


def _text(value: object) -> str:
    return value[:LINE_LIMIT].encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def _plain(value: object, depth: int) -> bool:
    """Numbers, and lists and objects of them that are not too deep."""
    if isinstance(value, dict):
        return depth > 0 and all(_plain(one, depth - 1) for one in value.values())
    if isinstance(value, list):
        return depth > 0 and all(_plain(one, depth - 1) for one in value)
    return _is_number(value, _U64)


def payload(data: bytes, order: str) -> bytes:
    """A payload of one number, or of a ring's index and number, as far as the log tells it: for those who read no more
    of a message. Empty for any other."""
    told = parse(data)
    if told is None:
        return b""
    little = "little" if order == "little" else "big"
    values = told.values
    if set(values) == {"u64"}:
        return int(values["u64"]).to_bytes(8, little)  # type: ignore[arg-type]
    if set(values) == {"index", "num"} and max(values.values()) <= _U32:
        return b"".join(int(values[name]).to_bytes(4, little) for name in ("index", "num"))  # type: ignore[arg-type]
    return b""
