"""What waits in a ring, in lines and as JSON: descriptors and headers of requests, never what they carry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from vusniff.families.vhost_user.protocol import Channels
from vusniff.layouts import dissect
from vusniff.message import Context
from vusniff.record import Chain, RingDump


def header_of(one: RingDump, chain: Chain) -> dict[str, Any]:
    """The fields of a request's header, as far as its bytes go."""
    layout = dissect.load()[Channels.MAIN].headers.get(one.device)
    if layout is None or not chain.header:
        return {}
    values, _, _ = dissect.interpret(layout, chain.header, Context(order=one.order))
    return values or {}


def waiting_words(one: RingDump) -> str:
    """``ring 0: 3 buffers available and not used``: a buffer is a chain of descriptors."""
    what = "descriptor" if one.packed else "buffer"
    return f"ring {one.ring}: {one.waiting} {what}{'' if one.waiting == 1 else 's'} available and not used"


def words(one: RingDump) -> str:
    """One line: how much waits, and the oldest."""
    if one.first:
        return f"ring {one.ring}: {len(one.chains)} more of what is available and not used, after {one.first}"
    if not one.chains:
        return waiting_words(one)
    return f"{waiting_words(one)}; the oldest is {_chain_words(one, one.chains[0])}"


def lines(one: RingDump) -> Iterator[str]:
    """How much waits; each chain with its header, and its descriptors."""
    yield waiting_words(one)
    for chain in one.chains:
        yield f"  {_chain_words(one, chain)}"
        for piece in chain.pieces:
            yield f"    {piece.address:#x} {piece.length} bytes, the device {'writes' if piece.writable else 'reads'}"
        if chain.problem:
            yield f"    {chain.problem}"


def _chain_words(one: RingDump, chain: Chain) -> str:
    total_in = sum(piece.length for piece in chain.pieces if not piece.writable)
    total_out = sum(piece.length for piece in chain.pieces if piece.writable)
    how = ", indirect" if chain.indirect else ""
    return f"{chain.head}: {total_in} bytes to read, {total_out} to write{how}{_said(header_of(one, chain))}"


def _said(values: dict[str, Any]) -> str:
    shown: Callable[[str], Any] = lambda name: values.get(f"{name}_name") or values[name]  # noqa: E731
    names = [name for name in values if not name.endswith("_name") and name not in ("reserved", "padding")]
    return ": " + " ".join(f"{name} {shown(name)}" for name in names) if names else ""


def values(one: RingDump) -> dict[str, Any]:
    """The same as JSON."""
    return {
        "ring": one.ring,
        "packed": one.packed,
        "waiting": one.waiting,
        "first": one.first,
        "device": one.device or None,
        "chains": [_chain_values(one, chain) for chain in one.chains],
    }


def _chain_values(one: RingDump, chain: Chain) -> dict[str, Any]:
    return {
        "head": chain.head,
        "indirect": chain.indirect,
        "descriptors": [
            {"address": piece.address, "bytes": piece.length, "writable": piece.writable} for piece in chain.pieces
        ],
        "header": header_of(one, chain) or None,
        "problem": chain.problem or None,
    }
