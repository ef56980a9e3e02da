"""What a test needs from the distribution: a skip that names it, and a failure where everything is to be there."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest


def require(missing: Sequence[str]) -> None:
    """Skip the test when something is missing; with CI=true fail, so that nothing is left out unnoticed."""
    if not missing:
        return
    sentence = f"needs {', '.join(missing)}: run make test as root, which installs what is missing"
    if os.environ.get("CI") == "true":
        pytest.fail(sentence, pytrace=False)
    pytest.skip(sentence)
