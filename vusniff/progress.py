"""Progress of long work, on standard error and only on a terminal."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

PATIENCE_S = 0.5
"""Nothing is shown for work that takes less."""


@contextlib.contextmanager
def reading(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """Give a function to call with (bytes done, bytes in all), or None where nobody looks."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    progress = Progress(
        TextColumn("reading {task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
    task = progress.add_task(what, total=None)
    started = time.monotonic()

    def advance(done: int, there: int) -> None:
        if not progress.live.is_started and time.monotonic() - started > PATIENCE_S:
            progress.start()
        progress.update(task, completed=done, total=there)

    try:
        yield advance
    finally:
        progress.stop()
