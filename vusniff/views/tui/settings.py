"""What a user likes: theme, columns and keys of the terminal view, in ``$XDG_CONFIG_HOME/vusniff/view.json``.

The file is made when a theme or columns are chosen in the view. What is wrong with it is said, and does not keep the
view from opening.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vusniff.files import install
from vusniff.printable import escape
from vusniff.values import dataclass, field, replace

MOST = 1 << 16
"""Bytes of the file that are read."""
MARK = "settings of vusniff view"
"""Stands in every file of ours: no other one is replaced."""
ABOUT = "about"


@dataclass(frozen=True, slots=True)
class ViewSettings:
    """What is set; empty values stand for the defaults."""

    path: Path | None = None
    """Where it is kept; None: nowhere."""
    theme: str = ""
    columns: str = ""
    """Names of columns with blanks between them."""
    keys: Mapping[str, str] = field(default_factory=dict)
    """Action of a key, as `vusniff.views.tui.keys` names it -> keys as Textual names them, with commas."""
    trouble: str = ""
    """What is wrong with the file, in a sentence."""

    def saved(self, *, theme: str | None = None, columns: str | None = None) -> ViewSettings:
        """The same with changes, written to the file. Raises OutputError."""
        made = replace(
            self,
            theme=self.theme if theme is None else theme,
            columns=self.columns if columns is None else columns,
        )
        if made.path is not None:
            values = {ABOUT: MARK, "theme": made.theme, "columns": made.columns, "keys": dict(made.keys)}
            text = json.dumps({name: value for name, value in values.items() if value}, indent=2, ensure_ascii=False)
            install(made.path, text + "\n", 0o600, MARK.encode())
        return made


def default_path() -> Path | None:
    """Where the settings of this user are; None where there is no home."""
    folder = os.environ.get("XDG_CONFIG_HOME", "")
    if folder.startswith("/"):
        return Path(folder) / "vusniff" / "view.json"
    home = os.environ.get("HOME", "")
    return Path(home) / ".config" / "vusniff" / "view.json" if home.startswith("/") else None


def load(path: Path | None) -> ViewSettings:
    """What the file says; the defaults where there is none. Never raises."""
    if path is None:
        return ViewSettings()
    try:
        text = _read(path)
    except FileNotFoundError:
        return ViewSettings(path)
    except PermissionError:  # the view that root opens is shown by another user, who has none here
        return ViewSettings()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return ViewSettings(trouble=escape(f"{path} is not read: {why}"))
    try:
        return _settings(path, json.loads(text))
    except (ValueError, RecursionError) as error:
        return ViewSettings(trouble=escape(f"{path} is not used: {error}"))


def _read(path: Path) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ValueError("it is not a regular file")
        data = os.read(fd, MOST + 1)
    finally:
        os.close(fd)
    if len(data) > MOST:
        raise ValueError(f"it is larger than {MOST} bytes")
    return data.decode("utf-8")


def _settings(path: Path, values: Any) -> ViewSettings:
    if not isinstance(values, dict):
        raise ValueError("it is no JSON object")
    for name in values:
        if name not in (ABOUT, "theme", "columns", "keys"):
            raise ValueError(f"there is no setting {name!r}; there are theme, columns and keys")
    theme, columns, keys = values.get("theme", ""), values.get("columns", ""), values.get("keys", {})
    if not isinstance(theme, str) or not isinstance(columns, str):
        raise ValueError("theme and columns are texts")
    if not isinstance(keys, dict) or not all(isinstance(key, str) and key for key in keys.values()):
        raise ValueError('keys is an object of actions and keys, such as {"quit": "ctrl+x"}')
    return ViewSettings(path, theme, columns, keys)
