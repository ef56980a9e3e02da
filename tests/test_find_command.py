"""``vusniff find`` over directories of captures: what matches, with its verdict; bad files cost only themselves."""

from __future__ import annotations

import errno
import gzip
import json
import os
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
from test_child import SCRIPT

from vusniff.analysis.timeline import Timeline, read_all
from vusniff.capture.index import Index
from vusniff.cli import main

CAPTURES = Path(__file__).parents[1] / "captures"


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """A directory of captures: two good ones, one of them packed and deeper, one that is none, and other files."""
    (tmp_path / "b").mkdir()
    (tmp_path / "a.pcapng").write_bytes((CAPTURES / "qemu-testpmd.pcapng").read_bytes())
    (tmp_path / "b" / "two.pcapng.gz").write_bytes(gzip.compress((CAPTURES / "qemu-ovs.pcapng").read_bytes()))
    (tmp_path / "c.pcapng").write_bytes(b"no capture at all")
    (tmp_path / "notes.txt").write_text("SET_MEM_TABLE")
    return tmp_path


def said(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    capsys.readouterr()
    status = main([words[0], "--jobs", "1", *words[1:]])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def test_each_session_that_matches_is_a_line_with_its_verdict(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = said(["find", str(shelf), "vhost.request == SET_MEM_TABLE"], capsys)
    lines = out.splitlines()
    assert [line.split(" on ")[0].removeprefix(f"{shelf}/") for line in lines] == [
        "a.pcapng: session 1",
        "b/two.pcapng.gz: session 1",
        "b/two.pcapng.gz: session 2",
    ]
    assert [line.split(": ")[2].split(":")[0] for line in lines] == ["Stopped cleanly", "Ended", "Stopped cleanly"]
    assert "c.pcapng" in err
    assert len(err.splitlines()) == 1
    assert status == 2


def test_what_anybody_puts_into_a_directory_costs_only_itself(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (shelf / "c.pcapng").unlink()
    good = said(["find", str(shelf), ""], capsys)[1]
    for name in ("a1.pcapng", "b/a1.pcapng.gz"):
        os.mkfifo(shelf / name)  # nobody ever writes to it
    (shelf / "zero.pcapng").symlink_to("/dev/zero")
    (shelf / "folder.pcapng").mkdir()
    (shelf / "folder.pcapng/up").symlink_to(shelf)
    there = os.open(shelf, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/proc/self/fd/{there}/socket.pcapng")  # a path may have 107 bytes
    os.close(there)
    assert said(["find", str(shelf), ""], capsys) == (0, good, "")
    (shelf / "a2.pcapng").symlink_to("gone")
    (shelf / "a3.pcapng").symlink_to("a3.pcapng")
    status, out, err = said(["find", str(shelf), ""], capsys)
    assert (status, out) == (2, good)
    assert [line.partition("/a")[2].split(": ")[0] for line in err.splitlines()] == ["2.pcapng", "3.pcapng"]


def test_directories_that_cannot_be_read_are_named(
    shelf: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (shelf / "c.pcapng").unlink()
    look = os.scandir

    def refuse(path: str) -> Any:
        if os.path.basename(path) == "b":
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return look(path)

    monkeypatch.setattr("os.scandir", refuse)  # root reads all
    status, out, err = said(["find", str(shelf), ""], capsys)
    assert status == 2
    assert out.startswith(f"{shelf}/a.pcapng: session 1")
    assert err == f"vusniff: {shelf}/b: Permission denied: what is in it is not looked at\n"


@pytest.mark.slow
def test_a_directory_of_any_depth(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Deeper than Python recurses, and than a path can be long."""
    (shelf / "c.pcapng").unlink()
    at = os.open(shelf, os.O_RDONLY)
    for _ in range(2500):
        os.mkdir("d", dir_fd=at)
        below = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)
    status, out, err = said(["find", str(shelf), ""], capsys)
    assert status == 2
    assert out.startswith(f"{shelf}/a.pcapng: session 1")
    assert "b/two.pcapng.gz: session 2" in out
    (line,) = err.splitlines()
    assert "/d/d/d" in line
    assert "File name too long: what is in it is not looked at" in line
    subprocess.run(["rm", "-r", shelf / "d"], check=True)  # Python could not


def test_as_json_it_counts_what_a_filter_counts(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (shelf / "c.pcapng").unlink()
    status, out, err = said(["find", "--json", str(shelf), "vhost.request == SET_MEM_TABLE"], capsys)
    found = [json.loads(line) for line in out.splitlines()]
    assert (status, err) == (0, "")
    for one in found:
        timeline = Timeline(Index([one["file"]]))
        read_all(timeline)
        numbers = [
            message.number
            for message in timeline.messages()
            if message.name == "SET_MEM_TABLE" and message.session == one["session"]
        ]
        assert (one["passing"], one["first_passing"]) == (len(numbers), numbers[0])
        assert one["verdict"]["sessions"] == [one["session"]]
    assert len(found) == 3


def test_only_those_in_trouble(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (shelf / "c.pcapng").unlink()
    whole = (CAPTURES / "qemu-testpmd.pcapng").read_bytes()
    (shelf / "cut.pcapng").write_bytes(whole[: len(whole) // 3])
    assert said(["find", str(shelf / "a.pcapng"), "", "--trouble"], capsys)[:2] == (1, "")
    _, out, err = said(["find", "--json", str(shelf), ""], capsys)
    assert len(out.splitlines()) == 4
    assert "cut.pcapng" in err
    assert said(["find", "--json", str(shelf)], capsys)[1] == out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nowhere", ""], "nowhere: no such file or directory"),
        ([".", ""], ".: there is no capture in it (a file whose name ends in .pcapng)"),
        ([".", "vhost.request =="], "filter"),
        ([".", "", "--jobs", "0"], "--jobs 0: at least one capture is read at a time"),
    ],
)
def test_bad_words_get_a_sentence(
    words: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = said(["find", *words], capsys)
    assert (status, out) == (2, "")
    assert sentence in err


def test_what_reads_beside_us_takes_no_code_from_the_directory(shelf: Path) -> None:
    for name in ("json", "multiprocessing", "concurrent", "vusniff"):
        (shelf / f"{name}.py").write_text("open('marker', 'w').close()\n")
    done = subprocess.run([SCRIPT, "find", ".", "", "--jobs", "2"], cwd=shelf, capture_output=True, text=True)
    assert done.stdout.count("session") >= 3
    assert not (shelf / "marker").exists()
