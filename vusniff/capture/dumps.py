"""What waited in rings, in a capture file: stored only by ``vusniff rings --dump N --store OUT``.

``ring`` is the index, ``packed`` true or false, ``waiting`` how many chains or slots wait, ``first`` how many chains
the pieces before this one have, ``device`` and ``order`` what the headers are read by. ``chains`` is a list of
[head, descriptors, indirect (0 or 1), header in hex, problem]; descriptors is a list of [address, bytes, writable (0
or 1)].
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vusniff.capture.facts import integer, text
from vusniff.record import Chain, ChainBuffer, Ends, RingDump
from vusniff.values import replace

CHAINS_LIMIT = 64
"""Chains of one piece of evidence."""
PIECES_LIMIT = 64
"""Descriptors of one chain."""
HEADER_LIMIT = 64
"""Bytes of a header: more than that of any device has."""
WORDS_LIMIT = 400
"""Characters of a problem."""
_DEVICE_LIMIT = 16
_ADDRESS_LIMIT = (1 << 64) - 1

Facts = Mapping[str, Any]


def pieces(one: RingDump) -> Iterator[RingDump]:
    """The dump as one piece of evidence or more, each small enough for one block."""
    for at in range(0, max(len(one.chains), 1), CHAINS_LIMIT):
        yield replace(one, first=one.first + at, chains=one.chains[at : at + CHAINS_LIMIT])


def build(one: RingDump) -> dict[str, Any]:
    """The keys of the block that only this kind of evidence has."""
    return {
        "ring": one.ring,
        "packed": one.packed,
        "waiting": one.waiting,
        "first": one.first,
        "chains": [_chain(chain) for chain in one.chains[:CHAINS_LIMIT]],
        "device": one.device[:_DEVICE_LIMIT],
        "order": one.order,
    }


def _chain(chain: Chain) -> list[Any]:
    descriptors = [[piece.address, piece.length, int(piece.writable)] for piece in chain.pieces[:PIECES_LIMIT]]
    header = chain.header[:HEADER_LIMIT].hex()
    return [chain.head, descriptors, int(chain.indirect), header, chain.problem[:WORDS_LIMIT]]


def parse(facts: Facts, time_ns: int, ends: Ends) -> RingDump | None:
    """What a block says; chains that are none are left out."""
    ring, waiting = integer(facts.get("ring"), 0, (1 << 32) - 1), integer(facts.get("waiting"), 0, 1 << 16)
    stated, order = facts.get("chains"), facts.get("order")
    if ring is None or waiting is None:
        return None
    chains = [_parse_chain(one) for one in stated[:CHAINS_LIMIT]] if isinstance(stated, list) else []
    return RingDump(
        time_ns,
        ring,
        facts.get("packed") is True,
        waiting,
        integer(facts.get("first")) or 0,
        tuple(chain for chain in chains if chain is not None),
        (text(facts.get("device")) or "")[:_DEVICE_LIMIT],
        "big" if order == "big" else "little",
        ends,
    )


def _parse_chain(stated: object) -> Chain | None:
    if not isinstance(stated, list) or len(stated) != 5 or not isinstance(stated[1], list):
        return None
    head, words, header = integer(stated[0], 0, 0xFFFF), text(stated[3]), b""
    if head is None:
        return None
    try:
        header = bytes.fromhex((words or "")[: 2 * HEADER_LIMIT])
    except ValueError:
        return None
    found = [_parse_piece(one) for one in stated[1][:PIECES_LIMIT]]
    pieces = tuple(one for one in found if one is not None)
    return Chain(head, pieces, integer(stated[2], 0, 1) == 1, header, (text(stated[4]) or "")[:WORDS_LIMIT])


def _parse_piece(stated: object) -> ChainBuffer | None:
    if not isinstance(stated, list) or len(stated) != 3:
        return None
    address, length = integer(stated[0], 0, _ADDRESS_LIMIT), integer(stated[1], 0, (1 << 32) - 1)
    return None if address is None or length is None else ChainBuffer(address, length, integer(stated[2], 0, 1) == 1)
