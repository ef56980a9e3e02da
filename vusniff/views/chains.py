"""What waits in a ring, in lines and as JSON: descriptors and headers of requests, never what they carry."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from vusniff.layouts.dissect import interpret
from vusniff.message import Context, Layout


class BufferLike(Protocol):
    """One descriptor."""

    @property
    def address(self) -> int: ...
    @property
    def length(self) -> int: ...
    @property
    def writable(self) -> bool: ...


class ChainLike(Protocol):
    """One chain of descriptors."""

    @property
    def head(self) -> int: ...
    @property
    def pieces(self) -> Sequence[BufferLike]: ...
    @property
    def indirect(self) -> bool: ...
    @property
    def header(self) -> bytes: ...
    @property
    def problem(self) -> str: ...


def header_values(layout: Layout | None, header: bytes, order: str) -> dict[str, Any]:
    """The fields of a request's header, as far as its bytes go."""
    if layout is None or not header:
        return {}
    values, _, _ = interpret(layout, header, Context(order=order))
    return values or {}


def lines(chain: ChainLike, values: dict[str, Any]) -> Iterator[str]:
    """A chain: its header, then its descriptors."""
    total_in = sum(piece.length for piece in chain.pieces if not piece.writable)
    total_out = sum(piece.length for piece in chain.pieces if piece.writable)
    how = ", indirect" if chain.indirect else ""
    yield f"  {chain.head}: {total_in} bytes to read, {total_out} to write{how}{_said(values)}"
    for piece in chain.pieces:
        yield f"    {piece.address:#x} {piece.length} bytes, the device {'writes' if piece.writable else 'reads'}"
    if chain.problem:
        yield f"    {chain.problem}"


def _said(values: dict[str, Any]) -> str:
    shown: Callable[[str], Any] = lambda name: values.get(f"{name}_name") or values[name]  # noqa: E731
    names = [name for name in values if not name.endswith("_name") and name not in ("reserved", "padding")]
    return ": " + " ".join(f"{name} {shown(name)}" for name in names) if names else ""


def chain_dict(chain: ChainLike, values: dict[str, Any]) -> dict[str, Any]:
    """The same as JSON."""
    return {
        "head": chain.head,
        "indirect": chain.indirect,
        "descriptors": [
            {"address": piece.address, "bytes": piece.length, "writable": piece.writable} for piece in chain.pieces
        ],
        "header": values or None,
        "problem": chain.problem or None,
    }
