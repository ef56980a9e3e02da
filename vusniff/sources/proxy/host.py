"""What relays that do faults share in one run: the decider, the numbers of faults, the program that was started, and
who asks the user about messages that are held."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable

from vusniff.amounts import signal_name
from vusniff.record import Frame
from vusniff.sources.proxy.loop import Loop
from vusniff.sources.proxy.plan import Decider, FaultPlan
from vusniff.values import dataclass, field

GoOn = Callable[[FaultPlan], None]
Ask = Callable[[Loop, Frame, FaultPlan, GoOn], None]
"""Takes a message that is held, and calls the last of these later, once, with what is to be done to it."""


@dataclass(slots=True)
class FaultHost:
    """All of it for one run."""

    decider: Decider
    ask: Ask | None = None
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
        if self.ask is None:
            loop.after(0, lambda: go_on(plan))
        else:
            self.ask(loop, frame, plan, go_on)
