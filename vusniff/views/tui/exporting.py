"""Writes what is shown into a file, in slices between keys: the rows that a filter, a session or a vring left."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, BinaryIO

from vusniff.errors import ExistsError, OutputError, VusniffError
from vusniff.files import open_output, remove
from vusniff.views.tui.application import Application
from vusniff.views.tui.pace import NEXT_SECONDS
from vusniff.views.tui.prompt import PromptQuestion

if TYPE_CHECKING:
    from vusniff.views.export.chosen import Chosen

WAIT_SECONDS = 0.1
"""Between two looks whether everything has been checked, and between two repaints of how far it is."""
STRETCH_SECONDS = 0.006
"""Work at a stretch: less than elsewhere, because a text that is begun is finished, however long it is."""


Pieces = Iterable[str] | Iterable[bytes]


def makers() -> dict[str, Callable[[Chosen], Pieces]]:
    """Ending of a file name -> what makes its texts. An empty text is a moment to do something else."""
    from vusniff.views.export import annotated, lines, mermaid, report, svg, webpage

    return {
        ".pcapng": annotated.pieces,
        ".txt": lines.text,
        ".jsonl": lines.json_lines,
        ".csv": lines.comma_separated,
        ".html": webpage.webpage,
        ".md": report.report,
        ".mmd": mermaid.mermaid,
        ".svg": svg.svg,
    }


class Exporting:
    """The export under way, if there is one."""

    def __init__(self, app: Application, title: str, ask_to_replace: Callable[[], None]) -> None:
        """``title`` names the capture in what is written. ``ask_to_replace`` is called for a file that is there
        already; `answered` gets what was answered."""
        self.app = app
        self._title = title
        self._ask_to_replace = ask_to_replace
        self._path = ""
        self._wanted = ""
        """The name of a file that is there already, while the user is asked whether to replace it."""
        self._texts: Iterator[str] | Iterator[bytes] = iter(())
        self._file: BinaryIO | None = None
        self._made = False
        """The file was not there before."""
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
        """Replace the file that is there, for ``y`` or ``yes``."""
        if words.lower() in ("y", "yes"):
            self.begin(self._wanted, b"")
        else:
            self.app.announce(f"{self._wanted} stays as it is")

    def begin(self, name: str, replaces: bytes | None = None) -> None:
        """Write what is shown now to a file, in the format of its ending; ``replaces`` as in
        `vusniff.files.open_output`. What is wrong is announced."""
        path = os.path.expanduser(name)
        make = makers().get(os.path.splitext(path)[1].lower())
        if self._file is not None:
            self.app.announce(f"Still {self.words}", "warning")
        elif make is None:
            self.app.announce(f"{name}: give a {PromptQuestion.FILE.value}", "warning")
        else:
            self._open(path, make, replaces)

    def _open(self, path: str, make: Callable[[Chosen], Pieces], replaces: bytes | None) -> None:
        from vusniff.views.export.chosen import Chosen

        app = self.app
        try:
            opened = open_output(path, replaces)
        except ExistsError:
            self._wanted = path
            self._ask_to_replace()
            return
        except OutputError as error:
            app.announce(str(error), "error")
            return
        self._file, self._made = os.fdopen(opened.fd, "wb"), opened.made
        rows = range(len(app.timeline)) if app.view.rows is None else app.view.rows[:]
        self._path, self._chosen = path, Chosen(app.timeline, rows, [self._title])
        self._texts = iter(make(self._chosen))  # type: ignore[assignment]
        self._go_on(self._file)
        app.refresh_top()

    def _go_on(self, file: BinaryIO) -> None:
        """Write one slice, and come again where that is not all. First all is checked: some exports have findings."""
        app = self.app
        if self._file is not file:
            return
        if app.timeline.analysed < len(app.timeline) and not app.live:
            app.later(WAIT_SECONDS, lambda: self._go_on(file))
            return
        began = time.monotonic()
        try:
            for text in self._texts:
                file.write(text if isinstance(text, bytes) else text.encode("utf-8", "backslashreplace"))
                if time.monotonic() - began > STRETCH_SECONDS:
                    if began - self._painted > WAIT_SECONDS:
                        self._painted = began
                        app.refresh_top()
                    app.later(NEXT_SECONDS, lambda: self._go_on(file))
                    return
            file.close()
        except VusniffError as error:
            self.drop()
            app.announce(str(error), "error")
        except OSError as error:
            self.drop()
            app.announce(f"{self._path} could not be written: {error.strerror}", "error")
        else:
            count = len(self._chosen.rows) if self._chosen else 0
            self._file, self._chosen = None, None
            app.announce(f"Wrote {count:,} message{'' if count == 1 else 's'} to {os.path.abspath(self._path)}")
        app.refresh_top()

    def drop(self) -> bool:
        """Give up, and remove a file that was made for it; False when nothing is being written."""
        file, self._file, self._chosen = self._file, None, None
        if file is None:
            return False
        self._texts = iter(())
        if self._made:
            remove(self._path, file.fileno())
        with contextlib.suppress(OSError):  # a full disk: closing the file writes what is left
            file.close()
        return True

    def stop(self) -> bool:
        """Give up, and announce it; False when nothing is being written."""
        stopped = self.drop()
        if stopped:
            self.app.announce(f"Stopped: {self._path} was not finished, and is removed")
        return stopped
