"""Colours of text output: which words of a line have which. Only what was escaped is painted (`vusniff.terminal`)."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum


class Style(Enum):
    """What a colour means, everywhere the same: the parameters of ECMA-48's SGR."""

    STRONG = "1"
    FAINT = "2"
    GOOD = "32"
    BAD = "1;31"
    DOUBTFUL = "33"
    HINT = "36"
    FRONTEND = "34"
    BACKEND = "35"


Patterns = dict[str, Style]
"""Patterns of what stands in a line, each with its style. Where several fit, the first of them counts."""

_SENTENCE = r"[^\n]*(?:\n +(?!\S+  )\S[^\n]*)*"
"""A sentence of several lines: no label with its value follows."""
_VERDICT: Patterns = {
    rf"\A(?:Running|Stopped cleanly){_SENTENCE}": Style.GOOD,
    rf"\A(?:Idle|Ended|Unknown|Joined){_SENTENCE}": Style.DOUBTFUL,
    rf"\A{_SENTENCE}": Style.BAD,
}
_SEVERITIES: Patterns = {
    r"^ *(?:error)\b": Style.BAD,
    r"^ *(?:warning)\b": Style.DOUBTFUL,
    r"^ *(?:note)\b": Style.HINT,
}
MESSAGES: Patterns = {
    r"^ *\d+ +\d+\.\d+ +\d+ ": Style.FAINT,
    r"^#[^\n]*": Style.STRONG,
    r"\bfront(?= -> )|\bclient(?= -> )": Style.FRONTEND,
    r"(?<=<- )(?:back|server)\b": Style.BACKEND,
    r"\bMALFORMED\b[^\n]*|\bFAILED\b[^\n]*": Style.BAD,
    r"\((?:to #\d+|answered by #\d+)[^)\n]*\)": Style.FAINT,
    r"(?<=(?:back|ront|ient|rver) )[A-Z][A-Z0-9_]+(?: reply)?": Style.STRONG,
}
"""What `vusniff read` prints."""
COMPARISONS: Patterns = {r"^[^\s][^\n]*": Style.STRONG, r"^  [^\s][^\n]*?(?=  )": Style.FAINT}
"""Titles and labels: `vusniff diff`."""
PAGES: Patterns = {**_VERDICT, **_SEVERITIES, **COMPARISONS}
"""The same below a verdict, and findings: `vusniff summary`."""
FINDINGS: Patterns = {
    **_VERDICT,
    **_SEVERITIES,
    r"^session \d+[^\n]*": Style.STRONG,
    r"^[1-9]\d* errors?\b": Style.BAD,
    r"^ {10}(?: {4})?(?! )[^\n]*": Style.FAINT,
    r"^  (?:sessions?|fault|evidence|try|but|step)(?=  )": Style.FAINT,
}
"""What `vusniff check` prints."""
TABLES: Patterns = {
    r"\A[A-Z][^\n]*": Style.STRONG,
    r"(?<=\s)-(?=\s)": Style.FAINT,
    r"^    [a-z][a-z -]*(?=  )": Style.FAINT,
}
"""A heading and rows; or where these are too wide, labels below each: `vusniff sockets`."""
KINDS = {"messages": MESSAGES, "page": PAGES, "comparison": COMPARISONS, "findings": FINDINGS, "table": TABLES}


def painter(patterns: Patterns) -> Callable[[str], str]:
    """What puts colours into text that is printed piece by piece; ``\\A`` is where all of it begins."""
    styles = list(patterns.values())
    first = _compiled(patterns)
    later = _compiled({pattern: style for pattern, style in patterns.items() if not pattern.startswith(r"\A")})
    later_styles = [style for pattern, style in patterns.items() if not pattern.startswith(r"\A")]
    begun = False

    def paint(text: str) -> str:
        nonlocal begun
        search, meant = (later, later_styles) if begun else (first, styles)
        begun = begun or bool(text)
        return search.sub(lambda found: f"\x1b[{meant[(found.lastindex or 1) - 1].value}m{found[0]}\x1b[m", text)

    return paint


def _compiled(patterns: Patterns) -> re.Pattern[str]:
    return re.compile("|".join(f"({pattern})" for pattern in patterns), re.MULTILINE)
