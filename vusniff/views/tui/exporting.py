"""Writes what is shown into a file, in slices between keys: the rows that a filter, a session or a vring left."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, BinaryIO

from vusniff.views.tui.reading import SLICE_SECONDS

if TYPE_CHECKING:
    from vusniff.views.export.chosen import Chosen
    from vusniff.views.tui.app import Room

ASKED = "export"
"""What the prompt is for while a file name is typed."""
HINT = "file to write what is shown to: .txt .jsonl .csv .html .md .mmd or .svg"
WAIT_SECONDS = 0.1
"""Between two looks whether everything has been judged."""


def makers() -> dict[str, Callable[[Chosen], Iterable[str]]]:
    """Ending of a file name -> what makes its text."""
    from vusniff.views.export import lines, mermaid, report, svg, webpage

    return {
        ".txt": lines.text,
        ".jsonl": lines.json_lines,
        ".csv": lines.comma_separated,
        ".html": webpage.webpage,
        ".md": report.report,
        ".mmd": mermaid.mermaid,
        ".svg": svg.svg,
    }


class Exporting:
    """One export under way, or none."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.words = ""
        """What is being written."""
        self._texts: Iterator[str] = iter(())
        self._file: BinaryIO | None = None
        self._count = 0

    def begin(self, name: str) -> None:
        """Write what is shown now to a file that is not there yet."""
        room = self.room
        path = os.path.expanduser(name)
        make = makers().get(os.path.splitext(path)[1].lower())
        if self.words:
            room.tell(f"{self.words} first: Esc stops it", "warning")
        elif make is None:
            room.tell(f"{name}: give a {HINT}", "warning")
        else:
            self._open(path, make)

    def _open(self, path: str, make: Callable[[Chosen], Iterable[str]]) -> None:
        from vusniff.views.export.chosen import Chosen

        room = self.room
        try:
            self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")
        except FileExistsError:
            room.tell(f"{path} is there already: name another file", "error")
            return
        except OSError as error:
            room.tell(f"{path} cannot be written: {error.strerror}", "error")
            return
        rows = range(len(room.timeline)) if room.view.rows is None else list(room.view.rows)
        self._count = len(rows)
        self._texts = iter(make(Chosen(room.timeline, rows, [room.named])))
        self.words = f"writing {os.path.basename(path)}"
        self._go_on(path)

    def _go_on(self, path: str) -> None:
        """One more slice; what is wrong with the messages is part of some exports, so all is judged before."""
        room = self.room
        if self._file is None:
            return
        if room.timeline.analysed < len(room.timeline) and not room.live:
            room.set_timer(WAIT_SECONDS, lambda: self._go_on(path))
            return
        deadline = time.monotonic() + SLICE_SECONDS
        try:
            for text in self._texts:
                self._file.write(text.encode("utf-8", "backslashreplace"))
                if time.monotonic() > deadline:
                    room.set_timer(0.001, lambda: self._go_on(path))
                    return
            self._file.close()
        except OSError as error:
            room.tell(f"{path} is not whole: {error.strerror}", "error")
        else:
            room.tell(f"Wrote {self._count:,} message{'' if self._count == 1 else 's'} to {os.path.abspath(path)}")
        self._file, self.words = None, ""
        room.say()

    def stop(self) -> bool:
        """Stop writing; False when nothing is being written."""
        if self._file is None:
            return False
        name = self._file.name
        self._file.close()
        self._file, self.words = None, ""
        self.room.tell(
            f"Stopped: the file is not whole ({name})" if isinstance(name, str) else "Stopped: it is not whole"
        )
        return True
