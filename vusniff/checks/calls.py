"""Rules about calls to vhost in the kernel, as the table names them.

What they ask is in `refused_calls`, which knows the family. It is imported with the first call, as most captures have
none.
"""

from __future__ import annotations

from vusniff.checks.finding import Sayings
from vusniff.checks.step import Step


def failed(step: Step) -> Sayings:
    """A call to the kernel succeeds"""
    from vusniff.checks import refused_calls

    return refused_calls.failed(step)


def backend_before_ring(step: Step) -> Sayings:
    """A ring is bound to its tap only when it has a kick descriptor"""
    from vusniff.checks import refused_calls

    return refused_calls.backend_before_ring(step)
