"""Runs the installed tshark with our dissector: the second reader of every capture."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from vusniff.wireshark.lua import generate

needs_tshark = pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
SEPARATOR, AGGREGATOR = "\x1e", "\x1f"


def dissector(folder: Path) -> Path:
    """The dissector in a file, written once for each folder."""
    path = folder / "vusniff.lua"
    if not path.exists():
        path.write_text(generate(), encoding="utf-8")
    return path


def tshark(capture: Path, *arguments: str, lua: Path | None = None) -> str:
    """What tshark prints of a capture."""
    script = [] if lua is None else ["-X", f"lua_script:{lua}"]
    home = {**os.environ, "HOME": str(capture.parent), "XDG_CONFIG_HOME": str(capture.parent / "config"), "TZ": "UTC"}
    command = ["tshark", *script, "-n", "-r", str(capture), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=home, timeout=120)
    said = [line for line in done.stderr.splitlines() if not line.startswith("Running as user")]
    assert done.returncode == 0, done.stderr
    assert not said, done.stderr
    return done.stdout


def fields(capture: Path, names: list[str], lua: Path, passes: int = 1) -> list[dict[str, list[str]]]:
    """For each packet the values of fields, as text; in the second of two ``passes``, as Wireshark does it."""
    form = ["-T", "fields", "-E", f"separator={SEPARATOR}", "-E", f"aggregator={AGGREGATOR}", "-E", "occurrence=a"]
    # The first pass has fields only if it filters, as that of Wireshark always has.
    form += ["-2", "-R", "frame"] if passes == 2 else []
    printed = tshark(capture, *form, *(part for name in names for part in ("-e", name)), lua=lua)
    rows = [line.split(SEPARATOR) for line in printed.split("\n")[:-1]]
    return [
        {name: value.split(AGGREGATOR) for name, value in zip(names, row, strict=True) if value != ""} for row in rows
    ]
