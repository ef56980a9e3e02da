"""Nothing that a file, a peer or a user says crashes vusniff: the corpus of the fuzzers, a short run, every command."""

from __future__ import annotations

import importlib.util
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz import commands
from fuzz.commands import FORMS, Form, complaint
from fuzz.harnesses import BYTES, CORPUS, HARNESSES, Harness, TooMuchError, corpus_of, harness_of, replay
from fuzz.hostile import hostile
from fuzz.run import ROOT

from captures import synthetic
from vusniff.capture.reader import CaptureReader
from vusniff.errors import CaptureError, FilterError

INPUTS = [(harness, path) for harness in HARNESSES for path in corpus_of(harness)]
RUNS = 4_000
"""Inputs of the short run: as many as take seconds."""
NEEDS_ATHERIS = pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="needs atheris (extra dev, where it is built for this Python)"
)


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """One of the programs, with what it leaves in a folder."""
    path = os.pathsep.join((str(ROOT / "tests"), str(ROOT)))
    environment = {**os.environ, "PYTHONPATH": path, "LANGUAGE": "C"}  # else argparse looks for translations each time
    return subprocess.run(
        [sys.executable, "-m", *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=1200
    )


@pytest.mark.parametrize(("harness", "path"), INPUTS, ids=[f"{harness.name}-{path.name}" for harness, path in INPUTS])
def test_what_was_found_once_is_not_found_again(harness: Harness, path: Path) -> None:
    replay(harness, path.read_bytes())


def test_every_harness_has_a_small_corpus() -> None:
    assert {path.name for path in CORPUS.iterdir()} == {harness.name for harness in HARNESSES}
    assert {harness.name for harness, _ in INPUTS} == {harness.name for harness in HARNESSES}
    sizes = [path.stat().st_size for _, path in INPUTS]
    assert max(sizes) <= max(harness.longest for harness in HARNESSES)
    assert sum(sizes) <= 96 << 10, "keep the smallest input that shows a fault"


@NEEDS_ATHERIS
def test_a_short_run_finds_nothing(tmp_path: Path) -> None:
    done = run(tmp_path, "fuzz.run", "every", "--runs", str(RUNS), "--seed", "1", "--fresh")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{RUNS:,} inputs" in done.stdout


def test_ten_thousand_commands_on_hostile_captures(tmp_path: Path) -> None:
    done = run(tmp_path, "fuzz.commands", "--count", "10000", "--seed", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    count, _, rest = done.stdout.partition(" commands on ")
    assert int(count.replace(",", "")) >= 10_000
    assert ", 0 of them wrong, " in rest


# -- the tools themselves ---------------------------------------------------------------------------------------------


def test_a_harness_raises_what_is_not_documented() -> None:
    def broken(data: bytes) -> None:
        raise KeyError(data.decode()) if data else FilterError("no", "x", 0)

    harness = Harness("broken", broken, (FilterError,))
    replay(harness, b"")
    with pytest.raises(KeyError, match="abc"):
        replay(harness, b"abc")


def test_a_harness_bounds_the_memory_of_an_input() -> None:
    harness = Harness("greedy", lambda data: bytearray(len(data) * BYTES))
    replay(harness, b"")
    with pytest.raises(TooMuchError, match="64 MiB for 1 bytes"):
        replay(harness, b"x")


def test_a_seed_gives_the_same_capture_and_most_can_be_read(tmp_path: Path) -> None:
    read, path = 0, tmp_path / "x.pcapng"
    for seed in range(100):
        data = hostile(random.Random(seed))
        assert data == hostile(random.Random(seed))
        path.write_bytes(data)
        try:
            with CaptureReader(path) as reader:
                read += sum(len(batch) for batch in reader.batches()) > 0
        except CaptureError:
            continue
    assert read > 80


@pytest.mark.parametrize(
    ("status", "out", "err", "wrong"),
    [
        (0, b"text\n", "", None),
        (2, b"", "vusniff: no such file: name another\n", None),
        (None, b"", "", "ended with None"),
        (3, b"", "", "ended with 3"),
        (2, b"", "", "did not say why"),
        (1, b"", "Traceback (most recent call last):\n", "traceback"),
        (2, b"", "KeyError: 3\n", "no sentence of ours"),
        (0, b"\xff", "", "no UTF-8"),
    ],
)
def test_how_a_command_may_end(status: int | None, out: bytes, err: str, wrong: str | None) -> None:
    found = complaint(Form(lambda dice: ["read"]), status, out, err)
    assert found is None if wrong is None else wrong in str(found)


def test_a_command_that_does_not_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    synthetic.million("a.pcapng", 20_000)
    form = Form(lambda dice: ["check", "a.pcapng"])
    monkeypatch.setattr(commands, "CPU_SECONDS", 0.05)
    assert "TooLongError: more than 0.05 s of CPU" in str(commands.called(form, form.say(random.Random())))
    monkeypatch.setattr(commands, "CPU_SECONDS", 60.0)
    assert commands.called(form, form.say(random.Random())) is None


def test_what_is_found_is_kept_with_a_line_that_repeats_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    commands.prepare(random.Random(1))
    found = tmp_path / "found" / "commands-1-0"
    commands.keep(found, "vusniff read a.pcapng", "KeyError: 'num'")
    assert f"repeat it: cd {found} && vusniff read a.pcapng\n" in capsys.readouterr().out
    assert (found / "a.pcapng").read_bytes() == Path("a.pcapng").read_bytes()
    assert "KeyError: 'num'" in (found / "report.txt").read_text()


def test_the_forms_call_every_command_that_reads() -> None:
    dice = random.Random(1)
    called = {form.say(dice)[0] for form in FORMS}
    assert called >= {
        "read",
        "state",
        "summary",
        "check",
        "find",
        "diff",
        "export",
        "edit",
        "import",
        "decode",
        "explain",
        "replay",
        "draw",
        "rings",
        "top",
    }


def test_a_found_input_can_be_repeated(tmp_path: Path) -> None:
    path = next(corpus_of(harness_of("filter")))
    done = run(tmp_path, "fuzz.run", "filter", "--input", str(path))
    assert (done.returncode, done.stdout, done.stderr) == (0, f"filter: {path} is as it should be\n", "")
