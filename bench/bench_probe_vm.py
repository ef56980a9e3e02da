"""What the probe costs a message in instructions, beside other tools: exact, whatever else this machine does.

usage: bench_probe_vm.py [KERNEL-IMAGE [MODE ...]]      default: the first that tests/vm/fetch.py has unpacked

Boots the kernel (see tests/vm/fetch.py) under an emulator that counts instructions, one for each nanosecond of its
clock, and plays ping-pong with 20 bytes: with nothing attached, with a connection that the probe ignores, with one that
it follows, and with each other tool that is installed: bpftrace's undump.bt (package bpftrace), bcc's undump (packages
bpfcc-tools and linux-headers of that kernel), strace, and sockdump where SOCKDUMP names its sockdump.py
(github.com/mechpen/sockdump; needs the same headers). Readers are stopped meanwhile, and their buffers are made large
enough for the run: this is what the traced programs pay. strace has no reader apart: there it is everything.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

if TYPE_CHECKING:
    from bench.bench_probe import Bench

MODES = ("fentry", "kprobe", "rawtp")
COUNT = 2000
IGNORED, FOLLOWED = 200, 8
"""Request numbers of the messages: the first looks like nothing."""
STRACE = ("strace", "-f", "-qq", "-e", "trace=sendmsg,recvmsg", "-o", "/dev/null")
BUFFER_PAGES = 4096
ATTACH_SECONDS = 300
"""On the guest's clock."""
UNDUMP = ("/usr/sbin/undump-bpfcc", "/usr/share/doc/bpfcc-tools/examples/tracing/undump.py")
ROOMY = f"""
import runpy, sys
from bcc.table import PerfEventArray
opened = PerfEventArray.open_perf_buffer
def roomy(self, callback, page_cnt=8, **rest):
    opened(self, callback, page_cnt={BUFFER_PAGES}, **rest)
PerfEventArray.open_perf_buffer = roomy
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs a bcc tool with a larger buffer than it asks for."""


def tools(path: str) -> dict[str, list[str] | str]:
    """Commands that watch the socket at ``path`` until they are interrupted, or what is missing."""
    found: dict[str, list[str] | str] = {}
    undump_bt, bpftrace = shutil.which("undump.bt", path="/usr/sbin:/usr/bin:/usr/local/bin"), shutil.which("bpftrace")
    found["undump.bt (bpftrace)"] = [bpftrace, undump_bt] if bpftrace and undump_bt else "bpftrace is not installed"
    bcc, no_headers = ["/usr/bin/python3", "-c", ROOMY], _link_headers()
    undump = next((name for name in UNDUMP if os.path.exists(name)), None)
    found["undump (bcc)"] = no_headers or ([*bcc, undump] if undump else "bpfcc-tools is not installed")
    sockdump = os.environ.get("SOCKDUMP")
    watch = [*bcc, sockdump, "--format", "hex", path] if sockdump else "SOCKDUMP does not name its sockdump.py"
    found["sockdump"] = no_headers or watch
    return found


def _link_headers() -> str | None:
    """Puts the headers of this kernel where bcc's tools look for them; what is missing, if any."""
    release = platform.release()
    build = Path(f"/usr/src/linux-headers-{release}")
    source = build.with_name(build.name.rpartition("-")[0] + "-common")
    modules = Path("/lib/modules", release)
    if not build.exists():
        return f"it needs kernel headers, and there is no {build}"
    subprocess.run(["mount", "-t", "tmpfs", "none", modules], check=True)  # the package of the kernel is read-only
    (modules / "build").symlink_to(build)
    (modules / "source").symlink_to(source if source.exists() else build)
    return None


