"""Colours of text: readable in every theme there is, and left alone where the terminal has its own."""

from __future__ import annotations

import pytest
from textual.color import Color
from textual.theme import BUILTIN_THEMES

from vusniff.views.tui.contrast import LEAST, TEXTS, contrast, readable

ROUNDING = 0.05
"""A colour has whole numbers."""


def colours(theme: str) -> dict[str, str]:
    """What a theme calls its colours."""
    return BUILTIN_THEMES[theme].to_color_system().generate()


@pytest.mark.parametrize("theme", sorted(theme for theme in BUILTIN_THEMES if "ansi" not in theme))
def test_text_stands_out(theme: str) -> None:
    made = readable(colours(theme))
    background = Color.parse(made["background"])
    # A theme whose own text is pale cannot be helped beyond it.
    most = min(LEAST, contrast(Color.parse(made["foreground"]), background))
    for name in TEXTS:
        assert contrast(Color.parse(made[name]), background) >= most - ROUNDING


def test_what_can_be_read_stays_as_it_is() -> None:
    before = colours("textual-dark")
    after = readable(before)
    assert {name for name in before if before[name] != after[name]} <= {"foreground-muted"}


@pytest.mark.parametrize("theme", sorted(theme for theme in BUILTIN_THEMES if "ansi" in theme))
def test_the_palette_of_the_terminal_is_its_own(theme: str) -> None:
    assert readable(colours(theme)) == colours(theme)


def test_contrast_is_that_of_the_guidelines() -> None:
    assert contrast(Color(0, 0, 0), Color(255, 255, 255)) == pytest.approx(21)
    assert contrast(Color(119, 119, 119), Color(255, 255, 255)) == pytest.approx(4.48, abs=0.01)
    assert contrast(Color(1, 2, 3), Color(1, 2, 3)) == 1
