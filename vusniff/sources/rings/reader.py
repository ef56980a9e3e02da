"""The rings of one device, read: where they are comes as `Places`, how memory is read from `access`.

A reader is made once for a table of memory and rings, and read many times. What cannot be read is told by `reasons`;
the rest is read all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vusniff.families.places import SIZE_LIMIT, Places, RingPlace, Spot
from vusniff.record import Descriptor, Position
from vusniff.sources.rings import dirty, inflight, packed, split
from vusniff.sources.rings.access import Access, Read, UnreadableError

RING_LIMIT = 1024
"""Rings of one device that are read."""
TRACKING_LIMIT = 1 << 20
"""Bytes of one queue's region of an in-flight buffer that are read: a packed ring of 32768 descriptors."""
LOG_LIMIT = 64 << 20
"""Bytes of a dirty log that are read: 2 TiB of guest memory."""
_ATTEMPTS = 3
"""How often a ring is read whose sides seem to be further apart than it is large: they may have moved in between."""

SignalCount = Callable[[int], int | None]
"""How often the event descriptor with this id was signalled since it was passed; None where it is not counted."""
Ring = tuple[RingPlace, Callable[[], Position]]


class RingReader:
    """One device. ``pids`` are its peers, the front-end first."""

    def __init__(
        self, places: Places, access: Access, pids: Sequence[int], signals: SignalCount = lambda number: None
    ) -> None:
        self.places = places
        self.reasons: dict[int | str, str] = dict(places.unreadable)
        """Ring, or what else there is (``device``, ``in-flight buffer``, ``dirty log``) -> why it cannot be read."""
        if places.why is not None:
            self.reasons["device"] = places.why
        self._access = access
        self._pids = pids
        self._regions: dict[int, Callable[[int, int], Read]] = {}
        self._rings: list[Ring] = []
        for place in places.rings[:RING_LIMIT]:
            try:
                self._rings.append((place, self._ring(place)))
            except UnreadableError as error:
                self.reasons[place.index] = str(error)
        self._signals = signals
        self._events = [(one.index, eventfd_id(one.kick), eventfd_id(one.call)) for one in self.rings]
        self._tracking = self._buffers()
        self._log = self._dirty_log()

    @property
    def rings(self) -> list[RingPlace]:
        """Those that are read."""
        return [place for place, _ in self._rings]

    def positions(self) -> list[Position]:
        """Where the rings stand now; without those that cannot be read, which `reasons` tells of."""
        found: list[Position] = []
        failed: list[Ring] = []
        for ring in self._rings:
            try:
                found.append(ring[1]())
            except (OSError, UnreadableError) as error:
                failed.append(ring)
                self.reasons[ring[0].index] = getattr(error, "strerror", None) or str(error)
        for ring in failed:
            self._rings.remove(ring)
        return found

    def tracked(self) -> dict[int, int]:
        """Ring -> descriptors in flight by the in-flight buffer."""
        found: dict[int, int] = {}
        for index, is_packed, read in self._tracking:
            try:
                count = inflight.in_flight(is_packed, read())
            except OSError as error:
                self.reasons["in-flight buffer"] = error.strerror or str(error)
                self._tracking = []
                break
            if count is not None:
                found[index] = count
        return found

    def dirty(self) -> int | None:
        """Pages that are set in the dirty log."""
        if self._log is None:
            return None
        try:
            return dirty.pages(self._log())
        except OSError as error:
            self.reasons["dirty log"] = error.strerror or str(error)
            self._log = None
            return None

    def signals(self) -> dict[int, tuple[int | None, int | None]]:
        """Ring -> how often it was kicked and called."""
        count = self._signals
        return {index: (count(kick), count(call)) for index, kick, call in self._events}

    def unread_kicks(self) -> dict[int, int]:
        """Ring -> count of its kick descriptor: more than 0 is a kick that the back-end has not read."""
        found: dict[int, int] = {}
        for place, _ in self._rings:
            count = None if place.kick is None else self._access.eventfd_count(place.kick, self._pids)
            if count is not None:
                found[place.index] = count
        return found

    def _ring(self, place: RingPlace) -> Callable[[], Position]:
        if not 0 < place.size <= SIZE_LIMIT:
            raise UnreadableError(f"it has {place.size} descriptors, and the most is {SIZE_LIMIT}")
        if place.packed:
            whole = place.size * packed.SLOT
            slots = self._area(place.descriptors, ((0, whole),))
            driver, device = (self._area(spot, ((0, packed.EVENT),)) for spot in (place.available, place.used))
            return lambda: packed.decode(place, slots(), driver(), device())
        pieces = split.pieces(place)
        used, available = self._area(place.used, pieces[0]), self._area(place.available, pieces[1])

        def read() -> Position:
            for _ in range(_ATTEMPTS):
                position = split.decode(place, used(), available())
                if position.in_flight <= place.size:
                    break
            return position

        return read

    def _area(self, spot: Spot, pieces: tuple[tuple[int, int], ...]) -> Read:
        """Reads pieces of what begins at a spot; raises UnreadableError where there are fewer bytes."""
        region, piece = self.places.regions[spot.region], self._region(spot.region)
        reads = []
        for offset, size in pieces:
            if not 0 <= spot.offset + offset <= region.size - size:
                raise UnreadableError("it does not lie in its memory region")
            reads.append(piece(spot.offset + offset, size))
        total = sum(size for _, size in pieces)
        first = reads[0]

        def read() -> bytes:
            data = first() if len(reads) == 1 else b"".join([one() for one in reads])
            if len(data) != total:
                raise UnreadableError("the file of its memory ends before it")
            return data

        return read

    def _region(self, number: int) -> Callable[[int, int], Read]:
        piece = self._regions.get(number)
        if piece is None:
            piece = self._regions[number] = self._access.memory(self.places.regions[number], self._pids)
        return piece

    def _buffers(self) -> list[tuple[int, bool, Read]]:
        tracking = self.places.tracking
        if tracking is None:
            return []
        try:
            piece = self._access.buffer(tracking.buffer, self._pids)
        except UnreadableError as error:
            self.reasons["in-flight buffer"] = str(error)
            return []
        found = []
        for place, _ in self._rings:
            size = inflight.region_size(place.packed, tracking.queue_size)
            end = (place.index + 1) * size
            if place.index < tracking.queues and end <= tracking.buffer.size and size <= TRACKING_LIMIT + 64:
                try:
                    found.append((place.index, place.packed, piece(place.index * size, size)))
                except UnreadableError as error:
                    self.reasons["in-flight buffer"] = str(error)
        return found

    def _dirty_log(self) -> Read | None:
        log = self.places.dirty_log
        if log is None:
            return None
        if not 0 < log.size <= LOG_LIMIT:
            self.reasons["dirty log"] = f"it has {log.size} bytes, and at most {LOG_LIMIT} are read"
            return None
        try:
            return self._access.buffer(log, self._pids)(0, log.size)
        except UnreadableError as error:
            self.reasons["dirty log"] = str(error)
            return None


def eventfd_id(descriptor: Descriptor | None) -> int:
    """The id that the kernel gave an event descriptor; -1 for anything else."""
    kind, _, number = ((descriptor and descriptor.identity) or "").partition(":")
    return int(number) if kind == "eventfd" and number.isascii() and number.isdigit() and len(number) < 11 else -1
