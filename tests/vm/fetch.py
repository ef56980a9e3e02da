"""Fetches kernel packages of the distribution and unpacks them, so that a virtual machine can boot them.

usage: python tests/vm/fetch.py [PACKAGE ...]      default: the newest 6.1 kernel that apt knows

They go to the folder that VUSNIFF_KERNELS names (default: ~/.cache/vusniff/kernels). Nothing is installed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(os.environ.get("VUSNIFF_KERNELS") or Path.home() / ".cache/vusniff/kernels")


def newest(series: str) -> str:
    """Name of the newest unsigned kernel package of a series such as ``6.1``."""
    pattern = rf"^linux-image-{re.escape(series)}\..*-amd64-unsigned$"
    found = subprocess.run(
        ["apt-cache", "pkgnames", f"linux-image-{series}"], capture_output=True, text=True, check=True
    )
    names = [
        name
        for name in found.stdout.split()
        if re.match(pattern, name) and not re.search(r"-(rt|cloud)-", name) and candidate(name)
    ]
    if not names:
        raise SystemExit(f"apt knows no package {pattern}")
    return max(names, key=lambda name: [int(part) for part in re.findall(r"\d+", name)])


def candidate(name: str) -> bool:
    """Whether apt can download it: it also remembers names that are gone."""
    policy = subprocess.run(["apt-cache", "policy", name], capture_output=True, text=True, check=True)
    return re.search(r"Candidate: \d", policy.stdout) is not None


def unpack(name: str) -> Path:
    """The tree of a package, fetched if it is not there."""
    tree = FOLDER / name
    if not tree.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
            subprocess.run(["apt-get", "-q", "download", name], cwd=folder, check=True)
            (package,) = Path(folder).glob("*.deb")
            part = Path(folder) / "tree"
            subprocess.run(["dpkg", "-x", str(package), str(part)], check=True)
            for version in (part / "lib/modules").iterdir():
                subprocess.run(["depmod", "-b", str(part), version.name], check=True)
            part.rename(tree)
    return tree


if __name__ == "__main__":
    for wanted in sys.argv[1:] or [newest("6.1")]:
        print(unpack(wanted))
