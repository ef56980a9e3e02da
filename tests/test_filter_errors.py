"""What is wrong in a filter is said in one sentence, at the right column; expressions that could hang are refused."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vusniff.errors import FilterError
from vusniff.filter import compile_filter, complete
from vusniff.filter.regex import TEXT_LIMIT, compile_pattern
from vusniff.filter.resolve import decimal, duration, unquoted


@pytest.mark.parametrize(
    ("text", "marked", "words"),
    [
        ("vring.indx == 3", "vring.indx", "there is no field vring.indx; did you mean vring.index"),
        ("vhost.reply && nonsense", "nonsense", "there is no field nonsense"),
        ("SET_MEM_TABLE", "SET_MEM_TABLE", "did you mean vhost.request == SET_MEM_TABLE?"),
        ("frame.number == 3", "frame.number", "did you mean vhost.number"),
        ("guest_address == 1", "guest_address", "did you mean vhost.mem.guest_address?"),
        ("vhost.request == SET_MEMTABLE", "SET_MEMTABLE", "no request SET_MEMTABLE; did you mean SET_MEM_TABLE"),
        ("vhost.request < SET_OWNER", "SET_OWNER", "no order"),
        ("vhost.channel == mian", "mian", "never mian; did you mean main?"),
        ("vhost.channel < main", "<", "no order"),
        ("fd.kind == eventfdd", "eventfdd", "did you mean eventfd"),
        ("finding.severity >= bad", "bad", "it is one of note, warning, error"),
        ("vhost.features contains MRG_RXBUFF", "MRG_RXBUFF", "has no bit MRG_RXBUFF; did you mean MRG_RXBUF"),
        ("vhost.features & MQ", "MQ", "VIRTIO_BLK_F_MQ and VIRTIO_NET_F_MQ"),
        ("vring.index contains 3", "contains", "is a number"),
        ('vring.index matches "3"', "matches", "matches needs text"),
        ("vring.index == abc", "abc", "vring.index is a number, abc is not"),
        ("vring.index == 1.5", "1.5", "whole number"),
        ("vring.index == 5us", "5us", "is not a time"),
        ("vring.index == 09", "09", "octal"),
        ("vhost.size in {9..3}", "9", "ends before it begins"),
        ("vhost.request in {SET_OWNER..SET_MEM_TABLE}", "SET_OWNER", "no order"),
        ("sock.path == net0", "net0", 'write "net0"'),
        ("sock.path & 3", "sock.path", "& needs a number"),
        ('sock.path == "a\\q"', '"a\\q"', "\\q is not an escape sequence"),
        ('sock.path matches "("', '"("', "is not a regular expression"),
        ("sock.path matches net", "net", "double quotes"),
        ('sock.path matches "(a+)+$"', '"(a+)+$"', "for ever"),
        ("vhost.data == zz", "zz", "is bytes"),
        ("vhost.features & 3 contains MQ", "contains", "do not go together"),
        ("vhost.size = 5", "=", "write == to compare"),
        ("sock.path == 'x'", "'", "double quotes"),
        ('sock.path == "x', '"x', "no closing"),
        ("vhost.size == 5 AND vring.index", "AND", "did you mean and?"),
        ("vhost.size 5", "5", "expected an operator"),
        ("vhost.size == 5 6", "6", "expected && or ||"),
        ("vhost.size in {1 2}", "2", "expected a comma"),
        ("vhost.size in 5", "5", "a set"),
        ("vhost.size == == 5", "==", "expected a value"),
        ("vhost.size)", ")", "this ) closes nothing"),
        ("(vhost.size", "", "ends too early; expected )"),
        ("vhost.size ==", "", "ends too early; expected a value"),
        ("vhost.size &&", "", "ends too early; expected a field"),
        ("", "", "nothing in this filter"),
        ("  ", "", "nothing in this filter"),
        ("vhost.size == " + "9" * 80, "9" * 80, "so large a number"),
        ("not " * 60 + "vhost.size", "", "within one another"),
    ],
)
def test_sentence_and_place(text: str, marked: str, words: str) -> None:
    with pytest.raises(FilterError) as caught:
        compile_filter(text)
    error = caught.value
    assert words in error.sentence
    assert text[error.start : error.start + error.length] == marked
    if marked and text.count(marked) == 1:
        assert error.start == text.index(marked)
    assert "\n" not in error.sentence


def test_the_command_line_marks_the_place() -> None:
    with pytest.raises(FilterError) as caught:
        compile_filter("vhost.reply == 1 && vring.indx")
    sentence, text, marks = str(caught.value).split("\n")
    assert sentence.startswith("filter: there is no field vring.indx")
    assert text[marks.index("^") : marks.rindex("^") + 1] == "vring.indx"


# -- regular expressions ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pattern",
    [
        *("(a+)+$", "(a*)*", "(a|a)*b", "(a|aa)+$", "(?:x+x+)+y", "((a+)b?)*", "(a?){40}a{40}", "(.*){5}", "(a{1,9})+"),
        *("a*a*a*a*a*b", "a?" * 30 + "a" * 30, "(a|a)" * 30, r"(a)\1+", "(?P<x>a)(?P=x)", "(a)(?(1)b|c)"),
        *("(?x)a#(\n+)+", "[", "(", "a{2,1}", "*", "(?i", "a" * 300, "(?P<é", "\\", "a**"),
    ],
)  # fmt: skip
def test_slow_and_wrong_expressions_are_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        compile_pattern(pattern)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("^vm[0-9]+.*sock$", "vm12/net0.sock"),
        ("eth|vm", "my-VM"),
        ("(?:abc){3}", "abcabcabc"),
        ("(net|blk)?0", "0"),
        ("[)(*+?|{}]+", "(*"),
        (r"[\]\\]x", "]x"),
        (r"\(\+\)\+", "(+)+"),
        ("a{,3}b", "aab"),
        ("(?-i)ABC", "ABC"),
        ("x{2}", "xx"),
        ("a+?b*?c??", "ab"),
        ("{", "{"),
    ],
)
def test_ordinary_expressions_are_fine(pattern: str, text: str) -> None:
    assert compile_pattern(pattern).search(text)


def test_case_is_kept_on_demand() -> None:
    assert not compile_pattern("(?-i)abc").search("ABC")


@settings(max_examples=300, deadline=None)
@given(st.text("ab|()*+?{}1,[]^$.\\-", max_size=14))
def test_whatever_is_allowed_ends(pattern: str) -> None:
    try:
        compiled = compile_pattern(pattern)
    except ValueError:
        return
    for text in ("a" * TEXT_LIMIT, "ab" * (TEXT_LIMIT // 2), "b" * TEXT_LIMIT):
        found = compiled.search(text)
        assert found is None or found.end() <= TEXT_LIMIT


# -- literals ---------------------------------------------------------------------------------------------------------


def test_texts_have_wiresharks_escapes() -> None:
    assert unquoted(r'"a\"b\\c\x41\101\u00e9\n"') == 'a"b\\cAA\u00e9\n'
    assert unquoted(r'r"a\d\"b"') == r"a\d\"b"
    assert unquoted("word") == "word"
    assert unquoted("red") == "red"


def test_times_are_exact() -> None:
    assert [duration(text) for text in ("35us", "2ms", "1s", "7ns", "1.5us")] == [35_000, 2_000_000, 10**9, 7, 1500]
    assert decimal("0.000000001", 10**9) == 1
    assert decimal("-1.5", 10**9) == -1_500_000_000


# -- completion -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "offered"),
    [
        ("vhost.re", {"vhost.request", "vhost.reply", "vhost.restated"}),
        (
            "vhost.request == SET_VRING_E",
            {"SET_VRING_ENABLE", "SET_VRING_ERR", "SET_VRING_ENDIAN", "VDPA_SET_VRING_ENABLE"},
        ),
        ("vhost.request in {SET_OWNER, RESET_O", {"RESET_OWNER"}),
        ("vhost.features contains mrg", {"MRG_RXBUF"}),
        ("finding.severity >= ", {"note", "warning", "error"}),
        ("vhost.reply == ", {"true", "false"}),
        ("fd.kind == ev", {"eventfd", "device"}),
        ("vhost.channel == vfio-t", {"vfio-twin"}),
        ("vfio.command == VFIO_USER_DMA_M", {"DMA_MAP"}),
        ("!(vring.ind", {"vring.index"}),
        ("all vring.ind", {"vring.index"}),
        ("vring.index == 3 xor guest_addr", {"vhost.mem.guest_address"}),
        ("vring.index not ", {"in"}),
        ("vring.index in ", {"{"}),
        ("sock.path ", {"==", "!=", "in", "contains", "matches"}),
        ("vhost.reply ", {"==", "!=", "in"}),
        ("vring.index ", {"==", "!=", "in", "<", "<=", ">", ">=", "&"}),
        ("vring.index == 3 o", {"or"}),
        ("vring.index = ", set()),
        ('sock.path == "', set()),
    ],
)
def test_completion(text: str, offered: set[str]) -> None:
    found = complete(text, len(text))
    assert {one.text for one in found} == offered
    for one in found:
        assert text[one.start :] == re.search(r"[\w.-]*$", text)[0]  # type: ignore[index]


def test_completion_replaces_the_word_under_the_cursor() -> None:
    text = "vhost.reques == SET_OWNER"
    best = complete(text, 9)[0]
    assert text[: best.start] + best.text + text[best.stop :] == "vhost.request == SET_OWNER"


@settings(max_examples=200, deadline=None)
@given(st.text('vhost.request=!&|(){}", SET_OWNER', max_size=30), st.integers(0, 30))
def test_completion_never_raises(text: str, cursor: int) -> None:
    for one in complete(text, min(cursor, len(text))):
        assert 0 <= one.start <= one.stop <= len(text)
