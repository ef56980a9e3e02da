"""What the view remembers: theme, columns, keys; and columns and values that are wider than the screen."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from test_tui import QEMU, notices, screen_text

from vusniff.analysis.timeline import Timeline, read_all
from vusniff.capture.index import Index
from vusniff.errors import OutputError
from vusniff.views.tui.app import TuiApp
from vusniff.views.tui.rows import ALL_COLUMNS, GUTTER, RowColumn, columns, columns_of
from vusniff.views.tui.settings import MARK, MOST, ViewSettings, default_path, load

pytestmark = pytest.mark.asyncio


def app_with(settings: ViewSettings) -> TuiApp:
    timeline = Timeline(Index(QEMU))
    read_all(timeline)
    app = TuiApp(timeline, "x")
    app.settings = settings
    return app


async def test_columns_and_theme_are_remembered(tmp_path: Path) -> None:
    path = tmp_path / "vusniff" / "view.json"
    async with app_with(ViewSettings(path)).run_test(size=(120, 40)) as pilot:
        app = pilot.app
        assert isinstance(app, TuiApp)
        assert not path.exists()
        app.theme = "nord"
        await pilot.pause()
        await pilot.press("K")
        assert app.prompt.value == " ".join(ALL_COLUMNS)
        app.prompt.value = "request, values, number"
        await pilot.press("enter")
        await pilot.pause()
        assert " request                    values" in screen_text(app)
        assert "seconds" not in screen_text(app).splitlines()[2]
        await pilot.press("K")
        app.prompt.value = "number colour"
        await pilot.press("enter")
        assert notices(app)[0].startswith("there is no column 'colour'; there are number, time")
    values = json.loads(path.read_text())
    assert (values["theme"], values["columns"], values["about"]) == ("nord", "request values number", MARK)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    async with app_with(load(path)).run_test(size=(120, 40)) as pilot:
        app = pilot.app
        assert isinstance(app, TuiApp)
        assert app.theme == "nord"
        assert list(app.view.columns) == [RowColumn.REQUEST, RowColumn.VALUES, RowColumn.NUMBER]


async def test_keys_can_be_chosen() -> None:
    async with app_with(ViewSettings(keys={"features": "f9"})).run_test(size=(120, 40)) as pilot:
        app = pilot.app
        await pilot.press("F")
        await pilot.pause()
        assert len(app.screen_stack) == 1
        await pilot.press("f9")
        await pilot.pause()
        assert len(app.screen_stack) == 2
        await pilot.press("escape", "question_mark")
        await pilot.pause()
        assert isinstance(app, TuiApp)
        assert "f9" in "\n".join(line.text for line in app.screen.query_one("#lines").lines)  # type: ignore[attr-defined]


async def test_what_is_wrong_with_settings_is_said_and_not_used(tmp_path: Path) -> None:
    settings = ViewSettings(tmp_path / "x", "no such theme", "number nothing", {"no such action": "x"})
    async with app_with(settings).run_test(size=(120, 40)) as pilot:
        app = pilot.app
        assert isinstance(app, TuiApp)
        (said,) = notices(app)
        assert "there is no theme 'no such theme'" in said
        assert "there is no column 'nothing'" in said
        assert app.view.columns == ALL_COLUMNS


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "Expecting"),
        ("[]", "it is no JSON object"),
        ('{"themes": "x"}', "there is no setting 'themes'"),
        ('{"theme": 1}', "theme and columns are texts"),
        ('{"keys": {"quit": 1}}', "keys is an object"),
        ('{"keys": []}', "keys is an object"),
        ("[" * 100_000, "larger than"),
    ],
    ids=lambda value: str(value)[:12],
)
async def test_a_file_that_is_no_settings(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "view.json"
    path.write_text(text)
    found = load(path)
    assert why in found.trouble
    assert found == ViewSettings(trouble=found.trouble)
    assert MOST < 100_000


async def test_where_settings_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert default_path() == tmp_path / "vusniff" / "view.json"
    monkeypatch.setenv("XDG_CONFIG_HOME", "not/absolute")
    monkeypatch.setenv("HOME", "/home/x")
    assert default_path() == Path("/home/x/.config/vusniff/view.json")
    monkeypatch.delenv("HOME")
    assert default_path() is None
    assert load(None) == ViewSettings()
    os.mkfifo(tmp_path / "fifo")
    assert "is not a regular file" in load(tmp_path / "fifo").trouble  # and it does not wait


async def test_a_file_of_somebody_else_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "view.json"
    path.write_text('{"theme": "nord"}')
    with pytest.raises(OutputError, match="is not from vusniff"):
        load(path).saved(columns="number")


async def test_long_values_are_reached_sideways() -> None:
    async with app_with(ViewSettings()).run_test(size=(80, 24)) as pilot:
        app = pilot.app
        assert isinstance(app, TuiApp)
        app.view.go_to(53)  # SET_VRING_ADDR
        await pilot.pause()
        seen = []
        for _ in range(10):
            await pilot.press("right")
            await pilot.pause()
            seen += [line for line in screen_text(app).splitlines() if " 54 " in line and "SET_VRING_ADDR" in line]
        assert len(seen) == 10  # number and name stay
        assert any("0x7f2d13f5f000" in row for row in seen)
        assert "0x7f2d13f60000" in seen[-1]
        assert "…" in seen[0]
        for _ in range(10):
            await pilot.press("left")
        assert app.view.aside == 0
        await pilot.resize_terminal(200, 60)
        await pilot.pause()
        await pilot.pause()
        assert "descriptor 0x7f2d13f5e000 available 0x7f2d13f5f000 used 0x7f2d13f60000" in screen_text(app)


ORDERS = (ALL_COLUMNS, columns_of("answer values number"), columns_of("time request"))


@pytest.mark.parametrize("order", ORDERS, ids=len)
async def test_columns_fill_the_width(order: tuple[RowColumn, ...]) -> None:
    for width in (60, 100, 150, 200):
        made = columns(width, 1000, "12.123456", 3, order=order)
        total = GUTTER + sum(size + 1 for size in made.sizes.values())
        assert total == width + 1 if RowColumn.VALUES in made.sizes and width >= 100 else total >= 0
        assert set(made.order) <= set(order)
