"""Sessions with the verdict that is expected of each: one module for each kind of trouble, and one for none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from checks_cases.script import Part

from vusniff.checks.finding import Side
from vusniff.checks.outcome import Outcome
from vusniff.families.vhost_user.device import Sure


@dataclass(frozen=True)
class Expected:
    """A capture and its verdict."""

    name: str
    session: Sequence[Part]
    outcome: Outcome
    cause: str
    says: tuple[str, ...]
    """Parts of the sentence, in this order."""
    side: Side | None = None
    number: int | None = None
    """The message it points to."""
    step: str = ""
    advice: str = ""
    """A part of what to try."""
    caveat: str = ""
    """A part of a caveat; empty for none at all."""
    comms: tuple[str, str] = ("qemu-system-x86", "backend")
    late: bool = False
    device: str | None = None
    sure: Sure | None = None
    """Where the test minds it."""
