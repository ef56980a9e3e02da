"""A vfio-user session divided as people think of it: connect, negotiate, initialise, run, reset, migrate.

Pure, and fed from headers as vhost-user's phases are. Commands say what is being done (`PURPOSES`); a reply belongs to
the phase in which it comes. The client reads and writes the configuration space at any time, so that begins no phase.
The first access to another region, or to memory, begins running.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from vusniff.channel import Channel
from vusniff.families.phase import Phase, PhaseKind
from vusniff.families.vfio_user.protocol import (
    CONFIG_REGION,
    FEATURE_INDEX,
    FEATURE_PROBE,
    FEATURE_SET,
    OF_SERVER,
    Command,
    VfioChannels,
)
from vusniff.meta import REPLY
from vusniff.vfio import DeviceFeature, MigrationState

K, C = PhaseKind, Command

ACCESSES = frozenset({C.REGION_READ, C.REGION_WRITE, C.REGION_WRITE_MULTI, *OF_SERVER})
"""What a device that runs is asked."""
PURPOSES: dict[int, PhaseKind] = {
    C.VERSION: K.NEGOTIATION,
    **dict.fromkeys(
        (
            C.DMA_MAP,
            C.DMA_UNMAP,
            C.DEVICE_GET_INFO,
            C.DEVICE_GET_REGION_INFO,
            C.DEVICE_GET_REGION_IO_FDS,
            C.DEVICE_GET_IRQ_INFO,
            C.DEVICE_SET_IRQS,
        ),
        K.INITIALISATION,
    ),
    **dict.fromkeys(ACCESSES, K.RUNNING),
    C.DEVICE_RESET: K.RESET,
    **dict.fromkeys((C.MIG_DATA_READ, C.MIG_DATA_WRITE, C.DIRTY_PAGES), K.MIGRATION),
}
"""What the client is doing when it sends a command."""
LASTING = frozenset({K.RUNNING, K.MIGRATION})
"""Phases that last until the next one; others end with their last message."""
_STATE_SHIFT = 32


def value_of(request: int, payload: bytes, order: str) -> int | None:
    """Of REGION_READ and REGION_WRITE the region; of DEVICE_FEATURE its flags and, above bit 32, the state it sets."""
    byte_order = "little" if order == "little" else "big"
    if request in (C.REGION_READ, C.REGION_WRITE):
        return int.from_bytes(payload[8:12], byte_order) if len(payload) >= 12 else None  # type: ignore[arg-type]
    if request != C.DEVICE_FEATURE or len(payload) < 8:
        return None
    flags = int.from_bytes(payload[4:8], byte_order)  # type: ignore[arg-type]
    return flags | int.from_bytes(payload[8:12], byte_order) << _STATE_SHIFT  # type: ignore[arg-type]


class VfioPhases:
    """The phases of one session, fed with its messages in their order."""

    def __init__(
        self,
        value: Callable[[int], int | None],
        opened_ns: int | None = None,
        *,
        previous_end_ns: int | None = None,
        joined_late: bool = False,
    ) -> None:
        """``value(number)`` is `value_of` a message; ``previous_end_ns`` says when the session before it ended."""
        self._value = value
        self._opened_ns = opened_ns
        self._previous_end_ns = previous_end_ns
        self._late = joined_late
        self._done: list[Phase] = []
        self._kind: PhaseKind | None = None
        self._first = self._last = self._count = self._start_ns = self._end_ns = 0

    def follow(self, messages: Iterable[tuple[int, int, int, int, Channel]]) -> None:
        """Number, time in nanoseconds, command (0 without a header), flags and channel of each message."""
        for number, time_ns, request, flags, channel in messages:
            kind = self._kind
            if request and not flags & REPLY and not (kind is K.RUNNING and request in ACCESSES):
                kind = self._next(number, request) if channel is not VfioChannels.UNKNOWN else kind
            if kind is None:
                kind = K.RUNNING if self._late else K.NEGOTIATION
            if kind is not self._kind:
                self._turn(kind, number, time_ns)
            self._last, self._end_ns = number, time_ns
            self._count += 1

    def _next(self, number: int, request: int) -> PhaseKind | None:
        """The phase that a command belongs to."""
        kind, purpose = self._kind, PURPOSES.get(request)
        if request == C.DEVICE_FEATURE:
            return self._after_feature(kind, self._value(number) or 0)
        if purpose is None:
            return kind
        if purpose is K.RUNNING:
            of_config = request in (C.REGION_READ, C.REGION_WRITE) and self._value(number) == CONFIG_REGION
            if of_config and kind is K.RESET:
                return K.INITIALISATION  # firmware and driver set the device up again
            return kind if kind is K.MIGRATION or (of_config and kind is not None) else K.RUNNING
        if purpose is K.INITIALISATION and kind in (K.RUNNING, K.MIGRATION):
            return kind  # mappings and interrupts change under a device that runs, too
        return purpose

    def _after_feature(self, kind: PhaseKind | None, value: int) -> PhaseKind | None:
        """Asking for a feature says nothing; setting a migration state, or logging writes, does."""
        index = value & FEATURE_INDEX
        if not value & FEATURE_SET or value & FEATURE_PROBE:
            return kind
        if index == DeviceFeature.MIG_DEVICE_STATE:
            return K.RUNNING if value >> _STATE_SHIFT == MigrationState.RUNNING else K.MIGRATION
        return K.MIGRATION if index == DeviceFeature.DMA_LOGGING_START else kind

    def _turn(self, kind: PhaseKind, number: int, time_ns: int) -> None:
        if self._kind is not None:
            lasts = self._kind in LASTING
            self._done.append(self._ended(time_ns if lasts else self._end_ns))
        elif self._previous_end_ns is not None and self._previous_end_ns <= time_ns:
            self._done.append(Phase(K.RECONNECT, number, number - 1, 0, self._previous_end_ns, time_ns))
        elif self._opened_ns is not None and self._opened_ns <= time_ns and not self._late:
            self._done.append(Phase(K.CONNECT, number, number - 1, 0, self._opened_ns, time_ns))
        self._kind, self._first, self._count, self._start_ns = kind, number, 0, time_ns

    def _ended(self, end_ns: int, goes_on: bool = False) -> Phase:
        assert self._kind is not None
        return Phase(self._kind, self._first, self._last, self._count, self._start_ns, end_ns, goes_on)

    @property
    def kind(self) -> PhaseKind | None:
        """The phase that the last message belongs to."""
        return self._kind

    def phases(self, now_ns: int = 0, closed_ns: int | None = None) -> tuple[Phase, ...]:
        """All so far. ``now_ns`` is the latest time in the capture, ``closed_ns`` when the session ended."""
        if self._kind is None:
            return ()
        end_ns = max(self._end_ns, now_ns if closed_ns is None else closed_ns)
        lasts = self._kind in LASTING
        return (*self._done, self._ended(end_ns if lasts else self._end_ns, closed_ns is None))
