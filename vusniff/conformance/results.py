"""What is reported of scenarios, of either side. Plain values."""

from __future__ import annotations

from collections.abc import Mapping

from vusniff.conformance.scenario import Result
from vusniff.values import dataclass, field


@dataclass(slots=True)
class ScenarioResult:
    """What is reported of one scenario."""

    id: str
    about: str
    section: str
    says: str
    result: Result
    why: str = ""
    notes: list[str] = field(default_factory=list)
    capture: str | None = None
    """Name of its file, in the directory of captures."""
    shortest: int | None = None
    """Messages after which the peer was dead, where it died."""
    seconds: float = 0.0


@dataclass(slots=True)
class TestReport:
    """What came of all."""

    __test__ = False  # no test, for pytest

    role: str
    """``backend`` or ``frontend``: who was tested."""
    about: Mapping[str, object]
    """What the peer offers."""
    captures: str = ""
    """The directory of captures."""
    results: list[ScenarioResult] = field(default_factory=list)
    stopped: str = ""
    """Why not all was played; empty where all was."""

    def count(self, result: Result) -> int:
        """Scenarios of a result."""
        return sum(1 for one in self.results if one.result is result)
