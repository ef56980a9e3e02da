"""What is to be done to one message instead of passing it on: the contract between a relay and who decides.

A relay knows sockets and no rules; `vusniff.faults` knows rules and no sockets. Plain values.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Protocol

from vusniff.record import Connection, Frame
from vusniff.values import dataclass

ALONE_SECONDS = 1.0
"""How long a message that is to go out with or behind the next one waits for it."""


class Order(enum.Enum):
    """Where a message goes out among the others of its direction."""

    IN_TURN = "in turn"
    JOINED = "joined"
    """In one send with the next one."""
    BEHIND = "behind"
    """Behind the next one."""


class Breaking(enum.Enum):
    """How the connection ends."""

    CUT = "cut"
    """Both sides are closed."""
    RESET = "reset"
    """The same, with the sender told a reset: as a peer that ended without reading the message."""


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """What a rule wants done to one message, in the order of the fields."""

    rule: int
    """From 1."""
    text: str
    """The rule as it was written."""
    actions: tuple[str, ...]
    """Their names."""
    data: bytes
    """What is sent."""
    changed: str = ""
    """What was changed in it, in words."""
    kept: tuple[int, ...] | None = None
    """Which of its descriptors are sent, by position, in this order; None: all, as they came."""
    extra: int = 0
    """Descriptors of ours that are sent as well: eventfds."""
    hold: bool = False
    """Nothing of the rest is done before the user has said what."""
    delay: float = 0.0
    """Seconds."""
    times: int = 1
    """How often it is sent; 0: not."""
    piece: int = 0
    """Bytes of one send; 0: all in one."""
    most: int | None = None
    """Bytes of it that are sent, and then nothing more in this direction."""
    order: Order = Order.IN_TURN
    answer: bytes | None = None
    """What its sender is given."""
    stall: float = 0.0
    """Seconds in which its sender is not read from."""
    signal: int | None = None
    """For the program that the proxy has started, before the message is sent."""
    end: Breaking | None = None

    @property
    def is_plain(self) -> bool:
        """It is passed on like any message."""
        return self.actions == ("pass",)


class Decider(Protocol):
    """Who decides what is done to messages. Nothing here may wait, and nothing raises for what a message holds."""

    spares: bool
    """The last byte of a message must be left in its socket until it is decided: a rule may want a reset."""

    @property
    def text(self) -> str:
        """The rules, a line each."""

    def opened(self, connection: Connection) -> int:
        """A connection begins: gives the number by which it is called here."""

    def closed(self, number: int) -> None:
        """It has ended."""

    def decide(self, number: int, frame: Frame) -> FaultPlan | None:
        """What to do with a message; None: pass it on."""


class RelayHost(Protocol):
    """What a relay with a decider needs of the proxy."""

    @property
    def decider(self) -> Decider:
        """Who decides."""

    def next_fault(self) -> int:
        """The next `Fault.id`."""

    def kill(self, number: int) -> str:
        """Sends a signal to the started program: what was done, in words."""

    def hold(self, frame: Frame, plan: FaultPlan, go_on: Callable[[FaultPlan], bool]) -> None:
        """Asks the user what to do with a message. ``go_on`` is called with it, once, after this has returned."""
