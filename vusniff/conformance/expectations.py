"""The file of known deviations: what a peer is known to do otherwise, so that only changes fail.

A line is the id of a scenario, its result, and after ``#`` why. Empty lines are of no account.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from vusniff.conformance.scenario import Result
from vusniff.errors import VusniffError

_LIMIT = 1 << 20
_RESULTS = {one.value.replace(" ", "-"): one for one in Result}


class ExpectationError(VusniffError):
    """The file cannot be read, or a line of it says nothing: one sentence."""


def read(path: str, known: Collection[str]) -> dict[str, Result]:
    """Scenario -> the result that is expected. Raises ExpectationError."""
    try:
        with Path(path).open("rb") as file:
            text = file.read(_LIMIT).decode(errors="replace")
    except OSError as error:
        raise ExpectationError(f"{path}: {error.strerror}") from None
    expected: dict[str, Result] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 2 or words[1] not in _RESULTS:
            raise ExpectationError(
                f"{path}, line {number}: say the id of a scenario and one of {', '.join(_RESULTS)}, and after # why"
            )
        if words[0] not in known:
            raise ExpectationError(f"{path}, line {number}: there is no scenario {words[0]}: see --list")
        expected[words[0]] = _RESULTS[words[1]]
    return expected


def is_as_expected(id: str, result: Result, expected: Mapping[str, Result]) -> bool:
    """Whether a result is no change: as the file says, and where it says nothing, no fail."""
    return result is expected[id] if id in expected else result is not Result.FAIL
