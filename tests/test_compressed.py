"""Compressed captures are read as they were before, written by the ending of the name, and cut ones say so."""

from __future__ import annotations

import contextlib
import gzip
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from vusniff.capture import bound, compressed
from vusniff.capture.reader import CaptureReader
from vusniff.child import command
from vusniff.cli import main
from vusniff.errors import CaptureError

CAPTURES = Path(__file__).parents[1] / "captures"
CAPTURE = CAPTURES / "qemu-testpmd.pcapng"
PACK: dict[str, Callable[[bytes], bytes]] = {"gz": gzip.compress, "zst": zstandard.ZstdCompressor().compress}


def said(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    capsys.readouterr()
    status = main(words)
    return status, capsys.readouterr().out


@pytest.mark.parametrize("ending", PACK)
@pytest.mark.parametrize("words", [["read"], ["read", "--json"], ["summary"], ["check"], ["state"]], ids=" ".join)
def test_a_compressed_capture_reads_like_the_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], ending: str, words: list[str]
) -> None:
    plain, packed = tmp_path / "a.pcapng", tmp_path / f"a.pcapng.{ending}"
    plain.write_bytes(CAPTURE.read_bytes())
    packed.write_bytes(PACK[ending](CAPTURE.read_bytes()))
    status, text = said([*words, str(plain)], capsys)
    assert text
    assert said([*words, str(packed)], capsys) == (status, text.replace(str(plain), str(packed)))


@pytest.mark.parametrize("ending", PACK)
def test_a_compressed_pipe_is_read(ending: str) -> None:
    packed = PACK[ending](CAPTURE.read_bytes())
    run = subprocess.run(command("read", "-"), input=packed, capture_output=True, check=True)
    expected = subprocess.run(command("read", "-"), input=CAPTURE.read_bytes(), capture_output=True, check=True)
    assert run.stdout == expected.stdout != b""


def test_members_behind_each_other_are_one_file(tmp_path: Path) -> None:
    data = CAPTURE.read_bytes()
    for ending, pack in PACK.items():
        path = tmp_path / ending
        path.write_bytes(pack(data[:5000]) + pack(data[5000:]))
        with CaptureReader(str(path)) as reader, CaptureReader(str(CAPTURE)) as plain:
            assert sum(map(len, reader.batches())) == sum(map(len, plain.batches()))
            assert not reader.cuts


@pytest.mark.parametrize("ending", PACK)
def test_one_that_is_cut_anywhere_gives_what_comes_before(tmp_path: Path, ending: str) -> None:
    packed = PACK[ending](CAPTURE.read_bytes())
    with CaptureReader(str(CAPTURE)) as reader:
        whole = sum(map(len, reader.batches()))
    path, counts = tmp_path / "cut", []
    for size in range(4, len(packed), 97):
        path.write_bytes(packed[:size])
        try:
            with CaptureReader(str(path)) as reader:
                counts.append(sum(map(len, reader.batches())))
                assert reader.cuts, size
        except Exception as error:
            assert "compressed data is cut" in str(error) or "first block" in str(error), (size, error)  # noqa: PT017
    assert counts == sorted(counts)
    if ending == "gz":  # zstd unpacks blocks of 128 KiB only
        assert counts[-1] > whole // 2


def test_damage_in_the_middle_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packed = bytearray(gzip.compress(CAPTURE.read_bytes()))
    packed[len(packed) // 2 :] = bytes(len(packed) - len(packed) // 2)
    path = tmp_path / "damaged.gz"
    path.write_bytes(packed)
    assert main(["check", str(path)]) == 1
    assert "its compressed data is cut or damaged" in "".join(capsys.readouterr())


@pytest.mark.parametrize("ending", PACK)
def test_a_small_file_does_not_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    path = tmp_path / f"bomb.{ending}"
    path.write_bytes(PACK[ending](CAPTURE.read_bytes() + bytes(8 << 20)))
    room = len(CAPTURE.read_bytes()) + (1 << 20)
    monkeypatch.setattr(bound.Bound, "room", lambda self, written: (room - os.fstat(self._fd).st_size, "it is full"))
    with CaptureReader(str(path)) as reader:
        assert sum(map(len, reader.batches())) > 0
        assert reader.cuts == [f"{path}: it was not unpacked to its end: it is full"]


@pytest.mark.parametrize("log", [20, 27, 28, 31])
def test_a_window_that_takes_much_memory_is_refused(tmp_path: Path, log: int) -> None:
    """A frame of zstd says how much is to be kept for it, up to 2 GiB and more (RFC 8878, 3.1.1.1.2)."""
    path = tmp_path / "window.zst"
    data = CAPTURE.read_bytes()[:65536]
    block = (1 | len(data) << 3).to_bytes(3, "little") + data  # the last one, as it is
    path.write_bytes(compressed.ZSTD + bytes([0, log - 10 << 3]) + block)
    refused = pytest.raises(CaptureError, match="cut or damaged at its beginning")
    with refused if log > 27 else contextlib.nullcontext(), CaptureReader(str(path)) as reader:
        assert sum(map(len, reader.batches())) > 0


@pytest.mark.parametrize("ending", PACK)
@pytest.mark.parametrize("form", ["pcapng", "jsonl", "md"])
def test_exports_are_compressed_by_the_ending_of_their_name(tmp_path: Path, ending: str, form: str) -> None:
    plain, packed = tmp_path / f"out.{form}", tmp_path / f"out.{form}.{ending}"
    for path in (plain, packed):
        assert main(["export", str(CAPTURE), "-o", str(path)]) == 0
    assert packed.stat().st_mode & 0o777 == 0o600
    descriptor, damage = compressed.unpacked(os.open(packed, os.O_RDONLY), b"", packed.read_bytes()[:4], "out")
    assert damage is None
    with open(descriptor, "rb") as file:
        assert file.read() == plain.read_bytes()
    assert main(["export", str(CAPTURE), "-o", str(packed)]) == 2
    assert main(["export", str(CAPTURE), "-o", str(packed), "--force"]) == 0


def test_a_full_disk_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    link = tmp_path / "full.pcapng.gz"
    link.symlink_to("/dev/full")
    assert main(["export", str(CAPTURE), "-o", str(link)]) == 2
    assert "No space left on device" in capsys.readouterr().err


def test_without_zstandard_one_sentence_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.zst"
    path.write_bytes(PACK["zst"](CAPTURE.read_bytes()))
    monkeypatch.setitem(sys.modules, "zstandard", None)
    assert main(["read", str(path)]) == 2
    assert "install the Python package zstandard, or decompress it first (unzstd)" in capsys.readouterr().err
    assert main(["export", str(CAPTURE), "-o", str(tmp_path / "b.pcapng.zst")]) == 2
    assert "install the Python package zstandard, or name another file" in capsys.readouterr().err
