"""What it costs to see the calls on vhost devices of the kernel: other system calls, such calls, and what is lost.

usage: bench_calls.py [--rounds N] [--seconds S]

Needs root, and no vhost device: in a mount namespace of its own /dev/vhost-vdpa-0 is /dev/zero, which takes what is
written at once and refuses every ioctl, so that what is measured is the probe and not a device. Raw tracepoints. Runs
take turns: nothing attached, the probe without such a device (it attaches nothing for calls then), the probe with one.
Of each the least and the median of 200 blocks, the least of all rounds: other load on the machine only ever adds.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vusniff.capture.reader import CaptureReader
from vusniff.record import Frame

NODE = Path("/dev/vhost-vdpa-0")
GOALS = "goals: another system call 30 ns more than the probe alone, a vhost ioctl 1500 ns, nothing lost at 20,000/s"
GENERATOR = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
	return *(double *)a < *(double *)b ? -1 : 1;
}

static int file, null, device, ends[2];
static char buffer[8 + 32 * 8];

static void call(int what)
{
	int waiting;
	switch (what) {
	case 0: syscall(SYS_getppid); break;
	case 1: syscall(SYS_read, file, buffer, 1); break;
	case 2: syscall(SYS_read, null, buffer, 1); break;
	case 3: syscall(SYS_write, null, buffer, 1); break;
	case 4: ioctl(ends[0], FIONREAD, &waiting); break;
	case 5: ioctl(device, _IOW(0xaf, 0x10, char[8]), buffer); break;
	case 6: ioctl(device, _IOW(0xaf, 0x11, char[40]), buffer); break;
	case 7: ioctl(device, _IOW(0xaf, 0x03, char[8]), buffer); break;
	case 8: syscall(SYS_write, device, buffer, 72); break;
	}
}

/* load WHAT COUNT DEVICE [user] prints nanoseconds a call, of a process that has called the device before or not;
   load rate RATE DEVICE COUNT writes so many IOTLB messages. */
int main(int argc, char **argv)
{
	double block[200];
	file = memfd_create("file", 0);
	null = open("/dev/null", O_RDWR);
	device = open(argv[3], O_RDWR);
	if (pipe(ends) || null < 0 || device < 0)
		return 1;
	if (argc > 4)
		ioctl(device, _IO(0xaf, 0x01)); /* this process uses vhost from now on */
	if (!strcmp(argv[1], "rate")) {
		unsigned message[18] = {2, 0};
		long rate = atol(argv[2]), count = atol(argv[4]);
		double start = now();
		((unsigned char *)message)[33] = 2;
		for (long i = 0; i < count; i++) {
			message[2] = i << 12;
			message[4] = 4096;
			if (i % 100 == 0)
				while (i > (now() - start) / 1e9 * rate)
					usleep(200);
			if (write(device, message, 72) != 72)
				return 1;
		}
		printf("%.0f\n", count / (now() - start) * 1e9);
		return 0;
	}
	cpu_set_t one;
	CPU_ZERO(&one);
	CPU_SET(0, &one);
	sched_setaffinity(0, sizeof(one), &one);
	long count = atol(argv[2]) / 200;
	*(unsigned *)buffer = atol(argv[1]) == 7 ? 8 : 0;
	for (int b = 0; b < 200; b++) {
		double start = now();
		for (long i = 0; i < count; i++)
			call(atol(argv[1]));
		block[b] = (now() - start) / count;
		usleep(2000);
	}
	qsort(block, 200, sizeof(double), by_size);
	printf("%.1f %.1f\n", block[0], block[100]);
	return 0;
}
"""
OTHERS = ("getppid", "read of a file", "read of /dev/null", "write to /dev/null", "ioctl on a pipe")
OWN = ("ioctl, 8 bytes", "ioctl, 40 bytes", "SET_MEM_TABLE, 8 regions", "write of 72 bytes")
ALONE, WITH = "the probe alone", "and for calls"


