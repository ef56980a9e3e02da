"""Runs tshark with our dissector: the second reader of every capture.

The installed one, and where it is older, that which ``tests/fetch_tshark.py`` has fetched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
from fetch_tshark import WANTED, fetched, version

from vusniff.wireshark.lua import generate

INSTALLED = shutil.which("tshark")
NEWER = str(fetched()) if fetched() and (INSTALLED is None or version(INSTALLED) < WANTED) else None


@cache
def unprivileged() -> list[str]:
    """What is put before a command so that it does not look like root's: Wireshark 4.4 runs no Lua of users as root."""
    command = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]
    as_root = os.geteuid() == 0 and subprocess.run([*command, "true"], capture_output=True).returncode == 0
    return command if as_root else []


def reads_lua(program: str) -> bool:
    """Where nobody may look like another user (in a chroot, in some containers), root cannot test Wireshark 4.4."""
    return version(program) < WANTED or os.geteuid() != 0 or bool(unprivileged())


PROGRAMS = [program for program in (INSTALLED, NEWER) if program and reads_lua(program)]
"""Each tshark that is there."""
needs_tshark = pytest.mark.skipif(not PROGRAMS, reason="tshark is not installed, or as root reads no Lua")
SEPARATOR, AGGREGATOR = "\x1e", "\x1f"
_used = PROGRAMS[:1]


@contextmanager
def using(program: str) -> Iterator[None]:
    """Whoever asks for tshark within gets this one."""
    before, _used[:] = _used[:], [program]
    yield
    _used[:] = before


def dissector(folder: Path) -> Path:
    """The dissector in a file, written once for each folder."""
    path = folder / "vusniff.lua"
    if not path.exists():
        path.write_text(generate(), encoding="utf-8")
    return path


def tshark(capture: Path, *arguments: str, lua: Path | None = None) -> str:
    """What tshark prints of a capture."""
    return "".join(lines(capture, *arguments, lua=lua))


def lines(capture: Path, *arguments: str, lua: Path | None = None) -> Iterator[str]:
    """What tshark prints of a capture, while it prints."""
    script = [] if lua is None else ["-X", f"lua_script:{lua}"]
    home = {**os.environ, "HOME": str(capture.parent), "XDG_CONFIG_HOME": str(capture.parent / "config"), "TZ": "UTC"}
    command = [*unprivileged(), *_used, *script, "-n", "-r", str(capture), *arguments]
    with tempfile.TemporaryFile("w+") as log:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, encoding="utf-8", env=home) as done:
            assert done.stdout is not None
            yield from done.stdout
        log.seek(0)
        errors = log.read()
    said = [line for line in errors.splitlines() if not line.startswith("Running as user")]
    assert done.returncode == 0, errors
    assert not said, errors


def fields(capture: Path, names: list[str], lua: Path, passes: int = 1) -> Iterator[dict[str, list[str]]]:
    """For each packet the values of fields, as text; in the second of two ``passes``, as Wireshark does it."""
    form = ["-T", "fields", "-E", f"separator={SEPARATOR}", "-E", f"aggregator={AGGREGATOR}", "-E", "occurrence=a"]
    # Evidence is in custom blocks, which tshark lists among the packets.
    form += ["-Y", "exported_pdu"]
    # The first pass has fields only if it filters, as that of Wireshark always has.
    form += ["-2", "-R", "frame"] if passes == 2 else []
    for line in lines(capture, *form, *(part for name in names for part in ("-e", name)), lua=lua):
        row = line.rstrip("\n").split(SEPARATOR)
        yield {name: value.split(AGGREGATOR) for name, value in zip(names, row, strict=True) if value != ""}
