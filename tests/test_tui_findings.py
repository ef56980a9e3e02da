"""Findings in the terminal view: judged in the background, marked, gone to, explained."""

from __future__ import annotations

from pathlib import Path

import pytest
from talk import Talk, u64
from test_tui import CAPTURES, QEMU, RECONNECT, details_text, message, opened, overlay_text, screen_text, written

from vusniff.families.vhost_user.protocol import FrontendRequest as F
from vusniff.views.tui.app import TuiApp
from vusniff.views.tui.screens import LinesScreen

pytestmark = pytest.mark.asyncio


async def judged(app: TuiApp, pilot: object) -> None:
    """Wait until the whole capture is judged and shown."""
    while app.timeline.analysed < len(app.timeline) or app.judging.words:
        await pilot.wait_for_animation()  # type: ignore[attr-defined]
        await pilot.pause(0.01)  # type: ignore[attr-defined]
    await pilot.pause()  # type: ignore[attr-defined]


async def test_findings_are_counted_marked_and_gone_to() -> None:
    async with opened(RECONNECT) as (app, pilot):
        await judged(app, pilot)
        assert "1 warning, 2 notes" in screen_text(app)
        assert list(app.judging.numbers) == [66, 74]
        await pilot.press("full_stop")
        await pilot.pause()
        assert app.view.row == 65
        assert "▸W " in screen_text(app)
        assert ". ! findings" in screen_text(app)
        assert "W warning, front-end: SET_VRING_ENABLE was sent" in details_text(app)
        assert "rule owner-first (Front-end message types)" in details_text(app).replace("\n  ", " ")
        await pilot.press("full_stop")
        await pilot.pause()
        assert app.view.row == 73
        await pilot.press("full_stop")
        assert app.view.row == 65
        await pilot.press("comma")
        assert app.view.row == 73


async def test_the_rule_of_a_finding_is_explained() -> None:
    async with opened(RECONNECT) as (app, pilot):
        await judged(app, pilot)
        await pilot.press("full_stop", "e")
        await pilot.pause()
        assert "SET_VRING_ENABLE: request 18 of the main channel" in overlay_text(app)
        assert "What it demands" in overlay_text(app)
        await pilot.press("escape", "enter")
        await pilot.pause()
        (first,) = [i for i, one in enumerate(app.selected.details.lines) if one.key == "rule owner-first"]
        app.selected.details.move_to(first)
        await pilot.press("e")
        await pilot.pause()
        assert overlay_text(app).startswith("R")
        assert "owner-first: rule" in overlay_text(app).partition("\n")[0]


async def test_the_evidence_of_a_finding_is_a_link(tmp_path: Path) -> None:
    zeros = bytes(8)
    path = written(tmp_path / "size.pcapng", [(0, message(1)), (1, message(15, zeros, 5)), (0, message(2, zeros))])
    async with opened(path) as (app, pilot):
        await judged(app, pilot)
        assert len(app.judging.numbers)
        linked = [finding for finding in app.timeline.findings if len(finding.evidence) > 1]
        assert linked
        finding = linked[0]
        app.view.go_to(finding.number - 1)
        await pilot.press("enter")
        await pilot.pause()
        other = next(number for number in finding.evidence if number != finding.number)
        (at,) = [i for i, one in enumerate(app.selected.details.lines) if one.key == f"rule {finding.rule} #{other}"]
        app.selected.details.move_to(at)
        await pilot.press("enter")
        await pilot.pause()
        assert app.view.row == other - 1


async def test_all_findings_are_listed_and_one_is_picked() -> None:
    async with opened(RECONNECT) as (app, pilot):
        await judged(app, pilot)
        await pilot.press("exclamation_mark")
        await pilot.pause()
        assert isinstance(app.screen, LinesScreen)
        assert "GET_VRING_BASE of vring 0 has num 21922" in overlay_text(app)
        await pilot.press("end", "enter")
        await pilot.pause()
        assert app.view.row == 73


async def test_only_findings_that_are_shown_are_gone_to() -> None:
    async with opened(RECONNECT) as (app, pilot):
        await judged(app, pilot)
        app.limit(app.timeline.rows_of(1), "session 1", 1)
        await pilot.pause()
        before = app.view.row
        await pilot.press("full_stop")
        await pilot.pause()
        assert app.view.row == before
        assert app.view.rows is not None


async def test_without_findings_the_keys_say_so() -> None:
    async with opened(CAPTURES / "qemu-blk.pcapng") as (app, pilot):
        await judged(app, pilot)
        await pilot.press("full_stop", "exclamation_mark")
        await pilot.pause()
        assert not isinstance(app.screen, LinesScreen)
        assert ". ! findings" not in screen_text(app)


async def test_moving_is_possible_while_it_judges() -> None:
    async with opened(QEMU) as (app, pilot):
        await pilot.press("end", "up")
        await pilot.pause()
        assert app.view.row == len(app.timeline) - 2
        await judged(app, pilot)
        assert app.timeline.analysed == len(app.timeline)


async def test_the_view_begins_with_the_verdict_and_its_message(tmp_path: Path) -> None:
    talk = Talk(tmp_path / "left.pcapng")
    peers = talk.connect(comms=("qemu-system-x86", "backend"))
    peers.ask(F.GET_FEATURES)
    told = peers.answer(F.GET_FEATURES, u64(1 << 30))
    peers.close(0)
    talk.writer.close()
    async with opened(talk.path) as (app, pilot):
        await judged(app, pilot)
        while not app.judging.verdicts:
            await pilot.pause(0.01)
        await pilot.pause()
        first = screen_text(app).splitlines()[0]
        assert first.startswith(" Never started: the front-end (qemu-system-x86) left")
        assert f"GET_FEATURES said 0x40000000 (#{told})" in first
        assert app.view.row == told - 1
        assert "w why" in screen_text(app).splitlines()[-1]
        await pilot.press("w")
        await pilot.pause()
        assert "compare the features that are offered" in screen_text(app)
        await pilot.press("escape", "home", "w", "enter")
        await pilot.pause()
        assert app.view.row == told - 1
