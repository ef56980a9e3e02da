"""What counting kicks and calls costs system calls beside the probe alone: nanoseconds a call, the least of all rounds.

usage: bench_kicks.py [--rounds N] [--attach MODE]

Needs root. A small C program compiled here (cc) makes the calls: one that the probe does not look at (getppid), reads
of another size than event descriptors have, reads and writes of 8 bytes of a file that is none (these pay most), and
writes of an event descriptor that counts. Nothing, the probe, and the probe that counts take turns.
"""

from __future__ import annotations

import argparse
import os
import socket
import struct
import subprocess
import tempfile
from pathlib import Path

from vusniff.bpf.load import Attach, attach_program

CALLS = r"""
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

/* calls EVENTFD: the least nanoseconds a call of 60 blocks, one line for each kind. */
int main(int argc, char **argv)
{
	int zero = open("/dev/zero", O_RDONLY), null = open("/dev/null", O_WRONLY), event = atoi(argv[1]);
	char buffer[4096];
	unsigned long one = 1;
	for (int kind = 0; kind < 5; kind++) {
		double least = 1e18;
		for (int block = 0; block < 60; block++) {
			double start = now();
			for (int i = 0; i < 5000; i++) {
				if (kind == 0)
					syscall(SYS_getppid);
				else if (kind == 1)
					read(zero, buffer, 64);
				else if (kind == 2)
					read(zero, buffer, 8);
				else if (kind == 3)
					write(null, buffer, 8);
				else
					write(event, &one, 8);
			}
			double each = (now() - start) / 5000;
			least = each < least ? each : least;
			if (kind == 4)
				read(event, buffer, 8);
		}
		printf("%.1f ", least);
	}
	return 0;
}
"""
KINDS = ("getppid", "read of 64 bytes", "read of 8 bytes", "write of 8 bytes", "write of a kick")
WAYS = ("nothing", "the probe", "the probe that counts")
SET_VRING_KICK = struct.pack("=IIIQ", 12, 1, 8, 0)


def calls(program: Path) -> list[float]:
    """Nanoseconds of each kind of call, on an event descriptor that was passed as a kick."""
    event, (near, far) = os.eventfd(0), socket.socketpair()
    os.set_inheritable(event, True)
    # OWN_PID is not looked at: another process passes it.
    child = os.fork()
    if child == 0:
        socket.send_fds(near, [SET_VRING_KICK], [event])
        os._exit(0)
    os.waitpid(child, 0)
    done = subprocess.run([program, str(event)], pass_fds=(event,), capture_output=True, text=True, check=True)
    near.close()
    far.close()
    os.close(event)
    return list(map(float, done.stdout.split()))


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--attach", choices=list(Attach), default=None)
    args = parser.parse_args()
    modes = (Attach(args.attach),) if args.attach else tuple(Attach)
    least = {way: [float("inf")] * len(KINDS) for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, "calls")
        subprocess.run(["cc", "-O2", "-x", "c", "-", "-o", program], input=CALLS, text=True, check=True)
        for _ in range(args.rounds):
            for way in WAYS:
                attached = None if way == "nothing" else attach_program(modes, counts=way == WAYS[2])
                found = calls(program)
                if attached is not None:
                    mode = attached.attach
                    attached.close()
                least[way] = list(map(min, least[way], found))
    print(f"nanoseconds a call, by {mode}: {', '.join(WAYS)}, what counting adds to the probe")
    for kind, nothing, probe, counting in zip(KINDS, *least.values(), strict=True):
        print(f"  {kind:18} {nothing:7.1f} {probe:7.1f} {counting:7.1f} {counting - probe:+7.1f}")


if __name__ == "__main__":
    main()
