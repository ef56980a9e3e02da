"""What is available in a ring and not used: the chains of descriptors, and the first bytes of each request.

virtio 1.2, 2.7.5 (split), 2.8 (packed), 2.7.5.3 and 2.8.7 (indirect). A guest may write anything: every walk ends, what
is kept is bounded, and an address that lies in no memory is a sentence. Beyond the bytes of a request's header no
buffer is read. It must not know devices: the caller says how long a header is.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence

from vusniff.families.places import SIZE_LIMIT, Places, RingPlace, Spot
from vusniff.record import Chain, ChainBuffer
from vusniff.sources.rings import packed
from vusniff.sources.rings.access import Access, Read, UnreadableError

NEXT, WRITE, INDIRECT = 1, 2, 4
PIECES_LIMIT = 64
"""Descriptors of a chain that are kept; further ones are counted as far as that is known."""
_SLOT = 16
_SPLIT = {"little": struct.Struct("<QIHH"), "big": struct.Struct(">QIHH")}
_PACKED = struct.Struct("<QIHH")
_U16 = {"little": struct.Struct("<H"), "big": struct.Struct(">H")}


class DeviceMemory:
    """The memory of a device, by place and by guest address. Raises `UnreadableError`, and OSError."""

    def __init__(self, places: Places, access: Access, pids: Sequence[int]) -> None:
        self._places = places
        self._access, self._pids = access, pids
        self._regions: dict[int, Callable[[int, int], Read]] = {}

    def at(self, spot: Spot, size: int) -> bytes:
        """Bytes at a place."""
        return self._read(spot.region, spot.offset, size)

    def guest(self, address: int, size: int, whole: int) -> bytes:
        """The first bytes of ``whole`` at a guest address, all of which have to lie in one region."""
        for number, region in enumerate(self._places.regions):
            start = region.guest_address
            if start is not None and start <= address and address + whole <= start + region.size:
                return self._read(number, address - start, size)
        if all(region.guest_address is None for region in self._places.regions):
            raise UnreadableError("where guest addresses are in memory was not seen")
        raise UnreadableError("it is not in the guest's memory")

    def _read(self, number: int, offset: int, size: int) -> bytes:
        region = self._places.regions[number]
        if not 0 <= offset <= region.size - size:
            raise UnreadableError("it does not lie in its memory region")
        piece = self._regions.get(number)
        if piece is None:
            piece = self._regions[number] = self._access.memory(region, self._pids)
        data = piece(offset, size)()
        if len(data) != size:
            raise UnreadableError("the file of its memory ends before it")
        return data


def waiting(place: RingPlace, memory: DeviceMemory, most: int, header: int) -> tuple[int, list[Chain]]:
    """How many chains (split) or slots (packed) are available and not used, and the oldest ``most`` chains.

    ``header``: bytes of each that are read. Raises `UnreadableError` and OSError where the ring itself cannot be read.
    """
    if not 0 < place.size <= SIZE_LIMIT:
        raise UnreadableError(f"it has {place.size} descriptors, and the most is {SIZE_LIMIT}")
    table = memory.at(place.descriptors, place.size * _SLOT)
    if place.packed:
        return _packed(place, memory, table, most, header)
    word = _U16[place.order]
    used = word.unpack_from(memory.at(place.used, 4), 2)[0]
    ring = memory.at(place.available, 4 + 2 * place.size)
    count = (word.unpack_from(ring, 2)[0] - used) & 0xFFFF
    if count > place.size:
        raise UnreadableError(f"its indexes are {count} apart, and it has {place.size} descriptors")
    found = []
    for at in range(used, used + min(count, most)):
        head = word.unpack_from(ring, 4 + 2 * (at % place.size))[0]
        found.append(_chain(head, _linked(table, head, place, memory), memory, header))
    return count, found


def _packed(place: RingPlace, memory: DeviceMemory, table: bytes, most: int, header: int) -> tuple[int, list[Chain]]:
    events = memory.at(place.available, packed.EVENT), memory.at(place.used, packed.EVENT)
    stands = packed.decode(place, table, *events)
    found: list[Chain] = []
    at, left = stands.used, stands.in_flight
    while left > 0 and len(found) < most:
        slots = []
        head = at
        while left > 0:
            slots.append(_PACKED.unpack_from(table, at * _SLOT))
            at, left = (at + 1) % place.size, left - 1
            if not slots[-1][3] & NEXT:
                break
        found.append(_chain(head, _slots(slots, memory), memory, header))
    return stands.in_flight, found


Walk = Iterator[tuple[ChainBuffer | None, str]]
"""A descriptor, or how the walk ended; None with empty words says that what follows is indirect."""


def _linked(table: bytes, index: int, place: RingPlace, memory: DeviceMemory, inside: bool = False) -> Walk:
    """The descriptors of a chain of a split ring."""
    size = len(table) // _SLOT
    for _ in range(size):
        if index >= size:
            yield None, f"descriptor {index} is not in a table of {size}"
            return
        address, length, flags, following = _SPLIT[place.order].unpack_from(table, index * _SLOT)
        if flags & INDIRECT:
            if inside:
                yield None, "an indirect table has an indirect descriptor"
                return
            yield None, ""
            yield from _linked(_indirect(address, length, memory), 0, place, memory, inside=True)
            return
        yield ChainBuffer(address, length, bool(flags & WRITE)), ""
        if not flags & NEXT:
            return
        index = following
    yield None, f"the chain goes round: it has more than {size} descriptors"


def _slots(slots: Sequence[tuple[int, int, int, int]], memory: DeviceMemory) -> Walk:
    """The descriptors of a chain of a packed ring."""
    for address, length, _, flags in slots:
        if flags & INDIRECT:
            yield None, ""
            table = _indirect(address, length, memory)
            for at in range(0, len(table), _SLOT):
                inner, size, _, inner_flags = _PACKED.unpack_from(table, at)
                yield ChainBuffer(inner, size, bool(inner_flags & WRITE)), ""
            return
        yield ChainBuffer(address, length, bool(flags & WRITE)), ""


def _indirect(address: int, length: int, memory: DeviceMemory) -> bytes:
    """The first descriptors of an indirect table."""
    if not length or length % _SLOT:
        raise UnreadableError(f"its indirect table has {length} bytes, which is not a whole number of descriptors")
    try:
        return memory.guest(address, min(length, (PIECES_LIMIT + 1) * _SLOT), length)
    except UnreadableError as error:
        raise UnreadableError(
            f"its indirect table of {length} bytes at {address:#x} is not readable: {error}"
        ) from None


def _chain(head: int, walk: Walk, memory: DeviceMemory, header: int) -> Chain:
    pieces: list[ChainBuffer] = []
    indirect, problem = False, ""
    try:
        for piece, words in walk:
            if piece is None:
                indirect, problem = indirect or not words, words
            elif len(pieces) == PIECES_LIMIT:
                problem = f"it has more than {PIECES_LIMIT} descriptors"
                break
            else:
                pieces.append(piece)
    except (UnreadableError, OSError) as error:
        problem = getattr(error, "strerror", None) or str(error)
    data = b""
    for piece in pieces:
        if piece.writable or len(data) >= header:
            break
        size = min(piece.length, header - len(data))
        try:
            data += memory.guest(piece.address, size, piece.length)
        except (UnreadableError, OSError) as error:
            why = getattr(error, "strerror", None) or str(error)
            problem = problem or f"its buffer at {piece.address:#x} is not readable: {why}"
            break
    return Chain(head, tuple(pieces), indirect, data, problem)
