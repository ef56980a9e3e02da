"""What relays that do faults share in one run: the decider, the numbers of faults, the program that was started, and
who asks the user about messages that are held."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable
from typing import Protocol

from vusniff.amounts import signal_name
from vusniff.record import Frame
from vusniff.sources.proxy.loop import Loop
from vusniff.sources.proxy.plan import Decider, FaultPlan
from vusniff.values import dataclass, field

GoOn = Callable[[FaultPlan], bool]
"""Goes on with a message that is held; False: its connection has ended, and nothing is done."""


class Asker(Protocol):
    """Who asks the user about messages that are held."""

    def ask(self, loop: Loop, frame: Frame, plan: FaultPlan, go_on: GoOn, /) -> None:
        """Takes a message, and calls ``go_on`` later, once, with what is to be done to it."""

    def end(self) -> int:
        """Nobody answers any more: all that waits goes on. Gives how many messages that were."""


@dataclass(slots=True)
class FaultHost:
    """All of it for one run."""

    decider: Decider
    asker: Asker | None = None
    loop: Loop | None = None
    """Set by the proxy, as is the next one."""
    pidfd: int = -1
    """Of the program that the proxy has started; -1: none was."""
    _ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def next_fault(self) -> int:
        """The next `Fault.id`."""
        return next(self._ids)

    def kill(self, number: int) -> str:
        """Sends a signal to the started program: what was done, in words."""
        try:
            signal.pidfd_send_signal(self.pidfd, number)
        except OSError:
            return f"finds nobody to send {signal_name(number)} to: the program that it has started has ended"
        return f"sends {signal_name(number)} to the program that it has started"

    def hold(self, frame: Frame, plan: FaultPlan, go_on: GoOn) -> None:
        """Asks the user what to do with a message; where nobody can be asked, it goes on at once."""
        loop = self.loop
        assert loop is not None
        if self.asker is None:
            loop.after(0, lambda: go_on(plan))
        else:
            self.asker.ask(loop, frame, plan, go_on)

    def end(self) -> int:
        """The run ends: what is held goes on, as nobody can be asked any more."""
        return self.asker.end() if self.asker is not None else 0
