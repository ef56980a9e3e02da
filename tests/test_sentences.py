"""Sentences of the program: words that were replaced do not come back, and one thing has one word."""

from __future__ import annotations

import re

import pytest
from sentences import HOLE, sentences, texts

OLD = {
    r"kick fd set": "armed",
    r"\blife unknown|\bring's life": "state",
    r"not witnessed|was witnessed": "unknown",
    r"device unknown|not told by what was seen": "unknown (nothing seen identifies it)",
    r"features in use|offered, not taken|taken, not offered|without these": "negotiated, acknowledged, offered",
    r"never said$|^not told$": "unknown",
    r"\bcomes? (before|while|again after) (SET_|GET_|all rings|it runs|vring)|[A-Z_]{4,} comes, and\b": "was sent",
    r"kept \(Esc|lets go": "pinned to vring 1 (Esc unpins)",
    r"\b(the|a|no|each|both|either) (front|back)ends?\b|\b(front|back) end\b": "front-end, back-end",
    r"\bslave\b|\bmaster\b": "back-end, front-end",
    r"put out|evicted|end not told apart": "plain words",
    r"\b1 (messages|rings|regions|sessions)\b": "the singular",
    r"(?<!here )\bis no (capture|(regular )?file|socket|error|(whole )?number|text|log|power|multiple)\b": "is not",
    r"without harm|nobody knows|not there any more|silent about|\bof no (size|length)|stands twice": "plain words",
    r"write such as": "for example",
    r"\bsaid a byte|what the \w+ (begin|follow) (with|from)|is so of\b|told by content": "plain words",
}
"""What must not be said any more -> what is said instead."""
OF_OTHERS = (
    *("vusniff/views/texts/", "vusniff/views/glossary.py", "vusniff/sources/logs/", "vusniff/views/prose.py"),
    *("vusniff/views/editions.py", "vusniff/filter/", "vusniff/families/", "vusniff/capture/", "vusniff/analysis/"),
)
"""Texts of other programs, names of them, and names of fields and facts in files."""
NAMES = re.compile(r"--\w[\w-]*|-chardev|\w+[._/=]\w[\w./=-]*|\{\}")
"""Options, paths, and names of functions: they are what they are."""


def test_words_that_were_replaced_do_not_come_back() -> None:
    found = []
    for one in sentences():
        if one.path.startswith(OF_OTHERS):
            continue
        said = NAMES.sub("", one.text)
        found += [f"{one.path}:{one.line}: {one.text!r}: say {new}" for old, new in OLD.items() if re.search(old, said)]
    assert found == []


def test_sentences_are_found_in_code() -> None:
    source = '''"""A docstring of some words."""
def made(name: str) -> str:
    """Another docstring."""
    return f"{name} was sent  before SET_OWNER" if name else "single"
'''
    assert list(texts(source)) == [(4, f"{HOLE} was sent before SET_OWNER")]


@pytest.mark.parametrize("old", OLD)
def test_each_old_word_would_be_found(old: str) -> None:
    examples = (
        *("kick fd set", "life unknown", "not witnessed", "device unknown", "features in use", "never said"),
        *("X comes before SET_OWNER", "kept (Esc lets go)", "the frontend sends", "the slave channel", "never put out"),
        *("1 messages", "is no capture", "a request that nobody knows", "write such as KILL", "nobody said a byte"),
    )
    assert any(re.search(old, example) for example in examples)
