"""What is said beside the output, on standard error: notes on files, and progress of long work on a terminal."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from vusniff import terminal

if TYPE_CHECKING:
    from rich.console import RenderableType

PATIENCE_S = 0.5
"""Nothing is shown for work that takes less."""


class Bar:
    """What shows how far some work is."""

    def __init__(self, what: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        from vusniff.printable import cell

        self._progress = Progress(
            TextColumn("reading {task.description}", markup=False),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._progress.add_task(cell(what), total=None)
        self._started = time.monotonic()

    def __call__(self, done: int, there: int) -> None:
        """So many bytes are done, of so many in all."""
        if not self._progress.live.is_started and time.monotonic() - self._started > PATIENCE_S:
            self._progress.start()
        self._progress.update(self._task, completed=done, total=there)

    def __rich__(self) -> RenderableType:
        """What is drawn."""
        return self._progress.get_renderable()

    def pause(self) -> None:
        """Out of the way of what is written to the same terminal, until there is more progress."""
        self._progress.stop()


class Count:
    """What shows how many of some things are done, and which one is at work."""

    def __init__(self, what: str, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn()
        self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
        self._what = what
        self._task = self._progress.add_task(what, total=total)

    def __call__(self, name: str, done: int) -> None:
        """So many are done, and this one is next."""
        from vusniff.printable import cell

        if not self._progress.live.is_started:
            self._progress.start()
        self._progress.update(self._task, completed=done, description=f"{self._what} {cell(name)}".rstrip())

    def pause(self) -> None:
        """Out of the way of what is written to the same terminal, until there is more progress."""
        self._progress.stop()


@contextlib.contextmanager
def counting(what: str, total: int) -> Iterator[Count | None]:
    """Give what to call with (name of the next, number done), or None where nobody looks."""
    if not sys.stderr.isatty():
        yield None
        return
    count = Count(what, total)
    try:
        yield count
    finally:
        count.pause()


@contextlib.contextmanager
def reading(what: str) -> Iterator[Bar | None]:
    """Give what to call with (bytes done, bytes in all), or None where nobody looks."""
    if not sys.stderr.isatty():
        yield None
        return
    bar = Bar(what)
    try:
        yield bar
    finally:
        bar.pause()


def tell(notes: Iterable[str]) -> None:
    """Say what of the files that were read was skipped, cut or damaged."""
    terminal.flush()
    terminal.say(*notes)
