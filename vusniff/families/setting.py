"""What of a device's state a message sets, told by its bytes: what a capture that begins in the middle has to repeat.

A file of a capture in several begins with the messages that make up the state of each device (`capture.restating`). Of
messages that set the same only the last counts. That more is kept than needed does no harm, as the order is kept.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple


class Setting(NamedTuple):
    """What one message sets."""

    name: Hashable
    """A part of the state."""
    item: Hashable = None
    """Which of several there are: a ring, a memory region. A message replaces the one before with the same item."""
    whole: bool = False
    """It replaces all items."""
    ends: bool = False
    """It takes the item away: neither has to be repeated where both were seen."""