def run(load: Path, *words: object) -> list[float]:
    """What the generator prints."""
    done = subprocess.run([load, *map(str, words)], capture_output=True, text=True, check=True)
    return [float(word) for word in done.stdout.split()]


@contextmanager
def node(path: Path = NODE) -> Iterator[None]:
    """There is such a device."""
    os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))
    try:
        yield
    finally:
        path.unlink()


@contextmanager
def capture(folder: Path, said: list[str]) -> Iterator[None]:
    """Everything is recorded; what was said of it, which is what was lost, is in ``said`` afterwards."""
    readable, writable = os.pipe()
    command = [sys.executable, "-m", "vusniff", "capture", "-q", "-w", str(folder / "c.pcapng"), "--attach", "rawtp"]
    process = subprocess.Popen(
        [*command, "--ready-fd", str(writable)], pass_fds=(writable,), stderr=subprocess.PIPE, text=True
    )
    os.close(writable)
    with open(readable, "rb") as pipe:
        pipe.read(1)
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        said.append(process.communicate()[1])


def costs(load: Path, folder: Path, rounds: int) -> None:
    """Nanoseconds a call."""
    count = 20_000
    rows = [(name, number, "") for number, name in enumerate(OTHERS)]
    rows += [(f"  {name}, user of a device", number, "user") for number, name in enumerate(OTHERS)]
    rows += [(name, len(OTHERS) + number, "user") for number, name in enumerate(OWN)]
    best: dict[tuple[str, str], tuple[float, float]] = {}

    def measure(how: str, device: str) -> None:
        for name, number, *words in rows:
            least, median = run(load, number, count, device, *filter(None, words))
            before = best.get((how, name), (least, median))
            best[how, name] = min(before[0], least), min(before[1], median)

    for _ in range(rounds):
        measure("nothing", "/dev/zero")
        with capture(folder, []):
            measure(ALONE, "/dev/zero")
        with node(), capture(folder, []):
            measure(WITH, str(NODE))
    print(f"nanoseconds a call (least, median block)\n{GOALS}")
    print(f"  {'':38} {'nothing':>16} {ALONE:>17} {WITH:>17}   more than alone, than nothing")
    for name, *_ in rows:
        cells = [best[how, name] for how in ("nothing", ALONE, WITH)]
        shown = " ".join(f"{least:8.0f} {median:8.0f}" for least, median in cells)
        print(f"  {name:38} {shown}   {cells[2][1] - cells[1][1]:+6.0f} {cells[2][1] - cells[0][1]:+6.0f}")


def rates(load: Path, folder: Path, seconds: float) -> None:
    """A steady rate of IOTLB messages into a file."""
    print(f"IOTLB messages for {seconds:.0f} s into a file")
    for rate in (20_000, 50_000, 100_000):
        said: list[str] = []
        with node(), capture(folder, said):
            (reached,) = run(load, "rate", rate, NODE, int(rate * seconds))
        with CaptureReader(folder / "c.pcapng") as reader:
            kept = sum(isinstance(one, Frame) for one in reader.records())
        lost = " ".join(said[0].split()) or "nothing lost"
        print(f"  {rate}/s: {int(rate * seconds)} written at {reached:.0f}/s: {kept} kept, {lost}")


def main() -> None:
    """All measurements, in a mount namespace of their own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not args.inside:
        own = "mount -t tmpfs -o mode=755 none /dev && mknod /dev/null c 1 3 && mknod /dev/zero c 1 5"
        own += ' && mknod /dev/urandom c 1 9 && exec "$@"'
        os.execvp("unshare", ["unshare", "-m", "sh", "-c", own, "sh", sys.executable, *sys.argv, "--inside"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        load, source = folder / "load", folder / "load.c"
        source.write_text(GENERATOR)
        subprocess.run(["cc", "-O2", "-w", "-o", load, source], check=True)
        costs(load, folder, args.rounds)
        rates(load, folder, args.seconds)


if __name__ == "__main__":
    main()
