"""Where Wireshark looks for a user's plugins and extcap programs, and what we put there."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vusniff import files
from vusniff.child import command
from vusniff.errors import OutputError, VusniffError

LUA_NAME = "vusniff.lua"
EXTCAP_NAME = "vusniff"
_MARK = "vusniff"
"""Stands in every file of ours, and in hardly any other of these names."""
_LINE = re.compile(r"^([^:]+):\s+(/.*)$")


@dataclass(frozen=True, slots=True)
class Folders:
    """The folders of one installation."""

    plugins: Path
    extcap: Path
    advice: str = ""
    """What has to be done so that Wireshark finds ``extcap``; empty where it does by itself."""

    @property
    def lua(self) -> Path:
        """The dissector."""
        return self.plugins / LUA_NAME

    @property
    def program(self) -> Path:
        """The extcap program."""
        return self.extcap / EXTCAP_NAME


def folders(directory: str | None = None) -> Folders:
    """The user's folders as the installed Wireshark names them, or those below ``directory``."""
    if directory is not None:
        base = Path(directory).expanduser().absolute()
        return Folders(base / "plugins", base / "extcap")
    told = _told()
    base = Path.home() / ".local/lib/wireshark"
    plugins = told.get("Personal Lua Plugins", base / "plugins")
    personal, common = told.get("Personal Extcap path"), told.get("Extcap path")
    if personal is not None:
        return Folders(plugins, personal)
    if common is None:
        return Folders(plugins, base / "extcap")
    if os.access(common, os.W_OK):
        return Folders(plugins, common)
    own = base / "extcap"
    return Folders(
        plugins,
        own,
        f"this Wireshark looks for such programs only in {common}: "
        f"start it with WIRESHARK_EXTCAP_DIR={own}, or copy the program there",
    )


def _told() -> dict[str, Path]:
    """What ``tshark -G folders`` (or Wireshark itself) says."""
    program = shutil.which("tshark") or shutil.which("wireshark")
    if program is None:
        return {}
    try:
        done = subprocess.run([program, "-G", "folders"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return {}
    matches = map(_LINE.match, done.stdout.splitlines())
    return {match[1]: Path(match[2].strip()) for match in matches if match}


def wrapper() -> str:
    """The extcap program: this Python runs `vusniff.wireshark.extcap`, with this installation's modules only."""
    return (
        "#!/bin/sh\n"
        '# Live capture for Wireshark by vusniff; written by "vusniff wireshark install".\n'
        f'exec {shlex.join(command("extcap"))} "$@"\n'
    )


def install(where: Folders, lua: str) -> Iterator[str]:
    """Write both files; says what was done. Raises VusniffError for what cannot be written."""
    for path, text, mode in ((where.lua, lua, 0o644), (where.program, wrapper(), 0o755)):
        _refuse_foreign(path)
        try:
            files.install(path, text, mode)
        except OutputError as error:
            raise OutputError(f"{error}; or name a folder with --directory") from error
        yield f"wrote {path}"
    if where.advice:
        yield where.advice


def uninstall(where: Folders) -> Iterator[str]:
    """Remove both files; says what was done."""
    for path in (where.lua, where.program):
        _refuse_foreign(path)
        try:
            path.unlink()
        except FileNotFoundError:
            yield f"there is no {path}"
        except OSError as error:
            raise VusniffError(f"cannot remove {path}: {error.strerror}") from error
        else:
            yield f"removed {path}"


def _refuse_foreign(path: Path) -> None:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    if _MARK not in text:
        raise VusniffError(f"{path} is not from vusniff: move it away first")
