"""What a capture says of rings that were sampled, read while it grows."""

from __future__ import annotations

from pathlib import Path

import vusniff
from vusniff.record import Position, Sample


def evidence(capture: Path) -> list[object]:
    timeline = vusniff.open_capture(capture)
    found: list[object] = [one for _, one in vusniff.evidence(timeline)]
    timeline.index.close()
    return found


def samples(capture: Path) -> list[Sample]:
    return [one for one in evidence(capture) if isinstance(one, Sample)]


def last(capture: Path, ring: int, connection: int = 1) -> Position | None:
    """Where a ring stood by the last sample that tells of it."""
    told = [
        position
        for sample in samples(capture)
        for position in sample.rings
        if position.ring == ring and sample.ends[0][0] == connection
    ]
    return told[-1] if told else None


def bases(capture: Path) -> dict[int, int]:
    """What the back-end answered to GET_VRING_BASE."""
    timeline = vusniff.open_capture(capture)
    found = {
        message.payload["index"]: message.payload["num"]
        for message in timeline.messages()
        if message.name == "GET_VRING_BASE" and message.answers and message.payload
    }
    timeline.index.close()
    return found
