"""Text that Markdown shows and does not act upon, in the dialects of GitHub, GitLab and those that follow them.

A name that somebody chose must not load an image, link anywhere, call a person or refer to an issue of the tracker in
which a report is read; nor must a message number of ours (``#17``). Trackers look for mentions and references after
Markdown has been rendered, so that a backslash does not stop them. A code span stops all of it: each word that is more
than plain is shown in one. Nothing else here knows how Markdown works.
"""

from __future__ import annotations

import re

from vusniff.printable import escape, shorten

_RISKY = re.compile(
    r"""
      [\\`*~\[\]<&#@${}|]                 # markup, entities, mentions, references, formulas
    | (?<![A-Za-z0-9])_ | _(?![A-Za-z0-9])  # emphasis; not within names such as guest_ram
    | :// | \bwww\. | \b(?:mailto|xmpp):  # links without markup
    | \bGH-\d | \bGHSA- | \bCVE- | [!%]\d # references
    | :(?:[a-z]\w*|[+-]1):               # pictures by name
    | (?<![0-9a-z])(?=[0-9]*[a-f])[0-9a-f]{7,40}(?![0-9a-z])  # commits
    """,
    re.VERBOSE | re.IGNORECASE,
)
_BLOCK = re.compile(r"[-+=]+|\d{1,9}[.)]|>.*")
"""A first word that would begin a list or a quotation, or make a heading of the line before it."""
_CORE = re.compile(r"([(\"']*)(.*?)([,.;:)\"']*)")
"""A word without what stands around it in a sentence: ``(#17),``."""
_OUTSIDE = {"`": "&#96;", "\\": "&#92;", "|": "&#124;"}
"""What cannot stand in a code span, or not in one of a table."""


def literal(text: str) -> str:
    """A text, for any place of a line of Markdown."""
    words = [shorten(word) for word in escape(text).strip().split(" ")]
    return " ".join(
        _code(word) if _RISKY.search(word) or (not place and _BLOCK.fullmatch(word)) else word
        for place, word in enumerate(words)
    )


def _code(word: str) -> str:
    before, core, after = _CORE.fullmatch(word).groups()  # type: ignore[union-attr]  # it matches every word
    code = "".join(_OUTSIDE.get(piece, f"`{piece}`") for piece in re.split(r"([`\\|])", core) if piece)
    return f"{before}{code}{after}"
