"""Where Wireshark looks for a user's plugins and extcap programs, and what we put there."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from vusniff import files
from vusniff.child import command
from vusniff.errors import OutputError, VusniffError
from vusniff.values import dataclass

LUA_NAME = "vusniff.lua"
EXTCAP_NAME = "vusniff"
_MARK = b"vusniff"
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


def folders(directory: str | None = None, *, common: bool = False) -> Folders:
    """The user's folders as the installed Wireshark names them, those ``common`` to all, or those below ``directory``.

    Raises VusniffError where there is no Wireshark that would name the common ones.
    """
    if directory is not None:
        base = Path(directory).expanduser().absolute()
        return Folders(base / "plugins", base / "extcap")
    told = _told()
    if common:
        return _common(told)
    base = Path.home() / ".local/lib/wireshark"
    plugins = told.get("Personal Lua Plugins", base / "plugins")
    personal, shared = told.get("Personal Extcap path"), told.get("Extcap path")
    if personal is not None:
        return Folders(plugins, personal)
    if shared is None:
        return Folders(plugins, base / "extcap")
    if os.access(shared, os.W_OK):
        return Folders(plugins, shared)
    own = base / "extcap"
    return Folders(
        plugins,
        own,
        f"this Wireshark looks for such programs only in {shared}: "
        f"start it with WIRESHARK_EXTCAP_DIR={own}, or copy the program there",
    )


def _common(told: dict[str, Path]) -> Folders:
    plugins, extcap = told.get("Global Lua Plugins"), told.get("Global Extcap path") or told.get("Extcap path")
    if plugins is None or extcap is None:
        raise VusniffError("no tshark or Wireshark here names its global folders: give one by --directory")
    return Folders(plugins, extcap)


def unread(where: Folders) -> Iterator[str]:
    """Says so when the installed Wireshark does not read the dissector where it was put, and what to do."""
    read = _answer("plugins")
    if read is None or str(where.lua) in read:
        return
    if os.geteuid() == 0:
        yield (
            f"but this Wireshark does not read {where.lua}, because it is run as root, and nothing would be decoded: "
            "install with --global, into the folders of all users, or install and run Wireshark as another user"
        )
    else:
        yield f"but this Wireshark does not read {where.lua}: it was built without Lua, or Lua is switched off"


def _told() -> dict[str, Path]:
    """What ``tshark -G folders`` (or Wireshark itself) says."""
    matches = map(_LINE.match, (_answer("folders") or "").splitlines())
    return {match[1]: Path(match[2].strip()) for match in matches if match}


def _answer(question: str) -> str | None:
    """What Wireshark prints of itself; None where there is none that does."""
    program = shutil.which("tshark") or shutil.which("wireshark")
    if program is None:
        return None
    try:
        return subprocess.run([program, "-G", question], capture_output=True, text=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return None


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
        try:
            files.install(path, text, mode, _MARK)
        except OutputError as error:
            raise OutputError(f"{error}; or name a folder with --directory") from error
        yield f"wrote {path}"
    if where.advice:
        yield where.advice


def uninstall(where: Folders) -> Iterator[str]:
    """Remove both files; says what was done."""
    for path in (where.lua, where.program):
        yield f"removed {path}" if files.uninstall(path, _MARK) else f"there is no {path}"
