"""The terminal view: a capture on one screen, which keys explore.

Owns widgets, keys, and the work between keys. It must not know sources, and a part of it must not know the application
(`app`, `parts`), only what `application` lists. Start reading there, then in `parts`. Textual is imported only by the
modules below, when a view is opened.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vusniff.views.held import MessageHolder

FRAMES = 120
"""Repaints a second at most. A key waits for half the time between two on average."""
FIRST_ROWS = 2048
"""Messages read before the first paint."""
COLLECTIONS = (10_000, 4, 500)
"""Arguments of `gc.set_threshold`. A paint leaves a few thousand objects in cycles. A key waits 3 ms while they are
collected, and 40 ms with the thresholds of the other commands."""


def run_tui(
    paths: str | Sequence[str],
    *,
    follow: bool = False,
    device: str | None = None,
    title: str | None = None,
    cut: Callable[[], str | None] = lambda: None,
    on_exit: Callable[[], None] | None = None,
    session: int | None = None,
    holder: MessageHolder | None = None,
) -> int:
    """Show captures until the user leaves; returns the exit code.

    ``follow`` goes on reading files that grow; ``device`` overrides the deduced device type; ``title`` stands on the
    first line instead of the files' names; ``cut`` is asked why no more will come, if that is known; ``on_exit`` is
    called when the terminal is as it was before, also after an error; only ``session`` is shown at first; ``holder``
    holds messages that the user is asked about. Raises CaptureError for a file that is no capture, and for one that can
    no longer be read.
    """
    from vusniff.analysis.timeline import Timeline
    from vusniff.capture.events import KEPT
    from vusniff.capture.index import Index

    files = [paths] if isinstance(paths, str) else list(paths)
    gc.set_threshold(*COLLECTIONS)
    try:
        with Index(files) as index:
            timeline = Timeline(index, device, KEPT if follow else None)
            timeline.update(FIRST_ROWS)
            while session is not None and session > len(timeline.sessions) and not timeline.complete:
                timeline.update()
            os.environ.setdefault("TEXTUAL_FPS", str(FRAMES))  # read by Textual when it is imported
            from vusniff.views.tui import settings
            from vusniff.views.tui.app import TuiApp

            app = TuiApp(timeline, title or names_of(files), follow=follow, cut=cut)
            app.first_session = session
            app.held.holder = holder
            app.settings = settings.load(settings.default_path())
            app.run()
            app.exporting.drop()
            if app.broken is not None:
                raise app.broken
            return app.return_code or 0
    finally:
        if on_exit is not None:
            on_exit()


def names_of(paths: Sequence[str]) -> str:
    """File names for the first line."""
    names = [path.rpartition("/")[2] for path in paths]
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
