"""Exports from inside the view: in small pieces, so that a key never waits for a document, and stopped by Escape."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_tui import opened

from captures import synthetic
from vusniff.analysis.timeline import Timeline, read_all
from vusniff.capture.index import Index
from vusniff.views.export.chosen import Chosen
from vusniff.views.tui.exporting import makers

MESSAGES = 6000
PIECE = 64
"""Messages that may be worked on between two texts."""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A capture that no slice is enough for."""
    path = tmp_path_factory.mktemp("large") / "large.pcapng"
    synthetic.million(path, MESSAGES)
    return path


@pytest.mark.parametrize("ending", sorted(makers()))
def test_between_two_texts_are_few_messages(ending: str, large: Path) -> None:
    with Index(large) as index:
        timeline = Timeline(index)
        read_all(timeline)
        chosen = Chosen(timeline, range(len(timeline)), ["large.pcapng"])
        before = most = 0
        for _ in makers()[ending](chosen):
            most = max(most, chosen.progress.seen - before)
            before = chosen.progress.seen
        assert 0 < most <= PIECE


@pytest.mark.asyncio
async def test_escape_stops_it_and_leaves_no_half_a_file(tmp_path: Path, large: Path) -> None:
    target = tmp_path / "out.jsonl"
    async with opened(large) as (app, _):
        app.judging.finish()
        app.exporting.begin(str(target))
        assert app.exporting.words.startswith("writing out.jsonl")
        assert app.exporting.words.endswith(" %, Esc stops")
        assert target.exists()
        app.action_escape()
        assert not app.exporting.words
        assert not target.exists()
        assert app.view.row is not None
