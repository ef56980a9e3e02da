"""A test that fails, or waits for what never comes, ends; and so do the programs that it started."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import signal, subprocess
from pathlib import Path

def start(name):
    child = subprocess.Popen(["sleep", "1000"])
    Path(__file__).with_name(name).write_text(str(child.pid))
    return child

def test_fails():
    with start("fails.pid"):
        raise AssertionError("it failed")

def test_hangs():
    with start("hangs.pid") as child:
        child.wait()

def test_forgets():
    start("forgets.pid")
"""


def test_children_end_with_their_test(tmp_path: Path) -> None:
    shutil.copy(Path(__file__).parent / "conftest.py", tmp_path)
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--timeout=2", str(tmp_path)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path, env=environment)
    assert "2 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert "it failed" in done.stdout
    assert "Timeout" in done.stdout
    for name in ("fails", "hangs", "forgets"):
        assert not Path(f"/proc/{(tmp_path / f'{name}.pid').read_text()}").exists()


def test_every_test_has_a_limit(request: pytest.FixtureRequest) -> None:
    assert int(request.config.getini("timeout")) > 0
