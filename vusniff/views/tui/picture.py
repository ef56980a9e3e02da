"""One screen as an SVG picture, without a terminal: for README, reports and tests."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from textual.keys import Keys, key_to_character

from vusniff.analysis.timeline import Timeline, read_all
from vusniff.capture.index import Index
from vusniff.errors import SourceError
from vusniff.files import check_output
from vusniff.views.tui import names_of
from vusniff.views.tui.app import TuiApp
from vusniff.views.tui.copying import keep

NAMED = frozenset(key.value for key in Keys)
"""Keys that write nothing, as Textual names them; those that write have the Unicode name of what they write."""
NAMES = "enter, escape, tab, space, up, down, pageup, pagedown, home, end, ctrl+p, comma, full_stop"


def write_picture(
    paths: Sequence[str],
    target: str,
    size: tuple[int, int],
    at: int | None,
    keys: Sequence[str],
    device: str | None = None,
    replaces: bytes | None = None,
) -> int:
    """Write the screen with message ``at`` (default: the last) selected, after some keys. Returns the exit code.

    ``replaces`` as in `vusniff.files.open_output`. Raises CaptureError for what is not a capture, SourceError for a key
    that there is not, OutputError and SourceError when the picture cannot be written.
    """
    keys = [key for key in keys if key]
    for key in keys:
        if len(key) > 1 and key not in NAMED and key_to_character(key) is None:
            raise SourceError(f"--keys: there is no key {key!r}; give characters or names: {NAMES}")
    check_output(target, replaces)
    with Index(list(paths)) as index:
        timeline = Timeline(index, device)
        read_all(timeline)
        if at is not None and not 1 <= at <= len(timeline):
            raise SourceError(f"--at {at}: there are messages 1 to {len(timeline)}")
        svg = asyncio.run(_painted(TuiApp(timeline, names_of(paths)), size, at, keys))
    try:
        keep(target, svg, replaces)
    except OSError as error:
        raise SourceError(f"{target} cannot be written: {error.strerror}") from error
    return 0


async def _painted(app: TuiApp, size: tuple[int, int], at: int | None, keys: Sequence[str]) -> str:
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        app.view.go_to((len(app.timeline) if at is None else at) - 1)
        await pilot.pause()
        app.judging.finish()
        await pilot.press(*keys)
        await pilot.pause()
        return app.export_screenshot(title="vusniff")
