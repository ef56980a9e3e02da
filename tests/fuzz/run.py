"""Runs the harnesses under atheris and says what came of it (``make fuzz``), or repeats single inputs without it.

usage: PYTHONPATH=tests:. python -m fuzz.run [--seconds N] [--jobs N] [HARNESS ...]
       PYTHONPATH=tests:. python -m fuzz.run HARNESS --input FILE ...

What is found is in ``.fuzz/found``, inputs that reached new code in ``.fuzz/corpus``, where the next run goes on from;
``--fresh`` goes on from nothing but the tree. The harness ``every`` is all of them in one process, for a short run.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from fuzz.harnesses import HARNESSES, Harness, corpus_of, harness_of, replay

ROOT = Path(__file__).parent.parent.parent
KEPT = Path(".fuzz")
EVERY = "every"
WALL_SECONDS = 300
"""One input may wait so long for a machine that has other work; its CPU time is bounded by the harness. libFuzzer would
report one that took 10 seconds by the clock as a slow unit."""
MEGABYTES = 1024
"""Of the whole process: what Python, the instrumented program and its bounded caches take, and room."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run of one harness came to."""

    name: str
    tried: int
    coverage: int
    kept: int
    found: tuple[Path, ...]
    log: Path
    failed: bool


def environment(folder: str) -> dict[str, str]:
    """For a child: the same each time, with its temporary files in a folder."""
    path = os.pathsep.join((str(ROOT / "tests"), str(ROOT)))
    return {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "0", "TMPDIR": folder}


def fuzz(name: str, limits: Sequence[str], fresh: bool) -> Outcome:
    """Run one harness until its limits are reached or something is found."""
    found, kept, log = KEPT / "found", KEPT / "corpus" / name, KEPT / f"{name}.log"
    found.mkdir(parents=True, exist_ok=True)
    before = set(found.glob(f"{name}-*"))
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None  # every input becomes a file
    with tempfile.TemporaryDirectory(prefix="vusniff-fuzz-", dir=memory) as folder:
        if fresh:
            kept = Path(folder) / "corpus"
        kept.mkdir(parents=True, exist_ok=True)
        arguments = [
            *(f"-max_len={max(one.longest for one in _meant(name))}", f"-timeout={WALL_SECONDS}"),
            f"-report_slow_units={WALL_SECONDS}",
            *(f"-rss_limit_mb={MEGABYTES}", f"-artifact_prefix={found}/{name}-", "-print_final_stats=1", *limits),
        ]
        if said := [f'"{_quoted(word)}"\n' for one in _meant(name) for word in one.words]:
            (Path(folder) / "words").write_text("".join(said))
            arguments.append(f"-dict={folder}/words")
        with open(log, "wb") as output:
            status = subprocess.run(
                [sys.executable, "-m", "fuzz.guided", name, *arguments, str(kept), str(_seeds(name, Path(folder)))],
                env=environment(folder),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            ).returncode
        report = log.read_text(errors="replace")
        new = tuple(sorted(set(found.glob(f"{name}-*")) - before))
        return Outcome(
            name,
            _last(r"stat::number_of_executed_units: +(\d+)", report),
            _last(r"\bcov: (\d+)", report),
            len(list(kept.iterdir())),
            new,
            log,
            status != 0 or bool(new),
        )


def _meant(name: str) -> Sequence[Harness]:
    return HARNESSES if name == EVERY else (harness_of(name),)


def _seeds(name: str, folder: Path) -> Path:
    """The folder of a harness's inputs; for all in one, copies of them that say which harness they are for."""
    if name != EVERY:
        return harness_of(name).corpus
    seeds = folder / "seeds"
    seeds.mkdir()
    for number, harness in enumerate(HARNESSES):
        for path in corpus_of(harness):
            (seeds / f"{harness.name}-{path.name}").write_bytes(bytes([number]) + path.read_bytes())
    return seeds


def _quoted(word: bytes) -> str:
    return "".join(chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\' else f"\\x{byte:02x}" for byte in word)


def _last(pattern: str, said: str) -> int:
    numbers = re.findall(pattern, said, re.MULTILINE)
    return int(numbers[-1]) if numbers else 0


def show(outcome: Outcome) -> None:
    """Print one row, and what was found with how to repeat it."""
    what = "FOUND" if outcome.failed else "ok"
    print(
        f"{outcome.name:10} {outcome.tried:10,} inputs  {outcome.coverage:6,} branches  {outcome.kept:5,} kept  {what}",
        flush=True,
    )
    if not outcome.failed:
        return
    said = outcome.log.read_text(errors="replace")
    start = said.find("=== Uncaught Python exception")
    print(said[start:][:4000] if start >= 0 else said[-2000:])
    for path in outcome.found:
        print(f"repeat it: PYTHONPATH=tests:. {sys.executable} -m fuzz.run {outcome.name} --input {path}", flush=True)


def main(words: Sequence[str]) -> int:
    """0 when nothing was found, else 1."""
    parser = argparse.ArgumentParser(
        prog="fuzz.run", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    names = [harness.name for harness in HARNESSES]
    parser.add_argument("harnesses", metavar="HARNESS", nargs="*", help=f"of {', '.join(names)}, or {EVERY}")
    parser.add_argument("--seconds", type=int, default=60, help="for each harness (60)")
    parser.add_argument("--runs", type=int, help="inputs for each harness instead of a time")
    parser.add_argument("--seed", type=int, help="the same run again, as far as the program is the same")
    parser.add_argument("--jobs", type=int, default=2, help="harnesses at a time (2)")
    parser.add_argument("--fresh", action="store_true", help="neither use nor keep what earlier runs kept")
    parser.add_argument("--input", nargs="+", type=Path, metavar="FILE", help="only repeat these inputs")
    args = parser.parse_args(words)
    chosen = args.harnesses or names
    for name in chosen:
        if name not in (*names, EVERY):
            parser.error(f"{name} is no harness: there are {', '.join(names)} and {EVERY}")
    if args.input:
        for path in args.input:
            for name in chosen:
                data = path.read_bytes()
                if name == EVERY:
                    name, data = names[data[0] % len(names)], data[1:]
                replay(harness_of(name), data)
                print(f"{name}: {path} is as it should be")
        return 0
    if importlib.util.find_spec("atheris") is None:
        print("fuzz.run: there is no atheris here, which is built for Linux on x86-64; --input works without it")
        return 2
    limits = [f"-runs={args.runs}"] if args.runs else [f"-max_total_time={args.seconds}"]
    if args.seed is not None:
        limits.append(f"-seed={args.seed}")
    failed = False
    with ThreadPoolExecutor(args.jobs) as pool:
        for outcome in pool.map(lambda name: fuzz(name, limits, args.fresh), chosen):
            show(outcome)
            failed = failed or outcome.failed
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
