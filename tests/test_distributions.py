"""Entry points of installed distributions, as `importlib.metadata` finds them."""

from __future__ import annotations

import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from vusniff import distributions


def install(folder: Path, name: str, text: str) -> None:
    (folder / name).mkdir(parents=True)
    (folder / name / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.partition('-')[0]}\nVersion: 1\n")
    (folder / name / "entry_points.txt").write_text(text)


def by_the_library(group: str) -> list[tuple[str, str, str]]:
    return sorted((point.name, point.group, point.value) for point in metadata.entry_points(group=group))


@pytest.mark.parametrize("group", ["vusniff.dissectors", "vusniff.families", "vusniff.none"])
def test_what_is_installed_here_is_found(group: str) -> None:
    assert sorted(distributions.entry_points(group)) == by_the_library(group)


def test_the_library_finds_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    install(
        first, "ac_me-2.0.dist-info", "[console_scripts]\nx = y:z\n\n[vusniff.t]\n# no\n b = m.n : o.p \na=m:o [x]\n"
    )
    install(second, "Ac.Me-1.0.dist-info", "[vusniff.t]\nhidden = by.the:first\n")
    install(second, "old.egg-info", "[vusniff.t]\negg = old:ONE\n[vusniff.u]\nother = old:TWO\n")
    (first / "empty-1.dist-info").mkdir()
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as archive:
        archive.writestr("packed-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: packed\nVersion: 1\n")
        archive.writestr("packed-1.dist-info/entry_points.txt", "[vusniff.t]\nzipped = packed:ONE\n")
    paths = [str(first), str(second), str(tmp_path / "packed.zip"), str(tmp_path / "absent")]
    monkeypatch.setattr(sys, "path", [*paths, *sys.path])
    found = distributions.entry_points("vusniff.t")
    assert [point.name for point in found] == ["b", "a", "egg", "zipped"]
    assert sorted(found) == by_the_library("vusniff.t")


def test_a_file_that_is_broken_brings_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "bad-1.dist-info", "[vusniff.t]\nno sign of it\n= \n[unfinished\nx = y\n")
    (tmp_path / "worse-1.dist-info" / "entry_points.txt").mkdir(parents=True)
    install(tmp_path, "bytes-1.dist-info", "")
    (tmp_path / "bytes-1.dist-info" / "entry_points.txt").write_bytes(b"[vusniff.t]\n\xff = m:o\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert [point.name for point in distributions.entry_points("vusniff.t")] in ([""], ["", "\ufffd"], ["\ufffd", ""])


@pytest.mark.parametrize("value", ["os.path:join", "os:path.join", "os : path.join [extra]"])
def test_an_object_is_found_by_its_value(value: str) -> None:
    import os

    assert distributions.EntryPoint("x", "vusniff.t", value).load() is os.path.join


def test_a_value_that_is_none_is_an_error() -> None:
    with pytest.raises(ValueError, match="MODULE:ATTRIBUTE"):
        distributions.EntryPoint("x", "vusniff.t", "os path").load()
    assert distributions.EntryPoint("x", "vusniff.t", "os").load().__name__ == "os"
