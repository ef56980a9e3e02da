"""What each ring of a session was from message to message: not set up, armed, started, stopped; enabled or not. Pure.

Worked out in slices, because all messages of the session are advanced through.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from vusniff.analysis.driver import steps_of
from vusniff.analysis.timeline import Timeline
from vusniff.families.family import State
from vusniff.families.vhost_user.state import DeviceState, RingState, ring_state

LOOKS = 64
"""Messages between two looks at the clock."""
MOST = 100_000
"""Changes that are kept."""


class RingLife(NamedTuple):
    """What a ring was from a message on."""

    number: int
    """The message that made it so."""
    since_ns: int
    state: RingState | None
    """None: unknown."""
    enabled: bool | None

    @property
    def runs(self) -> bool:
        """It is worked on, as far as messages tell."""
        return self.enabled is not False and self.state in (RingState.KICK_SET, RingState.STARTED)


class RingLives:
    """The rings of one session."""

    def __init__(self, timeline: Timeline, session: int) -> None:
        self._timeline = timeline
        self.session = session
        self._rows = timeline.rows_of(session)
        known = timeline.sessions[session - 1]
        self._steps = steps_of(known.family, known.initial(), map(timeline.message, self._rows))
        self.rings: dict[int, list[RingLife]] = {}
        """By index: what the ring was, in order."""
        self.seen = 0
        self._kept = 0
        self.left_out = 0
        """Changes beyond `MOST`."""

    @property
    def count(self) -> int:
        """Messages of the session."""
        return len(self._rows)

    def run(self, seconds: float) -> bool:
        """Work for about so many seconds; True when all messages have been advanced through."""
        deadline = time.monotonic() + seconds
        while self.seen < self.count:
            row = self._rows[self.seen]
            self.seen += 1
            _, before, state = next(self._steps)
            if state is not before and isinstance(state, DeviceState):
                self._changed(before, state, row)
            if not self.seen % LOOKS and time.monotonic() > deadline:
                return False
        return True

    def _changed(self, before: State, state: DeviceState, row: int) -> None:
        rings = state.vrings
        if isinstance(before, DeviceState) and rings is before.vrings:
            return
        changed = rings.changed_from(before.vrings) if isinstance(before, DeviceState) else rings.values()
        for ring in changed:
            lives = self.rings.setdefault(ring.index, [])
            enabled = None if ring.enabled is None else ring.enabled.value
            life = RingLife(row + 1, self._timeline.time_ns(row), ring_state(ring), enabled)
            if lives and lives[-1][2:] == life[2:]:
                continue
            if self._kept >= MOST:
                self.left_out += 1
                continue
            self._kept += 1
            lives.append(life)
