"""The expected outputs beside each capture: writes them again (make golden), and says what they are to the tests.

usage: golden.py [CAPTURE...]    default: every capture of this directory
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
VIEWS: dict[str, tuple[str, ...]] = {
    ".txt": ("read",),
    ".jsonl": ("read", "--json"),
    ".state.txt": ("state",),
}
"""Ending of the expected output -> command that prints it."""


def captures() -> list[Path]:
    """Every capture that has expected outputs beside it, or is to have them."""
    return sorted(HERE.glob("*.pcapng"))


def expected(capture: Path, ending: str) -> Path:
    """Where the expected output is."""
    return capture.with_suffix(ending)


def printed(capture: Path, ending: str) -> str:
    """What vusniff prints for it now, on a terminal of 100 columns that has no colours."""
    environment = {**os.environ, "TZ": "UTC", "COLUMNS": "100", "NO_COLOR": "1", "PYTHONUTF8": "1"}
    command = [sys.executable, "-m", "vusniff", *VIEWS[ending], capture.name]
    done = subprocess.run(command, cwd=capture.parent, env=environment, capture_output=True, text=True)
    if done.returncode != 0 or done.stderr:
        raise RuntimeError(f"{' '.join(command[2:])} ended with {done.returncode}: {done.stderr}")
    return done.stdout


def main(names: list[str]) -> None:
    """Write the expected outputs of the captures named."""
    for capture in [Path(name).resolve() for name in names] or captures():
        for ending in VIEWS:
            expected(capture, ending).write_text(printed(capture, ending), encoding="utf-8")
            print(expected(capture, ending).name)


if __name__ == "__main__":
    main(sys.argv[1:])
