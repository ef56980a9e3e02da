"""What stands in a document of Markdown is shown and not acted upon, whoever chose it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from vusniff.printable import escape, shorten
from vusniff.views.markdown import literal
from vusniff.views.page import Items, NamedValues, Page, PageSection, Part, Prose, Table, markdown

GITHUB = MarkdownIt("gfm-like")
assert GITHUB.linkify is not None
GITHUB.linkify.set({"fuzzy_link": False})
TRACKER = re.compile(
    r"@[a-z0-9]|#\d|!\d|\$\d|&\d|~\d|%\d|\bGH-\d|\bGHSA-|://|www\.|mailto:|xmpp:|:[a-z]+:"
    r"|(?<![0-9a-z])(?=[0-9]*[a-f])[0-9a-f]{7,40}(?![0-9a-z])",
    re.IGNORECASE,
)
"""What GitHub, GitLab and their like turn into a link, a picture or a call in text that was rendered, outside code."""
SHOWN = {"text", "code_inline"}
STRUCTURE = re.compile(
    r"(paragraph|heading|bullet_list|list_item|table|thead|tbody|tr|th|td|strong)_(open|close)|inline"
)

ATTACKS = (
    "![](https://evil.example/track.png)",
    "[click](https://evil.example)",
    "<img src=x onerror=alert(1)>",
    "<!-- hidden",
    "https://evil.example/",
    "http://evil.example",
    "www.evil.example",
    "someone@evil.example",
    "mailto:someone@evil.example",
    "@octocat",
    "@org/team",
    "#17",
    "GH-17",
    "gh-17",
    "owner/repo#17",
    "owner/repo@0123abc",
    "group/project!17",
    "da39a3ee5e6b4b0d3255bfef95601890afd80709",
    "da39a3e",
    "a|b",
    "a\\|b",
    "\\",
    "\\`@octocat`",
    "`` ` @octocat ` ``",
    "`@octocat",
    "|`@octocat",
    "`|@octocat|`",
    "**bold** _em_ ~~gone~~ __x__",
    "_em_",
    "&lt;b&gt; &amp; &#64;octocat",
    "$x$",
    ":+1: :tada:",
    "[^1] [!NOTE] [x]",
    "- a",
    "+ a",
    "1. a",
    "1) a",
    "# a",
    "> a",
    ">a",
    "---",
    "===",
    "- - -",
    "    code",
    "a  ",
    "{{ x }}",
    "\x1b[2J\n# FORGED\n\n@octocat",
    "#178: message #12, after #3",
)


def shown(tokens: list[Token]) -> str:
    """The text of what was rendered; it must be text and code, in the structure that we made."""
    made = ""
    for token in tokens:
        if token.type in SHOWN:
            if token.type == "text":
                assert not TRACKER.search(token.content), token.content
            made += token.content
        elif token.type == "inline":
            pieces = token.children or []
            # Across pieces, too: a tracker sees the text beside a code span in an element of its own.
            made += shown(pieces) + "\n"
        else:
            assert STRUCTURE.fullmatch(token.type), token
            assert not token.attrs or token.type in ("th_open", "td_open")
    return made


def plain(text: str) -> str:
    """What is to be seen of a text; Markdown shows several blanks as one."""
    return " ".join(shorten(word) for word in escape(text).split(" ") if word)


def cells(text: str) -> list[str]:
    return [" ".join(line.split()) for line in shown(GITHUB.parse(text)).split("\n") if line.strip()]


def page_of(text: str) -> str:
    parts: list[Part] = [
        NamedValues([(text, text)]),
        Items([text, text]),
        Prose([text, text]),
        Table((text, text), [(text, text)] * 2),
    ]
    return markdown(Page(text, [PageSection(text, parts)]))


@pytest.mark.parametrize("text", ATTACKS)
def test_attacks(text: str) -> None:
    expected = [plain(text)] * 2 + [f"{plain(text)}: {plain(text)}"] + [plain(text)] * 10
    assert cells(page_of(text)) == expected


@given(st.one_of(st.text(max_size=40), st.text("`\\|*_[]()<>!#@&$~:-+=.1aw/ \n", max_size=30)))
def test_any_text(text: str) -> None:
    found = cells(page_of(text))
    if plain(text):
        assert found == [plain(text)] * 2 + [f"{plain(text)}: {plain(text)}"] + [plain(text)] * 10


def test_common_words_stay_as_they_are() -> None:
    for text in (
        "/run/vhost-user/net_0.sock",
        "qemu-system-x86 (4321) -> dpdk-testpmd (12)",
        "2026-11-22 15:58:04.202508 UTC, file:8:1:9",
        "VIRTIO_NET_F_MRG_RXBUF, 0x40000000, 268435456, 1.5 ms; 100%!",
        'it\'s "guest-ram" 1G = 2 + 3',
    ):
        assert literal(text) == text
    assert literal("see #12, then (#13)") == "see `#12`, then (`#13`)"
