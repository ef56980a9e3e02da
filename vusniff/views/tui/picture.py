"""One screen as an SVG picture, without a terminal: for README, reports and tests."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from vusniff.capture.index import Index
from vusniff.errors import SourceError
from vusniff.timeline import Timeline, read_all
from vusniff.views.tui import names_of
from vusniff.views.tui.app import Room
from vusniff.views.tui.copying import keep


def write_picture(
    paths: Sequence[str],
    target: str,
    size: tuple[int, int],
    at: int | None,
    keys: Sequence[str],
    device: str | None = None,
) -> int:
    """Write the screen with message ``at`` (default: the last) selected, after some keys. Returns the exit code.

    Raises CaptureError for what is no capture, SourceError when the picture cannot be written.
    """
    with Index(list(paths)) as index:
        timeline = Timeline(index, device)
        read_all(timeline)
        if at is not None and not 1 <= at <= len(timeline):
            raise SourceError(f"--at {at}: there are messages 1 to {len(timeline)}")
        svg = asyncio.run(_painted(Room(timeline, names_of(paths)), size, at, [key for key in keys if key]))
    try:
        keep(target, svg)
    except OSError as error:
        raise SourceError(f"{target} cannot be written: {error.strerror}") from error
    return 0


async def _painted(room: Room, size: tuple[int, int], at: int | None, keys: Sequence[str]) -> str:
    async with room.run_test(size=size) as pilot:
        await pilot.pause()
        room.view.go_to((len(room.timeline) if at is None else at) - 1)
        await pilot.pause()
        room.judging.finish()
        await pilot.press(*keys)
        await pilot.pause()
        return room.export_screenshot(title="vusniff")
