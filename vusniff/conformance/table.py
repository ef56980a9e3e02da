"""All scenarios, in the order in which they are played."""

from __future__ import annotations

from vusniff.conformance import negotiation
from vusniff.conformance.scenario import Scenario

BACKEND: tuple[Scenario, ...] = (*negotiation.ROWS,)
