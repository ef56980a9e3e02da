"""Nothing is left out unnoticed: the end of a run names what was skipped and why, and hypothesis waits for no clock."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

TESTS = """
import pytest

@pytest.mark.skip(reason="strace is not installed")
def test_one(): ...

@pytest.mark.parametrize("number", range(40))
def test_many(number):
    pytest.skip("needs package dpdk-dev")

def test_done(): ...
"""


@pytest.mark.parametrize("workers", [[], ["-n", "1"]], ids=["one process", "workers"])
@pytest.mark.parametrize("strict", ["", "true"])
def test_what_was_skipped_is_named_with_its_reason(tmp_path: Path, strict: str, workers: list[str]) -> None:
    shutil.copy(Path(__file__).parent / "conftest.py", tmp_path)
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *workers, "test_it.py"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")} | {"CI": strict}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    said = "not to be skipped here" if strict else "skipped"
    assert [line for line in done.stdout.splitlines() if line.startswith(said + ":")] == [
        f"{said}: test_it.py, 40 tests: needs package dpdk-dev",
        f"{said}: test_it.py::test_one: strace is not installed",
    ]
    assert done.returncode == (1 if strict else 0), done.stdout


def test_hypothesis_has_no_deadline() -> None:
    assert settings().deadline is None
