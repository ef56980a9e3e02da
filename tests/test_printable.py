"""What cannot be seen is made visible, and nothing else is changed."""

from __future__ import annotations

import json
import sys
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from vusniff.printable import cell, escape, escape_json, escape_lines, escape_styled, shorten

ANY = st.text(st.characters(codec=None, categories=None), max_size=60)  # lone surrogates, too
VARIATION_SELECTORS = {*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)}
SEEN = "vm1 /run/vm-1.sock net0 (4321) ~äöü 北京 é | <b> [x](y) …"


def hazards(text: str, allowed: str = "\n") -> set[str]:
    """Characters that steer a terminal or hide: by Unicode's own categories, not by ours."""
    return {
        character
        for character in text
        if character not in allowed
        and (
            unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
            or ord(character) in VARIATION_SELECTORS
        )
    }


def test_every_character_there_is() -> None:
    for code in range(sys.maxunicode + 1):
        shown = escape(chr(code))
        assert not hazards(shown, "")
        assert shown == chr(code) or shown in (f"\\x{code:02x}", f"\\u{code:04x}", f"\\U{code:08x}")
    assert escape(SEEN) == SEEN
    assert escape("\x1b]0;x\x07 \x9b1m \u202e \u200b \U000e0041 \u2028 \udcff \ufe0f\n") == (
        r"\x1b]0;x\x07 \x9b1m \u202e \u200b \U000e0041 \u2028 \udcff \ufe0f\x0a"
    )


@given(ANY)
def test_lines_stay_lines(text: str) -> None:
    shown = escape_lines(text)
    assert not hazards(shown, "\r\n")
    assert shown.count("\n") == text.count("\n")
    assert shown.replace("\r\n", "").count("\r") == 0
    assert not hazards(escape(text), "")
    assert escape(escape(text)) == escape(text)


@given(ANY, ANY)
def test_only_colours_of_ours_stay(before: str, after: str) -> None:
    assert escape_styled(f"{escape(before)}\x1b[1;31m{escape(after)}\x1b[0m\n") == (
        f"{escape(before)}\x1b[1;31m{escape(after)}\x1b[0m\n"
    )
    assert escape_styled("\x1b[2J\x1b]0;x\x07\x1b[?25l") == r"\x1b[2J\x1b]0;x\x07\x1b[?25l"


@given(ANY)
def test_json_is_equal_after_parsing(text: str) -> None:
    shown = escape_json(json.dumps({text: [text]}, ensure_ascii=False))
    assert not hazards(shown)
    assert json.loads(shown) == {text: [text]}


@given(ANY, st.integers(10, 80))
def test_long_names_are_cut_in_their_middle(text: str, most: int) -> None:
    assert len(shorten(text, most)) <= most
    assert len(cell("/run/" + "x" * 4096 + ".sock")) == 120
    assert cell("/run/" + "x" * 4096 + ".sock").startswith("/run/xxx")
    assert cell("/run/" + "x" * 4096 + ".sock").endswith("xxx.sock")
