"""Fetches kernel packages of the distribution and unpacks them, so that a virtual machine can boot them.

usage: python tests/vm/fetch.py [PACKAGE ...]      default: the distribution's kernel, as apt names it today, and on
                                                   Debian 12 its later one, because only that has VDUSE

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


LATER = "6.12"
"""Version of the later kernel that Debian 12 has beside its own, which has no VDUSE (CONFIG_VDPA_USER)."""


def wanted() -> list[str]:
    """Names of the packages that the tests need."""
    architecture = told("dpkg", "--print-architecture").strip()
    later = package(f"linux-image-{LATER}-{architecture}")
    return [current(), *([later] if later else [])]


def current() -> str:
    """Name of the package of the distribution's kernel: what its package without a version stands for."""
    architecture = told("dpkg", "--print-architecture").strip()
    for name in (f"linux-image-{architecture}", "linux-image-generic"):  # Debian's and Ubuntu's
        if found := package(name):
            return found
    raise SystemExit(f"apt knows neither linux-image-{architecture} nor linux-image-generic")


def package(name: str) -> str:
    """The package that a package without a version stands for; empty where apt cannot download one."""
    found = re.search(r"Depends: (linux-image-\S+)", told("apt-cache", "depends", name))
    names = [f"{found[1]}-unsigned", found[1]] if found else []
    return next(filter(candidate, names), "")


def told(*command: str) -> str:
    """What a command prints; nothing when it fails."""
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}).stdout


def candidate(name: str) -> bool:
    """Whether apt can download it: it also remembers names that are gone."""
    return re.search(r"Candidate: \d", told("apt-cache", "policy", name)) is not None


def unpack(name: str) -> Path:
    """The tree of a package, fetched if it is not there."""
    tree = FOLDER / name
    if not tree.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        modules = name.replace("linux-image-", "linux-modules-")  # a package of their own on Ubuntu
        names = [name, modules] if modules != name and candidate(modules) else [name]
        with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
            subprocess.run(["apt-get", "-q", "download", *names], cwd=folder, check=True)
            part = Path(folder) / "tree"
            for package in Path(folder).glob("*.deb"):
                subprocess.run(["dpkg", "-x", str(package), str(part)], check=True)
            index(part)
            part.rename(tree)
    return tree


def index(tree: Path) -> None:
    """Makes the lists that loading modules needs; modules are below lib or, on newer distributions, usr/lib."""
    if not (tree / "lib").exists():
        (tree / "lib").symlink_to("usr/lib")
    for version in (tree / "lib/modules").iterdir():
        subprocess.run(["depmod", "-b", str(tree), version.name], check=True)


if __name__ == "__main__":
    for name in sys.argv[1:] or wanted():
        print(unpack(name))
