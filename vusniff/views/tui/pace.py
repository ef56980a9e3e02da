"""How long a part works before keys are handled, and when it goes on. Knows no screen."""

from __future__ import annotations

import time

SLICE_SECONDS = 0.012
"""Work at a stretch while keys may wait."""
NEXT_SECONDS = 0.001
"""From one slice to the next while there is more to do."""
POLL_SECONDS = 0.1
"""Between two looks at a growing file, and between two repaints of what grows."""


def next_size(size: int, began: float, seconds: float, fewest: int, most: int) -> int:
    """How many messages the next slice should have.

    The last one had ``size``, and began at ``began`` of `time.monotonic`; the next one should take ``seconds``.
    """
    took = max(time.monotonic() - began, 1e-6)
    return max(fewest, min(most, int(size * seconds / took)))
