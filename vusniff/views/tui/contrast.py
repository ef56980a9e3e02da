"""Colours of text that can be read on the background, whatever theme they come from."""

from __future__ import annotations

from collections.abc import Mapping

from textual.color import Color, ColorParseError

LEAST = 4.5
"""Least contrast of text and background, by the Web Content Accessibility Guidelines."""
TEXTS = ("text-primary", "text-accent", "text-warning", "text-success", "text-error", "foreground-muted")
STEP = 0.05


def readable(colours: Mapping[str, str], coloured: bool = True) -> dict[str, str]:
    """A theme's colours by name. Those of text are moved towards the foreground until they can be read; without colours
    they are the foreground, because the grey of a strong colour is fainter than that of plain text."""
    made = dict(colours)
    if not coloured:
        return made | {name: colours["foreground"] for name in TEXTS if name != "foreground-muted"}
    try:
        background, foreground = (Color.parse(colours[name]) for name in ("background", "foreground"))
        for name in TEXTS:
            made[name] = _moved(background + Color.parse(colours[name]), foreground, background).hex
    except (KeyError, ColorParseError):  # the terminal's own palette: its colours are not known
        return dict(colours)
    return made


def _moved(text: Color, foreground: Color, background: Color) -> Color:
    moved, by = text, 0.0
    while by < 1 and contrast(moved, background) < LEAST:
        by += STEP
        moved = text.blend(foreground, by)
    return moved


def contrast(one: Color, other: Color) -> float:
    """From 1 (the same colour twice) to 21 (black and white)."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: Color) -> float:
    """From 0 (black) to 1 (white), by sRGB."""
    red, green, blue = (
        part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in colour.normalized
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
