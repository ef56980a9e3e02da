"""What the probe costs a message in instructions: exact, whatever else this machine does.

usage: bench_probe_vm.py [KERNEL-IMAGE [MODE ...]]      default: the first that tests/vm/fetch.py has unpacked

Boots the kernel (see tests/vm/fetch.py) under an emulator that counts instructions, one for each nanosecond of its
clock, and plays ping-pong with 20 bytes: with nothing attached, with a connection that is ignored, with one that is
followed. The reader does not run meanwhile: this is what the traced programs pay.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
MODES = ("fentry", "kprobe", "rawtp")
COUNT = 2000
IGNORED, FOLLOWED = 200, 8
"""Request numbers of the messages: the first looks like nothing."""


def inside(modes: list[str]) -> None:
    """In the virtual machine."""
    sys.path.insert(0, str(ROOT))
    from bench.bench_probe import Bench
    from vusniff.bpf.load import Attach, attach_program

    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), None)

        def least(request: int) -> float:
            return min(bench.run("pingpong", COUNT, request=request)[0] for _ in range(3)) * 1000

        found = {"nothing": least(FOLLOWED)}
        for mode in modes:
            program = attach_program((Attach(mode),))
            found[f"{mode}, ignored"] = least(IGNORED)
            found[f"{mode}, followed"] = least(FOLLOWED)
            program.close()
        found["nothing again"] = least(FOLLOWED)
    print("RESULT " + json.dumps(found), flush=True)


def outside(image: str, modes: list[str]) -> None:
    """On this machine."""
    vng = shutil.which("vng", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if vng is None:
        raise SystemExit("bench_probe_vm.py needs virtme-ng (pip install virtme-ng)")
    folders = {Path(path).resolve() for path in (sys.prefix, ROOT)} | {Path(sys.prefix)}
    shares = [f"--rodir={path}={path}" for path in folders if path.is_relative_to("/tmp")]
    script = f"cd {ROOT} && PYTHONPATH={ROOT}:{ROOT}/bench PYTHONDONTWRITEBYTECODE=1 {sys.executable} {__file__}"
    command = [vng, "--disable-kvm", "-r", image, "--user", "root", "--memory", "3G", "--cpus", "1", *shares]
    command += ["--qemu-opts=-icount shift=0,sleep=off", "--", f"{script} --inside {' '.join(modes)}"]
    environment = os.environ | {"PATH": f"{Path(vng).parent}:{os.environ['PATH']}"}
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=environment)
    lines = [line.partition("RESULT ")[2] for line in done.stdout.splitlines() if "RESULT " in line]
    if not lines:
        raise SystemExit((done.stdout + done.stderr)[-3000:])
    found = json.loads(lines[0])
    print(f"ping-pong of 20 bytes on {Path(image).name}: instructions per message")
    for name, value in found.items():
        added = value - found["nothing"]
        print(f"  {name:20} {value:9.0f} {added:+8.0f}   {value / found['nothing']:5.3f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        inside(sys.argv[2:])
    else:
        sys.path.insert(0, str(ROOT / "tests"))
        from vm.fetch import FOLDER

        images = sys.argv[1:2] or [str(path) for path in sorted(FOLDER.glob("*/boot/vmlinuz-*"))]
        if images:
            outside(images[0], sys.argv[2:] or list(MODES))
        else:
            print(f"left out: no kernel in {FOLDER}; tests/vm/fetch.py fetches one")
