"""The filter of the terminal view: typed, completed, refused, applied while the capture grows, and taken away."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from test_tui import Opened, message, screen_text, u64, written
from textual.pilot import Pilot
from textual.screen import Screen

from captures import synthetic
from vusniff.analysis.timeline import Timeline, read_all
from vusniff.capture.index import Index
from vusniff.capture.writer import CaptureWriter
from vusniff.filter import compile_filter
from vusniff.record import Connection, End, Frame
from vusniff.views.tui.app import TuiApp
from vusniff.views.tui.bars import Top
from vusniff.views.tui.prompt import Prompt

pytestmark = pytest.mark.asyncio


@asynccontextmanager
async def opened(path: Path, size: tuple[int, int] = (120, 40), follow: bool = False) -> AsyncIterator[Opened]:
    with Index([path]) as index:
        timeline = Timeline(index)
        read_all(timeline)
        app = TuiApp(timeline, path.name, follow=follow)
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            yield app, pilot


@pytest.fixture
def every(tmp_path: Path) -> Path:
    path = tmp_path / "every.pcapng"
    synthetic.every(path)
    return path


async def typed(pilot: Pilot[int], text: str, *keys: str) -> None:
    """A filter, typed into its prompt."""
    await pilot.press("ampersand")
    pilot.app.query_one(Prompt).value = text
    pilot.app.query_one(Prompt).cursor_position = len(text)
    await pilot.pause()
    for key in keys:
        await pilot.press(key)
    await pilot.pause()


async def until(pilot: Pilot[int], fact: Callable[[], bool]) -> None:
    for _ in range(500):
        if fact():
            return
        await pilot.pause(0.01)
    raise AssertionError("it did not come true")


def expected(app: TuiApp, text: str) -> list[int]:
    return list(compile_filter(text).rows(app.timeline))


@pytest.mark.parametrize("text", ["vring.index == 1", "vhost.request == SET_OWNER", "vhost.reply == 1 && !fd.kind"])
async def test_only_what_passes_is_shown(every: Path, text: str) -> None:
    async with opened(every) as (app, pilot):
        await typed(pilot, text, "enter")
        await until(pilot, lambda: app.filtering.words == "")
        assert list(app.view.rows or ()) == expected(app, text) != []
        assert f"{text[:39]}" in app.query_one(Top).words[1]
        assert f"{len(expected(app, text))} of {len(app.timeline)} messages" in app.query_one(Top).words[1]
        assert not app.query_one(Prompt).display
        assert not app.completing.hints.display
        await pilot.press("escape")
        assert app.view.rows is None
        assert app.filtering.text == ""


async def test_findings_are_worked_out_first(every: Path) -> None:
    async with opened(every) as (app, pilot):
        await typed(pilot, "finding.severity >= warning", "enter")
        await until(pilot, lambda: app.filtering.words == "")
        assert list(app.view.rows or ()) == expected(app, "finding.severity >= warning") != []


async def test_the_place_of_an_error_is_marked_and_said(every: Path) -> None:
    async with opened(every, (80, 24)) as (app, pilot):
        await typed(pilot, "vhost.reply == 1 && vring.indx == 3 ")
        assert app.completing.hints.text.startswith("column 21: there is no field vring.indx")
        assert "column 21: there is no field vring.indx" in screen_text(app)
        marked = [segment.text for segment in app.query_one(Prompt).render_line(0) if marks(segment.style)]
        assert "".join(marked) == "vring.indx"
        await pilot.press("enter")
        assert app.query_one(Prompt).display, "a filter that is wrong is not applied"
        assert app.view.rows is None
        assert app.query_one(Prompt).cursor_position == 20
        await pilot.press("escape")
        assert not app.query_one(Prompt).display


def marks(style: object) -> bool:
    return bool(getattr(style, "underline", False)) and bool(getattr(style, "reverse", False))


async def test_tab_completes_fields_and_values(every: Path) -> None:
    async with opened(every) as (app, pilot):
        await typed(pilot, "vhost.reques")
        assert "vhost.request" in app.completing.hints.text
        await pilot.press("tab")
        assert app.query_one(Prompt).value == "vhost.request"
        await pilot.press(*" == SET_VRING_E")
        assert "SET_VRING_ENABLE" in app.completing.hints.text
        await pilot.press("tab", "tab")
        second = app.query_one(Prompt).value
        await pilot.press("shift+tab")
        first = app.query_one(Prompt).value
        assert {first, second} < {f"vhost.request == SET_VRING_{word}" for word in ("ENABLE", "ERR", "ENDIAN")}
        assert first != second
        await pilot.press("enter")
        await until(pilot, lambda: app.filtering.words == "")
        assert list(app.view.rows or ()) == expected(app, first) != []


async def test_tab_is_the_next_pane_elsewhere(every: Path) -> None:
    async with opened(every) as (app, pilot):
        await pilot.press("tab")
        assert app.focused is not app.view
        await pilot.press("slash")
        assert app.focused is app.query_one(Prompt)
        assert not app.completing.hints.display


async def test_the_key_offers_the_filter_that_is_applied(every: Path) -> None:
    async with opened(every) as (app, pilot):
        await typed(pilot, "vhost.reply == 1", "enter")
        await pilot.press("ampersand")
        assert app.query_one(Prompt).value == "vhost.reply == 1"
        app.query_one(Prompt).value = ""
        await pilot.press("enter")
        assert app.view.rows is None


async def test_other_limits_take_the_filter_away(every: Path) -> None:
    async with opened(every) as (app, pilot):
        await typed(pilot, "vhost.reply == 1", "enter")
        app.limit(app.timeline.rows_of(2), "session 2", 2)
        await pilot.pause()
        assert app.filtering.text == ""
        assert app.view.rows == app.timeline.rows_of(2)


async def test_the_selected_message_stays_selected(every: Path) -> None:
    async with opened(every) as (app, pilot):
        row = expected(app, "vhost.reply == 1")[10]
        app.view.go_to(row)
        await typed(pilot, "vhost.reply == 1", "enter")
        await until(pilot, lambda: app.filtering.words == "")
        assert app.view.row == row


async def test_a_growing_capture_is_filtered_on(tmp_path: Path) -> None:
    path = tmp_path / "live.pcapng"
    with CaptureWriter(path, source="test", order="little") as writer:
        connection: Connection = writer.open("/run/live.sock", (End(1), End(2)), 1)
        writer.frame(Frame(connection.id, 0, 1_000, message(3)))
        writer.flush()
        async with opened(path, follow=True) as (app, pilot):
            await typed(pilot, "vhost.mtu > 1000", "enter")
            for number, mtu in enumerate((1500, 500, 9000)):
                writer.frame(Frame(connection.id, 0, 2_000 + number, message(20, u64(mtu))))
            writer.flush()
            await until(pilot, lambda: list(app.view.rows or ()) == [1, 3])
            assert app.view.virtual_size.height == 2


async def test_a_filter_for_such_messages_is_copied(every: Path) -> None:
    async with opened(every) as (app, pilot):
        for row in (0, 60, len(app.timeline) - 1):
            app.view.go_to(row)
            await pilot.press("c")
            assert row in expected(app, app.clipboard)


async def test_an_empty_result_is_said(tmp_path: Path) -> None:
    path = written(tmp_path / "one.pcapng", [(0, message(3))])
    async with opened(path) as (app, pilot):
        await typed(pilot, "vhost.request == SET_MEM_TABLE", "enter")
        assert app.view.length == 0
        assert "0 of 1 message" in app.query_one(Top).words[1]
        assert "vhost.request == SET_MEM_TABLE" in screen_text(app)


async def test_nothing_is_done_later_when_the_view_has_lost_its_parts(
    every: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A filter that goes on with a capture that grows has a timer, and it may fire while the view is being left."""
    waiting: list[Callable[[], None]] = []
    without_top: list[bool] = []

    def gone(screen: Screen[object]) -> None:
        without_top.append(not screen.query(Top))
        waiting[0]()

    monkeypatch.setattr(Screen, "on_unmount", gone, raising=False)
    async with opened(every) as (app, _):
        monkeypatch.setattr(app, "set_timer", lambda _, act: waiting.append(act))
        app.later(1, app.refresh_top)
    assert without_top == [True]
