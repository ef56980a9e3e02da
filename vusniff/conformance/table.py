"""All scenarios, in the order in which they are played."""

from __future__ import annotations

from vusniff.conformance import answers, extras, frontends, memory, negotiation, rings, shapes, stream
from vusniff.conformance.manners import Manner
from vusniff.conformance.scenario import Scenario

BACKEND: tuple[Scenario, ...] = (
    *negotiation.ROWS,
    *answers.ROWS,
    *shapes.ROWS,
    *memory.ROWS,
    *rings.ROWS,
    *extras.ROWS,
    *stream.ROWS,
)
FRONTEND: tuple[Manner, ...] = frontends.ROWS
