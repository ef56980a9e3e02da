"""Fetches tshark of the next Debian with all that it needs, so that the dissector is tested with two versions of it.

usage: python tests/fetch_tshark.py

It goes to the folder that VUSNIFF_TSHARK names (default: ~/.cache/vusniff/tshark), 200 MB. Nothing is installed, and no
privilege is needed: apt works on folders of its own here, and the programs run with the libraries that came along.
Where the installed tshark is as new, nothing is done.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

FOLDER = Path(os.environ.get("VUSNIFF_TSHARK") or Path.home() / ".cache/vusniff/tshark")
SUITE = "trixie"
WANTED = (4, 4)
_KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_ARCHIVE = "http://deb.debian.org/debian"
_WRAPPER = """#!/bin/sh
exec {loader} --library-path {libraries} {program} "$@"
"""


@cache
def version(program: Path | str) -> tuple[int, int]:
    """Of a tshark, which is asked once; (0, 0) where there is none that runs."""
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60).stdout
    except OSError:
        return (0, 0)
    found = re.search(r"(\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def fetched() -> Path | None:
    """The program, if it was fetched."""
    program = FOLDER / SUITE / "tshark"
    return program if program.exists() else None


def fetch() -> Path:
    """The program, fetched if it is not there."""
    fetch_tree(FOLDER, SUITE, ["tshark"], wrap=_wrap)
    return FOLDER / SUITE / "tshark"


def fetch_tree(
    target: Path,
    suite: str,
    packages: Sequence[str],
    *,
    backports: bool = False,
    wrap: Callable[[Path, Path], None] | None = None,
) -> None:
    """Unpacks packages of a suite, with all they depend on, into a folder of the suite's name in ``target``.

    ``wrap`` is called with the tree, and the place where it will be, before it is moved there.
    """
    if not _KEYS.exists():
        raise SystemExit(f"there is no {_KEYS}: only on Debian the archive can be trusted")
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target) as name:
        folder = Path(name)
        for package in _download(folder, suite, packages, backports):
            subprocess.run(["dpkg", "-x", str(package), str(folder / suite)], check=True)
        if wrap is not None:
            wrap(folder / suite, target / suite)
        (folder / suite).rename(target / suite)


def _download(folder: Path, suite: str, packages: Sequence[str], backports: bool) -> list[Path]:
    """Packages and all they depend on: to this apt no package is installed."""
    told = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
    archives = subprocess.run(told, capture_output=True, text=True).stdout.split()
    archive = next((one for one in archives if "security" not in one and "debian" in one), _ARCHIVE)
    for part in ("lists/partial", "archives/partial", "parts"):
        (folder / part).mkdir(parents=True)
    (folder / "status").touch()
    suites = [suite, f"{suite}-backports"] if backports else [suite]
    lines = [f"deb [signed-by={_KEYS}] {archive} {one} main\n" for one in suites]
    (folder / "sources.list").write_text("".join(lines), encoding="utf-8")
    settings = {
        "Dir::Etc::SourceList": folder / "sources.list",
        "Dir::Etc::SourceParts": folder / "parts",
        "Dir::Etc::PreferencesParts": folder / "parts",
        "Dir::State": folder,
        "Dir::State::Lists": folder / "lists",
        "Dir::State::status": folder / "status",
        "Dir::Cache": folder,
        "Dir::Cache::archives": folder / "archives",
        "APT::Sandbox::User": "",
        "Acquire::Retries": 3,
    }
    apt = ["apt-get", "-qq", "--yes", *(f"-o{name}={value}" for name, value in settings.items())]
    subprocess.run([*apt, "update"], check=True)
    chosen = ["-t", suites[-1], "--no-install-recommends", "--download-only", "install", *packages]
    subprocess.run([*apt, *chosen], check=True)
    return sorted((folder / "archives").glob("*.deb"))


def _wrap(tree: Path, place: Path) -> None:
    """Writes a program into ``tree`` that runs its tshark when the tree is at ``place``."""
    (libraries,) = {path.parent for path in tree.glob("usr/lib/*/libwireshark.so.*")}
    loader = next(libraries.glob("ld-linux*.so.*"))
    at = place / libraries.relative_to(tree)
    text = _WRAPPER.format(loader=at / loader.name, libraries=at, program=place / "usr/bin/tshark")
    (tree / "tshark").write_text(text, encoding="utf-8")
    (tree / "tshark").chmod(0o755)


if __name__ == "__main__":
    installed = shutil.which("tshark")
    if fetched():
        print(fetched())
    elif installed and version(installed) >= WANTED:
        print(f"{installed} is new enough")
    else:
        print(fetch())
