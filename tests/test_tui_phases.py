"""Phases as headings of the timeline, folding, and runs of the same request as one row."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from talk import Talk, eventfd, u32, u64
from test_tui import CAPTURES, QEMU, RECONNECT, message, opened, screen_text, state_text, written

from vusniff.analysis.timeline import Timeline, read_all
from vusniff.capture.index import Index
from vusniff.families.phase import Phase, PhaseKind
from vusniff.families.vhost_user.protocol import FrontendRequest as F
from vusniff.views.tui.repeats import Repeats
from vusniff.views.tui.sections import Sections, fold_of

OVS = CAPTURES / "qemu-ovs.pcapng"


@given(st.lists(st.integers(0, 6), max_size=8), st.integers(0, 5), st.sets(st.integers(0, 7)))
def test_lines_and_positions_lead_to_each_other(sizes: list[int], before: int, chosen: set[int]) -> None:
    phases, first = [], before + 1
    for size in sizes:
        phases.append((1, Phase(PhaseKind.START, first, first + size - 1, size, first, first)))
        first += size
    folded = {fold_of(*phases[number]) for number in chosen if number < len(phases)}
    total = before + sum(sizes)
    sections = Sections(phases, None, total, folded)
    lines = [line for line in range(sections.count) if sections.heading(line) is None]
    shown = [sections.position(line) for line in lines]
    hidden = {
        row
        for session, phase in phases
        if fold_of(session, phase) in folded
        for row in range(phase.first - 1, phase.last)
    }
    assert shown == [row for row in range(total) if row not in hidden]
    assert [sections.line(row) for row in shown] == lines
    for row in hidden:
        heading = sections.heading(sections.line(row))
        assert heading is not None
        assert heading.folded
        assert heading.first <= row < heading.first + heading.length


def test_without_phases_a_line_is_a_position() -> None:
    sections = Sections((), None, 5, frozenset())
    assert sections.count == 5
    assert [sections.position(line) for line in range(5)] == [sections.line(row) for row in range(5)] == list(range(5))


@given(st.lists(st.sampled_from([1, 3, 18]), max_size=40), st.integers(1, 40), st.sets(st.integers(0, 40)))
def test_folded_repeats_stand_for_every_row_once(requests: list[int], cut: int, begins: set[int]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        path = written(Path(name) / "runs.pcapng", [(0, message(code, bytes(8))) for code in requests])
        with Index([path]) as index:
            timeline = Timeline(index)
            read_all(timeline)
            for base in (None, range(0, len(requests), 2)):
                repeats = Repeats(timeline, base, begins)
                if base is None:  # in two pieces
                    repeats.look(min(cut, len(requests)))
                assert repeats.run(60)
                rows = list(range(len(requests)) if base is None else base)
                stood: list[int] = []
                for position, row in enumerate(repeats.rows):
                    run = [one for one in rows if row <= one <= repeats.last_of(position)]
                    assert len({requests[one] for one in run}) == 1
                    assert not begins.intersection(run[1:])
                    assert repeats.counts[position] == (len(run) if len(run) > 1 else 0)
                    stood += run
                assert stood == rows


@pytest.mark.asyncio
async def test_a_run_ends_where_a_phase_begins(tmp_path: Path) -> None:
    """SET_STATUS 0 announces a stop; it has a row of its own, and the cursor on it selects it."""
    talk = Talk(tmp_path / "status.pcapng")
    peers = talk.connect()
    peers.ask(F.GET_FEATURES)
    peers.ask(F.SET_FEATURES, u64(1 << 30))
    peers.ask(F.SET_VRING_NUM, u32(0, 256))
    peers.ask(F.SET_VRING_KICK, u64(0), eventfd(5))
    for status in (1, 3, 11, 15, 0):
        last = peers.ask(F.SET_STATUS, u64(status))
        talk.now += 10**9 if status == 15 else 0
    peers.ask(F.GET_VRING_BASE, u32(0, 0))
    talk.writer.close()
    async with opened(talk.path) as (app, pilot):
        await pilot.press("R")
        await pilot.pause()
        stop = next(phase for _, phase in app.view.shown.phases if phase.kind is PhaseKind.STOP)
        assert stop.first == last
        line = app.view.shown.line_of(last - 1)
        assert app.view.shown.row_on(line) == last - 1
        app.view.move_to(line)
        await pilot.pause()
        assert f"State after #{last}" in (app.selected.state.border_title or "")
        assert "x4 to" in screen_text(app)


@pytest.mark.asyncio
async def test_phases_are_headings_and_fold() -> None:
    async with opened(OVS) as (app, pilot):
        app.view.go_to(47)
        await pilot.pause()
        assert "session 1: start, #44 to #64" in screen_text(app)
        lines = app.view.count
        await pilot.press("o")
        await pilot.pause()
        assert "+ session 1: start, #44 to #64" in screen_text(app)
        assert "21 rows folded" in screen_text(app)
        assert app.view.count == lines - 21
        assert app.view.row == 43
        assert app.selected.state.border_title == "State after #44: * is what it changed"
        await pilot.press("enter")
        assert app.view.count == lines
        await pilot.press("O")
        await pilot.pause()
        assert app.view.count == len(app.view.shown.phases)
        await pilot.press("O")
        assert app.view.count == lines


@pytest.mark.asyncio
async def test_a_click_on_a_heading_folds_it() -> None:
    async with opened(QEMU) as (app, pilot):
        lines = app.view.count
        (line,) = [one for one in range(10) if (found := app.view.shown.heading(one)) and found.length]
        await pilot.click("#timeline", offset=(20, line))
        await pilot.pause()
        assert app.view.count < lines
        await pilot.click("#timeline", offset=(20, line))
        await pilot.pause()
        assert app.view.count == lines


@pytest.mark.asyncio
async def test_going_to_a_folded_message_unfolds_it() -> None:
    async with opened(OVS) as (app, pilot):
        await pilot.press("O", "R")
        await pilot.pause()
        await pilot.press(*":100", "enter")
        await pilot.pause()
        assert app.view.row == 99
        assert app.view.shown.heading(app.view.cursor) is None
        assert "State after #100" in (app.selected.state.border_title or "")


@pytest.mark.asyncio
async def test_from_phase_to_phase() -> None:
    async with opened(OVS) as (app, pilot):
        app.view.go_to(50)
        await pilot.press("left_curly_bracket")
        heading = app.view.shown.heading(app.view.cursor)
        assert heading is not None
        assert heading.phase.first == 44
        await pilot.press("right_curly_bracket")
        following = app.view.shown.heading(app.view.cursor)
        assert following is not None
        assert following.phase.kind is PhaseKind.RUNNING


@pytest.mark.asyncio
async def test_a_session_and_a_filter_have_their_own_headings() -> None:
    async with opened(RECONNECT) as (app, pilot):
        assert "session 1: " in screen_text(app)
        app.limit(app.timeline.rows_of(2), "session 2", 2)
        await pilot.pause()
        assert all(session == 2 for session, _ in app.view.shown.phases)
        assert len(app.view.shown.phases) > 2
        await pilot.press("ampersand", *"vring.index==1", "enter")
        await pilot.pause()
        assert app.view.shown.phases == ()
        assert app.view.count == app.view.length
        await pilot.press("o")
        await pilot.press("escape")
        await pilot.pause()
        assert app.view.shown.phases


@pytest.mark.asyncio
async def test_repeats_are_one_row() -> None:
    async with opened(RECONNECT) as (app, pilot):
        lines = app.view.count
        app.view.go_to(65)
        await pilot.press("R")
        await pilot.pause()
        assert app.view.count < lines
        assert "x8 to #73: vring 0 disabled" in screen_text(app)
        await pilot.press("R")
        await pilot.pause()
        assert app.view.count == lines
        assert "vring 7 disabled" in screen_text(app)


@pytest.mark.asyncio
async def test_playing_goes_through_what_is_folded() -> None:
    async with opened(OVS) as (app, pilot):
        await pilot.press("O", "home")
        for _ in range(10):
            await pilot.press("greater_than_sign")
        await pilot.press("space")
        while (app.view.row or 0) < 43:
            await pilot.pause(0.02)
        assert app.view.shown.heading(app.view.cursor) is not None
        assert "Vrings" in state_text(app)


@pytest.mark.asyncio
async def test_sessions_side_by_side_have_no_headings() -> None:
    async with opened(OVS, RECONNECT) as (app, pilot):
        sessions = len(app.timeline.sessions)
        assert sessions == 4
        app.dividing.begin()
        await pilot.pause()
        await pilot.press("o")
        await pilot.pause()
        assert bool(app.view.shown.phases) is not app.dividing.side_by_side
