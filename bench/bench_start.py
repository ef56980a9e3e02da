"""What a command costs that has little to do: CPU of commands on a small capture, and of the interpreter alone.

usage: python bench/bench_start.py [ROUNDS]

User and system time of whole processes, the least of 20 rounds in which each command runs once, so that all of them
meet the same machine. Bytecode is written and used, as it is once installed, whatever the environment says.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
ROUNDS = 20
CAPTURE, OTHER = (str(ROOT / "captures" / name) for name in ("qemu-blk.pcapng", "qemu-testpmd.pcapng"))
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("--help",),
    ("read", CAPTURE),
    ("summary", CAPTURE),
    ("check", CAPTURE),
    ("diff", CAPTURE, OTHER),
    ("explain", "SET_MEM_TABLE"),
    ("decode", "0800000001000000080000000000000000010000"),
)


def spent(arguments: tuple[str, ...]) -> float:
    """Seconds of CPU of one run of the interpreter."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, *arguments], env=environment, cwd=ROOT, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 1):  # 1: findings, differences
        raise SystemExit(f"{' '.join(arguments)}: {done.stderr.decode()}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(arguments: list[str]) -> int:
    """Prints the figures."""
    runs = {"the interpreter": ("-c", ""), **{one[0]: ("-m", "vusniff", *one) for one in COMMANDS}}
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(int(arguments[0]) if arguments else ROUNDS):
        for what, run in runs.items():
            best[what] = min(best[what], spent(run))
    for what, seconds in best.items():
        print(
            f"{what:16} {seconds * 1e3:6.0f} ms of CPU {seconds / best['the interpreter']:6.1f} times the interpreter"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
