"""How fast a capture is printed, beside tshark with the dissector generated from the same tables, in the same run.

usage: python bench/bench_read.py [COUNT [JSON_COUNT]]     messages printed as lines (1,000,000) and as JSON (200,000)

CPU seconds of each program, its whole life, best of two runs; the output goes to /dev/null. tshark prints its own line
of each packet, and its own JSON of it: what its users would look at.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from captures import synthetic
from vusniff.wireshark.lua import generate

ROUNDS = 2


def cpu(command: Sequence[str], folder: Path) -> tuple[float, float]:
    """CPU seconds, user and system, of a program that must succeed, and its largest resident MB."""
    best, memory = float("inf"), 0.0
    home = {**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    for _ in range(ROUNDS):
        with open(os.devnull, "wb") as nothing:
            child = subprocess.Popen(command, stdout=nothing, stderr=nothing, env=home)
            _, status, used = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise SystemExit(f"{command[0]} ended with {child.returncode}")
        best = min(best, used.ru_utime + used.ru_stime)
        memory = max(memory, used.ru_maxrss / 1024)
    return best, memory


def compare(what: str, count: int, ours: Sequence[str], theirs: Sequence[str], folder: Path) -> float:
    """Print both and how many times the CPU time of ours tshark takes."""
    own, memory = cpu(ours, folder)
    print(f"vusniff, {what:28} {count:9,} messages {own:7.2f} s {count / own / 1e3:7.0f} k/s {memory:6.0f} MB")
    if shutil.which("tshark") is None:
        print("tshark is not installed: not compared")
        return 0.0
    other, memory = cpu(theirs, folder)
    print(f"tshark,  {what:28} {count:9,} messages {other:7.2f} s {count / other / 1e3:7.0f} k/s {memory:6.0f} MB")
    print(f"{what}: tshark takes {other / own:.1f} times the CPU time of vusniff")
    return other / own


def main(arguments: list[str]) -> int:
    """Prints the figures."""
    counts = [int(argument) for argument in arguments] + [1_000_000, 200_000][len(arguments) :]
    vusniff = [sys.executable, "-m", "vusniff", "read"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lua = folder / "vusniff.lua"
        lua.write_text(generate(), encoding="utf-8")
        tshark = ["tshark", "-n", "-X", f"lua_script:{lua}", "-r"]
        lines, objects = str(folder / "lines.pcapng"), str(folder / "objects.pcapng")
        synthetic.million(lines, counts[0])
        synthetic.million(objects, counts[1])
        compare("one line a message", counts[0], [*vusniff, lines], [*tshark, lines], folder)
        if shutil.which("tshark") is not None:
            plain, _ = cpu(["tshark", "-n", "-r", lines], folder)
            print(f"tshark without a dissector lists frames without their contents: {plain:.2f} s")
        compare("JSON", counts[1], [*vusniff, "--json", objects], [*tshark, objects, "-T", "json"], folder)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
