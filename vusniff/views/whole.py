"""Finished captures, read to their end before anything is shown: with progress, and with what the reader noted."""

from __future__ import annotations

import os
from collections.abc import Sequence

from vusniff.analysis.timeline import Timeline, read_all
from vusniff.capture.index import Index
from vusniff.progress import reading, tell


def whole_timeline(paths: Sequence[str], device: str | None) -> Timeline:
    """The timeline of all that these files hold. Raises `CaptureError` for what is not a capture."""
    timeline = Timeline(Index(paths), device)
    with reading(os.fspath(paths[0])) as progress:
        read_all(timeline, progress)
    tell(timeline.index.notes)
    return timeline
