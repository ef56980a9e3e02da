"""Fetches a QEMU with vfio-user-pci (10.1 or later), with all that it needs, where the installed one is older.

usage: python tests/fetch_qemu.py

It goes to the folder that VUSNIFF_QEMU names (default: ~/.cache/vusniff/qemu), 170 MB, from Debian's backports. Nothing
is installed, and no privilege is needed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import fetch_tshark

FOLDER = Path(os.environ.get("VUSNIFF_QEMU") or Path.home() / ".cache/vusniff/qemu")
SUITE = "trixie"
PROGRAM = "qemu-system-x86_64"
DEVICE = "vfio-user-pci"


def has_device(command: list[str]) -> bool:
    """Whether this QEMU has the device."""
    try:
        said = subprocess.run([*command, "-device", "help"], capture_output=True, text=True, timeout=60).stdout
    except OSError:
        return False
    return f'"{DEVICE}"' in said


def fetched() -> list[str] | None:
    """How the fetched one is called, if it was fetched: with its own libraries and firmware."""
    tree = FOLDER / SUITE
    if not (tree / "usr/bin" / PROGRAM).exists():
        return None
    (libraries,) = {path.parent for path in tree.glob("usr/lib/*/libglib-2.0.so.0")}
    loader = next(libraries.glob("ld-linux*.so.*"))
    command = [str(loader), "--library-path", str(libraries), str(tree / "usr/bin" / PROGRAM)]
    for folder in ("usr/share/qemu", "usr/share/seabios", "usr/lib/ipxe/qemu"):
        command += ["-L", str(tree / folder)]
    return command


def command() -> list[str]:
    """How to call a QEMU that has the device; empty where there is none."""
    installed = shutil.which(PROGRAM)
    if installed and has_device([installed]):
        return [installed]
    return fetched() or []


def fetch() -> None:
    """Fetch it if it is not there."""
    fetch_tshark.fetch_tree(FOLDER, SUITE, ["qemu-system-x86"], backports=True)


if __name__ == "__main__":
    if not command():
        fetch()
    print(" ".join(command()))
