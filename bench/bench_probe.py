"""What the probe costs the programs it watches, and what it can take: ping-pong, sustained rate, burst, start.

usage: bench_probe.py [--rounds N] [--attach MODE] [--seconds S] [--only NAME]

Needs root. The traffic comes from a small C program compiled here (cc), because Python cannot send fast enough. Costs
are ratios to the same traffic with nothing attached, in the same run, the least of all rounds: other load on the
machine only ever adds.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

GENERATOR = r"""
#define _GNU_SOURCE
#include <alloca.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* It sends and receives as vhost-user programs do, with sendmsg and recvmsg.
   load MODE PATH COUNT RATE FIRST: pingpong prints the least and median microseconds per message of 200 blocks; deep
   does so with 20 KiB of stack in use at each end, and rests after each block, so that stacks find room; flood sends
   COUNT numbered messages at RATE a second (0: as fast as it goes) and prints the rate it reached. FIRST is the request
   number of the messages: 200 looks like nothing. */
int main(int argc, char **argv)
{
	long count = atol(argv[3]), rate = atol(argv[4]), request = atol(argv[5]);
	int listener = socket(AF_UNIX, SOCK_STREAM, 0), near, far;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	unsigned message[5] = {request, 1, 8, 0, 0};
	char buffer[1 << 16];
	struct iovec out = {message, 20}, in = {buffer, 20}, back = {buffer, 20};
	struct msghdr send_it = {.msg_iov = &out, .msg_iovlen = 1}, take_it = {.msg_iov = &in, .msg_iovlen = 1};
	struct msghdr send_back = {.msg_iov = &back, .msg_iovlen = 1};
	strcpy(address.sun_path, argv[2]);
	unlink(argv[2]);
	bind(listener, (void *)&address, sizeof(address));
	listen(listener, 1);
	int deep = !strcmp(argv[1], "deep");
	int pingpong = deep || !strcmp(argv[1], "pingpong");
	if (deep)
		memset(alloca(20 << 10), 1, 20 << 10);
	if (pingpong) {
		cpu_set_t one;
		CPU_ZERO(&one);
		CPU_SET(0, &one);
		sched_setaffinity(0, sizeof(one), &one);
	}
	if (!fork()) {
		near = socket(AF_UNIX, SOCK_STREAM, 0);
		connect(near, (void *)&address, sizeof(address));
		if (pingpong) {
			while (recvmsg(near, &take_it, MSG_WAITALL) == 20)
				sendmsg(near, &send_back, 0);
		} else {
			while (recv(near, buffer, sizeof(buffer), 0) > 0)
				;
		}
		_exit(0);
	}
	far = accept(listener, 0, 0);
	if (pingpong) {
		static double block[200];
		for (int b = 0; b < 200; b++) {
			double start = now();
			for (long i = 0; i < count / 200; i++) {
				sendmsg(far, &send_it, 0);
				recvmsg(far, &take_it, MSG_WAITALL);
			}
			block[b] = (now() - start) / (count / 200) / 2 * 1e6;
			if (deep)
				usleep(10000);
		}
		for (int i = 0; i < 200; i++)
			for (int j = i + 1; j < 200; j++)
				if (block[j] < block[i]) {
					double t = block[i];
					block[i] = block[j];
					block[j] = t;
				}
		printf("%.3f %.3f\n", block[0], block[100]);
	} else {
		double start = now();
		for (long i = 0; i < count; i++) {
			message[3] = i;
			if (rate && i % 100 == 0)
				while (i > (now() - start) * rate)
					usleep(200);
			sendmsg(far, &send_it, 0);
		}
		printf("%.0f\n", count / (now() - start));
	}
	fflush(stdout);
	shutdown(far, SHUT_WR);
	wait(0);
	return 0;
}
"""


class Bench:
    """The generator, and where files go."""

    def __init__(self, folder: Path, attach: str | None) -> None:
        self.folder = folder
        self.attach = attach
        self.load = folder / "load"
        source = folder / "load.c"
        source.write_text(GENERATOR)
        subprocess.run(["cc", "-O2", "-w", "-o", self.load, source], check=True)

    def run(self, mode: str, count: int, rate: int = 0, request: int = 8, prefix: tuple[str, ...] = ()) -> list[float]:
        """One run of the generator."""
        words = [*prefix, str(self.load), mode, str(self.folder / "s"), str(count), str(rate), str(request)]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        return [float(word) for word in done.stdout.split()]

    @contextmanager
    def probe(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """A capture; what it says at its end is in ``stderr_text`` of what this gives."""
        readable, writable = os.pipe()
        command = [sys.executable, "-m", "vusniff", "capture", "--record-only", "-w", str(self.folder / "c.pcapng")]
        command += ["--ready-fd", str(writable), *(["--attach", self.attach] if self.attach else []), *words]
        process = subprocess.Popen(command, pass_fds=(writable,), stderr=subprocess.PIPE, text=True)
        os.close(writable)
        with open(readable, "rb") as pipe:
            pipe.read(1)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGCONT)
            process.send_signal(signal.SIGINT)
            process.stderr_text = process.communicate()[1]  # type: ignore[attr-defined]


def cost(bench: Bench, rounds: int) -> None:
    """Ping-pong of 20 bytes: microseconds per message."""
    own = str(bench.folder / "s")
    count = 20000
    cases: dict[str, Callable[[], list[float]]] = {"nothing": lambda: bench.run("pingpong", count)}

    def with_probe(*words: str, request: int = 8) -> Callable[[], list[float]]:
        def run() -> list[float]:
            with bench.probe(*words):
                return bench.run("pingpong", count, request=request)

        return run

    cases["probe, followed"] = with_probe("--path", own)
    cases["probe, ignored"] = with_probe(request=200)
    if shutil.which("strace"):
        trace = ("strace", "-f", "-qq", "-e", "trace=sendmsg,recvmsg", "-o", "/dev/null")
        cases["strace"] = lambda: bench.run("pingpong", count // 10, prefix=trace)
    print("ping-pong of 20 bytes, us per message (least block, median block), ratio to nothing attached")
    _compare(cases, rounds)


def stacks(bench: Bench, rounds: int) -> None:
    """The same with 20 KiB of stack in use, which are copied in part."""
    own = str(bench.folder / "s")
    count, said = 20000, list[str]()

    def with_probe(*words: str, request: int = 8) -> Callable[[], list[float]]:
        def run() -> list[float]:
            with bench.probe(*words) as process:
                found = bench.run("deep", count, request=request)
            said.extend(line for line in process.stderr_text.splitlines() if "stack" in line)  # type: ignore[attr-defined]
            return found

        return run

    cases: dict[str, Callable[[], list[float]]] = {"nothing": lambda: bench.run("deep", count)}
    cases["followed"] = with_probe("--path", own)
    for kib in (4, 16, 32):
        cases[f"followed, {kib} KiB"] = with_probe("--path", own, f"--stacks={kib}")
    cases["ignored"] = with_probe(request=200)
    cases["ignored, 16 KiB"] = with_probe("--stacks", request=200)
    print("the same with deep stacks and a rest after each 200 messages")
    _compare(cases, rounds)
    print(*sorted(set(said)), sep="\n")


def _compare(cases: dict[str, Callable[[], list[float]]], rounds: int) -> None:
    best: dict[str, tuple[float, float]] = {}
    for _ in range(rounds):
        for name, run in cases.items():
            least, median = run()
            before = best.get(name, (least, median))
            best[name] = min(before[0], least), min(before[1], median)
    base = best["nothing"]
    for name, (least, median) in best.items():
        print(f"  {name:18} {least:8.2f} {median:8.2f}   {least / base[0]:6.2f} {median / base[1]:6.2f}")


def sustained(bench: Bench, seconds: float) -> None:
    """A steady rate into a file, without loss."""
    print(f"sustained for {seconds:.0f} s into a file")
    for rate in (20_000, 50_000, 100_000, 0):
        count = int((rate or 150_000) * seconds)
        with bench.probe("--path", str(bench.folder / "s")) as process:
            (reached,) = bench.run("flood", count, rate)
            spent = _cpu(process.pid)
        said = process.stderr_text  # type: ignore[attr-defined]
        wanted = f"{rate}/s" if rate else "as fast as it goes"
        print(
            f"  {wanted:20} sent {count} at {reached:.0f}/s: {_counted(said)}; "
            f"{spent / count * 1e6:.1f} us CPU each so far"
        )


def burst(bench: Bench) -> None:
    """Messages that wait while the reader is stopped."""
    print("burst with the reader stopped")
    for count in (50_000, 100_000, 200_000, 400_000):
        with bench.probe("--path", str(bench.folder / "s")) as process:
            process.send_signal(signal.SIGSTOP)
            bench.run("flood", count)
        print(f"  {count}: {_counted(process.stderr_text)}")  # type: ignore[attr-defined]


def start(bench: Bench, rounds: int) -> None:
    """From the command to the program being attached."""
    times = []
    for _ in range(rounds):
        before = time.monotonic()
        with bench.probe():
            times.append(time.monotonic() - before)
    print(f"start to attached: least {min(times):.2f} s, median {sorted(times)[len(times) // 2]:.2f} s of {rounds}")


def _counted(said: str) -> str:
    found = re.search(r"(\d+) messages on \d+ connections, (\d+) lost", said)
    return f"{found[1]} kept, {found[2]} lost" if found else said.strip()


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """All measurements."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--attach", choices=("fentry", "kprobe", "rawtp"))
    parser.add_argument("--only", choices=("cost", "stacks", "sustained", "burst", "start"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), args.attach)
        if args.only in (None, "start"):
            start(bench, args.rounds)
        if args.only in (None, "cost"):
            cost(bench, args.rounds)
        if args.only in (None, "stacks"):
            stacks(bench, args.rounds)
        if args.only in (None, "burst"):
            burst(bench)
        if args.only in (None, "sustained"):
            sustained(bench, args.seconds)


if __name__ == "__main__":
    main()
