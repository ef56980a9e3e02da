"""A long session watched live: what each message costs in memory at the end, and that none is missed.

usage: python bench/bench_soak.py [SECONDS [RATE]]     default: 600 seconds at 2,000 messages/s

A capture grows at a steady rate with the sessions of `captures.synthetic`, which come and go. It is watched by
`vusniff view --follow` on a pseudo-terminal, `vusniff read --follow` and `vusniff check --follow`. Memory is what is
resident at the end less what was after a tenth of the time, over the messages between. Each must have counted every
message in the end.
"""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from captures import synthetic
from vusniff.capture import pcapng

SECONDS, RATE = 600, 2_000
WARM = 0.1
"""Share of the messages after which memory is looked at first: by then all is imported and painted."""
SIZE = (120, 40)
PATIENCE = 120.0
"""Seconds a watcher may need for the rest when no more comes."""
GOALS = {"view": 160, "read": 40, "check": 40}
"""Bytes a message."""


class Watcher:
    """A command that follows the capture, and what it says."""

    def __init__(self, name: str, words: Sequence[str], terminal: bool = False) -> None:
        self.name = name
        self.lines = 0
        self.tail = b""
        self.memory: list[int] = []
        # A shell without job control lets what runs in its background ignore interrupts.
        command = ["env", "--default-signal=INT", sys.executable, "-m", "vusniff", *words]
        environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", "PYTHONUNBUFFERED": "1"}
        if terminal:
            self._from, end = pty.openpty()
            fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", SIZE[1], SIZE[0], 0, 0))
            self.process = subprocess.Popen(
                command, stdin=end, stdout=end, stderr=end, env=environment, start_new_session=True
            )
        else:
            self._from, end = os.pipe()
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=end, stderr=end, env=environment)
        os.close(end)
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._from, 1 << 16)
            except OSError:  # a terminal that nobody holds any more
                return
            if not data:
                return
            self.lines += data.count(b"\n")
            self.tail = (self.tail + data)[-(1 << 17) :]

    def look(self) -> None:
        """Note the resident memory, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
        if found is None:
            raise SystemExit(f"{self.name} has ended too early: {self.tail[-400:]!r}")
        self.memory.append(int(found[1]) * 1024)

    def end(self, how: Callable[[], None]) -> None:
        """Let it leave, and read what it says at last."""
        how()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            print(f"{self.name} did not leave within {PATIENCE:.0f} s")
        self._reading.join(PATIENCE)

    def interrupt(self) -> None:
        """As Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)

    def quit(self) -> None:
        """As the key q does."""
        os.write(self._from, b"q")


class Growing(io.RawIOBase):
    """The capture: takes blocks as they are made, and keeps the pace."""

    def __init__(self, path: Path, rate: int, watched: Callable[[int], None]) -> None:
        self._file = open(path, "wb", buffering=0)  # noqa: SIM115 (closed by close)
        self._rate = rate
        self._watched = watched
        self._start = 0.0
        self.messages = 0

    def writable(self) -> bool:
        """It is written to."""
        return True

    def write(self, data: bytes | bytearray | memoryview, /) -> int:  # type: ignore[override]
        """Some blocks; returns when it is time for the next."""
        view, at = memoryview(data), 0
        while at < len(view):
            kind, total = struct.unpack_from("<II", view, at)
            self.messages += kind == pcapng.ENHANCED_PACKET
            at += total
        self._file.write(view)
        self._start = self._start or time.monotonic()
        self._watched(self.messages)
        time.sleep(max(0.0, self._start + self.messages / self._rate - time.monotonic()))
        return len(view)

    def close(self) -> None:
        """The last message has been written."""
        self._file.close()
        super().close()


def waited(fact: Callable[[], bool]) -> bool:
    """Whether something becomes true while one can wait."""
    end = time.monotonic() + PATIENCE
    while not fact() and time.monotonic() < end:
        time.sleep(0.05)
    return fact()


def main(words: Sequence[str]) -> int:
    """Prints a row for each command; 1 when one has missed something."""
    seconds, rate = (int(word) for word in (*words, *map(str, (SECONDS, RATE)[len(words) :])))
    count = seconds * rate
    watchers: list[Watcher] = []
    looks = [int(count * WARM)]

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "live.pcapng"

        def watched(messages: int) -> None:
            """Start the commands with the first messages; look at them when it is time."""
            if messages and not watchers:
                watchers.append(Watcher("view", ["view", "--follow", str(path)], terminal=True))
                watchers.append(Watcher("read", ["read", "--follow", str(path)]))
                watchers.append(Watcher("check", ["check", "--follow", str(path)]))
            if looks and messages >= looks[0]:
                looks[:] = []
                for one in watchers:
                    one.look()

        start = time.monotonic()
        growing = Growing(path, rate, watched)
        made = synthetic.million(growing, count)  # type: ignore[arg-type]
        print(f"{made:,} messages in {time.monotonic() - start:.0f} s")
        view, read, check = watchers
        seen = {
            "view": waited(lambda: f"{made:,} messages".encode() in view.tail),
            "read": waited(lambda: read.lines >= made),
        }
        for one in watchers:
            one.look()
        check.end(check.interrupt)
        read.end(read.interrupt)
        view.end(view.quit)
    seen["read"] = seen["read"] and read.lines == made
    found = re.search(rb" in ([\d,]+) messages", check.tail)
    seen["check"] = found is not None and int(found[1].replace(b",", b"")) == made
    for one in watchers:
        first, last = one.memory
        each = (last - first) / (made * (1 - WARM))
        print(
            f"{one.name:6} {last / 1e6:6.0f} MB at the end, {each:5.0f} bytes a message (goal {GOALS[one.name]}), "
            f"{'every message counted' if seen[one.name] else 'MESSAGES MISSED: ' + repr(one.tail[-200:])}"
        )
    return 0 if all(seen.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
