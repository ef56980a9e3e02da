"""What the tests with real programs share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from peers.watched import Runs


@pytest.fixture(scope="session")
def runs() -> Iterator[Runs]:
    """Runs of pairs, which end with the session."""
    with ExitStack() as stack:
        yield Runs(stack)
