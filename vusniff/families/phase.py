"""What a session is divided into, of any family: connect, negotiate, start, run, stop. Each family says where."""

from __future__ import annotations

import enum

from vusniff.values import dataclass


class PhaseKind(str, enum.Enum):
    """What a session is at."""

    CONNECT = "connect"
    """The connection is open, and nothing was said yet."""
    RECONNECT = "reconnect"
    """From the end of the session before it on the same path to the first message of this one."""
    NEGOTIATION = "feature negotiation"
    INITIALISATION = "initialisation"
    IDLE = "idle"
    """Set up as far as can be without a driver, or stopped: nothing runs, until a driver starts the device."""
    START = "start"
    RUNNING = "running"
    STOP = "stop"
    RESET = "reset"
    MIGRATION = "migration"
    POSTCOPY = "postcopy"

    __str__ = str.__str__


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase of a session."""

    kind: PhaseKind
    first: int
    """Number of its first message; of a phase without messages the number before which it stands."""
    last: int
    """Number of its last message; less than ``first`` where there is none."""
    count: int
    """Messages of the session in it."""
    start_ns: int
    end_ns: int
    """When it ended, nanoseconds since the epoch. For a phase that has not ended: the latest time in the capture."""
    open: bool = False
    """It has not ended in this capture."""

    @property
    def duration_ns(self) -> int:
        """How long it took."""
        return self.end_ns - self.start_ns


LASTING = frozenset({PhaseKind.RUNNING, PhaseKind.IDLE, PhaseKind.MIGRATION, PhaseKind.POSTCOPY})
"""Phases that last until the next one; others end with their last message."""
