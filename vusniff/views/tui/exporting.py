"""Writes what is shown into a file, in slices between keys: the rows that a filter, a session or a vring left."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, BinaryIO

from vusniff.errors import ExistsError, OutputError
from vusniff.files import open_output, remove

if TYPE_CHECKING:
    from vusniff.views.export.chosen import Chosen
    from vusniff.views.tui.app import Room

ASKED, REPLACE = "export", "replace"
"""What the prompt is for: while a file name is typed, and while somebody is asked whether to replace that file."""
REPLACE_HINT = "there is such a file already: y and Enter replace it, anything else leaves it"
HINT = "file to write what is shown to: .txt .jsonl .csv .html .md .mmd or .svg"
WAIT_SECONDS = 0.1
"""Between two looks whether everything has been judged, and between two repaints of how far it is."""
STRETCH_SECONDS = 0.006
"""Work at a stretch: less than elsewhere, since a text that is begun is finished, however long it is."""


def makers() -> dict[str, Callable[[Chosen], Iterable[str]]]:
    """Ending of a file name -> what makes its texts; an empty one is a moment to do something else."""
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
        self._path = ""
        self._wanted = ""
        """The name of a file that is there already, while somebody is asked whether to replace it."""
        self._texts: Iterator[str] = iter(())
        self._file: BinaryIO | None = None
        self._made = False
        self._chosen: Chosen | None = None
        self._painted = 0.0

    @property
    def words(self) -> str:
        """What is being written, and how far it is; empty when nothing is."""
        if self._file is None or self._chosen is None:
            return ""
        progress = self._chosen.progress
        far = f" {100 * progress.seen // progress.of} %" if progress.of else ""
        return f"writing {os.path.basename(self._path)}{far}, Esc stops"

    def answered(self, words: str) -> None:
        """Whether to replace the file that is there."""
        if words.lower() in ("y", "yes"):
            self.begin(self._wanted, b"")
        else:
            self.room.tell(f"{self._wanted} stays as it is")

    def begin(self, name: str, replaces: bytes | None = None) -> None:
        """Write what is shown now to a file; ``replaces`` as in `vusniff.files.open_output`."""
        room = self.room
        path = os.path.expanduser(name)
        make = makers().get(os.path.splitext(path)[1].lower())
        if self._file is not None:
            room.tell(f"Still {self.words}", "warning")
        elif make is None:
            room.tell(f"{name}: give a {HINT}", "warning")
        else:
            self._open(path, make, replaces)

    def _open(self, path: str, make: Callable[[Chosen], Iterable[str]], replaces: bytes | None) -> None:
        from vusniff.views.export.chosen import Chosen

        room = self.room
        try:
            opened = open_output(path, replaces)
        except ExistsError:
            self._wanted = path
            room.finder.ask(REPLACE)
            return
        except OutputError as error:
            room.tell(str(error), "error")
            return
        self._file, self._made = os.fdopen(opened.fd, "wb"), opened.made
        rows = range(len(room.timeline)) if room.view.rows is None else room.view.rows[:]
        self._path, self._chosen = path, Chosen(room.timeline, rows, [room.named])
        self._texts = iter(make(self._chosen))
        self._go_on(self._file)
        room.say()

    def _go_on(self, file: BinaryIO) -> None:
        """One more slice; what is wrong with the messages is part of some exports, so all is judged before."""
        room = self.room
        if self._file is not file:
            return
        if room.timeline.analysed < len(room.timeline) and not room.live:
            room.set_timer(WAIT_SECONDS, lambda: self._go_on(file))
            return
        began = time.monotonic()
        try:
            for text in self._texts:
                file.write(text.encode("utf-8", "backslashreplace"))
                if time.monotonic() - began > STRETCH_SECONDS:
                    if began - self._painted > WAIT_SECONDS:
                        self._painted = began
                        room.say()
                    room.set_timer(0.001, lambda: self._go_on(file))
                    return
            file.close()
        except OSError as error:
            self.drop()
            room.tell(f"{self._path} could not be written: {error.strerror}", "error")
        else:
            count = len(self._chosen.rows) if self._chosen else 0
            self._file, self._chosen = None, None
            room.tell(f"Wrote {count:,} message{'' if count == 1 else 's'} to {os.path.abspath(self._path)}")
        room.say()

    def drop(self) -> bool:
        """Give up, and remove what there is of the file; False when nothing is being written."""
        file, self._file, self._chosen = self._file, None, None
        if file is None:
            return False
        self._texts = iter(())
        if self._made:
            remove(self._path, file.fileno())
        with contextlib.suppress(OSError):  # a full disk: closing it writes what is left
            file.close()
        return True

    def stop(self) -> bool:
        """Escape; False when nothing is being written."""
        stopped = self.drop()
        if stopped:
            self.room.tell(f"Stopped: {self._path} was not finished, and is removed")
        return stopped
