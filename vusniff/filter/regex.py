"""Regular expressions of ``matches``: Python's, bounded, because a peer chooses the text that they run over.

As in Wireshark they ignore case; ``(?-i)`` at the beginning keeps it. Python's engine tries every way to match and
cannot be stopped, so an expression that may try too many is refused: a repeat of something that varies itself,
back-references, and more repeats, options and alternatives than `WEIGHT_LIMIT` allows. What is left is polynomial in
`TEXT_LIMIT`.
"""

from __future__ import annotations

import re
import warnings

PATTERN_LIMIT = 256
"""Characters of an expression."""
TEXT_LIMIT = 256
"""Characters of a value that are searched: longer than a socket's path, a memfd's name or a process's."""
REPEAT_WEIGHT = 8
"""Weight of ``*``, ``+`` and ``{n,m}``: each matches in as many ways as the text has characters. The weight of an
option or alternative is 1."""
WEIGHT_LIMIT = 26
"""Powers of two of ways to match at one place of the text."""

_TOKEN = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\{\d*,?\d*\}|.", re.DOTALL)
_COUNT = re.compile(r"\{(\d*)(,?)(\d*)\}")
_REFUSED = re.compile(r"\(\?P=|\(\?\(|\\[1-9]|\(\?[aiLmsu]*x")


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """The expression. Raises ValueError with a sentence for one that is wrong or refused."""
    if len(pattern) > PATTERN_LIMIT:
        raise ValueError(f"a regular expression has at most {PATTERN_LIMIT} characters, this one has {len(pattern)}")
    flags = re.IGNORECASE
    if pattern.startswith("(?-i)"):
        pattern, flags = pattern[5:], re.RegexFlag(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            compiled = re.compile(pattern, flags)
    except (re.error, OverflowError, RecursionError, Warning) as error:
        raise ValueError(f"this is not a regular expression: {error}") from None
    _refuse_slow(pattern)
    return compiled


def _refuse_slow(pattern: str) -> None:
    """Walk a correct expression: its weight, and for each open group whether something in it varies."""
    if _REFUSED.search(pattern.replace("\\\\", "")):
        raise ValueError("back-references, conditions and (?x) are not allowed: they can take for ever")
    varies = [False]
    weight = 0
    previous = ""
    group = False
    """The token before closed a group that varies."""
    for token in _TOKEN.findall(pattern):
        kind = "" if previous == "(" else _repeat(token)
        modifier = previous in ("repeat", "option") and token in ("?", "+")
        if kind and not modifier:
            if group and kind != "option":
                raise ValueError("a repeat within a repeat can take for ever: leave out the inner or the outer one")
            if kind != "fixed":
                varies[-1] = True
                weight += REPEAT_WEIGHT if kind == "repeat" else 1
        elif token == "|":
            varies[-1] = True
            weight += 1
        group = False
        if token == "(":
            varies.append(False)
        elif token == ")" and len(varies) > 1:
            group = varies.pop()
            varies[-1] |= group
        previous = "" if modifier else kind or token
    if weight > WEIGHT_LIMIT:
        raise ValueError("this expression may try too many ways to match: use fewer of * + ? |")


def _repeat(token: str) -> str:
    """``option`` (0 or 1), ``repeat`` (varies), ``fixed`` (so many), or nothing for what is no repeat."""
    if token == "?":
        return "option"
    if token in ("*", "+"):
        return "repeat"
    found = _COUNT.fullmatch(token)
    if found is None or not (found[1] or found[3]):
        return ""
    if not found[2] or found[1] == found[3]:
        return "fixed"
    return "option" if found[3] == "1" else "repeat"
