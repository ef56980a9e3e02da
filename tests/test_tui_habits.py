"""What people expect of keys: leaving, histories, marks, going too far, finding in a list, sorting, waiting."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_tui import QEMU, RECONNECT, notices, opened, overlay_text, screen_text, state_text
from textual.widgets import Input

from vusniff.analysis.timeline import Timeline, read_all
from vusniff.capture.index import Index
from vusniff.capture.writer import CaptureWriter
from vusniff.views.tui.history import History
from vusniff.views.tui.panes import LinesView
from vusniff.views.tui.rows import Clock

pytestmark = pytest.mark.asyncio


async def test_ctrl_c_ends_what_is_done_and_then_the_view() -> None:
    async with opened(QEMU) as (app, pilot):
        await pilot.press("slash", "x", "ctrl+c")
        assert app.prompt.question is None
        await pilot.press("question_mark", "ctrl+c")
        await pilot.pause()
        assert len(app.screen_stack) == 1
        await pilot.press("ctrl+c")
        await pilot.pause()
        assert not app.is_running


@pytest.mark.parametrize("before", ["slash", "question_mark", "escape"], ids=["prompt", "overlay", "timeline"])
async def test_ctrl_q_leaves_from_anywhere(before: str) -> None:
    async with opened(QEMU) as (app, pilot):
        await pilot.press(before)
        await pilot.pause()
        await pilot.press("ctrl+q")
        await pilot.pause()
        assert not app.is_running


async def test_v_shows_the_story_of_the_pinned_vring() -> None:
    async with opened(QEMU) as (app, pilot):
        app.view.go_to(59)  # about vring 1
        await pilot.pause()
        await pilot.press("left_square_bracket")
        await pilot.pause()
        assert "pinned to vring 0 (Esc unpins)" in str(app.selected.state.border_title)
        await pilot.press("v")
        await pilot.pause()
        assert app.view.words == "vring 0"
        assert "Vring 0  armed, enabled" in state_text(app)


async def test_going_beyond_the_end_says_so() -> None:
    async with opened(QEMU) as (app, pilot):
        await pilot.press("colon", *"99999", "enter")
        await pilot.pause()
        assert notices(app) == ["There is no #99999: this is #119, the last message"]
        assert app.view.row == 118
        await pilot.press("colon", *"0", "enter")
        await pilot.pause()
        assert notices(app) == ["There is no #0: this is #1, the first message"]  # the one before is gone
        await pilot.press("colon", *"999s", "enter")
        await pilot.pause()
        assert notices(app)[0].startswith("The capture lasts ")


async def test_history_leads_back_and_forth() -> None:
    history = History()
    for text in ("a", "b", "a", "c"):
        history.add(text)
    assert history.texts == ["b", "a", "c"]
    history.begin()
    assert [history.step(1, "typed"), history.step(1, "c"), history.step(1, "a"), history.step(1, "b")] == [
        "c",
        "a",
        "b",
        None,
    ]
    assert [history.step(-1, "b"), history.step(-1, "a"), history.step(-1, "c"), history.step(-1, "typed")] == [
        "a",
        "c",
        "typed",
        None,
    ]
    history.begin()
    assert history.step(1, "c") == "a"  # the last one stands in the prompt already


async def test_filters_come_back() -> None:
    async with opened(QEMU) as (app, pilot):
        for text in ("vring.index == 1", "vhost.session == 1"):
            await pilot.press("ampersand")
            app.prompt.value = text
            await pilot.press("enter")
            await pilot.pause()
        await pilot.press("ampersand")
        assert app.prompt.value == "vhost.session == 1"
        await pilot.press("up")
        assert app.prompt.value == "vring.index == 1"
        await pilot.press("down", "escape", "escape", "ampersand")
        assert app.prompt.value == ""
        await pilot.press("up")
        assert app.prompt.value == "vhost.session == 1"
        app.prompt.value = "vring.index == 77"
        await pilot.press("enter")
        await pilot.pause()
        assert "No message is shown: vring.index == 77. Esc shows all" in screen_text(app)


async def test_time_between_two_bookmarks() -> None:
    async with opened(QEMU) as (app, pilot):
        app.view.go_to(49)
        await pilot.press("m")
        app.view.go_to(50)
        await pilot.press("m")
        assert notices(app) == ["#51 is a bookmark, 95.2 ms after #50"]
        while app.view.clock is not Clock.BOOKMARK:
            await pilot.press("t")
        await pilot.pause()
        assert notices(app) == ["Time column: since the bookmark #51"]
        assert "-0.095183" in screen_text(app)
        await pilot.press("m")
        assert app.view.mark == 49


async def test_which_sessions_are_compared_can_be_chosen() -> None:
    async with opened(RECONNECT, QEMU) as (app, pilot):
        app.view.go_to(app.timeline.sessions[1].last - 1)
        await pilot.pause()
        await pilot.press("C")
        await pilot.pause()
        assert "Compare session 2 with" in screen_text(app)
        lines = app.screen.query_one(LinesView)
        assert lines.current is not None
        assert lines.current.key == f"session {app.timeline.sessions[1].previous or 1}"
        await pilot.press("enter")
        await pilot.pause()
        assert "≠" in overlay_text(app)


async def test_a_text_is_found_in_the_help() -> None:
    async with opened(QEMU) as (app, pilot):
        await pilot.press("question_mark", "slash", *"bookmark", "enter")
        await pilot.pause()
        assert isinstance(app.screen.focused, LinesView)
        lines = app.screen.query_one(LinesView)
        first = lines.at
        assert "bookmark" in lines.lines[first].text
        await pilot.press("n")
        assert lines.at > first
        await pilot.press("N")
        assert lines.at == first
        await pilot.press("slash", "escape")
        await pilot.pause()
        assert not app.screen.query_one(Input).display
        assert len(app.screen_stack) == 2
        assert "Colours" in overlay_text(app)


async def test_findings_are_sorted() -> None:
    async with opened(*sorted((QEMU.parent / "trouble").glob("*.pcapng"))) as (app, pilot):
        app.judging.finish()
        await pilot.press("exclamation_mark")
        await pilot.pause()
        by_message = overlay_text(app)
        await pilot.press("s")
        await pilot.pause()
        assert "sort: worst first" in screen_text(app)
        letters = [line[0] for line in overlay_text(app).splitlines() if line[0] in "EWN"]
        assert letters == sorted(letters, key="EWN".index)
        assert by_message != overlay_text(app)


async def test_an_empty_screen_says_what_it_waits_for(tmp_path: Path) -> None:
    path = tmp_path / "empty.pcapng"
    with CaptureWriter(path, source="probe fentry"):
        pass
    async with opened(path, follow=True) as (app, _):
        text = screen_text(app)
        assert "Waiting for messages of vhost-user; attached by fentry on " in text
        assert ", 0 lost" in text
    async with opened(path) as (app, _):
        assert "There is no message in the capture" in screen_text(app)


async def test_what_is_shown_is_saved_as_a_capture(tmp_path: Path) -> None:
    target = tmp_path / "shown.pcapng"
    async with opened(QEMU) as (app, pilot):
        await pilot.press("ampersand")
        app.prompt.value = "vring.index == 1"
        await pilot.press("enter")
        await pilot.pause()
        app.judging.finish()
        shown = [app.timeline.message(row).data for row in app.view.rows or ()]
        app.exporting.begin(str(target))
        while app.exporting.words:
            await pilot.pause()
    with Index(target) as index:
        timeline = Timeline(index)
        read_all(timeline)
        assert [message.data for message in timeline.messages()] == shown
