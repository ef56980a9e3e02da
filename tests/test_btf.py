"""Kernel type information: the running kernel's is understood, and no file makes the reader fail in another way."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vusniff.bpf.btf import KERNEL_BTF, Btf
from vusniff.bpf.offsets import definitions
from vusniff.errors import SourceError

STRUCT, UNION, INT, TYPEDEF, PTR, ARRAY, ENUM, FUNC = 4, 5, 1, 8, 2, 3, 6, 12


def build(types: Sequence[tuple[str, int, int, Sequence[int | str]]], flags: int = 0) -> bytes:
    """A BTF file of (name, kind and number of members, size or type, further words); words may be names."""
    names, words = bytearray(b"\0"), list[int]()

    def offset(name: str) -> int:
        if not name:
            return 0
        names.extend(name.encode() + b"\0")
        return len(names) - len(name) - 1

    for name, info, size, rest in types:
        words += [offset(name), info, size]
        words += [offset(word) if isinstance(word, str) else word for word in rest]
    body = struct.pack(f"={len(words)}I", *words)
    return struct.pack("=HBBIIIII", 0xEB9F, 1, flags, 24, 0, len(body), len(body), len(names)) + body + bytes(names)


def kind(number: int, members: int = 0, flag: int = 0) -> int:
    return flag << 31 | number << 24 | members


SMALL = build(
    [
        ("int", kind(INT), 4, [32]),
        ("inner", kind(STRUCT, 2), 8, ["a", 1, 0, "b", 1, 32]),
        ("", kind(UNION, 2), 8, ["x", 2, 0, "y", 1, 0]),
        ("outer", kind(STRUCT, 3), 28, ["first", 1, 0, "", 3, 64, "many", 6, 128]),
        ("other", kind(TYPEDEF), 4, []),
        ("", kind(ARRAY), 0, [1, 1, 3]),
        ("colour", kind(ENUM, 2), 4, ["RED", 3, "BLUE", 0xFFFFFFFF]),
        ("paint", kind(FUNC), 1, []),
        ("", kind(PTR), 4, []),
        ("bits", kind(STRUCT, 1, 1), 4, ["field", 1, 3 << 24 | 16]),
    ]
)


def test_members_in_anonymous_unions_and_paths() -> None:
    btf = Btf(SMALL)
    outer = btf.structs(["outer", "bits"])
    assert btf.offset(outer["outer"], "first") == (0, 4)
    assert btf.offset(outer["outer"], "x.b") == (12, 4)
    assert btf.offset(outer["outer"], "y") == (8, 4)
    assert btf.offset(outer["outer"], "nothing.b|x.a") == (8, 4)
    assert btf.offset(outer["outer"], "many") == (16, 12)
    assert btf.offset(outer["outer"], "x.c") is None
    assert btf.offset(outer["bits"], "field") == (2, 4)
    assert btf.size(9) == 8
    assert btf.size(5) == 28


def test_enumerations_and_functions() -> None:
    btf = Btf(SMALL)
    assert btf.enumeration("colour") == {"RED": 3, "BLUE": 0xFFFFFFFF}
    assert btf.enumeration("taste") == {}
    assert btf.functions(["paint", "outer", "absent"]) == {"paint": 8}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "0 bytes"),
        (bytes(24), "magic"),
        (SMALL[:40], "do not fit"),
        (build([("s", kind(STRUCT, 5), 4, ["a", 1, 0])]), "cut short"),
        (build([("s", kind(31), 4, [])]), "kind 31"),
    ],
)
def test_what_is_no_btf_is_refused_in_a_sentence(data: bytes, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        Btf(data, "here")


def test_types_that_refer_to_themselves() -> None:
    loop = Btf(
        build([("t", kind(TYPEDEF), 1, []), ("s", kind(STRUCT, 1), 4, ["", 2, 0]), ("", kind(ARRAY), 0, [3, 1, 9])])
    )
    with pytest.raises(SourceError, match="refers to itself"):
        loop.size(1)
    with pytest.raises(SourceError, match="contains itself"):
        loop.member(2, "x")
    with pytest.raises(SourceError, match="contains itself"):
        loop.size(3)
    with pytest.raises(SourceError, match="refers to type 7 of 1"):
        Btf(build([("t", kind(TYPEDEF), 7, [])])).size(1)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_damaged_file_gives_an_answer_or_the_one_error(data: st.DataObject) -> None:
    damaged = bytearray(SMALL)
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(SourceError):
        btf = Btf(bytes(damaged))
        for type_id in btf.structs(["outer", "bits", "inner"]).values():
            for path in ("first", "x.b", "many", "field"):
                offset = btf.offset(type_id, path)
                assert offset is None or min(offset) >= 0
        assert all(isinstance(value, int) for value in btf.enumeration("colour").values())


def test_no_file_says_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="CONFIG_DEBUG_INFO_BTF"):
        Btf.read(tmp_path / "absent")


def test_a_kernel_without_a_member_is_named() -> None:
    with pytest.raises(SourceError, match=r"no member .* in struct"):
        definitions(Btf(SMALL))


@pytest.mark.skipif(not KERNEL_BTF.exists(), reason=f"this kernel has no {KERNEL_BTF}")
def test_the_running_kernel() -> None:
    known = definitions(Btf.read())
    # Facts of every Linux with unix sockets on 64 bits: struct socket has not changed since 2.6.
    assert known["O_SOCKET_SK"] == 24
    assert known["O_SOCKET_TYPE"] == 4
    assert known["O_ADDR_LEN"] == 4
    assert known["O_MSG_CONTROLLEN"] == known["O_MSG_CONTROL"] + 16
    assert known["O_UNIX_PEER"] > known["O_UNIX_ADDR"]
    assert known["T_ITER_IOVEC"] in (0, 1, 4)
