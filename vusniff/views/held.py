"""Messages that a rule of the proxy holds until the user says what is to be done with them: plain values for a view."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from vusniff.values import dataclass


@dataclass(frozen=True, slots=True)
class WaitingMessage:
    """One message that waits for the user."""

    number: int
    """By which it is answered."""
    rule: int
    text: str
    """The rule as it was written."""
    name: str
    way: tuple[str, ...]
    """Who sent it, and to whom."""
    time_ns: int
    since: float
    """When it was held, seconds since the epoch."""
    size: int
    descriptors: tuple[str, ...]
    """What each of them is."""
    fields: tuple[tuple[str, str], ...]
    """By the names that ``set`` takes."""
    data: bytes
    """Its first bytes."""


class MessageHolder(Protocol):
    """Who holds messages, and takes answers."""

    @property
    def waiting(self) -> Sequence[WaitingMessage]:
        """The oldest of them, in the order in which they came."""

    @property
    def count(self) -> int:
        """How many wait."""

    def fileno(self) -> int:
        """Readable when there is news."""

    def receive(self) -> list[str]:
        """Takes the news: gives sentences for the user. Raises OSError when nothing more will come."""

    def answer(self, number: int, do: str, actions: str = "") -> None:
        """``send``, ``drop``, or ``edit`` with actions."""
