"""What a test needs from the distribution: a skip that names it, and a failure where everything is to be there."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest


def require(packages: Sequence[str]) -> None:
    """Skip the test when packages are missing; with CI=true fail, so that nothing is left out unnoticed."""
    if not packages:
        return
    sentence = f"needs the distribution's packages {' '.join(packages)}: make test installs them as root"
    if os.environ.get("CI") == "true":
        pytest.fail(sentence, pytrace=False)
    pytest.skip(sentence)