@contextmanager
def watching(bench: Bench, command: list[str]) -> Iterator[None]:
    """Another tool, attached and stopped. Raises RuntimeError when it shows nothing."""
    settings = {"BPFTRACE_PERF_RB_PAGES": str(BUFFER_PAGES), "PYTHONUNBUFFERED": "1"}
    shown, said = bench.folder / "shown", bench.folder / "said"
    with shown.open("wb") as output, said.open("wb") as errors:
        process = subprocess.Popen(command, stdout=output, stderr=errors, env=os.environ | settings)
    try:
        end = time.monotonic() + ATTACH_SECONDS
        while shown.stat().st_size < 2000:  # more than a heading: it sees messages
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(" ".join(said.read_text(errors="replace").split())[-300:] or "it shows nothing")
            bench.run("pingpong", 200)
            time.sleep(0.2)
        process.send_signal(signal.SIGSTOP)
        yield
    finally:
        process.kill()
        process.wait()


def inside(modes: list[str]) -> None:
    """In the virtual machine."""
    from bench.bench_probe import Bench
    from vusniff.bpf.load import Attach, attach_program

    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), None)

        def least(request: int = FOLLOWED) -> float:
            return min(bench.run("pingpong", COUNT, request=request)[0] for _ in range(3)) * 1000

        found: dict[str, float | str] = {"nothing": least()}
        for mode in modes:
            program = attach_program((Attach(mode),))
            found[f"vusniff {mode}, ignored"] = least(IGNORED)
            found[f"vusniff {mode}, followed"] = least(FOLLOWED)
            program.close()
        for name, command in tools(str(bench.folder / "s")).items():
            if isinstance(command, str):
                found[name] = command
                continue
            try:
                with watching(bench, command):
                    found[name] = least()
            except RuntimeError as error:
                found[name] = f"it does not run here: {error}"
        strace = bool(shutil.which("strace"))
        found["strace"] = (
            bench.run("pingpong", COUNT // 10, prefix=STRACE)[0] * 1000 if strace else "strace is not installed"
        )
        found["nothing again"] = least()
    print("RESULT " + json.dumps(found), flush=True)


def outside(image: str, modes: list[str]) -> None:
    """On this machine."""
    vng = shutil.which("vng", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if vng is None:
        raise SystemExit("bench_probe_vm.py needs virtme-ng (pip install virtme-ng)")
    sockdump = os.environ.get("SOCKDUMP", "")
    folders = {Path(path).resolve() for path in (sys.prefix, ROOT)} | {Path(sys.prefix)}
    folders |= {Path(sockdump).resolve().parent} if sockdump else set()
    shares = [f"--rodir={path}={path}" for path in folders if path.is_relative_to("/tmp")]
    settings = f"PYTHONPATH={ROOT}:{ROOT}/bench PYTHONDONTWRITEBYTECODE=1 {f'SOCKDUMP={sockdump}' if sockdump else ''}"
    script = f"cd {ROOT} && {settings} {sys.executable} {__file__}"
    command = [vng, "--disable-kvm", "-r", image, "--user", "root", "--memory", "3G", "--cpus", "1", *shares]
    command += ["--qemu-opts=-icount shift=0,sleep=off", "--", f"{script} --inside {' '.join(modes)}"]
    environment = os.environ | {"PATH": f"{Path(vng).parent}:{os.environ['PATH']}"}
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=environment)
    lines = [line.partition("RESULT ")[2] for line in done.stdout.splitlines() if "RESULT " in line]
    if not lines:
        raise SystemExit((done.stdout + done.stderr)[-3000:])
    found = json.loads(lines[0])
    print(f"ping-pong of 20 bytes on {Path(image).name}: instructions per message, more than nothing, ratio to nothing")
    for name, value in found.items():
        if isinstance(value, str):
            print(f"  {name:26} left out: {value}")
        else:
            print(f"  {name:26} {value:9.0f} {value - found['nothing']:+8.0f}   {value / found['nothing']:6.3f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        inside(sys.argv[2:])
    else:
        from vm.fetch import FOLDER

        images = sys.argv[1:2] or [str(path) for path in sorted(FOLDER.glob("*/boot/vmlinuz-*"))]
        if images:
            outside(images[0], sys.argv[2:] or list(MODES))
        else:
            print(f"left out: no kernel in {FOLDER}; tests/vm/fetch.py fetches one")
