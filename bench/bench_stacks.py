"""100 devices that start at once, with call stacks: what is lost, and how large the capture is.

usage: python bench/bench_stacks.py      as root, with gcc and libdw

Each of 100 programs sends 120 messages in two seconds (12,000 in all) while vusniff capture --stacks records them. No
message may be lost; stacks that are lost are counted.
"""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

CAPTURE = [sys.executable, "-m", "vusniff", "capture"]
DEVICES, MESSAGES, SECONDS = 100, 120, 2
SOURCE = r"""
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static char sink[1 << 20];

__attribute__((noinline)) int send_request(int fd, unsigned request)
{
	unsigned message[3] = {request, 1, 0};
	return write(fd, message, 12) == 12;
}

__attribute__((noinline)) int start_device(int fd, unsigned number, unsigned pause)
{
	int sent = 0;
	for (unsigned i = 0; i < number; i++) {
		sent += send_request(fd, i % 2 ? 3 : 1);
		usleep(pause);
	}
	return sent;
}

int main(int argc, char **argv)
{
	int devices = atoi(argv[2]), listener = socket(AF_UNIX, SOCK_STREAM, 0);
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	strcpy(at.sun_path, argv[1]);
	if (bind(listener, (void *)&at, sizeof(at)) || listen(listener, devices))
		return 1;
	for (int i = 0; i < devices; i++)
		if (!fork()) {
			int fd = socket(AF_UNIX, SOCK_STREAM, 0);
			if (connect(fd, (void *)&at, sizeof(at)))
				_exit(1);
			start_device(fd, atoi(argv[3]), atoi(argv[4]));
			shutdown(fd, SHUT_WR);
			while (read(fd, sink, 1) > 0)
				;
			_exit(0);
		}
	int *ends = malloc(devices * sizeof(int));
	for (int i = 0; i < devices; i++)
		ends[i] = accept(listener, 0, 0);
	for (int i = 0; i < devices; i++)
		while (read(ends[i], sink, sizeof(sink)) > 0)
			;
	/* The programs stay until their stacks are unwound: it waits to be told. */
	write(1, "sent\n", 5);
	read(0, sink, 1);
	return 0;
}
"""


def main() -> int:
    """One line of figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, program, path, file = (folder / one for one in ("a.c", "devices", "vhost.sock", "c.pcapng"))
        source.write_text(SOURCE)
        subprocess.run(["gcc", "-O2", "-w", "-o", program, source], check=True)
        words = [*CAPTURE, "--record-only", "--stacks", "--comm", "devices", "-w", str(file)]
        with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as capture:
            assert capture.stderr is not None
            said = []
            for line in capture.stderr:
                said.append(line)
                if "attached" in line:
                    break
            pause = str(SECONDS * 1_000_000 // MESSAGES)
            command = [str(program), str(path), str(DEVICES), str(MESSAGES), pause]
            with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as devices:
                assert devices.stdout is not None
                devices.stdout.readline()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    capture.wait(SECONDS + 8)
                devices.communicate(b"x")
            capture.send_signal(signal.SIGINT)
            said += capture.stderr.readlines()
        words_said = "".join(said)
        print(words_said, end="")
        size = file.stat().st_size
        print(f"{size / (DEVICES * MESSAGES):.0f} bytes a message in the file, stacks and messages together")
        found = re.search(r"(\d+) messages? on (\d+) connections?, (\d+) lost", words_said)
        return 0 if found and found.groups() == (str(DEVICES * MESSAGES), str(DEVICES), "0") else 1


if __name__ == "__main__":
    raise SystemExit(main())
