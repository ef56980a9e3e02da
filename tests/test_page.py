"""Pages and lines fit the screen: they are broken between words, and tables that are too wide are told in lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from vusniff import terminal
from vusniff.cli import main
from vusniff.printable import folded
from vusniff.views import page

CAPTURES = Path(__file__).parents[1] / "captures"
FOUR_SESSIONS = "trouble/too-few-queues.pcapng"
TWO_SESSIONS = "qemu-ovs.pcapng"
WITH_SAMPLES = "trouble/backend-stopped.pcapng"
COMMANDS = (
    ["summary", FOUR_SESSIONS],
    ["check", FOUR_SESSIONS],
    ["check", "--list"],
    ["diff", TWO_SESSIONS],
    ["rings", WITH_SAMPLES],
    ["explain", "SET_VRING_ADDR"],
    ["find", "--jobs", "1", FOUR_SESSIONS],
)


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_lines_and_tables_fit_the_terminal(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(CAPTURES)
    for words in COMMANDS:
        main(words)
        whole = capsys.readouterr().out
        with monkeypatch.context() as patched:
            patched.setattr(terminal, "width", lambda: columns)
            main(words)
        fitted = capsys.readouterr().out
        assert max(map(len, fitted.splitlines())) <= columns, words
        if words[0] != "rings":  # which leaves columns out
            said = fitted.split()
            assert [word for word in whole.split() if word not in said and word not in "-#"] == [], words


def test_a_row_that_is_too_wide_is_told_in_lines() -> None:
    made = page.Page(
        "title", [page.PageSection("Rings", [page.Table(("vring", "path", "kick"), [("0", "x" * 30, "-")])])]
    )
    assert page.text(made).splitlines()[3:] == [f"  vring  path{'':28}kick", f"  0      {'x' * 30}  -"]
    assert page.text(made, 40).splitlines()[3:] == ["  vring 0", f"    path  {'x' * 30}"]
    made = page.Page("title", [page.PageSection("Rings", [page.Table(("vring", "is"), [("0", "some words " * 4)])])])
    assert page.text(made, 40).splitlines()[3:] == [
        *("  vring  is", "  0      some words some words some", "         words some words")
    ]


def test_a_line_goes_on_below_its_last_column() -> None:
    assert folded("  try  one two three four five six", 30) == ["  try  one two three four five", "       six"]
    assert folded("short", 20) == ["short"]
    assert folded("one two three four five six seven", 30) == ["one two three four five six", "    seven"]


def test_columns_that_say_nothing_are_left_out_first() -> None:
    from vusniff.views.rings import LINE_COLUMNS, table_lines

    rows = [LINE_COLUMNS, *(("1.0", str(n), "0", "idle", "5", "5", "0 of 8", "-", "kicks", "-", "-") for n in (1, 2))]
    assert "kicks" in next(table_lines(rows, None))
    assert next(table_lines(rows, 40)).split() == ["time", "session", "ring", "state", "in", "flight"]
