"""Text that cannot steer whoever looks at it: what anybody chose, made visible.

Peers, files and other users choose names. A name can hold escape sequences, line ends that forge a line, characters
that turn the direction of text, and characters that cannot be seen. Each of them stays visible as ``\\x1b`` or
``\\u202e``. Pure functions: what writes is `vusniff.terminal`.
"""

from __future__ import annotations

import re

NAME = 120
"""Characters of a table's cell: what is longer is cut in the middle, so that one name does not widen a table."""
MARK = " ... "

_HIDING = "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
"""Characters that Python calls printable and that show nothing: variation selectors, fillers, the braille blank.
This is the text of a pattern: `re` compiles it with the first text that is not ASCII, because that takes longer than
some commands take to start."""
_SGR = re.compile(r"(\x1b\[[0-9;]*m)")
_ASCII_LINES = bytes([*range(32, 127), 10])


def _is_shown(character: str) -> bool:
    return character.isprintable() and (character < "\u0100" or not re.match(_HIDING, character))


def _escaped(code: int) -> str:
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


class _Escapes(dict[int, str]):
    """For `str.translate`. Only the first characters are kept: a hostile file may hold all there are."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        return character if _is_shown(character) else _escaped(code)


_ESCAPES = _Escapes({code: chr(code) if _is_shown(chr(code)) else _escaped(code) for code in range(0x100)})


def escape(text: str) -> str:
    """Text in one line, every character of which can be seen."""
    if text.isprintable() and (text.isascii() or not re.search(_HIDING, text)):
        return text
    return text.translate(_ESCAPES)


def escape_lines(text: str) -> str:
    """The same for text of several lines, which may end as those of CSV do."""
    if text.isascii() and not text.encode("ascii").translate(None, _ASCII_LINES):
        return text
    lines = (
        f"{escape(line[:-1])}\r" if more and line.endswith("\r") else escape(line)
        for line, more in _with_ends(text.split("\n"))
    )
    return "\n".join(lines)


def _with_ends(lines: list[str]) -> list[tuple[str, bool]]:
    """Each line, and whether a line end follows it."""
    return [*((line, True) for line in lines[:-1]), (lines[-1], False)]


def escape_styled(text: str) -> str:
    """The same for lines that we coloured; texts of others were escaped before that."""
    return "".join(piece if place % 2 else escape_lines(piece) for place, piece in enumerate(_SGR.split(text)))


def escape_json(text: str) -> str:
    """JSON that says the same in characters that can be seen: those that cannot are in strings only."""
    if text.isascii() and "\x7f" not in text:
        return text
    return _UNSEEN.sub(_json_escape, text)


_UNSEEN = re.compile(r"[^\x00-\x7e]")


def _json_escape(found: re.Match[str]) -> str:
    character = found.group()
    if _is_shown(character):
        return character
    code = ord(character)
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"


def shorten(text: str, most: int = NAME) -> str:
    """At most so many characters; the middle of a longer text is left out, because names differ at their ends."""
    if len(text) <= most:
        return text
    room = most - len(MARK)
    return text[: room - room // 2] + MARK + text[len(text) - room // 2 :]


def folded(line: str, room: int) -> list[str]:
    """A line in pieces of at most ``room`` columns, broken between words. What follows stands below the last column of
    the line, which two spaces part from what is before it; below its beginning where there is little room."""
    if len(line) <= room:
        return [line]
    import textwrap

    begins = [found.end() for found in re.finditer(r"(?:^|(?<=\S)) {2,}(?=\S)", line)]
    below = begins[-1] if begins and begins[-1] <= room // 3 else len(line) - len(line.lstrip()) + 4
    return textwrap.wrap(line, max(room, below + 20), subsequent_indent=" " * below, break_on_hyphens=False) or [line]


def cell(text: str, most: int = NAME) -> str:
    """What a table shows of a text."""
    return shorten(escape(text), most)
