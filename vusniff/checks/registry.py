"""Which rules there are: ours, and those of installed distributions by the entry-point group ``vusniff.rules``."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from vusniff.checks.finding import Rule
from vusniff.checks.table import RULES
from vusniff.distributions import entry_points
from vusniff.errors import DissectorError

if TYPE_CHECKING:
    from vusniff.distributions import EntryPoint

ENTRY_POINTS = "vusniff.rules"


@functools.cache
def rules() -> tuple[Rule, ...]:
    """All rules, ours first.

    Raises DissectorError when a distribution's entry point cannot be imported, is not a tuple of `Rule`, or has a rule
    with the id or slug of another.
    """
    found = list(RULES)
    known = {name for rule in RULES for name in (rule.id, rule.slug)}
    for point in sorted(entry_points(ENTRY_POINTS), key=lambda point: point.name):
        for rule in _load(point):
            if known & {rule.id, rule.slug}:
                raise _refused(point, f"has a rule {rule.id} {rule.slug}, and another rule has that id or slug")
            known |= {rule.id, rule.slug}
            found.append(rule)
    return tuple(found)


def _load(point: EntryPoint) -> tuple[Rule, ...]:
    try:
        found = point.load()
    except Exception as error:  # a vendor's module may fail in any way when it is imported
        raise _refused(point, f"cannot be loaded: {type(error).__name__}: {error}") from error
    if not isinstance(found, tuple) or not all(isinstance(one, Rule) for one in found):
        raise _refused(point, "is not a tuple of vusniff.checks.finding.Rule")
    return found


def _refused(point: EntryPoint, why: str) -> DissectorError:
    return DissectorError(
        f"rules {point.name!r} ({point.value}) {why}; repair or uninstall the distribution that brings it"
    )
