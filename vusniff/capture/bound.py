"""How much of a disk a recording may take. A flood of messages must not fill the disk that all of the host uses.

Owns when a recording stops for that, and the words for it. It must not know what is written, nor how a file ends.

By default a recording stops when less than a twentieth of the file system or 1 GiB is free, whichever is smaller, so
that small file systems can be used too. A size limit
that the user gives replaces that rule if that much is free at the beginning.
"""

from __future__ import annotations

import os
import re
import stat
import sys

SHARE = 20
"""The part of a file system that stays free."""
RESERVE = 1 << 30
"""Bytes that stay free if that part would be larger."""
LOOK = 1 << 20
"""Bytes that are written between two looks at the file system; fewer where the reserve is small."""
SMALLEST = 1 << 16
_SIZE = re.compile(r"(\d{1,15})\s*(?:([KMGT])(?:i?B)?)?", re.IGNORECASE)
_UNITS = "KMGT"


def size_of(words: str) -> int:
    """Bytes of a size such as 500M, 2GiB or 65536; raises ValueError."""
    found = _SIZE.fullmatch(words.strip())
    if found is None:
        raise ValueError(f"{words!r} is not a size: give bytes, or a number with K, M, G or T, such as 500M")
    size = int(found[1]) << 10 * (_UNITS.index(found[2].upper()) + 1 if found[2] else 0)
    if size < SMALLEST:
        raise ValueError(f"{words!r} is too small for a capture: at least 64K")
    return size


class Bound:
    """The limit of one recording. ``fd`` is its open file; ``name`` is the name of that file."""

    def __init__(self, fd: int, name: str, max_size: int | None = None) -> None:
        self._fd = fd
        self._name = name
        self.max_size = max_size
        self._reserve = 0
        if stat.S_ISREG(os.fstat(fd).st_mode):
            there = os.fstatvfs(fd)
            self._reserve = min(RESERVE, there.f_blocks * there.f_frsize // SHARE)
            if max_size is not None and max_size <= there.f_bavail * there.f_frsize:
                self._reserve = 0
        self.step = max(1, min(LOOK, self._reserve // 4)) if self._reserve else sys.maxsize
        """Bytes that may be written before the limit has to be asked again."""

    def room(self, written: int) -> tuple[int, str]:
        """How much more may be written, and what to say when that is too little."""
        room, why = sys.maxsize, ""
        if self.max_size is not None:
            room = self.max_size - written
            why = (
                f"{self._name} has reached --max-size ({_words(self.max_size)}): to record more, start again with "
                "another file or a larger size"
            )
        if self._reserve:
            there = os.fstatvfs(self._fd)
            spare = there.f_bavail * there.f_frsize - self._reserve
            if spare < room:
                room = spare
                why = (
                    f"less than {_words(self._reserve)} would stay free on the file system of {self._name}: to record "
                    "more, free some of it or write elsewhere, and start again"
                )
        return room, why


def _words(size: int) -> str:
    for unit in reversed(range(len(_UNITS))):
        if size >= 1 << 10 * (unit + 1):
            return f"{size / (1 << 10 * (unit + 1)):.3g} {_UNITS[unit]}iB"
    return f"{size} bytes"
