"""Where bcc is: the distribution's package, found from any Python environment.

bcc comes from the distribution (its Python part is plain Python around libbcc) and never from PyPI, where ``bcc`` is a
library about crystal lattices. A virtual environment, pipx or uv does not see the distribution's packages, so the one
package is loaded by its path. As root, only a package is accepted of which nobody else can write any file.
"""

from __future__ import annotations

import glob
import importlib
import importlib.util
import os
import platform
import stat
import subprocess
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

from vusniff.errors import SourceError
from vusniff.values import dataclass

VARIABLE = "VUSNIFF_BCC"
_PLACES = (
    "/usr/lib/python3/dist-packages/bcc",
    "/usr/lib/python3*/site-packages/bcc",
    "/usr/lib64/python3*/site-packages/bcc",
    "/usr/local/lib/python3*/dist-packages/bcc",
    "/usr/local/lib/python3*/site-packages/bcc",
)
_INTERPRETER = "/usr/bin/python3"
_COMMANDS = {
    "debian": "apt-get install python3-bpfcc",
    "ubuntu": "apt-get install python3-bpfcc",
    "fedora": "dnf install python3-bcc",
    "rhel": "dnf install python3-bcc",
    "suse": "zypper install python3-bcc",
    "arch": "pacman -S python-bcc",
    "alpine": "apk add py3-bcc",
}
"""Distribution, as ID or ID_LIKE of os-release(5) name it -> the command that installs bcc there."""


@dataclass(frozen=True, slots=True)
class Bcc:
    """The bcc that was loaded."""

    module: ModuleType
    directory: Path

    @property
    def version(self) -> str:
        """Its version, as far as it says so."""
        return str(getattr(self.module, "__version__", "unknown"))

    @property
    def program_class(self) -> Any:
        """Its BPF class."""
        return self.module.BPF


def how_to_install() -> str:
    """The command that installs bcc on this distribution; of all distributions on one that is not known."""
    try:
        system = platform.freedesktop_os_release()
    except OSError:
        system = {}
    for name in (system.get("ID", ""), *system.get("ID_LIKE", "").split()):
        if name in _COMMANDS:
            return _COMMANDS[name]
    return ", ".join(dict.fromkeys(_COMMANDS.values()))


def find_bcc() -> Bcc:
    """Loads bcc from the first place that has it. Raises SourceError that says where it was looked for and why not."""
    loaded = sys.modules.get("bcc")
    if loaded is not None and hasattr(loaded, "BPF"):
        return Bcc(loaded, _directory(loaded))
    if named := os.environ.get(VARIABLE):
        return _load(Path(named))
    refused: list[str] = []
    if (found := _importable(refused)) is not None:
        return found
    for directory in _candidates():
        try:
            return _load(directory)
        except SourceError as error:
            refused.append(str(error))
    reasons = "".join(f"; {reason}" for reason in dict.fromkeys(refused))
    raise SourceError(
        f"the probe needs bcc, which was not found: {how_to_install()}; or name its directory in {VARIABLE}{reasons}"
    )


def _directory(module: ModuleType) -> Path:
    return Path(module.__file__ or ".").resolve().parent


def _importable(refused: list[str]) -> Bcc | None:
    """bcc as this interpreter sees it; a package of that name that is another library is passed over."""
    spec = importlib.util.find_spec("bcc")
    if spec is None or not spec.submodule_search_locations:
        return None
    directory = Path(next(iter(spec.submodule_search_locations)))
    try:
        return _load(directory)
    except SourceError as error:
        refused.append(str(error))
        return None


def _candidates() -> list[Path]:
    found = [Path(path) for place in _PLACES for path in sorted(glob.glob(place), reverse=True)]
    if not found:
        command = [_INTERPRETER, "-I", "-c", "import bcc; print(bcc.__path__[0])"]
        try:
            answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        except (OSError, subprocess.SubprocessError):
            return []
        if answer.returncode == 0 and answer.stdout.strip():
            found.append(Path(answer.stdout.strip()))
    return [path for path in found if path.is_dir()]


def _load(directory: Path) -> Bcc:
    """bcc from this directory; nothing is run of one that others can write to, when we are root."""
    try:
        directory = directory.resolve()  # what is looked at is what is loaded, whatever a link says by then
        init = directory / "__init__.py"
        if not init.is_file():
            raise SourceError(f"{directory} holds no Python package")
        if os.geteuid() == 0:
            _check_owner(directory)
    except OSError as error:
        raise SourceError(f"bcc in {directory} cannot be looked at: {error.strerror}") from None
    spec = importlib.util.spec_from_file_location("bcc", init, submodule_search_locations=[str(directory)])
    if spec is None or spec.loader is None:
        raise SourceError(f"{init} cannot be loaded as a Python package")
    module = importlib.util.module_from_spec(spec)
    sys.modules["bcc"] = module
    try:
        with warnings.catch_warnings():  # Python 3.12 warns of an escape in bcc 0.26
            warnings.simplefilter("ignore")
            spec.loader.exec_module(module)
    except (ImportError, OSError, SyntaxError, AttributeError) as error:
        forget()
        raise SourceError(f"bcc in {directory} cannot be loaded: {error}") from None
    if not hasattr(module, "BPF"):
        forget()
        raise SourceError(f"the package bcc in {directory} is another library, not the BPF compiler collection")
    return Bcc(module, directory)


def forget() -> None:
    """Takes bcc out of the loaded modules, so that it is looked for again."""
    for name in [name for name in sys.modules if name == "bcc" or name.startswith("bcc.")]:
        del sys.modules[name]


def _check_owner(package: Path) -> None:
    """Raises SourceError where somebody other than root could have changed what is about to run as root.

    That is every file in the package: modules, bytecode, shared objects, and what links lead to (of folders none: what
    is in those has not been looked at).
    """
    sys.pycache_prefix = None  # bytecode is looked for where it has been looked at
    for path in (package, *package.rglob("*")):
        if path.is_symlink() and path.is_dir():
            raise SourceError(f"bcc in {package} is not used by root: {path} is a link to another folder")
        real = path.resolve()
        for place in (real, *real.parents):
            status = place.stat()
            shared = place != real and status.st_mode & stat.S_ISVTX  # others cannot replace what is root's in there
            if status.st_uid != 0 or (status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not shared):
                raise SourceError(
                    f"bcc in {package} is not used by root: {place} can be written to by somebody else; "
                    f"make it owned by root with mode 755, or name another directory in {VARIABLE}"
                )
