"""The bar with phases and findings, exports from the view, and where else a descriptor was passed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from talk import Talk
from test_tui import CAPTURES, QEMU, details_text, notices, opened, screen_text
from test_tui_findings import judged

from vusniff.families.vhost_user.protocol import FrontendRequest as F

pytestmark = pytest.mark.asyncio

OVS = CAPTURES / "qemu-ovs.pcapng"


async def test_the_bar_names_phases_and_marks_findings_and_the_place() -> None:
    async with opened(OVS, size=(120, 40)) as (app, pilot):
        await judged(app, pilot)
        app.view.go_to(0)
        await pilot.press("P")
        await pilot.pause()
        lines = screen_text(app).splitlines()
        (at,) = [number for number, one in enumerate(lines) if one.startswith("█")]
        assert "N" in lines[at]
        assert "┬" in lines[at]
        assert "start" in lines[at - 1]
        await pilot.press("P")
        await pilot.pause()
        assert "█─" not in screen_text(app)


async def test_sessions_side_by_side_are_played_without_phases(tmp_path: Path) -> None:
    talk = Talk(tmp_path / "two.pcapng")
    peers = [talk.connect(path=path) for path in ("/run/vm1.sock", "/run/vm2.sock")]
    for request in (F.GET_FEATURES, F.SET_OWNER):
        for one in peers:
            one.ask(request)
    talk.writer.close()
    async with opened(talk.path) as (app, pilot):
        await pilot.press("home", "P")
        await pilot.pause()
        assert "█───" in screen_text(app)
        assert not app.view.shown.phases


async def test_a_click_on_the_bar_goes_there() -> None:
    async with opened(OVS) as (app, pilot):
        await pilot.press("P")
        await pilot.pause()
        await pilot.click("#scrub", offset=(60, 1))
        await pilot.pause()
        assert app.view.row == 60 * len(app.timeline) // app.scrub.size.width
        await pilot.press("escape")
        assert not app.scrub.display


async def test_playing_shows_the_bar() -> None:
    async with opened(QEMU) as (app, pilot):
        await pilot.press("home", "space")
        assert app.scrub.display
        assert app.playback.playing
        await pilot.press("escape")
        assert not app.playback.playing
        assert app.scrub.display


async def test_what_is_shown_is_written_to_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # every key takes a moment: a name without its folder has few
    async with opened(OVS) as (app, pilot):
        await judged(app, pilot)
        app.limit(app.timeline.rows_of(2), "session 2", 2)
        for ending in (".jsonl", ".txt", ".html", ".md"):
            await pilot.press("ctrl+e")
            await pilot.press(*f"out{ending}", "enter")
            while app.exporting.words:
                await pilot.pause(0.01)
        lines = (tmp_path / "out.jsonl").read_text().splitlines()
        assert [json.loads(line)["number"] for line in lines] == [row + 1 for row in app.timeline.rows_of(2)]
        assert len((tmp_path / "out.txt").read_text().splitlines()) == len(lines)
        assert "<html" in (tmp_path / "out.html").read_text()
        assert (tmp_path / "out.txt").stat().st_mode & 0o777 == 0o600


async def test_an_export_writes_over_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    kept = tmp_path / "kept.txt"
    kept.write_text("mine")
    async with opened(QEMU) as (app, pilot):
        for name in ("kept.txt", "out.unknown", "none/out.txt"):
            await pilot.press("ctrl+e")
            await pilot.press(*name, "enter")
            await pilot.pause()
            assert not app.exporting.words
        assert kept.read_text() == "mine"
        assert len(list(tmp_path.iterdir())) == 1
        assert len(notices(app)) >= 1


async def test_a_descriptor_says_where_else_it_was_passed() -> None:
    async with opened(QEMU) as (app, pilot):
        numbers: dict[str, list[int]] = {}
        for message in app.timeline.messages():
            for descriptor in message.descriptors:
                if message.session == 1 and descriptor.identity:
                    numbers.setdefault(descriptor.identity, []).append(message.number)
        passed = next(found for found in numbers.values() if len(found) > 1)
        app.view.go_to(passed[0] - 1)
        await pilot.press("enter")
        await pilot.pause()
        assert f"also #{passed[1]}" in details_text(app)
        (at,) = [i for i, one in enumerate(app.selected.details.lines) if (one.key or "").startswith("also")]
        app.selected.details.move_to(at)
        await pilot.press("enter")
        await pilot.pause()
        assert app.view.row == passed[1] - 1
